"""Dense layers."""

from __future__ import annotations

from typing import Any

from ..program import layout
from .activation import activated, default_alpha
from .panels import ONE, ZERO, compiled, fetched_by, last_vectors, pace_of
from .registry import kernel
from .sequence import PATIENCE, fill_addresses, stopped
from .target import LANES, TILE_ROWS
from .tile import tile
from .vector import fma, load, load_first, load_float, load_int, splat, stack, store_first, store_float, store_int, total

DOT_UNITS = layout.DOT_UNITS
padded_units = compiled(layout.padded_units)

#: Rows whose addresses are worked out at once.
GROUP = 96
_addresses, _outputs, _biases = stack(8 * GROUP), stack(8 * GROUP), stack(8 * TILE_ROWS)
_result = stack(4 * TILE_ROWS * 4 * LANES)
_zeros = stack(4 * 4 * LANES)


@compiled
def _dot(x: int, weights: int, size: int) -> float:
    whole = size & -LANES
    sums = splat(0.0)
    for i in range(0, whole, LANES):
        sums = fma(load(x, i), load(weights, i), sums)
    if whole < size:
        sums = fma(load_first(x, whole, size - whole, 0.0), load(weights, whole), sums)
    return total(sums)


@compiled
def _few_units(f, xs, ys, count):  # type: ignore[no-untyped-def]
    row = 4 * padded_units(f.features, LANES)
    units, features, weights, bias, code = f.units, f.features, f.kernel, f.bias, f.activation
    alpha = default_alpha(code)
    for i in range(count):
        x, y = load_int(xs, i), load_int(ys, i)
        for unit in range(units):
            value = _dot(x, weights + unit * row, features)
            if bias:
                value += load_float(bias, unit)
            store_first(y, unit, activated(code, splat(value), alpha), 1)


@compiled
def _many_units(f, xs, ys, count, biases, result):  # type: ignore[no-untyped-def]
    units, features, code, weights = f.units, f.features, f.activation, f.kernel
    alpha = default_alpha(code)
    whole = units // (4 * LANES)
    last = last_vectors(units, ONE, ONE * LANES)
    parts = (count + TILE_ROWS - 1) // TILE_ROWS
    least = count // parts
    more = count - least * parts
    pace = pace_of(features * units, ONE, parts, 16 * ONE * LANES)
    panels = whole + (1 if last else 0)
    for panel in range(panels):
        vectors = 4 if panel < whole else last
        offset = 16 * LANES * panel
        z_row = 4 * LANES * vectors
        following = 16 * ONE * LANES if panel + 1 < panels else ZERO
        first = 0
        for part in range(parts):
            rows = least + (1 if part < more else 0)
            fetched = fetched_by(part, following, pace, 16 * ONE * LANES)
            tile(
                4 * (rows - 1) + vectors - 1, result, z_row, biases, offset if f.bias else 0,
                xs + 8 * first, weights + offset * features, features, xs, 0, 0, fetched,
            )  # fmt: skip
            for i in range(rows):
                y = load_int(ys, first + i) + offset
                for v in range(vectors):
                    left = units - 4 * LANES * panel - LANES * v
                    value = load(result + i * z_row, LANES * v)
                    if code:
                        value = activated(code, value, alpha)
                    store_first(y, LANES * v, value, left if left < LANES else LANES)
            first += rows


@kernel
def dense(f: Any) -> None:
    """activation(x @ kernel + bias) for ``steps`` rows of each row; ``kernel`` as layout.dense makes it, ``bias`` 0 = none."""
    xs, ys, biases, result, zeros = _addresses(), _outputs(), _biases(), _result(), _zeros()
    for i in range(4 * LANES):
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
                if f.watch:
                    left -= count * f.features * f.units
                    if left < 0:
                        left = ONE * PATIENCE
                        if stopped(f):
                            return
                count = 0
