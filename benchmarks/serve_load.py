"""Requests a second of a service, and their time: fastlstm serve, beside an empty handler of the same stack, and the model by hand.

    python -m benchmarks.serve_load --prepare FOLDER        with tf_keras and tf2onnx: the model, for Keras and for ONNX Runtime
    python -m benchmarks.serve_load FOLDER [--seconds 5] [--workers 1 2] [--connections 1 16] [--record]

An LSTM(32) on 20 timesteps of 8 features, and a Dense. ``wrk`` asks over loopback, on a core of its own where one worker is asked; with two
workers it shares theirs. Every answer must have status 200, and the first of each kind is compared with what ``predict`` gives.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .processes import REPOSITORY, RESULTS, environment
from .report import machine, write
from .serve_targets import FEATURES, MODEL, STEPS

UNITS = 32
#: Seconds that a server may take to begin, and that it is asked before the clock runs.
PATIENCE, WARM = 60.0, 1
TOLERANCE = 1e-5
PACKAGES = ("starlette", "uvicorn", "uvloop", "httptools", "orjson", "fastapi", "onnxruntime")
#: What wrk runs: one request, again and again; at the end, a line of JSON. Times are microseconds.
LUA = """
local file = io.open(os.getenv("BENCHMARK_BODY"), "rb")
wrk.method, wrk.body = "POST", file:read("*a")
for name, value in string.gmatch(os.getenv("BENCHMARK_HEADERS"), "([^:]+):([^;]+);") do wrk.headers[name] = value end
done = function(summary, latency, requests)
  local errors = summary.errors
  local wrong = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('{"requests": %d, "duration": %d, "wrong": %d, "p50": %d, "p99": %d}\\n',
    summary.requests, summary.duration, wrong, latency:percentile(50), latency:percentile(99)))
end
"""


class Kind(NamedTuple):
    """A request in one of the forms."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Figure(NamedTuple):
    """What one target did with one kind of request."""

    target: str
    form: str
    rows: int
    workers: int
    connections: int
    rate: float  # requests a second
    p50: float  # microseconds
    p99: float
    cpu: float  # microseconds of the server's processes for a request


# -- what is asked ----------------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """Write the model, for fastlstm and for ONNX Runtime."""
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    import tf_keras

    from fastlstm.bench import onnx

    from .files import write_bytes
    from .prepare import randomize

    layers = tf_keras.layers
    model = tf_keras.Sequential([layers.Input((STEPS, FEATURES)), layers.LSTM(UNITS), layers.Dense(1)])
    randomize(model, "serve_load")
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "model.h5")
    write_bytes(folder / "model.onnx", onnx.from_keras(model, [("x", (None, STEPS, FEATURES), np.float32)]))


def rows_of(count: int) -> np.ndarray:
    """So many rows, always the same ones; of as many digits as measurements have."""
    return np.random.default_rng(0).normal(size=(count, STEPS, FEATURES)).astype(np.float32).round(4)


def as_json(path: str, x: np.ndarray) -> Kind:
    return Kind(path, {"content-type": "application/json"}, json.dumps({"instances": np.float64(x).round(4).tolist()}).encode())


def as_tensor(path: str, x: np.ndarray, name: str) -> Kind:
    """The binary extension of the Open Inference Protocol, both ways."""
    tensor = {"name": name, "shape": x.shape, "datatype": "FP32", "parameters": {"binary_data_size": x.nbytes}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return Kind(path, headers, head + x.tobytes())


def kinds(folder: Path, rows: int) -> dict[tuple[str, str], Kind]:
    """Requests by target and form."""
    import fastlstm

    x, name = rows_of(rows), fastlstm.load(folder / "model.h5").inputs[0].name
    found = {
        ("fastlstm", "JSON"): as_json("/v1/models/model:predict", x),
        ("fastlstm", "binary"): as_tensor("/v2/models/model/infer", x, name),
        ("by_hand", "JSON"): as_json("/predict", x),
        ("by_hand", "binary"): Kind("/binary", {"content-type": "application/octet-stream"}, x.tobytes()),
    }
    for form in ("JSON", "binary"):  # the same body, whatever it is answered
        found["empty", form] = found["fastlstm", form]._replace(path="/empty")
    return found


def check(url: str, target: str, form: str, kind: Kind, expected: np.ndarray) -> None:
    """Compare the answer of one request.

    Raises
    ------
    AssertionError
        If its numbers are others.
    """
    asked = urllib.request.Request(url + kind.path, kind.body, dict(kind.headers))
    with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
        body, head = answer.read(), int(answer.headers.get("inference-header-content-length", 0))
    if target == "empty":
        return
    found = np.frombuffer(body[head:], np.float32) if form == "binary" else np.array(json.loads(body)["predictions"])
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=TOLERANCE)


# -- who is asked -----------------------------------------------------------------------------------------------------------


def command(target: str, folder: Path, port: int, workers: int) -> list[str]:
    """What starts a server."""
    if target == "fastlstm":
        words = ["fastlstm", "serve", f"model={folder / 'model.h5'}", "--access-log", "none", "--no-page", "--quiet"]
    else:
        words = ["uvicorn", "--factory", f"benchmarks.serve_targets:{target}", "--log-level", "warning", "--no-access-log"]
    return [sys.executable, "-m", *words, "--port", str(port), "--workers", str(workers)]


class Server:
    """A server in processes of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int):
        self.process, self.url = process, f"http://127.0.0.1:{port}"

    def seconds(self) -> float:
        """CPU time that all of its processes have taken."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii").split()
        fields = [Path(f"/proc/{one}/stat").read_text(encoding="ascii").rpartition(")")[2].split() for one in (self.process.pid, *children)]
        return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")

    def wait(self, kind: Kind) -> None:
        """Until it answers."""
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < until:
            try:
                asked = urllib.request.Request(self.url + kind.path, kind.body, dict(kind.headers))
                urllib.request.urlopen(asked, timeout=PATIENCE).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError("the server has not begun")


@contextlib.contextmanager
def served(target: str, folder: Path, workers: int, cores: Sequence[int]) -> Iterator[Server]:
    """A server on some cores."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    told = {**environment(1), MODEL: str(folder / "model.onnx"), "PYTHONPATH": os.pathsep.join(filter(None, (str(REPOSITORY), *sys.path)))}
    process = subprocess.Popen(
        command(target, folder, port, workers), env=told, preexec_fn=lambda: os.sched_setaffinity(0, set(cores)),
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Server(process, port)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wrk(server: Server, kind: Kind, connections: int, seconds: int, cores: Sequence[int]) -> dict[str, float]:
    """Ask as fast as answers come."""
    with tempfile.TemporaryDirectory() as name:
        body, script = Path(name) / "body", Path(name) / "ask.lua"
        body.write_bytes(kind.body)
        script.write_text(LUA, encoding="utf-8")
        headers = "".join(f"{key}:{value};" for key, value in kind.headers.items())
        words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script), server.url + kind.path]
        ran = subprocess.run(
            words, env={**os.environ, "BENCHMARK_BODY": str(body), "BENCHMARK_HEADERS": headers}, capture_output=True, text=True,
            check=True, preexec_fn=lambda: os.sched_setaffinity(0, set(cores)),
        )  # fmt: skip
    found: dict[str, float] = json.loads(ran.stdout.strip().splitlines()[-1])
    if found["wrong"] or not found["requests"]:
        raise RuntimeError(f"{kind.path}: {found['wrong']:.0f} of {found['requests']:.0f} requests were not answered well\n{ran.stdout}")
    return found


# -- all of it --------------------------------------------------------------------------------------------------------------


def figures(folder: Path, arguments: argparse.Namespace) -> Iterator[Figure]:
    """All measurements."""
    import fastlstm

    model, cores = fastlstm.load(folder / "model.h5"), sorted(os.sched_getaffinity(0))
    for workers, target in itertools.product(arguments.workers, arguments.targets):
        apart = workers == 1 and len(cores) > 1
        with served(target, folder, workers, cores[:1] if apart else cores) as server:
            for rows, form in itertools.product(arguments.rows, ("JSON", "binary")):
                kind = kinds(folder, rows)[target, form]
                server.wait(kind)
                check(server.url, target, form, kind, model.predict(rows_of(rows)))
                for connections in arguments.connections:
                    asking = cores[1:] if apart else cores
                    wrk(server, kind, connections, WARM, asking)
                    before = server.seconds()
                    found = wrk(server, kind, connections, arguments.seconds, asking)
                    cpu = (server.seconds() - before) / found["requests"] * 1e6
                    rate = found["requests"] / found["duration"] * 1e6
                    figure = Figure(target, form, rows, workers, connections, round(rate), found["p50"], found["p99"], round(cpu))
                    print(*figure, sep="\t", file=sys.stderr)
                    yield figure


LABELS = {"empty": "an empty handler", "fastlstm": "fastlstm serve", "by_hand": "FastAPI and ONNX Runtime by hand"}


def markdown(found: Mapping[str, Any]) -> str:
    """A table for each number of workers."""
    results = [Figure(**one) for one in found["results"]]
    named = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    lines = [
        f"Requests a second, and in brackets p50 / p99 in microseconds; an LSTM({UNITS}) on {STEPS} timesteps of {FEATURES} features; wrk "
        f"over loopback, {found['machine']['processor']}; {named}. The empty handler reads the same body. Binary is the extension of the "
        "Open Inference Protocol; by hand, raw numbers without names and shapes.",
    ]
    targets = [target for target in LABELS if any(one.target == target for one in results)]
    for workers in dict.fromkeys(one.workers for one in results):
        lines += ["", f"{workers} worker{'s' if workers > 1 else ''}{', on whose cores wrk runs too' if workers > 1 else ''}:", ""]
        lines += [
            "| | rows | connections | " + " | ".join(LABELS[target] for target in targets) + " |",
            "|---|--:|--:|" + "--:|" * len(targets),
        ]
        chosen = {one[:3] + one[4:5]: one for one in results if one.workers == workers}
        for form, rows, connections in dict.fromkeys(key[1:] for key in chosen):
            cells = [told(chosen.get((target, form, rows, connections))) for target in targets]
            lines.append(f"| {form} | {rows} | {connections} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def told(one: Figure | None) -> str:
    return "" if one is None else f"{one.rate:,.0f} ({one.p50:,.0f} / {one.p99:,.0f})"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prepare", action="store_true", help="write the model, for fastlstm and for ONNX Runtime")
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 32], metavar="N")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16], metavar="N")
    parser.add_argument("--targets", nargs="+", choices=LABELS, default=list(LABELS))
    parser.add_argument("--record", action="store_true", help="keep the figures in benchmarks/results")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if arguments.prepare:
        prepare(folder)
        return 0
    if shutil.which("wrk") is None:
        parser.error("needs wrk: apt-get install wrk")
    results = [figure._asdict() for figure in figures(folder, arguments)]
    found = {"machine": machine(), "versions": {name: version(name) for name in PACKAGES}, "results": results}
    if arguments.record:
        write(RESULTS / "serve_load.json", {name: value for name, value in found.items() if name != "results"}, results)
    print(markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
