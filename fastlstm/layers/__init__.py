"""The meaning of every Keras layer: one file a family, one class a layer, found by the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import names

if TYPE_CHECKING:
    from .base import Context, Layer, States, Tensor
    from .classes import REGISTRY
    from .matching import prepared
    from .network import Network, root
    from .registry import make_layer

__getattr__, __dir__ = names(__name__, {
    "classes": ("REGISTRY",), "base": ("Context", "Layer", "States", "Tensor"), "matching": ("prepared",), "network": ("Network", "root"),
    "registry": ("make_layer",),
})  # fmt: skip

__all__ = ["REGISTRY", "Context", "Layer", "Network", "States", "Tensor", "make_layer", "prepared", "root"]
