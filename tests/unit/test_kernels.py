"""The kernels that keep no state, against NumPy; and the runtime's checks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from kernel_calls import LEVELS, call, lanes_of

from fastlstm import runtime
from fastlstm.activations import NATIVE, function
from fastlstm.errors import KernelError
from fastlstm.program import layout
from fastlstm.program.arena import arrange
from fastlstm.program.ir import At, Buffer, BufferInfo, Constant, Instruction, Program

SMALL = float(np.finfo(np.float32).tiny)


def activate(level: str, name: str, x: np.ndarray, alpha: float) -> np.ndarray:
    y = np.full_like(x, 7)
    fields = {"size": x.shape[1], "activation": NATIVE[name], "alpha": alpha}
    call(level, "activate", len(x), {"x": x}, {"y": y}, fields)
    return y


def ulps(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Distance from the exact value in units of float32's last place, below the normal range in units of its end."""
    unit = np.spacing(np.maximum(np.abs(expected), SMALL).astype(np.float32)).astype(np.float64)
    return np.abs(found.astype(np.float64) - expected) / unit


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", sorted(NATIVE))
def test_activation_accuracy(level: str, name: str) -> None:
    lanes_of(level)
    rng = np.random.default_rng(1)
    magnitudes = np.exp(rng.uniform(-30, np.log(80), 30000))
    x = np.concatenate([magnitudes, -magnitudes, np.linspace(-12, 12, 20001), [0.0, -0.0, 1.0, -1.0]]).astype(np.float32)
    alpha = 0.2 if name == "leaky_relu" else 1.0
    found = activate(level, name, x[np.newaxis], alpha)[0]
    expected = function(name)(x.astype(np.float64))
    near = np.full(len(x), True)
    if name in ("gelu", "gelu_tanh", "mish", "silu", "softplus"):
        near = x > -4  # further down the result is tiny, and its exponent amplifies rounding
    elif name in ("sigmoid", "exponential"):
        near = x > -87  # subnormal results below
    elif name == "hard_sigmoid":
        near = np.abs(x) < 2  # in float32, 0.2 x + 0.5 cancels near -2.5 in Keras too
    elif name == "log_sigmoid":
        near = x < 4  # as softplus further up
    elif name == "tanh_shrink":
        near = np.abs(x) > 1e-3  # nearer to 0 the difference cancels in float64 too
    limit = {"gelu_tanh": 40, "gelu": 8, "softplus": 4, "mish": 5, "selu": 4, "log_sigmoid": 4, "tanh_shrink": 8}.get(name, 3.5)
    worst = ulps(found, expected)[near]
    assert worst.max() <= limit, f"{name} off by {worst.max():.1f} ulp at {x[near][worst.argmax()]!r}"
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1.2e-7)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", sorted(NATIVE))
def test_activations_of_nan_and_infinity(level: str, name: str) -> None:
    lanes_of(level)
    x = np.array([[np.nan, np.inf, -np.inf, 1e30, -1e30, 3e38, -3e38, 100, -100, 0.5]], np.float32)
    payload = np.array([0x7FC001FF, 0xFFC00123], np.uint32).view(np.float32)
    found = activate(level, name, np.concatenate([x, [[*payload, *x[0, :8]]]]).astype(np.float32), 0.2 if name == "leaky_relu" else 1.0)
    with np.errstate(all="ignore"):
        expected = function(name)(x)
    if name == "gelu":
        expected[0, 4] = expected[0, 6] = 0.0
    elif name == "squareplus":
        expected[0, [4, 6, 8]] = (
            0.0,
            0.0,
            0.009999,
        )  # the square of the number is no float32, the result is one; the last cancels in float32
    np.testing.assert_allclose(found[:1], expected, rtol=1e-5, atol=1e-37)
    assert np.isnan(found[1, :2]).all() or name in ("soft_shrink", "hard_shrink")  # NaN is not beyond their threshold: 0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("units", [1, 2, 4, 5, 8, 16, 17, 40, 64, 100, 130])
def test_dense(level: str, units: int) -> None:
    lanes = lanes_of(level)
    rng = np.random.default_rng(units)
    for rows, steps, features in ((1, 1, 1), (2, 3, 7), (5, 1, 64), (7, 1, 33), (13, 2, 20), (101, 1, 3)):
        x = rng.normal(size=(rows, steps, features)).astype(np.float32)
        W, b = rng.normal(size=(features, units)).astype(np.float32), rng.normal(size=units).astype(np.float32)
        for activation, bias in (("linear", b), ("sigmoid", b), ("relu", None), ("elu", b)):
            y = np.full((rows, steps, units + 3), 7, np.float32)
            fields = {
                "steps": steps, "features": features, "units": units, "x_row": steps * features, "x_step": features,
                "kernel": layout.pack_dense(W, lanes), "bias": None if bias is None else layout.pack_dense_bias(bias, lanes),
                "activation": NATIVE[activation], "y_row": steps * (units + 3), "y_step": units + 3,
            }  # fmt: skip
            call(level, "dense", rows, {"x": x}, {"y": y}, fields)
            expected = function(activation)(x.astype(np.float64) @ W + (0 if bias is None else bias))
            np.testing.assert_allclose(y[..., :units], expected, atol=1e-5, rtol=1e-5)
            assert (y[..., units:] == 7).all(), "written beyond the row"
            alone = np.empty((1, steps, units + 3), np.float32)
            call(level, "dense", 1, {"x": np.ascontiguousarray(x[-1:])}, {"y": alone}, fields)
            np.testing.assert_array_equal(alone[0, :, :units], y[-1, :, :units])


@pytest.mark.parametrize("level", LEVELS)
def test_embedding_and_mask_of_ids(level: str) -> None:
    lanes_of(level)
    rng = np.random.default_rng(0)
    for features in (1, 3, 16, 37):
        ids = rng.integers(0, 9, (5, 6)).astype(np.int32)
        table = rng.normal(size=(9, features)).astype(np.float32)
        y, mask = np.empty((5, 6, features), np.float32), np.empty((5, 6), np.uint8)
        fields = {"steps": 6, "features": features, "ids_row": 6, "vocabulary": 9, "table": table, "y_row": 6 * features}
        call(level, "embedding", 5, {"ids": ids}, {"y": y}, fields)
        call(level, "mask_ids", 5, {"ids": ids}, {"mask": mask}, {"steps": 6, "ids_row": 6})
        np.testing.assert_array_equal(y, table[ids])
        np.testing.assert_array_equal(mask, ids != 0)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_masking(level: str, value: float) -> None:
    lanes_of(level)
    rng = np.random.default_rng(0)
    for features in (1, 5, 16, 21):
        x = rng.normal(size=(4, 6, features)).astype(np.float32)
        x[1, 2:] = value
        x[2, 1, : features // 2] = value
        x[3, 0] = np.nan
        y, mask = np.empty_like(x), np.empty((4, 6), np.uint8)
        call(level, "masking", 4, {"x": x}, {"y": y, "mask": mask}, {"steps": 6, "features": features, "value": value})
        expected = np.any(x != np.float32(value), axis=-1)
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_array_equal(y, np.where(expected[..., np.newaxis], x, 0))


@pytest.mark.parametrize("level", LEVELS)
def test_softmax(level: str) -> None:
    lanes_of(level)
    rng = np.random.default_rng(0)
    for features in (1, 2, 9, 16, 17, 100):
        x = (rng.normal(size=(3, 2, features)) * 30).astype(np.float32)
        x[1, 0, 0] = np.nan
        x[1, 1, 0] = -np.inf if features > 1 else 0
        y = np.empty_like(x)
        call(level, "softmax", 3, {"x": x}, {"y": y}, {"steps": 2, "features": features})
        wide = x.astype(np.float64)
        e = np.exp(wide - wide.max(axis=-1, keepdims=True))
        np.testing.assert_allclose(y, e / e.sum(axis=-1, keepdims=True), atol=3e-7)


@pytest.mark.parametrize("level", LEVELS)
def test_repeat_place_and_masks(level: str) -> None:
    lanes_of(level)
    rng = np.random.default_rng(0)
    for size in (1, 7, 16, 19):
        x = rng.normal(size=(3, size)).astype(np.float32)
        y = np.empty((3, 4, size), np.float32)
        call(level, "repeat", 3, {"x": x}, {"y": y}, {"times": 4, "size": size})
        np.testing.assert_array_equal(y, np.repeat(x[:, np.newaxis], 4, axis=1))
        turned = np.zeros((3, 4, size + 2), np.float32)
        buffers = (BufferInfo("input", 16 * size), BufferInfo("output", 16 * (size + 2)))
        fields = {
            "steps": 4, "width": size, "x": At(Buffer(0), 3 * size), "x_row": 4 * size, "x_step": -size,
            "y": At(Buffer(1), 2), "y_row": 4 * (size + 2), "y_step": size + 2,
        }  # fmt: skip
        runtime.Runner(Program((Instruction("place", fields),), buffers, (), (), 2), level).run([y], [turned], [])
        np.testing.assert_array_equal(turned[..., 2:], y[:, ::-1])
        assert (turned[..., :2] == 0).all()
    a, b = (rng.integers(0, 2, (4, 9)).astype(np.uint8) for _ in range(2))
    for op, expected in ((0, a & b), (1, a | b)):
        out = np.empty_like(a)
        call(level, "mask_combine", 4, {"a": a, "b": b}, {"y": out}, {"size": 9, "op": op})
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("level", LEVELS)
def test_merge(level: str) -> None:
    lanes_of(level)
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(4, 11)).astype(np.float32) for _ in range(2))
    a[0, 0] = b[1, 1] = np.nan
    expected = [a + b, a - b, a * b, np.maximum(a, b), np.minimum(a, b)]
    for op, value in enumerate(expected):
        y = np.empty_like(a)
        call(level, "merge", 4, {"a": a, "b": b}, {"y": y}, {"size": 11, "op": op, "scale": 0.5})
        np.testing.assert_allclose(y, value * np.float32(0.5), rtol=1e-6)


# -- the runtime --------------------------------------------------------------------------------------------------------------


def doubling(block_rows: int = 3) -> Program:
    """A Program that adds an input to itself, through scratch."""
    buffers = (BufferInfo("input", 20), BufferInfo("scratch", 20), BufferInfo("output", 20))
    copied = {"steps": 1, "width": 5, "x": Buffer(0), "x_row": 5, "y": Buffer(1), "y_row": 5}
    added = {"size": 5, "a": Buffer(0), "b": Buffer(1), "y": Buffer(2), "op": 0, "scale": 1.0}
    return Program((Instruction("place", copied), Instruction("merge", added)), buffers, (), ((5,),), block_rows)


def test_rows_and_ranges() -> None:
    x = np.arange(50, dtype=np.float32).reshape(10, 5)
    runner = runtime.Runner(doubling())
    y = np.zeros_like(x)
    runner.run([x], [y], [], 2, 9)
    np.testing.assert_array_equal(y[2:9], 2 * x[2:9])
    assert not y[:2].any()
    assert not y[9:].any()
    runner.run([x[:0]], [y[:0]], [])
    runner.run([x], [y], [])
    np.testing.assert_array_equal(y, 2 * x)


def test_blocks_are_of_like_size() -> None:
    """No small last block, which would read all weights for few rows."""
    seen = []
    buffers = (BufferInfo("input", 4), BufferInfo("output", 4))
    look = Instruction("numpy", {"x": Buffer(0), "y": Buffer(1)}, lambda rows, arrays: seen.append(rows))
    runner = runtime.Runner(Program((look,), buffers, (), ((1,),), 60))
    x = np.zeros((130, 1), np.float32)
    for rows in (1, 60, 61, 64, 120, 130):
        runner.run([x], [x.copy()], [], 0, rows)
    assert seen == [1, 60, 36, 25, 36, 28, 60, 60, 48, 48, 34]


def test_arrays_that_do_not_fit() -> None:
    runner = runtime.Runner(doubling())
    x = np.zeros((4, 5), np.float32)
    read_only = np.zeros_like(x)
    read_only.flags.writeable = False
    for inputs, outputs, rows in (
        ([], [x], (0, 1)), ([x], [], (0, 4)), ([x[:, ::2]], [x], (0, 4)), ([x], [x[:3]], (0, 4)), ([x], [x], (0, 5)),
        ([x], [x], (-1, 2)), ([x], [x], (3, 2)), ([x.T], [x], (0, 4)), ([[1.0]], [x], (0, 1)), ([x], [read_only], (0, 1)),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected|range"):
            runner.run(inputs, outputs, [], *rows)


def test_unknown_kernel_and_field() -> None:
    for instruction in (Instruction("no_such"), Instruction("repeat", {"colour": 1}), Instruction("repeat", {"rows": 1})):
        with pytest.raises(KernelError, match="no such kernel|no field"):
            runtime.Runner(Program((instruction,), (), (), (), 1))


def test_numpy_instructions() -> None:
    seen = []

    def negate(rows: int, arrays: dict[int, np.ndarray]) -> None:
        seen.append(rows)
        arrays[1].view(np.float32)[...] = -arrays[0].view(np.float32)

    buffers = (BufferInfo("input", 12), BufferInfo("scratch", 12), BufferInfo("output", 24))
    program = Program((
        Instruction("numpy", {"a": Buffer(0), "b": Buffer(1)}, negate),
        Instruction("repeat", {"times": 2, "size": 3, "x": Buffer(1), "y": Buffer(2)}),
    ), buffers, (), ((2, 3),), 4)  # fmt: skip
    x = np.arange(30, dtype=np.float32).reshape(10, 3)
    y = np.empty((10, 2, 3), np.float32)
    runtime.Runner(program).run([x], [y], [])
    np.testing.assert_array_equal(y, -np.repeat(x[:, np.newaxis], 2, axis=1))
    assert seen == [4, 4, 2]


def test_errors_of_numpy_instructions_come_through() -> None:
    def fail(rows: int, arrays: dict[int, np.ndarray]) -> None:
        raise ZeroDivisionError("on purpose")

    runner = runtime.Runner(Program((Instruction("numpy", {"a": Buffer(0)}, fail),), (BufferInfo("input", 4),), (), (), 4))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            runner.run([np.zeros((2, 1), np.float32)], [], [])


def test_threads_share_a_runner() -> None:
    runner = runtime.Runner(doubling())
    x = np.random.default_rng(0).normal(size=(2000, 5)).astype(np.float32)
    outputs = [np.zeros_like(x) for _ in range(8)]

    def work(y: np.ndarray) -> None:
        for _ in range(20):
            runner.run([x], [y], [])

    threads = [threading.Thread(target=work, args=(y,)) for y in outputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for y in outputs:
        np.testing.assert_array_equal(y, 2 * x)


def test_constants_and_offsets() -> None:
    table = layout.aligned(np.arange(20, dtype=np.float32))
    fields = {"steps": 1, "width": 3, "x": At(Constant(0), 5), "y": Buffer(0), "y_row": 3}
    y = np.zeros((2, 3), np.float32)
    runtime.Runner(Program((Instruction("place", fields),), (BufferInfo("output", 12),), (table,), ((3,),), 8)).run([], [y], [])
    np.testing.assert_array_equal(y, [[5, 6, 7], [5, 6, 7]])


def test_scratch_is_shared_only_between_buffers_of_different_times() -> None:
    buffers = tuple(BufferInfo("scratch", size, 8) for size in (100, 40, 300, 8, 100))
    uses = [(0,), (0, 1), (1, 2), (2, 3), (3, 4), (0,)]
    instructions = [Instruction("place", {str(n): Buffer(n) for n in use}) for use in uses]
    offsets, size = arrange(instructions, buffers, 7)
    alive = {n: [at for at, use in enumerate(uses) if n in use] for n in range(5)}
    for a in range(5):
        assert offsets[a] % 64 == 0
        assert offsets[a] + buffers[a].row_bytes * 7 + 8 <= size
        for b in range(a):
            apart = offsets[a] + buffers[a].row_bytes * 7 + 8 <= offsets[b] or offsets[b] + buffers[b].row_bytes * 7 + 8 <= offsets[a]
            assert apart or max(alive[b]) < min(alive[a]) or max(alive[a]) < min(alive[b])
    assert size < sum(info.row_bytes * 7 + 136 for info in buffers)


def test_levels() -> None:
    assert runtime.available_levels()
    assert runtime.lanes() == runtime.engine().lanes
    assert "lstm" in runtime.kernel_fields()
    assert all(fields[0] == "rows" for fields in runtime.kernel_fields().values())
    with pytest.raises(KernelError, match="expected .*jit"):
        runtime.engine("v9")


@pytest.mark.parametrize("asked", [*runtime.available_levels(), "v9"])
def test_the_environment_chooses_the_level(asked: str) -> None:
    code = "from fastlstm import runtime; print(runtime.level())"
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ, FASTLSTM_KERNELS=asked), capture_output=True, text=True, check=False
    )
    if asked in runtime.available_levels():
        assert done.stdout.strip() == asked
    else:
        assert "KernelError: FASTLSTM_KERNELS=v9" in done.stderr


def test_large_arrays_lie_in_huge_pages() -> None:
    """Or not, as the system will have it: the values are the same, and so is the alignment."""
    for size in (layout.HUGE_PAGE // 4, 3 * layout.HUGE_PAGE // 4 + 5, 100):
        array = np.arange(size, dtype=np.float32)[1:]
        copy = layout.aligned(array)
        np.testing.assert_array_equal(copy, array)
        assert copy.ctypes.data % layout.ALIGNMENT == 0
        assert copy.flags.writeable
        assert layout.aligned(copy) is copy
