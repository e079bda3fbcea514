"""The kernels' object files of a platform: as a build left them, or compiled for a test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastlstm.kernels import compile as compiler
from fastlstm.kernels import levels as platforms

FOLDER = Path(compiler.__file__).parents[2] / "build" / "kernels"


def of(triple: str, level: str, folder: Path) -> Path:
    """The object file of a level: what the last build left, if its sources are still the same, else a new one in a folder.

    One for another platform takes a minute to compile, and is used by tests alone: that has to be asked for.
    """
    kept = compiler.kept(level, FOLDER / triple)
    if kept is not None:
        return kept
    if triple != platforms.host_triple() and not os.environ.get("FASTLSTM_FOREIGN"):
        pytest.skip(f"not compiled yet: FASTLSTM_FOREIGN=1, or python fastlstm/kernels/compile.py --triple {triple}")
    path = folder / f"{level}.o"
    compiler.compile_level(level, path, triple)
    return path
