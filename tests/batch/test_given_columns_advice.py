"""What ``predict`` advises about columns of pandas, polars and Arrow, followed to the letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5_files
import numpy as np
import pytest
from advice import follows

import fastlstm

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")
pl = pytest.importorskip("polars", reason="polars is not installed")

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, fastlstm.Model]:
    """By the number of features of a timestep."""
    path = tmp_path_factory.mktemp("models")
    stacks = {features: [h5_files.recurrent("LSTM", 4, features, np.random.default_rng(0))] for features in (1, 3)}
    return {features: fastlstm.load(h5_files.save(path / f"{features}.h5", stack, (None, features))) for features, stack in stacks.items()}


def followed(model: fastlstm.Model, x: Any, marker: str) -> np.ndarray:
    """Predictions of what the message says is to be done with x."""
    with pytest.raises(fastlstm.InputError) as caught:
        model.predict(x)
    _, found, code = str(caught.value).partition(marker)
    assert found, caught.value
    scope: dict[str, Any] = {"x": x, "numpy": np, "pyarrow": pa, "polars": pl}
    exec(f"found = {code}", scope)
    return model.predict(scope["found"])


@follows("fill it first: x.fillna(0)")
@follows("fill it first: x.fillna(False)")
@pytest.mark.parametrize("dtype", ["Int64", "Float32", "int32[pyarrow]", "boolean", "bool[pyarrow]"])
def test_pandas_fillna(models: dict[int, fastlstm.Model], dtype: str) -> None:
    frame = pd.DataFrame({"a": pd.array([1, None], dtype), "b": pd.array([1, 1], dtype)})
    expected = models[1].predict([[[1], [1]], [[0], [1]]])
    np.testing.assert_array_equal(followed(models[1], frame, "; fill it first: "), expected)
    steps = frame.T.astype(dtype)
    np.testing.assert_array_equal(followed(models[1], steps, "; fill it first: "), models[1].predict([[[1], [0]], [[1], [1]]]))


@follows("leave out such rows: x.dropna()")
def test_pandas_dropna(models: dict[int, fastlstm.Model]) -> None:
    for x in (pd.Series([X[0], None, X[2]]), pd.DataFrame({"x": [X[0], None, X[2]]})):
        np.testing.assert_array_equal(followed(models[3], x, "; leave out such rows: "), models[3].predict(X[[0, 2]]))


@follows("where they are features: {}")
def test_several_columns_of_arrays(models: dict[int, fastlstm.Model]) -> None:
    columns = {name: [row[:, number].tolist() for row in X] for number, name in enumerate("abc")}
    for x in (
        pd.DataFrame(columns), pd.DataFrame({name: list(X[:, :, number]) for number, name in enumerate("abc")}), pl.DataFrame(columns),
        pl.DataFrame({name: pl.Series(X[:, :, number]) for number, name in enumerate("abc")}), pa.table(columns), pa.record_batch(columns),
    ):  # fmt: skip
        np.testing.assert_array_equal(followed(models[3], x, "; where they are features: "), models[3].predict(X))


@follows("pass the input's column alone: x[{}]")
def test_an_array_beside_ids(models: dict[int, fastlstm.Model]) -> None:
    columns = {"id": list(range(len(X))), "x": X.tolist()}
    for x in (pd.DataFrame(columns), pl.DataFrame(columns), pa.table(columns), pa.record_batch(columns)):
        np.testing.assert_array_equal(followed(models[3], x, "; pass the input's column alone: "), models[3].predict(X))


@follows("pass the columns that the model reads alone, x[[name, ...]]")
def test_texts_and_times_beside_numbers(models: dict[int, fastlstm.Model]) -> None:
    columns = {"a": [1.0, 2.0], "b": [3.0, 4.0]}
    expected = models[1].predict(np.array([[[1.0], [3.0]], [[2.0], [4.0]]]))
    for odd in (["x", "y"], pd.to_datetime(["2026-01-01", "2026-01-02"])):
        for x in (pd.DataFrame({"odd": odd, **columns}), pl.DataFrame({"odd": odd, **columns})):
            with pytest.raises(fastlstm.InputError, match=r"column 'odd': expected numbers, found .*; pass the columns that"):
                models[1].predict(x)
            np.testing.assert_array_equal(models[1].predict(x[["a", "b"]]), expected)


def test_timesteps_one_after_another(tmp_path: Path) -> None:
    """Rows of as many numbers as a fixed input has are read in its shape, as a Predictor reads them; arrays are not, as in Keras."""
    stack = [h5_files.recurrent("LSTM", 4, 3, np.random.default_rng(0))]
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", stack, X.shape[1:]))
    flat = X.reshape(len(X), -1)
    expected = model.predict(X)
    lists = pa.FixedSizeListArray.from_arrays(flat.ravel(), flat.shape[1])
    for x in (pd.DataFrame(flat), pl.DataFrame(flat), pd.Series(list(flat)), pl.Series(flat), lists, pa.record_batch({"x": lists})):
        np.testing.assert_array_equal(model.predict(x), expected)
        np.testing.assert_array_equal(model.predict(iter([x])), expected)
    for x in (pd.DataFrame(flat[:, 1:]), flat, flat.tolist()):
        with pytest.raises(fastlstm.InputError, match="expected shape"):
            model.predict(x)


@follows("pass x.collect()")
def test_a_lazy_frame(models: dict[int, fastlstm.Model]) -> None:
    x = pl.DataFrame({"x": pl.Series(X)}).lazy()
    np.testing.assert_array_equal(followed(models[3], x, "; pass "), models[3].predict(X))


@follows("fill it first: x.fill_null(0)")
def test_polars_fill_null(models: dict[int, fastlstm.Model]) -> None:
    x = pl.DataFrame({"a": [1.0, None], "b": [1, None]})
    np.testing.assert_array_equal(followed(models[1], x, "; fill it first: "), models[1].predict([[[1], [1]], [[0], [0]]]))


@follows("leave out such rows: x.drop_nulls()")
def test_polars_drop_nulls(models: dict[int, fastlstm.Model]) -> None:
    for x in (pl.Series([[1.0, 2.0], None]), pl.DataFrame({"a": [[1.0, 2.0], None]})):
        np.testing.assert_array_equal(followed(models[1], x, "; leave out such rows: "), models[1].predict([[[1], [2]]]))


@follows("fill it first: x.cast(polars.List(float)).list.eval(polars.element().fill_null(0))")
@pytest.mark.parametrize("kind", ["List", "Array"])
def test_polars_within_rows(models: dict[int, fastlstm.Model], kind: str) -> None:
    x = pl.Series([[1.0, None], [3.0, 4.0]], dtype=pl.List(pl.Float32) if kind == "List" else pl.Array(pl.Float32, 2))
    np.testing.assert_array_equal(followed(models[1], x, "; fill it first: "), models[1].predict([[[1], [0]], [[3], [4]]]))


@follows("leave out such rows: x.drop_null()")
def test_arrow_drop_null(models: dict[int, fastlstm.Model]) -> None:
    column = pa.array([[1.0, 2.0], None])
    for x in (column, pa.chunked_array([column]), pa.table({"a": column}), pa.record_batch({"a": column})):
        np.testing.assert_array_equal(followed(models[1], x, "; leave out such rows: "), models[1].predict([[[1], [2]]]))


@follows("fill it first: type(x).from_arrays(x.offsets, x.values.fill_null(0))")
@pytest.mark.parametrize("large", [False, True])
def test_arrow_within_lists(models: dict[int, fastlstm.Model], large: bool) -> None:
    kind = pa.large_list(pa.float32()) if large else pa.list_(pa.float32())
    x = pa.array([[9.0], [1.0, None], [3.0]], kind)[1:]
    expected = models[1].predict([np.array([[1.0], [0.0]]), np.array([[3.0]])])
    np.testing.assert_array_equal(followed(models[1], x, "; fill it first: "), expected)


@follows("fill it first: pyarrow.FixedSizeListArray.from_arrays(x.flatten().fill_null(0), {})")
def test_arrow_within_fixed_size_lists(models: dict[int, fastlstm.Model]) -> None:
    x = pa.array([[9.0, 9.0], [1.0, None], [3.0, 4.0]], pa.list_(pa.float32(), 2))[1:]
    np.testing.assert_array_equal(followed(models[1], x, "; fill it first: "), models[1].predict([[[1], [0]], [[3], [4]]]))


class Stream:
    """A table of a library that Arrow reads, and NumPy does not."""

    def __init__(self, table: Any):
        self.table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.table.__arrow_c_stream__(requested_schema)


class Array:
    """A column of one."""

    def __init__(self, array: Any):
        self.array = array

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self.array.__arrow_c_array__(requested_schema)


@follows("pass pyarrow.table(x)")
def test_what_arrow_reads_as_a_table(models: dict[int, fastlstm.Model]) -> None:
    x = Stream(pa.table({"x": [[1.0, 2.0]]}))
    np.testing.assert_array_equal(followed(models[1], x, "; pass "), models[1].predict([[[1], [2]]]))


@follows("pass pyarrow.array(x)")
def test_what_arrow_reads_as_an_array(models: dict[int, fastlstm.Model]) -> None:
    x = Array(pa.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(followed(models[1], x, "; pass "), models[1].predict([[[1], [2]]]))
