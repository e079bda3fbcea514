"""Model: the Python face of a loaded network. Checks input, allocates output, leaves the arithmetic to the runtime."""

from __future__ import annotations

import math
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import runtime
from .assembly import build, of_example
from .errors import FormatError, InputError
from .inputs import InputInfo, Ragged, are_ids, gather, positive, shape_text, told, unreadable
from .layers.base import Layer
from .layers.network import Network, carrying, every_layer, repeated
from .limits import Budget
from .planner import Constants, evaluate, most_packed, plan
from .program.ir import Program
from .spec import ModelSpec, Shape

if TYPE_CHECKING:
    from .stream import Stream

#: Programs are kept for this many different input shapes of a Model.
KEPT_PROGRAMS = 256
#: What ``verbose`` is unless a caller says otherwise.
SILENT = 0
#: Ids must be below, for a FastPath.
MOST_IDS = (1 << 31) - 1
#: Bytes that an Embedding's table folded into the next layer's kernel may take, unless ``load`` says otherwise.
FOLD_LIMIT = 64 << 20


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model."""

    name: str
    shape: Shape  # batch first, None = any
    dtype: str


@dataclass(frozen=True)
class LayerInfo:
    """One layer of a model, as ``summary`` and ``inspect`` list it."""

    name: str
    class_name: str
    output_shape: Shape | tuple[Shape, ...] | None  # None where it could not be found out
    parameters: int
    runs: str  # "native", "NumPy", "folded", "no work", "unsupported"


class Model:
    """A Keras model that computes without Keras. Made by :func:`fastlstm.load`.

    Calls from several threads at once are safe (stateful models take turns), and so are pickling, copying and forking; with
    functions of the caller's, as far as these are.

    Attributes
    ----------
    inputs, outputs : tuple of TensorInfo
        Names, shapes (batch first, None = any) and dtypes.
    generation : Generation
        Which Keras saved the file.
    layers : tuple of LayerInfo
        The layers in the file's order, and how each runs.
    """

    def __init__(
        self, spec: ModelSpec, *, source: str = "model", threads: int = 1, precision: str = "float32", fold_limit: int = FOLD_LIMIT,
        custom_layers: Mapping[str, Callable[..., Any]] | None = None,
        custom_activations: Mapping[str, Callable[..., Any]] | None = None, budget: Budget | None = None,
    ):  # fmt: skip
        if precision not in ("float32", "float64"):
            raise InputError(f"precision: expected 'float32' or 'float64', found {precision!r}")
        threads = positive(threads, "threads")
        if isinstance(fold_limit, bool) or not isinstance(fold_limit, (int, np.integer)) or fold_limit < 0:
            raise InputError(f"fold_limit: expected a number of bytes, found {told(fold_limit)}")
        self._options: dict[str, Any] = {
            "source": source, "threads": threads, "precision": precision, "fold_limit": fold_limit,
            "custom_layers": custom_layers, "custom_activations": custom_activations,
        }  # fmt: skip
        self.spec = spec
        self.source = source
        self.threads = threads
        self.generation = spec.generation
        budget = budget or Budget.unlimited()
        self._network = build(spec, source, custom_layers, custom_activations, budget)
        shapes = self._network.input_shapes()
        wide = precision == "float64" or any(layer.spec.dtype == "float64" for layer in every_layer(self._network))
        self._dtype = np.dtype(np.float64 if wide else np.float32)
        self._infos = tuple(
            InputInfo(name, shape, "int32" if vocabulary else self._dtype.name, vocabulary, door.declared, spec.rules.input_cast == "fed")
            for name, shape, vocabulary, door in zip(
                spec.input_names, shapes, self._network.vocabularies(), self._network.doors, strict=True
            )
        )
        self._ids = tuple(info.vocabulary is not None for info in self._infos)
        output_shapes = self._network.shapes(shapes, {})
        self.inputs = tuple(TensorInfo(info.name, info.shape, info.dtype) for info in self._infos)
        self.outputs = tuple(
            TensorInfo(name, shape, self._dtype.name) for name, shape in zip(spec.output_names, output_shapes, strict=True)
        )
        self._carrying = {layer.path: layer.state_shapes() for layer in carrying(self._network)}
        self._stateful = {layer.path: self._carrying[layer.path] for layer in every_layer(self._network) if layer.stateful}
        self._states: dict[str, tuple[np.ndarray, ...]] = {}
        self._turns = runtime.Turns(f"the stateful model of {source}" if self._stateful else f"the model of {source}")
        self._arenas = runtime.Arenas()
        self._constants = Constants(runtime.lanes(), budget)
        self._checked: set[tuple[tuple[int, ...], ...]] = set()  # shapes of inputs that all layers take
        self._runners: OrderedDict[Any, tuple[runtime.Runner, Program]] = OrderedDict()
        self._fast_path: runtime.FastPath | None = None  # the short way for input of the shape that came last
        self._workers = runtime.Workers(threads)
        self._account(budget)
        self._native_states = not wide and self._are_native(self._carrying)
        self._interpreted = wide or not self._are_native(self._stateful)
        self.reset_states()

    def _account(self, budget: Budget) -> None:
        """Account for what a model takes beside its weights, before it is made."""
        if self._dtype == np.float64:
            budget.hold("weights in float64", self._dtype.itemsize * self.count_params())
            of_example(self._network, lambda shapes: None, self._dtype.itemsize)  # no Program is made that would meet what a row takes
        else:
            budget.lend("packed weights", most_packed(self._network, runtime.lanes()))
        numbers = sum(math.prod(shape) for shapes in self._stateful.values() for shape in shapes)
        rows = max((info.shape[0] or 1 for info in self.inputs), default=1)
        budget.lend("states", 2 * self._dtype.itemsize * rows * numbers)

    # -- what it is -------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The model's name in the file."""
        return self.spec.name

    @property
    def input_shape(self) -> Any:
        """Shape of the input, or a list of shapes; batch first, None = any."""
        return self.inputs[0].shape if len(self.inputs) == 1 else [info.shape for info in self.inputs]

    @property
    def output_shape(self) -> Any:
        """Shape of the output, or a list of shapes; batch first, None = any."""
        return self.outputs[0].shape if len(self.outputs) == 1 else [info.shape for info in self.outputs]

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """The layers in the file's order, and how each runs."""
        return layer_infos(self._network, self._example_program())

    def count_params(self) -> int:
        """Number of weights."""
        return self._network.count_params()

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print the layers as Keras does, and how each runs.

        Parameters
        ----------
        print_fn
            Called with each line.
        """
        rows = [("Layer (type)", "Output Shape", "Param #", "Runs")]
        for layer in self.layers:
            shape = "?" if layer.output_shape is None else str(layer.output_shape)
            rows.append((f"{layer.name} ({layer.class_name})", shape, f"{layer.parameters:,}", layer.runs))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        print_fn(f"Model: {self.name!r}, saved by {self.generation}")
        for number, row in enumerate(rows):
            print_fn("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
            if number == 0:
                print_fn("-" * (sum(widths) + 6))
        print_fn(f"Total params: {self.count_params():,}")

    def __repr__(self) -> str:
        return f"<fastlstm.Model {self.name!r}: {self.input_shape} -> {self.output_shape}, {self.generation}>"

    # -- what it does -----------------------------------------------------------------------------------------------------

    def predict(self, x: Any, batch_size: int | None = None, verbose: int | str = SILENT) -> Any:
        """What ``predict`` of the Keras that saved the file returns.

        Parameters
        ----------
        x
            One input: an array (batch, ...), ``[array]``, or a list of arrays of one rank less: sequences of different
            lengths, each computed alone without padding. Several inputs: a list of arrays, or a dict by input name.
            Anything that NumPy takes as numbers; cast as Keras casts.
        batch_size
            Taken for compatibility. Rows are independent of it; a stateful model has its own.
        verbose
            1 prints one line when done.

        Returns
        -------
        numpy.ndarray, list or dict
            As Keras returns it, float32 (float64 for float64 models). Per-timestep outputs of a list of sequences come
            as a list of arrays (timesteps, ...).

        Raises
        ------
        InputError
            If ``x`` does not fit the model's inputs, or a signal handler calls a stateful model that it interrupts.
        """
        try:
            if batch_size is None and verbose is SILENT and self._fast_path is not None:
                y = self._fast_path(x)
                if y is not None:
                    return y
            return self._predict(x, batch_size, verbose)
        except MemoryError as error:
            raise unreadable(error, "x") from error

    def _predict(self, x: Any, batch_size: Any, verbose: Any) -> Any:
        """:meth:`predict` of what does not fit the short way."""
        if batch_size is not None:
            positive(batch_size, "batch_size", expected="a positive number or None")
        if not (verbose is None or isinstance(verbose, (int, np.integer, np.bool_)) or (isinstance(verbose, str) and verbose == "auto")):
            raise InputError(f"verbose: expected 0, 1, 2 or 'auto', found {told(verbose)}")
        start = time.perf_counter()
        given = gather(x, self._infos)
        if isinstance(given, Ragged):
            outputs: Sequence[Any] = self._run_ragged(given)
        elif self._stateful:
            return self._predict_stateful(given, start if verbose and verbose != "auto" else None)
        else:
            outputs = self._run(given)
        if verbose and verbose != "auto":
            report(len(given.lengths) if isinstance(given, Ragged) else len(given[0]), start)
        return output_structure(self.spec, outputs)

    def _predict_stateful(self, arrays: list[np.ndarray], start: float | None) -> Any:
        """The same for a stateful model; ``start``, if it is to be reported.

        States change at the very end: until then nothing has happened, whatever interrupts it, and whoever forks.
        """
        with self._turns:
            outputs, states = self._run_stateful(arrays)
            result = output_structure(self.spec, outputs)
            if start is not None:
                report(len(arrays[0]), start)
            self._states = states
            return result

    def predict_on_batch(self, x: Any) -> Any:
        """The same as :meth:`predict`: here a batch is whatever is given."""
        return self.predict(x)

    __call__ = predict_on_batch

    def stream(self, batch_size: int = 1) -> Stream:
        """States outside the model, to advance one timestep at a time; for any causal model, however it was trained.

        Parameters
        ----------
        batch_size
            Number of rows, each with a state of its own.

        Raises
        ------
        UnsupportedError
            If a layer needs what is still to come: Bidirectional, go_backwards, pooling over time, Flatten over time, ...
        InputError
            If ``batch_size`` is no positive number, or there is no memory for so many states.
        """
        from .stream import Stream  # built on Model

        return Stream(self, batch_size)

    def reset_states(self) -> None:
        """Set the states of a stateful model to zeros."""
        if self._stateful:
            with self._turns:
                batch = self.inputs[0].shape[0]
                if batch is None:
                    raise InputError(f"{self.source}: a stateful model must have a fixed batch size, its inputs have none")
                self._states = {
                    path: tuple(np.zeros((batch, *shape), self._dtype) for shape in shapes) for path, shapes in self._stateful.items()
                }

    # -- how it does it ---------------------------------------------------------------------------------------------------

    def _run(self, arrays: list[np.ndarray], states: dict[str, tuple[np.ndarray, ...]] | None = None) -> list[np.ndarray]:
        if self._interpreted:
            self._check_shapes(tuple(x.shape[1:] for x in arrays))
            return copies(evaluate(self._network, arrays, self._dtype, states))
        ids = are_ids(arrays)
        runner, program = self._runner(tuple(x.shape[1:] for x in arrays), ids=ids)
        short = ids == self._ids and not self._stateful and not program.fixed
        if short and fits_entry(self, arrays[0].shape[1:], program.output_shapes):
            most_rows = self._workers.rows_alone(program)
            vocabulary = self._infos[0].vocabulary or 0
            self._fast_path = runtime.FastPath(runner, arrays[0].shape[1:], program.output_shapes[0], vocabulary, most_rows=most_rows)
        return self._execute(runner, program, arrays, flat(states or {}))

    def _execute(self, runner: runtime.Runner, program: Program, arrays: list[np.ndarray], states: list[np.ndarray]) -> list[np.ndarray]:
        rows = len(arrays[0])
        arrays = arrays + [repeated(array, rows * times, np.float32) for array, times in program.fixed]
        outputs = [np.empty((rows, *shape), np.float32) for shape in program.output_shapes]
        self._workers.run(runner, program, arrays, outputs, states)
        return outputs

    def _run_stateful(self, arrays: list[np.ndarray]) -> tuple[list[np.ndarray], dict[str, tuple[np.ndarray, ...]]]:
        """Outputs, and the states afterwards."""
        batch = self.inputs[0].shape[0]
        rows = len(arrays[0])
        if batch is None or rows % batch:
            raise InputError(f"x: expected a number of rows that the stateful model's batch size {batch} divides, found {rows}")
        if rows == 0:
            return self._run(arrays, {path: tuple(array[:0] for array in held) for path, held in self._states.items()}), self._states
        states = {path: tuple(array.copy() for array in held) for path, held in self._states.items()}
        parts = [self._run([x[first : first + batch] for x in arrays], states) for first in range(0, rows, batch)]
        return [np.concatenate(part) for part in zip(*parts, strict=True)], states

    def _run_ragged(self, given: Ragged) -> list[Any]:
        """Sequences of different lengths: as compressed rows where every layer allows it, else in groups of one length."""
        rows, longest = given.padded.shape[:2]
        if self._stateful:
            raise InputError("x: a stateful model takes an array, found a list of sequences")
        if not self._interpreted and self._network.ragged and are_ids([given.padded]) == self._ids:
            present = (np.arange(longest) < given.lengths[:, np.newaxis]).view(np.uint8)
            runner, program = self._runner((given.padded.shape[1:],), ragged=True)
            outputs = self._execute(runner, program, [given.padded, present], [])
            return [self._cut(y, info, given) for y, info in zip(outputs, self.outputs, strict=True)]
        pieces: list[list[Any]] = [[None] * rows for _ in self.outputs]
        for length in np.unique(given.lengths):
            members = np.flatnonzero(given.lengths == length)
            for piece, y in zip(pieces, self._run([np.ascontiguousarray(given.padded[members, :length])]), strict=True):
                for member, row in zip(members, y, strict=True):
                    piece[member] = row
        return [piece if self._per_step(info) else np.stack(piece) for piece, info in zip(pieces, self.outputs, strict=True)]

    def _per_step(self, info: TensorInfo) -> bool:
        return len(info.shape) > 1 and info.shape[1] is None

    def _cut(self, y: np.ndarray, info: TensorInfo, given: Ragged) -> Any:
        if not self._per_step(info):
            return y
        return [row[:length] for row, length in zip(y, given.lengths, strict=True)]

    def _runner(
        self, shapes: tuple[tuple[int, ...], ...], *, ids: tuple[bool, ...] | None = None, ragged: bool = False, streaming: bool = False
    ) -> tuple[runtime.Runner, Program]:
        """The Program for inputs of these shapes; ``ids`` tells which hold int32, as they do unless given as fractions."""
        integer = self._ids if ids is None else ids
        key = (shapes, integer, ragged, streaming)
        found = self._runners.get(key)
        if found is None:
            self._check_shapes(shapes)
            stateful = self._carrying if streaming else self._stateful
            numbers: dict[str, tuple[int, ...]] = {}
            for path in sorted(stateful):
                first = sum(len(given) for given in numbers.values())
                numbers[path] = tuple(range(first, first + len(stateful[path])))
            vocabularies = [info.vocabulary or 0 if ids else 0 for info, ids in zip(self._infos, integer, strict=True)]
            program = plan(
                self._network, shapes, vocabularies, self._constants,
                fold_limit=self._options["fold_limit"], threads=1 if streaming else self.threads, ragged=ragged,
                streaming=streaming, stateful=numbers,
            )  # fmt: skip
            found = self._runners[key] = (runtime.Runner(program, arenas=self._arenas), program)
            while len(self._runners) > KEPT_PROGRAMS:
                self._runners.popitem(last=False)
        return found

    def _check_shapes(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Refuse inputs of shapes (less the batch) that some layer cannot take, before anything runs."""
        if shapes in self._checked:
            return
        try:
            self._network.shapes([(info.shape[0], *shape) for info, shape in zip(self._infos, shapes, strict=True)], {})
        except FormatError as error:
            given = " and ".join(shape_text((None, *shape)) for shape in shapes)
            raise InputError(f"x: input of shape {given} does not fit: {error}") from error
        if len(self._checked) >= KEPT_PROGRAMS:
            self._checked.clear()
        self._checked.add(shapes)

    def _are_native(self, paths: Iterable[str]) -> bool:
        program = self._example_program()
        if program is None:
            return False
        interpreted = {i.layer for i in program.instructions if i.kernel == "python"}
        outer = [layer for layer in every_layer(self._network) if layer.path in interpreted]
        return {layer.path for one in outer for layer in (one, *every_layer(one))}.isdisjoint(paths)

    def _example_program(self) -> Program | None:
        """The Program for some input shapes that the model takes; None where it runs in NumPy alone, or no such shapes are found."""
        if self._dtype == np.float64:
            return None
        return of_example(self._network, lambda shapes: self._runner(shapes)[1])

    def __reduce__(self) -> Any:
        with self._turns:
            states = {path: tuple(array.copy() for array in arrays) for path, arrays in self._states.items()}
        more: dict[str, Any] = {}
        if type(self) is not Model:  # what a subclass keeps beside what every Model has
            known = vars(Model(self.spec, **self._options))
            more = {name: value for name, value in vars(self).items() if name not in known}
        return _rebuild, (type(self), self.spec, self._options, states), more or None


def fits_entry(model: Model, shape: tuple[int, ...], output_shapes: Sequence[tuple[int, ...]]) -> bool:
    """Can a ``runtime.FastPath`` serve the model, with an input and outputs of such shapes (less the batch)?"""
    if len(model.inputs) != 1 or len(output_shapes) != 1 or model.spec.output_kind != "single":
        return False
    vocabulary = model._infos[0].vocabulary or 0
    return max(len(shape), len(output_shapes[0])) < runtime.FAST_PATH_AXES and vocabulary <= MOST_IDS


def report(rows: int, start: float) -> None:
    """The line that ``verbose`` asks for."""
    print(f"{rows}/{rows} rows, {(time.perf_counter() - start) * 1e3:.1f} ms", file=sys.stderr)


def flat(states: Mapping[str, Sequence[np.ndarray]]) -> list[np.ndarray]:
    """All arrays, in the order in which Programs number them."""
    return [array for path in sorted(states) for array in states[path]]


def copies(outputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs of ``apply`` as arrays of their own: a layer may have given back its very input, or a constant of the model."""
    return [np.array(y, order="C") for y in outputs]


def output_structure(spec: ModelSpec, outputs: Sequence[Any]) -> Any:
    """Outputs as ``predict`` of the model returns them."""
    if spec.output_kind == "single":
        return outputs[0]
    if spec.output_kind == "dict":
        return dict(zip(spec.output_names, outputs, strict=True))
    return list(outputs)


def _rebuild(kind: type[Model], spec: ModelSpec, options: dict[str, Any], states: dict[str, tuple[np.ndarray, ...]]) -> Model:
    """What a copied or unpickled Model begins as; a subclass's ``__init__`` may ask for other arguments."""
    model = Model.__new__(kind)
    Model.__init__(model, spec, **options)
    model._states = {path: tuple(array.copy() for array in arrays) for path, arrays in states.items()}
    return model


def layer_infos(network: Network, program: Program | None) -> tuple[LayerInfo, ...]:
    """What ``summary`` and ``inspect`` tell of each layer."""
    kernels: dict[str, set[str]] = {}
    for instruction in program.instructions if program else ():
        kernels.setdefault(instruction.layer, set()).add(instruction.kernel)

    def runs(layer: Layer) -> str:
        if program is None:
            return "NumPy"
        inside = {kernel for one in (layer, *every_layer(layer)) for kernel in kernels.get(one.path, ())}
        if "python" in inside:
            return "NumPy"
        if f"{layer.path}:embeddings" in program.names or inside - {"mask_ids"}:  # a next layer may read its rows where they lie
            return "native"
        return "folded" if layer.spec.weights else "no work"

    shapes = network.layer_shapes()
    return tuple(
        LayerInfo(layer.path, layer.spec.class_name, shapes.get(layer.path), layer.count_params(), runs(layer))
        for layer in network.listed()
    )
