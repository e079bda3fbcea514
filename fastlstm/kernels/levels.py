"""The CPU levels of each architecture, and the LLVM triples of the platforms that wheels are built for.

Nothing is imported here but the standard library, and nothing is computed at import: ``setup.py`` reads this module before the package
can be imported, also where Numba is not installed.
"""

from __future__ import annotations

import platform
import sys
from typing import NamedTuple


class Level(NamedTuple):
    """A CPU level."""

    name: str
    lanes: int  # floats in a vector
    fused: bool  # has a fused multiply-add
    registers: int  # vector registers
    cpu: str  # LLVM's name of the CPU
    features: str = ""  # further features by LLVM's names


X86 = (
    Level("v2", 4, False, 16, "x86-64-v2"),
    Level("v3", 8, True, 16, "x86-64-v3"),
    # Left to itself LLVM takes half the vector on CPUs that lower their clock for the whole one.
    Level("v4", 16, True, 32, "x86-64-v4", "-prefer-256-bit"),
)
#: What every 64-bit ARM has: NEON with fused multiply-add.
ARM = (Level("baseline", 4, True, 32, "generic"),)
#: On architectures that nothing is known of.
OTHER = (Level("baseline", 4, False, 32, "generic"),)

#: Names that platforms give an architecture, and LLVM's.
SPELLINGS = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
#: The platforms that wheels are built for. Those of Linux serve every C library, as kernels call none.
TRIPLES = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "arm64-apple-macosx11.0.0", "x86_64-pc-windows-msvc")


def architecture(triple: str) -> str:
    """The architecture of a triple, ``x86_64`` and ``aarch64`` by these names."""
    machine = triple.partition("-")[0].lower()
    return SPELLINGS.get(machine, machine)


def host_triple() -> str:
    """The triple of this machine, as the platforms of wheels are named."""
    machine = SPELLINGS.get(platform.machine().lower(), platform.machine().lower())
    if sys.platform == "darwin":
        return f"{'arm64' if machine == 'aarch64' else machine}-apple-macosx11.0.0"
    if sys.platform == "win32":
        return f"{machine}-pc-windows-msvc"
    return f"{machine}-unknown-linux-gnu"


def levels(triple: str) -> tuple[Level, ...]:
    """The levels that a build for a platform has, lowest first."""
    return {"x86_64": X86, "aarch64": ARM}.get(architecture(triple), OTHER)
