"""The cost of having an engine, before it computes anything: size on disk, time and memory of the import, the cold start.

    python -m benchmarks.footprint [--wheel dist/fastlstm-*.whl] [--prepared FOLDER] [--rounds 5]
    python -m benchmarks.footprint --cold [--record]   the cold start alone: time and memory to the first prediction
    python -m benchmarks.footprint --memory        peak memory by the number of rows, of a workload whose layers have large outputs

Every figure comes from fresh processes, each of one engine.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from . import cold
from .engines import ENGINES
from .processes import REPOSITORY, environment, prepare
from .run import HERE
from .workload import Workload
from .workloads import WORKLOADS

PACKAGES = ("numpy", "fastlstm", "ai-edge-litert", "onnxruntime", "openvino", "torch", "tensorflow")
MEGABYTE = 1e6

#: Linux's own figure, since ru_maxrss of a process starts with that of the one that started it.
PEAK = """
from pathlib import Path
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
"""
MEASURE_IMPORT = (
    PEAK
    + """
import json, sys, time
before, start = peak(), time.perf_counter()
__import__(sys.argv[1])
seconds = time.perf_counter() - start
print(json.dumps([seconds, peak() - before]))
"""
)

MEASURE_COLD = (
    PEAK
    + """
import json, sys
from benchmarks.engine import UnavailableError
from benchmarks.engines import ENGINES
from benchmarks.workloads import WORKLOADS
(workload,) = (workload for workload in WORKLOADS if workload.name == sys.argv[2])
rows, times = int(sys.argv[4]), int(sys.argv[5])
x = workload.many(rows)
try:
    engine = ENGINES[sys.argv[1]](Path(sys.argv[3]) / (workload.name + ".h5"), rows, 1)
    for _ in range(times):
        engine.predict(x)
except (UnavailableError, ImportError) as reason:
    sys.exit(str(reason))
print(json.dumps(peak()))
"""
)


def run(code: str, *arguments: str) -> str | None:
    """Output of a fresh process; None where it failed."""
    command = [sys.executable, "-c", code, *arguments]
    ran = subprocess.run(command, cwd=REPOSITORY, env=environment(1), capture_output=True, text=True, check=False)
    return ran.stdout.strip().splitlines()[-1] if ran.returncode == 0 and ran.stdout.strip() else None


def installed(name: str, seen: dict[str, Distribution]) -> Iterator[Distribution]:
    """A distribution and everything that it needs at run time."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in seen:
        return
    try:
        seen[key] = found = distribution(name)
    except PackageNotFoundError:
        return
    yield found
    for requirement in found.requires or ():
        if "extra ==" not in requirement:
            yield from installed(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0], seen)


def size(package: Distribution) -> float:
    """Megabytes of its files on disk; those of the package's folder where it is installed in place."""
    listed = [Path(str(package.locate_file(file))) for file in package.files or ()]
    found = sum(file.stat().st_size for file in listed if file.is_file() and file.suffix != ".pyc")
    name = package.metadata["Name"].replace("-", "_")
    in_place = not any(file.parts[-2:-1] == (name,) for file in listed)
    if in_place and (REPOSITORY / name).is_dir():
        files = (file for file in (REPOSITORY / name).rglob("*") if file.is_file())
        found = sum(file.stat().st_size for file in files if file.suffix not in (".pyc", ".c"))  # C is what Cython leaves behind
    return found / MEGABYTE


def imports(package: str, rounds: int) -> tuple[float, float] | None:
    """Median seconds and megabytes of its import."""
    figures = [json.loads(line) for _ in range(rounds) if (line := run(MEASURE_IMPORT, package))]
    if not figures:
        return None
    seconds, megabytes = zip(*figures, strict=True)
    return statistics.median(seconds), statistics.median(megabytes)


def peak_memory(engine: str, workload: Workload, prepared: Path, rows: int) -> float | None:
    """Megabytes at most of a process that predicts so many rows twice, the rows themselves among them; None where it cannot."""
    line = run(MEASURE_COLD, engine, workload.name, str(prepared), str(rows), "2")
    return None if line is None else json.loads(line)


def memory(workload: Workload, prepared: Path) -> None:
    """The table of memory by the number of rows."""
    prepare(prepared, f"^{workload.name}/")
    row = workload.many(1).nbytes / MEGABYTE
    print(f"Peak memory in MB of a process that predicts {workload.name} ({workload.what}) twice, one thread, engine and rows included:\n")
    print("| rows | " + " | ".join(f"{rows}" for rows in workload.memory) + " |\n|---|" + "--:|" * len(workload.memory))
    print("| the rows alone | " + " | ".join(f"{rows * row:,.1f}" for rows in workload.memory) + " |")
    for engine, adapter in ENGINES.items():
        peaks = [peak_memory(engine, workload, prepared, rows) for rows in workload.memory]
        cells = ("not available" if peak is None else f"{peak:,.0f}" for peak in peaks)
        print(f"| {adapter.label} | " + " | ".join(cells) + " |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.footprint", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, help="a built wheel of fastlstm")
    parser.add_argument("--prepared", type=Path, default=HERE / ".prepared", help="folder with the files that prepare.py makes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="only the memory that predictions take, by the number of rows")
    parser.add_argument("--cold", action="store_true", help="only the cold start")
    parser.add_argument("--record", action="store_true", help="keep the figures of the cold start in benchmarks/results")
    arguments = parser.parse_args()
    if arguments.cold:
        return cold.run(arguments.prepared.resolve(), arguments.rounds, arguments.record)
    if arguments.memory:
        for workload in WORKLOADS:
            if workload.memory:
                memory(workload, arguments.prepared.resolve())
        return 0
    print("| package | version | own files MB | with all it needs MB | import ms | import MB |\n|---|---|--:|--:|--:|--:|")
    for name in PACKAGES:
        found = list(installed(name, {}))
        if not found:
            print(f"| {name} | not installed | | | | |")
            continue
        measured = imports(name.replace("-", "_"), arguments.rounds)
        costs = f"{measured[0] * 1e3:,.0f} | {measured[1]:,.0f}" if measured else "fails | "
        print(f"| {name} | {found[0].version} | {size(found[0]):,.1f} | {sum(map(size, found)):,.0f} | {costs} |", flush=True)
    if arguments.wheel:
        print(f"\nWheel: {arguments.wheel.stat().st_size / MEGABYTE:.2f} MB")
    print()
    return cold.run(arguments.prepared.resolve(), arguments.rounds, arguments.record)


if __name__ == "__main__":
    sys.exit(main())
