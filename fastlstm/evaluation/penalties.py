"""What Keras adds to a loss for large weights: regularisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..spec import LayerSpec, ModelSpec

#: What stands for a penalty of what a layer gives: see ``activities``.
ACTIVITY = "activity"


def penalties(model: ModelSpec, source: str) -> float:
    """The sum of all penalties of a model's weights, each layer's once.

    Raises
    ------
    InputError
        If there is one that is not known here, or the model has losses and metrics of its own.
    """
    found = [*names_of_added(model, "")]
    if found:
        raise InputError(
            f"loss: {source} has losses or metrics that add_loss and add_metric gave it ({', '.join(found[:3])}), which are not computed; "
            "pass penalties=False to leave out all that layers add"
        )
    return float(sum(of_layer(layer, path) for layer, path in layers(model.layers, "")))


def names_of_added(model: ModelSpec, prefix: str) -> Iterator[str]:
    """The paths of layers that add losses and metrics."""
    yield from (prefix + name for name in model.added)
    for layer in model.layers:
        if layer.model is not None:
            yield from names_of_added(layer.model, f"{prefix}{layer.name}/")


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
        if argument == ACTIVITY:
            continue
        place = place_of(layer, path, argument)
        number = rule.get("array")
        if not isinstance(number, int) or not 0 <= number < len(layer.weights):
            raise InputError(f"loss: {place}: it is not known here; pass penalties=False to leave it out")
        total += of_array(layer.weights[number].astype(np.float64), rule, place)
    return total


def of_array(array: np.ndarray, rule: Mapping[str, Any], place: str) -> float:
    """A factor times the sum of magnitudes, and one times that of squares."""
    l1, l2 = factors_of(rule, place)
    return float(l1 * np.abs(array).sum() + l2 * np.square(array).sum())


def place_of(layer: LayerSpec, path: str, argument: str) -> str:
    """Where a penalty stands, for messages."""
    return f"layer {path!r} ({layer.class_name}): {argument}"


def factors_of(rule: Mapping[str, Any], place: str) -> tuple[float, float]:
    """The factors of magnitudes and of squares."""
    l1, l2 = rule.get("l1", 0.0), rule.get("l2", 0.0)
    if "name" in rule or not all(isinstance(one, (int, float)) for one in (l1, l2)):
        raise InputError(f"loss: {place}: {str(rule.get('name'))[:60]} is not known here; pass penalties=False to leave it out")
    return l1, l2
