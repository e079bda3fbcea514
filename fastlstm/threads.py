"""How a call's work is shared among threads: its rows, or where those are few and weights large, the units of its layers."""

from __future__ import annotations

import os
import threading
from typing import Any, NamedTuple

import numpy as np

from . import runtime
from .program import Program

#: Work, as Program.work counts it, of about a tenth of a millisecond: what it takes until another thread has woken up.
SHARED_WORK = 4_000_000
UNLIMITED = 1 << 40


class Team(NamedTuple):
    """The other threads."""

    process: int
    pool: Any  # concurrent.futures.ThreadPoolExecutor
    free: threading.Lock  # held by the call whose crew they are: two crews would wait for each other's members


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
        if rows <= self.rows_alone(program):
            runner.run(inputs, outputs, states, 0, rows)
            return
        team = self._team()
        if program.members > 1 and rows <= program.block_rows and team.free.acquire(blocking=False):
            try:
                self._divide_units(team, runtime.Crew(runner, inputs, outputs, states, program.members), program.members)
            finally:
                team.free.release()
        elif states or rows == 1:
            runner.run(inputs, outputs, states, 0, rows)
        else:
            parts = min(self.threads, rows)
            bounds = [rows * n // parts for n in range(parts + 1)]
            ranges = zip(bounds[1:-1], bounds[2:], strict=True)
            pending = [team.pool.submit(runner.run, inputs, outputs, states, first, last) for first, last in ranges]
            runner.run(inputs, outputs, states, 0, bounds[1])  # this thread has its part too
            for future in pending:
                future.result()

    def _divide_units(self, team: Team, crew: runtime.Crew, members: int) -> None:
        try:
            pending = [team.pool.submit(crew.work, member) for member in range(1, members)]
            crew.work(0)
        except BaseException:
            crew.leave()
            raise
        for future in pending:
            future.result()

    def _team(self) -> Team:
        from concurrent.futures import ThreadPoolExecutor  # costs 10 ms at import, and most Models never need it

        team = self.team
        if team is None or team.process != os.getpid():
            team = self.team = Team(os.getpid(), ThreadPoolExecutor(self.threads - 1, thread_name_prefix="fastlstm"), threading.Lock())
        return team
