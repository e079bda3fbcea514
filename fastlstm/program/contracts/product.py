"""Contracts of product.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import layout
from ..contract import WATCH, Room, Span, declared, flat


@declared(
    "rows", "outer", "inner", "m", "k", "n", "a", "a_row", "a_outer", "a_inner", "b", "b_row", "b_outer", "b_inner", "turned", "y",
    "scratch", *WATCH, reads=("a", "b"), writes=("y", "scratch"),
)  # fmt: skip
def product(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = a @ b for outer x inner matrices of each row: a (m, k), b (k, n), or (n, k) where it is ``turned``."""
    touched: dict[str, Span | Room] = {
        "a": Span(f.a_row, 0, (f.outer - 1) * f.a_outer + (f.inner - 1) * f.a_inner + f.m * f.k),
        "b": Span(f.b_row, 0, (f.outer - 1) * f.b_outer + (f.inner - 1) * f.b_inner + f.k * f.n),
        "y": flat(f.outer * f.inner * f.m * f.n),
    }
    if layout.packs_product(f.m, f.n, f.turned, lanes):
        touched["scratch"] = Room(0, product_scratch(f.k, f.n, lanes))
    return touched


def product_scratch(k: int, n: int, lanes: int) -> int:
    """Bytes of scratch in which ``product`` packs b."""
    return layout.ALIGNMENT + layout.FLOAT * k * layout.padded_units(n, lanes)
