"""The command line: ``fastlstm`` and ``convert-weights``.

Exit codes: 0 all is well; 1 it could not be done (a bad or unsupported file, data that does not fit, results that differ);
2 the command was not understood. Two are those that a shell gives to what a signal ends: 130 interrupted (Ctrl-C), 141 the
reader of standard output went away.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import __version__, demo, replacing, runtime
from ..api import Description, convert, describe, load, verify
from ..errors import FastLSTMError, InputError
from ..listing import LayerInfo
from . import arrayfiles, customfile, progress, terminal

DESCRIPTION = """\
Runs recurrent networks that Keras saved, on the CPU, without TensorFlow: the numbers that the Keras which saved the file gives.
"""
EXAMPLES = """\
examples:
  fastlstm demo --plot sunspots.png
  fastlstm describe model.h5
  fastlstm predict model.h5 data.npy -o predictions.npy
  fastlstm convert model.h5 model.fastlstm
  fastlstm describe weights.h5 --architecture model.json

exit codes: 0 done, 1 failed (the reason is on standard error), 2 command not understood, 130 interrupted (Ctrl-C),
141 the reader of standard output went away; a file is replaced by a whole new one or left as it was, whatever the code
"""
CONVERT = """\
Writes a model that Keras saved as a .fastlstm file, which loads faster and needs no HDF5. Cases with their outputs are
recorded in it and checked first; 'fastlstm verify' reruns them wherever the file goes. SRC itself is never the target.
"""
CONVERT_EXAMPLES = """\
examples:
  {prog} model.h5 model.fastlstm
  {prog} weights.h5 model.fastlstm --architecture model.json
"""
DESCRIBE = "Lists a file's layers, shapes and parameters, the Keras that saved it, what runs natively, and what is unsupported and why."
DESCRIBE_EXAMPLES = """\
examples:
  fastlstm describe model.h5
  fastlstm describe model.h5 --json | python -m json.tool

exit code 1 if the file holds something unsupported
"""
PREDICT = """\
Computes a model's outputs for the rows of a file. A .csv file has one row of the batch a line: its values in the order of
the timesteps, the features of a timestep side by side; lines may differ in length where the model leaves the number of
timesteps open. A first line of names is skipped, and so are lines that begin with # and empty cells at the end of a line.
A .npz file holds an array for each input, under its name.
"""
PREDICT_EXAMPLES = """\
examples:
  fastlstm predict model.h5 data.npy                 prints a line for each row
  fastlstm predict model.h5 data.csv -o out.csv
  fastlstm predict model.h5 inputs.npz -o out.npz
  fastlstm predict model.h5 week.csv --series        the file is one sequence, a line is a timestep
  fastlstm predict model.h5 data.npy --custom my_layers.py
"""
VERIFY = "Reruns the cases recorded in a .fastlstm file. A file of Keras has none: new ones are made and checked against float64."
VERIFY_EXAMPLES = """\
examples:
  fastlstm verify model.fastlstm
  fastlstm verify model.h5 --keras                   compares with an installed Keras of the file's generation
"""
DEMO = "Forecasts sunspots with a network that Keras trained, and compares with what happened."
DEMO_EXAMPLES = """\
examples:
  fastlstm demo
  fastlstm demo --plot sunspots.png                  needs matplotlib: pip install 'fastlstm[plot]'
"""
CUSTOM = "Python that defines custom_layers = {...} or custom_activations = {...}, functions for your own layers; it is run"
ISOLATED = "for files of strangers: read the file in a process of its own, with limits (10 s of CPU, 2 GB)"


FAILED = 1
INTERRUPTED = 130  # 128 and the number of the signal, as shells have it
PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``fastlstm``.

    Parameters
    ----------
    argv
        Arguments; those of the process if None.

    Returns
    -------
    int
        The exit code.
    """
    return _run(_parser(), argv)


def convert_weights(argv: Sequence[str] | None = None) -> int:
    """The command ``convert-weights``: ``fastlstm convert`` under its own name.

    Parameters
    ----------
    argv
        Arguments; those of the process if None.

    Returns
    -------
    int
        The exit code.
    """
    parser = _Parser(
        "convert-weights", description=CONVERT, epilog=CONVERT_EXAMPLES.format(prog="convert-weights"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _add_convert_arguments(parser)
    return _run(parser, argv)


def _run(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    terminal.take_any_text()
    code = FAILED
    try:
        arguments = parser.parse_args(argv)
        command: Callable[[argparse.Namespace], int] = arguments.command
        return command(arguments)
    except BrokenPipeError:
        return PIPE_CLOSED
    except FastLSTMError as error:
        reason = customfile.hinted(str(error))
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename is not None else str(error)
    except MemoryError as error:
        reason = "not enough memory" + (f": {error}" if str(error) else "")
    except KeyboardInterrupt:
        reason, code = "interrupted", INTERRUPTED
    terminal.complain(f"{parser.prog}: error: {reason}")
    return code


class _Version(argparse.Action):
    """Asks for the kernels only when it must: they may be missing."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        _print(f"fastlstm {__version__}, {runtime.level()} kernels")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Prints its help as all is printed here; argparse itself does not mind if that fails."""

    def print_help(self, file: Any = None) -> None:
        with terminal.output() as stream:
            (file or stream).write(self.format_help())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser("fastlstm", description=DESCRIPTION, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and which kernels this CPU runs, and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, short: str, long: str, examples: str, *aliases: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, aliases=aliases, help=short, description=long, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    _add_convert_arguments(add("convert", "write a .fastlstm file", CONVERT, CONVERT_EXAMPLES.format(prog="fastlstm convert")))

    show = add("describe", "show what a file holds", DESCRIBE, DESCRIBE_EXAMPLES, "inspect")
    show.add_argument("file", metavar="FILE", type=_path)
    show.add_argument("--json", action="store_true", help="print JSON")
    _add_file_arguments(show)
    _add_cut(show)
    show.set_defaults(command=_describe)

    predict = add("predict", "compute a model's outputs", PREDICT, PREDICT_EXAMPLES)
    predict.add_argument("model", metavar="MODEL", type=_path)
    predict.add_argument("input", metavar="INPUT", type=_path, help=".npy, .npz or .csv file")
    predict.add_argument("-o", "--output", metavar="OUT", type=_output_path, help=".npy, .npz or .csv file (default: print as CSV)")
    predict.add_argument("--series", action="store_true", help="CSV: the whole file is one row of the batch, a line is a timestep")
    predict.add_argument("--threads", metavar="N", type=_positive, default=1, help="threads that share the work (default: 1)")
    _add_file_arguments(predict)
    _add_cut(predict, "--layer")
    predict.set_defaults(command=_predict)

    check = add("verify", "check a file's results on this machine", VERIFY, VERIFY_EXAMPLES)
    check.add_argument("file", metavar="FILE", type=_path)
    check.add_argument("--keras", action="store_true", help="compare a file of Keras with an installed Keras of its generation")
    check.add_argument("--architecture", metavar="JSON", help="for weights-only files: model.to_json() or to_yaml(), or a file of it")
    _add_limit(check)
    check.add_argument("--isolated", action="store_true", help=ISOLATED)
    check.add_argument("--custom", metavar="PY", type=_path, help=CUSTOM)
    check.set_defaults(command=_verify)

    forecast = add("demo", "forecast sunspots", DEMO, DEMO_EXAMPLES)
    forecast.add_argument("--plot", metavar="OUT", type=_path, help="draw actual and forecast numbers into this image file")
    forecast.set_defaults(command=_demo)
    return parser


def _add_file_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--architecture", metavar="JSON", help="for weights-only files: model.to_json() or to_yaml(), or a file of it")
    parser.add_argument("--by-name", action="store_true", help="weights-only files: match layers by name instead of by order")
    _add_limit(parser)
    parser.add_argument("--isolated", action="store_true", help=ISOLATED)
    parser.add_argument("--custom", metavar="PY", type=_path, help=CUSTOM)


def _add_limit(parser: argparse.ArgumentParser) -> None:
    what = "memory that loading the file may take (default: 1 GiB, or 16 times its size)"
    parser.add_argument("--max-bytes", metavar="N", type=_positive, help=what)


def _add_cut(parser: argparse.ArgumentParser, *aliases: str) -> None:
    """What names a part of the model."""
    begin, end = "begin the model at the output of this layer", "end the model at the output of this layer"
    parser.add_argument("--inputs", metavar="NAME", action="append", help=f"{begin} (may be repeated)")
    what = f'{end} (may be repeated); "encoder/lstm" is in a nested model, "lstm:1" a second output'
    parser.add_argument("--outputs", *aliases, metavar="NAME", dest="outputs", action="append", help=what)


@contextmanager
def _told_as_options() -> Iterator[None]:
    """Errors about inputs= and outputs= in the words of the command line."""
    try:
        yield
    except InputError as error:
        raise InputError(re.sub("^(inputs|outputs): ", r"--\1: ", str(error))) from error


def _add_convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", type=_path, help="a file that Keras saved")
    parser.add_argument("target", metavar="DST", type=_path, help="the .fastlstm file to write")
    _add_file_arguments(parser)
    _add_cut(parser)
    parser.add_argument("--no-verify", action="store_true", help="do not check the recorded cases")
    parser.add_argument("--keras", action="store_true", help="check against an installed Keras of the file's generation too")
    parser.set_defaults(command=_convert)


def _path(text: str) -> str:
    """Not a Path, which makes one slash of a URL's two."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, found an empty one")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive number, found {text!r}")
    return int(text)


def _output_path(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in arrayfiles.ENDINGS:
        raise argparse.ArgumentTypeError(f"expected a file ending in {', '.join(arrayfiles.ENDINGS)}, found {text!r}")
    return path


def _convert(arguments: argparse.Namespace) -> int:
    into_output = replacing.is_standard_output(arguments.target)
    with _told_as_options():
        report = convert(
            arguments.source, arguments.target, architecture=arguments.architecture, by_name=arguments.by_name,
            inputs=arguments.inputs, outputs=arguments.outputs, verify=not arguments.no_verify, keras=arguments.keras,
            max_bytes=arguments.max_bytes, isolated=arguments.isolated, **customfile.functions(arguments.custom),
        )  # fmt: skip
    if into_output:  # the report does not belong into the model
        terminal.complain(str(report))
    else:
        _print(str(report))
    return 0


def _print(*lines: str) -> None:
    with terminal.output() as stream:
        for line in lines:
            print(line, file=stream)


def _describe(arguments: argparse.Namespace) -> int:
    with _told_as_options():
        description = describe(
            arguments.file, architecture=arguments.architecture, by_name=arguments.by_name, inputs=arguments.inputs,
            outputs=arguments.outputs, max_bytes=arguments.max_bytes, isolated=arguments.isolated,
            **customfile.functions(arguments.custom),
        )  # fmt: skip
    if arguments.json:
        _print(json.dumps(_as_json(description), indent=2))
    else:
        _print(*map(terminal.one_line, _as_text(description)))
    return FAILED if description.problems else 0


def _as_json(description: Description) -> dict[str, object]:
    return {
        "file": description.source,
        "generation": description.generation,
        "supported": not description.problems,
        "inputs": [{"name": name, "shape": shape} for name, shape in description.inputs],
        "outputs": [{"name": name, "shape": shape} for name, shape in description.outputs],
        "parameters": description.parameters,
        "layers": [dataclasses.asdict(layer) for layer in description.layers],
        "problems": [problem._asdict() for problem in description.problems],
    }


def _as_text(description: Description) -> list[str]:
    lines = [f"{description.source}: {description.generation}"]
    for title, tensors in (("input", description.inputs), ("output", description.outputs)):
        lines += [f"{title:<8}{name}  {_shape(shape)}" for name, shape in tensors]
    lines += ["", *_table(description.layers), "", f"{description.parameters:,} parameters"]
    if description.problems:
        lines += ["", "cannot be computed as Keras would:", *(f"  - {problem}" for problem in description.problems)]
    return lines


def _table(layers: Sequence[LayerInfo]) -> list[str]:
    rows = [("layer", "class", "output shape", "parameters", "runs")]
    rows += [(layer.name, layer.class_name, _shape(layer.output_shape), f"{layer.parameters:,}", layer.runs) for layer in layers]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {shape:<{widths[2]}}  {parameters:>{widths[3]}}  {runs}".rstrip()
        for name, kind, shape, parameters, runs in rows
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def _shape(shape: object) -> str:
    """A shape, or several, for people: any size is "any"."""
    return "?" if shape is None else str(shape).replace("None", "any")


def _predict(arguments: argparse.Namespace) -> int:
    if arguments.output is not None:
        replacing.checked(arguments.output, arguments.model, arguments.input, arguments.architecture)
    with _told_as_options():
        model = load(
            arguments.model, architecture=arguments.architecture, by_name=arguments.by_name, inputs=arguments.inputs,
            outputs=arguments.outputs, threads=arguments.threads, max_bytes=arguments.max_bytes, isolated=arguments.isolated,
            **customfile.functions(arguments.custom),
        )  # fmt: skip
    inputs = arrayfiles.read(Path(arguments.input), model.inputs, series=arguments.series)
    try:
        outputs = progress.predict(model, inputs)
    except InputError as error:
        raise InputError(f"{arguments.input}: {error}") from error
    arrayfiles.write(arguments.output, outputs)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    report = verify(
        arguments.file, architecture=arguments.architecture, keras=arguments.keras, max_bytes=arguments.max_bytes,
        isolated=arguments.isolated, **customfile.functions(arguments.custom),
    )  # fmt: skip
    _print(str(report))
    return 0 if report.passed else FAILED


def _demo(arguments: argparse.Namespace) -> int:
    if arguments.plot is not None:
        replacing.checked(arguments.plot, *demo.FILES)
    result = demo.run()
    with terminal.output() as stream:
        demo.report(result, lambda line: print(line, file=stream))
    if arguments.plot is not None:
        demo.plot(result, arguments.plot)
        _print(f"drawn into {arguments.plot}")
    return 0
