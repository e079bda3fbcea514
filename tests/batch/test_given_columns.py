"""Columns and tables of pandas, polars and Arrow as the input of ``predict``: the same numbers as of arrays, to the bit."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from typing import Any

import h5_files
import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5

import fastlstm

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")
pl = pytest.importorskip("polars", reason="polars is not installed")

RNG = np.random.default_rng(0)
WIDE = RNG.normal(size=(6, 5, 3)).astype(np.float32)  # features
SERIES = RNG.normal(size=(6, 7)).astype(np.float32)  # of one feature
RAGGED = [row[: 2 + n % 4] for n, row in enumerate(SERIES)]
RAGGED_WIDE = [row[: 1 + n % 4] for n, row in enumerate(WIDE)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, fastlstm.Model]:
    """Of (timesteps, 3), of (timesteps, 1), of 5 numbers, and of ids."""
    path, rng = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    ids = [h5_files.embedding(20, 4, rng, True), h5_files.recurrent("LSTM", 4, 4, rng)]
    wide, single = ([h5_files.recurrent("LSTM", 4, features, rng)] for features in (3, 1))
    return {
        "wide": fastlstm.load(h5_files.save(path / "wide.h5", wide, (None, 3))),
        "single": fastlstm.load(h5_files.save(path / "single.h5", single, (None, 1))),
        "flat": fastlstm.load(h5_files.save(path / "flat.h5", [h5_files.dense(2, 5, rng)], (5,))),
        "ids": fastlstm.load(h5_files.save(path / "ids.h5", ids, (None,))),
    }


def arrow_backed(column: Any) -> Any:
    return pd.Series(pd.arrays.ArrowExtensionArray(column))


def of_lists(rows: Any) -> list[Any]:
    return [np.asarray(row).tolist() for row in rows]


def records(rows: Any) -> list[Any]:
    return [[{"a": float(a), "b": float(b), "c": float(c)} for a, b, c in row] for row in rows]


def wide_array() -> Any:
    return pa.FixedSizeListArray.from_arrays(pa.FixedSizeListArray.from_arrays(pa.array(WIDE.ravel()), 3), 5)


def sliced(rows: list[Any], kind: Any = None) -> Any:
    """A column that begins and ends within another, so that it has an offset."""
    return pa.array([rows[-1], *rows, rows[0], rows[0]], kind)[1:-2]


def chunked(rows: list[Any], kind: Any = None) -> Any:
    return pa.chunked_array([pa.array(rows[:2], kind), pa.array([], kind or pa.array(rows).type), pa.array(rows[2:], kind)])


#: By the array, or list of sequences, that it is the same as.
COLUMNS: dict[str, tuple[str, Any, Callable[[], Any]]] = {
    "pandas: arrays": ("wide", WIDE, lambda: pd.Series(list(WIDE))),
    "pandas: nested lists": ("wide", WIDE, lambda: pd.Series(of_lists(WIDE))),
    "pandas: arrays of arrays": ("wide", WIDE, lambda: arrow_backed(pa.array(of_lists(WIDE), pa.list_(pa.list_(pa.float32()))))),
    "pandas: a frame of one column of arrays": ("wide", WIDE, lambda: pd.DataFrame({"x": list(WIDE)})),
    "pandas: arrays of their own lengths": ("wide", RAGGED_WIDE, lambda: pd.Series(RAGGED_WIDE, index=list("abcdef"))),
    "pandas: lists": ("single", SERIES[..., None], lambda: pd.Series(of_lists(SERIES))),
    "pandas: a column a timestep": ("single", SERIES[..., None], lambda: pd.DataFrame(SERIES)),
    "pandas: lists of their own lengths": ("single", [row[:, None] for row in RAGGED], lambda: pd.Series(of_lists(RAGGED))),
    "pandas: Arrow's lists": ("single", [row[:, None] for row in RAGGED], lambda: arrow_backed(pa.array(RAGGED))),
    "pandas: a frame": ("flat", SERIES[:, :5], lambda: pd.DataFrame(SERIES[:, :5], columns=list("abcde"))),
    "pandas: a frame with names twice": ("flat", SERIES[:, :5], lambda: pd.DataFrame(SERIES[:, :5], columns=list("aabbc"))),
    "pandas: nullable": ("flat", np.eye(5) * 3, lambda: pd.DataFrame(np.eye(5, dtype=int) * 3).astype("Int64")),
    "pandas: nullable floats": ("flat", SERIES[:, :5], lambda: pd.DataFrame(SERIES[:, :5]).astype("Float32")),
    "pandas: nullable of each kind": ("flat", np.array([[1, 0.5, 1, 2, 3], [2, 1.5, 0, 3, 4]]), lambda: pd.DataFrame({
        "a": pd.array([1, 2], "Int64"), "b": pd.array([0.5, 1.5], "Float64"), "c": pd.array([True, False], "boolean"), "d": [2.0, 3.0],
        "e": arrow_backed(pa.array([3, 4], pa.int16())),
    })),
    "pandas: categories of numbers": ("flat", np.eye(5), lambda: pd.DataFrame(np.eye(5)).astype("category")),
    "pandas: sparse": ("flat", np.eye(5), lambda: pd.DataFrame(np.eye(5)).astype(pd.SparseDtype("float", 0.0))),
    "pandas: ids": ("ids", np.arange(12).reshape(3, 4), lambda: pd.DataFrame(np.arange(12).reshape(3, 4)).astype("Int32")),
    "pandas: lists of ids": ("ids", [np.array([1, 2]), np.array([3])], lambda: pd.Series([[1, 2], [3]])),
    "polars: a frame": ("flat", SERIES[:, :5], lambda: pl.DataFrame(SERIES[:, :5])),
    "polars: a frame of each kind": ("flat", np.array([[1, 0.5, 1, 2, 3], [2, 1.5, 0, 3, 4]]), lambda: pl.DataFrame({
        "a": [1, 2], "b": [0.5, 1.5], "c": [True, False], "d": [decimal.Decimal(2), decimal.Decimal(3)],
        "e": pl.Series([3, 4], dtype=pl.UInt8),
    })),
    "polars: Array": ("single", SERIES[..., None], lambda: pl.Series(SERIES)),
    "polars: Array of Array": ("wide", WIDE, lambda: pl.Series(WIDE)),
    "polars: List": ("single", [row[:, None] for row in RAGGED], lambda: pl.Series(of_lists(RAGGED))),
    "polars: List of one length": ("single", SERIES[..., None], lambda: pl.Series(of_lists(SERIES))),
    "polars: List of List": ("wide", RAGGED_WIDE, lambda: pl.Series(of_lists(RAGGED_WIDE))),
    "polars: List of Array": ("wide", RAGGED_WIDE, lambda: pl.Series(of_lists(RAGGED_WIDE), dtype=pl.List(pl.Array(pl.Float32, 3)))),
    "polars: List of Struct": ("wide", RAGGED_WIDE, lambda: pl.Series(records(RAGGED_WIDE))),
    "polars: a slice": ("wide", RAGGED_WIDE[1:4], lambda: pl.Series(of_lists(RAGGED_WIDE))[1:4]),
    "polars: chunks": ("single", SERIES[..., None], lambda: pl.concat([pl.Series(SERIES[:2]), pl.Series(SERIES[2:])], rechunk=False)),
    "polars: a frame of one column of lists": ("single", [row[:, None] for row in RAGGED], lambda: pl.DataFrame({"x": of_lists(RAGGED)})),
    "polars: lists of ids": ("ids", [np.array([1, 2]), np.array([3])], lambda: pl.Series([[1, 2], [3]])),
    "Arrow: fixed-size lists": ("wide", WIDE, wide_array),
    "Arrow: a slice of fixed-size lists": ("wide", WIDE[2:5], lambda: wide_array()[2:5]),
    "Arrow: a tensor a row": ("wide", WIDE, lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(WIDE)),
    "Arrow: tensors in chunks": ("wide", WIDE, lambda: pa.chunked_array([pa.FixedShapeTensorArray.from_numpy_ndarray(WIDE)])),
    "Arrow: lists": ("single", [row[:, None] for row in RAGGED], lambda: pa.array(RAGGED)),
    "Arrow: large lists": ("single", [row[:, None] for row in RAGGED], lambda: pa.array(RAGGED, pa.large_list(pa.float32()))),
    "Arrow: list views": ("single", [row[:, None] for row in RAGGED], lambda: pa.array(RAGGED, pa.list_view(pa.float32()))),
    "Arrow: a slice of lists": ("single", [row[:, None] for row in RAGGED], lambda: sliced(RAGGED)),
    "Arrow: lists in chunks": ("single", [row[:, None] for row in RAGGED], lambda: chunked(RAGGED)),
    "Arrow: lists of lists": ("wide", RAGGED_WIDE, lambda: sliced(of_lists(RAGGED_WIDE))),
    "Arrow: lists of fixed-size lists": ("wide", RAGGED_WIDE, lambda: chunked(of_lists(RAGGED_WIDE), pa.list_(pa.list_(pa.float32(), 3)))),
    "Arrow: lists of records": ("wide", RAGGED_WIDE, lambda: sliced(records(RAGGED_WIDE))),
    "Arrow: half precision": ("single", SERIES.astype(np.float16)[..., None], lambda: pa.array(list(SERIES.astype(np.float16)))),
    "Arrow: a table": ("flat", SERIES[:, :5], lambda: pa.table(dict(zip("abcde", SERIES.T)))),
    "Arrow: a record batch": ("flat", SERIES[:, :5], lambda: pa.record_batch(dict(zip("abcde", SERIES.T)))),
    "Arrow: a slice of a table": ("flat", SERIES[1:4, :5], lambda: pa.table(dict(zip("abcde", SERIES.T)))[1:4]),
    "Arrow: a table of one column of lists": ("single", [row[:, None] for row in RAGGED], lambda: pa.table({"x": RAGGED})),
    "Arrow: a table of each kind": ("flat", np.array([[1, 0.5, 1, 2, 3], [2, 1.5, 0, 3, 4]]), lambda: pa.table({
        "a": [1, 2], "b": [0.5, 1.5], "c": [True, False], "d": [decimal.Decimal(2), decimal.Decimal(3)],
        "e": pa.array([3, 4]).dictionary_encode(),
    })),
    "Arrow: lists of ids": ("ids", [np.array([1, 2]), np.array([3])], lambda: pa.array([[1, 2], [3]])),
    "Arrow: records": ("flat", SERIES[2:, :5], lambda: pa.array([dict(zip("abcde", map(float, row))) for row in SERIES])[2:]),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_columns(models: dict[str, fastlstm.Model], name: str) -> None:
    kind, same, make = COLUMNS[name]
    model, column = models[kind], make()
    expected = model.predict(same)
    for given in (column, {model.inputs[0].name: column}, iter([(column,)])):
        assert model.predict(given).tobytes() == expected.tobytes()
    assert model(column).tobytes() == expected.tobytes()


def test_in_a_list(models: dict[str, fastlstm.Model]) -> None:
    """Keras's way to give the one input; or the one sequence."""
    for column in (pl.Series(WIDE), wide_array(), pa.chunked_array([wide_array()])):
        assert models["wide"].predict([column]).tobytes() == models["wide"].predict(WIDE).tobytes()
    for column in (pd.Series(RAGGED_WIDE), pl.Series(of_lists(RAGGED_WIDE)), pa.array(of_lists(RAGGED_WIDE))):
        assert models["wide"].predict([column]).tobytes() == models["wide"].predict(RAGGED_WIDE).tobytes()
    frames = [pd.DataFrame(row) for row in RAGGED_WIDE]
    assert models["wide"].predict(frames[:1]).tobytes() == models["wide"].predict(WIDE[:1, :1]).tobytes()
    assert models["wide"].predict(frames).tobytes() == models["wide"].predict(RAGGED_WIDE).tobytes()
    series = [pl.Series(row) for row in RAGGED_WIDE]
    assert models["wide"].predict(series).tobytes() == models["wide"].predict(RAGGED_WIDE).tobytes()


def test_readers_of_batches(models: dict[str, fastlstm.Model]) -> None:
    table = pa.table(dict(zip("abcde", SERIES.T)))
    expected = models["flat"].predict(SERIES[:, :5])
    for given in (table.to_reader(max_chunksize=2), iter(table.to_batches(2)), pl.DataFrame(SERIES[:, :5]).iter_slices(4)):
        assert models["flat"].predict(given).tobytes() == expected.tobytes()


def test_tables_of_several_inputs(tmp_path: Any) -> None:
    """Columns by the names of the inputs."""
    layers = [entrance("a", 3), entrance("b", 5, 3), layer("LSTM", "lstm", [[["b", 0, 0, {}]]], **LSTM.entry["config"])]
    layers.append(layer("Add", "sum", [[["a", 0, 0, {}], ["lstm", 0, 0, {}]]]))
    config = functional(layers, [["a", 0, 0], ["b", 0, 0]], [["sum", 0, 0]])
    model = fastlstm.load(write_h5(tmp_path / "m.h5", config, {"lstm": LSTM.weights}, "2.10.0"))
    a = WIDE[:, 0]
    expected = model.predict([a, WIDE])
    for given in (
        pd.DataFrame({"b": list(WIDE), "a": list(a)}), pl.DataFrame({"b": pl.Series(WIDE), "a": pl.Series(a)}),
        pa.table({"b": wide_array(), "a": of_lists(a)}), pa.record_batch({"b": wide_array(), "a": pa.array(of_lists(a))}),
        [pd.Series(list(a)), pl.Series(WIDE)], {"a": pa.array(of_lists(a)), "b": wide_array()},
    ):  # fmt: skip
        assert model.predict(given).tobytes() == expected.tobytes()
    with pytest.raises(fastlstm.InputError, match="x: expected a dict with the keys a, b, found b, c"):
        model.predict(pd.DataFrame({"b": list(WIDE), "c": list(a)}))


LSTM = h5_files.recurrent("LSTM", 3, 3, np.random.default_rng(1))


def test_targets(models: dict[str, fastlstm.Model]) -> None:
    """Targets and weights of ``evaluate`` are read alike."""
    x, y, w = SERIES[:, :5], SERIES[:, 5:], np.arange(6.0)
    expected = models["flat"].evaluate(x, y, sample_weight=w, loss="mse")
    assert models["flat"].evaluate(pd.DataFrame(x), pl.DataFrame(y), sample_weight=pd.Series(w).astype("Int64"), loss="mse") == expected
    assert (
        models["flat"].evaluate(pa.table(dict(zip("abcde", x.T))), pd.Series(list(y)), sample_weight=pl.Series(w), loss="mse") == expected
    )
    with pytest.raises(fastlstm.InputError, match="y: expected numbers, found a missing value in row 1"):
        models["flat"].evaluate(x, pl.Series([[1.0, 2.0], None, *y[2:].tolist()]), loss="mse")


def test_streams(models: dict[str, fastlstm.Model]) -> None:
    stream, other = (models["wide"].stream(6) for _ in range(2))
    for step in range(3):
        assert stream.step(pd.DataFrame(WIDE[:, step]).astype("Float32")).tobytes() == other.step(WIDE[:, step]).tobytes()


@pytest.mark.parametrize(
    ("kind", "make", "message"),
    [
        ("flat", lambda: pd.DataFrame({"a": pd.array([1, None], "Int64")}), "input 'dense_1_input', column 'a': .* in row 1; fill"),
        ("flat", lambda: pd.Series(pd.array([1.0, None], "Float32")), "input 'dense_1_input': .* found a missing value in row 1; fill"),
        ("single", lambda: pd.Series([[1.0], None, [2.0]]), "missing value in row 1; leave out such rows"),
        ("single", lambda: arrow_backed(pa.array([None, [1.0]])), "missing value in row 0; leave out such rows"),
        ("single", lambda: pl.Series([[1.0, None], [2.0]]), "found a missing value within a row"),
        ("single", lambda: pl.DataFrame({"a": [[1.0], None]}), "column 'a': expected numbers, found a missing value in row 1; leave out"),
        ("wide", lambda: pl.Series([[{"a": 1, "b": None, "c": 2}]]), "column 'b': expected numbers, found a missing value in row 0"),
        ("single", lambda: pa.array([[1.0], [2.0, None]]), "found a missing value within a row"),
        ("single", lambda: pa.table({"a": pa.chunked_array([[[1.0]], [[2.0], None]])}), "column 'a': .* missing value in row 2"),
        ("wide", lambda: pa.array([{"a": 1, "b": 2, "c": 3}, None]), "missing value in row 1"),
        ("wide", lambda: pl.Series([[[1.0], [1.0, 2.0]]]), "expected lists of one length within the rows, found lists of 1 to 2"),
        ("wide", lambda: pa.array([[[1.0], [1.0, 2.0]]]), "expected lists of one length within the rows, found lists of 1 to 2"),
        ("single", lambda: pl.Series([[1.0], []]), "expected at least one timestep, found .* for sequence 1"),
        ("single", lambda: pa.array([[], [1.0], []]), "expected at least one timestep, found .* for sequence 0"),
        ("single", lambda: pd.Series([[1.0], []]), "expected at least one timestep, found .* for sequence 1"),
        ("flat", lambda: pd.DataFrame({"a": ["x", "y"]}), "expected numbers, found text"),
        ("flat", lambda: pl.DataFrame({"a": ["x", "y"]}), "expected numbers, found text"),
        ("flat", lambda: pa.table({"a": ["x", "y"]}), "expected numbers, found text"),
        ("flat", lambda: pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}), "expected numbers, found ndarray of dtype datetime64"),
        ("flat", lambda: pa.table({"a": [1.0]}), r"expected shape \(any, 5\), found \(1, 1\)"),
        ("flat", lambda: pa.table({}), r"expected shape \(any, 5\), found \(0, 0\)"),
        ("wide", lambda: pd.Series([WIDE[0], WIDE[1, :, :2]]), r"expected a list of sequences .*, found \(5, 2\) for sequence 1"),
        ("wide", lambda: pa.array([[{"a": [1.0], "b": 2.0, "c": 3.0}]]), "expected records of numbers, found lists in them"),
        ("single", lambda: pa.nulls(3), "missing value in row 0"),
    ],
)  # fmt: skip
def test_what_is_refused(models: dict[str, fastlstm.Model], kind: str, make: Callable[[], Any], message: str) -> None:
    with pytest.raises(fastlstm.InputError, match=message):
        models[kind].predict(make())


def test_no_rows(models: dict[str, fastlstm.Model]) -> None:
    assert models["flat"].predict(pd.DataFrame(SERIES[:0, :5])).shape == (0, 2)
    assert models["flat"].predict(pl.DataFrame(SERIES[:, :5])[:0]).shape == (0, 2)
    assert models["flat"].predict(pa.table(dict(zip("abcde", SERIES.T)))[:0]).shape == (0, 2)
    assert models["wide"].predict(wide_array()[:0]).shape == (0, 4)


def test_nan_is_a_number(models: dict[str, fastlstm.Model]) -> None:
    x = SERIES[:, :5].copy()
    x[1, 2] = np.nan
    expected = models["flat"].predict(x)
    assert np.isnan(expected[1]).all() and np.isfinite(expected[2:]).all()
    for given in (
        pd.DataFrame(x),
        pl.DataFrame(x),
        pa.table({name: pa.array(column, from_pandas=False) for name, column in zip("abcde", x.T)}),
    ):
        np.testing.assert_array_equal(models["flat"].predict(given), expected)


def test_numbers_are_not_copied() -> None:
    from fastlstm import foreign

    values = np.arange(12, dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values), 3)
    found = foreign.plain(column, "x")
    assert found.shape == (4, 3)
    assert found.ctypes.data == column.flatten().buffers()[1].address


def test_texts(tmp_path: Any) -> None:
    """Pipelines of texts take columns of them, and models that read texts too."""
    rng = np.random.default_rng(0)
    stack = [h5_files.embedding(9, 4, rng, True), h5_files.recurrent("LSTM", 6, 4, rng), h5_files.dense(1, 6, rng)]
    words = fastlstm.load(h5_files.save(tmp_path / "m.h5", stack, (None,)))
    pipeline = fastlstm.Pipeline(words, tokenizer={"good": 1, "bad": 2, "film": 3}, labels=["no", "yes"])
    texts = ["good film", "bad", "film film film", "good"]
    expected = pipeline.predict(texts).probabilities
    for column in (
        pd.Series(texts),
        pl.Series(texts),
        pa.array(texts),
        pa.chunked_array([texts[:1], texts[1:]]),
        pd.DataFrame({"t": texts}),
    ):
        np.testing.assert_array_equal(pipeline.predict(column).probabilities, expected)
    for column in (pd.Series(["good", None]), pl.Series(["good", None]), pa.array(["good", None])):
        with pytest.raises(fastlstm.InputError, match="x: expected texts, found .* in row 1|missing value in row 1"):
            pipeline.predict(column)
