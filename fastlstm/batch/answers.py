"""What a model or pipeline answers, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import TensorInfo, told
from ..model import Model
from ..pipeline import Pipeline
from ..preprocessing.labels import as_array
from ..records import record
from ..spec import STRING, Shape
from ..surroundings import Labelled
from .binding import listed
from .values import Values

#: What a pipeline with labels answers, unless it is asked for other things.
LABEL, PROBABILITY, PROBABILITIES = "label", "probability", "probabilities"


@record(frozen=True)
class Output:
    """Something that a model gives for each row."""

    name: str
    shape: Shape  # rows first
    dtype: np.dtype[Any]


def outputs_of(model: Model[Any] | Pipeline) -> tuple[Output, ...]:
    """All that there is to be had."""
    if isinstance(model, Model):
        return tuple(Output(info.name, _column(info.shape), _dtype(info)) for info in model.outputs)
    infos = model.model.outputs
    if model.labels:
        shape, dtype = infos[0].shape, _dtype(infos[0])
        by_label = (*shape[:-1], len(model.labels))
        labels = as_array(model.labels)
        text = labels.dtype.kind in "UO"
        return (
            Output(LABEL, shape[:-1], np.dtype(str) if text else labels.dtype), Output(PROBABILITY, shape[:-1], dtype),
            Output(PROBABILITIES, by_label, dtype),
        )  # fmt: skip
    inverse = model.spec.inverse is not None
    return tuple(Output(info.name, _column(info.shape), np.dtype(np.float64) if inverse else _dtype(info)) for info in infos)


def _dtype(info: TensorInfo) -> np.dtype[Any]:
    return np.dtype(str) if info.dtype == STRING else np.dtype(info.dtype)


def _column(shape: Shape) -> Shape:
    """One value a row is a column."""
    return shape[:1] if len(shape) > 1 and all(size == 1 for size in shape[1:]) else shape


def checked_outputs(outputs: Any) -> Any:
    """The argument ``outputs``, before the model is known."""
    if outputs is None or isinstance(outputs, str):
        return outputs
    if isinstance(outputs, Mapping):
        pairs = [*outputs, *outputs.values()]
    else:
        pairs = list(outputs) if isinstance(outputs, (list, tuple)) else [None]
    if not pairs or not all(isinstance(one, str) for one in pairs):
        raise InputError(f"outputs: expected the name of a column, a list of names, or a dict of these by output, found {told(outputs)}")
    names = list(outputs.values()) if isinstance(outputs, Mapping) else pairs
    if len(set(names)) < len(names):
        raise InputError(f"outputs: expected columns of different names, found {told(names)}")
    return dict(outputs) if isinstance(outputs, Mapping) else names


def named(outputs: Any, found: Sequence[Output]) -> dict[str, str]:
    """By output that is wanted, its column.

    Raises
    ------
    InputError
        If there is no such output, or there are more of them than names.
    """
    every = [output.name for output in found]
    usual = [LABEL, PROBABILITY] if every == [LABEL, PROBABILITY, PROBABILITIES] else every
    if outputs is None:
        return dict(zip(usual, usual, strict=True))
    if isinstance(outputs, Mapping):
        unknown = [name for name in outputs if name not in every]
        if unknown:
            raise InputError(f"outputs: expected outputs among {listed(every)}, found {unknown[0]!r}")
        return dict(outputs)
    names = [outputs] if isinstance(outputs, str) else list(outputs)
    if len(names) != len(usual):
        example = f"outputs={{{usual[0]!r}: {names[0]!r}}}"
        raise InputError(f"outputs: expected a column for each of {listed(usual)}, or a dict such as {example}, found {told(outputs)}")
    return dict(zip(usual, names, strict=True))


def returned(y: Any) -> list[np.ndarray]:
    """What ``predict`` returns of rows, in the order of :func:`outputs_of`."""
    if isinstance(y, Labelled):
        probabilities = np.asarray(y.probabilities)
        found = [y.labels, probabilities.max(axis=-1), probabilities]
    elif isinstance(y, Mapping):
        found = list(y.values())
    else:
        found = list(y) if isinstance(y, list) else [y]
    return [np.asarray(one) for one in found]


def column(array: np.ndarray, output: Output) -> np.ndarray:
    """An output as its column has it."""
    if array.dtype == object:
        texts = [one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in array.reshape(-1).tolist()]
        array = np.array(texts, dtype=str).reshape(array.shape)
    return array.reshape(len(array)) if len(output.shape) == 1 and array.ndim > 1 else array


def none(output: Output) -> Values:
    """No rows."""
    return Values(np.zeros((0, *(size or 1 for size in output.shape[1:])), output.dtype))
