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
