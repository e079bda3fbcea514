"""Arguments passed by mistake, or to break it: right numbers or an error of fastlstm, soon, and never a raw exception."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import fractions
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import h5_files
import keras_configs
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import fastlstm

FEATURES = 3
#: The longest that a refusal may take on a busy machine.
SOON = 5.0


class Explodes:
    """Its ``__array__`` raises."""

    def __init__(self, error: Exception):
        self.error = error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise self.error


class Untold(Exception):  # noqa: N818
    """An error without words."""

    def __str__(self) -> str:
        raise KeyError("no words")


class Gives:
    """Its ``__array__`` gives something that is no array."""

    def __init__(self, value: Any):
        self.value = value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self if self.value is Gives else self.value


class Recurses:
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(Recurses())


class Endless:
    """A sequence of itself, twice."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> Endless:
        return self


class Unending:
    """A sequence that gives numbers beyond the length that it says it has."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> Any:
        return np.ones((4, FEATURES), np.float32)


class Lies:
    """A sequence that is not as long as it says, and has no shape."""

    @property
    def ndim(self) -> int:
        raise RuntimeError("no shape")

    def __len__(self) -> int:
        return -3

    def __getitem__(self, place: int) -> float:
        raise ZeroDivisionError


class Mute:
    """Cannot be printed, compared or asked."""

    def __repr__(self) -> str:
        raise KeyError("no words")

    def __bool__(self) -> bool:
        raise RuntimeError("neither")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    __hash__ = object.__hash__


class Map(collections.abc.Mapping):
    """A mapping without anything in it that can be had."""

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Any]:
        return iter([[]])

    def __getitem__(self, key: Any) -> Any:
        raise ZeroDivisionError


def looped(count: int, kind: Callable[[], Any] = list) -> Any:
    """So many of itself."""
    found = kind()
    for _ in range(count):
        found.append(found)
    return found


def nested(depth: int, width: int = 1, inner: Any = 0.0) -> Any:
    """Lists in lists, each holding the next so many times."""
    for _ in range(depth):
        inner = [inner] * width
    return inner


def released() -> memoryview:
    view = memoryview(b"123")
    view.release()
    return view


def matrix(values: np.ndarray) -> np.ndarray:
    """Classes that NumPy would rather nobody used."""
    return values.view(np.matrix)


def columns() -> np.ndarray:
    return np.zeros((2, 4, FEATURES), [("a", "f4"), ("b", "i4")])


LEAVES: dict[str, Callable[[], Any]] = {
    "None": lambda: None, "text": lambda: "text", "digits": lambda: "12", "bytes": lambda: b"bytes",
    "bytearray": lambda: bytearray(b"12"), "True": lambda: True, "zero": lambda: 0, "one": lambda: 1, "negative": lambda: -1,
    "half": lambda: 0.5, "NaN": lambda: float("nan"), "inf": lambda: float("-inf"), "complex": lambda: 1j, "2**31": lambda: 2**31,
    "2**62": lambda: 2**62, "2**70": lambda: 2**70, "-2**70": lambda: -(2**70), "10**5000": lambda: 10**5000,
    "-10**5000": lambda: -(10**5000), "decimal": lambda: decimal.Decimal("1.5"), "fraction": lambda: fractions.Fraction(1, 3),
    "date": lambda: datetime.date(2020, 1, 1), "Ellipsis": lambda: Ellipsis, "slice": lambda: slice(2), "type": lambda: int,
    "array type": lambda: np.ndarray, "module": lambda: np, "lambda": lambda: (lambda: 1), "object": object, "set": lambda: {1, 2},
    "range": lambda: range(3), "generator": lambda: (n for n in range(3)), "iter": lambda: iter([1]),
    "deque": lambda: collections.deque([1, 2]), "array.array": lambda: array.array("f", [1, 2, 3]), "lock": threading.Lock,
    "namespace": lambda: types.SimpleNamespace(shape=(2, 4, 3), ndim=3, dtype=np.float32),
    "fake ndim": lambda: types.SimpleNamespace(ndim="x"), "memoryview": lambda: memoryview(np.zeros((2, 4, 3), np.float32)),
    "released": released, "loop": lambda: looped(1), "loop of two": lambda: looped(2), "loop of many": lambda: looped(500),
    "loop of deques": lambda: looped(2, collections.deque), "[[loop]]": lambda: [[looped(2)]], "[0, loop]": lambda: [0, looped(2)],
    "[[], loop]": lambda: [[], looped(2)], "deep": lambda: nested(70), "deeper": lambda: nested(3000), "wide": lambda: nested(40, 2),
    "wide loops": lambda: nested(3, 2, looped(2)), "empty": list, "empty tuple": tuple, "empties": lambda: [[], []], "empty dict": dict,
    "{5: 1}": lambda: {5: 1}, "{None: 1, 'a': 2}": lambda: {None: 1, "a": 2}, "{Mute: 1}": lambda: {Mute(): 1}, "map": Map, "mute": Mute,
    "lies": Lies, "endless": Endless, "[endless]": lambda: [Endless()],
    "[array, endless]": lambda: [np.ones((2, 4)), Endless()], "[array, loop]": lambda: [np.ones((2, 4)), looped(2)],
    "unending": Unending, "KeyError": lambda: Explodes(KeyError("boo")),
    "untold": lambda: Explodes(Untold()), "RuntimeError": lambda: Explodes(RuntimeError("call detach()")),
    "MemoryError": lambda: Explodes(MemoryError()), "StopIteration": lambda: Explodes(StopIteration()),
    "OSError": lambda: Explodes(OSError(5, "io")), "recurses": Recurses, "list that recurses": lambda: [Recurses(), Recurses()],
    "gives itself": lambda: Gives(Gives), "gives text": lambda: Gives("text"), "gives a list": lambda: Gives([1.0]),
    "gives objects": lambda: Gives(np.array([None])), "gives a scalar": lambda: Gives(np.float32(1)),
    "gives a matrix": lambda: Gives(matrix(np.ones((1, 1)))), "interface": lambda: types.SimpleNamespace(__array_interface__="x"),
    "struct": lambda: types.SimpleNamespace(__array_struct__=5), "0-d": lambda: np.array(1.0), "0-d int": lambda: np.array(2),
    "objects": lambda: np.full((2, 4, 3), None), "texts": lambda: np.full((2, 4, 3), "1"), "voids": lambda: np.zeros((2, 4, 3), "V4"),
    "complex64": lambda: np.zeros((2, 4, 3), np.complex64), "dates": lambda: np.zeros((2, 4, 3), "M8[s]"),
    "spans": lambda: np.zeros(2, "m8[s]"), "structured": columns, "records": lambda: columns().view(np.recarray),
    "matrix": lambda: matrix(np.ones((2, 3))), "no steps": lambda: np.zeros((2, 0, 3)), "no features": lambda: np.zeros((2, 4, 0)),
    "no rows": lambda: np.zeros((0, 4, 3)), "good": lambda: np.ones((2, 4, 3), np.float32), "good step": lambda: np.ones((2, 3)),
    "good state": lambda: np.ones((2, 4)), "masked": lambda: np.ma.array(np.ones((2, 4, 3)), mask=True),
    "huge": lambda: np.broadcast_to(np.float32(0), (2**46, 4, 3)), "huge step": lambda: np.broadcast_to(0.0, (2**46, 3)),
    "endless rows": lambda: np.broadcast_to(np.int64(0), (2**46,)),
    "float128": lambda: np.full((2, 4, 3), 1e4000 if np.finfo(np.longdouble).max > 1e308 else 1, np.longdouble),
    "ragged": lambda: [np.ones((2, 3)), np.ones((4, 3))], "ragged lists": lambda: [[[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]],
    "ragged features": lambda: [[[1, 2, 3], [1, 2]]],
    "huge ragged": lambda: [np.ones((1, 3)), np.broadcast_to(np.float32(0), (2**46, 3))],
}  # fmt: skip


class Leaf(NamedTuple):
    """One of LEAVES. Unlike what it stands for, some of which has no end, it can be printed when a test fails."""

    name: str


def made(recipe: Any) -> Any:
    """Lists, tuples and dicts of Leafs with what these stand for."""
    if isinstance(recipe, Leaf):
        return LEAVES[recipe.name]()
    if isinstance(recipe, dict):
        return {key: made(value) for key, value in recipe.items()}
    return type(recipe)(map(made, recipe))


leaves = st.sampled_from(sorted(LEAVES)).map(Leaf)
keys = st.sampled_from(["lstm_1_input", "lstm_1/h", "lstm_1/c", "", "nonsense", 5, None, (1, 2), b"lstm_1/h", 0.5])
junk = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@pytest.fixture(scope="module", params=["float32", "float64", "ids", "two"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> fastlstm.Model:
    """Of each kind that reads its input in another way."""
    path, rng = tmp_path_factory.mktemp("model") / "model.h5", np.random.default_rng(0)
    lstm, dense = h5_files.recurrent("LSTM", 4, FEATURES, rng), h5_files.dense(2, 4, rng)
    if request.param == "ids":
        return fastlstm.load(h5_files.save(path, [h5_files.embedding(20, FEATURES, rng, mask_zero=True), lstm, dense], (None,)))
    if request.param == "two":
        other = h5_files.recurrent("GRU", 4, FEATURES, rng)
        layers = [
            keras_configs.entrance("a", None, FEATURES), keras_configs.entrance("b", None, FEATURES),
            keras_configs.layer("LSTM", "lstm", [[["a", 0, 0, {}]]], **lstm.entry["config"]),
            keras_configs.layer("GRU", "gru", [[["b", 0, 0, {}]]], **other.entry["config"]),
            keras_configs.layer("Add", "add", [[["lstm", 0, 0, {}], ["gru", 0, 0, {}]]]),
        ]  # fmt: skip
        config = keras_configs.functional(layers, [["a", 0, 0], ["b", 0, 0]], [["add", 0, 0]])
        return fastlstm.load(keras_configs.write_h5(path, config, {"lstm": lstm.weights, "gru": other.weights}))
    return fastlstm.load(h5_files.save(path, [lstm, dense], (None, FEATURES)), precision=request.param)


def answered(call: Callable[[], Any]) -> Any:
    """The result of a call; None where fastlstm refuses it in words. Anything else that it raises fails the test, and so does waiting."""
    start = time.perf_counter()
    try:
        found = call()
    except fastlstm.InputError as error:
        assert "expected" in str(error) and "found" in str(error)
        found = None
    assert time.perf_counter() - start < SOON
    return found


def calls(model: fastlstm.Model, x: Any) -> Iterator[Callable[[], Any]]:
    """Everything that takes an argument of a caller's, with ``x`` for each in turn."""
    good, step = np.ones((2, 4, FEATURES), np.float32), np.ones((2, FEATURES), np.float32)
    if len(model.inputs) == 2:
        good, step = [good, good], [step, step]  # type: ignore[assignment]
    if model.inputs[0].dtype == "int32":
        good, step = np.ones((2, 4), np.int32), np.ones(2, np.int32)
    stream = model.stream(2)
    state = stream.state
    yield lambda: model.predict(x)
    yield lambda: model(x)
    yield lambda: model.predict(good, batch_size=x)
    yield lambda: model.predict(good, verbose=x)
    yield lambda: model.stream(x)
    yield lambda: stream.step(x)
    yield lambda: stream.step(step, rows=x)
    yield lambda: stream.step(x, rows=[1])
    yield lambda: stream.step(step, out=x)
    yield lambda: stream.feed(x)
    yield lambda: stream.feed(good, rows=x)
    yield lambda: stream.reset(x)
    yield lambda: stream.reset(rows=x)
    yield lambda: stream.load_state(x)
    for key in state:
        yield lambda key=key: stream.load_state({**state, key: x})  # type: ignore[misc]
        yield lambda key=key: stream.load_state({**state, 5: x})  # type: ignore[misc]
    if len(model.inputs) == 2:
        yield lambda: model.predict([good[0], x])
        yield lambda: stream.step({"a": step[0], "b": x})


@pytest.mark.parametrize("name", LEAVES)
def test_every_oddity_everywhere(model: fastlstm.Model, name: str) -> None:
    for call in calls(model, LEAVES[name]()):
        answered(call)


def test_sequences_end_where_they_say(model: fastlstm.Model) -> None:
    """NumPy would ask for one item after another until an IndexError, which never comes."""
    if len(model.inputs) == 1 and model.inputs[0].dtype != "int32":
        np.testing.assert_array_equal(model.predict(Unending()), model.predict(np.ones((2, 4, FEATURES), np.float32)))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(junk)
def test_junk_everywhere(model: fastlstm.Model, recipe: Any) -> None:
    for call in calls(model, made(recipe)):
        answered(call)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.recursive(st.floats(-2, 2, width=32) | st.integers(-3, 3), lambda inner: st.lists(inner, max_size=4), max_leaves=40))
@example([[[[0.0]]]])
def test_numbers_in_lists(single: fastlstm.Model, x: Any) -> None:
    """Lists of numbers of any form: what makes an array, or a list of sequences, gives its numbers, and nothing else gives any."""
    found = answered(lambda: single.predict(x))
    try:
        plain = np.asarray(x, np.float32)
    except ValueError:
        rows = [np.asarray(row, np.float32) for row in x] if found is not None else []
    else:
        rows = list(plain) if plain.ndim == 3 else []
    fits = all(row.ndim == 2 and len(row) and row.shape[1] == 1 for row in rows) and len(rows) > 0
    assert (found is not None) == fits
    if fits:
        np.testing.assert_array_equal(found, np.concatenate([single.predict(row[np.newaxis]) for row in rows]))


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> fastlstm.Model:
    """LSTM on (any, 1)."""
    rng = np.random.default_rng(0)
    stack = [h5_files.recurrent("LSTM", 4, 1, rng), h5_files.dense(1, 4, rng)]
    return fastlstm.load(h5_files.save(tmp_path_factory.mktemp("single") / "model.h5", stack, (None, 1)))
