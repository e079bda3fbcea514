"""NumPy columns as values: numbers as they are; objects that are arrays, lists or text as pandas and dicts of arrays have them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import told
from . import refusals
from .values import Values, offsets_of


def of_objects(array: np.ndarray, name: str, fill: float | None) -> Values:
    """The values of a column.

    Parameters
    ----------
    array
        (rows, ...); of objects: (rows,), each an array, a list, a text, a number, or None.
    name
        What the column is called, for messages.
    fill
        What takes the place of nulls.

    Raises
    ------
    InputError
        If objects are of several kinds, or of shapes that differ in more than their lengths.
    """
    if array.dtype.kind in "mM":
        raise refusals.no_numbers(name, str(array.dtype), dates=True)
    if array.dtype != object or not len(array) or array.ndim > 1:
        return Values(array)
    missing = np.fromiter((is_null(one) for one in array), bool, len(array))
    given = array[~missing]
    if not len(given):
        return Values(np.zeros(len(array), np.float32), None, missing)
    if isinstance(given[0], (str, bytes)):
        return _texts(array, missing, name, fill)
    if isinstance(given[0], (int, float, bool, np.number, np.bool_)):
        return _numbers(array, missing, name, fill)
    return _rows(array, missing, name, fill)


def is_null(value: Any) -> bool:
    """Is an object no value: None, or pandas's NA?"""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (type(value) is float and value != value)


def _texts(array: np.ndarray, missing: np.ndarray, name: str, fill: float | None) -> Values:
    if not missing.any():
        return Values(array)
    if fill is not None:
        raise refusals.null_text(name, fill)
    return Values(np.where(missing, "", array), None, missing)


def _numbers(array: np.ndarray, missing: np.ndarray, name: str, fill: float | None) -> Values:
    """Numbers that are objects, as a column is that also has None in it."""
    filled = array.copy()
    filled[missing] = 0 if fill is None else fill
    return Values(checked(filled.tolist(), name), None, missing if fill is None and missing.any() else None)


def _rows(array: np.ndarray, missing: np.ndarray, name: str, fill: float | None) -> Values:
    """Arrays or lists, of one shape, or of different lengths."""
    if fill is not None and missing.any():
        raise refusals.null_list(name, fill, int(missing.argmax()))
    rows = [checked(one, name, row) for row, one in enumerate(array.tolist()) if not missing[row]]
    inner = {row.shape[1:] for row in rows}
    if len(inner) > 1 or not rows[0].ndim:
        found = " and ".join(map(str, sorted({row.shape for row in rows})[:2]))
        raise InputError(f"column {name!r}: expected rows that differ in length alone, found rows of shapes {found}")
    lengths = np.zeros(len(array), np.int64)
    lengths[~missing] = [len(row) for row in rows]
    values = Values(np.concatenate(rows), offsets_of(lengths), missing if missing.any() else None)
    return values if missing.any() else values.even()


def checked(value: Any, name: str, row: int | None = None) -> np.ndarray:
    """Numbers, or texts, as an array."""
    where = "" if row is None else f" in row {row}"
    try:
        array = np.asarray(value)
    except Exception as error:
        raise InputError(f"column {name!r}: expected numbers, or arrays or lists of one depth, found {told(value)}{where}") from error
    if array.dtype.kind not in "biufOUST":
        raise InputError(f"column {name!r}: expected numbers, or arrays or lists of them, found {told(value)}{where}")
    return array
