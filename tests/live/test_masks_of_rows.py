"""Mask rules of the catalogue against a live Keras 3: the layers that hand a mask on, and those that lose it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm

pytestmark = [pytest.mark.keras, pytest.mark.slow]

STEPS, FEATURES = 6, 4
BETWEEN: dict[str, Callable[[Any], Any]] = {
    "Rescaling": lambda layers: layers.Rescaling(2.0),
    "Normalization": lambda layers: layers.Normalization(mean=[0.1] * FEATURES, variance=[2.0] * FEATURES),
    "LayerNormalization": lambda layers: layers.LayerNormalization(),
    "EinsumDense": lambda layers: layers.EinsumDense("abc,cd->abd", output_shape=(None, FEATURES)),
    "RMSNormalization": lambda layers: layers.RMSNormalization(),
}


@pytest.mark.parametrize("given", [False, True], ids=["own mask", "mask given by hand"])
@pytest.mark.parametrize("name", BETWEEN)
def test_mask_through_a_layer(tmp_path: Path, name: str, given: bool) -> None:
    """Keras's numbers, also where the mask is one that no layer of the file would have handed on."""
    keras = pytest.importorskip("keras", minversion="3.9")
    start = keras.Input((STEPS, FEATURES))
    masking = keras.layers.Masking()
    between = BETWEEN[name](keras.layers)(masking(start))
    words = {"mask": masking.compute_mask(start)} if given else {}
    model = keras.Model(start, keras.layers.LSTM(3)(between, **words))
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(3, STEPS, FEATURES)).astype(np.float32)
    x[:, 2:4], x[1, 5] = 0, 0
    np.testing.assert_allclose(fastlstm.load(tmp_path / "model.keras").predict(x), model.predict(x, verbose=0), atol=1e-6)
