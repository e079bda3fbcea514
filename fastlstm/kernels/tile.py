"""The register tile: C = Z + A1 @ B1 + A2 @ B2 for a few rows and one panel of weights, accumulators in registers throughout.

All matrix products of all kernels are made of it. Every row has its own addresses, so that the rows of one tile may read different
timesteps. Whatever the number of rows, each element of C is the same chain of multiply-adds: Z, then A1 in order of k, then A2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..program.layout import FULL, HALVES, LINE, MOST_TILE_ROWS, MOST_VECTORS, TILE_VECTORS
from .flags import inlined
from .intrinsics import F32, I16, I32, I64, SECOND_CACHE, VF, VH, muladd, numbers_in, pointer, prefetched, splatted, widened
from .target import LANES, LEVEL, TILE_ROWS, VECTOR

#: One row alone takes several panels at once, so that enough independent chains hide the latency of a multiply-add. Of three
#: vectors no more than two: those of 64 units fit the first cache, and are there when the next step starts with them.
WIDE = {1: 4, 2: 4, 3: 2, 4: 2}  # vectors of a panel -> panels

#: Rows of the largest tile of a panel with so many vectors: where those are few, registers hold the sums of more rows. The more chains
#: the better they hide the latency of a multiply-add, and the fewer tiles the less there is to do beside it.
ROWS = {vectors: min(MOST_TILE_ROWS, TILE_ROWS * MOST_VECTORS // vectors) for vectors in range(1, MOST_VECTORS + 1)}

#: A tile's result has as many vectors as it has rows times those of a panel, or for one row alone those of several panels.
assert all(vectors * max(ROWS[vectors], WIDE[vectors]) <= TILE_VECTORS for vectors in ROWS)

#: Tiles of at least so many rows take AT_ONCE values of k at a time: the fewer instructions beside the multiply-adds the better, above
#: all on a core that two threads share, each of which issues half as many. Where products need registers of their own there are none
#: left for that.
MANY_ROWS = min(4, TILE_ROWS)
AT_ONCE = 2 if LANES > 4 else 1  # NEON has none to spare: the largest tile would spill

#: These tiles have the time to fetch weights that the second cache does not keep, into the first one, and so many values of k before
#: they are needed: the CPU's own guesses come late.
AHEAD = 16


class Operand(NamedTuple):
    """One of the two matrix products that a tile sums up."""

    rows: int  # address of the addresses of its rows
    weights: int  # address of the panel
    size: int  # values in a row, k; may be 0


class Product(NamedTuple):
    """A tile's arguments."""

    result: int  # address
    result_row: int  # bytes from one row of the result to the next
    sums: int  # address of the addresses of what each row's sums start from
    sums_offset: int  # bytes to add to each
    first: Operand
    second: Operand
    fetched: int  # the part of the next panel to fetch into the second cache meanwhile, as :func:`.sweep.fetched_by` says; 0: nothing


#: The table of the tiles' addresses: a global of the object file, where every kernel finds it.
_TABLE = "fastlstm_tiles"
#: A tile takes the numbers of a :class:`Product`, those of its operands in their places.
_TYPE = ir.FunctionType(ir.VoidType(), [I64] * (len(Product._fields) - 2 + 2 * len(Operand._fields)))


class Shape(NamedTuple):
    """What tells one tile from another."""

    rows: int
    vectors: int  # of a panel
    panels: int
    form: int  # of the weights: FULL or HALVES


def _define(module: ir.Module, shape: Shape) -> ir.Function:
    """The tile's LLVM function. A function of its own: inlined, LLVM spills the accumulators."""
    rows, vectors, panels, form = shape
    function = cgutils.get_or_insert_function(module, _TYPE, f"tile_{rows}x{vectors}x{panels}_{form}")
    if not function.is_declaration:
        return function
    function.attributes.add("noinline")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    result, result_row, start, offset, *operands, fetched = function.args
    width = panels * vectors

    sums = []
    for m in range(rows):
        row = b.add(b.load(pointer(b, start, I64(m), I64)), offset)
        sums += [b.load(pointer(b, row, I64(n * LANES), F32, VF), align=4) for n in range(width)]
    for operand in (Operand(*operands[:3]), Operand(*operands[3:])):
        sums = _Accumulation(b, shape, operand, fetched).emit(sums)
    for i, value in enumerate(sums):
        row = b.add(result, b.mul(result_row, I64(i // width)))
        b.store(value, pointer(b, row, I64(i % width * LANES), F32, VF), align=4)
    b.ret_void()
    return function


class _Accumulation:
    """Emits sums + rows @ weights for one operand of a tile: a loop over its values of k, and what is left over after it.

    Where tiles fetch, there is a loop for each number of lines of the next panel that is fetched meanwhile for every two k.
    """

    def __init__(self, b: ir.IRBuilder, shape: Shape, operand: Operand, fetched: ir.Value):
        rows, vectors, panels, self.form = shape
        self.b, self.vectors, self.count, self.fetched = b, vectors, operand.size, fetched
        self.many = rows >= MANY_ROWS
        # A weight that is widened needs a register that one of float32, multiplied where it lies in memory, does not.
        columns = panels * vectors
        self.crowded = self.form == HALVES and rows < columns and rows * columns + rows + 1 >= LEVEL.registers
        self.at_once = AT_ONCE if self.many and not self.crowded else 1
        self.rows = [b.load(pointer(b, operand.rows, I64(m), I64)) for m in range(rows)]
        self.before = b.block
        self.most, self.rest, self.after = (b.append_basic_block(name) for name in ("most", "rest", "after"))
        self.k_bytes = vectors * VECTOR >> self.form
        stride = b.mul(self.count, I64(self.k_bytes))  # from panel to panel
        self.panels = [b.add(operand.weights, b.mul(stride, I64(p))) for p in range(panels)]
        self.columns = [(start, n) for start in self.panels for n in range(vectors)]
        self.following_panel = b.add(operand.weights, b.mul(b.and_(fetched, I64(-4)), self.count))
        self.whole = b.and_(self.count, I64(-self.at_once))

    def emit(self, sums: list[ir.Value]) -> list[ir.Value]:
        """The new sums."""
        b = self.b
        loops = [self.loop(sums, lines) for lines in ((0, 1, 2) if self.many else (0,))]
        b.position_at_end(self.before)
        choice = b.zext(b.icmp_signed(">", self.whole, I64(0)), I64)
        if len(loops) > 1:
            choice = b.mul(choice, b.add(b.and_(self.fetched, I64(3)), I64(1)))
        start = b.switch(choice, self.most)
        for case, (body, _) in enumerate(loops, 1):
            start.add_case(I64(case), body)
        b.position_at_end(self.most)
        so_far = _joined(b, [(self.before, sums), *loops])
        b.cbranch(b.icmp_signed("<", self.whole, self.count), self.rest, self.after)
        b.position_at_end(self.rest)
        last = self.step(self.whole, so_far)
        b.branch(self.after)
        b.position_at_end(self.after)
        return _joined(b, [(self.most, so_far), (self.rest, last)])

    def loop(self, sums: list[ir.Value], lines: int) -> tuple[ir.Block, list[ir.Value]]:
        """The loop over k that fetches so many lines of the next panel for every two k: its block, and the sums that it leaves."""
        b = self.b
        body = b.append_basic_block("k")
        b.position_at_end(body)
        k = b.phi(I64)
        accumulators = updated = [b.phi(VF) for _ in sums]
        for n in range(self.at_once):
            # Between fetches LLVM does not load a second weight ahead of its turn, for which a crowded tile has no register.
            for start in self.panels if lines or self.crowded else ():
                place = b.add(start, b.mul(k, I64(self.k_bytes)))
                for line in range(-(-n * self.k_bytes // LINE) * LINE, (n + 1) * self.k_bytes, LINE):
                    prefetched(b, place, AHEAD * self.k_bytes + line)
            if n < lines:
                prefetched(b, b.add(self.following_panel, b.mul(k, I64(lines * LINE // 2))), LINE * n, into=SECOND_CACHE)
            updated = self.step(b.add(k, I64(n)), updated)
        following = b.add(k, I64(self.at_once))
        k.add_incoming(I64(0), self.before)
        k.add_incoming(following, body)
        for phi, start, value in zip(accumulators, sums, updated, strict=True):
            phi.add_incoming(start, self.before)
            phi.add_incoming(value, body)
        b.cbranch(b.icmp_signed("<", following, self.whole), body, self.most)
        return body, updated

    def step(self, k: ir.Value, accumulators: list[ir.Value]) -> list[ir.Value]:
        """The sums with the products of one k added."""
        b, columns = self.b, self.columns
        offset = b.mul(k, I64(self.vectors * LANES))
        updated = list(accumulators)
        if len(self.rows) < len(columns):
            # Fewer rows than vectors: the rows' values stay in registers while the weights pass by, which 16 registers need.
            xs = [splatted(b, b.load(pointer(b, row, k, F32))) for row in self.rows]
            for n, column in enumerate(columns):
                w = self.weight(column, offset)
                for m, x in enumerate(xs):
                    updated[m * len(columns) + n] = muladd(b, x, w, accumulators[m * len(columns) + n])
        else:
            ws = [self.weight(column, offset) for column in columns]
            for m, row in enumerate(self.rows):
                x = splatted(b, b.load(pointer(b, row, k, F32)))
                for n, w in enumerate(ws):
                    updated[m * len(ws) + n] = muladd(b, x, w, accumulators[m * len(ws) + n])
        return updated

    def weight(self, column: tuple[ir.Value, int], offset: ir.Value) -> ir.Value:
        """A vector of weights. The bits of a bfloat16 are the upper half of those of a float."""
        b, (start, n) = self.b, column
        if self.form == FULL:
            return b.load(b.gep(pointer(b, start, offset, F32, VF), [I64(n)]), align=4)
        return widened(b, b.gep(pointer(b, start, offset, I16, VH), [I64(n)]))


def _joined(b: ir.IRBuilder, ways: list[tuple[ir.Block, list[ir.Value]]]) -> list[ir.Value]:
    """The values that come from one of several blocks."""
    phis = [b.phi(VF) for _ in ways[0][1]]
    for block, values in ways:
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, block)
    return phis


def tiles() -> str:
    """The LLVM code of all tiles and the table of their addresses, to be linked with what calls :func:`tile`.

    The table is in the order of :func:`number`, with the wide ones at the end of each form. Those that would have too many rows are
    missing.
    """
    module = ir.Module("tiles")
    vectors = range(1, MOST_VECTORS + 1)
    shapes = [(rows, n, 1) for rows in range(1, MOST_TILE_ROWS + 1) for n in vectors] + [(1, n, WIDE[n]) for n in vectors]
    kind, missing = _TYPE.as_pointer(), ir.Constant(_TYPE.as_pointer(), None)
    all_shapes = [Shape(*shape, form) for form in (FULL, HALVES) for shape in shapes]
    functions = [_define(module, shape) if shape.rows <= ROWS[shape.vectors] else missing for shape in all_shapes]
    table = ir.GlobalVariable(module, ir.ArrayType(kind, len(functions)), _TABLE)
    table.initializer = ir.Constant(table.type.pointee, functions)
    table.global_constant = True
    return str(module)


#: Tiles of a form.
_SHAPES = MOST_VECTORS * (MOST_TILE_ROWS + 1)


@inlined
def number(form: int, rows: int, vectors: int) -> int:
    """The number in the table of the tile for weights of a form, so many rows and one panel with rows of so many vectors."""
    return _SHAPES * form + MOST_VECTORS * (rows - 1) + vectors - 1


@inlined
def wide_number(form: int, vectors: int) -> int:
    """The number of the tile for one row and WIDE[vectors] panels."""
    return _SHAPES * form + MOST_VECTORS * MOST_TILE_ROWS + vectors - 1


@intrinsic
def tile(typingctx, which, product):
    """Run the tile of that number for a :class:`Product`."""

    def generate(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        module = b.module
        if _TABLE not in module.globals:
            ir.GlobalVariable(module, ir.ArrayType(_TYPE.as_pointer(), 2 * _SHAPES), _TABLE).global_constant = True
        b.call(b.load(b.gep(module.globals[_TABLE], [I32(0), args[0]])), numbers_in(b, args[1]))
        return context.get_dummy_value()

    return types.void(types.int64, product), generate
