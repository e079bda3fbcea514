"""Predictor: batches of each kind of table, as ``predict`` computes them, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import batch_models
import numpy as np
import pytest
from advice import follows
from hypothesis import given
from hypothesis import strategies as st

import fastlstm
from fastlstm.batch import Predictor, answers
from fastlstm.errors import InputError

pa = pytest.importorskip("pyarrow", minversion="16")
pd = pytest.importorskip("pandas", minversion="2.1")
pl = pytest.importorskip("polars")

from columns_of import COLUMNS, TABLES, as_numpy, chunks, listed, sliced  # noqa: E402 - needs all of them

Make = Callable[[str], Path]


def numbers(rows: int = 6, steps: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, steps, batch_models.FEATURES)).astype(np.float32)


# -- kinds of tables --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(batch_models.NUMBERS))
@pytest.mark.parametrize("kind", sorted(TABLES))
def test_each_kind_of_table(models: Make, kind: str, name: str) -> None:
    x, path = numbers(), models(name)
    expected = fastlstm.load(path).predict(x)
    batch = TABLES[kind](x)
    found = Predictor(path, outputs="y")(batch)
    assert type(found) is type(batch)
    y = as_numpy(found, "y")
    assert np.array_equal(y, expected[:, 0] if expected.shape[1:] == (1,) else expected)
    assert as_numpy(found, "x").shape[0] == len(x)


@pytest.mark.parametrize("kind", sorted(COLUMNS))
def test_one_column_alone(models: Make, kind: str) -> None:
    x, predictor = numbers(), Predictor(models("fixed"))
    expected = fastlstm.load(models("fixed")).predict(x)[:, 0]
    for column in (COLUMNS[kind](x), sliced(COLUMNS[kind], x)):
        found = predictor(column)
        assert isinstance(found, pa.Array)
        assert np.array_equal(found.to_numpy(), expected)
    found = predictor(chunks(COLUMNS[kind], x, [1, 2]))
    assert isinstance(found, pa.ChunkedArray)
    assert np.array_equal(found.to_numpy(), expected)


def test_one_series(models: Make) -> None:
    x, predictor = numbers(), Predictor(models("fixed"))
    expected = fastlstm.load(models("fixed")).predict(x)[:, 0]
    table = TABLES["pandas"](x)
    found = predictor(table["x"].rename("given"))
    assert found.name == "given"
    assert list(found.index) == list(table.index)
    assert np.array_equal(found.to_numpy(), expected)
    found = predictor(pl.Series("given", x))
    assert (found.name, found.dtype) == ("given", pl.Float32)
    assert np.array_equal(found.to_numpy(), expected)


def test_an_array_is_as_for_predict(models: Make) -> None:
    x = numbers()
    expected = fastlstm.load(models("fixed")).predict(x)
    assert np.array_equal(Predictor(models("fixed"))(x), expected)
    assert np.array_equal(Predictor(models("fixed")).predict(x), expected)


@given(st.data())
def test_any_cuts_of_a_table(models: Make, data: st.DataObject) -> None:
    """Chunks, slices and batches change no number."""
    rows = data.draw(st.integers(1, 7))
    x = numbers(rows, seed=rows)
    name = data.draw(st.sampled_from(sorted(batch_models.NUMBERS)))
    kind = data.draw(st.sampled_from(sorted(COLUMNS)))
    sizes = data.draw(st.lists(st.integers(0, 2), max_size=3))
    expected = fastlstm.load(models(name)).predict(x)
    table = pa.table({"other": pa.array(range(rows)), "x": chunks(COLUMNS[kind], x, sizes)})
    predictor = Predictor(models(name), inputs="x", outputs="y")
    first = data.draw(st.integers(0, rows - 1))
    y = as_numpy(predictor(table.slice(first)), "y")
    assert np.array_equal(y, expected[first:, 0] if expected.shape[1:] == (1,) else expected[first:])


def test_what_stays_of_a_table(models: Make) -> None:
    """The other columns, their order, the metadata, the index."""
    x = numbers()
    table = pa.table({"b": range(6), "x": COLUMNS["nested"](x), "a": list("abcdef")}).replace_schema_metadata({"k": "v"})
    found = Predictor(models("fixed"), inputs="x")(table)
    assert found.schema.names == ["b", "x", "a", "dense_2"]
    assert found.schema.metadata == {b"k": b"v"}
    assert found.select(["b", "x", "a"]).equals(table)
    frame = TABLES["pandas"](x).assign(when=pd.Timestamp("2026-01-01"), state=pd.Categorical(list("aabbcc")))
    found = Predictor(models("fixed"), inputs="x")(frame)
    assert list(found.columns) == ["x", "when", "state", "dense_2"]
    pd.testing.assert_frame_equal(found[["x", "when", "state"]], frame)
    assert "dense_2" not in frame.columns


def test_types_of_outputs(models: Make) -> None:
    """A value a row is a column of floats, several are lists of a fixed size, of open length lists."""
    x = numbers()
    table = TABLES["table"](x)
    for name, kind in [
        ("fixed", pa.float32()), ("any_length", pa.list_(pa.float32(), 2)), ("each_step", pa.list_(pa.list_(pa.float32(), 2))),
    ]:  # fmt: skip
        predictor = Predictor(models(name), outputs="y")
        assert predictor(table).schema.field("y").type == kind
        assert predictor.schema(table.schema).equals(predictor(table).schema)
        assert predictor(table.slice(0, 0)).schema.equals(predictor(table).schema)
    wide = Predictor(models("fixed"), outputs="y", precision="float64")
    assert wide(table).schema.field("y").type == pa.float64()
    assert Predictor(models("any_length"), outputs="y")(TABLES["polars"](x)).schema["y"] == pl.Array(pl.Float32, 2)
    assert Predictor(models("each_step"), outputs="y")(TABLES["polars"](x)).schema["y"] == pl.List(pl.Array(pl.Float32, 2))


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_no_rows(models: Make, kind: str) -> None:
    batch = TABLES[kind](numbers())
    nothing = {name: column[:0] for name, column in batch.items()} if isinstance(batch, dict) else batch[:0]
    for name in ("fixed", "each_step"):
        found = Predictor(models(name), outputs="y")(nothing)
        assert len(found["y"]) == 0
        if isinstance(found, pl.DataFrame):
            assert found.schema == Predictor(models(name), outputs="y")(batch).schema


# -- which columns ----------------------------------------------------------------------------------------------------------------


def test_scalars_side_by_side(models: Make) -> None:
    """In the order of the columns that are named: timestep after timestep."""
    x = numbers()
    expected = fastlstm.load(models("fixed")).predict(x)[:, 0]
    names = [f"t{step}_{feature}" for step in range(5) for feature in range(3)]
    flat = dict(zip(names, x.reshape(6, -1).T.copy()))
    predictor = Predictor(models("fixed"), inputs=names, outputs="y")
    shuffled = dict(sorted(flat.items(), reverse=True))
    for batch in (shuffled, pa.table(shuffled), pd.DataFrame(shuffled), pl.DataFrame(shuffled), pa.RecordBatch.from_pydict(shuffled)):
        assert np.array_equal(as_numpy(predictor(batch), "y"), expected)
    mixed = pa.table({**shuffled, "t0_0": shuffled["t0_0"].astype(np.float64), "t1_1": pa.array(shuffled["t1_1"]).dictionary_encode()})
    assert np.array_equal(as_numpy(predictor(mixed), "y"), expected)


def test_columns_of_a_frame_made_of_an_array(models: Make) -> None:
    """Which pandas calls by numbers."""
    x = numbers()
    frame = pd.DataFrame(x.reshape(6, -1))
    found = Predictor(models("fixed"), inputs=list(range(15)), outputs="y")(frame)
    assert np.array_equal(found["y"].to_numpy(), fastlstm.load(models("fixed")).predict(x)[:, 0])


@pytest.mark.parametrize("make", [COLUMNS["nested"], lambda x: listed(x.reshape(len(x), -1))], ids=["fixed", "lists"])
def test_lists_side_by_side(models: Make, make: Callable[[np.ndarray], Any]) -> None:
    """A feature each, some features each, a timestep each; else one after another."""
    x = numbers()
    expected = fastlstm.load(models("fixed")).predict(x)[:, 0]
    features = {f"f{n}": make(np.ascontiguousarray(x[..., n])) for n in range(3)}
    some = {"ab": COLUMNS["nested"](np.ascontiguousarray(x[..., :2])), "c": COLUMNS["nested"](np.ascontiguousarray(x[..., 2:]))}
    steps = {f"t{n}": make(np.ascontiguousarray(x[:, n])) for n in range(5)}
    flat = x.reshape(6, -1)
    after = {"first": make(np.ascontiguousarray(flat[:, :8])), "one": np.ascontiguousarray(flat[:, 8]), "last": make(flat[:, 9:].copy())}
    for columns in (features, some, steps, after):
        found = Predictor(models("fixed"), inputs=list(columns), outputs="y")(pa.table(columns))
        assert np.array_equal(as_numpy(found, "y"), expected)
    found = Predictor(models("any_length"), inputs=list(features), outputs="y")(pa.table(features))
    assert np.array_equal(as_numpy(found, "y"), fastlstm.load(models("any_length")).predict(x))


def test_several_inputs_and_outputs(models: Make) -> None:
    series, facts = numbers(), np.random.default_rng(1).random((6, 2), np.float32)
    y, z = fastlstm.load(models("several")).predict([series, facts])
    table = pa.table({"series": COLUMNS["nested"](series), "facts": COLUMNS["nested"](facts)})
    found = Predictor(models("several"))(table)
    assert np.array_equal(as_numpy(found, "y"), y[:, 0])
    assert np.array_equal(as_numpy(found, "z"), z)
    apart = pa.table({"s": table["series"], "a": facts[:, 0].copy(), "b": facts[:, 1].copy()})
    found = Predictor(models("several"), inputs={"facts": ["a", "b"], "series": "s"}, outputs={"z": "chances"})(apart)
    assert found.schema.names == ["s", "a", "b", "chances"]
    assert np.array_equal(as_numpy(found, "chances"), z)
    assert Predictor(models("several"), outputs=["one", "three"])(table).schema.names[2:] == ["one", "three"]


def test_outputs_of_one_name(models: Make) -> None:
    """Are numbered, as columns have names of their own."""
    x = numbers()
    expected = fastlstm.load(models("with_states")).predict(x)
    table = TABLES["table"](x)
    for outputs, names in [(None, ["lstm", "lstm_1", "lstm_2"]), (["y", "h", "c"], ["y", "h", "c"]), ({"lstm_2": "c"}, ["c"])]:
        found = Predictor(models("with_states"), outputs=outputs)(table)
        assert found.schema.names == ["x", *names]
        for name, wanted in zip(names[::-1], expected[::-1]):
            assert np.array_equal(as_numpy(found, name), wanted)
    assert answers.told_apart(["a", "a_1", "a", "a"]) == ["a", "a_1", "a_2", "a_3"]


def test_the_only_column_it_could_be(models: Make) -> None:
    x = numbers()
    table = pa.table({"name": list("abcdef"), "when": pa.array(range(6), pa.timestamp("s")), "numbers": COLUMNS["numbers"](x)})
    assert np.array_equal(as_numpy(Predictor(models("fixed"), outputs="y")(table), "y"), fastlstm.load(models("fixed")).predict(x)[:, 0])


# -- rows of different lengths ----------------------------------------------------------------------------------------------------


def of_lengths(lengths: list[int], seed: int = 0) -> list[np.ndarray]:
    return [numbers(1, length, seed + number)[0] for number, length in enumerate(lengths)]


RAGGED: dict[str, Callable[[list[np.ndarray]], Any]] = {
    "lists": lambda rows: pa.table({"x": pa.array([row.ravel() for row in rows], pa.list_(pa.float32()))}),
    "lists of fixed ones": lambda rows: pa.table({"x": pa.array([list(row) for row in rows], pa.list_(pa.list_(pa.float32(), 3)))}),
    "large lists of lists": lambda rows: pa.table({"x": pa.array([list(row) for row in rows], pa.large_list(pa.list_(pa.float32())))}),
    "pandas": lambda rows: pd.DataFrame({"x": pd.Series(rows, dtype=object)}),
    "pandas with lists": lambda rows: pd.DataFrame({"x": pd.Series([row.tolist() for row in rows], dtype=object)}),
    "polars": lambda rows: pl.DataFrame({"x": pl.from_arrow(RAGGED["lists of fixed ones"](rows)["x"])}),
    "dict": lambda rows: {"x": pd.Series(rows, dtype=object).to_numpy()},
}


@pytest.mark.parametrize("name", ["any_length", "each_step", "convolved"])
@pytest.mark.parametrize("kind", sorted(RAGGED))
def test_rows_of_different_lengths(models: Make, kind: str, name: str) -> None:
    rows = of_lengths([3, 1, 17, 4, 3])
    expected = [fastlstm.load(models(name)).predict(row[np.newaxis])[0] for row in rows]
    found = Predictor(models(name), inputs="x", outputs="y")(RAGGED[kind](rows))["y"]
    found = found.to_pylist() if isinstance(found, pa.ChunkedArray) else list(found)
    assert all(np.array_equal(np.array(list(y), np.float32), wanted) for y, wanted in zip(found, expected, strict=True))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.sampled_from(["any_length", "each_step", "convolved", "ids"]))
def test_any_lengths(models: Make, lengths: list[int], name: str) -> None:
    rows = of_lengths(lengths)
    if name == "ids":
        rows = [np.abs(row[:, 0] * 5).astype(np.int32) % 20 for row in rows]
    loaded = fastlstm.load(models(name))
    expected = loaded.predict(rows)
    table = pa.table({"x": pa.array([row.ravel() for row in rows], pa.list_(pa.float32() if name != "ids" else pa.int32()))})
    found = Predictor(models(name), inputs="x", outputs="y")(table)["y"].to_pylist()
    for y, wanted in zip(found, expected, strict=True):
        assert np.array_equal(np.array(y, np.float32).ravel(), np.ravel(wanted))


def test_lengths_far_apart_take_little_memory(models: Make) -> None:
    """A row of a hundred thousand timesteps among many of one: padded to the longest they were 2.4 GB."""
    import tracemalloc

    lengths = np.ones(2000, np.int64)
    lengths[1000] = 100_000
    values = np.random.default_rng(0).random((lengths.sum(), 3), np.float32)
    column = pa.ListArray.from_arrays(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), COLUMNS["nested"](values[:, np.newaxis]).flatten()
    )
    predictor = Predictor(models("any_length"))
    tracemalloc.start()
    y = as_numpy(predictor(pa.table({"x": column})), "dense_2")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100e6
    loaded = fastlstm.load(models("any_length"))
    assert np.array_equal(y[1000], loaded.predict(values[np.newaxis, 1000:101_000])[0])
    assert np.array_equal(y[:1000], loaded.predict(values[:1000, np.newaxis]))


def test_lists_of_different_lengths_side_by_side(models: Make) -> None:
    rows = of_lengths([3, 1, 4])
    columns = {f"f{n}": pa.array([row[:, n] for row in rows], pa.list_(pa.float32())) for n in range(3)}
    found = Predictor(models("any_length"), inputs=list(columns), outputs="y")(pa.table(columns))
    assert np.array_equal(as_numpy(found, "y"), fastlstm.load(models("any_length")).predict(rows))


def test_one_of_several_inputs_has_lengths(models: Make) -> None:
    rows, facts = of_lengths([3, 1, 3]), np.random.default_rng(1).random((3, 2), np.float32)
    y, z = fastlstm.load(models("several")).predict([rows, facts])
    found = Predictor(models("several"))(pa.table({"series": RAGGED["lists"](rows)["x"], "facts": COLUMNS["nested"](facts)}))
    assert np.array_equal(as_numpy(found, "y"), y[:, 0])
    assert np.array_equal(as_numpy(found, "z"), z)


# -- ids and text -----------------------------------------------------------------------------------------------------------------


def test_ids(models: Make) -> None:
    ids = np.random.default_rng(0).integers(0, 20, (6, 4))
    expected = fastlstm.load(models("ids")).predict(ids)[:, 0]
    for kind in (np.int64, np.int8, np.uint16, np.float32):
        found = Predictor(models("ids"), outputs="y")(pa.table({"x": COLUMNS["nested"](ids.astype(kind))}))
        assert np.array_equal(as_numpy(found, "y"), expected)
    with pytest.raises(InputError, match="expected ids from 0 to 19, found 0 to 20"):
        Predictor(models("ids"))(pa.table({"x": pa.array([[0, 20]])}))


@pytest.mark.parametrize(
    "batch",
    [
        pa.table({"n": [1, 2, 3], "text": ["b", "a", "c"]}), pa.table({"text": pa.array(["b", "a", "c"], pa.string_view())}),
        pa.table({"text": pa.array(["b", "a", "c"]).dictionary_encode()}), pd.DataFrame({"text": ["b", "a", "c"]}),
        pd.DataFrame({"text": pd.Categorical(["b", "a", "c"])}), pd.DataFrame({"text": pd.array(["b", "a", "c"], "string")}),
        pl.DataFrame({"text": ["b", "a", "c"]}), pl.DataFrame({"text": pl.Series(["b", "a", "c"], dtype=pl.Categorical)}),
        {"text": np.array(["b", "a", "c"])}, {"text": np.array(["b", "a", "c"], object)}, {"text": np.array([b"b", b"a", b"c"])},
    ],
    ids=["string", "view", "dictionary", "pandas", "category", "pandas string", "polars", "polars category", "dict", "objects", "bytes"],
)  # fmt: skip
def test_text(models: Make, batch: Any) -> None:
    assert list(np.asarray(as_numpy(Predictor(models("words"), outputs="y")(batch), "y"), int)) == [2, 1, 0]


def test_text_as_an_output(models: Make) -> None:
    predictor = Predictor(models("letters"), inputs="n", outputs="y")
    table = pa.table({"n": [1, 2, 1]})
    assert predictor(table)["y"].to_pylist() == ["a", "b", "a"]
    assert predictor(table).schema == predictor.schema(table.schema)
    assert predictor(pl.from_arrow(table))["y"].to_list() == ["a", "b", "a"]
    assert list(predictor(table.to_pandas())["y"]) == ["a", "b", "a"]


# -- nulls ------------------------------------------------------------------------------------------------------------------------


def with_nulls() -> tuple[np.ndarray, dict[str, Any]]:
    """Numbers, and tables of which rows 1 and 4 are null, or hold one."""
    x = numbers()
    rows = [None if n == 1 else row.tolist() for n, row in enumerate(x)]
    rows[4][2][1] = None  # type: ignore[index]
    kind = pa.list_(pa.list_(pa.float32(), 3), 5)
    table = pa.table({"x": pa.array(rows, kind)})
    return x, {
        "table": table, "record batch": table.to_batches()[0], "polars": pl.from_arrow(table), "lists": pa.table({"x": rows}),
        "pandas with Arrow": table.to_pandas(types_mapper=pd.ArrowDtype), "pandas": pd.DataFrame({"x": pd.Series(rows, dtype=object)}),
        "dict": {"x": pd.Series(rows, dtype=object).to_numpy()},
    }  # fmt: skip


@pytest.mark.parametrize("kind", sorted(with_nulls()[1]))
def test_rows_with_nulls_are_refused_or_left_out(models: Make, kind: str) -> None:
    x, tables = with_nulls()
    with pytest.raises(
        InputError, match="column 'x': expected no nulls, found 2, the first in row 1; nulls='skip' leaves such rows out, a number"
    ):
        Predictor(models("fixed"))(tables[kind])
    kept = np.array([True, False, True, True, False, True])
    for name in ("fixed", "any_length", "each_step"):
        found = Predictor(models(name), nulls="skip", outputs="y")(tables[kind])
        y = found["y"].to_pylist() if hasattr(found["y"], "to_pylist") else list(found["y"])
        expected = fastlstm.load(models(name)).predict(x[kept])
        assert [one is None or bool(np.isnan(np.asarray(one, np.float32)).any()) for one in y] == (~kept).tolist()
        present = np.array([list(one) if hasattr(one, "__len__") else one for one in (y[n] for n in np.flatnonzero(kept))], np.float32)
        assert np.array_equal(present.reshape(expected.shape), expected)


@follows("nulls='skip' leaves such rows out, a number such as nulls=0 takes their place")
def test_a_number_takes_their_place(models: Make) -> None:
    x, tables = with_nulls()
    x[1], x[4, 2, 1] = 0.5, 0.5
    expected = fastlstm.load(models("fixed")).predict(x)[:, 0]
    for kind in ("table", "polars"):
        assert np.array_equal(as_numpy(Predictor(models("fixed"), nulls=0.5, outputs="y")(tables[kind]), "y"), expected)
    for kind in ("lists", "dict"):
        with pytest.raises(
            InputError, match="column 'x': nulls=0.5 stands for a number, found a null in place of a list of any length in row 1"
        ):
            Predictor(models("fixed"), nulls=0.5)(tables[kind])


@pytest.mark.parametrize("dtype", ["Float32", "Int8", "boolean", "object", "float64[pyarrow]"])
def test_nullable_columns_of_pandas(models: Make, dtype: str) -> None:
    names = [f"c{n}" for n in range(15)]
    frame = pd.DataFrame({name: pd.Series([1, None, 0], dtype=dtype) for name in names})
    expected = fastlstm.load(models("fixed")).predict(np.array([[1] * 15, [3] * 15, [0] * 15], np.float32).reshape(3, 5, 3))[:, 0]
    with pytest.raises(InputError, match="column 'c0': expected no nulls, found one in row 1"):
        Predictor(models("fixed"), inputs=names)(frame)
    found = Predictor(models("fixed"), inputs=names, nulls="skip", outputs="y")(frame)["y"].to_numpy()
    assert np.isnan(found[1])
    assert np.array_equal(found[[0, 2]], expected[[0, 2]])
    assert np.array_equal(Predictor(models("fixed"), inputs=names, nulls=3, outputs="y")(frame)["y"].to_numpy(), expected)


def test_nan_passes(models: Make) -> None:
    x = numbers()
    x[2, 0, 0] = np.nan
    expected = fastlstm.load(models("fixed")).predict(x)[:, 0]
    for kind in sorted(TABLES):
        assert np.array_equal(as_numpy(Predictor(models("fixed"), outputs="y")(TABLES[kind](x)), "y"), expected, equal_nan=True)


def test_all_of_it_is_null(models: Make) -> None:
    for name in ("fixed", "any_length", "each_step"):
        predictor = Predictor(models(name), inputs="x", outputs="y", nulls="skip")
        for column in (
            pa.array([None, None]),
            pa.array([None, None], pa.list_(pa.float32())),
            pa.array([None] * 2, pa.list_(pa.float32(), 15)),
        ):
            found = predictor(pa.table({"x": column}))
            assert found["y"].to_pylist() == [None, None]
            assert found.schema.field("y").type == predictor(TABLES["table"](numbers())).schema.field("y").type
        assert list(predictor(pd.DataFrame({"x": [None, None]}))["y"].isna()) == [True, True]


def test_nulls_in_text(models: Make) -> None:
    table = pa.table({"text": ["a", None, "b"]})
    assert Predictor(models("words"), outputs="y", nulls="skip")(table)["y"].to_pylist() == [1, None, 2]
    assert list(Predictor(models("words"), outputs="y", nulls="skip")(table.to_pandas())["y"].isna()) == [False, True, False]
    with pytest.raises(InputError, match="column 'text': nulls=0.0 stands for a number, found a null among texts; nulls='skip'"):
        Predictor(models("words"), nulls=0)(table)
