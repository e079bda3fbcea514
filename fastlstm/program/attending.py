"""Kernel calls of attention: where the matrices of query, key and value are, what is hidden, and what comes of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .contracts.arithmetic import UNARY_OPS
from .contracts.attention import PLACES
from .copying import joined, steps_of
from .ir import At, Buffer, Builder, Constant, Mask, Value
from .layout import attention_scratch


class Matrices(NamedTuple):
    """Where the matrices of an operand are: numbers from one to the next of each kind."""

    at: Buffer | At
    row: int
    outer: int
    head: int
    step: int

    def fields(self, name: str) -> dict[str, Any]:
        """As a kernel's fields."""
        return {place.format(name): value for place, value in zip(PLACES, self, strict=True)}


#: Query, key, value, and what comes of them.
Operands = tuple[Matrices, Matrices, Matrices, Matrices]


class Sizes(NamedTuple):
    """How many matrices there are in each row, and of what sizes."""

    outer: int
    heads: int  # of key and value
    group: int  # heads of the query that share one of those
    steps: int
    others: int  # steps of key and value
    features: int  # of query and key
    size: int  # features of the value


class Pairs(NamedTuple):
    """A mask of pairs of steps; bytes from one to the next of each kind."""

    buffer: Buffer
    row: int
    outer: int
    head: int
    step: int
    other: int  # 1, or 0


@dataclass(frozen=True)
class Hidden:
    """Which steps are hidden from which."""

    step_mask: Mask | None = None  # a step of the query that sees nothing
    other_mask: Mask | None = None  # a step of the value that nobody sees
    pairs: Pairs | None = None
    causal: bool = False  # later ones
    band: int = 0  # those that are as far away, or farther; 0: none
    zeros: bool = False  # what is hidden weighs nothing in any case; else it does where nothing is seen
    past: Buffer | None = None  # how many steps of the value come before the first of the query; later ones than its last are not there

    def fields(self) -> dict[str, Any]:
        """As a kernel's fields."""
        found: dict[str, Any] = {
            "step_mask": self.step_mask and self.step_mask.buffer, "other_mask": self.other_mask and self.other_mask.buffer,
            "causal": int(self.causal), "band": self.band, "zeros": int(self.zeros), "past": self.past, "pairs": None,
        }  # fmt: skip
        names = [f"pairs_{name}" for name in ("row", "outer", "head", "step", "other")]
        numbers = self.pairs[1:] if self.pairs else [0] * len(names)
        return found | {"pairs": self.pairs and self.pairs.buffer} | dict(zip(names, numbers, strict=True))


class Tanh(NamedTuple):
    """Scores that are sums over factors * tanh(within * (query + key))."""

    within: float
    factors: Constant | None


def one_axis(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, int] | None:
    """Some axes of a tensor seen as one: their size, and how many of the last axis it is from one to the next. None where they are not."""
    steps = steps_of(shape[:-1])
    counts, (found,) = joined([shape[axis] for axis in axes], [steps[axis] for axis in axes])
    return (math.prod(counts), sum(found)) if len(counts) < 2 else None


def placed(x: Value, first: int, width: int, rest: Sequence[int], axes: Sequence[int]) -> Matrices:
    """Where matrices are in x (..., heads side by side), the first one from a number of the last axis on."""
    outer, step = one_axis(x.shape, rest), one_axis(x.shape, axes)
    assert outer is not None and step is not None and isinstance(x.buffer, Buffer)
    return Matrices(At(x.buffer, first), math.prod(x.shape), outer[1] * x.shape[-1], width, step[1] * x.shape[-1])


def read_once(b: Builder, values: Sequence[Value]) -> list[Value]:
    """Values as buffers; a lookup that is there several times is carried out once."""
    done: dict[Any, Value] = {}
    found = []
    for value in values:
        key = value.buffer if value.lookup is None else (value.lookup.ids, id(value.lookup.layer))
        if key not in done:
            done[key] = Value(b.read(value), value.shape)
        found.append(done[key]._replace(mask=value.mask))
    return found


def kept_steps(b: Builder, path: str, k: Matrices, v: Matrices, sizes: Sizes) -> tuple[Matrices, Matrices, Buffer] | None:
    """Add this call's steps to those that a stream keeps for a layer: where all of them are, and how many came before.

    None where nothing is kept. Once all have been read, the number is to go on: :func:`passed`.
    """
    room, found = b.max_steps, []
    steps = b.state(path, 2, 1) if b.streaming else None
    for number, (given, width) in enumerate(((k, sizes.features), (v, sizes.size))):
        whole = sizes.heads * width
        state = None if steps is None else b.state(path, number, room * whole)
        if state is None:
            return None
        b.emit("remember", steps=sizes.steps, others=room, size=whole, x=given.at, x_row=given.row, x_step=given.step, past=steps, y=state)
        found.append(Matrices(state, room * whole, 0, width, whole))
    assert steps is not None  # or nothing would be kept
    return found[0], found[1], steps


def passed(b: Builder, past: Buffer, steps: int) -> None:
    """So many steps more have come."""
    b.emit("unary", size=1, x=past, y=past, op=UNARY_OPS["affine"], alpha=1.0, beta=float(steps))


def attended(
    b: Builder, operands: Operands, sizes: Sizes, hidden: Hidden, scale: float, *,
    tanh: Tanh | None = None, scores: bool = False,
) -> Buffer | None:  # fmt: skip
    """Write softmax(scores * scale) @ value.

    Parameters
    ----------
    scores
        Are the weights wanted too?

    Returns
    -------
    Buffer or None
        The weights (outer, heads, steps, others).
    """
    fields: dict[str, Any] = {**sizes._asdict(), **hidden.fields(), "scale": scale}
    for name, given in zip("qkvy", operands, strict=True):
        fields |= given.fields(name)
    if tanh is not None:
        fields |= tanh._asdict()
    shown = b.buffer(math.prod((sizes.outer, sizes.heads, sizes.group, sizes.steps, sizes.others))) if scores else None
    scratch = b.buffer(0, fixed_bytes=attention_scratch(sizes.others, sizes.features, sizes.size, b.lanes))
    b.emit("attention" if tanh is None else "additive_attention", scores=shown, scratch=scratch, **fields)
    return shown
