"""Gives the layers of a model their arrays from a checkpoint, by its graph of objects: a layer's kernel is what it has as ``kernel``.

A model has its layers as ``layer-0``, ``layer-1``, ... in the order of its config; a wrapper and a layer that runs a cell have what is
inside by the names that the catalogue's rows have for ``.keras`` files too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ...catalogue import SEQUENTIAL, Role
from ...errors import FormatError, Problem
from ...kept_arrays import Weight
from ...logs import outside
from .bundle import Bundle
from .draft import LayerDraft, ModelDraft
from .objectgraph import TABLE, VARIABLE, Node, below, numbered, preview
from .weights import UNBUILT, has_weights, known_weights

LAYER = "layer-{}"
CELLS, VARIABLES, STATE = "cells", "variables", "state_variables"
#: Where a stateful layer's states are, in SavedModels below what Keras adds.
KERAS_API, STATES = "keras_api", "states"
#: What is passed over below a layer: what training uses, what SavedModels add, and states.
PASSED_OVER = frozenset({
    "keras_api", "optimizer", "variables", "trainable_variables", "non_trainable_variables", "signatures", "_metrics", "states",
    "_random_generator", "random_generator", "seed_generator",
})  # fmt: skip
#: A lookup layer, its node: gives it what its tables hold.
Lookup = Callable[[LayerDraft, int], None]


def is_model(nodes: Sequence[Node], number: int) -> bool:
    """Whether an object is a model of layers."""
    return LAYER.format(0) in nodes[number].children


class Filler:
    """Walks a model and a checkpoint's graph together.

    Parameters
    ----------
    nodes
        The checkpoint's graph.
    bundle
        Its arrays.
    lookup
        What fills lookup layers.
    """

    def __init__(self, nodes: list[Node], bundle: Bundle, lookup: Lookup):
        self.nodes, self.bundle, self.lookup = nodes, bundle, lookup
        self.source = bundle.source
        self.taken: set[str] = set()
        self.found = False  # has any layer got an array?
        self.missing: list[str] = []  # what lacks all its arrays

    def fill(self, model: ModelDraft, number: int) -> None:
        """Give every layer of a model its arrays; ``number``: the model's node."""
        self.model(model, number)
        if self.missing and not self.found:
            model.problems.append(UNBUILT)
        elif self.missing:
            raise FormatError(self.missing[0])
        else:
            model.problems += self.left_over(model, number)

    def model(self, model: ModelDraft, number: int) -> None:
        """Fill the layers of a model."""
        children = self.nodes[number].children
        count = next(count for count in range(len(children) + 1) if LAYER.format(count) not in children)
        listed = model.listed
        if model.class_name == SEQUENTIAL and count == len(listed) - 1:
            listed = listed[1:]  # the InputLayer, which a Sequential model does not count
        by_name = {layer.name: layer for layer in model.layers}
        extra = [by_name[name] for name in listed[count:] if name in by_name]  # add_loss() adds layers that are in no checkpoint
        if count > len(listed) or not count or any(has_weights(layer, self.source) is not False for layer in extra):
            raise FormatError(
                f"{self.source}: model {model.name!r} has {count} layers in the checkpoint, {len(listed)} in its config: "
                f"{', '.join(listed[:8])}{', ...' if len(listed) > 8 else ''}"
            )
        places = {name: children[LAYER.format(place)] for place, name in enumerate(listed[:count])}
        for layer in model.layers:
            if layer.name in places:
                self.layer(layer, places[layer.name])

    def layer(self, layer: LayerDraft, number: int) -> None:
        """Fill a layer, and what it wraps."""
        if layer.config.get("stateful"):
            self.begun(layer, number)
        if layer.model is not None:
            self.model(layer.model, number)
        elif layer.row.role is Role.LOOKUP:
            self.lookup(layer, number)
            self.pass_over(number)
        elif layer.row.role is Role.CATEGORIES:
            self.pass_over(number)
        elif layer.row.role is Role.STACK:
            cells = numbered(self.nodes, self.child(layer, number, CELLS))
            if len(cells) != len(layer.children):
                raise self.error(layer, f"{len(cells)} cells in the checkpoint, {len(layer.children)} in its config")
            for cell, place in zip(layer.children, cells, strict=True):
                self.layer(cell, place)
        elif layer.children:
            for child, name in zip(layer.children, layer.row.wraps, strict=True):
                self.layer(child, self.child(layer, number, name))
            if expected := known_weights(layer, self.source):
                layer.weights = self.arrays(layer, number, expected)
        else:
            self.leaf(layer, number)

    def pass_over(self, number: int) -> None:
        """Leave alone what a layer of text or categories has counted while it was adapted."""
        self.taken.update(key for _, child in self.below(number, set()) for key in self.nodes[child].arrays.values())

    def begun(self, layer: LayerDraft, number: int) -> None:
        """Warn of a stateful layer that was saved in the middle of a sequence: Keras would go on with its states."""
        children = self.nodes[number].children
        children = self.nodes[children[KERAS_API]].children if KERAS_API in children else children
        if STATES in children:
            keys = [self.nodes[child].arrays.get(VARIABLE, "") for child in numbered(self.nodes, children[STATES])]
            if any(key and self.bundle.array(key).any() for key in keys):
                warnings.warn(
                    f"{self.source}: layer {layer.path!r} ({layer.class_name}) was saved with states other than zero, with which "
                    "Keras goes on when it loads the model. Here it begins from zeros, as after model.reset_states() in Keras.",
                    stacklevel=outside(),
                )

    def leaf(self, layer: LayerDraft, number: int) -> None:
        """Fill a layer that keeps arrays itself."""
        expected = known_weights(layer, self.source)
        if expected is None:
            layer.weights = tuple(self.array(key) for key in self.unknown(layer, number))
        elif expected:
            layer.weights = self.arrays(layer, number, expected)

    def arrays(self, layer: LayerDraft, number: int, expected: Sequence[Weight]) -> tuple[np.ndarray, ...]:
        """The arrays of a layer, by their names."""
        names = list(dict.fromkeys(weight.name.rsplit("/", 1)[-1] for weight in expected))
        keys: list[str] = []
        for alternatives in layer.row.parts or ((),):
            children = self.nodes[number].children
            part = next((children[name] for name in alternatives if name in children), number)
            keys += [key for name in names if (key := self.key(part, name))]
        self.found |= bool(keys)
        if len(keys) != len(expected):
            kept = ", ".join(weight.name for weight in expected)
            there = preview(self.nodes[number])
            self.missing.append(
                str(self.error(layer, f"expected {len(expected)} arrays ({kept}), found {len(keys)} in the checkpoint ({there})"))
            )
            return ()
        return tuple(self.array(key) for key in keys)

    def key(self, number: int, name: str) -> str:
        """Where the variable is that an object has by a name; empty if it has none."""
        children = self.nodes[number].children
        if name not in children and STATE in children:  # Normalization up to TensorFlow 2.5
            children = self.nodes[children[STATE]].children
        return self.nodes[children[name]].arrays.get(VARIABLE, "") if name in children else ""

    def array(self, key: str) -> np.ndarray:
        """An array by its key."""
        self.taken.add(key)
        return self.bundle.array(key)

    def unknown(self, layer: LayerDraft, number: int) -> list[str]:
        """The arrays of a layer of a class that nobody knows, in Keras's order where the file tells it."""
        children = self.nodes[number].children
        if VARIABLES in children:
            listed = (self.nodes[child].arrays.get(VARIABLE) for child in numbered(self.nodes, children[VARIABLES]))
            return [key for key in listed if key]
        found = {path: key for path, child in self.below(number, set()) if (key := self.nodes[child].arrays.get(VARIABLE))}
        if len(found) > 1:
            warnings.warn(
                f"{self.source}: layer {layer.path!r} ({layer.class_name}): a checkpoint does not say which arrays are trainable, by which "
                f"Keras orders them; its weights are given in the order in which the layer made them: {', '.join(found)}. Save the model "
                "as .h5 to have Keras's own order.",
                stacklevel=outside(),
            )
        return list(found.values())

    def child(self, layer: LayerDraft, number: int, name: str) -> int:
        """What a layer has by a name."""
        children = self.nodes[number].children
        if name not in children:
            raise self.error(layer, f"the checkpoint has no {name!r} of it, only {preview(self.nodes[number])}")
        return children[name]

    def error(self, layer: LayerDraft, what: str) -> FormatError:
        """An error about a layer."""
        return FormatError(f"{self.source}: layer {layer.path!r} ({layer.class_name}): {what}")

    def left_over(self, model: ModelDraft, number: int) -> list[Problem]:
        """The problem if there are arrays below a layer that no layer has taken."""
        rest: list[str] = []
        seen: set[int] = set()
        for place in range(len(model.listed)):
            child = self.nodes[number].children.get(LAYER.format(place))
            if child is not None:
                rest += [f"{LAYER.format(place)}/{path}" for path, inner in self.below(child, seen) if not self.known(inner)]
        if not rest:
            return []
        more = f" and {len(rest) - 1} more" if len(rest) > 1 else ""
        return [Problem("", "", f"the array {rest[0]}{more} in the checkpoint belongs to no layer of the model", "please report the file")]

    def below(self, number: int, seen: set[int]) -> Iterator[tuple[str, int]]:
        """The objects below one, but for what is passed over."""
        return below(self.nodes, number, self.bundle.budget, PASSED_OVER, seen)

    def known(self, number: int) -> bool:
        """Whether an object has no array of its own, or a layer has taken it."""
        arrays = self.nodes[number].arrays
        return VARIABLE not in arrays or arrays[VARIABLE] in self.taken or TABLE in arrays
