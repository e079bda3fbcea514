"""Layers whose kernel calls are written as operations on tensors are: no NumPy in their Programs, and the numbers of ``apply``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from kernel_models import dense, graph, simple
from layer_specs import normal

from fastlstm import Model
from fastlstm.spec import LayerSpec

SHAPE = (None, 5, 3)


def check(layers: Sequence[LayerSpec], calls: Sequence[tuple[int, ...]]) -> None:
    spec = graph(layers, calls, SHAPE)
    model = Model(spec)
    x = normal(4, 5, 3).astype(np.float32)
    found = model.predict(x)
    _, program = model.executor.prepared(((5, 3),))
    assert all(instruction.function is None for instruction in program.instructions)
    exact = Model(spec, precision="float64").predict(x)
    np.testing.assert_allclose(found, exact, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("axis", [1, 2, [-2]])
def test_softmax_of_any_axis(axis: object) -> None:
    check([simple("Softmax", "s", axis=axis)], [(0,)])


@pytest.mark.parametrize(("axes", "normalize"), [(1, False), (2, True), ([1, 1], True), ([2, 2], False)])
def test_dot(axes: object, normalize: bool) -> None:
    check([dense(3), simple("Dot", "dot", axes=axes, normalize=normalize)], [(0,), (0, 1)])


def test_dot_of_a_sequence_and_one_step() -> None:
    layers = [simple("GlobalMaxPooling1D", "p"), simple("Dot", "dot", axes=[2, 1]), simple("Dot", "back", axes=[1, 1])]
    check(layers, [(0,), (0, 1), (2, 0)])
    check([simple("GlobalMaxPooling1D", "p"), simple("Dot", "dot", axes=1)], [(0,), (1, 1)])


@pytest.mark.parametrize("kind", ["Add", "Multiply", "Maximum", "Minimum", "Average", "Subtract"])
def test_merges_that_broadcast(kind: str) -> None:
    """A weight for each step, and a vector beside a sequence: the axes that are missing come after the batch."""
    check([dense(1), simple(kind, "merge")], [(0,), (0, 1)])
    check([simple("GlobalMaxPooling1D", "p"), simple(kind, "merge")], [(0,), (1, 0)])
