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
from functools import partial
from typing import TYPE_CHECKING, Any

from ... import lazy
from ...errors import FastLSTMError, InputError
from ..files.base import Batch, Ranges, Source, length, some
from .planning import Compute, Plan

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazy.module("pyarrow")

#: Batches that a process has before it beside the one that it computes.
AHEAD = 1
#: The most bytes of results that a process may have before it sends them.
MOST_RESULTS = 32 << 20


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

    def ranges(self, source: Source, plan: Plan, start: int) -> Ranges | None:
        """What of a source the processes read by themselves; None where this one reads, and hands batches to them."""
        found = source.ranges(start)
        if found is None or len(found.parts) < self._count or max(rows for _, rows in found.parts) * plan.result_bytes > MOST_RESULTS:
            return None
        return found.joined(plan.rows)

    def of_ranges(self, ranges: Ranges, plan: Plan) -> Iterator[tuple[int, Callable[[], Batch]]]:
        """The same as :meth:`results`, of rows that the processes read."""
        going: deque[Future[Any]] = deque()
        for first, rows in ranges.parts:
            going.append(self._submitted(_compute_range, ranges.opened, first, rows, plan))
            if len(going) >= self._count * (1 + AHEAD):
                yield from self._of_range(going.popleft())
        while going:
            yield from self._of_range(going.popleft())

    def _of_range(self, future: Future[Any]) -> Iterator[tuple[int, Callable[[], Batch]]]:
        for count, outcome in self._sent(future):
            yield count, partial(_given, outcome)

    def _asked(self, batch: Batch, plan: Plan) -> Future[Any]:
        return self._submitted(_compute, packed(batch), plan)

    def _answered(self, future: Future[Any]) -> Batch:
        return unpacked(self._sent(future))

    def _submitted(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        try:
            return self._pool.submit(function, *arguments)
        except BrokenProcessPool as error:
            raise _killed() from error

    def _sent(self, future: Future[Any]) -> Any:
        try:
            return future.result()
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


def _compute_range(opened: Callable[[], Source], first: int, rows: int, plan: Plan) -> list[tuple[int, Any]]:
    """Of each batch of some rows of a source, how many rows it has, and its result or what is wrong with it, which is the last then."""
    assert _computing is not None
    found: list[tuple[int, Any]] = []
    with opened() as source:
        for batch in some(source.batches(plan.columns, plan.rows, first), rows):
            try:
                found.append((length(batch), packed(_computing(batch, plan))))
            except InputError as error:
                found.append((length(batch), error))
                break
    return found


def _given(outcome: Any) -> Batch:
    """A result that was sent.

    Raises
    ------
    InputError
        If it is one.
    """
    if isinstance(outcome, InputError):
        raise outcome
    return unpacked(outcome)


def packed(batch: Batch) -> Any:
    """A batch as it is sent: of Arrow the bytes of its rows alone, as a pickle of a part of a table holds the whole; and dictionaries."""
    if isinstance(batch, Mapping):
        return batch
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, batch.schema) as writer:
        writer.write_batch(batch)
    return written.getvalue()


def unpacked(sent: Any) -> Batch:
    """A batch as it was."""
    if isinstance(sent, Mapping):
        return dict(sent)
    with pa.ipc.open_stream(sent) as reader:
        return reader.read_next_batch()
