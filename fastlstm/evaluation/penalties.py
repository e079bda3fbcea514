"""What Keras adds to a loss for large weights: regularisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..spec import LayerSpec, ModelSpec


def penalties(model: ModelSpec) -> float:
    """The sum of all penalties of a model's weights, each layer's once.

    Raises
    ------
    InputError
        If there is one that is not known here, or that depends on the data.
    """
    return float(sum(of_layer(layer, path) for layer, path in layers(model.layers, "")))


def layers(found: tuple[LayerSpec, ...], prefix: str) -> Iterator[tuple[LayerSpec, str]]:
    """All layers with their paths."""
    for layer in found:
        path = prefix + layer.name
        yield layer, path
        yield from layers((*layer.children, *(layer.model.layers if layer.model is not None else ())), path + "/")


def of_layer(layer: LayerSpec, path: str) -> float:
    """Of one layer's weights."""
    total = 0.0
    for argument, rule in layer.penalties.items():
        place = f"layer {path!r} ({layer.class_name}): {argument}"
        if argument == "activity":
            raise InputError(f"loss: {place}: what depends on activations is not computed; pass penalties=False to leave all of it out")
        number = rule.get("array")
        if not isinstance(number, int) or not 0 <= number < len(layer.weights):
            raise InputError(f"loss: {place}: it is not known here; pass penalties=False to leave it out")
        total += of_array(layer.weights[number].astype(np.float64), rule, place)
    return total


def of_array(array: np.ndarray, rule: Mapping[str, Any], place: str) -> float:
    """A factor times the sum of magnitudes, and one times that of squares."""
    l1, l2 = rule.get("l1", 0.0), rule.get("l2", 0.0)
    if "name" in rule or not all(isinstance(one, (int, float)) for one in (l1, l2)):
        raise InputError(f"loss: {place}: {str(rule.get('name'))[:60]} is not known here; pass penalties=False to leave it out")
    return float(l1 * np.abs(array).sum() + l2 * np.square(array).sum())
