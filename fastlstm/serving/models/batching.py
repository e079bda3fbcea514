"""Rows of requests that wait at the same time are computed in one call."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..options import Options
from ..refusals import RETRY, RefusedError
from .served import Served, matches, parts_of

LOG = logging.getLogger("fastlstm.serving")

#: Has a model compute: :meth:`Runner._together`.
Compute = Callable[[Served, Mapping[str, Any]], Awaitable[dict[str, Any]]]


class Waiting(NamedTuple):
    """A request that waits."""

    arrays: Mapping[str, Any]
    rows: int
    answer: asyncio.Future[dict[str, Any]]


class Batches:
    """The requests that wait, by model and by the shape of their rows.

    Parameters
    ----------
    options
        ``batch_rows`` and ``batch_wait_us``.
    compute
        Has a model compute.
    """

    def __init__(self, options: Options, compute: Compute):
        assert options.batch_rows is not None
        self.most, self.wait, self.compute = options.batch_rows, options.batch_wait_us * 1e-6, compute
        self.places = options.max_concurrency
        self._queues: weakref.WeakKeyDictionary[Served, dict[Any, Queue]] = weakref.WeakKeyDictionary()

    def takes(self, served: Served, arrays: Mapping[str, Any], rows: int) -> bool:
        """May this request be computed with others? Not where it is wrong, or large enough."""
        return served.rowwise and 0 < rows < self.most and len(arrays) == len(served.inputs) and all(
            isinstance(value := arrays.get(info.name), np.ndarray) and len(value) == rows and matches(value.shape, info.shape)
            for info in served.inputs
        )  # fmt: skip

    def submit(self, served: Served, arrays: Mapping[str, Any], rows: int) -> asyncio.Future[dict[str, Any]]:
        """Have a request wait for others; the future is its answer."""
        key = tuple((value.shape[1:], value.dtype) for value in map(arrays.__getitem__, (info.name for info in served.inputs)))
        queues = self._queues.setdefault(served, {})
        queue = queues.get(key)
        if queue is not None and len(queue.waiting) >= self.places:
            raise RefusedError(429, f"expected at most {self.places} requests at the same time", RETRY)
        if queue is None:
            queue = queues[key] = Queue(self, served, lambda: queues.pop(key, None))
        return queue.add(arrays, rows)


class Queue:
    """Requests of one model whose rows have one shape: they wait while others of it are computed, and no longer than allowed."""

    def __init__(self, batches: Batches, served: Served, done: Callable[[], Any]):
        self.batches, self.served, self.done = batches, served, done
        self.waiting: list[Waiting] = []
        self.rows = 0
        self.task: asyncio.Task[None] | None = None
        self.full = asyncio.Event()

    def add(self, arrays: Mapping[str, Any], rows: int) -> asyncio.Future[dict[str, Any]]:
        """One more."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.waiting.append(Waiting(arrays, rows, answer))
        self.rows += rows
        if self.rows >= self.batches.most:
            self.full.set()
        if self.task is None:
            self.task = asyncio.create_task(self._run())
        return answer

    async def _run(self) -> None:
        """Batch after batch, until nothing waits."""
        try:
            while self.waiting:
                await self._gather()
                await self._answer(self._taken())
        finally:
            self.task = None
            self.done()

    async def _gather(self) -> None:
        """Wait for more, unless there is enough."""
        if self.full.is_set():
            return
        if not self.batches.wait:
            await asyncio.sleep(0)  # what has arrived by now is read first
            return
        try:
            await asyncio.wait_for(self.full.wait(), self.batches.wait)
        except asyncio.TimeoutError:
            return

    def _taken(self) -> list[Waiting]:
        """As many of those that wait as are computed at once, those first that came first."""
        taken: list[Waiting] = []
        rows = 0
        while self.waiting and (not taken or rows + self.waiting[0].rows <= self.batches.most):
            one = self.waiting.pop(0)
            self.rows -= one.rows
            if not one.answer.done():  # it took too long
                taken.append(one)
                rows += one.rows
        if self.rows < self.batches.most:
            self.full.clear()
        return taken

    async def _answer(self, taken: list[Waiting]) -> None:
        """Compute some at once; each by itself, if that fails, so that no request has to do with the errors of another."""
        if len(taken) == 1:
            await self._alone(taken[0])
            return
        if not taken:
            return
        try:
            arrays = {name: np.concatenate([one.arrays[name] for one in taken]) for name in taken[0].arrays}
            found = await self.batches.compute(self.served, arrays)
            if any(len(value) != sum(one.rows for one in taken) for value in found.values()):
                raise ValueError(f"{self.served!r}: other rows came back than were given")
        except RefusedError as error:  # there is no room, or no time: for none of them
            for one in taken:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, each request finds out for itself
            LOG.debug("%r: %d requests are computed one by one: %s", self.served, len(taken), type(error).__name__)
            for one in taken:
                await self._alone(one)
            return
        for one, part in zip(taken, parts_of(found, [one.rows for one in taken]), strict=True):
            if not one.answer.done():
                one.answer.set_result(part)

    async def _alone(self, one: Waiting) -> None:
        """Compute a request by itself."""
        try:
            found = await self.batches.compute(self.served, one.arrays)
        except Exception as error:  # noqa: BLE001 - it is the request's answer
            if not one.answer.done():
                one.answer.set_exception(error)
        else:
            if not one.answer.done():
                one.answer.set_result(found)
