"""Who is let in: who knows the token, pages of which sites, and by which names of the host."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from asgi import HELD, PREDICT, TOKEN, X
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

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
