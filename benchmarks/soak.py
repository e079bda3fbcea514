"""Does it stay right and small? Many predictions, from one thread and from several at once, and many steps of a stream.

python -m benchmarks.soak [--calls 1000000] [--threads 8] [--steps 10000000] [--json OUT]

Resident memory is read ten times on the way, after everything has been used once. Ends with 1 where a result is wrong, or where
memory grew by more than a megabyte.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm

from .files import write_text
from .processes import prepare
from .run import HERE, prepare_streams
from .stream_engines import STREAMS
from .workloads import WORKLOADS

PARTS = 10
ALLOWED = 1.0  # megabytes


def resident() -> float:
    """Megabytes of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6


def soak(name: str, count: int, call: Callable[[int], bool]) -> dict[str, Any]:
    """``call(n)`` does ``n`` of it and says whether all was right."""
    right = call(max(count // 100, 1))
    memory = [resident()]
    start = time.perf_counter()
    for _ in range(PARTS):
        right &= call(count // PARTS)
        memory.append(resident())
    seconds = time.perf_counter() - start
    found = {
        "what": name,
        "count": count // PARTS * PARTS,
        "seconds": seconds,
        "right": right,
        "before": memory[0],
        "most": max(memory),
        "after": memory[-1],
    }
    print(
        f"| {name} | {found['count']:,} | {seconds:,.1f} | {found['before']:.1f} | {found['most']:.1f} | {found['after']:.1f} | "
        f"{'right' if right else 'WRONG'} |",
        flush=True,
    )
    return found


def predictions(predict: Callable[[Any], np.ndarray], inputs: list[np.ndarray], expected: list[bytes]) -> Callable[[int], bool]:
    def call(count: int) -> bool:
        right = True
        for n in range(count):
            y = predict(inputs[n % len(inputs)])
            right &= y.tobytes() == expected[n % len(inputs)]
        return right

    return call


def from_threads(call: Callable[[int], bool], threads: int) -> Callable[[int], bool]:
    """The same from several threads at once, each its share."""

    def all_of_them(count: int) -> bool:
        results: list[bool] = []
        workers = [threading.Thread(target=lambda: results.append(call(max(count // threads, 1)))) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return len(results) == threads and all(results)

    return all_of_them


def steps(model: Any, inputs: np.ndarray) -> Callable[[int], bool]:
    """Steps of a stream that starts anew after each round of ``inputs``; the round's last output has to be the same every time."""
    stream, rows = model.stream(), list(inputs)
    expected = model.predict(inputs.transpose(1, 0, 2))

    def call(count: int) -> bool:
        right = True
        for _ in range(max(count // len(rows), 1)):
            stream.reset()
            for x in rows:
                y = stream.step(x)
            right &= bool(np.allclose(y, expected, rtol=1e-5, atol=2e-6))
        return right

    return call


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1_000_000, help="of predict")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10_000_000, help="of a stream")
    parser.add_argument("--prepared", type=Path, default=HERE / ".prepared", help="folder of the models")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures there")
    arguments = parser.parse_args()

    prepare(arguments.prepared, "^(relu50_T10|masked_lstm128_post)/")
    prepare_streams(arguments.prepared)
    print("| what | how often | seconds | MB before | most | after | results |\n|---|--:|--:|--:|--:|--:|---|")
    found = []
    for name, batch in (("relu50_T10", 1), ("masked_lstm128_post", 1), ("relu50_T10", 32)):
        (workload,) = (workload for workload in WORKLOADS if workload.name == name)
        inputs = workload.inputs(batch)[:64]
        predict = fastlstm.load(arguments.prepared / f"{name}.h5").predict
        call = predictions(predict, inputs, [predict(x).tobytes() for x in inputs])
        # What has a larger batch or longer rows is called less often.
        count = arguments.calls if name == "relu50_T10" and batch == 1 else max(arguments.calls // 10, PARTS)
        found.append(soak(f"predict, {name}, batch {batch}", count, call))
        found.append(soak(f"the same from {arguments.threads} threads", count, from_threads(call, arguments.threads)))
    model = fastlstm.load(arguments.prepared / f"{STREAMS[0].name}.h5")
    found.append(soak(f"Stream.step, {STREAMS[0].name}", arguments.steps, steps(model, STREAMS[0].inputs(1, 1000))))
    if arguments.json:
        write_text(arguments.json, "[\n" + ",\n".join(" " + json.dumps(entry) for entry in found) + "\n]\n")
    return int(not all(entry["right"] and entry["after"] - entry["before"] <= ALLOWED for entry in found))


if __name__ == "__main__":
    sys.exit(main())
