"""A model's outputs together with their masks, which ``predict`` has no use for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import runtime
from ..errors import InputError
from ..executor import Executor
from ..inputs import Ragged, RaggedInputs, are_ids, below, per_step, shapes_of
from ..layers.base import Tensor
from ..layers.network import repeated
from ..outputs import unlike
from ..planner import flat, numbered, plan_showing
from ..staged_executor import StagedExecutor

States = dict[str, tuple[np.ndarray, ...]]


class Logits(NamedTuple):
    """What went into the activation of an output, for a binary crossentropy and for those of classes; None where they do not ask."""

    binary: np.ndarray | None
    classes: np.ndarray | None


class Shown(NamedTuple):
    """Outputs and their masks, None where one has none; how many timesteps each row had, where rows differ; logits, where known."""

    outputs: list[np.ndarray]
    masks: list[np.ndarray | None]
    lengths: list[list[int] | None]
    logits: Sequence[Logits | None] = ()


def computed(executor: Executor, arrays: Sequence[np.ndarray], states: States | None = None) -> Shown:
    """One batch. ``states`` holds those from afterwards, as for ``Executor.run``."""
    untold: list[list[int] | None] = [None] * len(executor.outputs)
    executor.check_shapes(shapes_of(arrays))
    if isinstance(executor, StagedExecutor):
        made = executor.stages.shown_with(arrays, partial(core_of, executor, states))
        return Shown([np.array(one.value, order="C") for one in made], [one.mask for one in made], untold)
    if executor.in_numpy:
        tensors = executor.network.computed(arrays, executor.dtype, states)
        return Shown([np.array(one.value, order="C") for one in tensors], [one.mask for one in tensors], untold)
    program, masks = plan_showing(
        executor.network, shapes_of(arrays), below(executor.inputs, are_ids(arrays)), executor.constants,
        fold_limit=executor.fold_limit, threads=executor.threads, stateful=numbered(executor.stateful),
    )  # fmt: skip
    rows = len(arrays[0])
    given = [*arrays, *(repeated(array, rows * times, np.float32) for array, times in program.fixed)]
    outputs = [np.empty((rows, *shape), np.float32) for shape in program.output_shapes]
    shown = {number: np.empty((rows, *shape), np.bool_) for number, shape in masks.items()}
    runner = runtime.Runner(program, arenas=executor.arenas)
    executor.workers.run(runner, program, given, [*outputs, *shown.values()], flat(states or {}))
    return Shown(outputs, [shown.get(number) for number in range(len(outputs))], untold)


def core_of(executor: StagedExecutor, states: States | None, given: list[np.ndarray]) -> list[Tensor]:
    """What the core of a model in stages makes of what it is given."""
    assert executor.core is not None  # there is something to compute
    found = computed(executor.core, executor.given_to_core(given), states)
    return [Tensor(y, mask) for y, mask in zip(found.outputs, found.masks, strict=True)]


def shown(executor: Executor, given: list[np.ndarray] | Ragged | RaggedInputs, batch: int) -> Shown:
    """All rows of checked inputs, which ``gather`` gives; batch by batch where rows depend on each other."""
    if isinstance(given, Ragged):
        return in_groups(executor, [[row[:length] for row, length in zip(given.padded, given.lengths, strict=True)]])
    if isinstance(given, RaggedInputs):
        return in_groups(executor, given.rows)
    if not executor.crosses_rows:
        return computed(executor, given)
    return joined([computed(executor, [x[first : first + batch] for x in given]) for first in range(0, max(len(given[0]), 1), batch)])


def shown_with_states(executor: Executor, given: Any, states: States) -> Shown:
    """The same of a stateful model, whose states go from batch to batch and are changed."""
    if isinstance(given, (Ragged, RaggedInputs)):
        raise InputError("x: a stateful model takes an array, found a list of sequences")
    batch, rows = executor.inputs[0].shape[0], len(given[0])
    if batch is None or not rows or rows % batch:
        raise InputError(f"x: expected a number of rows that the stateful model's batch size {batch} divides, found {rows}")
    return joined([computed(executor, [x[first : first + batch] for x in given], states) for first in range(0, rows, batch)])


def joined(parts: Sequence[Shown]) -> Shown:
    """Batches one after another."""
    if len({tuple(y.shape[1:] for y in part.outputs) for part in parts}) > 1:
        raise InputError("x: expected a number of rows that batch_size divides, as the output's shape depends on it")
    outputs = [np.concatenate(many) for many in zip(*(part.outputs for part in parts), strict=True)]
    masks = [
        None if any(one is None for one in many) else np.concatenate([one for one in many if one is not None])
        for many in zip(*(part.masks for part in parts), strict=True)
    ]
    return Shown(outputs, masks, parts[0].lengths)


def in_groups(executor: Executor, inputs: Sequence[Sequence[np.ndarray]]) -> Shown:
    """Rows of different shapes, of each input one array a row: those of one shape together, each output padded to its longest row."""
    if executor.crosses_rows:
        raise InputError("x: expected an array, as rows of this model depend on each other; found a list of sequences")
    groups: dict[Any, list[int]] = {}
    for number, row in enumerate(zip(*inputs, strict=True)):
        groups.setdefault(tuple(array.shape for array in row), []).append(number)
    count = len(executor.outputs)
    values: list[list[Any]] = [[None] * len(inputs[0]) for _ in range(count)]
    there: list[list[Any]] = [[None] * len(inputs[0]) for _ in range(count)]
    for members in groups.values():
        part = computed(executor, [np.stack([rows[member] for member in members]) for rows in inputs])
        for output in range(count):
            mask = part.masks[output]
            for place, member in enumerate(members):
                values[output][member] = part.outputs[output][place]
                there[output][member] = None if mask is None else mask[place]
    done = [padded(rows, masks, per_step(info)) for rows, masks, info in zip(values, there, executor.outputs, strict=True)]
    return Shown([one[0] for one in done], [one[1] for one in done], [one[2] for one in done])


def padded(rows: list[np.ndarray], masks: list[np.ndarray | None], steps: bool) -> tuple[np.ndarray, np.ndarray | None, list[int] | None]:
    """Rows as one array; timesteps that a row has not are masked."""
    if not steps and not unlike(rows):
        there = None if masks[0] is None else np.stack([one for one in masks if one is not None])
        return np.stack(rows), there, None
    lengths = [len(row) for row in rows]
    longest = max(lengths, default=0)
    values = np.zeros((len(rows), longest, *rows[0].shape[1:]), rows[0].dtype)
    present = np.zeros((len(rows), longest), np.bool_)
    for number, (row, mask) in enumerate(zip(rows, masks, strict=True)):
        values[number, : len(row)] = row
        present[number, : len(row)] = True if mask is None else mask
    masked = any(mask is not None for mask in masks) or len(set(lengths)) > 1
    return values, present if masked else None, lengths
