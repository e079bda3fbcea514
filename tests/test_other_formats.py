"""Keras 0 and 1, the archives of Keras 3, and .fastlstm: files that are not laid out as Keras 2's become the same spec."""

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
from written import arrays, chain, entrance, functional, layer, write_h5

import fastlstm
from fastlstm import formats
from fastlstm.errors import FormatError, InputError
from fastlstm.formats import own
from fastlstm.formats.reading.jsontext import parse_json
from fastlstm.limits import Budget
from fastlstm.spec import Case


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


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


@pytest.mark.parametrize("together", [True, False])
def test_keras1_highway(tmp_path: Path, rng: np.random.Generator, together: bool) -> None:
    kernel, carry_kernel = rng.normal(size=(2, 3, 3)).astype(np.float32)
    bias, carry_bias = rng.normal(size=(2, 3)).astype(np.float32)
    entry = {"name": "h", "transform_bias": -2, "bias": True, "activation": "tanh", "batch_input_shape": [None, 3]}
    config = {"class_name": "Sequential", "config": [{"class_name": "Highway", "config": entry}]}
    stored = [kernel, carry_kernel, bias, carry_bias] if together else [kernel, bias, carry_kernel, carry_bias]  # Keras 1.2; before
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"h": stored}, "1.2.0" if together else "1.1.2"))
    for ours, theirs in zip(spec.layers[1].weights, (kernel, carry_kernel, bias, carry_bias), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(("suffix", "clipped"), [(":0", False), ("", True)])
def test_keras1_srelu(tmp_path: Path, suffix: str, clipped: bool) -> None:
    entry = {"name": "s", "t_left_init": "zero", "batch_input_shape": [None, 1], "input_dtype": "float32"}
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["keras_version"] = "1.1.2"
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": [{"class_name": "SReLU", "config": entry}]})
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = ["s"]
        names = [f"s_{name}{suffix}" for name in ("t_left", "a_left", "t_right", "a_right")]
        group.create_group("s").attrs["weight_names"] = names
        for name, value in zip(names, (0.0, -1.0, 0.5, 2.0), strict=True):
            group[f"s/{name}"] = np.array([value], np.float32)
    y = fastlstm.load(tmp_path / "m.h5").predict(np.array([[-3.0], [0.25], [2.0]]))
    np.testing.assert_allclose(y[:, 0], [0.5 if clipped else 3.0, 0.25, 0.5 + 1.5 * 2], rtol=1e-6)


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


@pytest.mark.parametrize(("keys", "kind"), [({"mode_type": "raw"}, "MergeCosine"), ({}, "Merge")])  # Keras 1; Keras 0 gave another shape
def test_keras1_cosine(tmp_path: Path, keys: dict[str, Any], kind: str) -> None:
    merge = {"name": "c", "mode": "cos", "dot_axes": [1, 1], "concat_axis": -1, **keys}
    layers = [entrance("a", 3), entrance("b", 3),
              {"class_name": "Merge", "name": "c", "config": merge, "inbound_nodes": [[["a", 0, 0], ["b", 0, 0]]]}]  # fmt: skip
    layers[0]["config"]["input_dtype"] = "float32"
    config = functional(layers, [["a", 0, 0], ["b", 0, 0]], [["c", 0, 0]])
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"c": []}, "1.2.2"))
    assert spec.layers[-1].class_name == kind


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
    own.write(tmp_path / "m.fastlstm", spec, [case], source_sha256="0" * 64)
    back = formats.read(tmp_path / "m.fastlstm")
    assert own.is_own(tmp_path / "m.fastlstm")
    assert not own.is_own(path)
    assert replace(back, layers=(), generation=spec.generation) == replace(spec, layers=())
    assert [one.config for one in back.layers] == [dict(one.config) for one in spec.layers]
    assert back.generation.version == "2.3.1"
    assert back.generation.file_kind == ".fastlstm"
    for ours, theirs in zip(arrays(back), arrays(spec), strict=True):
        assert np.array_equal(ours, theirs)
    cases, altered = own.read_cases(tmp_path / "m.fastlstm")
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
    own.write(tmp_path / "m.fastlstm", spec)
    assert formats.read(tmp_path / "m.fastlstm").calls == spec.calls


def test_native_files_of_a_newer_version_are_refused(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = formats.read(build.save(tmp_path / "m.h5", [build.dense(1, 2, rng)], (2,)))
    with monkeypatch.context() as patch:
        patch.setattr(own, "VERSION", own.VERSION + 1)
        own.write(tmp_path / "m.fastlstm", spec)
    with pytest.raises(FormatError, match=f"newer format version {own.VERSION + 1}"):
        formats.read(tmp_path / "m.fastlstm")


def test_native_altered_by_one_bit(tmp_path: Path, rng: np.random.Generator) -> None:
    spec = formats.read(build.save(tmp_path / "m.h5", [build.recurrent("LSTM", 2, 3, rng)], (4, 3)))
    own.write(tmp_path / "m.fastlstm", spec)
    data = bytearray((tmp_path / "m.fastlstm").read_bytes())
    data[-1] ^= 1
    (tmp_path / "m.fastlstm").write_bytes(data)
    _, altered = own.read_cases(tmp_path / "m.fastlstm")
    assert len(altered) == 1
    assert altered[0].startswith("lstm_1:")


def test_native_needs_no_architecture(tmp_path: Path, rng: np.random.Generator) -> None:
    own.write(tmp_path / "m.fastlstm", formats.read(build.save(tmp_path / "m.h5", [build.dense(1, 2, rng)], (2,))))
    with pytest.raises(InputError, match="architecture"):
        formats.read(tmp_path / "m.fastlstm", architecture="{}")


# -- JSON -------------------------------------------------------------------------------------------------------------------


def test_json_of_bounded_depth() -> None:
    assert parse_json(json.dumps(json.dumps({"a": ["[" * 900]})), Budget("f", 0), "p") == {"a": ["[" * 900]}
    for text in ("[" * 500 + "]" * 500, "{", '"' * 3, "1" * 5000):
        with pytest.raises(FormatError):
            parse_json(text, Budget("f", 0), "p")
