"""All workloads; here those of recurrent layers with little around them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .companions import COMPANIONS, LAYERS
from .workload import VOCABULARY, Workload, hard_sigmoid, ids, numbers

PAD = -1.0


def padded(in_front: bool) -> Callable[[np.random.Generator, int], np.ndarray]:
    """0/1 series of log-normal lengths (median 12, sigma 0.6, at most 50), padded to 50."""

    def rows(rng: np.random.Generator, batch: int) -> np.ndarray:
        x = rng.integers(0, 2, (batch, 50, 1)).astype(np.float32)
        for row, length in zip(x, np.clip(rng.lognormal(np.log(12), 0.6, batch).round(), 1, 50).astype(int), strict=True):
            row[slice(0, 50 - length) if in_front else slice(length, 50)] = PAD
        return x

    return rows


def unpadded(x: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(row[row[:, 0] != PAD]) for row in x]


def text(*layers: Callable[[ModuleType], Any]) -> Callable[[ModuleType], list[Any]]:
    """A text classifier around recurrent layers."""
    return lambda keras: [
        keras.Input((200,), dtype="int32"),
        keras.layers.Embedding(VOCABULARY, 128),
        *(layer(keras) for layer in layers),
        keras.layers.Dense(1, activation="sigmoid"),
    ]


def regressor(
    shape: tuple[int | None, int], *layers: Callable[[ModuleType], Any], activation: str = "linear"
) -> Callable[[ModuleType], list[Any]]:
    """One number from a sequence of numbers."""
    return lambda keras: [
        keras.Input(shape),
        *(layer(keras) for layer in layers),
        keras.layers.Dense(1, activation=activation),
    ]


def graph(head: Callable[[ModuleType, Any], Any]) -> Callable[[ModuleType], Any]:
    """One number from 50 steps of 16, by way of an LSTM(64) and what ``head`` makes of all its outputs."""

    def build(keras: ModuleType) -> Any:
        x = keras.Input((50, 16))
        h = keras.layers.LSTM(64, return_sequences=True, name="lstm")(x)
        return keras.Model(x, keras.layers.Dense(1, name="out")(head(keras, h)))

    return build


def additive_attention(keras: ModuleType, h: Any) -> Any:
    """Bahdanau's, as people write it: scores of all steps, and the mean of the steps weighed by their softmax."""
    scores = keras.layers.Dense(1, name="score")(keras.layers.Dense(64, activation="tanh", name="hidden")(h))
    if hasattr(keras, "ops"):
        return keras.ops.sum(h * keras.ops.softmax(scores, axis=1), axis=1)
    import tensorflow as tf

    return tf.reduce_sum(h * tf.nn.softmax(scores, axis=1), axis=1)


def dot_attention(keras: ModuleType, h: Any) -> Any:
    """softmax(q k^T / sqrt(d)) v of every step, and the mean over steps."""
    q, k, v = (keras.layers.Dense(64, name=name)(h) for name in ("query", "key", "value"))
    if hasattr(keras, "ops"):
        scores = keras.ops.softmax(q @ keras.ops.transpose(k, (0, 2, 1)) / 8.0, axis=-1)
        return keras.ops.mean(scores @ v, axis=1)
    import tensorflow as tf

    scores = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) / 8.0, axis=-1)
    return tf.reduce_mean(tf.matmul(scores, v), axis=1)


def masked(timesteps: int | None) -> Callable[[ModuleType], list[Any]]:
    return regressor((timesteps, 1), lambda k: k.layers.Masking(PAD), lambda k: k.layers.LSTM(128))


RECURRENT = (
    Workload(
        "relu50_T10", "LSTM(50, relu), 10 steps of 1", (1, 32, 1000),
        regressor((10, 1), lambda k: k.layers.LSTM(50, activation="relu")), numbers(10, 1),
    ),
    Workload("sum128_T10", "LSTM(128), 10 steps of 1", (1, 300), regressor((10, 1), lambda k: k.layers.LSTM(128)), numbers(10, 1)),
    Workload(
        "lstm96_T30", "LSTM(96), 30 steps of 24", (1, 48), regressor((30, 24), lambda k: k.layers.LSTM(96)), numbers(30, 24),
    ),
    Workload(
        "relu72_T30", "LSTM(72, relu), 30 steps of 3", (1, 500),
        regressor((30, 3), lambda k: k.layers.LSTM(72, activation="relu")), numbers(30, 3),
    ),
    Workload(
        "imdb_lstm64", "Embedding(10000, 128), LSTM(64), 200 ids", (*range(1, 9), 32, 256), text(lambda k: k.layers.LSTM(64)), ids(200)
    ),
    Workload("imdb_gru64", "Embedding(10000, 128), GRU(64), 200 ids", (1, 32, 256), text(lambda k: k.layers.GRU(64)), ids(200)),
    Workload(
        "imdb_stack", "Embedding(10000, 128), LSTM(64), LSTM(32), 200 ids", (1, 32),
        text(lambda k: k.layers.LSTM(64, return_sequences=True), lambda k: k.layers.LSTM(32)), ids(200),
    ),
    Workload(
        "imdb_bi64", "Embedding(10000, 128), Bidirectional(LSTM(64)), 200 ids", (1, 32),
        text(lambda k: k.layers.Bidirectional(k.layers.LSTM(64))), ids(200),
    ),
    Workload(
        "simple64_T50", "SimpleRNN(64), 50 steps of 1", (1, 32),
        regressor((50, 1), lambda k: k.layers.SimpleRNN(64), activation="sigmoid"), numbers(50, 1),
    ),
    Workload(
        "big512x2_T100", "LSTM(512), LSTM(512), 100 steps of 256", (1, 64),
        regressor((100, 256), lambda k: k.layers.LSTM(512, return_sequences=True), lambda k: k.layers.LSTM(512)), numbers(100, 256),
    ),
    Workload("masked_lstm128_post", "Masking, LSTM(128), lengths up to 50, padded at the end", (1, 300), masked(50), padded(False)),
    Workload("masked_lstm128_pre", "Masking, LSTM(128), lengths up to 50, padded in front", (1, 300), masked(50), padded(True)),
    Workload(
        "masked_lstm128_ragged", "the same as lists of sequences, where an engine takes them", (1, 300),
        masked(None), padded(False), unpadded,
    ),
    Workload(
        "imdb_lstm64_hard", "LSTM(64) with hard_sigmoid gates, 200 ids", (1, 32),
        text(lambda k: k.layers.LSTM(64, recurrent_activation=hard_sigmoid(k))), ids(200),
    ),
    Workload(
        "imdb_gru64_before", "GRU(64, reset_after=False), 200 ids", (1, 32), text(lambda k: k.layers.GRU(64, reset_after=False)), ids(200)
    ),
    Workload(
        "attention_additive", "LSTM(64), additive attention written as operations, 50 steps of 16", (1, 32), graph(additive_attention),
        numbers(50, 16), chain=False,
    ),
    Workload(
        "attention_dot", "LSTM(64), dot-product attention written as operations, 50 steps of 16", (1, 32), graph(dot_attention),
        numbers(50, 16), chain=False,
    ),
)  # fmt: skip

WORKLOADS = (*RECURRENT, *COMPANIONS, *LAYERS)
