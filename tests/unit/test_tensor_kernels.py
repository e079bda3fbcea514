"""The kernels of operations on tensors against NumPy, as lowering calls them, on arrays beside pages that nobody may touch."""

# ruff: noqa: B023 - what is written with a loop's variable is written at once

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest
from kernel_calls import LEVELS, lanes_of
from tensor_calls import Calls, computed

from fastlstm import runtime
from fastlstm.program import arithmetic, copying
from fastlstm.program.contracts.arithmetic import BINARY_OPS, UNARY_OPS
from fastlstm.program.contracts.reductions import REDUCE_OPS
from fastlstm.program.ir import Builder, Value

RNG = np.random.default_rng(0)
ODD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1.0, -1.0, 2.5, -2.5, 0.5, 3.5], np.float32)


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def with_odd(*shape: int) -> np.ndarray:
    """Numbers among which there are some of every unusual kind."""
    x = numbers(*shape)
    x.reshape(-1)[: len(ODD)] = ODD[: x.size]
    return x


MEANINGS = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "floor_divide": lambda a, b: np.floor(a / b),
    "maximum": np.maximum, "minimum": np.minimum, "squared_difference": lambda a, b: (a - b) * (a - b), "equal": np.equal,
    "not_equal": np.not_equal, "less": np.less, "less_equal": np.less_equal, "greater": np.greater, "greater_equal": np.greater_equal,
    "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor,
}  # fmt: skip
SHAPES = [
    ((), ()), ((1,), (1,)), ((5,), ()), ((5,), (1,)), ((1,), (37,)), ((37,), (37,)), ((4, 1), (1, 21)), ((4, 21), (4, 1)), ((4, 21), (21,)),
    ((3, 1, 5), (4, 1)), ((2, 3, 4, 5), (3, 1, 5)), ((2, 1, 4, 1, 3), (3, 1, 5, 1)), ((50, 64), (50, 1)),
]  # fmt: skip


def test_every_operation_has_a_meaning_here() -> None:
    assert set(MEANINGS) == set(BINARY_OPS)
    assert set(UNARY) == set(UNARY_OPS)
    assert set(REDUCTIONS) == set(REDUCE_OPS)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("op", MEANINGS)
def test_binary(level: str, op: str) -> None:
    lanes_of(level)
    for one, other in SHAPES:
        for rows in (1, 3):
            x, y = with_odd(rows, *one), numbers(rows, *other)
            y.reshape(-1)[:1] = 0
            rank = max(len(one), len(other))
            wide = x.reshape(rows, *[1] * (rank - len(one)), *one), y.reshape(rows, *[1] * (rank - len(other)), *other)
            with np.errstate(all="ignore"):
                expected = np.asarray(MEANINGS[op](*wide), np.float32)
            found = computed(level, lambda b, x, y: arithmetic.binary(b, op, x, y), x, y)
            np.testing.assert_array_equal(found, expected, err_msg=f"{one} {other}")


@pytest.mark.parametrize("level", LEVELS)
def test_binary_with_numbers_and_constants(level: str) -> None:
    x = with_odd(3, 4, 21)
    for op, meaning in MEANINGS.items():
        for given in (0.0, 1.5, -2, np.float64("nan")):
            with np.errstate(all="ignore"):
                expected = [np.asarray(meaning(*pair), np.float32) for pair in ((x, np.float32(given)), (np.float32(given), x))]
            np.testing.assert_array_equal(computed(level, lambda b, v: arithmetic.binary(b, op, v, given), x), expected[0])
            np.testing.assert_array_equal(computed(level, lambda b, v: arithmetic.binary(b, op, given, v), x), expected[1])
        for shape in ((), (21,), (4, 1), (4, 21), (2, 1, 1)):
            array = numbers(*shape)
            with np.errstate(all="ignore"):
                wide = x if len(shape) < 3 else x[:, np.newaxis]
                expected = [np.asarray(meaning(wide, array), np.float32), np.asarray(meaning(array, wide), np.float32)]
            for turned in (False, True):
                calls = Calls(level, [x])
                pair = (calls.values[0], calls.constant(array))
                found = calls.run(arithmetic.binary(calls.builder, op, *(pair[::-1] if turned else pair)))
                np.testing.assert_array_equal(found, expected[turned], err_msg=f"{op} {shape}")


def test_what_has_no_kernel() -> None:
    calls = Calls(LEVELS[-2], [numbers(2, 3), numbers(2, 0)])
    x, empty = calls.values
    b = calls.builder
    assert arithmetic.binary(b, "remainder", x, 2.0) is None
    assert arithmetic.binary(b, "power", x, 0.3) is None
    assert arithmetic.unary(b, "sin", x) is None
    assert arithmetic.reduced(b, "median", x, [0]) is None
    assert arithmetic.binary(b, "add", empty, 1.0) is None
    assert copying.transposed(b, Value(x.buffer, (1,) * 9), range(9)) is not None
    many = (2, 2, 2, 2, 2, 2, 2)
    big = Calls(LEVELS[-2], [numbers(2, *many)])
    assert copying.transposed(big.builder, big.values[0], range(7)[::-1]) is None


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("exponent", [2, 0.5, -1.0, -0.5, 1, 3])
def test_powers(level: str, exponent: float) -> None:
    x = np.abs(numbers(3, 19)) + np.float32(0.1)
    found = computed(level, lambda b, v: arithmetic.binary(b, "power", v, exponent), x)
    np.testing.assert_allclose(found, x**exponent, rtol=3e-7)


UNARY = {
    "negative": np.negative, "absolute": np.abs, "square": np.square, "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x, "exp": np.exp, "log": np.log, "log1p": np.log1p, "expm1": np.expm1, "sign": np.sign, "floor": np.floor,
    "ceil": np.ceil, "round": np.round, "logical_not": np.logical_not, "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite,
    "clip": lambda x: np.clip(x, -0.5, 1.25), "affine": lambda x: x * -0.5 + 1.25,
}  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("op", UNARY)
def test_unary(level: str, op: str) -> None:
    lanes_of(level)
    magnitudes = np.exp(RNG.uniform(-85, 85, 20000)).astype(np.float32)
    x = np.concatenate([ODD, magnitudes, -magnitudes, np.linspace(-3, 3, 4001), np.linspace(-90, 90, 4001)]).astype(np.float32)[np.newaxis]
    with np.errstate(all="ignore"):
        expected = np.asarray(UNARY[op](x.astype(np.float64)))
        rounded = expected.astype(np.float32)
    found = computed(level, lambda b, v: arithmetic.unary(b, op, v, -0.5, 1.25), x)
    normal = np.isfinite(rounded) & (np.abs(rounded) > np.finfo(np.float32).tiny)
    subnormal = (np.abs(x) < np.finfo(np.float32).tiny) & (x != 0)
    np.testing.assert_array_equal(
        found[~normal & ~subnormal & ~np.isfinite(rounded)], rounded[~normal & ~subnormal & ~np.isfinite(rounded)]
    )
    off = np.abs(found[normal & ~subnormal] - expected[normal & ~subnormal]) / np.spacing(np.abs(rounded[normal & ~subnormal]))
    worst = off.argmax()
    assert off[worst] <= 3.5, f"{off[worst]:.1f} ulp at {x[normal & ~subnormal][worst]!r}"
    np.testing.assert_allclose(found[~normal & np.isfinite(rounded)], rounded[~normal & np.isfinite(rounded)], atol=2e-38)


@pytest.mark.parametrize("level", LEVELS)
def test_choosing_and_clipping(level: str) -> None:
    x, y = with_odd(3, 4, 21), numbers(3, 4, 1)
    condition = RNG.integers(0, 2, (3, 21)).astype(np.float32)
    expected = np.where(condition[:, np.newaxis] != 0, x, y)
    found = computed(level, lambda b, c, x, y: arithmetic.selected(b, c, x, y), condition, x, y)
    np.testing.assert_array_equal(found, expected)
    found = computed(level, lambda b, c, x: arithmetic.selected(b, c, x, -1e9), condition, x)
    np.testing.assert_array_equal(found, np.where(condition[:, np.newaxis] != 0, x, np.float32(-1e9)))
    found = computed(level, lambda b, c: arithmetic.selected(b, c, 1.0, 0.0), with_odd(2, 30))
    found = computed(level, lambda b, x, y: arithmetic.clipped(b, x, -1.0, y), x, y)
    np.testing.assert_array_equal(found, np.minimum(np.maximum(x, np.float32(-1)), y))
    calls = Calls(level, [x])
    array = RNG.integers(0, 2, (4, 1)).astype(np.float32)
    found = calls.run(arithmetic.selected(calls.builder, calls.constant(array), 2.0, calls.values[0]))
    np.testing.assert_array_equal(found, np.where(array != 0, np.float32(2), x))


@pytest.mark.parametrize("level", LEVELS)
def test_masks_and_ids(level: str) -> None:
    x = with_odd(3, 21)
    found = computed(level, lambda b, v: arithmetic.of_mask(b, arithmetic.mask_of(b, v)), x)
    np.testing.assert_array_equal(found, x != 0)
    ids = RNG.integers(0, 999, (3, 21)).astype(np.int32)
    np.testing.assert_array_equal(computed(level, arithmetic.floats, ids), ids.astype(np.float32))


REDUCTIONS = {
    "sum": np.sum, "mean": np.mean, "sumsq": lambda x, **words: np.sum(x * x, **words), "prod": np.prod, "max": np.max, "min": np.min,
    "any": np.any, "all": np.all,
}  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("op", REDUCTIONS)
def test_reductions(level: str, op: str) -> None:
    for shape in ((1,), (7,), (50,), (50, 64), (3, 1), (300, 3), (5, 37), (2, 5, 4), (2, 3, 4, 5)):
        x = numbers(3, *shape)
        if op in ("any", "all"):
            x = (RNG.random(x.shape) < 0.8).astype(np.float32)
        for count in range(len(shape) + 1):
            for axes in itertools.combinations(range(len(shape)), count):
                for keep in (False, True):
                    wide = tuple(axis + 1 for axis in axes)
                    expected = REDUCTIONS[op](x.astype(np.float64), axis=wide, keepdims=keep) if axes else REDUCTIONS[op](
                        x.astype(np.float64)[np.newaxis], axis=0
                    )  # fmt: skip
                    found = computed(level, lambda b, v: arithmetic.reduced(b, op, v, axes, keep), x)
                    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-5, err_msg=f"{shape} {axes}")


@pytest.mark.parametrize("level", LEVELS)
def test_reductions_of_nan_and_infinity(level: str) -> None:
    for shape, axis in (((23,), 0), ((5, 23), 0)):
        for value in (np.nan, np.inf, -np.inf):
            x = numbers(2, *shape)
            x.reshape(-1)[3] = value
            for op in REDUCTIONS:
                found = computed(level, lambda b, v: arithmetic.reduced(b, op, v, [axis]), x)
                with np.errstate(all="ignore"):
                    expected = REDUCTIONS[op](x, axis=axis + 1)
                np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("shape", [(200_000,), (200_000, 2)])
def test_long_sums_stay_exact(level: str, shape: tuple[int, ...]) -> None:
    """Sums are made of parts (``kernels/sums.py``): m = 391 of 512 values here, added to a total one after the other.

    That is what errs: each addition by up to u = 2**-24 of the total so far. If these errors are independent their sum is about
    u * sqrt(m) / 3 = 4e-7 of the sum, and at most u * m / 2 = 1.2e-5; values added one after the other would have n for m. Along the
    first of two axes 50 draws had 1.02e-6 at most, and side by side, where the lanes of a vector hold a total each, 4.7e-7.
    """
    x = np.random.default_rng(0).random((1, *shape)).astype(np.float32)  # the same, whichever tests came before
    found = computed(level, lambda b, v: arithmetic.reduced(b, "sum", v, [0]), x)
    np.testing.assert_allclose(found, x.astype(np.float64).sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_along_axes(level: str) -> None:
    for shape in ((1,), (23,), (5, 3), (5, 37), (3, 4, 5)):
        x = (numbers(2, *shape) * 5).astype(np.float32)
        wide = x.astype(np.float64)
        for axis in range(len(shape)):
            found = computed(level, lambda b, v: arithmetic.cumulated(b, v, axis), x)
            np.testing.assert_allclose(found, np.cumsum(wide, axis=axis + 1), rtol=2e-6, atol=1e-5)
            e = np.exp(wide - wide.max(axis=axis + 1, keepdims=True))
            total = e.sum(axis=axis + 1, keepdims=True)
            found = computed(level, lambda b, v: arithmetic.softmax(b, v, axis), x)
            np.testing.assert_allclose(found, e / total, atol=3e-7, rtol=2e-6)
            found = computed(level, lambda b, v: arithmetic.log_softmax(b, v, axis), x)
            np.testing.assert_allclose(found, np.log(e / total), atol=1e-5, rtol=1e-5)
            for keep in (False, True):
                found = computed(level, lambda b, v: arithmetic.reduced(b, "logsumexp", v, [axis], keep), x)
                expected = np.log(total) + wide.max(axis=axis + 1, keepdims=True)
                np.testing.assert_allclose(found, expected if keep else expected.squeeze(axis + 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_logsumexp_of_infinities(level: str) -> None:
    x = np.array([[-np.inf, -np.inf], [np.inf, 1.0], [-np.inf, 2.0]], np.float32)
    found = computed(level, lambda b, v: arithmetic.reduced(b, "logsumexp", v, [0]), x)
    np.testing.assert_allclose(found, [-np.inf, np.inf, 2.0])


@pytest.mark.parametrize("level", LEVELS)
def test_copies(level: str) -> None:
    x = numbers(2, 3, 20, 37)
    for axes in itertools.permutations(range(3)):
        found = computed(level, lambda b, v: copying.transposed(b, v, axes), x)
        np.testing.assert_array_equal(found, x.transpose(0, *(axis + 1 for axis in axes)))
    found = computed(level, lambda b, v: copying.sliced(b, v, [(2, 2, -2), (1, 7, 2), (0, 37, 1)]), x)
    np.testing.assert_array_equal(found, x[:, ::-2][:, :, 1:15:2])
    found = computed(level, lambda b, v: copying.sliced(b, v, [(0, 3, 1), (19, 1, 1), (36, 13, -3)]), x)
    np.testing.assert_array_equal(found, x[:, :, -1:, ::-3])
    for axis in range(3):
        np.testing.assert_array_equal(computed(level, lambda b, v: copying.flipped(b, v, [axis]), x), np.flip(x, axis + 1))
        np.testing.assert_array_equal(computed(level, lambda b, v: copying.repeated(b, v, 3, axis), x), np.repeat(x, 3, axis + 1))
        found = computed(level, lambda b, u, v: copying.concatenated(b, [u, v, u], axis), x, -x)
        np.testing.assert_array_equal(found, np.concatenate([x, -x, x], axis + 1))
    for axis in range(4):
        found = computed(level, lambda b, u, v: copying.stacked(b, [u, v], axis), x, -x)
        np.testing.assert_array_equal(found, np.stack([x, -x], axis + 1))
    np.testing.assert_array_equal(computed(level, lambda b, v: copying.tiled(b, v, [2, 1, 3]), x), np.tile(x, (1, 2, 1, 3)))
    around = [(1, 0), (0, 2), (3, 1)]
    found = computed(level, lambda b, v: copying.padded(b, v, around, -1.5), x)
    np.testing.assert_array_equal(found, np.pad(x, [(0, 0), *around], constant_values=-1.5))
    small = numbers(2, 20, 1)
    found = computed(level, lambda b, v: copying.broadcast(b, v, (4, 20, 19)), small)
    np.testing.assert_array_equal(found, np.broadcast_to(small[:, np.newaxis], (2, 4, 20, 19)))


@pytest.mark.parametrize("level", LEVELS)
def test_copies_of_constants(level: str) -> None:
    x, array = numbers(3, 4, 5), numbers(4, 2)
    calls = Calls(level, [x])
    found = calls.run(copying.concatenated(calls.builder, [calls.constant(array), calls.values[0]], 1))
    np.testing.assert_array_equal(found, np.concatenate([np.broadcast_to(array, (3, 4, 2)), x], axis=2))


PRODUCTS = [
    ((1, 1), (1, 1)), ((5, 3), (3, 2)), ((50, 64), (64, 50)), ((1, 50), (50, 64)), ((7, 9), (9, 17)), ((13, 5), (5, 130)),
    ((3, 40), (40, 33)),
    ((50, 64), (64, 1)), ((2, 3, 6, 7), (2, 3, 7, 20)), ((2, 1, 6, 7), (3, 7, 5)), ((6, 7), (4, 7, 31)), ((4, 3, 6, 7), (7, 16)),
]  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("transpose_x", [False, True])
@pytest.mark.parametrize("transpose_y", [False, True])
def test_products(level: str, transpose_x: bool, transpose_y: bool) -> None:
    for one, other in PRODUCTS:
        for rows in (1, 3):
            x, y = numbers(rows, *one), numbers(rows, *other)
            rank = max(len(one), len(other))
            wide = x.reshape(rows, *[1] * (rank - len(one)), *one), y.reshape(rows, *[1] * (rank - len(other)), *other)
            expected = wide[0].astype(np.float64) @ wide[1]
            given = [x.swapaxes(-1, -2) if transpose_x else x, y.swapaxes(-1, -2) if transpose_y else y]

            def write(b: Builder, u: Value, v: Value) -> Value | None:
                return arithmetic.product(b, u, v, transpose_x, transpose_y)

            found = computed(level, write, *given)
            np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5, err_msg=f"{one} {other}")


@pytest.mark.parametrize("level", LEVELS)
def test_products_with_constants(level: str) -> None:
    x, array = numbers(3, 6, 9), numbers(9, 21)
    calls = Calls(level, [x])
    found = calls.run(arithmetic.weighted(calls.builder, calls.owner, "matrix", calls.values[0], lambda: array, array.shape))
    np.testing.assert_allclose(found, x @ array, atol=1e-5)
    calls = Calls(level, [x])
    left = numbers(5, 6)
    found = calls.run(arithmetic.product(calls.builder, calls.constant(left), calls.values[0]))
    np.testing.assert_allclose(found, left @ x, atol=1e-5)


# -- numbers below the normal range, and interruptions ------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_tiny_numbers_count_as_zeros(level: str) -> None:
    """As in all kernels, and in TensorFlow."""
    x = np.full((1, 40), 1e-41, np.float32)
    assert not computed(level, lambda b, v: arithmetic.binary(b, "add", v, v), x).any()
    assert not computed(level, lambda b, v: arithmetic.binary(b, "greater", v, 0.0), x).any()
    assert not computed(level, lambda b, v: arithmetic.reduced(b, "sum", v, [0]), x).any()
    assert not computed(level, lambda b, v: arithmetic.reduced(b, "any", v, [0]), x).any()
    assert computed(level, lambda b, v: copying.repeated(b, v, 2, 0), x).all(), "copies copy"


@pytest.mark.slow
@pytest.mark.parametrize("turned", [False, True])
def test_a_long_product_is_left(turned: bool) -> None:
    """Soon after its call is told to stop, in the middle of a matrix: it would take seconds."""
    size = 6000
    calls = Calls(runtime.level(), [np.zeros((1, size, size), np.float32)])
    (x,) = calls.values
    made = arithmetic.product(calls.builder, x, x, transpose_y=turned)
    assert made is not None
    runner = runtime.Runner(calls.program(made))
    watch = runtime.Watch()
    threading.Timer(0.5, watch.stop).start()
    start = time.monotonic()
    runner.run(calls.arrays, [np.empty((1, size, size), np.float32)], [], 0, 1, watch)
    assert time.monotonic() - start < 2
