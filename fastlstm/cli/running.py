"""The commands ``predict``, ``convert``, ``verify`` and ``demo``."""

from __future__ import annotations

import argparse
import dataclasses
import io
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import demo, replacing
from ..api import ConversionReport, Verification, convert, verify
from ..errors import InputError
from ..listing import one_line
from ..model import Model
from ..pipeline import Pipeline, load_either
from ..selftest import Comparison
from ..spec import STRING
from . import answers, arrayfiles, jobs, options, outcome, progress, terminal, textfiles

FAILED = 1


def run_predict(arguments: argparse.Namespace) -> int:
    """Compute a model's outputs."""
    if jobs.asked(arguments):
        return jobs.run(arguments)
    arguments.output = None if arguments.output is None else Path(arguments.output)
    if arguments.output is not None:
        replacing.checked(arguments.output, arguments.model, arguments.input, arguments.architecture)
    with options.told_as_options(), progress.shown(f"loading {one_line(arguments.model)}", outcome.bar_of(arguments)):
        loaded = load_either(arguments.model, threads=arguments.threads, precision=arguments.precision, **options.reading(arguments))
    pipeline = loaded if isinstance(loaded, Pipeline) else None
    model = loaded.model if isinstance(loaded, Pipeline) else loaded
    if arguments.input == textfiles.STANDARD_INPUT and not any(info.dtype == STRING for info in answers.taken(loaded)):
        return jobs.run(arguments)
    if pipeline is not None:
        inputs = answers.read(Path(arguments.input), pipeline, series=arguments.series)
    else:
        inputs = arrayfiles.read(Path(arguments.input), model.inputs, series=arguments.series)
    if pipeline is None and not (arguments.series or outcome.is_quiet(arguments)):
        _note_short_sequences(arguments.input, model, inputs)
    start, as_json = time.perf_counter(), outcome.is_json(arguments) and arguments.output is None
    labels = () if pipeline is None else pipeline.labels
    parts = progress.parts(model, inputs, outcome.bar_of(arguments) or io.StringIO())
    try:
        if pipeline is None and not as_json and arrayfiles.streams(arguments.output, Path(arguments.input), len(model.outputs)):
            answer: Any = arrayfiles.write_parts(arguments.output, parts)
        else:
            outputs = progress.joined(model, parts)
            answer = outputs if pipeline is None else answers.of(pipeline, outputs)
            if not as_json:
                (answers.write(arguments.output, answer, labels) if labels else arrayfiles.write(arguments.output, answer))
    except terminal.OutputError:
        raise
    except InputError as error:
        raise InputError(_named(arguments, str(error))) from error
    seconds = time.perf_counter() - start
    if outcome.is_json(arguments) and not (arguments.output is not None and replacing.is_standard_output(str(arguments.output))):
        outcome.give_json(_predicted(arguments, len(inputs[0]), answer._asdict() if labels else answer, seconds))
    return 0


def _named(arguments: argparse.Namespace, reason: str) -> str:
    """A reason with the file that it is about."""
    return reason if reason.startswith(f"{arguments.output}: ") else f"{arguments.input}: {reason}"


def _note_short_sequences(path: str, model: Model, inputs: Any) -> None:
    """A .csv file with a timestep on each line is easily taken for one sequence, which only --series makes of it."""
    shape = model.inputs[0].shape
    one_step = len(inputs) == 1 and len(shape) > 1 and shape[1] is None and len(inputs[0]) > 1 and all(len(row) == 1 for row in inputs[0])
    if one_step and path.lower().endswith(".csv"):
        terminal.complain(f"{one_line(path)}: read as {len(inputs[0])} sequences of 1 timestep; if it is one sequence, pass --series")


def _predicted(arguments: argparse.Namespace, rows: int, outputs: Mapping[str, arrayfiles.Rows], seconds: float) -> dict[str, Any]:
    """What was predicted: the numbers, or the file that has them."""
    found: dict[str, Any] = {"model": arguments.model, "rows": rows, "seconds": seconds, "outputs": []}
    if arguments.output is not None:
        found["file"] = str(arguments.output)
    for name, values in outputs.items():
        shape = [len(values), None] if isinstance(values, list) else values.shape
        found["outputs"].append({"name": name, "shape": shape, **({} if arguments.output is not None else {"values": values})})
    return found


def run_convert(arguments: argparse.Namespace) -> int:
    """Write a .fastlstm file."""
    into_output = replacing.is_standard_output(arguments.target)
    with options.told_as_options(), progress.shown(f"reading {one_line(arguments.source)}", outcome.bar_of(arguments)):
        report = convert(
            arguments.source, arguments.target, verify=not arguments.no_verify, keras=arguments.keras, precision=arguments.precision,
            **options.reading(arguments),
        )  # fmt: skip
    if into_output:  # the report does not belong into the model
        if not outcome.is_quiet(arguments):
            terminal.complain(one_line(str(report)))
    else:
        outcome.give(arguments, _converted(report), [one_line(str(report))], report=True)
    return 0


def _converted(report: ConversionReport) -> dict[str, Any]:
    return {**dataclasses.asdict(report), "cases": [_case(case) for case in report.cases]}


def _case(case: Comparison) -> dict[str, Any]:
    return {**dataclasses.asdict(case), "equal": case.equal}


def run_verify(arguments: argparse.Namespace) -> int:
    """Rerun the cases of a file."""
    with progress.shown(f"reading {one_line(arguments.file)}", outcome.bar_of(arguments)):
        report = verify(arguments.file, architecture=arguments.architecture, keras=arguments.keras, **options.bounds(arguments))
    outcome.give(arguments, _verified(report), _coloured(report), report=report.passed)
    return 0 if report.passed else FAILED


def _verified(report: Verification) -> dict[str, Any]:
    found = [(report.against, report.recorded), (f"Keras {report.keras_version}", report.keras)]
    return {
        "file": report.source,
        "verified": report.passed,
        "altered": report.altered,
        "cases": [{"against": against, **_case(case)} for against, cases in found for case in cases],
    }


def _coloured(report: Verification) -> Iterator[str]:
    """The lines of a report, those that are not well in red."""
    for number, line in enumerate(str(report).splitlines()):
        line = one_line(line)
        if number == 0:
            yield terminal.coloured(line, "green" if report.passed else "red")
        else:
            yield terminal.coloured(line, "red") if " DIFFERENT " in line or line.startswith("  altered") else line


def run_demo(arguments: argparse.Namespace) -> int:
    """Forecast sunspots."""
    if arguments.plot is not None:
        replacing.checked(arguments.plot, *demo.FILES)
    result = demo.run()
    lines: list[str] = []
    demo.report(result, lines.append)
    if arguments.plot is not None:
        demo.plot(result, arguments.plot)
        lines.append(f"drawn into {arguments.plot}")
    outcome.give(arguments, _demonstrated(arguments, result), lines, report=arguments.plot is not None)
    return 0


def _demonstrated(arguments: argparse.Namespace, result: demo.Result) -> dict[str, Any]:
    return {
        "generation": result.generation,
        "forecasts": len(result.first),
        "scores": [score._asdict() for score in result.scores],
        "largest_difference_from_keras": result.difference,
        "load_seconds": result.load_seconds,
        "load_again_seconds": result.load_again_seconds,
        "predict_seconds": result.predict_seconds,
        "one_seconds": result.one_seconds,
        "plot": arguments.plot,
    }
