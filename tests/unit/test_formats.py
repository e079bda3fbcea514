"""Files of every kind become the spec that they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5_files
import h5py
import numpy as np
import pytest
from keras_configs import arrays, chain, entrance, functional, layer, write_h5

import fastlstm
from fastlstm import formats
from fastlstm.errors import FormatError, InputError, UnsupportedError
from fastlstm.formats.reading.dialect import dialect
from fastlstm.layers.base import Context
from fastlstm.layers.network import root
from fastlstm.spec import Ref


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# -- Sequential -------------------------------------------------------------------------------------------------------------


def test_sequential(tmp_path: Path, rng: np.random.Generator) -> None:
    inner = h5_files.recurrent("LSTM", 4, 3, rng)
    spec = formats.read(h5_files.save(tmp_path / "m.h5", [inner, h5_files.dense(2, 4, rng)], (5, 3)))
    assert [one.class_name for one in spec.layers] == ["InputLayer", "LSTM", "Dense"]
    assert spec.layers[0].config == {"shape": [None, 5, 3], "dtype": "float32"}
    assert spec.input_names == ("lstm_1_input",)
    assert spec.output_names == ("dense_2",)
    assert [call.inputs for call in spec.calls] == [(), (Ref(0),), (Ref(1),)]
    assert spec.output_kind == "single"
    for ours, theirs in zip(spec.layers[1].weights, inner.weights, strict=True):
        assert np.array_equal(ours, theirs)


def test_sequential_as_a_list_has_the_older_defaults(tmp_path: Path, rng: np.random.Generator) -> None:
    config = chain(("GRU", {"name": "g", "units": 2, "batch_input_shape": [None, 4, 3]}))
    weights = [rng.normal(size=shape) for shape in ((3, 6), (2, 6), (6,))]
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"g": weights}, "2.0.2"))
    assert spec.layers[1].config["recurrent_activation"] == "hard_sigmoid"
    assert spec.layers[1].config["reset_after"] is False
    assert spec.layers[1].weights[0].dtype == np.float32


def test_reset_after_is_told_by_the_bias(tmp_path: Path, rng: np.random.Generator) -> None:
    config = chain(("GRU", {"name": "g", "units": 2, "batch_input_shape": [None, 4, 3]}))
    weights = [rng.normal(size=shape) for shape in ((3, 6), (2, 6), (2, 6))]
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"g": weights}, "2.1.5"))
    assert spec.layers[1].config["reset_after"] is True


@pytest.mark.parametrize(
    ("kind", "config", "shape", "expected"),
    [
        ("LSTM", {"units": 2}, [(3, 8), (2, 8), (8,)], [None, None, 3]),
        ("Embedding", {"input_dim": 9, "output_dim": 3}, [(9, 3)], [None, None]),
        ("Bidirectional", {"layer": {"class_name": "SimpleRNN", "config": {"name": "s", "units": 2}}}, [(3, 2), (2, 2), (2,)] * 2,
         [None, None, 3]),
    ],
)  # fmt: skip
def test_input_shape_from_the_weights(tmp_path: Path, kind: str, config: dict, shape: list, expected: list) -> None:
    entry = {"class_name": "Sequential", "config": {"name": "s", "layers": [{"class_name": kind, "config": {"name": "a", **config}}]}}
    spec = formats.read(write_h5(tmp_path / "m.h5", entry, {"a": [np.zeros(one, np.float32) for one in shape]}))
    assert spec.layers[0].config["shape"] == expected
    assert not spec.problems


def test_input_shape_unknown_is_a_problem(tmp_path: Path) -> None:
    entry = {"class_name": "Sequential", "config": {"name": "s", "layers": [{"class_name": "Dense", "config": {"name": "a", "units": 1}}]}}
    spec = formats.read(write_h5(tmp_path / "m.h5", entry, {"a": [np.zeros((2, 1)), np.zeros(1)]}))
    assert "shape" in spec.problems[0].what


@pytest.mark.parametrize("shape", [[None, 5, 3], {"class_name": "TensorShape", "items": [None, 5, 3]}])
def test_build_input_shape(tmp_path: Path, shape: Any) -> None:
    layers = [{"class_name": "LSTM", "config": {"name": "a", "units": 2}}]
    entry = {"class_name": "Sequential", "config": {"name": "s", "layers": layers, "build_input_shape": shape}}
    weights = [np.zeros(one, np.float32) for one in ((3, 8), (2, 8), (8,))]
    assert formats.read(write_h5(tmp_path / "m.h5", entry, {"a": weights})).layers[0].config["shape"] == [None, 5, 3]


def test_input_shape_that_a_model_in_a_model_repeats(tmp_path: Path) -> None:
    """As TensorFlow 1.15 to 2.1 write it."""
    inner = {"name": "i", "layers": [{"class_name": "Dense", "config": {"name": "a", "units": 2, "batch_input_shape": [None, 3]}}]}
    nested = {"class_name": "Sequential", "config": {**inner, "batch_input_shape": [None, 3]}}
    entry = {"class_name": "Sequential", "config": {"name": "s", "layers": [nested]}}
    spec = formats.read(write_h5(tmp_path / "m.h5", entry, {"i": [np.zeros((3, 2), np.float32), np.zeros(2, np.float32)]}))
    assert spec.layers[0].config["shape"] == [None, 3]
    assert not spec.problems


# -- graphs -----------------------------------------------------------------------------------------------------------------


def keras3_tensor(*history: Any) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"shape": [None, 4], "dtype": "float32", "keras_history": list(history)}}


@pytest.mark.parametrize(
    ("version", "node"),
    [
        ("2.0.9", [["x", 0, 0, {}], ["h", 0, 0, {}], ["c", 0, 0, {}]]),
        ("2.4.0", [["x", 0, 0, {"initial_state": [["h", 0, 0], ["c", 0, 0]]}]]),
        ("3.5.0", {"args": [keras3_tensor("x", 0, 0)],
                   "kwargs": {"initial_state": [keras3_tensor("h", 0, 0), keras3_tensor("c", 0, 0)], "training": False, "mask": None}}),
        ("3.5.0", {"args": [keras3_tensor("x", 0, 0), [keras3_tensor("h", 0, 0), keras3_tensor("c", 0, 0)]], "kwargs": {}}),
        ("3.5.0", {"args": [], "kwargs": {"sequence": keras3_tensor("x", 0, 0),
                                          "initial_state": [keras3_tensor("h", 0, 0), keras3_tensor("c", 0, 0)]}}),
    ],
)  # fmt: skip
def test_initial_state_in_every_form(tmp_path: Path, version: str, node: Any) -> None:
    layers = [entrance("x", 4, 3), entrance("h", 2), entrance("c", 2), layer("LSTM", "l", [node], units=2)]
    config = functional(layers, [["x", 0, 0], ["h", 0, 0], ["c", 0, 0]], [["l", 0, 0]])
    weights = [np.zeros(one, np.float32) for one in ((3, 8), (2, 8), (8,))]
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"l": weights}, version))
    call = spec.calls[spec.outputs[0].call]
    assert call.inputs == (spec.inputs[0],)
    assert dict(call.keywords) == {"initial_state": spec.inputs[1:]}
    assert spec.rules.mask_with_initial_state is not version.startswith("3")


@pytest.mark.parametrize("first", [0, 1])
def test_nested_models_number_their_calls_from_0_or_1(tmp_path: Path, first: int) -> None:
    inner = {
        "class_name": "Sequential", "name": "s", "inbound_nodes": [[["a", 0, 0, {}]], [["b", 0, 0, {}]]],
        "config": {"name": "s", "layers": [{"class_name": "Dense", "config": {"name": "d", "units": 1, "batch_input_shape": [None, 3]}}]},
    }  # fmt: skip
    layers = [entrance("a", 3), entrance("b", 3), inner, layer("Subtract", "sub", [[["s", first, 0, {}], ["s", first + 1, 0, {}]]])]
    config = functional(layers, [["a", 0, 0], ["b", 0, 0]], [["sub", 0, 0]])
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"s": [np.ones((3, 1)), np.ones(1)]}))
    operands = [spec.calls[ref.call].inputs[0] for ref in spec.calls[spec.outputs[0].call].inputs]
    assert operands == list(spec.inputs)


def test_nested_model_lists_trainable_arrays_first(tmp_path: Path) -> None:
    inside = [
        {"class_name": "Dense", "config": {"name": "frozen", "units": 2, "trainable": False, "batch_input_shape": [None, 3]}},
        {"class_name": "Dense", "config": {"name": "free", "units": 2}},
    ]
    outer = [
        {"class_name": "Sequential", "config": {"name": "inner", "layers": inside}},
        {"class_name": "Dense", "config": {"name": "last", "units": 1}},
    ]
    stored = [np.full((2, 2), 3.0), np.full(2, 4.0), np.full((3, 2), 1.0), np.full(2, 2.0)]
    groups = {"inner": stored, "last": [np.zeros((2, 1)), np.zeros(1)]}
    spec = formats.read(write_h5(tmp_path / "m.h5", {"class_name": "Sequential", "config": {"name": "o", "layers": outer}}, groups))
    assert [array.flat[0] for array in arrays(spec)] == [1, 2, 3, 4, 0, 0]
    assert spec.layers[0].config["shape"] == [None, 3]


def test_dict_outputs(tmp_path: Path) -> None:
    layers = [entrance("a", 3), layer("Dense", "d", [[["a", 0, 0, {}]]], units=1)]
    config = functional(layers, [["a", 0, 0]], {"forecast": ["d", 0, 0], "input": ["a", 0, 0]}, "Functional")
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"d": [np.ones((3, 1)), np.ones(1)]}, "2.9.0"))
    assert spec.output_kind == "dict"
    assert spec.output_names == ("forecast", "input")


@pytest.mark.parametrize(("version", "form"), [("2.9.0", "lists"), ("3.5.0", "args")])
def test_nested_models_called_with_a_dict(tmp_path: Path, version: str, form: str) -> None:
    inner = functional([entrance("b", 3), entrance("a", 3), layer("Subtract", "s", [[["b", 0, 0, {}], ["a", 0, 0, {}]]])],
                       {"b": ["b", 0, 0], "a": ["a", 0, 0]}, [["s", 0, 0]], "Functional")  # fmt: skip
    node: Any = {"a": ["x", 0, 0, {}], "b": ["y", 0, 0, {}]}
    if form == "args":
        node = {"args": [{"a": keras3_tensor("x", 0, 0), "b": keras3_tensor("y", 0, 0)}], "kwargs": {"mask": {"a": None, "b": None}}}
    nested_model = {**inner, "name": "m", "inbound_nodes": [node]}
    config = functional([entrance("x", 3), entrance("y", 3), nested_model], [["x", 0, 0], ["y", 0, 0]], [["m", 1, 0]], "Functional")
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {}, version))
    assert spec.layers[2].model is not None
    assert spec.layers[2].model.input_names == ("b", "a")
    assert spec.calls[spec.outputs[0].call].inputs == (spec.inputs[1], spec.inputs[0])
    assert not spec.problems


def test_keras3_counts_calls_of_nested_models_in_two_ways(tmp_path: Path) -> None:
    inner = functional([entrance("a", 3), layer("Dense", "d", [[["a", 0, 0, {}]]], units=3)], [["a", 0, 0]], [["d", 0, 0]], "Functional")
    nodes = [{"args": [keras3_tensor("x", 0, 0)], "kwargs": {}}, {"args": [keras3_tensor("m", 0, 0)], "kwargs": {}}]
    nested_model = {**inner, "name": "m", "inbound_nodes": nodes}
    config = functional([entrance("x", 3), nested_model], [["x", 0, 0]], [["m", 2, 0]], "Functional")
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"m": [np.ones((3, 3)), np.ones(3)]}, "3.5.0"))
    assert [call.inputs for call in spec.calls] == [(), (Ref(0),), (Ref(1),)]
    assert spec.outputs == (Ref(2),)


def test_calls_counted_outside_the_model(tmp_path: Path) -> None:
    layers = [entrance("x", 3), layer("Dense", "d", [{"args": [keras3_tensor("x", 0, 0)], "kwargs": {}}], units=3),
              layer("Dense", "e", [{"args": [keras3_tensor("d", 4, 0)], "kwargs": {}}], units=1)]  # fmt: skip
    config = functional(layers, [["x", 0, 0]], [["e", 0, 0]], "Functional")
    weights = {"d": [np.ones((3, 3)), np.ones(3)], "e": [np.ones((3, 1)), np.ones(1)]}
    spec = formats.read(write_h5(tmp_path / "m.h5", config, weights, "3.0.5"))
    assert spec.calls[2].inputs == (Ref(1),)


def test_call_arguments_that_nobody_computes_are_problems(tmp_path: Path) -> None:
    node = [["x", 0, 0, {"steps": ["m", 0, 0]}]]
    layers = [entrance("x", 4, 3), entrance("m", 4), layer("LSTM", "l", [node], units=2)]
    config = functional(layers, [["x", 0, 0], ["m", 0, 0]], [["l", 0, 0]])
    weights = [np.zeros(one, np.float32) for one in ((3, 8), (2, 8), (8,))]
    assert "argument steps" in formats.read(write_h5(tmp_path / "m.h5", config, {"l": weights}, "2.9.0")).problems[0].what


def test_keras3_masks_that_say_nothing_are_left_out(tmp_path: Path) -> None:
    x = keras3_tensor("x", 0, 0)
    layers = [
        entrance("x", 4, 3),
        {"class_name": "NotEqual", "name": "ne", "config": {"name": "ne"}, "inbound_nodes": [{"args": [x, 0.0], "kwargs": {}}]},
        {"class_name": "Any", "name": "any", "config": {"name": "any", "axis": -1},
         "inbound_nodes": [{"args": [keras3_tensor("ne", 0, 0)], "kwargs": {}}]},
        layer("Masking", "m", [{"args": [x], "kwargs": {}}], mask_value=0.0),
        layer("LSTM", "l", [{"args": [keras3_tensor("m", 0, 0)], "kwargs": {"mask": keras3_tensor("any", 0, 0)}}], units=2),
    ]  # fmt: skip
    config = functional(layers, ["x", 0, 0], ["l", 0, 0], "Functional")
    weights = {"l": [np.zeros(one, np.float32) for one in ((3, 8), (2, 8), (8,))]}
    spec = formats.read(write_h5(tmp_path / "m.h5", config, weights, "3.5.0"))
    assert [one.class_name for one in spec.layers] == ["InputLayer", "Masking", "LSTM"]
    assert not spec.calls[-1].keywords
    layers[1]["inbound_nodes"][0]["args"][1] = 7.0  # now the mask is another than Masking's
    spec = formats.read(write_h5(tmp_path / "other.h5", config, weights, "3.5.0"))
    assert spec.calls[spec.outputs[0].call].keywords


def test_keras3_masks_are_traced_through_branches_that_share_layers(tmp_path: Path) -> None:
    def masked(kind: str, name: str, given: Any, /, **config: Any) -> dict[str, Any]:
        return layer(kind, name, [{"args": [given], "kwargs": {}}], **config)

    x, both = keras3_tensor("x", 0, 0), [keras3_tensor("any", 0, 0), keras3_tensor("any", 0, 0)]
    layers = [
        entrance("x", 4, 3),
        {"class_name": "NotEqual", "name": "ne", "config": {"name": "ne"}, "inbound_nodes": [{"args": [x, 0.0], "kwargs": {}}]},
        {"class_name": "Any", "name": "any", "config": {"name": "any", "axis": -1},
         "inbound_nodes": [{"args": [keras3_tensor("ne", 0, 0)], "kwargs": {}}]},
        {"class_name": "LogicalOr", "name": "or", "config": {"name": "or"}, "inbound_nodes": [{"args": both, "kwargs": {}}]},
        masked("Masking", "m", x, mask_value=0.0),
        masked("Activation", "a", keras3_tensor("m", 0, 0), activation="tanh", trainable=True),
        masked("Activation", "b", keras3_tensor("a", 0, 0), activation="tanh", trainable=True),
        masked("Add", "add", [keras3_tensor("a", 0, 0), keras3_tensor("b", 0, 0)], trainable=True),
        layer("LSTM", "l", [{"args": [keras3_tensor("add", 0, 0)], "kwargs": {"mask": keras3_tensor("or", 0, 0)}}], units=2),
    ]  # fmt: skip
    weights = {"l": [np.zeros(one, np.float32) for one in ((3, 8), (2, 8), (8,))]}
    spec = formats.read(write_h5(tmp_path / "m.h5", functional(layers, ["x", 0, 0], ["l", 0, 0], "Functional"), weights, "3.5.0"))
    assert [one.class_name for one in spec.layers] == ["InputLayer", "Masking", "Activation", "Activation", "Add", "LSTM"]
    assert not spec.calls[-1].keywords and not spec.problems


def test_keras3_operations_are_no_layers(tmp_path: Path) -> None:
    node = {"args": [keras3_tensor("x", 0, 0), 2.0], "kwargs": {}}
    layers = [entrance("x", 3), {"class_name": "Multiply", "name": "multiply", "config": {"name": "multiply"}, "inbound_nodes": [node]}]
    spec = formats.read(write_h5(tmp_path / "m.h5", functional(layers, ["x", 0, 0], ["multiply", 0, 0]), {}, "3.5.0"))
    assert spec.layers[1].class_name == "Operation"
    assert spec.layers[1].config == {"operation": "multiply", "arguments": {"x1": {"input": 0}, "x2": 2.0}}
    np.testing.assert_array_equal(root(spec, Context("m.h5", spec.rules)).run([np.eye(3)], np.float64)[0], 2 * np.eye(3))


def test_user_classes_keep_apart_from_those_of_keras(tmp_path: Path) -> None:
    layers = [entrance("x", 4, 3), layer("Attention", "a", [[["x", 0, 0, {}]]])]
    config = functional(layers, [["x", 0, 0]], [["a", 0, 0]])
    assert formats.read(write_h5(tmp_path / "m.h5", config, {}, "2.2.4")).layers[1].class_name == "Custom>Attention"
    layers[1]["module"], layers[1]["registered_name"] = "mine", "mine>Attention"
    assert formats.read(write_h5(tmp_path / "n.h5", config, {}, "3.4.0")).layers[1].class_name == "mine>Attention"


def test_user_activations_keep_apart_from_those_of_keras(tmp_path: Path) -> None:
    config = chain(("Dense", {"name": "d", "units": 1, "activation": "gelu", "batch_input_shape": [None, 2], "trainable": True}))
    weights = {"d": [np.zeros((2, 1)), np.ones(1)]}
    assert formats.read(write_h5(tmp_path / "m.h5", config, weights, "2.9.0")).layers[1].config["activation"] == "gelu"
    path = write_h5(tmp_path / "n.h5", config, weights, "2.2.4")  # whose Keras had no gelu: this one is the user's
    with pytest.raises(UnsupportedError, match="custom_activations={'gelu'"):
        fastlstm.load(path)
    model = fastlstm.load(path, custom_activations={"gelu": np.negative})
    assert model.predict(np.zeros((1, 2))).item() == -1


def test_training_true_is_a_problem(tmp_path: Path) -> None:
    layers = [entrance("x", 3), layer("Dropout", "d", [[["x", 0, 0, {"training": True}]]], rate=0.5)]
    spec = formats.read(write_h5(tmp_path / "m.h5", functional(layers, [["x", 0, 0]], [["d", 0, 0]]), {}, "2.9.0"))
    assert "training=True" in spec.problems[0].what


# -- weights ----------------------------------------------------------------------------------------------------------------


def test_cudnn_layout(tmp_path: Path, rng: np.random.Generator) -> None:
    units, features = 2, 3
    kernels = [rng.normal(size=(features, units)) for _ in range(4)]
    recurrent = [rng.normal(size=(units, units)) for _ in range(4)]
    bias = rng.normal(size=8 * units)
    stored = [np.concatenate([k.T.reshape(k.shape) for k in kernels], 1), np.concatenate([r.T for r in recurrent], 1), bias]
    config = chain(("CuDNNLSTM", {"name": "l", "units": units, "batch_input_shape": [None, 4, features]}))
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"l": stored}, "2.2.4"))
    assert spec.layers[1].class_name == "LSTM"
    assert spec.layers[1].config["recurrent_activation"] == "sigmoid"
    plain = spec.layers[1].weights
    assert np.allclose(plain[0], np.concatenate(kernels, 1))
    assert np.allclose(plain[1], np.concatenate(recurrent, 1))
    assert np.allclose(plain[2], bias[: 4 * units] + bias[4 * units :])


def test_theano_kernels_are_turned(tmp_path: Path, rng: np.random.Generator) -> None:
    kernel = rng.normal(size=(3, 2, 4)).astype(np.float32)
    config = chain(("Conv1D", {"name": "c", "filters": 4, "kernel_size": [3], "batch_input_shape": [None, 5, 2]}))
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"c": [kernel, np.zeros(4)]}, "2.1.0", "theano"))
    assert np.array_equal(spec.layers[1].weights[0], kernel[::-1])


@pytest.mark.parametrize(("size", "stride"), [(3, 2), (2, 1), (4, 1), (4, 3), (2, 3), (5, 2)])
@pytest.mark.parametrize("steps", [4, 7])
def test_theano_pads_half_a_window_in_front(tmp_path: Path, rng: np.random.Generator, steps: int, size: int, stride: int) -> None:
    kernel, x = rng.normal(size=(size, 2, 3)).astype(np.float32), rng.normal(size=(2, steps, 2)).astype(np.float32)
    geometry = {"filters": 3, "kernel_size": [size], "strides": [stride], "padding": "same"}
    config = chain(("Conv1D", {"name": "c", "batch_input_shape": [None, steps, 2], **geometry}))
    path = write_h5(tmp_path / "m.h5", config, {"c": [kernel, np.zeros(3)]}, "2.1.0", "theano")
    padded = np.pad(x, ((0, 0), (size // 2, size), (0, 0)))
    expected = [np.einsum("bkf,kfg->bg", padded[:, t : t + size], kernel[::-1]) for t in range(0, steps, stride)]
    for precision in ("float32", "float64"):
        np.testing.assert_allclose(fastlstm.load(path, precision=precision).predict(x), np.stack(expected, 1), atol=1e-5)


def test_cells_without_arguments(tmp_path: Path) -> None:
    cell = {"class_name": "LSTMCell", "config": {"name": "lstm_cell_1", "trainable": True}}
    config = chain(("RNN", {"name": "r", "cell": cell, "batch_input_shape": [None, 4, 3]}))
    weights = [np.zeros(one, np.float32) for one in ((3, 8), (2, 8), (8,))]
    with pytest.warns(UserWarning, match="without their arguments"):
        spec = formats.read(write_h5(tmp_path / "m.h5", config, {"r": weights}, "2.0.9"))
    assert spec.layers[1].children[0].config["units"] == 2
    spec = formats.read(write_h5(tmp_path / "n.h5", config, {"r": weights[:2]}, "2.0.9"))
    assert "without their arguments" in spec.problems[0].what


def test_numbers_kept_as_arrays(tmp_path: Path) -> None:
    number = {"type": "ndarray", "value": 0.25}
    none = {"type": "ndarray", "value": float("nan")}
    config = chain(("ReLU", {"name": "r", "max_value": none, "negative_slope": number, "threshold": 0, "batch_input_shape": [None, 2]}))
    model = fastlstm.load(write_h5(tmp_path / "m.h5", config, {"r": []}, "2.1.6-tf"))
    np.testing.assert_array_equal(model.predict(np.array([[-2.0, 3.0]])), [[-0.5, 3.0]])


@pytest.mark.parametrize(("version", "beta_first"), [("2.0.6-tf", True), ("2.0.8-tf", False), ("2.0.6", False)])
def test_batchnormalization_by_generation(tmp_path: Path, rng: np.random.Generator, version: str, beta_first: bool) -> None:
    gamma, beta, mean, variance = weights = [rng.uniform(1, 2, 3).astype(np.float32) for _ in range(4)]
    config = chain(("BatchNormalization", {"name": "b", "epsilon": 0.001, "batch_input_shape": [None, 3]}))
    stored = [beta, gamma, mean, variance] if beta_first else weights
    model = fastlstm.load(write_h5(tmp_path / "m.h5", config, {"b": stored}, version))
    x = rng.normal(size=(4, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), (x - mean) / np.sqrt(variance + 0.001) * gamma + beta, rtol=1e-5)


@pytest.mark.parametrize(("version", "read"), [("2.0.5", True), ("2.4.0", False)])
def test_dtype_of_ids_is_not_that_of_an_embedding(tmp_path: Path, rng: np.random.Generator, version: str, read: bool) -> None:
    config = chain(("Embedding", {"name": "e", "input_dim": 5, "output_dim": 3, "dtype": "int32", "batch_input_shape": [None, 4]}))
    embeddings = rng.normal(size=(5, 3)).astype(np.float32)
    path = write_h5(tmp_path / "m.h5", config, {"e": [embeddings]}, version)
    if read:
        ids = np.array([[0, 4, 2, 2]])
        np.testing.assert_array_equal(fastlstm.load(path).predict(ids), embeddings[ids])
    else:
        with pytest.raises(fastlstm.UnsupportedError, match="its dtype is 'int32'"):
            fastlstm.load(path)


def test_names_split_over_attributes(tmp_path: Path, rng: np.random.Generator) -> None:
    path = h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 2, 3, rng), h5_files.dense(1, 2, rng)], (4, 3))
    with h5py.File(path, "r+") as file:
        group = file["model_weights"]
        names = list(group.attrs["layer_names"])
        del group.attrs["layer_names"]
        for place, name in enumerate(names):
            group.attrs[f"layer_names{place}"] = [name]
    assert len(arrays(formats.read(path))) == 5


def weights_only(path: Path, source: Path) -> tuple[Path, str]:
    """The weights of a file alone, and its architecture as JSON."""
    with h5py.File(source) as file, h5py.File(path, "w") as out:
        group = file["model_weights"]
        for key, value in group.attrs.items():
            out.attrs[key] = value
        for key in group:
            group.copy(key, out)
        return path, str(file.attrs["model_config"].decode())


def test_weights_with_an_architecture(tmp_path: Path, rng: np.random.Generator) -> None:
    source = h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 2, 3, rng), h5_files.dense(1, 2, rng)], (4, 3))
    path, text = weights_only(tmp_path / "w.h5", source)
    whole = arrays(formats.read(source))
    (tmp_path / "a.json").write_text(text)
    (tmp_path / "b.json").write_text(json.dumps(text))  # a JSON string of JSON
    for architecture in (text, json.loads(text), tmp_path / "a.json", str(tmp_path / "b.json"), json.dumps(text)):
        spec = formats.read(path, architecture=architecture)
        assert spec.generation.file_kind == "HDF5 weights + architecture"
        for ours, theirs in zip(arrays(spec), whole, strict=True):
            assert np.array_equal(ours, theirs)
    with pytest.raises(FormatError, match="pass architecture="):
        formats.read(path)
    with pytest.raises(InputError, match="expected JSON or YAML text"):
        formats.read(path, architecture=7)
    with pytest.raises(FormatError, match="neither JSON, YAML nor a file"):
        formats.read(path, architecture="nowhere.json")


def test_layers_pair_by_order_or_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    source = h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 2, 3, rng), h5_files.dense(1, 2, rng)], (4, 3))
    path, text = weights_only(tmp_path / "w.h5", source)
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = list(file.attrs["layer_names"])[::-1]
    with pytest.raises(FormatError, match="another order"):
        formats.read(path, architecture=text)
    assert len(arrays(formats.read(path, architecture=text, by_name=True))) == 5
    renamed = text.replace("lstm_1", "lstm_7").replace("dense_2", "dense_9")
    path, _ = weights_only(tmp_path / "v.h5", source)
    assert len(arrays(formats.read(path, architecture=renamed))) == 5
    with pytest.raises(FormatError, match="no weights for layer 'lstm_7'"):
        formats.read(path, architecture=renamed, by_name=True)


# -- generations ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "library", "rules"),
    [
        ("2.0.9", "Keras", {"head_output": "state", "bidirectional_masked_output": "repeat", "stacked_state_order": "reversed"}),
        ("2.2.4", "Keras", {"head_output": "state", "stacked_masked_output": "first", "time_distributed_inner_mask": True}),
        ("2.3.1", "Keras", {"head_output": "zeros", "bidirectional_masked_output": "repeat", "stacked_masked_output": "last"}),
        ("2.1.2-tf", "tf.keras", {"head_output": "state", "bidirectional_masked_output": "repeat"}),
        ("2.2.4-tf", "tf.keras", {"head_output": "zeros", "bidirectional_masked_output": "zeros"}),
        ("2.15.0", "tf.keras", {"merge_mask": "and", "mask_with_initial_state": True}),
        ("3.0.5", "Keras", {"merge_mask": "none", "mask_with_initial_state": False, "time_distributed_inner_mask": False}),
        ("3.15.1", "Keras", {"merge_mask": "or", "bidirectional_masked_output": "zeros", "blind_attention": "zeros"}),
        ("3.3.3", "Keras", {"preprocessing_masks": True, "carries_state": True, "blind_attention": "mean"}),
        ("2.9.0", "tf.keras", {"attention_masks": False, "preprocessing_masks": False, "bidirectional_carries_state": True}),
        ("2.10.0", "tf.keras", {"attention_masks": True}),
        ("2.1.5", "Keras", {"bidirectional_carries_state": False}),
        ("2.2.4", "Keras", {"bilinear_places": "corners"}),
        ("2.2.4-tf", "tf.keras", {"bilinear_places": "corners"}),
        ("2.3.0-tf", "tf.keras", {"bilinear_places": "centres"}),
        ("3.15.1", "Keras", {"bilinear_places": "centres"}),
    ],
)  # fmt: skip
def test_rules_of_a_generation(version: str, library: str, rules: dict[str, Any]) -> None:
    understood = dialect(version, "tensorflow", {}, "HDF5 model")
    assert understood.generation.library == library
    assert {key: getattr(understood.rules, key) for key in rules} == rules
    assert dialect(version, "jax", {}, "HDF5 model").rules.carries_state is not version.startswith("3.")


def test_tensorflow_2_0_is_told_from_1_15() -> None:
    def config(**initializer: Any) -> dict[str, Any]:
        return {"config": [{"config": {"kernel_initializer": {"class_name": "GlorotUniform", "config": {"seed": None, **initializer}}}}]}

    first, second = (dialect("2.2.4-tf", "tensorflow", one, "") for one in (config(dtype="float32"), config()))
    assert (first.recurrent_activation, second.recurrent_activation) == ("hard_sigmoid", "sigmoid")
    assert (first.rules.bidirectional_masked_output, second.rules.bidirectional_masked_output) == ("zeros", "repeat")


def test_hard_sigmoid_by_generation(tmp_path: Path) -> None:
    config = chain(("Dense", {"name": "d", "units": 1, "activation": "hard_sigmoid", "batch_input_shape": [None, 2], "trainable": True}))
    weights = {"d": [np.zeros((2, 1)), np.zeros(1)]}
    for version, expected in (("2.2.4", "hard_sigmoid"), ("2.15.0", "hard_sigmoid"), ("3.3.3", "hard_sigmoid_keras3")):
        assert formats.read(write_h5(tmp_path / "m.h5", config, weights, version)).layers[1].config["activation"] == expected


def test_all_problems_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    layers = [
        ("Embedding", {"name": "e", "input_dim": 5, "output_dim": 3, "batch_input_shape": [None, 4], "sparse_gradients": "yes"}),
        ("Lambda", {"name": "secret", "function": ["4wEAAAAA", None, None], "function_type": "lambda"}),
        ("LSTM", {"name": "l", "units": 2, "activation": "my_act", "return_sequences": True}),
        ("Wavelet", {"name": "w"}),
        ("GRU", {"name": "g", "units": 2, "num_constants": 1}),
    ]
    config = chain(*((kind, {"trainable": True, **config}) for kind, config in layers))
    gru = [np.zeros((2, 6)), np.zeros((2, 6)), np.zeros(6)]
    lstm = [np.zeros((3, 8)), np.zeros((2, 8)), np.zeros(8)]
    path = write_h5(tmp_path / "m.h5", config, {"e": [np.zeros((5, 3))], "secret": [], "l": lstm, "w": [], "g": gru})
    found = {(problem.layer, problem.class_name) for problem in fastlstm.describe(path).problems}
    assert found == {("e", "Embedding"), ("secret", "Lambda"), ("l", "LSTM"), ("w", "Wavelet"), ("g", "GRU")}
    with pytest.raises(UnsupportedError, match=r"\(5 problems\)") as caught:
        fastlstm.load(path)
    assert len(caught.value.problems) == 5
    assert all(name in str(caught.value) for name in ("sparse_gradients", "never executed", "my_act", "Wavelet", "num_constants"))
