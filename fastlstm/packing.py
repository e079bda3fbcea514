"""The layout that kernels read: weights in panels, and how much scratch each kernel lays out.

The kernels compile the functions of plain integers here, so that both sides agree by construction.

A matrix (K, gates * units) is cut into blocks of ``lanes`` units. A block's panel holds, for each of K rows, the block's
units of every gate side by side. The last block is as narrow as its units allow: ``lanes``, ``lanes / 2`` or ``lanes / 4``
columns a gate, its row filled up to whole vectors. With one gate, a block is up to four vectors of columns.
"""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from typing import Any

import numpy as np

ALIGNMENT = 64
HUGE_PAGE = 2 << 20
#: Dense layers of at most this many units are computed as dot products, with weights stored by unit.
DOT_UNITS = 4
#: The most rows that a tile has at any CPU level.
MOST_TILE_ROWS = 6
#: Blocks of a row for each row that the threads of a recurrent kernel share: two copies of h and two of what else a cell keeps.
STATES = 4
#: What rounding each of those up to the alignment may cost.
SHARED_FIXED = (STATES + 1) * ALIGNMENT

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


def member_row(input_row: int, steps: int) -> int:
    """Bytes of scratch that each thread of a recurrent kernel has for each row: an input, the valid steps, addresses and counts."""
    return 4 * input_row + 4 * steps + 9 * 8


def member_fixed(chunk: int, steps: int, columns: int, lanes: int) -> int:
    """And besides: what is projected ahead, and its rows' addresses; two tiles and their rows' biases; bins of the sort."""
    tiles = 2 * MOST_TILE_ROWS * (16 * lanes + 16) + 8 * lanes
    # And what rounding each part up to the alignment may cost.
    return chunk * (4 * columns + 8) + tiles + 8 * (steps + 2) + 20 * ALIGNMENT


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


def dense_bias(vector: np.ndarray, lanes: int) -> np.ndarray:
    """Pack the bias (units,) of the ``dense`` kernel."""
    return bias(vector, 1, len(vector), lanes)


# -- scratch of the recurrent kernels -----------------------------------------------------------------------------------------


def recurrent_scratch(features: int, steps: int, units: int, columns: int, lanes: int, members: int = 1) -> tuple[int, int]:
    """Scratch of a recurrent kernel: bytes for each row, and bytes besides.

    Parameters
    ----------
    features
        Of its input; 0 where that is a folded table.
    columns
        Floats in a panel-ordered row of its pre-activations (``gru_before``: of both its parts).
    members
        The most threads that compute it together.
    """
    row = STATES * 4 * state_row(units, lanes) + members * member_row(state_row(features, lanes), steps)
    return row, SHARED_FIXED + members * (member_fixed(chunk_rows(columns), steps, columns, lanes) + ALIGNMENT)
