"""SavedModel folders and checkpoints that an installed tf_keras writes give its numbers; what Keras 3 exports is refused."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import golden
import numpy as np
import pytest

import fastlstm

pytestmark = pytest.mark.keras
RANDOM = np.random.default_rng(0)


@pytest.fixture
def tf_keras() -> ModuleType:
    return pytest.importorskip("tf_keras")


def same(model: Any, folder: Path, x: np.ndarray) -> None:
    """Both ways in which tf_keras writes TensorFlow's files, and what they are converted to, give its numbers."""
    expected = golden.flat(model.predict(x, verbose=0))
    model.save(folder / "saved", save_format="tf")
    model.save_weights(folder / "weights", save_format="tf")
    fastlstm.convert(folder / "saved", folder / "m.fastlstm")
    for loaded in (
        fastlstm.load(folder / "saved"), fastlstm.load(folder / "weights", architecture=model.to_json()),
        fastlstm.load(folder / "m.fastlstm", verify=True),
    ):  # fmt: skip
        for y, theirs in zip(golden.flat(loaded.predict(x)), expected, strict=True):
            golden.assert_equal(y, theirs)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def test_layers_in_layers(tf_keras: ModuleType, tmp_path: Path) -> None:
    L = tf_keras.layers
    x, inner = tf_keras.Input((7, 3)), tf_keras.Sequential([L.Dense(2, activation="tanh"), L.BatchNormalization()])
    y = L.RNN([L.LSTMCell(4), L.GRUCell(3)])(L.Masking()(x))
    model = tf_keras.Model(x, [L.Add()([inner(y), inner(y * 2.0)]), x[:, -1]])
    model.set_weights([RANDOM.uniform(0.3, 1.0, weight.shape) for weight in model.get_weights()])
    same(model, tmp_path, normal(4, 7, 3))


def test_text(tf_keras: ModuleType, tmp_path: Path) -> None:
    L = tf_keras.layers
    vectorize = L.TextVectorization(output_sequence_length=5)
    vectorize.adapt(["the cat sat", "the dog ran"])
    model = tf_keras.Sequential([tf_keras.Input((1,), dtype="string"), vectorize, L.Embedding(8, 3, mask_zero=True), L.SimpleRNN(4)])
    texts = np.array([["the dog sat"], ["a cat, the CAT!"], [""]])
    expected = model.predict(texts, verbose=0)
    model.save(tmp_path / "saved", save_format="tf")
    golden.assert_equal(fastlstm.load(tmp_path / "saved").predict(texts), expected)


def test_what_keras_3_exports(keras: ModuleType, tmp_path: Path) -> None:
    if keras.__version__.startswith("2"):
        pytest.skip("this Keras has no such export")
    model = keras.Sequential([keras.Input((6, 2)), keras.layers.LSTM(4)])
    model.export(tmp_path / "exported", verbose=False)
    with pytest.raises(fastlstm.UnsupportedError, match=r"without a Keras config: export\(\) of Keras 3"):
        fastlstm.load(tmp_path / "exported")
    model.save(tmp_path / "model.keras")  # as the message says
    fastlstm.load(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    fastlstm.load(tmp_path / "model.weights.h5", architecture=model.to_json())
