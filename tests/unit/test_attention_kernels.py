"""The kernels of attention against NumPy in float64: every mask, odd sizes, NaN and infinities, and bits that depend on the row alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from guarded_arrays import SIDES, guarded
from kernel_calls import LEVELS, call, lanes_of
from tensor_calls import Calls

from fastlstm import runtime
from fastlstm.program.attending import Hidden, Matrices, Pairs, Sizes, Tanh, attended
from fastlstm.program.ir import Mask, Value

RNG = np.random.default_rng(0)
FAR = 1e9


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


class Case(NamedTuple):
    """What is attended over: heads side by side in tensors (rows, outer, steps, heads * width)."""

    steps: int
    others: int
    features: int = 5
    size: int = 7
    heads: int = 2
    group: int = 1
    outer: int = 1
    step_mask: bool = False
    other_mask: bool = False
    pairs: str = ""  # the axes that a mask of pairs has: of o, h, t, s
    causal: bool = False
    band: int = 0
    zeros: bool = False
    tanh: bool = False
    rows: int = 3

    def arrays(self) -> dict[str, np.ndarray]:
        """Inputs by name."""
        rows, heads = self.rows, self.heads * self.group
        found = {
            "q": numbers(rows, self.outer, self.steps, heads * self.features),
            "k": numbers(rows, self.outer, self.others, self.heads * self.features),
            "v": numbers(rows, self.outer, self.others, self.heads * self.size),
        }
        sizes = {"o": self.outer, "h": heads, "t": self.steps, "s": self.others}
        if self.step_mask:
            found["step_mask"] = RNG.random((rows, self.steps)) < 0.7
        if self.other_mask:
            found["other_mask"] = (np.arange(self.others) < RNG.integers(0, self.others + 1, (rows, 1))) & (
                RNG.random((rows, self.others)) < 0.9
            )
        if self.pairs:
            found["pairs"] = RNG.random((rows, *(sizes[axis] if axis in self.pairs else 1 for axis in "ohts"))) < 0.6
        return found


def truth(case: Case, given: dict[str, np.ndarray], factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Output and weights in float64."""

    def apart(x: np.ndarray, heads: int, repeats: int) -> np.ndarray:
        x = x.astype(np.float64).reshape(*x.shape[:-1], heads, -1).swapaxes(2, 3)
        return np.repeat(x, repeats, 2)

    q, k, v = (apart(given[name], case.heads * (case.group if name == "q" else 1), 1 if name == "q" else case.group) for name in "qkv")
    if case.tanh:
        scores = 0.7 * np.sum(factors * np.tanh(1.5 * (q[..., None, :] + k[..., None, :, :])), axis=-1)
    else:
        scores = 0.7 * (q @ k.swapaxes(-1, -2))
    seen = np.ones(scores.shape, bool)
    t, s = np.arange(case.steps)[:, None], np.arange(case.others)
    seen &= (s <= t) if case.causal else True
    seen &= (np.abs(t - s) < case.band) if case.band else True
    for name, mask in (("step_mask", np.s_[:, None, None, :, None]), ("other_mask", np.s_[:, None, None, None, :]), ("pairs", np.s_[:])):
        if name in given:
            seen &= given[name][mask]
    scores = np.where(seen, scores, -FAR)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    weights = e / e.sum(-1, keepdims=True)
    if case.zeros:
        weights = np.where(seen, weights, 0)
    out = (weights @ v).swapaxes(2, 3)
    return out.reshape(*out.shape[:3], -1), weights


def written(level: str, case: Case, given: dict[str, np.ndarray], factors: np.ndarray, *, scores: bool) -> tuple[Calls, Value]:
    """The calls, and the weights if they are asked for, else the output."""
    calls = Calls(level, [x.view(np.uint8) if x.dtype == bool else x for x in given.values()])
    b = calls.builder
    values = dict(zip(given, calls.values, strict=True))
    heads = case.heads * case.group
    out = Value(b.buffer(case.outer * case.steps * heads * case.size), (case.outer, case.steps, heads * case.size))
    operands = []
    for value, width in zip(
        (values["q"], values["k"], values["v"], out), (case.features, case.features, case.size, case.size), strict=True
    ):
        outer, steps, size = value.shape
        operands.append(Matrices(value.buffer, outer * steps * size, steps * size, width, size))

    def mask(name: str) -> Mask | None:
        return Mask(values[name].buffer, values[name].shape) if name in values else None

    pairs, apart = mask("pairs"), []
    if pairs is not None:
        for n, axis in enumerate("ohts"):
            apart.append(int(np.prod(pairs.shape[n + 1 :])) if axis in case.pairs else 0)
    hidden = Hidden(
        mask("step_mask"), mask("other_mask"), pairs and Pairs(pairs.buffer, int(np.prod(pairs.shape)), *apart), case.causal, case.band,
        case.zeros,
    )  # fmt: skip
    sizes = Sizes(case.outer, case.heads, case.group, case.steps, case.others, case.features, case.size)
    tanh = Tanh(1.5, calls.constant(factors).constant) if case.tanh else None
    found = attended(b, tuple(operands), sizes, hidden, 0.7, tanh=tanh, scores=scores)  # type: ignore[arg-type]
    return calls, out if found is None else Value(found, (case.outer, heads, case.steps, case.others))


CASES = [
    Case(1, 1, 1, 1), Case(1, 37, 9, 5), Case(3, 20), Case(4, 1, 3, 2), Case(5, 17, 1, 40), Case(29, 33, 16, 16), Case(30, 66, 20, 17),
    Case(70, 130, 33, 64), Case(7, 3, 2, 100), Case(25, 12, step_mask=True), Case(25, 40, other_mask=True),
    Case(25, 40, step_mask=True, other_mask=True, causal=True), Case(40, 40, causal=True), Case(9, 100, causal=True),
    Case(100, 9, causal=True),
    Case(60, 90, band=4), Case(90, 60, band=1, causal=True), Case(90, 90, 8, 20, band=70, causal=True), Case(30, 40, pairs="ts"),
    Case(30, 40, pairs="hts", outer=2, causal=True), Case(30, 40, pairs="os", outer=3), Case(30, 40, pairs="ht"), Case(5, 9, pairs="t"),
    Case(6, 8, heads=2, group=3, causal=True, other_mask=True), Case(30, 40, step_mask=True, other_mask=True, pairs="ts", zeros=True),
    Case(30, 40, causal=True, zeros=True, other_mask=True), Case(2, 40, step_mask=True, other_mask=True, zeros=True, band=3),
    Case(1, 1, tanh=True), Case(3, 37, tanh=True, causal=True), Case(26, 70, 19, 3, tanh=True, other_mask=True),
    Case(9, 5, tanh=True, pairs="hts"),
    Case(2, 3000, 4, 4, rows=1), Case(9, 3000, 4, 4, rows=1, causal=True),
]  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_numbers(level: str, case: Case) -> None:
    """Beside pages that nobody may touch."""
    lanes_of(level)
    given, factors = case.arrays(), numbers(case.features)
    for expected, scores in zip(truth(case, given, factors), (False, True), strict=True):
        calls, value = written(level, case, given, factors, scores=scores)
        np.testing.assert_allclose(calls.run(value), expected, atol=3e-6, rtol=2e-5)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", [Case(30, 40, causal=True, other_mask=True, rows=5), Case(26, 70, tanh=True, band=9, rows=5)], ids=str)
def test_bits_depend_on_the_row_alone(level: str, case: Case) -> None:
    given, factors = case.arrays(), numbers(case.features)
    calls, value = written(level, case, given, factors, scores=False)
    whole = calls.run(value)
    for row in range(case.rows):
        calls, value = written(level, case, {name: x[row : row + 1] for name, x in given.items()}, factors, scores=False)
        np.testing.assert_array_equal(calls.run(value)[0], whole[row])


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_left_out_changes_no_bit(level: str) -> None:
    """Beside a value that is infinite, everything is computed."""
    for case in (Case(50, 50, causal=True), Case(50, 90, band=5), Case(33, 80, other_mask=True, step_mask=True)):
        given, found = case.arrays(), []
        for last in (1.0, np.inf):
            given["v"][..., -1] = last  # of every step of the last head
            calls, value = written(level, case, given, numbers(5), scores=False)
            found.append(calls.run(value)[..., :-1])
        np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_nan_and_infinities(level: str, odd: float, name: str) -> None:
    """Where they come out in NumPy: also those of values that have no weight."""
    for case in (
        Case(9, 20, rows=2),
        Case(20, 20, rows=2, causal=True),
        Case(30, 40, rows=2, other_mask=True),
        Case(50, 50, rows=2, band=3),
    ):
        given = case.arrays()
        steps = given[name].shape[2]
        for step in (0, steps // 2, steps - 1):
            changed = {**given, name: given[name].copy()}
            changed[name][1, 0, step, 0] = odd
            with np.errstate(all="ignore"):
                expected, _ = truth(case, changed, numbers(5))
            calls, value = written(level, case, changed, numbers(5), scores=False)
            np.testing.assert_allclose(calls.run(value), expected, atol=3e-6, rtol=2e-5, err_msg=f"{case} {step}")


@pytest.mark.parametrize("level", LEVELS)
def test_scores_below_that_of_what_is_hidden(level: str) -> None:
    """What is hidden then has the weight, as it is no further away than -1e9."""
    case = Case(20, 20, 4, 3, causal=True, rows=1)
    given = case.arrays()
    given["q"][..., :4], given["k"][..., :4] = 1e6, -1e6
    expected, _ = truth(case, given, numbers(4))
    calls, value = written(level, case, given, numbers(4), scores=False)
    np.testing.assert_allclose(calls.run(value), expected, atol=3e-6, rtol=2e-5)


def test_a_long_call_is_left() -> None:
    """Soon after it is told to stop, in the middle of a matrix."""
    for tanh in (False, True):
        case = Case(3000, 3000, 64, 64, heads=1, rows=1, tanh=tanh)
        given = case.arrays()
        calls, value = written(runtime.level(), case, given, numbers(64), scores=False)
        runner, watch = runtime.Runner(calls.program(value)), runtime.Watch()
        watch.stop()
        made = np.full((1, *value.shape), 7, np.float32)
        runner.run(calls.arrays, [made], [], 0, 1, watch)
        assert (made[0, 0, -1] == 7).all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("side", SIDES)
def test_remembering(level: str, side: str) -> None:
    """Whatever the number of steps before says, it is done within the array."""
    lanes_of(level)
    past = np.array([0, 1, 4, 7, 8, 1e30, np.nan, np.inf, -np.inf, -2, 3.7], np.float32)[:, None]
    x, y = numbers(len(past), 3, 5), numbers(len(past), 10, 5)
    expected = y.copy()
    for row, first in enumerate((0, 1, 4, 7, 7, 0, 0, 0, 0, 0, 3)):
        expected[row, first : first + 3] = x[row]
    given = {"x": guarded(x, side), "past": guarded(past, side)}
    made = {"y": guarded(y, side)}
    call(level, "remember", len(past), given, made, {"steps": 3, "others": 10, "size": 5, "x_row": 15, "x_step": 5})
    np.testing.assert_array_equal(made["y"], expected)
