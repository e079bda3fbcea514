"""Kernels keep within their arrays: x, out, state, scratch and constants end, or begin, at pages that nobody may touch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import guarded_arrays
import preloaded_library
import pytest
from sweeping import swept

from fastlstm import runtime

SCRIPT = Path(guarded_arrays.__file__)
SCRATCH = SCRIPT.with_name("guarded_scratch.py")
TOUCH = """
import ctypes, numpy as np, guarded_arrays
x = guarded_arrays.guarded(np.arange(5, dtype=np.float32), "{side}")
assert x.tolist() == [0, 1, 2, 3, 4]
print("inside", flush=True)
ctypes.string_at(x.ctypes.data + {offset}, 1)
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the guards are Linux's mprotect")]


def run(*command: str, **environment: str) -> tuple[int, str]:
    """Exit code and last words of a child process."""
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=1800, cwd=SCRIPT.parent, env={**os.environ, **environment}
    )
    return done.returncode, "\n".join([*done.stdout.splitlines()[-1:], done.stderr])


@pytest.mark.parametrize(("side", "offset"), [("end", 20), ("start", -1)])
def test_the_guards_guard(side: str, offset: int) -> None:
    code, said = run("-c", TOUCH.format(side=side, offset=offset))
    assert said.startswith("inside") and code == -signal.SIGSEGV, said


@pytest.mark.parametrize("level", runtime.available_levels())
def test_small_models(level: str) -> None:
    code, said = run(str(SCRIPT), FASTLSTM_KERNELS=level)
    assert code == 0, said
    assert said.startswith(f"{level}: "), said


@pytest.mark.parametrize("level", swept(runtime.available_levels(), lambda level: level == runtime.available_levels()[-1]))
def test_scratch_of_small_models(tmp_path: Path, level: str) -> None:
    code, said = run(str(SCRATCH), **preloaded_library.library(tmp_path), FASTLSTM_KERNELS=level)
    assert code == 0, said
    assert said.startswith(f"{level}: "), said


def test_the_guards_of_scratch_guard(tmp_path: Path) -> None:
    code, said = run(str(SCRATCH), "--missing", "64", **preloaded_library.library(tmp_path))
    assert code == -signal.SIGSEGV, said
