"""Clients that are slow, vanish, send too much or nothing at all: others are answered, places are freed, memory stays."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import services

PREDICT = b"POST /v1/models/m:predict HTTP/1.1\r\nhost: localhost\r\n"
X = json.dumps({"instances": [[[0.0, 0.1, 0.2]] * 5]}).encode()
MEGABYTE = 1 << 20


def whole(body: bytes, *headers: bytes) -> bytes:
    """A request."""
    return PREDICT + b"".join(header + b"\r\n" for header in headers) + b"content-length: %d\r\n\r\n" % len(body) + body


def status(connection: socket.socket) -> int:
    """Of the answer that comes next."""
    found = connection.recv(1 << 16)
    assert found.startswith(b"HTTP/1.1 "), found
    return int(found.split(b" ", 2)[1])


def ended(connection: socket.socket, patience: float) -> bool:
    """Is a connection closed by the other side, within a time?"""
    connection.settimeout(patience)
    try:
        while connection.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def sends(connection: socket.socket, data: bytes) -> bool:
    """Can more be sent?"""
    try:
        connection.sendall(data)
    except OSError:
        return False
    return True


def in_flight(running: services.Running) -> float:
    """Places that are taken."""
    text = httpx.get(f"{running.url}/metrics", timeout=30).text
    return float(text.split("\nfastlstm_requests_in_flight ")[1].split("\n")[0])


def answered(running: services.Running) -> None:
    """Others are answered."""
    with running.connect() as connection:
        connection.sendall(whole(X, b"connection: close"))
        assert status(connection) == 200


@contextlib.contextmanager
def connections(running: services.Running, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running.connect()) for _ in range(count)]


def test_bodies_that_trickle_hold_no_place_for_ever(model: Path, tmp_path: Path) -> None:
    with services.service(tmp_path, {"m": model}, max_concurrency=4, read_seconds=1.0) as running, connections(running, 4) as slow:
        for connection in slow:
            connection.sendall(PREDICT + b"content-length: 1000\r\n\r\n{")
        services.wait(lambda: in_flight(running) == 4)
        with running.connect() as connection:
            connection.sendall(whole(X))
            assert status(connection) == 429
        begun = time.monotonic()
        while time.monotonic() - begun < 5 and in_flight(running):
            for connection in slow:
                sends(connection, b" ")  # to those that are not closed by now
            time.sleep(0.1)
        assert in_flight(running) == 0
        assert [status(connection) for connection in slow] == [408] * 4
        assert all(ended(connection, 5) for connection in slow)
        answered(running)


def test_heads_that_trickle_keep_no_connection_open(model: Path, tmp_path: Path) -> None:
    with services.service(tmp_path, {"m": model}, patience=1.0) as running, contextlib.ExitStack() as stack:
        files = running.files
        once, second, silent, newlines = stack.enter_context(connections(running, 4))
        once.sendall(PREDICT)
        second.sendall(whole(X))  # an honest one before
        assert status(second) == 200
        second.sendall(PREDICT)
        begun, open_still = time.monotonic(), {once, second, newlines}
        while time.monotonic() - begun < 6 and open_still:
            open_still = {each for each in open_still if sends(each, b"\r\n" if each is newlines else b"x: y\r\n")}
            time.sleep(0.1)
        assert not open_still
        assert ended(silent, 5)
        services.wait(lambda: running.files <= files)
        answered(running)


def test_a_socket_stays_open(model: Path, tmp_path: Path) -> None:
    """Whoever has become a WebSocket has done what was waited for; so has one whose answer takes its time."""
    import asyncio

    from websockets.asyncio.client import connect

    async def main(running: services.Running) -> None:
        async with connect(f"ws://127.0.0.1:{running.port}/v1/models/m/stream") as opened:
            for _ in range(3):
                await asyncio.sleep(0.7)
                await opened.send("[0, 0, 0]")
                await asyncio.wait_for(opened.recv(), 10)

    with services.service(tmp_path, {"m": model}, patience=0.5) as running:
        asyncio.run(main(running))


def test_a_refused_body_is_not_read_for_ever(model: Path, tmp_path: Path) -> None:
    """What was refused by its token may send the rest of its body, so that it sees the answer; but not more slowly than it should."""
    with services.service(tmp_path, {"m": model}, patience=1.0, token="secret") as running, running.connect() as connection:
        connection.sendall(PREDICT + b"content-length: 1000000\r\n\r\n{")
        assert status(connection) == 401
        begun = time.monotonic()
        while sends(connection, b"x"):
            assert time.monotonic() - begun < 8
            time.sleep(0.05)


def test_who_vanishes_while_sending_frees_the_place(model: Path, tmp_path: Path) -> None:
    with services.service(tmp_path, {"m": model}, max_concurrency=8) as running:
        for number in range(50):
            with connections(running, 8) as half:
                for connection in half:
                    connection.sendall(PREDICT + b"content-length: 1000\r\n\r\n" + X[: 10 * (number % 7)])
        services.wait(lambda: in_flight(running) == 0)
        answered(running)
        assert "Traceback" not in running.lines and "ERROR" not in running.lines, running.lines[-3000:]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes a while, and gives every timestep."""
    import h5_files

    path = tmp_path_factory.mktemp("large") / "large.h5"
    rng = np.random.default_rng(0)
    h5_files.save(path, [h5_files.recurrent("LSTM", 128, 3, rng, return_sequences=True)], (None, 3))
    return path


def test_who_vanishes_while_it_is_computed_frees_the_place(large: Path, tmp_path: Path) -> None:
    body = json.dumps({"instances": np.zeros((8, 400, 3)).tolist()}).encode()
    with services.service(tmp_path, {"m": large}, max_concurrency=4) as running:
        for _ in range(5):
            with connections(running, 4) as gone:
                for connection in gone:
                    connection.sendall(whole(body))
        services.wait(lambda: in_flight(running) == 0)
        assert httpx.post(f"{running.url}/v1/models/m:predict", json={"instances": [[[0, 0, 0]]]}, timeout=30).status_code == 200
        assert "Traceback" not in running.lines, running.lines[-3000:]


@pytest.mark.slow
def test_who_does_not_read_is_let_go(large: Path, tmp_path: Path) -> None:
    """An answer of many megabytes that nobody fetches is not kept."""
    body = json.dumps({"instances": np.random.default_rng(0).normal(size=(50, 100, 3)).round(3).tolist()}).encode()
    with services.service(tmp_path, {"m": large}, patience=1.0) as running:
        files = running.files
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                connection = stack.enter_context(socket.socket())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(("127.0.0.1", running.port))
                connection.sendall(whole(body))
            services.wait(lambda: running.lines.count(":predict") == 4, running.process, running.log)
            services.wait(lambda: running.files <= files, patience=30)
        assert "Traceback" not in running.lines, running.lines[-3000:]


def test_bodies_that_are_too_large(model: Path, tmp_path: Path) -> None:
    """Whether they say so or not: refused at the limit, and never kept."""
    with services.service(tmp_path, {"m": model}, max_body_bytes=MEGABYTE) as running:
        answered(running)
        before = running.memory
        with running.connect() as connection:
            connection.sendall(PREDICT + b"content-length: 100000000000\r\n\r\n")
            assert status(connection) == 413
        piece = b"%x\r\n" % (1 << 16) + b" " * (1 << 16) + b"\r\n"
        for _ in range(5):
            with connections(running, 8) as chunked:
                for connection in chunked:
                    connection.sendall(PREDICT + b"transfer-encoding: chunked\r\n\r\n")
                for _ in range(200):  # 12 MB each, if they may
                    for connection in chunked:
                        sends(connection, piece)
                for connection in chunked:  # the answer, or a reset that has overtaken it
                    with contextlib.suppress(ConnectionError):
                        assert status(connection) == 413
        services.wait(lambda: in_flight(running) == 0)
        assert running.memory - before < 40 * MEGABYTE  # of 480 MB that were sent
        answered(running)


def test_all_bodies_together(model: Path, tmp_path: Path) -> None:
    """Each is within its limit, and all of them would be more than memory is for."""
    with services.service(tmp_path, {"m": model}, max_body_bytes=16 * MEGABYTE, max_waiting_bytes=32 * MEGABYTE) as running:
        answered(running)
        before = running.memory
        with connections(running, 32) as many:
            for connection in many:
                connection.sendall(PREDICT + b"content-length: %d\r\n\r\n" % (16 * MEGABYTE))
            found = {}
            for connection in many:  # all but the last byte of each
                connection.settimeout(30)
                sends(connection, b" " * (16 * MEGABYTE - 1))
            for connection in many:
                connection.settimeout(0.2)
                try:
                    found[connection] = status(connection)
                except TimeoutError:  # waits for its last byte
                    found[connection] = 0
            assert set(found.values()) <= {0, 429}
            assert 1 <= sum(value == 0 for value in found.values()) <= 2
            assert running.memory - before < 120 * MEGABYTE  # of 512 that were sent
        services.wait(lambda: in_flight(running) == 0)
        answered(running)


@pytest.mark.slow
def test_a_thousand_connections_that_do_nothing(model: Path, tmp_path: Path) -> None:
    with services.service(tmp_path, {"m": model}, patience=10.0) as running:
        answered(running)
        memory, files = running.memory, running.files
        with connections(running, 1000) as idle:
            services.wait(lambda: running.files >= files + 990)  # of those before, some may have ended
            for _ in range(20):
                answered(running)
            assert running.memory - memory < 64 * MEGABYTE
            services.wait(lambda: running.files < files + 10)
            assert all(ended(connection, 5) for connection in idle)
        answered(running)


@pytest.mark.slow
def test_memory_stays(model: Path, tmp_path: Path) -> None:
    """Thousands of requests of every kind: after the first few hundred, nothing is kept of any."""
    kinds = [
        whole(X), whole(b"{"), whole(b'{"instances": [[[0]]]}'), whole(X, b"content-encoding: gzip"),
        *(b"GET %s HTTP/1.1\r\nhost: localhost\r\n\r\n" % path for path in (b"/nothing", b"/v2/models/m", b"/metrics")),
    ]  # fmt: skip

    def ask(running: services.Running, times: int, first: int = 0) -> None:
        for number in range(first, first + times):
            with running.connect() as connection:
                for kind in kinds:
                    named = kind.replace(b"host: localhost", b"host: localhost\r\nx-request-id: %d" % number)
                    if number % 2:  # a model that no other request names
                        named = named.replace(b"models/m:", b"models/m%d:" % number)
                    connection.sendall(named)
                    while b"\r\n\r\n" not in connection.recv(1 << 16):
                        pass

    with services.service(tmp_path, {"m": model}, log="none") as running:
        ask(running, 60)
        before, files = running.memory, running.files
        ask(running, 200, 60)
        assert running.memory - before < 8 * MEGABYTE
        assert running.files <= files + 2
        assert in_flight(running) == 0


def test_the_option_of_the_command(model: Path, tmp_path: Path) -> None:
    """``--read-seconds`` is for heads, too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "fastlstm", "serve", f"m={model}", "--read-seconds", "1", "--port", str(port)]
    with services.started(command, tmp_path / "log") as process:
        running = services.Running(port, process, tmp_path / "log")
        services.wait(lambda: services.answers(running.url), process, running.log)
        with running.connect() as silent:
            assert ended(silent, 10)  # of the default's 20 seconds
        answered(running)
