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
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import orjson
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from ..errors import InputError
from .messages import Messages, encoded
from .refusals import RefusedError, refused
from .sequences import Sequences, State
from .served import Served

if TYPE_CHECKING:
    from .service import Service

LOGGER = logging.getLogger("fastlstm.serving")

#: Codes of closing.
POLICY, TOO_BIG, FAILED, RESTART, LATER = 1008, 1009, 1011, 1012, 1013
#: A frame that closes holds no more bytes of reason.
MOST_REASON = 123
#: The status of what is no fault of the client's.
INTERNAL = 500
#: What metrics call a connection.
KIND = "socket"


class Connection:
    """One client: its stream, and what it is told.

    Parameters
    ----------
    service
        Whose connection it is.
    websocket
        Accepted.
    served
        The version that it streams through.
    """

    def __init__(self, service: Service, websocket: WebSocket, served: Served):
        self.service, self.websocket, self.served = service, websocket, served
        self.messages = service.connections.messages(served)
        self.sequences: Sequences = service.sequences.of(served)
        self.most = service.options.max_message_bytes
        self.hands_over = websocket.query_params.get("state") == "true"
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
            while not self.closed:
                message = await self.websocket.receive()
                if message["type"] != "websocket.receive":
                    return
                self.busy = True
                await self._take(self.state, message)
                self.busy = False
                if self.ending:
                    await self.end()
        finally:
            self.service.metrics.streams(self.served.name, KIND, -1)
            self.closed = True
            self.sequences.drop(self)

    async def _take(self, state: State, message: Any) -> None:
        """Answer a message."""
        try:
            data = message.get("bytes")
            if data is not None:
                await self._binary(state, data)
            else:
                await self._text(state, message["text"])
        except (WebSocketDisconnect, WebSocketDisconnected):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            problem = self._said(error)
            if state.lost or problem.status == INTERNAL:
                await self._refuse(problem, FAILED)
            else:
                await self._tell({"error": str(problem), "status": problem.status})

    async def _binary(self, state: State, data: bytes) -> None:
        if len(data) > self.most:
            await self._too_big(len(data))
            return
        self.messages.check_binary()
        values, form = self.messages.binary(data)
        found = await self.sequences.go_on(state, values, form)
        await self.websocket.send({"type": "websocket.send", "bytes": self.messages.as_bytes(found)})

    async def _text(self, state: State, text: str) -> None:
        if len(text) > self.most:
            await self._too_big(len(text))
            return
        asked = self.messages.text(text)
        if asked.values is not None:
            found = await self.sequences.go_on(state, asked.values, asked.form)
            await self.websocket.send({"type": "websocket.send", "text": self.messages.as_text(found, asked.named)})
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

    def _said(self, error: Exception) -> RefusedError:
        problem = refused(error)
        if problem.status != INTERNAL:
            return problem
        name = self.websocket.scope.get("state", {}).get("request_id", "")
        LOGGER.error("%s", self.websocket.scope["path"], exc_info=error, extra={"request_id": name})
        return RefusedError(INTERNAL, "internal error; the service's log tells more" + (f" of request {name}" if name else ""))

    async def _too_big(self, found: int) -> None:
        await self._refuse(RefusedError(413, f"message: expected at most {self.most} bytes (max_message_bytes), found {found}"), TOO_BIG)

    async def _refuse(self, problem: RefusedError, code: int) -> None:
        await self._tell({"error": str(problem), "status": problem.status})
        await self.close(code, str(problem))

    async def _tell(self, value: object) -> None:
        await self.websocket.send({"type": "websocket.send", "text": orjson.dumps(value).decode()})

    async def close(self, code: int, reason: str) -> None:
        """Close once, saying why."""
        if not self.closed:
            self.closed = True
            await self.websocket.close(code, reason.encode()[:MOST_REASON].decode(errors="ignore"))

    def _dropped(self, reason: str) -> None:
        """The sequence was forgotten, and not by this connection: it was idle."""
        if not self.closed and not self.busy:
            self._closing = asyncio.get_running_loop().create_task(self._leave(RefusedError(408, reason), POLICY))

    async def _leave(self, problem: RefusedError, code: int) -> None:
        try:
            await self._refuse(problem, code)
        except (WebSocketDisconnect, WebSocketDisconnected):  # it has gone itself
            return

    async def end(self) -> None:
        """Close, as the service ends: at once, or when the message that is computed is answered."""
        self.ending = True
        if self.busy or self.closed or self.state is None:
            return
        try:
            if self.hands_over:
                self.busy = True
                await self._tell({"state": await self._saved(self.state)})
            await self.close(RESTART, "the service ends or begins again; connect again")
        except (WebSocketDisconnect, WebSocketDisconnected, RefusedError, InputError):
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

    async def serve(self, service: Service, websocket: WebSocket) -> None:
        """Take a connection, until it is closed."""
        await websocket.accept()
        found = websocket.path_params
        try:
            served = service.repository.get(found["name"], found.get("version"), found.get("label"))
            connection = Connection(service, websocket, served)
        except RefusedError as error:
            await websocket.send_text(orjson.dumps({"error": str(error), "status": error.status}).decode())
            await websocket.close(POLICY, str(error).encode()[:MOST_REASON].decode(errors="ignore"))
            return
        self._open.add(connection)
        try:
            if self.ending:
                await connection.close(RESTART, "the service ends; connect again")
            else:
                await connection.run()
        except (WebSocketDisconnect, WebSocketDisconnected):
            return
        finally:
            self._open.discard(connection)

    async def end(self) -> None:
        """Close all, each once the message that is computed is answered; those that come are sent on."""
        self.ending = True
        await asyncio.gather(*(connection.end() for connection in list(self._open)))


def routes(service: Service) -> Sequence[BaseRoute]:
    """The paths of streams."""

    async def stream(websocket: WebSocket) -> None:
        await service.connections.serve(service, websocket)

    model = "/v1/models/{name}"
    return [
        WebSocketRoute(f"{model}/stream", stream),
        WebSocketRoute(f"{model}/versions/{{version:int}}/stream", stream),
        WebSocketRoute(f"{model}/labels/{{label}}/stream", stream),
    ]
