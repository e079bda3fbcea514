"""Who is let in, how many at once, and what each answer says of itself."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from fastlstm import serving
from fastlstm.serving.options import Options
from fastlstm.serving.refusals import RefusedError
from fastlstm.serving.server import middleware
from fastlstm.serving.server.metrics import Metrics
from fastlstm.serving.server.receiving import Held

TOKEN = "a-secret"
X = {"instances": [[[0.0, 0.1, 0.2]]]}
PREDICT = "/v1/models/m:predict"
HELD = {"authorization": f"Bearer {TOKEN}"}


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


def made(model: Path, **options: Any) -> Starlette:
    """A service with a WebSocket and a page beside its own paths."""
    app = serving.app({"m": model}, **options)
    app.router.routes += [
        WebSocketRoute("/echo", echo),
        Route("/html", lambda _: HTMLResponse("<p>")),
        Route("/kept", lambda _: PlainTextResponse("", headers={"cache-control": "max-age=60"})),
        Route("/page/static/style.css", lambda _: PlainTextResponse("")),
        Route("/page/models", lambda _: PlainTextResponse("")),
    ]
    return app


@pytest.fixture
def ask(model: Path) -> Iterator[Callable[..., TestClient]]:
    """Makes clients of services with options."""
    opened: list[TestClient] = []

    def client(**options: Any) -> TestClient:
        opened.append(TestClient(made(model, **options), raise_server_exceptions=False))
        opened[-1].__enter__()
        return opened[-1]

    yield client
    for each in opened:
        each.__exit__(None, None, None)


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


async def call(app: Any, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]] | None = None) -> list[dict[str, Any]]:
    """What an ASGI application sends."""
    sent: list[dict[str, Any]] = []

    async def nothing() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    whole = {"type": "http", "method": "GET", "path": "/there", "headers": [], "client": ("1.2.3.4", 5), **scope}
    await app(whole, receive or nothing, send)
    return sent


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


# The token


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", PREDICT, {}, 401),
        ("POST", PREDICT, HELD, 200),
        ("POST", PREDICT, {"authorization": f"bearer  {TOKEN} "}, 200),
        ("POST", PREDICT, {"authorization": f"Bearer {TOKEN}x"}, 401),
        ("POST", PREDICT, {"authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ("POST", PREDICT, {"authorization": f"Basic {TOKEN}"}, 401),
        ("POST", PREDICT, {"authorization": TOKEN}, 401),
        ("POST", PREDICT, {"authorization": "Bearer "}, 401),
        ("POST", PREDICT, {"authorization": "Bearer ä".encode("latin-1")}, 401),
        ("GET", "/v2/health/live", {}, 200),
        ("GET", "/v2/health/ready", {}, 200),
        ("POST", "/v2/health/ready", {}, 401),
        ("GET", "/v2/health/ready/x", {}, 401),
        ("GET", "/metrics", {}, 401),
        ("GET", "/metrics", HELD, 200),
        ("GET", "/page/static/style.css", {}, 200),
        ("GET", "/page/models", {}, 401),
        ("GET", "/page/static/../models", {}, 401),
        ("GET", "/nothing", {}, 401),
    ],
)
def test_the_token(ask: Callable[..., TestClient], method: str, path: str, headers: dict[str, Any], status: int) -> None:
    answer = ask(token=TOKEN).request(method, path, headers=headers, json=X if method == "POST" else None)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json() == {"error": "token: expected the header Authorization: Bearer TOKEN"}


def offered(token: str) -> list[str]:
    return ["fastlstm", "bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")]


@pytest.mark.parametrize(
    ("headers", "protocols", "answered"),
    [
        (HELD, None, None),
        ({}, offered(TOKEN), "fastlstm"),
        (HELD, ["fastlstm"], "fastlstm"),
        (HELD, ["other"], None),
    ],
)
def test_a_socket_with_the_token(
    ask: Callable[..., TestClient], headers: dict[str, str], protocols: list[str] | None, answered: str | None
) -> None:
    with ask(token=TOKEN).websocket_connect("/echo", subprotocols=protocols, headers={**headers, "X-Request-ID": "mine"}) as socket:
        assert socket.receive_text() == "hello"
        assert socket.accepted_subprotocol == answered
        assert (b"x-request-id", b"mine") in socket.extra_headers


@pytest.mark.parametrize(
    "protocols",
    [
        None,
        ["fastlstm"],
        offered("wrong"),
        ["fastlstm", "bearer."],
        ["fastlstm", "bearer.%%%"],
        ["bearer." + TOKEN],
        [*offered("wrong"), offered(TOKEN)[1]],
    ],
)
def test_a_socket_without_the_token(ask: Callable[..., TestClient], protocols: list[str] | None) -> None:
    with pytest.raises(WebSocketDisconnect) as error, ask(token=TOKEN).websocket_connect("/echo", subprotocols=protocols):
        pass
    assert refused_with(error.value) == 401


def refused_with(error: BaseException) -> int:
    """The status of the answer in place of a WebSocket."""
    assert isinstance(error, WebSocketDisconnect), error
    assert list(error.json()) == ["error"]  # type: ignore[attr-defined]
    return error.status_code  # type: ignore[attr-defined, no-any-return]


# Pages of other sites


def test_cors(ask: Callable[..., TestClient]) -> None:
    client = ask(token=TOKEN, cors_origins=("https://a.example",))
    asked = {
        "origin": "https://a.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    answer = client.options(PREDICT, headers=asked)  # which browsers send without a token
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    for headers, status in ((HELD, 200), ({}, 401)):
        answer = client.post(PREDICT, json=X, headers={**headers, "origin": "https://a.example"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, "https://a.example")
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]
    assert client.options(PREDICT, headers={**asked, "origin": "https://b.example"}).status_code == 400
    assert "access-control-allow-origin" not in client.post(PREDICT, json=X, headers={**HELD, "origin": "https://b.example"}).headers


def test_without_origins_no_page_is_told_anything(ask: Callable[..., TestClient]) -> None:
    answer = ask().post(PREDICT, json=X, headers={"origin": "https://a.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("origin", "allowed", "let_in"),
    [
        (None, (), True),
        ("http://testserver", (), True),
        ("https://testserver", (), True),  # behind what ends TLS
        ("http://testserver:1234", (), False),
        ("https://evil.example", (), False),
        ("https://testserver.evil.example", (), False),
        ("null", (), False),
        ("https://a.example", ("https://a.example",), True),
        ("https://b.example", ("https://a.example",), False),
        ("https://b.example", ("*",), True),
    ],
)
def test_sockets_of_pages(ask: Callable[..., TestClient], origin: str | None, allowed: tuple[str, ...], let_in: bool) -> None:
    """Browsers let any page open a WebSocket to any server, also to one of this machine."""
    headers = {} if origin is None else {"origin": origin}
    client = ask(cors_origins=allowed)
    if let_in:
        with client.websocket_connect("/echo", headers=headers) as socket:
            assert socket.receive_text() == "hello"
        return
    with pytest.raises(WebSocketDisconnect) as error, client.websocket_connect("/echo", headers=headers):
        pass
    assert refused_with(error.value) == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8501", 200), ("127.0.0.1:8501", 200), ("[::1]:8501", 200), ("10.0.0.7", 200), ("Models.Example:8501", 200),
        ("evil.example", 421), ("models.example.evil.example", 421), ("127.0.0.1.evil.example", 421), ("", 421),
    ],
)  # fmt: skip
def test_hosts(ask: Callable[..., TestClient], host: str, status: int) -> None:
    """A page whose name is made to point here names itself."""
    assert ask(hosts=("models.example",)).get("/v2/health/live", headers={"host": host}).status_code == status


def test_any_host_without_hosts(ask: Callable[..., TestClient]) -> None:
    assert ask().get("/v2/health/live", headers={"host": "any.example"}).status_code == 200


def test_what_browsers_are_told(ask: Callable[..., TestClient]) -> None:
    client = ask()
    headers = client.get("/v2/health/live").headers
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert "x-frame-options" not in headers
    assert client.get("/html").headers["x-frame-options"] == "DENY"
    assert client.get("/html").headers["referrer-policy"] == "no-referrer"
    assert client.get("/kept").headers.get_list("cache-control") == ["max-age=60"]


# So many at once


class Waiting:
    """An application whose requests read their body and wait until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.inside = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            while (await receive()).get("more_body"):
                pass
        except RefusedError as error:
            await middleware.tell(error, scope, receive, send)
            return
        self.inside += 1
        await self.go.wait()
        await PlainTextResponse("done")(scope, receive, send)


def guarded(app: Any, **options: Any) -> middleware.Guarded:
    return middleware.Guarded(app, SimpleNamespace(options=Options(**options), metrics=Metrics()))  # type: ignore[arg-type]


def status(sent: list[dict[str, Any]]) -> int:
    return int(sent[0]["status"])


def test_places() -> None:
    async def main() -> None:
        app = Waiting()
        guard = guarded(app, max_concurrency=2)
        waiting = [asyncio.ensure_future(call(guard, {"method": "POST"})) for _ in range(2)]
        while app.inside < 2:
            await asyncio.sleep(0)
        refused = await call(guard, {"method": "POST"})
        assert status(refused) == 429
        assert (b"retry-after", b"1") in refused[0]["headers"]
        assert "fastlstm_requests_in_flight 2.0" in guard.metrics.text()[0].decode()
        asked = asyncio.ensure_future(call(guard, {"method": "GET"}))  # health, metadata, metrics
        while app.inside < 3:
            await asyncio.sleep(0)
        app.go.set()
        assert [status(sent) for sent in await asyncio.gather(*waiting, asked)] == [200] * 3
        assert status(await call(guard, {"method": "POST"})) == 200
        assert guard.held.places == 0
        text = guard.metrics.text()[0].decode()
        assert "fastlstm_requests_in_flight 0.0" in text
        assert 'fastlstm_requests_total{api="",model="",status="429"} 1.0' in text

    asyncio.run(main())


@pytest.mark.parametrize("ending", ["error", "cancelled"])
def test_a_place_is_freed_however_a_request_ends(ending: str) -> None:
    async def main() -> None:
        async def failing(*_: Any) -> None:
            if ending == "error":
                raise ValueError
            await asyncio.sleep(60)

        guard = guarded(failing, max_concurrency=1)
        for _ in range(3):
            task = asyncio.ensure_future(call(guard, {"method": "POST"}))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises((ValueError, asyncio.CancelledError)):
                await task
            assert (guard.held.places, guard.held.bytes) == (0, 0)

    asyncio.run(main())


# Bodies


def trickling(parts: int, seconds: float, size: int = 1) -> Callable[[], Awaitable[dict[str, Any]]]:
    left = [parts]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(seconds)
        left[0] -= 1
        return {"type": "http.request", "body": b"x" * size, "more_body": left[0] > 0}

    return receive


def test_a_body_that_trickles() -> None:
    async def main() -> None:
        app = Waiting()
        app.go.set()
        guard = guarded(app, read_seconds=0.3)
        sent = await call(guard, {"method": "POST"}, trickling(1000, 0.05))
        assert status(sent) == 408
        assert (b"connection", b"close") in sent[0]["headers"]
        assert b"0.3 seconds" in sent[1]["body"]
        assert (guard.held.places, guard.held.bytes) == (0, 0)
        # One that never comes, while another one comes fast enough: 200,000 bytes for a second or so.
        late, fast = await asyncio.gather(
            call(guard, {"method": "POST"}, trickling(1, 60)), call(guard, {"method": "POST"}, trickling(20, 0.05, 10_000))
        )
        assert (status(late), status(fast)) == (408, 200)
        assert asyncio.current_task() is not None and not asyncio.current_task().cancelled()  # type: ignore[union-attr]

    asyncio.run(main())


def test_the_time_of_a_body_is_not_that_of_its_answer() -> None:
    """Who has sent all may wait for an answer longer than a body may take."""

    async def main() -> None:
        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await asyncio.sleep(0.8)
            await PlainTextResponse("done")(scope, receive, send)

        assert status(await call(guarded(slow, read_seconds=0.1), {"method": "POST"})) == 200

    asyncio.run(main())


def test_who_ends_a_request_from_outside_is_not_told_of_time() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(call(guarded(Waiting()), {"method": "POST"}, trickling(1, 60)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_bytes_of_all_bodies() -> None:
    async def main() -> None:
        app = Waiting()
        guard = guarded(app, max_waiting_bytes=1000)
        first = asyncio.ensure_future(call(guard, {"method": "POST"}, trickling(1, 0, 900)))
        while not app.inside:
            await asyncio.sleep(0)
        refused = await call(guard, {"method": "POST"}, trickling(1, 0, 200))
        assert status(refused) == 429
        assert guard.held.bytes == 900
        app.go.set()
        assert status(await first) == 200
        assert guard.held.bytes == 0
        assert status(await call(guard, {"method": "POST"}, trickling(2, 0, 900))) == 200  # alone, it is bounded by itself

    asyncio.run(main())


def test_what_is_decompressed_counts() -> None:
    async def main() -> None:
        async def unpacking(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            scope["state"]["hold"](500)
            await asyncio.sleep(0.01)

        guard = guarded(unpacking, max_waiting_bytes=1000)
        two = [call(guard, {"method": "POST"}), call(guard, {"method": "POST"})]
        await asyncio.gather(*two)
        three = await asyncio.gather(*(call(guard, {"method": "POST"}) for _ in range(3)), return_exceptions=True)
        assert sum(isinstance(each, RefusedError) for each in three) == 1
        assert guard.held.bytes == 0

    asyncio.run(main())


def test_one_timer_for_all_bodies() -> None:
    """And none where nothing is awaited."""

    async def main() -> None:
        loop, made = asyncio.get_running_loop(), []
        original = loop.call_later

        def counting(delay: float, *rest: Any) -> Any:
            if "_look" in repr(rest[0]):
                made.append(delay)
            return original(delay, *rest)

        loop.call_later = counting  # type: ignore[method-assign, assignment]
        app = Waiting()
        app.go.set()
        guard = guarded(app)
        for _ in range(100):
            await call(guard, {"method": "POST"})
        assert len(made) == 1
        assert isinstance(guard.held, Held)

    asyncio.run(main())


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
