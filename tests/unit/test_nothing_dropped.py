"""No reader drops what it does not understand: a key, an argument, a node or an array that nobody knows is a problem of the file."""

from __future__ import annotations

import copy
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import h5_files
import h5py
import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5

import fastlstm
from fastlstm.errors import FastLSTMError, FormatError, UnsupportedError

UNKNOWN = "mystery"
#: What says nothing about the numbers: how arrays were made, trained and kept small, and what training itself needs.
INERT = re.compile(r"_(initializer|regularizer|constraint)\b|\.(build_config|compile_config|dtype|shared_object_id)\b")

Place = tuple[str | int, ...]


def places(value: Any, kind: type, at: Place = ()) -> Iterator[Place]:
    """Where the objects (or the lists) in a JSON value are."""
    if isinstance(value, kind):
        yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, kind, (*at, key))


def own_mask(config: Any, place: Place) -> bool:
    """Is it in an operation by which Keras 3 has computed a mask of its own? Those that nothing needs are left out whole."""
    return any("trainable" not in within(config, place[:n])["config"] for n in range(len(place) + 1)
               if isinstance(within(config, place[:n]), dict) and within(config, place[:n]).get("inbound_nodes")
               and "layers" not in within(config, place[:n])["config"])  # fmt: skip


def within(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


def name_of(place: Place) -> str:
    return "".join(f".{key}" for key in place)


def changed(config: Any, place: Place, change: Callable[[Any], Any]) -> Any:
    config = copy.deepcopy(config)
    change(within(config, place))
    return config


def refused(write: Callable[[Any], Path], config: Any, *, verify: bool = False) -> str:
    """What is said of a changed config; nothing if it loads as if nothing were."""
    try:
        fastlstm.load(write(config), verify=verify)
    except FastLSTMError as error:
        return str(error)
    return ""


def model_of(keras: ModuleType) -> Any:
    """Every kind of entry that a config has: layers, cells, wrappers, nested models, states, constants, several inputs."""
    import tensorflow as tf

    layers = keras.layers
    ids, x = keras.Input((5,), dtype="int32", name="ids"), keras.Input((5, 3), batch_size=2, name="x")
    embedded = layers.Embedding(7, 3, mask_zero=True)(ids)
    both = layers.Concatenate()([embedded, x])
    y, h, c = layers.LSTM(4, return_sequences=True, return_state=True, kernel_regularizer="l2")(both)
    y = layers.Bidirectional(layers.GRU(2, return_sequences=True))(y)
    y = layers.RNN([layers.LSTMCell(3), layers.SimpleRNNCell(3)], return_sequences=True)(y)
    y = layers.TimeDistributed(layers.Dense(4, activation="relu"))(y)
    start = keras.Input((5, 4), name="inner_x")
    inner = keras.Model(start, layers.BatchNormalization()(start), name="inner")
    y = layers.LSTM(4)(inner(y), initial_state=[h, c])
    y = layers.Add()([y, layers.Dropout(0.5)(h), layers.GRU(4)(x, initial_state=tf.ones((2, 4)))])
    return keras.Model([ids, x], layers.Dense(1)(y), name="outer")


@pytest.fixture(scope="module")
def saved(keras: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Callable[[Any], Path]]:
    """A model's config, and what saves the model with another one."""
    path = tmp_path_factory.mktemp("dropped") / ("m.keras" if keras.__version__ >= "3" else "m.h5")
    model_of(keras).save(path)
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            config = json.loads(file.attrs["model_config"])

        def write_h5_config(config: Any) -> Path:
            with h5py.File(path, "r+") as file:
                file.attrs["model_config"] = json.dumps(config)
            return path

        return config, write_h5_config
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def write_zip_config(config: Any) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, json.dumps(config) if name == "config.json" else data)
        return path

    return json.loads(members["config.json"]), write_zip_config


@pytest.mark.keras
@pytest.mark.slow
def test_unknown_keys_in_every_object(saved: tuple[Any, Callable[[Any], Path]]) -> None:
    config, write = saved
    fastlstm.load(write(config))
    everywhere = [place for place in places(config, dict) if not INERT.search(name_of(place)) and not own_mask(config, place)]
    silent = [
        name_of(place) for place in everywhere
        if not refused(write, changed(config, place, lambda found: found.update({UNKNOWN: 7})))
    ]  # fmt: skip
    assert len(everywhere) > 40
    assert silent == []


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("extra", [3.5, "mystery", {"mystery": 1}, ["mystery"]], ids=str)
def test_unknown_items_in_every_node(saved: tuple[Any, Callable[[Any], Path]], extra: Any) -> None:
    config, write = saved
    nodes = [place for place in places(config, list) if "inbound_nodes" in place[:-1]]
    nodes = [place for place in nodes if "shape" not in place and not own_mask(config, place)]
    silent = [name_of(place) for place in nodes if not refused(write, changed(config, place, lambda found: found.append(extra)))]
    assert len(nodes) > 20
    assert silent == []


@pytest.mark.keras
@pytest.mark.slow
def test_unknown_call_arguments_of_every_layer(saved: tuple[Any, Callable[[Any], Path]]) -> None:
    config, write = saved
    words = [place for place in places(config, dict) if "inbound_nodes" in place and (place[-1] == "kwargs" or isinstance(place[-1], int))]
    words = [place for place in words if (place[-1] == "kwargs" or not within(config, place)) and not own_mask(config, place)]
    silent = [
        name_of(place) for place in words
        if not refused(write, changed(config, place, lambda found: found.update({UNKNOWN: 0.5})))
    ]  # fmt: skip
    assert len(words) > 8
    assert silent == []


def test_unknown_keys_in_native_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    source = h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 4, 3, rng), h5_files.dense(2, 4, rng)], (5, 3))
    fastlstm.convert(source, tmp_path / "m.fastlstm")
    data = (tmp_path / "m.fastlstm").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    config = json.loads(header["__metadata__"]["fastlstm"])

    def write(config: Any) -> Path:
        header["__metadata__"]["fastlstm"] = json.dumps(config)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (tmp_path / "n.fastlstm").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
        return tmp_path / "n.fastlstm"

    fastlstm.load(write(config), verify=True)
    everywhere = [place for place in places(config, dict) if place != ("sha256",)]
    silent = [
        name_of(place) for place in everywhere
        if not refused(write, changed(config, place, lambda found: found.update({UNKNOWN: 7})), verify=True)
    ]  # fmt: skip
    assert len(everywhere) > 10
    assert silent == []


@pytest.mark.parametrize("place", ["layers/mystery/vars/0", "layers/dense/mystery/vars/0", "layers/dense/vars/2"])
def test_arrays_that_belong_to_no_layer(tmp_path: Path, place: str) -> None:
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 3], "dtype": "float32"}},
        {"class_name": "Dense", "config": {"name": "d", "units": 1, "activation": "linear", "trainable": True}},
    ]}}  # fmt: skip
    for extra in (None, place):
        weights = io.BytesIO()
        with h5py.File(weights, "w") as file:
            file["layers/dense/vars/0"], file["layers/dense/vars/1"] = np.ones((3, 1), np.float32), np.ones(1, np.float32)
            for name in ("optimizer/vars/0", "layers/dense/seed_generator/vars/0", *([extra] if extra else [])):
                file[name] = np.ones(2, np.float32)
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
            archive.writestr("model.weights.h5", weights.getvalue())
        if extra is None:
            assert fastlstm.load(tmp_path / "m.keras").predict(np.ones((1, 3))).tolist() == [[4.0]]
        else:
            with pytest.raises((UnsupportedError, FormatError), match=r"belong to no layer|expected 2 arrays"):
                fastlstm.load(tmp_path / "m.keras")


def test_arguments_of_a_layer_that_has_no_others(tmp_path: Path) -> None:
    """A number among the tensors of a merge, in the words of Keras 2 and 3."""
    start = entrance("x", 3)
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 3], "dtype": "float32", "keras_history": ["x", 0, 0]}}
    for version, node in (
        ("2.10.0", [["x", 0, 0, {}], ["x", 0, 0, {}], ["_CONSTANT_VALUE", -1, 3.0, {}]]),
        ("3.15.0", {"args": [[tensor, tensor, 3.0]], "kwargs": {}}),
        ("3.15.0", {"args": [[tensor, tensor], {"class_name": "__slice__", "config": {}}], "kwargs": {}}),
    ):
        config = functional([start, layer("Add", "a", [node])], [["x", 0, 0]], [["a", 0, 0]], "Functional")
        with pytest.raises(UnsupportedError, match="among its tensors"):
            fastlstm.load(write_h5(tmp_path / "m.h5", config, {}, version))
