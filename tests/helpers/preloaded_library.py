"""The library that tests preload into Pythons that they start: preloaded.c, where it can be built."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("preloaded.c")


def library(folder: Path) -> dict[str, str]:
    """Environment of a Python with the library, built into a folder; skips where that cannot be."""
    if shutil.which("gcc") is None or not sys.platform.startswith("linux"):
        pytest.skip("needs gcc and glibc")
    built = folder / "preloaded.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(built), str(SOURCE), "-ldl"], check=True)
    return {"LD_PRELOAD": str(built)}
