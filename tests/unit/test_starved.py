"""Where there is no memory: a MemoryError or a FastLSTMError, never a crash, and the next call is right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import preloaded_library
import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(preloaded_library.__file__).with_name("failing_allocations.py")


def run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=1800, env={**os.environ, **environment}
    )
    assert done.returncode == 0 and done.stdout.endswith("done\n"), (done.returncode, done.stdout, done.stderr[-3000:])
    return done.stdout


# Each of them, or primes, to meet all sorts of them.
@pytest.mark.parametrize(("only", "every"), [("make", 1), ("load", 197), ("convert", 9973), ("predict|step", 7)])
def test_allocations_of_the_interpreter(tmp_path: Path, only: str, every: int) -> None:
    pytest.importorskip("_testcapi", reason="this Python was built without its test modules")
    assert "calls stopped" in run(str(tmp_path), "--only", only, "--every", str(every))


@pytest.mark.parametrize(
    ("library", "only"), [("/fastlstm/runtime", ""), ("_multiarray_umath", "predict$|step$")]
)  # what NumPy does for itself may crash
def test_allocations_of_libraries(tmp_path: Path, library: str, only: str) -> None:
    said = run(str(tmp_path), "--library", library, "--only", only, **preloaded_library.library(tmp_path))
    assert re.search(r"\b[1-9]\d* calls stopped", said), said
