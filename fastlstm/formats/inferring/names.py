"""What names tell: the class that a layer is called after, and whose array one is.

Keras calls a layer after its class unless its user names it: ``lstm_1``, ``max_pooling1d``, ``cu_dnngru``. Generations differ in how they
spell a class in small letters, so each spelling of each class is known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...catalogue import ALIASES, EARLY_NAMES, ROWS, Role
from ..reading.tree import snake_case
from .listed import Array

#: How tf.keras and multi-backend Keras 2 put underscores: LSTM2D is ``lst_m2d`` to them.
WORDS = (re.compile(r"(.)([A-Z][a-z0-9]+)"), re.compile(r"([a-z])([A-Z])"))
#: A number that makes a name unique.
NUMBER = re.compile(r"_\d+$")
#: How Keras 1 names arrays: the layer's name, the array, perhaps a gate. "gamma" and the like are called so in every generation.
EARLY = re.compile(
    r"(?P<layer>.*?)_?(?P<leaf>(?:W|U|b)(?:_[a-z]+)?|gamma|beta|running_mean|running_std|alphas?|betas|[at]_(?:left|right))$"
)
#: Names of operations that tf.keras puts between layers.
OPERATIONS = ("tf_op_layer", "tf.")
#: What goes before the name of the layer inside.
DIRECTIONS = ("forward_", "backward_")


def spellings() -> Iterator[tuple[str, str]]:
    """Every name that Keras may give to a layer of a class, with the class."""
    for name, kind in [*((name, name) for name in ROWS), *ALIASES.items(), *EARLY_NAMES.items()]:
        if ROWS[kind].graph_node is None and ROWS[kind].role is not Role.OPERATION:
            words = WORDS[1].sub(r"\1_\2", WORDS[0].sub(r"\1_\2", name)).lower()
            yield from ((spelled, kind) for spelled in (snake_case(ROWS[kind].in_trees or name), words, name.lower()))


#: Classes by what their layers are called.
CALLED = dict(reversed(list(spellings())))
CALLED["input"] = next(name for name, row in ROWS.items() if row.role is Role.INPUT)


def class_called(name: str) -> str:
    """The class that a layer is named after; "" where its user has named it."""
    return CALLED.get(NUMBER.sub("", name), "")


def class_of_kind(kind: str) -> str:
    """The class that a tree names, which it does always; one that is not Keras's as its user probably spells it."""
    return CALLED.get(kind) or "".join(word.capitalize() for word in kind.split("_"))


def is_operation(name: str) -> bool:
    """Whether a name is that of an operation of TensorFlow's between layers."""
    return name.startswith(OPERATIONS)


class Owned(NamedTuple):
    """An array with what its name says."""

    owner: str  # the layer inside a model or wrapper, where the name tells
    cell: str  # the cell in that, likewise
    leaf: str  # "kernel", "W_i"
    array: Array


def owned(layer: str, array: Array, early: bool) -> Owned:
    """Take the name of an array apart: ``bidirectional/forward_lstm/lstm_cell/kernel`` of the layer ``bidirectional``."""
    if early:
        name = array.name.rsplit("/", 1)[-1].removeprefix(f"{layer}_")
        found = EARLY.fullmatch(name)
        if found is not None:
            return Owned(found["layer"], "", found["leaf"], array)
    *path, leaf = array.name.split("/")
    while path and ROWS_OF_MODELS.fullmatch(path[0]):
        del path[0]
    if path and path[0] == layer:
        del path[0]
    cells = [part for part in path if is_cell(part)]
    rest = [part for part in path if not is_cell(part)]
    return Owned("/".join(rest), cells[-1] if cells else "", NUMBER.sub("", leaf), array)


#: How a model is called by itself.
ROWS_OF_MODELS = re.compile("(?:" + "|".join(snake_case(name) for name, row in ROWS.items() if row.role is Role.MODEL) + r")(?:_\d+)?")
CELLS = {Role.CELL, Role.STACK}


def is_cell(name: str) -> bool:
    """Whether a part of an array's name is that of a cell."""
    kind = class_called(name)
    return name == "conv_lstm_cell" or (kind != "" and ROWS[kind].role in CELLS) or name.endswith("_cell") or "_cell_" in name


def groups(arrays: Sequence[Owned]) -> dict[str, list[Owned]]:
    """Arrays by the layer inside that keeps them, layers in the order in which they are met.

    Trainable arrays come first in a nested model, so those of one layer need not stand side by side.
    """
    found: dict[str, list[Owned]] = {}
    for one in arrays:
        found.setdefault(one.owner, []).append(one)
    return found
