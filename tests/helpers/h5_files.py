"""Small Keras 2 models written with h5py alone: layers with random weights, and the ``.h5`` that Keras 2.3 would save."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from fastlstm.catalogue import row_of


class Layer(NamedTuple):
    """A layer's entry in the model's config, and its arrays in file order."""

    entry: dict[str, Any]  # {"class_name": ..., "config": {...}}
    weights: list[np.ndarray]


def save_h5(
    path: Path | str,
    layers: Sequence[dict[str, Any]],
    weights: Sequence[Sequence[np.ndarray]],
    keras_version: str = "2.3.1",
    backend: str = "tensorflow",
) -> None:
    """Write a Sequential model as Keras's ``model.save`` does.

    Parameters
    ----------
    path
        The file to write.
    layers
        ``{"class_name": "LSTM", "config": {...}}`` each; a config without a name gets "lstm_1" by class and position.
        The first one's config holds ``batch_input_shape``.
    weights
        The arrays of each layer, as many entries as layers.
    keras_version, backend
        What the file says of itself.
    """
    named = [
        {"class_name": layer["class_name"], "config": {"name": f"{layer['class_name'].lower()}_{position}", **layer["config"]}}
        for position, layer in enumerate(layers, 1)
    ]
    config = {"class_name": "Sequential", "config": {"name": "sequential_1", "layers": named}}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = np.bytes_(keras_version)
        file.attrs["backend"] = np.bytes_(backend)
        file.attrs["model_config"] = np.bytes_(json.dumps(config))
        group = file.create_group("model_weights")
        group.attrs["keras_version"] = np.bytes_(keras_version)
        group.attrs["backend"] = np.bytes_(backend)
        group.attrs["layer_names"] = np.array([layer["config"]["name"].encode() for layer in named])
        for layer, arrays in zip(named, weights, strict=True):
            name = layer["config"]["name"]
            names = [f"{name}/weight_{number}:0" for number in range(len(arrays))]
            saved = group.create_group(name)
            saved.attrs["weight_names"] = np.array([text.encode() for text in names]) if names else np.zeros((0,))
            for text, array in zip(names, arrays, strict=True):
                saved.create_dataset(text, data=array)


def save(path: Path | str, layers: Sequence[Layer], input_shape: tuple[int | None, ...], batch: int | None = None) -> Path:
    """Write layers as a Sequential model with that input shape (less the batch)."""
    entries = [layer.entry for layer in layers]
    entries[0] = {**entries[0], "config": {**entries[0]["config"], "batch_input_shape": [batch, *input_shape]}}
    save_h5(path, entries, [layer.weights for layer in layers])
    return Path(path)


def random(rng: np.random.Generator, *shape: int, scale: float | None = None) -> np.ndarray:
    """Float32 weights that neither vanish nor saturate: 1/sqrt(rows) for a matrix, 0.3 for a bias."""
    if scale is None:
        scale = 1.0 / np.sqrt(shape[0]) if len(shape) > 1 else 0.3
    return (rng.normal(size=shape) * scale).astype(np.float32)


def gate_count(class_name: str) -> int:
    """The gate count of a recurrent class, by which the columns of its kernels are divided: 1 where it has no gates."""
    return row_of(class_name).gates or 1


def recurrent(class_name: str, units: int, features: int, rng: np.random.Generator, **options: Any) -> Layer:
    """LSTM, GRU or SimpleRNN with Keras 2.3's defaults (GRU: reset_after False) and random weights."""
    gates = gate_count(class_name)
    config: dict[str, Any] = {
        "units": units,
        "activation": "tanh",
        "use_bias": True,
        "return_sequences": False,
        "return_state": False,
        "go_backwards": False,
        "stateful": False,
        "unroll": False,
        "trainable": True,
        "dtype": "float32",
    }
    if class_name != "SimpleRNN":
        config.update(recurrent_activation="sigmoid", implementation=2)
    if class_name == "GRU":
        config["reset_after"] = False
    config.update(options)
    weights = [random(rng, features, gates * units), random(rng, units, gates * units)]
    if config["use_bias"]:
        weights.append(random(rng, 2, gates * units, scale=0.3) if config.get("reset_after") else random(rng, gates * units))
    return Layer({"class_name": class_name, "config": config}, weights)


def stacked(cells: Sequence[str], units: Sequence[int], features: int, rng: np.random.Generator, **options: Any) -> Layer:
    """RNN of a list of cells, one on top of the other."""
    entries, weights = [], []
    for cell, size in zip(cells, units, strict=True):
        layer = recurrent(cell, size, features, rng)
        of_loop = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll")
        config = {name: value for name, value in layer.entry["config"].items() if name not in of_loop}
        entries.append({"class_name": f"{cell}Cell", "config": config})
        weights += layer.weights
        features = size
    config = {"cell": {"class_name": "StackedRNNCells", "config": {"cells": entries}}, "return_sequences": False, **options}
    return Layer({"class_name": "RNN", "config": config}, weights)


def bidirectional(inner: Layer, backward_weights: list[np.ndarray], merge_mode: str | None = "concat") -> Layer:
    """Both directions of a recurrent layer; ``inner`` owns the forward weights."""
    entry = {"class_name": inner.entry["class_name"], "config": {"name": "inner", **inner.entry["config"]}}
    config = {"layer": entry, "merge_mode": merge_mode, "trainable": True}
    return Layer({"class_name": "Bidirectional", "config": config}, [*inner.weights, *backward_weights])


def dense(units: int, features: int, rng: np.random.Generator, activation: str = "linear", use_bias: bool = True) -> Layer:
    """Dense with random weights."""
    config = {"units": units, "activation": activation, "use_bias": use_bias, "trainable": True}
    weights = [random(rng, features, units)] + ([random(rng, units)] if use_bias else [])
    return Layer({"class_name": "Dense", "config": config}, weights)


def convolution(
    filters: int, size: int, channels: int, rng: np.random.Generator, padding: str = "causal", *, dilation: int = 1, stride: int = 1
) -> Layer:
    """Conv1D."""
    config = {"filters": filters, "kernel_size": [size], "strides": [stride], "padding": padding, "dilation_rate": [dilation]}
    weights = [random(rng, size, channels, filters), random(rng, filters)]
    return Layer({"class_name": "Conv1D", "config": {**config, "activation": "relu", "use_bias": True}}, weights)


def time_distributed(inner: Layer) -> Layer:
    """TimeDistributed around a layer."""
    entry = {"class_name": inner.entry["class_name"], "config": {"name": "inner", **inner.entry["config"]}}
    return Layer({"class_name": "TimeDistributed", "config": {"layer": entry, "trainable": True}}, inner.weights)


def embedding(vocabulary: int, features: int, rng: np.random.Generator, mask_zero: bool = False) -> Layer:
    """Embedding with random weights."""
    config = {"input_dim": vocabulary, "output_dim": features, "mask_zero": mask_zero, "input_length": None, "trainable": True}
    return Layer({"class_name": "Embedding", "config": config}, [random(rng, vocabulary, features, scale=0.7)])


def masking(value: float = 0.0) -> Layer:
    """Masking with a value."""
    return Layer({"class_name": "Masking", "config": {"mask_value": value, "trainable": True}}, [])


def dropout(rate: float = 0.5) -> Layer:
    """Dropout, which does nothing at inference."""
    return Layer({"class_name": "Dropout", "config": {"rate": rate, "noise_shape": None, "seed": None, "trainable": True}}, [])
