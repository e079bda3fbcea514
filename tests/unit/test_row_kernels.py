"""Kernels that normalise, bend and resize, on arrays beside pages that nobody may touch, at every level."""

# ruff: noqa: B023 - what is written with a loop's variable is written at once

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from kernel_calls import LEVELS, lanes_of
from tensor_calls import Calls, computed

from fastlstm import activations
from fastlstm.layers import interpolation
from fastlstm.program import normalising, resampling
from fastlstm.program.lowering import activated
from fastlstm.program.normalising import Norm

RNG = np.random.default_rng(0)
EPSILON = {"variance": 1e-3, "mean_square": 1e-6, "length": 1e-12}
#: Shapes, and axes that are normalised along.
ALONG = [
    ((1,), [0]), ((130,), [0]), ((3, 1), [1]), ((5, 7), [1]), ((5, 7), [0]), ((5, 37), [0]), ((5, 7), [0, 1]), ((2, 5, 33), [1]),
    ((2, 5, 33), [0, 2]), ((2, 5, 33), [1, 2]), ((2, 5, 33), [0, 1]), ((2, 3, 4, 5), [1, 3]), ((600,), [0]), ((600, 3), [0]),
]  # fmt: skip


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def truth(op: str, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    if op == "variance":
        return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + EPSILON[op])
    squares = x * x
    if op == "length":
        return x / np.sqrt(np.maximum(squares.sum(axes, keepdims=True), EPSILON[op]))
    return x / np.sqrt(squares.mean(axes, keepdims=True) + EPSILON[op])


def moments(shape: Sequence[int], axes: Sequence[int]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """A factor and an offset of the sizes of some axes, and the shape in which they go beside a tensor."""
    sizes = [shape[axis] for axis in axes]
    return numbers(*sizes), numbers(*sizes), [1, *(size if axis in axes else 1 for axis, size in enumerate(shape))]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("op", EPSILON)
@pytest.mark.parametrize("affine", [False, True])
def test_normalising_along_axes(level: str, op: str, affine: bool) -> None:
    lanes_of(level)
    for shape, axes in ALONG:
        x = numbers(3, *shape) + np.float32(5)
        factor, offset, wide = moments(shape, axes)
        expected = truth(op, x.astype(np.float64), tuple(axis + 1 for axis in axes))
        calls = Calls(level, [x])
        made = ((lambda: factor), (lambda: offset)) if affine else ()
        value = normalising.normalised(calls.builder, calls.owner, calls.values[0], axes, Norm(op, EPSILON[op]), *made)
        if affine:
            expected = expected * factor.reshape(wide) + offset.reshape(wide)
        np.testing.assert_allclose(calls.run(value), expected, rtol=2e-5, atol=4e-6, err_msg=f"{shape} {axes}")


@pytest.mark.parametrize("level", LEVELS)
def test_normalising_groups(level: str) -> None:
    lanes_of(level)
    for shape, axis, groups in (
        ((6, 8), 1, 4),
        ((6, 8), 1, 8),
        ((6, 8), 1, 1),
        ((8, 6), 0, 2),
        ((4, 5, 66), 2, 2),
        ((4, 9, 5), 1, 3),
        ((8,), 0, 2),
    ):
        x = numbers(3, *shape)
        factor, offset, wide = moments(shape, [axis])
        parts = x.astype(np.float64).reshape(3, *shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
        others = tuple(n for n in range(1, parts.ndim) if n != axis + 1)
        expected = truth("variance", parts, others).reshape(x.shape) * factor.reshape(wide) + offset.reshape(wide)
        calls = Calls(level, [x])
        norm = Norm("variance", EPSILON["variance"])
        value = normalising.normalised_groups(
            calls.builder, calls.owner, calls.values[0], axis, groups, norm, lambda: factor, lambda: offset
        )  # fmt: skip
        np.testing.assert_allclose(calls.run(value), expected, rtol=2e-5, atol=4e-6, err_msg=f"{shape} {axis}")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("shape", "axis"), [((100_000,), 0), ((20_000, 3), 0)])
def test_statistics_of_many_numbers_stay_exact(level: str, shape: tuple[int, ...], axis: int) -> None:
    """Far from 0, where a mean of squares would be all that is left of the variance: to a few units of the mean's last place."""
    lanes_of(level)
    x = (RNG.random((1, *shape)) + 100).astype(np.float32)
    found = computed(level, lambda b, v: normalising.normalised(b, None, v, [axis], Norm("variance", 0.0)), x)
    exact = x.astype(np.float64)
    expected = (exact - exact.mean(axis + 1, keepdims=True)) / exact.std(axis + 1, keepdims=True)
    unit = np.spacing(np.float32(100)) / exact.std(axis + 1).min()
    assert np.abs(found - expected).max() < 8 * unit


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_in_its_row(level: str, bad: float) -> None:
    lanes_of(level)
    for shape, axes in ALONG[3:6]:
        for op in EPSILON:
            x = numbers(3, *shape)
            clean = computed(level, lambda b, v: normalising.normalised(b, None, v, axes, Norm(op, EPSILON[op])), x)
            x[(1, *(0 for _ in shape))] = bad
            found = computed(level, lambda b, v: normalising.normalised(b, None, v, axes, Norm(op, EPSILON[op])), x)
            with np.errstate(all="ignore"):
                expected = truth(op, x, tuple(axis + 1 for axis in axes))
            np.testing.assert_allclose(found[1], expected[1], rtol=2e-5, atol=4e-6)
            np.testing.assert_array_equal(found[[0, 2]], clean[[0, 2]])
            alone = computed(level, lambda b, v: normalising.normalised(b, None, v, axes, Norm(op, EPSILON[op])), x[2:])
            np.testing.assert_array_equal(alone[0], clean[2])


@pytest.mark.parametrize("level", LEVELS)
def test_moments_by_place(level: str) -> None:
    lanes_of(level)
    for shape, axes in (
        ((5, 7), [1]),
        ((5, 7), [0]),
        ((5, 7), []),
        ((5, 7), [0, 1]),
        ((2, 5, 33), [1]),
        ((2, 5, 33), [0, 2]),
        ((2, 5, 3), [0, 1]),
    ):
        x = numbers(3, *shape)
        factor, offset, wide = moments(shape, axes)
        calls = Calls(level, [x])
        value = normalising.by_place(calls.builder, calls.owner, calls.values[0], axes, (lambda: offset, lambda: factor, lambda: offset))
        factor, offset = factor.reshape(wide), offset.reshape(wide)
        np.testing.assert_allclose(calls.run(value), (x - offset) * factor + offset, rtol=1e-6, atol=1e-6)


def srelu(x: np.ndarray, left: np.ndarray, a_left: np.ndarray, right: np.ndarray, a_right: np.ndarray) -> np.ndarray:
    right = left + np.abs(right)
    return np.where(x > right, right + a_right * (x - right), np.where(x > left, x, left + a_left * (x - left)))


CURVES = {
    "prelu": (1, lambda x, a: np.where(x > 0, x, a * x)), "softplus": (2, lambda x, a, b: a * np.log1p(np.exp(b * x))), "srelu": (4, srelu),
}  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("curve", CURVES)
def test_curves(level: str, curve: str) -> None:
    lanes_of(level)
    count, meaning = CURVES[curve]
    for shape, axes in (((5, 7), [1]), ((5, 7), [0]), ((5, 37), [0, 1]), ((2, 3, 5), [0, 2])):
        x = numbers(3, *shape)
        wide = moments(shape, axes)[2]
        parameters = [numbers(*(shape[axis] for axis in axes)) for _ in range(count)]
        calls = Calls(level, [x])
        made = [lambda n=n: parameters[n] for n in range(count)]
        value = normalising.curved(calls.builder, calls.owner, calls.values[0], axes, curve, made)
        expected = meaning(x.astype(np.float64), *(array.reshape(wide).astype(np.float64) for array in parameters))
        np.testing.assert_allclose(calls.run(value), expected, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "activation",
    [
        "log_softmax", "sparsemax", "glu", {"name": "relu", "max_value": 0.5}, {"name": "relu", "negative_slope": 0.2},
        {"name": "relu", "threshold": 0.3}, {"name": "relu", "max_value": 0.9, "negative_slope": 0.1, "threshold": -0.4},
        {"name": "celu", "alpha": 0.5}, {"name": "thresholded_relu", "theta": 0.3},
    ],
    ids=str,
)  # fmt: skip
def test_activations_of_rows(level: str, activation: object) -> None:
    lanes_of(level)
    for shape in ((2,), (5, 6), (3, 130)):
        x = numbers(4, *shape) * np.float32(2)
        found = computed(level, lambda b, v: activated(b, activation, v), x)
        np.testing.assert_allclose(found, activations.function(activation)(x.astype(np.float64)), rtol=1e-5, atol=2e-6)
        for value in (np.nan, np.inf, -np.inf):
            odd = x.copy()
            odd.reshape(4, -1)[1, 0] = value
            with np.errstate(all="ignore"):
                expected = activations.function(activation)(odd)
            np.testing.assert_allclose(computed(level, lambda b, v: activated(b, activation, v), odd), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_sparsemax_of_many(level: str) -> None:
    """Numbers that are alike, in order, and backwards."""
    lanes_of(level)
    x = np.stack([np.arange(257) / 64, -np.arange(257) / 64, np.ones(257), np.tile([1.0, 1.0, 0.75], 86)[:257]]).astype(np.float32)
    found = computed(level, lambda b, v: activated(b, "sparsemax", v), x)
    np.testing.assert_allclose(found, activations.function("sparsemax")(x.astype(np.float64)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_adaptive_means(level: str) -> None:
    lanes_of(level)
    for shape, axis in (((7,), 0), ((9, 5), 0), ((3, 11), 1), ((2, 10, 33), 1)):
        x = numbers(2, *shape)
        n = shape[axis]
        for size in (1, 2, 3, n, n + 2):
            bounds = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
            exact = x.astype(np.float64)
            expected = np.stack([exact.take(range(a, b), axis + 1).mean(axis + 1) for a, b in bounds], axis + 1)
            found = computed(level, lambda b, v: resampling.adaptive_mean(b, v, axis, size), x)
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("method", interpolation.METHODS)
def test_blending(level: str, method: str) -> None:
    lanes_of(level)
    for shape, axis, size in (((1, 3), 0, 2), ((5, 37), 0, 15), ((5, 37), 0, 3), ((4, 6), 1, 12), ((2, 9, 3), 1, 4)):
        x = numbers(2, *shape)
        by = interpolation.taps(method, shape[axis], size)
        expected = interpolation.resized(x.astype(np.float64), axis + 1, by)
        calls = Calls(level, [x])
        found = calls.run(resampling.blended(calls.builder, calls.owner, calls.values[0], axis, by))
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)
        x[1].reshape(-1)[0] = np.inf
        calls = Calls(level, [x])
        found = calls.run(resampling.blended(calls.builder, calls.owner, calls.values[0], axis, by))
        with np.errstate(invalid="ignore"):
            expected = interpolation.resized(x, axis + 1, by)
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))


@pytest.mark.parametrize("level", LEVELS)
def test_windows_end_with_the_axis(level: str) -> None:
    """Whatever a constant says of where they start."""
    lanes_of(level)
    x = numbers(2, 5, 3)
    by = resampling.Taps(np.array([-7, 99, 1 << 20]), np.ones((3, 2)))
    calls = Calls(level, [x])
    found = calls.run(resampling.blended(calls.builder, calls.owner, calls.values[0], 0, by))
    np.testing.assert_allclose(found, np.stack([x[:, 0] + x[:, 1], x[:, 3] + x[:, 4], x[:, 3] + x[:, 4]], 1), rtol=1e-6)
