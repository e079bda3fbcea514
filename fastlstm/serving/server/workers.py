"""Several processes that answer at one port, each perhaps at one of its own too, and serve the same versions.

They know of each other by files in a folder that is theirs alone: which of them live, and which versions each has loaded. A file that a
process holds is let go of by the system when the process ends, however it does.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...batch.jobs.locks import Lock
from ...replacing import writing

LOG = logging.getLogger("fastlstm.serving")

#: Seconds between looks at what the others say, and until they are no longer waited for.
PAUSE, PATIENCE = 0.05, 120.0
#: Seconds that a worker waits for one of the slots, while others look whether they are held.
SLOTS_PATIENCE = 30.0
#: Seconds that a worker which cannot begin waits before it ends, and is started again.
AGAIN = 5.0
#: The exit code of such a worker: not the one by which uvicorn knows that no worker can begin.
LEFT = 75  # EX_TEMPFAIL

FINE, BROKEN, AGREED = "fine", "broken", "agreed"


class Slot:
    """The place that this process has among the workers.

    Parameters
    ----------
    folder
        Of the files that the workers know each other by.
    count
        How many there are.
    number
        The place.
    lock
        Which shows the others that this process lives.
    """

    here: Slot | None = None

    def __init__(self, folder: str, count: int, number: int, lock: Lock):
        self.folder, self.count, self.number, self.lock = folder, count, number, lock


#: Places for more workers than are started at first: uvicorn starts others beside them on SIGHUP and SIGTTIN.
SPARE = 16


def take_slot(folder: str, count: int) -> Slot:
    """Take the first place that is free.

    Raises
    ------
    RuntimeError
        If there is none: more workers were started than there are places.
    """
    end = time.monotonic() + SLOTS_PATIENCE
    while time.monotonic() < end:
        for number in range(count):
            lock = Lock(held_path(folder, number))
            if lock.take():
                Slot.here = Slot(folder, count, number, lock)
                return Slot.here
        time.sleep(PAUSE)
    raise RuntimeError(f"expected one of {count} places for workers to be free, found none")


def held_path(folder: str, number: int) -> str:
    """The file that a worker holds."""
    return os.path.join(folder, f"worker-{number}")


class Listeners(list):  # type: ignore[type-arg]
    """The sockets that workers are started with. In a worker: that of all, and its own.

    Parameters
    ----------
    shared
        That of all.
    own
        One for each worker; none, if they have none.
    folder
        See :class:`Slot`.
    count
        How many workers are started. Those that have ports of their own have as many places, else more.
    """

    def __init__(self, shared: socket.socket, own: Sequence[socket.socket], folder: str, count: int):
        super().__init__([shared, *own])
        self.folder, self.places = folder, count if own else count + SPARE

    def __reduce__(self) -> Any:
        return in_worker, (list(self), self.folder, self.places)


def in_worker(sockets: list[socket.socket], folder: str, count: int) -> list[socket.socket]:
    """Called in each worker, first of all: it takes its place, and keeps the sockets that are its own."""
    slot = take_slot(folder, count)
    shared, *own = sockets
    for number, one in enumerate(own):
        if number != slot.number:
            one.close()
    return [shared, own[slot.number]] if own else [shared]


def end_with_parent() -> None:
    """End this worker as it should when who started it is gone: nobody else would, and it would hold its ports."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=outlive, args=(parent,), name="fastlstm-parent", daemon=True).start()


def outlive(parent: Any) -> None:
    """Wait for the end of another process, to end as well."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


class Agreement:
    """Has the workers show a new version at the same time, once all that live have loaded it; or none of them.

    Parameters
    ----------
    slot
        That of this process.
    waits
        Do the others look for changes too? If not, what has changed since they began is refused.
    """

    def __init__(self, slot: Slot, waits: bool):
        self.slot, self.waits = slot, waits

    def reached(self, name: str, version: int, stamp: Any, fine: bool, ended: Callable[[], bool]) -> bool:
        """Say whether this worker could load a version, and wait for the others.

        Parameters
        ----------
        name, version, stamp
            Which version, of which state of its files.
        fine
            Was it loaded?
        ended
            Is the service about to end?

        Returns
        -------
        bool
            Is it to be shown?
        """
        place = f"{name}-{version}"
        mark = hashlib.sha256(repr(stamp).encode()).hexdigest()
        self._say(f"{place}.{self.slot.number}", f"{mark} {FINE if fine else BROKEN}")
        end = time.monotonic() + PATIENCE
        while fine and not ended() and time.monotonic() < end:
            agreed = self._said(f"{place}.{AGREED}")
            if agreed == mark:
                return True
            if agreed and not self.waits:
                return False
            said = {self._said(f"{place}.{number}") for number in range(self.slot.count) if self._lives(number)}
            if f"{mark} {BROKEN}" in said:
                return False
            if said == {f"{mark} {FINE}"}:
                self._say(f"{place}.{AGREED}", mark)
                return True
            time.sleep(PAUSE)
        return False

    def _lives(self, number: int) -> bool:
        if number == self.slot.number:
            return True
        lock = Lock(held_path(self.slot.folder, number))
        if not lock.take():
            return True
        lock.release()
        return False

    def _say(self, name: str, text: str) -> None:
        with writing(os.path.join(self.slot.folder, name)) as file:
            file.write(text.encode())

    def _said(self, name: str) -> str:
        try:
            with open(os.path.join(self.slot.folder, name), encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    async def leave(self, error: Exception) -> None:
        """End this worker, which cannot begin as the others did: it takes no requests from them, and is started again."""
        LOG.error("worker %d cannot serve what the others do, and is tried again: %s", os.getpid(), error)
        await asyncio.sleep(AGAIN)
        os._exit(LEFT)
