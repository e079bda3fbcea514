"""Layers and cells of a user's own, as a live Keras computes them: numbers, masks, streams, converted files."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from sweeping import swept

import fastlstm

X = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
X[1, 4:] = X[2, :2] = X[3] = 0  # masked at the end, at the start, everywhere


class Classes(NamedTuple):
    """Classes as a user writes them."""

    cell: Any
    two: Any
    scale: Any
    mean: Any


@pytest.fixture
def classes(keras: Any) -> Classes:
    tf = pytest.importorskip("tensorflow")
    return Classes(*cells(keras, tf), *layers_of_ones_own(keras, tf))


def cells(keras: Any, tf: Any) -> tuple[Any, Any]:
    class MinimalCell(keras.layers.Layer):
        def __init__(self, units: int, **options: Any):
            super().__init__(**options)
            self.units = self.state_size = self.output_size = units

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(name="kernel", shape=(shape[-1], self.units), initializer="glorot_uniform")
            self.recurrent = self.add_weight(name="recurrent", shape=(self.units, self.units), initializer="orthogonal")
            self.built = True

        def call(self, x: Any, states: Any, training: bool = False) -> Any:
            h = tf.tanh(tf.matmul(x, self.kernel) + tf.matmul(states[0], self.recurrent))
            return h, [h]

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    class TwoCell(keras.layers.Layer):
        """Two states, of sizes that nothing in the file tells."""

        def __init__(self, **options: Any):
            super().__init__(**options)
            self.state_size, self.output_size = [4, 2], 4

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 4), initializer="glorot_uniform")
            self.mix = self.add_weight(name="mix", shape=(2, 4), initializer="glorot_uniform")
            self.built = True

        def call(self, x: Any, states: Any, training: bool = False) -> Any:
            h, c = states
            h = tf.tanh(tf.matmul(x, self.kernel) + tf.matmul(c, self.mix) + 0.5 * h)
            return h, [h, 0.9 * c + h[:, :2]]

    register = keras.saving.register_keras_serializable(package="mine")
    return register(MinimalCell), register(TwoCell)


def layers_of_ones_own(keras: Any, tf: Any) -> tuple[Any, Any]:
    class Scale(keras.layers.Layer):
        def __init__(self, **options: Any):
            super().__init__(**options)
            self.supports_masking = True

        def build(self, shape: Any) -> None:
            self.factor = self.add_weight(name="factor", shape=(shape[-1],), initializer="random_normal")
            self.built = True

        def call(self, x: Any) -> Any:
            return x * (1 + self.factor)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    class MaskedMean(keras.layers.Layer):
        def compute_mask(self, x: Any, mask: Any = None) -> None:
            return None

        def call(self, x: Any, mask: Any = None) -> Any:
            there = tf.ones_like(x[..., :1]) if mask is None else tf.cast(mask, x.dtype)[..., None]
            return tf.reduce_sum(x * there, 1) / (tf.reduce_sum(there, 1) + 1e-3)

        def compute_output_shape(self, shape: Any) -> Any:
            return (shape[0], shape[2])

    register = keras.saving.register_keras_serializable(package="mine")
    return register(Scale), register(MaskedMean)


def minimal(x: np.ndarray, states: list[np.ndarray], weights: tuple[np.ndarray, ...]) -> Any:
    h = np.tanh(x @ weights[0] + states[0] @ weights[1])
    return h, [h]


@fastlstm.supports(state_size=[4, 2])
def two(x: np.ndarray, states: list[np.ndarray], weights: tuple[np.ndarray, ...]) -> Any:
    h, c = states
    h = np.tanh(x @ weights[0] + c @ weights[1] + 0.5 * h)
    return h, [h, 0.9 * c + h[:, :2]]


@fastlstm.supports(masks="passes", streaming=True)
def scale(x: np.ndarray, weights: tuple[np.ndarray, ...]) -> np.ndarray:
    return x * (1 + weights[0])


def masked_mean(x: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    there = np.ones(x.shape[:2]) if mask is None else mask
    return np.sum(x * there[..., None], 1) / (there.sum(1)[:, None] + 1e-3)


FUNCTIONS = {"MinimalCell": minimal, "TwoCell": two, "Scale": scale, "MaskedMean": masked_mean}


def stacks(layers: Any, mine: Classes) -> dict[str, tuple[list[str], list[Any]]]:
    """What is compared: classes of the user's in it, and its layers."""
    rnn, cell = layers.RNN, mine.cell
    return {
        "cell": (["MinimalCell"], [layers.Masking(), rnn(cell(5), return_sequences=True), layers.LSTM(3)]),
        "two states": (["TwoCell"], [layers.Masking(), rnn(mine.two(), return_sequences=True), layers.LSTM(3)]),
        "last": (["TwoCell"], [layers.Masking(), rnn(mine.two(), go_backwards=True)]),
        "both directions": (["MinimalCell"], [layers.Masking(), layers.Bidirectional(rnn(cell(5), return_sequences=True)), layers.LSTM(3)]),
        "alike": (["MinimalCell"], [layers.Masking(), rnn([cell(5), layers.GRUCell(4), cell(3)], return_sequences=True), layers.LSTM(3)]),
        "distributed": (["MinimalCell"], [layers.Reshape((2, 3, 3)), layers.TimeDistributed(rnn(cell(4))), layers.LSTM(3)]),
        "masks": (["Scale", "MaskedMean"], [layers.Masking(), mine.scale(), layers.LSTM(3, return_sequences=True), mine.mean()]),
        "streamed": (
            ["MinimalCell", "Scale", "TwoCell"],
            [rnn(cell(5), return_sequences=True), mine.scale(), rnn(mine.two(), return_sequences=True)],
        ),
    }  # fmt: skip


NAMES = ("cell", "two states", "last", "both directions", "alike", "distributed", "masks", "streamed")


def equal(y: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.abs(y - expected).max() <= 2e-6 + 1e-5 * np.abs(expected).max())


@pytest.mark.keras
@pytest.mark.parametrize(
    ("name", "ending"), swept(itertools.product(NAMES, (".keras", ".h5")), lambda one: one[1] == ".keras" or one[0] in ("cell", "masks"))
)
def test_live_layers_and_cells(name: str, ending: str, keras: Any, classes: Classes, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    used, layers = stacks(keras.layers, classes)[name]
    model = keras.Sequential([keras.Input((6, 3)), *layers])
    expected = model.predict(X, verbose=0)
    model.save(tmp_path / f"m{ending}")
    given = {kind: FUNCTIONS[kind] for kind in used}
    mine = fastlstm.load(tmp_path / f"m{ending}", custom_layers=given)
    assert equal(mine.predict(X), expected)
    assert fastlstm.verify(tmp_path / f"m{ending}", keras=ending == ".keras", custom_layers=given).passed
    fastlstm.convert(tmp_path / f"m{ending}", tmp_path / "m.fastlstm", custom_layers=given)
    converted = fastlstm.load(tmp_path / "m.fastlstm", verify=True, custom_layers=given)
    assert equal(converted.predict(X), expected)
    if name in ("cell", "two states", "streamed"):
        stream = mine.stream(4)
        steps = [stream.step(X[:, t]) for t in range(6)]
        assert equal(np.stack(steps, 1) if expected.ndim == 3 else steps[-1], expected)


@pytest.mark.keras
@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_live_masks_in_a_graph(ending: str, keras: Any, classes: Classes, tmp_path: Path) -> None:
    """Keras 3 writes the masks of a graph into the file, those that a layer of the user's passes on too."""
    keras.utils.set_random_seed(0)
    used, layers = stacks(keras.layers, classes)["masks"]
    start = y = keras.Input((6, 3))
    for layer in layers:
        y = layer(y)
    model = keras.Model(start, y)
    model.save(tmp_path / f"m{ending}")
    mine = fastlstm.load(tmp_path / f"m{ending}", custom_layers={kind: FUNCTIONS[kind] for kind in used})
    assert equal(mine.predict(X), model.predict(X, verbose=0))


@pytest.mark.keras
def test_a_keras_that_does_not_know_a_class(keras: Any, classes: Classes, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((6, 3)), classes.scale()])
    model.save(tmp_path / "m.keras")
    keras.saving.get_custom_objects().clear()
    with pytest.raises(fastlstm.InputError, match=r"keras: Keras \d.* cannot load .*m.keras"):
        fastlstm.verify(tmp_path / "m.keras", keras=True, custom_layers={"Scale": scale})
