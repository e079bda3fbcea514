"""What follows a convolution, done by it while its results are in registers or the cache: activations, normalisation and pooling.

Layers write their kernel calls one by one. Here those that pass once more over the output of a convolution, and are the only ones that
read it, become fields of its call; the numbers stay the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any, NamedTuple

from .contracts.convolution import SPATIAL
from .convolving import fields, scratch_bytes
from .copying import steps_of
from .ir import At, Buffer, BufferInfo, Instruction, touched_by

#: A line of so many positions fills the tiles of every CPU level.
LONG_LINE = 12

Fields = Mapping[str, Any]


def fused(instructions: Sequence[Instruction], buffers: list[BufferInfo], lanes: int) -> list[Instruction]:
    """The instructions with convolutions that do what follows them. Sizes of scratch among the buffers are changed."""
    found = list(instructions)
    while (pair := first_pair(found, buffers)) is not None:
        one, other, given = pair
        found[one] = replace(found[one], fields=given, joined=(*found[one].joined, found[other].layer))
        del found[other]
    return [settled(instruction, buffers, lanes) if instruction.kernel == "convolve" else instruction for instruction in found]


class Pair(NamedTuple):
    """Two instructions, by their numbers, and the fields with which the first does what the other did."""

    one: int
    other: int
    given: dict[str, Any]


def first_pair(instructions: Sequence[Instruction], buffers: Sequence[BufferInfo]) -> Pair | None:
    """The first instructions that can be one."""
    touched = Counter(index for instruction in instructions for index in touched_by(instruction))
    for number, instruction in enumerate(instructions):
        if instruction.kernel != "convolve" or (target := whole_output(instruction.fields)) is None:
            continue
        if buffers[target.index].kind != "scratch" or touched[target.index] != 2:  # it writes, one other reads
            continue
        reader = next(n for n in range(len(instructions)) if n != number and target.index in touched_by(instructions[n]))
        follower = instructions[reader]
        join, y = FOLLOWERS.get(follower.kernel), follower.fields.get("y")
        if join is None or follower.times != instruction.times or follower.fields.get("x") != target or not isinstance(y, Buffer):
            continue
        given = join(instruction.fields, follower.fields)
        # It is written earlier then: nothing may touch it between.
        if given is not None and touched[y.index] == touches(instructions[reader:], y):
            return Pair(number, reader, given)
    return None


def touches(instructions: Sequence[Instruction], buffer: Buffer) -> int:
    """How many instructions touch a buffer."""
    return sum(buffer.index in touched_by(instruction) for instruction in instructions)


def each_of(given: Fields, name: str) -> list[int]:
    """A field of all spatial axes."""
    return [given[f"{name}{axis}"] for axis in range(SPATIAL)]


def pooled_places(given: Fields) -> list[int]:
    """Positions of the output."""
    return [n // pool for n, pool in zip(each_of(given, "n"), each_of(given, "pool"), strict=True)]


def width_of(given: Fields) -> int:
    """Filters."""
    width: int = given["groups"] * given["units"]
    return width


def output_steps(places: Sequence[int], width: int) -> list[int]:
    """Elements between neighbouring positions of a tensor of its own; 0 along axes of one."""
    return [step if count > 1 else 0 for count, step in zip(places, steps_of((*places, width)), strict=False)]


def whole_output(given: Fields) -> Buffer | None:
    """The buffer that a convolution fills; None where that is a part of another tensor."""
    y, places = given["y"], pooled_places(given)
    if not isinstance(y, At) or y.offset or not isinstance(y.target, Buffer):
        return None
    found = [step if count > 1 else 0 for count, step in zip(places, each_of(given, "y"), strict=True)]
    whole = math.prod(places) * width_of(given) == given["y_row"] and found == output_steps(places, width_of(given))
    return y.target if whole else None


def is_pooled(given: Fields) -> bool:
    """Is it pooled already?"""
    return math.prod(each_of(given, "pool")) > 1


def to(given: Fields, y: Any, **more: Any) -> dict[str, Any]:
    """The fields with another output and more of them."""
    return {**given, "y": At(y, 0), **more}


def with_activation(given: Fields, follower: Fields) -> dict[str, Any] | None:
    """An activation: the first, or one after it and the normalisation."""
    if is_pooled(given) or follower["size"] != given["y_row"] or given.get("then", 0):
        return None
    code, alpha = follower["activation"], follower["alpha"]
    if given["activation"] == 0 and given.get("mean") is None:
        return to(given, follower["y"], activation=code, alpha=alpha)
    return to(given, follower["y"], then=code, then_alpha=alpha)


def with_normalisation(given: Fields, follower: Fields) -> dict[str, Any] | None:
    """A normalisation by filter."""
    if is_pooled(given) or given.get("mean") is not None or given.get("then", 0) or follower["features"] != width_of(given):
        return None
    return to(given, follower["y"], **{name: follower[name] for name in ("mean", "factor", "offset")})


def with_pooling(given: Fields, follower: Fields) -> dict[str, Any] | None:
    """Pooling with windows that lie side by side."""
    windows, places = each_of(follower, "k"), each_of(follower, "n")
    if is_pooled(given) or follower["channels"] != width_of(given) or each_of(follower, "a") != each_of(given, "n"):
        return None
    strides = [stride if count > 1 else window for count, stride, window in zip(places, each_of(follower, "s"), windows, strict=True)]
    reaches = [count * window for count, window in zip(places, windows, strict=True)]
    inside = all(reach <= n for reach, n in zip(reaches, each_of(given, "n"), strict=True))
    if strides != windows or any(each_of(follower, "before")) or not inside:
        return None
    numbers = fields("pool", windows) | fields("n", reaches) | fields("y", output_steps(places, width_of(given)))
    return to(given, follower["y"], y_row=math.prod(places) * width_of(given), pool_mean=follower["mean"], **numbers)


#: What a convolution may do of the instruction after it, by its kernel.
FOLLOWERS: Mapping[str, Callable[[Fields, Fields], dict[str, Any] | None]] = {
    "activate": with_activation,
    "normalise": with_normalisation,
    "pool_windows": with_pooling,
}


class Along(NamedTuple):
    """Positions along an axis."""

    positions: int
    x: int  # elements between windows
    y: int  # and between outputs
    pool: int


def settled(instruction: Instruction, buffers: list[BufferInfo], lanes: int) -> Instruction:
    """A convolution with its positions in lines as long as they can be, and with the scratch that it takes."""
    given = dict(instruction.fields)
    axes = merged([Along(*each) for each in zip(*(each_of(given, name) for name in ("n", "s", "y", "pool")), strict=True)])
    if axes[-1].positions < LONG_LINE:
        orders = [list(order) for order in permutations(axes)]
        axes = max(orders, key=lambda order: (order[-1].positions, order == axes))
    for name, values in zip(("n", "s", "y", "pool"), zip(*axes, strict=True), strict=True):
        given |= fields(name, values)
    scratch = given.pop("scratch")
    needed = scratch_bytes("convolve", {**OPTIONAL, **given}, lanes, instruction.members)
    buffers[scratch.index] = replace(buffers[scratch.index], fixed_bytes=needed)
    return replace(instruction, fields={**given, "scratch": scratch})


#: Fields that are 0 where they are not given.
OPTIONAL = {"mean": None, "then": 0, "then_alpha": 0.0, "pool_mean": 0}


def merged(axes: Sequence[Along]) -> list[Along]:
    """The axes with neighbours as one where windows go through both in one go, and those of one position first."""
    found: list[Along] = []
    for axis in axes:
        if axis.positions == 1:
            continue
        outer = found[-1] if found else None
        if outer and outer.pool == axis.pool == 1 and outer.x == axis.positions * axis.x and outer.y == axis.positions * axis.y:
            found[-1] = Along(outer.positions * axis.positions, axis.x, axis.y, 1)
        else:
            found.append(axis)
    return [Along(1, 0, 0, 1)] * (SPATIAL - len(found)) + found
