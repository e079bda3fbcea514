"""How Numba compiles the kernels. Its decorators and flags stand here and nowhere else, so that all functions follow one rule:
a division by zero gives infinity or NaN as in NumPy, and nothing is reordered or assumed away (there is no ``fastmath``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import numpy as np
from numba import njit, types

from .gathering import Gathering

#: Nothing but other kernels calls a function.
_RULES = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": Gathering}

#: A function that LLVM inlines where it finds that worth while.
compiled = njit(**_RULES)

#: A function that is inlined whatever it costs: a call would pass vectors through memory.
inlined = njit(**_RULES, forceinline=True)

#: Numba compiles a function anew for every argument that is a literal; these are not.
ZERO, ONE = np.int64(0), np.int64(1)


def exported(struct: types.Type) -> Callable[[Callable[[Any], None]], Any]:
    """A function of a struct's address, as C calls it."""
    return njit((struct,), **_RULES | {"no_cfunc_wrapper": False})


def compiled_together(functions: Iterable[Any]) -> dict[str, Any]:
    """Plain Python functions by name, compiled so that they call each other's compiled selves; the originals stay as they are."""
    made: dict[str, Any] = {}
    for function in functions:
        names = function.__globals__ | made  # those that it calls come before it
        made[function.__name__] = compiled(FunctionType(function.__code__, names, function.__name__))
    return made
