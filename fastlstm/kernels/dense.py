"""Dense layers: products with a kernel in panels, or for a few units a dot product for each of them."""

from __future__ import annotations

from typing import Any

from ..program.layout import DOT_UNITS, MOST_TILE_ROWS, MOST_VECTORS
from .activation import activated, default_alpha
from .callbacks import PATIENCE, patience_after
from .data_product import dot
from .flags import ONE, ZERO, compiled
from .layout import last_vectors, padded_units
from .memory import fill_addresses, load, load_float, load_int, stack, store_first, store_float, store_int
from .registry import kernel
from .sweep import fetched_by, pace_of, parts_of, rows_of
from .target import LANES, TILE_ROWS, VECTOR
from .tile import Operand, Product, number, tile
from .vector import splat

#: Rows whose addresses are worked out at once: whole tiles at every level. A panel of weights is read once for all of them.
GROUP = 16 * MOST_TILE_ROWS
#: Columns of a panel, and its bytes for each of the features.
BLOCK, PANEL = MOST_VECTORS * LANES, MOST_VECTORS * VECTOR
_addresses, _outputs, _biases = stack(8 * GROUP), stack(8 * GROUP), stack(8 * TILE_ROWS)
_result = stack(TILE_ROWS * PANEL)
_zeros = stack(PANEL)


@compiled
def _few_units(f, xs, ys, count):
    row = 4 * padded_units(f.features, LANES)
    units, features, weights, bias, code = f.units, f.features, f.kernel, f.bias, f.activation
    alpha = default_alpha(code)
    for i in range(count):
        x, y = load_int(xs, i), load_int(ys, i)
        for unit in range(units):
            value = dot(x, weights + unit * row, features)
            if bias:
                value += load_float(bias, unit)
            store_first(y, unit, activated(code, splat(value), alpha), 1)


@compiled
def _many_units(f, xs, ys, count, biases, result):
    units, features, code, weights = f.units, f.features, f.activation, f.kernel
    alpha = default_alpha(code)
    whole = units // BLOCK
    last = last_vectors(units, ONE, ONE * LANES)
    parts = parts_of(count, ONE * TILE_ROWS)
    pace = pace_of(features * units, ONE, parts.count, ONE * PANEL)
    panels = whole + (1 if last else 0)
    for panel in range(panels):
        vectors = MOST_VECTORS if panel < whole else last
        offset = PANEL * panel
        z_row = VECTOR * vectors
        following = ONE * PANEL if panel + 1 < panels else ZERO
        first = ZERO
        for part in range(parts.count):
            rows = rows_of(parts, part)
            tile(
                number(rows, vectors),
                Product(
                    result=result,
                    result_row=z_row,
                    sums=biases,
                    sums_offset=offset if f.bias else ZERO,
                    first=Operand(xs + 8 * first, weights + offset * features, features),
                    second=Operand(xs, ZERO, ZERO),
                    fetched=fetched_by(part, following, pace, ONE * PANEL),
                ),
            )
            for i in range(rows):
                y = load_int(ys, first + i) + offset
                for v in range(vectors):
                    left = units - BLOCK * panel - LANES * v
                    value = load(result + i * z_row, LANES * v)
                    if code:
                        value = activated(code, value, alpha)
                    store_first(y, LANES * v, value, left if left < LANES else LANES)
            first += rows


@kernel
def dense(f: Any) -> None:
    """activation(x @ kernel + bias) for ``steps`` rows of each row; ``kernel`` as layout.pack_dense makes it, ``bias`` 0 = none."""
    xs, ys, biases, result, zeros = _addresses(), _outputs(), _biases(), _result(), _zeros()
    for i in range(BLOCK):
        store_float(zeros, i, 0.0)
    fill_addresses(biases, ONE * TILE_ROWS, f.bias if f.bias else zeros, ZERO)
    rows, steps = f.rows, f.steps
    count, left = 0, ONE * PATIENCE
    for r in range(rows):
        for s in range(steps):
            store_int(xs, count, f.x + 4 * (r * f.x_row + s * f.x_step))
            store_int(ys, count, f.y + 4 * (r * f.y_row + s * f.y_step))
            count += 1
            if count == GROUP or (r == rows - 1 and s == steps - 1):
                if f.units <= DOT_UNITS:
                    _few_units(f, xs, ys, count)
                else:
                    _many_units(f, xs, ys, count, biases, result)
                left = patience_after(f, left, count * f.features * f.units)
                if left < 0:
                    return
                count = 0
