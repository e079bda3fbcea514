"""States of sequences: a Stream for each gives the same as rows of Streams, and stays as it was where a timestep is refused."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import around_models
import batch_models
import h5_files
import numpy as np
import page_files
import pytest

import fastlstm
from fastlstm import InputError
from fastlstm.serving.models.served import Served
from fastlstm.serving.state.keeping import SPARE, Kept
from fastlstm.serving.state.states import State

RNG = np.random.default_rng(0)
STEP: Any = (None, ("<f4",))


def recurrent(folder: Path) -> Any:
    page_files.recurrent(folder / "m.h5")
    return fastlstm.load(folder / "m.h5")


def attention(folder: Path) -> Any:
    page_files.attention(folder / "m.h5")
    return fastlstm.load(folder / "m.h5")


def ids(folder: Path) -> Any:
    return fastlstm.load(batch_models.ids(folder / "m.h5"))


def each_step(folder: Path) -> Any:
    return fastlstm.load(batch_models.each_step(folder / "m.h5"))


def convolved(folder: Path) -> Any:
    return fastlstm.load(batch_models.convolved(folder / "m.h5"))


def scaled(folder: Path) -> Any:
    return fastlstm.Pipeline(around_models.of_series(folder, 3, steps=None), scaler={"max_abs": 10})


MODELS = (recurrent, attention, ids, each_step, convolved, scaled)


def steps(model: Any, count: int) -> np.ndarray:
    """(1, count, ...) that fit."""
    info = (model.model if isinstance(model, fastlstm.Pipeline) else model).inputs[0]
    if info.vocabulary:
        return RNG.integers(0, info.vocabulary, (1, count)).astype(np.int32)
    return RNG.normal(size=(1, count, info.shape[-1])).astype(np.float32)


class Bench:
    """States of a model, apart or as rows."""

    def __init__(self, model: Any, *, apart: bool, max_steps: int | None = 50):
        self.served, self.kept = Served("m", 1, model), Kept(model, max_steps)
        self.kept.prefer(apart=apart)

    def state(self) -> State:
        return State(object(), self.served, 0.0)

    def give(self, state: State, x: np.ndarray, *, step: bool = True) -> Any:
        found = self.kept.advance([state], x[:, 0] if step else x, STEP if step else (x.shape[1], ()))
        state.computed = True
        return found


def same(one: Any, other: Any) -> bool:
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


@pytest.mark.parametrize("made", MODELS)
def test_apart_gives_the_bits_of_rows(made: Callable[[Path], Any], tmp_path: Path) -> None:
    """Whatever happens to states in whichever order; and states go from one to the other."""
    model, rng = made(tmp_path), random.Random(0)
    apart, rows = Bench(model, apart=True), Bench(model, apart=False)
    pairs = [(apart.state(), rows.state()) for _ in range(5)]
    for turn in range(150):
        n = rng.randrange(5)
        one, other = pairs[n]
        what = rng.random()
        if what < 0.7 or not one.computed:
            x = steps(model, rng.choice((1, 1, 2, 3)))
            assert same(apart.give(one, x, step=x.shape[1] == 1), rows.give(other, x, step=x.shape[1] == 1))
        elif what < 0.8:
            for bench, state in ((apart, one), (rows, other)):
                bench.kept.forget([state])
                state.computed = False
        elif what < 0.9:
            pairs[n] = apart.state(), rows.state()  # as if it had come from another worker: each goes on with the other's
            apart.kept.load_state(pairs[n][0], rows.kept.state_bytes(other))
            rows.kept.load_state(pairs[n][1], apart.kept.state_bytes(one))
            pairs[n][0].computed = pairs[n][1].computed = True
            apart.kept.forget([one])
            rows.kept.forget([other])
        else:
            assert apart.kept.state_bytes(one) == rows.kept.state_bytes(other)
        if turn % 50 == 0:
            assert len(apart.kept) == len(rows.kept) == sum(one.computed for one, _ in pairs)
    assert all(one.stream is not None and other.stream is None for one, other in pairs if one.computed)
    for bench, side in ((apart, 0), (rows, 1)):
        bench.kept.forget([pair[side] for pair in pairs])
        assert len(bench.kept) == 0


def refused_by(kept: Kept, state: State, x: Any, form: Any) -> None:
    with pytest.raises(InputError):
        kept.advance([state], x, form)


@pytest.mark.parametrize("made", MODELS)
def test_what_is_refused_leaves_the_state_as_it_was(made: Callable[[Path], Any], tmp_path: Path) -> None:
    model = made(tmp_path)
    bench = Bench(model, apart=True, max_steps=4)
    kept, state = bench.kept, bench.state()
    for x in steps(model, 3).swapaxes(0, 1)[:, np.newaxis]:
        bench.give(state, x)
    assert state.stream is not None
    before, x = kept.state_bytes(state), steps(model, 2)
    several = (2, ())
    wrong: list[tuple[Any, Any]] = [
        (np.zeros((1, 7), np.float32), STEP), (np.zeros((2, *x.shape[2:]), x.dtype), STEP), (x.astype("U"), STEP), (x, STEP),
        (np.zeros((1, 2, 7), np.float32), several), (np.zeros((2, *x.shape[1:]), x.dtype), several),
    ]  # fmt: skip
    if made is ids:
        wrong += [(np.array([20], dtype), STEP) for dtype in (np.int32, np.int64)] + [
            (np.array([[1, 20]]), several),
            (np.array([-1]), STEP),
        ]
    if made is attention:
        wrong += [(x, several)]  # of 4 timesteps, 3 are there
    for given, form in wrong:
        refused_by(kept, state, given, form)
        assert kept.state_bytes(state) == before
    other = Kept(recurrent(tmp_path / "..") if made is not recurrent else each_step(tmp_path / ".."), None)
    stranger = bench.state()
    other.advance([stranger], np.zeros((1, 3), np.float32), STEP)
    for damaged in (b"", before[:-1], before + b"x", b"\xff" * len(before), other.state_bytes(stranger)):
        with pytest.raises(InputError):
            kept.load_state(state, damaged)
        assert kept.state_bytes(state) == before
    bench.give(state, x[:, :1])
    if made is attention:
        after = kept.state_bytes(state)
        refused_by(kept, state, x[:, 0], STEP)
        assert kept.state_bytes(state) == after
    fresh = bench.state()
    refused_by(kept, fresh, *wrong[0])
    with pytest.raises(InputError):
        kept.load_state(fresh, b"")
    assert len(kept) == 1  # what never had a timestep is not kept


def test_memory_that_runs_out_leaves_the_state_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(recurrent(tmp_path), apart=True)
    state, x = bench.state(), steps(bench.served.model, 2)
    bench.give(state, x)
    before = bench.kept.state_bytes(state)

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(type(bench.served.model.executor.stepping()), "advance", fail)
        refused_by(bench.kept, state, x, (2, ()))
    assert bench.kept.state_bytes(state) == before


def test_a_layer_that_may_fail_halfway_is_computed_in_rows(tmp_path: Path) -> None:
    """A function behind an LSTM: when it fails, the LSTM has advanced."""
    rng, failing = np.random.default_rng(0), []

    def odd(x: np.ndarray) -> np.ndarray:
        if failing:
            raise ZeroDivisionError
        return x * 2

    layer = h5_files.Layer({"class_name": "Oddity", "config": {"name": "odd", "trainable": True}}, [])
    path = h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 4, 3, rng), layer], (None, 3))
    bench = Bench(fastlstm.load(path, custom_layers={"odd": odd}), apart=True)
    state, x = bench.state(), steps(bench.served.model, 3)
    bench.give(state, x)
    assert state.stream is None
    before = bench.kept.state_bytes(state)
    failing.append(True)
    with pytest.raises(Exception, match=r"odd|division"):
        bench.kept.advance([state], x[:, 1], STEP)
    assert bench.kept.state_bytes(state) == before


def test_streams_are_small_and_used_again(tmp_path: Path) -> None:
    bench = Bench(recurrent(tmp_path), apart=True)
    x, count = steps(bench.served.model, 1), 500
    bench.give(bench.state(), x)
    gc.collect()
    tracemalloc.start()
    states = [bench.state() for _ in range(count)]
    for state in states:
        bench.give(state, x)
    size = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    assert size < 8000
    streams = {id(state.stream) for state in states}
    wanted = bench.give(bench.state(), x)
    bench.kept.forget(states)
    again = [bench.state() for _ in range(SPARE)]
    assert all(same(bench.give(state, x), wanted) for state in again)
    assert {id(state.stream) for state in again} <= streams
    gone = bench.state()
    bench.give(gone, x)
    gone.lost, stream = "a thread may still be inside", gone.stream
    bench.kept.forget([gone, *again])
    after = [bench.state() for _ in range(SPARE + 1)]
    for state in after:
        bench.give(state, x)
    assert all(state.stream is not stream for state in after)
