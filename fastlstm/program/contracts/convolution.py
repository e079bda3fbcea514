"""Contracts of convolution.py."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .. import layout, windows
from ..contract import TEAM, WATCH, Room, Span, declared, flat

#: Spatial axes of convolutions and pooling; those of fewer have others of size 1 before them.
SPATIAL = 3


def along(*names: str) -> tuple[str, ...]:
    """The fields of all spatial axes."""
    return tuple(f"{name}{axis}" for name in names for axis in range(SPATIAL))


#: What every kernel of windows has. Sizes and steps are in elements.
IMAGE = (
    "rows", "x", "x_row", "y", "y_row",
    "channels",  # numbers of each place of x, side by side
    *along("a"),  # places of x along each axis, as they lie in memory
    *along("before"), *along("padded"),  # places of zeros before them, and places with all padding; the same as a: there is none
    *along("n"), *along("s"),  # positions of the window along each axis, and elements from one to the next
    *along("k"), *along("d"),  # runs of a window along each axis, and elements from one to the next
    "scratch",
)  # fmt: skip
IMAGE_COUNTS = ("channels", *along("a", "padded", "n"))


def sizes(f: Any, name: str) -> list[int]:
    """The fields of that name of all axes."""
    return [getattr(f, f"{name}{axis}") for axis in range(SPATIAL)]


def reach(counts: Sequence[int], steps: Sequence[int]) -> int:
    """How far the last of so many is from the first."""
    return sum((max(count, 1) - 1) * step for count, step in zip(counts, steps, strict=True))


def seen(f: Any, size: int) -> int:
    """Elements from the first that any window sees to after the last, of runs of a size."""
    return reach(sizes(f, "n"), sizes(f, "s")) + reach(sizes(f, "k"), sizes(f, "d")) + size


def is_padded(f: Any) -> bool:
    """Is a row of x copied, with padding around it?"""
    return sizes(f, "a") != sizes(f, "padded")


def image_size(f: Any, size: int) -> int:
    """Floats of the copy: what is written there, and what windows see."""
    if not is_padded(f):
        return 0
    places = sizes(f, "padded")
    ends = [before + count - 1 for before, count in zip(sizes(f, "before"), sizes(f, "a"), strict=True)]
    last = (ends[0] * places[1] + ends[1]) * places[2] + ends[2] + 1
    return max(f.channels * max(math.prod(places), last), seen(f, size))


def read(f: Any, size: int) -> Span:
    """What is touched of x."""
    whole = f.channels * math.prod(sizes(f, "a"))
    return Span(f.x_row, 0, whole if is_padded(f) else max(whole, seen(f, size)))


@declared(
    *IMAGE,
    "size",  # elements of a run
    "groups", "x_group",  # of channels, and elements from one to the next; the filters of a group lie side by side, and so do groups
    "units",  # filters of a group
    *along("y"),  # elements from one position of the output to the next
    "kernel", "bias", "activation", "alpha",
    "mean", "factor", "offset",  # or 0: after the activation (z - mean) * factor + offset, by filter
    "then", "then_alpha",  # a second activation
    *along("pool"), "pool_mean",  # so many positions along each axis become one: their maximum, or mean
    *TEAM, *WATCH,
    reads=("x", "kernel", "bias", "mean", "factor", "offset"), writes=("y", "scratch"), optional=("bias", "mean", "factor", "offset"),
    floats=("alpha", "then_alpha"), needs=(("mean", "factor"), ("mean", "offset")),
    counts=(*IMAGE_COUNTS, *along("pool"), "groups"),
)  # fmt: skip
def convolve(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """A convolution, cross-correlation as Keras has it, with what follows it position by position, and pooled."""
    runs, width = math.prod(sizes(f, "k")), f.groups * f.units
    pool = sizes(f, "pool")
    pooled = [n // p for n, p in zip(sizes(f, "n"), pool, strict=True)]
    each = Span(0, 0, width)
    return {
        "x": read(f, (f.groups - 1) * f.x_group + f.size),
        "y": Span(f.y_row, 0, reach(pooled, sizes(f, "y")) + width),
        "kernel": Span(0, 0, f.groups * windows.windows_size(runs, f.size, f.units, lanes)),
        "bias": Span(0, 0, f.groups * layout.columns(f.units, 1, lanes)),
        "mean": each,
        "factor": each,
        "offset": each,
        "scratch": Room(
            0, windows.windows_scratch(runs, image_size(f, (f.groups - 1) * f.x_group + f.size), stripe_size(f), max(f.members, 1))
        ),
    }


def stripe_size(f: Any) -> int:
    """Floats that a job gives before they are pooled; none where nothing is."""
    pool = sizes(f, "pool")
    if math.prod(pool) == 1:
        return 0
    lines = [n // p for n, p in zip(sizes(f, "n"), pool, strict=True)][:2]
    jobs = windows.jobs_of(math.prod(lines), f.n2, pool[0] * pool[1], pool[2])
    return jobs.lines * pool[0] * pool[1] * jobs.chunk * f.groups * f.units


@declared(
    *IMAGE,
    "kernel", "bias", "activation", "alpha", *WATCH,
    reads=("x", "kernel", "bias"), writes=("y", "scratch"), optional=("bias",), floats=("alpha",), counts=IMAGE_COUNTS,
)  # fmt: skip
def convolve_depthwise(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """Each channel convolved by itself, with a kernel (runs, channels) of runs of one element for each channel."""
    runs, width = math.prod(sizes(f, "k")), f.channels
    return {
        "x": read(f, f.channels),
        "y": Span(f.y_row, 0, math.prod(sizes(f, "n")) * width),
        "kernel": Span(0, 0, runs * width),
        "bias": Span(0, 0, width),
        "scratch": Room(0, windows.windows_scratch(runs, image_size(f, f.channels), 0)),
    }


@declared(
    "rows", "x", "y", "channels", *along("a"), *along("before"), *along("n"), *along("s"), *along("k"), "mean", *WATCH,
    reads=("x",), writes=("y",), counts=("channels", *along("a", "n", "k", "s")),
)  # fmt: skip
def pool_windows(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """The maximum (``mean`` 0) or mean of each window, of what of it lies in x. Steps and sizes are in places."""
    return {"x": flat(f.channels * math.prod(sizes(f, "a"))), "y": flat(f.channels * math.prod(sizes(f, "n")))}
