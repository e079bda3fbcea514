"""Stream: a model's state outside the model, advanced one timestep, or a few, at a time."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from . import runtime
from .errors import InputError, Problem, UnsupportedError
from .inputs import InputInfo, are_ids, as_array, gather, positive, reading, shape_text, told, unreadable
from .layers.base import Layer, Streaming
from .layers.convolution import Convolution
from .layers.merging import Merging
from .layers.network import Network, carrying, repeated
from .layers.recurrent import Recurrent
from .model import Model, copies, fits_entry, flat, output_structure
from .planner import evaluate
from .spec import Shape

if TYPE_CHECKING:
    from typing_extensions import Self

#: What a tensor is while data streams in: one timestep after another, or one thing for each row.
STEPS, ROW = "steps", "row"
MOST_ROWS = 1 << 40
#: What a stream that keeps states by layers' names cannot do.
USED_TWICE = "it is used more than once, and a stream keeps one state for each layer"
SAME_NAME = "two layers go by this name, and a stream keeps states by name; give one of them another name in Keras"
#: Results of a step larger than this go the long way, which says so where there is no memory for them.
ENTRY_BYTES = 1 << 28
#: Steps of more work, as Program.work counts it, go the long way, which can be interrupted: some milliseconds.
ENTRY_WORK = 1 << 26


class Stream(runtime.Stepper):
    """One state for each of ``batch_size`` rows, advanced by :meth:`step` and :meth:`feed`. Made by :meth:`Model.stream`.

    What a step returns is the model's output if it were called with the sequence so far: its last timestep, where the
    model has an output for each.

    A Stream belongs to one thread at a time; Streams of one Model run side by side. Copied (:meth:`copy`, ``copy.copy``,
    ``copy.deepcopy``) or pickled, it goes on from the same state on its own; ``deepcopy`` and ``pickle`` take the Model along.

    Attributes
    ----------
    batch_size : int
        Number of rows.
    state : dict of numpy.ndarray
        A copy of all states by "layer/name", (batch_size, units) each: "lstm/h", "lstm/c", "gru/h". Of a causal convolution the
        inputs that its window still sees, (batch_size, timesteps, features): "conv1d/history".
    """

    def __init__(self, model: Model, batch_size: int = 1):
        rows = positive(batch_size, "batch_size", most=MOST_ROWS)
        step_by_step = merging(model._network)
        problems, tags = obstacles(model._network, step_by_step)
        if problems:
            raise UnsupportedError(f"{model.source} as a stream", tuple(problems))
        self.model = model
        self.batch_size = rows
        self._sequence = [is_sequence(info) for info in model._infos]
        self._merging = bool(step_by_step)
        self._per_step = [tag == STEPS for tag in tags]
        self._layers = {layer.path: layer for layer in carrying(model._network)}
        self._names = {path: layer.state_names() for path, layer in self._layers.items()}
        with reading("batch_size"):
            self._states = self._zeros(rows)
        self._step_infos = tuple(self._info(info, sequence, None) for info, sequence in zip(model._infos, self._sequence, strict=True))
        self._guard = runtime.Guard()
        self._fast_path = self._make_entry()
        self._own = frozenset((*vars(self), "_own"))  # what a copy makes anew; a subclass may have more

    # -- advancing --------------------------------------------------------------------------------------------------------

    def _step(self, x_t: Any, rows: Any, out: np.ndarray | None) -> Any:
        """:meth:`step` where what is given does not fit the short way, or some rows alone advance."""
        given = gather(x_t, self._step_infos, "x_t")
        if not isinstance(given, list):
            raise InputError("x_t: expected an array, found a list of sequences")
        arrays = [x[:, np.newaxis] if sequence else x for x, sequence in zip(given, self._sequence, strict=True)]
        if out is not None:
            self._check_out(out, len(arrays[0]))
        outputs = self._advance(arrays, rows, "x_t")
        outputs = [y[:, -1] if per_step else y for y, per_step in zip(outputs, self._per_step, strict=True)]
        if out is None:
            return output_structure(self.model.spec, outputs)
        out[...] = outputs[0]
        return out

    def feed(self, chunk: Any, *, rows: Any = None) -> Any:
        """Advance by several timesteps.

        Parameters
        ----------
        chunk
            (batch_size, timesteps, features), or ids (batch_size, timesteps), as for ``predict``.
        rows
            As for :meth:`step`.

        Returns
        -------
        numpy.ndarray, list or dict
            Outputs of every timestep of the chunk where the model has them, else of the last one.
        """
        infos = tuple(self._info(info, sequence, "any") for info, sequence in zip(self.model._infos, self._sequence, strict=True))
        given = gather(chunk, infos, "chunk")
        if not isinstance(given, list):
            raise InputError("chunk: expected an array, found a list of sequences")
        lengths = {x.shape[1] for x, sequence in zip(given, self._sequence, strict=True) if sequence}
        if self._merging and len(lengths) > 1:
            found = " and ".join(map(str, sorted(lengths)))
            raise InputError(f"chunk: expected as many timesteps of each input, as the model merges them, found {found}")
        return output_structure(self.model.spec, self._advance(given, rows, "chunk"))

    def reset(self, rows: Any = None) -> None:
        """Set the states of the rows of those numbers, or of all, to zeros."""
        with self._guard.anew if rows is None else self._guard:
            where = slice(None) if rows is None else self._numbers(rows)
            runtime.replace(flat(self._states), [0.0] * len(flat(self._states)), where)

    # -- state ------------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, np.ndarray]:
        with self._guard:
            return {
                f"{path}/{name}": array.copy()
                for path, arrays in self._states.items() for name, array in zip(self._names[path], arrays, strict=True)
            }  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that :attr:`state` of a stream of the same model gave, in this process or another.

        Raises
        ------
        InputError
            If names or shapes do not fit; the stream is left as it was.
        """
        keys = [f"{path}/{name}" for path in self._states for name in self._names[path]]
        if not isinstance(state, Mapping):
            raise InputError(f"state: expected a dict with the keys {', '.join(keys) or 'none'}, found {told(state)}")
        with reading("state"):
            if set(state) != set(keys):
                raise InputError(f"state: expected the keys {', '.join(keys) or 'none'}, found {', '.join(map(str, state)) or 'none'}")
            given = {key: state[key] for key in keys}
        loaded = {
            path: tuple(
                self._loaded(given[f"{path}/{name}"], f"state[{path + '/' + name!r}]", array)
                for name, array in zip(self._names[path], arrays, strict=True)
            )
            for path, arrays in self._states.items()
        }
        with self._guard.anew:
            runtime.replace(flat(self._states), flat(loaded))

    def _loaded(self, value: Any, name: str, array: np.ndarray) -> np.ndarray:
        """A state that a caller gives for one of the stream's."""
        found = as_array(value, name, array.shape)
        if found.shape != array.shape or found.dtype.kind not in "fiu":
            wanted = f"numbers of shape {shape_text(array.shape)}"
            raise InputError(f"{name}: expected {wanted}, found {found.dtype} {shape_text(found.shape)}")
        with reading(name), np.errstate(over="ignore"):  # beyond float32 is inf
            return np.array(found, array.dtype, order="C")

    def copy(self) -> Self:
        """A stream that goes on from here on its own."""
        return copy.copy(self)

    def __reduce__(self) -> Any:
        """For ``copy`` and ``pickle``. The state is taken under the guard: another thread that is inside is told of."""
        more = {name: value for name, value in vars(self).items() if name not in self._own}
        return _begun, (type(self), self.model, self.batch_size), (self.state, more)

    def __setstate__(self, given: tuple[dict[str, np.ndarray], dict[str, Any]]) -> None:
        state, more = given
        self.load_state(state)
        vars(self).update(more)

    def __repr__(self) -> str:
        return f"<fastlstm.Stream of {self.model.name!r}, batch_size={self.batch_size}>"

    # -- how --------------------------------------------------------------------------------------------------------------

    def _make_entry(self) -> runtime.FastPath | None:
        """The short way for steps of all rows, where the model has one input and one output."""
        model = self.model
        if not model._native_states or len(model.inputs) != 1:
            return None
        info = self._step_infos[0]
        shape = tuple(size for size in info.shape[1:] if size is not None)
        if len(shape) + 1 != len(info.shape):
            return None
        runner, program = model._runner(((1, *shape),) if self._sequence[0] else (shape,), streaming=True)
        if program.fixed or self.batch_size * program.work > ENTRY_WORK:
            return None
        output = program.output_shapes[0]
        if not fits_entry(model, shape, program.output_shapes) or 4 * self.batch_size * math.prod(output) > ENTRY_BYTES:
            return None
        states = flat(self._states)
        return runtime.FastPath(
            runner, shape, output[1:] if self._per_step[0] else output, info.vocabulary or 0, self.batch_size,
            states=states, guard=self._guard,
        )  # fmt: skip

    def _zeros(self, rows: int) -> dict[str, tuple[np.ndarray, ...]]:
        dtype = self.model._dtype
        return {path: tuple(np.zeros((rows, *s), dtype) for s in layer.state_shapes()) for path, layer in self._layers.items()}

    def _info(self, info: InputInfo, sequence: bool, steps: str | None) -> InputInfo:
        if not sequence or steps is not None:
            return info._replace(shape=(None, None, *info.shape[2:]) if sequence else (None, *info.shape[1:]))
        return info._replace(shape=(None, *info.shape[2:]))

    def _check_out(self, out: Any, rows: int) -> None:
        """Refuse an ``out`` that does not fit before anything has advanced."""
        if len(self._per_step) != 1:
            raise InputError(f"out: expected None for a model of {len(self._per_step)} outputs, found {type(out).__name__}")
        shape = (rows, *self.model.outputs[0].shape[2 if self._per_step[0] else 1 :])
        if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != self.model._dtype or not out.flags.writeable:
            found = f"{out.dtype} {shape_text(out.shape)}" if isinstance(out, np.ndarray) else type(out).__name__
            raise InputError(f"out: expected a writeable array of shape {shape_text(shape)} and dtype {self.model._dtype}, found {found}")
        if overlaps_itself(out):
            raise InputError(f"out: expected an array whose elements do not overlap, found strides {out.strides}")

    def _numbers(self, rows: Any) -> np.ndarray:
        numbers = as_array(rows, "rows", (None,))
        if numbers.ndim != 1 or (numbers.dtype.kind not in "iu" and numbers.size):
            raise InputError(f"rows: expected a list of row numbers, found {numbers.dtype} of shape {shape_text(numbers.shape)}")
        if numbers.size > self.batch_size:
            raise InputError(f"rows: expected each of {self.batch_size} rows once, found {numbers.size} numbers")
        if numbers.size and (numbers.min() < 0 or numbers.max() >= self.batch_size):
            raise InputError(f"rows: expected numbers from 0 to {self.batch_size - 1}, found {numbers.min()} to {numbers.max()}")
        numbers = numbers.astype(np.intp)
        if len(np.unique(numbers)) != numbers.size:
            raise InputError("rows: expected every row once, found one twice")
        return numbers

    def _advance(self, arrays: list[np.ndarray], rows: Any, name: str) -> list[np.ndarray]:
        try:
            return self._advanced(arrays, rows)
        except MemoryError as error:
            raise unreadable(error, name) from error

    def _advanced(self, arrays: list[np.ndarray], rows: Any) -> list[np.ndarray]:
        with self._guard:
            numbers = None if rows is None else self._numbers(rows)
            count = self.batch_size if numbers is None else len(numbers)
            for info, x in zip(self._step_infos, arrays, strict=True):
                if len(x) != count:
                    raise InputError(f"input {info.name!r}: expected {count} rows, found {len(x)}")
            which = slice(None) if numbers is None else numbers
            states = {path: tuple(array[which].copy() for array in held) for path, held in self._states.items()}
            outputs = self._compute(arrays, states)
            runtime.replace(flat(self._states), flat(states), which)
            return outputs

    def _compute(self, arrays: list[np.ndarray], states: dict[str, tuple[np.ndarray, ...]]) -> list[np.ndarray]:
        """Outputs; ``states`` are changed in place."""
        if not self.model._native_states:
            new = Streaming(states)
            outputs = copies(evaluate(self.model._network, arrays, self.model._dtype, new))
            for path, held in states.items():
                for array, value in zip(held, new[path], strict=True):
                    array[...] = value
            return outputs
        runner, program = self.model._runner(tuple(x.shape[1:] for x in arrays), ids=are_ids(arrays), streaming=True)
        rows = len(arrays[0])
        given = [*arrays, *(repeated(array, rows * times, np.float32) for array, times in program.fixed)]
        outputs = [np.empty((rows, *shape), np.float32) for shape in program.output_shapes]
        runner.run(given, outputs, flat(states), 0, rows)
        return outputs


def _begun(kind: type[Stream], model: Model, batch_size: int) -> Stream:
    """What a copied or unpickled Stream begins as; a subclass's ``__init__`` may ask for other arguments."""
    stream = Stream.__new__(kind)
    Stream.__init__(stream, model, batch_size)
    return stream


def overlaps_itself(array: np.ndarray) -> bool:
    """May two elements of an array, made with strides by hand, lie in one place?"""
    extent = array.itemsize
    for stride, size in sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True) if size > 1):
        if stride < extent:
            return True
        extent += stride * (size - 1)
    return False


def is_sequence(info: InputInfo) -> bool:
    """Does an input have a time axis?"""
    return len(info.shape) > 2 or (len(info.shape) == 2 and info.vocabulary is not None)


def merging(network: Network) -> set[Layer]:
    """The layers that merge sequences step by step, wherever they are used."""
    found: dict[Layer, bool] = {}

    def visit(layer: Layer, given: Sequence[Shape], words: Mapping[str, Any]) -> Sequence[Shape]:
        if isinstance(layer, Network):
            return layer.walk(given, visit, lambda array: array.shape)
        if isinstance(layer, Merging):
            found[layer] = found.get(layer, True) and layer.merges_steps(given)
        return layer.shapes(given, words)

    network.walk(network.input_shapes(), visit, lambda array: array.shape)
    return {layer for layer, step_by_step in found.items() if step_by_step}


def cannot_go_on(layer: Recurrent, given: Sequence[str], words: Mapping[str, Any]) -> str:
    """Why a recurrent layer cannot take one timestep after another; nothing if it can."""
    if words.get("initial_state"):
        return "it starts from a state that another layer gives, which a stream keeps itself"
    if layer.go_backwards:
        return "it reads the sequence backwards, from an end that a stream does not know"
    if not layer.state_shapes():
        return "its state of images is not carried from call to call"
    return "" if given[0] == STEPS else "its input is not a stream of timesteps"


def needs_more(layer: Layer, tags: set[str], step_by_step: set[Layer]) -> str:
    """Why a layer without states cannot tell what it makes of one timestep of such tensors; nothing if it can."""
    if tags == {STEPS} and (layer.per_step or layer in step_by_step or (isinstance(layer, Convolution) and layer.looks_back)):
        return ""
    if isinstance(layer, Merging) and ROW in tags:
        return "it merges a sequence of timesteps with a tensor that is none, which is not computed step by step here"
    return "it needs timesteps that are still to come, or all of them at once"


def obstacles(network: Network, step_by_step: set[Layer]) -> tuple[list[Problem], Sequence[str]]:
    """What keeps a model from running step by step, and what each of its outputs is: STEPS or ROW."""
    problems: list[Problem] = []
    seen: dict[str, Layer] = {}  # layers with states

    def refuse(layer: Layer, what: str) -> None:
        problems.append(Problem(layer.path, layer.spec.class_name, what))

    def fixed(array: np.ndarray) -> str:
        if len(array) > 1:
            problems.append(Problem("", "", f"it holds a tensor for {len(array)} rows, and the rows of a stream advance independently"))
        return ROW

    def visit(layer: Layer, given: Sequence[str], words: Mapping[str, Any]) -> Sequence[str]:
        if "mask" in words:
            refuse(layer, "it is given a mask for timesteps that are still to come")
        if isinstance(layer, Network):
            return layer.walk(given, visit, fixed)
        if layer.state_shapes():
            if layer.path in seen:
                refuse(layer, USED_TWICE if seen[layer.path] is layer else SAME_NAME)
            seen[layer.path] = layer
        if isinstance(layer, Recurrent):
            what = cannot_go_on(layer, given, words)
            if what:
                refuse(layer, what)
            return [STEPS if layer.return_sequences else ROW, *[ROW] * (len(layer.state_sizes) if layer.return_state else 0)]
        tags = set(given)
        if STEPS not in tags:
            return [ROW] * 8
        what = needs_more(layer, tags, step_by_step)
        if what:
            refuse(layer, what)
        return [ROW if what else STEPS] * 8

    infos = zip(network.input_shapes(), network.vocabularies(), strict=True)
    given = [STEPS if is_sequence(InputInfo("", shape, "", vocabulary)) else ROW for shape, vocabulary in infos]
    return problems, network.walk(given, visit, fixed)
