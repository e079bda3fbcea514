"""What users pass to ``predict``, made into the arrays that kernels read. Every refusal names argument, expected and found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .errors import InputError
from .layers.base import nonzero
from .spec import WHOLE, Shape


class InputInfo(NamedTuple):
    """One input of a model."""

    name: str
    shape: Shape  # batch first
    dtype: str  # "float32", "float64"; "int32" where only ids are read
    vocabulary: int | None  # ids must be below
    declared: str = "float32"  # the dtype that the file declares
    fed: bool = False  # does Keras cast what is given straight to the declared dtype, not by way of float32?


class Ragged(NamedTuple):
    """Sequences of different lengths, padded to the longest for the kernels, which never compute the padding."""

    padded: np.ndarray  # (batch, longest, ...)
    lengths: np.ndarray  # (batch,)


def gather(x: Any, infos: Sequence[InputInfo]) -> list[np.ndarray] | Ragged:
    """Check ``x`` against the model's inputs and cast it as Keras does.

    Returns
    -------
    list of numpy.ndarray, or Ragged
        C-contiguous arrays, one an input; Ragged for a list of sequences.

    Raises
    ------
    InputError
        If ``x`` does not fit.
    """
    if isinstance(x, Mapping):
        return _same_rows([cast(value, info) for value, info in zip(_by_name(x, infos), infos, strict=True)], infos)
    if len(infos) == 1:
        info = infos[0]
        if isinstance(x, (list, tuple)) and x:
            if len(x) == 1 and _rank(x[0]) == len(info.shape) and not _is_nested(x[0]):
                x = x[0]  # Keras's way: a list with the one input
            elif _is_ragged(x, len(info.shape)):
                return _pad([cast_row(row, n, info) for n, row in enumerate(x)], info)
        return [cast(x, info)]
    if not isinstance(x, (list, tuple)) or len(x) != len(infos):
        names = ", ".join(info.name for info in infos)
        found = f"{len(x)} of them" if isinstance(x, (list, tuple)) else type(x).__name__
        raise InputError(f"x: expected a list of {len(infos)} arrays ({names}) or a dict by these names, found {found}")
    return _same_rows([cast(value, info) for value, info in zip(x, infos, strict=True)], infos)


def cast(value: Any, info: InputInfo) -> np.ndarray:
    """One input as a checked, C-contiguous array of the dtype that the model reads."""
    array = _array(value, info)
    if array.ndim == 1 and len(info.shape) == 2 and info.shape[1] in (1, None):
        array = array[:, np.newaxis]  # as Keras: a vector is a column
    if array.ndim != len(info.shape) or any(
        expected is not None and expected != found for expected, found in zip(info.shape[1:], array.shape[1:], strict=True)
    ):
        hint = "; for a single example pass x[np.newaxis]" if array.shape == info.shape[1:] or array.ndim == len(info.shape) - 1 else ""
        raise InputError(f"input {info.name!r}: expected shape {shape_text(info.shape)}, found {shape_text(array.shape)}{hint}")
    if 0 in array.shape[1:]:
        raise InputError(f"input {info.name!r}: expected at least one timestep, found shape {shape_text(array.shape)}")
    return _typed(array, info)


def cast_row(value: Any, number: int, info: InputInfo) -> np.ndarray:
    """One sequence of a ragged list: (timesteps, ...), one rank less than the model's input."""
    array = _array(value, info, f" sequence {number}")
    expected = info.shape[1:]
    if array.ndim != len(expected) or expected[1:] != array.shape[1:] or expected[0] not in (None, array.shape[0]):
        raise InputError(
            f"input {info.name!r}: expected a list of sequences of shape {shape_text(expected)}, "
            f"found {shape_text(array.shape)} for sequence {number}"
        )
    if 0 in array.shape:
        raise InputError(f"input {info.name!r}: expected at least one timestep, found {shape_text(array.shape)} for sequence {number}")
    return _typed(array, info)


def _array(value: Any, info: InputInfo, where: str = "") -> np.ndarray:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InputError(f"input {info.name!r}{where}: expected numbers of shape {shape_text(info.shape)}, found {error}") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"input {info.name!r}{where}: expected numbers, found {type(value).__name__} of dtype {array.dtype}")
    return array


def _typed(array: np.ndarray, info: InputInfo) -> np.ndarray:
    whole = info.declared in WHOLE
    if array.dtype.kind == "f" and whole and info.fed:
        array = np.trunc(array)
    if info.dtype != "int32":
        return _floats(_floats(array, "float32") if whole and array.dtype.kind == "f" else array, info.dtype)
    if array.dtype.kind == "f":
        array = _floats(array, "float64" if info.declared == "float64" or (info.fed and whole) else "float32")
    if array.size:
        low, high = array.min(), array.max()
        if not (low > -1 and high < info.vocabulary):  # so that NaN fails too; floats are cut to integers as Keras does
            raise InputError(
                f"input {info.name!r}: expected ids from 0 to {info.vocabulary - 1 if info.vocabulary else 0}, found {low} to {high}"
            )
    ids = np.ascontiguousarray(array, dtype=np.int32)
    # Keras masks what equals 0 before it cuts fractions off: where that matters the model reads the numbers as they are.
    return ids if whole or array.dtype.kind != "f" or not np.any((ids == 0) & nonzero(array)) else array


def _floats(array: np.ndarray, dtype: str) -> np.ndarray:
    if array.dtype == dtype and array.flags.c_contiguous:
        return array
    with np.errstate(over="ignore"):  # beyond float32 is inf, as Keras's cast gives
        return np.ascontiguousarray(array, dtype=dtype)


def are_ids(arrays: Sequence[np.ndarray]) -> tuple[bool, ...]:
    """Which of a model's checked inputs are int32 ids."""
    return tuple(array.dtype == np.int32 for array in arrays)


def _by_name(x: Mapping[str, Any], infos: Sequence[InputInfo]) -> list[Any]:
    names = [info.name for info in infos]
    if set(x) != set(names):
        raise InputError(f"x: expected a dict with the keys {', '.join(names)}, found {', '.join(map(str, x)) or 'an empty one'}")
    return [x[name] for name in names]


def _same_rows(arrays: list[np.ndarray], infos: Sequence[InputInfo]) -> list[np.ndarray]:
    if len({array.shape[0] for array in arrays}) > 1:
        found = ", ".join(f"{info.name!r} has {array.shape[0]}" for info, array in zip(infos, arrays, strict=True))
        raise InputError(f"x: expected the same number of rows in every input, found {found}")
    return arrays


def _is_nested(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _rank(value: Any) -> int:
    """Dimensions of nested lists, or of an array."""
    rank = 0
    while _is_nested(value):
        if not value:
            return rank + 1
        value, rank = value[0], rank + 1
    return rank + np.ndim(value)


def _is_ragged(rows: Sequence[Any], rank: int) -> bool:
    """Is it a list of sequences: arrays of one rank less, or nested lists whose lengths differ?"""
    if rank < 2 or any(_rank(row) != rank - 1 for row in rows):
        return False
    return any(not _is_nested(row) for row in rows) or len({len(row) for row in rows}) > 1


def _pad(rows: list[np.ndarray], info: InputInfo) -> Ragged:
    lengths = np.array([len(row) for row in rows], np.int64)
    dtype = next((row.dtype for row in rows if row.dtype.kind == "f"), info.dtype)  # of ids, some rows may have fractions
    padded = np.zeros((len(rows), max(int(lengths.max()), 1), *rows[0].shape[1:]), dtype)
    for row, target in zip(rows, padded, strict=True):
        target[: len(row)] = row
    return Ragged(padded, lengths)


def shape_text(shape: Sequence[int | None]) -> str:
    """A shape for people: (batch, 10, 1) with None as "any"."""
    return "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
