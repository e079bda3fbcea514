"""The layout that kernels read: weights in panels, and how a recurrent kernel divides up its scratch.

The kernels compile the functions of plain integers here, so that whoever packs weights or allocates scratch agrees with them by
construction.

A matrix (K, gates * units) is cut into blocks of ``lanes`` units. A block's panel holds, for each of K rows, the block's
units of every gate side by side. The last block is as narrow as its units allow: ``lanes``, ``lanes / 2`` or ``lanes / 4``
columns a gate, its row filled up to whole vectors. With one gate, a block is up to four vectors of columns.
"""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np

#: Bytes of a cache line, and what every array and every piece of scratch is aligned to.
LINE_BITS = 6
LINE = ALIGNMENT = 1 << LINE_BITS
#: Bytes of the pages in which large weights lie.
HUGE_PAGE = 2 << 20
#: Bytes of a float or an id, of an address, and of a bfloat16.
FLOAT, ADDRESS, HALF = 4, 8, 2

#: Dense layers of at most this many units are computed as dot products, with weights stored by unit.
DOT_UNITS = 4
#: Rows that a dense layer multiplies at once: whole tiles at every level. A panel of weights is read once for all of them.
DENSE_ROWS = 96
#: Products of data with data: from so many rows on it pays to transpose the other side.
TURNED_ROWS = 4
#: The most vectors that a row of a panel has: those of four gates, or of four blocks of a single gate.
MOST_VECTORS = 4
#: The most rows that a tile has at any CPU level.
MOST_TILE_ROWS = 6
#: Vectors that the result of a tile may have.
TILE_VECTORS = MOST_VECTORS * MOST_TILE_ROWS

#: How many inputs are projected at once, ahead of the recurrence: whole tiles of them, whose projections take so many bytes, which a
#: second cache of 256 KB keeps until they are used; but no more than sixteen of the largest tiles, and no fewer than two.
CHUNK_BYTES = 192 << 10
MOST_CHUNK_ROWS, LEAST_CHUNK_ROWS = 16 * MOST_TILE_ROWS, 2 * MOST_TILE_ROWS

#: The scores of so many queries are computed at once: whole tiles of them, fewer where they take more bytes than a second cache has room
#: for, but a tile of them at least.
MOST_QUERIES, SCORES_BYTES = 4 * MOST_TILE_ROWS, 1 << 18

#: The forms that packed weights have: float32; bfloat16, which register tiles widen; bfloat16 in the tiles of AMX; the same in two
#: parts, the second of which is what the first one leaves of a number.
FORMS = FULL, HALVES, AMX, SPLIT = range(4)
#: A tile of AMX, the matrix unit of a core: so many rows of so many floats, or of twice as many bfloat16, in so many bytes.
AMX_ROWS = AMX_COLUMNS = 16
AMX_DEPTH = 2 * AMX_COLUMNS
AMX_BYTES = 4 * AMX_ROWS * AMX_COLUMNS
#: Bytes that say which tiles there are.
AMX_CONFIGURATION = 64
#: Tiles of columns that lie side by side: those that accumulators are left for beside two tiles of rows.
AMX_PAIR = 2
#: The largest number of bfloat16, to which larger ones of float32 are rounded, rather than to infinity.
LARGEST_HALF = 3.3895313892515355e38
#: Tiles of rows whose results are computed at once.
AMX_AT_ONCE = 2

#: Rows whose distance is a multiple of so many floats (1 KB) would compete for the same few places in a cache: they are put
#: one more line apart.
CROWDED = 256


class Work(NamedTuple):
    """Where things are in the scratch of a recurrent kernel: addresses, but for ``row`` and ``input_row``.

    A slot is a row's place in the order of computing, longest first. What ends in ``_at`` is a table of addresses.
    """

    # Shared by all threads of a call: a padded row of units for each slot.
    h_even: int  # state before even compressed steps
    h_odd: int  # state before odd ones
    held: int  # what a cell keeps besides h: lstm its c; gru_before the gate z until the candidate is there
    reset_h: int  # gru_before alone: r * h, which the candidate is computed from
    row: int  # bytes from slot to slot in these four
    # Each thread's own.
    inputs: int  # the inputs of the current step, where they are gathered
    input_row: int  # bytes from slot to slot in it
    valid_steps: int  # int32 (rows, steps): the timesteps of each row that the mask lets through, in order of processing
    row_of: int  # int64: number of the row in each slot
    step_counts: int  # int64: how many valid steps each slot has
    x_at: int  # of each slot's input at the current step
    next_at: int  # of what each slot reads at the next step: its input, or its row of the table
    sums_at: int  # of what each slot's sums start from: bias, row of the table, or projection
    second_sums_at: int  # the same for a cell's second product: gru's of h, gru_before's for the candidate
    h_even_at: int  # of each slot in h_even
    h_odd_at: int
    reset_h_at: int
    pairs_at: int  # of the inputs of the (slot, step) pairs of a chunk
    result: int  # of a tile
    second_result: int  # of the tile of a second product whose result is needed beside the first one's
    bias_at: int  # of the bias, once for each row of a tile
    second_bias_at: int  # the same for a cell's second product
    x_amx: int  # the inputs of the current step in the tiles of AMX
    h_amx: int  # the same of what the recurrent weights are multiplied with
    pairs_amx: int  # and of the inputs of a chunk's pairs
    amx_configuration: int  # the shapes of the tiles
    widened: int  # a panel of weights that are HALVES, as float32: those of the inputs, then those of the states
    chunk: int  # the projections of the pairs; before the first chunk, the bins of the sort by length
    end: int  # after everything of this thread


class DenseWork(NamedTuple):
    """Where things are in the scratch of a dense kernel whose weights AMX reads: addresses."""

    configuration: int  # the shapes of its tiles
    result: int
    rows: int  # in tiles
    end: int  # after everything


class Attending(NamedTuple):
    """Where things are in the scratch of attention: addresses, but for ``row`` and ``queries``."""

    keys: int  # those of a matrix transposed, in panels
    values: int  # those of a matrix, row after row
    scores: int  # of some queries
    row: int  # bytes from the scores of one query to those of the next
    queries: int  # how many queries at once
    end: int  # after everything


# -- of plain integers: compiled into the kernels too (kernels/layout.py) -----------------------------------------------------------


def padded_units(units: int, lanes: int) -> int:
    """Units, filled up to whole vectors."""
    return (units + lanes - 1) // lanes * lanes


def block_units(gates: int, lanes: int) -> int:
    """Units in a whole block."""
    return MOST_VECTORS * lanes if gates == 1 else lanes


def panel_vectors(gates: int) -> int:
    """Vectors in a row of a whole block's panel."""
    return MOST_VECTORS if gates == 1 else gates


def last_width(units: int, gates: int, lanes: int) -> int:
    """Columns that each gate has in the last, narrower block; 0 if all blocks are whole."""
    block = block_units(gates, lanes)
    left = units - units // block * block
    if left == 0:
        return 0
    if gates == 1:
        return padded_units(left, lanes)
    if left <= lanes // 4:
        return lanes // 4
    if left <= lanes // 2:
        return lanes // 2
    return lanes


def last_vectors(units: int, gates: int, lanes: int) -> int:
    """Vectors in a row of the last, narrower block's panel; 0 if all blocks are whole."""
    return (gates * last_width(units, gates, lanes) + lanes - 1) // lanes


def columns(units: int, gates: int, lanes: int) -> int:
    """Floats in a panel-ordered row of pre-activations."""
    whole = units // block_units(gates, lanes)
    return (whole * panel_vectors(gates) + last_vectors(units, gates, lanes)) * lanes


def row_vectors(vectors: int, lanes: int, form: int) -> int:
    """Vectors that a row of a panel takes which has so many: AMX has whole tiles of them."""
    if form < AMX:
        return vectors
    return (vectors * lanes + AMX_COLUMNS - 1) // AMX_COLUMNS * AMX_COLUMNS // lanes


def columns_in(form: int, units: int, gates: int, lanes: int) -> int:
    """Floats in a panel-ordered row of pre-activations, where weights are of a form."""
    whole = units // block_units(gates, lanes)
    of_whole, of_last = row_vectors(panel_vectors(gates), lanes, form), row_vectors(last_vectors(units, gates, lanes), lanes, form)
    return (whole * of_whole + of_last) * lanes


def amx_steps(size: int) -> int:
    """Tiles along k that so many values take."""
    return (size + AMX_DEPTH - 1) // AMX_DEPTH


def panel_offset(form: int, panel: int, size: int) -> int:
    """Bytes of weights of so many k before the panel that begins ``panel`` bytes into a panel-ordered row."""
    if form < AMX:
        return (panel * size) >> form
    tiles = panel // (4 * AMX_COLUMNS) * amx_steps(size)
    return AMX_BYTES * (tiles if form == AMX else 2 * tiles)


def row_parts(form: int) -> int:
    """Tiles in which AMX reads AMX_DEPTH values of a row: of split ones the first part, the second, and the first without infinities."""
    return 3 if form == SPLIT else 1


def amx_size(form: int, rows: int, size: int) -> int:
    """Bytes of so many rows of ``size`` values in the tiles of AMX."""
    if form < AMX:
        return 0
    return (rows + AMX_ROWS - 1) // AMX_ROWS * amx_steps(size) * row_parts(form) * AMX_BYTES


def panel_size(form: int, size: int, lanes: int) -> int:
    """Bytes of a panel of so many k as float32, where weights are HALVES."""
    return FLOAT * size * MOST_VECTORS * lanes if form == HALVES else 0


def amx_result(lanes: int, form: int) -> int:
    """Bytes of the result of tiles of AMX, gates of which are read a whole vector at a time."""
    return FLOAT * lanes * (AMX_AT_ONCE * AMX_ROWS * row_vectors(MOST_VECTORS, lanes, form) + 1)


def state_row(units: int, lanes: int) -> int:
    """Floats from one row of a state to the next in scratch."""
    row = padded_units(units, lanes)
    return row + LINE // FLOAT if row % CROWDED == 0 else row


def chunk_rows(columns: int) -> int:
    """How many (row, timestep) pairs are projected at once, ahead of the recurrence, where rows are few."""
    rows = CHUNK_BYTES // (FLOAT * columns)
    if rows > MOST_CHUNK_ROWS:
        return MOST_CHUNK_ROWS
    return LEAST_CHUNK_ROWS if rows < LEAST_CHUNK_ROWS else rows // MOST_TILE_ROWS * MOST_TILE_ROWS


def kept_row(columns: int, units: int, lanes: int) -> int:
    """Floats in a row of ``kept``, where activations need all units of a row: panel-ordered pre-activations of two products, then the
    units of up to six gates, each by itself.
    """
    return 2 * columns + 6 * padded_units(units, lanes)


def dots_product(m: int, n: int, turned: int) -> bool:
    """Is a product of data with data computed as a dot product for each element? Where b's columns lie along k, and rows are few."""
    return n == 1 or (turned != 0 and m < TURNED_ROWS)


def packs_product(m: int, n: int, turned: int, lanes: int) -> bool:
    """Is b copied before it is multiplied: where its columns lie along k, or its rows have less than a vector?"""
    return not dots_product(m, n, turned) and (turned != 0 or n < lanes)


def after(address: int, size: int) -> int:
    """The next aligned address after so many bytes."""
    return (address + size + ALIGNMENT - 1) & -ALIGNMENT


def lay_out(start: int, member: int, rows: int, steps: int, features: int, units: int, columns: int, lanes: int, form: int) -> Work:
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
    form
        Of its weights.
    """
    row = FLOAT * state_row(units, lanes)
    input_row = FLOAT * state_row(features, lanes)
    capacity = chunk_rows(columns)
    addresses = ADDRESS * rows
    # Gates are read a whole vector at a time, also where the last block is narrower: up to a vector after a row.
    result_size = (TILE_VECTORS + 1) * FLOAT * lanes
    chunk_size = FLOAT * columns * capacity
    if form >= AMX:
        result_size = amx_result(lanes, form)
        chunk_size = FLOAT * columns * (capacity + AMX_ROWS)  # whole tiles of rows are stored
    h_even = after(start, 0)
    h_odd = after(h_even, rows * row)
    held = after(h_odd, rows * row)
    reset_h = after(held, rows * row)
    inputs = after(reset_h, rows * row)
    valid_steps = after(inputs, rows * input_row)
    row_of = after(valid_steps, 4 * rows * steps)
    step_counts = after(row_of, addresses)
    x_at = after(step_counts, addresses)
    next_at = after(x_at, addresses)
    sums_at = after(next_at, addresses)
    second_sums_at = after(sums_at, addresses)
    h_even_at = after(second_sums_at, addresses)
    h_odd_at = after(h_even_at, addresses)
    reset_h_at = after(h_odd_at, addresses)
    pairs_at = after(reset_h_at, addresses)
    result = after(pairs_at, ADDRESS * capacity)
    second_result = after(result, result_size)
    bias_at = after(second_result, result_size)
    second_bias_at = after(bias_at, ADDRESS * MOST_TILE_ROWS)
    x_amx = after(second_bias_at, ADDRESS * MOST_TILE_ROWS)
    h_amx = after(x_amx, amx_size(form, rows, features))
    pairs_amx = after(h_amx, amx_size(form, rows, units))
    amx_configuration = after(pairs_amx, amx_size(form, capacity, features))
    widened = after(amx_configuration, AMX_CONFIGURATION if form >= AMX else 0)
    chunk = after(widened, panel_size(form, features + units, lanes))
    end = after(chunk, max(chunk_size, 8 * (steps + 2)))
    mine = member * (end - inputs)
    return Work(
        h_even=h_even, h_odd=h_odd, held=held, reset_h=reset_h, row=row, inputs=inputs + mine, input_row=input_row,
        valid_steps=valid_steps + mine, row_of=row_of + mine, step_counts=step_counts + mine, x_at=x_at + mine, next_at=next_at + mine,
        sums_at=sums_at + mine, second_sums_at=second_sums_at + mine, h_even_at=h_even_at + mine, h_odd_at=h_odd_at + mine,
        reset_h_at=reset_h_at + mine, pairs_at=pairs_at + mine, result=result + mine, second_result=second_result + mine,
        bias_at=bias_at + mine, second_bias_at=second_bias_at + mine, x_amx=x_amx + mine, h_amx=h_amx + mine, pairs_amx=pairs_amx + mine,
        amx_configuration=amx_configuration + mine, widened=widened + mine, chunk=chunk + mine, end=end + mine,
    )  # fmt: skip


def lay_out_dense(start: int, features: int, lanes: int, form: int) -> DenseWork:
    """Divide up the scratch of a dense kernel whose weights AMX reads."""
    configuration = after(start, 0)
    result = after(configuration, AMX_CONFIGURATION)
    rows = after(result, amx_result(lanes, form))
    return DenseWork(configuration, result, rows, after(rows, amx_size(form, DENSE_ROWS, features)))


def lay_out_attention(start: int, others: int, features: int, size: int, lanes: int) -> Attending:
    """Divide up the scratch of attention over ``others`` steps, whose keys have so many features and whose values are of a size."""
    row = FLOAT * state_row(others, lanes)
    queries = min(max(SCORES_BYTES // row // MOST_TILE_ROWS * MOST_TILE_ROWS, MOST_TILE_ROWS), MOST_QUERIES)
    panel = MOST_VECTORS * lanes
    keys = after(start, 0)
    values = after(keys, FLOAT * padded_units(others, panel) * features)
    scores = after(values, FLOAT * others * max(size, lanes))
    return Attending(keys=keys, values=values, scores=scores, row=row, queries=queries, end=after(scores, queries * row))


#: What kernels compile, each after those that it calls.
COMPILED = (
    padded_units, block_units, panel_vectors, last_width, last_vectors, columns, row_vectors, columns_in, amx_steps, panel_offset,
    row_parts, amx_size, panel_size, amx_result, state_row, chunk_rows, kept_row, dots_product, packs_product, after, lay_out,
    lay_out_dense, lay_out_attention,
)  # fmt: skip


def weights_count(form: int, size: int, columns: int) -> int:
    """Numbers that packed weights of so many k and columns hold."""
    if form < AMX:
        return size * columns
    return amx_steps(size) * AMX_DEPTH * columns * (2 if form == SPLIT else 1)


# -- arrays -------------------------------------------------------------------------------------------------------------------


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


def pack_panels(matrix: np.ndarray, gates: int, lanes: int) -> np.ndarray:
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


def panels_of(units: int, gates: int, lanes: int) -> list[int]:
    """The vectors in a row of each panel."""
    last = last_vectors(units, gates, lanes)
    return [panel_vectors(gates)] * (units // block_units(gates, lanes)) + ([last] if last else [])


def pack_bias(vector: np.ndarray | None, gates: int, units: int, lanes: int) -> np.ndarray:
    """Pack a bias (gates * units,) as a panel-ordered row; zeros for None."""
    if vector is None:
        vector = np.zeros(gates * units, np.float32)
    return pack_panels(np.asarray(vector).reshape(1, -1), gates, lanes)


def pack_dense(matrix: np.ndarray, lanes: int) -> np.ndarray:
    """Pack the kernel (features, units) of the ``dense`` kernel."""
    features, units = matrix.shape
    if units > DOT_UNITS:
        return pack_panels(matrix, 1, lanes)
    by_unit = np.zeros((units, padded_units(features, lanes)), np.float32)
    by_unit[:, :features] = np.asarray(matrix).T
    return aligned(by_unit)


def pack_dense_bias(vector: np.ndarray, lanes: int) -> np.ndarray:
    """Pack the bias (units,) of the ``dense`` kernel."""
    return pack_bias(vector, 1, len(vector), lanes)


# -- scratch of the recurrent kernels -----------------------------------------------------------------------------------------


@cache
def recurrent_scratch(
    features: int, steps: int, units: int, columns: int, lanes: int, members: int = 1, form: int = FULL
) -> tuple[int, int]:
    """Scratch of a recurrent kernel that ``members`` threads compute together: bytes for each row, and bytes on top of those.

    It is what :func:`lay_out` comes to, for any number of rows.
    """

    def end(rows: int) -> int:
        return lay_out(0, members - 1, rows, steps, features, units, columns, lanes, form).end

    # Each part has a multiple of 4 bytes for each row, so that rounding up to the alignment comes round after so many rows.
    period = ALIGNMENT // 4
    row = (end(1 + period) - end(1)) // period
    # The scratch itself may begin anywhere.
    return row, ALIGNMENT + max(end(rows) - rows * row for rows in range(1, 1 + period))


def dense_scratch(features: int, lanes: int, form: int) -> int:
    """Bytes of scratch that a dense kernel takes, whatever the number of rows."""
    if form == FULL:
        return 0
    return ALIGNMENT + (lay_out_dense(0, features, lanes, form).end if form >= AMX else panel_size(form, features, lanes))


# -- scratch of attention -----------------------------------------------------------------------------------------------------


def attention_scratch(others: int, features: int, size: int, lanes: int) -> int:
    """Bytes of scratch that attention takes, whatever the number of rows."""
    return ALIGNMENT + lay_out_attention(0, others, features, size, lanes).end
