"""Dense layers: products with a kernel in panels, or for a few units a dot product for each of them."""

from __future__ import annotations

from typing import Any

from ..program.layout import AMX, AMX_AT_ONCE, AMX_COLUMNS, DENSE_ROWS, DOT_UNITS, FULL, HALVES, MOST_VECTORS
from . import amx
from .activation import activated, default_alpha
from .amx_tile import AmxOperand
from .callbacks import PATIENCE, patience_after
from .data_product import dot
from .flags import ONE, ZERO, compiled
from .layout import after, amx_steps, last_vectors, lay_out_dense, padded_units, panel_offset, row_vectors
from .memory import fill_addresses, load, load_float, load_int, stack, store_first, store_float, store_int, widen
from .registry import kernel
from .sweep import MANY_PARTS, fetched_by, lines_of, parts_of, rows_of
from .target import LANES, TILE_ROWS, VECTOR
from .tile import Operand, Product, number, tile
from .vector import splat

#: Columns of a panel, and its bytes for each of the features.
BLOCK, PANEL = MOST_VECTORS * LANES, MOST_VECTORS * VECTOR
_addresses, _outputs, _biases = stack(8 * DENSE_ROWS), stack(8 * DENSE_ROWS), stack(8 * TILE_ROWS)
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
def _emit(f, ys, rows, panel, vectors, result, row):
    """The outputs of a panel, from rows of so many bytes of its result."""
    code = f.activation
    alpha = default_alpha(code)
    for i in range(rows):
        y = load_int(ys, i) + PANEL * panel
        for v in range(vectors):
            left = f.units - BLOCK * panel - LANES * v
            value = load(result + i * row, LANES * v)
            if code:
                value = activated(code, value, alpha)
            store_first(y, LANES * v, value, left if left < LANES else LANES)


@compiled
def _by_amx(f, xs, ys, count, biases):
    w, features, tiling = lay_out_dense(f.scratch, f.features, ONE * LANES, f.form), f.features, amx.tiling_of(count)
    amx.unshaped(w.configuration)
    amx.shape(w.configuration, tiling.height)
    amx.bring_rows(f.form, w.rows, tiling, xs, count, features)
    whole = f.units // BLOCK
    last = last_vectors(f.units, ONE, ONE * LANES)
    panel_row = VECTOR * row_vectors(ONE * MOST_VECTORS, ONE * LANES, f.form)
    nothing = AmxOperand(w.rows, ZERO, ZERO)
    for panel in range(whole + (1 if last else 0)):
        vectors = ONE * MOST_VECTORS if panel < whole else last
        row = VECTOR * row_vectors(vectors, ONE * LANES, f.form)
        weights = AmxOperand(w.rows, f.kernel + panel_offset(f.form, panel * panel_row, features), amx_steps(features))
        for number_of_tile in range(0, tiling.count, AMX_AT_ONCE):
            first = number_of_tile * tiling.height
            place = amx.Place(
                form=f.form,
                tile=number_of_tile,
                tiles=min(tiling.count - number_of_tile, ONE * AMX_AT_ONCE),
                rows=ONE,  # of one bias
                height=tiling.height,
                columns=row // (4 * AMX_COLUMNS),
            )
            amx.product(place, w.result, row, biases, panel * panel_row if f.bias else ZERO, weights, nothing)
            _emit(f, ys + 8 * first, min(count - first, AMX_AT_ONCE * tiling.height), panel, vectors, w.result, row)


@compiled
def _many_units(f, xs, ys, count, biases, result):
    units, features = f.units, f.features
    whole = units // BLOCK
    last = last_vectors(units, ONE, ONE * LANES)
    parts = parts_of(count, ONE * TILE_ROWS)
    widening = f.form == HALVES and parts.count >= MANY_PARTS
    form, widened = ONE * FULL if widening else f.form, after(f.scratch, ZERO)
    panel_size = ONE * PANEL >> f.form  # in bytes of the weights
    lines = lines_of(4 * features * units >> f.form, ONE, parts.count, panel_size)
    panels = whole + (1 if last else 0)
    for panel in range(panels):
        vectors = MOST_VECTORS if panel < whole else last
        offset = PANEL * panel
        z_row = VECTOR * vectors
        following = panel_size if panel + 1 < panels and not widening else ZERO
        weights = f.kernel + (offset * features >> f.form)
        if widening:
            widen(widened, weights, vectors * LANES * features)
            weights = widened
        first = ZERO
        for part in range(parts.count):
            rows = rows_of(parts, part)
            tile(
                number(form, rows, vectors),
                Product(
                    result=result,
                    result_row=z_row,
                    sums=biases,
                    sums_offset=offset if f.bias else ZERO,
                    first=Operand(xs + 8 * first, weights, features),
                    second=Operand(xs, ZERO, ZERO),
                    fetched=fetched_by(part, following, lines, panel_size),
                ),
            )
            _emit(f, ys + 8 * first, rows, panel, vectors, result, z_row)
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
            if count == DENSE_ROWS or (r == rows - 1 and s == steps - 1):
                if f.units <= DOT_UNITS:
                    _few_units(f, xs, ys, count)
                elif f.form >= AMX:
                    _by_amx(f, xs, ys, count, biases)
                else:
                    _many_units(f, xs, ys, count, biases, result)
                left = patience_after(f, left, count * f.features * f.units)
                if left < 0:
                    break
                count = 0
        if left < 0:
            break
    amx.released(f)
