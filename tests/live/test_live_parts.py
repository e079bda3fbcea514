"""Parts of models as people wrote them, against a live Keras: cells as layers, batch statistics, attention of rows, states in wrappers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import golden
import numpy as np
import pytest

import fastlstm

pytestmark = pytest.mark.keras
RANDOM = np.random.default_rng(0)


def shaken(model: Any) -> Any:
    """The model with weights that tell one from another."""
    model.set_weights([RANDOM.uniform(0.3, 1.0, np.shape(weight)) for weight in model.get_weights()])
    return model


def kinds(keras: ModuleType) -> tuple[str, ...]:
    return (".keras", ".h5")


def compare(keras: ModuleType, model: Any, folder: Path, *x: np.ndarray, **options: Any) -> None:
    """Both of Keras's kinds of file give its own numbers, and so does what they are converted to."""
    given = list(x) if len(x) > 1 else x[0]
    expected = golden.flat(model.predict(given, verbose=0, **options))
    for ending in (".keras", ".h5"):
        path = folder / f"model{ending}"
        model.save(path)
        fastlstm.convert(path, folder / "m.fastlstm")
        for loaded in (fastlstm.load(path), fastlstm.load(folder / "m.fastlstm", verify=True)):
            for y, theirs in zip(golden.flat(loaded.predict(given, **options)), expected, strict=True):
                golden.assert_equal(y, theirs)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def call(keras: ModuleType, cell: Any, x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
    """A cell called as a layer, and its states as a list."""
    y, after = cell(x, states) if keras.__version__.startswith("3") else cell(x, states=states)
    return y, list(after) if isinstance(after, (list, tuple)) else [after]


@pytest.mark.parametrize("kind", ["SimpleRNNCell", "GRUCell", "LSTMCell"])
def test_loops_written_out_by_hand(keras: ModuleType, tmp_path: Path, kind: str) -> None:
    cell, count = getattr(keras.layers, kind)(4), 2 if kind == "LSTMCell" else 1
    x = [keras.Input((3,)) for _ in range(4)]
    first = states = [keras.Input((4,)) for _ in range(count)]
    outputs = []
    for each in x:
        y, states = call(keras, cell, each, states)
        outputs.append(y)
    model = shaken(keras.Model([*x, *first], [*outputs, *states]))
    compare(keras, model, tmp_path, *(normal(3, 3) for _ in x), *(normal(3, 4) for _ in first))


def test_stacks_called_as_layers(keras: ModuleType, tmp_path: Path) -> None:
    stack = keras.layers.StackedRNNCells([keras.layers.LSTMCell(4), keras.layers.GRUCell(5, reset_after=False)])
    x, h, c, g = (keras.Input((size,)) for size in (3, 4, 4, 5))
    # Keras 3 wants a list for each cell.
    y, (low, high) = call(keras, stack, x, [[h, c], [g] if keras.__version__.startswith("3") else g])
    high = high[0] if isinstance(high, (list, tuple)) else high
    model = shaken(keras.Model([x, h, c, g], [y, *low, high]))
    compare(keras, model, tmp_path, *(normal(3, size) for size in (3, 4, 4, 5)))


def statistics(keras: ModuleType) -> dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]]:
    """Shapes of inputs, and layers that are called with training=True."""
    L = keras.layers
    return {
        "features": ((3,), lambda x: L.BatchNormalization()(x, training=True)),
        "sequences": ((5, 3), lambda x: L.LSTM(2)(L.BatchNormalization()(x, training=True))),
        "steps": ((5, 3), lambda x: L.BatchNormalization(axis=1)(x, training=True)),
        "images": ((5, 4, 3), lambda x: L.BatchNormalization()(x, training=True)),
        "masked": ((5, 3), lambda x: L.LSTM(2)(L.BatchNormalization()(L.Masking()(x), training=True))),
        "frozen": ((5, 3), lambda x: L.BatchNormalization(trainable=False)(x, training=True)),
        "distributed": ((5, 3), lambda x: L.TimeDistributed(L.BatchNormalization())(x, training=True)),
        "nested": ((3,), lambda x: keras.Sequential([L.Dense(4), L.BatchNormalization(), L.Activation("tanh")])(x, training=True)),
    }


@pytest.mark.parametrize("name", list(statistics(pytest.importorskip("unittest.mock").MagicMock())))
def test_batch_statistics(keras: ModuleType, tmp_path: Path, name: str) -> None:
    """Those of Keras 2; ``predict`` of Keras 3 goes by the moving ones all the same."""
    shape, through = statistics(keras)[name]
    given = keras.Input(shape)
    x = normal(40, *shape)
    x[::3, 2:] = 0
    compare(keras, shaken(keras.Model(given, through(given))), tmp_path, x)
    compare(keras, shaken(keras.Model(given, through(given))), tmp_path, x, batch_size=16)


def test_dropout_with_training_of_keras_3(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    given = keras.Input((5, 3))
    model = keras.Model(given, keras.layers.LSTM(2)(keras.layers.Dropout(0.5)(given, training=True)))
    compare(keras, shaken(model), tmp_path, normal(4, 5, 3))


@pytest.mark.parametrize("kind", ["Attention", "AdditiveAttention"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    "shapes", [((4,), (4,)), ((4,), (4,), (4,)), ((3, 4), (4,)), ((2, 3, 4), (2, 5, 4)), ((2, 3, 4), (1, 5, 4))], ids=str
)
def test_attention_of_other_axes(keras: ModuleType, tmp_path: Path, kind: str, masked: bool, shapes: tuple[tuple[int, ...], ...]) -> None:
    if masked and len(shapes[0]) == 3 and keras.__version__.startswith("3"):
        pytest.skip("Keras 3 cannot run it")
    inputs = [keras.Input(shape) for shape in shapes]
    given = [keras.layers.Masking()(each) for each in inputs] if masked else inputs
    model = shaken(keras.Model(inputs, getattr(keras.layers, kind)(use_scale=True)(given)))
    x = [normal(40, *shape) for shape in shapes]
    for each in x:
        each.reshape(-1, 4)[1::5] = 0
    compare(keras, model, tmp_path, *x)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_time_before_rows(tmp_path: Path, kind: str, sequences: bool, both: bool) -> None:
    keras = pytest.importorskip("tf_keras")
    given = keras.Input((3, 2))
    recurrent = getattr(keras.layers, kind)(4, time_major=True, return_sequences=sequences)
    layer = keras.layers.Bidirectional(recurrent) if both else recurrent
    model = shaken(keras.Model(given, layer(keras.layers.Masking()(given) if not both else given)))
    x = normal(7, 3, 2)
    x[2:4, 1] = x[5:, 0] = 0
    compare(keras, model, tmp_path, x)


def test_states_in_time_distributed(keras: ModuleType, tmp_path: Path) -> None:
    given = keras.Input(batch_shape=(2, 4, 5, 3))
    model = shaken(keras.Model(given, keras.layers.TimeDistributed(keras.layers.GRU(3, stateful=True))(given)))
    path = tmp_path / "model.h5"
    model.save(path)
    ours = fastlstm.load(path)
    for _ in range(3):
        x = normal(2, 4, 5, 3)
        golden.assert_equal(ours.predict(x), model.predict(x, batch_size=2, verbose=0))


@pytest.mark.parametrize("inner", ["Dense", "Conv1D", "Embedding"])
def test_spectral_normalisation(tmp_path: Path, inner: str) -> None:
    """That of tf_keras 2.21 cannot be built."""
    keras = pytest.importorskip("keras")
    L = keras.layers
    ids = inner == "Embedding"
    inside = {"Dense": lambda: L.Dense(3), "Conv1D": lambda: L.Conv1D(3, 2), "Embedding": lambda: L.Embedding(6, 3, mask_zero=True)}[
        inner
    ]()
    given = keras.Input((5,) if ids else (5, 2))
    before = L.Masking()(given) if inner == "Dense" else given
    model = shaken(keras.Model(given, L.LSTM(2)(L.SpectralNormalization(inside, power_iterations=2)(before))))
    x = RANDOM.integers(0, 6, (4, 5)) if ids else normal(4, 5, 2)
    x[1, 3:] = 0
    compare(keras, model, tmp_path, x)


def test_ragged_inputs(tmp_path: Path) -> None:
    keras = pytest.importorskip("tf_keras")
    tensorflow = pytest.importorskip("tensorflow")
    L = keras.layers
    lengths = [5, 2, 3]
    x = normal(3, 5, 3)
    rows = [row[:length] for row, length in zip(x, lengths, strict=True)]
    for layers in (
        [L.LSTM(4)], [L.Bidirectional(L.GRU(4, return_sequences=True)), L.Dense(2, activation="softmax")],
        [L.LSTM(4, return_sequences=True, go_backwards=True), L.TimeDistributed(L.Dense(2))],
        [L.SimpleRNN(3, return_sequences=True), L.LayerNormalization(), L.GlobalAveragePooling1D()],
    ):  # fmt: skip
        through = given = keras.Input((None, 3), ragged=True)
        for layer in layers:
            through = layer(through)
        model = shaken(keras.Model(given, through))
        model.save(tmp_path / "model.h5")
        expected = model.predict(tensorflow.RaggedTensor.from_tensor(x, lengths=lengths), verbose=0)
        found = fastlstm.load(tmp_path / "model.h5").predict(rows)
        for y, theirs in zip(found, getattr(expected, "to_list", lambda given=expected: given)(), strict=True):
            golden.assert_equal(y, np.array(theirs, np.float32))
        golden.assert_equal(fastlstm.load(tmp_path / "model.h5").predict(x), model.predict(x, verbose=0))
