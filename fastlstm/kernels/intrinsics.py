"""How the kernels say what Numba has no words for: Python functions that emit LLVM code become functions that kernels call.

Here are LLVM's types by short names, the bits of code that several emitters need, and :func:`intrinsic`, the decorator; the functions
themselves are in ``vector.py``, ``memory.py`` and ``tile.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic

from .target import LANES, LEVEL

F32, I1, I8, I16, I32, I64 = ir.FloatType(), *(ir.IntType(size) for size in (1, 8, 16, 32, 64))
#: Vectors of floats, of 32-bit integers, of truth values, and of the bits of bfloat16.
VF, VI, VB, VH = (ir.VectorType(element, LANES) for element in (F32, I32, I1, I16))


# -- code -----------------------------------------------------------------------------------------------------------------------


def splatted(b: ir.IRBuilder, scalar: ir.Value, lanes: int = LANES) -> ir.Value:
    """A vector with ``scalar`` in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    one = b.insert_element(ir.Constant(vector, ir.Undefined), scalar, I32(0))
    return shuffled(b, one, ir.Constant(vector, ir.Undefined), [0] * lanes)


def shuffled(b: ir.IRBuilder, x: ir.Value, y: ir.Value, lanes: list[int]) -> ir.Value:
    """The lanes with those numbers; y's are numbered after x's."""
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


def halves(b: ir.IRBuilder, v: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The lower and the upper half of a vector."""
    count = v.type.count
    undef = ir.Constant(v.type, ir.Undefined)
    return shuffled(b, v, undef, list(range(count // 2))), shuffled(b, v, undef, list(range(count // 2, count)))


def muladd(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """x * y + z, fused where the CPU can: elsewhere LLVM would call a library function for every lane."""
    if not LEVEL.fused:
        return b.fadd(b.fmul(x, y), z)
    kind = ir.FunctionType(x.type, [x.type] * 3)
    fma = cgutils.get_or_insert_function(b.module, kind, f"llvm.fma.v{x.type.count}f32")
    return b.call(fma, [x, y, z])


def pointer(b: ir.IRBuilder, address: ir.Value, index: ir.Value, element: ir.Type, vector: ir.Type | None = None) -> ir.Value:
    """The pointer to element number ``index`` from ``address`` on."""
    place = b.gep(b.inttoptr(address, element.as_pointer()), [index])
    return place if vector is None else b.bitcast(place, vector.as_pointer())


def numbers_in(b: ir.IRBuilder, value: ir.Value) -> list[ir.Value]:
    """The numbers of a tuple, also of tuples in it."""
    if not isinstance(value.type, ir.Aggregate):
        return [value]
    return [n for part in cgutils.unpack_tuple(b, value) for n in numbers_in(b, part)]


def widened(b: ir.IRBuilder, place: ir.Value) -> ir.Value:
    """A vector of bfloat16 in memory as floats: their bits are the upper halves of those."""
    return b.bitcast(b.shl(b.zext(b.load(place, align=2), VI), ir.Constant(VI, [16] * LANES)), VF)


#: Caches by LLVM's numbers.
FIRST_CACHE, SECOND_CACHE = 3, 2


def prefetched(b: ir.IRBuilder, address: ir.Value, offset: int = 0, into: int = FIRST_CACHE) -> None:
    """Have a cache fetch the line at an address, which need not be valid."""
    place = b.inttoptr(b.add(address, I64(offset)), I8.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    reading, data = I32(0), I32(1)
    b.call(cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0"), [place, reading, I32(into), data])


# -- functions that kernels can call ----------------------------------------------------------------------------------------------


def made(about: Callable[..., Any], parameters: int, typed: Callable[..., Any], emit: Callable[..., Any]) -> Any:
    """An intrinsic with name and docstring of ``about``.

    Parameters
    ----------
    typed
        (types of the arguments...) -> Numba's signature, or None if there is none for them.
    emit
        (builder, signature, values of the arguments...) -> LLVM value, or None of a function without result.
    """

    def generate(context: Any, b: ir.IRBuilder, sig: Any, args: Any) -> Any:
        value = emit(b, sig, *args)
        return context.get_dummy_value() if value is None else value

    def define(typingctx: Any, *args: types.Type) -> Any:
        sig = typed(*args)
        return None if sig is None else (sig, generate)

    define.__name__, define.__doc__, define.__module__ = about.__name__, about.__doc__, about.__module__
    # Numba counts the parameters of the Python function.
    names = ["typingctx", *(f"a{n}" for n in range(parameters))]
    signature = inspect.Signature([inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names])
    define.__signature__ = signature  # type: ignore[attr-defined]
    return numba_intrinsic(define)


def intrinsic(result: types.Type, *parameters: types.Type) -> Callable[[Callable[..., Any]], Any]:
    """Make a function (builder, values of the arguments...) -> LLVM value one that kernels call, with arguments of these types.

    ``@intrinsic(types.int64, types.int64, types.int64)`` makes ``load_int(b, address, i)`` a function ``load_int(address, i)``.
    """

    def decorate(emit: Callable[..., Any]) -> Any:
        return made(emit, len(parameters), lambda *_: result(*parameters), lambda b, _, *args: emit(b, *args))

    return decorate
