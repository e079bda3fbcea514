"""What callers get: arrays of their own, in the form in which Keras returns them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import InputError
from .spec import ModelSpec


def copies(outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs of ``apply`` as arrays of their own: a layer may have given back its very input, or a constant of the model."""
    return [np.array(y, order="C") for y in outputs]


def unlike(rows: Sequence[np.ndarray]) -> bool:
    """Have rows other shapes than each other?"""
    return len({row.shape for row in rows}) > 1


def as_returned(spec: ModelSpec, outputs: Sequence[Any]) -> Any:
    """Outputs as Keras's ``predict`` returns them: one, a list, or a dict."""
    if spec.output_kind == "single":
        return outputs[0]
    if spec.output_kind == "dict":
        return dict(zip(spec.output_names, outputs, strict=True))
    return list(outputs)


def joined(parts: Sequence[Sequence[np.ndarray]], batch: int, rows: int) -> list[np.ndarray]:
    """The outputs of batches, one after another."""
    if any(len({y.shape[1:] for y in part}) > 1 for part in zip(*parts, strict=True)):
        raise InputError(f"x: expected a number of rows that batch_size={batch} divides, as the output's shape depends on it, found {rows}")
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def report(rows: int, start: float | None) -> None:
    """The line that ``verbose`` asks for; None: it does not."""
    if start is not None:
        print(f"{rows}/{rows} rows, {(time.perf_counter() - start) * 1e3:.1f} ms", file=sys.stderr)
