"""Computes batches in this process, or in several, in their order and with few of them on the way at once."""

from __future__ import annotations

import multiprocessing
import os
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
from ..files.base import Batch, length
from .planning import Compute, Plan

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazy.module("pyarrow")

#: Batches that a process has before it beside the one that it computes.
AHEAD = 1


class Here:
    """Computes in this process.

    Parameters
    ----------
    compute
        What is done with a batch.
    """

    def __init__(self, compute: Compute):
        self._compute = compute

    def results(self, batches: Iterable[Batch], plan: Plan) -> Iterator[tuple[int, Callable[[], Batch]]]:
        """How many rows each batch has, and what gives its result, in order."""
        for batch in batches:
            yield length(batch), lambda batch=batch: self._compute(batch, plan)  # type: ignore[misc]

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
        context = multiprocessing.get_context("spawn")
        heard, self._living = context.Pipe(duplex=False)  # closed here, or with this process, it ends the others
        started: tuple[Any, ...] = (Prepared(prepare), compute, heard)
        self._pool = ProcessPoolExecutor(processes, context, initializer=_start, initargs=started)  # type: ignore[arg-type]

    def results(self, batches: Iterable[Batch], plan: Plan) -> Iterator[tuple[int, Callable[[], Batch]]]:
        """How many rows each batch has, and what gives its result, in order."""
        going: deque[tuple[int, Future[Any]]] = deque()
        for batch in batches:
            going.append((length(batch), self._asked(batch, plan)))
            if len(going) >= self._count * (1 + AHEAD):
                count, future = going.popleft()
                yield count, lambda future=future: self._answered(future)  # type: ignore[misc]
        while going:
            count, future = going.popleft()
            yield count, lambda future=future: self._answered(future)  # type: ignore[misc]

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
        self._living.close()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _killed() -> FastLSTMError:
    return FastLSTMError(
        "--processes: one of the processes that compute has ended, killed from outside or for want of memory; fewer --processes or "
        "--batch-rows take less"
    )


#: What a process computes with.
_computing: Compute | None = None


class Prepared:
    """Calls what makes a process ready when it is unpickled there: before what follows it, which may need that."""

    def __init__(self, prepare: Callable[[], Any] | None):
        self._prepare = prepare

    def __reduce__(self) -> Any:
        return (_called, (self._prepare,))


def _called(prepare: Callable[[], Any] | None) -> None:
    if prepare is not None:
        prepare()


def _start(_: None, compute: Compute, heard: Any) -> None:
    """Make a process ready: Ctrl-C is told to the one that started it, with which it ends."""
    global _computing
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(heard,), daemon=True).start()
    _computing = compute


def _end_with(heard: Any) -> None:
    with suppress(EOFError, OSError):
        heard.recv_bytes()
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
