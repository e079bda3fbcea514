"""From a listed layer to a guess: its class, what its arrays tell of its arguments, and what they leave open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, NamedTuple

from ...catalogue import ROWS, SEQUENTIAL, Role, Row, row_of
from ..reading.dialect import Dialect
from . import names, shapes, signatures
from .listed import Array, Listed
from .names import Owned
from .shapes import Fit, Told
from .signatures import BY_ARRAYS, CLASSES, NEEDED, SAME

#: By how a layer is told: the names that its first array may have, and one that another must have.
LEAVES: dict[Fit, tuple[set[str], str]] = {
    shapes.dense: ({"kernel", "W"}, ""), shapes.embedding: ({"embeddings", "W"}, ""),
    shapes.recurrent: ({"kernel", "W"}, "recurrent_kernel"),
    shapes.cudnn: ({"kernel"}, "recurrent_kernel"), shapes.convolution: ({"kernel", "W"}, ""), shapes.transposed: ({"kernel", "W"}, ""),
    shapes.separable: ({"depthwise_kernel"}, "pointwise_kernel"), shapes.depthwise: ({"depthwise_kernel", "kernel"}, ""),
    shapes.conv_recurrent: ({"kernel", "W"}, "recurrent_kernel"), shapes.normalization: ({"gamma", "beta", "moving_mean"}, ""),
    shapes.root_mean_square: ({"scale"}, ""), shapes.statistics: ({"mean"}, ""), shapes.slopes: ({"alpha", "alphas"}, ""),
    shapes.locally: ({"kernel", "W"}, ""),
}  # fmt: skip
#: What arrays of moving statistics are called.
MOVING = ("moving_mean", "running_mean")
#: Cells of a stack whose order is looked for.
MOST_CELLS = 6


class Assumption(NamedTuple):
    """An argument that no array tells."""

    argument: str  # of the layer; "layer.activation" of the one inside it
    value: Any
    why: str
    likely: bool = False  # is there a reason for the value, or is it just Keras's default?


@dataclass
class Guess:
    """What a layer probably is."""

    name: str
    kind: str  # its class; "" where nothing tells
    config: dict[str, Any] = field(default_factory=dict)  # what arrays tell for certain
    assumed: dict[str, Assumption] = field(default_factory=dict)  # the rest
    takes: int | None = None
    gives: int | None = None
    reads: int = SAME
    rank: int = SAME  # axes of what it gives
    split: bool = False
    dtype: str = "float32"
    inner: Guess | None = None
    cells: list[Guess] = field(default_factory=list)
    layers: list[Guess] = field(default_factory=list)
    hidden_before: bool = False  # may layers without arrays stand before it, which the file does not list?
    problem: str = ""  # why it cannot be drafted
    parameters: int = 0

    @property
    def row(self) -> Row:
        """The catalogue's row of its class."""
        return row_of(self.kind)

    def assume(self, argument: str, value: Any, why: str, likely: bool = False) -> None:
        """Take a value for an argument."""
        self.config.pop(argument, None)
        self.assumed[argument] = Assumption(argument, value, why, likely)

    def settle(self, argument: str, value: Any) -> None:
        """An argument that other layers tell for certain."""
        self.assumed.pop(argument, None)
        self.config[argument] = value

    @property
    def filled(self) -> Mapping[str, Any]:
        """Arguments that Keras wants, and that matter in training alone."""
        return CLASSES[self.kind].filled if self.kind in CLASSES else {}

    @property
    def core(self) -> Guess | None:
        """The recurrent layer that it is or wraps; None where there is none."""
        if self.row.role is Role.RECURRENT:
            return self
        return self.inner.core if self.inner is not None else None


@dataclass
class Guesser:
    """Guesses the layers of one file."""

    dialect: Dialect
    layout: str
    met: bool = False  # has a layer with arrays come before?

    def layer(self, listed: Listed) -> Guess:
        """What a listed layer probably is."""
        if listed.kind:
            found = self.of_tree(listed)
        elif self.layout != "names":
            found = self.unnamed(listed)
        else:
            found = self.of_names(listed)
        self.met = self.met or bool(listed.arrays)
        found.parameters = sum(product(array.shape) for array in listed.arrays) + sum(inner.parameters for inner in found.layers)
        wide = {array.dtype for array in listed.arrays if array.dtype.startswith("float")}
        found.dtype = wide.pop() if len(wide) == 1 else "float32"
        if any(array.dtype == "int8" for array in listed.arrays):
            found.problem = "its arrays are whole numbers, as Keras 3's quantize makes them"
        return found

    # -- by layout

    def of_tree(self, listed: Listed) -> Guess:
        """The class is known; which array is which, its place tells."""
        kind = names.class_of_kind(listed.kind)
        role = row_of(kind).role
        if role is Role.MODEL:
            if kind != SEQUENTIAL:
                return Guess(listed.name, kind, problem="a functional model in the model, whose graph is in no file of weights")
            return self.model(listed.name, [self.layer(inner) for inner in listed.layers])
        if role is Role.BIDIRECTIONAL:
            return self.both_ways(listed.name, below(listed, "forward_layer"), below(listed, "backward_layer"))
        if role is Role.DISTRIBUTED:
            return self.every_step(listed.name, below(listed, "layer"), bool(listed.layers))
        if listed.layers:
            return Guess(listed.name, kind, problem="a layer that holds a model")
        if self.is_loop(kind):
            return self.loop(listed.name, [*self.cells_of_tree(below(listed, "cell"))])
        return self.plain(listed.name, kind, listed.arrays, [])

    def of_names(self, listed: Listed) -> Guess:
        """Names tell which array is which, and often the class."""
        arrays = [names.owned(listed.name, array, self.dialect.keras1) for array in listed.arrays]
        owners, kind = names.groups(arrays), names.class_called(listed.name)
        role = row_of(kind).role
        forward = [one for one in arrays if one.owner.rsplit("/", 1)[-1].startswith("forward_")]
        if not forward and role is Role.BIDIRECTIONAL:  # TensorFlow 1.5 names arrays after cells alone
            forward = arrays[: len(arrays) // 2]
        if forward and 2 * len(forward) == len(arrays):
            backward = [one for one in arrays if one not in forward]
            return self.both_ways(listed.name, inside(forward, "forward_"), inside(backward, "backward_"))
        if not listed.arrays:
            return self.bare(listed.name, kind)
        if signatures.branches(row_of(kind)):
            return self.plain(listed.name, kind, listed.arrays, arrays)
        if role is Role.DISTRIBUTED:
            return self.every_step(listed.name, inside(arrays, ""), len(owners) > 1)
        if role is Role.MODEL or (
            len(owners) > 1 and not signatures.branches(row_of(kind)) and not (kind in CLASSES or self.is_loop(kind))
        ):
            inner = [self.of_names(inside(ones, "")) for ones in owners.values()]
            for one in inner:
                one.hidden_before = True
            return self.hiding(self.model(listed.name, inner))
        stack = [one for one in arrays if one.leaf in ("kernel", "W")]
        if self.is_loop(kind) or (len(stack) > 1 and all(one.leaf in ("kernel", "recurrent_kernel", "bias") for one in arrays)):
            return self.loop(listed.name, [*self.cells(arrays)])
        return self.plain(listed.name, kind, listed.arrays, arrays)

    def unnamed(self, listed: Listed) -> Guess:
        """Shapes are all there is; in a tree, what wrappers hold."""
        if any(array.name.startswith("cell/cells/") for array in listed.arrays):
            return self.loop(listed.name, [*self.cells_of_tree(below(listed, "cell"))])
        return self.plain(listed.name, "", listed.arrays, []) if listed.arrays else self.bare(listed.name, "")

    def is_loop(self, kind: str) -> bool:
        """Whether a class is the loop around cells."""
        row = row_of(kind)
        return row.role is Role.RECURRENT and bool(row.wraps)

    # -- by what it is made of

    def bare(self, name: str, kind: str) -> Guess:
        """A layer without arrays."""
        if names.is_operation(name):
            return Guess(name, "", problem="an operation between layers, whose arguments are in no file of weights")
        return self.plain(name, kind, (), []) if kind else Guess(name, "")

    def plain(self, name: str, kind: str, arrays: Sequence[Array], owned: Sequence[Owned]) -> Guess:
        """A layer of one class, which its name tells, its cell, or its arrays."""
        if signatures.branches(row_of(kind)):
            return Guess(name, kind, problem=f"{article(kind)} reads several tensors: the model is no chain of layers")
        told = (self.told(kind, arrays, owned) or self.told(kind, arrays, ())) if kind in CLASSES else None
        if told is not None:
            return self.made(name, kind, told)
        if kind and kind not in CLASSES and (kind not in ROWS or not arrays):
            return Guess(name, kind, problem="no class that can be told from its arrays")
        if not arrays:
            return Guess(name, kind, problem="it should have arrays, and has none")
        found = [(other, told) for other in BY_ARRAYS if (told := self.told(other, arrays, owned)) is not None]
        found = [(other, told) for other, told in found if not row_of(other).later or not self.dialect.multi_backend]
        if not owned and not self.met:  # what has one matrix and comes first is more likely to read ids
            found.sort(key=lambda one: row_of(one[0]).role is not Role.EMBEDDING)
        if not found:
            listed = ", ".join(f"{array.name} {array.shape}" for array in arrays[:4]) + (", ..." if len(arrays) > 4 else "")
            return Guess(name, kind, problem=f"it keeps arrays that no layer told here has: {listed}")
        other, told = found[0]
        guess = self.made(name, other, told)
        if not tells_class(owned, other):
            rest = [one for one, _ in found[1:]]
            guess.assume(
                "class_name", other, "by its arrays" + (f"; {' or '.join(rest[:3])} would have such ones too" if rest else ""), True
            )
        return guess

    def told(self, kind: str, arrays: Sequence[Array], owned: Sequence[Owned]) -> Told | None:
        """What arrays tell of a class; None where no layer of it has such arrays."""
        fit, row = signatures.fit_of(kind, self.dialect), row_of(kind)
        leaves = [one.leaf for one in owned]
        if leaves and CLASSES[kind].fit in LEAVES:
            first, other = LEAVES[CLASSES[kind].fit]
            early = leaves[0].split("_")[0] in first if self.dialect.keras1 else leaves[0] in first
            if not early or (other and other not in leaves and not any(leaf[:1] == "U" for leaf in leaves)):
                return None
            if fit is shapes.normalization and row.mask_argument != any(leaf in MOVING for leaf in leaves):
                return None
        return fit(row, [array.shape for array in arrays], leaves)

    def made(self, name: str, kind: str, told: Told) -> Guess:
        """A guess of a class, with what nothing tells at Keras's defaults."""
        signature = CLASSES[kind]
        guess = Guess(
            name, kind, {**signature.filled, **told.config}, {}, told.takes, told.gives, signature.reads, signature.gives, told.split
        )
        for argument, value in signatures.untold(kind, self.dialect).items():
            if argument not in told.config:
                guess.assume(argument, value, "no default" if value == NEEDED else "Keras's default")
        for argument, value in told.unsure.items():
            if argument == "reset_after":
                value = self.dialect.keras3 or not (
                    self.dialect.keras1 or self.dialect.multi_backend or "hard" in self.dialect.recurrent_activation
                )
            guess.assume(argument, value, "its arrays leave it open")
        if guess.row.role is Role.RECURRENT:
            guess.assume("return_sequences", False, "Keras's default")
        if signature.fit is shapes.slopes and guess.takes is not None:
            guess.reads = SAME
        return guess

    def both_ways(self, name: str, forward: Listed, backward: Listed) -> Guess:
        """Two recurrent layers, one in each direction."""
        kind = next(kind for kind, row in ROWS.items() if row.role is Role.BIDIRECTIONAL)
        inner, other = self.layer(forward), self.layer(backward)
        if inner.core is not inner or (other.kind, other.gives, other.takes) != (inner.kind, inner.gives, inner.takes):
            return Guess(name, kind, problem=inner.problem or "its two directions are not alike, or no recurrent layers")
        gives = None if inner.gives is None else 2 * inner.gives
        guess = Guess(name, kind, {}, {}, inner.takes, gives, inner.reads, inner.rank, inner=inner)
        guess.assume("merge_mode", "concat", "Keras's default")
        return guess

    def every_step(self, name: str, inner: Listed, is_model: bool) -> Guess:
        """One layer for each timestep."""
        kind = next(kind for kind, row in ROWS.items() if row.role is Role.DISTRIBUTED)
        if is_model:
            return Guess(name, kind, problem="a model for each timestep, whose layers cannot be told apart")
        if not inner.arrays:
            return Guess(name, kind, problem="the layer inside it keeps no arrays, so nothing tells what it is")
        found = self.layer(inner)
        reads = found.reads + 1 if found.reads != SAME else 3  # a row for each timestep
        rank = found.rank + 1 if found.rank > 0 else 3 if found.rank == SAME else found.rank
        return Guess(name, kind, {}, {}, found.takes, found.gives, reads, rank, inner=found, problem=found.problem)

    def model(self, name: str, layers: list[Guess]) -> Guess:
        """A model in the model."""
        problem = next((f"in it {inner.name!r}: {inner.problem}" for inner in layers if inner.problem), "")
        return Guess(name, SEQUENTIAL, layers=layers, problem=problem)

    def hiding(self, model: Guess) -> Guess:
        """A model in the model whose layers without arrays the file does not list."""
        layers = [inner.name for inner in model.layers]
        model.assume(
            "layers", layers, "of a model in the model only the layers with arrays are in the file, in an order that may be another"
        )
        return model

    # -- cells

    def cells(self, arrays: Sequence[Owned]) -> Iterator[Guess]:
        """The cells of a loop, whose arrays come one cell after the other."""
        starts = [place for place, one in enumerate(arrays) if one.leaf == "kernel"] or [0]
        for start, end in zip(starts, [*starts[1:], len(arrays)], strict=True):
            ones = arrays[start:end]
            yield self.cell("", [one.array for one in ones], ones[0].cell)

    def cells_of_tree(self, listed: Listed) -> Iterator[Guess]:
        """The same in a tree, where stacked cells are named by their classes, and their order is that in which they fit."""
        found: dict[str, list[Array]] = {}
        for array in listed.arrays:
            path = array.name.split("/")
            found.setdefault(path[1] if path[0] == "cells" and len(path) > 2 else "", []).append(array)
        cells = [self.cell("", arrays, key) for key, arrays in found.items()]
        if len(cells) > MOST_CELLS:
            return
        orders = [order for order in permutations(cells) if all(a.gives == b.takes for a, b in zip(order, order[1:], strict=False))]
        if len(orders) == 1:
            yield from orders[0]

    def cell(self, name: str, arrays: Sequence[Array], called: str) -> Guess:
        """One cell."""
        kind = names.class_called(called)
        candidates = [other for other, row in ROWS.items() if row.role is Role.CELL and other in CLASSES]
        for other in [kind] if kind in candidates else [] if called and called != "cell" else candidates:
            told = self.told(other, arrays, [])
            if told is not None:
                guess = self.made(name or other.lower(), other, told)
                if not kind:
                    guess.assume("class_name", other, "by its arrays; a cell of the user's own may have such ones too", True)
                return guess
        return Guess(name, kind, problem=f"a cell {called or 'of a class'} that cannot be told from its arrays")

    def loop(self, name: str, cells: list[Guess]) -> Guess:
        """The loop around cells."""
        kind = next(kind for kind, row in ROWS.items() if self.is_loop(kind))
        problem = next((cell.problem for cell in cells if cell.problem), "" if cells else "its cells fit in no order, or in several")
        guess = Guess(name, kind, cells=cells, reads=3, rank=3, problem=problem)
        if cells:
            guess.takes, guess.gives = cells[0].takes, cells[-1].gives
        rules = {"go_backwards": False, "stateful": False}
        for argument, value in rules.items():
            guess.assume(argument, value, "Keras's default")
        guess.assume("return_sequences", False, "Keras's default")
        return guess


def below(listed: Listed, path: str) -> Listed:
    """What stands below a part of a layer of a tree."""
    arrays = tuple(array._replace(name=array.name[len(path) + 1 :]) for array in listed.arrays if array.name.startswith(path + "/"))
    return Listed(path, arrays)


def inside(arrays: Sequence[Owned], direction: str) -> Listed:
    """The layer inside another whose arrays these are."""
    owner = arrays[0].owner.rsplit("/", 1)[-1]
    name = owner.removeprefix(direction)
    kept = [one.array._replace(name="/".join(filter(None, (name, one.cell, one.leaf)))) for one in arrays]
    return Listed(name, tuple(kept))


def tells_class(owned: Sequence[Owned], kind: str) -> bool:
    """Whether the names of arrays leave no other class: by the cell, or by names that one class alone has."""
    cell = next((one.cell for one in owned), "")
    leaves = {one.leaf for one in owned}
    if cell:
        called = names.class_called(cell)
        return row_of(called).gates == row_of(kind).gates and row_of(called).role is Role.CELL
    return bool(leaves & {"embeddings", "pointwise_kernel", *MOVING}) or (CLASSES[kind].fit is shapes.dense and "kernel" in leaves)


def product(shape: Sequence[int]) -> int:
    """How many numbers an array of a shape has."""
    found = 1
    for size in shape:
        found *= size
    return found


def article(kind: str) -> str:
    """A class in a sentence."""
    return ("an " if kind[:1] in "AEIOU" else "a ") + kind
