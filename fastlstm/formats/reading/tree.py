"""The layout of ``model.weights.h5``: a tree that follows the attributes of Keras's objects, in place of names.

``layers/lstm_1/cell/vars/0`` is the first array of the cell of the second LSTM: a model's layers are named by their class and
counted, whatever their names are.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ...catalogue import Role
from ...errors import FormatError, Problem
from ...limits import GROUP_DEPTH
from .draft import LayerDraft, ModelDraft
from .hdf5 import Group
from .quantisation import untold
from .weights import UNBUILT, known_weights

#: The groups that may hold a model's layers: in Keras 3 and late tf.keras, or in the first tf.keras that wrote this layout.
LAYERS = ("layers", "_layer_checkpoint_dependencies")
#: The file of a lookup layer's terms.
VOCABULARY = "vocabulary.txt"
#: ... and the layer in TextVectorization that keeps them.
LOOKUP = "_lookup_layer"
#: Objects in layers that keep the state of random number generators, which inference does not use.
GENERATORS = ("seed_generator", "random_generator")


def is_tree(group: Group) -> bool:
    """Whether a group holds weights in this layout; the older one lists its layers, one of which may be called "layers"."""
    if group.names("layer_names") is not None:
        return False
    return any(name in group for name in LAYERS) or any(key.startswith(("layers\\", LAYERS[1] + "\\")) for key in group.members())


def fill(model: ModelDraft, source: str, *roots: Group, asset: Callable[[str], bytes | None] = lambda name: None) -> None:
    """Give every layer of a model its arrays, from one tree or from several that are parts of one.

    ``asset`` reads a file that stands beside them, at the place of its layer in the tree; None where there is none.
    """
    filler = Filler(source, roots, asset)
    filler.model(model, "")
    model.problems += filler.left_over()


def snake_case(name: str) -> str:
    """The name that Keras gives to objects of a class."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def counted(layers: list[LayerDraft]) -> Iterator[tuple[LayerDraft, str]]:
    """Layers and their names in the tree: those of their classes, the second layer of a class with _1 appended."""
    used: dict[str, int] = {}
    for layer in layers:
        if layer.row.role is not Role.OPERATION:
            name = snake_case(layer.row.in_trees or layer.saved_class)
            number = used.get(name, 0)
            used[name] = number + 1
            yield layer, f"{name}_{number}" if number else name


class Filler:
    """Walks a model and its tree together."""

    def __init__(self, source: str, roots: Iterable[Group], asset: Callable[[str], bytes | None]):
        self.source = source
        self.asset = asset
        self.arrays: dict[str, list[tuple[Group, str]]] = {}
        self.sorted: list[str] = []
        self.order: dict[str, int] = {}
        self.dealt: set[str] = set()
        self.missing = False  # are there layers with weights, but no arrays at all?
        self.places: set[str] = set()
        for root in roots:
            self.index(root, "", 0)

    def index(self, group: Group, path: str, depth: int) -> None:
        """Note where arrays are; Keras on Windows wrote ``layers\\dense\\vars`` as one name."""
        if depth > GROUP_DEPTH:
            raise group.error(f"groups nested more than {GROUP_DEPTH} deep")
        self.places.add(path)
        for key in group.members():
            name = key.replace("\\", "/")
            if path.rsplit("/", 1)[-1] == "vars":
                self.arrays.setdefault(path, []).append((group, key))
            elif depth or name.split("/")[0] not in ("optimizer", "optimizer_weights", "metrics", "loss_tracker"):
                here = f"{path}/{name}" if path else name
                group.account(len(here) * (1 + name.count("/")))
                self.places.update(here[:end] for end, mark in enumerate(name, len(here) - len(name)) if mark == "/")
                self.index(group.group(key), here, depth + 1)

    def model(self, model: ModelDraft, path: str) -> None:
        """Fill the layers of a model that stands at ``path``."""
        prefix = path + "/" if path else ""
        under = prefix + next((name for name in LAYERS if prefix + name in self.places), LAYERS[0])
        for layer, name in counted(model.layers):
            self.layer(layer, f"{under}/{name}")

    def layer(self, layer: LayerDraft, path: str) -> None:
        """Fill a layer that stands at ``path``, and what it wraps."""
        if layer.model is not None:
            self.model(layer.model, path)
        elif layer.row.role is Role.STACK:
            for cell, name in counted(layer.children):
                self.layer(cell, f"{path}/cells/{name}")
        elif layer.children:
            for child, name in zip(layer.children, layer.row.wraps, strict=True):
                self.layer(child, f"{path}/{name}")
            self.beside(layer, f"{path}/vars")
        elif layer.row.role is Role.LOOKUP:
            self.lookup(layer, path)
        else:
            self.leaf(layer, path)

    def beside(self, layer: LayerDraft, place: str) -> None:
        """Fill what a wrapper keeps itself: the last of its arrays, before which are some of the layer inside once more."""
        expected = known_weights(layer, self.source)
        if expected and place in self.arrays:
            layer.weights = tuple(self.taken(place)[-len(expected) :])

    def left_over(self) -> list[Problem]:
        """The problem if there are no arrays, or if no layer has taken some that are not the states of random numbers."""
        if self.missing:
            return [UNBUILT]
        rest = [
            place for place in self.arrays
            if place not in self.dealt and place.startswith(LAYERS) and not any(name in place for name in GENERATORS)
        ]  # fmt: skip
        if not rest:
            return []
        more = f" and {len(rest) - 1} more places" if len(rest) > 1 else ""
        return [Problem("", "", f"the arrays at {rest[0]}{more} belong to no layer of the model", "please report the file")]

    def leaf(self, layer: LayerDraft, path: str) -> None:
        """Fill a layer that keeps arrays itself."""
        parts = [[f"{path}/{name}/vars" for name in names] for names in layer.row.parts] or [[f"{path}/vars"]]
        found: list[np.ndarray] = []
        for names in parts:
            place = next((name for name in names if name in self.arrays), None)
            if place is not None:
                found += self.taken(place)
        expected = known_weights(layer, self.source)
        if expected is None:  # arrays of layers inside a user's own layer belong to it too
            for place in self.below(path):
                found += self.taken(place)
        if expected is not None and len(found) != len(expected) and self.arrays:
            listed = ", ".join(weight.name for weight in expected)
            raise FormatError(
                f"{self.source}: layer {layer.path!r} ({layer.class_name}): expected {len(expected)} arrays ({listed}) at {path}, "
                f"found {len(found)}{untold(found)}"
            )
        self.missing |= not self.arrays and bool(expected)
        layer.weights = tuple(found)

    def lookup(self, layer: LayerDraft, path: str) -> None:
        """Fill a layer that looks terms up, by itself or by a layer in it: both may hold its weights of ids, and its vocabulary."""
        for place in (path, f"{path}/{LOOKUP}"):
            found = self.taken(f"{place}/vars") if f"{place}/vars" in self.arrays else []
            layer.weights = layer.weights or tuple(found[:1])
            layer.asset = layer.asset if layer.asset is not None else self.asset(f"{place}/{VOCABULARY}")

    def below(self, path: str) -> list[str]:
        """Where there are arrays below a path that no layer has taken, in the file's order."""
        if len(self.sorted) < len(self.arrays):
            self.sorted = sorted(self.arrays)
            self.order = {place: number for number, place in enumerate(self.arrays)}
        first, end = (bisect_left(self.sorted, path + mark) for mark in ("/", chr(ord("/") + 1)))
        return sorted((place for place in self.sorted[first:end] if place not in self.dealt), key=self.order.__getitem__)

    def taken(self, place: str) -> list[np.ndarray]:
        """The arrays at a place, in order."""
        self.dealt.add(place)
        found = sorted(self.arrays[place], key=lambda one: in_order(one[1]))
        for (_, key), (group, after) in zip(found, found[1:], strict=False):
            if key == after:
                raise group.error(f"{key} is in another part of the weights too")
        return [group.array(key) for group, key in found]


def in_order(key: str) -> tuple[int, str]:
    """A sort key that puts "10" after "9"."""
    return (int(key), "") if key.isdecimal() and len(key) < 10 else (1 << 40, key)
