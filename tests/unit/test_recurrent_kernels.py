"""The recurrent kernels against float64 NumPy: every remainder of rows and units, masks, states, every way to emit."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from kernel_calls import LEVELS, call, lanes_of

from fastlstm.activations import ALONG_UNITS, NATIVE, function
from fastlstm.program import bfloat16, layout
from fastlstm.program.contracts import recurrent as contracts
from fastlstm.program.lowering import activation_call

pytestmark = pytest.mark.slow  # grids of shapes and options, at every level

GATE_COUNTS = {
    "lstm": contracts.LSTM_GATES,
    "gru": contracts.GRU_GATES,
    "gru_before": sum(contracts.GRU_BEFORE_GATES),
    "simple_rnn": contracts.SIMPLE_RNN_GATES,
}
CELLS = tuple(GATE_COUNTS)


@dataclass(frozen=True)
class Case:
    """A recurrent layer and what it is given."""

    cell: str
    units: int
    rows: int
    features: int
    steps: int
    mask: np.ndarray | None = None
    reverse: bool = False
    y_time_order: bool = False
    fill: int = 0
    head: int = 0
    initial: bool = False
    folded: bool = False
    by_id: bool = False
    activation: str = "tanh"
    recurrent_activation: str = "sigmoid"
    slope: float | None = None  # of a leaky_relu: its parameter
    block_rows: int | None = None
    members: int = 1
    form: int = layout.FULL
    seed: int = 0

    def meant(self, activation: str) -> str | dict[str, Any]:
        """An activation with its parameter."""
        changed = self.slope is not None and activation == "leaky_relu"
        return {"name": activation, "negative_slope": self.slope} if changed else activation

    def activations(self) -> dict[str, Any]:
        """The fields that say them."""
        fields: dict[str, Any] = {}
        for prefix, name in (("", self.activation), ("recurrent_", self.recurrent_activation)):
            code = ALONG_UNITS.get(name)
            found = (code, 0.0) if code is not None else activation_call(self.meant(name))
            assert found is not None
            fields |= {f"{prefix}activation": found[0], f"{prefix}alpha": found[1]}
        return fields

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights and inputs."""
        rng = np.random.default_rng(self.seed)
        gates = GATE_COUNTS[self.cell]
        ids = rng.integers(0, 7, (self.rows, self.steps)).astype(np.int32)
        embeddings = rng.normal(size=(7, self.features)).astype(np.float32)
        x = rng.normal(size=(self.rows, self.steps, self.features)).astype(np.float32)
        return {
            "x": embeddings[ids] if self.folded or self.by_id else x,
            "ids": ids,
            "embeddings": embeddings,
            "W": (rng.normal(size=(self.features, gates * self.units)) * 0.5 / self.features**0.5).astype(np.float32),
            "U": (rng.normal(size=(self.units, gates * self.units)) * 0.5 / self.units**0.5).astype(np.float32),
            "b": (rng.normal(size=gates * self.units) * 0.3).astype(np.float32),
            "b2": (rng.normal(size=gates * self.units) * 0.3).astype(np.float32),
            "h0": rng.normal(size=(self.rows, self.units)).astype(np.float32) * self.initial,
            "c0": rng.normal(size=(self.rows, self.units)).astype(np.float32) * self.initial,
        }


def truth(case: Case, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The layer's meaning, step after step in float64."""
    x, W, U, b, b2, h, c = (given[name].astype(np.float64) for name in ("x", "W", "U", "b", "b2", "h0", "c0"))
    gate, act = (function(case.meant(name)) for name in (case.recurrent_activation, case.activation))
    u = case.units
    y = np.zeros((case.rows, case.steps, u))
    emitted = h.copy() if case.head and case.initial else np.zeros_like(h)
    for p in range(case.steps):
        t = case.steps - 1 - p if case.reverse else p
        if case.cell == "lstm":
            i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=1)
            c_new = gate(f) * c + gate(i) * act(g)
            h_new = gate(o) * act(c_new)
        elif case.cell == "gru":
            zx, zh = x[:, t] @ W + b, h @ U + b2
            z, r = gate(zx[:, :u] + zh[:, :u]), gate(zx[:, u : 2 * u] + zh[:, u : 2 * u])
            c_new, h_new = c, z * h + (1 - z) * act(zx[:, 2 * u :] + r * zh[:, 2 * u :])
        elif case.cell == "gru_before":
            zx = x[:, t] @ W + b
            z, r = map(gate, np.split(zx[:, : 2 * u] + h @ U[:, : 2 * u], 2, axis=1))
            c_new, h_new = c, z * h + (1 - z) * act(zx[:, 2 * u :] + (r * h) @ U[:, 2 * u :])
        else:
            c_new, h_new = c, act(x[:, t] @ W + h @ U + b)
        valid = np.ones((case.rows, 1), bool) if case.mask is None else case.mask[:, t, np.newaxis] != 0
        h, c = np.where(valid, h_new, h), np.where(valid, c_new, c)
        emitted = np.where(valid, h_new, 0 * emitted if case.fill else emitted)
        y[:, t if case.y_time_order else p] = emitted
    return {"y": y, "last": emitted, "h_out": h, "c_out": c}


def packed(case: Case, given: dict[str, np.ndarray], level: str) -> tuple[dict[str, Any], int]:
    """The kernel's weights, and the floats of its rows of pre-activations."""
    lanes, u, gates = lanes_of(level), case.units, GATE_COUNTS[case.cell]
    W, U, b, b2 = (given[name] for name in ("W", "U", "b", "b2"))
    parts = [("", slice(None), gates)]
    if case.cell == "gru_before":
        parts = [("", slice(0, 2 * u), 2), ("_h", slice(2 * u, None), 1)]
    fields: dict[str, Any] = {"form": case.form}
    for suffix, columns, count in parts:
        fields |= {
            f"{name}{suffix}": bfloat16.pack(W[:, columns], count, lanes, case.form) for name, W in (("kernel", W), ("recurrent", U))
        }
        fields[f"bias{suffix}"] = bfloat16.pack_row(b[columns], count, u, lanes, case.form)
    if case.cell == "gru":
        fields["recurrent_bias"] = bfloat16.pack_row(b2, gates, u, lanes, case.form)
    return fields, sum(layout.columns_in(case.form, u, count, lanes) for _, _, count in parts)


def table(case: Case, given: dict[str, np.ndarray], level: str) -> np.ndarray:
    """The pre-activations of every id, in the order of panels."""
    z = given["embeddings"].astype(np.float64) @ given["W"] + given["b"]
    split = 2 * case.units
    parts = [(2, z[:, :split]), (1, z[:, split:])] if case.cell == "gru_before" else [(GATE_COUNTS[case.cell], z)]
    lanes = lanes_of(level)
    rows = [[bfloat16.pack_row(part[n], gates, case.units, lanes, case.form) for gates, part in parts] for n in range(len(z))]
    return np.stack([np.concatenate(row) for row in rows])


def run(case: Case, level: str, given: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """The results of the kernel."""
    given = case.arrays() if given is None else given
    u, steps, features = case.units, case.steps, case.features
    weights, columns = packed(case, given, level)
    inputs = {}
    if case.folded:
        inputs["ids"] = given["ids"]
        weights["table"] = layout.aligned(table(case, given, level))
    elif case.by_id:
        inputs["ids"] = given["ids"]
        weights["x"] = layout.aligned(given["embeddings"])
    else:
        inputs["x"] = given["x"]
    if case.mask is not None:
        inputs["mask"] = case.mask
    if case.initial:
        inputs["h0"] = given["h0"]
        if case.cell == "lstm":
            inputs["c0"] = given["c0"]
    made = {"y": np.full((case.rows, steps, u), 7.0, np.float32)}
    made |= {name: np.full((case.rows, u), 7.0, np.float32) for name in ("last", "h_out", "c_out")}
    if case.cell != "lstm":
        del made["c_out"]
    fields = weights | {
        "steps": steps, "features": features, "units": u, "x_row": steps * features, "x_step": features, "ids_row": steps, "vocabulary": 7,
        "mask_row": steps, "reverse": int(case.reverse), "h0_row": u,
        "y_row": steps * u, "y_step": u, "y_time_order": int(case.y_time_order), "last_row": u, "out_row": u,
        "fill": case.fill, "head": case.head,
    }  # fmt: skip
    fields |= case.activations()
    if case.cell == "simple_rnn":
        del fields["recurrent_activation"], fields["recurrent_alpha"]
    if {case.activation, case.recurrent_activation} & ALONG_UNITS.keys():
        made["kept"] = np.full((case.rows, layout.kept_row(columns, u, lanes_of(level))), 7.0, np.float32)
    scratch = layout.recurrent_scratch(0 if case.folded else features, steps, u, columns, lanes_of(level), case.members, case.form)
    call(level, case.cell, case.rows, inputs, made, fields, scratch, case.block_rows, members=case.members)
    made.pop("kept", None)
    return made


def check(case: Case, level: str, tolerance: float = 2e-6) -> None:
    given = case.arrays()
    expected = truth(case, given)
    for name, found in run(case, level, given).items():
        scale = max(1.0, float(np.abs(expected[name]).max()))
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=tolerance * scale, err_msg=f"{name} of {case}")


def masks(rows: int, steps: int) -> dict[str, np.ndarray]:
    """Padding after and before the sequence, holes, whole rows."""
    rng = np.random.default_rng(5)
    lengths = rng.integers(0, steps + 1, rows)
    post = (np.arange(steps) < lengths[:, np.newaxis]).astype(np.uint8)
    none = np.zeros((rows, steps), np.uint8)
    return {"post": post, "pre": post[:, ::-1].copy(), "holes": (rng.random((rows, steps)) > 0.4).astype(np.uint8), "all masked": none}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("units", [1, 3, 5, 10, 17, 33, 50, 64, 96])
def test_every_remainder_of_rows_and_units(level: str, cell: str, units: int) -> None:
    for rows in range(1, 14):
        check(Case(cell, units, rows, features=3 if rows % 2 else 20, steps=4, seed=rows), level)


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
def test_large(level: str, cell: str) -> None:
    check(Case(cell, 200, 70, features=37, steps=9, mask=masks(70, 9)["holes"]), level, 5e-6)
    check(Case(cell, 200, 3, features=37, steps=150), level, 5e-6)
    # Weights that are streamed, by few tiles and by many.
    for rows in (4, 9, 25, 50):
        check(Case(cell, 401, rows, features=151, steps=3), level, 5e-6)


#: Pairs of which each takes another way through the kernels.
ACTIVATIONS = [("tanh", "sigmoid"), ("softmax", "sigmoid"), ("relu", "softmax")]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("members", [2, 3])
@pytest.mark.parametrize("activations", ACTIVATIONS[:2])
def test_threads_that_divide_the_units(level: str, cell: str, members: int, activations: tuple[str, str]) -> None:
    """They compute, to the last bit, what one computes; also where some have no panel, and where rows are few or masked."""
    sizes = ((1, 70, 20, None), (1, 200, 3, "holes"), (3, 37, 40, "pre"), (13, 130, 33, "post"), (7, 5, 4, "holes"))
    for rows, units, features, kind in sizes:
        for folded in (False, True):
            mask = masks(rows, 9)[kind] if kind else None
            case = Case(cell, units, rows, features, 9, mask, initial=True, folded=folded, block_rows=6 if rows > 6 else None)
            case = replace(case, activation=activations[0], recurrent_activation=activations[1])
            given = case.arrays()
            alone, together = run(case, level, given), run(replace(case, members=members), level, given)
            for name, found in together.items():
                np.testing.assert_array_equal(found, alone[name], err_msg=f"{name} of {case}")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("features", [3, 20, 130])
def test_rows_of_x_chosen_by_ids(level: str, cell: str, features: int) -> None:
    """Reading the rows of an Embedding where they lie is the same, to the last bit, as copying them first."""
    for rows in (1, 2, 5, 6, 7, 13):
        for mask in (None, masks(rows, 8)["holes"]):
            case = Case(cell, 33, rows, features, 8, mask, by_id=True, seed=rows)
            check(case, level)
            given = case.arrays()
            direct, by_id = run(replace(case, by_id=False), level, given), run(case, level, given)
            for name, found in by_id.items():
                np.testing.assert_array_equal(found, direct[name])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", ["post", "pre", "holes", "all masked"])
@pytest.mark.parametrize("reverse", [False, True])
def test_masks(level: str, cell: str, kind: str, reverse: bool) -> None:
    for rows in (1, 3, 11):
        for fill, head, initial in ((0, 0, False), (0, 0, True), (0, 1, True), (1, 0, True)):
            for order in (False, True):
                for folded in (False, True):
                    check(
                        Case(
                            cell, 10, rows, 12, 7, masks(rows, 7)[kind], reverse, order, fill, head, initial, folded,
                            block_rows=6 if rows > 6 else None,
                        ), level,
                    )  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
def test_one_step(level: str, cell: str) -> None:
    for rows in (1, 2, 8):
        check(Case(cell, 20, rows, 40, 1, initial=True), level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("activation", sorted(NATIVE))
def test_activations(level: str, cell: str, activation: str) -> None:
    gates = ("sigmoid", "hard_sigmoid", "hard_sigmoid_keras3", "tanh", "linear")
    # exp of a state that is itself a sum of exponentials: rounding grows with the numbers.
    steps, tolerance = (1, 1e-5) if activation == "exponential" else (3, 4e-6)
    for gate in gates[:1] if cell == "simple_rnn" else gates[: 4 if activation == "exponential" else 5]:
        check(Case(cell, 21, 7, 4, steps, activation=activation, recurrent_activation=gate), level, tolerance)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("activation", ["softmax", "log_softmax", "tanh", "relu"])
@pytest.mark.parametrize("gate", ["softmax", "sigmoid"])
def test_activations_that_need_all_units(level: str, cell: str, activation: str, gate: str) -> None:
    for units in (1, 3, 5, 10, 17, 33, 50, 64, 96):
        for rows, kind, folded in ((1, None, False), (7, "holes", True), (7, "post", False), (13, None, False)):
            mask = masks(rows, 5)[kind] if kind else None
            case = Case(cell, units, rows, 3 if folded else 20, 5, mask, folded=folded, initial=True, reverse=rows == 7)
            check(replace(case, activation=activation, recurrent_activation=gate, block_rows=6 if rows > 7 else None), level, 5e-6)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("activations", [("leaky_relu", "sigmoid"), ("leaky_relu", "hard_sigmoid"), ("tanh", "leaky_relu")])
def test_activations_with_a_parameter(level: str, cell: str, activations: tuple[str, str]) -> None:
    case = Case(cell, 21, 7, 4, 3, activation=activations[0], recurrent_activation=activations[1], slope=0.45)
    check(case, level, 4e-6)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("activations", ACTIVATIONS[:2])
def test_a_rows_bits_do_not_depend_on_its_batch(level: str, cell: str, folded: bool, activations: tuple[str, str]) -> None:
    for units, features in ((37, 30), (64, 5)):
        mask = masks(23, 40)["holes"]
        case = Case(cell, units, 23, features, 40, mask, folded=folded, activation=activations[0], recurrent_activation=activations[1])
        given = case.arrays()
        together = run(case, level, given)
        in_blocks = run(replace(case, block_rows=5), level, given)
        for name, found in together.items():
            np.testing.assert_array_equal(found, in_blocks[name])
        for row in (0, 7, 22):
            some = {name: a[row : row + 1] if name in ("x", "ids", "h0", "c0") else a for name, a in given.items()}
            some = {name: np.ascontiguousarray(a) for name, a in some.items()}
            alone = run(replace(case, rows=1, mask=np.ascontiguousarray(mask[row : row + 1])), level, some)
            for name, found in together.items():
                np.testing.assert_array_equal(found[row], alone[name][0], err_msg=f"{name}, row {row}")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activations", ACTIVATIONS)
def test_nan_and_infinity_stay_in_their_row(level: str, cell: str, bad: float, activations: tuple[str, str]) -> None:
    case = Case(cell, 18, 9, 11, 6, activation=activations[0], recurrent_activation=activations[1])
    given = case.arrays()
    clean = run(case, level, given)
    spoilt = dict(given, x=given["x"].copy())
    spoilt["x"][4, 2, 3] = bad
    found = run(case, level, spoilt)
    with np.errstate(invalid="ignore"):
        expected = truth(case, spoilt)
    others = np.arange(9) != 4
    for name in found:
        np.testing.assert_array_equal(found[name][others], clean[name][others])
        np.testing.assert_allclose(found[name][4], expected[name][4], atol=2e-6)
    np.testing.assert_array_equal(found["y"][4, :2], clean["y"][4, :2])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("gate", ["sigmoid", "hard_sigmoid"])
def test_extreme_values(level: str, cell: str, gate: str) -> None:
    """Gates far beyond where they saturate, and states that are huge or no numbers, give what the equations give."""
    states = (0.0, 1e4, -1e4, 3e18, -1e30, np.inf, -np.inf, np.nan)
    inputs = (1.0, 1e4, 1e15, np.inf, -np.inf, np.nan)
    case = Case(cell, 18, len(states) * len(inputs), 11, 3, initial=True, recurrent_activation=gate)
    given = case.arrays()
    for row, (state, factor) in enumerate(itertools.product(states, inputs)):
        given["h0"][row, 5] = state
        given["c0"][row, 7] = 0.0 if np.isinf(state) else state  # a gate of 1e-40 is 0 in float32, and no number times infinity
        given["x"][row, :, row % 11] *= np.float32(factor)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = truth(case, given)
    for name, found in run(case, level, given).items():
        np.testing.assert_allclose(found, expected[name], rtol=5e-6, atol=5e-6, err_msg=name)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_before"])
def test_gates_that_are_shut_keep_the_state(level: str, cell: str) -> None:
    """To the last bit, however many steps pass."""
    case = Case(cell, 37, 7, 5, 60, initial=True)
    given = case.arrays()
    i, f = slice(0, 37), slice(37, 74)
    given["b"][i] = -200.0 if cell == "lstm" else 200.0
    given["b"][f] = 200.0
    state = "c" if cell == "lstm" else "h"
    np.testing.assert_array_equal(run(case, level, given)[f"{state}_out"], given[f"{state}0"])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("cell", CELLS)
def test_states_may_be_updated_in_place(level: str, cell: str) -> None:
    """Two calls that carry the state in one array give what one call over all steps gives."""
    case = Case(cell, 20, 4, 9, 6, mask=masks(4, 6)["pre"])
    given = case.arrays()
    whole = run(case, level, given)
    states = {"h": np.zeros((4, 20), np.float32), "c": np.zeros((4, 20), np.float32)}
    weights, columns = packed(case, given, level)
    for first in (0, 3):
        x = np.ascontiguousarray(given["x"][:, first : first + 3])
        mask = np.ascontiguousarray(case.mask[:, first : first + 3])  # type: ignore[index]
        fields = weights | {
            "steps": 3, "features": 9, "units": 20, "x_row": 27, "x_step": 9, "mask_row": 3,
            "activation": NATIVE["tanh"], "h0_row": 20, "out_row": 20,
        }  # fmt: skip
        if cell != "simple_rnn":
            fields["recurrent_activation"] = NATIVE["sigmoid"]
        pairs = {"h0": states["h"], "h_out": states["h"]} | ({"c0": states["c"], "c_out": states["c"]} if cell == "lstm" else {})
        scratch = layout.recurrent_scratch(9, 3, 20, columns, lanes_of(level))
        call(level, cell, 4, {"x": x, "mask": mask}, {}, fields, scratch, states=pairs)
    np.testing.assert_array_equal(states["h"], whole["h_out"])
    if cell == "lstm":
        np.testing.assert_array_equal(states["c"], whole["c_out"])
