"""An application with paths of its own beside those of a service, and what ASGI applications send."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from fastlstm import serving

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
