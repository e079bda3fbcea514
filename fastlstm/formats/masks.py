"""Keras 3 writes the masks that it made itself into a functional graph: as operation nodes and as ``mask`` arguments.

Those say nothing that the layers do not: they are recognised and left out. A mask that is anything else stays in the graph.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .draft import LayerDraft
from .nodes import Node, Tensor, tensors_in
from .vocabulary import OPERATION, RECURRENT

#: Operations that Keras 3 computes masks by.
MASK_OPERATIONS = frozenset(OPERATION + name for name in (
    "NotEqual", "Any", "All", "LogicalOr", "LogicalAnd", "ExpandDims", "Squeeze", "OnesLike", "ZerosLike", "ConvertToTensor", "Cast",
    "Concatenate", "BroadcastTo",
))  # fmt: skip
#: Layers that hand on the masks of their inputs.
PASSING = frozenset({
    "Dense", "EinsumDense", "Activation", "Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
    "ActivityRegularization", "BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization", "RMSNormalization",
    "LeakyReLU", "PReLU", "ELU", "ReLU", "Softmax", "TimeDistributed", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum",
    "Concatenate", "Identity",
})  # fmt: skip
#: Layers that hand on the mask of their first input.
PASSING_FIRST = frozenset({"Attention", "AdditiveAttention", "MultiHeadAttention"})

#: The inputs of attention layers, in order.
ATTENTION_INPUTS = ("query", "value", "key")

#: What a mask comes from: a tensor, the value that counts as masked in it, and how its features become steps: "any" of them is another
#: (so does Masking), "all" of them are, or it is not said: the tensor holds ids, each a step.
Leaves = frozenset[tuple[Tensor, float, str]]


def drop_own_masks(layers: list[LayerDraft], nodes: list[Node], inputs: list[Tensor], outputs: list[Tensor]) -> list[Node]:
    """The nodes without the masks that follow from the layers anyhow, and without the operations that only made them."""
    if not any(layers[node.layer].class_name == OPERATION + "NotEqual" for node in nodes):
        return nodes
    index = {(layers[node.layer].name, node.number): node for node in nodes}
    explicit = Tracer(layers, index, written=True)
    implied = Tracer(layers, index, written=False)
    for node in nodes:
        recurrent = layers[node.layer].class_name in RECURRENT | {"Bidirectional"}
        if recurrent and (len(node.inputs) > 1 or node.keywords.get("initial_state") is not None):
            continue  # Keras 3 never fills in a mask there: this one is the user's
        for key in [key for key in node.keywords if key.endswith("mask")]:
            found = explicit.all(tensors_in(node.keywords[key]))
            if found and agree(found, implied.all(masked_by(key, node))):
                del node.keywords[key]
    return reachable(layers, nodes, index, [*inputs, *outputs])


def agree(found: Leaves, implied: Leaves | None) -> bool:
    """Whether a mask that is written is the one that follows from the layers."""
    if implied is None or {leaf[:2] for leaf in found} != {leaf[:2] for leaf in implied}:
        return False
    return not any(how == "all" and (tensor, value, "any") in implied for tensor, value, how in found)


def masked_by(key: str, node: Node) -> list[Tensor]:
    """The inputs that a mask argument is for: ``query_mask`` for the query, ``mask`` for all."""
    name = key.removesuffix("_mask")
    if name not in ATTENTION_INPUTS:
        return list(tensors_in(node.inputs))
    place = ATTENTION_INPUTS.index(name)
    return list(tensors_in(node.keywords[name] if name in node.keywords else node.inputs[place : place + 1]))


def reachable(layers: list[LayerDraft], nodes: list[Node], index: dict[tuple[str, int], Node], wanted: list[Tensor]) -> list[Node]:
    """The nodes less the mask operations that nothing needs."""
    needed: set[tuple[str, int]] = set()
    stack = list(wanted)
    while stack:
        tensor = stack.pop()
        place = (tensor.layer, tensor.node)
        if place not in needed and place in index:
            needed.add(place)
            stack += index[place].tensors()
    return [
        node for node in nodes
        if (layers[node.layer].name, node.number) in needed or layers[node.layer].class_name not in MASK_OPERATIONS
    ]  # fmt: skip


class Tracer:
    """Finds what masks come from: written ones through the operations that compute them, implied ones through the layers."""

    def __init__(self, layers: list[LayerDraft], index: dict[tuple[str, int], Node], *, written: bool):
        self.layers = layers
        self.index = index
        self.rule = self.written if written else self.implied
        self.known: dict[tuple[str, int], Leaves | None] = {}

    def all(self, tensors: Iterable[Tensor]) -> Leaves | None:
        """The leaves of several tensors together; None where one of them is no mask."""
        found: Leaves = frozenset()
        for tensor in tensors:
            leaves = self.leaves(tensor)
            if leaves is None:
                return None
            found |= leaves
        return found

    def leaves(self, tensor: Tensor) -> Leaves | None:
        """The leaves of one tensor, found without recursion: graphs may be deep."""
        stack, entered = [(tensor.layer, tensor.node)], set()
        while stack:
            place = stack[-1]
            node = self.index.get(place)
            if node is None or place in self.known:
                self.known.setdefault(place, None)
                stack.pop()
            elif place in entered:
                self.known[place] = self.rule(self.layers[node.layer], node)
                stack.pop()
            else:
                entered.add(place)
                stack += [(t.layer, t.node) for t in tensors_in(node.inputs) if (t.layer, t.node) not in entered]
        return self.known[(tensor.layer, tensor.node)]

    def together(self, node: Node, count: int | None = None) -> Leaves | None:
        """The leaves of a node's inputs, whose own are known by now."""
        found: Leaves = frozenset()
        for tensor in node.inputs[:count]:
            leaves = self.known.get((tensor.layer, tensor.node)) if isinstance(tensor, Tensor) else None
            if leaves is None:
                return None
            found |= leaves
        return found

    def written(self, layer: LayerDraft, node: Node) -> Leaves | None:
        """Leaves of a mask computed by operations."""
        if layer.class_name == OPERATION + "NotEqual":
            value = node.others[0] if len(node.inputs) == 1 and len(node.others) == 1 else None
            masked = node.inputs[0] if node.inputs else None
            return frozenset({(masked, number(value), "")}) if isinstance(value, (int, float)) and isinstance(masked, Tensor) else None
        if layer.class_name in (OPERATION + "OnesLike", OPERATION + "ZerosLike"):
            return frozenset()
        found = self.together(node) if layer.class_name in MASK_OPERATIONS else None
        how = {OPERATION + "Any": "any", OPERATION + "All": "all"}.get(layer.class_name)
        return frozenset((tensor, value, before or how) for tensor, value, before in found) if found and how else found

    def implied(self, layer: LayerDraft, node: Node) -> Leaves | None:
        """Leaves of the mask that a layer's output carries."""
        config: dict[str, Any] = layer.config
        read = node.inputs[0] if node.inputs else None
        if layer.class_name == "Masking" and isinstance(read, Tensor):
            return frozenset({(read, number(config.get("mask_value", 0.0)), "any")})
        if layer.class_name == "Embedding" and config.get("mask_zero") and isinstance(read, Tensor):
            return frozenset({(read, 0.0, "")})
        inner = layer.children[0].config if layer.class_name == "Bidirectional" else config
        if layer.class_name in RECURRENT | {"Bidirectional"}:
            return self.together(node, 1) if inner.get("return_sequences") else frozenset()
        if layer.class_name in PASSING_FIRST:
            return self.together(node, 1)
        return self.together(node) if layer.class_name in PASSING else frozenset()


def number(value: Any) -> float:
    """A constant as a float; NaN where it is none, which equals nothing."""
    return float(value) if isinstance(value, (int, float)) else float("nan")
