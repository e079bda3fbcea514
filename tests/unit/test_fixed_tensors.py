"""Tensors whose values stand in the file itself: initial states, inputs of merges, and masks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import golden
import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5

import fastlstm
from fastlstm.errors import FormatError, InputError, UnsupportedError

ROWS, STEPS, FEATURES, UNITS = 2, 5, 3, 4
H, C = (np.random.default_rng(seed).normal(size=(ROWS, UNITS)).astype(np.float32) for seed in (1, 2))
X = np.random.default_rng(3).normal(size=(ROWS, STEPS, FEATURES)).astype(np.float32)
MASK = np.array([[True, True, False, True, False], [False, True, True, True, False]])
WEIGHTS = [np.random.default_rng(4).normal(size=shape) * 0.5 for shape in ((FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,))]
LSTM = {"units": UNITS, "activation": "tanh", "recurrent_activation": "sigmoid"}


def keras3_tensor(name: str, shape: list[int | None]) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"shape": shape, "dtype": "float32", "keras_history": [name, 0, 0]}}


def keras3_fixed(array: np.ndarray, kind: str = "__tensor__") -> dict[str, Any]:
    return {"class_name": kind, "config": {"value": array.tolist(), "dtype": array.dtype.name}}


def written(folder: Path, node: Any, version: str, *, batch: int | None = None, kind: str = "LSTM", **options: Any) -> Path:
    """A file of one recurrent layer, called as ``node`` says."""
    start = entrance("x", STEPS, FEATURES)
    start["config"]["batch_input_shape"][0] = batch
    config = functional([start, layer(kind, "l", [node], **LSTM, **options)], [["x", 0, 0]], [["l", 0, 0]], "Functional")
    return write_h5(folder / "m.h5", config, {"l": WEIGHTS}, version)


FORMS = {
    "tf.keras": ("2.10.0", [["x", 0, 0, {"initial_state": [H.tolist(), C.tolist()]}]]),
    "tf.keras, in place": ("2.4.0", [["x", 0, 0, {}], ["_CONSTANT_VALUE", -1, H.tolist(), {}], ["_CONSTANT_VALUE", -1, C.tolist(), {}]]),
    "Keras 3": ("3.15.0", {"args": [keras3_tensor("x", [None, STEPS, FEATURES])],
                           "kwargs": {"initial_state": [keras3_fixed(H), keras3_fixed(C)], "training": False, "mask": None}}),
    "Keras 3, NumPy": ("3.3.0", {"args": [keras3_tensor("x", [None, STEPS, FEATURES])],
                                 "kwargs": {"initial_state": [keras3_fixed(H, "__numpy__"), keras3_fixed(C, "__numpy__")]}}),
}  # fmt: skip


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The layer's output for states that are inputs of the model, which Keras's recordings hold."""
    node = [["x", 0, 0, {"initial_state": [["h", 0, 0], ["c", 0, 0]]}]]
    layers = [entrance("x", STEPS, FEATURES), entrance("h", UNITS), entrance("c", UNITS), layer("LSTM", "l", [node], **LSTM)]
    config = functional(layers, [["x", 0, 0], ["h", 0, 0], ["c", 0, 0]], [["l", 0, 0]], "Functional")
    return fastlstm.load(write_h5(tmp_path_factory.mktemp("inputs") / "m.h5", config, {"l": WEIGHTS}, "2.10.0")).predict([X, H, C])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_initial_state_in_every_form(tmp_path: Path, expected: np.ndarray, form: str, precision: str) -> None:
    version, node = FORMS[form]
    model = fastlstm.load(written(tmp_path, node, version), precision=precision)
    assert model.layers[1].runs == ("native" if precision == "float32" else "NumPy")
    golden.assert_equal(model.predict(X), expected)
    golden.assert_equal(model.predict(np.tile(X, (300, 1, 1))), np.tile(expected, (300, 1)))  # batch by batch, in several blocks
    fastlstm.convert(tmp_path / "m.h5", tmp_path / "m.fastlstm")
    golden.assert_equal(fastlstm.load(tmp_path / "m.fastlstm", verify=True).predict(X), expected)


def test_rows_that_a_fixed_tensor_does_not_divide(tmp_path: Path) -> None:
    model = fastlstm.load(written(tmp_path, FORMS["tf.keras"][1], "2.10.0"))
    with pytest.raises(InputError, match=r"x: expected a number of rows that 2 divides.*found 3"):
        model.predict(X[[0, 1, 0]])
    with pytest.raises(InputError, match="2 divides"):
        model.predict([X[0], X[1, :3]][:1])


def test_several_threads(tmp_path: Path, expected: np.ndarray) -> None:
    model = fastlstm.load(written(tmp_path, FORMS["Keras 3"][1], "3.15.0"), threads=2)
    with patch("fastlstm.runtime.threads.SHARED_NANOSECONDS", 0):
        assert np.array_equal(model.predict(np.tile(X, (5000, 1, 1))), np.tile(model.predict(X), (5000, 1)))


def test_a_stream_would_not_know_which_row(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="tensor for 2 rows"):
        fastlstm.load(written(tmp_path, FORMS["tf.keras"][1], "2.10.0")).stream(2)


@pytest.mark.parametrize(
    ("node", "what"),
    [
        ([["x", 0, 0, {"initial_state": [H.tolist()]}]], "initial_state has 1 tensors, expected 2"),
        ([["x", 0, 0, {"initial_state": [H.tolist(), C[:, :3].tolist()]}]], r"initial_state has a tensor of shape \(2, 3\)"),
        ([["x", 0, 0, {"initial_state": [H.tolist(), 3.0]}]], "initial_state: expected a tensor, found 3.0"),
        ([["x", 0, 0, {"initial_state": [H.tolist(), "zeros"]}]], "initial_state: expected a tensor, found 'zeros'"),
        ([["x", 0, 0, {"initial_state": [[1.0, 2.0], [3.0]]}]], "initial_state: "),
        ([["x", 0, 0, {"initial_state": [H.tolist(), [["a", "b", "c", "d"]]]}]], "expected numbers"),
        ([["x", 0, 0, {"initial_state": [H.tolist(), C.tolist()]}], ["_CONSTANT_VALUE", -1, H.tolist(), {}]], "initial state twice"),
        ([["x", 0, 0, {"mask": [[True, False]]}]], r"a mask of shape \(1, 2\) for input of shape"),
        ([["x", 0, 0, {"mask": [True, [False]]}]], "mask: "),
        ([["x", 0, 0, {"mask": "all"}]], "mask: expected a tensor"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit(tmp_path: Path, node: Any, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        fastlstm.load(written(tmp_path, node, "2.10.0"))


def test_tensors_for_unlike_batches(tmp_path: Path) -> None:
    """The least batch that many sizes divide would be beyond any memory: nothing of that size is ever asked for."""
    sizes = (1009, 1013, 1019, 1021)
    merges = [layer("Add", f"a{n}", [[["x", 0, 0, {}], ["_CONSTANT_VALUE", -1, [[1.0]] * n, {}]]]) for n in sizes]
    start = entrance("x", 1)
    config = functional([start, *merges], [["x", 0, 0]], [[f"a{n}", 0, 0] for n in sizes], "Functional")
    with pytest.raises(FormatError, match="tensors for batches of 1009 and 1013 and 1019 and 1021 rows"):
        fastlstm.load(write_h5(tmp_path / "m.h5", config, {}, "2.10.0"))
    merges = [layer("Add", f"a{n}", [[["x", 0, 0, {}], ["_CONSTANT_VALUE", -1, [[1.0]] * n, {}]]]) for n in (1, 2, 4)]
    config = functional([start, *merges], [["x", 0, 0]], [[f"a{n}", 0, 0] for n in (1, 2, 4)], "Functional")
    ys = fastlstm.load(write_h5(tmp_path / "m.h5", config, {}, "2.10.0")).predict(np.zeros((4, 1)))
    assert [y.tolist() for y in ys] == [[[1.0]] * 4] * 3


def test_models_nested_deep_are_looked_through_once(tmp_path: Path) -> None:
    dense = {"name": "d", "units": 1, "activation": "linear", "batch_input_shape": [None, 1]}
    entry: dict[str, Any] = {"class_name": "Dense", "config": dense}
    for depth in range(30):
        entry = {"class_name": "Sequential", "config": {"name": f"s{depth}", "layers": [entry]}}
    path = write_h5(tmp_path / "m.h5", entry, {"s28": [np.ones((1, 1)), np.zeros(1)]}, "2.10.0")
    start = time.perf_counter()
    assert fastlstm.load(path).predict(np.ones((1, 1))).tolist() == [[1.0]]
    assert time.perf_counter() - start < 10  # not two to the power of the depth


@pytest.mark.parametrize("value", [[], [[], []], [["a"]], [[1.0], [1.0, 2.0]]], ids=str)
def test_tensors_of_nothing(tmp_path: Path, value: Any) -> None:
    node = {"args": [[keras3_tensor("x", [None, 3]), {"class_name": "__tensor__", "config": {"value": value, "dtype": "float32"}}]]}
    config = functional([entrance("x", 3), layer("Add", "a", [node])], [["x", 0, 0]], [["a", 0, 0]], "Functional")
    with pytest.raises(FormatError, match="a call of layer 'a': __tensor__: "):
        fastlstm.load(write_h5(tmp_path / "m.h5", config, {}, "3.15.0"))
    node["args"][0][1]["config"]["value"] = 2.0  # no tensor of rows, but a number: Keras computes it
    with pytest.raises(UnsupportedError, match=r"called with \[2.0\] among its tensors"):
        fastlstm.load(write_h5(tmp_path / "m.h5", config, {}, "3.15.0"))


def test_a_mask_of_features_that_are_not_the_units(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a mask of shape \(batch, 5, 3\).*Keras cannot run it either"):
        fastlstm.load(written(tmp_path, [["x", 0, 0, {"mask": ["x", 0, 0]}]], "2.10.0"))


# What TensorFlow 1.15, 2.0, 2.3, 2.10 gave for a stateful LSTM(4) of these weights called with X twice; the last of H and C.
@pytest.mark.parametrize(("version", "ragged", "goes_on"), [
    ("2.2.4-tf", False, False), ("2.2.4-tf", True, True), ("2.3.0-tf", True, True), ("2.10.0", True, True), ("2.3.1", False, False),
    ("3.15.0", True, False),
])  # fmt: skip
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_state_that_stateful_layers_start_from(tmp_path: Path, version: str, ragged: bool, goes_on: bool, precision: str) -> None:
    start = entrance("x", STEPS, FEATURES)
    start["config"] |= {"batch_input_shape": [ROWS, STEPS, FEATURES]} | ({"ragged": False} if ragged else {})
    node = FORMS["Keras 3" if version.startswith("3") else "tf.keras"][1]
    initializer = {"kernel_initializer": {"class_name": "Zeros", "config": {}}}  # of TensorFlow 2: it records no dtype
    stateful = layer("LSTM", "l", [node], **LSTM, **initializer, stateful=True, return_state=True)
    config = functional([start, stateful], [["x", 0, 0]], [["l", 0, 0], ["l", 0, 1], ["l", 0, 2]], "Functional")
    model = fastlstm.load(write_h5(tmp_path / "m.h5", config, {"l": WEIGHTS}, version), precision=precision)
    free = fastlstm.load(written(tmp_path, [["x", 0, 0, {}]], "2.10.0", batch=ROWS, stateful=True), precision=precision)
    y, h, c = model.predict(X)
    again = model.predict(X)
    if not goes_on:
        golden.assert_equal(again[0], y)
        return
    stream = free.stream(ROWS)
    stream.load_state({"l/h": h, "l/c": c})
    golden.assert_equal(again[0], stream.feed(X))
    model.reset_states()
    golden.assert_equal(model.predict(X)[0], y)


def test_an_attention_mask_of_other_steps(tmp_path: Path) -> None:
    words = {"value": ["x", 0, 0], "attention_mask": MASK[:, :, None].tolist()[:1]}
    attention = layer("MultiHeadAttention", "l", [[["x", 0, 0, words]]], num_heads=1, key_dim=2)
    config = functional([entrance("x", 4, FEATURES), attention], [["x", 0, 0]], [["l", 0, 0]], "Functional")
    weights = [np.zeros(shape) for shape in ((FEATURES, 1, 2), (1, 2)) * 3] + [np.zeros((1, 2, FEATURES)), np.zeros(FEATURES)]
    with pytest.raises(FormatError, match=r"attention_mask has the shape \(1, 5, 1\), expected \(batch, 4, 4\)"):
        fastlstm.load(write_h5(tmp_path / "m.h5", config, {"l": weights}, "2.15.0"))
