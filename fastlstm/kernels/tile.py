"""The register tile: C = Z + A1 @ B1 + A2 @ B2 for a few rows and one panel of weights, accumulators in registers throughout.

Every row has its own addresses, so that the rows of one tile may read different timesteps. Whatever the number of rows, each
element of C is the same chain of multiply-adds: Z, then A1 in order of k, then A2.
"""

from __future__ import annotations

import ctypes
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .target import LANES, TILE_ROWS
from .vector import F32, I32, I64, VF, muladd, pointer, prefetched, splatted

#: One row alone takes several panels at once, so that enough independent chains hide the latency of a multiply-add. Of three
#: vectors no more than two: those of 64 units fit the first cache, and are there when the next step starts with them.
WIDE = {1: 4, 2: 4, 3: 2, 4: 2}  # vectors of a panel -> panels

#: Weights are fetched so many steps of k ahead where a panel is longer than what the first cache keeps, and rows enough to hide
#: that work: the CPU's own guesses come late. One row alone is read faster without.
AHEAD, LONG, AHEAD_ROWS = 16, 96, 4

_ARGUMENTS = ("c", "c_row", "z", "z_offset", "a1", "b1", "k1", "a2", "b2", "k2", "jump")
_TABLE = "fastlstm_tiles"
_TYPE = ir.FunctionType(ir.VoidType(), [I64] * len(_ARGUMENTS))


def _define(module: ir.Module, rows: int, vectors: int, panels: int) -> ir.Function:
    """The tile's LLVM function. A function of its own: inlined, LLVM spills the accumulators."""
    function = cgutils.get_or_insert_function(module, _TYPE, f"tile_{rows}x{vectors}x{panels}")
    if not function.is_declaration:
        return function
    function.attributes.add("noinline")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    c, c_row, z, z_offset, a1, b1, k1, a2, b2, k2, jump = function.args
    width = panels * vectors

    def vector(address: ir.Value, n: int) -> ir.Value:
        return b.load(pointer(b, address, I64(n * LANES), F32, VF), align=4)

    sums = []
    for m in range(rows):
        row = b.add(b.load(pointer(b, z, I64(m), I64)), z_offset)
        sums += [vector(row, n) for n in range(width)]
    for a, weights, k in ((a1, b1, k1), (a2, b2, k2)):
        addresses = [b.load(pointer(b, a, I64(m), I64)) for m in range(rows)]
        sums = _accumulate(b, sums, addresses, weights, k, vectors, panels, jump)
    for i, value in enumerate(sums):
        row = b.add(c, b.mul(c_row, I64(i // width)))
        b.store(value, pointer(b, row, I64(i % width * LANES), F32, VF), align=4)
    b.ret_void()
    return function


def _accumulate(
    b: ir.IRBuilder, sums: list[ir.Value], rows: list[ir.Value], weights: ir.Value, count: ir.Value, vectors: int, panels: int,
    jump: ir.Value,
) -> list[ir.Value]:
    """sums + rows @ weights, over ``count`` values of each row."""
    before, after = b.block, b.append_basic_block("after")
    stride = b.mul(count, I64(vectors * LANES * 4))  # from panel to panel
    panel_starts = [b.add(weights, b.mul(stride, I64(p))) for p in range(panels)]
    weight_at = [(start, n) for start in panel_starts for n in range(vectors)]
    following_panel = b.add(weights, b.mul(jump, count))

    def weight(start: ir.Value, n: int, offset: ir.Value) -> ir.Value:
        return b.load(b.gep(pointer(b, start, offset, F32, VF), [I64(n)]), align=4)

    def loop(ahead: bool) -> tuple[ir.Block, list[ir.Value]]:
        """The loop over k: its block, and the sums that it leaves."""
        body = b.append_basic_block("k")
        b.position_at_end(body)
        k = b.phi(I64)
        accumulators = [b.phi(VF) for _ in sums]
        offset = b.mul(k, I64(vectors * LANES))
        for start in panel_starts if ahead else ():
            for line in range(0, vectors * LANES * 4, 64):
                prefetched(b, b.add(start, b.mul(offset, I64(4))), AHEAD * vectors * LANES * 4 + line)
        if ahead:
            prefetched(b, b.add(following_panel, b.mul(k, I64(64))), locality=2)
        updated = list(accumulators)
        if len(rows) < len(weight_at):
            # Fewer rows than vectors: the rows' values stay in registers while the weights pass by, which 16 registers need.
            xs = [splatted(b, b.load(pointer(b, row, k, F32))) for row in rows]
            for n, place in enumerate(weight_at):
                w = weight(*place, offset)
                for m, x in enumerate(xs):
                    updated[m * len(weight_at) + n] = muladd(b, x, w, accumulators[m * len(weight_at) + n])
        else:
            ws = [weight(*place, offset) for place in weight_at]
            for m, row in enumerate(rows):
                x = splatted(b, b.load(pointer(b, row, k, F32)))
                for n, w in enumerate(ws):
                    updated[m * len(ws) + n] = muladd(b, x, w, accumulators[m * len(ws) + n])
        following = b.add(k, I64(1))
        k.add_incoming(I64(0), before)
        k.add_incoming(following, body)
        for phi, start, value in zip(accumulators, sums, updated, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(value, body)
        b.cbranch(b.icmp_signed("<", following, count), body, after)
        return body, updated

    loops = [loop(ahead) for ahead in ((False, True) if len(rows) >= AHEAD_ROWS else (False,))]
    b.position_at_end(before)
    some = b.icmp_signed(">", count, I64(0))
    if len(loops) == 1:
        b.cbranch(some, loops[0][0], after)
    else:
        choice = b.switch(b.add(b.zext(some, I32), b.zext(b.icmp_signed(">", count, I64(LONG)), I32)), after)
        for number, (body, _) in enumerate(loops, 1):
            choice.add_case(I32(number), body)

    b.position_at_end(after)
    results = []
    for n, start in enumerate(sums):
        phi = b.phi(VF)
        phi.add_incoming(start, before)
        for body, updated in loops:
            phi.add_incoming(updated[n], body)
        results.append(phi)
    return results


def tiles() -> str:
    """The LLVM code of all tiles and the table of their addresses, to be linked with what calls :func:`tile`.

    The table is ordered by rows and vectors; behind those stand the wide ones by vectors.
    """
    module = ir.Module("tiles")
    shapes = [(rows, vectors, 1) for rows in range(1, TILE_ROWS + 1) for vectors in range(1, 5)]
    shapes += [(1, vectors, WIDE[vectors]) for vectors in range(1, 5)]
    functions = [_define(module, *shape) for shape in shapes]
    table = ir.GlobalVariable(module, ir.ArrayType(_TYPE.as_pointer(), len(functions)), _TABLE)
    table.initializer = ir.Constant(table.type.pointee, functions)
    table.global_constant = True
    return str(module)


# Numba compiles each caller by itself too, only to throw it away; it has to find something of that name.
llvm.add_symbol(_TABLE, ctypes.addressof(_placeholder := ctypes.c_int64()))


@intrinsic
def tile(typingctx, which, c, c_row, z, z_offset, a1, b1, k1, a2, b2, k2, jump):  # type: ignore[no-untyped-def]
    """Run a tile.

    Parameters
    ----------
    which
        Its number in the table: 4 * (rows - 1) + vectors - 1, or 4 * TILE_ROWS + vectors - 1 for one row and several panels.
    c, c_row
        Address of the result, and bytes from one row of it to the next.
    z, z_offset
        Address of the rows' addresses of what the sums start from, and bytes to add to each.
    a1, b1, k1
        Address of the addresses of the rows of A1; the panel; values in a row.
    a2, b2, k2
        The same for A2. k may be 0.
    jump
        The second cache meanwhile fetches a line for each k, from ``jump`` bytes for each k behind a panel on: a part of the next
        panel, see :class:`Tile`. 0: nothing is to come.
    """

    def generate(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        module = b.module
        if _TABLE not in module.globals:
            ir.GlobalVariable(module, ir.ArrayType(_TYPE.as_pointer(), 4 * TILE_ROWS + 4), _TABLE).global_constant = True
        b.call(b.load(b.gep(module.globals[_TABLE], [I32(0), args[0]])), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * (1 + len(_ARGUMENTS))), generate
