"""The layout that kernels read: weights in panels, and how much scratch each kernel lays out.

The kernels compile the functions of plain integers here, so that both sides agree by construction.

A matrix (K, gates * units) is cut into blocks of ``lanes`` units. A block's panel holds, for each of K rows, the block's
units of every gate side by side. The last block is as narrow as its units allow: ``lanes``, ``lanes / 2`` or ``lanes / 4``
columns a gate, its row filled up to whole vectors. With one gate, a block is up to four vectors of columns.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np

ALIGNMENT = 64
HUGE_PAGE = 2 << 20
#: Dense layers of at most this many units are computed as dot products, with weights stored by unit.
DOT_UNITS = 4
#: The most rows that a tile has at any CPU level.
MOST_TILE_ROWS = 6
#: Vectors that the result of a tile may have.
TILE_VECTORS = 4 * MOST_TILE_ROWS


class Work(NamedTuple):
    """Where things are in the scratch of a recurrent kernel: addresses."""

    h_even: int  # state before even compressed steps, one padded row for each slot (place of a row in sorted order)
    h_odd: int
    extra: int  # two more such blocks for what else a cell keeps
    extra2: int
    row: int  # bytes from slot to slot in these four
    inputs: int  # the inputs of the current step, where they are gathered
    input_row: int  # bytes from slot to slot in it
    index: int  # type: ignore[assignment]  # int32 (rows, steps): the valid steps of each row
    order: int  # int64: row of each slot
    count: int  # type: ignore[assignment]  # int64: valid steps of each slot
    x: int  # addresses of each slot's input at the current step
    ahead: int  # addresses of what each slot reads at the next step: input, or row of the table
    z: int  # addresses of each slot's pre-activations so far: bias, table row, or projection
    z2: int  # the same for a cell's second part
    states: int  # addresses of each slot in h_even, below in h_odd and in extra2
    states2: int
    states3: int
    pairs: int  # addresses of the inputs of the (slot, step) pairs of a chunk
    chunk: int  # their projections
    tile: int  # result of a tile
    tile2: int
    biases: int  # address of the bias, once for each row of a tile
    biases2: int  # the same for a cell's second part
    end: int  # behind everything of this thread


# -- of plain integers: compiled into the kernels too ---------------------------------------------------------------------------


def block_units(gates: int, lanes: int) -> int:
    """Units in a whole block."""
    return 4 * lanes if gates == 1 else lanes


def panel_vectors(gates: int) -> int:
    """Vectors in a row of a whole block's panel."""
    return 4 if gates == 1 else gates


def last_width(units: int, gates: int, lanes: int) -> int:
    """Columns that each gate has in the last, narrower block; 0 if all blocks are whole."""
    block = 4 * lanes if gates == 1 else lanes
    left = units - units // block * block
    if left == 0:
        return 0
    if gates == 1:
        return (left + lanes - 1) // lanes * lanes
    if left <= lanes // 4:
        return lanes // 4
    if left <= lanes // 2:
        return lanes // 2
    return lanes


def last_vectors(units: int, gates: int, lanes: int) -> int:
    """Vectors in a row of the last, narrower block's panel; 0 if all blocks are whole."""
    block = 4 * lanes if gates == 1 else lanes
    left = units - units // block * block
    if left == 0:
        return 0
    if gates == 1:
        return (left + lanes - 1) // lanes
    width = lanes
    if left <= lanes // 4:
        width = lanes // 4
    elif left <= lanes // 2:
        width = lanes // 2
    return (gates * width + lanes - 1) // lanes


def padded_units(units: int, lanes: int) -> int:
    """Units, filled up to whole vectors."""
    return (units + lanes - 1) // lanes * lanes


def state_row(units: int, lanes: int) -> int:
    """Floats from one row of a state to the next in scratch."""
    row = (units + lanes - 1) // lanes * lanes
    # Rows a multiple of 1 KB apart would compete for the same few places in the cache.
    return row + 16 if row % 256 == 0 else row


def chunk_rows(columns: int) -> int:
    """How many (row, timestep) pairs are projected at once, ahead of the recurrence, where rows are few."""
    rows = 196608 // (4 * columns)
    if rows > 96:
        return 96
    return 12 if rows < 12 else rows // 6 * 6


def after(address: int, size: int) -> int:
    """The next place that is aligned, behind so many bytes."""
    return (address + size + 63) & ~63


def divider(after: Any, state_row: Any, chunk_rows: Any) -> Callable[..., Work]:
    """:func:`lay_out` by these functions, which the kernels have compiled."""

    def lay_out(start: int, member: int, rows: int, steps: int, features: int, units: int, columns: int, lanes: int) -> Work:
        """Divide up the scratch of a recurrent kernel: states first, which all its threads share, then what each of them has.

        The kernels walk it for addresses, :func:`recurrent_scratch` for how much there must be.

        Parameters
        ----------
        start
            Address of the scratch.
        member
            Number of the thread.
        features
            Of its input; 0 where that is a folded table.
        columns
            Floats in a panel-ordered row of its pre-activations (``gru_before``: of both its parts).
        """
        row = 4 * state_row(units, lanes)
        input_row = 4 * state_row(features, lanes)
        capacity = chunk_rows(columns)
        # Gates are read a whole vector at a time, also where the last block is narrower: up to a vector behind a row.
        tile_size = (TILE_VECTORS + 1) * 4 * lanes
        h_even = after(start, 0)
        h_odd = after(h_even, rows * row)
        extra = after(h_odd, rows * row)
        extra2 = after(extra, rows * row)
        inputs = after(extra2, rows * row)
        index = after(inputs, rows * input_row)
        order = after(index, 4 * rows * steps)
        count = after(order, 8 * rows)
        x = after(count, 8 * rows)
        ahead = after(x, 8 * rows)
        z = after(ahead, 8 * rows)
        z2 = after(z, 8 * rows)
        states = after(z2, 8 * rows)
        states2 = after(states, 8 * rows)
        states3 = after(states2, 8 * rows)
        pairs = after(states3, 8 * rows)
        tile = after(pairs, 8 * capacity)
        tile2 = after(tile, tile_size)
        biases = after(tile2, tile_size)
        biases2 = after(biases, 8 * MOST_TILE_ROWS)
        chunk = after(biases2, 8 * MOST_TILE_ROWS)
        # Before the first chunk, the bins of the sort by length lie there.
        end = after(chunk, max(4 * columns * capacity, 8 * (steps + 2)))
        mine = member * (end - inputs)
        return Work(
            h_even, h_odd, extra, extra2, row, inputs + mine, input_row, index + mine, order + mine, count + mine, x + mine, ahead + mine,
            z + mine, z2 + mine, states + mine, states2 + mine, states3 + mine, pairs + mine, chunk + mine, tile + mine, tile2 + mine,
            biases + mine, biases2 + mine, end + mine,
        )  # fmt: skip

    return lay_out


#: How the scratch of a recurrent kernel is divided up.
lay_out = divider(after, state_row, chunk_rows)


# -- arrays -------------------------------------------------------------------------------------------------------------------


def columns(units: int, gates: int, lanes: int) -> int:
    """Floats in a panel-ordered row of pre-activations."""
    whole = units // block_units(gates, lanes)
    return (whole * panel_vectors(gates) + last_vectors(units, gates, lanes)) * lanes


def aligned(array: np.ndarray) -> np.ndarray:
    """A C-contiguous copy that starts at a multiple of 64 bytes (the array itself if it already does)."""
    array = np.asarray(array)
    if array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0:
        return array
    out = empty(array.shape, array.dtype)
    out[...] = array
    return out


def empty(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """A new array that starts at a multiple of 64 bytes; in huge pages where the system has them and its size fills some.

    Weights of megabytes are read from end to end at every timestep: of small pages that would be more than a core keeps track of.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        raw, alignment = np.empty(size + ALIGNMENT, np.uint8), ALIGNMENT
    else:
        pages = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        raw, alignment = np.frombuffer(pages, np.uint8), HUGE_PAGE
        with suppress(OSError):  # a system may be built without them
            pages.madvise(mmap.MADV_HUGEPAGE, -raw.ctypes.data % HUGE_PAGE, size // HUGE_PAGE * HUGE_PAGE)
    start = -raw.ctypes.data % alignment
    return raw[start : start + size].view(dtype).reshape(shape)


def panels(matrix: np.ndarray, gates: int, lanes: int) -> np.ndarray:
    """Pack a matrix (K, gates * units), gates side by side as Keras stores them.

    Returns
    -------
    numpy.ndarray
        float32 (K * columns(units, gates, lanes),), panel after panel, 64-byte aligned.
    """
    matrix = np.asarray(matrix, np.float32)
    size = matrix.shape[0]
    units = matrix.shape[1] // gates
    by_gate = matrix.reshape(size, gates, units)
    block = block_units(gates, lanes)
    parts = []
    for start in range(0, units - block + 1, block):
        parts.append(by_gate[:, :, start : start + block].reshape(-1))
    width = last_width(units, gates, lanes)
    if width:
        left = by_gate[:, :, units // block * block :]
        panel = np.zeros((size, last_vectors(units, gates, lanes) * lanes), np.float32)
        panel[:, : gates * width].reshape(size, gates, width)[:, :, : left.shape[2]] = left
        parts.append(panel.reshape(-1))
    return aligned(np.concatenate(parts) if parts else np.zeros(0, np.float32))


def bias(vector: np.ndarray | None, gates: int, units: int, lanes: int) -> np.ndarray:
    """Pack a bias (gates * units,) as a panel-ordered row; zeros for None."""
    if vector is None:
        vector = np.zeros(gates * units, np.float32)
    return panels(np.asarray(vector).reshape(1, -1), gates, lanes)


def dense(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """Pack the kernel (features, units) of the ``dense`` kernel."""
    features, units = matrix.shape
    if units > DOT_UNITS:
        return panels(matrix, 1, lanes)
    by_unit = np.zeros((units, padded_units(features, lanes)), np.float32)
    by_unit[:, :features] = np.asarray(matrix).T
    return aligned(by_unit)


def dense_size(features: int, units: int, lanes: int) -> int:
    """Floats in what :func:`dense` packs."""
    return features * columns(units, 1, lanes) if units > DOT_UNITS else units * padded_units(features, lanes)


def dense_bias(vector: np.ndarray, lanes: int) -> np.ndarray:
    """Pack the bias (units,) of the ``dense`` kernel."""
    return bias(vector, 1, len(vector), lanes)


# -- scratch of the recurrent kernels -----------------------------------------------------------------------------------------


@cache
def recurrent_scratch(features: int, steps: int, units: int, columns: int, lanes: int, members: int = 1) -> tuple[int, int]:
    """Scratch of a recurrent kernel: bytes for each row, and bytes besides, of as many threads as ``members``.

    It is what :func:`lay_out` comes to, for any number of rows.
    """

    def end(rows: int) -> int:
        return lay_out(0, members - 1, rows, steps, features, units, columns, lanes).end

    # Each part has a multiple of 4 bytes for each row, so that rounding up to the alignment comes round after so many rows.
    period = ALIGNMENT // 4
    row = (end(1 + period) - end(1)) // period
    # The scratch itself may begin anywhere.
    return row, ALIGNMENT + max(end(rows) - rows * row for rows in range(1, 1 + period))
