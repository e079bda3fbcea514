"""A model's outputs together with their masks, which ``predict`` has no use for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..base_executor import BaseExecutor
from ..errors import InputError
from ..inputs import Ragged, RaggedInputs, per_step
from ..outputs import unlike

States = dict[str, tuple[np.ndarray, ...]]


class Logits(NamedTuple):
    """What went into the activation of an output, for a binary crossentropy and for those of classes; None where they do not ask."""

    binary: np.ndarray | None
    classes: np.ndarray | None


class Shown(NamedTuple):
    """Outputs and their masks, None where one has none; how many timesteps each row had, where rows differ; what else is known."""

    outputs: list[np.ndarray]
    masks: list[np.ndarray | None]
    lengths: list[list[int] | None]
    logits: Sequence[Logits | None] = ()
    activities: np.ndarray | None = None  # of each row, what layers add to the loss for what they give; None: nothing


def computed(executor: BaseExecutor, arrays: Sequence[np.ndarray], states: States | None = None) -> Shown:
    """One batch. ``states`` holds those from afterwards, as for ``BaseExecutor.run``."""
    made = executor.run_showing(arrays, states)
    return Shown([one.value for one in made], [one.mask for one in made], [None] * len(made))


def shown(executor: BaseExecutor, given: list[np.ndarray] | Ragged | RaggedInputs, batch: int) -> Shown:
    """All rows of checked inputs, which ``gather`` gives; batch by batch where rows depend on each other."""
    if isinstance(given, Ragged):
        return in_groups(executor, [[row[:length] for row, length in zip(given.padded, given.lengths, strict=True)]])
    if isinstance(given, RaggedInputs):
        return in_groups(executor, given.rows)
    if not executor.crosses_rows:
        return computed(executor, given)
    return joined([computed(executor, [x[first : first + batch] for x in given]) for first in range(0, max(len(given[0]), 1), batch)])


def shown_with_states(executor: BaseExecutor, given: Any, states: States) -> Shown:
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


def in_groups(executor: BaseExecutor, inputs: Sequence[Sequence[np.ndarray]]) -> Shown:
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
    """Rows as one array. Timesteps that a row has not are masked, and hold its last one, as of a recurrent layer in Keras.

    They count nothing, but zeros would be no probabilities: a crossentropy of them is no number.
    """
    if not steps and not unlike(rows):
        there = None if masks[0] is None else np.stack([one for one in masks if one is not None])
        return np.stack(rows), there, None
    lengths = [len(row) for row in rows]
    longest = max(lengths, default=0)
    values = np.zeros((len(rows), longest, *rows[0].shape[1:]), rows[0].dtype)
    any_step = next((row[-1:] for row in rows if len(row)), 0)
    present = np.zeros((len(rows), longest), np.bool_)
    for number, (row, mask) in enumerate(zip(rows, masks, strict=True)):
        values[number, : len(row)] = row
        values[number, len(row) :] = row[-1:] if len(row) else any_step
        present[number, : len(row)] = True if mask is None else mask
    masked = any(mask is not None for mask in masks) or len(set(lengths)) > 1
    return values, present if masked else None, lengths
