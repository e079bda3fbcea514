"""Data that come batch by batch: what ``predict`` and ``evaluate`` make of generators, iterables and Sequences like Keras's."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5_files
import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5
from layer_specs import model_of, recurrent

import fastlstm

TIMESTEPS, FEATURES = 5, 3
X = np.random.default_rng(0).normal(size=(11, TIMESTEPS, FEATURES)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(11, 2)).astype(np.float32)
W = np.random.default_rng(2).uniform(size=11).astype(np.float32)
BATCHES = [(X[first : first + 4], Y[first : first + 4], W[first : first + 4]) for first in range(0, 11, 4)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> fastlstm.Model:
    """LSTM on (any, 3)."""
    rng = np.random.default_rng(0)
    stack = [h5_files.recurrent("LSTM", 6, FEATURES, rng), h5_files.dense(2, 6, rng)]
    return fastlstm.load(h5_files.save(tmp_path_factory.mktemp("model") / "model.h5", stack, (None, FEATURES)))


@pytest.fixture(scope="module")
def stepwise(tmp_path_factory: pytest.TempPathFactory) -> fastlstm.Model:
    """An output for each timestep."""
    stack = [h5_files.recurrent("GRU", 4, FEATURES, np.random.default_rng(0), return_sequences=True)]
    return fastlstm.load(h5_files.save(tmp_path_factory.mktemp("stepwise") / "model.h5", stack, (None, FEATURES)))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> fastlstm.Model:
    """Two inputs, and two outputs, of the second and of the first."""
    layers = [
        entrance("a", 2), entrance("b", 3), layer("Activation", "p", [[["b", 0, 0, {}]]], activation="linear"),
        layer("Activation", "q", [[["a", 0, 0, {}]]], activation="tanh"),
    ]  # fmt: skip
    config = functional(layers, [["a", 0, 0], ["b", 0, 0]], [["p", 0, 0], ["q", 0, 0]])
    return fastlstm.load(write_h5(tmp_path_factory.mktemp("two") / "m.h5", config, {}, "2.10.0"))


class Sequence:
    """As ``keras.utils.Sequence`` has it."""

    def __init__(self, batches: list[Any]):
        self.batches = batches
        self.log: list[Any] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Any:
        self.log.append(number)
        return self.batches[number]

    def on_epoch_end(self) -> None:
        self.log.append("end")


class Dataset(Sequence):
    """As ``keras.utils.PyDataset`` has it."""

    length: int | None = None

    @property
    def num_batches(self) -> int | None:
        return self.length

    def __getitem__(self, number: int) -> Any:
        return super().__getitem__(number % len(self.batches))

    def on_epoch_begin(self) -> None:
        self.log.append("begin")


class Loader:
    """As a ``DataLoader`` of torch: an iterable with a length, whose batches are lists."""

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[Any]:
        return iter([list(parts) for parts in BATCHES])


WAYS: dict[str, Callable[[], Any]] = {
    "x": lambda: (x for x, _, _ in BATCHES),
    "(x,)": lambda: ((x,) for x, _, _ in BATCHES),
    "[x]": lambda: ([x] for x, _, _ in BATCHES),
    "(x, y)": lambda: ((x, y) for x, y, _ in BATCHES),
    "(x, None)": lambda: ((x, None) for x, _, _ in BATCHES),
    "(x, y, w)": lambda: iter(BATCHES),
    "[x, y, w]": lambda: map(list, BATCHES),
    "{name: x}": lambda: ({"lstm_1_input": x} for x, _, _ in BATCHES),
    "({name: x}, y)": lambda: (({"lstm_1_input": x}, y) for x, y, _ in BATCHES),
    "lists": lambda: ((x.tolist(),) for x, _, _ in BATCHES),
    "zip": lambda: zip([x for x, _, _ in BATCHES], [y for _, y, _ in BATCHES]),
    "values of a dict": lambda: dict(enumerate(BATCHES)).values(),
    "Sequence": lambda: Sequence(BATCHES),
    "Sequence of x": lambda: Sequence([x for x, _, _ in BATCHES]),
    "iterable": Loader,
    "of one row": lambda: ((row[np.newaxis],) for row in X),
    "with one of no rows": lambda: iter([(X[:4],), (X[:0],), (X[4:],)]),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_takes(model: fastlstm.Model, way: str) -> None:
    y = model.predict(WAYS[way]())
    assert isinstance(y, np.ndarray)
    assert y.tobytes() == model.predict(X).tobytes()


def test_lists_are_what_they_were(model: fastlstm.Model, two: fastlstm.Model) -> None:
    """Sequences of their own lengths, or several inputs; no batches."""
    assert model.predict([X[0], X[1, :2]]).shape == (2, 2)
    assert model.predict(list(X)).tobytes() == model.predict(X).tobytes()
    a, b = np.ones((4, 2), np.float32), np.zeros((4, 3), np.float32)
    p, q = two.predict([a, b])
    assert p.tobytes() == b.tobytes() and np.allclose(q, np.tanh(a))


def test_several_inputs_and_outputs(two: fastlstm.Model) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(7, 2)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32)
    expected = two.predict([a, b])
    names = [info.name for info in two.inputs]
    for given in (
        (((a[n : n + 3], b[n : n + 3]),) for n in (0, 3, 6)),
        (([a[n : n + 3], b[n : n + 3]], None) for n in (0, 3, 6)),
        (dict(zip(names, (a[n : n + 3], b[n : n + 3]))) for n in (0, 3, 6)),
    ):
        found = two.predict(given)
        assert [y.tobytes() for y in found] == [y.tobytes() for y in expected]


# -- steps ------------------------------------------------------------------------------------------------------------------------


def test_steps_of_what_goes_on_for_ever(model: fastlstm.Model) -> None:
    y = model.predict(((x,) for x, _, _ in itertools.cycle(BATCHES)), steps=4)
    assert y.tobytes() == model.predict(np.concatenate([X, X[:4]])).tobytes()


def test_no_batch_more_is_taken_than_asked_for(model: fastlstm.Model) -> None:
    source = iter(BATCHES)
    model.predict(source, steps=2)
    assert next(source)[0].tobytes() == X[8:].tobytes()


def test_fewer_batches_than_steps_are_warned_of(model: fastlstm.Model) -> None:
    for given in (iter(BATCHES), Sequence(BATCHES)):
        with pytest.warns(UserWarning, match="x: ran out of data after 3 of 5 batches") as caught:
            y = model.predict(given, steps=5)
        assert y.tobytes() == model.predict(X).tobytes()
        assert caught[0].filename == __file__


def test_steps_of_arrays(model: fastlstm.Model) -> None:
    """As in Keras: all rows in so many batches, or so many batches of the rows that ``batch_size`` says."""
    y = model.predict(X)
    assert model.predict(X, steps=2).tobytes() == y.tobytes()
    assert model.predict(X, batch_size=3, steps=2).tobytes() == y[:6].tobytes()
    assert model.predict(list(X), 3, 0, 2).tobytes() == y[:6].tobytes()
    assert model.predict([X[0], X[1, :2], X[2]], batch_size=1, steps=2).tobytes() == model.predict([X[0], X[1, :2]]).tobytes()
    with pytest.warns(UserWarning, match="x: ran out of data after 4 of 9 batches"):
        assert model.predict(X, batch_size=3, steps=9).tobytes() == y.tobytes()


@pytest.mark.parametrize("steps", [0, -1, 2.5, "2", True, [1]])
def test_odd_steps(model: fastlstm.Model, steps: Any) -> None:
    for given in (X, iter(BATCHES)):
        with pytest.raises(fastlstm.InputError, match="steps: expected a positive number or None, found "):
            model.predict(given, steps=steps)
    with pytest.raises(fastlstm.InputError, match="steps: expected a positive number or None, found "):
        model.evaluate(X, Y, loss="mse", steps=steps)


def test_batch_size_is_that_of_the_batches(model: fastlstm.Model) -> None:
    """Keras looks at no other beside batches."""
    assert model.predict(iter(BATCHES), batch_size=2).tobytes() == model.predict(X).tobytes()
    with pytest.raises(fastlstm.InputError, match="batch_size: expected"):
        model.predict(iter(BATCHES), batch_size=0)


# -- Sequences of Keras -----------------------------------------------------------------------------------------------------------


def test_a_sequence_is_told_of_its_end(model: fastlstm.Model) -> None:
    given = Sequence(BATCHES)
    model.predict(given)
    assert given.log == [0, 1, 2, "end"]
    given.log.clear()
    model.predict(given, steps=2)
    assert given.log == [0, 1, "end"]


def test_a_dataset_of_keras_3(model: fastlstm.Model) -> None:
    given = Dataset(BATCHES)
    given.length = 2
    assert model.predict(given).tobytes() == model.predict(X[:8]).tobytes()
    assert given.log == ["begin", 0, 1, "end"]
    given.length = None
    with pytest.raises(fastlstm.InputError, match="steps: expected a number of batches, as x has no end, found None"):
        model.predict(given)
    assert model.predict(given, steps=4).tobytes() == model.predict(np.concatenate([X, X[:4]])).tobytes()


# -- what is refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "x: expected at least one batch, found none"),
        ([()], r"x, batch 0: expected x, \(x,\), \(x, y\) or \(x, y, sample_weight\), found tuple of 0"),
        ([(X,), (X, Y, W, W)], r"x, batch 1: expected x, .* found tuple of 4"),
        ([(X,), (X[:, :, :2],)], r"x, batch 1: input 'lstm_1_input': expected shape \(any, any, 3\), found \(11, 5, 2\)$"),
        ([3], r"x, batch 0: input 'lstm_1_input': expected shape \(any, any, 3\), found \(\)"),
        (["text"], "x, batch 0: input 'lstm_1_input': expected numbers, found text"),
        ([None], "x, batch 0: input 'lstm_1_input': expected numbers, found None"),
        ([{"other": X}], "x, batch 0: x: expected a dict with the keys lstm_1_input, found other"),
        ([iter([X])], "x, batch 0: x: expected one batch, found list_iterator, which gives several"),
    ],
)
def test_no_batches(model: fastlstm.Model, batches: list[Any], message: str) -> None:
    for given in (iter(batches), *([Sequence(batches)] if batches else [])):
        with pytest.raises(fastlstm.InputError, match=message):
            model.predict(given)


def test_an_empty_sequence(model: fastlstm.Model) -> None:
    with pytest.raises(fastlstm.InputError, match="x: expected at least one batch, found none"):
        model.predict(Sequence([]))


def test_calls_take_one_batch(model: fastlstm.Model) -> None:
    for call in (model, model.predict_on_batch, lambda x: model(x, mask=np.ones((11, TIMESTEPS), bool))):
        for given in (iter(BATCHES), Sequence(BATCHES), Loader()):
            with pytest.raises(fastlstm.InputError, match="x: expected one batch, found .*, which gives several; predict and evaluate"):
                call(given)


def test_a_set_has_no_order(model: fastlstm.Model) -> None:
    with pytest.raises(fastlstm.InputError, match="expected numbers, found set"):
        model.predict({1, 2})


class Failing:
    """An iterable that cannot be begun."""

    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("no connection")


class NoLength(Sequence):
    def __len__(self) -> int:
        raise RuntimeError("not known")


def test_iterables_that_cannot_be_begun(model: fastlstm.Model) -> None:
    with pytest.raises(fastlstm.InputError, match="x: expected batches, found what cannot be read: RuntimeError: no connection"):
        model.predict(Failing())
    with pytest.raises(fastlstm.InputError, match="x: expected a number of batches, found what cannot be read: RuntimeError: not known"):
        model.predict(NoLength(BATCHES))


def test_errors_of_the_caller_s_own_code_stay_what_they_are(model: fastlstm.Model) -> None:
    def broken() -> Iterator[Any]:
        yield (X[:4],)
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        model.predict(broken())


# -- joined -----------------------------------------------------------------------------------------------------------------------


def test_batches_of_other_lengths(model: fastlstm.Model, stepwise: fastlstm.Model) -> None:
    lengths = (4, 2, 4)
    given = [X[2 * n : 2 * n + 2, :length] for n, length in enumerate(lengths)]
    y = model.predict(iter(given))
    assert y.tobytes() == np.concatenate([model.predict(x) for x in given]).tobytes()
    rows = stepwise.predict(iter(given))
    assert isinstance(rows, list) and [row.shape for row in rows] == [(n, 4) for n in (4, 4, 2, 2, 4, 4)]
    expected = stepwise.predict([row for x in given for row in x])
    assert [row.tobytes() for row in rows] == [row.tobytes() for row in expected]
    assert stepwise.predict(iter([X[:2], X[2:5]])).tobytes() == stepwise.predict(X[:5]).tobytes()


def test_sequences_within_batches(model: fastlstm.Model, stepwise: fastlstm.Model) -> None:
    rows = [X[0], X[1, :2], X[2, :1], X[3]]
    y = model.predict((rows[first : first + 2],) for first in (0, 2))
    assert y.tobytes() == model.predict(rows).tobytes()
    found = stepwise.predict((rows[first : first + 2],) for first in (0, 2))
    assert [one.tobytes() for one in found] == [one.tobytes() for one in stepwise.predict(rows)]


def test_batches_are_not_kept(model: fastlstm.Model) -> None:
    """Nor is the one that was computed when the next is made, but for the one before it."""
    made: list[weakref.ref] = []

    def batches() -> Iterator[Any]:
        for _ in range(6):
            x = np.zeros((4, TIMESTEPS, FEATURES), np.float64)  # which is cast, so that nothing of the model holds it
            made.append(weakref.ref(x))
            yield (x,)
            del x
            gc.collect()
            assert sum(one() is not None for one in made) <= 1

    assert model.predict(batches()).shape == (24, 2)
    gc.collect()
    assert not any(one() is not None for one in made)


def test_verbose(model: fastlstm.Model, capsys: pytest.CaptureFixture[str]) -> None:
    model.predict(iter(BATCHES), verbose=1)
    assert capsys.readouterr().err.startswith("11/11 rows")


# -- models with states, and models whose rows depend on each other ---------------------------------------------------------------


def stateful() -> fastlstm.Model:
    return fastlstm.Model(model_of(recurrent("LSTM", 4, FEATURES, stateful=True), shape=(2, None, FEATURES)))


def test_states_go_from_batch_to_batch() -> None:
    model, other = stateful(), stateful()
    y = model.predict((X[first : first + 4],) for first in (0, 4))
    assert y.tobytes() == other.predict(X[:8]).tobytes()
    assert model.predict(X[:2]).tobytes() == other.predict(X[:2]).tobytes()  # they are where they should be
    assert model.predict(X[:8], steps=3).tobytes() == other.predict(X[:6]).tobytes()
    assert model.predict(X[:2]).tobytes() == other.predict(X[:2]).tobytes()


@pytest.mark.parametrize("last", [X[:3], X[:2, :, :1], None])
def test_batches_that_fail_leave_the_states(last: Any) -> None:
    model, other = stateful(), stateful()
    for one in (model, other):
        one.predict(X[:2])

    def batches() -> Iterator[Any]:
        yield (X[2:4],)
        if last is None:
            raise ConnectionError("gone")
        yield (last,)

    with pytest.raises((fastlstm.InputError, ConnectionError)):
        model.predict(batches())
    assert model.predict(X[4:6]).tobytes() == other.predict(X[4:6]).tobytes()


def test_rows_that_depend_on_each_other(tmp_path: Path) -> None:
    """Each batch by itself, whatever its size; of arrays, as many rows as make so many steps."""
    node = [["x", 0, 0, {"training": True}]]
    normal = layer("BatchNormalization", "b", [node], axis=-1, epsilon=0.01)
    arrays = [np.ones(3, np.float32) for _ in range(4)]
    config = functional([entrance("x", 3), normal], [["x", 0, 0]], [["b", 0, 0]], "Functional")
    model = fastlstm.load(write_h5(tmp_path / "m.h5", config, {"b": arrays}, "2.10.0"))
    x = X[:, 0]
    expected = np.concatenate([model.predict_on_batch(x[first : first + 4]) for first in range(0, 11, 4)])
    assert model.predict((x[first : first + 4],) for first in range(0, 11, 4)).tobytes() == expected.tobytes()
    assert model.predict(x, steps=3).tobytes() == model.predict(x, batch_size=4).tobytes() == expected.tobytes()
    assert model.predict(x, batch_size=3, steps=2).tobytes() == model.predict(x[:6], batch_size=3).tobytes()


# -- evaluate ---------------------------------------------------------------------------------------------------------------------


def test_evaluate_counts_each_batch(model: fastlstm.Model) -> None:
    asked: dict[str, Any] = {"loss": "mse", "metrics": ["mae"], "weighted_metrics": ["mse"], "return_dict": True}
    expected = model.evaluate(X, Y, batch_size=4, sample_weight=W, **asked)
    for given in (iter(BATCHES), Sequence(BATCHES), Loader()):
        assert model.evaluate(given, **asked) == pytest.approx(expected, rel=1e-12)
    first = model.evaluate(X[:8], Y[:8], batch_size=4, sample_weight=W[:8], **asked)
    assert model.evaluate(iter(BATCHES), steps=2, **asked) == pytest.approx(first, rel=1e-12)
    assert model.evaluate(X, Y, 4, 0, W, 2, **asked) == pytest.approx(first, rel=1e-12)
    assert model.evaluate(X, Y.tolist(), 4, 0, list(W), 2, **asked) == pytest.approx(first, rel=1e-12)
    assert model.evaluate(X, Y, sample_weight=W, steps=3, **asked) == pytest.approx(expected, rel=1e-12)
    with pytest.warns(UserWarning, match="x: ran out of data after 3 of 4 batches"):
        assert model.evaluate(iter(BATCHES), steps=4, **asked) == pytest.approx(expected, rel=1e-12)


def test_evaluate_of_several_outputs(two: fastlstm.Model) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(7, 2)).astype(np.float32), rng.normal(size=(7, 3)).astype(np.float32)
    asked: dict[str, Any] = {"loss": ["mse", "mae"], "return_dict": True}
    expected = two.evaluate([a, b], [b + 1, a], batch_size=3, **asked)
    given = [((a[n : n + 3], b[n : n + 3]), [b[n : n + 3] + 1, a[n : n + 3]]) for n in (0, 3, 6)]
    assert two.evaluate(iter(given), **asked) == pytest.approx(expected, rel=1e-12)
    names = [info.name for info in two.outputs]
    named = [(x, dict(zip(names, y))) for x, y in given]
    assert two.evaluate(iter(named), **asked) == pytest.approx(expected, rel=1e-12)
    cut = two.evaluate([a[:6], b[:6]], [b[:6] + 1, a[:6]], batch_size=3, **asked)
    assert two.evaluate([a, b], [b + 1, a], batch_size=3, steps=2, **asked) == pytest.approx(cut, rel=1e-12)


def test_evaluate_of_states() -> None:
    model, other = stateful(), stateful()
    y = np.zeros((8, 4), np.float32)
    asked: dict[str, Any] = {"loss": "mse"}
    expected = other.evaluate(X[:8], y, **asked)
    assert model.evaluate(((X[n : n + 2], y[n : n + 2]) for n in (0, 2, 4, 6)), **asked) == pytest.approx(expected, rel=1e-12)
    assert model.evaluate(X[:8], y, steps=2, **asked) == pytest.approx(other.evaluate(X[:4], y[:4], **asked), rel=1e-12)
    assert model.predict(X[:2]).tobytes() == other.predict(X[:2]).tobytes()


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        (lambda: iter(BATCHES), {"y": Y}, "y: expected None, as each batch of x brings its own, .*, found ndarray"),
        (lambda: iter(BATCHES), {"sample_weight": W}, "sample_weight: expected None, as each batch of x brings its own, .*, found ndarray"),
        (lambda: ((x,) for x, _, _ in BATCHES), {}, "y: expected an array, as the output has a loss, found None"),
        (lambda: iter([(X, Y), (X, Y[:3])]), {}, "y: expected 11 rows, as many as x has, found 3"),
        (lambda: iter([(X, Y), (X[:0], Y[:0])]), {}, "x: expected at least one row, found none"),
        (lambda: iter([]), {}, "x: expected at least one batch, found none"),
        (lambda: X, {"y": Y[:4], "steps": 1, "batch_size": 3}, "y: expected 3 rows, as many as x has, found 4"),
        (lambda: X, {"y": Y, "callbacks": [print]}, "callbacks: expected None, found"),
    ],
)  # fmt: skip
def test_what_evaluate_refuses(model: fastlstm.Model, given: Callable[[], Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(fastlstm.InputError, match=message):
        model.evaluate(given(), loss="mse", **more)


# -- pipelines --------------------------------------------------------------------------------------------------------------------


def test_pipelines_of_numbers(model: fastlstm.Model) -> None:
    pipeline = fastlstm.Pipeline(model, scaler={"mean": [0.5], "scale": [2.0]}, inverse=True)
    y = pipeline.predict(X)
    assert pipeline.predict((x,) for x, _, _ in BATCHES).tobytes() == y.tobytes()
    assert pipeline.predict(iter(BATCHES), steps=2).tobytes() == y[:8].tobytes()
    with pytest.raises(fastlstm.InputError, match="x, batch 1: x: expected numbers, found"):
        pipeline.predict(iter([(X,), (None,)]))
    with pytest.raises(fastlstm.InputError, match="steps: expected None, as x gives no batches, found 2"):
        pipeline.predict(X, steps=2)


def test_pipelines_are_evaluated(model: fastlstm.Model) -> None:
    asked: dict[str, Any] = {"loss": "mse", "metrics": ["mae"], "return_dict": True}
    labels = np.array(["no", "yes"])[(Y[:, 0] > 0).astype(int)]
    given = [(X[rows], labels[rows]) for rows in (slice(0, 4), slice(4, 8), slice(8, 11))]
    for pipeline, y in (
        (fastlstm.Pipeline(model, scaler={"mean": [0.5], "scale": [2.0]}, inverse=True), Y),
        (fastlstm.Pipeline(model, scaler={"mean": [0.5], "scale": [2.0]}), Y),
        (fastlstm.Pipeline(model, labels=["no", "yes"]), labels),
    ):
        expected = pipeline.evaluate(X, y, batch_size=4, **asked)
        parts = given if y is labels else BATCHES
        assert pipeline.evaluate(((x, one) for x, one, *_ in parts), **asked) == pytest.approx(expected, rel=1e-12)
        first = pipeline.evaluate(X[:8], y[:8], batch_size=4, **asked)
        assert pipeline.evaluate(((x, one) for x, one, *_ in parts), steps=2, **asked) == pytest.approx(first, rel=1e-12)
        assert pipeline.evaluate(X, y, batch_size=4, steps=2, **asked) == pytest.approx(first, rel=1e-12)
        with pytest.raises(fastlstm.InputError, match="y: expected None, as each batch of x brings its own"):
            pipeline.evaluate(((x, one) for x, one, *_ in parts), y, **asked)


def test_pipelines_of_texts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stack = [h5_files.embedding(9, 4, rng, True), h5_files.recurrent("LSTM", 6, 4, rng), h5_files.dense(1, 6, rng)]
    words = fastlstm.load(h5_files.save(tmp_path / "m.h5", stack, (None,)))
    pipeline = fastlstm.Pipeline(words, tokenizer={"good": 1, "bad": 2, "film": 3}, labels=["no", "yes"])
    texts = ["good film", "bad", "film film film", "good"]
    expected = pipeline.predict(texts)
    for given in (
        iter(texts), (text.split() for text in texts), iter([(texts[:3],), (texts[3:],)]), iter([np.array(texts[:1]), np.array(texts[1:])]),
        dict(enumerate(texts)).values(), Sequence([(texts[:2],), (texts[2:],)]),
    ):  # fmt: skip
        found = pipeline.predict(given)
        assert list(found.labels) == list(expected.labels)
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)
