"""Chooses the inputs that are worth keeping: the smallest ones that together take every path between lines of fastlstm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import fastlstm

OWN = str(Path(fastlstm.__file__).parent)
#: Inputs larger than this are not kept.
MOST_BYTES = 5000


def paths_of(target: Callable[[bytes], None], data: bytes) -> set[tuple[CodeType, int, int]]:
    """Every step from one line to the next that a target takes."""
    found: set[tuple[CodeType, int, int]] = set()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(OWN):
            return None
        before = 0

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            found.add((code, before, frame.f_lineno))
            before = frame.f_lineno
            return line

        return line

    sys.settrace(enter)
    try:
        target(data)
    finally:
        sys.settrace(None)
    return found


def chosen(target: Callable[[bytes], None], files: Iterable[Path]) -> list[Path]:
    """The files to keep."""
    known: set[tuple[CodeType, int, int]] = set()
    kept = []
    for path in sorted(files, key=lambda file: (file.stat().st_size, file.name)):
        if path.stat().st_size <= MOST_BYTES:
            new = paths_of(target, path.read_bytes()) - known
            if new:
                known |= new
                kept.append(path)
    return kept
