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
_ELEMENTS = {"float": F32, "int": I32, "bool": I1}

#: A pair of vectors is computed as one value: of two chains of dependent operations, each step of one beside that of the other.
#: A CPU looks only so far ahead for work that it can do meanwhile.
PAIR = 2 * LANES


class VectorType(types.Type):
    """Floats, their bits as integers, or a truth value for each: LANES or PAIR of them."""

    def __init__(self, kind: str, lanes: int = LANES):
        self.kind, self.lanes = kind, lanes
        super().__init__(name=f"vector_{kind}_{lanes}")

    @property
    def ir(self) -> ir.Type:
        """What LLVM calls it."""
        return ir.VectorType(_ELEMENTS[self.kind], self.lanes)


FLOATS = VectorType("float")


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """Numba's view of it: an LLVM vector."""

    def __init__(self, dmm: Any, fe_type: VectorType):
        super().__init__(dmm, fe_type, fe_type.ir)


def splatted(b: ir.IRBuilder, scalar: ir.Value, lanes: int = LANES) -> ir.Value:
    """A vector with ``scalar`` in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    one = b.insert_element(ir.Constant(vector, ir.Undefined), scalar, I32(0))
    return _shuffled(b, one, ir.Constant(vector, ir.Undefined), [0] * lanes)


def _shuffled(b: ir.IRBuilder, x: ir.Value, y: ir.Value, lanes: list[int]) -> ir.Value:
    """The lanes of those numbers, y's counted on from x's."""
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def _halves(b: ir.IRBuilder, v: ir.Value) -> tuple[ir.Value, ir.Value]:
    count = v.type.count
    undef = ir.Constant(v.type, ir.Undefined)
    return _shuffled(b, v, undef, list(range(count // 2))), _shuffled(b, v, undef, list(range(count // 2, count)))


def muladd(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """x * y + z, fused where the CPU can: elsewhere LLVM would call a library function for every lane."""
    if not LEVEL.fused:
        return b.fadd(b.fmul(x, y), z)
    kind = ir.FunctionType(x.type, [x.type] * 3)
    fma = cgutils.get_or_insert_function(b.module, kind, f"llvm.fma.v{x.type.count}f32")
    return b.call(fma, [x, y, z])


def pointer(b: ir.IRBuilder, address: ir.Value, index: ir.Value, element: ir.Type, vector: ir.Type | None = None) -> ir.Value:
    """The pointer to element number ``index`` behind ``address``."""
    place = b.gep(b.inttoptr(address, element.as_pointer()), [index])
    return place if vector is None else b.bitcast(place, vector.as_pointer())


# -- operators ----------------------------------------------------------------------------------------------------------------


def _widen(b: ir.IRBuilder, ty: types.Type, value: ir.Value, lanes: int) -> ir.Value:
    """An operand as vector: scalars are spread over the lanes, in 32 bits."""
    if isinstance(ty, VectorType):
        return value
    if isinstance(ty, types.Float) and ty.bitwidth == 64:
        value = b.fptrunc(value, F32)
    elif isinstance(ty, types.Integer) and ty.bitwidth == 64:
        value = b.trunc(value, I32)
    return splatted(b, value, lanes)


_SCALARS = {"float": types.Float, "int": types.Integer}


def _lanes(args: tuple[types.Type, ...], kinds: tuple[str, ...]) -> int:
    """Of operands that are vectors of these kinds or scalars, at least one of them a vector; 0 if they are not."""
    lanes = {ty.lanes for ty in args if isinstance(ty, VectorType)}
    pairs = zip(args, kinds, strict=True)
    fits = all(ty.kind == kind if isinstance(ty, VectorType) else isinstance(ty, _SCALARS[kind]) for ty, kind in pairs)
    return lanes.pop() if fits and len(lanes) == 1 else 0


def _operator(op: Callable[..., Any], kind: str, result: str, emit: Callable[..., ir.Value]) -> None:
    """``emit`` as ``op`` of two vectors of a kind, or of a vector and a scalar."""

    class Template(AbstractTemplate):
        def generic(self, args: tuple[types.Type, ...], kws: Any) -> Any:
            lanes = _lanes(args, (kind, kind)) if len(args) == 2 else 0
            return signature(VectorType(result, lanes), *map(types.unliteral, args)) if lanes else None

    infer_global(op)(Template)

    def lower(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
        return emit(b, *(_widen(b, ty, value, sig.return_type.lanes) for ty, value in zip(sig.args, args, strict=True)))

    for vector in (VectorType(kind), VectorType(kind, PAIR)):
        lower_builtin(op, vector, vector)(lower)
        lower_builtin(op, vector, _SCALARS[kind])(lower)
        lower_builtin(op, _SCALARS[kind], vector)(lower)


_operator(operator.add, "float", "float", lambda b, x, y: b.fadd(x, y))
_operator(operator.sub, "float", "float", lambda b, x, y: b.fsub(x, y))
_operator(operator.mul, "float", "float", lambda b, x, y: b.fmul(x, y))
_operator(operator.truediv, "float", "float", lambda b, x, y: b.fdiv(x, y))
_operator(operator.lt, "float", "bool", lambda b, x, y: b.fcmp_ordered("<", x, y))
_operator(operator.gt, "float", "bool", lambda b, x, y: b.fcmp_ordered(">", x, y))
_operator(operator.ge, "float", "bool", lambda b, x, y: b.fcmp_ordered(">=", x, y))
_operator(operator.ne, "float", "bool", lambda b, x, y: b.fcmp_unordered("!=", x, y))
_operator(operator.add, "int", "int", lambda b, x, y: b.add(x, y))
_operator(operator.sub, "int", "int", lambda b, x, y: b.sub(x, y))
_operator(operator.and_, "int", "int", lambda b, x, y: b.and_(x, y))
_operator(operator.lshift, "int", "int", lambda b, x, y: b.shl(x, y))
_operator(operator.rshift, "int", "int", lambda b, x, y: b.ashr(x, y))


@infer_global(operator.neg)
class _Negative(AbstractTemplate):
    def generic(self, args: tuple[types.Type, ...], kws: Any) -> Any:
        return signature(args[0], *args) if len(args) == 1 and _lanes(args, ("float",)) else None


@lower_builtin(operator.neg, FLOATS)
@lower_builtin(operator.neg, VectorType("float", PAIR))
def _negative(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    return b.fneg(args[0])


# -- intrinsics ---------------------------------------------------------------------------------------------------------------


def _made(about: Callable[..., Any], parameters: int, typed: Callable[..., Any], emit: Callable[..., Any]) -> Any:
    """An intrinsic: ``typed(types...)`` is its signature, ``emit(builder, signature, values...)`` its LLVM value."""

    def generate(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        value = emit(b, sig, *args)
        return context.get_dummy_value() if value is None else value

    names = "".join(f", a{n}" for n in range(parameters))
    scope: dict[str, Any] = {"typed": typed, "generate": generate}
    # Numba reads an intrinsic's parameters off its Python signature, so that it must have one of the right length.
    exec(f"def {about.__name__}(typingctx{names}):\n    return typed({names[2:]}), generate\n", scope)  # noqa: S102
    made = scope[about.__name__]
    made.__doc__, made.__module__ = about.__doc__, __name__
    return intrinsic(made)


def _intrinsic(result: types.Type, *parameters: types.Type) -> Callable[[Callable[..., Any]], Any]:
    """An intrinsic of fixed types, from a function (builder, arguments...) -> LLVM value."""

    def decorate(emit: Callable[..., Any]) -> Any:
        return _made(emit, len(parameters), lambda *_: result(*parameters), lambda b, _, *args: emit(b, *args))

    return decorate


def _lanewise(result: str, *kinds: str) -> Callable[[Callable[..., Any]], Any]:
    """An intrinsic of vectors of these kinds, scalars among them, of one vector or a pair."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def typed(*args: types.Type) -> Any:
            lanes = _lanes(args, kinds)
            return VectorType(result, lanes)(*map(types.unliteral, args)) if lanes else None

        def widened(b: ir.IRBuilder, sig: Any, *args: ir.Value) -> ir.Value:
            lanes = sig.return_type.lanes
            return emit(b, *(_widen(b, ty, value, lanes) for ty, value in zip(sig.args, args, strict=True)))

        return _made(emit, len(kinds), typed, widened)

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


@_intrinsic(VectorType("float", PAIR), _N, _N, _N)
def load_pair(b, address, step, i):  # type: ignore[no-untyped-def]
    """LANES floats from element i on, and those ``step`` bytes behind."""
    low, high = (b.load(pointer(b, start, i, F32, VF), align=4) for start in (address, b.add(address, step)))
    return _shuffled(b, low, high, list(range(PAIR)))


@_intrinsic(types.void, _N, _N, _N, VectorType("float", PAIR))
def store_pair(b, address, step, i, v):  # type: ignore[no-untyped-def]
    """Store what :func:`load_pair` reads."""
    for start, half in zip((address, b.add(address, step)), _halves(b, v), strict=True):
        b.store(half, pointer(b, start, i, F32, VF), align=4)


@_intrinsic(FLOATS, _N, _N, _N)
def load_one(b, address, step, i):  # type: ignore[no-untyped-def]
    """:func:`load`, to be called as :func:`load_pair`."""
    return b.load(pointer(b, address, i, F32, VF), align=4)


@_intrinsic(types.void, _N, _N, _N, FLOATS)
def store_one(b, address, step, i, v):  # type: ignore[no-untyped-def]
    """:func:`store`, to be called as :func:`store_pair`."""
    b.store(v, pointer(b, address, i, F32, VF), align=4)


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


@_lanewise("float", "float", "float", "float")
def fma(b, x, y, z):  # type: ignore[no-untyped-def]
    """x * y + z."""
    return muladd(b, x, y, z)


@_lanewise("float", "bool", "float", "float")
def select(b, truth, x, y):  # type: ignore[no-untyped-def]
    """x where truth, y elsewhere."""
    return b.select(truth, x, y)


@_lanewise("int", "float")
def bits(b, x):  # type: ignore[no-untyped-def]
    """The bits of floats."""
    return b.bitcast(x, ir.VectorType(I32, x.type.count))


@_lanewise("float", "int")
def from_bits(b, x):  # type: ignore[no-untyped-def]
    """Floats of bits."""
    return b.bitcast(x, ir.VectorType(F32, x.type.count))


@_intrinsic(types.boolean, VectorType("bool"))
def any_true(b, truth):  # type: ignore[no-untyped-def]
    """Is any lane true?"""
    word = ir.IntType(LANES)
    return b.icmp_unsigned("!=", b.bitcast(truth, word), word(0))


@_lanewise("float", "float", "float")
def scale(b, x, n):  # type: ignore[no-untyped-def]
    """x * 2**n for n without fraction, whatever its size; where the CPU has an instruction for it (``HAS_SCALE``)."""
    if x.type.count > LANES:
        (x0, x1), (n0, n1) = _halves(b, x), _halves(b, n)
        return _shuffled(b, _scaled(b, x0, n0), _scaled(b, x1, n1), list(range(PAIR)))
    return _scaled(b, x, n)


def _scaled(b: ir.IRBuilder, x: ir.Value, n: ir.Value) -> ir.Value:
    kind = ir.FunctionType(VF, [VF, VF, VF, ir.IntType(16), I32])
    function = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.mask.scalef.ps.512")
    as_rounding_is_set = I32(4)
    return b.call(function, [x, n, x, ir.IntType(16)(-1), as_rounding_is_set])


def _tree(b: ir.IRBuilder, v: ir.Value, join: Callable[..., ir.Value]) -> ir.Value:
    """All lanes joined, halves with halves: one order on every path."""
    while v.type.count > 1:
        v = join(*_halves(b, v))
    return b.extract_element(v, I32(0))


@_intrinsic(_F, FLOATS)
def total(b, v):  # type: ignore[no-untyped-def]
    """Sum of the lanes."""
    return _tree(b, v, b.fadd)


@_intrinsic(_F, FLOATS)
def largest(b, v):  # type: ignore[no-untyped-def]
    """Maximum of the lanes, of which none is NaN."""
    return _tree(b, v, lambda x, y: b.select(b.fcmp_ordered(">", x, y), x, y))


@_intrinsic(types.void, _N, _N)
def call(b, function, argument):  # type: ignore[no-untyped-def]
    """Call the function at an address, as void (*)(int64)."""
    kind = ir.FunctionType(ir.VoidType(), [I64])
    b.call(b.inttoptr(function, kind.as_pointer()), [argument])


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
