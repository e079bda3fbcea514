"""Computes batches in this process, or in several, in their order and with few of them on the way at once."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ... import lazy
from ...errors import FastLSTMError
from ..files.base import Batch
from .planning import Compute, Plan

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazy.module("pyarrow")

#: Batches that a process has before it beside the one that it computes.
AHEAD = 2


class Here:
    """Computes in this process.

    Parameters
    ----------
    compute
        What is done with a batch.
    """

    def __init__(self, compute: Compute):
        self._compute = compute

    def results(self, batches: Iterable[Batch], plan: Plan) -> Iterator[tuple[Batch, Callable[[], Batch]]]:
        """Each batch, and what gives its result, in order."""
        for batch in batches:
            yield batch, lambda batch=batch: self._compute(batch, plan)  # type: ignore[misc]

    def close(self) -> None:
        """Nothing is open."""


class Pool:
    """Computes in several processes, each of which loads the model once.

    Parameters
    ----------
    compute
        What is done with a batch.
    processes
        How many.
    prepare
        Called in each process before the model is loaded there: what makes the caller's functions known. Pickled.
    """

    def __init__(self, compute: Compute, processes: int, prepare: Callable[[], Any] | None = None):
        self._count = processes
        self._pool = ProcessPoolExecutor(
            processes, multiprocessing.get_context("spawn"), initializer=_start, initargs=(prepare, pickle.dumps(compute))
        )

    def results(self, batches: Iterable[Batch], plan: Plan) -> Iterator[tuple[Batch, Callable[[], Batch]]]:
        """Each batch, and what gives its result, in order."""
        going: deque[tuple[Batch, Future[Any]]] = deque()
        for batch in batches:
            going.append((batch, self._asked(batch, plan)))
            if len(going) >= self._count * (1 + AHEAD):
                first, future = going.popleft()
                yield first, lambda future=future: self._answered(future)  # type: ignore[misc]
        while going:
            first, future = going.popleft()
            yield first, lambda future=future: self._answered(future)  # type: ignore[misc]

    def _asked(self, batch: Batch, plan: Plan) -> Future[Any]:
        try:
            return self._pool.submit(_compute, packed(batch), plan)
        except BrokenProcessPool as error:
            raise _killed() from error

    def _answered(self, future: Future[Any]) -> Batch:
        try:
            return unpacked(future.result())
        except BrokenProcessPool as error:
            raise _killed() from error

    def close(self) -> None:
        """End the processes, whatever they are at."""
        working = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in working:
            with suppress(OSError, ValueError):
                process.terminate()
        for process in working:
            process.join()


def _killed() -> FastLSTMError:
    return FastLSTMError(
        "--processes: one of the processes that compute has ended, killed from outside or for want of memory; fewer --processes or "
        "--batch-rows take less"
    )


#: What a process computes with.
_computing: Compute | None = None


def _start(prepare: Callable[[], Any] | None, compute: bytes) -> None:
    """Make a process ready: Ctrl-C is told to the one that started it, with which it ends."""
    global _computing
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()
    _computing = pickle.loads(compute)  # noqa: S301 - from the process that started this one


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _compute(batch: Any, plan: Plan) -> Any:
    assert _computing is not None
    return packed(_computing(unpacked(batch), plan))


def packed(batch: Batch) -> Any:
    """A batch as it is sent: of Arrow the bytes of its rows alone, as a pickle of a part of a table holds the whole."""
    if isinstance(batch, Mapping):
        return batch
    return batch.schema, batch.serialize()


def unpacked(sent: Any) -> Batch:
    """A batch as it was."""
    if isinstance(sent, Mapping):
        return dict(sent)
    schema, data = sent
    return pa.ipc.read_record_batch(data, schema)
