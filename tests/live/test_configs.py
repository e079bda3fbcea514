"""Configs of a live Keras with something unknown anywhere in them: no reader drops it, each says so."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import pytest
from altered_configs import UNKNOWN, Place, changed, name_of, places, refused, within

import fastlstm

#: What says nothing about the numbers: how arrays were made, trained and kept small, and what training itself needs.
INERT = re.compile(r"_(initializer|regularizer|constraint)\b|\.(build_config|compile_config|dtype|shared_object_id)\b")


def own_mask(config: Any, place: Place) -> bool:
    """Is it in an operation by which Keras 3 has computed a mask of its own? Those that nothing needs are left out whole."""
    return any(
        "trainable" not in within(config, place[:n])["config"]
        for n in range(len(place) + 1)
        if isinstance(within(config, place[:n]), dict)
        and within(config, place[:n]).get("inbound_nodes")
        and "layers" not in within(config, place[:n])["config"]
    )


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
        name_of(place) for place in everywhere if not refused(write, changed(config, place, lambda found: found.update({UNKNOWN: 7})))
    ]
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
    silent = [name_of(place) for place in words if not refused(write, changed(config, place, lambda found: found.update({UNKNOWN: 0.5})))]
    assert len(words) > 8
    assert silent == []
