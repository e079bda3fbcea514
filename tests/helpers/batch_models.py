"""Files of small models that tests of tables use, one of each kind that reads columns in its own way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5_files
import keras3_files
import numpy as np
from graph_files import nodes
from keras_configs import entrance, functional, layer, write_h5

FEATURES = 3


def fixed(path: Path, steps: int | None = 5, outputs: int = 1, **options: Any) -> Path:
    """(steps, features) -> outputs"""
    rng = np.random.default_rng(1)
    layers = [h5_files.recurrent("LSTM", 4, FEATURES, rng, **options), h5_files.dense(outputs, 4, rng)]
    return h5_files.save(path, layers, (steps, FEATURES))


def any_length(path: Path) -> Path:
    """(any, features) -> 2"""
    return fixed(path, None, 2)


def each_step(path: Path) -> Path:
    """(any, features) -> (any, 2): an output a timestep"""
    rng = np.random.default_rng(2)
    layers = [h5_files.recurrent("GRU", 4, FEATURES, rng, return_sequences=True), h5_files.time_distributed(h5_files.dense(2, 4, rng))]
    return h5_files.save(path, layers, (None, FEATURES))


def convolved(path: Path) -> Path:
    """(any, features) -> 2, by a layer that sees padding: sequences of one length alone are computed together"""
    rng = np.random.default_rng(3)
    layers = [h5_files.convolution(4, 1, FEATURES, rng), h5_files.recurrent("LSTM", 4, 4, rng), h5_files.dense(2, 4, rng)]
    return h5_files.save(path, layers, (None, FEATURES))


def ids(path: Path) -> Path:
    """Ids below 20, (any,) -> 1"""
    rng = np.random.default_rng(4)
    layers = [h5_files.embedding(20, 4, rng, True), h5_files.recurrent("LSTM", 5, 4, rng), h5_files.dense(1, 5, rng, "sigmoid")]
    return h5_files.save(path, layers, (None,))


def several(path: Path) -> Path:
    """A series, (any, features), and facts, (2,) -> "y", 1, and "z", 3"""
    rng = np.random.default_rng(5)
    lstm, first, second = h5_files.recurrent("LSTM", 4, FEATURES, rng), h5_files.dense(1, 6, rng), h5_files.dense(3, 6, rng)
    layers = [
        entrance("series", None, FEATURES),
        entrance("facts", 2),
        {**lstm.entry, "name": "lstm", "inbound_nodes": nodes("series")},
        layer("Concatenate", "both", [[["lstm", 0, 0, {}], ["facts", 0, 0, {}]]], axis=-1),
        {**first.entry, "name": "y", "inbound_nodes": nodes("both")},
        {**second.entry, "name": "z", "inbound_nodes": nodes("both")},
    ]
    for one in layers:
        one["config"]["name"] = one["name"]
    config = functional(layers, [["series", 0, 0], ["facts", 0, 0]], [["y", 0, 0], ["z", 0, 0]])
    return write_h5(path, config, {"lstm": lstm.weights, "y": first.weights, "z": second.weights})


def stateful(path: Path) -> Path:
    """Two rows at a time, whose states go on."""
    rng = np.random.default_rng(6)
    return h5_files.save(path, [h5_files.recurrent("LSTM", 4, FEATURES, rng, stateful=True)], (5, FEATURES), batch=2)


def words(path: Path) -> Path:
    """A text -> its number among "a" and "b" """
    config = keras3_files.layer("StringLookup", "words", vocabulary=["a", "b"])
    return keras3_files.zipped(path, keras3_files.chain([None, 1], config, dtype="string"), {"layers": []})


def letters(path: Path) -> Path:
    """Numbers -> the texts "a" and "b" that they stand for"""
    config = keras3_files.layer("StringLookup", "letters", vocabulary=["a", "b"], invert=True)
    return keras3_files.zipped(path, keras3_files.chain([None, 1], config, dtype="int64"), {"layers": []})


NUMBERS: dict[str, Callable[[Path], Path]] = {
    "fixed": fixed, "any_length": any_length, "each_step": each_step, "convolved": convolved,
}  # fmt: skip
