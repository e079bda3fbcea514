"""A long picture in columns, as a newspaper sets a long text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .layered import Layout, Size

#: A picture up to so high stands in one column.
HIGH = 1000.0
#: A picture in columns is about so much wider than high.
WIDER = 1.3
#: A column is filled at least to this part, one of so many.
LEAST_PART = 3
#: Between columns, where a line leads up again; and from a column's end to the bend of that line.
GUTTER, BEND = 56.0, 14.0


@dataclass(frozen=True)
class Columns:
    """Where the layers of a picture go."""

    size: Size
    shifts: tuple[tuple[float, float], ...]  # of each layer, to the right and down
    columns: tuple[int, ...]  # of each layer
    bottoms: tuple[float, ...]  # of each column
    rights: tuple[float, ...]  # of each column


def in_columns(layout: Layout, boxes: Sequence[Size]) -> Columns:
    """Break a picture into columns, where what leads from one layer to the next comes from a single box."""
    columns = _columns(layout)
    spans = _spans(layout, boxes)
    shifts: list[tuple[float, float]] = []
    bottoms, rights, left = [], [], 0.0
    for column in range(columns[-1] + 1 if columns else 0):
        members = [rank for rank, one in enumerate(columns) if one == column]
        low, high = min(spans[rank][0] for rank in members), max(spans[rank][1] for rank in members)
        top = layout.bands[members[0]][0]
        shifts += [(left - low, BEND - top if columns[-1] else -top)] * len(members)
        bottoms.append(layout.bands[members[-1]][1] + shifts[-1][1])
        rights.append(left + high - low)
        left = rights[-1] + GUTTER
    more = 2 * BEND if len(bottoms) > 1 else 0.0
    size = Size(max(rights, default=0.0), max(bottoms, default=0.0) + more / 2)
    return Columns(size, tuple(shifts), tuple(columns), tuple(bottoms), tuple(rights))


def _columns(layout: Layout) -> list[int]:
    """The column of each layer."""
    height, width = layout.size.height, layout.size.width + GUTTER
    room = max(HIGH, height / max(1.0, math.sqrt(WIDER * height / width)))
    breakable = _breakable(layout)
    columns: list[int] = []
    column, first, last = 0, 0, None  # the first layer of this column, and the last one that may begin the next
    for rank, (top, bottom) in enumerate(layout.bands):
        if breakable[rank] and min(top - layout.bands[first][0], layout.size.height - top) > room / LEAST_PART:
            last = rank
        if bottom - layout.bands[first][0] > room and last is not None:
            columns[last:] = [column + 1] * (rank - last)
            column, first, last = column + 1, last, None
        columns.append(column)
    return columns


def _breakable(layout: Layout) -> list[bool]:
    """For each layer: do all lines that lead into it or past it come from one box in the layer above?"""
    reach = [-1] * len(layout.bands)  # the layer that the lines from a layer's boxes lead to, at most
    for route in layout.routes:
        rank = layout.layers[route.source]
        reach[rank] = max(reach[rank], layout.layers[route.target])
    alone = [layout.layers.count(rank) == 1 for rank in range(len(layout.bands))]
    found, furthest = [False], -1
    for rank in range(1, len(layout.bands)):
        found.append(alone[rank - 1] and furthest < rank and reach[rank - 1] >= rank)
        furthest = max(furthest, reach[rank - 1])
    return found


def _spans(layout: Layout, boxes: Sequence[Size]) -> list[tuple[float, float]]:
    """Left and right end of what stands in each layer."""
    low, high = [math.inf] * len(layout.bands), [-math.inf] * len(layout.bands)
    for (x, _), size, rank in zip(layout.boxes, boxes, layout.layers, strict=True):
        low[rank], high[rank] = min(low[rank], x - size.width / 2), max(high[rank], x + size.width / 2)
    for route in layout.routes:
        for rank, (x, _, _) in enumerate(route.passing, layout.layers[route.source] + 1):
            low[rank], high[rank] = min(low[rank], x), max(high[rank], x)
    return list(zip(low, high, strict=True))
