"""Files of every kind become the spec that they mean."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import build
import h5py
import numpy as np
import pytest

import fastlstm
from fastlstm import formats
from fastlstm.errors import FormatError, InputError, UnsupportedError
from fastlstm.formats import native
from fastlstm.formats.generations import dialect
from fastlstm.formats.jsontext import parse_json
from fastlstm.layers.base import Context
from fastlstm.layers.network import root
from fastlstm.spec import Case, ModelSpec, Ref


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def arrays(spec: ModelSpec) -> list[np.ndarray]:
    """Every array of a model, in order."""
    found = []

    def visit(layer: Any) -> None:
        found.extend(layer.weights)
        for child in [*layer.children, *(layer.model.layers if layer.model else ())]:
            visit(child)

    for layer in spec.layers:
        visit(layer)
    return found


def write_h5(path: Path, config: Any, groups: dict[str, list[np.ndarray]], version: str = "2.3.1", backend: str = "tensorflow") -> Path:
    """A Keras file of that config, with one group of arrays a layer."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = version, backend
        file.attrs["model_config"] = json.dumps(config)
        write_groups(file.create_group("model_weights"), groups)
    return path


def write_groups(group: h5py.Group, groups: dict[str, list[np.ndarray]]) -> None:
    group.attrs["layer_names"] = [name.encode() for name in groups]
    for name, values in groups.items():
        inner = group.create_group(name)
        inner.attrs["weight_names"] = [f"{name}/w{place}:0".encode() for place in range(len(values))]
        for place, value in enumerate(values):
            inner[f"{name}/w{place}:0"] = value


def layer(kind: str, name: str, nodes: Any = (), /, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "name": name, "config": {"name": name, "trainable": True, **config}, "inbound_nodes": list(nodes)}


def entrance(name: str, *shape: int | None) -> dict[str, Any]:
    return {"class_name": "InputLayer", "name": name, "config": {"name": name, "batch_input_shape": [None, *shape]}, "inbound_nodes": []}


def chain(*layers: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A Sequential of (class, config), in the form of Keras up to 2.2.2."""
    return {"class_name": "Sequential", "config": [{"class_name": kind, "config": config} for kind, config in layers]}


def functional(layers: list[Any], inputs: list[Any], outputs: Any, kind: str = "Model") -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": "m", "layers": layers, "input_layers": inputs, "output_layers": outputs}}


# -- Sequential -------------------------------------------------------------------------------------------------------------


def test_sequential(tmp_path: Path, rng: np.random.Generator) -> None:
    inner = build.recurrent("LSTM", 4, 3, rng)
    spec = formats.read(build.save(tmp_path / "m.h5", [inner, build.dense(2, 4, rng)], (5, 3)))
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
    node = [["x", 0, 0, {"mask": ["m", 0, 0]}]]
    layers = [entrance("x", 4, 3), entrance("m", 4), layer("LSTM", "l", [node], units=2)]
    config = functional(layers, [["x", 0, 0], ["m", 0, 0]], [["l", 0, 0]])
    weights = [np.zeros(one, np.float32) for one in ((3, 8), (2, 8), (8,))]
    assert "argument mask" in formats.read(write_h5(tmp_path / "m.h5", config, {"l": weights}, "2.9.0")).problems[0].what


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


def test_keras3_operations_are_no_layers(tmp_path: Path) -> None:
    node = {"args": [keras3_tensor("x", 0, 0), 2.0], "kwargs": {}}
    layers = [entrance("x", 3), {"class_name": "Multiply", "name": "multiply", "config": {"name": "multiply"}, "inbound_nodes": [node]}]
    spec = formats.read(write_h5(tmp_path / "m.h5", functional(layers, ["x", 0, 0], ["multiply", 0, 0]), {}, "3.5.0"))
    context = Context("m.h5", spec.rules)
    root(spec, context)
    assert "Multiply" in str(context.problems[0])


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


def test_cells_without_arguments(tmp_path: Path) -> None:
    cell = {"class_name": "LSTMCell", "config": {"name": "lstm_cell_1", "trainable": True}}
    config = chain(("RNN", {"name": "r", "cell": cell, "batch_input_shape": [None, 4, 3]}))
    weights = [np.zeros(one, np.float32) for one in ((3, 8), (2, 8), (8,))]
    with pytest.warns(UserWarning, match="without their arguments"):
        spec = formats.read(write_h5(tmp_path / "m.h5", config, {"r": weights}, "2.0.9"))
    assert spec.layers[1].children[0].config["units"] == 2
    spec = formats.read(write_h5(tmp_path / "n.h5", config, {"r": weights[:2]}, "2.0.9"))
    assert "without their arguments" in spec.problems[0].what


def test_names_split_over_attributes(tmp_path: Path, rng: np.random.Generator) -> None:
    path = build.save(tmp_path / "m.h5", [build.recurrent("LSTM", 2, 3, rng), build.dense(1, 2, rng)], (4, 3))
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
    source = build.save(tmp_path / "m.h5", [build.recurrent("LSTM", 2, 3, rng), build.dense(1, 2, rng)], (4, 3))
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
    (tmp_path / "c.yaml").write_text("class_name: Sequential\nconfig: []\n")
    with pytest.raises(FormatError, match="YAML"):
        formats.read(path, architecture=tmp_path / "c.yaml")
    with pytest.raises(InputError, match="expected JSON text"):
        formats.read(path, architecture=7)
    with pytest.raises(FormatError, match="neither JSON nor a file"):
        formats.read(path, architecture="nowhere.json")


def test_layers_pair_by_order_or_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    source = build.save(tmp_path / "m.h5", [build.recurrent("LSTM", 2, 3, rng), build.dense(1, 2, rng)], (4, 3))
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


# -- Keras 0 and 1 ----------------------------------------------------------------------------------------------------------


def old_lstm(**config: Any) -> dict[str, Any]:
    return {"name": "lstm_1", "output_dim": 2, "input_dim": 3, "batch_input_shape": [None, 4, 3], "activation": "tanh",
            "inner_activation": "hard_sigmoid", "init": "glorot_uniform", "dropout_W": 0.1, "return_sequences": True, **config}  # fmt: skip


def gate_arrays() -> list[np.ndarray]:
    """LSTM arrays as Keras 1 keeps them, gates i c f o; all of a gate's are full of its number."""
    return [np.full(shape, gate, np.float32) for gate in range(4) for shape in ((3, 2), (2, 2), (2,))]


def test_keras1_gates(tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": [{"class_name": "LSTM", "config": old_lstm(consume_less="cpu")}]}
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"lstm_1": gate_arrays()}, "1.2.2"))
    kernel, recurrent_kernel, bias = spec.layers[1].weights
    assert kernel.shape == (3, 8)
    assert recurrent_kernel.shape == (2, 8)
    assert list(bias) == [0, 0, 2, 2, 1, 1, 3, 3]  # i f c o
    settings = spec.layers[1].config
    assert (settings["units"], settings["recurrent_activation"], settings["dropout"]) == (2, "hard_sigmoid", 0.1)
    assert spec.layers[0].config["shape"] == [None, 4, 3]


def test_keras1_gates_together(tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": [{"class_name": "GRU", "config": old_lstm(consume_less="gpu", name="g")}]}
    weights = [np.zeros(shape, np.float32) for shape in ((3, 6), (2, 6), (6,))]
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"g": weights}, "1.1.0"))
    assert spec.layers[1].config["reset_after"] is False


@pytest.mark.parametrize(("suffix", "turned"), [(":0", False), ("", True)])
def test_keras1_kernels(tmp_path: Path, rng: np.random.Generator, suffix: str, turned: bool) -> None:
    entry = {"name": "c", "nb_filter": 4, "filter_length": 3, "border_mode": "same", "subsample_length": 1, "bias": False,
             "batch_input_shape": [None, 8, 2], "input_dtype": "float32"}  # fmt: skip
    kernel = rng.normal(size=(3, 1, 2, 4)).astype(np.float32)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": [{"class_name": "Convolution1D", "config": entry}]})
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = ["c"]
        group.create_group("c").attrs["weight_names"] = [f"c_W{suffix}"]
        group[f"c/c_W{suffix}"] = kernel
    spec = formats.read(tmp_path / "m.h5")
    assert (spec.layers[1].class_name, spec.layers[1].config["padding"]) == ("Conv1D", "same")
    assert np.array_equal(spec.layers[1].weights[0], kernel[::-1, 0] if turned else kernel[:, 0])


def numbered(path: Path, groups: list[list[np.ndarray]]) -> Path:
    """Weights in the layout of Keras 0."""
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = len(groups)
        for number, values in enumerate(groups):
            group = file.create_group(f"layer_{number}")
            group.attrs["nb_params"] = len(values)
            for place, value in enumerate(values):
                group[f"param_{place}"] = value
    return path


def test_keras0_sequential(tmp_path: Path) -> None:
    lstm = {**old_lstm(), "name": "LSTM", "custom_name": "lstm", "input_shape": [4, 3]}
    del lstm["batch_input_shape"]
    norm = {"name": "BatchNormalization", "custom_name": "bn", "epsilon": 0.5, "mode": 0, "axis": -1}
    dense = {"name": "TimeDistributedDense", "custom_name": "dense", "output_dim": 1, "activation": "linear"}
    config = {"name": "Sequential", "layers": [lstm, norm, dense], "loss": "mse"}
    path = numbered(tmp_path / "w.h5", [gate_arrays(), [np.full(2, 1.5)] * 4, [np.ones((2, 1)), np.ones(1)]])
    spec = formats.read(path, architecture=json.dumps(config))
    assert [one.class_name for one in spec.layers] == ["InputLayer", "LSTM", "BatchNormalization", "Dense"]
    assert spec.layers[0].config["shape"] == [None, 4, 3]
    assert spec.layers[2].config["epsilon"] == 0
    assert spec.layers[2].weights[3].tolist() == [4.0, 4.0]  # (1.5 + 0.5) squared
    with pytest.raises(FormatError, match="pass architecture="):
        formats.read(path)


def test_keras1_merge_of_branches(tmp_path: Path) -> None:
    second = {"name": "dense_1", "output_dim": 3, "batch_input_shape": [None, 5], "input_dtype": "float32"}
    branches = [chain(("LSTM", {**old_lstm(), "return_sequences": False})), chain(("Dense", second))]
    merge = {"class_name": "Merge", "config": {"name": "merge_1", "mode": "concat", "concat_axis": -1, "layers": branches}}
    config = {"class_name": "Sequential", "config": [merge, {"class_name": "Dense", "config": {"name": "dense_2", "output_dim": 1}}]}
    groups = {"lstm_1": gate_arrays(), "dense_1": [np.ones((5, 3)), np.ones(3)], "merge_1": [], "dense_2": [np.ones((5, 1)), np.ones(1)]}
    spec = formats.read(write_h5(tmp_path / "m.h5", config, groups, "1.2.2"))
    assert len(spec.inputs) == 2
    assert [one.class_name for one in spec.layers] == ["InputLayer", "Sequential", "InputLayer", "Sequential", "Concatenate", "Dense"]
    assert len(arrays(spec)) == 7


def test_keras0_graph(tmp_path: Path) -> None:
    def dense(units: int) -> dict[str, Any]:
        return {"name": "Dense", "custom_name": "d", "output_dim": units, "activation": "linear", "cache_enabled": True}

    config = {
        "name": "Graph", "input_order": ["a"], "output_order": ["o"], "input_config": [{"name": "a", "input_shape": [3]}],
        "nodes": {"p": dense(2), "q": dense(2), "r": dense(1)},
        "node_config": [{"name": "p", "input": "a", "inputs": []}, {"name": "q", "input": "a", "inputs": []},
                        {"name": "r", "input": None, "inputs": ["p", "q"], "merge_mode": "sum"}],
        "output_config": [{"name": "o", "input": "r", "inputs": []}],
    }  # fmt: skip
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("graph")
        shapes = [(3, 2), (2,), (3, 2), (2,), (2, 1), (1,)]
        group.attrs["nb_params"] = len(shapes)
        for number, shape in enumerate(shapes):
            group[f"param_{number}"] = np.full(shape, number)
    spec = formats.read(tmp_path / "w.h5", architecture=config)
    assert [one.class_name for one in spec.layers] == ["InputLayer", "Dense", "Dense", "Add", "Dense"]
    assert [array.flat[0] for array in arrays(spec)] == list(range(6))


# -- .keras and .weights.h5 -------------------------------------------------------------------------------------------------


def write_tree(group: h5py.Group, arrays: dict[str, list[np.ndarray]], under: str = "layers") -> None:
    """Arrays in the layout of model.weights.h5."""
    for path, values in arrays.items():
        for number, value in enumerate(values):
            group[f"{under}/{path}/vars/{number}"] = value


def write_keras(path: Path, config: Any, arrays: dict[str, list[np.ndarray]], version: str = "3.5.0", under: str = "layers") -> Path:
    """A .keras file of that config."""
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        write_tree(file, arrays, under)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", data.getvalue())
    return path


def dense_chain(*names: str) -> dict[str, Any]:
    """Dense(1) layers of these names, one after the other, as Keras 3 has them."""
    entries = [entrance("x", 1), *(layer("Dense", name, units=1) for name in names)]
    for entry in entries:
        del entry["name"], entry["inbound_nodes"]
    return {"class_name": "Sequential", "config": {"name": "s", "trainable": True, "layers": entries}}


@pytest.mark.parametrize("under", ["layers", "_layer_checkpoint_dependencies"])
def test_keras_zip_counts_layers_by_class_whatever_their_names(tmp_path: Path, under: str) -> None:
    stored = {f"dense_{number}" if number else "dense": [np.full((1, 1), number), np.zeros(1)] for number in range(12)}
    config = dense_chain(*[f"dense_{number}" for number in range(11, -1, -1)])
    spec = formats.read(write_keras(tmp_path / "m.keras", config, stored, under=under))
    assert [one.weights[0].item() for one in spec.layers[1:]] == list(range(12))
    assert spec.generation.file_kind == ".keras"
    assert spec.generation.version == "3.5.0"


def test_keras_zip_of_windows(tmp_path: Path) -> None:
    with zipfile.ZipFile(write_keras(tmp_path / "m.keras", dense_chain("d"), {})) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    data = io.BytesIO()
    with h5py.File(data, "w") as file:
        inner = file.create_group("layers\\dense").create_group("vars")
        inner["0"], inner["1"] = np.full((1, 1), 7.0), np.zeros(1)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name, content in {**members, "model.weights.h5": data.getvalue()}.items():
            archive.writestr(name, content)
    assert formats.read(tmp_path / "m.keras").layers[1].weights[0].item() == 7


def test_keras_zip_of_wrappers_and_cells(tmp_path: Path) -> None:
    inner = {"class_name": "LSTM", "config": {"name": "l", "trainable": True, "units": 2, "return_sequences": True}}
    cells = [{"class_name": "GRUCell", "config": {"name": f"c{units}", "trainable": True, "units": units}} for units in (2, 3)]
    stack = {"class_name": "StackedRNNCells", "config": {"name": "k", "trainable": True, "cells": cells}}
    entries = [entrance("x", 4, 3), layer("Bidirectional", "b", layer=inner), layer("RNN", "r", cell=stack)]
    config = {"class_name": "Sequential", "config": {"name": "s", "trainable": True, "layers": entries}}
    stored = {
        "bidirectional/forward_layer/cell": [np.full(shape, 1.0) for shape in ((3, 8), (2, 8), (8,))],
        "bidirectional/backward_layer/cell": [np.full(shape, 2.0) for shape in ((3, 8), (2, 8), (8,))],
        "rnn/cell/cells/gru_cell": [np.full(shape, 3.0) for shape in ((4, 6), (2, 6), (2, 6))],
        "rnn/cell/cells/gru_cell_1": [np.full(shape, 4.0) for shape in ((2, 9), (3, 9), (2, 9))],
    }
    spec = formats.read(write_keras(tmp_path / "m.keras", config, stored))
    assert [array.flat[0] for array in arrays(spec)] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert spec.layers[1].children[1].config["go_backwards"] is True


def test_weights_h5_with_an_architecture(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        write_tree(file, {"dense": [np.full((1, 1), 5.0), np.zeros(1)]})
    assert formats.read(tmp_path / "m.weights.h5", architecture=dense_chain("d")).layers[1].weights[0].item() == 5
    with pytest.raises(FormatError, match="pass architecture="):
        formats.read(tmp_path / "m.weights.h5")
    with pytest.raises(FormatError, match=r"'e' \(Dense\): expected 2 arrays"):
        formats.read(tmp_path / "m.weights.h5", architecture=dense_chain("d", "e"))


# -- .fastlstm --------------------------------------------------------------------------------------------------------------


def test_native_round_trip(tmp_path: Path, rng: np.random.Generator) -> None:
    forward = build.recurrent("GRU", 2, 3, rng, return_sequences=True)
    backward = [np.asarray(array) + 1 for array in forward.weights]
    path = build.save(tmp_path / "m.h5", [build.masking(), build.bidirectional(forward, backward), build.dense(1, 4, rng)], (4, 3))
    spec = formats.read(path)
    inputs = rng.normal(size=(2, 4, 3)).astype(np.float32)
    case = Case("plain", ((inputs,),), ((np.float64(inputs[..., :1]),),), 1e-6)
    native.write(tmp_path / "m.fastlstm", spec, [case], source_sha256="0" * 64)
    back = formats.read(tmp_path / "m.fastlstm")
    assert native.is_native(tmp_path / "m.fastlstm")
    assert not native.is_native(path)
    assert replace(back, layers=(), generation=spec.generation) == replace(spec, layers=())
    assert [one.config for one in back.layers] == [dict(one.config) for one in spec.layers]
    assert back.generation.version == "2.3.1"
    assert back.generation.file_kind == ".fastlstm"
    for ours, theirs in zip(arrays(back), arrays(spec), strict=True):
        assert np.array_equal(ours, theirs)
    cases, altered = native.read_cases(tmp_path / "m.fastlstm")
    assert not altered
    assert (cases[0].name, cases[0].tolerance) == ("plain", 1e-6)
    assert np.array_equal(cases[0].inputs[0][0], inputs)
    assert cases[0].outputs[0][0].dtype == np.float64


def test_native_keeps_graphs(tmp_path: Path) -> None:
    node = [["x", 0, 0, {}], ["h", 0, 0, {}], ["c", 0, 0, {}]]
    layers = [entrance("x", 4, 3), entrance("h", 2), entrance("c", 2), layer("LSTM", "l", [node], units=2)]
    config = functional(layers, [["x", 0, 0], ["h", 0, 0], ["c", 0, 0]], [["l", 0, 0]])
    weights = [np.zeros(one, np.float32) for one in ((3, 8), (2, 8), (8,))]
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"l": weights}))
    native.write(tmp_path / "m.fastlstm", spec)
    assert formats.read(tmp_path / "m.fastlstm").calls == spec.calls


def test_native_files_of_a_newer_version_are_refused(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = formats.read(build.save(tmp_path / "m.h5", [build.dense(1, 2, rng)], (2,)))
    with monkeypatch.context() as patch:
        patch.setattr(native, "VERSION", 2)
        native.write(tmp_path / "m.fastlstm", spec)
    with pytest.raises(FormatError, match="newer format version 2"):
        formats.read(tmp_path / "m.fastlstm")


def test_native_altered_by_one_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    spec = formats.read(build.save(tmp_path / "m.h5", [build.recurrent("LSTM", 2, 3, rng)], (4, 3)))
    native.write(tmp_path / "m.fastlstm", spec)
    data = bytearray((tmp_path / "m.fastlstm").read_bytes())
    data[-1] ^= 1
    (tmp_path / "m.fastlstm").write_bytes(data)
    _, altered = native.read_cases(tmp_path / "m.fastlstm")
    assert len(altered) == 1
    assert altered[0].startswith("lstm_1:")


def test_native_needs_no_architecture(tmp_path: Path, rng: np.random.Generator) -> None:
    native.write(tmp_path / "m.fastlstm", formats.read(build.save(tmp_path / "m.h5", [build.dense(1, 2, rng)], (2,))))
    with pytest.raises(InputError, match="architecture"):
        formats.read(tmp_path / "m.fastlstm", architecture="{}")


# -- JSON -------------------------------------------------------------------------------------------------------------------


def test_json_of_bounded_depth() -> None:
    assert parse_json(json.dumps(json.dumps({"a": ["[" * 900]})), "f", "p") == {"a": ["[" * 900]}
    for text in ("[" * 500 + "]" * 500, "{", '"' * 3, "1" * 5000):
        with pytest.raises(FormatError):
            parse_json(text, "f", "p")
