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

from .target import LANES, LEVEL, TILE_ROWS
from .vector import F32, I32, I64, VF, muladd, pointer, prefetched, splatted

#: One row alone takes several panels at once, so that enough independent chains hide the latency of a multiply-add. Of three
#: vectors no more than two: those of 64 units fit the first cache, and are there when the next step starts with them.
WIDE = {1: 4, 2: 4, 3: 2, 4: 2}  # vectors of a panel -> panels

#: Tiles of so many rows take so many steps of k at a time: the fewer instructions beside the multiply-adds the better, above all on a
#: core that is shared, where half as many are issued. Where products need registers of their own there are none for that.
MANY_ROWS = min(4, TILE_ROWS)
AT_ONCE = 2 if LEVEL.fused else 1

#: These tiles have the time to fetch weights that the second cache does not keep, into the first one and so many steps of k before they
#: are needed: the CPU's own guesses come late.
AHEAD = 16

_ARGUMENTS = ("c", "c_row", "z", "z_offset", "a1", "b1", "k1", "a2", "b2", "k2", "fetched")
_TABLE = "fastlstm_tiles"
_TYPE = ir.FunctionType(ir.VoidType(), [I64] * len(_ARGUMENTS))


def _define(module: ir.Module, rows: int, vectors: int, panels: int) -> ir.Function:
    """The tile's LLVM function. A function of its own: inlined, LLVM spills the accumulators."""
    function = cgutils.get_or_insert_function(module, _TYPE, f"tile_{rows}x{vectors}x{panels}")
    if not function.is_declaration:
        return function
    function.attributes.add("noinline")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    c, c_row, z, z_offset, a1, b1, k1, a2, b2, k2, fetched = function.args
    width = panels * vectors

    def vector(address: ir.Value, n: int) -> ir.Value:
        return b.load(pointer(b, address, I64(n * LANES), F32, VF), align=4)

    sums = []
    for m in range(rows):
        row = b.add(b.load(pointer(b, z, I64(m), I64)), z_offset)
        sums += [vector(row, n) for n in range(width)]
    for a, weights, k in ((a1, b1, k1), (a2, b2, k2)):
        addresses = [b.load(pointer(b, a, I64(m), I64)) for m in range(rows)]
        sums = _accumulate(b, sums, addresses, weights, k, vectors, panels, fetched)
    for i, value in enumerate(sums):
        row = b.add(c, b.mul(c_row, I64(i // width)))
        b.store(value, pointer(b, row, I64(i % width * LANES), F32, VF), align=4)
    b.ret_void()
    return function


def _accumulate(
    b: ir.IRBuilder,
    sums: list[ir.Value],
    rows: list[ir.Value],
    weights: ir.Value,
    count: ir.Value,
    vectors: int,
    panels: int,
    fetched: ir.Value,
) -> list[ir.Value]:
    """sums + rows @ weights, over ``count`` values of each row."""
    at_once = AT_ONCE if len(rows) >= MANY_ROWS else 1
    before, most, rest, after = b.block, *(b.append_basic_block(name) for name in ("most", "rest", "after"))
    step_bytes = vectors * LANES * 4
    stride = b.mul(count, I64(step_bytes))  # from panel to panel
    panel_starts = [b.add(weights, b.mul(stride, I64(p))) for p in range(panels)]
    weight_at = [(start, n) for start in panel_starts for n in range(vectors)]
    following_panel = b.add(weights, b.mul(b.and_(fetched, I64(-4)), count))
    whole = b.and_(count, I64(-at_once))

    def weight(start: ir.Value, n: int, offset: ir.Value) -> ir.Value:
        return b.load(b.gep(pointer(b, start, offset, F32, VF), [I64(n)]), align=4)

    def step(k: ir.Value, accumulators: list[ir.Value]) -> list[ir.Value]:
        offset = b.mul(k, I64(vectors * LANES))
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
        return updated

    def loop(lines: int) -> tuple[ir.Block, list[ir.Value]]:
        """The loop over k that fetches so many lines of the next panel for two steps: its block, and the sums that it leaves."""
        body = b.append_basic_block("k")
        b.position_at_end(body)
        k = b.phi(I64)
        accumulators = updated = [b.phi(VF) for _ in sums]
        for n in range(at_once):
            for start in panel_starts if lines else ():
                place = b.add(start, b.mul(k, I64(step_bytes)))
                for line in range(n * step_bytes, (n + 1) * step_bytes, 64):
                    prefetched(b, place, AHEAD * step_bytes + line)
            if n < lines:
                prefetched(b, b.add(following_panel, b.mul(k, I64(lines * 32))), 64 * n, locality=2)
            updated = step(b.add(k, I64(n)), updated)
        following = b.add(k, I64(at_once))
        k.add_incoming(I64(0), before)
        k.add_incoming(following, body)
        for phi, start, value in zip(accumulators, sums, updated, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(value, body)
        b.cbranch(b.icmp_signed("<", following, whole), body, most)
        return body, updated

    loops = [loop(lines) for lines in ((0, 1, 2) if len(rows) >= MANY_ROWS else (0,))]
    b.position_at_end(before)
    choice = b.zext(b.icmp_signed(">", whole, I64(0)), I64)
    if len(loops) > 1:
        choice = b.mul(choice, b.add(b.and_(fetched, I64(3)), I64(1)))
    start = b.switch(choice, most)
    for number, (body, _) in enumerate(loops, 1):
        start.add_case(I64(number), body)

    b.position_at_end(most)
    so_far = _joined(b, [(before, sums), *loops])
    b.cbranch(b.icmp_signed("<", whole, count), rest, after)
    b.position_at_end(rest)
    last = step(whole, so_far)
    b.branch(after)
    b.position_at_end(after)
    return _joined(b, [(most, so_far), (rest, last)])


def _joined(b: ir.IRBuilder, ways: list[tuple[ir.Block, list[ir.Value]]]) -> list[ir.Value]:
    """The values that come from one of several blocks."""
    phis = [b.phi(VF) for _ in ways[0][1]]
    for block, values in ways:
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, block)
    return phis


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
def tile(typingctx, which, c, c_row, z, z_offset, a1, b1, k1, a2, b2, k2, fetched):  # type: ignore[no-untyped-def]
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
    fetched
        Which part of the next panel is fetched into the second cache meanwhile, as :func:`.panels.fetched_by` says; 0: nothing.
    """

    def generate(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        module = b.module
        if _TABLE not in module.globals:
            ir.GlobalVariable(module, ir.ArrayType(_TYPE.as_pointer(), 4 * TILE_ROWS + 4), _TABLE).global_constant = True
        b.call(b.load(b.gep(module.globals[_TABLE], [I32(0), args[0]])), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * (1 + len(_ARGUMENTS))), generate
