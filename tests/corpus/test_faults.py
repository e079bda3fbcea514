"""Files that broke fastlstm once: each is refused for what it is, or computed right, in little time and memory; never a crash.

As a script it runs one file and prints what came of it.
"""

from __future__ import annotations

import json
import lzma
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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


def folder() -> Path:
    """$FASTLSTM_FAULTS, or shared/faults/cases beside the repository."""
    named = os.environ.get("FASTLSTM_FAULTS")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "faults" / "cases"


FILES = sorted(
    path for path in folder().glob("*/*") if path.suffix in (".h5", ".keras", ".fastlstm", ".xz") and path.parent.name != "hdf5_c_library"
)
ABSENT = pytest.param(None, id="absent", marks=pytest.mark.skip("no files: shared/faults/cases beside the repository"))


def given(model: fastlstm.Model, name: str) -> Any:
    """Input that showed the fault."""
    rng = np.random.default_rng(0)
    if name == "nested_ids":
        return np.array([[99_999, 5]])
    lengths = iter((1000, 1)) if name == "concat_lengths" else iter((5,) * len(model.inputs))
    found = []
    for info in model.inputs:
        open_size = next(lengths)
        found.append(rng.random([2, *(open_size if size is None else size for size in info.shape[1:])], np.float32))
    return found if len(found) > 1 else found[0]


def outcome(path: Path) -> str:
    """ "right", "wrong", or the name of the error."""
    data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    try:
        model = fastlstm.load(data)
        x = given(model, path.parent.name)
        found = model.predict(x)
        expected = fastlstm.load(data, precision="float64").predict(x)
    except fastlstm.FastLSTMError as error:
        return type(error).__name__
    pairs = zip(found, expected, strict=True) if isinstance(found, list) else [(found, expected)]
    return "right" if all(np.allclose(y, z, rtol=1e-5, atol=1e-5, equal_nan=True) for y, z in pairs) else "wrong"


def peak() -> int:
    """The most memory that this process has had, in MB; 0 where the system does not tell.

    Not getrusage's, which counts in what the process was started from.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM")), 0)


def main(path: Path) -> None:
    """Print what came of a file, the seconds of CPU that it took, and the most memory in MB."""
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    start = time.process_time()
    found = outcome(path)
    print(json.dumps([found, time.process_time() - start, peak()]))


@pytest.mark.parametrize("path", FILES or [ABSENT], ids=lambda path: f"{path.parent.name}/{path.name}")
def test_file(path: Path, figure: Callable[[str, str], None]) -> None:
    done = subprocess.run([sys.executable, __file__, str(path)], capture_output=True, text=True, timeout=300, check=False)
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
    if not folder().is_dir():
        pytest.skip("no files: shared/faults/cases beside the repository")
    kinds = ("load_memory", "nested_twice_hang", "hdf5_dag_slow", "json_regex_hang")
    files = [path for kind in kinds for path in sorted((folder() / kind).iterdir()) if path.name != "README"]
    assert files
    for path in files:
        assert path.name in refusal(path.read_bytes()).replace(f"<{path.stat().st_size} bytes>", path.name)


@pytest.mark.skipif(os.name == "nt", reason="no limits but the clock on Windows")
def test_faults_of_hdf5() -> None:
    """Files that crash or hang HDF5's C library do so in a process of its own."""
    if not (folder() / "hdf5_c_library").is_dir():
        pytest.skip("no files: shared/faults/cases beside the repository")
    for path in sorted((folder() / "hdf5_c_library").glob("*.h5")):
        start = time.monotonic()
        with pytest.raises(FormatError, match=re.escape(str(path))):
            fastlstm.load(path, isolated=fastlstm.Isolation(cpu_seconds=2, max_bytes=1 << 30))
        assert time.monotonic() - start < 60


if __name__ == "__main__":
    main(Path(sys.argv[1]))
