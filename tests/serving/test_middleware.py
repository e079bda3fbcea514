"""What each answer of a service says of itself, whoever asked for it, also where it is mounted in another application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgi import HELD, PREDICT, TOKEN, X, call, made
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from fastlstm import serving
from fastlstm.serving.server import middleware

# The id of a request


@pytest.mark.parametrize(
    "given", ["7", "a" * 128, "Root=1-67891233-abcdef012345678912345678", "0af7651916cd43dd8448eb211c80319c", "a/b+c:d_e."]
)
def test_an_id_is_kept(ask: Callable[..., TestClient], given: str) -> None:
    answer = ask().get("/v2/health/live", headers={"X-Request-ID": given})
    assert answer.headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", 'a"b', "a\tb", "ä", "a%0ab", "a,b", "<a>"])
def test_an_id_that_could_break_a_line_is_replaced(ask: Callable[..., TestClient], given: str) -> None:
    answer = ask().get("/v2/health/live", headers={"X-Request-ID": given.encode("latin-1")})  # type: ignore[dict-item]
    assert len(answer.headers["X-Request-ID"]) == 16


def test_ids_differ(ask: Callable[..., TestClient]) -> None:
    client = ask()
    assert len({client.get("/v2/health/live").headers["X-Request-ID"] for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", PREDICT, X, 200),
        ("POST", PREDICT, {"instances": [[[0.0]]]}, 400),
        ("GET", "/nothing", None, 404),
        ("DELETE", "/v2/health/live", None, 405),
    ],
)
def test_every_answer_has_an_id_and_a_form(ask: Callable[..., TestClient], method: str, path: str, body: Any, status: int) -> None:
    answer = ask().request(method, path, json=body, headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (status, "mine")
    assert list(answer.json()) == (["predictions"] if status == 200 else ["error"])


def test_forked_processes_name_requests_otherwise() -> None:
    """As gunicorn forks them, with the module loaded before."""
    import os

    found = set()
    for _ in range(4):
        reading, writing = os.pipe()
        if os.fork() == 0:  # nothing but a write: the test's threads are not here
            os.write(writing, middleware.identified([]))
            os._exit(0)
        os.wait()
        found.add(os.read(reading, 100))
        os.close(reading)
        os.close(writing)
    assert len(found) == 4


# What nobody has foreseen


class FakeLife:
    started = True


def test_an_error_tells_the_client_nothing_and_the_log_all(caplog: pytest.LogCaptureFixture) -> None:
    async def failing(*_: Any) -> None:
        raise ValueError("somewhere/secret")

    sent = asyncio.run(call(middleware.Framed(failing, FakeLife()), {"headers": [(b"x-request-id", b"mine")]}))
    assert sent[0]["status"] == 500
    assert (b"x-request-id", b"mine") in sent[0]["headers"]
    assert b"secret" not in sent[1]["body"]
    assert sent[1]["body"].startswith(b'{"error":"internal error')
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.request_id == "mine"  # type: ignore[attr-defined]
    assert "somewhere/secret" in caplog.text


def test_an_error_after_the_head_breaks_the_answer_off() -> None:
    async def failing(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("too late")

    with pytest.raises(ValueError, match="too late"):
        asyncio.run(call(middleware.Framed(failing, FakeLife()), {}))


# What browsers are told


def test_what_browsers_are_told(ask: Callable[..., TestClient]) -> None:
    client = ask()
    headers = client.get("/v2/health/live").headers
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert "x-frame-options" not in headers
    assert client.get("/html").headers["x-frame-options"] == "DENY"
    assert client.get("/html").headers["referrer-policy"] == "no-referrer"
    assert client.get("/kept").headers.get_list("cache-control") == ["max-age=60"]


# Mounted


def test_mounted(model: Path) -> None:
    """Paths are those within, and the models are loaded though nobody runs a lifespan."""
    app = Starlette(routes=[Mount("/models", made(model, token=TOKEN))])
    with TestClient(app) as client:
        assert client.get("/models/v2/health/live").status_code == 200
        assert client.get("/models/page/static/style.css").status_code == 200
        assert client.get("/models/v2").status_code == 401
        assert client.post("/models" + PREDICT, json=X, headers=HELD).status_code == 200
        assert client.get("/models/v2/health/ready").status_code == 200


def test_mounted_with_the_lifespan(model: Path) -> None:
    """The models are there before the first request, and let go after the last."""
    models = made(model)
    app = Starlette(routes=[Mount("/models", models)], lifespan=serving.lifespan(models))
    with TestClient(app) as client:
        assert models.state.life.started
        assert client.get("/models/v2/health/ready").status_code == 200
        assert client.post("/models" + PREDICT, json=X).status_code == 200
    assert not models.state.life.started


def test_requests_that_come_before_the_models_wait_for_them(model: Path) -> None:
    """They are loaded once, and who asks whether they are does not wait."""

    async def main() -> None:
        import httpx

        models = made(model)
        life, started = models.state.life, []
        original = life.service.repository.start

        async def slow() -> None:
            started.append(1)
            await asyncio.sleep(0.2)
            await original()

        object.__setattr__(life.service.repository, "start", slow)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(models), base_url="http://testserver") as client:
            answers = asyncio.gather(*(client.post(PREDICT, json=X) for _ in range(5)))
            await asyncio.sleep(0.05)
            assert (await client.get("/v2/health/live")).status_code == 200
            assert (await client.get("/v2/health/ready")).status_code == 503
            assert [answer.status_code for answer in await answers] == [200] * 5
            assert (await client.get("/v2/health/ready")).status_code == 200
        assert started == [1]
        await life.stop()

    asyncio.run(main())
