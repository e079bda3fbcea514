"""What every handler leaves to one place: errors in the form of its protocol, compression of answers, metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ...errors import InputError
from ..models.served import Served
from ..refusals import RefusedError, refused
from ..service import Service
from . import bodies

Handler = Callable[[Request], Awaitable[Response]]
Form = Callable[[RefusedError], object]

T = TypeVar("T")

LOGGER = logging.getLogger("fastlstm.serving")
#: Where the scope holds what metrics and logs are told of a request: the name of the model, and rows.
SCOPE_MODEL, SCOPE_ROWS = "fastlstm.model", "fastlstm.rows"
#: ... the version that computes it, and the seconds that took.
SCOPE_SERVED, SCOPE_SECONDS = "fastlstm.served", "fastlstm.seconds"


def answering(service: Service, api: str, form: Form) -> Callable[[Handler], Answering]:
    """A decorator of handlers: what they raise becomes an answer, and every answer is counted.

    Parameters
    ----------
    service
        Whose metrics are told of each request: with the name of a model that is served, or none, as clients cannot make up new ones.
    api
        What metrics call the protocol.
    form
        What the protocol says of an error, as a value for JSON.
    """
    return lambda handler: Answering(handler, service, api, form)


class Answering:
    """A handler as an ASGI application, which a Route takes as it is; what Starlette puts around a function catches errors once more.

    A Route of it has to be told its methods.
    """

    def __init__(self, handler: Handler, service: Service, api: str, form: Form):
        self.handler, self.service, self.api, self.form = handler, service, api, form

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        try:
            response = await self.handler(Request(scope, receive, send))
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            response = refusal(error, scope, self.form)
        if len(getattr(response, "body", b"")) >= bodies.LARGE:  # files and streams have none
            await bodies.packed(scope, response)
        _count(self.service, self.api, scope, response.status_code, time.perf_counter() - begun)
        await response(scope, receive, send)


def _count(service: Service, api: str, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
    """Tell metrics and statistics of a request that has been answered."""
    rows = scope.get(SCOPE_ROWS, 0)
    service.metrics.observe(api, scope.get(SCOPE_MODEL, ""), status, seconds, rows)
    served = scope.get(SCOPE_SERVED)
    if served is not None and status < 400:
        service.statistics.succeeded(served, rows, seconds, scope[SCOPE_SECONDS])
    elif served is not None:
        service.statistics.failed(served, seconds)


def asked(request: Request, served: Served) -> None:
    """Tell metrics, logs and statistics which version a request wants computed."""
    request.scope[SCOPE_MODEL] = served.name
    request.scope[SCOPE_SERVED] = served


async def computed(request: Request, served: Served, rows: int, answer: Awaitable[T]) -> T:
    """Await what a version computes of so many rows.

    Raises
    ------
    InputError
        If they do not fit the model: it names the model.
    """
    scope = request.scope
    scope[SCOPE_ROWS], begun = rows, time.perf_counter()
    try:
        return await answer
    except InputError as error:
        if str(error).startswith("model "):
            raise
        raise InputError(f"model {served.name!r}: {error}") from error
    finally:
        scope[SCOPE_SECONDS] = time.perf_counter() - begun


def refusal(error: BaseException, scope: MutableMapping[str, Any], form: Form) -> Response:
    """The answer to a request that failed.

    It has a frame of its own: an error that a frame holds, which it has passed through, would stay, with the body of its request, until
    the next search for cycles.
    """
    problem = said(error, scope)
    return bodies.as_json(form(problem), problem.status, problem.headers)


def said(error: BaseException, scope: MutableMapping[str, Any]) -> RefusedError:
    """What a client is told of an error. What is no fault of the client's is logged in full, with the id that the client gets too."""
    if isinstance(error, ClientDisconnect):
        return RefusedError(499, "the client has gone")  # nobody reads it: it is for metrics
    if isinstance(error, HTTPException):
        return RefusedError(error.status_code, error.detail, error.headers)
    problem = refused(error)
    if problem.status == 500:
        found = request_id(scope)
        LOGGER.error("%s %r failed", scope.get("method", ""), scope.get("path", ""), exc_info=error, extra={"request_id": found})
        return RefusedError(500, "internal error; the service's log tells more" + (f" of request {found}" if found else ""))
    return problem


def request_id(scope: Mapping[str, Any]) -> str:
    """What the middleware calls a request; nothing, where there is none."""
    return str(scope.get("state", {}).get("request_id", ""))


def unrouted(form: Form) -> Callable[[Request, Exception], Awaitable[Response]]:
    """An exception handler for Starlette: what is raised outside of handlers, such as that there is no such path, in a protocol's form."""

    async def answer(request: Request, error: Exception) -> Response:
        return refusal(error, request.scope, form)

    return answer
