"""Calls one kernel on arrays, through a Program of one instruction."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from fastlstm import runtime
from fastlstm.errors import KernelError
from fastlstm.program import layout
from fastlstm.program.ir import Buffer, BufferInfo, Constant, Instruction, Program
from fastlstm.runtime.team import Team

#: Those of this CPU; just in time, kernels that have changed are compiled first, which takes a minute.
LEVELS = (*runtime.available_levels(), pytest.param("jit", marks=pytest.mark.slow))


def lanes_of(level: str) -> int:
    """Floats in a vector of a level; skips where just-in-time compilation is not installed."""
    try:
        return runtime.engine(level).lanes
    except KernelError as error:
        pytest.skip(str(error))


def call(
    level: str,
    kernel: str,
    rows: int,
    given: Mapping[str, np.ndarray],
    made: Mapping[str, np.ndarray],
    fields: Mapping[str, Any],
    scratch: tuple[int, int] | None = None,
    block_rows: int | None = None,
    states: Mapping[str, np.ndarray] | None = None,
    members: int = 1,
) -> None:
    """Run a kernel.

    Parameters
    ----------
    given, made, states
        Arrays with one row for each of the batch, by field: inputs, outputs, states.
    fields
        The other fields; arrays among them are constants.
    scratch
        Bytes for each row, and besides.
    members
        So many threads compute it together.
    """
    buffers: list[BufferInfo] = []
    constants: list[np.ndarray] = []
    values: dict[str, Any] = {}
    for kind, arrays in (("input", given), ("output", made), ("state", states or {})):
        for number, (name, array) in enumerate(arrays.items()):
            vocabulary = fields.get("vocabulary", 0) if name == "ids" else 0
            buffers.append(BufferInfo(kind, array.nbytes // rows, number=number, vocabulary=vocabulary))  # type: ignore[arg-type]
            values[name] = Buffer(len(buffers) - 1)
    if scratch is not None:
        buffers.append(BufferInfo("scratch", *scratch))
        values["scratch"] = Buffer(len(buffers) - 1)
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            constants.append(layout.aligned(value))
            values[name] = Constant(len(constants) - 1)
        else:
            values[name] = value
    program = Program((Instruction(kernel, values, members=members),), tuple(buffers), tuple(constants), (), block_rows or rows, members)
    runner = runtime.Runner(program, level)
    arrays = list(given.values()), list(made.values()), list((states or {}).values())
    if members == 1:
        runner.run(*arrays, 0, rows)
        return
    team = Team(runner, *arrays, members)
    with ThreadPoolExecutor(members) as pool:
        list(pool.map(team.work, range(members)))
