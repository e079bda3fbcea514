"""Masks that a caller gives with a model's inputs: how far they go as they do in the Keras that saved the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..catalogue import MAKING, MaskRule
from .base import Layer, every_layer
from .network import Network

OWN, GIVEN = "own", "given"
#: Where the mask of a tensor comes from.
Origin = frozenset[str]
NONE: Origin = frozenset()
MEETS = "a mask that the caller gives meets there one that stands in the file, which Keras prefers"
TAKES = "it takes off the masks that the caller gives, while the file tells who reads those of the layers"
INSTEAD = "let a layer Masking make the mask, or have the masked model saved with it as an input"


def check_masks(network: Network, given: Sequence[bool]) -> None:
    """Refuse masks for some of the inputs where Keras 3 has written masks into the file that would go before them.

    Raises
    ------
    UnsupportedError
        That names the layer where they would meet.
    """
    if network.rules.merge_mask == "and":  # no Keras 3
        return
    for layer in every_layer(network):
        if layer.row.takes_masks and network.rules.attention_takes_masks:
            raise layer.unsupported(f"{TAKES}: {INSTEAD}")
    network.walk([frozenset({GIVEN}) if one else NONE for one in given], visit, fixed)


def fixed(array: np.ndarray) -> Origin:
    """A tensor that stands in the file carries none."""
    return NONE


class Several(Sequence[Origin]):
    """The same origin for any number of outputs."""

    def __init__(self, origin: Origin):
        self.origin = origin

    def __len__(self) -> int:
        return 1 << 30

    def __getitem__(self, number: Any) -> Any:
        return [self.origin] if isinstance(number, slice) else self.origin


def visit(layer: Layer, inputs: Sequence[Origin], words: Mapping[str, Any]) -> Sequence[Origin]:
    """Where the mask of a layer's outputs may come from."""
    if isinstance(layer, Network):
        return layer.walk(inputs, visit, fixed)
    if layer.row.mask in MAKING:
        return Several(frozenset({OWN}) if layer.makes_mask else NONE)
    found = frozenset({OWN}) if "mask" in words else NONE.union(*inputs)
    if layer.row.mask is MaskRule.JOINS and found == {OWN, GIVEN}:
        raise layer.unsupported(f"{MEETS}: {INSTEAD}")
    return Several(NONE if layer.row.mask is MaskRule.NONE else found)
