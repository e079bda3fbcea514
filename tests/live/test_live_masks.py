"""Masks against a live Keras: of other axes than time, of tiny numbers, and those that Keras 3 wrote as operations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sweeping import swept

import fastlstm
from fastlstm.errors import FormatError, UnsupportedError

CELLS = np.random.default_rng(3).random((2, 4, 3)) < 0.6  # of a grid of width 3, along 4 steps
#: Steps of 0, of numbers below the normal range of float32, and of numbers just above it.
TINY = np.array([[0, 0], [1e-41, 0], [-1e-41, 1e-45], [1.1e-38, -1.1e-38], [1.2e-38, 0], [1, 1], [2, 0]], np.float32)


def chained(*layers: Any) -> Callable[[Any], Any]:
    def through(value: Any) -> Any:
        for each in layers:
            value = each(value)
        return value

    return through


def grids(keras: ModuleType) -> dict[str, Callable[[Any], Any]]:
    """Layers after a mask (batch, time, width)."""
    L = keras.layers

    def conv(**options: Any) -> Any:
        return L.ConvLSTM1D(2, 1, padding="same", return_sequences=True, **options)

    return {
        "convlstm": chained(L.ConvLSTM1D(2, 2, padding="same")),
        "backwards": chained(conv(go_backwards=True), conv()),
        "passing": chained(conv(), L.LayerNormalization(), L.BatchNormalization(), L.Dropout(0.1), L.Dense(2), conv()),
        "both": chained(L.Bidirectional(conv())),
        "conv": chained(L.Conv2D(2, 1), conv()),
        "pooled": chained(conv(), L.TimeDistributed(L.GlobalAveragePooling1D())),
        "each": chained(L.TimeDistributed(L.LSTM(2))),
        "each_both": chained(L.TimeDistributed(L.Bidirectional(L.LSTM(2, return_sequences=True))), L.TimeDistributed(L.LSTM(2))),
        "each_unit": chained(L.TimeDistributed(L.LSTM(3)), L.LSTM(3)),
        "max": lambda x: L.Maximum()([x, L.Masking()(L.Conv2D(2, 1)(x))]),
        "product": lambda x: L.Multiply()([x, L.Masking()(L.Conv2D(2, 1)(x))]),
        "joined": lambda x: conv()(L.Concatenate(axis=2)([x, x])),
    }


GRIDS = list(grids(pytest.importorskip("unittest.mock").MagicMock()))


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("name", swept(GRIDS, lambda name: GRIDS.index(name) % 3 == 0))
def test_grids_against_keras(keras: ModuleType, tmp_path: Path, name: str) -> None:
    """The same numbers, or where Keras fails an error of ours."""
    rng = np.random.default_rng(0)
    given = keras.Input((4, 3, 2))
    model = keras.Model(given, grids(keras)[name](keras.layers.Masking()(given)))
    # Variances are positive.
    model.set_weights([(np.abs if weight.ndim == 1 else np.asarray)(rng.normal(size=weight.shape) * 0.5) for weight in model.get_weights()])
    path = tmp_path / ("model.keras" if keras.__name__ == "keras" else "model.h5")
    model.save(path)
    x = rng.normal(size=(2, 4, 3, 2)).astype(np.float32)
    x[~CELLS] = 0
    try:
        expected = model.predict(x, verbose=0)
    except Exception:  # noqa: BLE001  # whatever that backend raises
        expected = None
    for precision in ("float32", "float64"):
        if expected is None:
            with pytest.raises(FormatError):
                fastlstm.load(path, precision=precision).predict(x)
        else:
            np.testing.assert_allclose(fastlstm.load(path, precision=precision).predict(x), expected, atol=2e-6, rtol=1e-5)


def masked_twice(layers: Any, keras: ModuleType) -> dict[str, Callable[[Any, Any], Any]]:
    """How a sequence (given, other) goes through layers and masks to an LSTM; the mask is the layers' own, or one of the user's."""

    def one(value: Any, number: float = 0.0) -> tuple[Any, Any]:
        masking = layers.Masking(number)
        return masking(value), masking.compute_mask(value)

    def united(name: str, how: str) -> Callable[[Any, Any], Any]:
        def through(given: Any, other: Any) -> Any:
            (a, mask), (b, more) = one(given), one(other, 1.0)
            word = {"mask": getattr(keras.ops, how)(mask, more)} if how else {}
            return layers.LSTM(2)(getattr(layers, name)()([a, b]), **word)

        return through

    def lost(name: str) -> Callable[[Any, Any], Any]:
        def through(given: Any, other: Any) -> Any:
            a, mask = one(given)
            return layers.LSTM(2)(getattr(layers, name)()([a, other]), mask=mask)

        return through

    def attended(first: int, second: int) -> Callable[[Any, Any], Any]:
        def through(given: Any, other: Any) -> Any:
            (a, mask), (b, more) = one(given), one(other, 1.0)
            both = [mask, more]
            return layers.Attention()([a, b], mask=[both[first], both[second]])

        return through

    return {
        "own or": united("Add", ""),
        "or": united("Add", "logical_or"),
        "and": united("Add", "logical_and"),
        "joined": united("Concatenate", ""),
        "joined, or": united("Concatenate", "logical_or"),
        "lost in a sum": lost("Add"),
        "lost among ones": lost("Concatenate"),
        "attention": attended(0, 1),
        "attention, crossed": attended(1, 0),
        "constant": lambda given, other: layers.LSTM(2)(layers.Concatenate()([one(given)[0], keras.ops.ones((2, 4, 1))])),
    }


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("name", list(masked_twice(*[pytest.importorskip("unittest.mock").MagicMock()] * 2)))
def test_masks_given_by_hand(tmp_path: Path, name: str) -> None:
    """The numbers of Keras, whether the mask is the one that the layers would have handed on or another, computed by operations."""
    keras = pytest.importorskip("keras", minversion="3.4")
    rng = np.random.default_rng(0)
    given = [keras.Input((4, 2)), keras.Input((4, 2))]
    model = keras.Model(given, masked_twice(keras.layers, keras)[name](*given))
    model.save(tmp_path / "model.keras")
    x = [rng.normal(size=(2, 4, 2)).astype(np.float32) for _ in given]
    x[0][0, 1:3], x[0][1, 3], x[1][0, 2:], x[1][1, :2] = 0, 0, 1, 1
    for precision in ("float32", "float64"):
        y = fastlstm.load(tmp_path / "model.keras", precision=precision).predict(x)
        np.testing.assert_allclose(y, model.predict(x, verbose=0), atol=2e-6, rtol=1e-5)


def readers(layers: Any, keras: ModuleType) -> dict[str, Callable[[Any], Any]]:
    """Layers that read a masked tensor e beside, or after, a MultiHeadAttention that reads it too."""

    def attended(query: Any, value: Any = None) -> Any:
        return layers.MultiHeadAttention(1, 2)(query, query if value is None else value)

    def blocks(e: Any) -> Any:
        for _ in range(2):
            e = layers.LayerNormalization()(layers.Add()([e, layers.Dropout(0.1)(attended(e))]))
            e = layers.LayerNormalization()(layers.Add()([e, layers.Dense(3)(e)]))
        return layers.GlobalAveragePooling1D()(e)

    def before(e: Any) -> Any:
        product = layers.Multiply()([e, layers.Dense(3)(e)])
        return layers.Concatenate()([product, attended(e)])

    def nested(e: Any) -> Any:
        start = keras.Input((None, 3))
        inner = keras.Model(start, layers.Add()([start, attended(start)]))
        return layers.Concatenate()([inner(e), attended(e)])

    return {
        "blocks": blocks,
        "twice": lambda e: layers.Concatenate()([attended(e), attended(e)]),
        "of another": lambda e: layers.Add()([attended(layers.Conv1D(3, 1)(e), e), attended(layers.Dense(3)(e), e)]),
        "chained": lambda e: attended(attended(e)),
        "recurrent": lambda e: layers.Add()([layers.LSTM(3, return_sequences=True)(e), attended(e)]),
        "sum, recurrent": lambda e: layers.LSTM(3)(layers.Add()([e, attended(e)])),
        "joined, recurrent": lambda e: layers.GRU(3)(layers.Concatenate()([e, attended(e)])),
        "joined, attention": lambda e: attended(layers.Concatenate()([e, attended(e)])),
        "recurrent, attention": lambda e: attended(layers.LSTM(3, return_sequences=True)(layers.Add()([e, attended(e)]))),
        "dense, attention": lambda e: layers.Concatenate()([attended(e), attended(layers.Dense(3)(e))]),
        "product": lambda e: layers.Multiply()([e, attended(e)]),
        "product, recurrent": lambda e: layers.LSTM(3)(layers.Multiply()([e, attended(e)])),
        "product before": before,
        "maximum": lambda e: layers.Maximum()([attended(e), e]),
        "attention": lambda e: layers.Concatenate()([h := attended(e), layers.Attention()([h, e])]),
        "nested": nested,
    }


@pytest.mark.keras
def test_masks_that_come_out_of_a_nested_model(tmp_path: Path) -> None:
    """When Keras 3 writes the mask of a Concatenate down, what a nested model gives has none: every step is there. Its mask that is
    there when it computes is not the one that counts."""
    keras = pytest.importorskip("keras", minversion="3.0")
    layers = keras.layers
    start, ids = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    x = np.array([[1, 2, 0, 0]])
    for masked in (True, False):
        nested = keras.Model(start, layers.Embedding(5, 3, mask_zero=masked)(start))
        other = layers.Embedding(5, 2, mask_zero=True)(ids)
        model = keras.Model(ids, layers.LSTM(4)(layers.Concatenate()([nested(ids), other])))
        model.save(tmp_path / "model.keras")
        np.testing.assert_allclose(fastlstm.load(tmp_path / "model.keras").predict(x), model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("name", list(readers(*[pytest.importorskip("unittest.mock").MagicMock()] * 2)))
def test_masks_that_attention_takes(tmp_path: Path, name: str) -> None:
    """From Keras 3.8 on, who reads a tensor after MultiHeadAttention finds no mask on it; a mask in the file stands."""
    keras = pytest.importorskip("keras", minversion="3.8")
    rng = np.random.default_rng(0)
    ids = keras.Input((5,), dtype="int32")
    model = keras.Model(ids, readers(keras.layers, keras)[name](keras.layers.Embedding(5, 3, mask_zero=True)(ids)))
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    model.save(tmp_path / "model.keras")
    x = np.array([[1, 0, 2, 0, 3], [1, 2, 0, 0, 0]])
    plain = keras.Model(ids, readers(keras.layers, keras)[name](keras.layers.Embedding(5, 3)(ids)))
    plain.save(tmp_path / "plain.keras")
    np.testing.assert_allclose(fastlstm.load(tmp_path / "plain.keras").predict(x), plain.predict(x, verbose=0), atol=1e-5, rtol=1e-4)
    for precision in ("float32", "float64"):
        if name in ("joined, attention", "product, recurrent"):
            with pytest.raises(UnsupportedError, match="has taken off, as Keras does"):
                fastlstm.load(tmp_path / "model.keras", precision=precision)
        else:
            y = fastlstm.load(tmp_path / "model.keras", precision=precision).predict(x)
            np.testing.assert_allclose(y, model.predict(x, verbose=0), atol=1e-5, rtol=1e-4)


@pytest.mark.keras
@pytest.mark.parametrize("mask_value", [0.0, 1e-41, 1.0])
def test_masking_of_tiny_numbers(tmp_path: Path, keras: ModuleType, mask_value: float) -> None:
    layers = keras.layers
    model = keras.Sequential([
        layers.Input((len(TINY), 2)), layers.Masking(mask_value),
        layers.SimpleRNN(1, activation="linear", return_sequences=True, kernel_initializer="zeros", recurrent_initializer="ones",
                         bias_initializer="ones"),
    ])  # fmt: skip
    model.save(tmp_path / "model.h5")
    x = TINY[np.newaxis]
    expected = model.predict(x, verbose=0)
    for precision in ("float32", "float64"):
        np.testing.assert_array_equal(fastlstm.load(tmp_path / "model.h5", precision=precision).predict(x), expected)
