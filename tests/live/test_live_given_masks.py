"""Masks that are given, against a live Keras: as an argument of a layer, by an input of any dtype, and to a model that is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sweeping import swept

import fastlstm
from fastlstm.errors import FastLSTMError

STEPS, FEATURES = 5, 3
RNG = np.random.default_rng(0)
X, Y = (RNG.normal(size=(4, STEPS, FEATURES)).astype(np.float32) for _ in range(2))
X[0, 1], X[1, 3:] = 0, 0
MASKS = [RNG.random((4, STEPS)) < 0.6 for _ in range(2)]
MASKS[0][:, 1] = MASKS[1][:, 2] = True
#: By name: dtype, shape less the batch, and the mask as it is fed.
KINDS: dict[str, tuple[str, tuple[int, ...], Callable[[np.ndarray], np.ndarray]]] = {
    "bool": ("bool", (STEPS,), lambda mask: mask),
    "float": ("float32", (STEPS,), lambda mask: mask.astype(np.float32)),
    "half": ("float32", (STEPS,), lambda mask: np.where(mask, np.float32(0.5), np.float32(0))),
    "int": ("int32", (STEPS,), lambda mask: mask.astype(np.int32)),
    "column": ("bool", (STEPS, 1), lambda mask: mask[..., None]),
}


#: How many of the readers that Keras itself fails with, or that are left out, by kind.
FAIL = {"keras": {"column": 7}, "tf_keras": {"float": 13, "half": 13, "int": 13, "column": 15}}


def readers(keras: ModuleType) -> dict[str, Callable[..., Any]]:
    """Layers that are given masks: of two sequences x and y, by their masks m and n."""
    L = keras.layers

    def nested(x: Any, m: Any) -> Any:
        start = keras.Input((STEPS, FEATURES))
        return keras.Model(start, L.GRU(2, return_sequences=True)(L.Dense(3)(start)))(x, mask=m)

    def nested_twice(x: Any, y: Any, masks: list[Any]) -> Any:
        starts = [keras.Input((STEPS, FEATURES)) for _ in range(2)]
        return keras.Model(starts, L.Add()([L.LSTM(2)(start) for start in starts]))([x, y], mask=masks)

    found: dict[str, Callable[..., Any]] = {
        "lstm": lambda x, y, m, n: L.LSTM(2)(L.LSTM(3, return_sequences=True)(x, mask=m)),
        "gru": lambda x, y, m, n: L.GRU(3, return_sequences=True, go_backwards=True)(x, mask=m),
        "cells": lambda x, y, m, n: L.RNN([L.LSTMCell(3), L.GRUCell(2)])(x, mask=m),
        "states": lambda x, y, m, n: L.LSTM(3)(x, mask=m, initial_state=[L.Dense(3)(L.Flatten()(y))] * 2),
        "both": lambda x, y, m, n: L.LSTM(2)(L.Bidirectional(L.SimpleRNN(3, return_sequences=True))(x, mask=m)),
        "each": lambda x, y, m, n: L.LSTM(2)(L.TimeDistributed(L.Dense(2))(x, mask=m)),
        "mean": lambda x, y, m, n: L.GlobalAveragePooling1D()(x, mask=m),
        "normal": lambda x, y, m, n: L.LSTM(3)(L.BatchNormalization()(x, mask=m)),
        "masked": lambda x, y, m, n: L.LSTM(2)(L.LSTM(3, return_sequences=True)(L.Masking()(x), mask=m)),
        "nested": lambda x, y, m, n: L.LSTM(2)(nested(x, m)),
        "nested twice": lambda x, y, m, n: nested_twice(x, y, [m, n]),
        "nested once": lambda x, y, m, n: nested_twice(x, y, [None, n]),
        "sequential": lambda x, y, m, n: keras.Sequential([L.LSTM(3, return_sequences=True), L.LSTM(2)])(x, mask=m),
        "images": lambda x, y, m, n: L.ConvLSTM2D(2, 1)(L.Reshape((STEPS, FEATURES, 1, 1))(x), mask=m),
        "attention": lambda x, y, m, n: L.LSTM(2)(L.Attention()([x, y], mask=[m, n])),
        "attention, one": lambda x, y, m, n: L.AdditiveAttention()([x, y], mask=[None, n]),
        "softmax": lambda x, y, m, n: L.Softmax()(L.Reshape((STEPS,))(L.Dense(1)(x)), mask=m),
        "softmax, axis": lambda x, y, m, n: L.Softmax(axis=1)(x, mask=L.Reshape((STEPS, 1))(m)),
        "pairs": lambda x, y, m, n: L.MultiHeadAttention(2, 2)(x, y, attention_mask=L.Reshape((1, STEPS))(n)),
    }
    if keras.__name__ == "keras":
        heads = L.MultiHeadAttention
        found |= {
            "heads": lambda x, y, m, n: L.LSTM(2)(heads(2, 2)(L.Masking()(x), y, x, query_mask=m, value_mask=n, key_mask=m)),
            "heads, key": lambda x, y, m, n: heads(2, 2)(x, y, key_mask=m),
        }
    return found


def suffix(keras: ModuleType) -> str:
    return ".keras" if keras.__name__ == "keras" else ".h5"


def shaken(model: Any) -> Any:
    """The model with random weights; variances are positive."""
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=array.shape) * 0.5 for array in model.get_weights()]
    model.set_weights([np.abs(array) + 0.1 if array.ndim == 1 else array for array in weights])
    return model


def in_float64(keras: ModuleType, through: Callable[..., Any], weights: list[np.ndarray], given: dict[str, np.ndarray]) -> np.ndarray:
    """What a Keras that computes in float64 gives."""
    keras.backend.set_floatx("float64")
    try:
        starts = [keras.Input(array.shape[1:], dtype="float64", name=name) for name, array in given.items()]
        model = keras.Model(starts, through(*starts))
        model.set_weights(weights)
        return np.asarray(model.predict([array.astype(np.float64) for array in given.values()], verbose=0))
    finally:
        keras.backend.set_floatx("float32")


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("kind", swept(KINDS, ("bool", "half").__contains__))
def test_given_masks_against_keras(keras: ModuleType, tmp_path: Path, kind: str) -> None:
    """The numbers of Keras, or where Keras fails an error of ours."""
    dtype, shape, fed = KINDS[kind]
    given = {"x": X, "y": Y, "m": fed(MASKS[0]), "n": fed(MASKS[1])}
    computed = 0
    # Attention of a mask of three axes is none of steps: refused, though Keras 3 computes something.
    for name, through in [(name, one) for name, one in readers(keras).items() if kind != "column" or "attention" not in name]:
        starts = [keras.Input((STEPS, FEATURES), name=one) for one in "xy"] + [keras.Input(shape, dtype=dtype, name=one) for one in "mn"]
        try:
            model = shaken(keras.Model(starts, through(*starts)))
            expected = model.predict(list(given.values()), verbose=0)
        except Exception:  # noqa: BLE001  # whatever that backend raises
            continue
        path = tmp_path / f"model{suffix(keras)}"
        model.save(path)
        for precision in ("float32", "float64"):
            if precision == "float64" and kind == "half" and keras.__name__ != "keras":
                expected = in_float64(keras, through, model.get_weights(), given)  # -5e8 and a number, of which float32 keeps nothing
            found = fastlstm.load(path, precision=precision).predict(given)
            np.testing.assert_allclose(found, expected, atol=2e-6, rtol=1e-5, err_msg=name)
        computed += 1
    assert computed == len(readers(keras)) - FAIL[keras.__name__].get(kind, 0)


def called(keras: ModuleType) -> dict[str, Callable[[Any, Any], Any]]:
    """Models of two inputs that are given a mask each."""
    L = keras.layers
    return {
        "lstm": lambda x, y: L.Add()([L.LSTM(3)(L.Dense(2)(x)), L.GRU(3)(y)]),
        "added": lambda x, y: L.LSTM(3)(L.Add()([x, y])),
        "joined": lambda x, y: L.LSTM(3)(L.Concatenate()([x, y])),
        "masked": lambda x, y: L.LSTM(3)(L.Add()([L.Masking()(x), y])),
        "mean": lambda x, y: L.GlobalAveragePooling1D()(L.Multiply()([x, y])),
        "each": lambda x, y: L.Bidirectional(L.LSTM(2))(L.TimeDistributed(L.Dense(2))(L.Average()([x, y]))),
        "convolution": lambda x, y: L.LSTM(3)(L.Conv1D(2, 1)(L.Add()([x, y]))),
        "attention": lambda x, y: L.LSTM(2)(L.Attention()([x, y])),
    }


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("masks", [(0, 1), (0, None), (None, 1)], ids=str)
def test_called_models_against_keras(keras: ModuleType, tmp_path: Path, masks: tuple[int | None, ...]) -> None:
    tensor = pytest.importorskip("tensorflow").constant
    given = [None if n is None else MASKS[n] for n in masks]
    for name, through in called(keras).items():
        starts = [keras.Input((STEPS, FEATURES)) for _ in range(2)]
        model = shaken(keras.Model(starts, through(*starts)))
        path = tmp_path / f"model{suffix(keras)}"
        model.save(path)
        expected = np.asarray(model([tensor(X), tensor(Y)], mask=[None if mask is None else tensor(mask) for mask in given]))
        for precision, threads in (("float32", 1), ("float32", 2), ("float64", 1)):
            found = fastlstm.load(path, precision=precision, threads=threads)([X, Y], mask=given)
            np.testing.assert_allclose(found, expected, atol=2e-6, rtol=1e-5, err_msg=name)


@pytest.mark.keras
def test_masks_of_other_shapes_are_refused_as_keras_does(keras: ModuleType, tmp_path: Path) -> None:
    start = keras.Input((STEPS, FEATURES))
    keras.Model(start, keras.layers.LSTM(2)(start)).save(tmp_path / f"model{suffix(keras)}")
    with pytest.raises(FastLSTMError, match="expected shape"):
        fastlstm.load(tmp_path / f"model{suffix(keras)}")(X, mask=MASKS[0][:, :3])
