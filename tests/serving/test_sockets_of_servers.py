"""WebSockets of a real server: how they end with it, clients that do not read or vanish, and the benchmark of many."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import services
from test_serve_command import serving

import fastlstm

client = pytest.importorskip("websockets.sync.client")
exceptions = pytest.importorskip("websockets.exceptions")

MIB = 1 << 20
X = np.random.default_rng(0).normal(size=(1, 6, 3)).astype(np.float32)
REPOSITORY = Path(__file__).parents[2]


def ask(connection: Any, value: Any) -> Any:
    connection.send(json.dumps(value))
    return json.loads(connection.recv(timeout=30))


def address(running: services.Running, more: str = "") -> str:
    return f"ws://127.0.0.1:{running.port}/v1/models/m/stream{more}"


def streams(running: services.Running) -> float:
    """How many connections the service counts."""
    text = httpx.get(f"{running.url}/metrics").text
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith('fastlstm_streams{kind="socket",model="m"}'))


@contextlib.contextmanager
def raw(running: services.Running) -> Iterator[socket.socket]:
    """A connection of which a test sees every byte."""
    with running.connect() as made:
        key = base64.b64encode(bytes(16)).decode()
        head = f"GET /v1/models/m/stream HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        made.sendall(f"{head}Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        assert b" 101 " in made.recv(4096)
        yield made


def frame(data: bytes) -> bytes:
    """A binary message of a few bytes, masked by zeros."""
    return bytes((0x82, 0x80 | len(data), 0, 0, 0, 0)) + data


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_ends_hands_states_over(model: Path, tmp_path: Path, workers: int) -> None:
    """What was sent is answered, then comes the state, then 1012; another server goes on from there."""
    with serving(tmp_path, f"m={model}", *(["--workers", workers] if workers > 1 else [])) as running:
        with client.connect(address(running, "?state=true")) as one, client.connect(address(running)) as other:
            ask(one, X[0, :2].tolist())
            ask(other, X[0, :2].tolist())
            for n in (2, 3):
                one.send(X[0, n].tobytes())
            os.kill(running.process.pid, signal.SIGTERM)
            answers = [np.frombuffer(one.recv(timeout=30), "<f4") for _ in range(2)]
            state = json.loads(one.recv(timeout=30))
            for connection in (one, other):
                with pytest.raises(exceptions.ConnectionClosed) as caught:
                    connection.recv(timeout=30)
                assert caught.value.rcvd.code == 1012 and "connect again" in caught.value.rcvd.reason
        assert running.process.wait(30) == 0
    wanted = fastlstm.load(model)
    for n, y in enumerate(answers):
        assert np.allclose(y, wanted.predict(X[:, : 3 + n]), atol=2e-6)
    with services.service(tmp_path, {"m": model}) as again, client.connect(address(again)) as connection:
        assert ask(connection, state) == {"loaded": True}
        assert np.allclose(ask(connection, X[0, 4:].tolist()), wanted.predict(X), atol=2e-6)


@pytest.mark.slow
def test_a_client_that_does_not_read_is_not_read_from(model: Path, tmp_path: Path) -> None:
    """However much it sends, the server keeps a bounded part of it; others are answered, and its own answers come once it reads."""
    message = frame(X[0, 0].tobytes())
    with services.service(tmp_path, {"m": model}) as running, raw(running) as greedy, client.connect(address(running)) as other:
        ask(other, X[0, 0].tolist())
        before, sent = running.memory, 0
        greedy.settimeout(2)
        with contextlib.suppress(TimeoutError):
            while sent < 64 * MIB:
                sent += greedy.send(message * 4096)
        assert sent < 64 * MIB
        assert running.memory - before < 32 * MIB
        ask(other, X[0, 1].tolist())
        received = bytearray()
        greedy.settimeout(30)
        while len(received) < 10 * 1000:
            received += greedy.recv(1 << 16)
        assert received[:2] == bytes((0x82, 8)) and received[10:12] == bytes((0x82, 8))


def test_clients_that_vanish_leave_nothing(model: Path, tmp_path: Path) -> None:
    settings = {"ws_ping_interval": 0.2, "ws_ping_timeout": 0.2}
    with services.service(tmp_path, {"m": model}, uvicorn=settings) as running, contextlib.ExitStack() as stack:
        for number in range(20):
            made = stack.enter_context(raw(running))
            made.sendall(frame(X[0, 0].tobytes()))
            if number % 2:  # the others are there, but answer no ping
                made.close()
        services.wait(lambda: streams(running) == 0, running.process, running.log)
        assert "Traceback" not in running.lines


@pytest.mark.slow
def test_the_benchmark_of_many() -> None:
    """Every last answer is that of ``predict``."""
    command = [sys.executable, "-m", "benchmarks.serve_streams", "--connections", "40", "--rate", "20", "--seconds", "1", "--json"]
    begun = time.monotonic()
    found = json.loads(subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=200).stdout)
    assert found["wrong"] == 0 and found["messages"] == 800 and 0 < found["p50_ms"] <= found["p99_ms"] <= 1e3 * (time.monotonic() - begun)
