"""Keras 3 writes the masks that it made itself into a functional graph: as operation nodes and as ``mask`` arguments.

They say nothing that the layers do not say themselves, so they are recognised and left out. Any other mask stays in the graph.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import Any

from ...catalogue import ATTENTION_INPUTS, MAKING, MaskRule, Role
from ...spec import Fixed
from .draft import LayerDraft, ModelDraft
from .nodes import Node, Tensor, tensors_in

#: Operations that Keras 3 computes masks by.
NOT_EQUAL, CONCATENATE = "Operation>NotEqual", "Operation>Concatenate"
REDUCING = {"Operation>Any": "any", "Operation>All": "all"}
UNITING = {"Operation>LogicalOr": "or", "Operation>LogicalAnd": "and"}
FILLING = {"Operation>OnesLike": "ones", "Operation>ZerosLike": "zeros"}
#: ... of them those that give the mask that they are given, with other axes or as another dtype.
SAME = frozenset({"Operation>ExpandDims", "Operation>Squeeze", "Operation>ConvertToTensor", "Operation>Cast", "Operation>BroadcastTo"})
MASK_OPERATIONS = SAME.union({NOT_EQUAL, CONCATENATE}, REDUCING, UNITING, FILLING)

#: A mask by how it is computed, its parts by number: ("steps", "any" or "all", tensor, value) where a step is there if any of its
#: features, or all, are another than the value ("", where each number of the tensor is a step); ("or", numbers), ("and", numbers);
#: ("joined", numbers in order, "any" or "all"); ("ones",); ("zeros",).
Form = tuple[Any, ...]
#: The numbers of the absence of a mask, and of a mask that is not understood.
MASKLESS = 0
UNKNOWN = -1


def drop_own_masks(layers: list[LayerDraft], nodes: list[Node], inputs: list[Tensor], outputs: list[Tensor]) -> list[Node]:
    """Return the nodes without the masks that follow from the layers in any case, and without the operations that only made those."""
    if not any(layers[node.layer].class_name == NOT_EQUAL for node in nodes):
        return nodes
    index = {(layers[node.layer].name, node.number): node for node in nodes}
    forms = Forms()
    explicit = Tracer(layers, index, forms, written=True)
    implied = Tracer(layers, index, forms, written=False)
    for node in nodes:
        if layers[node.layer].row.takes_states and (len(node.inputs) > 1 or node.keywords.get("initial_state") is not None):
            continue  # Keras 3 never fills in a mask there: this one is the user's
        for key in [key for key in node.keywords if key == "mask" or key.removesuffix("_mask") in ATTENTION_INPUTS]:
            value = node.keywords[key]
            found = [explicit.mask(one) for one in (value if isinstance(value, list) else [value])]
            if any(found) and UNKNOWN not in found and found == [implied.mask(one) for one in masked_by(key, node)]:
                del node.keywords[key]
    return reachable(layers, nodes, index, [*inputs, *outputs])


def masked_by(key: str, node: Node) -> list[Tensor | Fixed]:
    """The inputs that a mask argument is for: ``query_mask`` for the query, ``mask`` for all."""
    name = key.removesuffix("_mask")
    if name not in ATTENTION_INPUTS:
        return node.inputs
    place = ATTENTION_INPUTS.index(name)
    return [node.keywords[name]] if name in node.keywords else node.inputs[place : place + 1]


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


class Forms:
    """Numbers for masks: masks that are computed in the same way have the same number, however deep they are."""

    def __init__(self) -> None:
        self.numbers: dict[Form, int] = {}
        self.all: list[Form] = [()]

    def number(self, *form: Any) -> int:
        """The number of a form; UNKNOWN if a part of it is."""
        kind, *parts = form
        if kind in ("or", "and"):
            wanted = frozenset(parts)
            if UNKNOWN in wanted or len(wanted) == 1:
                return min(wanted)
            form = (kind, wanted)
        found = self.numbers.setdefault(form, len(self.all))
        if found == len(self.all):
            self.all.append(form)
        return found

    def joined(self, parts: list[int], how: str = "") -> int:
        """The number of masks that are concatenated, and then reduced along the last axis if ``how`` says so."""
        return UNKNOWN if UNKNOWN in parts else self.number("joined", tuple(parts), how)


class Tracer:
    """Traces masks to their origin: written ones through the operations that compute them, implied ones through the layers."""

    def __init__(self, layers: list[LayerDraft], index: dict[tuple[str, int], Node], forms: Forms, *, written: bool):
        self.layers = layers
        self.index = index
        self.forms = forms
        self.is_written = written
        self.rule = self.written if written else self.implied
        self.known: dict[tuple[str, int], int] = {}

    def mask(self, tensor: Any) -> int:
        """The number of the mask that a tensor is, or has. Found without recursion: graphs may be deep."""
        if not isinstance(tensor, Tensor):
            return self.given(tensor)
        stack, entered = [(tensor.layer, tensor.node)], set()
        while stack:
            place = stack[-1]
            node = self.index.get(place)
            if node is None or place in self.known:
                self.known.setdefault(place, UNKNOWN)
                stack.pop()
            elif place in entered:
                self.known[place] = self.rule(self.layers[node.layer], node)
                stack.pop()
            else:
                entered.add(place)
                stack += [(t.layer, t.node) for t in tensors_in(node.inputs) if (t.layer, t.node) not in entered]
        return self.known[(tensor.layer, tensor.node)]

    def given(self, tensor: Any) -> int:
        """The mask that an input is, or has; those of its own inputs are known by now. A tensor that stands in the file has none."""
        if isinstance(tensor, Tensor):
            return self.known.get((tensor.layer, tensor.node), UNKNOWN)
        if not self.is_written or tensor is None:
            return MASKLESS
        return self.forms.number("ones") if isinstance(tensor, Fixed) and tensor.array.all() else UNKNOWN

    def written(self, layer: LayerDraft, node: Node) -> int:
        """A mask computed by operations."""
        kind, forms = layer.class_name, self.forms
        parts = [self.given(tensor) for tensor in node.inputs]
        if kind == NOT_EQUAL:
            value = node.others[0] if len(node.inputs) == 1 and len(node.others) == 1 else None
            masked = node.inputs[0] if node.inputs else None
            known = isinstance(value, (int, float)) and isinstance(masked, Tensor)
            return forms.number("steps", "", masked, number(value)) if known else UNKNOWN
        if kind in FILLING:
            return forms.number(FILLING[kind])
        if UNITING.get(kind) == "or":
            parts = [part for part in parts if part != forms.number("zeros")] or parts  # added for its shape
        if kind in UNITING and parts:
            return forms.number(UNITING[kind], *parts)
        if kind == CONCATENATE and parts:
            return forms.joined(parts)
        if len(parts) != 1 or parts[0] == UNKNOWN:
            return UNKNOWN
        how, form = REDUCING.get(kind), forms.all[parts[0]]
        if how and form[0] == "steps":
            return forms.number("steps", form[1] or how, *form[2:])
        if how and form[0] == "joined" and not form[2]:
            return forms.number("joined", form[1], how)
        return parts[0] if kind in SAME else UNKNOWN

    def implied(self, layer: LayerDraft, node: Node) -> int:
        """The mask that a layer's output carries, by the rule of its class."""
        rule, forms = layer.row.mask, self.forms
        read = node.inputs[0] if node.inputs else None
        parts = [self.given(tensor) for tensor in node.inputs]
        first = parts[0] if parts else MASKLESS
        if layer.model is not None:
            # When Keras wrote the file, the output of a model had no mask; when Keras computes, it has the mask of the layers inside.
            return UNKNOWN if any(parts) or makes_masks(layer.model) else MASKLESS
        if rule in MAKING:
            return self.made(layer, read)
        if rule is MaskRule.UNITES:
            return MASKLESS if not parts or MASKLESS in parts else reduce(partial(forms.number, "or"), parts)
        if rule is MaskRule.JOINS:
            return forms.joined([part or forms.number("ones") for part in parts], "any") if any(parts) else MASKLESS
        if rule is MaskRule.SEQUENCES:
            inner = layer.children[0] if layer.row.role is Role.BIDIRECTIONAL else layer
            return first if inner.config.get("return_sequences") else MASKLESS
        return first if rule is MaskRule.PASSES else MASKLESS

    def made(self, layer: LayerDraft, read: Any) -> int:
        """The mask that a layer makes of the tensor that it reads."""
        if not isinstance(read, Tensor) or not layer.row.makes_mask(layer.config):
            return MASKLESS
        if layer.row.mask is MaskRule.OF_IDS:
            return self.forms.number("steps", "", read, 0.0)
        return self.forms.number("steps", "any", read, number(layer.config.get("mask_value", 0.0)))


def makes_masks(model: ModelDraft) -> bool:
    """Does a layer in a model, or in one that it holds, make a mask?"""
    inside = [inner for layer in model.layers for inner in (layer, *layer.children)]
    return any(layer.row.makes_mask(layer.config) or (layer.model is not None and makes_masks(layer.model)) for layer in inside)


def number(value: Any) -> float:
    """A constant as a float; NaN, which equals nothing, for anything else."""
    return float(value) if isinstance(value, (int, float)) else float("nan")
