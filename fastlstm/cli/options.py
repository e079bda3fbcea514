"""The arguments that commands share."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..assembly import PRECISIONS
from ..batch.files import kinds
from ..errors import InputError
from . import customfile, terminal

CUSTOM = "Python that defines custom_layers = {...} or custom_activations = {...}, functions for your own layers; it is run"
ISOLATED = "for files of strangers: read the file in a process of its own, with limits (10 s of CPU, 2 GB)"
ARCHITECTURE = "for weights-only files: model.to_json() or to_yaml(), or a file of it"


class Parser(argparse.ArgumentParser):
    """Prints its help as all is printed here; argparse itself does not mind if that fails."""

    def print_help(self, file: Any = None) -> None:
        """See ArgumentParser."""
        with terminal.output() as stream:
            (file or stream).write(self.format_help())


def add_telling(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    """How much a command says. May stand before the command too, so nothing is set where it is not given."""
    how = parser.add_argument_group("what is printed")
    if json:
        how.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="one JSON object, also where it fails")
    either = how.add_mutually_exclusive_group()
    either.add_argument("-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help="results and errors alone: no report, no bar")
    either.add_argument(
        "-v", "--verbose", action="count", default=argparse.SUPPRESS, help="also what is loaded and where it runs; -vv: layer by layer"
    )


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    """How a file is to be read."""
    add_architecture(parser)
    parser.add_argument("--by-name", action="store_true", help="weights-only files: match layers by name instead of by order")
    add_reading(parser)


def add_architecture(parser: argparse.ArgumentParser) -> None:
    """The config of a file of weights."""
    completed(parser.add_argument("--architecture", metavar="JSON", help=ARCHITECTURE))


def add_reading(parser: argparse.ArgumentParser) -> None:
    """What reading may take, and what the user's own functions are."""
    what = "memory that loading the file may take (default: 1 GiB, or 16 times its size)"
    parser.add_argument("--max-bytes", metavar="N", type=positive, help=what)
    parser.add_argument("--isolated", action="store_true", help=ISOLATED)
    completed(parser.add_argument("--custom", metavar="PY", type=path, help=CUSTOM))


def add_precision(parser: Any) -> None:
    """What a model is computed in."""
    what = "what the model is computed in (default: what a .fastlstm file says, else float32)"
    parser.add_argument("--precision", choices=PRECISIONS, metavar="NAME", help=f"{', '.join(PRECISIONS)}: {what}")


def add_cut(parser: argparse.ArgumentParser, *aliases: str) -> None:
    """What names a part of the model."""
    begin, end = "begin the model at the output of this layer", "end the model at the output of this layer"
    parser.add_argument("--inputs", metavar="NAME", action="append", help=f"{begin} (may be repeated)")
    what = f'{end} (may be repeated); "encoder/lstm" is in a nested model, "lstm:1" a second output'
    parser.add_argument("--outputs", *aliases, metavar="NAME", dest="outputs", action="append", help=what)


def completed(action: argparse.Action) -> argparse.Action:
    """An argument that names a file: shells complete it so (an attribute that shtab looks for)."""
    vars(action)["complete"] = {"bash": "_shtab_compgen_files", "zsh": "_files", "fish": "__fish_complete_path"}
    return action


@contextmanager
def told_as_options() -> Iterator[None]:
    """Errors about inputs= and outputs= in the words of the command line."""
    try:
        yield
    except InputError as error:
        raise InputError(re.sub("^(inputs|outputs|timesteps|rows): ", r"--\1: ", str(error))) from error


def reading(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of ``load``, ``convert`` and ``describe`` that say what is read, and how."""
    return {
        "architecture": arguments.architecture, "by_name": arguments.by_name, "inputs": arguments.inputs, "outputs": arguments.outputs,
        **bounds(arguments),
    }  # fmt: skip


def bounds(arguments: argparse.Namespace) -> Mapping[str, Any]:
    """The arguments of all functions that read a file."""
    return {"max_bytes": arguments.max_bytes, "isolated": arguments.isolated, **customfile.functions(arguments.custom)}


def path(text: str) -> str:
    """Not a Path, which makes one slash of a URL's two."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found an empty one")
    return text


def positive(text: str) -> int:
    """A number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, found {text!r}")
    return int(text)


def numbers(text: str) -> tuple[int, ...]:
    """Numbers from 1 on, separated by commas."""
    return tuple(positive(part.strip()) for part in text.split(","))


def output_path(text: str) -> str:
    """What predictions are written to: a file of a known kind, a folder, or - for standard output."""
    ending = os.path.splitext(path(text))[1].lower()
    if ending and kinds.ENDINGS.get(ending) not in kinds.WRITTEN and not os.path.isdir(text):
        known = ", ".join(name for name, kind in kinds.ENDINGS.items() if kind in kinds.WRITTEN)
        raise argparse.ArgumentTypeError(f"expected a file ending in {known}, or a folder, found {text!r}")
    return text


def names(text: str) -> tuple[str, ...]:
    """Names of columns, separated by commas."""
    found = tuple(part.strip() for part in text.split(",")) if text else ()
    if not all(found):
        raise argparse.ArgumentTypeError(f"expected names separated by commas, found {text!r}")
    return found


def nulls(text: str) -> str | float:
    """What is done about missing values."""
    if text in ("error", "skip"):
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected error, skip or a number, found {text!r}") from None
