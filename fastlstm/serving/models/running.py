"""Has models compute: on the event loop where that takes microseconds, else on threads; so much at once, and no longer than allowed."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ..options import Options
from ..refusals import RETRY, RefusedError
from .batching import Batches
from .costs import place_of
from .served import Served

T = TypeVar("T")
LOG = logging.getLogger("fastlstm.serving")

#: What takes less is computed on the event loop, in seconds: a thread would cost a tenth of that, and other requests wait no longer for it.
SHORT = 1e-3


class Runner:
    """Has models compute.

    Whatever computes has a place, of ``max_concurrency``, until it is done, also when nobody waits for it any more: so memory is bounded.
    """

    def __init__(self, options: Options):
        self.options = options
        self.places = options.max_concurrency
        self._threads: ThreadPoolExecutor | None = None
        self._batches = None if options.batch_rows is None else Batches(options, self._together)

    async def start(self) -> None:
        """Threads; they begin when they are needed."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self.options.cores, thread_name_prefix="fastlstm-compute")

    async def stop(self) -> None:
        """When everything that was accepted is computed."""
        threads, self._threads = self._threads, None
        if threads is not None:
            await asyncio.get_running_loop().run_in_executor(None, threads.shutdown)

    # -- requests ---------------------------------------------------------------------------------------------------------

    async def predict(self, served: Served, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs of a model, by name; with those of other requests, where requests are batched.

        Raises
        ------
        InputError
            If ``arrays`` do not fit the model.
        RefusedError
            413 too many rows or timesteps, or too large an answer; 429 too much at once; 504 it takes too long.
        """
        rows = self.bounded(served, arrays)
        if self._batches is not None and self._batches.takes(served, arrays, rows):
            return await self._in_time(self._batches.submit(served, arrays, rows))
        place = place_of(arrays)
        if served.costs.is_short(place, SHORT):
            return measured(served, arrays, place)
        return await self._together(served, arrays)

    def bounded(self, served: Served, arrays: Mapping[str, Any]) -> int:
        """How many rows a request has: proven, before anything is computed, not to take more memory than it may.

        Raises
        ------
        RefusedError
            413, if it would.
        """
        options, rows = self.options, served.rows(arrays)
        if rows > options.max_rows:
            raise RefusedError(413, f"model {served.name!r}: expected at most {options.max_rows} rows (max_rows), found {rows}")
        longest = served.longest(arrays) if served.open else 0
        if longest > options.max_timesteps:
            expected = f"at most {options.max_timesteps} timesteps a row (max_timesteps)"
            raise RefusedError(413, f"model {served.name!r}: expected {expected}, found {longest}")
        size = served.answer_bytes(rows, longest)
        if size > options.max_answer_bytes:
            expected = f"a request whose outputs have at most {options.max_answer_bytes} bytes (max_answer_bytes)"
            raise RefusedError(413, f"model {served.name!r}: expected {expected}, found one of {size}; ask for fewer rows at a time")
        return rows

    async def _together(self, served: Served, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """What is computed in one call."""
        place = place_of(arrays)
        if served.costs.is_short(place, SHORT):
            return measured(served, arrays, place)
        return await self._in_time(asyncio.wrap_future(self._begun(measured, (served, arrays, place))))

    async def call(self, function: Callable[..., T], *arguments: Any, short: bool) -> T:
        """Call what blocks: where it is not known to be short, on a thread.

        Raises
        ------
        RefusedError
            429, if there is too much at once; 504, if it takes too long.
        """
        if short:
            return function(*arguments)
        return await self._in_time(asyncio.wrap_future(self._begun(function, arguments)))

    def _begun(self, function: Callable[..., T], arguments: tuple[Any, ...]) -> Future[T]:
        """What is computed on a thread, once one is free."""
        if self._threads is None:
            raise RefusedError(503, "the service is stopping", RETRY)
        if self.places < 1:
            raise RefusedError(429, f"expected at most {self.options.max_concurrency} requests at the same time", RETRY)
        loop = asyncio.get_running_loop()
        self.places -= 1
        try:
            begun = self._threads.submit(contextvars.copy_context().run, function, *arguments)
        except BaseException:
            self.places += 1
            raise
        begun.add_done_callback(lambda _: self._let_go(loop))
        return begun

    def _let_go(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called on whichever thread."""
        try:
            loop.call_soon_threadsafe(self._free)
        except RuntimeError:  # the loop is closed: nobody asks any more
            LOG.debug("a computation ended after the service")

    def _free(self) -> None:
        self.places += 1

    async def _in_time(self, future: asyncio.Future[T]) -> T:
        """The result of what may take too long. What has begun goes on, and keeps its place; what has not is called off."""
        try:
            done, _ = await asyncio.wait((future,), timeout=self.options.timeout_seconds)
        except asyncio.CancelledError:  # nobody waits for it
            future.cancel()
            raise
        if not done:
            future.cancel()
            raise RefusedError(504, f"expected an answer within {self.options.timeout_seconds:g} seconds, found it takes longer")
        return future.result()


def measured(served: Served, arrays: Mapping[str, Any], place: int) -> dict[str, Any]:
    """The outputs of a model; how long it takes is remembered."""
    start = time.perf_counter()
    found = served.predict(arrays)
    served.costs.observe_at(place, time.perf_counter() - start)
    return found
