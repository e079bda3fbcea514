"""Workloads with what stands around recurrent layers, convolutions, attention and normalisation, and some such layers alone.

Layers with weights have names wherever a model is no Sequential: by these each Keras finds its weights in the file.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from .workload import VOCABULARY, Workload, hard_sigmoid, ids, numbers

BATCHES = (1, 16)
SOURCE, TARGET = 40, 30


def crnn(keras: ModuleType) -> Any:
    """Optical character recognition: an image of a line becomes a sequence of columns, each gives probabilities of characters."""
    k = keras.layers
    x = given = keras.Input((128, 32, 1))
    for number, (filters, pool) in enumerate(((32, (2, 2)), (64, (2, 2)), (128, (1, 2)), (128, (1, 2)))):
        x = k.Conv2D(filters, 3, padding="same", activation="relu", name=f"convolution_{number}")(x)
        x = k.MaxPooling2D(pool)(x)
    x = k.Dense(64, activation="relu", name="columns")(k.Reshape((32, 2 * 128))(x))
    x = k.Bidirectional(k.LSTM(128, return_sequences=True), name="lower")(x)
    x = k.Bidirectional(k.LSTM(64, return_sequences=True), name="upper")(x)
    return keras.Model(given, k.Dense(80, activation="softmax", name="characters")(x))


def nowcasting(keras: ModuleType) -> list[Any]:
    """The next frames of a radar film."""
    k = keras.layers
    cell = {"padding": "same", "return_sequences": True, "recurrent_activation": hard_sigmoid(keras)}
    return [
        keras.Input((10, 40, 40, 1)),
        k.ConvLSTM2D(16, 3, **cell),
        k.BatchNormalization(),
        k.ConvLSTM2D(16, 3, **cell),
        k.Conv3D(1, 3, padding="same", activation="sigmoid"),
    ]


def attention(keras: ModuleType) -> Any:
    """A recurrent encoder with a block of self-attention upon it."""
    k = keras.layers
    given = keras.Input((100, 32))
    x = k.Bidirectional(k.LSTM(64, return_sequences=True), name="encoder")(given)
    x = k.LayerNormalization(name="before")(x)
    attended = k.MultiHeadAttention(4, 32, name="attention")(x, x)
    x = k.LayerNormalization(name="after")(k.Add()([x, attended]))
    return keras.Model(given, k.Dense(5, activation="softmax", name="classes")(k.GlobalAveragePooling1D()(x)))


def activity_windows(keras: ModuleType) -> list[Any]:
    """Activity recognition from 4 windows of 32 steps of 9 sensors: the same convolutions over each window."""
    k = keras.layers
    return [
        keras.Input((4, 32, 9)),
        k.TimeDistributed(k.Conv1D(64, 3, activation="relu")),
        k.TimeDistributed(k.Conv1D(64, 3, activation="relu")),
        k.TimeDistributed(k.Dropout(0.5)),
        k.TimeDistributed(k.MaxPooling1D(2)),
        k.TimeDistributed(k.Flatten()),
        k.LSTM(100),
        k.Dense(100, activation="relu"),
        k.Dense(6, activation="softmax"),
    ]


def activity(keras: ModuleType) -> list[Any]:
    """The same task from one long window."""
    k = keras.layers
    return [
        keras.Input((128, 9)),
        k.Conv1D(64, 3, activation="relu"),
        k.Conv1D(64, 3, activation="relu"),
        k.Dropout(0.5),
        k.MaxPooling1D(2),
        k.LSTM(100),
        k.Dense(100, activation="relu"),
        k.Dense(6, activation="softmax"),
    ]


def video(keras: ModuleType) -> list[Any]:
    """Classes of short films: convolutions over each frame, an LSTM over what they find."""
    k = keras.layers
    return [
        keras.Input((16, 64, 64, 3)),
        k.TimeDistributed(k.Conv2D(16, 3, padding="same", activation="relu")),
        k.TimeDistributed(k.MaxPooling2D(4)),
        k.TimeDistributed(k.Conv2D(32, 3, padding="same", activation="relu")),
        k.TimeDistributed(k.MaxPooling2D(4)),
        k.TimeDistributed(k.Flatten()),
        k.LSTM(32),
        k.Dense(10, activation="softmax"),
    ]


def separable(keras: ModuleType) -> Any:
    """A forecast from 24 series: a separable convolution, a GRU, attention over its steps."""
    k = keras.layers
    given = keras.Input((60, 24))
    x = k.SeparableConv1D(32, 5, padding="same", activation="relu", name="convolution")(given)
    x = k.GRU(48, return_sequences=True, name="gru")(k.LayerNormalization(name="normalization")(x))
    x = k.Concatenate()([x, k.Attention()([x, x])])
    return keras.Model(given, k.Dense(1, name="out")(k.GlobalMaxPooling1D()(x)))


def text_convolution(keras: ModuleType) -> list[Any]:
    """A text classifier whose convolution shortens the text before the GRU reads it."""
    k = keras.layers
    return [
        keras.Input((200,), dtype="int32"),
        k.Embedding(VOCABULARY, 128),
        k.Conv1D(64, 5, activation="relu"),
        k.MaxPooling1D(4),
        k.GRU(64),
        k.Dense(1, activation="sigmoid"),
    ]


def translation(keras: ModuleType) -> Any:
    """An encoder and a decoder with attention, as they are trained: the decoder is given the right words up to each step."""
    k = keras.layers
    source, target = keras.Input((SOURCE,), dtype="int32", name="source"), keras.Input((TARGET,), dtype="int32", name="target")
    embedded = k.Embedding(VOCABULARY, 128, name="source_words")(source)
    encoded, h, c = k.LSTM(128, return_sequences=True, return_state=True, name="encoder")(embedded)
    decoder = k.LSTM(128, return_sequences=True, name="decoder")
    decoded = decoder(k.Embedding(VOCABULARY, 128, name="target_words")(target), initial_state=[h, c])
    context = k.Attention()([decoded, encoded])
    x = k.Dense(128, activation="tanh", name="attended")(k.Concatenate()([decoded, context]))
    return keras.Model([source, target], k.Dense(2000, activation="softmax", name="words")(x))


def sentences(rng: np.random.Generator, batch: int) -> dict[str, np.ndarray]:
    """What the translation is given."""
    return {"source": ids(SOURCE)(rng, batch), "target": ids(TARGET)(rng, batch)}


def image(keras: ModuleType) -> Any:
    """Only companions: an image classifier that lets the places of its last feature map attend to each other."""
    k = keras.layers
    x = given = keras.Input((64, 64, 3))
    for number, filters in enumerate((32, 64, 128)):
        x = k.Conv2D(filters, 3, padding="same", use_bias=False, name=f"convolution_{number}")(x)
        x = k.Activation("relu")(k.BatchNormalization(name=f"normalization_{number}")(x))
        x = k.MaxPooling2D(2)(x)
    x = k.Reshape((64, 128))(x)
    x = k.Add()([x, k.MultiHeadAttention(4, 32, name="attention")(x, x)])
    x = k.LayerNormalization(name="after")(x)
    return keras.Model(given, k.Dense(10, activation="softmax", name="classes")(k.GlobalAveragePooling1D()(x)))


def self_attention(keras: ModuleType) -> Any:
    """A layer alone."""
    given = keras.Input((100, 128))
    return keras.Model(given, keras.layers.MultiHeadAttention(4, 32, name="attention")(given, given))


def convolution(name: str, channels: int, filters: int) -> Workload:
    """A layer alone, 3x3 over images of 32x32."""

    def build(keras: ModuleType) -> list[Any]:
        return [keras.Input((32, 32, channels)), keras.layers.Conv2D(filters, 3, padding="same", activation="relu")]

    return Workload(name, f"Conv2D({filters}, 3), 32x32 places of {channels}", BATCHES, build, numbers(32, 32, channels))


COMPANIONS = (
    Workload(
        "companion_crnn", "(Conv2D, MaxPooling2D) x 4, Bidirectional(LSTM) x 2, softmax, images of 128x32", BATCHES, crnn,
        numbers(128, 32, 1), chain=False,
    ),
    Workload(
        "companion_nowcasting", "ConvLSTM2D(16) x 2, BatchNormalization, Conv3D, 10 frames of 40x40", BATCHES, nowcasting,
        numbers(10, 40, 40, 1),
    ),
    Workload(
        "companion_attention", "Bidirectional(LSTM(64)), LayerNormalization, MultiHeadAttention(4, 32), 100 steps of 32", BATCHES,
        attention, numbers(100, 32), chain=False,
    ),
    Workload(
        "companion_activity_windows", "TimeDistributed(Conv1D) x 2, LSTM(100), 4 windows of 32 steps of 9", BATCHES, activity_windows,
        numbers(4, 32, 9),
    ),
    Workload("companion_activity", "Conv1D x 2, LSTM(100), 128 steps of 9", BATCHES, activity, numbers(128, 9)),
    Workload(
        "companion_video", "TimeDistributed(Conv2D, MaxPooling2D) x 2, LSTM(32), 16 frames of 64x64", BATCHES, video,
        numbers(16, 64, 64, 3), memory=(1, 16, 256),
    ),
    Workload(
        "companion_separable", "SeparableConv1D, LayerNormalization, GRU(48), Attention, 60 steps of 24", BATCHES, separable,
        numbers(60, 24), chain=False,
    ),
    Workload("companion_text", "Embedding, Conv1D, MaxPooling1D, GRU(64), 200 ids", BATCHES, text_convolution, ids(200)),
    Workload(
        "companion_translation", f"LSTM(128) encoder and decoder, Attention, {SOURCE} and {TARGET} ids", BATCHES, translation, sentences,
        chain=False,
    ),
    Workload(
        "companion_image", "(Conv2D, BatchNormalization, MaxPooling2D) x 3, MultiHeadAttention(4, 32): no recurrent layer, images of 64x64",
        BATCHES, image, numbers(64, 64, 3), chain=False,
    ),
)  # fmt: skip

#: Layers alone, whose work can be counted.
LAYERS = (
    convolution("layer_conv2d_64_64", 64, 64),
    convolution("layer_conv2d_1_32", 1, 32),
    convolution("layer_conv2d_3_32", 3, 32),
    Workload("layer_attention", "MultiHeadAttention(4, 32), 100 steps of 128", BATCHES, self_attention, numbers(100, 128), chain=False),
)
