"""Files of models whose answers can be told beforehand: those of TensorFlow Serving's documentation, or as near as Keras has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import batch_models
import h5_files
import numpy as np
from graph_files import nodes
from keras_configs import entrance, functional, layer, write_h5

import fastlstm

#: What tests serve these models as.
NAMES = ("half_plus_two", "three", "fixed", "open", "steps", "ids", "several", "words", "letters", "labelled", "wide")
STEPS, FEATURES = 5, 3


def linear(name: str, source: str, kernel: Any, bias: float) -> tuple[dict[str, Any], list[np.ndarray]]:
    """A Dense layer of those numbers."""
    weights = [np.array(kernel, np.float32), np.array([bias], np.float32)]
    return layer("Dense", name, nodes(source), units=1, activation="linear", use_bias=True), weights


def half_plus_two(path: Path) -> Path:
    """x -> y = x / 2 + 2, rows of one number"""
    dense, weights = linear("y", "x", [[0.5]], 2.0)
    return write_h5(path, functional([entrance("x", 1), dense], [["x", 0, 0]], [["y", 0, 0]]), {"y": weights})


def three_inputs(path: Path) -> Path:
    """tag, a text; signal, five numbers; sensor, two by two -> the number of the tag among "foo" and "bar", and the sums of the others"""
    tag = {
        "class_name": "InputLayer",
        "name": "tag",
        "config": {"name": "tag", "batch_input_shape": [None], "dtype": "string"},
        "inbound_nodes": [],
    }
    total, ones = linear("total", "signal", np.ones((5, 1)), 0.0)
    average, quarters = linear("average", "flat", np.full((4, 1), 0.25), 0.0)
    layers = [
        tag, entrance("signal", 5), entrance("sensor", 2, 2),
        layer("StringLookup", "number", nodes("tag"), vocabulary=["foo", "bar"], invert=False, num_oov_indices=1, mask_token=None,
              oov_token="[UNK]", output_mode="int", max_tokens=None),
        layer("Flatten", "flat", nodes("sensor")), total, average,
    ]  # fmt: skip
    inputs, outputs = [[name, 0, 0] for name in ("tag", "signal", "sensor")], [[name, 0, 0] for name in ("number", "total", "average")]
    return write_h5(path, functional(layers, inputs, outputs, "Functional"), {"total": ones, "average": quarters}, "2.15.0")


def labelled(path: Path) -> Path:
    """A pipeline: (5, 3) -> one of the labels "no" and "yes", and their probabilities"""
    network = fastlstm.load(batch_models.fixed(path.with_name("network.h5"), STEPS, 2))
    fastlstm.Pipeline(network, labels=["no", "yes"]).save(path)
    return path


def wide(path: Path) -> Path:
    """(1,) -> 20,000 numbers: a large answer"""
    rng = np.random.default_rng(0)
    return h5_files.save(path, [h5_files.dense(20_000, 1, rng)], (1,))


def write(folder: Path) -> dict[str, Path]:
    """All of them, by the names that tests serve them under."""
    return {
        "half_plus_two": half_plus_two(folder / "half_plus_two.h5"), "three": three_inputs(folder / "three.h5"),
        "fixed": batch_models.fixed(folder / "fixed.h5"), "open": batch_models.any_length(folder / "open.h5"),
        "steps": batch_models.each_step(folder / "steps.h5"), "ids": batch_models.ids(folder / "ids.h5"),
        "several": batch_models.several(folder / "several.h5"), "words": batch_models.words(folder / "words.keras"),
        "letters": batch_models.letters(folder / "letters.keras"), "labelled": labelled(folder / "labelled.fastlstm"),
        "wide": wide(folder / "wide.h5"),
    }  # fmt: skip
