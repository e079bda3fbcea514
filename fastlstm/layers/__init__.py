"""The meaning of every Keras layer: one file a family, one class a layer, found by the registry."""

# ruff: noqa: F401 (families are imported so that their classes enter the registry)

from __future__ import annotations

from . import (
    advanced_activations,
    attention,
    cells,
    concatenate,
    conv_recurrent,
    convolution,
    core,
    einsum,
    heads,
    legacy,
    merging,
    network,
    normalization,
    operations,
    pooling,
    preprocessing,
    recurrent,
    reshaping,
    wrappers,
)
from .base import REGISTRY, Context, Layer, States, Tensor
from .matching import prepared
from .network import Network, root
from .registry import make_layer

__all__ = ["REGISTRY", "Context", "Layer", "Network", "States", "Tensor", "make_layer", "prepared", "root"]
