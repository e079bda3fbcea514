"""The command line: ``fastlstm`` and ``convert-weights``.

Exit codes: 0 all is well; 1 it could not be done (a bad or unsupported file, data that does not fit, results that differ);
2 the command was not understood. Two are those that a shell gives to what a signal ends: 130 interrupted (Ctrl-C), 141 the
reader of standard output went away.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from .. import __version__, replacing, runtime
from ..batch.files import kinds
from ..bench import comparison
from ..errors import FastLSTMError
from . import benching, completion, customfile, evaluating, inspecting, jobs, options, outcome, running, serving, terminal, texts
from .options import Parser, completed, path

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
    return _run(parser(), argv)


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
    own = Parser(
        "convert-weights", description=texts.CONVERT, epilog=texts.CONVERT_EXAMPLES.format(prog="convert-weights"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _add_convert(own)
    return _run(own, argv)


def _run(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    terminal.take_any_text()
    code, error, arguments = FAILED, None, argparse.Namespace()
    try:
        arguments = parser.parse_args(argv)
        outcome.listen(arguments)
        command: Callable[[argparse.Namespace], int] = arguments.command
        return command(arguments)
    except BrokenPipeError:
        return PIPE_CLOSED
    except FastLSTMError as caught:
        reason, error = customfile.hinted(str(caught)), caught
    except OSError as caught:
        reason = f"{caught.filename}: {caught.strerror}" if caught.filename is not None else str(caught)
    except MemoryError as caught:
        reason = "not enough memory" + (f": {caught}" if str(caught) else "")
    except KeyboardInterrupt as caught:
        reason, code = "interrupted" + (f"; {caught}" if str(caught) else ""), INTERRUPTED
    _complain(parser, arguments, reason, error)
    return code


def _complain(parser: argparse.ArgumentParser, arguments: argparse.Namespace, reason: str, error: FastLSTMError | None) -> None:
    """Say why it could not be done: on standard error or, with --json, as JSON on standard output, if no file is written to there."""
    target = getattr(arguments, "target", None) or getattr(arguments, "output", None)
    taken = isinstance(error, terminal.OutputError) or (target and replacing.is_standard_output(str(target)))
    if outcome.is_json(arguments) and not taken:
        with suppress(terminal.OutputError, BrokenPipeError):  # then the reason is said on standard error
            outcome.give_json(outcome.failure(type(error).__name__ if error else "error", reason, error))
            return
    said = "\n".join(map(terminal.one_line, reason.split("\n")))
    terminal.complain(f"{parser.prog}: {terminal.coloured('error:', 'red', sys.stderr)} {said}")


class _Version(argparse.Action):
    """Asks for the kernels only when it must: they may be missing."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        with terminal.output() as stream:
            stream.write(f"fastlstm {__version__}, {runtime.level()} kernels\n")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """What ``fastlstm`` understands."""
    whole = Parser("fastlstm", description=texts.DESCRIPTION, epilog=texts.EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    whole.add_argument("--version", action=_Version, nargs=0, help="show the version and which kernels this CPU runs, and exit")
    options.add_telling(whole, json=False)
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, short: str, long: str, examples: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=short, description=long, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
        )

    _add_convert(add("convert", "write a .fastlstm file", texts.CONVERT, texts.CONVERT_EXAMPLES.format(prog="fastlstm convert")))
    _add_describe(add("describe", "show what a file holds", texts.DESCRIBE, texts.DESCRIBE_EXAMPLES))
    _add_describe(add("inspect", "the same, also of weights alone", texts.DESCRIBE, texts.DESCRIBE_EXAMPLES), weights_alone=True)
    _add_predict(add("predict", "compute a model's outputs", texts.PREDICT, texts.PREDICT_EXAMPLES))
    evaluating.add(add("evaluate", "compute loss and metrics", texts.EVALUATE, texts.EVALUATE_EXAMPLES))
    _add_verify(add("verify", "check a file's results on this machine", texts.VERIFY, texts.VERIFY_EXAMPLES))
    _add_bench(add("bench", "time a model, beside other engines", texts.BENCH, texts.BENCH_EXAMPLES))
    serving.add(add("serve", "answer over HTTP and WebSocket", texts.SERVE, texts.SERVE_EXAMPLES))
    _add_demo(add("demo", "forecast sunspots", texts.DEMO, texts.DEMO_EXAMPLES))
    complete = add("completion", "print what completes commands in a shell", texts.COMPLETION, texts.COMPLETION_EXAMPLES)
    complete.add_argument("shell", choices=completion.SHELLS)
    complete.set_defaults(command=partial(completion.run, parser=whole))
    return whole


def _add_convert(command: argparse.ArgumentParser) -> None:
    completed(command.add_argument("source", metavar="SRC", type=path, help="a file that Keras saved"))
    completed(command.add_argument("target", metavar="DST", type=path, help="the .fastlstm file to write"))
    options.add_precision(command)
    options.add_file_arguments(command)
    options.add_cut(command)
    command.add_argument("--no-verify", action="store_true", help="do not check the recorded cases")
    command.add_argument("--keras", action="store_true", help="check against an installed Keras of the file's generation too")
    options.add_telling(command)
    command.set_defaults(command=running.run_convert)


def _add_describe(command: argparse.ArgumentParser, *, weights_alone: bool = False) -> None:
    completed(command.add_argument("file", metavar="FILE", type=path))
    completed(command.add_argument("--svg", metavar="OUT", type=path, help="draw the graph of layers, and where each runs, into this file"))
    what = "weights-only files: write what can be told of the model as its JSON, with marks on what is assumed, into this new file (or -)"
    completed(command.add_argument("--draft", metavar="JSON", type=path, help=what))
    command.add_argument("--report", action="store_true", help="print a report for an issue: the structure, without weights and paths")
    command.add_argument("--anonymous", action="store_true", help="a report without the names of layers")
    options.add_precision(command)
    options.add_file_arguments(command)
    options.add_cut(command)
    options.add_telling(command)
    command.set_defaults(command=inspecting.run, weights_alone=weights_alone)


def _add_predict(command: argparse.ArgumentParser) -> None:
    completed(command.add_argument("model", metavar="MODEL", type=path))
    what = ", ".join(kinds.ENDINGS) + " file, a folder or pattern of them, or - for standard input"
    completed(command.add_argument("input", metavar="INPUT", type=path, help=what))
    what = "file of one of these kinds, or - for standard output; a folder, where INPUT is several files (default: print as CSV)"
    completed(command.add_argument("-o", "--output", metavar="OUT", type=options.output_path, help=what))
    command.add_argument("--series", action="store_true", help="CSV: the whole file is one row of the batch, a line is a timestep")
    _add_threads(command)
    jobs.add(command)
    options.add_precision(command)
    options.add_file_arguments(command)
    options.add_cut(command, "--layer")
    options.add_telling(command)
    command.set_defaults(command=running.run_predict)


def _add_verify(command: argparse.ArgumentParser) -> None:
    completed(command.add_argument("file", metavar="FILE", type=path))
    command.add_argument("--keras", action="store_true", help="compare a file of Keras with an installed Keras of its generation")
    options.add_architecture(command)
    options.add_reading(command)
    options.add_telling(command)
    command.set_defaults(command=running.run_verify)


def _add_bench(command: argparse.ArgumentParser) -> None:
    completed(command.add_argument("file", metavar="FILE", type=path))
    names = ",".join(comparison.ENGINES)
    command.add_argument(
        "--vs", metavar="ENGINES", type=benching.engines, help=f"the engines beside fastlstm (default: {names}); '' for none"
    )
    command.add_argument("--rows", metavar="N,N", type=options.numbers, help="rows of a call (default: 1,32, or what the file fixes)")
    command.add_argument("--timesteps", metavar="N", type=options.positive, help="where the model leaves their number open (default: 100)")
    _add_threads(command, "threads of each engine (default: 1)")
    completed(command.add_argument("--onnx", metavar="FILE", type=path, help="the same model for ONNX Runtime"))
    completed(command.add_argument("--plot", metavar="OUT", type=path, help="draw the bars into this .svg file"))
    options.add_precision(command)
    options.add_file_arguments(command)
    options.add_cut(command)
    options.add_telling(command)
    command.set_defaults(command=benching.run)


def _add_demo(command: argparse.ArgumentParser) -> None:
    what = "draw actual and forecast numbers into this image file"
    completed(command.add_argument("--plot", metavar="OUT", type=path, help=what))
    options.add_telling(command)
    command.set_defaults(command=running.run_demo)


def _add_threads(command: argparse.ArgumentParser, what: str = "threads that share the work (default: 1)") -> None:
    command.add_argument("--threads", metavar="N", type=options.positive, default=1, help=what)
