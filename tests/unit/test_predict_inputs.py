"""Inputs of ``predict``, as Keras users pass them, and the messages about those that it cannot take."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5_files
import numpy as np
import pytest
from kernel_models import chain, graph, simple

import fastlstm
from fastlstm.spec import Ref

TIMESTEPS, FEATURES = 5, 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> fastlstm.Model:
    """LSTM on (any, 3)."""
    rng = np.random.default_rng(0)
    stack = [h5_files.recurrent("LSTM", 6, FEATURES, rng), h5_files.dense(2, 6, rng)]
    return fastlstm.load(h5_files.save(tmp_path_factory.mktemp("model") / "model.h5", stack, (None, FEATURES)))


@pytest.fixture(scope="module")
def fixed(tmp_path_factory: pytest.TempPathFactory) -> fastlstm.Model:
    """LSTM on (5, 3) and nothing else."""
    rng = np.random.default_rng(0)
    stack = [h5_files.recurrent("LSTM", 6, FEATURES, rng, return_sequences=True), h5_files.recurrent("GRU", 2, 6, rng)]
    return fastlstm.load(h5_files.save(tmp_path_factory.mktemp("fixed") / "model.h5", stack, (TIMESTEPS, FEATURES)))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> fastlstm.Model:
    """Embedding of 20 ids, masked 0, before an LSTM."""
    rng = np.random.default_rng(0)
    stack = [h5_files.embedding(20, 4, rng, True), h5_files.recurrent("LSTM", 6, 4, rng), h5_files.dense(1, 6, rng)]
    return fastlstm.load(h5_files.save(tmp_path_factory.mktemp("words") / "model.h5", stack, (None,)))


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, TIMESTEPS, FEATURES)).astype(np.float32)


class Wrapped:
    """Anything with ``__array__``, as data frames and tensors have it."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.array if dtype is None else self.array.astype(dtype)


WAYS = {
    "nested lists": lambda x: x.tolist(),
    "nested tuples": lambda x: tuple(tuple(tuple(step) for step in row) for row in x.tolist()),
    "float64": lambda x: x.astype(np.float64),
    "longdouble": lambda x: x.astype(np.longdouble),
    "big-endian": lambda x: x.astype(">f4"),
    "big-endian float64": lambda x: x.astype(">f8"),
    "Fortran order": np.asfortranarray,
    "every second of a larger array": lambda x: np.repeat(np.repeat(x, 2, axis=0), 2, axis=2)[::2, :, ::2],
    "reversed twice": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "transposed": lambda x: np.ascontiguousarray(x.transpose(2, 1, 0)).transpose(2, 1, 0),
    "read-only": lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    "misaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
    "memmap-like subclass": lambda x: x.view(type("Sub", (np.ndarray,), {})),
    "__array__": Wrapped,
    "list with the one input": lambda x: [x],
    "tuple with the one input": lambda x: (x,),
    "list of rows": list,
}


@pytest.mark.parametrize("way", WAYS)
def test_takes(model: fastlstm.Model, x: np.ndarray, way: str) -> None:
    y = model.predict(WAYS[way](x))
    assert isinstance(y, np.ndarray) and y.dtype == np.float32 and y.flags.c_contiguous
    assert y.tobytes() == model.predict(x).tobytes()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64, np.bool_, np.float16])
def test_casts(model: fastlstm.Model, dtype: type) -> None:
    x = np.random.default_rng(2).integers(0, 2, (4, TIMESTEPS, FEATURES)).astype(dtype)
    assert model.predict(x).tobytes() == model.predict(x.astype(np.float32)).tobytes()


def test_by_name(model: fastlstm.Model, x: np.ndarray) -> None:
    assert model.predict({model.inputs[0].name: x}).tobytes() == model.predict(x).tobytes()


def test_call_and_predict_on_batch(model: fastlstm.Model, x: np.ndarray) -> None:
    y = model.predict(x)
    assert model(x).tobytes() == model.predict_on_batch(x).tobytes() == y.tobytes()
    assert model.predict(x, batch_size=3).tobytes() == y.tobytes()
    assert model.predict(x, 1, 0).tobytes() == y.tobytes()


def test_verbose_keeps_stdout_clean(model: fastlstm.Model, x: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    model.predict(x, verbose=1)
    assert capsys.readouterr().out == ""


def test_no_rows(model: fastlstm.Model, words: fastlstm.Model) -> None:
    assert model.predict(np.zeros((0, TIMESTEPS, FEATURES), np.float32)).shape == (0, 2)
    assert words.predict(np.zeros((0, 7), np.int32)).shape == (0, 1)


def test_one_step_and_one_row(model: fastlstm.Model, x: np.ndarray) -> None:
    assert model.predict(x[:, :1]).shape == (4, 2)
    assert model.predict(x[:1]).tobytes() == model.predict(x)[:1].tobytes()


def test_lengths_may_change_from_call_to_call(model: fastlstm.Model) -> None:
    expected: dict[int, bytes] = {}
    for timesteps in (1, 2, 50, 3, 1, 50, 2):
        x = np.full((2, timesteps, FEATURES), timesteps / 50, np.float32)
        y = model.predict(x)
        assert expected.setdefault(timesteps, y.tobytes()) == y.tobytes()


def test_ragged(model: fastlstm.Model, x: np.ndarray) -> None:
    series = [x[0], x[1, :2], x[2, :1], x[3, :4].astype(np.float64)]
    y = model.predict(series)
    assert y.shape == (4, 2)
    for row, alone in zip(y, series):
        assert row.tobytes() == model.predict(alone[np.newaxis])[0].tobytes()
    nested = [values.tolist() for values in series]
    assert model.predict(nested).tobytes() == y.tobytes()


def test_ragged_of_one(model: fastlstm.Model, x: np.ndarray) -> None:
    """The same bits as in an array, the first time and after calls of the same and of another length."""
    for length in (TIMESTEPS, TIMESTEPS, 2, TIMESTEPS):
        expected = model.predict(x[:1, :length]).tobytes()
        for _ in range(3):
            assert model.predict([x[0, :length]]).tobytes() == expected
            assert model.predict([x[0, :length].astype(np.float64)]).tobytes() == expected
            assert model.predict([x[0, :length].tolist()]).tobytes() == expected
    with pytest.raises(fastlstm.InputError, match=r"expected a list of sequences of shape \(any, 3\), found \(5, 2\) for sequence 0"):
        model.predict([x[0, :, :2]])


def test_ragged_of_one_length(model: fastlstm.Model, x: np.ndarray) -> None:
    assert model.predict(list(x)).tobytes() == model.predict(x).tobytes()


def test_ragged_ids(words: fastlstm.Model) -> None:
    """Of one text and of several, with masked ids at either end and in between."""
    texts = [np.array([0, 3, 4, 0, 0], np.int32), np.array([7, 0, 0, 5, 1], np.int32), np.array([2, 0, 6], np.int32)]
    for chosen in ([0], [0], [1], [0, 1], [0, 2], [2], [2]):
        expected = np.concatenate([words.predict(texts[n][np.newaxis]) for n in chosen])
        assert words.predict([texts[n] for n in chosen]).tobytes() == expected.tobytes()


def test_steps_of_a_list_come_as_a_list(x: np.ndarray, tmp_path: Path) -> None:
    """However long its sequences are, and whatever was computed before."""
    rng = np.random.default_rng(0)
    layers = [h5_files.recurrent("LSTM", 6, FEATURES, rng, return_sequences=True)]
    found = fastlstm.load(h5_files.save(tmp_path / "model.h5", layers, (None, FEATURES)))
    for given in ([x[0]], [x[0]], [x[1]], [x[0], x[1]], [x[0], x[1, :2]], [x[1, :2]], [x[1, :2]]):
        y = found.predict(given)
        assert isinstance(y, list)
        for row, sequence in zip(y, given, strict=True):
            assert row.tobytes() == found.predict(sequence[np.newaxis])[0].tobytes()
            assert row.shape == (len(sequence), 6)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint8, np.float32, np.float64, ">i4"])
def test_ids(words: fastlstm.Model, dtype: Any) -> None:
    ids = np.array([[3, 19, 0, 0], [0, 1, 2, 3]])
    assert words.predict(ids.astype(dtype)).tobytes() == words.predict(ids.tolist()).tobytes()


def test_nan_and_infinity_are_data(model: fastlstm.Model, x: np.ndarray) -> None:
    x[0, 1, 2] = np.nan
    x[1] = np.inf
    y = model.predict(x)
    assert np.isnan(y[0]).all() and np.isfinite(y[2:]).all()


def refusal(model: fastlstm.Model, x: Any) -> str:
    """The message with which x is refused."""
    with pytest.raises(fastlstm.InputError) as caught:
        model.predict(x)
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, fastlstm.FastLSTMError)
    message = str(caught.value)
    assert re.search(r"expected .+ found ", message), f"says not what was expected and what was found: {message}"
    assert message.startswith(("input ", "x:")), f"does not name the argument: {message}"
    return message


@pytest.mark.parametrize(
    "shape", [(4, TIMESTEPS), (4,), (), (4, TIMESTEPS, FEATURES, 1), (4, TIMESTEPS, FEATURES + 1), (4, TIMESTEPS, 1), (4, TIMESTEPS, 0)]
)
def test_wrong_shape(model: fastlstm.Model, shape: tuple[int, ...]) -> None:
    message = refusal(model, np.zeros(shape, np.float32))
    assert f"{FEATURES})" in message, message
    assert str(shape) in message, message


def test_wrong_length(fixed: fastlstm.Model) -> None:
    message = refusal(fixed, np.zeros((2, TIMESTEPS + 1, FEATURES), np.float32))
    assert f"{TIMESTEPS}, {FEATURES}" in message and f"(2, {TIMESTEPS + 1}, {FEATURES})" in message


def test_a_single_example_gets_advice(fixed: fastlstm.Model) -> None:
    assert "newaxis" in refusal(fixed, np.zeros((TIMESTEPS, FEATURES), np.float32))


@pytest.mark.parametrize(
    "x",
    [
        "text", ["a", "b"], np.array([["a"]]), None, [[None]], object(), np.zeros((1, TIMESTEPS, FEATURES), np.complex64),
        np.zeros((1, TIMESTEPS, FEATURES), "datetime64[s]"), np.full((1, TIMESTEPS, FEATURES), "1"), b"bytes", {1, 2},
        np.full((1, TIMESTEPS, FEATURES), None), [[[1, 2, 3], [1, 2]]], [[[1, 2, "3"]]], lambda: 1,
    ],
    ids=lambda x: type(x).__name__,
)  # fmt: skip
def test_not_numbers(model: fastlstm.Model, x: Any) -> None:
    refusal(model, x)


@pytest.mark.parametrize("name", ["nonsense", ""])
def test_wrong_name(model: fastlstm.Model, x: np.ndarray, name: str) -> None:
    message = refusal(model, {name: x})
    assert model.inputs[0].name in message


def test_wrong_number_of_inputs(model: fastlstm.Model, x: np.ndarray) -> None:
    refusal(model, {})
    refusal(model, [x, x])


@pytest.mark.parametrize("bad", [20, -1, 2**31, 2**40, -(2**33)])
def test_ids_outside_the_vocabulary(words: fastlstm.Model, bad: int) -> None:
    message = refusal(words, np.array([[1, 2, bad]]))
    assert str(bad) in message and "19" in message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 20.0, 1e30])
def test_float_ids_outside_the_vocabulary(words: fastlstm.Model, bad: float) -> None:
    refusal(words, np.array([[1.0, 2.0, bad]]))


def test_ragged_with_a_wrong_row(model: fastlstm.Model, x: np.ndarray) -> None:
    message = refusal(model, [x[0], x[1, :, :2]])
    assert "sequence 1" in message
    refusal(model, [x[0], x[1, 0]])


def test_empty_ragged_row(model: fastlstm.Model, x: np.ndarray) -> None:
    """No step at all: Keras computes nothing for it, so it is refused."""
    refusal(model, [x[0], x[1, :0]])


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "32", True])
def test_batch_size(model: fastlstm.Model, x: np.ndarray, batch_size: Any) -> None:
    with pytest.raises(fastlstm.InputError, match=r"batch_size: expected .* found"):
        model.predict(x, batch_size=batch_size)


@pytest.mark.parametrize(
    ("name", "value"),
    [*(("threads", value) for value in (0, -1, 1.5, "2", None, True)), *(("fold_limit", value) for value in (-1, 1.5, "2", None, True))],
)
def test_numbers_for_load(tmp_path: Path, name: str, value: Any) -> None:
    rng = np.random.default_rng(0)
    path = h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("GRU", 2, 1, rng)], (None, 1))
    with pytest.raises(fastlstm.InputError, match=rf"{name}: expected .* found"):
        fastlstm.load(path, **{name: value})


def test_no_steps(model: fastlstm.Model) -> None:
    """No timestep at all: there is no output that Keras would give."""
    message = refusal(model, np.zeros((2, 0, FEATURES), np.float32))
    assert "(2, 0, 3)" in message


def test_stateful_batches(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stack = [h5_files.recurrent("LSTM", 3, 2, rng, stateful=True)]
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", stack, (4, 2), batch=2))
    x = rng.normal(size=(4, 4, 2)).astype(np.float32)
    once = model.predict(x)
    model.reset_states()
    assert np.concatenate([model.predict(x[:2]), model.predict(x[2:])]).tobytes() == once.tobytes()
    assert "2" in refusal(model, x[:3])
    refusal(model, [x[0], x[1, :2]])


@pytest.mark.parametrize("axes", [7, 8, 9, 31])
def test_outputs_of_many_axes(tmp_path: Path, axes: int) -> None:
    """More than the shortest way from Python to the kernels takes: the longer way, every time."""
    rng = np.random.default_rng(0)
    shape = [2, 3, *[1] * (axes - 2)]
    stack = [h5_files.recurrent("LSTM", 6, FEATURES, rng)]
    flat = fastlstm.load(h5_files.save(tmp_path / "flat.h5", stack, (None, FEATURES)))
    stack.append(h5_files.Layer({"class_name": "Reshape", "config": {"target_shape": shape}}, []))
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", stack, (None, FEATURES)))
    x = rng.normal(size=(4, 2, FEATURES)).astype(np.float32)
    streams = flat.stream(4), model.stream(4)
    for _ in range(3):
        np.testing.assert_array_equal(model.predict(x), flat.predict(x).reshape(4, *shape))
        y, expected = (stream.step(x[:, 0]) for stream in streams[::-1])
        np.testing.assert_array_equal(y, expected.reshape(4, *shape))


def test_masked_arrays_are_read_as_keras_reads_them(model: fastlstm.Model, x: np.ndarray) -> None:
    """Keras 2 and 3 take what lies below NumPy's mask."""
    assert model.predict(np.ma.array(x, mask=x > 0)).tobytes() == model.predict(x).tobytes()


@pytest.mark.parametrize("verbose", [0, 1, 2, True, False, np.int64(1), np.bool_(False), "auto", None])
def test_verbose(model: fastlstm.Model, x: np.ndarray, verbose: Any) -> None:
    assert model.predict(x, verbose=verbose).tobytes() == model.predict(x).tobytes()


@pytest.mark.parametrize("verbose", ["1", "", 0.5, 1.0, [], {}, object(), np.ones(2), "AUTO", b"auto"], ids=lambda v: type(v).__name__)
def test_odd_verbose(model: fastlstm.Model, x: np.ndarray, verbose: Any) -> None:
    with pytest.raises(fastlstm.InputError, match="verbose: expected 0, 1, 2 or 'auto', found "):
        model.predict(x, verbose=verbose)


@pytest.mark.parametrize("batch_size", [1, 2**70, np.int8(2), np.uint64(2**63)])
def test_any_positive_batch_size(model: fastlstm.Model, x: np.ndarray, batch_size: Any) -> None:
    assert model.predict(x, batch_size=batch_size).tobytes() == model.predict(x).tobytes()


def test_more_than_memory(model: fastlstm.Model, words: fastlstm.Model) -> None:
    for message in (
        refusal(model, np.broadcast_to(np.float32(0), (2**46, TIMESTEPS, FEATURES))),
        refusal(words, np.broadcast_to(1, (2**46, TIMESTEPS))),
        refusal(model, [np.zeros((1, FEATURES)), np.broadcast_to(0.0, (2**46, FEATURES))]),
    ):  # fmt: skip
        assert "memory" in message
    for rows in (2**41, 2**62, 2**100):
        with pytest.raises(fastlstm.InputError, match="batch_size: expected .* found"):
            model.stream(rows)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_call_that_fails_leaves_the_states(tmp_path: Path, precision: str) -> None:
    """In the second of two batches, after the layer whose state has gone on by then."""
    rng = np.random.default_rng(0)
    recurrent = h5_files.recurrent("LSTM", 3, 2, rng, stateful=True)
    entries = [recurrent.entry, {"class_name": "Own", "config": {"name": "own"}}]
    entries[0] = {**recurrent.entry, "config": {**recurrent.entry["config"], "batch_input_shape": [2, 4, 2]}}
    path = tmp_path / "m.h5"
    h5_files.save_h5(path, entries, [recurrent.weights, []])
    left = [100]  # calls that go well

    def own(x: np.ndarray) -> np.ndarray:
        left[0] -= 1
        if left[0] < 0:
            raise ValueError("no more")
        return x

    model, other = (fastlstm.load(path, precision=precision, custom_layers={"own": own}) for _ in range(2))
    x = rng.normal(size=(4, 4, 2)).astype(np.float32)
    for one in (model, other):
        one.predict(x)
    left[0] = 1
    with pytest.raises(fastlstm.InputError, match="no more"):
        model.predict(x)
    left[0] = 100
    np.testing.assert_array_equal(model.predict(x), other.predict(x))


def test_sequences_whose_length_the_output_has() -> None:
    """Ids that a model gives back, and what flattens whole sequences: a row of its own length each."""
    ids = graph([simple("Embedding", "e", (9, 2), input_dim=9, output_dim=2)], [(0,)], (None, None))
    back = fastlstm.Model(replace(ids, outputs=(Ref(0),))).predict([[1, 2, 3], [4]])
    assert [row.tolist() for row in back] == [[1, 2, 3], [4]]
    flat = fastlstm.Model(chain(simple("Flatten"))).predict([np.ones((2, 3)), np.ones((1, 3))])
    assert [row.shape for row in flat] == [(6,), (3,)]
