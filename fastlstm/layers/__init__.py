"""What every Keras layer means: one file a family, one class a layer, found by the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import InputError
from ..limits import Budget
from ..spec import LayerSpec, ModelSpec
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
from .custom import Custom, Unknown
from .network import Network, root

__all__ = ["REGISTRY", "Context", "Layer", "Network", "States", "Tensor", "build", "prepared", "root"]

#: Every file of this package that defines layers.
FAMILIES = (
    advanced_activations, attention, cells, conv_recurrent, convolution, core, einsum, legacy, merging, network, normalization, pooling,
    preprocessing, recurrent, reshaping, wrappers,
)  # fmt: skip


def build(spec: LayerSpec, context: Context) -> Layer:
    """The layer of a spec: the caller's own where ``custom_layers`` has one for its place, else the registry's.

    A class that neither has becomes a placeholder and a problem of the context.
    """
    own = context.custom_layers.get(context.path + spec.name)
    if own is not None:
        return Custom(spec, context, own)
    if spec.class_name in REGISTRY:
        return REGISTRY[spec.class_name](spec, context)
    return Unknown(spec, context)


def prepared(
    model: ModelSpec, source: str, custom_layers: Mapping[str, Callable[..., Any]] | None = None,
    custom_activations: Mapping[str, Callable[..., Any]] | None = None, budget: Budget | None = None,
) -> Context:  # fmt: skip
    """What the layers of a model are built with.

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
