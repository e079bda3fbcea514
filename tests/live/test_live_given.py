"""What ``predict`` and ``evaluate`` take beside arrays, beside live Kerases: the same rows, batches and counts."""

from __future__ import annotations

import importlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fastlstm

pytestmark = [pytest.mark.slow, pytest.mark.keras]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(11, 5, 3)).astype(np.float32)
Y, W = RNG.normal(size=(11, 2)).astype(np.float32), RNG.uniform(size=11).astype(np.float32)
A, B = RNG.normal(size=(11, 3)).astype(np.float32), RNG.normal(size=(11, 2)).astype(np.float32)
ROWS = [slice(0, 4), slice(4, 8), slice(8, 11)]

Pair = tuple[Any, fastlstm.Model]


def saved(keras: ModuleType, model: Any, folder: Path) -> fastlstm.Model:
    path = folder / f"m{'.keras' if keras.__name__ == 'keras' else '.h5'}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return fastlstm.load(path)


@pytest.fixture(scope="session")
def pairs(keras: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Models of Keras, and what they are here."""
    importlib.import_module("tensorflow")
    layers = keras.layers
    one = keras.Sequential([layers.Input((None, 3)), layers.LSTM(4), layers.Dense(2)])
    one.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mse"])
    steps = keras.Sequential([layers.Input((None, 3)), layers.LSTM(4, return_sequences=True)])
    a, b = layers.Input((3,), name="a"), layers.Input((2,), name="b")
    two = keras.Model([a, b], [layers.Dense(2, name="p")(a), layers.Dense(1, name="q")(b)])
    two.compile("sgd", {"p": "mse", "q": "mae"})
    words = keras.Sequential([layers.Input((None,)), layers.Embedding(9, 4, mask_zero=True), layers.GRU(3)])
    made = {"one": one, "steps": steps, "two": two, "words": words}
    return {name: (model, saved(keras, model, tmp_path_factory.mktemp(name))) for name, model in made.items()}


def predicted(model: Any, x: Any, **options: Any) -> list[np.ndarray]:
    """Of either library; Keras 3 warns whenever a generator ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = model.predict(x, verbose=0, **options)
    return [np.asarray(one) for one in (y if isinstance(y, list) else y.values() if isinstance(y, dict) else [y])]


def same(pair: Pair, make: Callable[[], Any], **options: Any) -> None:
    theirs, ours = (predicted(model, make(), **options) for model in pair)
    assert len(theirs) == len(ours)
    for expected, found in zip(theirs, ours):
        assert expected.shape == found.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def generated(*arrays: Any) -> Iterator[Any]:
    """A generator, as Keras 3 asks for: no other iterator will do."""
    for rows in ROWS:
        yield tuple(None if one is None else one[rows] for one in arrays)


def dataset(*arrays: Any, structure: Callable[..., Any] = lambda *arrays: arrays) -> Any:
    tf = importlib.import_module("tensorflow")
    return tf.data.Dataset.from_tensor_slices(structure(*arrays)).batch(4)


def sequence(keras: ModuleType, batches: Callable[[int], Any], log: list[Any]) -> Any:
    """A PyDataset, or Sequence."""

    class Batches(getattr(keras.utils, "PyDataset", keras.utils.Sequence)):
        def __len__(self) -> int:
            return len(ROWS)

        def __getitem__(self, number: int) -> Any:
            log.append(number)
            return batches(number)

        def on_epoch_end(self) -> None:
            log.append("end")

    return Batches()


@pytest.mark.parametrize("options", [{}, {"steps": 2}, {"steps": 3}, {"batch_size": 2}], ids=str)
def test_generators(pairs: dict[str, Pair], options: dict[str, Any]) -> None:
    for arrays in ((X,), (X, Y), (X, None), (X, Y, W)):
        same(pairs["one"], lambda arrays=arrays: generated(*arrays), **options)
    same(pairs["two"], lambda: (((a, b),) for a, b in generated(A, B)), **options)
    same(pairs["two"], lambda: (({"a": a, "b": b}, None) for a, b in generated(A, B)), **options)
    same(pairs["one"], lambda: (batch for batch in itertools.cycle(list(generated(X)))), **{"steps": 5, **options})


def test_what_each_keras_takes(keras: ModuleType, pairs: dict[str, Pair]) -> None:
    """Keras 3 takes no batches that are no tuples, and no iterators but generators; Keras 2 and fastlstm do."""
    makes: list[Callable[[], Any]] = [
        lambda: (x for (x,) in generated(X)), lambda: ([x] for (x,) in generated(X)), lambda: ([x, y] for x, y in generated(X, Y)),
        lambda: iter([X[rows] for rows in ROWS]), lambda: zip([X[rows] for rows in ROWS]), lambda: map(np.copy, [X[rows] for rows in ROWS]),
    ]  # fmt: skip
    for make in makes:
        if keras.__name__ == "tf_keras":
            same(pairs["one"], make)
        else:
            with pytest.raises(ValueError, match="must return a tuple|Unrecognized data type"):
                predicted(pairs["one"][0], make())
            np.testing.assert_array_equal(predicted(pairs["one"][1], make())[0], pairs["one"][1].predict(X))


@pytest.mark.parametrize("make", [lambda: generated(X, Y, W, W), lambda: iter(()), lambda: (batch for batch in ())])
def test_what_neither_takes(pairs: dict[str, Pair], make: Callable[[], Any]) -> None:
    with pytest.raises((ValueError, StopIteration)):
        predicted(pairs["one"][0], make())
    with pytest.raises(fastlstm.InputError):
        predicted(pairs["one"][1], make())


def test_two_inputs_in_a_tuple_are_an_input_and_targets(pairs: dict[str, Pair]) -> None:
    with pytest.raises(Exception, match=r".+"):
        predicted(pairs["two"][0], generated(A, B))
    with pytest.raises(fastlstm.InputError, match=r"several inputs, or sequences, are one of it, \(\(a, b\),\)"):
        predicted(pairs["two"][1], generated(A, B))


@pytest.mark.parametrize("options", [{}, {"steps": 2}, {"steps": 3}, {"batch_size": 2}], ids=str)
def test_datasets_of_tensorflow(pairs: dict[str, Pair], options: dict[str, Any]) -> None:
    same(pairs["one"], lambda: dataset(X, structure=lambda x: x), **options)
    same(pairs["one"], lambda: dataset(X, Y), **options)
    same(pairs["one"], lambda: dataset(X, Y, W), **options)
    same(pairs["two"], lambda: dataset(A, B, structure=lambda a, b: ((a, b),)), **options)
    same(pairs["two"], lambda: dataset(A, B, structure=lambda a, b: {"a": a, "b": b}), **options)
    same(pairs["one"], lambda: dataset(X).repeat(), **{"steps": 5, **options})
    numbers = (np.arange(44) % 9).reshape(11, 4)
    same(pairs["words"], lambda: dataset(numbers), **options)


def test_datasets_without_end_or_rows(pairs: dict[str, Pair]) -> None:
    ours = pairs["one"][1]
    with pytest.raises(fastlstm.InputError, match="steps: expected a number of batches, as x has no end, found None"):
        ours.predict(dataset(X).repeat())
    with pytest.raises(fastlstm.InputError, match="x: expected at least one batch, found none"):
        ours.predict(dataset(X).take(0))
    with pytest.raises(fastlstm.InputError, match="x: expected one batch, found _BatchDataset, which gives several"):
        ours(dataset(X))


@pytest.mark.parametrize("options", [{}, {"steps": 2}], ids=str)
def test_sequences_of_keras(keras: ModuleType, pairs: dict[str, Pair], options: dict[str, Any]) -> None:
    """Keras looks at some batches before, and its threads may still do so when it is through; each is told of its end."""
    kinds: list[Callable[[int], Any]] = [
        lambda n: X[ROWS[n]], lambda n: (X[ROWS[n]],), lambda n: (X[ROWS[n]], Y[ROWS[n]]), lambda n: [X[ROWS[n]], Y[ROWS[n]]],
        lambda n: (X[ROWS[n]], Y[ROWS[n]], W[ROWS[n]]),
    ]  # fmt: skip
    for kind in kinds:
        logs: list[list[Any]] = []

        def make(kind: Callable[[int], Any] = kind, logs: list[list[Any]] = logs) -> Any:
            logs.append([])
            return sequence(keras, kind, logs[-1])

        same(pairs["one"], make, **options)
        theirs, ours = logs
        assert "end" in theirs
        assert ours == [*range(options.get("steps", 3)), "end"]
    same(pairs["two"], lambda: sequence(keras, lambda n: ((A[ROWS[n]], B[ROWS[n]]),), []), **options)
    same(pairs["two"], lambda: sequence(keras, lambda n: {"a": A[ROWS[n]], "b": B[ROWS[n]]}, []), **options)


def test_batches_of_other_lengths(pairs: dict[str, Pair]) -> None:
    """Keras makes a RaggedTensor of per-timestep outputs; here they are a list of its rows."""
    given = [X[:4], X[4:8, :3], X[8:, :2], X[:2]]
    same(pairs["one"], lambda: ((x,) for x in given))
    theirs, ours = pairs["steps"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.predict(((x,) for x in given), verbose=0)
    found = ours.predict((x,) for x in given)
    assert len(found) == int(expected.nrows()) == 13
    for row, one in zip(expected, found):
        np.testing.assert_allclose(one, row.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"steps": 2}, {"steps": 3}, {"steps": 4, "batch_size": 2}, {"steps": 1, "batch_size": 5}], ids=str)
def test_steps_of_arrays(pairs: dict[str, Pair], options: dict[str, Any]) -> None:
    same(pairs["one"], lambda: X, **options)
    same(pairs["two"], lambda: [A, B], **options)


@pytest.mark.parametrize("options", [{"steps": 9}, {"steps": 9, "batch_size": 4}], ids=str)
def test_both_warn_where_data_end(keras: ModuleType, pairs: dict[str, Pair], options: dict[str, Any]) -> None:
    theirs, ours = pairs["one"]
    for make in (lambda: generated(X), lambda: X, lambda: dataset(X)):
        with pytest.warns(UserWarning, match=r"ran out of data after \d of 9 batches"):
            found = ours.predict(make(), **options)
        if keras.__name__ == "keras":  # the other one logs it
            with pytest.warns(UserWarning, match="ran out of data"):
                expected = theirs.predict(make(), verbose=0, **options)
        else:
            expected = theirs.predict(make(), verbose=0, **options)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def evaluated(model: Any, *arguments: Any, **options: Any) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(np.ravel(model.evaluate(*arguments, verbose=0, **options)))


def test_evaluate(keras: ModuleType, pairs: dict[str, Pair]) -> None:
    def agree(name: str, make: Callable[[], tuple[Any, ...]], **options: Any) -> None:
        theirs, ours = (evaluated(model, *make(), **options) for model in pairs[name])
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)

    for options in ({}, {"steps": 2}, {"batch_size": 3}):
        agree("one", lambda: (generated(X, Y),), **options)
        agree("one", lambda: (generated(X, Y, W),), **options)
        agree("one", lambda: (dataset(X, Y),), **options)
        agree("one", lambda: (dataset(X, Y, W),), **options)
        agree("one", lambda: (sequence(keras, lambda n: (X[ROWS[n]], Y[ROWS[n]], W[ROWS[n]]), []),), **options)
        agree("one", lambda: (X, Y), **options)
        agree("two", lambda: ([A, B], [B, A[:, :1]]), **options)
        # Where a generator ends by itself, Keras 3 counts a batch that is not there in the losses of single outputs: see below.
        counted = {"steps": 3, **options}
        agree("two", lambda: ((((a, b), (b, a[:, :1])) for a, b in generated(A, B)),), **counted)
        agree("two", lambda: ((({"a": a, "b": b}, {"p": b, "q": a[:, :1]}) for a, b in generated(A, B)),), **counted)
    agree("one", lambda: (X, Y), steps=2, batch_size=3, sample_weight=W)
    if keras.__name__ == "keras":
        theirs, ours = (evaluated(model, (((a, b), (b, a[:, :1])) for a, b in generated(A, B))) for model in pairs["two"])
        np.testing.assert_allclose(theirs, [ours[0], *(0.75 * value for value in ours[1:])], rtol=2e-5)
    for model, error in zip(pairs["one"], (ValueError, fastlstm.InputError)):
        for extra in ({"y": Y}, {"sample_weight": W}):
            with pytest.raises(error):
                evaluated(model, generated(X, Y), **extra)


# -- tensors ----------------------------------------------------------------------------------------------------------------------


def test_tensors_of_tensorflow(keras: ModuleType, pairs: dict[str, Pair]) -> None:
    tf = importlib.import_module("tensorflow")
    ours = pairs["one"][1]
    expected = ours.predict(X)
    for given in (
        tf.constant(X), tf.Variable(X), [tf.constant(X)], (tf.constant(X),), list(tf.constant(X)), tf.constant(X, tf.float64),
        {ours.inputs[0].name: tf.constant(X)}, keras.Variable(X) if hasattr(keras, "Variable") else X,
    ):  # fmt: skip
        assert ours.predict(given).tobytes() == expected.tobytes()
    assert ours(tf.constant(X)).tobytes() == expected.tobytes()
    for dtype in (tf.bfloat16, tf.float16):
        x = tf.cast(X, dtype)
        assert ours.predict(x).tobytes() == ours.predict(tf.cast(x, tf.float32).numpy()).tobytes()
    same(pairs["words"], lambda: tf.constant([[1, 2, 0], [3, 8, 4]], tf.int64))


def test_ragged_tensors(pairs: dict[str, Pair]) -> None:
    tf = importlib.import_module("tensorflow")
    rows = [X[0], X[1, :2], X[2, :4]]
    x = tf.RaggedTensor.from_row_lengths(np.concatenate(rows), [len(row) for row in rows])
    deeper = tf.ragged.constant([row.tolist() for row in rows])
    uniform = tf.RaggedTensor.from_row_lengths(X[:3].reshape(15, 3), [5, 5, 5])
    ours = pairs["one"][1]
    expected = ours.predict(rows)
    for given in (x, deeper, [x], {ours.inputs[0].name: x}, iter([(x,)]), tf.data.Dataset.from_tensors(x)):
        assert ours.predict(given).tobytes() == expected.tobytes()
    assert ours.predict(uniform).tobytes() == ours.predict(X[:3]).tobytes()
    ids = pairs["words"][1]
    assert ids.predict(tf.ragged.constant([[1, 2], [3]])).tobytes() == ids.predict([np.array([1, 2]), np.array([3])]).tobytes()
    with pytest.raises(fastlstm.InputError, match="expected lists of one length within the rows, found lists of 2 to 3 in the rows"):
        ours.predict(tf.ragged.constant([[[1.0, 2.0, 3.0]], [[1.0, 2.0]]]))


def test_tensors_of_graphs(keras: ModuleType, pairs: dict[str, Pair]) -> None:
    tf = importlib.import_module("tensorflow")
    ours = pairs["one"][1]

    @tf.function(autograph=False)  # which makes errors of its own of all others
    def traced(x: Any) -> Any:
        return ours.predict(x)

    ragged = tf.RaggedTensor.from_row_lengths(X.reshape(55, 3), [5] * 11)
    for call in (lambda: traced(tf.constant(X)), lambda: traced(ragged), lambda: ours(keras.Input((5, 3)))):
        with pytest.raises(fastlstm.InputError, match=r"expected numbers, found \w*Tensor, a tensor of a graph, which holds none"):
            call()
