"""Places boxes in layers, one below the other, and leads lines around them: Sugiyama's method, in plain Python.

1. Each box stands one layer below the lowest that it is given anything by; what is given nothing stands close to those who read it.
2. Lines that pass layers are given a place in each of them.
3. The order within layers follows the neighbours above and below in turn; the order with the fewest crossings is kept.
4. Each layer is moved as close to its neighbours as its order allows, by least squares (pool adjacent violators).

References
----------
K. Sugiyama, S. Tagawa, M. Toda: Methods for visual understanding of hierarchical system structures, IEEE Trans. SMC 11 (1981).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..errors import InputError

#: Distances between boxes of a layer, between layers, and from a passing line to its neighbours.
BESIDE, BELOW, PASSING = 26.0, 34.0, 18.0
#: Layers are further apart by so much for each line more than boxes, up to so much.
MORE, MOST_MORE = 4.0, 40.0
#: What a straight passing line counts for, against a box that stands between its neighbours.
STRAIGHT = 4.0
SWEEPS = 12
#: So many places of passing lines are laid out at most.
MOST_PASSING = 20_000

Point = tuple[float, float]


class Size(NamedTuple):
    """Of a box."""

    width: float
    height: float


@dataclass
class Place:
    """A box or a passing line in a layer."""

    width: float
    height: float
    box: int | None  # its number; None: a line that passes
    above: list[int] = field(default_factory=list)  # places that lead to it
    below: list[int] = field(default_factory=list)
    x: float = 0.0  # of its middle


class Route(NamedTuple):
    """Where a line goes: from the bottom of a box, past others, to the top of another."""

    source: int
    target: int
    passing: tuple[tuple[float, float, float], ...]  # middle, top and bottom of the layers that it passes


@dataclass(frozen=True)
class Layout:
    """Where everything stands."""

    size: Size
    boxes: tuple[Point, ...]  # middle and top of each
    layers: tuple[int, ...]  # the layer of each
    bands: tuple[tuple[float, float], ...]  # top and bottom of each layer
    routes: tuple[Route, ...]  # in the order of the lines


def lay_out(boxes: Sequence[Size], lines: Sequence[tuple[int, int]]) -> Layout:
    """Place boxes so that all lines lead down.

    Parameters
    ----------
    boxes
        Their sizes; each line leads to a box further on in this order.
    lines
        From which to which, each pair once.

    Raises
    ------
    InputError
        If the lines pass too many layers to be laid out.
    """
    ranks = _ranks(len(boxes), lines)
    passed = sum(ranks[target] - ranks[source] - 1 for source, target in lines)
    if passed > MOST_PASSING:
        raise InputError(
            "plot: expected a model whose connections pass few layers, found so many long ones that nobody could follow them; "
            "load a part of it, with inputs= and outputs="
        )
    places, layers, chains = _with_passing(boxes, lines, ranks)
    layers = _ordered(places, layers)
    _straighten(places, layers)
    left = min((place.x - place.width / 2 for place in places), default=0.0)
    right = max((place.x + place.width / 2 for place in places), default=0.0)
    bands = _bands(places, layers)
    points = tuple(
        (place.x - left, sum(bands[rank]) / 2 - place.height / 2) for place, rank in zip(places[: len(boxes)], ranks, strict=True)
    )
    routes = tuple(
        Route(source, target, tuple((places[number].x - left, *bands[rank]) for rank, number in enumerate(chain, ranks[source] + 1)))
        for (source, target), chain in zip(lines, chains, strict=True)
    )
    return Layout(Size(right - left, bands[-1][1] if bands else 0.0), points, tuple(ranks), tuple(bands), routes)


def _bands(places: Sequence[Place], layers: Sequence[Sequence[int]]) -> list[tuple[float, float]]:
    """Top and bottom of each layer: further apart where many lines go from one to the next."""
    found: list[tuple[float, float]] = []
    top = 0.0
    for layer in layers:
        bottom = top + max(places[number].height for number in layer)
        found.append((top, bottom))
        top = bottom + BELOW + min(MOST_MORE, MORE * sum(max(0, len(places[number].below) - 1) for number in layer))
    return found


def _ranks(count: int, lines: Sequence[tuple[int, int]]) -> list[int]:
    """The layer of each box."""
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for source, target in lines:
        above[target].append(source)
        below[source].append(target)
    ranks = [0] * count
    for box in range(count):
        ranks[box] = max((ranks[source] + 1 for source in above[box]), default=0)
    for box in range(count):
        if not above[box] and below[box]:
            ranks[box] = min(ranks[target] for target in below[box]) - 1
    return ranks


def _with_passing(
    boxes: Sequence[Size], lines: Sequence[tuple[int, int]], ranks: Sequence[int]
) -> tuple[list[Place], list[list[int]], list[list[int]]]:
    """All places, those of each layer, and by line those that it passes."""
    places = [Place(size.width, size.height, number) for number, size in enumerate(boxes)]
    layers: list[list[int]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    for number, rank in enumerate(ranks):
        layers[rank].append(number)
    chains = []
    for source, target in lines:
        chain, last = [], source
        for rank in range(ranks[source] + 1, ranks[target]):
            places.append(Place(0.0, 0.0, None))
            chain.append(len(places) - 1)
            layers[rank].append(len(places) - 1)
            _connect(places, last, len(places) - 1)
            last = len(places) - 1
        _connect(places, last, target)
        chains.append(chain)
    return places, layers, chains


def _connect(places: list[Place], upper: int, lower: int) -> None:
    places[upper].below.append(lower)
    places[lower].above.append(upper)


def _ordered(places: Sequence[Place], layers: list[list[int]]) -> list[list[int]]:
    """Each layer in the order with the fewest crossings that was found."""
    best, fewest = [list(layer) for layer in layers], _crossings(places, layers)
    for sweep in range(SWEEPS):
        if fewest == 0:
            break
        down = sweep % 2 == 0
        for rank in range(1, len(layers)) if down else range(len(layers) - 2, -1, -1):
            position = {number: at for at, number in enumerate(layers[rank - 1 if down else rank + 1])}
            here = {number: at for at, number in enumerate(layers[rank])}

            def middle(number: int, position: dict[int, int] = position, here: dict[int, int] = here, down: bool = down) -> float:
                found = [position[other] for other in (places[number].above if down else places[number].below) if other in position]
                return sum(found) / len(found) if found else float(here[number])

            layers[rank].sort(key=middle)
        crossings = _crossings(places, layers)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    return best


def _crossings(places: Sequence[Place], layers: Sequence[Sequence[int]]) -> int:
    """How many pairs of lines cross between layers."""
    total = 0
    for upper, lower in zip(layers, layers[1:], strict=False):
        position = {number: at for at, number in enumerate(lower)}
        ends: list[int] = []
        for number in upper:
            here = sorted(position[other] for other in places[number].below)
            total += sum(len(ends) - bisect_right(ends, end) for end in here)
            for end in here:
                insort(ends, end)
    return total


def _straighten(places: Sequence[Place], layers: Sequence[Sequence[int]]) -> None:
    """Give every place its x."""
    for layer in layers:
        x = 0.0
        for before, number in zip([None, *layer], layer, strict=False):
            x += 0.0 if before is None else _distance(places[before], places[number])
            places[number].x = x
    for sweep in range(2 * SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            wanted, weights = [], []
            for number in layer:
                near = [*places[number].above, *places[number].below]
                wanted.append(sum(places[other].x for other in near) / len(near) if near else places[number].x)
                weights.append(STRAIGHT if places[number].box is None else 1.0)
            offsets = [0.0]
            for before, number in zip(layer, layer[1:], strict=False):
                offsets.append(offsets[-1] + _distance(places[before], places[number]))
            free = [x - offset for x, offset in zip(wanted, offsets, strict=True)]
            for number, x, offset in zip(layer, rising(free, weights), offsets, strict=True):
                places[number].x = x + offset


def _distance(left: Place, right: Place) -> float:
    """From middle to middle, at least."""
    gap = PASSING if left.box is None or right.box is None else BESIDE
    return (left.width + right.width) / 2 + gap


def rising(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The sequence that never falls and is closest to ``values``, by weighted least squares."""
    groups: list[tuple[float, float, int]] = []  # mean, weight, how many
    for value, weight in zip(values, weights, strict=True):
        groups.append((value, weight, 1))
        while len(groups) > 1 and groups[-2][0] > groups[-1][0]:
            (mean, heavy, count), (other, light, more) = groups[-2:]
            groups[-2:] = [((mean * heavy + other * light) / (heavy + light), heavy + light, count + more)]
    return [mean for mean, _, count in groups for _ in range(count)]
