"""ConvLSTM (Shi et al. 2015, without peepholes): the LSTM of lstm.py with convolutions over images in place of products.

The windows over the input and over the state are one tile's two operands, so that the pre-activations of all gates never leave the
registers before the gates are computed. The state is kept with zeros around it, where the windows of the next step read it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..program.contracts.recurrent import LSTM_GATES
from ..program.layout import MOST_VECTORS
from .activation import default_alpha
from .callbacks import PATIENCE, meet, patience_after
from .convolution import copy_image, fill_table, image_floats, windows_parts
from .flags import ONE, ZERO, compiled, inlined
from .layout import last_vectors, last_width, lay_out_images
from .lstm import Blocks, update
from .memory import clear, copy, load_byte, load_part, stack, store_int, store_part
from .registry import kernel
from .sweep import Tile
from .target import LANES, VECTOR
from .vector import INFINITY
from .window_tile import MOST_WINDOWS, Runs, Windows, window_tile, window_tile_number

#: Gates are read a whole vector at a time, also where a block is narrower: up to a vector after a row.
_result = stack((MOST_WINDOWS * MOST_VECTORS + 1) * VECTOR)
_h, _c = stack(MOST_WINDOWS * VECTOR), stack(MOST_WINDOWS * VECTOR)


class Space(NamedTuple):
    """Where a tile computes: addresses on the stack."""

    result: int
    h: int
    c: int


class Block(NamedTuple):
    """A panel: the gates of a few units."""

    first: int  # unit
    count: int  # units
    width: int  # columns of a gate
    vectors: int
    kernel: int  # addresses
    recurrent: int
    bias: int


class Places(NamedTuple):
    """Positions along a line: addresses of the first window over the input and over the state, and of the states there."""

    x: int
    h: int
    h_after: int
    c: int
    count: int


@inlined
def _update(f: Any, space: Any, block: Any, h: int, c: int, count: int) -> None:
    """The gates of so many positions."""
    step, whole = 4 * f.units, block.count >= LANES
    row = VECTOR * block.vectors
    idle = Tile(ZERO, ZERO, ZERO, ONE, block.width, block.vectors, ZERO, ZERO, row, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO)
    gate, code = f.recurrent_activation, f.activation
    gate_alpha, alpha = default_alpha(gate), default_alpha(code)
    if whole:
        blocks = Blocks(count, space.result, row, block.width, c, h, step, gate, code, gate_alpha, alpha)
        update(blocks, idle)
        return
    for n in range(count):
        store_part(space.c + n * VECTOR, 0, load_part(c + n * step, 0, block.count), ONE * LANES)
    blocks = Blocks(count, space.result, row, block.width, space.c, space.h, ONE * VECTOR, gate, code, gate_alpha, alpha)
    update(blocks, idle)
    for n in range(count):
        store_part(c + n * step, 0, load_part(space.c + n * VECTOR, 0, ONE * LANES), block.count)
        store_part(h + n * step, 0, load_part(space.h + n * VECTOR, 0, ONE * LANES), block.count)


@compiled
def _line(f: Any, w: Any, space: Any, block: Any, places: Any) -> None:
    """One panel for the positions of a line."""
    x_step, h_step, runs = 4 * f.s2, 4 * f.units, f.k0 * f.k1 * f.k2
    parts = windows_parts(places.count, block.vectors)
    first = ZERO
    for part in range(parts.count):
        count = parts.least + (1 if part < parts.more else 0)
        windows = Windows(
            result=space.result,
            result_row=VECTOR * block.vectors,
            bias=block.bias,
            floor=-INFINITY,
            first=Runs(places.x + first * x_step, x_step, w.table, runs, f.size, block.kernel),
            second=Runs(places.h + first * h_step, h_step, w.state_table, f.w0 * f.w1, f.w2 * f.units, block.recurrent),
        )
        window_tile(window_tile_number(count, block.vectors), windows)
        at = first * h_step + 4 * block.first
        _update(f, space, block, places.h_after + at, places.c + at, count)
        first += count


@inlined
def _state_row(f: Any) -> int:
    """Floats from line to line of a state with padding."""
    return (f.n2 + f.w2 - 1) * f.units


@inlined
def _state_place(f: Any, i: int, j: int) -> int:
    """Where a line of a state with padding begins, in floats: the first place that its first window sees."""
    return (i * (f.n1 + f.w1 - 1) + j) * _state_row(f)


@inlined
def _inside(f: Any, i: int, j: int) -> int:
    """Where the values of a line are in it."""
    return _state_place(f, i + (f.w0 - 1) // 2, j + (f.w1 - 1) // 2) + (f.w2 - 1) // 2 * f.units


@compiled
def _step(f: Any, w: Any, space: Any, x: int, before: int, after: int, left: int) -> int:
    """A step: a member its share of the lines. The patience left after it, of so much."""
    inputs, states = f.k0 * f.k1 * f.k2 * f.size, f.w0 * f.w1 * f.w2 * f.units
    members, lines = max(f.members, 1), f.n0 * f.n1
    whole = f.units // LANES
    for panel in range((f.units + LANES - 1) // LANES):
        offset = 4 * panel * LSTM_GATES * LANES
        block = Block(
            first=panel * LANES,
            count=min(f.units - panel * LANES, ONE * LANES),
            width=ONE * LANES if panel < whole else last_width(f.units, ONE * LSTM_GATES, ONE * LANES),
            vectors=ONE * LSTM_GATES if panel < whole else last_vectors(f.units, ONE * LSTM_GATES, ONE * LANES),
            kernel=f.kernel + offset * inputs,
            recurrent=f.recurrent + offset * states,
            bias=f.bias + offset,
        )
        for line in range(lines * f.member // members, lines * (f.member + 1) // members):
            i, j = line // f.n1, line % f.n1
            places = Places(
                x=x + 4 * (i * f.s0 + j * f.s1),
                h=before + 4 * _state_place(f, i, j),
                h_after=after + 4 * _inside(f, i, j),
                c=w.c + 4 * line * f.n2 * f.units,
                count=f.n2,
            )
            _line(f, w, space, block, places)
            left = patience_after(f, left, LSTM_GATES * f.n2 * block.count * (inputs + states))
            if left < 0:
                return left
    return left


@compiled
def _lines_out(f: Any, y: int, h: int) -> None:
    """Copy a state to where it has no padding; zeros where there is none. A member its share."""
    members, lines, row = max(f.members, 1), f.n0 * f.n1, f.n2 * f.units
    for line in range(lines * f.member // members, lines * (f.member + 1) // members):
        if h:
            copy(y + 4 * line * row, h + 4 * _inside(f, line // f.n1, line % f.n1), row)
        else:
            clear(y + 4 * line * row, row)


@compiled
def _begin(f: Any, w: Any, r: int, padded: int) -> None:
    """The states before the first step."""
    state, row = f.n0 * f.n1 * f.n2 * f.units, f.n2 * f.units
    clear(w.h_even, padded)
    clear(w.h_odd, padded)
    if f.h0:
        for line in range(f.n0 * f.n1):
            place = 4 * _inside(f, line // f.n1, line % f.n1)
            copy(w.h_even + place, f.h0 + 4 * (r * f.h0_row + line * row), row)
    if f.c0:
        copy(w.c, f.c0 + 4 * r * f.h0_row, state)
    else:
        clear(w.c, state)


@compiled
def _end(f: Any, w: Any, r: int, h: int, shown: int) -> None:
    """The last output and the final states."""
    if f.last:
        _lines_out(f, f.last + 4 * r * f.last_row, shown)
    if f.h_out:
        _lines_out(f, f.h_out + 4 * r * f.out_row, h)
    if f.c_out and f.member == 0:
        copy(f.c_out + 4 * r * f.out_row, w.c, f.n0 * f.n1 * f.n2 * f.units)


@kernel
def conv_lstm(f: Any) -> None:
    """LSTM of images, row by row."""
    image, state = image_floats(f, f.size), f.n0 * f.n1 * f.n2 * f.units
    padded = (f.n0 + f.w0 - 1) * (f.n1 + f.w1 - 1) * (f.n2 + f.w2 - 1) * f.units
    w = lay_out_images(f.scratch, f.member, f.k0 * f.k1 * f.k2, f.w0 * f.w1, image, padded, state)
    space = Space(_result(), _h(), _c())
    fill_table(f, w.table)
    for n in range(f.w0 * f.w1):
        store_int(w.state_table, n, 4 * _state_place(f, n // f.w1, n % f.w1))
    if image:
        clear(w.image, image)
    left = ONE * PATIENCE
    for r in range(f.rows):
        if f.member == 0:
            _begin(f, w, r, padded)
        meet(f)
        h, other, begun, shown = w.h_even, w.h_odd, f.head, ZERO
        for p in range(f.steps):
            t = f.steps - 1 - p if f.reverse else p
            masked = f.mask != 0 and load_byte(f.mask, r * f.mask_row + t) == 0
            if not masked:
                x = f.x + 4 * (r * f.x_row + t * f.x_time)
                if image:
                    copy_image(f, w.image, x)
                    x = w.image
                left = _step(f, w, space, x, h, other, left)
                if left < 0:
                    return
                h, other, begun = other, h, ONE
                meet(f)
            shown = ZERO if begun == 0 or (masked and f.fill) else h
            if f.y:
                _lines_out(f, f.y + 4 * (r * f.y_row + (t if f.y_time_order else p) * f.y_step), shown)
            left = patience_after(f, left, state)
            if left < 0:
                return
        _end(f, w, r, h, shown)
        meet(f)
