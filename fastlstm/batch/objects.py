"""NumPy columns as values: numbers as they are; objects that are arrays, lists or text, as pandas and dicts of arrays have them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import told
from . import refusals
from .hashing import hashed, mixed
from .values import Fill, Values, filled, flat, offsets_of


def of_objects(array: np.ndarray, name: Any, fill: Fill) -> Values:
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
    if array.dtype.kind not in "biufOUST":
        raise refusals.no_numbers(name, str(array.dtype), dates=array.dtype.kind in "mM")
    if isinstance(array, np.ma.MaskedArray):
        return _masked(array.data, np.ma.getmaskarray(array), name, fill)
    if array.dtype != object or array.ndim > 1:
        return Values(array)
    missing = np.fromiter((is_null(one) for one in array), bool, len(array))
    given = array[~missing]
    if not len(given):
        return Values(np.zeros(0, np.float32), np.zeros(len(array) + 1, np.int64), missing)
    if isinstance(given[0], (int, float, np.number, np.bool_)):
        missing = np.fromiter((is_absent(one) for one in array), bool, len(array))
        plain = numbers(np.where(missing, 0 if fill is None else fill, array).tolist(), name)
        return Values(plain, None, missing if fill is None and missing.any() else None)
    found = missing if missing.any() else None
    if isinstance(given[0], (str, bytes)):
        if found is not None and fill is not None:
            raise refusals.null_text(name, fill)
        return Values(np.where(missing, "", array), None, found)
    if found is not None and fill is not None:
        raise refusals.null_list(name, fill, int(missing.argmax()))
    return _rows(given, missing, name, fill)


def _masked(array: np.ndarray, mask: np.ndarray, name: Any, fill: Fill) -> Values:
    """An array of which NumPy's mask says what is not there."""
    if not mask.any():
        return of_objects(array, name, fill)
    if array.dtype.kind not in "biuf":
        raise InputError(f"column {name!r}: expected numbers where an array is masked, found {array.dtype}")
    if fill is not None:
        return Values(filled(array, mask, fill))
    return Values(array, None, np.asarray(flat(mask).any(axis=1)))


def is_absent(value: Any) -> bool:
    """Is an object no value: None, or pandas's NA?"""
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def is_null(value: Any) -> bool:
    """The same, or NaN, which pandas has in place of a list or text that is missing?"""
    return is_absent(value) or (type(value) is float and value != value)


def _rows(given: np.ndarray, missing: np.ndarray, name: Any, fill: Fill) -> Values:
    """Arrays or lists, of one shape, or of different lengths."""
    rows, holes = [], np.zeros(len(given), bool)
    for place, one in enumerate(given):
        row = numbers(one, name)
        if row.dtype == object:
            absent = np.fromiter(map(is_absent, row.reshape(-1)), bool, row.size).reshape(row.shape)
            holes[place] = fill is None and absent.any()
            row = numbers(np.where(absent, fill or 0, row).tolist(), name)
        rows.append(row)
    if not all(row.ndim for row in rows) or len({row.shape[1:] for row in rows}) > 1:
        found = " and ".join(map(str, sorted({row.shape for row in rows})[:2]))
        raise InputError(f"column {name!r}: expected rows that differ in length alone, found rows of shapes {found}")
    lengths, lost = np.zeros(len(missing), np.int64), missing.copy()
    lengths[~missing] = [len(row) for row in rows]
    lost[~missing] = holes
    values = Values(np.concatenate(rows), offsets_of(lengths), lost if lost.any() else None)
    return values if missing.any() else values.even()


def numbers(value: Any, name: Any) -> np.ndarray:
    """Numbers, or texts, as an array."""
    try:
        array = np.asarray(value)
    except Exception as error:
        raise InputError(f"column {name!r}: expected numbers, or arrays or lists of one depth, found {told(value)}") from error
    if array.dtype.kind not in "biufOUST":
        raise InputError(f"column {name!r}: expected numbers, or arrays or lists of them, found {told(value)}")
    return array


def numbered(array: np.ndarray, name: Any) -> np.ndarray:
    """Whole numbers of 64 bits that are equal where the values of a key's column are.

    Raises
    ------
    InputError
        If one is null.
    """
    array = of_one_axis(array, name)
    if array.dtype == object:
        missing = np.fromiter((is_null(one) for one in array), bool, len(array))
        if missing.any():
            raise refusals.null_key(name, int(missing.argmax()))
        places: dict[Any, int] = {}
        try:
            return np.fromiter((places.setdefault(one, len(places)) for one in array), np.int64, len(array))
        except TypeError as error:
            raise InputError(f"key: expected texts or numbers in column {name!r}, found {told(array[0])}") from error
    if array.dtype.kind in "mM" and np.isnat(array).any():
        raise refusals.null_key(name, int(np.isnat(array).argmax()))
    if array.dtype.kind in "biumM":
        return array.view(np.int64) if array.dtype.itemsize == np.dtype(np.int64).itemsize else array.astype(np.int64)
    return np.unique(array, return_inverse=True)[1].reshape(-1)


def sortable(array: np.ndarray, name: Any) -> np.ndarray:
    """Numbers in the order of the values of a column.

    Raises
    ------
    InputError
        If it holds something else, or nulls or NaN, which have no place in an order.
    """
    array = of_one_axis(array, name)
    if array.dtype == object:
        missing = np.fromiter((is_null(one) for one in array), bool, len(array))
        if missing.any():
            raise refusals.null_order(name, int(missing.argmax()))
        array = np.asarray(array.tolist())
    if array.dtype.kind not in "biufmM":
        raise refusals.no_order(name, str(array.dtype), text=array.dtype.kind in "UST")
    nothing = np.isnan(array) if array.dtype.kind == "f" else np.isnat(array) if array.dtype.kind in "mM" else None
    if nothing is not None and nothing.any():
        raise refusals.null_order(name, int(nothing.argmax()))
    return array.view(np.int64) if array.dtype.kind in "mM" else array


def of_one_axis(array: np.ndarray, name: Any) -> np.ndarray:
    """A column of one value a row."""
    if array.ndim != 1:
        raise InputError(f"key, order: expected one value a row in column {name!r}, found an array of shape {array.shape}")
    return array


def changes(array: np.ndarray) -> np.ndarray:
    """(rows - 1,): how a value changes from row to row: 1 it rises, -1 it falls, 0 it stays."""
    return (array[1:] > array[:-1]).astype(np.int8) - (array[1:] < array[:-1]).astype(np.int8)


def marks(array: np.ndarray) -> np.ndarray:
    """Of each value 64 bits that are the same in every table: a whole number itself, or a hash."""
    if array.dtype.kind in "biumM":
        return array.view(np.int64) if array.dtype.itemsize == np.dtype(np.int64).itemsize else array.astype(np.int64)
    if array.dtype.kind == "f":
        return mixed((array.astype(np.float64) + 0.0).view(np.uint64)).view(np.int64)  # -0.0 is as 0.0
    texts = [one if isinstance(one, bytes) else str(one).encode("utf-8", "surrogatepass") for one in array.tolist()]
    return hashed(np.frombuffer(b"".join(texts), np.uint8), offsets_of(np.fromiter(map(len, texts), np.int64, len(texts))))
