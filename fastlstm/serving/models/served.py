"""One version of a model, ready to answer: arrays by input name in, arrays by output name out."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...batch.answers import told_apart
from ...batch.predictor import raw_inputs
from ...errors import FastLSTMError, InputError, SuppliedError
from ...inputs import TensorInfo, known_sizes, shape_text
from ...model import Model
from ...pipeline import Pipeline
from ...preprocessing.labels import as_array
from ...records import changed
from ...spec import STRING
from .costs import Costs

#: What a pipeline with labels answers.
LABELS, PROBABILITIES = "labels", "probabilities"
#: Rows that a model is warmed with, and timesteps where their number is open: the first that the model takes.
WARM_ROWS = (1, 8)
WARM_STEPS = (16, 64, 256, 1024)
#: Calls of each, by which their cost is measured.
WARM_TIMES = 3
#: Where one of them takes so many seconds, it is enough.
LONG = 0.05
#: The text that a model is warmed with.
WORD = b"warm"


class ModelError(FastLSTMError):
    """A model cannot compute what it should: no request is at fault."""


class Served:
    """One version of a model.

    Attributes
    ----------
    name : str
        What requests call the model.
    version : int
        Its version.
    model : Model or Pipeline
        What computes it.
    inputs, outputs : tuple of TensorInfo
        What it takes and gives. Of a pipeline raw input and answers: a tokenizer's input is ``text``, (batch,), of strings; a scaler's has
        dtype float64; labels are the outputs ``labels`` and ``probabilities``; values in the units of the data have dtype float64.
        No two outputs have the same name.
    costs : Costs
        How long it takes.
    open : bool
        Do inputs have axes, but the rows, whose size is left open?
    rowwise : bool
        Is every row computed by itself, so that rows of several requests may be computed together?
    """

    def __init__(self, name: str, version: int, model: Model[Any] | Pipeline):
        self.name, self.version, self.model = name, version, model
        self.inputs: tuple[TensorInfo, ...] = inputs_of(model)
        self.outputs: tuple[TensorInfo, ...] = outputs_of(model)
        self.costs = Costs()
        self.open = any(None in info.shape[1:] for info in self.inputs)
        self._answers = [(itemsize(info.dtype) * math.prod(known_sizes(info.shape)), info.shape[1:].count(None)) for info in self.outputs]
        #: Bytes of a row's answers; -1: that depends on its timesteps.
        self._answer = -1 if any(axes for _, axes in self._answers) else sum(size for size, _ in self._answers)
        executor = network_of(model).executor
        self.rowwise = not (executor.stateful or executor.crosses_rows or executor.all_at_once)
        self._stateful = bool(executor.stateful)
        self._turn = threading.Lock()  # a stateful model has one state

    def __repr__(self) -> str:
        return f"<Served {self.name!r}, version {self.version}>"

    # -- computing --------------------------------------------------------------------------------------------------------

    def predict(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs of rows; blocks until they are computed.

        Parameters
        ----------
        arrays
            By the name of each input an array, or lists as NumPy takes them; a list of arrays of one rank less where rows differ in length.
            A pipeline with a window also takes one series, (timesteps, features).

        Returns
        -------
        dict
            By the name of each output an array; a list of arrays where rows differ in length. Strings are arrays of bytes objects.

        Raises
        ------
        InputError
            If they do not fit the model.
        ModelError
            If a function that was supplied for one of its layers fails.
        """
        try:
            given = [arrays[info.name] for info in self.inputs]
            if len(given) != len(arrays):
                raise KeyError
        except KeyError:
            raise self._other_names(arrays) from None
        if self._stateful:
            self._check_rows(self.rows(arrays))
        try:
            return self.named(self._computed(given[0] if len(given) == 1 else given))
        except InputError as error:
            if isinstance(error.__cause__, MemoryError):
                raise error.__cause__ from error
            if faulty(error):
                raise ModelError(f"model {self.name!r}, version {self.version}: {error}") from error
            raise self.explained(error, arrays) from error

    def _check_rows(self, rows: int) -> None:
        """Refuse rows of a stateful model that would go on from each other: Keras takes the next of them as more timesteps."""
        fixed = self.inputs[0].shape[0]
        if fixed is not None and rows > fixed:
            expected = f"{fixed} row{'s' if fixed != 1 else ''} in a request, as it is stateful and would go on from row to row"
            raise InputError(f"model {self.name!r}: expected {expected}, found {rows}; send so many at a time")

    def _computed(self, x: Any) -> Any:
        if not self._stateful:
            return self.model.predict(x)
        with self._turn:  # each request begins anew: which others came before it, nobody could tell
            network_of(self.model).reset_states()
            return self.model.predict(x)

    def named(self, found: Any) -> dict[str, Any]:
        """What ``predict`` of the model, or a timestep of its streams, returns, by the names of outputs."""
        outputs = self.outputs
        if len(outputs) == 1 and (type(found) is np.ndarray or not isinstance(found, Mapping)):
            return {outputs[0].name: strings_of(found) if outputs[0].dtype == STRING else found}
        parts = list(found.values()) if isinstance(found, Mapping) else found
        return {info.name: strings_of(part) if info.dtype == STRING else part for info, part in zip(outputs, parts, strict=True)}

    def rows(self, arrays: Mapping[str, Any]) -> int:
        """How many rows a request has: where its inputs do not agree, the most of them; 0 where nothing tells."""
        most = 0
        for value in arrays.values():
            if value.ndim if isinstance(value, np.ndarray) else isinstance(value, (list, tuple)):
                most = max(most, len(value))
        return most

    def longest(self, arrays: Mapping[str, Any]) -> int:
        """The largest size of an axis of its inputs that is left open."""
        most = 0
        for info in self.inputs:
            value = arrays.get(info.name)
            for one in [value] if isinstance(value, np.ndarray) else value if isinstance(value, (list, tuple)) else []:
                shape = one.shape[one.ndim - len(info.shape) + 1 :] if isinstance(one, np.ndarray) else ()
                most = max([most, *(size for size, known in zip(shape, info.shape[1:], strict=False) if known is None)])
        return most

    def answer_bytes(self, rows: int, longest: int) -> int:
        """About how many bytes the outputs of so many rows have, as arrays."""
        return rows * (self._answer if self._answer >= 0 else sum(size * longest**axes for size, axes in self._answers))

    # -- what is said -----------------------------------------------------------------------------------------------------

    def _other_names(self, arrays: Mapping[str, Any]) -> InputError:
        wanted, found = [info.name for info in self.inputs], ", ".join(map(repr, arrays)) or "none"
        what = "the input" if len(wanted) == 1 else "the inputs"
        return InputError(f"model {self.name!r}: expected {what} {', '.join(map(repr, wanted))}, found {found}")

    def explained(self, error: InputError, arrays: Mapping[str, Any]) -> InputError:
        """An error of the model's as those need it who ask by network: it names the model, and advises no line of Python."""
        for info in self.inputs:
            found = shape_fault(info, arrays.get(info.name))
            if found:
                return InputError(f"model {self.name!r}: input {info.name!r}: {found}")
        text = str(error).removeprefix(f"{network_of(self.model).source}: ")  # where its file is concerns nobody
        return InputError(f"model {self.name!r}: {without_python(text)}")

    # -- warming ----------------------------------------------------------------------------------------------------------

    def warm(self) -> None:
        """Compute something of each shape that is known beforehand, so that no request waits for what is done once.

        Raises
        ------
        FastLSTMError
            If the model cannot compute anything of these shapes.
        """
        for rows in WARM_ROWS:
            fixed = self.inputs[0].shape[0]
            self._warm(rows if fixed is None else fixed)
            if fixed is not None:
                return

    def _warm(self, rows: int) -> None:
        refused: InputError | None = None
        for steps in WARM_STEPS if any(None in info.shape[1:] for info in self.inputs) else (1,):
            try:
                arrays = {info.name: example(info, rows, steps) for info in self.inputs}
                self.predict(arrays)  # plans, which no other call does
                for _ in range(WARM_TIMES):
                    start = time.perf_counter()
                    self.predict(arrays)
                    took = time.perf_counter() - start
                    self.costs.observe(arrays, took)
                    if took > LONG:
                        break
            except InputError as error:  # too short for it
                refused = error
            else:
                return
        if refused is not None and not any(None in info.shape[1:] for info in self.inputs):
            raise refused


# -- what goes in and out ----------------------------------------------------------------------------------------------------


def network_of(model: Model[Any] | Pipeline) -> Model[Any]:
    """The model alone."""
    return model.model if isinstance(model, Pipeline) else model


def inputs_of(model: Model[Any] | Pipeline) -> tuple[TensorInfo, ...]:
    """What a model, or a pipeline, is given."""
    found = raw_inputs(model)
    if isinstance(model, Pipeline) and model.spec.scaler is not None:
        return tuple(changed(info, dtype="float64", declared="float64", vocabulary=None) for info in found)
    return found


def outputs_of(model: Model[Any] | Pipeline) -> tuple[TensorInfo, ...]:
    """What it answers."""
    network = network_of(model)
    infos = network.outputs
    names = told_apart(network.spec.output_names if network.spec.output_kind == "dict" else [info.name for info in infos])
    found = tuple(changed(info, name=name) for name, info in zip(names, infos, strict=True))
    if isinstance(model, Model):
        return found
    if model.labels:
        labels, info = as_array(model.labels), found[0]
        dtype = STRING if labels.dtype.kind in "UO" else labels.dtype.name
        by_label = (*info.shape[:-1], len(model.labels))
        return changed(info, name=LABELS, shape=info.shape[:-1], dtype=dtype), changed(info, name=PROBABILITIES, shape=by_label)
    return tuple(changed(info, dtype="float64") for info in found) if model.spec.inverse is not None else found


def itemsize(dtype: str) -> int:
    """Bytes of one number, or of the address of a text."""
    return 8 if dtype == STRING else np.dtype(dtype).itemsize


def strings_of(found: Any) -> Any:
    """Texts, of whichever kind, as bytes objects."""
    if isinstance(found, list):
        return [strings_of(part) for part in found]
    made = np.empty(found.size, object)
    made[:] = [one if isinstance(one, bytes) else str(one).encode() for one in found.reshape(-1).tolist()]
    return made.reshape(found.shape)


def example(info: TensorInfo, rows: int, steps: int) -> np.ndarray:
    """Something that an input takes: zeros, which are ids too."""
    shape = (rows, *(steps if size is None else size for size in info.shape[1:]))
    if info.dtype == STRING:
        found = np.empty(shape, object)
        found.fill(WORD)
        return found
    return np.zeros(shape, info.dtype)


# -- faults ------------------------------------------------------------------------------------------------------------------


def faulty(error: BaseException | None) -> bool:
    """Is it an error of a function that was supplied for a layer?"""
    while error is not None and not isinstance(error, SuppliedError):
        error = error.__cause__ or error.__context__
    return error is not None


def shape_fault(info: TensorInfo, value: Any) -> str:
    """What is wrong with the shape of an input, and what is meant perhaps; nothing, where it fits."""
    shape = value.shape if isinstance(value, np.ndarray) else None
    if shape is None or matches(shape, info.shape):
        return ""
    found = f"expected shape {shape_text(info.shape)}, found {shape_text(shape) if shape else 'a single value'}"
    if matches(shape, info.shape[1:]):
        return f"{found}; a row alone stands in a list of one row"
    if len(shape) == len(info.shape) - 1 and info.shape[-1] == 1:
        return f"{found}; where a timestep has one feature, each is a list of one number"
    return found


def matches(found: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Are these sizes those of a shape?"""
    return len(found) == len(wanted) and all(size in (None, one) for one, size in zip(found, wanted, strict=True))


def without_python(text: str) -> str:
    """A message without the line of Python that it ends with."""
    kept: list[str] = []
    for part in text.split("; "):
        if kept and any(mark in part for mark in PYTHON):
            break
        kept.append(part)
    return "; ".join(kept)


#: What only a line of Python has in it.
PYTHON = ("numpy.", ".stream(", "iter(x)", "load(...", "x.astype", "[text]")


def parts_of(found: Mapping[str, Any], sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The outputs of the first so many rows, of the next so many, ..."""
    first = 0
    for size in sizes:
        yield {name: value[first : first + size] for name, value in found.items()}
        first += size
