"""Runs the suite with every engine in a process of its own, and puts the figures side by side.

python -m benchmarks [--quick] [--engines fastlstm,onnxruntime] [--workloads REGEX] [--threads N] [--json OUT] [--chart OUT]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from engines import ENGINES
from report import Measurement, chart, machine, markdown, measurements
from workloads import WORKLOADS

HERE = Path(__file__).resolve().parent


def environment(threads: int) -> dict[str, str]:
    """One thread means one thread, in every library that an engine may bring."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    return {
        **os.environ, **dict.fromkeys(names, str(threads)),
        "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1",
    }  # fmt: skip


def measure(engine: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """pytest-benchmark's JSON for one engine; None where nothing of it could be measured."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [
            sys.executable, "-m", "pytest", "suite.py", "-p", "no:cacheprovider", "-q", "-rs", "--benchmark-columns=median,iqr,rounds",
            f"--engines={engine}", f"--workloads={arguments.workloads}", f"--engine-threads={arguments.threads}",
            f"--prepared={arguments.prepared}", f"--benchmark-json={out}", "--benchmark-warmup=off", "--benchmark-disable-gc",
            f"--benchmark-max-time={0.1 if arguments.quick else 0.7}", "--benchmark-min-rounds=5",
        ]  # fmt: skip
        ran = subprocess.run(command, cwd=HERE, env=environment(arguments.threads), text=True, capture_output=True, check=False)
        notable = [line for line in ran.stdout.splitlines() if line.startswith(("SKIPPED", "FAILED", "ERROR", "E  "))]
        outcome = ran.stdout.strip().splitlines()[-1] if ran.stdout.strip() else ran.stderr
        print("\n".join([f"{engine}: {outcome}", *notable]), file=sys.stderr)
        return json.loads(out.read_text()) if out.exists() and out.stat().st_size else None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a seventh of the time for each figure")
    parser.add_argument("--engines", default=",".join(ENGINES), help="comma separated, of " + ", ".join(ENGINES))
    parser.add_argument("--workloads", default="", metavar="REGEX", help="of " + ", ".join(workload.name for workload in WORKLOADS))
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of every engine (default 1)")
    parser.add_argument("--prepared", type=Path, default=HERE / ".prepared", help="folder for the engines' files")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures there")
    parser.add_argument("--chart", type=Path, metavar="OUT", help="draw the chart there (.png or .svg; needs matplotlib)")
    arguments = parser.parse_args()
    engines = arguments.engines.split(",")
    for engine in engines:
        if engine not in ENGINES:
            parser.error(f"--engines: expected some of {', '.join(ENGINES)}, found {engine!r}")
    results: list[Measurement] = []
    for engine in engines:
        found = measure(engine, arguments)
        results += measurements(found) if found else []
    if not results:
        print("nothing was measured", file=sys.stderr)
        return 1
    if arguments.json:
        written = {"machine": machine(), "threads": arguments.threads, "results": [result._asdict() for result in results]}
        arguments.json.write_text(json.dumps(written, indent=1) + "\n")
    print(markdown(results))
    if arguments.chart:
        chart(results, arguments.chart)
    return 0


if __name__ == "__main__":
    sys.exit(main())
