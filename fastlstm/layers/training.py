"""What training would change."""

from __future__ import annotations

from typing import Any

from ..catalogue import Role, is_random
from ..errors import InputError
from .base import Layer, every_layer


def refuse_training(network: Layer, training: Any) -> None:
    """Refuse ``training=True`` where that would change what a layer computes."""
    for layer in every_layer(network):
        if is_random(layer.config) or layer.row.role is Role.NORMALIZATION:
            what = "random" if is_random(layer.config) else "depend on the batch"
            where = f"layer {layer.path!r} ({layer.spec.class_name})"
            raise InputError(f"training: expected False, as training makes {where} {what}, found {training!r:.60}")
