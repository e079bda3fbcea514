"""The end of a server: a moment after it is asked for."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

LOG = logging.getLogger("fastlstm.serving")

#: Seconds between a signal and the end. A server that ends closes connections on which it has read nothing yet; what was sent before the
#: signal has been read by then.
MOMENT = 0.5


class Ending:
    """Takes the signals that end a server, and passes them on to it a moment later.

    It has to be made in the main thread, once the server takes these signals. The server puts back what was there before itself.

    Parameters
    ----------
    first
        Called on another thread before anything ends; the moment begins when it returns.
    """

    def __init__(self, first: Callable[[], object]) -> None:
        self._first = first
        self._asked = threading.Event()  # that only the thread below waits for, so that a signal can set it at any time
        self._signal = signal.SIGTERM
        self._before: dict[int, Any] = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._take)
        threading.Thread(target=self._wait, name="fastlstm-ending", daemon=True).start()

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._asked.is_set():  # asked once more: at once
            self._pass_on(number, frame)
        self._signal = signal.Signals(number)
        self._asked.set()

    def _wait(self) -> None:
        self._asked.wait()
        try:
            self._first()
        except Exception:
            LOG.exception("what comes before the end failed")
        time.sleep(MOMENT)
        self._pass_on(self._signal, None)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        handler = self._before[number]
        if callable(handler):
            handler(number, frame)
