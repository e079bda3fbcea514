"""The register tile of products of data with data: C = A @ B for a few rows and columns, accumulators in registers throughout.

Beside ``tile.py``, whose B is weights packed in panels: here rows of A, B and C lie as far apart as they do in tensors, and nothing is
packed. Where columns are no whole number of vectors, the last vector overlaps the one before.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..program.layout import MOST_VECTORS
from .flags import inlined
from .intrinsics import F32, I32, I64, VF, muladd, pointer, splatted
from .target import TILE_ROWS, VECTOR


class Matrices(NamedTuple):
    """A tile's arguments; rows are so many bytes apart."""

    y: int  # address of the result
    y_row: int
    a: int
    a_row: int
    b: int
    b_row: int
    last: int  # bytes from the first column to those of the last vector, in b and y
    k: int  # values that each sum has; at least one


#: The table of the tiles' addresses: a global of the object file, where the kernel finds it.
_TABLE = "fastlstm_data_tiles"
_TYPE = ir.FunctionType(ir.VoidType(), [I64] * len(Matrices._fields))


def _define(module: ir.Module, rows: int, vectors: int) -> ir.Function:
    """The tile's LLVM function. A function of its own: inlined, LLVM spills the accumulators."""
    function = ir.Function(module, _TYPE, f"tile_of_data_{rows}x{vectors}")
    function.attributes.add("noinline")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    m = Matrices(*function.args)
    starts = [b.add(m.a, b.mul(m.a_row, I64(row))) for row in range(rows)]
    before = b.block
    body, after = b.append_basic_block("k"), b.append_basic_block("after")
    b.branch(body)
    b.position_at_end(body)
    k, place = b.phi(I64), b.phi(I64)
    sums = [b.phi(VF) for _ in range(rows * vectors)]

    def at(base: ir.Value, n: int) -> ir.Value:
        """The pointer to the vector of column n of a row."""
        address = b.add(base, m.last if n == vectors - 1 else I64(n * VECTOR))
        return pointer(b, address, I64(0), F32, VF)

    def value(start: ir.Value) -> ir.Value:
        """The value of a row of A at k, in every lane."""
        return splatted(b, b.load(pointer(b, start, k, F32)))

    updated = list(sums)
    if rows < vectors:
        # Fewer rows than vectors: the rows' values stay in registers while B passes by, which 16 registers need.
        values = [value(start) for start in starts]
        for n in range(vectors):
            column = b.load(at(place, n), align=4)
            for row, x in enumerate(values):
                updated[row * vectors + n] = muladd(b, x, column, sums[row * vectors + n])
    else:
        columns = [b.load(at(place, n), align=4) for n in range(vectors)]
        for row, start in enumerate(starts):
            x = value(start)
            for n, column in enumerate(columns):
                updated[row * vectors + n] = muladd(b, x, column, sums[row * vectors + n])
    following = b.add(k, I64(1))
    for phi, first, value in [(k, I64(0), following), (place, m.b, b.add(place, m.b_row))]:
        phi.add_incoming(first, before)
        phi.add_incoming(value, body)
    for phi, value in zip(sums, updated, strict=True):
        phi.add_incoming(ir.Constant(VF, [0.0] * VF.count), before)
        phi.add_incoming(value, body)
    b.cbranch(b.icmp_signed("<", following, m.k), body, after)
    b.position_at_end(after)
    for i, value in enumerate(updated):
        row = b.add(m.y, b.mul(m.y_row, I64(i // vectors)))
        b.store(value, at(row, i % vectors), align=4)
    b.ret_void()
    return function


def tiles() -> str:
    """The LLVM code of all tiles and the table of their addresses, to be linked with what calls :func:`data_tile`."""
    module = ir.Module("data_tiles")
    functions = [_define(module, rows, vectors) for rows in range(1, TILE_ROWS + 1) for vectors in range(1, MOST_VECTORS + 1)]
    table = ir.GlobalVariable(module, ir.ArrayType(_TYPE.as_pointer(), len(functions)), _TABLE)
    table.initializer = ir.Constant(table.type.pointee, functions)
    table.global_constant = True
    return str(module)


@inlined
def data_tile_number(rows: int, vectors: int) -> int:
    """The number in the table of the tile for so many rows and vectors of columns."""
    return MOST_VECTORS * (rows - 1) + vectors - 1


@intrinsic
def data_tile(typingctx, which, matrices):
    """Run the tile of that number for :class:`Matrices`."""

    def generate(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        module = b.module
        if _TABLE not in module.globals:
            ir.GlobalVariable(module, ir.ArrayType(_TYPE.as_pointer(), MOST_VECTORS * TILE_ROWS), _TABLE).global_constant = True
        b.call(b.load(b.gep(module.globals[_TABLE], [I32(0), args[0]])), cgutils.unpack_tuple(b, args[1]))
        return context.get_dummy_value()

    return types.void(types.int64, matrices), generate
