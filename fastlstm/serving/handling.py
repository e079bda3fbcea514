"""What every handler leaves to one place: errors in the form of its protocol, the id of the request, metrics."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import wraps
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from . import bodies
from .refusals import RefusedError, refused
from .served import Served
from .service import Service

Handler = Callable[[Request], Awaitable[Response]]
Form = Callable[[RefusedError], object]

LOGGER = logging.getLogger(__name__)
#: The header of a request's id, in and out.
REQUEST_ID = "X-Request-Id"
#: Where the scope of a request holds it. What sets it there (a middleware) also gives it to every answer.
SCOPE_ID = "fastlstm.request_id"
#: Where the scope holds what metrics and logs are told of a request: the name of the model, and rows.
SCOPE_MODEL, SCOPE_ROWS = "fastlstm.model", "fastlstm.rows"
#: The longest id that is taken from a client.
MOST_ID = 128


def answering(service: Service, api: str, form: Form) -> Callable[[Handler], Handler]:
    """A decorator of handlers: what they raise becomes an answer, and every answer is counted.

    Parameters
    ----------
    service
        Whose ``metrics.observe(api, name, status, seconds, rows)`` is called for each request, where it has metrics. The name is that
        of a model that is served, or "": clients cannot make up new ones.
    api
        What metrics call the protocol.
    form
        What the protocol says of an error, as a value for JSON.
    """

    def decorate(handler: Handler) -> Handler:
        @wraps(handler)
        async def answer(request: Request) -> Response:
            scope, begun = request.scope, time.perf_counter()
            ours = SCOPE_ID not in scope
            try:
                response = await handler(request)
            except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
                problem = said(error, scope)
                response = bodies.as_json(form(problem), problem.status, problem.headers)
            if ours:
                response.headers[REQUEST_ID] = request_id(scope)
            if service.metrics is not None:
                elapsed = time.perf_counter() - begun
                service.metrics.observe(api, scope.get(SCOPE_MODEL, ""), response.status_code, elapsed, scope.get(SCOPE_ROWS, 0))
            return response

        return answer

    return decorate


def note(request: Request, served: Served, rows: int = 0) -> None:
    """Tell metrics and logs which model a request asks, and how many rows it has."""
    request.scope[SCOPE_MODEL] = served.name
    request.scope[SCOPE_ROWS] = rows


def said(error: BaseException, scope: MutableMapping[str, Any]) -> RefusedError:
    """What a client is told of an error. What is no fault of the client's is logged in full, with the id that the client gets."""
    if isinstance(error, ClientDisconnect):
        return RefusedError(499, "the client has gone")  # nobody reads it: it is for metrics
    if isinstance(error, HTTPException):
        return RefusedError(error.status_code, error.detail, error.headers)
    problem = refused(error)
    if problem.status == 500:
        found = request_id(scope)
        LOGGER.error("request %s: %s %r failed", found, scope.get("method", ""), scope.get("path", ""), exc_info=error)
        return RefusedError(500, f"internal error; the log of the service tells more of request {found}")
    return problem


def request_id(scope: MutableMapping[str, Any]) -> str:
    """The id of a request: the one that its client has given, if it is short and plain; else a new one."""
    found = scope.get(SCOPE_ID)
    if found is None:
        found = _given(scope) or secrets.token_hex(8)
        scope[SCOPE_ID] = found
    return str(found)


def _given(scope: MutableMapping[str, Any]) -> str:
    """The id that a client has given: letters, digits and a few signs, so that it can stand in a log as it is."""
    for key, value in scope.get("headers", ()):
        if key == b"x-request-id" and 0 < len(value) <= MOST_ID:
            text = value.decode("latin-1")
            if text.isascii() and text.translate(_SIGNS).isalnum():
                return str(text)
    return ""


_SIGNS = str.maketrans(dict.fromkeys("-_.:/+=", "0"))


def unrouted(form: Form) -> Callable[[Request, Exception], Awaitable[Response]]:
    """An exception handler for Starlette: what is raised outside of handlers, such as that there is no such path, in a protocol's form."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = said(error, request.scope)
        return bodies.as_json(form(problem), problem.status, problem.headers)

    return answer
