"""Gives lookup layers what their tables hold: those of TensorFlow 2.3 to 2.5 among a checkpoint's arrays, later ones in a SavedModel.

A later table is filled by a function when the model is loaded. The function is not run: what it is bound to says it all, two constants of
the graph (keys and values), or a file in ``assets``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from ...errors import FormatError
from ...kept_arrays import reserved_ids
from ...limits import Budget
from . import wire
from .bundle import AXES, DTYPES, STRING, TEXT_OBJECT, Bundle
from .draft import LayerDraft
from .objectgraph import NODE, TABLE, VARIABLE, Node, graph
from .vocabularies import given
from .wire import DamagedError, whole

#: A layer that has a lookup layer inside, and a lookup layer's table, by the names of all versions.
INSIDE, TABLES = ("_lookup_layer", "_index_lookup_layer"), ("lookup_table", "_table")
WEIGHTS = ("idf_weights", "tf_idf_weights", "_tf_idf_weights", "idf")
INITIALIZE = "_initialize"
#: Fields of messages: MetaGraphDef; SavedObjectGraph; SavedObject; AssetFileDef; GraphDef; NodeDef; AttrValue; TensorProto.
GRAPH_DEF, ASSETS, OBJECTS = 2, 6, 7
FUNCTIONS, BOUND = 2, 2
ASSET, FUNCTION, CONSTANT = 5, 6, 9
FILENAME, CONST = 2, "Const"
ATTR, TENSOR = 5, 8
CONTENT, INTS, STRINGS, LONGS = 4, 7, 8, 10
SAVED = "saved_model.pb"
#: Bytes that a term takes on its way from a table to the arrays of a layer.
TERM = 200
#: Values of a table: bytes, or whole numbers.
Terms = list[Any]


@dataclass
class Saved:
    """What ``saved_model.pb`` knows of its objects.

    Attributes
    ----------
    data
        Its meta graph.
    nodes
        Its graph of objects.
    asset
        Gives the bytes of a file in ``assets`` by its name.
    """

    data: memoryview
    nodes: list[Node]
    asset: Callable[[str], memoryview]
    budget: Budget
    same: dict[int, int] = field(default_factory=dict)  # numbers of its nodes, by those of the checkpoint's
    files: dict[int, Terms | None] = field(default_factory=dict)  # what objects hold, read once however many tables are bound to them
    tensors: dict[int, Terms | None] = field(default_factory=dict)

    def match(self, tracked: list[Node]) -> None:
        """Find for each object of the checkpoint's graph the same one here, by the names that lead there."""
        self.same = {0: 0}
        waiting = [0]
        while waiting:
            here = waiting.pop()
            there = self.nodes[self.same[here]].children
            for name, child in tracked[here].children.items():
                if name in there and child not in self.same:
                    self.same[child] = there[name]
                    waiting.append(child)

    def bound(self, function: int) -> list[int]:
        """The objects that a function is bound to."""
        saved = wire.bytes_of(self.nodes[function].data, FUNCTION)
        found = self.functions.get(wire.text_of(saved, 1)) if saved is not None else None
        numbers: dict[int, None] = {}  # each once, so that there are no more than objects
        for number in () if found is None else wire.numbers(found, BOUND):
            if number >= len(self.nodes):
                raise DamagedError(f"a function that is bound to object {number} of {len(self.nodes)}")
            numbers[number] = None
        self.budget.visit(SAVED, len(numbers))
        return list(numbers)

    @cached_property
    def functions(self) -> dict[str, memoryview]:
        """The functions of the graph of objects by their names."""
        objects = wire.bytes_of(self.data, OBJECTS)
        found = {}
        for entry in wire.every(objects, FUNCTIONS) if objects is not None else ():
            function = wire.bytes_of(entry, 2)
            if function is not None:
                self.budget.hold(SAVED, NODE)
                found[wire.text_of(entry, 1)] = function
        return found

    @cached_property
    def constants(self) -> dict[str, memoryview]:
        """The nodes of the graph of operations that are constants, by their names."""
        graph_def = wire.bytes_of(self.data, GRAPH_DEF)
        found = {}
        for node in wire.every(graph_def, 1) if graph_def is not None else ():
            if wire.text_of(node, 2) == CONST:
                self.budget.hold(SAVED, NODE)
                found[wire.text_of(node, 1)] = node
        return found

    def constant(self, number: int) -> Terms | None:
        """The values of an object that is a constant."""
        if number not in self.tensors:
            self.tensors[number] = self._constant(number)
        return self.tensors[number]

    def lines(self, number: int) -> Terms | None:
        """The lines of an object that is a file."""
        if number not in self.files:
            self.files[number] = self._lines(number)
        return self.files[number]

    def _constant(self, number: int) -> Terms | None:
        found = wire.bytes_of(self.nodes[number].data, CONSTANT)
        node = self.constants.get(wire.text_of(found, 1)) if found is not None else None
        for attribute in wire.every(node, ATTR) if node is not None else ():
            value = wire.bytes_of(attribute, 2)
            tensor = wire.bytes_of(value, TENSOR) if value is not None and wire.text_of(attribute, 1) == "value" else None
            if tensor is not None:
                return values(tensor, self.budget)
        return None

    def _lines(self, number: int) -> Terms | None:
        found = wire.bytes_of(self.nodes[number].data, ASSET)
        if found is None:
            return None
        place = wire.number_of(found, 1)
        for count, asset in enumerate(wire.every(self.data, ASSETS)):
            if count == place:
                content = bytes(self.asset(wire.text_of(asset, FILENAME))).replace(b"\r", b"")
                self.budget.hold(SAVED, len(content) + TEXT_OBJECT * content.count(b"\n"))
                lines = content.split(b"\n")
                return list(lines[:-1] if not lines[-1] else lines)
        raise DamagedError(f"an object that is file {place} of those in assets")


def values(tensor: memoryview, budget: Budget) -> Terms:
    """The values of a tensor of strings or whole numbers."""
    kind = wire.number_of(tensor, 1)
    shape = wire.bytes_of(tensor, 2)
    sizes = [wire.number_of(size, 1) for size in wire.every(shape, 2)] if shape is not None else []
    if len(sizes) > AXES:
        raise DamagedError(f"a tensor of {len(sizes)} axes")
    count, content = math.prod(sizes), wire.bytes_of(tensor, CONTENT)
    budget.hold(SAVED, TEXT_OBJECT * count + len(tensor))
    found: Terms
    if kind == STRING:
        found = [bytes(each) for each in islice(wire.every(tensor, STRINGS), count + 1)]
    elif kind in DTYPES and np.dtype(DTYPES[kind]).kind in "iu":
        dtype = np.dtype(DTYPES[kind])
        if content is not None and len(content):
            if len(content) != count * dtype.itemsize:
                raise DamagedError(f"a tensor of {count} numbers in {len(content)} bytes")
            return list(np.frombuffer(content, dtype).tolist())
        listed = islice((each for field in (INTS, LONGS) for each in wire.numbers(tensor, field)), count + 1)
        found = [each - (1 << 64) if each >> 63 else each for each in listed]
    else:
        raise DamagedError(f"a table of TensorFlow's dtype {kind}")
    if len(found) > count or (count and not found):
        raise DamagedError(f"a tensor of {count} values that holds {len(found)}")
    return found + found[-1:] * (count - len(found))  # the last value stands for those that are left out


class Lookups:
    """Fills lookup layers; see ``tracked.Filler``."""

    def __init__(self, nodes: list[Node], bundle: Bundle, saved: Saved | None):
        self.nodes, self.bundle, self.saved = nodes, bundle, saved
        if saved is not None and saved.nodes:
            saved.match(nodes)

    def fill(self, layer: LayerDraft, number: int) -> None:
        """Give a lookup layer what its table holds, where its config has not given it that."""
        number = next(self.children(number, INSIDE), number)
        table = next(self.children(number, TABLES), None)
        idf = next((key for child in self.children(number, WEIGHTS) if (key := self.nodes[child].arrays.get(VARIABLE))), "")
        pairs = None
        with whole(self.bundle.source, f"the table of layer {layer.path!r}"):
            if table is not None:
                pairs = self.tracked(table) or self.filled(table, layer)
        if pairs is not None:
            self.bundle.budget.hold(f"the vocabulary of layer {layer.path!r}", TERM * len(pairs[0]))
            terms = in_order(layer, *pairs, self.bundle.source)
            given(layer, terms, self.bundle.array(idf) if idf else None, self.bundle.source)
        elif idf:  # its terms stand in its config
            layer.weights = (self.bundle.array(idf),)

    def children(self, number: int, names: tuple[str, ...]) -> Iterator[int]:
        """The children of an object that have one of some names."""
        children = self.nodes[number].children
        return (children[name] for name in names if name in children)

    def tracked(self, number: int) -> tuple[Terms, Terms] | None:
        """The keys and values of a table among the checkpoint's arrays."""
        key = self.nodes[number].arrays.get(TABLE)
        if key is None:
            return None
        keys, ids = (self.column(f"{key}-{part}") for part in ("keys", "values"))
        return keys, ids

    def column(self, key: str) -> Terms:
        """One column of such a table."""
        found = self.bundle.entries.get(key)
        if found is not None and found.dtype == STRING:
            return list(self.bundle.strings(key))
        return list(self.bundle.array(key).ravel().tolist())

    def filled(self, number: int, layer: LayerDraft) -> tuple[Terms, Terms] | None:
        """The keys and values of a table that a function fills."""
        saved = self.saved
        if saved is None or number not in saved.same:
            return None
        function = saved.nodes[saved.same[number]].children.get(INITIALIZE)
        if function is None:
            return None
        bound = saved.bound(function)
        for each in bound:
            lines = saved.lines(each)
            if lines is not None:
                start = sum(reserved_ids(layer.config))
                terms = [whole_number(line) for line in lines] if layer.row.terms == "int64" else lines
                return terms, list(range(start, start + len(lines)))
        constants = [found for each in bound if (found := saved.constant(each)) is not None]
        return (constants[0], constants[1]) if len(constants) == 2 else None


def whole_number(line: bytes) -> int:
    """A number in a file of a vocabulary."""
    try:
        return int(line[:40])
    except ValueError as error:
        raise DamagedError(f"{line[:40]!r} is no whole number") from error


def in_order(layer: LayerDraft, keys: Terms, ids: Terms, source: str) -> Terms:
    """The terms of a table in the order of their ids, without those for masked and unknown ones."""
    if layer.config.get("invert"):
        keys, ids = ids, keys
    start = sum(reserved_ids(layer.config))
    if len(keys) != len(ids) or not all(isinstance(each, int) for each in ids):
        raise FormatError(f"{source}: layer {layer.path!r} ({layer.class_name}): its table has {len(keys)} terms and {len(ids)} ids")
    pairs = sorted((place, number) for number, place in enumerate(ids) if place >= start)
    if [place for place, _ in pairs] != list(range(start, start + len(pairs))):
        raise FormatError(f"{source}: layer {layer.path!r} ({layer.class_name}): the ids of its table do not follow {start - 1} one by one")
    return [keys[number] for _, number in pairs]


def saved_graph(data: memoryview, budget: Budget) -> list[Node]:
    """The graph of objects of a meta graph; none where it has none."""
    objects = wire.bytes_of(data, OBJECTS)
    return [] if objects is None else graph(objects, budget, SAVED, saved=True)
