"""How engines are timed: in turns, so that whatever slows the machine down meets all of them alike."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

#: Rounds, the seconds of an engine's turn, and the fewest calls in it.
ROUNDS, TURN_SECONDS, FEWEST = 5, 0.12, 3
WARM_SECONDS = 0.05


class Timing(NamedTuple):
    """How long a call takes, in seconds."""

    median: float  # of the rounds' medians
    lowest: float
    highest: float
    calls: int


def in_turns(calls: Sequence[Callable[[Any], Any]], given: Sequence[Any], told: Callable[[int, int], None]) -> list[Timing]:
    """Time some functions.

    Parameters
    ----------
    calls
        The functions, which take turns.
    given
        What they are called with, in rotation.
    told
        Called with how many turns are over, and how many there are.
    """
    medians: list[list[float]] = [[] for _ in calls]
    counts = [0] * len(calls)
    inputs = [itertools.cycle(given) for _ in calls]
    turns = 0
    for _ in range(ROUNDS):
        for number, call in enumerate(calls):
            told(turns, ROUNDS * len(calls))
            _turn(call, inputs[number], WARM_SECONDS, 1)
            found = _turn(call, inputs[number], TURN_SECONDS, FEWEST)
            medians[number].append(statistics.median(found))
            counts[number] += len(found)
            turns += 1
    return [Timing(statistics.median(of), min(of), max(of), count) for of, count in zip(medians, counts, strict=True)]


def _turn(call: Callable[[Any], Any], inputs: Any, seconds: float, fewest: int) -> list[float]:
    """The time of each call, for so long."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < fewest or time.perf_counter() < end:
        x = next(inputs)
        begin = time.perf_counter()
        call(x)
        found.append(time.perf_counter() - begin)
    return found
