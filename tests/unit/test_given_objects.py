"""Objects that are no arrays of NumPy, but offer one: DLPack, and how rows are made of nested values."""

from __future__ import annotations

from typing import Any

import h5_files
import numpy as np
import pytest

import fastlstm
from fastlstm import foreign

X = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> fastlstm.Model:
    stack = [h5_files.recurrent("LSTM", 4, 3, np.random.default_rng(0))]
    return fastlstm.load(h5_files.save(tmp_path_factory.mktemp("model") / "model.h5", stack, (None, 3)))


class Exports:
    """A tensor without ``__array__``."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


class Copies(Exports):
    """A tensor on another device, which ``__array__`` copies from there: as arrays of JAX do."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.array


@pytest.mark.parametrize("kind", [Exports, Copies])
def test_dlpack(model: fastlstm.Model, kind: type[Exports]) -> None:
    y = model.predict(X)
    for given in (kind(X), [kind(X)], {model.inputs[0].name: kind(X)}, iter([(kind(X[:2]),), (kind(X[2:]),)]), [kind(row) for row in X]):
        assert model.predict(given).tobytes() == y.tobytes()
    assert model(kind(X)).tobytes() == y.tobytes()
    stream = model.stream(6)
    assert stream.step(kind(X[:, 0])).tobytes() == model.predict(X[:, :1]).tobytes()


def test_dlpack_is_read_without_a_copy() -> None:
    assert np.shares_memory(foreign.plain(Exports(X), "x"), X)


def test_what_arrow_alone_reads(model: fastlstm.Model) -> None:
    kinds = {"__arrow_c_stream__": "table", "__arrow_c_array__": "array"}
    for name, what in kinds.items():
        x = type("Column", (), {name: lambda self, schema=None: None})()
        with pytest.raises(fastlstm.InputError, match=rf"found Column, which only Arrow reads; pass pyarrow\.{what}\(x\)"):
            model.predict(x)


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([3], np.arange(12).reshape(4, 3)),
        ([2, 3], np.arange(12).reshape(2, 2, 3)),
        ([np.array([2, 2]), 3], np.arange(12).reshape(2, 2, 3)),
        ([np.array([2, 2]), np.array([3, 3, 3, 3])], np.arange(12).reshape(2, 2, 3)),
        ([2, np.array([3, 3, 3, 3])], np.arange(12).reshape(2, 2, 3)),
    ],
)
def test_rows_of_one_length(levels: list[Any], expected: np.ndarray) -> None:
    np.testing.assert_array_equal(foreign.in_rows(np.arange(12), levels, "x"), expected)


@pytest.mark.parametrize("inner", [3, np.full(4, 3)])
def test_rows_of_their_own_lengths(inner: Any) -> None:
    rows = foreign.in_rows(np.arange(12), [np.array([1, 3]), inner], "x")
    assert [row.tolist() for row in rows] == [[[0, 1, 2]], [[3, 4, 5], [6, 7, 8], [9, 10, 11]]]


def test_rows_that_are_no_array() -> None:
    with pytest.raises(fastlstm.InputError, match="x: expected lists of one length within the rows, found lists of 1 to 5 in the rows"):
        foreign.in_rows(np.arange(6), [np.array([1, 1]), np.array([1, 5])], "x")
    assert foreign.in_rows(np.zeros(0), [np.zeros(0, int), 3], "x").shape == (0, 1, 3)
    assert foreign.in_rows(np.zeros(0), [3], "x").shape == (0, 3)


def test_cells() -> None:
    assert foreign.of_cells([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert [row.tolist() for row in foreign.of_cells([[1, 2], [3]])] == [[1, 2], [3]]
    boxed = np.empty(2, object)
    boxed[:] = [np.array([1, 2]), np.array([3, 4])]
    assert foreign.of_cells([boxed, boxed]).tolist() == [[[1, 2], [3, 4]]] * 2
