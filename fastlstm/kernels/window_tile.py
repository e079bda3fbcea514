"""The register tile of convolutions: C = max(bias + A @ B, floor) for a few windows and one panel of weights, accumulators in registers.

A window is made of runs: so many values that lie side by side in memory, the same distances apart in every window. The windows of a tile
are one after another along an axis, so that the address of each is a multiple of one step from the first. Nothing is copied: A is read
where it is. A tile has two operands, one after the other in the same accumulators; the second may be empty.

Each element of C is the same chain of multiply-adds whatever the number of windows: the bias, then the runs in order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..program.layout import FLOAT, MOST_VECTORS
from .flags import inlined
from .intrinsics import F32, I32, I64, VF, muladd, numbers_in, pointer, splatted
from .target import LANES, TILE_ROWS, VECTOR

#: The most windows of a tile: the fewer vectors a panel has, the more, as long as one register holds the addresses of two of them.
MOST_WINDOWS = 12
#: By the vectors of a panel, how many windows keep their accumulators in registers.
WINDOWS = {vectors: min(MOST_WINDOWS, TILE_ROWS * MOST_VECTORS // vectors) for vectors in range(1, MOST_VECTORS + 1)}


class Runs(NamedTuple):
    """What a tile multiplies: windows, and the panel of weights."""

    base: int  # address of the first window
    step: int  # bytes from window to window
    table: int  # address of the runs' distances from a window's start: int64, in bytes
    count: int  # of runs; may be 0
    size: int  # values of a run
    weights: int  # address of the panel


class Windows(NamedTuple):
    """A tile's arguments."""

    result: int  # address
    result_row: int  # bytes from one window's result to the next
    bias: int  # address of the panel's part of it
    floor: float  # what is less becomes this
    first: Runs
    second: Runs


#: The table of the tiles' addresses: a global of the object file, where every kernel finds it.
_TABLE = "fastlstm_window_tiles"
_RUNS = [I64] * len(Runs._fields)
_TYPE = ir.FunctionType(ir.VoidType(), [I64, I64, I64, F32, *_RUNS, *_RUNS])
_SHAPES = [(windows, vectors) for vectors in WINDOWS for windows in range(1, MOST_WINDOWS + 1)]


def _define(module: ir.Module, windows: int, vectors: int) -> ir.Function:
    """The tile's LLVM function. A function of its own: inlined, LLVM spills the accumulators."""
    function = ir.Function(module, _TYPE, f"tile_of_windows_{windows}x{vectors}")
    function.attributes.add("noinline")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    result, result_row, bias, floor, *operands = function.args
    start = [b.load(pointer(b, bias, I64(n * LANES), F32, VF), align=4) for n in range(vectors)]
    sums = start * windows
    for operand in (Runs(*operands[: len(_RUNS)]), Runs(*operands[len(_RUNS) :])):
        sums = _accumulated(b, windows, vectors, operand, sums)
    low = splatted(b, floor)
    for i, value in enumerate(sums):
        kept = b.select(b.fcmp_ordered("<", value, low), low, value)  # NaN is kept
        row = b.add(result, b.mul(result_row, I64(i // vectors)))
        b.store(kept, pointer(b, row, I64(i % vectors * LANES), F32, VF), align=4)
    b.ret_void()
    return function


def _accumulated(b: ir.IRBuilder, windows: int, vectors: int, runs: Runs, sums: list[ir.Value]) -> list[ir.Value]:
    """The sums with the products of one operand added: a loop over its runs, and in it one over their values."""
    distances = [b.mul(runs.step, I64(n)) for n in range(windows)]
    size = b.mul(runs.size, I64(FLOAT))
    before = b.block
    run_block, value_block, next_block, after = (b.append_basic_block(name) for name in ("run", "value", "next", "after"))
    b.cbranch(b.icmp_signed(">", runs.count, I64(0)), run_block, after)

    b.position_at_end(run_block)
    run, panel = b.phi(I64), b.phi(I64)
    so_far = [b.phi(VF) for _ in sums]
    place = b.add(runs.base, b.load(pointer(b, runs.table, run, I64)))
    end = b.add(place, size)
    b.branch(value_block)

    b.position_at_end(value_block)
    at, weights = b.phi(I64), b.phi(I64)
    accumulators = [b.phi(VF) for _ in sums]
    updated = _with_products(b, [b.add(at, distance) for distance in distances], weights, vectors, accumulators)
    following, further = b.add(at, I64(FLOAT)), b.add(weights, I64(vectors * VECTOR))
    b.cbranch(b.icmp_unsigned("<", following, end), value_block, next_block)

    b.position_at_end(next_block)
    next_run = b.add(run, I64(1))
    b.cbranch(b.icmp_signed("<", next_run, runs.count), run_block, after)

    for phi, first, value in [(run, I64(0), next_run), (panel, runs.weights, further), *zip(so_far, sums, updated, strict=True)]:
        phi.add_incoming(first, before)
        phi.add_incoming(value, next_block)
    for phi, first, value in [(at, place, following), (weights, panel, further), *zip(accumulators, so_far, updated, strict=True)]:
        phi.add_incoming(first, run_block)
        phi.add_incoming(value, value_block)
    b.position_at_end(after)
    ends = [b.phi(VF) for _ in sums]
    for phi, first, value in zip(ends, sums, updated, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(value, next_block)
    return ends


def _with_products(
    b: ir.IRBuilder, places: list[ir.Value], weights: ir.Value, vectors: int, accumulators: list[ir.Value]
) -> list[ir.Value]:
    """The sums with the products of one value of each window, which are at these addresses, and a row of the panel added."""

    def x(n: int) -> ir.Value:
        return splatted(b, b.load(pointer(b, places[n], I64(0), F32)))

    def column(v: int) -> ir.Value:
        return b.load(pointer(b, weights, I64(v * LANES), F32, VF), align=4)

    windows, updated = len(places), list(accumulators)

    def add(n: int, v: int, factor: ir.Value, weight: ir.Value) -> None:
        updated[n * vectors + v] = muladd(b, factor, weight, accumulators[n * vectors + v])

    if windows < vectors:
        # The windows' values stay in registers while the weights pass by, which 16 registers need.
        factors = [x(n) for n in range(windows)]
        for v in range(vectors):
            weight = column(v)
            for n, factor in enumerate(factors):
                add(n, v, factor, weight)
    else:
        columns = [column(v) for v in range(vectors)]
        for n in range(windows):
            factor = x(n)
            for v, weight in enumerate(columns):
                add(n, v, factor, weight)
    return updated


def tiles() -> str:
    """The LLVM code of all tiles and the table of their addresses, to be linked with what calls :func:`window_tile`."""
    module = ir.Module("window_tiles")
    functions = [
        _define(module, min(windows, WINDOWS[vectors]), vectors) if windows <= WINDOWS[vectors] else None for windows, vectors in _SHAPES
    ]
    kind = ir.ArrayType(_TYPE.as_pointer(), len(functions))
    table = ir.GlobalVariable(module, kind, _TABLE)
    table.initializer = ir.Constant(kind, [function or ir.Constant(_TYPE.as_pointer(), None) for function in functions])
    table.global_constant = True
    return str(module)


@inlined
def window_tile_number(windows: int, vectors: int) -> int:
    """The number in the table of the tile for so many windows and one panel with rows of so many vectors."""
    return MOST_WINDOWS * (vectors - 1) + windows - 1


@inlined
def windows_at_once(vectors: int) -> int:
    """How many windows a tile with so many vectors takes at the most."""
    if vectors == 1:
        return WINDOWS_1
    if vectors == 2:
        return WINDOWS_2
    if vectors == 3:
        return WINDOWS_3
    return WINDOWS_4


WINDOWS_1, WINDOWS_2, WINDOWS_3, WINDOWS_4 = WINDOWS.values()


@intrinsic
def window_tile(typingctx, which, windows):
    """Run the tile of that number for :class:`Windows`."""

    def generate(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        module = b.module
        if _TABLE not in module.globals:
            ir.GlobalVariable(module, ir.ArrayType(_TYPE.as_pointer(), len(_SHAPES)), _TABLE).global_constant = True
        function = b.load(b.gep(module.globals[_TABLE], [I32(0), args[0]]))
        given = [b.fptrunc(n, F32) if n.type == ir.DoubleType() else n for n in numbers_in(b, args[1])]
        b.call(function, given)
        return context.get_dummy_value()

    return types.void(types.int64, windows), generate
