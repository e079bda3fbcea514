"""The kernels by name: each function of a contract's name (``program/contracts/``). The object files and the runtime's table are
made of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from ..program.contract import Contract
from ..program.contracts import CONTRACTS


class Kernel(NamedTuple):
    """A kernel: ``void kernel(int64_t *fields)``."""

    contract: Contract
    function: Callable[[Any], None]

    def record(self) -> Any:
        """The struct as Numba's type."""
        fields = self.contract.fields
        formats = [np.float32 if name in self.contract.floats else np.int64 for name in fields]
        layout = {"names": fields, "formats": formats, "offsets": [8 * n for n in range(len(formats))], "itemsize": 8 * len(formats)}
        return numba.from_dtype(np.dtype(layout))


#: Every kernel by name, in order of declaration.
KERNELS: dict[str, Kernel] = {}


def kernel(function: Callable[[Any], None]) -> Callable[[Any], None]:
    """Declare a function of one struct as the kernel whose contract has the function's name."""
    KERNELS[function.__name__] = Kernel(CONTRACTS[function.__name__], function)
    return function
