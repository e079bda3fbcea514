"""``inspect`` of a file of weights alone: what its arrays tell of the model, and a draft of its JSON with ``--draft``."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .. import lazy, replacing
from ..errors import InputError
from . import outcome, progress, terminal

if TYPE_CHECKING:
    from .. import drafting
    from ..drafting import ArchitectureDraft, InferredLayer
else:  # which imports h5py
    drafting = lazy.module("fastlstm.drafting")

FAILED = 1
#: Where the draft goes instead of a file.
STANDARD_OUTPUT = "-"
NAME = "--draft"


def run(arguments: argparse.Namespace) -> int:
    """Show what a file of weights tells, and write the draft if that is asked for."""
    into_output = arguments.draft == STANDARD_OUTPUT
    target = None if arguments.draft is None else checked(arguments)
    with progress.shown(f"reading {terminal.one_line(arguments.file)}", outcome.bar_of(arguments)):
        found = drafting.draft_architecture(arguments.file, max_bytes=arguments.max_bytes, isolated=arguments.isolated)
    written = target is not None and not found.problems
    if into_output and written:
        with terminal.output() as printed:
            printed.write(found.to_json())
        return 0
    if target is not None and written:
        with replacing.writing(target) as stream:
            stream.write(found.to_json().encode("utf-8"))
        if replacing.is_standard_output(target):
            return 0
    outcome.give(arguments, as_json(found, target if written else None), as_text(found, arguments.file, target if written else None))
    return FAILED if found.problems else 0


def checked(arguments: argparse.Namespace) -> str:
    """The file that is to be written: a new one, as an earlier draft may have been corrected since."""
    if arguments.architecture is not None:
        raise InputError(f"{NAME}: --architecture gives the model, so there is nothing to draft; leave out one of them")
    if arguments.draft == STANDARD_OUTPUT:
        return STANDARD_OUTPUT
    target = replacing.checked(arguments.draft, arguments.file, name=NAME)
    if os.path.isfile(target) and os.path.getsize(target) and not replacing.is_standard_output(target):
        raise InputError(f"{NAME}: {target} is there already, and what was corrected in it would be lost; name another file")
    return target


def as_json(found: ArchitectureDraft, target: str | None) -> dict[str, Any]:
    """What was found, for programs."""
    return {
        "file": found.source, "generation": found.generation, "architecture": False, "drafted": not found.problems, "draft": target,
        "layers": [dataclasses.asdict(layer) for layer in found.layers],
        "assumed": [{"layer": layer, "assumed": values, "why": why} for layer, values, why in found.assumed],
        "problems": [problem._asdict() for problem in found.problems],
    }  # fmt: skip


def as_text(found: ArchitectureDraft, file: str, target: str | None) -> Iterator[str]:
    """The same for people."""
    yield terminal.one_line(f"{found.source}: {found.generation}; weights alone, without the model")
    yield from ("", *table(found.layers))
    if found.problems:
        yield from ("", terminal.coloured("no draft of the model can be made:", "red"))
        yield from (terminal.one_line(f"  - {problem}") for problem in found.problems)
        return
    yield from ("", terminal.coloured("what no array tells is assumed:", "yellow"))
    for layer, values, why in found.assumed:
        yield terminal.one_line(f"  {layer}: {pairs(values)}  ({why})")
    yield ""
    weights, draft = shlex.quote(file), shlex.quote(target or "model.json")
    if target is None:
        yield terminal.one_line(f"'fastlstm inspect {weights} --draft {draft}' writes this down as the model's JSON.")
        return
    yield terminal.one_line(
        f'Written to {target}. Compare each line under "fastlstm_draft" in it with the code that made the model: correct'
    )
    yield "the layer's config where it is another value, and delete the line. When none is left:"
    yield terminal.one_line(f"  fastlstm describe {weights} --architecture {draft}")


def table(layers: tuple[InferredLayer, ...]) -> list[str]:
    """The layers in columns."""
    rows = [("layer", "class", "reads", "gives", "parameters", "told by the arrays")]
    rows += [
        (terminal.one_line(layer.name), terminal.one_line(layer.class_name or "?"), number(layer.reads), number(layer.gives),
         f"{layer.parameters:,}", terminal.one_line(pairs(layer.told)))
        for layer in layers
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {reads:>{widths[2]}}  {gives:>{widths[3]}}  {count:>{widths[4]}}  {told}".rstrip()
        for name, kind, reads, gives, count, told in rows
    ]
    return [terminal.coloured(lines[0], "bold"), "-" * (sum(widths) + 30), *lines[1:]]


def number(features: int | None) -> str:
    """A number of features, where it is known."""
    return "" if features is None else str(features)


def pairs(values: Mapping[str, Any]) -> str:
    """Arguments in a line."""
    return ", ".join(f"{key}={value!r}" for key, value in values.items())
