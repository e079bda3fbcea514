"""Predictor: what is refused, and what is said then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import batch_models
import numpy as np
import pytest
from advice import follows

import fastlstm
from fastlstm.batch import Predictor
from fastlstm.demo import MODEL
from fastlstm.errors import InputError

pa = pytest.importorskip("pyarrow", minversion="16")
pd = pytest.importorskip("pandas", minversion="2.1")
pl = pytest.importorskip("polars")

from columns_of import COLUMNS, TABLES  # noqa: E402 - needs all of them

Make = Callable[[str], Path]


def numbers(rows: int = 6, steps: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, steps, batch_models.FEATURES)).astype(np.float32)


def refused(predictor: Predictor, batch: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        predictor(batch)
    assert message in str(caught.value)


def test_columns_that_are_not_there(models: Make) -> None:
    table = pa.table({"a": [1.0], "b": [2.0]})
    refused(Predictor(models("fixed"), inputs="x"), table, "input 'lstm_1_input': expected a column 'x', found the columns 'a', 'b'")
    refused(
        Predictor(models("fixed")), table,
        "inputs: expected a column 'lstm_1_input' for the input of this name, or to be told which it is, such as inputs=['a', 'b']",
    )  # fmt: skip
    refused(Predictor(models("several")), table, "expected a column 'series'")
    refused(
        Predictor(models("several"), inputs="a"), table, "inputs: expected a dict, as the model has the inputs 'series', 'facts', found 'a'"
    )
    refused(
        Predictor(models("several"), inputs={"series": "a"}),
        table,
        "inputs: expected columns for 'series', 'facts', found them for 'series'",
    )


def test_widths_that_do_not_fit(models: Make) -> None:
    fixed = Predictor(models("fixed"), inputs="x")
    column = COLUMNS["numbers"](numbers(steps=4))
    refused(fixed, pa.table({"x": column}), "input 'lstm_1_input' of column 'x': expected what fits (any, 5, 3), found rows of shape (12,)")
    refused(fixed, pa.table({"x": COLUMNS["nested"](numbers(steps=4))}), "expected what fits (any, 5, 3), found rows of shape (4, 3)")
    refused(fixed, pa.table({"x": COLUMNS["nested"](np.swapaxes(numbers(), 1, 2))}), "found rows of shape (3, 5)")
    refused(fixed, pa.table({"x": [1.0, 2.0]}), "expected what fits (any, 5, 3), found one value a row")
    refused(
        fixed,
        pa.table({"x": [[1.0] * 15, [2.0] * 12]}),
        "expected lists of one length, as input (any, 5, 3), found 15 in row 0 and 12 in row 1",
    )
    opened = Predictor(models("any_length"), inputs="x")
    refused(
        opened, pa.table({"x": [[1.0] * 6, [2.0] * 7]}), "expected 3 numbers a timestep, as input (any, any, 3), found 7 in row 1, which 3"
    )
    refused(opened, pa.table({"x": [[1.0] * 6, []]}), "column 'x': expected at least one step in every row, found an empty list in row 1")
    refused(Predictor(models("fixed"), inputs=["x", "z"]), pa.table({"x": [1.0], "z": [2.0]}), "found rows of shape (2,)")
    several = pa.table({"x": [[1.0], [1.0, 2.0]], "y": [[1.0], [1.0]]})
    refused(
        Predictor(models("any_length"), inputs=["x", "y"]),
        several,
        "expected lists as long as each other in every row, found others in 'y'",
    )
    for columns in (
        {"x": [[1.0] * 5], "y": [[1.0] * 4]},
        {"x": [[1.0] * 5], "y": [1.0]},
        {"x": [[1.0], [1.0] * 2], "y": [[1.0], [1.0] * 2]},
    ):
        with pytest.raises(InputError, match=r"of columns 'x', 'y': expected what fits \(any, any, 3\) side by side, found \("):
            Predictor(models("any_length"), inputs=["x", "y"])(pa.table(columns))
    refused(
        Predictor(models("words")),
        pa.table({"x": [["a"], ["a", "b"]]}),
        "expected lists of one length, as input (any, 1), found 1 in row 0",
    )
    with pytest.raises(InputError, match=r"found rows of shape \(12,\)"):  # told before there are rows
        fixed.schema(pa.schema([("x", column.type)]))


@follows("outputs={'dense_2': 'dense_2_'} names it otherwise")
def test_a_column_that_is_there_already(models: Make) -> None:
    x = numbers()
    for batch in ({"x": x, "dense_2": x}, pa.table({"x": COLUMNS["nested"](x), "dense_2": range(6)})):
        refused(Predictor(models("fixed"), inputs="x"), batch, "outputs={'dense_2': 'dense_2_'} names it otherwise")
        found = Predictor(models("fixed"), inputs="x", outputs={"dense_2": "dense_2_"})(batch)
        assert "dense_2_" in (found if isinstance(found, dict) else found.schema.names)


def test_outputs_that_are_not_there(models: Make) -> None:
    table = TABLES["table"](numbers())
    refused(Predictor(models("fixed"), outputs={"y": "z"}), table, "outputs: expected outputs among 'dense_2', found 'y'")
    refused(Predictor(models("fixed"), outputs=["a", "b"]), table, "outputs: expected a column for each of 'dense_2', or a dict such as")
    refused(
        Predictor(models("several"), inputs={"series": "x", "facts": "x"}), table["x"], "found one column; outputs={'y': 'y'} chooses one"
    )


def test_batches_of_no_known_kind(models: Make) -> None:
    predictor = Predictor(models("fixed"))
    refused(predictor, [1, 2], "batch: expected a NumPy array, a dict of NumPy arrays, a pandas or polars DataFrame")
    refused(predictor, {"x": [1, 2]}, "batch: expected a dict of NumPy arrays by name, found [1, 2] for 'x'")
    refused(predictor, {"x": np.zeros(2), "y": np.zeros(3)}, "expected columns of the same number of rows, found 'x' has 2, 'y' has 3")
    refused(predictor, pd.DataFrame(np.zeros((1, 2)), columns=["a", "a"]), "expected columns of different names, found 'a' twice")
    refused(predictor, pa.table([[1], [2]], names=["a", "a"]), "expected columns of different names, found 'a' twice")
    for dates in (
        pa.table({"x": pa.array([0], pa.timestamp("s"))}),
        pd.DataFrame({"x": pd.to_datetime(["2026-01-01"])}),
        {"x": np.zeros(1, "M8[s]")},
    ):
        refused(
            Predictor(models("fixed"), inputs="x"), dates, "say what a model is to read of it, such as hours since a moment, as numbers"
        )
    refused(Predictor(models("fixed"), inputs="x"), pl.DataFrame({"x": [{"a": 1}]}), "make columns of its fields")
    refused(
        Predictor(models("fixed"), inputs="x"),
        pd.DataFrame({"x": [np.zeros((2, 3)), np.zeros((2, 4))]}),
        "expected rows that differ in length alone",
    )


@follows("frame.map_batches(predictor) calls with such")
def test_a_frame_that_waits(models: Make) -> None:
    x = numbers()
    frame = TABLES["polars"](x).lazy()
    predictor = Predictor(models("fixed"), outputs="y")
    refused(predictor, frame, "frame.map_batches(predictor)")
    made = frame.map_batches(predictor, schema={"x": pl.Array(pl.Float32, (5, 3)), "y": pl.Float32}).collect()
    assert np.array_equal(made["y"].to_numpy(), fastlstm.load(models("fixed")).predict(x)[:, 0])


def test_rows_that_depend_on_others(models: Make) -> None:
    x = numbers()
    predictor = Predictor(models("stateful"))
    for batch in (x, {"x": x}, TABLES["table"](x)):
        refused(predictor, batch, "expected a model whose rows are computed alone, found a stateful one")
    found = predictor.in_order({"x": x})["lstm_1"]
    assert np.array_equal(found, fastlstm.load(models("stateful")).predict(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": 3}, "path: expected the path of a file, found 3"),
        ({"inputs": 2.5}, "inputs: expected the name of a column"),
        ({"inputs": []}, "inputs: expected the name of a column"),
        ({"outputs": 3}, "outputs: expected the name of a column"),
        ({"outputs": ["a", "a"]}, "outputs: expected columns of different names"),
        ({"nulls": "drop"}, "nulls: expected 'error', 'skip' or a number, found 'drop'"),
        ({"nulls": True}, "nulls: expected 'error', 'skip' or a number, found True"),
        ({"threads": 0}, "threads: expected a positive number, found 0"),
        ({"order": "t"}, "order: expected key= too, the column that tells sequences apart"),
        ({"key": []}, "key: expected the name of a column, or a list of such names, found []"),
        ({"key": ["a", "a"]}, "key: expected columns of different names"),
        ({"key": "a", "order": ["b"]}, "order: expected the name of a column, found ['b']"),
        ({"thread": 2}, "thread: expected options among inputs, outputs, threads, nulls, key, order, architecture"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_arguments_that_are_none_of_these(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Predictor(**{"path": MODEL, **options})
    assert str(caught.value).startswith(message)


def test_advice_about_iterators_and_orders(models: Make) -> None:
    predictor = Predictor(models("fixed"), outputs="y")
    table = TABLES["table"](numbers())
    batches = table.to_batches(max_chunksize=3)
    refused(predictor, iter(batches), "; map(predictor, batches) calls it with each batch of an iterator")
    assert pa.Table.from_batches(map(predictor, iter(batches))).num_rows == table.num_rows
    steps = pd.DataFrame({"k": [0, 0], "t": ["2026-01-02", "2026-01-01"], "x": [1.0, 2.0]})
    by_key = Predictor(models("any_length"), inputs=["x"] * batch_models.FEATURES, key="k", order="t")
    for texts in (steps, pa.table(dict(steps))):
        refused(by_key, texts, "; make times of the texts first, such as by pandas.to_datetime or a cast")
    by_key(steps.assign(t=pd.to_datetime(steps["t"])))


TEXTS = {
    "NumPy": lambda texts: {"t": np.array(texts)}, "Arrow": lambda texts: pa.table({"t": texts}),
    "pandas": lambda texts: pd.DataFrame({"t": texts}), "polars": lambda texts: pl.DataFrame({"t": texts}),
    "objects": lambda texts: pd.DataFrame({"t": pd.Series(texts, dtype=object)}),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(TEXTS))
def test_text_where_numbers_are_expected(models: Make, kind: str) -> None:
    """It is told which column that is."""
    with pytest.raises(InputError, match="column 't': expected numbers, as input '.*' takes, found text; choose other columns by inputs=$"):
        Predictor(models("fixed"), inputs="t")(TEXTS[kind](["a", "b"]))
