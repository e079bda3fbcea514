"""Memory by address: the loads and stores of kernels, the stack, prefetching, and copying.

An address is an int64; an index counts elements from there on. Nothing is checked: contracts say what a kernel may touch
(``program/contracts/``). Vectors need no alignment.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .flags import compiled
from .intrinsics import (
    F32,
    I8,
    I16,
    I32,
    I64,
    SECOND_CACHE,
    VB,
    VF,
    VH,
    VI,
    halves,
    intrinsic,
    pointer,
    prefetched,
    shuffled,
    splatted,
    widened,
)
from .target import LANES
from .vector import BOOLS, FLOATS, FLOATS_PAIR, PAIR, splat

_N, _F, _NOTHING = types.int64, types.float32, types.void


# -- vectors --------------------------------------------------------------------------------------------------------------------


@intrinsic(FLOATS, _N, _N)
def load(b, address, i):
    """LANES floats from element i on."""
    return b.load(pointer(b, address, i, F32, VF), align=4)


@intrinsic(_NOTHING, _N, _N, FLOATS)
def store(b, address, i, v):
    """Store LANES floats from element i on."""
    b.store(v, pointer(b, address, i, F32, VF), align=4)


@intrinsic(FLOATS_PAIR, _N, _N, _N)
def load_pair(b, address, step, i):
    """LANES floats from element i on, and as many ``step`` bytes after those."""
    low, high = (b.load(pointer(b, start, i, F32, VF), align=4) for start in (address, b.add(address, step)))
    return shuffled(b, low, high, list(range(PAIR)))


@intrinsic(_NOTHING, _N, _N, _N, FLOATS_PAIR)
def store_pair(b, address, step, i, v):
    """Store where :func:`load_pair` loads."""
    for start, half in zip((address, b.add(address, step)), halves(b, v), strict=True):
        b.store(half, pointer(b, start, i, F32, VF), align=4)


@intrinsic(FLOATS, _N, _N, _N)
def load_one(b, address, step, i):
    """:func:`load`, called as :func:`load_pair` is."""
    return b.load(pointer(b, address, i, F32, VF), align=4)


@intrinsic(_NOTHING, _N, _N, _N, FLOATS)
def store_one(b, address, step, i, v):
    """:func:`store`, called as :func:`store_pair` is."""
    b.store(v, pointer(b, address, i, F32, VF), align=4)


def _first(b: ir.IRBuilder, count: ir.Value) -> ir.Value:
    """Truth for the first ``count`` lanes."""
    return b.icmp_signed("<", ir.Constant(VI, list(range(LANES))), splatted(b, b.trunc(count, I32)))


@intrinsic(BOOLS, _N)
def first_lanes(b, count):
    """True in the first ``count`` lanes, of which there may be none, or more than a vector has."""
    return _first(b, count)


@intrinsic(BOOLS, _N, _N, _N)
def load_flags(b, address, i, count):
    """Which of the ``count`` bytes from number i on are not 0; false in the other lanes. Memory after those is not touched."""
    kind = ir.VectorType(I8, LANES)
    function = cgutils.get_or_insert_function(
        b.module, ir.FunctionType(kind, [kind.as_pointer(), I32, VB, kind]), f"llvm.masked.load.v{LANES}i8.p0"
    )
    zeros = ir.Constant(kind, [0] * LANES)
    found = b.call(function, [pointer(b, address, i, I8, kind), I32(1), _first(b, count), zeros])
    return b.icmp_unsigned("!=", found, zeros)


@intrinsic(FLOATS, _N, _N, _N, _F)
def load_first(b, address, i, count, fill):
    """The ``count`` floats from element i on, ``fill`` in the other lanes; memory after those is not touched."""
    kind = ir.FunctionType(VF, [VF.as_pointer(), I32, VB, VF])
    function = cgutils.get_or_insert_function(b.module, kind, f"llvm.masked.load.v{LANES}f32.p0")
    return b.call(function, [pointer(b, address, i, F32, VF), I32(4), _first(b, count), splatted(b, fill)])


@intrinsic(_NOTHING, _N, _N, FLOATS, _N)
def store_first(b, address, i, v, count):
    """Store the first ``count`` lanes from element i on."""
    kind = ir.FunctionType(ir.VoidType(), [VF, VF.as_pointer(), I32, VB])
    function = cgutils.get_or_insert_function(b.module, kind, f"llvm.masked.store.v{LANES}f32.p0")
    b.call(function, [v, pointer(b, address, i, F32, VF), I32(4), _first(b, count)])


@compiled
def load_part(x: int, i: int, left: int) -> Any:
    """A vector from element i on of an array that has ``left`` more: zeros after its end."""
    return load(x, i) if left >= LANES else load_first(x, i, left, 0.0)


@compiled
def store_part(y: int, i: int, value: Any, left: int) -> None:
    """Store a vector from element i on in an array that has ``left`` more: up to its end."""
    if left >= LANES:
        store(y, i, value)
    else:
        store_first(y, i, value, left)


@intrinsic(_NOTHING, _N, _N, _N, _N)
def transpose_block(b, y, y_row, x, x_row):
    """y = x transposed, LANES x LANES floats; rows of so many bytes."""
    rows = [b.load(pointer(b, b.add(x, b.mul(x_row, I64(n))), I64(0), F32, VF), align=4) for n in range(LANES)]
    # Rows n and n + distance change places with every second stretch of so many lanes, at half the distance every time.
    distance = LANES // 2
    while distance:
        low = [lane if lane & distance == 0 else lane - distance + LANES for lane in range(LANES)]
        high = [lane + distance if lane & distance == 0 else lane + LANES for lane in range(LANES)]
        for n in range(LANES):
            if n & distance == 0:
                one, other = rows[n], rows[n + distance]
                rows[n], rows[n + distance] = shuffled(b, one, other, low), shuffled(b, one, other, high)
        distance //= 2
    for n, row in enumerate(rows):
        b.store(row, pointer(b, b.add(y, b.mul(y_row, I64(n))), I64(0), F32, VF), align=4)


@intrinsic(FLOATS, _N, _N)
def load_halves(b, address, i):
    """LANES numbers of bfloat16 from element i on, as floats."""
    return widened(b, pointer(b, address, i, I16, VH))


@intrinsic(_NOTHING, _N, _N, FLOATS)
def store_halves(b, address, i, v):
    """Store the upper halves of the bits of floats, bfloat16, from element i on."""
    upper = b.lshr(b.bitcast(v, VI), ir.Constant(VI, [16] * LANES))
    b.store(b.trunc(upper, VH), pointer(b, address, i, I16, VH), align=2)


# -- numbers --------------------------------------------------------------------------------------------------------------------


@intrinsic(_F, _N, _N)
def load_float(b, address, i):
    """Float number i."""
    return b.load(pointer(b, address, i, F32))


@intrinsic(_NOTHING, _N, _N, _F)
def store_float(b, address, i, x):
    """Store float number i."""
    b.store(x, pointer(b, address, i, F32))


@intrinsic(_N, _N, _N)
def load_int32(b, address, i):
    """int32 number i."""
    return b.sext(b.load(pointer(b, address, i, I32)), I64)


@intrinsic(_NOTHING, _N, _N, _N)
def store_int32(b, address, i, n):
    """Store int32 number i."""
    b.store(b.trunc(n, I32), pointer(b, address, i, I32))


@intrinsic(_N, _N, _N)
def load_int(b, address, i):
    """int64 number i."""
    return b.load(pointer(b, address, i, I64))


@intrinsic(_NOTHING, _N, _N, _N)
def store_int(b, address, i, n):
    """Store int64 number i."""
    b.store(n, pointer(b, address, i, I64))


@intrinsic(_N, _N, _N)
def load_byte(b, address, i):
    """Byte number i."""
    return b.zext(b.load(pointer(b, address, i, I8)), I64)


@intrinsic(_NOTHING, _N, _N, _N)
def store_byte(b, address, i, n):
    """Store byte number i."""
    b.store(b.trunc(n, I8), pointer(b, address, i, I8))


# -- caches and the stack -------------------------------------------------------------------------------------------------------


@intrinsic(_NOTHING, _N)
def prefetch(b, address):
    """Have the second cache fetch the line at an address, which need not be valid."""
    prefetched(b, address, into=SECOND_CACHE)


def stack(size: int) -> Any:
    """A function without arguments: the address of ``size`` bytes on the stack, aligned to 64, the same at every call of it."""

    def place(b):
        with b.goto_entry_block():
            space = b.alloca(I8, I64(size))
            space.align = 64
            return b.ptrtoint(space, I64)

    return intrinsic(_N)(place)


# -- arrays ---------------------------------------------------------------------------------------------------------------------


@compiled
def copy(y: int, x: int, size: int) -> None:
    """Copy floats."""
    whole = size & -LANES
    for i in range(0, whole, LANES):
        store(y, i, load(x, i))
    if whole < size:
        store_first(y, whole, load_first(x, whole, size - whole, 0.0), size - whole)


@compiled
def widen(y: int, x: int, size: int) -> None:
    """Copy bfloat16, a multiple of LANES, as floats."""
    for i in range(0, size, LANES):
        store(y, i, load_halves(x, i))


@compiled
def transpose(y: int, y_row: int, x: int, x_row: int, rows: int, columns: int) -> None:
    """y (rows, columns) = x (columns, rows) transposed; rows of so many bytes."""
    whole_rows, whole_columns = rows & -LANES, columns & -LANES
    for r in range(0, whole_rows, LANES):
        for c in range(0, whole_columns, LANES):
            transpose_block(y + r * y_row + 4 * c, y_row, x + c * x_row + 4 * r, x_row)
    for r in range(rows):
        for c in range(whole_columns if r < whole_rows else 0, columns):
            store_float(y + r * y_row, c, load_float(x + c * x_row, r))


@compiled
def clear(y: int, size: int) -> None:
    """Store zeros."""
    whole = size & -LANES
    for i in range(0, whole, LANES):
        store(y, i, splat(0.0))
    if whole < size:
        store_first(y, whole, splat(0.0), size - whole)


@compiled
def fill_addresses(table: int, count: int, address: int, step: int) -> None:
    """Store ``count`` addresses, ``step`` bytes apart."""
    for i in range(count):
        store_int(table, i, address + i * step)
