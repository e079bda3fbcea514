"""The one place that knows both a network and its Programs, and decides what runs in kernels and what in NumPy.

The faces (:class:`fastlstm.Model`, :class:`fastlstm.Stream`, the self-tests) check what callers give and keep states; everything
that they compute, they have an Executor compute.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from . import lazy, runtime
from .assembly import of_example
from .base_executor import Begun, Precision, States, SteppingExecutor, dtype_of
from .caching import Kept
from .catalogue import Role
from .errors import FormatError, InputError
from .inputs import Ragged, RaggedInputs, TensorInfo, are_ids, below, known_sizes, per_step, shape_text, shapes_of
from .layers.base import Held, Streaming, Tensor, every_layer
from .layers.network import Network, applied, repeated, tensors
from .limits import Budget
from .outputs import copies
from .planner import Constants, flat, held_arrays, most_packed, numbered, plan, plan_beginning, plan_showing, plan_step
from .program.ir import Program
from .program.layout import FULL
from .spec import FLOAT32, REDUCED, WHOLE, Shape

if TYPE_CHECKING:
    from . import listing
    from . import precision as reduced
    from .layers import streaming
    from .layers.streaming import Streams
    from .listing import LayerInfo
else:
    listing, streaming = lazy.module("fastlstm.listing"), lazy.module("fastlstm.layers.streaming")
    reduced = lazy.module("fastlstm.precision")

T = TypeVar("T")
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


class Prepared(NamedTuple):
    """A Program for inputs of certain shapes, ready to run."""

    runner: runtime.Runner
    program: Program


class Executor(SteppingExecutor):
    """A network and its Programs.

    Parameters
    ----------
    network : Network
        All of its layers are known.
    threads : int
        The most that one call may use.
    precision : str
        "float32", "float64" to compute everything in NumPy, or one of ``spec.REDUCED``.
    fold_limit : int
        Bytes that an Embedding folded into the next layer may take.
    budget : Budget
        What loading may take.
    kept : Kept, optional
        Weights that were packed before.

    Attributes
    ----------
    in_numpy : bool
        Is everything computed in NumPy?
    """

    def __init__(self, network: Network, *, threads: int, precision: str, fold_limit: int, budget: Budget, kept: Kept | None = None):
        dtype, shapes = dtype_of(network, precision), network.input_shapes()
        outputs = zip(network.model.output_names, network.shapes(shapes, {}), strict=True)
        super().__init__(
            network, dtype=dtype, inputs=input_infos(network, dtype),
            outputs=[TensorInfo(name, shape, dtype.name) for name, shape in outputs],
            stateful={layer.path: layer.state_shapes() for layer in every_layer(network) if layer.stateful},
            crosses_rows=network.crosses_rows(shapes, {}), all_at_once=False,
        )  # fmt: skip
        self.threads = threads
        self.fold_limit = fold_limit
        self.arenas = runtime.Arenas()
        self.choice = reduced.chosen(precision) if precision in REDUCED else None
        self.constants = Constants(runtime.lanes(), budget, kept, form=self.choice.form if self.choice else FULL)
        self.workers = runtime.Workers(threads)
        self._ids = tuple(info.vocabulary is not None for info in self.inputs)
        self._surveys: dict[Any, Streams] = {}  # by numbers and shapes of the inputs that are held
        self._prepared: OrderedDict[Any, Any] = OrderedDict()
        self._account(budget)
        self._not_native = self._paths_in_numpy()
        # Programs run in blocks of rows, and threads share them out.
        self.in_numpy = dtype == np.float64 or self.crosses_rows or not self.are_native(self.stateful)

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
        if self.in_numpy:
            self.check_shapes(shapes_of(arrays))
            return copies(self.network.run(arrays, self.dtype, states, masks))
        masked = tuple(None if mask is None else mask.shape[1:] for mask in masks)
        given = [*arrays, *(mask.view(np.uint8) for mask in masks if mask is not None)]
        return self._native(self.prepared(shapes_of(arrays), ids=are_ids(arrays), masks=masked), given, flat(states or {}))

    def run_ragged(self, given: Ragged | RaggedInputs) -> list[Any]:
        """As compressed rows where every layer allows it, else in groups of one length."""
        if self.crosses_rows:
            raise InputError(
                "x: expected an array, as rows of this model depend on each other; found a list of sequences of their own lengths"
            )
        if isinstance(given, RaggedInputs):
            return self._in_groups(given.rows)
        # Of one length they are an array: there is no padding that layers would have to know of.
        alike = bool((given.lengths == given.padded.shape[1]).all())
        outputs = self.run([given.padded]) if alike else self.run_padded(given)
        if outputs is None:
            return self._in_groups([[row[:length] for row, length in zip(given.padded, given.lengths, strict=True)]])
        return [
            [row[:length] for row, length in zip(y, given.lengths, strict=True)] if per_step(info) else y
            for y, info in zip(outputs, self.outputs, strict=True)
        ]

    def run_padded(self, given: Ragged) -> list[np.ndarray] | None:
        if self.in_numpy or not self.network.takes_padding or are_ids([given.padded]) != self._ids:
            return None
        present = (np.arange(given.padded.shape[1]) < given.lengths[:, np.newaxis]).view(np.uint8)
        return self._native(self.prepared((given.padded.shape[1:],), ragged=True), [given.padded, present], [])

    def streams(self, held: Mapping[int, Shape], max_steps: int | None = None) -> Streams:
        key = (tuple(sorted(held.items())), max_steps)
        if key in self._surveys:
            return self._surveys[key]
        try:
            if held:  # which may be of sizes that the file leaves open
                self.network.shapes([held.get(n, info.shape) for n, info in enumerate(self.inputs)], {})
            found = streaming.streams(self.network, held, max_steps)
        except FormatError as error:
            if not held:
                raise
            given = " and ".join(f"{self.inputs[n].name!r} of shape {shape_text(shape)}" for n, shape in held.items())
            raise InputError(f"initial: {given} does not fit: {error}") from error
        if len(self._surveys) >= KEPT_PROGRAMS:
            self._surveys.clear()
        return self._surveys.setdefault(key, found)

    def begin(self, found: Streams, arrays: Sequence[np.ndarray], rows: int) -> Begun:
        made = self._begin(found, arrays, rows) if found.wanted else {}
        states: dict[str, tuple[np.ndarray | float, ...]] = {}
        for path, first in found.begins.items():
            given = [made[one].value for one in first]
            states[path] = (*given, *[0.0] * (len(found.carried[path]) - len(given)))
        shapes = {n: flow.shape for n, flow in enumerate(found.inputs) if flow.held is not None}
        return Begun(shapes, {one: made[one] for one in found.read}, states, found.max_steps)

    def _begin(self, found: Streams, arrays: Sequence[np.ndarray], rows: int) -> dict[Held, Tensor]:
        if self.in_numpy:
            walk = streaming.Beginning(found, partial(applied, None), lambda array: Tensor(repeated(array, rows, self.dtype)))
            with np.errstate(all="ignore"):  # NaN and infinities are data
                walk.through(self.network, found.entering(tensors(arrays, self.dtype), held=True))
            # As arrays of their own: see copies().
            return {one: Tensor(value.copy("C"), None if mask is None else mask.copy("C")) for one, (value, mask) in walk.made.items()}
        # The doors of inputs are the first calls. What timesteps read is given as numbers, as whatever is computed.
        numbers = (n for n, held in enumerate(found.held_inputs) if held)
        plain = [x.astype(np.float32, copy=False) if Held(n) in found.wanted else x for n, x in zip(numbers, arrays, strict=True)]
        (runner, program), masks = self._prepared_beginning(found, are_ids(plain))
        inputs, outputs = self._arrays(program, plain, rows)
        shown = [np.empty((rows, *shape), np.bool_) for shape in masks.values()]
        self.workers.run(runner, inputs, outputs + shown, [])
        there = dict(zip(masks, shown, strict=True))
        return {one: Tensor(value, there.get(one)) for one, value in zip(found.wanted, outputs, strict=True)}

    def advance(self, found: Streams, arrays: Sequence[np.ndarray], states: States, held: Mapping[Held, Tensor]) -> list[np.ndarray]:
        if self.dtype == np.float64 or not self.are_native(found.carried):
            return self._advance_in_numpy(found, arrays, states, held)
        runner, program = self.prepared_step(found, held, shapes_of(arrays), are_ids(arrays))
        given, outputs = self._arrays(program, list(arrays), len(arrays[0]))
        runner.run(given, outputs, flat(states) + held_arrays(held), 0, len(arrays[0]))
        return outputs

    def _advance_in_numpy(
        self, found: Streams, arrays: Sequence[np.ndarray], states: States, held: Mapping[Held, Tensor]
    ) -> list[np.ndarray]:
        new = Streaming(states)

        def fetch(one: Held, mask: Held | None) -> Tensor:
            return Tensor(held[one].value, None if mask is None else held[mask].mask)

        walk = streaming.Stepping(found, partial(applied, new), fetch)
        with np.errstate(all="ignore"):  # NaN and infinities are data
            outputs = walk.outputs(self.network, found.entering(tensors(arrays, self.dtype), held=False))
        copied = copies([tensor.value for tensor in outputs])
        for path, old in states.items():
            for array, value in zip(old, new[path], strict=True):
                array[...] = value
        return copied

    def _native(self, prepared: Prepared, arrays: list[np.ndarray], states: list[np.ndarray]) -> list[np.ndarray]:
        runner, program = prepared
        given, outputs = self._arrays(program, arrays, len(arrays[0]))
        self.workers.run(runner, given, outputs, states)
        return outputs

    def _arrays(self, program: Program, arrays: list[np.ndarray], rows: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Inputs, with the tensors that stand in the file, and new outputs."""
        given = arrays + [repeated(array, rows * times, np.float32) for array, times in program.fixed]
        return given, [np.empty((rows, *shape), np.float32) for shape in program.output_shapes]

    def run_showing(self, arrays: Sequence[np.ndarray], states: dict[str, tuple[np.ndarray, ...]] | None = None) -> list[Tensor]:
        self.check_shapes(shapes_of(arrays))
        if self.in_numpy:
            made = self.network.computed(arrays, self.dtype, states)
            return [Tensor(np.array(one.value, order="C"), one.mask) for one in made]
        program, masks = plan_showing(
            self.network, shapes_of(arrays), below(self.inputs, are_ids(arrays)), self.constants,
            fold_limit=self.fold_limit, threads=self.threads, stateful=numbered(self.stateful),
        )  # fmt: skip
        rows = len(arrays[0])
        given, outputs = self._arrays(program, list(arrays), rows)
        shown = {number: np.empty((rows, *shape), np.bool_) for number, shape in masks.items()}
        runner = runtime.Runner(program, arenas=self.arenas)
        self.workers.run(runner, given, [*outputs, *shown.values()], flat(states or {}))
        return [Tensor(y, shown.get(number)) for number, y in enumerate(outputs)]

    # -- what it runs with ------------------------------------------------------------------------------------------------

    def prepared(
        self, shapes: tuple[tuple[int, ...], ...], *, ids: tuple[bool, ...] | None = None, ragged: bool = False,
        masks: tuple[tuple[int, ...] | None, ...] = (),
    ) -> Prepared:  # fmt: skip
        """The Program for inputs of these shapes (less the batch), and its Runner.

        ``ids`` tells which inputs hold int32, as those of ids do unless they are given as fractions.
        """
        integer = self._ids if ids is None else ids

        def make() -> Prepared:
            self.check_shapes(shapes)
            program = plan(
                self.network, shapes, below(self.inputs, integer), self.constants,
                fold_limit=self.fold_limit, threads=self.threads, ragged=ragged, stateful=numbered(self.stateful), masks=masks,
            )  # fmt: skip
            return Prepared(runtime.Runner(program, arenas=self.arenas), program)

        return self._kept((shapes, integer, ragged, masks), make)

    def prepared_step(
        self, found: Streams, held: Mapping[Held, Tensor], shapes: Sequence[tuple[int, ...]], ids: tuple[bool, ...] | None = None
    ) -> Prepared:
        """The same for timesteps of a stream: ``shapes`` and ``ids`` are those of the inputs that are not held."""
        infos = [info for info, held in zip(self.inputs, found.held_inputs, strict=True) if not held]
        integer = tuple(info.vocabulary is not None for info in infos) if ids is None else ids
        known = tuple((one, value.shape[1:], None if mask is None else mask.shape[1:]) for one, (value, mask) in held.items())
        given = tuple(None if flow.held is None else flow.shape for flow in found.inputs)

        def make() -> Prepared:
            entering = zip(found.inputs, found.entering(shapes, held=False), strict=True)
            self.check_shapes(tuple(shape if flow.held is None else known_sizes(flow.shape) for flow, shape in entering))
            program = plan_step(
                self.network, found, shapes, below(infos, integer), held, self.constants, fold_limit=self.fold_limit
            )  # fmt: skip
            return Prepared(runtime.Runner(program, arenas=self.arenas), program)

        return self._kept((given, tuple(shapes), integer, known, found.max_steps), make)

    def _prepared_beginning(self, found: Streams, ids: tuple[bool, ...]) -> tuple[Prepared, Mapping[Held, tuple[int, ...]]]:
        """The same for what is computed when a stream begins, and the shapes of the masks among it; ``ids``: of the held inputs."""
        shapes = tuple(flow.shape[1:] for flow in found.inputs if flow.held is not None)

        def make() -> tuple[Prepared, Mapping[Held, tuple[int, ...]]]:
            vocabularies = below([info for info, held in zip(self.inputs, found.held_inputs, strict=True) if held], ids)
            program, masks = plan_beginning(
                self.network, found, vocabularies, self.constants, fold_limit=self.fold_limit, threads=self.threads
            )  # fmt: skip
            return Prepared(runtime.Runner(program, arenas=self.arenas), program), masks

        return self._kept((found.held_inputs, shapes, ids), make)

    def _kept(self, key: Any, make: Callable[[], T]) -> T:
        """What ``make`` makes, unless it was made before."""
        found: T | None = self._prepared.get(key)
        if found is None:
            found = self._prepared[key] = make()
            while len(self._prepared) > KEPT_PROGRAMS:
                self._prepared.popitem(last=False)
        return found

    def fast_path(self, arrays: Sequence[np.ndarray]) -> runtime.FastPath | None:
        if self.in_numpy or self.stateful or len(arrays) != 1 or are_ids(arrays) != self._ids:
            return None
        shape = arrays[0].shape[1:]
        runner, program = self.prepared((shape,))
        if not self.fits_fast_path(shape, program):
            return None
        return self.workers.fast_path(runner, shape, program.output_shapes[0], self.inputs[0].vocabulary or 0)

    def fast_step(
        self, found: Streams, infos: Sequence[TensorInfo], states: States, held: Mapping[Held, Tensor], guard: runtime.Guard, *,
        rows: int, sequence: bool,
    ) -> runtime.FastPath | None:  # fmt: skip
        if len(infos) != 1 or self.dtype == np.float64 or not self.are_native(found.carried):
            return None
        shape = tuple(size for size in infos[0].shape[1:] if size is not None)
        if len(shape) + 1 != len(infos[0].shape):
            return None
        runner, program = self.prepared_step(found, held, [(1, *shape) if sequence else shape])
        output = program.output_shapes[0]
        if not self.fits_fast_path(shape, program) or rows * program.work > MOST_WORK or 4 * rows * math.prod(output) > MOST_BYTES:
            return None
        out = output[1:] if found.outputs[0] else output
        arrays = flat(states) + held_arrays(held)
        return runtime.FastPath(runner, shape, out, infos[0].vocabulary or 0, rows, states=arrays, guard=guard)

    def fits_fast_path(self, shape: tuple[int, ...], program: Program) -> bool:
        """Can a ``runtime.FastPath`` run a Program, with an input of such a shape (less the batch)?"""
        if len(program.output_shapes) != 1 or self.spec.output_kind != "single" or program.fixed:
            return False
        axes = max(len(shape), len(program.output_shapes[0]))
        return axes < runtime.FAST_PATH_AXES and all((info.vocabulary or 0) <= MOST_IDS for info in self.inputs)

    # -- what it tells ----------------------------------------------------------------------------------------------------

    @property
    def precision(self) -> Precision:
        if self.dtype == np.float64:
            return Precision(self.dtype.name)
        if self.choice is None:
            return Precision(FLOAT32)
        used = self.choice.form != FULL and any(form != FULL for form in self.constants.forms.values())
        return Precision(self.choice.used if used else FLOAT32, self.choice.why)

    def example_program(self) -> Program | None:
        if self.dtype == np.float64 or self.crosses_rows:
            return None
        return of_example(self.network, lambda shapes: self.prepared(shapes).program)

    def layers(self) -> tuple[LayerInfo, ...]:
        return listing.layer_infos(self.network, self.example_program())

    def are_native(self, paths: Iterable[str]) -> bool:
        """Do layers of these paths run in kernels?"""
        return self._not_native is not None and self._not_native.isdisjoint(paths)

    def _paths_in_numpy(self) -> frozenset[str] | None:
        """Of the layers that run in NumPy; None where all do."""
        program = self.example_program()
        if program is None:
            return None
        in_numpy = {i.layer for i in program.instructions if i.function is not None}
        outer = [layer for layer in every_layer(self.network) if layer.path in in_numpy]
        return frozenset(layer.path for one in outer for layer in (one, *every_layer(one)))


def input_infos(network: Network, dtype: np.dtype[Any]) -> tuple[TensorInfo, ...]:
    """The inputs of a network that computes in a dtype."""
    spec = network.model
    inputs = zip(spec.input_names, network.input_shapes(), network.vocabularies(), network.doors, network.readers(), strict=True)
    return tuple(
        TensorInfo(
            name, shape, "int32" if vocabulary else dtype.name, vocabulary, door.declared, spec.rules.input_cast == "fed",
            door.declared in WHOLE and any(layer.row.role is Role.OPERATION for layer in readers),
        )
        for name, shape, vocabulary, door, readers in inputs
    )  # fmt: skip
