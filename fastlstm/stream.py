"""Stream: a model's state outside the model, advanced one timestep, or a few, at a time."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from . import runtime
from .base_executor import BaseExecutor, Begun, SteppingExecutor
from .errors import InputError, UnsupportedError
from .inputs import TensorInfo, as_array, cast, gather, positive, reading, shape_text, told, unreadable
from .layers.base import Held, Tensor, carrying
from .layers.streaming import Streams, is_sequence
from .outputs import as_returned
from .planner import flat

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_ROWS = 1 << 40
#: Floats count so far.
MOST_STEPS = 1 << 24
#: Up to so many of a stream's rows advance by way of arrays that are kept: with more, making new ones is a small part of the time.
FEW_ROWS = 64


class Streamed(Protocol):
    """The part of a Model that a Stream needs."""

    executor: BaseExecutor

    @property
    def name(self) -> str: ...


class Stream(runtime.Stepper):
    """One state for each of ``batch_size`` rows, advanced by :meth:`step` and :meth:`feed`. Made by :meth:`Model.stream`.

    What a step returns is the model's output if it were called with the sequence so far: its last timestep, where the
    model has an output for each.

    Inputs that were given as ``initial`` stay the same for all timesteps, and steps are of the others. They stay with copies too.

    A Stream belongs to one thread at a time; Streams of one Model run side by side. Copied (:meth:`copy`, ``copy.copy``,
    ``copy.deepcopy``) or pickled, it goes on from the same state on its own; ``deepcopy`` and ``pickle`` take the Model along.

    Attributes
    ----------
    batch_size : int
        Number of rows.
    state : dict of numpy.ndarray
        A copy of all states by "layer/name", (batch_size, units) each: "lstm/h", "lstm/c", "gru/h". Of a causal convolution the
        inputs that its window still sees, (batch_size, timesteps, features): "conv1d/history". Of causal attention what it keeps of
        all timesteps, (batch_size, max_steps, features), "attention/keys" and "attention/values", and of how many, "attention/steps",
        (batch_size, 1). Of a layer that
        is given its first state and whose timesteps may be masked, 1 for each row that has had a valid one, where its Keras emits zeros
        until then: "lstm/begun", (batch_size, 1).

    Examples
    --------
    >>> model = fastlstm.load(fastlstm.demo.MODEL)
    >>> stream = model.stream()
    >>> y = stream.feed([[[0.1], [0.4]]])  # what is known so far
    >>> y = stream.step([[0.2]])  # one timestep more
    >>> np.allclose(y, model.predict([[[0.1], [0.4], [0.2]]]), atol=1e-6)
    True
    >>> other = stream.copy()  # a branch
    >>> saved = stream.state  # plain arrays, for a database or another process
    >>> sorted(saved)
    ['lstm/c', 'lstm/h', 'lstm_1/c', 'lstm_1/h']
    >>> stream.reset()
    >>> stream.load_state(saved)
    >>> np.array_equal(stream.step([[0.3]]), other.step([[0.3]]))
    True
    >>> many = model.stream(batch_size=100)
    >>> many.load_state(stream.state, rows=[7])  # one of its rows
    >>> np.array_equal(many.state_of([7])["lstm/h"], stream.state["lstm/h"])
    True
    """

    def __init__(
        self, model: Streamed, batch_size: int = 1, initial: Mapping[str, Any] | Begun | None = None, max_steps: int | None = None
    ):
        executor = model.executor.stepping()
        rows = positive(batch_size, "batch_size", most=MOST_ROWS)
        most = None if max_steps is None else positive(max_steps, "max_steps", most=MOST_STEPS)
        if isinstance(initial, Begun):
            found, begun = executor.streams(initial.shapes, initial.max_steps), initial
        else:
            found, begun = begin(executor, rows, initial, most)
        self.model = model
        self.batch_size = rows
        self._executor = executor
        self._found, self._begun = found, begun
        self._infos = [info for info, held in zip(executor.inputs, found.held_inputs, strict=True) if not held]
        self._sequence = [is_sequence(info.shape, info.vocabulary) for info in self._infos]
        self._per_step = list(found.outputs)
        with reading("max_steps" if found.remembering else "batch_size"):
            self._states = executor.zero_states(found.carried, rows)
        self._firsts: list[np.ndarray | float] = flat(
            {path: begun.states.get(path, (0.0,) * len(held)) for path, held in self._states.items()}
        )
        if begun.states:
            self._restart(slice(None))
        self._step_infos = tuple(map(one_step, self._infos, self._sequence))
        self._guard = runtime.Guard()
        self._fast_path = executor.fast_step(
            found, self._step_infos, self._states, begun.held, self._guard, rows=rows, sequence=self._sequence[0]
        )
        self._note_room()
        self._few: Few | None = None
        self._flat = flat(self._states)
        self._own = frozenset((*vars(self), "_own"))  # what a copy makes anew; a subclass may have more

    # -- advancing --------------------------------------------------------------------------------------------------------

    def _one_step(self, x_t: Any) -> Any:
        """The inputs of a timestep."""
        try:
            return gather(x_t, self._step_infos, "x_t")
        except InputError as error:
            if isinstance(x_t, np.ndarray) and x_t.ndim == len(self._step_infos[0].shape) + 1:
                raise InputError(f"{error}; several timesteps are for feed()") from error
            raise

    def _step(self, x_t: Any, rows: Any, out: np.ndarray | None) -> Any:
        """:meth:`step` where what is given does not fit the fast path, or only some rows advance."""
        if type(rows) is list and 0 < len(rows) <= FEW_ROWS:
            y = self._step_few(x_t, rows, out)
            if y is not None:
                return y
        given = self._one_step(x_t)
        if not isinstance(given, list):
            raise InputError("x_t: expected an array, found a list of sequences")
        arrays = [x[:, np.newaxis] if sequence else x for x, sequence in zip(given, self._sequence, strict=True)]
        if out is not None:
            self._check_out(out, len(arrays[0]))
        outputs = self._advance(arrays, rows, "x_t")
        outputs = [y[:, -1] if per_step else y for y, per_step in zip(outputs, self._per_step, strict=True)]
        if out is None:
            return as_returned(self._executor.spec, outputs)
        out[...] = outputs[0]
        return out

    def _step_few(self, x_t: Any, rows: list[Any], out: np.ndarray | None) -> np.ndarray | None:
        """:meth:`step` of a few rows, by the fast path over copies of their states; None where something does not fit."""
        if self._few is None:
            self._few = Few(self._executor, self._found, self._begun, self._step_infos, sequence=self._sequence[0])
        made, count = self._few.of(len(rows)), len(rows)
        if made is None or set(map(type, rows)) != {int} or len(set(rows)) < count or min(rows) < 0 or max(rows) >= self.batch_size:
            return None
        path, copies = made
        where: Any = slice(rows[0], rows[0] + 1) if count == 1 else np.array(rows, np.intp)
        with self._guard:
            for copied, array in zip(copies, self._flat, strict=True):
                if count == 1:
                    copied[...] = array[where]
                else:
                    array.take(where, 0, copied, "clip")  # they are within bounds, and this way no copy is made of the copy
            y: np.ndarray | None = path(x_t, out)
            if y is not None:
                runtime.replace(self._flat, copies, where)
            return y

    def feed(self, chunk: Any, *, rows: Any = None) -> Any:
        """Advance by several timesteps.

        Parameters
        ----------
        chunk
            (batch_size, timesteps, features), or ids (batch_size, timesteps), as for ``predict``; several inputs: as for :meth:`step`.
        rows
            As for :meth:`step`.

        Returns
        -------
        numpy.ndarray, list or dict
            Outputs of every timestep of the chunk where the model has them, else of the last one.
        """
        infos = tuple(map(any_steps, self._infos, self._sequence))
        given = gather(chunk, infos, "chunk")
        if not isinstance(given, list):
            raise InputError("chunk: expected an array, found a list of sequences")
        lengths = {x.shape[1] for x, sequence in zip(given, self._sequence, strict=True) if sequence}
        if self._found.merges and len(lengths) > 1:
            found = " and ".join(map(str, sorted(lengths)))
            raise InputError(f"chunk: expected as many timesteps of each input, as the model merges them, found {found}")
        return as_returned(self._executor.spec, self._advance(given, rows, "chunk"))

    def reset(self, rows: Any = None) -> None:
        """Set the states of the rows of those numbers, or of all, back to the first ones: zeros, unless others were given."""
        with self._guard.anew if rows is None else self._guard:
            self._restart(slice(None) if rows is None else self._numbers(rows))
            self._note_room()

    def _note_room(self) -> None:
        """Tell the fast path how many timesteps more there is room for."""
        most = self._found.max_steps
        if self._fast_path is not None and most is not None and self._found.remembering:
            steps = np.max([self._states[path][-1] for path in self._found.remembering], initial=0.0)
            self._fast_path.left = int(most - steps) if steps <= most else 0

    def _restart(self, where: Any) -> None:
        firsts = [first if isinstance(first, float) else first[where] for first in self._firsts]
        runtime.replace(flat(self._states), firsts, where)

    # -- state ------------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> dict[str, np.ndarray]:
        """A copy of all states, by "layer/name"."""
        with self._guard:
            return self._copied(None)

    def state_of(self, rows: Any) -> dict[str, np.ndarray]:
        """A copy of the states of some rows, as :attr:`~fastlstm.Stream.state` of a stream that had these rows alone.

        Parameters
        ----------
        rows
            Numbers of the rows, each once.
        """
        numbers = self._numbers(rows)
        with self._guard:
            return self._copied(numbers)

    def _copied(self, numbers: np.ndarray | None) -> dict[str, np.ndarray]:
        return {
            f"{path}/{name}": array.copy() if numbers is None else array[numbers]
            for path, arrays in self._states.items() for name, array in zip(self._found.names[path], arrays, strict=True)
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Any], *, rows: Any = None) -> None:
        """Go on from a state that :attr:`~fastlstm.Stream.state` of a stream of the same model gave, in this process or another.

        What ``initial`` held when that stream began is no part of it.

        Parameters
        ----------
        state
            By "layer/name", (batch_size, ...) each.
        rows
            Numbers of the rows whose state it is, in order; the others stay as they are. All rows by default.

        Raises
        ------
        InputError
            If names or shapes do not fit; the stream is left as it was.
        """
        keys = [key for path in self._states for key in keys_of(path, self._found.names[path])]
        if not isinstance(state, Mapping):
            raise InputError(f"state: expected a dict with the keys {', '.join(keys) or 'none'}, found {told(state)}")
        with reading("state"):
            if set(state) != set(keys):
                raise InputError(f"state: expected the keys {', '.join(keys) or 'none'}, found {', '.join(map(str, state)) or 'none'}")
            given = {key: state[key] for key in keys}
        numbers = None if rows is None else self._numbers(rows)
        count = self.batch_size if numbers is None else len(numbers)
        loaded = {
            path: tuple(
                loaded_state(given[key], f"state[{key!r}]", (count, *array.shape[1:]), array.dtype)
                for key, array in zip(keys_of(path, self._found.names[path]), arrays, strict=True)
            )
            for path, arrays in self._states.items()
        }
        with self._guard.anew if numbers is None else self._guard:
            runtime.replace(flat(self._states), flat(loaded), slice(None) if numbers is None else numbers)
            self._note_room()

    def copy(self) -> Self:
        """A stream that goes on from here on its own."""
        return copy.copy(self)

    def __reduce__(self) -> Any:
        """For ``copy`` and ``pickle``. The state is taken under the guard: another thread that is inside is told of."""
        more = {name: value for name, value in vars(self).items() if name not in self._own}
        return _begun, (type(self), self.model, self.batch_size, self._begun), (self.state, more)

    def __setstate__(self, given: tuple[dict[str, np.ndarray], dict[str, Any]]) -> None:
        state, more = given
        self.load_state(state)
        vars(self).update(more)

    def __repr__(self) -> str:
        return f"<fastlstm.Stream of {self.model.name!r}, batch_size={self.batch_size}>"

    # -- how --------------------------------------------------------------------------------------------------------------

    def _check_out(self, out: Any, rows: int) -> None:
        """Refuse an ``out`` that does not fit before anything has advanced."""
        if len(self._per_step) != 1:
            raise InputError(f"out: expected None for a model of {len(self._per_step)} outputs, found {type(out).__name__}")
        shape, dtype = (rows, *self._executor.outputs[0].shape[2 if self._per_step[0] else 1 :]), self._executor.dtype
        if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.writeable:
            found = f"{out.dtype} {shape_text(out.shape)}" if isinstance(out, np.ndarray) else type(out).__name__
            raise InputError(f"out: expected a writeable array of shape {shape_text(shape)} and dtype {dtype}, found {found}")
        if overlaps_itself(out):
            raise InputError(f"out: expected an array whose elements do not overlap, found strides {out.strides}")

    def _numbers(self, rows: Any) -> np.ndarray:
        numbers = as_array(rows, "rows", (None,))
        if numbers.ndim != 1 or (numbers.dtype.kind not in "iu" and numbers.size):
            raise InputError(f"rows: expected a list of row numbers, found {numbers.dtype} of shape {shape_text(numbers.shape)}")
        if numbers.size > self.batch_size:
            raise InputError(f"rows: expected each of {self.batch_size} rows once, found {numbers.size} numbers")
        ordered = np.sort(numbers)
        if numbers.size and (ordered[0] < 0 or ordered[-1] >= self.batch_size):
            raise InputError(f"rows: expected numbers from 0 to {self.batch_size - 1}, found {ordered[0]} to {ordered[-1]}")
        if (ordered[1:] == ordered[:-1]).any():
            raise InputError("rows: expected every row once, found one twice")
        return numbers.astype(np.intp, copy=False)

    def _advance(self, arrays: list[np.ndarray], rows: Any, name: str) -> list[np.ndarray]:
        try:
            return self._advanced(arrays, rows, name)
        except MemoryError as error:
            raise unreadable(error, name) from error

    def _advanced(self, arrays: list[np.ndarray], rows: Any, name: str) -> list[np.ndarray]:
        with self._guard:
            numbers = None if rows is None else self._numbers(rows)
            count = self.batch_size if numbers is None else len(numbers)
            for info, x in zip(self._step_infos, arrays, strict=True):
                if len(x) != count:
                    hint = "" if numbers is not None else f": the stream was made with batch_size={count}"
                    raise InputError(f"input {info.name!r}: expected {count} row{'s' if count != 1 else ''}, found {len(x)}{hint}")
            self._check_room([x.shape[1] for x, sequence in zip(arrays, self._sequence, strict=True) if sequence], name)
            which = slice(None) if numbers is None else numbers
            states = {
                path: tuple(np.array(array[which], order="C", copy=numbers is None) for array in held)
                for path, held in self._states.items()
            }
            held = self._begun.held if numbers is None else some_rows(self._begun.held, numbers)
            outputs = self._executor.advance(self._found, arrays, states, held)
            self._check_room([states[path][-1] for path in self._found.remembering], name)
            runtime.replace(flat(self._states), flat(states), which)
            self._note_room()
            return outputs

    def _check_room(self, steps: Iterable[Any], name: str) -> None:
        """Refuse more timesteps than the stream keeps, before anything has changed."""
        most = self._found.max_steps
        if self._found.remembering and most is not None and not all(np.all(each <= most) for each in steps):
            advice = "reset the rows whose sequences are at their ends, or begin a stream with more max_steps"
            raise InputError(f"{name}: expected no more than max_steps={most} timesteps of each row in all, found more: {advice}")


class Few:
    """Fast paths for a few rows of a stream: by their number, each over the first rows of copies of their states, which many share."""

    def __init__(self, executor: SteppingExecutor, found: Streams, begun: Begun, infos: tuple[TensorInfo, ...], *, sequence: bool):
        self._executor, self._found, self._infos, self._sequence = executor, found, infos, sequence
        self._made: dict[int, tuple[runtime.FastPath, list[np.ndarray]] | None] = {}
        self._copies: dict[int, Mapping[str, tuple[np.ndarray, ...]]] = {}  # by their rows, powers of 4
        # What is held belongs to rows; and to copy all timesteps so far of a row takes longer than all else.
        self._possible = not begun.held and not found.remembering

    def of(self, rows: int) -> tuple[runtime.FastPath, list[np.ndarray]] | None:
        """A fast path, and the states that it works on; None: there is none for this model."""
        if rows not in self._made and self._possible:
            size = 1 << 2 * ((rows - 1).bit_length() + 1 >> 1)
            if size not in self._copies:
                self._copies[size] = self._executor.zero_states(self._found.carried, size)
            states = {path: tuple(array[:rows] for array in arrays) for path, arrays in self._copies[size].items()}
            path = self._executor.fast_step(self._found, self._infos, states, {}, runtime.Guard(), rows=rows, sequence=self._sequence)
            self._made[rows] = None if path is None else (path, flat(states))
        return self._made.get(rows)


def _begun(kind: type[Stream], model: Streamed, batch_size: int, begun: Begun | None = None) -> Stream:
    """A new Stream, for ``copy`` and ``pickle``; a subclass's ``__init__`` may ask for other arguments."""
    stream = Stream.__new__(kind)
    Stream.__init__(stream, model, batch_size, begun)
    return stream


# -- beginning ---------------------------------------------------------------------------------------------------------------


def begin(executor: SteppingExecutor, rows: int, initial: Mapping[str, Any] | None, max_steps: int | None) -> tuple[Streams, Begun]:
    """What the model makes of data that stream in, and what a stream of it begins with.

    Raises
    ------
    InputError, UnsupportedError
        As ``Model.stream``.
    """
    held, states = told_apart(executor, initial)
    arrays = {n: held_input(executor.inputs[n], value, rows) for n, value in held.items()}
    if arrays and len(arrays) == len(executor.inputs):
        names = ", ".join(info.name for info in executor.inputs)
        raise InputError(f"initial: expected an input at least to be left for step, found all that the model has: {names}")
    found = executor.streams({n: (None, *array.shape[1:]) for n, array in arrays.items()}, max_steps)
    if found.problems:
        raise UnsupportedError(f"{executor.source} as a stream", found.problems)
    if initial is None and not found.wanted:
        return found, Begun({}, {}, {}, max_steps)
    with reading("initial"):
        begun = executor.begin(found, [arrays[n] for n in sorted(arrays)], rows)
    return found, begun._replace(states={**begun.states, **given_states(executor, found, begun, states, rows)})


def told_apart(executor: BaseExecutor, initial: Any) -> tuple[dict[int, Any], dict[str, Any]]:
    """What ``initial`` has of inputs, by their numbers, and of states, by their keys."""
    if initial is None:
        return {}, {}
    numbers = {info.name: n for n, info in enumerate(executor.inputs)}
    carried = list(carrying(executor.network))
    states = [key for layer in carried for key in keys_of(layer.path, layer.state_names())]
    paths = {layer.path for layer in carried}  # which states these have in a stream is known later
    if not isinstance(initial, Mapping):
        raise InputError(f"initial: expected {known_keys(numbers, states)}, found {told(initial)}")
    with reading("initial"):
        given = dict(initial)
    for key in given:
        if not isinstance(key, str) or (key not in numbers and key.rpartition("/")[0] not in paths):
            raise InputError(f"initial: expected {known_keys(numbers, states)}, found {told(key)}")
    held = {numbers[key]: value for key, value in given.items() if key in numbers}
    return held, {key: value for key, value in given.items() if key not in numbers}


def known_keys(inputs: Iterable[str], states: Iterable[str]) -> str:
    """What ``initial`` may be, for people."""
    return f"a dict by names of inputs ({', '.join(inputs)}) or of states ({', '.join(states) or 'none'})"


def held_input(info: TensorInfo, value: Any, rows: int) -> np.ndarray:
    """An input that is given for a whole stream."""
    with reading(f"initial[{info.name!r}]"):
        array = cast(value, replace(info, shape=(None, *info.shape[1:])))
    if len(array) != rows:
        raise InputError(f"initial[{info.name!r}]: expected batch_size={rows} rows, found {len(array)}")
    return array


def given_states(
    executor: SteppingExecutor, found: Streams, begun: Begun, given: Mapping[str, Any], rows: int
) -> dict[str, tuple[np.ndarray | float, ...]]:  # fmt: skip
    """The first states of layers of which some are given by their keys."""
    keys = {path: keys_of(path, found.names[path]) for path in found.carried}
    for key in given:
        if not any(key in own for own in keys.values()):
            known = ", ".join(key for own in keys.values() for key in own) or "none"
            raise InputError(f"initial: expected states that timesteps change ({known}), found {key!r}")
    firsts: dict[str, tuple[np.ndarray | float, ...]] = {}
    for path, shapes in found.carried.items():
        if any(key in given for key in keys[path]):
            others = begun.states.get(path, (0.0,) * len(shapes))
            firsts[path] = tuple(
                loaded_state(given[key], f"initial[{key!r}]", (rows, *shape), executor.dtype) if key in given else other
                for key, shape, other in zip(keys[path], shapes, others, strict=True)
            )
    return firsts


def loaded_state(value: Any, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A state that a caller gives."""
    found = as_array(value, name, shape)
    if found.shape != shape or found.dtype.kind not in "fiu":
        wanted = f"numbers of shape {shape_text(shape)}"
        raise InputError(f"{name}: expected {wanted}, found {found.dtype} {shape_text(found.shape)}")
    with reading(name), np.errstate(over="ignore"):  # beyond float32 is inf
        return np.array(found, dtype, order="C")


def keys_of(path: str, names: Iterable[str]) -> list[str]:
    """What the states of a layer are called outside: "lstm/h"."""
    return [f"{path}/{name}" for name in names]


def some_rows(held: Mapping[Held, Tensor], numbers: np.ndarray) -> dict[Held, Tensor]:
    """Some rows of what a stream holds."""
    return {one: Tensor(value[numbers], None if mask is None else mask[numbers]) for one, (value, mask) in held.items()}


def overlaps_itself(array: np.ndarray) -> bool:
    """May two elements of an array, made with strides by hand, lie in one place?"""
    extent = array.itemsize
    for stride, size in sorted((abs(stride), size) for stride, size in zip(array.strides, array.shape, strict=True) if size > 1):
        if stride < extent:
            return True
        extent += stride * (size - 1)
    return False


def one_step(info: TensorInfo, sequence: bool) -> TensorInfo:
    """An input of one timestep, without its time axis if it is a sequence."""
    return replace(info, shape=(None, *info.shape[2 if sequence else 1 :]))


def any_steps(info: TensorInfo, sequence: bool) -> TensorInfo:
    """An input of any number of timesteps."""
    return replace(info, shape=(None, None, *info.shape[2:]) if sequence else (None, *info.shape[1:]))
