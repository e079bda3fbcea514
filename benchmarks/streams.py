"""Latency and throughput of streams; ``python -m benchmarks --streams``."""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .engine import UnavailableError
from .stream_engines import STREAM_ENGINES, STREAMS, StreamWorkload, load

#: Peers are so slow that fewer steps tell as much.
STEPS, PEER_STEPS = 1_000_000, 100_000
THREADS = (1, 2, 4, 8)
CHUNK = 64


def latencies(step: Callable[[np.ndarray], Any], inputs: list[np.ndarray], steps: int) -> dict[str, float]:
    """Percentiles of single steps, the clock's own cost among them, and the mean without a clock in between; microseconds."""
    clock = time.perf_counter_ns
    durations = np.empty(steps, np.int64)
    following = itertools.cycle(inputs).__next__
    for _ in range(min(steps, 2000)):
        step(following())
    gc.disable()
    try:
        for n in range(steps):
            x = following()
            start = clock()
            step(x)
            durations[n] = clock() - start
        uncut = max(steps // 10, 1)
        start = clock()
        for _ in range(uncut):
            step(following())
        mean = (clock() - start) / uncut
    finally:
        gc.enable()
    p50, p99, p999 = np.percentile(durations, [50, 99, 99.9])
    return {"p50": p50 / 1e3, "p99": p99 / 1e3, "p99.9": p999 / 1e3, "mean": mean / 1e3, "steps": steps}


def throughput(model: Path, workload: StreamWorkload, batch: int, threads: int, steps: int, chunk: int) -> float:
    """Timesteps of all rows a second, of so many threads with a Stream each; ``chunk`` timesteps a call.

    Raises
    ------
    AssertionError
        If a thread's last output is not that of the same steps alone.
    """
    import fastlstm

    inputs = workload.inputs(batch)
    chunks = np.split(inputs, len(inputs) // chunk)
    given = list(inputs) if chunk == 1 else [np.ascontiguousarray(part.transpose(1, 0, 2)) for part in chunks]
    loaded = fastlstm.load(model)
    calls = max(steps // chunk, 1)
    start, results = threading.Barrier(threads + 1), [np.empty(0)] * (threads + 1)

    def advance(number: int, wait: bool = True) -> None:
        stream = loaded.stream(batch)
        forward = stream.step if chunk == 1 else stream.feed
        following = itertools.cycle(given).__next__
        forward(following())
        if wait:
            start.wait()
        for _ in range(calls):
            y = forward(following())
        results[number] = y

    workers = [threading.Thread(target=advance, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - began
    advance(threads, wait=False)
    for found in results[:-1]:
        np.testing.assert_array_equal(found, results[-1])
    return threads * calls * chunk * batch / seconds


def measure(engine: str, folder: Path, scale: float) -> dict[str, Any]:
    """Everything about one engine, and why what is missing is missing."""
    found: dict[str, Any] = {"engine": engine, "label": STREAM_ENGINES[engine].label, "versions": {}, "latency": [], "threads": []}
    ours = engine.startswith("fastlstm")
    for workload in STREAMS:
        for batch in workload.batches:
            try:
                loaded = load(engine, workload, batch, folder)
            except UnavailableError as reason:
                print(f"{engine}, {workload.name}: {reason}", file=sys.stderr)
                continue
            steps = max(1000, int((STEPS if ours else PEER_STEPS) * scale))
            figures = latencies(loaded.step, list(workload.inputs(batch)), steps)
            found["latency"].append({"workload": workload.name, "batch": batch, **figures})
            found["versions"] = loaded.versions()
    if engine == "fastlstm":
        for workload, batch in ((STREAMS[0], 1), (STREAMS[-1], 1), (STREAMS[-1], 16)):
            for chunk in (1, CHUNK):
                rates = {
                    threads: throughput(folder / f"{workload.name}.h5", workload, batch, threads, max(1000, int(300_000 * scale)), chunk)
                    for threads in THREADS
                }
                found["threads"].append({"workload": workload.name, "batch": batch, "chunk": chunk, "rates": rates})
    return found


def short(microseconds: float) -> str:
    """Three digits of it."""
    return f"{microseconds:,.0f}" if microseconds >= 100 else f"{microseconds:.3g}"


def markdown(results: list[dict[str, Any]], threads: bool = True) -> str:
    """The tables of latency and of throughput by threads."""
    figures = {(entry["workload"], entry["batch"], found["engine"]): entry for found in results for entry in found["latency"]}
    labels = {found["engine"]: found["label"] for found in results if found["latency"]}
    peers = [engine for engine in labels if not engine.startswith("fastlstm")]
    lines = [
        "| stream | rows | " + " | ".join(labels.values()) + " | best peer / fastlstm |",
        "|---|--:|" + "--:|" * (len(labels) + 1),
    ]
    for workload, batch in dict.fromkeys(key[:2] for key in figures):
        row = {engine: figures[workload, batch, engine] for engine in labels if (workload, batch, engine) in figures}
        cells = [" / ".join(short(row[engine][name]) for name in ("p50", "p99", "p99.9")) if engine in row else "" for engine in labels]
        measured = [row[engine]["p50"] for engine in peers if engine in row]
        ratio = f"{min(measured) / row['fastlstm']['p50']:.1f}" if measured and "fastlstm" in row else ""
        lines.append(f"| {workload.removeprefix('stream_')} | {batch} | " + " | ".join(cells) + f" | {ratio} |")
    steps = {found["label"]: found["latency"][0]["steps"] for found in results if found["latency"]}
    counts = ", ".join(f"{label} {count:,}" for label, count in steps.items())
    lines += ["", f"p50 / p99 / p99.9 of one step from Python in microseconds, the clock's own cost included; steps: {counts}."]
    scaling = [entry for found in results for entry in found["threads"]]
    if threads and scaling:
        numbers = [int(n) for n in scaling[0]["rates"]]
        lines += [
            "",
            "| threads, each with a stream of its own | rows | timesteps a call | " + " | ".join(map(str, numbers)) + " |",
            "|---|--:|--:|" + "--:|" * len(numbers),
        ]
        for entry in scaling:
            rates = " | ".join(f"{rate / 1e6:.2f}" for rate in entry["rates"].values())
            lines.append(f"| {entry['workload'].removeprefix('stream_')} | {entry['batch']} | {entry['chunk']} | {rates} |")
        lines += ["", "Million timesteps of a row a second, all threads together; every thread's last output is that of one alone."]
    return "\n".join(lines)


def main() -> None:
    """Measure one engine, for ``run.py``, and write JSON to standard output."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("engine", choices=STREAM_ENGINES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="part of the steps")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.engine, arguments.folder, arguments.scale)))


if __name__ == "__main__":
    main()
