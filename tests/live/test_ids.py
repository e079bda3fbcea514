"""Ids that several layers read: the smallest of their vocabularies counts, and what leaves the model leaves it as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm import InputError

pytestmark = pytest.mark.keras
keras = pytest.importorskip("keras")
IDS = np.array([[1, 2, 3], [9, 0, 4]])


def pair(folder: Path, model: Any) -> fastlstm.Model:
    """A Keras model as fastlstm loads it."""
    model.save(folder / "m.keras")
    return fastlstm.load(folder / "m.keras")


def ids() -> Any:
    return keras.Input((None,), dtype="int32")


def handing_on() -> Any:
    """A model that gives back its ids, and rows of a table of 100 for them."""
    x = ids()
    return keras.Model(x, [x, keras.layers.Embedding(100, 2)(x)])


def equal(found: Any, expected: Any) -> None:
    for y, z in zip(found, expected, strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-5, atol=1e-6)


def test_ids_that_are_an_output_too(tmp_path: Path) -> None:
    x = ids()
    model = keras.Model(x, [x, keras.layers.Embedding(10, 3)(x)])
    equal(pair(tmp_path, model).predict(IDS), model.predict(IDS, verbose=0))


def test_ids_that_a_nested_model_hands_on(tmp_path: Path) -> None:
    x, nested = ids(), handing_on()
    same, rows = nested(nested(x)[0])
    model = keras.Model(x, [keras.layers.Embedding(10, 2)(same), rows])
    loaded = pair(tmp_path, model)
    equal(loaded.predict(IDS), model.predict(IDS, verbose=0))
    with pytest.raises(InputError, match="expected ids from 0 to 9, found 5 to 99"):
        loaded.predict(np.array([[99, 5]]))


def test_ids_that_come_out_of_a_nested_model_as_numbers(tmp_path: Path) -> None:
    x, nested = ids(), handing_on()
    same, rows = nested(x)
    model = keras.Model(x, [keras.layers.Dense(2)(keras.layers.Reshape((-1, 1))(same)), rows])
    equal(pair(tmp_path, model).predict(IDS), model.predict(IDS, verbose=0))
