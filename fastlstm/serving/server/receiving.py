"""What a request sends, bounded: how long it takes to come, and how much all requests hold at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..options import Options
from ..refusals import RefusedError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

#: A body that comes at so many bytes a second or faster has all the time that it needs.
RATE = 10_000
#: Seconds between looks at the bodies that are awaited.
LOOK = 0.5
AGAIN = {"retry-after": "1"}


class Held:
    """What all requests of this process hold: places, and bytes of their bodies."""

    def __init__(self, options: Options):
        self.options = options
        self.places = 0
        self.bytes = 0
        self.awaited: dict[Body, asyncio.Task[Any]] = {}  # which task awaits which body
        self._loop: asyncio.AbstractEventLoop | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look after the bodies that are awaited. One timer does for all of them: one for each would cost more than all else here."""
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(LOOK, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for body, task in list(self.awaited.items()):
            if body.expires <= now:
                body.late = True
                del self.awaited[body]
                task.cancel()
        if self.awaited:
            loop.call_later(LOOK, self._look, loop)
        else:
            self._loop = None


class Body:
    """``receive`` of one request, and what it holds."""

    __slots__ = ("bytes", "complete", "expires", "held", "late", "loop", "receive")

    def __init__(self, held: Held, receive: Receive):
        self.held, self.receive = held, receive
        self.bytes, self.complete, self.late = 0, False, False
        self.loop = asyncio.get_running_loop()
        self.expires = self.loop.time() + held.options.read_seconds

    async def __call__(self) -> Message:
        """The next message, as ASGI has it.

        Raises
        ------
        RefusedError
            408, if it does not come; 429, if all requests together hold too much.
        """
        if self.complete:  # what is awaited now is that the client leaves
            return await self.receive()
        awaited = self.held.awaited
        awaited[self] = asyncio.current_task(self.loop)  # type: ignore[assignment]
        self.held.watch(self.loop)
        try:
            message = await self.receive()
        except asyncio.CancelledError:
            if not self.late:
                raise
            raise self._too_slow() from None
        finally:
            awaited.pop(self, None)
        if message["type"] == "http.request":
            self.complete = not message.get("more_body", False)
            size = len(message.get("body", b""))
            self.expires += size / RATE
            self.hold(size)
        return message

    def hold(self, size: int) -> None:
        """Count bytes that this request holds until it is answered.

        Raises
        ------
        RefusedError
            429, if all requests together hold too much.
        """
        allowed = self.held.options.max_waiting_bytes
        if self.held.bytes + size > allowed and self.held.bytes > self.bytes:  # one alone is bounded by itself
            raise RefusedError(429, f"the bodies of all requests: expected at most {allowed} bytes at once; ask again later", AGAIN)
        self.bytes += size
        self.held.bytes += size

    def release(self) -> None:
        """The request is answered."""
        self.held.bytes -= self.bytes
        self.bytes = 0

    def _too_slow(self) -> RefusedError:
        task = asyncio.current_task()
        if task is not None and hasattr(task, "uncancel"):  # from Python 3.11 on, tasks count how often they were cancelled
            task.uncancel()
        limit = f"{self.held.options.read_seconds:g} seconds, or {RATE} bytes a second"
        # What follows on this connection would be the rest of the body.
        return RefusedError(408, f"the body did not come within {limit}", {"connection": "close"})
