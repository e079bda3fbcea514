"""A vector of floats as a Numba type, and memory by address: what LLVM has and Numba does not show.

Addresses are int64; an index counts elements behind an address. Arithmetic keeps NaN and infinities; nothing is reordered.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from .target import LANES, LEVEL

#: Is there :func:`scale`?
HAS_SCALE = LANES == 16

F32, I1, I8, I32, I64 = ir.FloatType(), ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)
VF, VI, VB = (ir.VectorType(element, LANES) for element in (F32, I32, I1))
_IR = {"float": VF, "int": VI, "bool": VB}


class VectorType(types.Type):
    """LANES floats, their bits as integers, or a truth value for each."""

    def __init__(self, kind: str):
        self.kind = kind
        super().__init__(name=f"vector_{kind}_{LANES}")


FLOATS, INTS, BOOLS = VectorType("float"), VectorType("int"), VectorType("bool")


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """Numba's view of it: an LLVM vector."""

    def __init__(self, dmm: Any, fe_type: VectorType):
        super().__init__(dmm, fe_type, _IR[fe_type.kind])


def splatted(b: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    """A vector with ``scalar`` in every lane."""
    vector = ir.VectorType(scalar.type, LANES)
    one = b.insert_element(ir.Constant(vector, ir.Undefined), scalar, I32(0))
    return b.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(VI, [0] * LANES))


def muladd(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """x * y + z, fused where the CPU can: elsewhere LLVM would call a library function for every lane."""
    if not LEVEL.fused:
        return b.fadd(b.fmul(x, y), z)
    fma = cgutils.get_or_insert_function(b.module, ir.FunctionType(VF, [VF] * 3), f"llvm.fma.v{LANES}f32")
    return b.call(fma, [x, y, z])


def pointer(b: ir.IRBuilder, address: ir.Value, index: ir.Value, element: ir.Type, vector: ir.Type | None = None) -> ir.Value:
    """The pointer to element number ``index`` behind ``address``."""
    place = b.gep(b.inttoptr(address, element.as_pointer()), [index])
    return place if vector is None else b.bitcast(place, vector.as_pointer())


# -- operators ----------------------------------------------------------------------------------------------------------------


def _widen(b: ir.IRBuilder, ty: types.Type, value: ir.Value) -> ir.Value:
    """An operand as vector: scalars are spread over the lanes, in float32."""
    if isinstance(ty, VectorType):
        return value
    if isinstance(ty, types.Float) and ty.bitwidth == 64:
        value = b.fptrunc(value, F32)
    return splatted(b, value)


def _operator(op: Callable[..., Any], kind: VectorType, result: VectorType, emit: Callable[..., ir.Value]) -> None:
    def fits(a: types.Type, c: types.Type) -> bool:
        vectors = [ty for ty in (a, c) if isinstance(ty, VectorType)]
        others = [ty for ty in (a, c) if not isinstance(ty, VectorType)]
        return bool(vectors) and all(ty == kind for ty in vectors) and all(isinstance(ty, types.Float) for ty in others)

    class Template(AbstractTemplate):
        def generic(self, args: tuple[types.Type, ...], kws: Any) -> Any:
            return signature(result, *args) if len(args) == 2 and fits(*args) else None

    infer_global(op)(Template)

    def lower(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return emit(b, *(_widen(b, ty, value) for ty, value in zip(sig.args, args, strict=True)))

    lower_builtin(op, kind, kind)(lower)
    if kind == FLOATS:
        lower_builtin(op, kind, types.Float)(lower)
        lower_builtin(op, types.Float, kind)(lower)


_operator(operator.add, FLOATS, FLOATS, lambda b, x, y: b.fadd(x, y))
_operator(operator.sub, FLOATS, FLOATS, lambda b, x, y: b.fsub(x, y))
_operator(operator.mul, FLOATS, FLOATS, lambda b, x, y: b.fmul(x, y))
_operator(operator.truediv, FLOATS, FLOATS, lambda b, x, y: b.fdiv(x, y))
_operator(operator.lt, FLOATS, BOOLS, lambda b, x, y: b.fcmp_ordered("<", x, y))
_operator(operator.gt, FLOATS, BOOLS, lambda b, x, y: b.fcmp_ordered(">", x, y))
_operator(operator.ge, FLOATS, BOOLS, lambda b, x, y: b.fcmp_ordered(">=", x, y))
_operator(operator.ne, FLOATS, BOOLS, lambda b, x, y: b.fcmp_unordered("!=", x, y))
_operator(operator.add, INTS, INTS, lambda b, x, y: b.add(x, y))
_operator(operator.sub, INTS, INTS, lambda b, x, y: b.sub(x, y))
_operator(operator.and_, INTS, INTS, lambda b, x, y: b.and_(x, y))
_operator(operator.or_, INTS, INTS, lambda b, x, y: b.or_(x, y))


@infer_global(operator.neg)
class _Negative(AbstractTemplate):
    def generic(self, args: tuple[types.Type, ...], kws: Any) -> Any:
        return signature(FLOATS, *args) if args == (FLOATS,) else None


@lower_builtin(operator.neg, FLOATS)
def _negative(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    return b.fneg(args[0])


# -- intrinsics ---------------------------------------------------------------------------------------------------------------


def _intrinsic(result: types.Type, *parameters: types.Type) -> Callable[[Callable[..., Any]], Any]:
    """An intrinsic of fixed types, from a function (builder, arguments...) -> LLVM value."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def generate(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
            value = emit(b, *args)
            return context.get_dummy_value() if value is None else value

        names = "".join(f", a{n}" for n in range(len(parameters)))
        scope: dict[str, Any] = {"sig": result(*parameters), "generate": generate}
        # Numba reads an intrinsic's parameters off its Python signature, so that it must have one of the right length.
        exec(f"def {emit.__name__}(typingctx{names}):\n    return sig, generate\n", scope)  # noqa: S102
        made = scope[emit.__name__]
        made.__doc__, made.__module__ = emit.__doc__, __name__
        return intrinsic(made)

    return decorate


_N, _F = types.int64, types.float32


@_intrinsic(FLOATS, _F)
def splat(b, x):  # type: ignore[no-untyped-def]
    """A vector with x in every lane."""
    return splatted(b, x)


@_intrinsic(FLOATS, _N, _N)
def load(b, address, i):  # type: ignore[no-untyped-def]
    """LANES floats from element i on."""
    return b.load(pointer(b, address, i, F32, VF), align=4)


@_intrinsic(types.void, _N, _N, FLOATS)
def store(b, address, i, v):  # type: ignore[no-untyped-def]
    """Store LANES floats from element i on."""
    b.store(v, pointer(b, address, i, F32, VF), align=4)


def _first(b: ir.IRBuilder, count: ir.Value) -> ir.Value:
    """Truth of the first ``count`` lanes."""
    return b.icmp_signed("<", ir.Constant(VI, list(range(LANES))), splatted(b, b.trunc(count, I32)))


@_intrinsic(FLOATS, _N, _N, _N, _F)
def load_first(b, address, i, count, fill):  # type: ignore[no-untyped-def]
    """The ``count`` floats from element i on, ``fill`` in the other lanes; memory behind them is not touched."""
    kind = ir.FunctionType(VF, [VF.as_pointer(), I32, VB, VF])
    function = cgutils.get_or_insert_function(b.module, kind, f"llvm.masked.load.v{LANES}f32.p0")
    return b.call(function, [pointer(b, address, i, F32, VF), I32(4), _first(b, count), splatted(b, fill)])


@_intrinsic(types.void, _N, _N, FLOATS, _N)
def store_first(b, address, i, v, count):  # type: ignore[no-untyped-def]
    """Store the first ``count`` lanes from element i on."""
    kind = ir.FunctionType(ir.VoidType(), [VF, VF.as_pointer(), I32, VB])
    function = cgutils.get_or_insert_function(b.module, kind, f"llvm.masked.store.v{LANES}f32.p0")
    b.call(function, [v, pointer(b, address, i, F32, VF), I32(4), _first(b, count)])


@_intrinsic(_F, _N, _N)
def load_float(b, address, i):  # type: ignore[no-untyped-def]
    """Float number i."""
    return b.load(pointer(b, address, i, F32))


@_intrinsic(types.void, _N, _N, _F)
def store_float(b, address, i, x):  # type: ignore[no-untyped-def]
    """Store float number i."""
    b.store(x, pointer(b, address, i, F32))


@_intrinsic(_N, _N, _N)
def load_int32(b, address, i):  # type: ignore[no-untyped-def]
    """int32 number i."""
    return b.sext(b.load(pointer(b, address, i, I32)), I64)


@_intrinsic(types.void, _N, _N, _N)
def store_int32(b, address, i, n):  # type: ignore[no-untyped-def]
    """Store int32 number i."""
    b.store(b.trunc(n, I32), pointer(b, address, i, I32))


@_intrinsic(_N, _N, _N)
def load_int(b, address, i):  # type: ignore[no-untyped-def]
    """int64 number i."""
    return b.load(pointer(b, address, i, I64))


@_intrinsic(types.void, _N, _N, _N)
def store_int(b, address, i, n):  # type: ignore[no-untyped-def]
    """Store int64 number i."""
    b.store(n, pointer(b, address, i, I64))


@_intrinsic(_N, _N, _N)
def load_byte(b, address, i):  # type: ignore[no-untyped-def]
    """Byte number i."""
    return b.zext(b.load(pointer(b, address, i, I8)), I64)


@_intrinsic(types.void, _N, _N, _N)
def store_byte(b, address, i, n):  # type: ignore[no-untyped-def]
    """Store byte number i."""
    b.store(b.trunc(n, I8), pointer(b, address, i, I8))


@_intrinsic(FLOATS, FLOATS, FLOATS, FLOATS)
def fma(b, x, y, z):  # type: ignore[no-untyped-def]
    """x * y + z."""
    return muladd(b, x, y, z)


@_intrinsic(FLOATS, BOOLS, FLOATS, FLOATS)
def select(b, truth, x, y):  # type: ignore[no-untyped-def]
    """x where truth, y elsewhere."""
    return b.select(truth, x, y)


@_intrinsic(INTS, FLOATS)
def bits(b, x):  # type: ignore[no-untyped-def]
    """The bits of floats."""
    return b.bitcast(x, VI)


@_intrinsic(FLOATS, INTS)
def from_bits(b, x):  # type: ignore[no-untyped-def]
    """Floats of bits."""
    return b.bitcast(x, VF)


@_intrinsic(INTS, INTS, _N)
def shift_left(b, x, n):  # type: ignore[no-untyped-def]
    """Bits shifted left."""
    return b.shl(x, splatted(b, b.trunc(n, I32)))


@_intrinsic(INTS, INTS, _N)
def shift_right(b, x, n):  # type: ignore[no-untyped-def]
    """Signed integers shifted right."""
    return b.ashr(x, splatted(b, b.trunc(n, I32)))


@_intrinsic(INTS, _N)
def ints(b, n):  # type: ignore[no-untyped-def]
    """A vector with n in every lane."""
    return splatted(b, b.trunc(n, I32))


@_intrinsic(FLOATS, INTS)
def to_floats(b, x):  # type: ignore[no-untyped-def]
    """Signed integers as floats."""
    return b.sitofp(x, VF)


@_intrinsic(types.boolean, BOOLS)
def any_true(b, truth):  # type: ignore[no-untyped-def]
    """Is any lane true?"""
    word = ir.IntType(LANES)
    return b.icmp_unsigned("!=", b.bitcast(truth, word), word(0))


@_intrinsic(FLOATS, FLOATS, FLOATS)
def scale(b, x, n):  # type: ignore[no-untyped-def]
    """x * 2**n for n without fraction, whatever its size; where the CPU has an instruction for it (``HAS_SCALE``)."""
    kind = ir.FunctionType(VF, [VF, VF, VF, ir.IntType(16), I32])
    function = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.mask.scalef.ps.512")
    as_rounding_is_set = I32(4)
    return b.call(function, [x, n, x, ir.IntType(16)(-1), as_rounding_is_set])


def _tree(b: ir.IRBuilder, v: ir.Value, join: Callable[..., ir.Value]) -> ir.Value:
    """All lanes joined, halves with halves: one order on every path."""
    width = LANES
    while width > 1:
        width //= 2
        undef = ir.Constant(v.type, ir.Undefined)
        low, high = (
            b.shuffle_vector(v, undef, ir.Constant(ir.VectorType(I32, width), list(range(start, start + width)))) for start in (0, width)
        )
        v = join(low, high)
    return b.extract_element(v, I32(0))


@_intrinsic(_F, FLOATS)
def total(b, v):  # type: ignore[no-untyped-def]
    """Sum of the lanes."""
    return _tree(b, v, b.fadd)


@_intrinsic(_F, FLOATS)
def largest(b, v):  # type: ignore[no-untyped-def]
    """Maximum of the lanes, of which none is NaN."""
    return _tree(b, v, lambda x, y: b.select(b.fcmp_ordered(">", x, y), x, y))


def prefetched(b: ir.IRBuilder, address: ir.Value, offset: int = 0, locality: int = 3) -> None:
    """Have a cache fetch what lies at an address, which need not be valid; locality 3: the first, 2: the second."""
    place = b.inttoptr(b.add(address, I64(offset)), I8.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    reading, data = I32(0), I32(1)
    b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0"), [place, reading, I32(locality), data])


@_intrinsic(types.void, _N)
def prefetch(b, address):  # type: ignore[no-untyped-def]
    """Have the second cache fetch what lies at an address, which need not be valid."""
    prefetched(b, address, locality=2)


def stack(size: int) -> Any:
    """An intrinsic without arguments: the address of ``size`` bytes on the stack, aligned to 64, the same in every call of it."""

    def place(b):  # type: ignore[no-untyped-def]
        with b.goto_entry_block():
            space = b.alloca(I8, I64(size))
            space.align = 64
            return b.ptrtoint(space, I64)

    return _intrinsic(_N)(place)
