"""Kernels, and the fields of their structs declared beside them: what the build and the runtime's table are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np


class Kernel(NamedTuple):
    """A kernel: ``void kernel(int64_t *fields)``."""

    name: str
    fields: tuple[str, ...]  # 8 bytes each, in order
    floats: frozenset[str]  # those that are a float32 in the low 4 bytes; all others are integers or addresses
    function: Callable[[Any], None]

    def record(self) -> Any:
        """The struct as Numba's type."""
        formats = [np.float32 if name in self.floats else np.int64 for name in self.fields]
        layout = {"names": self.fields, "formats": formats, "offsets": [8 * n for n in range(len(formats))], "itemsize": 8 * len(formats)}
        return numba.from_dtype(np.dtype(layout))


#: Every kernel by name, in order of declaration.
KERNELS: dict[str, Kernel] = {}


def kernel(*fields: str, floats: tuple[str, ...] = ()) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Declare a function of one struct as kernel of the function's name.

    Parameters
    ----------
    fields
        Names of the struct's fields in order; the first is ``rows``, which the runtime fills in.
    floats
        Those that hold a float32.
    """
    assert fields[0] == "rows" and set(floats) <= set(fields)

    def decorate(function: Callable[[Any], None]) -> Callable[[Any], None]:
        KERNELS[function.__name__] = Kernel(function.__name__, fields, frozenset(floats), function)
        return function

    return decorate
