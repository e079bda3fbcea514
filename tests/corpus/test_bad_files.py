"""The corpus's bad files: each is refused, or loads where Keras loads it too; nothing in it is executed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SECONDS = 20


CHILD = """
import sys, fastlstm
try:
    fastlstm.load(sys.argv[1])
    print("loaded")
except fastlstm.FastLSTMError as error:
    print("error", str(error))
"""


def outcome(path: Path) -> str:
    """The outcome of loading a file in a process of its own: HDF5's C library may crash, and its crash is told from ours."""
    done = subprocess.run([sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, timeout=SECONDS)
    if done.returncode < 0:
        return f"crash by signal {-done.returncode}"
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bad_files(golden_folders: tuple[Path, ...]) -> None:
    folder = next((one / "bad" for one in golden_folders if (one / "bad" / "index.jsonl").exists()), None)
    if folder is None:
        pytest.skip("the corpus has no bad files")
    for line in (folder / "index.jsonl").read_text().splitlines():
        record = json.loads(line)
        found = outcome(folder / record["case"])
        expected = record["expect"]
        if expected.startswith(("error", "refuse", "clear error")) and "load" not in expected:
            assert found.startswith("error"), (record["case"], expected, found)
        elif expected == "load (Keras casts)":
            assert found.startswith("loaded"), (record["case"], found)
        else:
            assert found.startswith(("error", "loaded")), (record["case"], expected, found)
    assert not (Path(tempfile.gettempdir()) / "PWNED_BY_LAMBDA").exists()
