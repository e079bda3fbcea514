"""Files that broke fastlstm once: each is refused for what it is, or computed right, in little time and memory; never a crash."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faults
import pytest
from refusals import refusal

import fastlstm
from fastlstm.errors import FormatError

REFUSED = ("FormatError", "UnsupportedError", "InputError")
#: What must come of the files of a folder: "right", or errors. The last of the patterns that fits counts.
EXPECTED = {
    "*/*": REFUSED,
    "concat_axis0/*": ("UnsupportedError",),
    "concat_lengths/*": ("InputError",),
    "nested_ids/*": ("InputError",),
    "shared_constants/*": ("right",),
    "raw_exceptions/reshape9*": ("right",),
    "initial_state/*": ("FormatError",),
    "nested_twice_hang/*": ("FormatError",),
    "load_memory/*": ("FormatError",),
    "json_regex_hang/*": ("FormatError",),
    "hdf5_dag_slow/*": ("FormatError",),
}
#: Seconds of CPU and MB of memory, that of Python and its libraries among it, which each of them may take; by far the most take less.
SECONDS, MEGABYTES = 5, 400


FILES = sorted(
    path
    for path in faults.folder().glob("*/*")
    if path.suffix in (".h5", ".keras", ".fastlstm", ".xz") and path.parent.name != "hdf5_c_library"
)
ABSENT = pytest.param(None, id="absent", marks=pytest.mark.skip("no files: shared/faults/cases beside the repository"))


@pytest.mark.parametrize("path", FILES or [ABSENT], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_file(path: Path, figure: Callable[[str, str], None]) -> None:
    done = subprocess.run([sys.executable, faults.__file__, str(path)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found, seconds, megabytes = json.loads(done.stdout)
    figure(f"fault {path.parent.name}/{path.name}", f"{found}, {seconds:.2f} s, {megabytes} MB")
    name = Path(path.parent.name) / path.name
    *_, expected = (outcomes for pattern, outcomes in EXPECTED.items() if name.match(pattern))
    assert found in expected
    assert seconds < SECONDS
    assert megabytes < MEGABYTES


def test_files_that_have_cost_much() -> None:
    """Refused at once, and by name."""
    if not faults.folder().is_dir():
        pytest.skip("no files: shared/faults/cases beside the repository")
    kinds = ("load_memory", "nested_twice_hang", "hdf5_dag_slow", "json_regex_hang")
    files = [path for kind in kinds for path in sorted((faults.folder() / kind).iterdir()) if path.name != "README"]
    assert files
    for path in files:
        assert path.name in refusal(path.read_bytes()).replace(f"<{path.stat().st_size} bytes>", path.name)


@pytest.mark.skipif(os.name == "nt", reason="no limits but the clock on Windows")
def test_faults_of_hdf5() -> None:
    """Files that crash or hang HDF5's C library do so in a process of its own."""
    if not (faults.folder() / "hdf5_c_library").is_dir():
        pytest.skip("no files: shared/faults/cases beside the repository")
    for path in sorted((faults.folder() / "hdf5_c_library").glob("*.h5")):
        start = time.monotonic()
        with pytest.raises(FormatError, match=re.escape(str(path))):
            fastlstm.load(path, isolated=fastlstm.Isolation(cpu_seconds=2, max_bytes=1 << 30))
        assert time.monotonic() - start < 60
