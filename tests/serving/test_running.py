"""What computes on the event loop, what on threads; how much at once, how long; and batches of requests."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import batch_models
import numpy as np
import pytest

import fastlstm
from fastlstm.errors import InputError
from fastlstm.inputs import TensorInfo
from fastlstm.serving import Options
from fastlstm.serving.models.costs import Costs
from fastlstm.serving.models.running import Runner
from fastlstm.serving.models.served import Served
from fastlstm.serving.refusals import RefusedError

X = TensorInfo("x", (None, 3), "float32")


class Doubling:
    """Stands for a Served: doubles its input, notes what it was called with, and waits where it is told to."""

    def __init__(self, rowwise: bool = True):
        self.name, self.version, self.inputs, self.outputs, self.costs, self.rowwise = "m", 1, (X,), (X,), Costs(), rowwise
        self.calls: list[tuple[int, str]] = []
        self.gate: threading.Event | None = None

        self.open = False

    def rows(self, arrays: Any) -> int:
        return len(arrays["x"])

    def answer_bytes(self, rows: int, longest: int) -> int:
        return 12 * rows

    def predict(self, arrays: Any) -> dict[str, np.ndarray]:
        x = arrays["x"]
        self.calls.append((len(x), threading.current_thread().name))
        if self.gate is not None:
            assert self.gate.wait(20)
        if np.isnan(x).any():
            raise InputError(f"x: expected numbers, found NaN among {len(x)} rows")
        return {"x": 2 * x}


def row(value: float, rows: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.full((rows, 3), value, np.float32)}


def run(body: Callable[[Runner], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    async def whole() -> Any:
        runner = Runner(Options(**options))
        await runner.start()
        try:
            return await body(runner)
        finally:
            await runner.stop()

    return asyncio.run(whole())


async def told(answers: list[Awaitable[Any]]) -> list[Any]:
    return await asyncio.gather(*answers, return_exceptions=True)


# -- where -------------------------------------------------------------------------------------------------------------------


def test_what_takes_microseconds_computes_on_the_event_loop() -> None:
    served = Doubling()
    served.costs.observe(row(0), 1e-5)
    run(lambda runner: runner.predict(served, row(1)))
    served.costs.observe(row(0, 10_000), 0.5)
    run(lambda runner: runner.predict(served, row(1, 10_000)))
    fresh = Doubling()  # of which nothing is known
    run(lambda runner: runner.predict(fresh, row(1)))
    (first, second), (third,) = served.calls, fresh.calls
    assert first[1] == "MainThread" and second[1].startswith("fastlstm-compute") and third[1].startswith("fastlstm-compute")
    assert fresh.costs.expected(row(1)) is not None  # and now something is


def test_other_requests_go_on_meanwhile() -> None:
    slow, quick = Doubling(), Doubling()
    slow.gate = threading.Event()
    quick.costs.observe(row(0), 1e-5)

    async def body(runner: Runner) -> Any:
        begun = asyncio.ensure_future(runner.predict(slow, row(1)))
        await asyncio.sleep(0.05)
        answers = [await runner.predict(quick, row(n)) for n in range(20)]
        assert not begun.done()
        slow.gate.set()
        await begun
        return answers

    assert [found["x"][0, 0] for found in run(body)] == [2 * n for n in range(20)]


# -- how much, how long ------------------------------------------------------------------------------------------------------


def test_too_many_rows() -> None:
    served = Doubling()
    with pytest.raises(RefusedError, match=r"model 'm': expected at most 4 rows \(max_rows\), found 5") as caught:
        run(lambda runner: runner.predict(served, row(1, 5)), max_rows=4)
    assert caught.value.status == 413 and not served.calls


def test_answers_that_are_too_large() -> None:
    served = Doubling()
    with pytest.raises(RefusedError, match=r"have at most 100 bytes \(max_answer_bytes\), found one of 108; ask for fewer rows") as caught:
        run(lambda runner: runner.predict(served, row(1, 9)), max_answer_bytes=100)
    assert caught.value.status == 413 and not served.calls
    run(lambda runner: runner.predict(served, row(1, 8)), max_answer_bytes=100)


def test_too_many_timesteps(tmp_path: Path) -> None:
    """A request of a few megabytes could ask for gigabytes otherwise."""
    served = Served("m", 1, fastlstm.load(batch_models.each_step(tmp_path / "m.h5")))
    name = served.inputs[0].name

    def told_of(x: Any, **options: Any) -> tuple[int, str]:
        with pytest.raises(RefusedError) as caught:
            run(lambda runner: runner.predict(served, {name: x}), **options)
        return caught.value.status, str(caught.value)

    found = [np.zeros((steps, 3), np.float32) for steps in (4, 11)]
    for x in (np.zeros((2, 11, 3), np.float32), found):
        assert told_of(x, max_timesteps=10) == (413, "model 'm': expected at most 10 timesteps a row (max_timesteps), found 11")
        assert told_of(x, max_answer_bytes=175)[1].endswith("found one of 176; ask for fewer rows at a time")  # 2 rows, 11 steps, 2 numbers
        run(lambda runner, x=x: runner.predict(served, {name: x}), max_timesteps=11, max_answer_bytes=176)


def test_what_takes_too_long_keeps_its_place() -> None:
    """So that clients who ask again and again find no room, instead of filling the memory."""
    served = Doubling()
    served.gate = threading.Event()

    async def body(runner: Runner) -> None:
        found = await told([runner.predict(served, row(n)) for n in range(3)])
        assert [error.status for error in found] == [504, 504, 429] and "0.2 seconds" in str(found[0])
        assert "at most 2 requests at the same time" in str(found[2]) and found[2].headers == {"Retry-After": "1"}
        assert runner.places == 1  # the one that computes; the one that waited for the thread is called off
        (again,) = await told([runner.predict(served, row(1))])
        assert again.status == 504
        served.gate.set()
        while runner.places < 2:
            await asyncio.sleep(0.01)
        assert (await runner.predict(served, row(4)))["x"][0, 0] == 8

    run(body, max_concurrency=2, timeout_seconds=0.2, compute_threads=1)
    assert len(served.calls) == 2  # what was called off was never computed


def test_who_leaves_frees_what_has_not_begun() -> None:
    served = Doubling()
    served.gate = threading.Event()

    async def body(runner: Runner) -> None:
        first, second = (asyncio.ensure_future(runner.predict(served, row(n))) for n in range(2))
        await asyncio.sleep(0.05)
        second.cancel()
        await asyncio.sleep(0.05)
        assert runner.places == 255
        served.gate.set()
        assert (await first)["x"][0, 0] == 0

    run(body, compute_threads=1)
    assert len(served.calls) == 1


def test_errors_come_back() -> None:
    served = Doubling()
    with pytest.raises(InputError, match="found NaN"):
        run(lambda runner: runner.predict(served, row(np.nan)))
    served.costs.observe(row(0), 1e-5)
    with pytest.raises(InputError, match="found NaN"):
        run(lambda runner: runner.predict(served, row(np.nan)))


def test_a_stop_waits_for_what_computes() -> None:
    served = Doubling()
    served.gate = threading.Event()

    async def body() -> Any:
        runner = Runner(Options())
        await runner.start()
        begun = asyncio.ensure_future(runner.predict(served, row(3)))
        await asyncio.sleep(0.05)
        threading.Timer(0.1, served.gate.set).start()
        await runner.stop()
        (late,) = await told([runner.predict(served, row(1))])
        assert late.status == 503
        return await begun

    assert asyncio.run(body())["x"][0, 0] == 6


def test_functions_are_called_too() -> None:
    async def body(runner: Runner) -> None:
        assert await runner.call(lambda a, b: (a + b, threading.current_thread().name), 1, 2, short=True) == (3, "MainThread")
        total, name = await runner.call(lambda a, b: (a + b, threading.current_thread().name), 1, 2, short=False)
        assert total == 3 and name.startswith("fastlstm-compute")
        with pytest.raises(RefusedError, match="takes longer"):
            await runner.call(time.sleep, 0.5, short=False)

    run(body, timeout_seconds=0.1)


# -- batches -----------------------------------------------------------------------------------------------------------------


def test_requests_that_wait_are_computed_together() -> None:
    served = Doubling()
    found = run(lambda runner: told([runner.predict(served, row(n, 1 + n % 3)) for n in range(10)]), batch_rows=64, batch_wait_us=20_000)
    for n, answer in enumerate(found):
        assert np.array_equal(answer["x"], np.full((1 + n % 3, 3), 2 * n, np.float32))
    assert [rows for rows, _ in served.calls] == [19]


def test_no_more_rows_than_allowed_at_once() -> None:
    served = Doubling()
    found = run(lambda runner: told([runner.predict(served, row(n, 3)) for n in range(9)]), batch_rows=8, batch_wait_us=20_000)
    assert [answer["x"][0, 0] for answer in found] == [2 * n for n in range(9)]
    assert sum(rows for rows, _ in served.calls) == 27 and max(rows for rows, _ in served.calls) <= 8


def test_a_batch_begins_when_it_is_full() -> None:
    served = Doubling()
    start = time.monotonic()
    run(lambda runner: told([runner.predict(served, row(n)) for n in range(4)]), batch_rows=4, batch_wait_us=10_000_000)
    assert time.monotonic() - start < 5 and [rows for rows, _ in served.calls] == [4]


def test_while_one_batch_computes_the_next_gathers() -> None:
    served = Doubling()
    served.gate = threading.Event()

    async def body(runner: Runner) -> Any:
        first = asyncio.ensure_future(runner.predict(served, row(1)))
        while not served.calls:
            await asyncio.sleep(0.01)
        others = [asyncio.ensure_future(runner.predict(served, row(n))) for n in range(5)]
        await asyncio.sleep(0.05)
        served.gate.set()
        return await told([first, *others])

    found = run(body, batch_rows=64)
    assert [answer["x"][0, 0] for answer in found] == [2, 0, 2, 4, 6, 8] and [rows for rows, _ in served.calls] == [1, 5]


def test_errors_of_one_spoil_no_other() -> None:
    served = Doubling()
    values = [0.0, np.nan, 2.0, 3.0, np.nan]
    found = run(lambda runner: told([runner.predict(served, row(value)) for value in values]), batch_rows=64, batch_wait_us=20_000)
    for value, answer in zip(values, found):
        if np.isnan(value):
            assert isinstance(answer, InputError) and "among 1 rows" in str(answer)
        else:
            assert answer["x"][0, 0] == 2 * value


def test_other_shapes_and_wrong_ones_are_computed_by_themselves() -> None:
    served, alone = Doubling(), Doubling(rowwise=False)
    given = [row(1), {"x": np.ones((1, 3), np.float64)}, {"x": np.ones((1, 4), np.float32)}, {"x": np.ones((1, 3), np.float64)}, row(2)]
    run(lambda runner: told([runner.predict(served, one) for one in given]), batch_rows=64, batch_wait_us=20_000)
    assert sorted(rows for rows, _ in served.calls) == [1, 2, 2]  # by dtype; and the wrong one
    run(lambda runner: told([runner.predict(alone, row(n)) for n in range(3)]), batch_rows=64, batch_wait_us=20_000)
    assert [rows for rows, _ in alone.calls] == [1, 1, 1]


def test_what_waits_is_bounded_and_has_its_time() -> None:
    served = Doubling()
    served.gate = threading.Event()

    async def body(runner: Runner) -> None:
        first = asyncio.ensure_future(runner.predict(served, row(1)))
        while not served.calls:
            await asyncio.sleep(0.01)
        found = await told([runner.predict(served, row(n)) for n in range(6)])
        assert sorted(error.status for error in found) == [429, 429, 504, 504, 504, 504]
        served.gate.set()
        (one,) = await told([first])
        assert one.status == 504

    run(body, batch_rows=64, max_concurrency=4, timeout_seconds=0.3)


def test_nobody_computes_for_those_who_have_left() -> None:
    served = Doubling()
    served.gate = threading.Event()

    async def body(runner: Runner) -> None:
        first, *others = (asyncio.ensure_future(runner.predict(served, row(n))) for n in range(4))
        while not served.calls:
            await asyncio.sleep(0.01)
        others += [asyncio.ensure_future(runner.predict(served, row(n))) for n in range(4, 7)]
        await asyncio.sleep(0.05)
        for one in others[3:]:
            one.cancel()
        await asyncio.sleep(0)
        served.gate.set()
        await told([first, *others])

    run(body, batch_rows=64)
    assert [rows for rows, _ in served.calls] == [4]


def test_queues_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number of timesteps has its own queue, which goes with its last request."""
    import fastlstm.serving.models.batching as batching

    made: list[Any] = []
    whole = batching.Queue.__init__
    monkeypatch.setattr(batching.Queue, "__init__", lambda self, *given: (made.append(given), whole(self, *given))[1])
    served = Doubling()

    async def body(runner: Runner) -> None:
        for n in range(50):
            await runner.predict(served, {"x": np.ones((1, 3), f"<f{4 if n % 2 else 8}")})
        assert len(made) == 50 and not any(len(queues) for queues in runner._batches._queues.values())

    run(body, batch_rows=8)
