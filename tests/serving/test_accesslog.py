"""A line for each request."""

from __future__ import annotations

import asyncio
import json
import logging
import logging.config
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import services
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from websockets.sync.client import connect

from fastlstm import serving
from fastlstm.serving.server import accesslog

X = {"instances": [[[0.0, 0.1, 0.2]]]}


@pytest.fixture
def loggers() -> Iterator[None]:
    """Loggers that are as they were, after the test."""
    names = accesslog.settings("text")["loggers"]
    before = {
        name: (logging.getLogger(name).handlers[:], logging.getLogger(name).level, logging.getLogger(name).propagate) for name in names
    }
    yield
    for name, (handlers, level, propagate) in before.items():
        logger = logging.getLogger(name)
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def served(model: Path) -> Starlette:
    def failing(_: Any) -> None:
        raise ValueError("deep inside")

    app = serving.app({"m": model})
    app.router.routes.append(Route("/failing", failing))
    return app


def test_nobody_reads_nothing_is_written(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(served(model)) as client:
        client.get("/v2/health/live")
    assert not [record for record in caplog.records if record.name == "fastlstm.access"]


def test_what_the_page_asks_for_by_itself_is_no_line(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fastlstm.access"), TestClient(served(model)) as client:
        for path in ("/page/static/script.js", "/page/models", "/page/models/m/versions/1", "/page/nothing", "/"):
            client.get(path)
    within = served(model)
    outer = Starlette(routes=[Mount("/page", within)], lifespan=serving.lifespan(within))
    with caplog.at_level(logging.INFO, "fastlstm.access"), TestClient(outer) as client:
        client.get("/page/v1/models/m")
        client.get("/page/page/models")
    lines = [record.getMessage() for record in caplog.records if record.name == "fastlstm.access"]
    assert [line.split('"')[1] for line in lines] == ["GET /page/nothing", "GET /", "GET /page/v1/models/m"]


def test_text(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "fastlstm.access"), TestClient(served(model)) as client:
        client.post("/v1/models/m:predict?token=secret", json=X, headers={"X-Request-ID": "mine"})
        client.get("/nothing%0Aelse%22%1b[31m" + "x" * 1000)
    first, second = [record.getMessage() for record in caplog.records if record.name == "fastlstm.access"]
    assert first.startswith('testclient "POST /v1/models/m:predict" 200 ')
    assert first.endswith(" ms mine")
    assert '"GET /nothing%0Aelse%22%1b' in second
    assert " 404 " in second and len(second) < 300


def test_json(model: Path, loggers: None, capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(accesslog.settings("json"))
    with TestClient(served(model), raise_server_exceptions=False) as client:
        client.post("/v1/models/m:predict", json=X, headers={"X-Request-ID": "mine"})
        assert client.get("/failing", headers={"X-Request-ID": "other"}).status_code == 500
    captured = capsys.readouterr()
    first, second = (json.loads(line) for line in captured.out.splitlines())
    assert {key: first[key] for key in ("client", "method", "path", "status", "request_id", "logger", "level")} == {
        "client": "testclient", "method": "POST", "path": "/v1/models/m:predict", "status": 200, "request_id": "mine",
        "logger": "fastlstm.access", "level": "INFO",
    }  # fmt: skip
    assert first["bytes"] > 10 and 0 < first["milliseconds"] < 60_000 and first["time"].endswith("Z")
    assert (second["status"], second["request_id"]) == (500, "other")
    (error,) = [line for line in map(json.loads, captured.err.splitlines()) if line["level"] == "ERROR"]
    assert error["request_id"] == "other"
    assert "deep inside" in error["exception"] and "Traceback" in error["exception"]


def test_bytes_that_are_no_text_do_not_break_a_line(loggers: None, capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("text", "json"):
        logging.config.dictConfig(accesslog.settings(form))
        accesslog.write({"method": "GET", "path": "/", "raw_path": b'/\xff\n"\x1b', "client": None}, "a", 200, 0, 0.1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert r"/\xff\n" in lines[0] and "\x1b" not in lines[0]
    assert json.loads(lines[1])["path"] == r'/\xff\n"\x1b'


def test_none(model: Path, loggers: None, capsys: pytest.CaptureFixture[str]) -> None:
    logging.config.dictConfig(accesslog.settings("none"))
    with TestClient(served(model)) as client:
        client.get("/v2/health/live")
    assert capsys.readouterr().out == ""


def test_of_a_server(model: Path, tmp_path: Path) -> None:
    """Each request one line, a WebSocket one when it ends, and who left before the answer is known."""
    with services.service(tmp_path, {"m": model}, log="json") as running:
        with running.connect() as connection:
            connection.sendall(b"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\nx-request-id: gone\r\ncontent-length: 100\r\n\r\nhalf")
        services.wait(lambda: '"request_id":"gone"' in running.lines, running.process, running.log)
        asyncio.run(one_socket(running))
        services.wait(lambda: "WEBSOCKET" in running.lines, running.process, running.log)
        lines = [json.loads(line) for line in running.lines.splitlines()]
    access = [line for line in lines if line["logger"] == "fastlstm.access"]
    assert [line["status"] for line in access if line["request_id"] == "gone"] == [499]
    assert [(line["path"], line["status"]) for line in access if line["method"] == "WEBSOCKET"] == [("/v1/models/m/stream", 101)]
    assert len({line["request_id"] for line in access}) == len(access)
    assert not [line for line in lines if line["level"] in ("ERROR", "WARNING")], lines


async def one_socket(running: services.Running) -> None:
    from websockets.asyncio.client import connect

    async with connect(f"ws://127.0.0.1:{running.port}/v1/models/m/stream") as socket:
        await socket.send("[0, 0, 0]")
        await socket.recv()


def test_sockets_have_one_line_without_their_query(model: Path, tmp_path: Path) -> None:
    """What uvicorn says of each by itself holds the query, which may hold what is nobody's business."""
    with services.service(tmp_path, {"m": model}) as running:
        with connect(f"ws://127.0.0.1:{running.port}/v1/models/m/stream?key=secret") as socket:
            socket.send("[0.1, 0.2, 0.3]")
            assert socket.recv()
        services.wait(lambda: "/stream" in running.lines)
        assert running.lines.count("/v1/models/m/stream") == 1
        assert "secret" not in running.lines and "connection open" not in running.lines
