"""The meaning of every Keras layer: one file a family, one class a layer, found by the registry."""

# ruff: noqa: F401 (families are imported so that their classes enter the registry)

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InputError
from ..limits import Budget
from ..spec import ModelSpec
from . import (
    advanced_activations,
    attention,
    cells,
    conv_recurrent,
    convolution,
    core,
    einsum,
    legacy,
    merging,
    network,
    normalization,
    pooling,
    preprocessing,
    recurrent,
    reshaping,
    supplied,
    wrappers,
)
from .base import REGISTRY, Context, Layer, States, Tensor
from .network import Network, root
from .registry import make_layer

__all__ = ["REGISTRY", "Context", "Layer", "Network", "States", "Tensor", "make_layer", "prepared", "root"]


def prepared(
    model: ModelSpec, source: str, custom_layers: Mapping[str, Callable[..., Any]] | None = None,
    custom_activations: Mapping[str, Callable[..., Any]] | None = None, budget: Budget | None = None,
) -> Context:  # fmt: skip
    """What the layers of a model are made with.

    Raises
    ------
    InputError
        If the caller's functions have names that the model does not have, or that may mean several things in it.
    """
    found = list(supplied.places(model))
    used = list(supplied.uses(found))
    try:
        layers, functions = supplied.layers(found, custom_layers), supplied.functions_of(used, custom_activations)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return Context(
        source, model.rules, layers, functions, {place.path: place for place in found}, supplied.keys(used),
        budget=budget or Budget.unlimited(),
    )  # fmt: skip
