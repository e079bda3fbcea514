"""A vector of floats as a Numba type, with its operators and the functions that compute on it lane by lane.

Kernels write ``load(x, i) * 2.0 + y``, and get the CPU's vector instructions for it: what LLVM has and Numba does not show.
Arithmetic keeps NaN and infinities; nothing is reordered.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin, models, register_model

from .intrinsics import F32, I1, I32, VF, halves, intrinsic, made, muladd, shuffled, splatted
from .target import LANES

#: A pair of vectors is computed as one value: two chains of dependent operations, each step of one beside that of the other.
#: A CPU looks only so far ahead for work that it can do meanwhile.
PAIR = 2 * LANES

#: Is there :func:`scale`?
HAS_SCALE = LANES == 16

#: What one float of a vector may also be.
INFINITY = float("inf")

_ELEMENTS = {"float": F32, "int": I32, "bool": I1}
_SCALARS = {"float": types.Float, "int": types.Integer}


class VectorType(types.Type):
    """Floats, their bits as integers, or a truth value for each: LANES or PAIR of them."""

    def __init__(self, kind: str, lanes: int = LANES):
        self.kind, self.lanes = kind, lanes
        super().__init__(name=f"vector_{kind}_{lanes}")

    @property
    def ir(self) -> ir.Type:
        """LLVM's type."""
        return ir.VectorType(_ELEMENTS[self.kind], self.lanes)


FLOATS, FLOATS_PAIR = VectorType("float"), VectorType("float", PAIR)
BOOLS = VectorType("bool")


@register_model(VectorType)
class VectorModel(models.PrimitiveModel):
    """How Numba holds it: as an LLVM vector."""

    def __init__(self, dmm: Any, fe_type: VectorType):
        super().__init__(dmm, fe_type, fe_type.ir)


# -- operators ------------------------------------------------------------------------------------------------------------------


def _widen(b: ir.IRBuilder, ty: types.Type, value: ir.Value, lanes: int) -> ir.Value:
    """An operand as vector: scalars are spread over the lanes, in 32 bits."""
    if isinstance(ty, VectorType):
        return value
    if isinstance(ty, types.Float) and ty.bitwidth == 64:
        value = b.fptrunc(value, F32)
    elif isinstance(ty, types.Integer) and ty.bitwidth == 64:
        value = b.trunc(value, I32)
    return splatted(b, value, lanes)


def _lanes(args: tuple[types.Type, ...], kinds: tuple[str, ...]) -> int:
    """Lanes of operands that are vectors of these kinds or scalars, at least one of them a vector; 0 if they are not."""
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
_operator(operator.le, "float", "bool", lambda b, x, y: b.fcmp_ordered("<=", x, y))
_operator(operator.eq, "float", "bool", lambda b, x, y: b.fcmp_ordered("==", x, y))
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
@lower_builtin(operator.neg, FLOATS_PAIR)
def _negative(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> ir.Value:
    return b.fneg(args[0])


# -- functions, lane by lane ----------------------------------------------------------------------------------------------------


def _lanewise(result: str, *kinds: str) -> Callable[[Callable[..., Any]], Any]:
    """As :func:`.intrinsics.intrinsic`, of vectors of these kinds or scalars: of one vector's lanes or a pair's."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def typed(*args: types.Type) -> Any:
            lanes = _lanes(args, kinds)
            return VectorType(result, lanes)(*map(types.unliteral, args)) if lanes else None

        def widened(b: ir.IRBuilder, sig: Any, *args: ir.Value) -> ir.Value:
            lanes = sig.return_type.lanes
            return emit(b, *(_widen(b, ty, value, lanes) for ty, value in zip(sig.args, args, strict=True)))

        return made(emit, len(kinds), typed, widened)

    return decorate


@intrinsic(FLOATS, types.float32)
def splat(b, x):
    """A vector with x in every lane."""
    return splatted(b, x)


@_lanewise("float", "float", "float", "float")
def fma(b, x, y, z):
    """x * y + z."""
    return muladd(b, x, y, z)


@_lanewise("float", "bool", "float", "float")
def select(b, truth, x, y):
    """x where truth, y elsewhere."""
    return b.select(truth, x, y)


def _instruction(name: str) -> Callable[[ir.IRBuilder, ir.Value], ir.Value]:
    """What LLVM has as an operation and every CPU level as an instruction."""

    def emit(b: ir.IRBuilder, x: ir.Value) -> ir.Value:
        kind = ir.FunctionType(x.type, [x.type])
        return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.{name}.v{x.type.count}f32"), [x])

    return emit


@_lanewise("float", "float")
def sqrt(b, x):
    """The square root."""
    return _instruction("sqrt")(b, x)


@_lanewise("float", "float")
def floor(b, x):
    """The next integer below."""
    return _instruction("floor")(b, x)


@_lanewise("float", "float")
def ceil(b, x):
    """The next integer above."""
    return _instruction("ceil")(b, x)


@_lanewise("float", "float")
def nearest(b, x):
    """The nearest integer, of two the even one."""
    return _instruction("nearbyint")(b, x)


@_lanewise("float", "int")
def from_int(b, n):
    """Integers as floats."""
    return b.sitofp(n, ir.VectorType(F32, n.type.count))


@_lanewise("int", "float")
def bits(b, x):
    """The bits of floats."""
    return b.bitcast(x, ir.VectorType(I32, x.type.count))


@_lanewise("float", "int")
def from_bits(b, x):
    """Floats of bits."""
    return b.bitcast(x, ir.VectorType(F32, x.type.count))


@_lanewise("float", "float", "float")
def scale(b, x, n):
    """x * 2**n for n without fraction, whatever its size; where the CPU has an instruction for it (``HAS_SCALE``)."""
    if x.type.count > LANES:
        (x0, x1), (n0, n1) = halves(b, x), halves(b, n)
        return shuffled(b, _scaled(b, x0, n0), _scaled(b, x1, n1), list(range(PAIR)))
    return _scaled(b, x, n)


def _scaled(b: ir.IRBuilder, x: ir.Value, n: ir.Value) -> ir.Value:
    kind = ir.FunctionType(VF, [VF, VF, VF, ir.IntType(16), I32])
    function = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.mask.scalef.ps.512")
    as_rounding_is_set = I32(4)
    return b.call(function, [x, n, x, ir.IntType(16)(-1), as_rounding_is_set])


# -- functions of all lanes -----------------------------------------------------------------------------------------------------


def _tree(b: ir.IRBuilder, v: ir.Value, join: Callable[..., ir.Value]) -> ir.Value:
    """All lanes joined, halves with halves: one order on every path."""
    while v.type.count > 1:
        v = join(*halves(b, v))
    return b.extract_element(v, I32(0))


def rotated(distance: int) -> Any:
    """A function: the lanes of a vector moved on by so many, round about."""

    def lanes_moved(b, v):
        return shuffled(b, v, v, [(lane + distance) % LANES for lane in range(LANES)])

    return intrinsic(FLOATS, FLOATS)(lanes_moved)


@intrinsic(types.float32, FLOATS)
def first_lane(b, v):
    """The first lane."""
    return b.extract_element(v, I32(0))


@intrinsic(types.float32, FLOATS)
def total(b, v):
    """Sum of the lanes."""
    return _tree(b, v, b.fadd)


@intrinsic(types.float32, FLOATS)
def largest(b, v):
    """Maximum of the lanes, of which none is NaN."""
    return _tree(b, v, lambda x, y: b.select(b.fcmp_ordered(">", x, y), x, y))


@intrinsic(types.boolean, BOOLS)
def any_true(b, truth):
    """Is any lane true?"""
    word = ir.IntType(LANES)
    return b.icmp_unsigned("!=", b.bitcast(truth, word), word(0))
