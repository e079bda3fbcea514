"""What stands around every handler: who may ask, how many at once, what each answer says of itself."""

from __future__ import annotations

import base64
import hmac
import ipaddress
import logging
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from time import perf_counter
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocket

from ... import forking
from ..lifetime import Life
from ..protocols import bodies
from ..protocols.handling import said, unrouted
from ..refusals import RefusedError
from ..service import Service
from . import accesslog
from .receiving import AGAIN, Body, Held

LOGGER = logging.getLogger("fastlstm.serving")
#: Asked by those who start and stop services.
HEALTH = frozenset({"/v2/health/live", "/v2/health/ready"})
#: With what a browser shows before it can know a token.
OPEN = HEALTH | {"/"}
OPEN_FOLDER = "/page/static/"
#: The subprotocol of WebSockets, and beside it what a page offers that cannot set headers: ``bearer.`` and the token in base64url.
SUBPROTOCOL, BEARER = "fastlstm", "bearer."
GONE = 499  # as nginx calls a request whose client left

BODIES = frozenset({"http.response.body", "websocket.http.response.body"})
HEADS = frozenset({"http.response.start", "websocket.http.response.start", "websocket.accept"})
#: Names of requests need not be secret, but each its own, also in forked processes.
NAMES = random.Random()
forking.in_child(NAMES, random.Random.seed)
#: What others may call a request: nothing that breaks a line or a quotation.
SANE = re.compile(rb"[A-Za-z0-9._:=+/-]{1,128}")

NO_SNIFFING = (b"x-content-type-options", b"nosniff")
UNCACHED = (b"cache-control", b"no-store")
PAGES = ((b"x-frame-options", b"DENY"), (b"referrer-policy", b"no-referrer"), (b"cross-origin-opener-policy", b"same-origin"))


def stack(service: Service, life: Life) -> Sequence[Middleware]:
    """What an application's requests pass, outermost first."""
    options = service.options
    cors = Middleware(
        CORSMiddleware, allow_origins=options.cors_origins, allow_methods=("GET", "POST"),
        allow_headers=("Authorization", "Content-Type", "Content-Encoding", "Inference-Header-Content-Length", "X-Request-ID"),
        expose_headers=("Inference-Header-Content-Length", "Retry-After", "X-Request-ID"), max_age=3600,
    )  # fmt: skip
    return [Middleware(Framed, life=life), *([cors] if options.cors_origins else []), Middleware(Guarded, service=service)]


def handlers() -> Mapping[Any, Any]:
    """What Starlette says of itself (no such path, no such method), in the form of every other error."""
    return {HTTPException: unrouted(form)}


class Framed:
    """Gives each request an id, each answer what browsers are to know of it, and a line in the log; wakes the service if nobody did."""

    def __init__(self, app: Any, life: Life):
        self.app, self.life = app, life

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        begun = perf_counter()
        name = identified(scope["headers"])
        named = name.decode()
        scope.setdefault("state", {})["request_id"] = named
        status, size = 0, 0

        async def answer(message: Any) -> None:
            nonlocal status, size
            kind = message["type"]
            if kind in BODIES:
                size += len(message.get("body", b""))
            elif kind in HEADS:
                status = message.get("status", 101)
                message["headers"] = headed(message.get("headers", ()), name)
            elif kind == "websocket.close":
                status = status or 403  # as servers answer it before they have accepted
            await send(message)

        try:
            if not self.life.started:
                await self.wake(scope)
            await self.app(scope, receive, answer)
        except ClientDisconnect:
            status = status or GONE
        except Exception as error:
            problem = said(error, scope)
            if status:  # too late to say so: the answer must break off
                raise
            await tell(problem, scope, receive, answer)
        finally:
            if accesslog.wanted():
                accesslog.write(scope, named, status or GONE, size, perf_counter() - begun)

    async def wake(self, scope: Any) -> None:
        """Start a service that nobody has started: it is mounted. Whoever asks how it is does not wait for it."""
        if route_path(scope) in HEALTH:
            self.life.begin()
        else:
            await self.life.start()


class Guarded:
    """Lets pass who may ask, and so many at once as there are places; holds a request to a time for its body."""

    def __init__(self, app: Any, service: Service):
        self.app, self.options, self.metrics = app, service.options, service.metrics
        self.held = Held(service.options)
        self.token = None if self.options.token is None else self.options.token.encode()
        self.hosts = frozenset(host.lower() for host in self.options.hosts)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        problem = self.problem(scope)
        if problem is not None:
            self.metrics.refused(problem.status)
            await tell(problem, scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, speaking(scope, send))
            return
        if scope["method"] != "POST":  # says how things are, and computes nothing
            await self.app(scope, receive, send)
            return
        held, in_flight = self.held, self.metrics.in_flight  # what computes takes a place until it is answered
        body = Body(held, receive)
        scope.setdefault("state", {})["hold"] = body.hold
        held.places += 1
        in_flight.inc()
        try:
            await self.app(scope, body, send)
        finally:
            held.places -= 1
            in_flight.dec()
            body.release()

    def problem(self, scope: Any) -> RefusedError | None:
        """Why a request is not let in."""
        headers, kind = dict(scope["headers"]), scope["type"]
        host = headers.get(b"host", b"")
        if self.hosts and not known_host(host, self.hosts):
            return RefusedError(421, f"host: expected one of {sorted(self.hosts)}, found {host.decode('latin-1')!r}; allow it with hosts=")
        if kind == "websocket" and not self.may_speak(headers.get(b"origin"), host):
            return RefusedError(403, "origin: expected this service's own, or one of cors_origins=")
        if self.token is not None and not self.trusted(scope, headers):
            return RefusedError(401, "token: expected the header Authorization: Bearer TOKEN", {"www-authenticate": "Bearer"})
        if kind == "http" and self.held.places >= self.options.max_concurrency and scope["method"] == "POST":
            return RefusedError(429, f"requests: expected at most {self.options.max_concurrency} at once; ask again later", AGAIN)
        return None

    def trusted(self, scope: Any, headers: Mapping[bytes, bytes]) -> bool:
        """Does a request hold the token, or ask for what is open to everyone?"""
        assert self.token is not None
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            return hmac.compare_digest(given.strip(), self.token)
        if scope["type"] == "websocket":
            offered = [word for word in scope.get("subprotocols", ()) if word.startswith(BEARER)]
            return len(offered) == 1 and hmac.compare_digest(unpacked(offered[0].removeprefix(BEARER)), self.token)
        path = route_path(scope)
        return scope["method"] in ("GET", "HEAD") and (path in OPEN or path.startswith(OPEN_FOLDER))

    def may_speak(self, origin: bytes | None, host: bytes) -> bool:
        """May a page of this origin open a WebSocket? Browsers do not ask for that beforehand, as they do for requests."""
        if origin is None:  # no browser
            return True
        found, allowed = origin.decode("latin-1"), self.options.cors_origins
        return found.partition("://")[2].encode("latin-1") == host or found in allowed or "*" in allowed


def identified(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """What a request is called: as its client says, if that is sane."""
    for key, value in headers:
        if key == b"x-request-id" and SANE.fullmatch(value):
            return value
    return b"%016x" % NAMES.getrandbits(64)


def headed(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, and what all answers have."""
    found, uncached = [*headers, (b"x-request-id", name), NO_SNIFFING], True
    for key, value in headers:
        if key == b"cache-control":
            uncached = False
        elif key == b"content-type" and value.startswith(b"text/html"):
            found += PAGES
    if uncached:
        found.append(UNCACHED)
    return found


def route_path(scope: Mapping[str, Any]) -> str:
    """The path within this application, wherever it is mounted."""
    path, root = scope["path"], scope.get("root_path", "")
    return path.removeprefix(root) or "/"


@lru_cache(maxsize=1024)
def known_host(host: bytes, known: frozenset[str]) -> bool:
    """Is a request for a host that this service is? A page of another site can make its name point here, but not be an address."""
    name = host.decode("latin-1").lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    if name == "localhost" or name in known:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def unpacked(text: str) -> bytes:
    """What base64url without padding says; nothing, where it is no such thing."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""


def speaking(scope: Mapping[str, Any], send: Any) -> Any:
    """``send`` of a WebSocket that agrees to our subprotocol where it is offered: browsers insist on one of those that they named."""
    if SUBPROTOCOL not in scope.get("subprotocols", ()):
        return send

    async def agree(message: Any) -> None:
        if message["type"] == "websocket.accept" and not message.get("subprotocol"):
            message["subprotocol"] = SUBPROTOCOL
        await send(message)

    return agree


def form(error: RefusedError) -> object:
    """What is said of an error, as every protocol does."""
    return {"error": str(error)}


async def tell(error: RefusedError, scope: Any, receive: Any, send: Any) -> None:
    """Answer with a refusal, and do no more."""
    answer = bodies.as_json(form(error), error.status, error.headers)
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:100]})
    elif scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(answer)
    else:
        await answer(scope, receive, send)
