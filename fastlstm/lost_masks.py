"""Who would read a mask that a tensor had, if it had one: for tensors that become inputs, which have none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from .catalogue import MAKING, MaskRule, Role, row_of
from .spec import LayerSpec, ModelSpec, Ref


def readers(model: ModelSpec, masked: Collection[int]) -> list[str]:
    """The layers whose numbers could be others if some inputs, by number, had masks. A layer too many may be named, but none too few."""
    return Masked(model, masked).readers


class Masked:
    """Follows masks through a graph.

    Attributes
    ----------
    readers : list of str
        The layers that read them.
    outputs : list of bool
        Which outputs may have one.
    """

    def __init__(self, model: ModelSpec, masked: Collection[int], path: str = ""):
        self.readers: list[str] = []
        self._path = path
        self._masked = {model.inputs[number] for number in masked}
        for number, call in enumerate(model.calls):
            given = [ref in self._masked for ref in call.inputs]
            if any(given):
                found = self._met(model.layers[call.layer], given, "training" in call.keywords)
                self._masked.update(Ref(number, output) for output, has in enumerate(found) if has)
        self.outputs = [ref in self._masked for ref in model.outputs]

    def _met(self, layer: LayerSpec, given: Sequence[bool], training: bool) -> Sequence[bool]:
        """Which outputs of a layer may have the mask of its input, or one made of that."""
        if layer.model is not None:
            masked = [number for number, has in enumerate(given) if has and number < len(layer.model.inputs)]
            inner = Masked(layer.model, masked, f"{self._path}{layer.name}/")
            self.readers += inner.readers
            return inner.outputs
        if reads(layer, training):
            self.readers.append(self._path + layer.name)
        return [hands_on(layer, given)]


def reads(layer: LayerSpec, training: bool) -> bool:
    """Does a layer compute something else where its input has a mask? One that nobody knows may."""
    row = row_of(layer.class_name)
    if row.mask in (MaskRule.UNITES, MaskRule.JOINS) or (row.role is Role.NORMALIZATION and not training):
        return False
    return row.mask_argument or row.asks_masks or row.takes_states or not row.computed


def hands_on(layer: LayerSpec, given: Sequence[bool]) -> bool:
    """May the (first) output of a layer have a mask because inputs have?"""
    rule = row_of(layer.class_name).mask
    if rule is MaskRule.SEQUENCES:
        return given[0] and any(one.config.get("return_sequences", False) for one in (layer, *inside(layer)))
    if rule in (MaskRule.UNITES, MaskRule.JOINS):
        return True
    return given[0] and rule is not MaskRule.NONE and rule not in MAKING


def inside(layer: LayerSpec) -> Iterator[LayerSpec]:
    """The layers that one wraps."""
    for child in layer.children:
        yield child
        yield from inside(child)
