"""Many WebSockets, each a stream that gets timesteps at a steady rate: how long answers take, what the server takes, and are they right?

    python -m benchmarks.serve_streams --connections 1000 --rate 20 --seconds 10 [--ws websockets-sansio] [--workers 2] [--json]

The server runs on one core and whoever asks on another, in processes of their own (of several workers, on all cores). Timesteps are sent
when they are due, whether answers have come or not, and times are counted from then: a server that falls behind cannot hide it. The last
answer of each connection is compared with what ``predict`` gives for all that it has sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from .processes import REPOSITORY, environment

MODEL, EMPTY = "BENCHMARK_MODEL", "BENCHMARK_EMPTY"
#: Seconds for the server to begin, and for the last answers to come.
PATIENCE = 120.0
#: Seconds between looks at which timesteps are due.
TICK = 0.001
#: Differences that are no fault: of the rounding of timesteps one by one and of a whole sequence.
TOLERANCE = 1e-5
FIN_BINARY, MASKED, LONG = 0x82, 0x80, 126
PING, PONG = b"\x89", 0x8A


# -- the server --------------------------------------------------------------------------------------------------------------


def application() -> Any:
    """What the server serves."""
    if EMPTY in os.environ:
        return empty(bytes(int(os.environ[EMPTY])))
    import fastlstm.serving

    return fastlstm.serving.app({"model": os.environ[MODEL]}, max_sequences=1 << 20)


def empty(answer: bytes) -> Any:
    """The same paths over the same stack, with a handler that computes nothing."""
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute

    class Endpoint:
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "bytes": answer})

    return Starlette(routes=[WebSocketRoute("/v1/models/{name}/stream", Endpoint(), name="stream")])


def serve(port: int, ws: str, workers: int) -> None:
    """Run the server until it is told to stop."""
    import uvicorn

    uvicorn.run(
        "benchmarks.serve_streams:application", factory=True, port=port, ws=ws, workers=workers, ws_per_message_deflate=False,
        log_level="warning", access_log=False, backlog=4096,
    )  # type: ignore[arg-type]  # fmt: skip


class Server:
    """The server in a process of its own, on some cores."""

    def __init__(self, more: dict[str, str], ws: str, workers: int, cores: set[int]):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        command = [sys.executable, "-m", "benchmarks.serve_streams", "--serve", self.port, "--ws", ws, "--workers", workers]
        self.process = subprocess.Popen(
            list(map(str, command)), cwd=REPOSITORY, env={**environment(1), **more},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError("the server has not begun")

    def processes(self) -> list[int]:
        """Of the server and its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii").split()
        return [self.process.pid, *map(int, children)]

    def memory(self) -> float:
        """MiB that are resident, of all processes."""
        found = [Path(f"/proc/{one}/status").read_text(encoding="ascii") for one in self.processes()]
        return sum(int(text.split("VmRSS:")[1].split()[0]) for text in found) / 1024

    def seconds(self) -> float:
        """CPU time that all processes have taken."""
        fields = [Path(f"/proc/{one}/stat").read_text(encoding="ascii").rpartition(")")[2].split() for one in self.processes()]
        return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)


# -- whoever asks ------------------------------------------------------------------------------------------------------------


class Client(asyncio.Protocol):
    """A connection that writes frames by hand: its cost is small beside that of the server's."""

    def __init__(self, host: str, frames: list[bytes], answer: int, times: list[float]):
        self.host, self.frames, self.answer, self.times = host, frames, answer, times
        self.sent, self.answered = 0, 0
        self.due: deque[float] = deque()
        self.buffer = b""
        self.last = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None
        self.lost = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        head = f"GET /v1/models/model/stream HTTP/1.1\r\nHost: {self.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        transport.write(f"{head}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        data = self.buffer + data
        if not self.ready.done():
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self.buffer = head
                return
            if b" 101 " not in head:
                self.ready.set_exception(RuntimeError(head.decode("latin-1")))
                return
            self.ready.set_result(None)
        now, size, at = time.perf_counter(), self.answer, 0
        while len(data) - at >= size or data[at : at + 1] == PING:
            if data[at] == FIN_BINARY:
                self.times.append(now - self.due.popleft())
                at += size
                self.answered += 1
                self.last = data[at - size : at]
            elif data[at : at + 1] == PING and len(data) - at >= 2 + data[at + 1]:
                more = data[at + 2 : at + 2 + data[at + 1]]
                self.transport.write(bytes((PONG, MASKED | len(more), 0, 0, 0, 0)) + more)
                at += 2 + len(more)
            elif data[at : at + 1] == PING:
                break
            else:
                raise RuntimeError(f"expected a binary answer, found {data[at:]!r}")
        self.buffer = data[at:]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(error or ConnectionResetError())
        self.lost = True

    def send(self, due: float) -> None:
        self.due.append(due)
        self.transport.write(self.frames[self.sent])
        self.sent += 1


def frames_of(x: np.ndarray) -> list[list[bytes]]:
    """(connections, steps, features) as frames; a mask of zeros changes nothing."""
    head = bytes((FIN_BINARY, MASKED | (4 * x.shape[-1]), 0, 0, 0, 0))
    if 4 * x.shape[-1] >= LONG:
        head = bytes((FIN_BINARY, MASKED | LONG, *(4 * x.shape[-1]).to_bytes(2, "big"), 0, 0, 0, 0))
    return [[head + step.tobytes() for step in row] for row in x]


async def ask(port: int, x: np.ndarray, outputs: int, rate: float, times: list[float]) -> tuple[np.ndarray, float]:
    """Have each connection send its timesteps at this rate, all evenly spread: the last answers, and how long it took."""
    loop, host, frames = asyncio.get_running_loop(), f"127.0.0.1:{port}", frames_of(x)
    head = 2 if 4 * outputs < LONG else 4
    clients = []
    for each in frames:
        _, client = await loop.create_connection(lambda each=each: Client(host, each, head + 4 * outputs, times), "127.0.0.1", port)  # type: ignore[misc]
        clients.append(client)
    await asyncio.gather(*(client.ready for client in clients))
    count, steps = x.shape[:2]
    begun, number = time.perf_counter() + 0.1, 0
    while number < count * steps:
        now = time.perf_counter()
        while number < count * steps and (due := begun + number / (count * rate)) <= now:
            clients[number % count].send(due)
            number += 1
        await asyncio.sleep(TICK)
    until = time.perf_counter() + PATIENCE
    while any(client.answered < steps for client in clients) and time.perf_counter() < until and not any(c.lost for c in clients):
        await asyncio.sleep(0.01)
    took = time.perf_counter() - begun
    if any(client.answered < steps for client in clients):
        lost = sum(client.lost for client in clients)
        raise RuntimeError(f"{sum(steps - client.answered for client in clients)} answers have not come, {lost} connections are lost")
    for client in clients:
        client.transport.close()
    return np.array([np.frombuffer(client.last[head:], "<f4") for client in clients]), took


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of one server under one load."""
    import fastlstm

    model = fastlstm.load(arguments.model)
    features, outputs = model.input_shape[-1], model.output_shape[-1]
    steps = max(1, round(arguments.rate * arguments.seconds))
    x = np.random.default_rng(0).normal(size=(arguments.connections, steps, features)).astype(np.float32)
    cores = sorted(os.sched_getaffinity(0))
    alone = arguments.workers == 1 and len(cores) > 1
    more = {EMPTY: str(4 * outputs)} if arguments.empty else {MODEL: str(arguments.model)}
    server = Server(more, arguments.ws, arguments.workers, {cores[0]} if alone else set(cores))
    if alone:
        os.sched_setaffinity(0, set(cores[1:]))
    times: list[float] = []
    try:
        before, seconds = server.memory(), server.seconds()
        run = asyncio.run
        try:
            import uvloop

            run = uvloop.run
        except ImportError:
            pass
        found, took = run(ask(server.port, x, outputs, arguments.rate, times))
        computing, after = server.seconds() - seconds, server.memory()
    finally:
        server.stop()
    wrong = 0 if arguments.empty else int((np.abs(found - model.predict(x)) > TOLERANCE).any(axis=1).sum())
    p50, p99, worst = np.percentile(times, [50, 99, 100]) * 1e3
    return {
        "handler": "empty" if arguments.empty else "fastlstm", "ws": arguments.ws, "workers": arguments.workers,
        "connections": arguments.connections, "messages": len(times),
        "messages_a_second": round(len(times) / took), "p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "worst_ms": round(worst, 1),
        "server_cpu_us_a_message": round(computing / len(times) * 1e6, 1), "server_cpu_percent": round(100 * computing / took),
        "memory_mib": round(after, 1), "memory_kib_a_connection": round((after - before) * 1024 / arguments.connections, 1),
        "wrong": wrong,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20.0, help="timesteps a second of each")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--ws", default="auto", help="uvicorn's implementation")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--empty", action="store_true", help="a handler that computes nothing, over the same stack")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve, arguments.ws, arguments.workers)
        return
    if arguments.model is None:
        import fastlstm.demo

        arguments.model = Path(fastlstm.demo.MODEL)
    found = measure(arguments)
    print(json.dumps(found) if arguments.json else "  ".join(f"{name}={value}" for name, value in found.items()))
    sys.exit(bool(found["wrong"]))


if __name__ == "__main__":
    main()
