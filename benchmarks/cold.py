"""The cold start: process start to first prediction, and the memory of one process and of four with one model.

Every figure comes from fresh processes, which do what a user's script would and no more. They take turns, so that all meet the same
machine, and the medians count. What NumPy alone takes is measured among them, as every engine stands on it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .processes import RESULTS, environment, prepare
from .report import machine, write

WORKLOADS = ("imdb_lstm64", "big512x2_T100")
#: The processes that have one model at once.
TOGETHER = 4
#: A model that was written less than so many seconds ago is not kept in a cache.
SETTLED = 3.0

#: What every process does first, and last: it says what memory it has, and waits until it is told to end.
BEGIN = (
    "import sys, numpy as np\npath, shape, kind = sys.argv[1], [int(n) for n in sys.argv[2].split('x')], sys.argv[3]\n"
    "x = np.ones(shape, kind)\n"
)
END = "\nsys.stdout.write('done\\n'); sys.stdout.flush(); sys.stdin.read()\n"
KERAS = "import tf_keras\nmodel = tf_keras.models.load_model(path + '.h5', compile=False)\nmodel.predict(x, verbose=0)"
ONNX = (
    "import onnxruntime\nsession = onnxruntime.InferenceSession(path + '.onnx', providers=['CPUExecutionProvider'])\n"
    "session.run(None, {session.get_inputs()[0].name: x})"
)
LITERT = (
    "from ai_edge_litert.interpreter import Interpreter\nmodel = Interpreter(path + '.1.tflite', num_threads=1)\nmodel.allocate_tensors()\n"
    "given = model.get_input_details()[0]\nmodel.set_tensor(given['index'], x.astype(given['dtype']))\nmodel.invoke()\n"
    "model.get_tensor(model.get_output_details()[0]['index'])"
)
OURS = "import fastlstm\nmodel = fastlstm.load(path + {!r}{})\nmodel.predict(x)"


class Start(NamedTuple):
    """A way to the first prediction."""

    label: str
    code: str
    cached: bool = False


STARTS = (
    Start("NumPy alone", ""),
    Start("fastlstm, .h5", OURS.format(".h5", "")),
    Start("fastlstm, .fastlstm", OURS.format(".fastlstm", "")),
    Start("fastlstm, .fastlstm, cache=True", OURS.format(".fastlstm", ", cache=True"), True),
    Start("LiteRT", LITERT),
    Start("ONNX Runtime", ONNX),
    Start("TensorFlow (Keras)", KERAS),
)


class Figures(NamedTuple):
    """What was measured of one start."""

    workload: str
    label: str
    milliseconds: float  # from the start of the process
    resident: float  # megabytes of one process
    shared: float  # megabytes of each of TOGETHER processes, pages that they share divided among them (PSS)


class Running(NamedTuple):
    """A process that has predicted."""

    process: subprocess.Popen[str]
    seconds: float

    def end(self) -> None:
        """Let it end."""
        self.process.communicate("")

    def memory(self, name: str) -> float:
        """Megabytes, by the system's name for them: Rss or Pss."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6


def started(start: Start, path: Path, given: Sequence[str], variables: Mapping[str, str]) -> Running | None:
    """A process that has predicted; None where it failed."""
    command = [sys.executable, "-c", BEGIN + start.code + END, str(path), *given]
    before = time.perf_counter()
    process = subprocess.Popen(
        command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=path.parent
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - before
    if line == "done\n":
        return Running(process, seconds)
    _, said = process.communicate("")
    print(f"{start.label}: {said.strip().splitlines()[-1] if said.strip() else 'failed'}", file=sys.stderr)
    return None


@contextmanager
def running(*found: Running | None) -> Iterator[list[Running]]:
    """Processes, which end when the block does."""
    alive = [one for one in found if one is not None]
    try:
        yield alive
    finally:
        for one in alive:
            one.end()


def measured(start: Start, path: Path, given: Sequence[str], variables: Mapping[str, str]) -> tuple[float, float] | None:
    """Seconds to the first prediction, and megabytes of the process then."""
    with running(started(start, path, given, variables)) as alive:
        return (alive[0].seconds, alive[0].memory("Rss")) if alive else None


def together(start: Start, path: Path, given: Sequence[str], variables: Mapping[str, str]) -> float:
    """Megabytes of each of several processes with one model."""
    with running(*(started(start, path, given, variables) for _ in range(TOGETHER))) as alive:
        return statistics.mean(one.memory("Pss") for one in alive)


def compare(prepared: Path, workload: str, rounds: int, cache: str) -> list[Figures]:
    """All starts of a workload, in turn."""
    path = prepared / workload
    convert(path)
    given = ["x".join(map(str, shape_of(path))), "int32" if workload.startswith("imdb") else "float32"]
    plain = {name: value for name, value in environment(1).items() if name != "FASTLSTM_CACHE"}
    variables = {start: {**plain, "FASTLSTM_CACHE": cache} if start.cached else plain for start in STARTS}
    able = [start for start in STARTS if measured(start, path, given, variables[start])]  # bytecode and caches are written now
    found: dict[Start, list[tuple[float, float]]] = {start: [] for start in able}
    for number in range(rounds):
        for start in able[number % len(able) :] + able[: number % len(able)]:
            one = measured(start, path, given, variables[start])
            if one is not None:
                found[start].append(one)
    figures = []
    for start in able:
        seconds, resident = (statistics.median(column) for column in zip(*found[start], strict=True))
        figures.append(Figures(workload, start.label, seconds * 1e3, resident, together(start, path, given, variables[start])))
    return figures


def convert(path: Path) -> None:
    """The model as a .fastlstm file, beside the others."""
    import fastlstm

    target = path.with_suffix(".fastlstm")
    if not target.exists() or target.stat().st_mtime < path.with_suffix(".h5").stat().st_mtime:
        fastlstm.convert(path.with_suffix(".h5"), target)
        time.sleep(SETTLED)


def shape_of(path: Path) -> tuple[int, ...]:
    """The shape of one row of input."""
    import fastlstm

    ((_, shape),) = fastlstm.describe(path.with_suffix(".fastlstm")).inputs
    return (1, *(size or 200 for size in shape[1:]))


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """A table for each workload."""
    lines: list[str] = []
    for workload in dict.fromkeys(one["workload"] for one in results):
        rows = [one for one in results if one["workload"] == workload]
        base = rows[0]
        lines += [
            "", f"| {workload}, one row | start to first prediction ms | beyond NumPy ms | memory MB | beyond NumPy MB | "
            f"each of {TOGETHER} processes MB (PSS) |", "|---|--:|--:|--:|--:|--:|",
        ]  # fmt: skip
        for one in rows:
            more = [f"{one[key] - base[key]:,.0f}" if one is not base else "" for key in ("milliseconds", "resident")]
            lines.append(
                f"| {one['label']} | {one['milliseconds']:,.0f} | {more[0]} | {one['resident']:,.0f} | {more[1]} | {one['shared']:,.0f} |"
            )
    return "\n".join(lines).strip()


def run(prepared: Path, rounds: int, record: bool) -> int:
    """Measure, and print; ``record`` keeps the figures."""
    prepare(prepared, f"^({'|'.join(WORKLOADS)})/1$")
    with tempfile.TemporaryDirectory() as cache:
        os.chmod(cache, 0o700)
        results = [one._asdict() for workload in WORKLOADS for one in compare(prepared, workload, rounds, cache)]
    if record:
        write(RESULTS / "cold.json", {"machine": machine(), "rounds": rounds}, results)
    print(json.dumps(machine()))
    print(markdown(results))
    return 0
