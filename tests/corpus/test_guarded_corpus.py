"""Kernels keep within their arrays: the corpus on arrays and scratch that end, or begin, at pages that nobody may touch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import guarded_arrays
import preloaded_library
import pytest
from sweeping import swept

from fastlstm import runtime

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the guards are Linux's mprotect")
ARRAYS = Path(guarded_arrays.__file__)
SCRATCH = ARRAYS.with_name("guarded_scratch.py")


@pytest.mark.slow
@pytest.mark.parametrize("script", [ARRAYS, SCRATCH], ids=["arrays", "scratch"])
@pytest.mark.parametrize("level", swept(runtime.available_levels(), lambda level: level == runtime.available_levels()[-1]))
def test_corpus(level: str, script: Path, golden_folders: tuple[Path, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(script), "--lean", "--golden", *map(str, golden_folders)],
        env={**os.environ, **preloaded_library.library(tmp_path), "FASTLSTM_KERNELS": level},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"{level}: "), done.stdout
