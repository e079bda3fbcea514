"""int8 of Keras 3: what ``quantize`` makes of models, layer by layer, against the Keras that did it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import golden
import numpy as np
import pytest
from sweeping import swept

import fastlstm
from fastlstm.errors import UnsupportedError

pytestmark = [pytest.mark.keras, pytest.mark.slow]
IDS = np.random.default_rng(1).integers(1, 20, (9, 6)).astype(np.int32)


@pytest.fixture
def keras() -> ModuleType:
    """A Keras that quantises."""
    return pytest.importorskip("keras", minversion="3.3")


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def einsum(equation: str, out: Any, bias: str | None = None) -> Callable[[Any, Any], Any]:
    return lambda layers, x: layers.EinsumDense(equation, output_shape=out, bias_axes=bias)(x)


MODELS: dict[str, tuple[Callable[[Any, Any], Any], np.ndarray]] = {
    "dense": (lambda layers, x: layers.Dense(7, activation="tanh")(x), normal(50, 33)),
    "steps without bias": (lambda layers, x: layers.Dense(7, use_bias=False)(x), normal(50, 6, 33)),
    "long sums": (lambda layers, x: layers.Dense(5)(x), normal(20, 3000)),
    "one after the other": (lambda layers, x: layers.Dense(5)(layers.Dense(64, activation="relu")(x)), normal(200, 20)),
    "after a recurrent layer": (lambda layers, x: layers.Dense(5, activation="softmax")(layers.GRU(8)(x)), normal(6, 10, 8)),
    "embedding": (lambda layers, x: layers.LSTM(4)(layers.Embedding(20, 8, mask_zero=True)(x)), IDS),
    "time distributed": (lambda layers, x: layers.TimeDistributed(layers.Dense(5))(x), normal(6, 10, 8)),
    "zeros": (lambda layers, x: layers.Dense(6)(x), np.zeros((4, 3), np.float32)),
    "ab,bc->ac": (einsum("ab,bc->ac", 5, "c"), normal(9, 6)),
    "abc,cd->abd": (einsum("abc,cd->abd", (None, 5), "d"), normal(4, 3, 6)),
    "abc,cde->abde": (einsum("abc,cde->abde", (None, 2, 5), "de"), normal(4, 3, 6)),
    "abcd,cde->abe": (einsum("abcd,cde->abe", (None, 5)), normal(4, 3, 2, 6)),
    "abc,cd->adb": (einsum("abc,cd->adb", (5, 3)), normal(4, 3, 6)),
    "abc,bd->acd": (einsum("abc,bd->acd", (6, 5)), normal(4, 3, 6)),
}


def made(keras: ModuleType, name: str) -> tuple[Any, np.ndarray]:
    build, x = MODELS[name]
    given = keras.Input(x.shape[1:], dtype=x.dtype.name)
    model = keras.Model(given, build(keras.layers, given))
    random = np.random.default_rng(2)
    model.set_weights([(random.normal(size=weight.shape) * 0.5).astype(weight.dtype) for weight in model.get_weights()])
    return model, x


def equal(found: np.ndarray, expected: np.ndarray) -> None:
    assert golden.difference(found, expected) <= golden.bound(expected)


@pytest.mark.filterwarnings("ignore:.*does not have a `quantize")
@pytest.mark.filterwarnings("ignore:.*Keras does not scale its weights there")
@pytest.mark.parametrize(("name", "ending"), swept(itertools.product(MODELS, (".keras", ".h5")), lambda one: one[1] == ".keras"))
def test_quantised(keras: ModuleType, tmp_path: Path, name: str, ending: str) -> None:
    model, x = made(keras, name)
    model.quantize("int8")
    path = tmp_path / f"m{ending}"
    model.save(path)
    expected = model.predict(x, verbose=0)
    equal(fastlstm.load(path).predict(x), expected)
    fastlstm.convert(path, tmp_path / "m.fastlstm")
    equal(fastlstm.load(tmp_path / "m.fastlstm", verify=True).predict(x), expected)


@pytest.mark.filterwarnings("ignore:.*does not have a `quantize")
@pytest.mark.parametrize("name", ["dense", "abc,cd->abd", "embedding"])
def test_weights_alone(keras: ModuleType, tmp_path: Path, name: str) -> None:
    if not hasattr(keras.quantizers, "Int8QuantizationConfig"):
        pytest.skip("this Keras quantises inputs too")
    model, x = made(keras, name)
    model.quantize(config=keras.quantizers.Int8QuantizationConfig(activation_quantizer=None))
    model.save(tmp_path / "m.keras")
    equal(fastlstm.load(tmp_path / "m.keras").predict(x), model.predict(x, verbose=0))


@pytest.mark.filterwarnings("ignore:.*does not have a `quantize")
@pytest.mark.parametrize("mode", ["int4", "float8"])
def test_other_modes_are_refused_by_name(keras: ModuleType, tmp_path: Path, mode: str) -> None:
    model, _ = made(keras, "dense")
    try:
        model.quantize(mode)
    except ValueError:
        pytest.skip(f"this Keras has no {mode}")
    model.save(tmp_path / "m.keras")
    with pytest.raises(UnsupportedError, match=rf"quantised \({mode}"):
        fastlstm.load(tmp_path / "m.keras")
