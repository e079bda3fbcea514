"""Data that come batch by batch, from generators, datasets and the like; and what of other data is computed batch by batch."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count, islice
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .base_executor import BaseExecutor
from .errors import InputError
from .foreign import is_keras_sequence
from .inputs import Ragged, RaggedInputs, TensorInfo, gather, in_batches, positive, reading, told
from .logs import outside
from .outputs import joined, unlike

#: Rows of a batch of Keras's ``predict``, unless a caller says otherwise.
KERAS_BATCH = 32
#: A batch that holds targets and weights too.
MOST_PARTS = 3

#: Checked inputs, as ``gather`` gives them.
Given = list[np.ndarray] | Ragged | RaggedInputs
#: By layer path.
States = dict[str, tuple[np.ndarray, ...]]


class Batch(NamedTuple):
    """One batch, as it was given; None where it has no targets or weights."""

    number: int
    x: Any
    y: Any
    sample_weight: Any
    in_parts: bool  # were they items of a tuple or list?
    prepare: Callable[[Any], Any] | None = None  # what is done with the inputs first

    def gathered(self, infos: Sequence[TensorInfo]) -> Given:
        """Its inputs, checked.

        Raises
        ------
        InputError
            If they do not fit; the message says which batch.
        """
        try:
            return gather(self.x if self.prepare is None else self.prepare(self.x), infos)
        except InputError as error:
            if self.in_parts and self.y is not None:
                self.refuse(error, advice="the second of a tuple are targets: several inputs, or sequences, are one of it, ((a, b),)")
            self.refuse(error)

    def refuse(self, error: InputError, advice: str = "") -> NoReturn:
        """Say which batch it was."""
        raise InputError(f"x, batch {self.number}: {error}{'; ' if advice else ''}{advice}") from error


class Batches:
    """The batches of a generator, a dataset and the like, one at a time: none is kept.

    Parameters
    ----------
    source
        What gives them.
    steps
        So many of them; None: all.
    prepare, targets
        What is done with the inputs and the targets of each.

    Raises
    ------
    InputError
        If they have no end, and ``steps`` is None.
    """

    def __init__(
        self, source: Any, steps: int | None, prepare: Callable[[Any], Any] | None = None, targets: Callable[[Any], Any] | None = None
    ):
        self.source, self.steps, self.prepare, self.targets = source, steps, prepare, targets
        self.of_keras = is_keras_sequence(source)
        self.length = length_of(source) if self.of_keras else None
        if steps is None and (has_no_end(source) if not self.of_keras else self.length is None):
            raise InputError("steps: expected a number of batches, as x has no end, found None")

    def __iter__(self) -> Iterator[Batch]:
        made = 0
        for made, data in enumerate(self._taken(), start=1):
            batch = parts_of(data, made - 1)._replace(prepare=self.prepare)
            yield batch
            del data, batch  # they may be large, and the next ones are made before these names have other values
        if not made:
            raise InputError("x: expected at least one batch, found none")
        if self.steps is not None and made < self.steps:
            ran_out(made, self.steps)

    def _taken(self) -> Iterator[Any]:
        """What the source gives, and not one more than asked for."""
        if not self.of_keras:
            with reading("x", "batches"):
                iterator = iter(self.source)
            yield from islice(iterator, self.steps)
            return
        if hasattr(self.source, "on_epoch_begin"):  # Keras 3's have it
            self.source.on_epoch_begin()
        for number in islice(count() if self.length is None else range(self.length), self.steps):
            yield self.source[number]
        self.source.on_epoch_end()


def of(x: Any, steps: int | None) -> Batches:
    """The batches of what a caller gave."""
    return x if isinstance(x, Batches) else Batches(x, steps)


def unless_first(x: Any, kinds: tuple[type, ...]) -> Any:
    """What gives batches, as before; but if the first thing that it gives is of these classes, a list of all."""
    if is_keras_sequence(x):
        return x
    with reading("x", "batches"):
        iterator = iter(x)
    first = list(islice(iterator, 1))
    return [*first, *iterator] if first and isinstance(first[0], kinds) else chain(first, iterator)


def length_of(source: Any) -> int | None:
    """How many batches a Sequence of Keras has; None for no end."""
    with reading("x", "a number of batches"):
        found = source.num_batches if hasattr(type(source), "num_batches") else len(source)
        return None if found is None else int(found)


def has_no_end(source: Any) -> bool:
    """Does a dataset of TensorFlow say that it goes on for ever?"""
    with reading("x", "batches"):
        return hasattr(source, "cardinality") and hasattr(source, "element_spec") and int(source.cardinality()) == -1


def parts_of(data: Any, number: int) -> Batch:
    """A batch as Keras takes it: x, (x,), (x, y) or (x, y, sample_weight)."""
    if not isinstance(data, (tuple, list)):
        return Batch(number, data, None, None, False)
    if not 1 <= len(data) <= MOST_PARTS:
        raise InputError(
            f"x, batch {number}: expected x, (x,), (x, y) or (x, y, sample_weight), found {type(data).__name__} of {len(data)}"
        )
    x, y, sample_weight = [*data, None, None][:MOST_PARTS]
    return Batch(number, x, y, sample_weight, True)


def ran_out(made: int, steps: int) -> None:
    """Warn of fewer batches than were asked for, as Keras does."""
    warnings.warn(f"x: ran out of data after {made} of {steps} batches", stacklevel=outside())


# -- arguments --------------------------------------------------------------------------------------------------------------


def begun(batch_size: Any, verbose: Any, steps: Any, callbacks: Any) -> float | None:
    """Check what ``predict`` takes beside data; the time, if it is to be reported.

    Raises
    ------
    InputError
        If something is not what it should be.
    """
    if batch_size is not None:
        positive(batch_size, "batch_size", expected="a positive number or None")
    if not (verbose is None or isinstance(verbose, (int, np.integer, np.bool_)) or (isinstance(verbose, str) and verbose == "auto")):
        raise InputError(f"verbose: expected 0, 1, 2 or 'auto', found {told(verbose)}")
    check_steps(steps, callbacks)
    return time.perf_counter() if verbose and verbose != "auto" else None


def check_steps(steps: Any, callbacks: Any) -> None:
    """Refuse what is no number of batches, and what would be called after each of them."""
    if steps is not None:
        positive(steps, "steps", expected="a positive number or None")
    if callbacks is not None and not (isinstance(callbacks, (list, tuple)) and not callbacks):
        refuse_callbacks(callbacks, advice="do that in a loop, after predict_on_batch(batch) of each")


def refuse_callbacks(callbacks: Any, advice: str) -> NoReturn:
    """They are Keras's, and ask for a model of Keras."""
    raise InputError(f"callbacks: expected None, found {told(callbacks)}; {advice}")


def first_of(given: Given, batch_size: int | None, steps: int, fixed: int | None) -> tuple[Given, int]:
    """The rows of so many batches, and how many a batch has: without ``batch_size``, so many that all rows are in them."""
    rows = rows_of(given)
    batch = fixed or batch_size or max(1, math.ceil(rows / steps))
    if math.ceil(rows / batch) < steps:
        ran_out(math.ceil(rows / batch), steps)
    return cut(given, min(rows, steps * batch)), batch


def rows_of(given: Given) -> int:
    """How many rows there are."""
    return len(given.padded if isinstance(given, Ragged) else given.rows[0] if isinstance(given, RaggedInputs) else given[0])


def cut(given: Given, rows: int) -> Given:
    """The first rows."""
    if isinstance(given, Ragged):
        return Ragged(given.padded[:rows], given.lengths[:rows])
    if isinstance(given, RaggedInputs):
        return RaggedInputs(tuple(one[:rows] for one in given.rows))
    return [array[:rows] for array in given]


# -- targets ------------------------------------------------------------------------------------------------------------------


class Evaluated(NamedTuple):
    """Inputs, checked, with their targets and weights; how many rows ``x`` had, of which they may be the first."""

    given: Given
    y: Any
    sample_weight: Any
    rows: int


def with_targets(
    x: Any, y: Any, sample_weight: Any, infos: Sequence[TensorInfo], batch: int, batch_size: int | None, steps: int | None
) -> tuple[Iterable[Evaluated], int]:
    """What ``evaluate`` is to look at, one part after another, and the rows of a batch within each."""
    if not in_batches(x):
        given = gather(x, infos)
        rows = rows_of(given)
        if steps is not None:
            given, batch = first_of(given, batch_size, steps, infos[0].shape[0])
        return [Evaluated(given, y, sample_weight, rows)], batch
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise InputError(
                f"{name}: expected None, as each batch of x brings its own, (x, y, sample_weight), found {type(value).__name__}"
            )
    return evaluated(of(x, steps), infos), sys.maxsize


def evaluated(batches: Batches, infos: Sequence[TensorInfo]) -> Iterator[Evaluated]:
    """Batches with what they should give."""
    for batch in batches:
        given = batch.gathered(infos)
        y = batch.y if batches.targets is None or batch.y is None else batches.targets(batch.y)
        yield Evaluated(given, y, batch.sample_weight, rows_of(given))


# -- computing ----------------------------------------------------------------------------------------------------------------


def by_batch(executor: BaseExecutor, arrays: list[np.ndarray], batch_size: int | None) -> list[np.ndarray]:
    """Outputs of a model whose rows depend on each other: batch by batch, as ``predict`` of Keras computes them."""
    batch, rows = executor.inputs[0].shape[0] or batch_size or KERAS_BATCH, len(arrays[0])
    return joined([executor.run([x[first : first + batch] for x in arrays]) for first in range(0, max(rows, 1), batch)], batch, rows)


def with_states(executor: BaseExecutor, given: Given, states: States, masks: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Outputs of a stateful model; ``states`` holds those from afterwards."""
    if isinstance(given, (Ragged, RaggedInputs)):
        raise InputError("x: a stateful model takes an array, found a list of sequences")
    batch, rows = executor.inputs[0].shape[0], len(given[0])
    if batch is None or rows % batch:
        raise InputError(f"x: expected a number of rows that the stateful model's batch size {batch} divides, found {rows}")
    if rows == 0:
        return executor.run(given, {path: tuple(array[:0] for array in held) for path, held in states.items()}, masks)
    parts = []
    for first in range(0, rows, batch):
        some = [None if mask is None else mask[first : first + batch] for mask in masks]
        parts.append(executor.run([x[first : first + batch] for x in given], states, some))
    return joined(parts, batch, rows)


def one_after_another(parts: Sequence[Sequence[Any]]) -> list[Any]:
    """The outputs of several batches: an array of each, or a list of its rows where their shapes differ."""
    found: list[Any] = []
    for one in zip(*parts, strict=True):
        there = [rows for rows in one if len(rows)] or list(one[:1])
        if any(isinstance(rows, list) for rows in there) or unlike([rows[:1] for rows in there]):
            found.append([row for rows in there for row in rows])
        else:
            found.append(np.concatenate(there))
    return found
