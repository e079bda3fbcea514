"""The tiles of AMX, the matrix units of Intel's CPUs: C = Z + A1 @ B1 + A2 @ B2 for up to 32 rows and one panel of weights.

A and B are bfloat16 in tiles of 1 KB (``program/layout.py``, ``program/bfloat16.py``), sums are float32. For every pair of tiles the CPU
sums the products of even and of odd k apart, adds the two, and adds that to C. Each element of C is the same chain of these, whatever the
number of rows: tiles along k in order, and in each the parts of B in order, with those of A that they are multiplied with.

Compilers that allocate tiles of AMX are not needed: as functions use them by fixed numbers, LLVM's intrinsics of that kind are enough.
Accumulators are 0 to 3, A 4 and 5, B 6 and 7, of one shape for all functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..program.layout import AMX, AMX_AT_ONCE, AMX_BYTES, AMX_COLUMNS, AMX_PAIR, MOST_VECTORS, SPLIT, row_parts
from .flags import inlined
from .intrinsics import I8, I32, I64, numbers_in
from .intrinsics import intrinsic as own_intrinsic
from .levels import architecture
from .target import TRIPLE

#: Which parts of A are multiplied with each part of B.
PRODUCTS = {AMX: ((0,),), SPLIT: ((0, 1), (2,))}
#: Columns of a panel at most, in tiles.
MOST_COLUMNS = MOST_VECTORS
_A, _B = 4, 6
#: Bytes of a row of a tile.
_ROW = 4 * AMX_COLUMNS


class AmxOperand(NamedTuple):
    """One of the two matrix products that a tile sums up."""

    rows: int  # address of the rows in tiles
    weights: int  # address of the panel
    steps: int  # tiles along k; may be 0


class AmxProduct(NamedTuple):
    """A tile's arguments."""

    result: int  # address
    result_row: int  # bytes from one row to the next
    result_tile: int  # bytes from one tile of rows to the next
    sums: int  # address of what the sums start from; may be that of the result
    sums_row: int  # 0: one row for all
    sums_tile: int
    first: AmxOperand
    second: AmxOperand


_TABLE = "fastlstm_amx_tiles"
_ARGUMENTS = len(AmxProduct._fields) - 2 + 2 * len(AmxOperand._fields)
_TYPE = ir.FunctionType(ir.VoidType(), [I64] * _ARGUMENTS)
_VOID_OF_ADDRESS = ir.FunctionType(ir.VoidType(), [I64])
#: Numbers in the table: configure, release, then the products.
_CONFIGURE, _RELEASE, _PRODUCTS = 0, 1, 2
_SIZE = _PRODUCTS + len(PRODUCTS) * AMX_AT_ONCE * MOST_COLUMNS
#: Has the architecture that is compiled for these instructions? Elsewhere functions do nothing, and nobody calls them.
_HAS = architecture(TRIPLE) == "x86_64"
_ADDRESS = I8.as_pointer()
_INTRINSICS: dict[str, tuple[ir.Type, ...]] = {
    "ldtilecfg": (_ADDRESS,), "tilerelease": (), "tileloadd64": (I8, _ADDRESS, I64), "tilestored64": (I8, _ADDRESS, I64),
    "tdpbf16ps": (I8, I8, I8),
}  # fmt: skip


class _Emitter:
    """Emits one function: for a form of weights, tiles of rows and tiles of columns."""

    def __init__(self, module: ir.Module, name: str, kind: ir.FunctionType):
        self.module, self.function = module, ir.Function(module, kind, name)
        self.b = ir.IRBuilder(self.function.append_basic_block("entry"))

    def emit(self, name: str, *given: Any) -> None:
        """An instruction: numbers of tiles as constants, addresses as int64."""
        if not _HAS:
            return
        kinds = _INTRINSICS[name]
        known = self.module.globals.get(f"llvm.x86.{name}")
        if known is None:
            known = ir.Function(self.module, ir.FunctionType(ir.VoidType(), kinds), f"llvm.x86.{name}")
        self.b.call(known, [self._argument(kind, value) for kind, value in zip(kinds, given, strict=True)])

    def _argument(self, kind: ir.Type, value: Any) -> ir.Value:
        if isinstance(kind, ir.PointerType):
            return self.b.inttoptr(value, kind)
        return kind(value) if isinstance(value, int) else value

    def at(self, start: ir.Value, *further: tuple[ir.Value | int, int]) -> ir.Value:
        """An address, and so many times as many bytes after it."""
        for times, size in further:
            start = self.b.add(start, self.b.mul(I64(times) if isinstance(times, int) else times, I64(size)))
        return start


class _ProductEmitter(_Emitter):
    """Emits C = Z + A1 @ B1 + A2 @ B2 for weights of a form, so many tiles of rows, and so many of columns."""

    def __init__(self, module: ir.Module, form: int, rows: int, columns: int):
        super().__init__(module, f"amx_{form}_{rows}x{columns}", _TYPE)
        self.form, self.rows, self.columns = form, rows, columns
        result, result_row, result_tile, sums, sums_row, sums_tile, *operands = self.function.args
        at_once = MOST_COLUMNS if rows == 1 else AMX_PAIR
        for first in range(0, columns, at_once):
            cells = [(row, column) for row in range(rows) for column in range(first, min(columns, first + at_once))]
            self.accumulators = {cell: number for number, cell in enumerate(cells)}
            for (row, column), number in self.accumulators.items():
                self.emit("tileloadd64", number, self.b.add(self.at(sums, (column, _ROW)), self.b.mul(sums_tile, I64(row))), sums_row)
            for operand in (AmxOperand(*operands[:3]), AmxOperand(*operands[3:])):
                self.accumulate(operand)
            for (row, column), number in self.accumulators.items():
                place = self.b.add(self.at(result, (column, _ROW)), self.b.mul(result_tile, I64(row)))
                self.emit("tilestored64", number, place, result_row)
        self.b.ret_void()

    def accumulate(self, operand: AmxOperand) -> None:
        """The loop over an operand's tiles along k, of which there may be none."""
        b, before = self.b, self.b.block
        body, after = b.append_basic_block("k"), b.append_basic_block("after")
        b.cbranch(b.icmp_signed(">", operand.steps, I64(0)), body, after)
        b.position_at_end(body)
        k = b.phi(I64)
        k.add_incoming(I64(0), before)
        self.step(operand, k)
        following = b.add(k, I64(1))
        k.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, operand.steps), body, after)
        b.position_at_end(after)

    def step(self, operand: AmxOperand, k: ir.Value) -> None:
        """The products of one tile along k."""
        columns = sorted({column for _, column in self.accumulators})
        turn = 0
        for part, row_parts_used in enumerate(PRODUCTS[self.form]):
            if self.rows == 1:  # A stays, and B passes by
                for n, number in enumerate(row_parts_used):
                    self.emit("tileloadd64", _A + n, self.row_tile(operand, k, 0, number), I64(_ROW))
                for column in columns:
                    b_tile, turn = _B + turn % 2, turn + 1
                    self.emit("tileloadd64", b_tile, self.weights_tile(operand, k, column, part), I64(_ROW))
                    for n in range(len(row_parts_used)):
                        self.emit("tdpbf16ps", self.accumulators[0, column], _A + n, b_tile)
                continue
            for n, column in enumerate(columns):
                self.emit("tileloadd64", _B + n, self.weights_tile(operand, k, column, part), I64(_ROW))
            for number in row_parts_used:
                for row in range(self.rows):
                    self.emit("tileloadd64", _A + row, self.row_tile(operand, k, row, number), I64(_ROW))
                for (row, column), accumulator in self.accumulators.items():
                    self.emit("tdpbf16ps", accumulator, _A + row, _B + columns.index(column))

    def row_tile(self, operand: AmxOperand, k: ir.Value, row: int, part: int) -> ir.Value:
        """Address of a tile of A: tiles of rows, in each those along k, in each the parts."""
        parts = row_parts(self.form)
        return self.at(operand.rows, (self.at(k, (operand.steps, row)), AMX_BYTES * parts), (part, AMX_BYTES))

    def weights_tile(self, operand: AmxOperand, k: ir.Value, column: int, part: int) -> ir.Value:
        """Address of a tile of B: pairs of columns, in each the tiles along k, in each the columns, in each the parts."""
        parts, pair = len(PRODUCTS[self.form]), column // AMX_PAIR
        beside = min(AMX_PAIR, self.columns - AMX_PAIR * pair)
        before = (operand.steps, AMX_BYTES * parts * AMX_PAIR * pair)
        return self.at(operand.weights, before, (k, AMX_BYTES * parts * beside), (parts * (column % AMX_PAIR) + part, AMX_BYTES))


def tiles() -> str:
    """The LLVM code of all functions and the table of their addresses, to be linked with what calls them."""
    module = ir.Module("amx")
    configure, release = _Emitter(module, "amx_configure", _VOID_OF_ADDRESS), _Emitter(module, "amx_release", _VOID_OF_ADDRESS)
    configure.emit("ldtilecfg", configure.function.args[0])
    release.emit("tilerelease")
    for one in (configure, release):
        one.b.ret_void()
    products = [
        _ProductEmitter(module, form, rows, columns).function
        for form in PRODUCTS
        for rows in range(1, AMX_AT_ONCE + 1)
        for columns in range(1, MOST_COLUMNS + 1)
    ]
    functions = [configure.function, release.function, *products]
    assert len(functions) == _SIZE
    table = ir.GlobalVariable(module, ir.ArrayType(I64, len(functions)), _TABLE)
    table.initializer = ir.Constant(table.type.pointee, [function.ptrtoint(I64) for function in functions])
    table.global_constant = True
    if not _HAS:
        return str(module)
    # Of these functions alone: whatever else there is runs on CPUs without such instructions. And for a CPU for which LLVM does not
    # order instructions once registers are chosen: to do that it gives some tiles other numbers, which have other shapes.
    attributes = 'noinline "no-builtins" "target-cpu"="x86-64-v3" "target-features"="+amx-tile,+amx-bf16"'
    return re.sub(r'^(define void @"amx_[^\n]*\))\s*\{', rf"\1 {attributes} {{", str(module), flags=re.MULTILINE)


@inlined
def amx_number(form: int, rows: int, columns: int) -> int:
    """The number in the table of the product for weights of a form, so many tiles of rows and of columns."""
    return _PRODUCTS + ((form - AMX) * AMX_AT_ONCE + rows - 1) * MOST_COLUMNS + columns - 1


def _call(b: ir.IRBuilder, number: ir.Value, kind: ir.FunctionType, arguments: Sequence[ir.Value]) -> None:
    module = b.module
    if _TABLE not in module.globals:
        ir.GlobalVariable(module, ir.ArrayType(I64, _SIZE), _TABLE).global_constant = True
    address = b.load(b.gep(module.globals[_TABLE], [I32(0), number]))
    b.call(b.inttoptr(address, kind.as_pointer()), arguments)


@intrinsic
def amx_product(typingctx, which, product):
    """Run the function of that number for an :class:`AmxProduct`."""

    def generate(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        _call(b, args[0], _TYPE, numbers_in(b, args[1]))
        return context.get_dummy_value()

    return types.void(types.int64, product), generate


@own_intrinsic(types.void, types.int64)
def configure(b, address):
    """Shape this thread's tiles as 64 bytes say."""
    _call(b, I64(_CONFIGURE), _VOID_OF_ADDRESS, [address])


@own_intrinsic(types.void)
def release(b):
    """Give up this thread's tiles: the system need not keep them."""
    _call(b, I64(_RELEASE), _VOID_OF_ADDRESS, [I64(0)])
