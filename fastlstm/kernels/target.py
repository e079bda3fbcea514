"""What is being compiled for: lanes, registers, fused multiply-add, and the tiles that fit them.

One process compiles for one level of one platform.
"""

from __future__ import annotations

import os

from .levels import Level, host_triple, levels

#: The platform being compiled for: set by ``compile.py`` before anything else is imported.
TRIPLE = os.environ.get("FASTLSTM_TRIPLE") or host_triple()


def host() -> Level:
    """The exact CPU of this machine."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    cpu, listed = llvm.get_host_cpu_name(), features.flatten()
    if features.get("avx512f") and features.get("avx512vl") and features.get("avx512dq") and features.get("avx512bw"):
        return Level("jit", 16, True, 32, cpu, listed + ",-prefer-256-bit")
    if features.get("avx2") and features.get("fma"):
        return Level("jit", 8, True, 16, cpu, listed)
    lowest = levels(host_triple())[0]
    return Level("jit", 4, lowest.fused, lowest.registers, cpu, listed)


def find(name: str) -> Level:
    """The level of that name."""
    return host() if name == "jit" else {level.name: level for level in levels(TRIPLE)}[name]


#: The level being compiled for, likewise.
LEVEL = find(os.environ.get("FASTLSTM_TARGET", "jit"))
LANES = LEVEL.lanes
#: Bytes of a vector of floats.
VECTOR = 4 * LANES
#: Rows of a tile of four vectors: with them, the accumulators and what is multiplied stay in registers; without fused multiply-add, so
#: do the products.
TILE_ROWS = 6 if LEVEL.registers >= 32 else 3 if LEVEL.fused else 2
