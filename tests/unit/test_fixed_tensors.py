"""Tensors whose values stand in the file itself: initial states, inputs of merges, and masks."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType
from typing import Any

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


def equal(y: np.ndarray, expected: np.ndarray) -> None:
    assert y.shape == expected.shape
    assert golden.difference(y, expected) <= golden.bound(expected)


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
    """What the layer gives for states that are inputs of the model, which Keras's recordings hold."""
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
    equal(model.predict(X), expected)
    equal(model.predict(np.tile(X, (300, 1, 1))), np.tile(expected, (300, 1)))  # batch by batch, in several blocks
    fastlstm.convert(tmp_path / "m.h5", tmp_path / "m.fastlstm")
    equal(fastlstm.load(tmp_path / "m.fastlstm", verify=True).predict(X), expected)


def test_rows_that_a_fixed_tensor_does_not_divide(tmp_path: Path) -> None:
    model = fastlstm.load(written(tmp_path, FORMS["tf.keras"][1], "2.10.0"))
    with pytest.raises(InputError, match=r"x: expected a number of rows that 2 divides.*found 3"):
        model.predict(X[[0, 1, 0]])
    with pytest.raises(InputError, match="2 divides"):
        model.predict([X[0], X[1, :3]][:1])


def test_several_threads(tmp_path: Path, expected: np.ndarray) -> None:
    model = fastlstm.load(written(tmp_path, FORMS["Keras 3"][1], "3.15.0"), threads=2)
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
    """What many batch sizes divide would be a batch beyond any memory: nothing of that size is ever asked for."""
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


def test_a_mask_that_is_another_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="argument mask, which is not computed"):
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
        equal(again[0], y)
        return
    stream = free.stream(ROWS)
    stream.load_state({"l/h": h, "l/c": c})
    equal(again[0], stream.feed(X))
    model.reset_states()
    equal(model.predict(X)[0], y)


# -- live Keras ---------------------------------------------------------------------------------------------------------------


def built(keras: ModuleType) -> Any:
    """Fixed tensors wherever both Keras 3 and tf_keras take them; an output each."""
    import tensorflow as tf

    layers, start = keras.layers, keras.Input((STEPS, FEATURES), batch_size=ROWS)
    made = lambda seed, *shape: tf.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))  # noqa: E731
    h, c, mask = made(1, ROWS, UNITS), made(2, ROWS, UNITS), tf.constant(MASK)
    last = layers.LSTM(UNITS)(start)
    image = layers.Reshape((STEPS, FEATURES, 1))(start)
    j = keras.Input((STEPS, FEATURES), batch_size=ROWS)
    nested = keras.Model(j, layers.GRU(UNITS)(j, initial_state=h))
    masked = layers.Masking()(start)
    return keras.Model(start, {
        "lstm": layers.LSTM(UNITS)(start, initial_state=[h, c]),
        "gru, masked": layers.GRU(UNITS, return_sequences=True)(masked, initial_state=h),
        "bidirectional": layers.Bidirectional(layers.LSTM(UNITS))(start, initial_state=[h, c, c, h]),
        "cell": layers.RNN(layers.SimpleRNNCell(UNITS))(start, initial_state=h),
        "cells": layers.RNN([layers.LSTMCell(UNITS), layers.GRUCell(UNITS)])(start, initial_state=[[h, c], h]),
        "conv": layers.ConvLSTM1D(2, 2, padding="same")(image, initial_state=[made(3, ROWS, FEATURES, 2), made(4, ROWS, FEATURES, 2)]),
        "nested": nested(start),
        "add": layers.Add()([last, h]),
        "multiply": layers.Multiply()([last, h, c]),
        "maximum": layers.Maximum()([last, c]),
        "concatenate": layers.Concatenate()([last, h]),
        "attention": layers.Attention()([layers.LSTM(UNITS, return_sequences=True)(start), made(6, ROWS, 6, UNITS)]),
        "mask": layers.GRU(UNITS)(layers.LSTM(UNITS, return_sequences=True)(start, mask=mask)),
        "mask over a mask": layers.GRU(UNITS)(layers.LSTM(UNITS, return_sequences=True)(masked, mask=mask)),
        "mask, both ways": layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True))(start, mask=mask),
        "mask beside a state": layers.LSTM(UNITS, return_sequences=True)(start, initial_state=[h, c], mask=mask),
        "mask of steps": layers.GRU(UNITS)(layers.TimeDistributed(layers.Dense(UNITS))(start, mask=mask)),
        "mean": layers.GlobalAveragePooling1D()(start, mask=mask),
    })  # fmt: skip


@pytest.mark.keras
@pytest.mark.slow
def test_equals_keras(tmp_path: Path, keras: ModuleType) -> None:
    model = built(keras)
    rng = np.random.default_rng(0)
    model.set_weights([(rng.normal(size=w.shape) * 0.5).astype(w.dtype) for w in model.get_weights()])
    x = X.copy()
    x[0, 3] = 0
    path = tmp_path / ("m.keras" if keras.__version__ >= "3" else "m.h5")
    model.save(path)
    theirs = model.predict(x, verbose=0)
    for precision in ("float32", "float64"):
        ours = fastlstm.load(path, precision=precision).predict(x)
        assert set(ours) == set(theirs)
        for name, y in theirs.items():
            assert golden.difference(ours[name], y) <= golden.bound(y), (precision, name)


@pytest.mark.keras
@pytest.mark.slow
def test_a_mask_that_only_looks_like_the_layers_own(tmp_path: Path) -> None:
    """Keras 3 writes masks as operations: one that takes all features of a step where Masking takes any is another mask."""
    keras = pytest.importorskip("keras", minversion="3")
    x = X.copy()
    x[:, 1, 0] = 0  # masked for "all", not for Masking
    x[:, 3] = 0
    for name in ("any", "all"):
        start = keras.Input((STEPS, FEATURES))
        mask = getattr(keras.ops, name)(keras.ops.not_equal(start, 0.0), axis=-1)
        model = keras.Model(start, keras.layers.LSTM(UNITS)(keras.layers.Masking()(start), mask=mask))
        model.save(tmp_path / "m.keras")
        if name == "all":
            with pytest.raises(UnsupportedError, match="argument mask"):
                fastlstm.load(tmp_path / "m.keras")
        else:
            equal(fastlstm.load(tmp_path / "m.keras").predict(x), model.predict(x, verbose=0))


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("shape", [(ROWS, STEPS, STEPS), (1, STEPS, STEPS), (STEPS, STEPS), (ROWS, 1, STEPS, STEPS), (1, 1, 5)], ids=str)
def test_attention_mask(tmp_path: Path, keras: ModuleType, shape: tuple[int, ...]) -> None:
    """Its numbers are true and false, of one byte each; a mask of two axes is that of every row."""
    import tensorflow as tf

    mask = tf.constant(np.random.default_rng(5).random(shape) < 0.6)
    start = keras.Input((STEPS, FEATURES))
    model = keras.Model(start, keras.layers.MultiHeadAttention(2, 3)(start, start, attention_mask=mask))
    path = tmp_path / ("m.keras" if keras.__version__ >= "3" else "m.h5")
    model.save(path)
    for precision in ("float32", "float64"):
        equal(fastlstm.load(path, precision=precision).predict(X), model.predict(X, verbose=0))


def test_an_attention_mask_of_other_steps(tmp_path: Path) -> None:
    words = {"value": ["x", 0, 0], "attention_mask": MASK[:, :, None].tolist()[:1]}
    attention = layer("MultiHeadAttention", "l", [[["x", 0, 0, words]]], num_heads=1, key_dim=2)
    config = functional([entrance("x", 4, FEATURES), attention], [["x", 0, 0]], [["l", 0, 0]], "Functional")
    weights = [np.zeros(shape) for shape in ((FEATURES, 1, 2), (1, 2)) * 3] + [np.zeros((1, 2, FEATURES)), np.zeros(FEATURES)]
    with pytest.raises(FormatError, match=r"attention_mask has the shape \(1, 5, 1\), expected \(batch, 4, 4\)"):
        fastlstm.load(write_h5(tmp_path / "m.h5", config, {"l": weights}, "2.15.0"))
