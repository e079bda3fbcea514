"""Files that broke fastlstm once: where they lie, and what comes of one in a process of its own.

As a script it runs one file and prints the outcome: ``python tests/helpers/faults.py FILE``.
"""

from __future__ import annotations

import json
import lzma
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm


def folder() -> Path:
    """$FASTLSTM_FAULTS, or shared/faults/cases beside the repository."""
    named = os.environ.get("FASTLSTM_FAULTS")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "faults" / "cases"


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


if __name__ == "__main__":
    main(Path(sys.argv[1]))
