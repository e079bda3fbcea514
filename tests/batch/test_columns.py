"""Arrow columns as arrays: every type, sliced and in chunks; views where memory allows it, no object for each row."""

from __future__ import annotations

import decimal
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlstm.errors import InputError

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pandas")
pytest.importorskip("polars")

from columns_of import COLUMNS, chunks, fixed_size, listed, sliced  # noqa: E402 - needs all of them

from fastlstm.batch.columns import from_array, to_array  # noqa: E402
from fastlstm.batch.values import Values  # noqa: E402

X = np.arange(4 * 5 * 3, dtype=np.float32).reshape(4, 5, 3)


def rows_of(values: Values) -> np.ndarray:
    return values.even().array


@pytest.mark.parametrize("kind", COLUMNS)
def test_each_kind_of_column(kind: str) -> None:
    for column in (COLUMNS[kind](X), sliced(COLUMNS[kind], X), chunks(COLUMNS[kind], X, [1, 2])):
        found = rows_of(to_array(column))
        assert np.array_equal(found.reshape(X.shape), X)


@given(st.data(), st.sampled_from(sorted(COLUMNS)), st.integers(1, 6))
def test_any_slices_of_any_chunks(data: st.DataObject, kind: str, rows: int) -> None:
    x = np.arange(rows * 6, dtype=np.float32).reshape(rows, 2, 3)
    column = chunks(COLUMNS[kind], x, sorted(data.draw(st.lists(st.integers(0, 2), max_size=3))))
    assert np.array_equal(rows_of(to_array(column)).reshape(x.shape), x)
    first = data.draw(st.integers(0, rows - 1))
    last = data.draw(st.integers(first + 1, rows))
    assert np.array_equal(rows_of(to_array(column.slice(first, last - first))).reshape(-1, 2, 3), x[first:last])


@pytest.mark.parametrize("kind", sorted(set(COLUMNS) - {"doubles"}))
def test_what_is_in_one_chunk_is_viewed(kind: str) -> None:
    """Its memory is that of the column, and stays there with the array."""
    column = sliced(COLUMNS[kind], X)
    found = rows_of(to_array(column))
    buffers = [buffer for buffer in (column.storage if hasattr(column, "storage") else column).buffers() if buffer is not None]
    if kind == "list views":  # whose rows may stand in any order
        buffers = []
    memory = found.__array_interface__["data"][0]
    assert any(buffer.address <= memory < buffer.address + buffer.size for buffer in buffers) or kind == "list views"
    assert not found.flags.writeable
    del column
    assert np.array_equal(found.reshape(X.shape), X)


@pytest.mark.parametrize("kind", sorted(COLUMNS))
def test_no_object_for_a_row(kind: str) -> None:
    x = np.zeros((20_000, 2, 3), np.float32)
    column = COLUMNS[kind](x)
    to_array(column)
    tracemalloc.start()
    found = to_array(column)
    allocated = tracemalloc.take_snapshot()
    tracemalloc.stop()
    assert sum(one.count for one in allocated.statistics("filename")) < 500
    assert found.rows == len(x)


def test_lists_of_any_length() -> None:
    rows = [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]], [[7.0, 8.0]] * 3]
    for kind in (pa.list_(pa.list_(pa.float32())), pa.list_(pa.list_(pa.float32(), 2)), pa.large_list(pa.large_list(pa.float64()))):
        column = pa.chunked_array([pa.array([rows[0] * 4, *rows], kind).slice(1), pa.array(rows[:1], kind)])
        array, offsets, missing = to_array(column)
        assert offsets is not None
        assert offsets.tolist() == [0, 1, 3, 6, 7]
        assert array.tolist() == [*rows[0], *rows[1], *rows[2], *rows[0]]
        assert missing is None


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([True, False, True]), [True, False, True]),
        (pa.array([1, 2, 3], pa.int8()), [1, 2, 3]),
        (pa.array([1, 2**63], pa.uint64()), [1, 2**63]),
        (pa.array(np.array([0.5, 2], np.float16)), [0.5, 2]),
        (pa.array([decimal.Decimal("1.25"), decimal.Decimal("-2")], pa.decimal128(9, 2)), [1.25, -2]),
        (pa.array([decimal.Decimal("1.25")], pa.decimal256(40, 2)), [1.25]),
        (pa.array([3, 1, 3]).dictionary_encode(), [3, 1, 3]),
        (pa.array(["é", "b", "é"]), ["é".encode(), b"b", "é".encode()]),
        (pa.array(["a"], pa.large_string()), [b"a"]),
        (pa.array(["a"], pa.string_view()), [b"a"]),
        (pa.array([b"\xff"], pa.binary()), [b"\xff"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), [b"a", b"b", b"a"]),
        (pa.compute.run_end_encode(pa.array([1.0, 1.0, 2.0])), [1, 1, 2]),
    ],
    ids=lambda value: str(value.type).split("<")[0] if isinstance(value, pa.Array) else "",
)  # fmt: skip
def test_scalars(column: pa.Array, expected: list[object]) -> None:
    assert to_array(column).array.tolist() == expected
    assert to_array(pa.chunked_array([column, column]).slice(1)).array.tolist() == (expected * 2)[1:]


def test_text_in_lists() -> None:
    found = to_array(pa.array([["a", "b"], ["c", "d"]])).even()
    assert found.array.tolist() == [[b"a", b"b"], [b"c", b"d"]]


def test_nothing_in_it() -> None:
    nested = [pa.list_(pa.list_(pa.float32())), pa.list_(pa.list_(pa.float32(), 3)), pa.list_(pa.list_(pa.float32()), 3)]
    for kind in (pa.float32(), pa.string(), pa.list_(pa.float32(), 3), pa.list_(pa.float32()), pa.null(), *nested):
        assert to_array(pa.array([], kind)).rows == 0
        assert to_array(pa.chunked_array([], kind)).rows == 0


def test_memory_at_odd_addresses() -> None:
    """As messages may have it: kernels get no such array."""
    x = np.arange(12, dtype=np.float32)
    column = pa.Array.from_buffers(pa.float32(), 12, [None, pa.py_buffer(b"#" + x.tobytes()).slice(1)])
    found = to_array(pa.FixedSizeListArray.from_arrays(column, 3)).array
    assert found.flags.aligned
    assert np.array_equal(found, x.reshape(4, 3))


# -- nulls ------------------------------------------------------------------------------------------------------------------------


NULLS = [
    (pa.array([1.0, None, 3.0]), [False, True, False]),
    (pa.array([True, None]), [False, True]),
    (pa.array(["a", None]), [False, True]),
    (pa.array([1, None, 1]).dictionary_encode(), [False, True, False]),
    (pa.array([None, [1.0, 2.0]], pa.list_(pa.float32(), 2)), [True, False]),
    (pa.array([[1.0, None], [1.0, 2.0]], pa.list_(pa.float32(), 2)), [True, False]),
    (pa.array([[1.0, None], None, [1.0, 2.0]]), [True, True, False]),
    (pa.array([[[1.0], None], [[2.0], [3.0]]]), [True, False]),
    (pa.array([[[1.0, 2.0]], [[None, 3.0]]], pa.list_(pa.list_(pa.float32(), 2))), [False, True]),
    (pa.array([None, None]), [True, True]),
]


@pytest.mark.parametrize(("column", "missing"), NULLS, ids=lambda value: str(getattr(value, "type", "")))
def test_rows_with_nulls_are_told(column: pa.Array, missing: list[bool]) -> None:
    found = to_array(column).missing
    assert found is not None
    assert found.tolist() == missing
    again = to_array(pa.concat_arrays([column, column]).slice(1, len(column))).missing
    assert again is not None
    assert again.tolist() == [*missing[1:], missing[0]]


def test_rows_without_nulls_are_right() -> None:
    """Where they are beside nulls, in one column of lists of lists."""
    found = to_array(pa.array([[[1.0, 2.0], None], [[3.0, 4.0], [5.0, 6.0]], None]))
    assert found.where(np.array([False, True, False])).even().array.tolist() == [[[3, 4], [5, 6]]]


def test_a_number_in_the_place_of_nulls() -> None:
    for column, expected in [
        (pa.array([1.0, None]), [1, 9]),
        (pa.array([1, None], pa.int8()), [1, 9]),
        (pa.array([None, [1.0, 2.0]], pa.list_(pa.float32(), 2)), [[9, 9], [1, 2]]),
        (pa.array([[None, 1.0], [1.0, 2.0]], pa.list_(pa.float32(), 2)), [[9, 1], [1, 2]]),
        (pa.array([None, None]), [9, 9]),
    ]:
        found = to_array(column, fill=9.0)
        assert found.missing is None
        assert found.array.tolist() == expected
    assert to_array(pa.array([1, None], pa.int8()), fill=0.5).array.tolist() == [1, 0.5]
    assert to_array(pa.array([1, None], pa.int8()), fill=300.0).array.tolist() == [1, 300]
    assert np.isnan(to_array(pa.array([1, None]), fill=float("nan")).array[1])
    assert to_array(pa.array([True, None]), fill=1.0).array.tolist() == [True, True]


def test_nan_is_a_number() -> None:
    found = to_array(pa.array([float("nan"), 1.0]))
    assert found.missing is None
    assert np.isnan(found.array[0])


# -- refused ----------------------------------------------------------------------------------------------------------------------


def test_what_no_model_reads() -> None:
    for column, found in [
        (
            pa.array([0], pa.timestamp("s")),
            r"found timestamp\[s\]; say what a model is to read of it, such as hours since a moment, as numbers",
        ),
        (pa.array([0], pa.date32()), r"found date32\[day\]; say"),
        (pa.array([{"a": 1}]), r"found struct<a: int64>; make columns of its fields"),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "found "),
    ]:
        with pytest.raises(InputError, match=f"column 'c': expected numbers, text, or lists of these, {found}"):
            to_array(column, "c")
    with pytest.raises(InputError, match="column 'c': expected lists that differ in length from row to row alone, found inner ones"):
        to_array(pa.array([[[1.0], [2.0, 3.0]]]), "c")


# -- and back ---------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_there_and_back(shape: list[int], data: st.DataObject) -> None:
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    column = from_array(x, (None, *(None if data.draw(st.booleans()) else size for size in shape[1:])))
    column.validate(full=True)
    found = to_array(column)
    assert np.array_equal(found.even().array, x)
    assert column.to_pylist() == x.tolist()


def test_columns_of_nulls() -> None:
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    missing = np.array([False, True, False])
    for shape in ((3, 2), (3, None)):
        column = from_array(x, shape, missing)
        column.validate(full=True)
        assert column.to_pylist() == [[0, 1], None, [4, 5]]
    assert from_array(x[:, 0], None, missing).to_pylist() == [0, None, 4]
    assert from_array(np.array(["a", "b", "c"]), None, missing).to_pylist() == ["a", None, "c"]


def test_numbers_are_not_copied_back() -> None:
    x = np.zeros((4, 2), np.float32)
    assert from_array(x).flatten().buffers()[1].address == x.__array_interface__["data"][0]
    assert from_array(x).equals(fixed_size(x))
    assert from_array(x, (4, None)).equals(listed(x))


class Tensors(pa.ExtensionType):
    """Tensors of different shapes, as Ray has them."""

    def __init__(self) -> None:
        super().__init__(pa.struct([("data", pa.large_list(pa.float32())), ("shape", pa.list_(pa.int64()))]), "tests.tensors")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Tensors:
        return cls()


def test_tensors_of_different_lengths() -> None:
    def column(*rows: object) -> pa.Array:
        stored = [None if row is None else {"data": np.ravel(row), "shape": np.shape(row)} for row in rows]
        return pa.ExtensionArray.from_storage(Tensors(), pa.array(stored, Tensors().storage_type))

    first, second = [[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]
    found = to_array(column(second, first, second).slice(1))
    assert found.offsets is not None
    assert found.array.tolist() == first + second
    assert found.offsets.tolist() == [0, 1, 3]
    found = to_array(column(first, None, second))
    assert found.missing is not None
    assert found.missing.tolist() == [False, True, False]
    assert found.where(~found.missing).array.tolist() == first + second
    with pytest.raises(InputError, match="expected lists that differ in length from row to row alone"):
        to_array(column(first, [[1.0, 2.0, 3.0]]))
