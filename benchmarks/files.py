"""How the benchmarks write files: the whole new one, or what was there before."""

from __future__ import annotations

from pathlib import Path

from fastlstm.replacing import writing


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, and the folders that it is to lie in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as stream:
        stream.write(data)


def write_text(path: Path, text: str) -> None:
    """The same of text."""
    write_bytes(path, text.encode())
