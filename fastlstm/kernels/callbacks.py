"""Calls from a kernel into the runtime: to wait for the other threads that compute the same call, and to see whether the call goes on.

Both are functions of the runtime that a kernel is given as addresses (``program/contract.py``), called rarely.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from .flags import ONE, ZERO, compiled, inlined
from .intrinsics import I64, intrinsic
from .memory import load_int

#: Multiply-adds of about a tenth of a millisecond: between two looks at whether to go on.
PATIENCE = 2_500_000


@intrinsic(types.void, types.int64, types.int64)
def call(b, function, argument):
    """Call the function at an address, as void (*)(int64)."""
    kind = ir.FunctionType(ir.VoidType(), [I64])
    b.call(b.inttoptr(function, kind.as_pointer()), [argument])


@compiled
def meet(f: Any) -> None:
    """Wait for the other members, if there are any: what they wrote can be read."""
    if f.members > 1:
        call(f.meet, f.team)


@compiled
def stopped(f: Any) -> bool:
    """Is the call to be left? Whatever was computed is worthless then."""
    call(f.look, f.watch)
    return load_int(f.watch, ZERO) != 0


@inlined
def patience_after(f: Any, left: int, work: int) -> int:
    """Patience left after so many multiply-adds, renewed by a look at whether the call goes on; below 0: leave it."""
    if f.watch:
        left -= work
        if left < 0:
            left = -ONE if stopped(f) else ONE * PATIENCE
    return left
