"""Tensors whose values stand in the file, as a live Keras writes them: the same numbers."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import golden
import numpy as np
import pytest

import fastlstm

ROWS, STEPS, FEATURES, UNITS = 2, 5, 3, 4
X = np.random.default_rng(3).normal(size=(ROWS, STEPS, FEATURES)).astype(np.float32)
MASK = np.array([[True, True, False, True, False], [False, True, True, True, False]])


def built(keras: ModuleType) -> Any:
    """Fixed tensors wherever both Keras 3 and tf_keras take them; an output each."""
    import tensorflow as tf

    layers, start = keras.layers, keras.Input((STEPS, FEATURES), batch_size=ROWS)
    made = lambda seed, *shape: tf.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))  # noqa: E731
    h, c, mask = made(1, ROWS, UNITS), made(2, ROWS, UNITS), tf.constant(MASK)
    last = layers.LSTM(UNITS)(start)
    image = layers.Reshape((STEPS, FEATURES, 1))(start)
    j = keras.Input((STEPS, FEATURES), batch_size=ROWS)
    nested = keras.Model(j, layers.GRU(UNITS)(j, initial_state=h))
    masked = layers.Masking()(start)
    return keras.Model(start, {
        "lstm": layers.LSTM(UNITS)(start, initial_state=[h, c]),
        "gru, masked": layers.GRU(UNITS, return_sequences=True)(masked, initial_state=h),
        "bidirectional": layers.Bidirectional(layers.LSTM(UNITS))(start, initial_state=[h, c, c, h]),
        "cell": layers.RNN(layers.SimpleRNNCell(UNITS))(start, initial_state=h),
        "cells": layers.RNN([layers.LSTMCell(UNITS), layers.GRUCell(UNITS)])(start, initial_state=[[h, c], h]),
        "conv": layers.ConvLSTM1D(2, 2, padding="same")(image, initial_state=[made(3, ROWS, FEATURES, 2), made(4, ROWS, FEATURES, 2)]),
        "nested": nested(start),
        "add": layers.Add()([last, h]),
        "multiply": layers.Multiply()([last, h, c]),
        "maximum": layers.Maximum()([last, c]),
        "concatenate": layers.Concatenate()([last, h]),
        "attention": layers.Attention()([layers.LSTM(UNITS, return_sequences=True)(start), made(6, ROWS, 6, UNITS)]),
        "mask": layers.GRU(UNITS)(layers.LSTM(UNITS, return_sequences=True)(start, mask=mask)),
        "mask over a mask": layers.GRU(UNITS)(layers.LSTM(UNITS, return_sequences=True)(masked, mask=mask)),
        "mask, both ways": layers.Bidirectional(layers.LSTM(UNITS, return_sequences=True))(start, mask=mask),
        "mask beside a state": layers.LSTM(UNITS, return_sequences=True)(start, initial_state=[h, c], mask=mask),
        "mask of steps": layers.GRU(UNITS)(layers.TimeDistributed(layers.Dense(UNITS))(start, mask=mask)),
        "mean": layers.GlobalAveragePooling1D()(start, mask=mask),
    })  # fmt: skip


@pytest.mark.keras
@pytest.mark.slow
def test_equals_keras(tmp_path: Path, keras: ModuleType) -> None:
    model = built(keras)
    rng = np.random.default_rng(0)
    model.set_weights([(rng.normal(size=w.shape) * 0.5).astype(w.dtype) for w in model.get_weights()])
    x = X.copy()
    x[0, 3] = 0
    path = tmp_path / ("m.keras" if keras.__version__ >= "3" else "m.h5")
    model.save(path)
    theirs = model.predict(x, verbose=0)
    for precision in ("float32", "float64"):
        ours = fastlstm.load(path, precision=precision).predict(x)
        assert set(ours) == set(theirs)
        for name, y in theirs.items():
            assert golden.difference(ours[name], y) <= golden.bound(y), (precision, name)


@pytest.mark.keras
@pytest.mark.slow
def test_a_mask_that_only_looks_like_the_layers_own(tmp_path: Path) -> None:
    """Keras 3 writes masks as operations: one that takes all features of a step where Masking takes any is another, and is computed."""
    keras = pytest.importorskip("keras", minversion="3")
    x = X.copy()
    x[:, 1, 0] = 0  # masked for "all", not for Masking
    x[:, 3] = 0
    for name in ("any", "all"):
        start = keras.Input((STEPS, FEATURES))
        mask = getattr(keras.ops, name)(keras.ops.not_equal(start, 0.0), axis=-1)
        model = keras.Model(start, keras.layers.LSTM(UNITS)(keras.layers.Masking()(start), mask=mask))
        model.save(tmp_path / "m.keras")
        golden.assert_equal(fastlstm.load(tmp_path / "m.keras").predict(x), model.predict(x, verbose=0))


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("shape", [(ROWS, STEPS, STEPS), (1, STEPS, STEPS), (STEPS, STEPS), (ROWS, 1, STEPS, STEPS), (1, 1, 5)], ids=str)
def test_attention_mask(tmp_path: Path, keras: ModuleType, shape: tuple[int, ...]) -> None:
    """Its numbers are true and false, of one byte each; a mask of two axes is that of every row."""
    import tensorflow as tf

    mask = tf.constant(np.random.default_rng(5).random(shape) < 0.6)
    start = keras.Input((STEPS, FEATURES))
    model = keras.Model(start, keras.layers.MultiHeadAttention(2, 3)(start, start, attention_mask=mask))
    path = tmp_path / ("m.keras" if keras.__version__ >= "3" else "m.h5")
    model.save(path)
    for precision in ("float32", "float64"):
        golden.assert_equal(fastlstm.load(path, precision=precision).predict(X), model.predict(X, verbose=0))
