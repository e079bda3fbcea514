"""How a call's work is shared among threads: they divide its rows, or where rows are few and weights large, the units of its layers."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np

from ..program.ir import Program
from .call import Watch
from .fast_path import FastPath
from .runner import Runner, ticks
from .team import Team

#: Nanoseconds of one thread's work from which on it is tried whether several are done sooner: to wake another one up and to wait for its
#: answer takes 0.1 to 0.7 milliseconds (``python -m benchmarks.two_threads``).
SHARED_NANOSECONDS = 400_000


class Task:
    """A part of a call for another thread to do: ``function(*arguments)``."""

    def __init__(self, watch: Watch, function: Callable[..., None], arguments: tuple[Any, ...]):
        self.watch, self.function, self.arguments = watch, function, arguments
        self.error: BaseException | None = None
        self.pending = threading.Lock()
        self.pending.acquire()

    def run(self) -> None:
        try:
            self.function(*self.arguments)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self.error = error
            self.watch.stop()
        finally:
            self.pending.release()

    def settle(self) -> None:
        """Wait until it is over."""
        with self.pending:
            pass

    def result(self) -> None:
        """Wait until it is done."""
        self.settle()
        if self.error is not None:
            raise self.error


def serve(tasks: SimpleQueue[Task | None]) -> None:
    """The life of a worker."""
    while (task := tasks.get()) is not None:
        task.run()
        del task  # and the arrays with it


class Pool:
    """Started threads: as many of those asked for as the system lets start, and none while the interpreter ends.

    They are daemons, unlike an executor's threads: a process that ends does not wait for what they compute.
    """

    def __init__(self, size: int):
        self.process = os.getpid()
        self.free = threading.Lock()  # held by the call whose team they are: two teams would wait for each other's members
        self.inside: set[int | None] = set()  # these threads, and those in the middle of a call that they share
        self.size = 0
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        try:
            for number in range(size):
                thread = threading.Thread(target=serve, args=(self._tasks,), name=f"fastlstm_{number}", daemon=True)
                thread.start()
                self.inside.add(thread.ident)
                self.size += 1
        except RuntimeError:  # no more threads
            pass

    def begin(self, watch: Watch, function: Callable[..., None], arguments: tuple[Any, ...]) -> Task:
        """Have one of them do a part of a call."""
        task = Task(watch, function, arguments)
        self._tasks.put(task)
        return task

    def __del__(self) -> None:
        for _ in range(self.size):
            self._tasks.put(None)


def together_at(program: Program, rows: int, pool: Pool) -> bool:
    """Do threads compute the kernels of so many rows together, rather than each its share of the rows?"""
    return 1 < program.members <= pool.size + 1 and rows <= min(program.block_rows, program.together_rows)


class Workers:
    """The threads that one Model shares its calls with: started when there is work for them, and anew in a forked process.

    Parameters
    ----------
    threads
        The most that one call may use, its own among them.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self.pool: Pool | None = None

    def fast_path(self, runner: Runner, shape: tuple[int, ...], output_shape: tuple[int, ...], vocabulary: int) -> FastPath:
        """The fast path of a Runner: calls that are done sooner so are shared."""
        share = None if self.threads == 1 else self.share
        return FastPath(runner, shape, output_shape, vocabulary, share=share, shared=SHARED_NANOSECONDS)

    def run(self, runner: Runner, inputs: list[np.ndarray], outputs: list[np.ndarray], states: list[np.ndarray]) -> None:
        """Compute all rows, alone or shared, as is done sooner."""
        rows = len(inputs[0])
        if self.threads == 1:
            runner.run(inputs, outputs, states, 0, rows)
        elif runner.pace.is_shared(rows, SHARED_NANOSECONDS):
            self.share(runner, inputs, outputs, states)
        else:
            start = ticks()
            runner.run(inputs, outputs, states, 0, rows)
            runner.pace.took(rows, ticks() - start, False)

    def share(self, runner: Runner, inputs: list[np.ndarray], outputs: list[np.ndarray], states: Sequence[np.ndarray] = ()) -> None:
        """Have several threads compute all rows, where that can be."""
        start, rows, program = ticks(), len(inputs[0]), runner.program
        pool, arrays = self._ready(), (inputs, outputs, list(states))
        if pool is None:
            runner.run(*arrays, 0, rows)
        elif together_at(program, rows, pool) and pool.free.acquire(blocking=False):
            try:
                team = Team(runner, *arrays, program.members)
                together(pool, team, team.work, [(member,) for member in range(program.members)])
            finally:
                pool.free.release()
        elif states or rows == 1:
            runner.run(*arrays, 0, rows)
        else:
            parts = min(pool.size + 1, rows)
            bounds = [rows * n // parts for n in range(parts + 1)]
            watch = Watch()
            together(pool, watch, runner.run, [(*arrays, *part, watch) for part in zip(bounds, bounds[1:], strict=False)])
        runner.pace.took(rows, ticks() - start, True)

    def _ready(self) -> Pool | None:
        """The pool, started if it is not yet; None if it cannot take a part of this call."""
        if sys.is_finalizing():  # its threads do not run any more, and none can be started
            return None
        pool = self.pool
        if pool is not None and threading.get_ident() in pool.inside:
            return None  # a call inside a call, by a signal handler or the caller's layer: they may be waiting for this very thread
        if pool is None or pool.process != os.getpid():
            pool = Pool(self.threads - 1)
            if pool.size == 0:
                return None
            self.pool = pool
        return pool


def together(pool: Pool, watch: Watch, function: Callable[..., None], parts: list[tuple[Any, ...]]) -> None:
    """Do all parts, the first one in this thread. Whatever goes wrong, none of them is still being computed afterwards."""
    tasks: list[Task] = []
    try:
        pool.inside.add(threading.get_ident())
        for part in parts[1:]:
            tasks.append(pool.begin(watch, function, part))
        function(*parts[0])
        for task in tasks:
            task.result()
    except BaseException:
        watch.stop()
        for task in tasks:
            task.settle()
        raise
    finally:
        pool.inside.discard(threading.get_ident())
