"""From which size of a model on does it pay to compute the rows of several requests together?

    python -m benchmarks.serve_batching [--units 16,64,256,1024] [--connections 16] [--seconds 5] [--repeats 3] [--json]

A service of one LSTM answers requests of one row each, as JSON, on one core; wrk asks from another. With and without ``batch_rows`` it
takes turns, so that what else happens on the machine meets both. The time of a row alone, and of a row among many, is measured beside it:
what batching can gain is the difference, what it costs is the waiting and the handing out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .processes import REPOSITORY, environment

STEPS, FEATURES, OUTPUTS = 20, 8, 4
#: What is compared: options of the service.
WAYS: dict[str, dict[str, int]] = {
    "each by itself": {},
    "batch_rows=64": {"batch_rows": 64},
    "batch_rows=64, batch_wait_us=500": {"batch_rows": 64, "batch_wait_us": 500},
}
PATIENCE = 60.0
REQUEST = 'wrk.method = "POST"; wrk.headers["Content-Type"] = "application/json"; wrk.body = [==[{body}]==]'
#: What wrk prints of times, in milliseconds.
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def made(path: Path, units: int) -> None:
    """An LSTM of so many units, and a layer of outputs."""
    sys.path.insert(0, str(REPOSITORY / "tests" / "helpers"))
    import h5_files

    rng = np.random.default_rng(0)
    h5_files.save(path, [h5_files.recurrent("LSTM", units, FEATURES, rng), h5_files.dense(OUTPUTS, units, rng)], (STEPS, FEATURES))


def row_times(path: Path, rows: int = 16) -> tuple[float, float]:
    """Microseconds of a row alone, and of a row among so many."""
    import fastlstm

    model, found = fastlstm.load(path), []
    for count in (1, rows):
        x = np.zeros((count, STEPS, FEATURES), np.float32)
        model.predict(x)
        times = []
        for _ in range(200):
            start = time.perf_counter()
            model.predict(x)
            times.append(time.perf_counter() - start)
        found.append(statistics.median(times) * 1e6 / count)
    return found[0], found[1]


def serve(model: str, options: dict[str, int], descriptor: int) -> None:
    """Answer, in this process."""
    import uvicorn

    import fastlstm.serving

    app = fastlstm.serving.app({"m": model}, poll_seconds=None, page=False, **options)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([socket.socket(fileno=descriptor)])


@contextmanager
def running(model: Path, options: dict[str, int], cores: set[int]) -> Iterator[str]:
    """A service in a process of its own; the address."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        command = [sys.executable, "-m", "benchmarks.serve_batching", "--serve", model, json.dumps(options), listening.fileno()]
        process = subprocess.Popen(
            list(map(str, command)), cwd=REPOSITORY, env=environment(1), pass_fds=[listening.fileno()],
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with urllib.request.urlopen(f"{address}/v2/health/ready", timeout=PATIENCE):  # who asks waits until it takes connections
                yield f"{address}/v1/models/m:predict"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


def load(url: str, connections: int, seconds: float, cores: set[int]) -> dict[str, float]:
    """What wrk says of so many connections that ask one request after another.

    Raises
    ------
    RuntimeError
        If a request is not answered as it should be.
    """
    body = json.dumps({"instances": np.linspace(-1, 1, STEPS * FEATURES).round(4).reshape(1, STEPS, FEATURES).tolist()})
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(REQUEST.replace("{body}", body))
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "20s", "-s", script.name, url]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    if "Non-2xx" in ran.stdout or "Socket errors" in ran.stdout:
        raise RuntimeError(ran.stdout)
    rate = re.search(r"Requests/sec: +([\d.]+)", ran.stdout)
    times = {name: re.search(rf"{name}% +([\d.]+)(us|ms|s)", ran.stdout) for name in ("50", "99")}
    assert rate is not None
    return {"requests": float(rate[1]), **{f"p{name}": float(one[1]) * UNITS[one[2]] for name, one in times.items() if one is not None}}


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row of figures for each size and way."""
    cores = sorted(os.sched_getaffinity(0))
    server, client = {cores[0]}, set(cores[1:]) or {cores[0]}
    found = []
    for units in arguments.units:
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "model.h5"
            made(model, units)
            alone, among = row_times(model)
            results: dict[str, list[dict[str, float]]] = {name: [] for name in WAYS}
            for _ in range(arguments.repeats):
                for name, options in WAYS.items():
                    with running(model, options, server) as url:
                        load(url, arguments.connections, min(1.0, arguments.seconds), client)
                        results[name].append(load(url, arguments.connections, arguments.seconds, client))
        for name, each in results.items():
            figures = {key: statistics.median(one[key] for one in each) for key in each[0]}
            found.append({"units": units, "way": name, "row_us": alone, "row_among_16_us": among, **figures})
    return found


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Figures as lines."""
    yield "| units | a row alone | among 16 | | requests/s | p50 | p99 | beside each by itself |"
    yield "|---|---|---|---|---|---|---|---|"
    base = 1.0
    for row in rows:
        base = row["requests"] if row["way"] == next(iter(WAYS)) else base
        yield (
            f"| {row['units']} | {row['row_us']:.0f} us | {row['row_among_16_us']:.0f} us | {row['way']} | {row['requests']:.0f} "
            f"| {row['p50']:.2f} ms | {row['p99']:.2f} ms | {row['requests'] / base - 1:+.0%} |"
        )


def main() -> int:
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], json.loads(sys.argv[3]), int(sys.argv[4]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=lambda text: [int(part) for part in text.split(",")], default=[16, 64, 128, 256, 512, 1024])
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("needs wrk, which asks: apt-get install wrk", file=sys.stderr)
        return 1
    rows = measure(arguments)
    print(json.dumps(rows, indent=2) if arguments.json else "\n".join(table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
