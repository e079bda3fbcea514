"""How a call's work is shared among threads: its rows, or where those are few and weights large, the units of its layers."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import numpy as np

from . import runtime
from .program.ir import Program

#: Work, as Program.work counts it, of about a tenth of a millisecond: what it takes until another thread has woken up.
SHARED_WORK = 4_000_000
UNLIMITED = 1 << 40


class Task:
    """What another thread is to do as its part of a call: ``function(*arguments)``."""

    def __init__(self, watch: runtime.Watch, function: Callable[..., None], arguments: tuple[Any, ...]):
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
    """A helper's life."""
    while (task := tasks.get()) is not None:
        task.run()
        del task  # and the arrays with it


class Team:
    """The other threads, as many of those asked for as the system lets start: none while the interpreter ends.

    They are daemons, as an executor's threads are not: a process that ends does not wait for what they compute.
    """

    def __init__(self, size: int):
        self.process = os.getpid()
        self.free = threading.Lock()  # held by the call whose crew they are: two crews would wait for each other's members
        self.inside: set[int | None] = set()  # the threads in the middle of such a call, and they themselves
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

    def begin(self, watch: runtime.Watch, function: Callable[..., None], arguments: tuple[Any, ...]) -> Task:
        """Have one of them do a part of a call."""
        task = Task(watch, function, arguments)
        self._tasks.put(task)
        return task

    def __del__(self) -> None:
        for _ in range(self.size):
            self._tasks.put(None)


class Helpers:
    """The threads that help one Model: started when there is work for them, and anew in a forked process.

    Parameters
    ----------
    threads
        The most that one call may use, its own among them.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self.team: Team | None = None

    def rows_alone(self, program: Program) -> int:
        """Up to how many rows one thread is sooner done than several."""
        if self.threads == 1:
            return UNLIMITED
        return max(0 if program.members > 1 else 1, (SHARED_WORK - 1) // max(1, program.work))

    def run(
        self, runner: runtime.Runner, program: Program, inputs: list[np.ndarray], outputs: list[np.ndarray], states: list[np.ndarray]
    ) -> None:
        """Compute all rows."""
        rows = len(inputs[0])
        team = self._team() if rows > self.rows_alone(program) else None
        arrays = inputs, outputs, states
        if team is None:
            runner.run(*arrays, 0, rows)
        elif 1 < program.members <= team.size + 1 and rows <= program.block_rows and team.free.acquire(blocking=False):
            try:
                crew = runtime.Crew(runner, *arrays, program.members)
                together(team, crew, crew.work, [(member,) for member in range(program.members)])
            finally:
                team.free.release()
        elif states or rows == 1:
            runner.run(*arrays, 0, rows)
        else:
            parts = min(team.size + 1, rows)
            bounds = [rows * n // parts for n in range(parts + 1)]
            watch = runtime.Watch()
            together(team, watch, runner.run, [(*arrays, *part, watch) for part in zip(bounds, bounds[1:], strict=False)])

    def _team(self) -> Team | None:
        """The threads, if there are any."""
        if sys.is_finalizing():  # they do not run any more, and none can be started
            return None
        team = self.team
        if team is not None and threading.get_ident() in team.inside:
            return None  # a call inside a call, by a signal handler or the caller's layer: they may be waiting for this very thread
        if team is None or team.process != os.getpid():
            team = Team(self.threads - 1)
            if team.size == 0:
                return None
            self.team = team
        return team


def together(team: Team, watch: runtime.Watch, function: Callable[..., None], parts: list[tuple[Any, ...]]) -> None:
    """Do all parts: this thread the first one. Whatever goes wrong, none of them is still being computed afterwards."""
    tasks: list[Task] = []
    try:
        team.inside.add(threading.get_ident())
        for part in parts[1:]:
            tasks.append(team.begin(watch, function, part))
        function(*parts[0])
        for task in tasks:
            task.result()
    except BaseException:
        watch.stop()
        for task in tasks:
            task.settle()
        raise
    finally:
        team.inside.discard(threading.get_ident())
