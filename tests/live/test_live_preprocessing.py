"""Layers that make ids and categories, beside the Kerases that are installed: numbers, shapes and dtypes are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import preprocessing_cases as cases
import pytest

import fastlstm

pytestmark = pytest.mark.keras
LIBRARIES = ("keras", "tf_keras")


def same(y: Any, expected: Any, name: str) -> None:
    """Are they alike in numbers, shape and dtype?"""
    expected = np.asarray(expected)
    assert (y.dtype, y.shape) == (expected.dtype, expected.shape), name
    if expected.dtype == np.float32:
        np.testing.assert_allclose(y, expected, rtol=1e-6, err_msg=name)
    else:
        assert np.array_equal(y, expected), (name, y, expected)


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_layer(library: str, tmp_path: Path) -> None:
    keras, tf = pytest.importorskip(library), pytest.importorskip("tensorflow")
    count = 0
    for given, model, names in cases.grouped(keras).values():
        model.save(tmp_path / f"{given}.keras")
        rows = cases.rows(given)
        expected = model.predict(tf.constant(rows), verbose=0)
        expected = expected if isinstance(expected, list) else [expected]
        y = fastlstm.load(tmp_path / f"{given}.keras").predict(rows)
        for name, mine, theirs in zip(names, y if isinstance(y, list) else [y], expected, strict=True):
            same(mine, theirs, name)
            count += 1
    assert count > 50


@pytest.mark.parametrize("library", LIBRARIES)
def test_normalization(library: str, tmp_path: Path) -> None:
    """Along each axis, there and back, adapted and with given moments."""
    keras = pytest.importorskip(library)
    random = np.random.default_rng(0)
    x = random.normal(2, 3, (20, 4, 3)).astype(np.float32)
    x[:, :, 1] = 5  # does not vary
    for axis, shape in ((-1, (3,)), (None, ()), (1, None), ((1, 2), (4, 3)), (2, (3,)), ((-1, 1), (4, 3))):
        for invert in (False, True):
            adapted = keras.layers.Normalization(axis=axis, invert=invert)
            adapted.adapt(x)
            layers = [adapted]
            if shape is not None:  # Keras takes no given moments along the first axis alone
                moments = {"mean": random.normal(size=shape).astype(np.float32), "variance": random.uniform(0.1, 2, shape)}
                layers.append(keras.layers.Normalization(axis=axis, invert=invert, **moments))
            for layer in layers:
                model = keras.Sequential([keras.Input((4, 3)), layer])
                model.save(tmp_path / "m.keras")
                y = model.predict(x, verbose=0)
                found = fastlstm.load(tmp_path / "m.keras").predict(x)
                np.testing.assert_allclose(found, y, rtol=1e-6, atol=1e-6 * np.abs(y).max(), err_msg=f"{axis} {invert}")
