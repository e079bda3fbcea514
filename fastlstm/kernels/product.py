"""Products of data with data, matrix by matrix: in tiles, or as dot products where that is shorter."""

from __future__ import annotations

from typing import Any

from ..program.layout import ALIGNMENT
from .callbacks import PATIENCE, patience_after
from .data_product import BLOCK, Factors, dot, multiply
from .flags import ONE, compiled
from .layout import dots_product, packs_product, padded_units
from .memory import copy, store_float, transpose
from .registry import kernel
from .target import LANES


@compiled
def _dots(f: Any, a: int, b: int, y: int, left: int) -> int:
    """y = a @ b where the columns of b lie along k. The patience left after it, of so much."""
    for i in range(f.m):
        for j in range(f.n):
            store_float(y, i * f.n + j, dot(a + 4 * i * f.k, b + 4 * j * f.k, f.k))
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


@kernel
def product(f: Any) -> None:
    """y = a @ b for outer x inner matrices of each row."""
    m, k, n = f.m, f.k, f.n
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
                else:
                    b_row = 4 * n
                    if packs:
                        _packed(f, b, packed_row, scratch)
                        b, b_row = scratch, packed_row
                    x = Factors(y=y, y_row=4 * n, a=a, a_row=4 * k, b=b, b_row=b_row, b_panel=ONE * 4 * BLOCK, m=m, k=k, n=n)
                    left = multiply(f, x, left)
                if left < 0:
                    return
                y += 4 * m * n
