"""Runs a model's Program at any CPU level, its arrays beside pages that nobody may touch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from guarded_arrays import SIDES, guarded
from kernel_calls import lanes_of

from fastlstm import Model, runtime
from fastlstm.planner import Constants, plan
from fastlstm.program.ir import Program
from fastlstm.spec import ModelSpec


def planned(spec: ModelSpec, x: np.ndarray, level: str, threads: int = 1) -> Program:
    """The Program of a model with one input, which runs in kernels alone."""
    constants = Constants(lanes_of(level))
    program = plan(Model(spec).executor.network, [x.shape[1:]], [0], constants, fold_limit=0, threads=threads)
    in_numpy = [instruction.layer for instruction in program.instructions if instruction.function is not None]
    assert not in_numpy, f"in NumPy: {in_numpy}"
    return program


def at_level(spec: ModelSpec, x: np.ndarray, level: str) -> np.ndarray:
    """The output for one input."""
    program = planned(spec, x, level)
    found: list[np.ndarray] = []
    for side in SIDES:
        y = guarded(np.full((len(x), *program.output_shapes[0]), 7, np.float32), side)
        runtime.Runner(program, level).run([guarded(x, side)], [y], [])
        found.append(y.copy())
    np.testing.assert_array_equal(*found)
    return found[0]


def check(spec: ModelSpec, x: np.ndarray, levels: Sequence[str] = runtime.available_levels(), scale: float = 3e-5) -> None:
    """At every level the numbers are those of ``apply`` in float64, and each row's are the same bits without the others."""
    exact = Model(spec, precision="float64").predict(x.astype(np.float64))
    for level in levels:
        y = at_level(spec, x, level)
        assert y.shape == exact.shape
        size = np.max(np.abs(exact[np.isfinite(exact)]), initial=1.0)
        np.testing.assert_allclose(y, exact, rtol=2e-5, atol=scale * size, err_msg=level)
        np.testing.assert_array_equal(y[-1:], at_level(spec, x[-1:], level), err_msg=level)
