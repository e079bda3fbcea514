"""The one place that knows both a network and its Programs, and decides what runs in kernels and what in NumPy.

The faces (:class:`fastlstm.Model`, :class:`fastlstm.Stream`, the self-tests) check what callers give and keep states; everything
that they compute, they have an Executor compute.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import runtime
from .assembly import of_example
from .errors import FormatError, InputError
from .inputs import Ragged, TensorInfo, are_ids, shape_text
from .layers.base import Streaming, carrying, every_layer
from .layers.network import Network, repeated
from .limits import Budget
from .listing import LayerInfo, layer_infos
from .planner import Constants, most_packed, plan
from .program.ir import Program
from .spec import ModelSpec, Shape

#: Programs are kept for this many different input shapes of a model.
KEPT_PROGRAMS = 256
#: Ids must be below, for a fast path.
MOST_IDS = (1 << 31) - 1
#: Bytes that an Embedding's table folded into the next layer's kernel may take, unless ``load`` says otherwise.
FOLD_LIMIT = 64 << 20

#: Of a timestep that takes the fast path: bytes of its results (other ways say so where there is no memory for them), and work, as
#: Program.work counts it: some milliseconds, as it cannot be interrupted.
MOST_BYTES = 1 << 28
MOST_WORK = 1 << 26

States = Mapping[str, tuple[np.ndarray, ...]]  # by layer path: (batch, ...) each


class Prepared(NamedTuple):
    """A Program for inputs of certain shapes, ready to run."""

    runner: runtime.Runner
    program: Program


class Executor:
    """A network and everything that computes it, for any number of threads at once; it keeps no states.

    Parameters
    ----------
    network : Network
        All of its layers are known.
    threads : int
        The most that one call may use.
    precision : str
        "float32", or "float64" to compute everything in NumPy.
    fold_limit : int
        Bytes that an Embedding folded into the next layer may take.
    budget : Budget
        What loading may take.

    Attributes
    ----------
    dtype : numpy.dtype
        Of outputs and states.
    inputs, outputs : tuple of TensorInfo
        What goes in and comes out.
    carried, stateful : dict
        By layer path, the shapes (less the batch) of the states of all layers that have any, and of those that Keras calls stateful.
    streams_natively : bool
        Do all states go through kernels, so that a stream's steps can?
    """

    def __init__(self, network: Network, *, threads: int, precision: str, fold_limit: int, budget: Budget):
        self.network = network
        self.spec: ModelSpec = network.model
        self.source = network.source
        self.threads = threads
        self.fold_limit = fold_limit
        wide = precision == "float64" or any(layer.spec.dtype == "float64" for layer in every_layer(network))
        self.dtype = np.dtype(np.float64 if wide else np.float32)
        self.inputs = input_infos(network, self.dtype)
        self.outputs = tuple(
            TensorInfo(name, shape, self.dtype.name)
            for name, shape in zip(self.spec.output_names, network.shapes(network.input_shapes(), {}), strict=True)
        )
        self.carried = {layer.path: layer.state_shapes() for layer in carrying(network)}
        self.stateful = {layer.path: self.carried[layer.path] for layer in every_layer(network) if layer.stateful}
        self.arenas = runtime.Arenas()
        self.constants = Constants(runtime.lanes(), budget)
        self.workers = runtime.Workers(threads)
        self._ids = tuple(info.vocabulary is not None for info in self.inputs)
        self._checked: set[tuple[tuple[int, ...], ...]] = set()  # shapes of inputs that all layers take
        self._prepared: OrderedDict[Any, Prepared] = OrderedDict()
        self._account(budget)
        self.streams_natively = not wide and self._are_native(self.carried)
        self._in_numpy = wide or not self._are_native(self.stateful)

    def _account(self, budget: Budget) -> None:
        """Account for what a model takes beside its weights, before it is made."""
        if self.dtype == np.float64:
            budget.hold("weights in float64", self.dtype.itemsize * self.network.count_params())
            of_example(self.network, lambda shapes: None, self.dtype.itemsize)  # no Program is made that would meet what a row takes
        else:
            budget.lend("packed weights", most_packed(self.network, runtime.lanes()))
        numbers = sum(math.prod(shape) for shapes in self.stateful.values() for shape in shapes)
        rows = max((info.shape[0] or 1 for info in self.inputs), default=1)
        budget.lend("states", 2 * self.dtype.itemsize * rows * numbers)

    # -- running ----------------------------------------------------------------------------------------------------------

    def run(
        self, arrays: Sequence[np.ndarray], states: dict[str, tuple[np.ndarray, ...]] | None = None,
        masks: Sequence[np.ndarray | None] = (),
    ) -> list[np.ndarray]:  # fmt: skip
        """Compute a batch.

        Parameters
        ----------
        arrays
            The inputs, as :func:`fastlstm.inputs.gather` gives them.
        states
            Of the stateful layers; the dict holds those from afterwards when this returns, and its arrays may be written to.
        masks
            Of the inputs, bool, None where one has none; as :func:`fastlstm.inputs.gather_masks` gives them.

        Returns
        -------
        list of numpy.ndarray
            New arrays.
        """
        if self._in_numpy:
            self.check_shapes(shapes_of(arrays))
            return copies(self.network.run(arrays, self.dtype, states, masks))
        masked = tuple(None if mask is None else mask.shape[1:] for mask in masks)
        given = [*arrays, *(mask.view(np.uint8) for mask in masks if mask is not None)]
        return self._native(self.prepared(shapes_of(arrays), ids=are_ids(arrays), masks=masked), given, flat(states or {}))

    def run_ragged(self, given: Ragged) -> list[Any]:
        """Compute sequences of different lengths: as compressed rows where every layer allows it, else in groups of one length.

        Returns
        -------
        list
            Of each output an array, or a list of arrays where it has timesteps.
        """
        rows, longest = given.padded.shape[:2]
        if not self._in_numpy and self.network.takes_padding and are_ids([given.padded]) == self._ids:
            present = (np.arange(longest) < given.lengths[:, np.newaxis]).view(np.uint8)
            outputs = self._native(self.prepared((given.padded.shape[1:],), ragged=True), [given.padded, present], [])
            return [
                [row[:length] for row, length in zip(y, given.lengths, strict=True)] if per_step(info) else y
                for y, info in zip(outputs, self.outputs, strict=True)
            ]
        pieces: list[list[Any]] = [[None] * rows for _ in self.outputs]
        for length in np.unique(given.lengths):
            members = np.flatnonzero(given.lengths == length)
            for piece, y in zip(pieces, self.run([np.ascontiguousarray(given.padded[members, :length])]), strict=True):
                for member, row in zip(members, y, strict=True):
                    piece[member] = row
        return [piece if per_step(info) else np.stack(piece) for piece, info in zip(pieces, self.outputs, strict=True)]

    def advance(self, arrays: Sequence[np.ndarray], states: States) -> list[np.ndarray]:
        """Compute the timesteps that follow those which led to ``states``, of all layers; these are changed in place."""
        if not self.streams_natively:
            new = Streaming(states)
            outputs = copies(self.network.run(arrays, self.dtype, new))
            for path, held in states.items():
                for array, value in zip(held, new[path], strict=True):
                    array[...] = value
            return outputs
        runner, program = self.prepared(shapes_of(arrays), ids=are_ids(arrays), streaming=True)
        given, outputs = self._arrays(program, list(arrays))
        runner.run(given, outputs, flat(states), 0, len(arrays[0]))
        return outputs

    def _native(self, prepared: Prepared, arrays: list[np.ndarray], states: list[np.ndarray]) -> list[np.ndarray]:
        runner, program = prepared
        given, outputs = self._arrays(program, arrays)
        self.workers.run(runner, program, given, outputs, states)
        return outputs

    def _arrays(self, program: Program, arrays: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Inputs, with the tensors that stand in the file, and new outputs."""
        rows = len(arrays[0])
        given = arrays + [repeated(array, rows * times, np.float32) for array, times in program.fixed]
        return given, [np.empty((rows, *shape), np.float32) for shape in program.output_shapes]

    # -- what it runs with ------------------------------------------------------------------------------------------------

    def prepared(
        self, shapes: tuple[tuple[int, ...], ...], *, ids: tuple[bool, ...] | None = None, ragged: bool = False, streaming: bool = False,
        masks: tuple[tuple[int, ...] | None, ...] = (),
    ) -> Prepared:  # fmt: skip
        """The Program for inputs of these shapes (less the batch), and its Runner.

        ``ids`` tells which inputs hold int32, as those of ids do unless they are given as fractions.
        """
        integer = self._ids if ids is None else ids
        key = (shapes, integer, ragged, streaming, masks)
        found = self._prepared.get(key)
        if found is None:
            self.check_shapes(shapes)
            vocabularies = [info.vocabulary or 0 if whole else 0 for info, whole in zip(self.inputs, integer, strict=True)]
            program = plan(
                self.network, shapes, vocabularies, self.constants,
                fold_limit=self.fold_limit, threads=1 if streaming else self.threads, ragged=ragged,
                streaming=streaming, stateful=numbered(self.carried if streaming else self.stateful), masks=masks,
            )  # fmt: skip
            found = self._prepared[key] = Prepared(runtime.Runner(program, arenas=self.arenas), program)
            while len(self._prepared) > KEPT_PROGRAMS:
                self._prepared.popitem(last=False)
        return found

    def check_shapes(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Refuse inputs of shapes (less the batch) that some layer cannot take, before anything runs.

        Raises
        ------
        InputError
            That names the layer.
        """
        if shapes in self._checked:
            return
        try:
            self.network.shapes([(info.shape[0], *shape) for info, shape in zip(self.inputs, shapes, strict=True)], {})
        except FormatError as error:
            given = " and ".join(shape_text((None, *shape)) for shape in shapes)
            raise InputError(f"x: input of shape {given} does not fit: {error}") from error
        if len(self._checked) >= KEPT_PROGRAMS:
            self._checked.clear()
        self._checked.add(shapes)

    def fast_path(self, arrays: Sequence[np.ndarray]) -> runtime.FastPath | None:
        """The fast path for more inputs of the same shape; None where the model or these inputs do not allow one."""
        if self._in_numpy or self.stateful or len(arrays) != 1 or are_ids(arrays) != self._ids:
            return None
        shape = arrays[0].shape[1:]
        runner, program = self.prepared((shape,))
        if not self.fits_fast_path(shape, program):
            return None
        most_rows = self.workers.rows_alone(program)
        return runtime.FastPath(runner, shape, program.output_shapes[0], self.inputs[0].vocabulary or 0, most_rows=most_rows)

    def fast_step(
        self, infos: Sequence[TensorInfo], rows: int, states: States, guard: runtime.Guard, *, sequence: bool, per_step: bool
    ) -> runtime.FastPath | None:
        """The fast path for timesteps of all rows of a stream; None where the model does not allow one.

        Parameters
        ----------
        infos
            The inputs as one timestep has them.
        rows
            Of the stream.
        states, guard
            Of the stream; the states are changed in place.
        sequence, per_step
            Has the only input a time axis in the model, and has the only output one?
        """
        if not self.streams_natively or len(infos) != 1:
            return None
        shape = tuple(size for size in infos[0].shape[1:] if size is not None)
        if len(shape) + 1 != len(infos[0].shape):
            return None
        runner, program = self.prepared(((1, *shape),) if sequence else (shape,), streaming=True)
        output = program.output_shapes[0]
        if not self.fits_fast_path(shape, program) or rows * program.work > MOST_WORK or 4 * rows * math.prod(output) > MOST_BYTES:
            return None
        out = output[1:] if per_step else output
        return runtime.FastPath(runner, shape, out, infos[0].vocabulary or 0, rows, states=flat(states), guard=guard)

    def fits_fast_path(self, shape: tuple[int, ...], program: Program) -> bool:
        """Can a ``runtime.FastPath`` run a Program, with an input of such a shape (less the batch)?"""
        if len(self.inputs) != 1 or len(program.output_shapes) != 1 or self.spec.output_kind != "single" or program.fixed:
            return False
        axes = max(len(shape), len(program.output_shapes[0]))
        return axes < runtime.FAST_PATH_AXES and (self.inputs[0].vocabulary or 0) <= MOST_IDS

    # -- what it tells ----------------------------------------------------------------------------------------------------

    def example_program(self) -> Program | None:
        """The Program for some input shapes that the model takes; None where it runs in NumPy alone, or no such shapes are found."""
        if self.dtype == np.float64:
            return None
        return of_example(self.network, lambda shapes: self.prepared(shapes).program)

    def layers(self) -> tuple[LayerInfo, ...]:
        """The layers in the file's order, and how each runs."""
        return layer_infos(self.network, self.example_program())

    def zero_states(self, shapes: Mapping[str, Sequence[tuple[int, ...]]], rows: int) -> dict[str, tuple[np.ndarray, ...]]:
        """States before the first timestep."""
        return {path: tuple(np.zeros((rows, *shape), self.dtype) for shape in own) for path, own in shapes.items()}

    def _are_native(self, paths: Iterable[str]) -> bool:
        program = self.example_program()
        if program is None:
            return False
        in_numpy = {i.layer for i in program.instructions if i.function is not None}
        outer = [layer for layer in every_layer(self.network) if layer.path in in_numpy]
        return {layer.path for one in outer for layer in (one, *every_layer(one))}.isdisjoint(paths)


def input_infos(network: Network, dtype: np.dtype[Any]) -> tuple[TensorInfo, ...]:
    """The inputs of a network that computes in a dtype."""
    spec = network.model
    inputs = zip(spec.input_names, network.input_shapes(), network.vocabularies(), network.doors, strict=True)
    return tuple(
        TensorInfo(name, shape, "int32" if vocabulary else dtype.name, vocabulary, door.declared, spec.rules.input_cast == "fed")
        for name, shape, vocabulary, door in inputs
    )


def shapes_of(arrays: Sequence[np.ndarray]) -> tuple[tuple[int, ...], ...]:
    """Shapes of inputs, less the batch."""
    return tuple(x.shape[1:] for x in arrays)


def per_step(info: TensorInfo) -> bool:
    """Has an output as many timesteps as the input?"""
    return len(info.shape) > 1 and info.shape[1] is None


def numbered(states: Mapping[str, Sequence[Shape]]) -> dict[str, tuple[int, ...]]:
    """By layer path, the numbers of its state arrays in :func:`flat`."""
    numbers: dict[str, tuple[int, ...]] = {}
    first = 0
    for path in sorted(states):
        numbers[path] = tuple(range(first, first + len(states[path])))
        first += len(states[path])
    return numbers


def flat(states: Mapping[str, Sequence[np.ndarray]]) -> list[np.ndarray]:
    """All arrays, in the order in which Programs number them."""
    return [array for path in sorted(states) for array in states[path]]


def copies(outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs of ``apply`` as arrays of their own: a layer may have given back its very input, or a constant of the model."""
    return [np.array(y, order="C") for y in outputs]


def as_returned(spec: ModelSpec, outputs: Sequence[Any]) -> Any:
    """Outputs as Keras's ``predict`` returns them: one, a list, or a dict."""
    if spec.output_kind == "single":
        return outputs[0]
    if spec.output_kind == "dict":
        return dict(zip(spec.output_names, outputs, strict=True))
    return list(outputs)
