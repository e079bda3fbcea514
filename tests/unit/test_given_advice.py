"""What ``predict`` advises about data that it does not take, followed to the letter: what needs NumPy alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5_files
import numpy as np
import pytest
from advice import follows
from keras_configs import entrance, functional, layer, write_h5

import fastlstm

X = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> fastlstm.Model:
    stack = [h5_files.recurrent("LSTM", 4, 3, np.random.default_rng(0))]
    return fastlstm.load(h5_files.save(tmp_path_factory.mktemp("model") / "model.h5", stack, (None, 3)))


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(fastlstm.InputError) as caught:
        call()
    return str(caught.value)


@follows("the second of a tuple are targets: several inputs, or sequences, are one of it, ((a, b),)")
def test_several_inputs_in_a_batch(tmp_path: Path, model: fastlstm.Model) -> None:
    layers = [entrance("a", 3), entrance("b", 3), layer("Add", "sum", [[["a", 0, 0, {}], ["b", 0, 0, {}]]])]
    config = functional(layers, [["a", 0, 0], ["b", 0, 0]], [["sum", 0, 0]])
    adds = fastlstm.load(write_h5(tmp_path / "m.h5", config, {}, "2.10.0"))
    a, b = X[:, 0], X[:, 1]
    assert "((a, b),)" in refusal(lambda: adds.predict((one, other) for one, other in [(a[:3], b[:3]), (a[3:], b[3:])]))
    y = adds.predict(((one, other),) for one, other in [(a[:3], b[:3]), (a[3:], b[3:])])
    np.testing.assert_array_equal(y, a + b)
    a, b = X[0], X[1, :2]
    assert "((a, b),)" in refusal(lambda: model.predict(iter([(a, b)])))
    np.testing.assert_array_equal(model.predict(iter([((a, b),)])), model.predict([a, b]))


@follows("do that in a loop, after predict_on_batch(batch) of each")
def test_callbacks(model: fastlstm.Model) -> None:
    done: list[int] = []
    batches = [X[:4], X[4:]]
    for call in (model.predict, lambda x, **more: model.evaluate(x, np.zeros((6, 4)), loss="mse", **more)):
        assert refusal(lambda call=call: call(X, callbacks=[done.append])).startswith("callbacks: expected None, found ")
    np.testing.assert_array_equal(model.predict(X, callbacks=[]), model.predict(X))
    found = []
    for number, batch in enumerate(batches):
        found.append(model.predict_on_batch(batch))
        done.append(number)
    assert done == [0, 1]
    np.testing.assert_array_equal(np.concatenate(found), model.predict(X))


class OnAnotherDevice:
    """As an array of CuPy."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("it lies in the memory of a GPU")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0  # CUDA

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def get(self) -> np.ndarray:
        return self.array


class WithoutArray(OnAnotherDevice):
    __array__ = None  # type: ignore[assignment]


@follows("copy it first: x.get()")
@pytest.mark.parametrize("kind", [OnAnotherDevice, WithoutArray])
def test_another_device(model: fastlstm.Model, kind: type[OnAnotherDevice]) -> None:
    x = kind(X)
    for given in (x, [x], iter([(x,)])):
        assert refusal(lambda given=given: model.predict(given)).endswith(
            f"expected numbers, found {kind.__name__} in the memory of another device; copy it first: x.get()"
        )
    np.testing.assert_array_equal(model.predict(x.get()), model.predict(X))


def test_one_feature_a_timestep(tmp_path: Path) -> None:
    """The hint of a shape: as many axes as a single example has, but many features."""
    stack = [h5_files.recurrent("LSTM", 4, 1, np.random.default_rng(0))]
    single = fastlstm.load(h5_files.save(tmp_path / "model.h5", stack, (None, 1)))
    x = X[:, :, 0]
    assert refusal(lambda: single.predict(x)).endswith("found (6, 5); for one feature a timestep pass numpy.asarray(x)[..., numpy.newaxis]")
    assert single.predict(x[..., np.newaxis]).shape == (6, 4)
    assert refusal(lambda: single.predict(x[:, :1])).endswith("for a single example pass numpy.asarray(x)[numpy.newaxis]")
    assert single.predict(x[:, :1][np.newaxis]).shape == (1, 4)


def test_what_a_shape_may_mean(tmp_path: Path, model: fastlstm.Model) -> None:
    """Hints that lead to where they say; none where there is no way."""
    stack = [h5_files.recurrent("LSTM", 4, 3, np.random.default_rng(0))]
    fixed = fastlstm.load(h5_files.save(tmp_path / "model.h5", stack, (5, 3)))
    flat = X.reshape(6, 15)
    assert refusal(lambda: fixed.predict(flat)).endswith(
        "found (6, 15); for timesteps one after another pass numpy.asarray(x).reshape(-1, 5, 3)"
    )
    np.testing.assert_array_equal(fixed.predict(flat.reshape(-1, 5, 3)), fixed.predict(X))
    assert refusal(lambda: fixed.predict([X[:3], X[3:]])).endswith("found (2, 3, 5, 3); batches in a list are passed as iter(x)")
    np.testing.assert_array_equal(fixed.predict(iter([X[:3], X[3:]])), fixed.predict(X))
    assert refusal(lambda: fixed.predict(X[:, 0])).endswith("found (6, 3)")
    assert refusal(lambda: fixed.predict(flat[:, 1:])).endswith("found (6, 14)")
    assert refusal(lambda: model.predict(flat)).endswith("found (6, 15)")


def test_a_function_that_nobody_called(model: fastlstm.Model) -> None:
    def batches() -> Any:
        yield X[:4]
        yield X[4:]

    assert refusal(lambda: model.predict(batches)).endswith("call it, and pass the batches that it gives")
    np.testing.assert_array_equal(model.predict(batches()), model.predict(X))


def test_targets_that_nobody_gave(model: fastlstm.Model) -> None:
    y = np.zeros((6, 4), np.float32)
    for x in (X, iter([X])):
        assert refusal(lambda x=x: model.evaluate(x, loss="mse")).endswith("found None; pass evaluate(x, y), or batches of (x, y)")
    assert model.evaluate(X, y, loss="mse") == model.evaluate(iter([(X, y)]), loss="mse")
