"""Masks that MultiHeadAttention takes off the tensors that it reads, from Keras 3.8 on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..catalogue import MAKING, MaskRule, Row
from ..program.ir import Value
from ..spec import ModelSpec, Ref, Rules
from .base import Flow, Layer, Tensor, every_layer

#: Of masks that MultiHeadAttention has taken.
TAKEN = "a MultiHeadAttention has taken off, as Keras does from 3.8 on, which is not computed here"


class Graph(Protocol):
    """The part of a network that is looked at."""

    model: ModelSpec
    rules: Rules
    path: str

    @property
    def layers(self) -> Sequence[Layer]: ...
    def calls(self) -> Sequence[int]: ...


class TakenMasks:
    """Which masks are gone by the time of a call, as MultiHeadAttention has taken them off the tensors that it read before.

    Keras 3 takes the masks of most layers from the file, where they are as they were when the model was built; so here all keep theirs.
    Attention layers and merges ask the tensors themselves.

    Attributes
    ----------
    bare : dict
        By call: the inputs that it reads as if they had no mask.
    inputs : set of int
        The inputs of the network that lose theirs.
    outputs : tuple of str
        What has become of the outputs' masks: "" if nothing, "gone", "changed" where one of several that were joined is gone, or "lost"
        where it is gone and what stands in the file of it is not known here either.
    reads : bool
        Does any layer in it ask?
    """

    def __init__(self, network: Graph):
        self.bare: dict[int, tuple[int, ...]] = {}
        self.inputs: set[int] = set()
        self.outputs: tuple[str, ...] = ("",) * len(network.model.outputs)
        self.reads = False
        if not network.rules.attention_takes_masks:
            return
        became: dict[Any, str] = {}
        masked: set[Any] = set(network.model.inputs) if network.path else set()  # what may have a mask
        for number in network.calls():
            call = network.model.calls[number]
            layer, explicit = network.layers[call.layer], "mask" in call.keywords
            given = ["" if explicit else became.get(x, "") for x in call.inputs]
            inner = layer.taken
            if masked.intersection(call.inputs) or any(one.makes_mask for one in (layer, *every_layer(layer))):
                masked |= {Ref(number, n) for n in range(len(inner.outputs) if inner is not None else 1)}
            if inner is not None:
                self.reads |= inner.reads
                if any(given) and inner.reads:
                    layer.refuse(f"it is given a tensor whose mask {TAKEN}")
                became |= {Ref(number, n): what for n, what in enumerate(inner.outputs)}
                became |= {call.inputs[n]: "gone" for n in inner.inputs if call.inputs[n] in masked}
                continue
            row = layer.row
            if row.asks_masks:
                self.reads = True
                if "changed" in given:
                    layer.refuse(f"it is given a joined tensor, the mask of a part of which {TAKEN}")
                self.bare[number] = tuple(n for n, what in enumerate(given) if what)
            elif "lost" in given and row.mask_argument:
                layer.refuse(f"it is given a merged tensor, the mask of a part of which {TAKEN}")
            if not row.mask_argument and row.mask not in MAKING:  # else the mask stands in the file, or is made anew
                became[Ref(number)] = self._merged(row, given)
            if row.takes_masks:
                became |= dict.fromkeys(masked.intersection(call.inputs), "gone")
        self.inputs = {n for n, ref in enumerate(network.model.inputs) if became.get(ref)}
        self.outputs = tuple(became.get(ref, "") for ref in network.model.outputs)

    def _merged(self, row: Row, given: list[str]) -> str:
        """Say what has become of the mask of a layer's output."""
        if row.mask not in (MaskRule.UNITES, MaskRule.JOINS):
            return given[0] if given else ""
        if "lost" in given or not any(given):
            return "lost" if any(given) else ""
        if row.mask is MaskRule.JOINS:
            return "gone" if set(given) == {"gone"} else "changed"
        return "lost" if row.asks_masks else "gone" if "gone" in given else "changed"


def with_mask(found: Any, given: Any) -> Any:
    """The output for an input whose mask was gone, with the mask that the file has for it."""
    return found._replace(mask=given.mask) if isinstance(found, (Flow, Tensor, Value)) else found


def without_mask(given: Any) -> Any:
    """A Flow, a Tensor or a Value without its mask; shapes have none."""
    return given._replace(mask=None) if isinstance(given, (Flow, Tensor, Value)) else given
