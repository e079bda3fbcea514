"""The programs that people start with, each trained with a live Keras, saved to ``.h5``, and equal to Keras's own predict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from sweeping import swept

import fastlstm

pytestmark = [pytest.mark.keras, pytest.mark.slow]


class Program(NamedTuple):
    """A model to be trained, and what to ask it afterwards."""

    layers: list[Any]
    x: np.ndarray
    y: np.ndarray
    loss: str
    questions: np.ndarray
    epochs: int = 2


Build = Callable[[ModuleType, np.random.Generator], Program]
PROGRAMS: dict[str, Build] = {}


def program(name: str) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        PROGRAMS[name] = build
        return build

    return register


def sequences(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """0/1 series of log-normal lengths: median 5, sigma 0.5."""
    lengths = np.maximum(1, rng.lognormal(np.log(5), 0.5, count).round().astype(int))
    return [rng.integers(0, 2, length).astype(np.float32) for length in lengths]


def padded(series: list[np.ndarray], value: float, extra: int = 0) -> np.ndarray:
    x = np.full((len(series), max(map(len, series)) + extra), value, np.float32)
    for row, values in zip(x, series):
        row[: len(values)] = values
    return x


def sums(series: list[np.ndarray]) -> np.ndarray:
    return np.array([[values.sum()] for values in series], np.float32)


def fixed_embedding(keras: ModuleType) -> list[Any]:
    """Input and Embedding of ids 1/2 as 0/1, padding 0 masked; how weights are fixed differs between Keras 2 and 3."""
    table = np.array([[0.0], [0.0], [1.0]], np.float32)
    constant = keras.initializers.Constant(table)
    return [keras.Input((None,)), keras.layers.Embedding(3, 1, embeddings_initializer=constant, trainable=False, mask_zero=True)]


def text(keras: ModuleType, rng: np.random.Generator, *layers: Any) -> Program:
    """A text classifier of padded ids of length 200; the label hangs on words that the text holds."""
    ids = rng.integers(1, 10000, (128, 200))
    for row, length in zip(ids, rng.integers(20, 201, len(ids))):
        row[: 200 - length] = 0
    labels = (np.sort(ids, axis=1)[:, -20:].mean(axis=1, keepdims=True) > 9400).astype(np.float32)
    start = [keras.Input((200,)), keras.layers.Embedding(10000, 128)]
    return Program([*start, *layers, keras.layers.Dense(1, activation="sigmoid")], ids, labels, "binary_crossentropy", ids[:32], 1)


@program("1 LSTM(50, relu) on the sine of a mean")
def _(keras: ModuleType, rng: np.random.Generator) -> Program:
    x = rng.normal(size=(100, 10, 1)).astype(np.float32)
    layers = [keras.Input((10, 1)), keras.layers.LSTM(50, activation="relu"), keras.layers.Dense(1)]
    return Program(layers, x, np.sin(x.mean(axis=1)), "mse", x, 20)


@program("2 LSTM(128) on the sum of ten bits")
def _(keras: ModuleType, rng: np.random.Generator) -> Program:
    x = rng.integers(0, 2, (300, 10, 1)).astype(np.float32)
    return Program([keras.Input((10, 1)), keras.layers.LSTM(128), keras.layers.Dense(1)], x, x.sum(axis=1), "mse", x, 10)


@program("3 Masking(-1) + LSTM(128) on sums of several lengths")
def _(keras: ModuleType, rng: np.random.Generator) -> Program:
    series = sequences(rng, 300)
    layers = [keras.Input((None, 1)), keras.layers.Masking(-1.0), keras.layers.LSTM(128), keras.layers.Dense(1)]
    return Program(layers, padded(series, -1.0)[..., None], sums(series), "mse", padded(series[:64], -1.0, 3)[..., None], 10)


@program("4 Embedding(mask_zero) + LSTM(128) on ids")
def _(keras: ModuleType, rng: np.random.Generator) -> Program:
    series = sequences(rng, 300)
    ids = padded([values + 1 for values in series], 0.0).astype(np.int32)
    return Program([*fixed_embedding(keras), keras.layers.LSTM(128), keras.layers.Dense(1)], ids, sums(series), "mse", ids[:64], 10)


@program("5a text, LSTM(64)")
def _(keras: ModuleType, rng: np.random.Generator) -> Program:
    return text(keras, rng, keras.layers.LSTM(64))


@program("5b text, LSTM(64) + LSTM(32)")
def _(keras: ModuleType, rng: np.random.Generator) -> Program:
    return text(keras, rng, keras.layers.LSTM(64, return_sequences=True), keras.layers.LSTM(32))


@program("5c text, LSTM(64) with dropouts")
def _(keras: ModuleType, rng: np.random.Generator) -> Program:
    return text(keras, rng, keras.layers.LSTM(64, dropout=0.3, recurrent_dropout=0.3))


@program("5d text, GRU(64)")
def _(keras: ModuleType, rng: np.random.Generator) -> Program:
    return text(keras, rng, keras.layers.GRU(64))


@program("5e text, Bidirectional(LSTM(64))")
def _(keras: ModuleType, rng: np.random.Generator) -> Program:
    return text(keras, rng, keras.layers.Bidirectional(keras.layers.LSTM(64)))


@program("6 SimpleRNN(64) on the majority of fifty bits")
def _(keras: ModuleType, rng: np.random.Generator) -> Program:
    x = rng.integers(0, 2, (400, 50, 1)).astype(np.float32)
    layers = [keras.Input((50, 1)), keras.layers.SimpleRNN(64), keras.layers.Dense(1, activation="sigmoid")]
    return Program(layers, x, (x.sum(axis=1) > 25).astype(np.float32), "binary_crossentropy", x[:64])


@program("7 SimpleRNN(64) on thirty days of three prices")
def _(keras: ModuleType, rng: np.random.Generator) -> Program:
    walk = np.cumsum(rng.normal(scale=0.02, size=(300, 31, 3)), axis=1).astype(np.float32)
    layers = [keras.Input((30, 3)), keras.layers.SimpleRNN(64), keras.layers.Dense(1, activation="sigmoid")]
    return Program(layers, walk[:, :30], (walk[:, 30, :1] > walk[:, 29, :1]).astype(np.float32), "binary_crossentropy", walk[:64, :30])


@program("8 RNN(LSTMCell(64)) on the next value of a sine wave")
def _(keras: ModuleType, rng: np.random.Generator) -> Program:
    wave = np.sin(rng.uniform(0, 6.28, (300, 1)) + 0.3 * np.arange(21)).astype(np.float32)[..., None]
    layers = [keras.Input((20, 1)), keras.layers.RNN(keras.layers.LSTMCell(64)), keras.layers.Dense(1)]
    return Program(layers, wave[:, :20], wave[:, 20], "mse", wave[:64, :20], 5)


def trained(keras: ModuleType, name: str, path: Path) -> tuple[Any, Program]:
    """Build, train and save one of the programs."""
    keras.utils.set_random_seed(7)
    chosen = PROGRAMS[name](keras, np.random.default_rng(7))
    model = keras.Sequential(chosen.layers)
    model.compile(loss=chosen.loss, optimizer="adam")
    model.fit(chosen.x, chosen.y, epochs=chosen.epochs, batch_size=32, verbose=0)
    model.save(path)
    return model, chosen


@pytest.mark.parametrize("name", swept(PROGRAMS, lambda name: list(PROGRAMS).index(name) % 3 == 0))
def test_equals_keras(keras: ModuleType, name: str, tmp_path: Path, figure: Callable[[str, str], None]) -> None:
    keras_model, chosen = trained(keras, name, tmp_path / "model.h5")
    expected = keras_model.predict(chosen.questions, verbose=0)
    model = fastlstm.load(tmp_path / "model.h5")
    actual = model.predict(chosen.questions)
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    apart, largest = float(np.abs(actual - expected).max()), float(np.abs(expected).max())
    note = f"{apart:.2g} on outputs up to {largest:.2g}"
    if chosen.loss == "mse" and len(chosen.questions) == len(chosen.y):
        note += f", loss {np.mean((actual - chosen.y) ** 2):.6f} (Keras {np.mean((expected - chosen.y) ** 2):.6f})"
    figure(f"seed {name}, {keras.__name__} {keras.__version__}: max |fastlstm - Keras|", note)
    assert apart <= 1e-6 * max(1.0, largest)


def test_padding_more_changes_nothing(keras: ModuleType, tmp_path: Path) -> None:
    """A sequence alone, and the same with ten paddings more, give the same number: not a bit differs."""
    _, chosen = trained(keras, "3 Masking(-1) + LSTM(128) on sums of several lengths", tmp_path / "model.h5")
    model = fastlstm.load(tmp_path / "model.h5")
    for row in chosen.questions[:10]:
        alone = row[row[:, 0] != -1.0][None]
        more = np.concatenate([alone, np.full((1, 10, 1), -1.0, np.float32)], axis=1)
        assert model.predict(alone).tobytes() == model.predict(more).tobytes()
        assert model.predict([alone[0]]).tobytes() == model.predict(alone).tobytes()
