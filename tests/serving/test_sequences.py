"""Sequences: whatever comes in which order, each answer is what ``predict`` gives for all that its sequence was given so far."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import batch_models
import h5_files
import numpy as np
import page_files
import pytest

import fastlstm
from fastlstm import InputError
from fastlstm.serving import Options
from fastlstm.serving.models.running import Runner
from fastlstm.serving.models.served import Served
from fastlstm.serving.refusals import RefusedError
from fastlstm.serving.state.sequences import Sequences
from fastlstm.serving.state.versions import AllSequences

FEATURES = 3
RNG = np.random.default_rng(0)
#: Seconds of a timestep, alone and among others, by which steps are computed: at once; together, on the loop; together, on threads.
COSTS = {"at once": (1e-6, 1e-6), "together": (1e-4, 1e-6), "on threads": (1.0, 0.1), "one by one on threads": (1.0, 1.0)}


class Clock:
    """A time that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """Sequences of a model, on a loop of their own."""

    def __init__(self, model: Path | fastlstm.Model[Any], cost: str = "at once", **options: Any):
        self.model = fastlstm.load(model) if isinstance(model, Path) else model
        self.clock, self.options = Clock(), Options(**options)
        self.runner, self.served = Runner(self.options), Served("m", 1, self.model)
        self.sequences = Sequences(self.served, self.options, self.runner, clock=self.clock)
        self.cost = cost

    def run(self, body: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        async def whole() -> Any:
            await self.runner.start()
            self.sequences.costs(*COSTS[self.cost])
            try:
                return await body()
            finally:
                await self.runner.stop()

        return asyncio.run(whole())

    async def give(self, key: Any, x: np.ndarray, **flags: bool) -> np.ndarray:
        """The one output after a timestep, (1, features), or several, (1, timesteps, features)."""
        found = await self.sequences.advance(key, {self.served.inputs[0].name: x}, **flags)
        (y,) = found.values()
        return y


@pytest.fixture(params=list(COSTS))
def bench(request: pytest.FixtureRequest, model: Path) -> Bench:
    return Bench(model, request.param)


def timesteps(count: int) -> np.ndarray:
    return RNG.normal(size=(1, count, FEATURES)).astype(np.float32)


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    return found.shape == wanted.shape and np.allclose(found, wanted, rtol=1e-5, atol=2e-6)


async def refused(waiting: Coroutine[Any, Any, Any], status: int) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        await waiting
    assert caught.value.status == status
    return caught.value


# -- what is answered --------------------------------------------------------------------------------------------------------


def test_each_answer_is_predict_of_the_sequence_so_far(bench: Bench) -> None:
    """Of many sequences at the same time, each with steps, feeds and new starts of its own."""

    async def client(number: int) -> None:
        rng, so_far = random.Random(number), timesteps(0)
        for turn in range(12):
            start = turn == 0 or rng.random() < 0.1
            given = timesteps(rng.choice((1, 1, 1, 2, 5)))
            so_far = given if start else np.concatenate([so_far, given], axis=1)
            x = given[:, 0] if given.shape[1] == 1 and rng.random() < 0.8 else given
            found = await bench.give(number, x, start=start, end=turn == 11)
            assert close(found, bench.model.predict(so_far))
            await asyncio.sleep(0 if rng.random() < 0.5 else 0.001)

    async def body() -> None:
        await asyncio.gather(*map(client, range(40)))
        assert len(bench.sequences) == 0 and bench.sequences.rows == 0

    bench.run(body)


def test_requests_of_one_key_that_come_together_are_steps_in_their_order(bench: Bench) -> None:
    async def body() -> None:
        x = timesteps(20)
        found = await asyncio.gather(*(bench.give("a", x[:, n], start=n == 0, end=n == 19) for n in range(20)))
        for n, y in enumerate(found):
            assert close(y, bench.model.predict(x[:, : n + 1]))

    bench.run(body)


def test_a_key_that_ends_and_starts_while_others_wait_is_two_sequences(bench: Bench) -> None:
    async def body() -> None:
        x = timesteps(4)
        found = await asyncio.gather(
            bench.give(7, x[:, 0], start=True), bench.give(7, x[:, 1], end=True), bench.give(7, x[:, 2], start=True), bench.give(7, x[:, 3])
        )
        wanted = (x[:, :1], x[:, :2], x[:, 2:3], x[:, 2:])
        assert all(close(y, bench.model.predict(part)) for y, part in zip(found, wanted))
        assert len(bench.sequences) == bench.sequences.rows == 1

    bench.run(body)


def test_rank_tells_a_timestep_from_several(tmp_path: Path) -> None:
    """Of a model that has an output for each timestep, several have several; ids too."""
    steps, ids = Bench(batch_models.each_step(tmp_path / "steps.h5")), Bench(batch_models.ids(tmp_path / "ids.h5"))

    async def body() -> None:
        x = timesteps(4)
        all_of_them = steps.model.predict(x)
        assert close(await steps.give(1, x[:, 0], start=True), all_of_them[:, 0])
        assert close(await steps.give(1, x[:, 1:]), all_of_them[:, 1:])

    async def of_ids() -> None:
        x = np.array([[1, 4, 2]])
        await ids.give(1, x[:, 0], start=True)
        assert close(await ids.give(1, x[:, 1:]), ids.model.predict(x))

    steps.run(body)
    ids.run(of_ids)


def test_a_pipeline_is_given_raw_timesteps_and_gives_labels(model: Path) -> None:
    pipeline = fastlstm.Pipeline(fastlstm.load(model), labels=["down", "up"], scaler={"max_abs": 10})
    served, options = Served("m", 1, pipeline), Options()

    async def body() -> None:
        sequences = Sequences(served, options, Runner(options))
        sequences.costs(*COSTS["at once"])
        x = 10.0 * timesteps(3)
        for n in range(3):
            found = await sequences.advance("a", {served.inputs[0].name: x[:, n]}, start=n == 0)
        wanted = served.predict({served.inputs[0].name: x})
        assert found["labels"].tolist() == wanted["labels"].tolist() and close(found["probabilities"], wanted["probabilities"])

    asyncio.run(body())


# -- what is refused ---------------------------------------------------------------------------------------------------------


def test_a_sequence_has_to_start(bench: Bench) -> None:
    async def body() -> None:
        x = timesteps(1)[:, 0]
        said = await refused(bench.give(5, x), 400)
        words = "inference request for sequence 5 to model 'm' must specify the START flag on the first request of the sequence"
        assert str(said) == words
        await bench.give(5, x, start=True)
        await bench.give(5, x, end=True)
        assert str(await refused(bench.give(5, x), 400)) == words
        await refused(bench.give("5", x), 400)

    bench.run(body)


def test_what_does_not_fit_leaves_the_sequence_as_it_was(bench: Bench) -> None:
    async def body() -> None:
        x, name = timesteps(3), bench.served.inputs[0].name
        await bench.give(1, x[:, 0], start=True)
        wrong = {
            "expected shape (1, 3) of one timestep, or (1, any, 3) of several, found shape (2, 3)": {name: x[0, :2]},
            "found shape (1, 4)": {name: np.zeros((1, 4), np.float32)},
            "found shape (3,)": {name: x[0, 0]},
            f"expected {name}, found other": {"other": x[:, 1]},
            "expected at least one timestep": {name: x[:, :0]},
            "expected numbers, found text": {name: np.array([["a", "b", "c"]])},
        }
        for words, given in wrong.items():
            with pytest.raises(InputError) as caught:
                await bench.sequences.advance(1, given, start=words.startswith("found shape (1, 4)"))
            assert words in str(caught.value)
        with pytest.raises(InputError, match="an id of up to 512 characters, found 513"):
            await bench.give("k" * 513, x[:, 0], start=True)
        found = await bench.give(1, x[:, 1:])
        assert close(found, bench.model.predict(x))

    bench.run(body)


@pytest.mark.parametrize("cost", COSTS)
def test_what_fails_alone_fails_alone(cost: str, tmp_path: Path) -> None:
    """Ids that are out of range, among requests that are computed in one call: the others are answered, and its sequence goes on."""
    bench = Bench(batch_models.ids(tmp_path / "ids.h5"), cost)

    async def body() -> None:
        keys = range(6)
        x = np.array([[1, 2, 3]])
        await asyncio.gather(*(bench.give(key, x[:, 0], start=True) for key in keys))
        wrong = np.array([1000])
        found = await asyncio.gather(*(bench.give(key, wrong if key == 3 else x[:, 1]) for key in keys), return_exceptions=True)
        assert isinstance(found[3], InputError) and "ids from 0" in str(found[3])
        assert all(close(y, bench.model.predict(x[:, :2])) for key, y in enumerate(found) if key != 3)
        assert close(await bench.give(3, x[:, 1:]), bench.model.predict(x))

        failed, after = await asyncio.gather(bench.give(9, wrong, start=True), bench.give(9, x[:, 0]), return_exceptions=True)
        assert isinstance(failed, InputError)
        assert isinstance(after, RefusedError) and "must specify the START flag" in str(after)
        assert len(bench.sequences) == bench.sequences.rows == 6

    bench.run(body)


def test_a_sequence_has_no_more_timesteps_than_are_kept(tmp_path: Path) -> None:
    page_files.attention(tmp_path / "a.h5")
    bench = Bench(tmp_path / "a.h5", "together", max_steps=3)

    async def body() -> None:
        x = RNG.normal(size=(2, 3, FEATURES)).astype(np.float32)
        for n in range(3):
            await asyncio.gather(*(bench.give(key, x[key : key + 1, n], start=n == 0) for key in range(2)))
        found = await asyncio.gather(bench.give(0, x[:1, 0]), bench.give(1, x[1:, 0], start=True), return_exceptions=True)
        assert isinstance(found[0], InputError)
        assert "expected no more than 3 timesteps of a sequence (max_steps), found 4; start it anew" in str(found[0])
        assert close(found[1], bench.model.predict(x[1:, :1])[:, -1])

    bench.run(body)


@pytest.mark.parametrize("most", [1, 3, 500])
def test_what_a_timestep_costs_is_measured_where_few_are_kept(most: int, tmp_path: Path) -> None:
    page_files.attention(tmp_path / "a.h5")
    served, options, x = Served("m", 1, fastlstm.load(tmp_path / "a.h5")), Options(max_steps=most), timesteps(1)

    async def body() -> None:
        runner = Runner(options)
        await runner.start()
        sequences = Sequences(served, options, runner)
        found = await asyncio.gather(*(sequences.advance(key, {"x": x[:, 0]}, start=True) for key in range(5)))
        assert all(close(y, served.model.predict(x)[:, -1]) for answer in found for y in answer.values())
        await runner.stop()

    asyncio.run(body())


def test_a_model_that_needs_the_future_says_so(tmp_path: Path) -> None:
    page_files.bidirectional(tmp_path / "b.h5")
    bench = Bench(tmp_path / "b.h5")

    async def body() -> None:
        said = await refused(bench.give(1, timesteps(1)[:, 0], start=True), 400)
        assert "model 'm' takes no sequences" in str(said) and "Bidirectional" in str(said)

    bench.run(body)


# -- limits ------------------------------------------------------------------------------------------------------------------


def test_so_many_at_once(model: Path) -> None:
    bench = Bench(model, max_sequences=2, sequence_idle_seconds=10)

    async def body() -> None:
        x = timesteps(1)[:, 0]
        for key in "ab":
            await bench.give(key, x, start=True)
        bench.clock.now += 4
        await bench.give("b", x)
        said = await refused(bench.give("c", x, start=True), 429)
        assert said.headers == {"Retry-After": "6"}
        assert "no more than 2 sequences at once" in str(said) and "sequence_end" in str(said) and "max_sequences" in str(said)
        await bench.give("b", x, start=True)  # the same one, anew
        bench.clock.now += 7
        await bench.give("c", x, start=True)  # a is idle
        assert "a" not in bench.sequences and len(bench.sequences) == bench.sequences.rows == 2
        await bench.give("c", x, end=True)
        await bench.give("d", x, start=True)

    bench.run(body)


def test_what_is_idle_is_forgotten_and_told_so(bench: Bench) -> None:
    async def body() -> None:
        x = timesteps(1)[:, 0]
        await bench.give(1, x, start=True)
        bench.clock.now += bench.options.sequence_idle_seconds + 1
        said = str(await refused(bench.give(1, x), 400))
        assert "must specify the START flag" in said and "as it had no timestep for 600 s" in said
        assert bench.sequences.rows == 0
        await bench.give(1, x, start=True)
        await bench.give(1, x, end=True)
        assert "no timestep" not in str(await refused(bench.give(1, x), 400))

    bench.run(body)


def test_idle_states_go_though_nobody_asks(model: Path) -> None:
    options = Options(sequence_idle_seconds=0.05)
    served = Served("m", 1, fastlstm.load(model))

    async def body() -> None:
        sequences = Sequences(served, options, Runner(options))
        sequences.costs(*COSTS["at once"])
        for key in range(50):
            await sequences.advance(key, {served.inputs[0].name: timesteps(1)}, start=True)
        for _ in range(100):
            await asyncio.sleep(0.02)
            if not len(sequences):
                break
        assert len(sequences) == sequences.rows == 0

    asyncio.run(body())


def test_reasons_are_not_kept_for_ever(model: Path) -> None:
    bench = Bench(model, max_sequences=5)

    async def body() -> None:
        for key in range(100):
            await bench.give(key, timesteps(1), start=True)
            bench.clock.now += 1000
            await refused(bench.give(key, timesteps(1)), 400)
        told = [str(await refused(bench.give(key, timesteps(1)), 400)) for key in range(100)]
        assert 1 <= sum("no timestep" in one for one in told) <= 5

    bench.run(body)


# -- what comes between ------------------------------------------------------------------------------------------------------


def test_a_client_that_leaves_takes_nothing_from_others(bench: Bench) -> None:
    async def body() -> None:
        x = timesteps(3)
        tasks = [asyncio.ensure_future(bench.give(key, x[:, 0], start=True)) for key in range(8)]
        await asyncio.sleep(0)
        tasks[2].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(close(y, bench.model.predict(x[:, :1])) for key, y in enumerate(found) if key != 2)
        assert close(await bench.give(3, x[:, 1:]), bench.model.predict(x))

    bench.run(body)


def slow(model: fastlstm.Model[Any], gate: threading.Event) -> fastlstm.Model[Any]:
    """A model whose streams wait."""
    stream = model.stream

    def waiting(*arguments: Any, **more: Any) -> Any:
        made = stream(*arguments, **more)
        step = made.step

        class Waiting:
            def __getattr__(self, name: str) -> Any:
                return getattr(made, name)

            def step(self, *given: Any, **how: Any) -> Any:
                assert gate.wait(20)
                return step(*given, **how)

        return Waiting()

    model.stream = waiting  # type: ignore[method-assign]
    return model


def test_what_takes_too_long_loses_its_state_and_nobody_is_left_in_the_dark(model: Path) -> None:
    gate = threading.Event()
    bench = Bench(slow(fastlstm.load(model), gate), "on threads", timeout_seconds=0.2)

    async def body() -> None:
        x = timesteps(2)
        gate.set()
        await bench.give("a", x[:, 0], start=True)
        gate.clear()
        begun = asyncio.get_running_loop().time()
        late, waiting = await asyncio.gather(bench.give("a", x[:, 1]), bench.give("a", x[:, 1]), return_exceptions=True)
        assert asyncio.get_running_loop().time() - begun < 15  # the loop has not waited for the thread
        gate.set()
        assert isinstance(late, RefusedError) and late.status == 504
        assert isinstance(waiting, RefusedError) and "its state was lost" in str(waiting)
        assert "its state was lost" in str(await refused(bench.give("a", x[:, 1]), 400))
        await bench.give("a", x[:, 0], start=True)
        assert close(await bench.give("a", x[:, 1]), bench.model.predict(x))
        assert len(bench.sequences) == bench.sequences.rows == 1

    bench.run(body)


def test_the_loop_goes_on_while_a_thread_computes(model: Path) -> None:
    gate = threading.Event()
    bench = Bench(slow(fastlstm.load(model), gate), "on threads")

    async def body() -> None:
        x = timesteps(1)[:, 0]
        waiting = [asyncio.ensure_future(bench.give(key, x, start=True)) for key in range(3)]
        await asyncio.sleep(0.05)
        assert not any(one.done() for one in waiting)
        gate.set()
        await asyncio.gather(*waiting)

    bench.run(body)


# -- versions ----------------------------------------------------------------------------------------------------------------


def test_a_sequence_goes_on_with_the_version_that_it_began_with(tmp_path: Path) -> None:
    """A newer one serves those that start; the old one goes with its last sequence."""
    files = [tmp_path / "1.h5", tmp_path / "2.h5"]
    for number, path in enumerate(files):
        rng = np.random.default_rng(number)
        h5_files.save(path, [h5_files.recurrent("LSTM", 4, FEATURES, rng), h5_files.dense(2, 4, rng)], (None, FEATURES))
    models = [fastlstm.load(path) for path in files]
    served = [Served("m", number, model) for number, model in enumerate(models, 1)]
    options = Options()
    old = weakref.ref(served[0])

    async def body() -> None:
        runner = Runner(options)
        await runner.start()
        every, x, name = AllSequences(options, runner), timesteps(3), served[0].inputs[0].name

        async def give(key: int, n: int, newest: Served, **flags: bool) -> np.ndarray:
            found = None if flags.get("start") else every.holding("m", key)
            return next(iter((await every.advance(found or newest, key, {name: x[:, n]}, **flags)).values()))

        for key in (1, 2):
            await give(key, 0, served[0], start=True)
        newest = served.pop()
        served.clear()
        assert close(await give(1, 1, newest), models[0].predict(x[:, :2]))
        assert close(await give(3, 0, newest, start=True), models[1].predict(x[:, :1]))
        assert close(await give(2, 0, newest, start=True), models[1].predict(x[:, :1]))  # anew: with the newest
        assert close(await give(2, 1, newest), models[1].predict(x[:, :2]))
        assert every.holding("m", 1, 2) is None and every.holding("m", 1, 1) is old()
        assert close(await give(1, 2, newest, end=True), models[0].predict(x))
        gc.collect()
        assert old() is None
        await refused(every.advance(newest, 1, {name: x[:, 0]}), 400)
        await runner.stop()

    asyncio.run(body())
