"""A WebSocket for each stream: ``/v1/models/NAME/stream``, or of a version or label.

A connection is one sequence of the version that it began with: each message advances it, and has one answer, in order; :mod:`.messages`
says what they hold. ``{"reset": true}`` begins anew, answered with the same. ``{"state": true}`` is answered with ``{"state": "..."}``,
which a client may send as a message of its own to go on from there, over another connection, at another worker: ``{"loaded": true}``.

A message that is refused is answered with ``{"error": "...", "status": 400}``; the stream is as it was, and the connection stays. Where it
cannot stay, the error comes first, and then it is closed:

==== ====================================================================================================
1008 there is no such model, or it cannot stream; or the connection was idle for ``sequence_idle_seconds``
1009 the message is larger than ``max_message_bytes``
1011 the state is lost, as a step took too long or failed
1012 the service ends. With ``?state=true`` in the address, ``{"state": "..."}`` comes before it
1013 there are ``max_sequences`` sequences already
==== ====================================================================================================

A connection has one message computed at a time, and the next is read when the answer is on its way: a client that does not read its
answers is not read from.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent import futures
from typing import TYPE_CHECKING
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

import orjson
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send

from ..models import finding
from ..models.served import Served
from ..refusals import RefusedError, refused
from .messages import Messages, encoded
from .sequences import Sequences
from .states import State

if TYPE_CHECKING:
    from ..service import Service

LOGGER = logging.getLogger("fastlstm.serving")

#: Codes of closing.
POLICY, TOO_BIG, FAILED, RESTART, LATER = 1008, 1009, 1011, 1012, 1013
#: A frame that closes holds no more bytes of reason.
MOST_REASON = 123
#: The status of what is no fault of the client's.
INTERNAL = 500
#: What metrics call a connection.
KIND = "socket"
GOING = "the service ends or begins again; connect again"


class Connection:
    """One client: its stream, and what it is told.

    Messages are taken from the server itself, without Starlette's WebSocket around it, which would take a tenth of the time of each.

    Parameters
    ----------
    service
        Whose connection it is.
    served
        The version that it streams through.
    scope, receive, send
        Of ASGI; the connection is accepted.
    """

    def __init__(self, service: Service, served: Served, scope: Scope, receive: Receive, send: Send):
        self.service, self.served, self.scope, self.receive, self.send = service, served, scope, receive, send
        self.messages = service.connections.messages(served)
        self.sequences: Sequences = service.sequences.of(served)
        self.most = service.options.max_message_bytes
        self.hands_over = parse_qs(scope["query_string"]).get(b"state") == [b"true"]
        self.state: State | None = None
        self.busy, self.ending, self.closed = False, False, False
        self._closing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Answer messages until either side closes."""
        try:
            self.state = self.sequences.begin(self, self._dropped)
        except RefusedError as error:
            await self._refuse(error, LATER if error.status == 429 else POLICY)
            return
        self.service.metrics.streams(self.served.name, KIND, 1)
        try:
            await self._answer(self.state)
        finally:
            self.service.metrics.streams(self.served.name, KIND, -1)
            self.closed = True
            self.sequences.drop(self)

    async def _answer(self, state: State) -> None:
        receive, send, messages, at_once = self.receive, self.send, self.messages, self.sequences.at_once
        quick, timestep, as_bytes = messages.quick, messages.timestep, messages.as_bytes_of_one
        while not self.closed:
            message = await receive()
            if message["type"] != "websocket.receive" or self.closed:
                return
            data = message.get("bytes")
            if data is not None and len(data) == quick:  # most are so
                try:
                    found = at_once(state, timestep(data))
                except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
                    await self._fail(state, error)
                    continue
                if found is not None:
                    await send({"type": "websocket.send", "bytes": as_bytes(found)})
                    continue
            self.busy = True
            try:
                await self._take(state, data, message.get("text"))
            except OSError:  # the client has gone
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
                await self._fail(state, error)
            self.busy = False
            if self.ending:
                await self.end()

    async def _take(self, state: State, data: bytes | None, text: str | None) -> None:
        """Answer a message."""
        size = len(data if data is not None else text or "")
        if size > self.most:
            error = RefusedError(413, f"message: expected at most {self.most} bytes (max_message_bytes), found {size}")
            await self._refuse(error, TOO_BIG)
        elif data is not None:
            self.messages.check_binary()
            found = await self.sequences.go_on(state, *self.messages.binary(data))
            await self.send({"type": "websocket.send", "bytes": self.messages.as_bytes(found)})
        else:
            await self._text(state, text or "")

    async def _text(self, state: State, text: str) -> None:
        asked = self.messages.text(text)
        if asked.values is not None:
            found = await self.sequences.go_on(state, asked.values, asked.form)
            await self.send({"type": "websocket.send", "text": self.messages.as_text(found, asked.named)})
        elif asked.what == "reset":
            await self.sequences.reset(state)
            await self._tell({"reset": True})
        elif asked.what == "save":
            await self._tell({"state": await self._saved(state)})
        else:
            await self.sequences.load_state(state, asked.state)
            await self._tell({"loaded": True})

    async def _saved(self, state: State) -> str | None:
        found = await self.sequences.state_bytes(state)
        return None if found is None else encoded(found)

    # -- refusing and closing ---------------------------------------------------------------------------------------------

    async def _fail(self, state: State, error: Exception) -> None:
        """Tell of an error; close, if the state is not what it was."""
        problem = refused(error)
        if problem.status == INTERNAL:
            name = self.scope.get("state", {}).get("request_id", "")
            LOGGER.error("%r", self.scope["path"], exc_info=error, extra={"request_id": name})
            problem = RefusedError(INTERNAL, "internal error; the service's log tells more" + (f" of request {name}" if name else ""))
        if state.lost or problem.status == INTERNAL:
            await self._refuse(problem, FAILED)
        else:
            await self._tell({"error": str(problem), "status": problem.status})

    async def _refuse(self, problem: RefusedError, code: int) -> None:
        await self._tell({"error": str(problem), "status": problem.status})
        await self.close(code, str(problem))

    async def _tell(self, value: object) -> None:
        await self.send({"type": "websocket.send", "text": orjson.dumps(value).decode()})

    async def close(self, code: int, reason: str) -> None:
        """Close once, saying why."""
        if not self.closed:
            self.closed = True
            await self._close(code, reason)

    async def _close(self, code: int, reason: str) -> None:
        await self.send({"type": "websocket.close", "code": code, "reason": shortened(reason)})

    def _dropped(self, reason: str) -> None:
        """The sequence was forgotten, and not by this connection: it was idle."""
        if not self.closed and not self.busy:
            self._closing = asyncio.get_running_loop().create_task(self._leave(RefusedError(408, reason)))

    async def _leave(self, problem: RefusedError) -> None:
        try:
            await self._refuse(problem, POLICY)
        except OSError:  # it has gone itself
            return

    async def end(self) -> None:
        """Close, as the service ends: at once, or when the message that is computed is answered."""
        self.ending = True
        if self.busy or self.closed or self.state is None:
            return
        self.closed = True  # so that no message that comes now advances what is handed over
        try:
            if self.hands_over and not self.state.lost:
                await self._tell({"state": await self._saved(self.state)})
            await self._close(RESTART, GOING)
        except (OSError, RefusedError):  # it has gone itself
            return


class Connections:
    """The connections of a service."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()
        self._messages: WeakKeyDictionary[Served, Messages] = WeakKeyDictionary()
        self.ending = False

    def __len__(self) -> int:
        return len(self._open)

    def messages(self, served: Served) -> Messages:
        """What reads the messages for a version."""
        found = self._messages.get(served)
        if found is None:
            found = self._messages[served] = Messages(served)
        return found

    async def serve(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a connection, until it is closed."""
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            await send({"type": "websocket.accept"})
            await self._serve(service, scope, receive, send)
        except OSError:  # the client has gone
            return

    async def _serve(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        found = scope["path_params"]
        try:
            served = service.repository.get(found["name"], finding.number_of(found.get("version")), found.get("label"))
        except RefusedError as error:
            await send({"type": "websocket.send", "text": orjson.dumps({"error": str(error), "status": error.status}).decode()})
            await send({"type": "websocket.close", "code": POLICY, "reason": shortened(str(error))})
            return
        connection = Connection(service, served, scope, receive, send)
        self._open.add(connection)
        try:
            if self.ending:
                await connection.close(RESTART, GOING)
            else:
                await connection.run()
        finally:
            self._open.discard(connection)

    async def end(self) -> None:
        """Close all, each once the message that is computed is answered; those that come are sent on."""
        self.ending = True
        await asyncio.gather(*(connection.end() for connection in list(self._open)))
        while any(connection.busy for connection in self._open):
            await asyncio.sleep(0.01)


class Endpoint:
    """The ASGI application behind the paths of streams."""

    def __init__(self, service: Service):
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.service.connections.serve(self.service, scope, receive, send)


def routes(service: Service) -> Sequence[BaseRoute]:
    """The paths of streams."""
    model, endpoint = "/v1/models/{name}", Endpoint(service)
    return [
        WebSocketRoute(f"{model}/stream", endpoint, name="stream"),
        WebSocketRoute(f"{model}/versions/{{version}}/stream", endpoint, name="stream_of_version"),
        WebSocketRoute(f"{model}/labels/{{label}}/stream", endpoint, name="stream_of_label"),
    ]


def ended(service: Service, loop: asyncio.AbstractEventLoop) -> None:
    """End the connections of a service, which answers on a loop, from another thread; within the time that a request may take."""
    future = asyncio.run_coroutine_threadsafe(service.connections.end(), loop)
    try:
        future.result(service.options.timeout_seconds)
    except (TimeoutError, futures.TimeoutError, futures.CancelledError):
        future.cancel()


def shortened(reason: str) -> str:
    """As much of a reason as a frame holds."""
    return reason.encode()[:MOST_REASON].decode(errors="ignore")
