"""Kernels with weights of bfloat16, against plain float32 arithmetic in their order: to the bit where activations leave sums as they are.

AMX is computed by ``tests/helpers/amx.c`` where the CPU has none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import amx
import numpy as np
import pytest
from kernel_calls import LEVELS, call, lanes_of
from test_recurrent_kernels import CELLS, Case, masks, run

from fastlstm.activations import NATIVE
from fastlstm.program import bfloat16, layout
from fastlstm.program.lowering import packed_dense

pytestmark = pytest.mark.slow  # grids of shapes, at every level
REDUCED = {"one part": layout.AMX, "two parts": layout.SPLIT}
#: Sizes around those of tiles: rows, units, features.
SIZES = [(1, 16, 1), (2, 5, 3), (7, 33, 32), (16, 64, 40), (17, 20, 9), (33, 48, 31), (50, 8, 70), (96, 24, 16)]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def amx_level(level: str) -> str:
    """A level whose kernels use AMX, which this process computes."""
    if amx.lacking():
        pytest.skip(amx.lacking())
    if level == "v2":
        pytest.skip("AMX-BF16 comes with v4, and is tried at v3, whose tiles are narrower")
    lanes_of(level)
    return level


# -- the numbers themselves -------------------------------------------------------------------------------------------------------


def test_rounding() -> None:
    """The nearest, of two the even one, and never infinity."""
    x = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8, 3.4e38, -3.4e38, 0.0, -0.0, 1e-40], np.float32)
    expected = np.array([1, 1, 1 + 2**-6, 1 + 2**-7, -1, 3.3895314e38, -3.3895314e38, 0, -0.0, 9.9e-41], np.float32)
    found = bfloat16.widened(bfloat16.rounded(x))
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-41)
    assert np.signbit(found[8])
    every = np.arange(1 << 16, dtype=np.uint32)
    finite = every[(every & 0x7F80) != 0x7F80].astype(np.uint16)
    np.testing.assert_array_equal(bfloat16.rounded(bfloat16.widened(finite)), finite)


def test_split() -> None:
    """Two parts have 16 bits of the digits."""
    x = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    first, second = map(bfloat16.widened, bfloat16.split(x))
    assert np.abs((first.astype(float) + second - x) / x).max() < 2**-16


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3.4e38])
def test_weights_that_stay_float32(value: float) -> None:
    """What bfloat16 has no finite number for is left to float32; and where weights are few, reading half the bytes gains nothing."""
    weights = np.ones((600, 600), np.float32)
    assert [bfloat16.chosen(form, [weights]) for form in layout.FORMS] == list(layout.FORMS)
    assert bfloat16.chosen(layout.HALVES, [weights[:100]]) == layout.FULL
    weights[3, 4] = value
    assert {bfloat16.chosen(form, [weights]) for form in layout.FORMS} == {layout.FULL}


# -- half the bytes, widened ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("rows", "units", "features"), SIZES)
def test_halves_are_float32_of_rounded_weights(level: str, cell: str, rows: int, units: int, features: int) -> None:
    case = Case(cell, units, rows, features, 5, mask=masks(rows, 5)["holes"], initial=True, seed=rows)
    given = case.arrays()
    rounded = given | {name: amx.halves(given[name]) for name in ("W", "U")}
    expected, found = run(case, level, rounded), run(replace(case, form=layout.HALVES), level, given)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def dense(level: str, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, form: int, activation: str = "linear") -> np.ndarray:
    """activation(x @ w + bias) by the kernel, of rows of one step."""
    (rows, features), units, lanes = x.shape, w.shape[1], lanes_of(level)
    y = np.full((rows, units), 7.0, np.float32)
    fields: dict[str, Any] = {
        "kernel": packed_dense(w, lanes, form), "bias": None if bias is None else bfloat16.pack_row(bias, 1, units, lanes, form),
        "steps": 1, "features": features, "units": units, "x_row": features, "x_step": features, "y_row": units, "y_step": units,
        "activation": NATIVE[activation], "form": form,
    }  # fmt: skip
    scratch = (0, layout.dense_scratch(features, lanes, form)) if form != layout.FULL else None
    call(level, "dense", rows, {"x": x}, {"y": y}, fields, scratch)
    return y


def arrays_of(rows: int, units: int, features: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    shapes = ((rows, features), (features, units), (units,))
    x, w, bias = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    return x, w, bias


@pytest.mark.parametrize(("rows", "units", "features"), [*SIZES, (200, 130, 100)])
def test_dense_of_halves(level: str, rows: int, units: int, features: int) -> None:
    x, w, bias = arrays_of(rows, units, features)
    expected = dense(level, x, amx.halves(w), bias, layout.FULL)
    np.testing.assert_array_equal(dense(level, x, w, bias, layout.HALVES), expected)


# -- AMX --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", REDUCED.values(), ids=REDUCED)
@pytest.mark.parametrize(("rows", "units", "features"), [*SIZES, (200, 130, 100)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_dense_by_amx(amx_level: str, rows: int, units: int, features: int, with_bias: bool, form: int) -> None:
    """To the bit, in the order of AMX."""
    x, w, bias = arrays_of(rows, units, features)
    expected = amx.product(bias if with_bias else np.float32(0), x, w, form)
    np.testing.assert_array_equal(dense(amx_level, x, w, bias if with_bias else None, form), expected)
    assert not amx.left_configured()  # given up at the end of the call


@pytest.mark.parametrize("form", REDUCED.values(), ids=REDUCED)
@pytest.mark.parametrize(("rows", "units", "features"), SIZES)
@pytest.mark.parametrize("steps", [1, 6])
def test_sums_of_a_recurrent_layer_by_amx(amx_level: str, rows: int, units: int, features: int, steps: int, form: int) -> None:
    """To the bit, whether inputs are projected ahead or multiplied at their step."""
    case = Case("simple_rnn", units, rows, features, steps, initial=True, activation="linear", form=form)
    given = case.arrays()
    given["W"], given["U"] = given["W"] * 0.3, given["U"] * 0.3
    h = given["h0"]
    found = run(case, amx_level, given)
    for t in range(steps):
        h = amx.product(amx.product(given["b"], given["x"][:, t], given["W"], form), h, given["U"], form)
        np.testing.assert_array_equal(found["y"][:, t], h, err_msg=f"step {t}")
    np.testing.assert_array_equal(found["h_out"], h)
    assert not amx.left_configured()


def meant(case: Case, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A layer with its products in the order of AMX, and its gates in float64."""

    def gate(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z.astype(np.float64)))

    def of(sums: Any, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        return amx.product(sums, x.astype(np.float32), w, case.form)

    W, U, b, b2, u = given["W"], given["U"], given["b"], given["b2"], case.units
    h, c, ys = given["h0"].astype(np.float64), given["c0"].astype(np.float64), []
    for t in range(case.steps):
        x = given["x"][:, t]
        if case.cell == "lstm":
            i, f, g, o = np.split(of(of(b, x, W), h, U), 4, axis=1)
            new_c = gate(f) * c + gate(i) * np.tanh(g.astype(np.float64))
            new = gate(o) * np.tanh(new_c)
        elif case.cell == "gru":
            zx, zh = of(b, x, W).astype(np.float64), of(b2, h, U).astype(np.float64)
            z, r = gate(zx[:, :u] + zh[:, :u]), gate(zx[:, u : 2 * u] + zh[:, u : 2 * u])
            new_c, new = c, z * h + (1 - z) * np.tanh(zx[:, 2 * u :] + r * zh[:, 2 * u :])
        elif case.cell == "gru_before":
            z, r = map(gate, np.split(of(of(b[: 2 * u], x, W[:, : 2 * u]), h, U[:, : 2 * u]), 2, axis=1))
            candidate = of(of(b[2 * u :], x, W[:, 2 * u :]), r * h, U[:, 2 * u :])
            new_c, new = c, z * h + (1 - z) * np.tanh(candidate.astype(np.float64))
        else:
            new_c, new = c, np.tanh(of(of(b, x, W), h, U).astype(np.float64))
        valid = np.ones((case.rows, 1), bool) if case.mask is None else case.mask[:, t, np.newaxis] != 0
        # As the kernel has them: the next step rounds what it multiplies.
        h, c = (np.where(valid, new, old).astype(np.float32).astype(np.float64) for new, old in ((new, h), (new_c, c)))
        ys.append(h)
    return {"y": np.stack(ys, 1), "h_out": h}


@pytest.mark.parametrize("form", REDUCED.values(), ids=REDUCED)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("rows", "units", "features"), SIZES[:6])
def test_cells_by_amx(amx_level: str, cell: str, rows: int, units: int, features: int, form: int) -> None:
    """One step, whose sums are the same to the bit; and a sequence with holes in its mask, where a last bit may round a state otherwise."""
    one = Case(cell, units, rows, features, 1, initial=True, form=form)
    given = one.arrays()
    np.testing.assert_allclose(run(one, amx_level, given)["h_out"], meant(one, given)["h_out"], rtol=0, atol=1e-6)
    several = replace(one, steps=4, mask=masks(rows, 4)["holes"])
    given = several.arrays()
    np.testing.assert_allclose(run(several, amx_level, given)["h_out"], meant(several, given)["h_out"], rtol=0, atol=2e-2)


def compare_teams(case: Case, level: str, given: dict[str, np.ndarray], whole: dict[str, np.ndarray]) -> None:
    """Teams of two and three give the bits of one member alone."""
    for members in (2, 3):
        shared = run(replace(case, members=members), level, given)
        for name in whole:
            np.testing.assert_array_equal(shared[name], whole[name], err_msg=f"{members} members: {name}")


@pytest.mark.parametrize("form", REDUCED.values(), ids=REDUCED)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("features", [3, 20])
def test_rows_do_not_depend_on_each_other(amx_level: str, cell: str, features: int, form: int) -> None:
    """Nor on how many threads share a step, nor on the block."""
    case = Case(cell, 40, 53, features, 5, mask=masks(53, 5)["holes"], initial=True, form=form)
    given = case.arrays()
    whole = run(case, amx_level, given)
    compare_teams(case, amx_level, given, whole)
    blocks = run(replace(case, block_rows=12), amx_level, given)
    for row in (0, 17, 52):
        alone = {name: array if name in ("W", "U", "b", "b2", "embeddings") else array[row : row + 1] for name, array in given.items()}
        assert case.mask is not None
        single = run(replace(case, rows=1, mask=case.mask[row : row + 1]), amx_level, alone)
        for name in whole:
            np.testing.assert_array_equal(single[name][0], whole[name][row], err_msg=f"row {row}: {name}")
            np.testing.assert_array_equal(blocks[name][row], whole[name][row], err_msg=f"row {row} in blocks: {name}")


@pytest.mark.parametrize("form", [layout.HALVES, *REDUCED.values()], ids=["halves", *REDUCED])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("features", [3, 20])
def test_few_rows_of_a_team(amx_level: str, cell: str, rows: int, features: int, form: int) -> None:
    """Members project the inputs of the units that are theirs."""
    case = Case(cell, 150, rows, features, 6, initial=True, form=form)
    given = case.arrays()
    whole = run(case, amx_level, given)
    compare_teams(case, amx_level, given, whole)


@pytest.mark.parametrize("form", REDUCED.values(), ids=REDUCED)
@pytest.mark.parametrize("cell", CELLS)
def test_embeddings(amx_level: str, cell: str, form: int) -> None:
    """Inputs by id are those of an array; folded, they need no product."""
    case = Case(cell, 21, 19, 12, 4, by_id=True, form=form)
    given = case.arrays()
    expected = run(replace(case, by_id=False), amx_level, given)["y"]
    np.testing.assert_array_equal(run(case, amx_level, given)["y"], expected)
    folded = run(replace(case, by_id=False, folded=True), amx_level, given)["y"]
    np.testing.assert_allclose(folded, expected, rtol=0, atol=3e-2)


@pytest.mark.parametrize("cell", CELLS)
def test_infinities_and_huge_numbers(amx_level: str, cell: str) -> None:
    """In two parts they are treated as in float32; and a row with one is nobody else's."""
    case = Case(cell, 20, 18, 9, 3, form=layout.SPLIT)
    given = case.arrays()
    given["W"] = amx.halves(given["W"])  # of which the second part is 0: infinity times that would be NaN
    given["W"][::2] *= np.float32(1.01)
    clean = run(case, amx_level, given)["y"]
    for value in (np.inf, -np.inf, 3.4e38, np.nan):
        given["x"][5, 1, 4] = value
        found, expected = (run(replace(case, form=form), amx_level, given)["y"] for form in (layout.SPLIT, layout.FULL))
        np.testing.assert_allclose(found[5], expected[5], rtol=0, atol=1e-3, err_msg=f"{value}")
        others = np.arange(18) != 5
        np.testing.assert_array_equal(found[others], clean[others])


def test_errors_of_each_form(amx_level: str) -> None:
    """One part is off by thousandths, two by hundredths of a thousandth: what the documentation says of them."""
    x, w, bias = arrays_of(64, 96, 256)
    w /= 16
    exact = x.astype(np.float64) @ w + bias
    errors = {form: float(np.abs(dense(amx_level, x, w, bias, form) - exact).max()) for form in layout.FORMS}
    assert errors[layout.FULL] < 1e-5 < errors[layout.SPLIT] < 1e-4 < errors[layout.AMX] < 3e-2
    assert errors[layout.HALVES] < errors[layout.AMX]
