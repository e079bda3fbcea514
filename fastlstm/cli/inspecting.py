"""The command ``describe``, or ``inspect``: what a file holds; as text, JSON, a picture, or a report for an issue.

They differ in weights alone: ``describe`` fails, as there is no model to describe, and ``inspect`` shows what they tell.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence

from .. import replacing
from ..api import Description, describe
from ..drawing import picture, saving
from ..drawing.text import shape_text
from ..errors import FastLSTMError, WeightsAloneError
from ..listing import LayerInfo
from ..spec import FLOAT32
from . import drafting, options, outcome, progress, report, terminal

FAILED = 1
#: How layers run that are worth a colour.
COLOURS = {"NumPy": "yellow", "your function": "magenta", "unsupported": "red", "folded": "green"}


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    target, wanted = None, arguments.report or arguments.anonymous
    if arguments.draft is not None:
        return drafting.run(arguments)
    if arguments.svg is not None:
        target = saving.checked_picture(arguments.svg, arguments.file, arguments.architecture, name="--svg")
    try:
        with options.told_as_options(), progress.shown(f"reading {terminal.one_line(arguments.file)}", outcome.bar_of(arguments)):
            description = describe(arguments.file, precision=arguments.precision, **options.reading(arguments))
    except FastLSTMError as error:
        if isinstance(error, WeightsAloneError) and arguments.weights_alone and not wanted and target is None:
            return drafting.run(arguments)
        if not wanted:
            raise
        _report(arguments, report.of_failure(error, arguments))
        return FAILED
    if target is not None:  # first, as whoever reads the text may go away
        saving.keep(picture.of_model(description.outline, description.layers, description.outline.name), target)
        if replacing.is_standard_output(target):  # which is the picture then
            return FAILED if description.problems else 0
    if wanted:
        _report(arguments, report.of(description, arguments))
    else:
        outcome.give(arguments, as_json(description), as_text(description))
    return FAILED if description.problems else 0


def _report(arguments: argparse.Namespace, found: report.Report) -> None:
    outcome.give(arguments, found, report.markdown(found))


def as_json(description: Description) -> dict[str, object]:
    """A description for programs."""
    return {
        "file": description.source,
        "generation": description.generation,
        "supported": not description.problems,
        "inputs": [{"name": name, "shape": shape} for name, shape in description.inputs],
        "outputs": [{"name": name, "shape": shape} for name, shape in description.outputs],
        "parameters": description.parameters,
        **precision_of(description),
        **({"pipeline": {"before": description.before, "after": description.after}} if description.before + description.after else {}),
        "layers": [dataclasses.asdict(layer) for layer in description.layers],
        "problems": [problem._asdict() for problem in description.problems],
    }


def precision_of(description: Description) -> dict[str, object]:
    """What a model is computed in, where that is not float32."""
    if description.precision == FLOAT32:
        return {}
    asked, used, why = description.precision, description.precision_used, description.precision_why
    return {"precision": {"asked": asked, "used": used, "why": why}}


def as_text(description: Description) -> Iterator[str]:
    """The lines of a description for people."""
    yield terminal.one_line(f"{description.source}: {description.generation}")
    for title, tensors in (("input", description.inputs), ("output", description.outputs)):
        yield from (terminal.one_line(f"{title:<8}{name}  {shape_text(shape)}") for name, shape in tensors)
    around = (("before", description.before), ("after", description.after))
    yield from (terminal.one_line(f"{title:<8}{line}") for title, lines in around for line in lines)
    if description.precision != FLOAT32:
        why = f" ({description.precision_why})" if description.precision_why else ""
        yield terminal.one_line(f"{description.precision} asked for, computed in {description.precision_used}{why}")
    yield from ("", *_table(description.layers), "", f"{description.parameters:,} parameters")
    if description.problems:
        yield from ("", terminal.coloured("cannot be computed as Keras would:", "red"))
        yield from (terminal.one_line(f"  - {problem}") for problem in description.problems)


def _table(layers: Sequence[LayerInfo]) -> list[str]:
    rows = [("layer", "class", "output shape", "parameters", "runs")]
    rows += [
        (terminal.one_line(layer.name), terminal.one_line(layer.class_name), shape_text(layer.output_shape), f"{layer.parameters:,}",
         layer.runs)
        for layer in layers
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {shape:<{widths[2]}}  {parameters:>{widths[3]}}  {_coloured(runs)}".rstrip()
        for name, kind, shape, parameters, runs in rows
    ]
    return [terminal.coloured(lines[0], "bold"), "-" * (sum(widths) + 8), *lines[1:]]


def _coloured(runs: str) -> str:
    return terminal.coloured(runs, COLOURS[runs]) if runs in COLOURS else runs
