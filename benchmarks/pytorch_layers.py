"""PyTorch's functions for layers of Keras without a state: ``make(torch, layer)`` gives what to call on a tensor, channels at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .engine import UnavailableError
from .keras_file import SavedLayer

Step = Callable[[Any], Any]


def make(torch: Any, layer: SavedLayer) -> Step:
    """What a layer does."""
    if layer.class_name not in LAYERS:
        raise UnavailableError(f"its adapter here does not know {layer.class_name}")
    return LAYERS[layer.class_name](torch, layer)


def activation(torch: Any, name: str) -> Step:
    known = {
        "linear": lambda y: y,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "softmax": lambda y: torch.softmax(y, -1),
    }
    if name not in known:
        raise UnavailableError(f"its adapter here does not know the activation {name}")
    return known[name]


def embedding(torch: Any, layer: SavedLayer) -> Step:
    table = torch.from_numpy(layer.weights[0])
    return lambda ids: torch.nn.functional.embedding(ids, table)


def dense(torch: Any, layer: SavedLayer) -> Step:
    weights, bias = torch.from_numpy(np.ascontiguousarray(layer.weights[0].T)), torch.from_numpy(layer.weights[1])
    after = activation(torch, layer.config["activation"])
    return lambda x: after(torch.nn.functional.linear(x, weights, bias))


def channels_first(function: Step) -> Step:
    """A function that wants channels after the rows. Tensors keep their order in memory, which PyTorch's convolutions know."""
    return lambda x: function(x.movedim(-1, 1)).movedim(1, -1)


def convolution(torch: Any, layer: SavedLayer) -> Step:
    """Without strides, dilation or groups."""
    rank = layer.weights[0].ndim - 2
    expected = {"strides": [1] * rank, "dilation_rate": [1] * rank, "groups": 1, "use_bias": True}
    found = {key: list(value) if isinstance(value := layer.config[key], tuple) else value for key in expected}
    if found != expected or layer.config["padding"] not in ("same", "valid"):
        raise UnavailableError(f"its adapter here knows only {layer.class_name} with {expected}")
    kernel = torch.from_numpy(np.ascontiguousarray(np.moveaxis(layer.weights[0], (-1, -2), (0, 1))))
    kernel = kernel.contiguous(memory_format=torch.channels_last) if rank == 2 else kernel
    bias, after = torch.from_numpy(layer.weights[1]), activation(torch, layer.config["activation"])
    convolve, padding = getattr(torch.nn.functional, f"conv{rank}d"), layer.config["padding"]
    return channels_first(lambda x: after(convolve(x, kernel, bias, padding=padding)))


def max_pooling(torch: Any, layer: SavedLayer) -> Step:
    """Of windows that lie side by side."""
    size, strides = ([*layer.config[key]] for key in ("pool_size", "strides"))
    if strides != size or layer.config["padding"] != "valid":
        raise UnavailableError(f"its adapter here knows only {layer.class_name} of windows that lie side by side, without padding")
    pool = getattr(torch.nn.functional, f"max_pool{len(size)}d")
    return channels_first(lambda x: pool(x, size))


def time_distributed(torch: Any, layer: SavedLayer) -> Step:
    inner = layer.config["layer"]
    step = make(torch, SavedLayer(inner["class_name"], inner["config"], layer.weights))
    return lambda x: step(x.flatten(0, 1)).unflatten(0, x.shape[:2])


LAYERS: dict[str, Callable[[Any, SavedLayer], Step]] = {
    "Conv1D": convolution,
    "Conv2D": convolution,
    "Conv3D": convolution,
    "Dense": dense,
    "Dropout": lambda torch, layer: lambda x: x,
    "Embedding": embedding,
    "Flatten": lambda torch, layer: lambda x: x.flatten(1),
    "MaxPooling1D": max_pooling,
    "MaxPooling2D": max_pooling,
    "Reshape": lambda torch, layer: lambda x: x.reshape(len(x), *layer.config["target_shape"]),
    "TimeDistributed": time_distributed,
}
