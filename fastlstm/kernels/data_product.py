"""Products of matrices of data, in register tiles, and of vectors: what kernels that multiply data with data are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..program.layout import MOST_VECTORS
from .callbacks import patience_after
from .data_tile import Matrices, data_tile, data_tile_number
from .flags import ONE, compiled
from .memory import load, load_first, stack, store_first
from .sweep import parts_of, rows_of
from .target import LANES, TILE_ROWS, VECTOR
from .vector import fma, splat, total

#: Columns of a panel.
BLOCK = MOST_VECTORS * LANES
_narrow = stack(TILE_ROWS * VECTOR)


@compiled
def dot(a: int, b: int, size: int) -> float:
    """The sum of products of so many values side by side."""
    whole = size & -LANES
    sums = splat(0.0)
    for i in range(0, whole, LANES):
        sums = fma(load(a, i), load(b, i), sums)
    if whole < size:
        sums = fma(load_first(a, whole, size - whole, 0.0), load_first(b, whole, size - whole, 0.0), sums)
    return total(sums)


class Factors(NamedTuple):
    """The operands of one product, m x k by k x n; rows, and panels of columns, are so many bytes apart."""

    y: int  # address of the result
    y_row: int
    a: int
    a_row: int
    b: int
    b_row: int
    b_panel: int  # from the first column of a panel to that of the next: of BLOCK columns each
    m: int
    k: int
    n: int  # less than a vector: rows of b have a whole one all the same


@compiled
def multiply(f: Any, x: Factors, patience: int) -> int:
    """y = a @ b, panel by panel of b's columns, and for each the rows in tiles. The patience left after it, of so much."""
    m, k, n = x.m, x.k, x.n
    parts, narrow = parts_of(m, ONE * TILE_ROWS), _narrow()
    for start in range(0, n, BLOCK):
        left = min(n - start, BLOCK)
        vectors = (left + LANES - 1) // LANES
        # The last vector ends with the columns, and begins before the panel if it has to.
        last = 4 * (left - LANES)
        first = 0
        b = x.b + start // BLOCK * x.b_panel
        for part in range(parts.count):
            rows = rows_of(parts, part)
            place = x.y + first * x.y_row + 4 * start
            to, to_row, at_last = (place, x.y_row, last) if n >= LANES else (narrow, ONE * VECTOR, 0)
            matrices = Matrices(y=to, y_row=to_row, a=x.a + first * x.a_row, a_row=x.a_row, b=b, b_row=x.b_row, last=at_last, k=k)
            data_tile(data_tile_number(rows, vectors), matrices)
            if n < LANES:
                for i in range(rows):
                    store_first(place + i * x.y_row, 0, load(narrow, i * LANES), n)
            patience = patience_after(f, patience, rows * k * left)
            if patience < 0:
                return patience
            first += rows
    return patience
