"""Headers of ``.fastlstm`` files, read and replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def header_of(path: Path) -> Any:
    """The header of a ``.fastlstm`` file."""
    data = path.read_bytes()
    return json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["fastlstm"])


def rewrite(path: Path, header: Any) -> None:
    """Put another header in place."""
    data = path.read_bytes()
    size = 8 + int.from_bytes(data[:8], "little")
    container = json.loads(data[8:size])
    container["__metadata__"]["fastlstm"] = json.dumps(header)
    text = json.dumps(container).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[size:])
