"""Streams by key: whatever comes in which order, each key has what predict gives for its own sequence."""

from __future__ import annotations

import copy
import doctest
import pickle
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import golden
import h5_files
import numpy as np
import pytest
from advice import follows
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from kernel_models import chain, dense
from layer_specs import recurrent
from test_remembering_streams import LAYERS, attending

import fastlstm
import fastlstm.demo
from fastlstm import InputError, Model
from fastlstm.batch import Streams
from fastlstm.spec import Call, LayerSpec, ModelSpec, Ref

FEATURES = 3
RNG = np.random.default_rng(0)


UNITS = 256


def gru(units: int) -> Model[Any]:
    return Model(chain(recurrent("GRU", units, FEATURES, "gru"), dense(2, units)))


MODEL, WIDE = gru(8), gru(UNITS)
X = RNG.normal(size=(64, FEATURES)).astype(np.float32)


class Clock:
    """A time that tests set; pickles as what it shows."""

    def __init__(self, now: float = 0.0):
        self.now = now

    def __call__(self) -> float:
        return self.now


class Machine(RuleBasedStateMachine):
    """Beside Streams, what each key was given since it began."""

    keys = st.sampled_from(["a", "b", "c", 1, 2.5, ("d", 1)])
    seeds = st.integers(0, 2**32 - 1)

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.streams = Streams(MODEL, idle=10, clock=self.clock)
        self.given: dict[Any, list[np.ndarray]] = {}
        self.used: dict[Any, float] = {}

    def note(self, key: Any, *timesteps: np.ndarray) -> None:
        self.given.setdefault(key, []).extend(timesteps)
        self.used[key] = self.clock.now

    def forget_idle(self) -> None:
        for key, used in list(self.used.items()):
            if self.clock.now - used > 10:
                del self.used[key], self.given[key]

    def expected(self, key: Any) -> np.ndarray:
        return MODEL.predict(np.array(self.given[key])[np.newaxis])[0]

    @rule(names=st.lists(keys, max_size=9), seed=seeds)
    def step(self, names: list[Any], seed: int) -> None:
        x = np.random.default_rng(seed).normal(size=(len(names), FEATURES)).astype(np.float32)
        self.forget_idle()
        y = self.streams.step(names, x)
        assert y.shape == (len(names), 2) and y.dtype == np.float32
        for name, timestep, found in zip(names, x, y):
            self.note(name, timestep)
            assert golden.difference(found, self.expected(name)) <= golden.bound(self.expected(name))

    @rule(names=st.lists(keys, min_size=1, unique=True), timesteps=st.integers(1, 4), seed=seeds)
    def feed(self, names: list[Any], timesteps: int, seed: int) -> None:
        chunk = np.random.default_rng(seed).normal(size=(len(names), timesteps, FEATURES)).astype(np.float32)
        self.forget_idle()
        for name, more, found in zip(names, chunk, self.streams.feed(names, chunk)):
            self.note(name, *more)
            assert golden.difference(found, self.expected(name)) <= golden.bound(self.expected(name))

    @rule(names=st.lists(keys))
    def forget(self, names: list[Any]) -> None:
        self.streams.forget(names)
        for name in names:
            self.given.pop(name, None)
            self.used.pop(name, None)

    @rule(seconds=st.sampled_from([1, 4, 9, 11]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(idle=st.sampled_from([None, 3, 20]))
    def evict(self, idle: int | None) -> None:
        gone = {key for key, used in self.used.items() if self.clock.now - used > (10 if idle is None else idle)}
        for key, state in self.streams.evict(idle).items():
            gone.remove(key)
            alone = MODEL.stream()
            alone.feed(np.array(self.given.pop(key))[np.newaxis])
            assert all(np.allclose(state[name], value, atol=1e-6) for name, value in alone.state.items())
            del self.used[key]
        assert not gone

    @rule(key=keys, other=keys, packed=st.booleans())
    def move(self, key: Any, other: Any, packed: bool) -> None:
        self.forget_idle()
        state = self.streams.state_bytes if packed else self.streams.state
        if key in self.given:
            self.streams.load_state(other, state(key))
            self.given[other], self.used[other] = list(self.given[key]), self.clock.now
        else:
            with pytest.raises(InputError, match="expected one that has had a timestep"):
                state(key)

    @rule(how=st.sampled_from([copy.copy, lambda streams: pickle.loads(pickle.dumps(streams))]))
    def leave(self, how: Any) -> None:
        self.streams = how(self.streams)
        self.streams.clock = self.clock

    @invariant()
    def has_the_keys(self) -> None:
        assert set(self.given) == set(self.streams)
        assert len(self.streams) == len(self.given)


TestMachine = Machine.TestCase
TestMachine.settings = settings(settings.default, stateful_step_count=25)


def test_a_step_is_what_a_stream_gives_to_the_bit() -> None:
    """However many rows there are, and wherever they lie."""
    streams, alone = Streams(MODEL), MODEL.stream()
    others = [f"other {n}" for n in range(50)]
    for timestep in X[:10]:
        y = streams.step([*others, "a"], np.concatenate([RNG.normal(size=(50, FEATURES)), timestep[np.newaxis]]).astype(np.float32))
        assert np.array_equal(y[-1:], alone.step(timestep[np.newaxis]))


def test_rows_of_one_key_are_its_timesteps() -> None:
    streams, names = Streams(MODEL), list("abacabaa")
    y = streams.step(names, X[:8])
    for name in "abc":
        rows = [row for row, other in enumerate(names) if other == name]
        one = Streams(MODEL)
        assert np.array_equal(y[rows], np.concatenate([one.step([name], X[row : row + 1]) for row in rows]))


def two_in_two_out() -> ModelSpec:
    """Two sequences, each read by a layer of its own."""
    entries = [LayerSpec("InputLayer", name, {"shape": [None, None, FEATURES], "dtype": "float32"}) for name in ("x", "z")]
    layers = [recurrent("LSTM", 4, FEATURES, name, return_sequences=True) for name in ("one", "two")]
    calls = (Call(0), Call(1), Call(2, (Ref(0),)), Call(3, (Ref(1),)))
    one = chain(*layers)
    return replace(
        one, layers=(*entries, *layers), calls=calls, inputs=(Ref(0), Ref(1)), outputs=(Ref(2), Ref(3)),
        input_names=("x", "z"), output_names=("one", "two"), output_kind="list",
    )  # fmt: skip


def test_several_inputs_and_outputs() -> None:
    """Lists and dicts go in and come out, also where keys repeat."""
    model = Model(two_in_two_out())
    names, x, z = ["a", "b", "a"], X[:3], X[3:6]
    found, again = Streams(model).step(names, {"x": x, "z": z}), Streams(model).step(names, [x, z])
    expected = model.predict([x[[0, 2]][np.newaxis], z[[0, 2]][np.newaxis]])
    for y, same, whole in zip(found, again, expected, strict=True):
        assert np.array_equal(y, same)
        assert golden.difference(y[[0, 2]], whole[0]) <= golden.bound(whole)


def test_an_attending_model_keeps_its_timesteps() -> None:
    model = Model(attending(LAYERS["heads"]))
    streams = Streams(model, max_steps=4)
    for timestep in range(4):
        y = streams.step(["a", "b"], X[2 * timestep : 2 * timestep + 2])
    whole = model.predict(np.stack([X[0:8:2], X[1:8:2]]))[:, -1]
    assert golden.difference(y, whole) <= golden.bound(whole)
    with pytest.raises(InputError, match="max_steps=4"):
        streams.step(["a"], X[:1])
    streams.forget(["a"])
    streams.step(["a"], X[:1])


def test_what_fails_changes_nothing() -> None:
    model = Model(attending(LAYERS["heads"]))
    streams = Streams(model, max_steps=3, limit=3)
    streams.step(["a", "b"], X[:2])
    before = pickle.dumps([streams.state(key) for key in ("a", "b")])
    faults = [
        (["new", "a"], X[:3], "2 rows"), (["new", "a"], X[:2, :1], "features|shape|expected"), (["new", "a", "a"], X[:2], "3 rows"),
        (["a", "new", "a", "a"], X[:4], "max_steps=3"), (["c", "d"], X[:2], "limit=3"),
    ]  # fmt: skip
    for keys, x, message in faults:
        with pytest.raises(InputError, match=message):
            streams.step(keys, x)
        assert set(streams) == {"a", "b"}
        assert pickle.dumps([streams.state(key) for key in ("a", "b")]) == before
    with pytest.raises(InputError, match="each key once, found 'a' twice; step takes several rows of one key"):
        streams.feed(["a", "b", "a"], X[:6].reshape(3, 2, FEATURES))


@follows("forget some (Streams.forget, Streams.evict), or give a larger limit")
def test_room_for_more() -> None:
    clock = Clock()
    streams = Streams(MODEL, limit=2, clock=clock)
    streams.step(["a", "b"], X[:2])
    refusal = r"keys: expected no more than limit=2 at once, found 3; forget some \(Streams.forget, Streams.evict\), or give a larger limit"
    for makes_room in (lambda: streams.forget(["a"]), lambda: streams.evict(5)):
        clock.now += 10
        streams.step(["b"], X[:1])
        with pytest.raises(InputError, match=refusal):
            streams.step(["c"], X[:1])
        makes_room()
        streams.step(["c"], X[:1])
        streams.forget(["c"])
        streams.step(["a"], X[:1])
        clock.now += 10
        streams.step(["b"], X[:1])
        streams.forget([])
    assert len(Streams(MODEL, limit=3).step(["a", "b", "c"], X[:3])) == 3


def test_memory_follows_the_keys() -> None:
    """Rows of keys that are gone are used again, and given back once most of them are."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        streams = Streams(WIDE)
        for start in range(0, 4000, 100):
            streams.step(range(start, start + 100), np.zeros((100, FEATURES), np.float32))
            streams.forget(range(start - 100, start))
        few = tracemalloc.get_traced_memory()[0] - before
        streams.step(range(4000, 8000), np.zeros((4000, FEATURES), np.float32))
        many = tracemalloc.get_traced_memory()[0] - before
        kept = streams.state(7999)
        streams.forget(range(7999))
        left = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert many > 4000 * 4 * UNITS
    assert few < many / 10
    assert left < many / 10
    assert all(np.array_equal(streams.state(7999)[name], value) for name, value in kept.items())


@pytest.mark.parametrize("keys", [np.array(["a", "b"]), np.array([3, 4]), ("a", ("b", 2)), iter(["a", "b"]), {"a": 1, "b": 2}.keys()])
def test_keys_that_are_taken(keys: Any) -> None:
    streams = Streams(MODEL)
    assert streams.step(keys, X[:2]).shape == (2, 2)
    assert all(type(key) in (str, int, tuple) for key in streams)


def test_equal_keys_are_one_whatever_they_came_in() -> None:
    streams = Streams(MODEL)
    streams.step(np.array([7]), X[:1])
    streams.step([7], X[1:2])
    streams.step(np.array([7], np.uint8), X[2:3])
    assert list(streams) == [7]


@pytest.mark.parametrize(("keys", "message"), [
    ("ab", "keys: expected a list of keys, found 'ab'"), (3, "keys: expected a list of keys, found 3"),
    ({"a": 1}, "keys: expected a list of keys"), ([[1], 2], r"keys\[0\]"),
    ([None, "b"], r"keys\[0\]: expected what can be a key of a dict, and equals itself, found None"),
    (["a", float("nan")], r"keys\[1\]: expected .* found nan"), ([["a"], "b"], r"keys\[0\]: expected"), (np.zeros((2, 2)), r"keys\[0\]"),
    ([np.zeros(2), "a"], r"keys\[0\]"), (np.array(3), "keys: expected a list"),
])  # fmt: skip
def test_keys_that_are_none(keys: Any, message: str) -> None:
    streams = Streams(MODEL)
    with pytest.raises(InputError, match=message):
        streams.step(keys, X[:2])
    assert not len(streams)


def test_states_that_do_not_fit() -> None:
    streams = Streams(MODEL)
    streams.step(["a"], X[:1])
    packed = streams.state_bytes("a")
    faults = [
        ({}, "expected the keys gru/h"), (b"", "expected the bytes that Streams.state_bytes gave, found 0 others"),
        (packed[:-1], "others"), (packed[:9] + b"}" + packed[10:], "others"), (Streams, "expected a dict"),
        ({"gru/h": np.zeros((2, 8))}, r"state\['gru/h'\]: expected numbers of shape"), (3, "expected a dict"),
    ]  # fmt: skip
    for state, message in faults:
        with pytest.raises(InputError, match=message):
            streams.load_state("b", state)
        assert list(streams) == ["a"]
    with pytest.raises(InputError, match="key: expected one that has had a timestep, found 'b'"):
        streams.state("b")
    with pytest.raises(InputError, match="key: expected one that has had a timestep, found 'b'"):
        streams.state_bytes("b")


@pytest.mark.parametrize(("options", "message"), [
    ({"limit": 0}, "limit: expected"), ({"limit": True}, "limit"), ({"idle": -1}, "idle: expected a number of seconds, found -1"),
    ({"idle": "1"}, "idle"), ({"idle": float("nan")}, "idle"), ({"threads": 2}, "threads: expected no such argument"),
    ({"max_steps": 0}, "max_steps"),
])  # fmt: skip
def test_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Streams(MODEL, **options)
    with pytest.raises(InputError, match="model: expected a path, a fastlstm.Model or a fastlstm.Pipeline, found 3"):
        Streams(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="idle: expected a number of seconds, as Streams"):
        Streams(MODEL).evict()


def test_a_model_that_cannot_stream(tmp_path: Path) -> None:
    one, other = (h5_files.recurrent("LSTM", 4, FEATURES, RNG) for _ in range(2))
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", [h5_files.bidirectional(one, other.weights)], (None, FEATURES)))
    with pytest.raises(fastlstm.UnsupportedError, match="Bidirectional"):
        Streams(model)


def test_a_path_pickles_as_such(tmp_path: Path) -> None:
    """The model stays in its file; other states are other bytes, no more of them than the states take."""
    layers = [h5_files.recurrent("LSTM", 64, FEATURES, RNG), h5_files.dense(2, 64, RNG)]
    path = h5_files.save(tmp_path / "model.h5", layers, (None, FEATURES))
    streams = Streams(path, limit=5, idle=100, threads=2)
    assert len(pickle.dumps(streams)) < 1000
    streams.step(["a"], X[:1])
    packed = pickle.dumps(streams)
    assert len(packed) < 1000 + 2 * 4 * 64
    again = pickle.loads(packed)
    assert (again.limit, again.idle, again.model.threads) == (5, 100, 2)
    assert np.array_equal(again.step(["a"], X[1:2]), streams.step(["a"], X[1:2]))
    assert again.model is streams.model  # once a process


def test_a_pipeline_gives_its_answers() -> None:
    pipeline = fastlstm.Pipeline(MODEL, labels=["no", "yes"], scaler={"mean": [1.0, 2.0, 3.0], "scale": [2.0, 2.0, 2.0]})
    labels, probabilities = Streams(pipeline).step(["a", "b", "a"], X[:3])
    stream = pipeline.stream()
    stream.step(X[:1])
    expected = stream.step(X[2:3])
    assert labels[2] == expected.labels[0]
    assert np.array_equal(probabilities[2], expected.probabilities[0])
    assert labels.shape == (3,)


def test_threads_take_turns() -> None:
    """Each has keys of its own, and gets their numbers."""
    streams, found, expected = Streams(MODEL), {}, {}
    x = RNG.normal(size=(8, 40, FEATURES)).astype(np.float32)

    def work(n: int) -> None:
        for timestep in x[n]:
            found[n] = streams.step([n], timestep[np.newaxis])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = MODEL.predict(x)
    for n in range(8):
        assert golden.difference(found[n][0], expected[n]) <= golden.bound(expected[n])


def test_the_example_runs() -> None:
    told: list[str] = []
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(Streams, globs={"np": np, "fastlstm": fastlstm}):
        runner.run(test, out=told.append)
    assert tuple(runner.summarize(verbose=False)[:2]) == (0, 11), "".join(told)


def test_it_says_what_it_is() -> None:
    streams = Streams(MODEL)
    streams.step(["a"], X[:1])
    assert repr(streams).startswith("<fastlstm.batch.Streams of ") and repr(streams).endswith(", 1 keys>")
    assert "a" in streams and "b" not in streams


@pytest.mark.parametrize("keys", [["a", "b"], ["a", "b", "a"]], ids=["each once", "one twice"])
def test_fewer_rows_than_keys(keys: list[str]) -> None:
    """Told in terms of keys: nobody has given a batch_size."""
    streams = Streams(fastlstm.demo.MODEL)
    with pytest.raises(fastlstm.InputError, match=f"x_t: expected {len(keys)} rows, one for each of keys, found 1$"):
        streams.step(keys, [[0.5]])
    assert len(streams) == 0
