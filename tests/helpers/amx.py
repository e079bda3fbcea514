"""AMX on CPUs that have none: ``amx.c``, compiled with the C compiler of this machine, computes its instructions."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

import fastlstm
from fastlstm.program import bfloat16, layout

SOURCE = Path(__file__).with_suffix(".c")


def lacking() -> str:
    """Why there is no AMX here; empty where this process may use it, or computes it from now on."""
    if not fastlstm.runtime.amx_refused():
        return ""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the instructions of AMX are computed on x86-64 Linux alone"
    if shutil.which("cc") is None:
        return "no C compiler"
    if "v3" not in fastlstm.runtime.available_levels():
        return "this CPU has no fused multiply-add"
    installed()
    return ""


def left_configured() -> bool:
    """Are this thread's tiles configured, as far as that can be known?"""
    return bool(fastlstm.runtime.amx_refused()) and bool(installed().amx_configured())


@cache
def installed() -> ctypes.CDLL:
    """Have this process compute the instructions of AMX, in whatever thread; the library says how many."""
    folder = Path(tempfile.mkdtemp(prefix="fastlstm-amx"))
    path = folder / "amx.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-std=gnu11", "-o", path, SOURCE, "-lm"], check=True)
    library = ctypes.CDLL(str(path))
    library.amx_instructions.restype = library.amx_configurations.restype = ctypes.c_long
    assert library.amx_install() == 0
    return library


# -- the same in NumPy ------------------------------------------------------------------------------------------------------------


def halves(x: np.ndarray) -> np.ndarray:
    """Floats rounded to bfloat16."""
    return bfloat16.widened(bfloat16.rounded(x))


def parts(x: np.ndarray, form: int) -> list[np.ndarray]:
    """The parts of an operand."""
    if form != layout.SPLIT:
        return [halves(x)]
    return [bfloat16.widened(part) for part in bfloat16.split(x)]


def product(sums: np.ndarray, x: np.ndarray, w: np.ndarray, form: int) -> np.ndarray:
    """sums + x @ w in plain float32, in the order of AMX: tiles of 32 k, of each the parts, of each the even and the odd k."""
    steps = layout.amx_steps(len(w))
    pad = steps * layout.AMX_DEPTH - len(w)
    xs = [np.pad(part, ((0, 0), (0, pad))) for part in parts(x, form)]
    ws = [np.pad(part, ((0, pad), (0, 0))) for part in parts(w, form)]
    pairs = [(0, 0)] if form == layout.AMX else [(0, 0), (1, 0), (0, 1)]
    z = np.broadcast_to(sums, (len(x), w.shape[1])).astype(np.float32)
    for step in range(steps):
        for of_x, of_w in pairs:
            even, odd = np.zeros_like(z), np.zeros_like(z)
            for k in range(step * layout.AMX_DEPTH, (step + 1) * layout.AMX_DEPTH, 2):
                even += xs[of_x][:, k : k + 1] * ws[of_w][k]
                odd += xs[of_x][:, k + 1 : k + 2] * ws[of_w][k + 1]
            z = z + (even + odd)
    return z
