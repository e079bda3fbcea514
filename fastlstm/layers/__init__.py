"""What every Keras layer means: one file a family, one class a layer, found by the registry."""

from __future__ import annotations

from ..spec import LayerSpec
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
    wrappers,
)
from .base import REGISTRY, Context, Layer, States, Tensor
from .custom import Custom, Unknown
from .network import Network, root

__all__ = ["REGISTRY", "Context", "Layer", "Network", "States", "Tensor", "build", "root"]

#: Every file of this package that defines layers.
FAMILIES = (
    advanced_activations, attention, cells, conv_recurrent, convolution, core, einsum, legacy, merging, network, normalization, pooling,
    preprocessing, recurrent, reshaping, wrappers,
)  # fmt: skip


def build(spec: LayerSpec, context: Context) -> Layer:
    """The layer of a spec: the caller's own where ``custom_layers`` has its name or class, else the registry's.

    A class that neither has becomes a placeholder and a problem of the context.
    """
    class_name = spec.class_name.rsplit(">", 1)[-1]  # "my_package>MyLayer", as Keras registers custom classes
    for name in (spec.name, class_name, spec.class_name):
        if name in context.custom_layers:
            return Custom(spec, context, context.custom_layers[name])
    if spec.class_name in REGISTRY:
        return REGISTRY[spec.class_name](spec, context)
    return Unknown(spec, context)
