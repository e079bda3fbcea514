"""Attention, EinsumDense and products of tensors in models: no NumPy in their Programs, and the numbers of ``apply``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kernel_models import dense, graph, simple
from layer_specs import normal

from fastlstm import Model
from fastlstm.spec import LayerSpec, ModelSpec

SHAPE = (None, 5, 3)


def check(layers: Sequence[LayerSpec], calls: Sequence[tuple[int, ...]], words: Mapping[str, Any] | None = None) -> None:
    """``words``: arguments of the last call."""
    check_model(graph(layers, calls, SHAPE), words or {})


def check_model(spec: ModelSpec, words: Mapping[str, Any]) -> None:
    spec = replace(spec, calls=(*spec.calls[:-1], replace(spec.calls[-1], keywords=words)))
    shape = tuple(size or 1 for size in spec.layers[0].config["shape"][1:])
    model = Model(spec)
    x = normal(4, *shape).astype(np.float32)
    x[0, -2:], x[1, 0], x[2] = 0, 0, 0
    found = model.predict(x)
    _, program = model.executor.prepared((shape,))
    assert all(instruction.function is None for instruction in program.instructions)
    exact = Model(spec, precision="float64").predict(x)
    np.testing.assert_allclose(found, exact, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("axes", [1, [2, 2]])
def test_cosines_of_keras_1(axes: object) -> None:
    check([dense(3), simple("MergeCosine", "cosine", axes=axes)], [(0,), (0, 1)])


def heads(kind: str = "MultiHeadAttention", keys: int = 4, **config: Any) -> LayerSpec:
    """Attention of four heads that share so many of the keys."""
    sizes = {"num_heads": 4, "key_dim": 5} if keys == 4 else {"num_query_heads": 4, "num_key_value_heads": keys, "head_dim": 5}
    parts = [(3, 4, 5), (3, keys, 5), *([(3, 4, 5)] if config.get("use_gate") else []), (3, keys, 5), (4, 5, 3)]
    shapes = [shape for n, part in enumerate(parts) for shape in (part, part[2:] if n == len(parts) - 1 else part[1:])]
    return simple(kind, "heads", *shapes, **sizes, **config)


MASKING = simple("Masking", "masking", mask_value=0.0)


@pytest.mark.parametrize("words", [{}, {"use_causal_mask": True}], ids=str)
@pytest.mark.parametrize(
    "layer",
    [
        heads(), heads(use_gate=True), heads(sliding_window=2), heads(dropout=0.5), heads("GroupQueryAttention", 2),
        heads("GroupQueryAttention", 1, use_gate=True, sliding_window=1), simple("Attention", "a", use_scale=False),
        simple("Attention", "a", (), (), use_scale=True, score_mode="concat"), simple("AdditiveAttention", "a", (3,)),
    ],
    ids=str,
)  # fmt: skip
def test_attention(layer: LayerSpec, words: dict[str, Any]) -> None:
    check([layer], [(0, 0)], words)
    check([MASKING, layer], [(0,), (1, 1)], words)
    check([MASKING, dense(3), layer], [(0,), (0,), (2, 1)], words)


@pytest.mark.parametrize("axes", [None, [1], [2], [2, 1]])
def test_attention_along_axes(axes: list[int] | None) -> None:
    check_model(graph([heads(attention_axes=axes)], [(0, 0)], (None, 4, 6, 3)), {})


@pytest.mark.parametrize(
    ("equation", "shape", "kernel", "bias"),
    [
        ("abc,cd->abd", (5, 3), (3, 7), (7,)), ("abc,cde->abde", (5, 3), (3, 2, 4), (2, 4)), ("ab...,bc->ac...", (5, 3), (5, 7), (7, 1)),
        ("abcd,cde->abe", (5, 3, 4), (3, 4, 6), None), ("abc,bcd->abd", (5, 3), (5, 3, 7), (7,)), ("abc,cd->adb", (5, 3), (3, 7), (7, 1)),
        ("ab,bc->ac", (6,), (6, 3), (3,)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("activation", ["linear", "tanh", "softmax"])
def test_einsum_dense(
    equation: str, shape: tuple[int, ...], kernel: tuple[int, ...], bias: tuple[int, ...] | None, activation: str
) -> None:
    letters = equation.split("->")[1].replace(".", "")
    axes = None if bias is None else letters[-len(bias) :] if "." not in equation else letters[-1:]
    arrays = (kernel,) if bias is None else (kernel, bias)
    layer = simple("EinsumDense", "einsum", *arrays, equation=equation, output_shape=[1], bias_axes=axes, activation=activation)
    check_model(graph([layer], [(0,)], (None, *shape)), {})
