"""Calls that several threads may share go the way that is done sooner, as was measured, and the numbers are the same either way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import h5_files
import numpy as np
import pytest

import fastlstm
from fastlstm.runtime.runner import Pace

#: Nanoseconds from which on sharing is tried.
LIMIT = 1_000
#: Calls each way before they are compared; one in so many goes the other way from then on.
TRIED, AGAIN = 3, 32


def pace(row_work: int = 80_000) -> Pace:
    """Of a Program whose rows are guessed to take a microsecond each."""
    program = SimpleNamespace(work=row_work, members=1, block_rows=100, together_rows=0, divided_work=row_work)
    return Pace(program)  # type: ignore[arg-type]


def many(found: Pace, rows: int, calls: int, alone: Callable[[int], int], shared: Callable[[int], int]) -> list[bool]:
    """Which of so many calls are shared, where they take so many nanoseconds."""
    ways = []
    for _ in range(calls):
        ways.append(found.is_shared(rows, LIMIT))
        found.took(rows, (shared if ways[-1] else alone)(rows), ways[-1])
    return ways


def test_what_is_certain_is_not_tried() -> None:
    assert pace().is_shared(1000, LIMIT)
    assert not pace().is_shared(1, 0)  # one row cannot be shared
    assert pace().is_shared(2, 0)


@pytest.mark.parametrize("better", [True, False], ids=["shared is sooner", "alone is sooner"])
def test_the_better_way_is_taken(better: bool) -> None:
    times = (lambda rows: 1000 * rows), (lambda rows: (600 if better else 1500) * rows)
    ways = many(pace(), 10, 200, *times)
    assert ways[: 2 * TRIED] == [False] * TRIED + [True] * TRIED
    rest = ways[2 * TRIED :]
    assert rest.count(not better) == len(rest) // AGAIN  # to see whether it has changed
    assert rest.count(better) == len(rest) - len(rest) // AGAIN


def test_less_than_may_be_worth_it_is_not_tried() -> None:
    assert not any(many(pace(), 10, 200, lambda rows: 90 * rows, lambda rows: 10 * rows))


def test_it_notices_what_changes() -> None:
    """Masks leave less to do, or another program takes the other processor."""
    found = pace()
    many(found, 10, 100, lambda rows: 1000 * rows, lambda rows: 600 * rows)
    ways = many(found, 10, 200, lambda rows: 1000 * rows, lambda rows: 2000 * rows)
    assert ways[-AGAIN:].count(True) <= 1
    ways = many(found, 10, 300, lambda rows: 1000 * rows, lambda rows: 600 * rows)
    assert ways[-AGAIN:].count(False) <= 1


def test_one_call_that_takes_long_changes_nothing() -> None:
    found = pace()
    many(found, 10, 100, lambda rows: 1000 * rows, lambda rows: 600 * rows)
    found.took(10, 10**9, True)
    ways = many(found, 10, AGAIN, lambda rows: 1000 * rows, lambda rows: 600 * rows)
    assert ways.count(False) <= 1


def test_sizes_are_apart() -> None:
    """Small batches may be done sooner alone, and large ones shared."""
    found = pace()
    for _ in range(50):
        many(found, 4, 1, lambda rows: 1000 * rows, lambda rows: 1000 * rows // 2 + 5000)
        many(found, 20, 1, lambda rows: 1000 * rows, lambda rows: 1000 * rows // 2 + 5000)
    assert not many(found, 4, 1, lambda rows: 1000 * rows, lambda rows: 1000 * rows)[0]
    assert many(found, 20, 1, lambda rows: 1000 * rows, lambda rows: 1000 * rows)[0]


def test_what_a_team_leaves_to_one_thread_does_not_count() -> None:
    """Of up to so many rows it divides a tenth of the work, from then on all."""
    program = SimpleNamespace(work=80_000, members=2, block_rows=8, together_rows=8, divided_work=8_000)
    found = Pace(program)  # type: ignore[arg-type]
    assert not any(many(found, 8, 20, lambda rows: 1000 * rows, lambda rows: 10 * rows))
    assert any(many(found, 16, 20, lambda rows: 1000 * rows, lambda rows: 600 * rows))
    assert found.is_shared(1, 0)  # a team divides a row


def test_the_same_bits_either_way(tmp_path: Path) -> None:
    """From the first calls, which are timed, to those that are shared."""
    rng = np.random.default_rng(0)
    layers = [h5_files.recurrent("LSTM", 128, 8, rng, return_sequences=True), h5_files.recurrent("GRU", 64, 128, rng)]
    path = h5_files.save(tmp_path / "model.h5", layers, (None, 8))
    one, two = fastlstm.load(path), fastlstm.load(path, threads=2)
    x = rng.normal(size=(24, 40, 8)).astype(np.float32)
    expected = one.predict(x).tobytes()
    for _ in range(3 * AGAIN):
        assert two.predict(x).tobytes() == expected
    assert two.executor.workers.pool is not None
