"""Where a Stream's results go, and copies of Streams and of Models: nobody writes over another's numbers."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import h5_files
import numpy as np
import pytest

import fastlstm

# -- out= --------------------------------------------------------------------------------------------------------------------


def square(folder: Path, kind: str) -> fastlstm.Model:
    """A model whose output is as large as its input."""
    rng = np.random.default_rng(0)
    layers = {
        "Dense": [h5_files.dense(40, 40, rng)], "LSTM": [h5_files.recurrent("LSTM", 40, 40, rng)],
        "stack": [h5_files.recurrent("GRU", 17, 40, rng, return_sequences=True), h5_files.dense(40, 17, rng, "softmax")],
        "NumPy": [h5_files.recurrent("LSTM", 40, 40, rng, activation="softmax", return_sequences=True)], "nothing": [h5_files.dropout()],
    }[kind]  # fmt: skip
    return fastlstm.load(h5_files.save(folder / "model.h5", layers, (None, 40)))


@pytest.mark.parametrize("kind", ["Dense", "LSTM", "stack", "NumPy", "nothing"])
@pytest.mark.parametrize("place", ["same", "a row on", "a row back", "an element on", "backwards", "every second column", "next to it"])
@pytest.mark.parametrize("rows", [None, [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1]])
def test_out_over_the_input(tmp_path: Path, kind: str, place: str, rows: list[int] | None) -> None:
    """Where the result goes over what it is computed from, it is the same all the same, step after step."""
    model = square(tmp_path, kind)
    x = np.random.default_rng(1).normal(size=(13, 40)).astype(np.float32)
    apart, over = model.stream(13), model.stream(13)
    for _ in range(3):
        memory = np.zeros(40 * 45, np.float32)
        wide = memory.reshape(-1, 40)
        source, target = {
            "same": (wide[:13], wide[:13]), "a row on": (wide[:13], wide[1:14]), "a row back": (wide[1:14], wide[:13]),
            "an element on": (wide[:13], memory[1:521].reshape(13, 40)), "backwards": (wide[:13], wide[12::-1]),
            "every second column": (wide[:26].reshape(13, 80)[:, ::2], wide[:26].reshape(13, 80)[:, 1::2]),
            "next to it": (wide[:13], wide[13:26]),
        }[place]  # fmt: skip
        source[...] = x
        expected = apart.step(x, rows=rows)
        assert over.step(source, rows=rows, out=target) is target
        np.testing.assert_array_equal(target, expected)
        x = expected
    for name, array in apart.state.items():
        np.testing.assert_array_equal(over.state[name], array)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_out_over_ids(tmp_path: Path, dtype: type) -> None:
    rng = np.random.default_rng(0)
    layers = [h5_files.embedding(20, 4, rng), h5_files.recurrent("LSTM", 1, 4, rng)]
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", layers, (None,)))
    ids = np.arange(8).astype(dtype)
    expected = model.stream(8).step(ids)
    for first in (0, 4, 8 * ids.itemsize - 32):
        memory = np.zeros(96, np.uint8)
        given, out = memory[: ids.nbytes].view(dtype), memory[first : first + 32].view(np.float32).reshape(8, 1)
        given[:] = ids
        np.testing.assert_array_equal(model.stream(8).step(given, out=out), expected)


def test_out_that_does_not_fit(tmp_path: Path) -> None:
    model = square(tmp_path, "LSTM")
    stream, x = model.stream(3), np.ones((3, 40), np.float32)
    locked = np.zeros((3, 40), np.float32)
    locked.flags.writeable = False
    strided = np.lib.stride_tricks.as_strided
    memory = np.zeros(4000, np.float32)
    for out in (
        np.zeros((3, 40)), np.zeros((3, 40), ">f4"), np.zeros((3, 40), np.int32), np.zeros((3, 40), object), locked,
        np.zeros((4, 40), np.float32), np.zeros((3, 40, 1), np.float32), [0.0], "out", 5, object(), np.float32(1.0),
        strided(memory, (3, 40), (0, 4)), strided(memory, (3, 40), (4, 4)), strided(memory, (3, 40), (4000, 0)),
    ):  # fmt: skip
        for rows in (None, [0, 1, 2]):
            with pytest.raises(fastlstm.InputError, match="out: expected .*, found "):
                stream.step(x, rows=rows, out=out)
    assert not any(array.any() for array in stream.state.values())
    for out in (np.zeros((6, 80), np.float32)[::2, 1::2], np.zeros((40, 3), np.float32).T, np.zeros((3, 40), np.float32)[::-1, ::-1],
                strided(memory, (3, 40), (160, 4)), np.zeros((3, 40), np.float32).view(type("Sub", (np.ndarray,), {}))):  # fmt: skip
        assert model.stream(3).step(x, out=out) is out
        np.testing.assert_array_equal(out, model.stream(3).step(x))


def test_results_are_the_callers(tmp_path: Path) -> None:
    """Nothing that comes back is the input, or a state, that a later write would change."""
    for kind in ("NumPy", "nothing", "LSTM"):
        model = square(tmp_path, kind)
        x = np.ones((2, 1, 40), np.float32)
        stream = model.stream(2)
        for y in (model.predict(x), stream.feed(x), stream.step(x[:, 0]), *stream.state.values()):
            y[...] = np.nan
            assert (x == 1).all() and not any(np.isnan(array).any() for array in stream.state.values())
        model = fastlstm.load(tmp_path / "model.h5", precision="float64")
        wide = np.ones((2, 1, 40))
        model.predict(wide)[...] = np.nan
        assert (wide == 1).all()


# -- copies ------------------------------------------------------------------------------------------------------------------

COPIES = {
    "copy()": lambda thing: thing.copy(), "copy.copy": copy.copy, "copy.deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)), "pickle 2": lambda thing: pickle.loads(pickle.dumps(thing, 2)),
    "among others": lambda thing: copy.deepcopy({"a": [thing, thing]})["a"][1],
}  # fmt: skip


class Counting(fastlstm.Stream):
    """A stream of a user's own: another way of making it, and something of its own."""

    def __init__(self, model: fastlstm.Model, start: int, notes: list[int]):
        super().__init__(model, 2)
        self.count, self.notes = start, notes

    def step(self, x_t: np.ndarray, **options: object) -> np.ndarray:
        self.count += 1
        return super().step(x_t, **options)


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_copies_go_on_alone(tmp_path: Path, way: str, precision: str) -> None:
    rng = np.random.default_rng(0)
    layers = [
        h5_files.convolution(4, 3, 3, rng),
        h5_files.recurrent("LSTM", 5, 4, rng, return_sequences=True),
        h5_files.recurrent("GRU", 2, 5, rng),
    ]
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", layers, (None, 3)), precision=precision)
    x = rng.normal(size=(6, 2, 3)).astype(precision)
    stream, alone = model.stream(2), model.stream(2)
    for x_t in x[:3]:
        stream.step(x_t), alone.step(x_t)
    other = COPIES[way](stream)
    assert type(other) is fastlstm.Stream and other is not stream and other.batch_size == 2
    assert (other.model is model) == (way in ("copy()", "copy.copy"))
    for x_t in x[3:]:
        expected = alone.step(x_t)
        other.step(-x_t)
        assert stream.step(x_t).tobytes() == expected.tobytes()
    again = COPIES[way](stream)
    stream.reset()
    assert all(array.any() for array in again.state.values())
    assert again.step(x[0]).tobytes() == alone.step(x[0]).tobytes()


@pytest.mark.parametrize("way", COPIES)
def test_copies_of_a_subclass(tmp_path: Path, way: str) -> None:
    stream = Counting(square(tmp_path, "LSTM"), 5, [1])
    stream.step(np.ones((2, 40), np.float32))
    other = COPIES[way](stream)
    assert (type(other), other.count, other.notes) == (Counting, 6, [1])
    assert (other.notes is stream.notes) == (way in ("copy()", "copy.copy"))
    other.step(np.ones((2, 40), np.float32))
    assert (stream.count, other.count) == (6, 7)


def test_a_stream_in_use_is_not_copied(tmp_path: Path) -> None:
    """Its state is half of one timestep, half of the next."""
    tries: list[Callable[[], object]] = []
    found: list[str] = []

    def spy(x: np.ndarray) -> np.ndarray:
        for attempt in tries:
            with pytest.raises(fastlstm.InputError) as caught:
                attempt()
            found.append(str(caught.value))
        return x

    rng = np.random.default_rng(0)
    layers = [h5_files.recurrent("LSTM", 4, 3, rng, activation="spy")]
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", layers, (None, 3)), custom_activations={"spy": spy})
    stream = model.stream()
    tries[:] = [stream.copy, lambda: copy.copy(stream), lambda: pickle.dumps(stream), lambda: stream.state, stream.reset]
    stream.step(np.zeros((1, 3)))
    assert len(found) >= len(tries) and all("in use by this very thread" in message for message in found)


class Named(fastlstm.Model):
    """A model of a user's own."""

    def __init__(self, name: str, model: fastlstm.Model):
        super().__init__(model.spec, source=name)
        self.label = name


@pytest.mark.parametrize("way", [name for name in COPIES if name != "copy()"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_copies_of_stateful_models(tmp_path: Path, way: str, precision: str) -> None:
    rng = np.random.default_rng(0)
    layers = [h5_files.recurrent("LSTM", 5, 3, rng, stateful=True), h5_files.dense(2, 5, rng)]
    path = h5_files.save(tmp_path / "model.h5", layers, (4, 3), batch=2)
    model, alone = fastlstm.load(path, precision=precision), fastlstm.load(path, precision=precision)
    x = rng.normal(size=(3, 2, 4, 3)).astype(precision)
    model.predict(x[0]), alone.predict(x[0])
    other = COPIES[way](model)
    assert type(other) is fastlstm.Model and other is not model
    other.predict(x[2])
    assert model.predict(x[1]).tobytes() == alone.predict(x[1]).tobytes()
    other = COPIES[way](model)
    model.reset_states()
    assert other.predict(x[2]).tobytes() == alone.predict(x[2]).tobytes()
    named = Named("mine", model)
    named.predict(x[0])
    other = COPIES[way](named)
    assert (type(other), other.label, other.source) == (Named, "mine", "mine")
    assert other.predict(x[1]).tobytes() == named.predict(x[1]).tobytes()
