"""A user's own activations, as a live Keras saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm.errors import InputError

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)


@pytest.mark.keras
def test_live_keras_activations(keras: Any, tmp_path: Path) -> None:
    """As a user does it: registered, plain, an object, a layer, in cells and wrappers, under their names."""
    ops = getattr(keras, "ops", None)
    tanh = ops.tanh if ops is not None else __import__("tensorflow").tanh

    @keras.saving.register_keras_serializable(package="mine", name="twice")
    def twice(x: Any) -> Any:
        return 2 * tanh(x)

    def bump(x: Any) -> Any:
        return x / (1 + x * x)

    @keras.saving.register_keras_serializable(package="mine")
    class Times:
        def __init__(self, by: float):
            self.by = by

        def __call__(self, x: Any) -> Any:
            return self.by * x

        def get_config(self) -> dict[str, float]:
            return {"by": self.by}

    layers = keras.layers
    keras.utils.set_random_seed(0)
    with keras.utils.custom_object_scope({"bump": bump}):
        model = keras.Sequential(
            [
                keras.Input((5, 3)),
                layers.Bidirectional(layers.LSTM(4, activation=twice, recurrent_activation=bump, return_sequences=True)),
                layers.RNN(
                    layers.StackedRNNCells([layers.GRUCell(4, activation=Times(0.5)), layers.SimpleRNNCell(3, activation=twice)]),
                    return_sequences=True,
                ),
                layers.TimeDistributed(layers.Dense(4, activation=Times(3.0))),
                layers.Activation(bump),
            ]
        )
    functions = {"mine>twice": lambda x: 2 * np.tanh(x), "bump": lambda x: x / (1 + x * x), "Times": lambda x, config: config["by"] * x}
    expected = model.predict(X, verbose=0)
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        y = fastlstm.load(path, custom_activations=functions).predict(X)
        assert np.abs(y - expected).max() <= 2e-6 + 1e-5 * np.abs(expected).max()
        with pytest.raises(InputError, match="different parameters at"):
            fastlstm.load(path, custom_activations={**functions, "Times": lambda x: x})


@pytest.mark.keras
@pytest.mark.parametrize("reset_after", [True, False])
def test_activations_of_cells_that_kernels_compute_by_rows(keras: Any, tmp_path: Path, reset_after: bool) -> None:
    """Those along the units, and one with a parameter of its own."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    masked = X.copy()
    masked[1, 2] = masked[2, :2] = 0
    model = keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.Masking(),
            layers.Bidirectional(layers.LSTM(4, activation="softmax", recurrent_activation="softmax", return_sequences=True)),
            layers.GRU(5, activation="softmax", recurrent_activation="sigmoid", reset_after=reset_after, return_sequences=True),
            layers.GRU(5, activation="tanh", recurrent_activation="softmax", reset_after=reset_after, return_sequences=True),
            layers.LSTM(19, activation=layers.LeakyReLU(0.45), return_sequences=True),
            layers.SimpleRNN(3, activation="softmax"),
        ]
    )
    path = tmp_path / "m.h5"
    model.save(path)
    found, expected = fastlstm.load(path), model.predict(masked, verbose=0)
    assert all(layer.runs != "NumPy" for layer in found.layers)
    np.testing.assert_allclose(found.predict(masked), expected, rtol=1e-5, atol=2e-6)
