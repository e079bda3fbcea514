"""Graphs of objects, as TensorFlow writes them: what each object is to the one that holds it, and where its arrays are.

A checkpoint holds one for its arrays, ``saved_model.pb`` another with more in it, whose nodes have other numbers. Both begin at node 0;
the same names lead to the same object in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from ...limits import GROUP_DEPTH, Budget
from . import wire
from .wire import DamagedError

#: Where a checkpoint keeps its graph.
KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
#: What Python takes for a node, and for each child or array of it, besides their bytes.
NODE, EDGE = 600, 200
#: The name of the array of a variable, and of the keys and values of a table, among those of an object.
VARIABLE, TABLE = "VARIABLE_VALUE", "table"
#: Fields of messages: TrackableObjectGraph and SavedObjectGraph; TrackableObject and SavedObject; ObjectReference; SerializedTensor.
NODES, CHILDREN, ATTRIBUTES = 1, 1, 2
CHILD_NODE, CHILD_NAME = 1, 2
ATTRIBUTE_NAME, ATTRIBUTE_KEY = 1, 3


class Node(NamedTuple):
    """An object: its children by their names, as numbers of nodes, the keys of its arrays by theirs, and all its bytes."""

    children: dict[str, int]
    arrays: dict[str, str]
    data: memoryview


def graph(data: memoryview, budget: Budget, place: str, *, saved: bool = False) -> list[Node]:
    """The nodes of a graph; ``saved``: of that in ``saved_model.pb``, which does not say where arrays are.

    Raises
    ------
    DamagedError
        If it is not sound: every child is a node then, and no object has two of one name.
    """
    found = []
    for each in wire.every(data, NODES):
        budget.hold(place, NODE)
        found.append(node(each, budget, place, saved))
    if not found:
        raise DamagedError("a graph without objects")
    for each_node in found:
        for name, child in each_node.children.items():
            if child >= len(found):
                raise DamagedError(f"{name[:80]!r} is object {child} of {len(found)}")
    return found


def node(data: memoryview, budget: Budget, place: str, saved: bool) -> Node:
    """One node."""
    children: dict[str, int] = {}
    arrays: dict[str, str] = {}
    for number, value in wire.fields(data):
        if number not in (CHILDREN, ATTRIBUTES):
            continue
        if isinstance(value, int):
            raise DamagedError("an object with a number for a child")
        if number == CHILDREN:
            budget.hold(place, EDGE + len(value))
            name = wire.text_of(value, CHILD_NAME)
            if name in children:
                raise DamagedError(f"an object with two children {name[:80]!r}")
            children[name] = wire.number_of(value, CHILD_NODE)
        elif not saved:
            budget.hold(place, EDGE + len(value))
            arrays.setdefault(wire.text_of(value, ATTRIBUTE_NAME), wire.text_of(value, ATTRIBUTE_KEY))
    return Node(children, arrays, data)


def numbered(nodes: list[Node], number: int) -> list[int]:
    """The children of an object that is a list, in order."""
    children = nodes[number].children
    return [children[name] for name in sorted((name for name in children if name.isdecimal() and len(name) < 10), key=int)]


def below(nodes: list[Node], number: int, budget: Budget, skipped: frozenset[str], seen: set[int]) -> Iterator[tuple[str, int]]:
    """The objects below one but for those seen, each once, with the names that lead to them; those of one level before the next one."""
    seen.add(number)
    level = [("", number)]
    for _ in range(GROUP_DEPTH):
        after = []
        for path, here in level:
            for name, child in nodes[here].children.items():
                if child not in seen and name not in skipped:
                    budget.visit("the graph of objects")
                    seen.add(child)
                    after.append((f"{path}/{name}" if path else name, child))
        yield from after
        level = after


def preview(node: Node) -> str:
    """The names of the first children of an object, for a message."""
    return ", ".join(name[:40] for name in islice(node.children, 12)) or "nothing"
