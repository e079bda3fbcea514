"""Connections that are not waited for without end: uvicorn's own protocol, with bounds where it has none.

An application sees a request once its head is complete. Before that, and after the answer, only the server can tell that a client does
nothing: it sends no head, goes on sending after it was refused, or does not read. Each such client keeps a file of the process open, of
which there are a thousand or so.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

#: Seconds that are waited for a client to send or to read something.
PATIENCE = 20.0
#: Bytes of a head, and of what follows a body, beyond which a request is not read.
MOST_HEAD = 1 << 16

if TYPE_CHECKING:
    Base: Any = asyncio.Protocol
else:
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as Base
    except ImportError:  # no httptools: uvicorn speaks HTTP in Python, without these bounds
        Base = None

PROTOCOL: Any = "auto"

if Base is not None:

    class Bounded(Base):  # type: ignore[misc]
        """A connection whose client has to go on."""

        #: Seconds for a head to come, and for the rest of a body that was answered already.
        patience = PATIENCE

        def connection_made(self, transport: Any) -> None:
            """Wait for a head from now on."""
            super().connection_made(transport)
            self._headless, self._upgraded, self._unread, self._bare = True, False, 0, 0
            self._timers: dict[str, asyncio.TimerHandle] = {}
            self._wait("read", self.patience, self._close)

        def connection_lost(self, exc: Exception | None) -> None:
            """Wait for nothing any more."""
            for what in list(self._timers):
                self._stop(what)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            """Wait for the rest of a head, or of a body that was answered already; most come whole, and need no timer."""
            self._bare += len(data)
            super().data_received(data)
            if self._bare > MOST_HEAD and not self._upgraded:
                self._refuse()
            elif not self._upgraded and (self._headless or self.cycle is None or self.cycle.response_complete):
                self._wait("read", self.patience, self._close)
            elif self._timers:
                self._stop("read")

        def on_message_begin(self) -> None:
            """A head begins."""
            self._headless, self._bare = True, 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            """A head ends."""
            self._headless, self._bare = False, 0
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            """A part of a body, which the application counts."""
            self._bare = 0
            super().on_body(body)

        def handle_websocket_upgrade(self) -> None:
            """Another protocol goes on."""
            self._upgraded = True
            super().handle_websocket_upgrade()

        def pause_writing(self) -> None:
            """The client reads too slowly: what waits for it takes memory."""
            super().pause_writing()
            self._unread = self.transport.get_write_buffer_size()
            self._wait("write", PATIENCE, self._look)

        def resume_writing(self) -> None:
            """It has read."""
            super().resume_writing()
            self._stop("write")

        def _wait(self, what: str, seconds: float, then: Any) -> None:
            if what not in self._timers:
                self._timers[what] = self.loop.call_later(seconds, then)

        def _stop(self, what: str) -> None:
            timer = self._timers.pop(what, None)
            if timer is not None:
                timer.cancel()

        def _refuse(self) -> None:
            """Read no more of a head, or of what follows a body, that has no end: nobody else counts it."""
            if self.transport.is_closing():
                return
            if self.cycle is None or self.cycle.response_complete:
                self.send_400_response(f"The head of the request has more than {MOST_HEAD} bytes.")
            else:
                self.transport.close()

        def _close(self) -> None:
            self._timers.pop("read", None)
            if not self.transport.is_closing():
                self.transport.close()

        def _look(self) -> None:
            self._timers.pop("write", None)
            unread = self.transport.get_write_buffer_size()
            if unread >= self._unread:
                self.transport.abort()
            else:
                self._unread = unread
                self._wait("write", PATIENCE, self._look)

    PROTOCOL = Bounded


def wait_for_heads(seconds: float) -> None:
    """How long, in this process, a head may take to come: as long as a body, as a rule."""
    if Base is not None:
        PROTOCOL.patience = seconds


def allow_open_files() -> None:
    """Allow as many open files, and so connections, as this user may ask for."""
    try:
        import resource
    except ImportError:  # Windows has no such bound
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
