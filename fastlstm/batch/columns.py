"""Arrow columns as arrays and back: views wherever memory allows it, never a Python object for each row but of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from ..errors import InputError
from ..spec import Shape
from . import objects, refusals
from .hashing import hashed
from .values import Answer, Fill, Values, filled, offsets_of, united


def to_array(column: pa.Array | pa.ChunkedArray, name: Any = "column", fill: Fill = None) -> Values:
    """The values of a column.

    Parameters
    ----------
    column
        Of numbers, booleans or text, or of lists of these, however nested, which are as long as each other inside a row.
    name
        What the column is called, for messages.
    fill
        What takes the place of nulls; None: rows that are null, or hold a null, are told as missing.

    Returns
    -------
    Values
        A view of the column's memory where it is one chunk of numbers. Read-only.

    Raises
    ------
    InputError
        If it holds something else.
    """
    return _values(whole(column), name, fill)


def whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if types.is_dictionary(column.type) and column.num_chunks > 1:  # all their dictionaries in one may be more than its numbers can count
        column = column.cast(column.type.value_type)
    return (
        column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    )


def _values(column: Any, name: Any, fill: Fill) -> Values:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _of_extension(column, name, fill)
    if types.is_dictionary(kind):
        return _values(column.dictionary_decode(), name, fill)
    if types.is_run_end_encoded(kind):
        return _values(pc.run_end_decode(column), name, fill)
    if types.is_fixed_size_list(kind):
        return _fixed(column, name, fill)
    if types.is_list(kind) or types.is_large_list(kind):
        return _lists(column, name, fill)
    if str(kind).startswith(("list_view", "large_list_view")):
        return _views(column, name, fill)
    return _scalars(column, name, fill)


def _of_extension(column: Any, name: Any, fill: Fill) -> Values:
    """Tensors, by how they are stored."""
    if types.is_struct(column.storage.type) and {one.name for one in column.storage.type} == {"data", "shape"}:
        return _of_any_shape(column.storage, name, fill)
    found = _values(column.storage, name, fill).even()
    shape, order = getattr(column.type, "shape", None), getattr(column.type, "permutation", None)
    if shape is None or found.offsets is not None:
        return found
    array = found.array.reshape(found.rows, *shape)
    if order is not None:
        array = array.transpose(0, *(axis + 1 for axis in order))
    return found._replace(array=array)


def _of_any_shape(column: Any, name: Any, fill: Fill) -> Values:
    """Tensors of different shapes, each its numbers and its shape: of any length, if they differ in that alone."""
    data, shapes = (_values(column.field(part), name, fill) for part in ("data", "shape"))
    missing = united([_nulls(column), data.missing, shapes.missing])
    sizes = shapes._replace(missing=missing).even().array
    there = sizes if missing is None else sizes[~missing]
    if data.offsets is None or sizes.ndim != 2 or (there[1:, 1:] != there[:1, 1:]).any():
        raise refusals.uneven(name, str(column.type))
    inner = tuple(there[0, 1:].tolist()) if len(there) else ()
    return Values(data.array.reshape(-1, *inner), data.offsets // math.prod(inner), missing)


def _fixed(column: Any, name: Any, fill: Fill) -> Values:
    """Lists of one length that the type says."""
    size, rows = column.type.list_size, len(column)
    inner = _values(column.values.slice(column.offset * size, rows * size), name, fill).even()
    if inner.offsets is not None and not inner.rows:
        return inner
    if inner.offsets is not None:
        raise refusals.uneven(name, str(column.type))
    array, missing = inner.array.reshape(rows, size, *inner.array.shape[1:]), _nulls(column)
    if missing is not None and fill is not None:
        return Values(filled(array, missing, fill))
    if inner.missing is not None:
        missing = united([missing, np.asarray(inner.missing.reshape(rows, size).any(axis=1))])
    return Values(array, None, missing)


def _lists(column: Any, name: Any, fill: Fill) -> Values:
    """Lists, each of its own length, one after another."""
    offsets = column.offsets.to_numpy().astype(np.int64, copy=False)
    inner = column.values.slice(offsets[0], offsets[-1] - offsets[0])
    return _any_length(column, inner, offsets - offsets[0] if offsets[0] else offsets, name, fill)


def _views(column: Any, name: Any, fill: Fill) -> Values:
    """Lists that may stand in any order, and share what is in them."""
    lengths = column.sizes.to_numpy().astype(np.int64)
    if column.null_count:
        lengths[_nulls(column)] = 0
    return _any_length(column, column.flatten(), offsets_of(lengths), name, fill)


def _any_length(column: Any, steps: Any, offsets: np.ndarray, name: Any, fill: Fill) -> Values:
    """Lists, of what stands in them one after another."""
    missing = _nulls(column)
    if missing is not None and fill is not None:
        raise refusals.null_list(name, fill, int(missing.argmax()))
    inner = _values(steps, name, fill).even()
    if inner.offsets is not None and inner.rows:
        raise refusals.uneven(name, str(column.type))
    if inner.missing is not None:
        inside: np.ndarray = np.diff(np.concatenate([[0], np.cumsum(inner.missing)])[offsets]) > 0
        missing = united([missing, inside])
    return Values(inner.array, offsets, missing)


def _scalars(column: Any, name: Any, fill: Fill) -> Values:
    """A number, a truth value or a text each."""
    kind, missing = column.type, _nulls(column)
    if types.is_null(kind):
        array = np.zeros(len(column), np.float32)
    elif types.is_boolean(kind):
        array = (pc.fill_null(column, False) if column.null_count else column).to_numpy(zero_copy_only=False)
    elif types.is_integer(kind) or types.is_floating(kind):
        plain = pa.Array.from_buffers(kind, len(column), [None, column.buffers()[1]], offset=column.offset).to_numpy()
        array = np.require(plain, requirements="A")  # messages may hold columns at any byte
    elif types.is_decimal(kind):
        return _scalars(column.cast(pa.float64()), name, fill)
    elif is_text(kind):
        array = column.cast(pa.large_binary()).to_numpy(zero_copy_only=False)
    else:
        raise refusals.no_numbers(name, str(kind), dates=types.is_temporal(kind), struct=types.is_struct(kind))
    if missing is not None and fill is not None:
        if array.dtype == object:
            raise refusals.null_text(name, fill)
        return Values(filled(array, missing, fill))
    return Values(array, None, missing)


def _nulls(column: Any) -> np.ndarray | None:
    """Which entries are null; None where none is."""
    return column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None


def is_text(kind: Any) -> bool:
    """Does a type hold text?"""
    return bool(types.is_unicode(kind) or types.is_binary(kind) or str(kind) in TEXTS)


#: Names of types of text that older releases of pyarrow have no functions for.
TEXTS = ("large_string", "large_binary", "string_view", "binary_view")


def innermost(kind: Any) -> Any:
    """The type of what lists hold."""
    while True:
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
        elif hasattr(kind, "value_type"):
            kind = kind.value_type
        else:
            return kind


def usable(kind: Any, text: bool) -> bool:
    """Could a model read a column of a type?"""
    inner = innermost(kind)
    if text:
        return is_text(inner)
    return bool(types.is_integer(inner) or types.is_floating(inner) or types.is_boolean(inner) or types.is_decimal(inner))


# -- back -------------------------------------------------------------------------------------------------------------------


def from_array(array: np.ndarray, shape: Shape | None = None, missing: np.ndarray | None = None) -> pa.Array:
    """An array, (rows, ...), as a column: numbers, or lists of a fixed size, of lists and so on.

    Parameters
    ----------
    array
        Numbers or text.
    shape
        Rows first; where it has None for another axis, lists are of the kind that has lengths of its own. None: that of the array.
    missing
        (rows,), bool: null.

    Returns
    -------
    pyarrow.Array
        Numbers are not copied.
    """
    return from_answer(Answer("", Values(array, None, missing), array.shape if shape is None else shape))


def from_answer(answer: Answer) -> pa.Array:
    """A column that a model gives."""
    (array, offsets, missing), shape = answer.values, answer.shape
    if offsets is not None:
        inner = _nested(array, (None, *shape[2:]), None)
        return _listed(offsets, inner, missing)
    return _nested(array, shape, missing)


def _nested(array: np.ndarray, shape: Shape, missing: np.ndarray | None) -> pa.Array:
    array = np.ascontiguousarray(array)
    if array.ndim == 1:
        return pa.array(array, mask=missing)
    rows, size = array.shape[:2]
    inner = _nested(array.reshape(rows * size, *array.shape[2:]), (None, *shape[2:]), None)
    if shape[1] is None:
        return _listed(np.arange(rows + 1, dtype=np.int64) * size, inner, missing)
    validity = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(pa.list_(inner.type, size), rows, [validity], children=[inner])


def _listed(offsets: np.ndarray, inner: pa.Array, missing: np.ndarray | None) -> pa.Array:
    kind, dtype = (pa.list_, np.int32) if offsets[-1] < 1 << 31 else (pa.large_list, np.int64)
    validity = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(
        kind(inner.type), len(offsets) - 1, [validity, pa.py_buffer(offsets.astype(dtype))], children=[inner]
    )  # fmt: skip


def type_of(dtype: np.dtype[Any], shape: Shape) -> pa.DataType:
    """The type of the column that :func:`from_answer` makes of numbers of a dtype."""
    return from_answer(Answer("", Values(np.zeros((0, *(size or 1 for size in shape[1:])), dtype)), shape)).type


def with_columns(batch: Any, names: Sequence[str], columns: Sequence[pa.Array]) -> Any:
    """A table or record batch with columns more."""
    schema = batch.schema
    for name, column in zip(names, columns, strict=True):
        schema = schema.append(pa.field(name, column.type))
    return type(batch).from_arrays([*batch.columns, *columns], schema=schema)


def taken(batch: Any, rows: np.ndarray) -> Any:
    """Some rows of a table or record batch."""
    try:
        return batch.take(pa.array(rows))
    except pa.ArrowNotImplementedError:  # views of text, in some releases of pyarrow
        columns = []
        for column in batch.columns:
            view = "_view" in str(column.type) and is_text(column.type)
            plain = column.cast(pa.large_binary() if "binary" in str(column.type) else pa.large_string()) if view else column
            columns.append(plain.take(pa.array(rows)).cast(column.type) if view else plain.take(pa.array(rows)))
        return type(batch).from_arrays(columns, schema=batch.schema)


def chunked(column: pa.Array) -> pa.ChunkedArray:
    """A column of one chunk."""
    return pa.chunked_array([column])


# -- keys -------------------------------------------------------------------------------------------------------------------


def numbered(column: pa.Array | pa.ChunkedArray, name: Any) -> np.ndarray:
    """Whole numbers of 64 bits that are equal where the values of a key's column are.

    Raises
    ------
    InputError
        If one is null, or it holds lists.
    """
    column = whole(column)
    if column.null_count:
        raise refusals.null_key(name, int(column.is_null().to_numpy(zero_copy_only=False).argmax()))
    column = plain_key(column)
    plain = in_integers(column)
    if plain is not None:
        return plain
    try:
        return column.dictionary_encode().indices.to_numpy().astype(np.int64)
    except pa.ArrowNotImplementedError as error:
        raise InputError(f"key: expected texts or numbers in column {name!r}, found {column.type}") from error


def plain_key(column: pa.Array) -> pa.Array:
    """A key's column as its values are stored: without a dictionary, which may hold a value twice, or an extension, such as UUIDs."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    return column.dictionary_decode() if types.is_dictionary(column.type) else column


def sortable(column: pa.Array | pa.ChunkedArray, name: Any) -> np.ndarray:
    """Numbers in the order of the values of a column.

    Raises
    ------
    InputError
        If it holds something else, or nulls or NaN, which have no place in an order.
    """
    column = whole(column)
    if column.null_count:
        raise refusals.null_order(name, int(column.is_null().to_numpy(zero_copy_only=False).argmax()))
    plain = in_integers(column)
    if plain is not None and not types.is_uint64(column.type):
        return plain
    if usable(column.type, False) and innermost(column.type) == column.type:
        return objects.sortable(_scalars(column, name, None).array, name)
    raise refusals.no_order(name, str(column.type), text="string" in str(column.type))


def in_integers(column: pa.Array) -> np.ndarray | None:
    """A column of whole numbers, dates or times as int64; None where it holds others."""
    kind = column.type
    if types.is_temporal(kind) and not types.is_interval(kind):
        width = pa.int64() if kind.bit_width == pa.int64().bit_width else pa.int32()
        return column.view(width).to_numpy().astype(np.int64, copy=False)
    if types.is_integer(kind):
        array = _scalars(column, "", None).array
        return array.view(np.int64) if types.is_uint64(kind) else array.astype(np.int64, copy=False)
    return None


def changes(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(rows - 1,): how the value of a key's column changes from row to row: 1 it rises, -1 it falls, 0 it stays."""
    column = plain_key(whole(column))
    if types.is_float16(column.type):  # which older releases of pyarrow do not compare
        column = column.cast(pa.float32())
    now, before = column.slice(1), column.slice(0, max(len(column) - 1, 0))
    rises, falls = (compare(now, before).to_numpy(zero_copy_only=False).astype(np.int8) for compare in (pc.greater, pc.less))
    return np.asarray(rises - falls)


def marks(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Of each value of a key's column 64 bits that are the same in every table: a whole number itself, or a hash."""
    column = plain_key(whole(column))
    plain = in_integers(column)
    if plain is not None:
        return plain
    if types.is_decimal(column.type):
        column = column.cast(pa.string())  # all of its digits
    if not is_text(column.type) and not types.is_fixed_size_binary(column.type):
        return objects.marks(_scalars(column, "key", None).array)
    column = column.cast(pa.large_binary())
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1] if len(column) else np.zeros(1, np.int64)
    return hashed(np.frombuffer(b"" if data is None else data, np.uint8), bounds)


def one_after_another(batches: list[Any]) -> Any:
    """Tables as one table, record batches as one record batch."""
    if isinstance(batches[0], pa.Table):
        return pa.concat_tables(batches)
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.to_batches()[0] if table.num_rows else batches[0]
