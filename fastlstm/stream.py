"""Stream: a model's state outside the model, advanced one timestep, or a few, at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from . import runtime
from .errors import InputError, UnsupportedError
from .executor import Executor, as_returned, flat
from .inputs import TensorInfo, as_array, gather, positive, reading, shape_text, told, unreadable
from .layers.base import carrying
from .layers.streaming import is_sequence, streams

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_ROWS = 1 << 40


class Streamed(Protocol):
    """The part of a Model that a Stream needs."""

    executor: Executor

    @property
    def name(self) -> str: ...


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

    def __init__(self, model: Streamed, batch_size: int = 1):
        executor = model.executor
        rows = positive(batch_size, "batch_size", most=MOST_ROWS)
        found = streams(executor.network)
        if found.problems:
            raise UnsupportedError(f"{executor.source} as a stream", found.problems)
        self.model = model
        self.batch_size = rows
        self._executor = executor
        self._sequence = [is_sequence(info.shape, info.vocabulary) for info in executor.inputs]
        self._merging = found.merges
        self._per_step = list(found.outputs)
        self._names = {layer.path: layer.state_names() for layer in carrying(executor.network)}
        with reading("batch_size"):
            self._states = executor.zero_states(executor.carried, rows)
        self._step_infos = tuple(map(one_step, executor.inputs, self._sequence))
        self._guard = runtime.Guard()
        self._fast_path = executor.fast_step(
            self._step_infos, rows, self._states, self._guard, sequence=self._sequence[0], per_step=self._per_step[0]
        )
        self._own = frozenset((*vars(self), "_own"))  # what a copy makes anew; a subclass may have more

    # -- advancing --------------------------------------------------------------------------------------------------------

    def _step(self, x_t: Any, rows: Any, out: np.ndarray | None) -> Any:
        """:meth:`step` where what is given does not fit the fast path, or only some rows advance."""
        given = gather(x_t, self._step_infos, "x_t")
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
        infos = tuple(map(any_steps, self._executor.inputs, self._sequence))
        given = gather(chunk, infos, "chunk")
        if not isinstance(given, list):
            raise InputError("chunk: expected an array, found a list of sequences")
        lengths = {x.shape[1] for x, sequence in zip(given, self._sequence, strict=True) if sequence}
        if self._merging and len(lengths) > 1:
            found = " and ".join(map(str, sorted(lengths)))
            raise InputError(f"chunk: expected as many timesteps of each input, as the model merges them, found {found}")
        return as_returned(self._executor.spec, self._advance(given, rows, "chunk"))

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
            outputs = self._executor.advance(arrays, states)
            runtime.replace(flat(self._states), flat(states), which)
            return outputs


def _begun(kind: type[Stream], model: Streamed, batch_size: int) -> Stream:
    """A new Stream, for ``copy`` and ``pickle``; a subclass's ``__init__`` may ask for other arguments."""
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


def one_step(info: TensorInfo, sequence: bool) -> TensorInfo:
    """An input of one timestep, without its time axis if it is a sequence."""
    return replace(info, shape=(None, *info.shape[2 if sequence else 1 :]))


def any_steps(info: TensorInfo, sequence: bool) -> TensorInfo:
    """An input of any number of timesteps."""
    return replace(info, shape=(None, None, *info.shape[2:]) if sequence else (None, *info.shape[1:]))
