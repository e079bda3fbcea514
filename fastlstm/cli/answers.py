"""What a pipeline makes of a file: its raw input, and its answers as files and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import TensorInfo
from ..model import Model
from ..pipeline import Pipeline
from ..replacing import writing
from ..spec import STRING
from ..surroundings import Labelled
from . import arrayfiles, csvlines, terminal

#: The name of a column of texts.
TEXT = "text"
#: That of a column of labels.
LABEL = "label"


def raw_inputs(pipeline: Pipeline) -> tuple[TensorInfo, ...]:
    """The inputs of a pipeline, as its files have them."""
    spec, inputs = pipeline.spec, pipeline.model.inputs
    if spec.words is not None:
        return (replace(inputs[0], name=TEXT, shape=(None,), dtype=STRING),)
    if spec.window is not None and len(inputs[0].shape) > 1:
        return (replace(inputs[0], shape=(None, spec.window, *inputs[0].shape[2:])),)
    return inputs


def taken(loaded: Model[Any] | Pipeline) -> tuple[TensorInfo, ...]:
    """What files for a model, or a pipeline, have."""
    return raw_inputs(loaded) if isinstance(loaded, Pipeline) else loaded.inputs


def read(path: Path, pipeline: Pipeline, *, series: bool = False) -> list[Any]:
    """What the network gets of a file of raw input; arguments and errors as for :func:`read_raw`."""
    raw = read_raw(path, pipeline, series=series)
    return list(raw) if len(pipeline.model.inputs) > 1 else [pipeline.prepare(raw)]


def read_raw(path: Path, pipeline: Pipeline, *, series: bool = False) -> Any:
    """A file of raw input, as ``pipeline.predict`` takes it.

    Parameters
    ----------
    path
        As for :func:`arrayfiles.read`; a file of texts where the pipeline takes texts.
    pipeline
        The pipeline.
    series
        CSV only: the file is one series, of which every window is computed; a line is a timestep.

    Raises
    ------
    InputError
        If the file does not hold what the pipeline takes.
    """
    rows = arrayfiles.read(path, raw_inputs(pipeline), series=series)
    if len(rows) > 1:
        return rows
    return rows[0][0] if series else rows[0]


def labels_in(path: Path, pipeline: Pipeline) -> list[str] | None:
    """The labels that a file of texts holds, one a row; None where it is one of numbers or arrays."""
    ending = path.suffix.lower()
    if ending in (".npy", ".npz") or not (ending == ".txt" or any(isinstance(label, str) for label in pipeline.labels)) or is_table(path):
        return None
    (rows,) = arrayfiles.read(path, [TensorInfo(LABEL, (None,), STRING)])
    return list(rows)


def is_table(path: Path) -> bool:
    """Does a .csv file have several numbers in a line?"""
    if path.suffix.lower() != ".csv":
        return False
    try:
        return any(len(line.values) > 1 for line in csvlines.read(path))
    except (InputError, OSError):  # texts, or what reading it as such tells
        return False


def of(pipeline: Pipeline, outputs: Mapping[str, arrayfiles.Rows]) -> Mapping[str, Any] | Labelled:
    """The answers to outputs, by name; or labels."""
    if len(outputs) > 1:
        return outputs
    ((name, y),) = outputs.items()
    answer = pipeline.finish(y)
    return answer if isinstance(answer, Labelled) else {name: answer}


def write(path: Path | None, answer: Labelled, labels: Sequence[Any]) -> None:
    """Write labels and probabilities.

    Parameters
    ----------
    path
        A ``.csv`` or ``.npz`` file; None: standard output, as CSV.
    answer
        Them.
    labels
        All that there are, in order.

    Raises
    ------
    InputError
        If it is a ``.npy`` file, which holds one array, or cannot be written.
    """
    if path is not None and path.suffix.lower() == ".npy":
        raise InputError(f"{path}: a .npy file holds one array, an answer has labels and probabilities: expected a .csv or .npz file")
    if path is None:
        with terminal.output() as printed:
            printed.writelines(lines(answer, labels))
    elif path.suffix.lower() == ".csv":
        with writing(path) as stream:
            stream.writelines(line.encode("utf-8", "backslashreplace") for line in lines(answer, labels))
    else:
        arrayfiles.write(path, {"labels": as_text(answer.labels), "probabilities": answer.probabilities})


def as_text(labels: Any) -> Any:
    """Labels of several kinds as texts: a .npz file holds no objects."""
    if isinstance(labels, list):
        return [as_text(row) for row in labels]
    return labels.astype(str) if labels.dtype == object else labels


def lines(answer: Labelled, labels: Sequence[Any]) -> Iterator[str]:
    """CSV: a heading, and a line for each row, its label and the probability of each; of labels by timestep a line of labels."""
    found = answer.probabilities
    if isinstance(found, list) or found.ndim != len(("rows", "labels")):
        yield from (line([str(label) for label in np.ravel(row)]) for row in answer.labels)
        return
    yield line(["label", *map(str, labels)])
    digits = arrayfiles.digits(found.dtype)
    for label, row in zip(answer.labels.tolist(), found.tolist(), strict=True):
        yield line([str(label), *(f"{value:.{digits}g}" for value in row)])


def line(cells: Sequence[str]) -> str:
    """A line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
