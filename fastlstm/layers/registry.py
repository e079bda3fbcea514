"""From a layer's spec to the layer: the one door by which layers, and what they wrap, are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import lazy
from ..catalogue import INPUT_LAYER
from ..spec import LayerSpec
from .base import Context, Layer
from .classes import REGISTRY

if TYPE_CHECKING:
    from . import custom, custom_cells
else:
    custom, custom_cells = lazy.module("fastlstm.layers.custom"), lazy.module("fastlstm.layers.custom_cells")


def make_layer(spec: LayerSpec, context: Context) -> Layer:
    """The layer of a spec: the caller's own where ``custom_layers`` has one for its place, else the registry's.

    A class that neither has becomes a placeholder and a problem of the context.
    """
    path = context.path + spec.name
    own, place = context.custom_layers.get(path), context.places.get(path)
    if own is not None and spec.class_name != INPUT_LAYER:  # which may have the name of the layer whose output enters there
        return (custom_cells.CustomCell if place is not None and place.cell else custom.Custom)(spec, context, own)
    if spec.class_name != INPUT_LAYER:
        context.lack("custom_layers", path)
    if spec.class_name in REGISTRY:
        return REGISTRY[spec.class_name](spec, context)
    return custom.Unknown(spec, context)
