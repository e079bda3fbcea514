"""Attention of every kind, and EinsumDense, against a live Keras: in kernels, in NumPy, and as both of Keras's kinds of file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import golden
import numpy as np
import pytest

import fastlstm

pytestmark = pytest.mark.keras
RNG = np.random.default_rng(0)
STEPS, OTHERS, FEATURES = 7, 9, 6


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def masked(*shape: int) -> np.ndarray:
    """Numbers with steps of zeros: after rows' ends, before and amid them, and of one row all."""
    x = numbers(*shape)
    x[0, -2:], x[1, :2], x[1, 4], x[2] = 0, 0, 0, 0
    return x


QUERY, VALUE, KEY = masked(4, STEPS, FEATURES), masked(4, OTHERS, FEATURES), numbers(4, OTHERS, FEATURES)


def compare(model: Any, folder: Path, *x: np.ndarray, native: bool = True) -> None:
    """Keras's numbers; natively without NumPy, if that is said."""
    model.set_weights([RNG.normal(size=np.shape(weight)) * 0.5 for weight in model.get_weights()])
    given = list(x) if len(x) > 1 else x[0]
    expected = golden.flat(model.predict(given, verbose=0))
    for ending in (".keras", ".h5"):
        path = folder / f"model{ending}"
        model.save(path)
        for precision in ("float32", "float64"):
            loaded = fastlstm.load(path, precision=precision)
            found = golden.flat(loaded.predict(given))
            assert len(found) == len(expected)
            for y, theirs in zip(found, expected, strict=True):
                golden.assert_equal(y, theirs)
            if precision == "float32" and native:
                program = loaded.executor.prepared(tuple(one.shape[1:] for one in x)).program
                assert not [i.layer for i in program.instructions if i.function is not None]


def of_two(keras: ModuleType, attend: Callable[..., Any], masks: bool = True) -> Any:
    inputs = [keras.Input(x.shape[1:]) for x in (QUERY, VALUE)]
    return keras.Model(inputs, attend(*(keras.layers.Masking()(x) if masks else x for x in inputs)))


HEADS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "no bias": ({"use_bias": False, "value_dim": 5}, {}),
    "scores": ({"value_dim": 1}, {"return_attention_scores": True}),
    "causal": ({}, {"use_causal_mask": True}),
    "dropout": ({"dropout": 0.1}, {}),
    "output": ({"output_shape": (2, 5)}, {"use_causal_mask": True, "return_attention_scores": True}),
}
NEWER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gate": ({"use_gate": True, "value_dim": 5}, {}),
    "window": ({"sliding_window": 3}, {}),
    "causal window, gate": ({"sliding_window": 2, "use_gate": True}, {"use_causal_mask": True, "return_attention_scores": True}),
}


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_heads(keras: ModuleType, tmp_path: Path, name: str, masks: bool) -> None:
    config, words = HEADS[name]
    layer = keras.layers.MultiHeadAttention(2, 3, **config)
    compare(of_two(keras, lambda x, y: layer(x, y, **words), masks), tmp_path, QUERY, VALUE)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("name", NEWER)
def test_gates_and_windows(tmp_path: Path, name: str, masks: bool) -> None:
    keras = pytest.importorskip("keras")
    config, words = NEWER[name]
    try:
        layer = keras.layers.MultiHeadAttention(2, 3, **config)
    except TypeError:
        pytest.skip("this Keras has none")
    compare(of_two(keras, lambda x, y: layer(x, y, **words), masks), tmp_path, QUERY, VALUE)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, {}), ({"use_bias": False}, {"use_causal_mask": True}), ({"dropout": 0.2}, {}), ({}, {"return_attention_scores": True}),
        ({"use_gate": True, "sliding_window": 3}, {"use_causal_mask": True}),
    ],
    ids=str,
)  # fmt: skip
def test_heads_that_share_keys(tmp_path: Path, config: dict[str, Any], words: dict[str, Any], masks: bool) -> None:
    keras = pytest.importorskip("keras")
    for heads in (1, 2, 4):
        try:
            layer = keras.layers.GroupQueryAttention(3, 4, heads, **config)
        except (AttributeError, TypeError):
            pytest.skip("this Keras has none")
        compare(of_two(keras, lambda x, y, layer=layer: layer(x, y, **words), masks), tmp_path, QUERY, VALUE)


def test_masks_beside_heads_that_share_keys(tmp_path: Path) -> None:
    """Who takes masks off, and who finds them."""
    keras = pytest.importorskip("keras")
    L = keras.layers
    makes: list[Callable[[Any], Any]] = [
        lambda x: L.LSTM(3)(L.GroupQueryAttention(3, 4, 2)(x, x)),
        lambda x: L.LSTM(3)(L.Add()([L.GroupQueryAttention(3, 4, 2, dropout=0.1)(x, x), x])),
        lambda x: L.Add()([L.MultiHeadAttention(2, 3)(x, x), L.GroupQueryAttention(3, 4, 2)(x, x)]),
        lambda x: L.Add()([L.GroupQueryAttention(3, 4, 2)(x, x), L.MultiHeadAttention(2, 3)(x, x)]),
    ]
    for make in makes:
        start = keras.Input((STEPS, FEATURES))
        compare(keras.Model(start, make(L.Masking()(start))), tmp_path, QUERY)


@pytest.mark.parametrize("axes", [None, 1, 2, (1, 2), (2, 1), -2])
def test_axes(tmp_path: Path, axes: Any) -> None:
    keras = pytest.importorskip("keras")
    start = keras.Input((4, 5, FEATURES))
    layer = keras.layers.MultiHeadAttention(2, 3, attention_axes=axes)
    compare(keras.Model(start, layer(start, start, return_attention_scores=True)), tmp_path, numbers(3, 4, 5, FEATURES))


@pytest.mark.parametrize("axes", [None, (1, 3), (3, 1), (2, 3)])
def test_more_axes(tmp_path: Path, axes: Any) -> None:
    keras = pytest.importorskip("keras")
    start = keras.Input((4, 5, 2, FEATURES))
    layer = keras.layers.MultiHeadAttention(2, 3, attention_axes=axes, value_dim=4)
    compare(keras.Model(start, layer(start, start)), tmp_path, numbers(3, 4, 5, 2, FEATURES))


@pytest.mark.parametrize("axes", [-3, -4, -2])
def test_axes_from_the_end(keras: ModuleType, tmp_path: Path, axes: int) -> None:
    """Keras 3 counts the features as the last one, tf.keras the width of a head; and heads before it."""
    start = keras.Input((4, 5, FEATURES))
    layer = keras.layers.MultiHeadAttention(2, 3, attention_axes=(axes,))
    if axes == -4 and keras.__version__.startswith("3"):
        pytest.skip("these are the rows of the batch")
    model = keras.Model(start, layer(start, start))
    if axes == -2 and not keras.__version__.startswith("3"):
        model.save(tmp_path / "heads.h5")
        with pytest.raises(fastlstm.UnsupportedError, match="has heads attend to each other"):
            fastlstm.load(tmp_path / "heads.h5")
    else:
        compare(model, tmp_path, numbers(3, 4, 5, FEATURES))


def test_one_of_two_axes(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    inputs = [keras.Input((steps, 5, FEATURES)) for steps in (4, 8)]
    layer = keras.layers.MultiHeadAttention(2, 3, attention_axes=1)
    model = keras.Model(inputs, layer(*inputs, use_causal_mask=True, return_attention_scores=True))
    compare(model, tmp_path, numbers(3, 4, 5, FEATURES), numbers(3, 8, 5, FEATURES))


def test_masks_of_places(tmp_path: Path) -> None:
    """Those of tensors of more axes, where Keras takes them."""
    keras = pytest.importorskip("keras")
    start = keras.Input((4, 5, FEATURES))
    x = keras.layers.Masking()(start)
    given = numbers(3, 4, 5, FEATURES)
    given[0, 2], given[1, :, 3] = 0, 0
    compare(keras.Model(start, keras.layers.MultiHeadAttention(2, 3, attention_axes=2)(x, x)), tmp_path, given, native=False)
    model = keras.Model(start, keras.layers.MultiHeadAttention(2, 3)(x, x))
    model.save(tmp_path / "other.keras")
    with pytest.raises(fastlstm.FastLSTMError, match="Keras cannot run it either"):
        fastlstm.load(tmp_path / "other.keras").predict(given)
    with pytest.raises(Exception, match="mask"):
        model.predict(given, verbose=0)


@pytest.mark.parametrize(
    "shape", [(STEPS, OTHERS), (1, OTHERS), (STEPS, 1), (2, STEPS, OTHERS), (1, STEPS, OTHERS), (2, 1, OTHERS), (2, STEPS, 1)], ids=str
)
@pytest.mark.parametrize("dtype", ["bool", "float32"])
def test_masks_of_pairs(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    keras = pytest.importorskip("keras")
    inputs = [keras.Input(QUERY.shape[1:]), keras.Input(VALUE.shape[1:]), keras.Input(shape, dtype=dtype)]
    model = keras.Model(inputs, keras.layers.MultiHeadAttention(2, 3)(*inputs[:2], attention_mask=inputs[2]))
    compare(model, tmp_path, QUERY, VALUE, (RNG.random((4, *shape)) < 0.6).astype(dtype))


@pytest.mark.parametrize("dropout", [0, 0.1])
def test_numbers_for_pairs_of_heads_that_share_keys(tmp_path: Path, dropout: float) -> None:
    keras = pytest.importorskip("keras")
    inputs = [keras.Input(QUERY.shape[1:]), keras.Input(VALUE.shape[1:]), keras.Input((STEPS, OTHERS))]
    model = keras.Model(inputs, keras.layers.GroupQueryAttention(3, 4, 2, dropout=dropout)(*inputs[:2], attention_mask=inputs[2]))
    compare(model, tmp_path, QUERY, VALUE, RNG.random((4, STEPS, OTHERS)).astype(np.float32).round(1), native=not dropout)


SCORED: dict[str, tuple[str, dict[str, Any]]] = {
    "dot": ("Attention", {}), "scaled": ("Attention", {"use_scale": True}), "concat": ("Attention", {"score_mode": "concat"}),
    "concat, scaled": ("Attention", {"score_mode": "concat", "use_scale": True}), "sums": ("AdditiveAttention", {"use_scale": False}),
    "scaled sums": ("AdditiveAttention", {}),
}  # fmt: skip


@pytest.mark.parametrize("words", [{}, {"return_attention_scores": True}, {"use_causal_mask": True}], ids=str)
@pytest.mark.parametrize("name", SCORED)
def test_without_heads(keras: ModuleType, tmp_path: Path, name: str, words: dict[str, Any]) -> None:
    kind, config = SCORED[name]
    inputs = [keras.Input(x.shape[1:]) for x in (QUERY, VALUE, KEY)]
    query, value, key = inputs
    given = [keras.layers.Masking()(query), keras.layers.Masking()(value), key]
    compare(keras.Model(inputs, getattr(keras.layers, kind)(**config)(given, **words)), tmp_path, QUERY, VALUE, KEY)


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [
        ("Attention", ((2, 3, 4), (2, 5, 4))), ("Attention", ((2, 3, 4), (1, 5, 4))), ("Attention", ((2, 3, 3, 4), (1, 3, 5, 4))),
        ("AdditiveAttention", ((2, 3, 4), (2, 5, 4))), ("AdditiveAttention", ((2, 3, 4), (1, 5, 4))),
    ],
    ids=str,
)  # fmt: skip
def test_without_heads_along_more_axes(keras: ModuleType, tmp_path: Path, kind: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    inputs = [keras.Input(shape) for shape in shapes]
    compare(keras.Model(inputs, getattr(keras.layers, kind)()(inputs)), tmp_path, *(numbers(3, *shape) for shape in shapes))


EQUATIONS: list[tuple[str, tuple[int, ...], tuple[int | None, ...], str | None]] = [
    ("abc,cd->abd", (5, 3), (None, 4), "d"), ("abc,cde->abde", (5, 3), (None, 4, 2), "de"), ("...x,xy->...y", (5, 2, 3), (7,), "y"),
    ("abcd,cde->abe", (5, 3, 4), (None, 7), "e"), ("ab...,bc->ac...", (5, 3), (7,), None), ("abc,bd->adc", (5, 3), (7, 3), "dc"),
    ("abc,bcd->abd", (5, 3), (5, 7), "d"), ("abc,cd->adb", (5, 3), (7, None), "d"), ("abcd,bde->abce", (5, 3, 4), (5, 3, 7), "e"),
    ("abc,dc->abd", (5, 3), (None, 6), "d"), ("abc,cde->aedb", (5, 3), (2, 4, 5), None), ("ab,bcd->adc", (3,), (6, 5), "dc"),
    ("abcd,cdb->abc", (5, 3, 4), (5, 3), "c"), ("ab,bc->ac", (3,), (2,), "c"),
]  # fmt: skip


@pytest.mark.parametrize("activation", [None, "relu", "softmax"])
@pytest.mark.parametrize(("equation", "shape", "output", "bias"), EQUATIONS)
def test_einsum_dense(
    tmp_path: Path, equation: str, shape: tuple[int, ...], output: tuple[int | None, ...], bias: str | None, activation: str | None
) -> None:
    keras = pytest.importorskip("keras")
    start = keras.Input(shape)
    layer = keras.layers.EinsumDense(equation, output_shape=output, bias_axes=bias, activation=activation)
    compare(keras.Model(start, layer(start)), tmp_path, numbers(3, *shape))
