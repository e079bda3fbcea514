"""The CPU levels, and what the one that is being compiled for can do: lanes, registers, fused multiply-add, and the tiles that fit it.

One process compiles for one level.
"""

from __future__ import annotations

import os
import platform
from typing import NamedTuple


class Level(NamedTuple):
    """A CPU level."""

    name: str
    lanes: int  # floats in a vector
    fused: bool  # has a fused multiply-add
    registers: int  # vector registers
    cpu: str  # LLVM's name of the CPU; "" = baseline of the architecture
    features: str = ""  # further features by LLVM's names


X86 = (
    Level("v2", 4, False, 16, "x86-64-v2"),
    Level("v3", 8, True, 16, "x86-64-v3"),
    # Left to itself LLVM takes half the vector on CPUs that lower their clock for the whole one.
    Level("v4", 16, True, 32, "x86-64-v4", "-prefer-256-bit"),
)
#: On other architectures: what every CPU of that architecture has (ARMv8: NEON with fused multiply-add).
BASELINE = Level("baseline", 4, platform.machine().lower() in ("aarch64", "arm64"), 32, "generic")


def is_x86() -> bool:
    """Is this an x86-64 machine?"""
    return platform.machine().lower() in ("x86_64", "amd64")


def levels() -> tuple[Level, ...]:
    """The levels that an installation on this architecture is built with, lowest first."""
    return X86 if is_x86() else (BASELINE,)


def host() -> Level:
    """The exact CPU of this machine."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    cpu, listed = llvm.get_host_cpu_name(), features.flatten()
    if features.get("avx512f") and features.get("avx512vl") and features.get("avx512dq") and features.get("avx512bw"):
        return Level("jit", 16, True, 32, cpu, listed + ",-prefer-256-bit")
    if features.get("avx2") and features.get("fma"):
        return Level("jit", 8, True, 16, cpu, listed)
    if is_x86():
        return Level("jit", 4, False, 16, cpu, listed)
    return Level("jit", 4, BASELINE.fused, 32, cpu, listed)


def find(name: str) -> Level:
    """The level of that name."""
    return host() if name == "jit" else {level.name: level for level in levels()}[name]


#: The level being compiled for: set by ``compile.py`` before anything else is imported.
LEVEL = find(os.environ.get("FASTLSTM_TARGET", "jit"))
LANES = LEVEL.lanes
#: Bytes of a vector of floats.
VECTOR = 4 * LANES
#: Rows of a tile: with them, rows x 4 accumulators and what is multiplied stay in registers; without fused multiply-add, so do the
#: products.
TILE_ROWS = 6 if LEVEL.registers >= 32 else 3 if LEVEL.fused else 2
