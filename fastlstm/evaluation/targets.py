"""Targets and weights that callers give, checked against what the model predicts. Every refusal names argument, expected and found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import as_array


def each(value: Any, names: Sequence[str], argument: str, several_of: int) -> list[Any]:
    """One for each output: of a list in order, of a dict by name. A single one where the model has one output."""
    if isinstance(value, Mapping):
        extra = [str(key) for key in value if key not in names]
        if extra:
            raise InputError(f"{argument}: expected a dict with the keys {', '.join(names)}, found {', '.join(extra)}")
        return [value.get(name) for name in names]
    if len(names) == 1:
        # Keras's way: a list with the one array.
        alone = isinstance(value, (list, tuple)) and len(value) == 1 and isinstance(value[0], np.ndarray) and value[0].ndim >= 1
        return [value[0] if alone and (len(value[0]) == several_of or several_of != 1) else value]
    if not isinstance(value, (list, tuple)) or len(value) != len(names):
        found = f"{len(value)} of them" if isinstance(value, (list, tuple)) else type(value).__name__
        raise InputError(f"{argument}: expected a list of {len(names)} arrays ({', '.join(names)}) or a dict by these names, found {found}")
    return list(value)


def first_rows(value: Any, rows: int, most: int) -> Any:
    """The targets, or weights, of the first of so many rows."""
    if most == rows or not hasattr(value, "__len__") or len(value) != rows:
        return value
    return value[:most] if isinstance(value, (list, tuple)) else as_array(value, "y", (rows,))[:most]


def numbers(value: Any, argument: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """An array of numbers, as float64 of what float32 holds."""
    array = as_array(value, argument, shape)
    if array.dtype.kind not in "biuf":
        raise InputError(f"{argument}: expected numbers, found {type(value).__name__} of dtype {array.dtype}")
    if array.ndim == 0:
        raise InputError(f"{argument}: expected an array with a row for each prediction, found a single number")
    return array


def rounded(array: np.ndarray, wide: bool) -> np.ndarray:
    """As the model computes, then in float64."""
    with np.errstate(over="ignore"):
        return array.astype(np.float64 if wide else np.float32).astype(np.float64)


def filled(value: Any, lengths: list[int], argument: str) -> Any:
    """A list of sequences as one array, as long as the longest prediction."""
    if not isinstance(value, (list, tuple)) or len(value) != len(lengths):
        return value
    rows = [numbers(row, f"{argument}[{number}]", (length,)) for number, (row, length) in enumerate(zip(value, lengths, strict=True))]
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if len(row) != length:
            raise InputError(f"{argument}[{number}]: expected {length} timesteps, as many as x[{number}] has, found {len(row)}")
    out = np.zeros((len(rows), max(lengths, default=0), *rows[0].shape[1:]), np.float64)
    for number, row in enumerate(rows):
        if row.shape[1:] != out.shape[2:]:
            raise InputError(f"{argument}[{number}]: expected the shape of the other rows, found {row.shape}")
        out[number, : len(row)] = row
    return out


def target(value: Any, p: np.ndarray, lengths: list[int] | None, name: str, sparse: bool) -> np.ndarray:
    """The targets of one output, with a row for each prediction.

    Parameters
    ----------
    value
        What the caller gave.
    p
        The predictions.
    lengths
        The timesteps of each row, where rows differ.
    name
        The argument, for messages.
    sparse
        May they be numbers of classes, without an axis of features?
    """
    if lengths is not None:
        value = filled(value, lengths, name)
    y = numbers(value, name, p.shape)
    if len(y) != len(p):
        raise InputError(f"{name}: expected {len(p)} rows, as many as x has, found {len(y)}")
    shape = y.shape
    if y.ndim == 1 and p.ndim == 2:
        y = y[:, np.newaxis]
    fits = y.shape == p.shape or (y.ndim == p.ndim - 1 and p.shape[-1] == 1 and y.shape == p.shape[:-1])
    if sparse:
        fits = fits or y.shape in (p.shape[:-1], (*p.shape[:-1], 1))
    if not fits:
        hint = f" or numbers of classes of shape {p.shape[:-1]}, with a loss that takes them," if not sparse and p.shape[-1] > 1 else ""
        raise InputError(f"{name}: expected shape {p.shape}, that of the predictions,{hint} found {shape}")
    return y


def weights(value: Any, p: np.ndarray, lengths: list[int] | None, name: str, temporal: bool) -> np.ndarray | None:
    """The weights of one output's rows, or of their timesteps."""
    if value is None:
        return None
    if lengths is not None and isinstance(value, (list, tuple)) and any(np.ndim(one) for one in value[:1]):
        value = filled(value, lengths, name)
    w = rounded(numbers(value, name, (len(p),)), False)
    if w.ndim == 2 and w.shape[1] == 1 and p.ndim == 2:
        w = w[:, 0]
    if w.shape not in (p.shape[:1], p.shape[:2]) and w.shape != p.shape[:-1]:
        steps = f" or {p.shape[:2]}, one for each timestep" if p.ndim > 2 else ""
        raise InputError(f"{name}: expected shape {p.shape[:1]}, one for each row,{steps} found {w.shape}")
    if w.ndim > 1 and not temporal:
        raise InputError(
            f"{name}: expected shape {p.shape[:1]}, one for each row, as the model was not compiled with sample_weight_mode='temporal', "
            f"found {w.shape}"
        )
    return w
