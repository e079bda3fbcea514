"""Where measurements run: processes of their own, and the folders that they read and write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"


def environment(threads: int) -> dict[str, str]:
    """One thread means one thread, in every library that an engine may bring; and what is imported is compiled but once."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **kept,
        **dict.fromkeys(names, str(threads)),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }


def script(name: str, *arguments: object, capture: bool = False) -> str | None:
    """Run a module of this package in a process of its own; its output where that is wanted and it went well."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]
    ran = subprocess.run(
        command, cwd=REPOSITORY, env=environment(1), text=True, check=not capture, stdout=subprocess.PIPE if capture else sys.stderr
    )
    return ran.stdout if ran.returncode == 0 else None


def prepare(folder: Path, pattern: str) -> None:
    """Make what engines load, where it is not there yet."""
    script("prepare", folder, "--workloads", pattern)
