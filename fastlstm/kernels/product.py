"""Products of data with data, matrix by matrix: in tiles, or as dot products where that is shorter."""

from __future__ import annotations

from typing import Any

from ..program.layout import ALIGNMENT, MOST_VECTORS
from .callbacks import PATIENCE, patience_after
from .data_tile import Matrices, data_tile, data_tile_number
from .flags import ONE, compiled
from .layout import dots_product, packs_product, padded_units
from .memory import copy, load, load_first, stack, store_first, store_float, transpose
from .registry import kernel
from .sweep import parts_of, rows_of
from .target import LANES, TILE_ROWS, VECTOR
from .vector import fma, splat, total

#: Columns of a panel.
BLOCK = MOST_VECTORS * LANES
_narrow = stack(TILE_ROWS * VECTOR)


@compiled
def _dot(a: int, b: int, size: int) -> float:
    whole = size & -LANES
    sums = splat(0.0)
    for i in range(0, whole, LANES):
        sums = fma(load(a, i), load(b, i), sums)
    if whole < size:
        sums = fma(load_first(a, whole, size - whole, 0.0), load_first(b, whole, size - whole, 0.0), sums)
    return total(sums)


@compiled
def _dots(f: Any, a: int, b: int, y: int, left: int) -> int:
    """y = a @ b where the columns of b lie along k. The patience left after it, of so much."""
    for i in range(f.m):
        for j in range(f.n):
            store_float(y, i * f.n + j, _dot(a + 4 * i * f.k, b + 4 * j * f.k, f.k))
        left = patience_after(f, left, f.k * f.n)
        if left < 0:
            break
    return left


@compiled
def _packed(f: Any, b: int, row: int, scratch: int) -> None:
    """b with rows of so many bytes in scratch."""
    if f.turned:
        transpose(scratch, row, b, 4 * f.k, f.k, f.n)
        return
    for i in range(f.k):
        copy(scratch + i * row, b + 4 * i * f.n, f.n)


@compiled
def _tiles(f: Any, a: int, b: int, b_row: int, y: int, patience: int) -> int:
    """y = a @ b, panel by panel of b's columns, and for each the rows in tiles. The patience left after it, of so much."""
    m, k, n = f.m, f.k, f.n
    parts, narrow = parts_of(m), _narrow()
    for start in range(0, n, BLOCK):
        left = min(n - start, BLOCK)
        vectors = (left + LANES - 1) // LANES
        # The last vector ends with the columns, and begins before the panel if it has to.
        last = 4 * (left - LANES)
        first = 0
        for part in range(parts.count):
            rows = rows_of(parts, part)
            place = y + 4 * (first * n + start)
            to, to_row, at_last = (place, 4 * n, last) if n >= LANES else (narrow, ONE * VECTOR, 0)
            matrices = Matrices(
                y=to, y_row=to_row, a=a + 4 * first * k, a_row=4 * k, b=b + 4 * start, b_row=b_row, last=at_last, k=k
            )  # fmt: skip
            data_tile(data_tile_number(rows, vectors), matrices)
            if n < LANES:
                for i in range(rows):
                    store_first(place, i * n, load(narrow, i * LANES), n)
            patience = patience_after(f, patience, rows * k * left)
            if patience < 0:
                return patience
            first += rows
    return patience


@kernel
def product(f: Any) -> None:
    """y = a @ b for outer x inner matrices of each row."""
    m, n = f.m, f.n
    dots, packs = dots_product(m, n, f.turned), packs_product(m, n, f.turned, ONE * LANES)
    scratch = (f.scratch + ALIGNMENT - 1) & -ALIGNMENT
    packed_row = 4 * padded_units(n, ONE * LANES)
    y, left = f.y, ONE * PATIENCE
    for r in range(f.rows):
        for i in range(f.outer):
            for j in range(f.inner):
                a = f.a + 4 * (r * f.a_row + i * f.a_outer + j * f.a_inner)
                b = f.b + 4 * (r * f.b_row + i * f.b_outer + j * f.b_inner)
                if dots:
                    left = _dots(f, a, b, y, left)
                elif packs:
                    _packed(f, b, packed_row, scratch)
                    left = _tiles(f, a, scratch, packed_row, y, left)
                else:
                    left = _tiles(f, a, b, 4 * n, y, left)
                if left < 0:
                    return
                y += 4 * m * n
