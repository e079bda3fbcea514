"""Streams: a state for each of many keys, which come and go; rows of any of them are advanced together."""

from __future__ import annotations

import itertools
import operator
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import runtime
from ..errors import InputError
from ..inputs import positive, reading, told
from ..model import Model
from ..pipeline import Pipeline
from ..stream import MOST_ROWS, Stream
from .predictor import Predictor

#: Rows that are kept although few of them are in use: below, moving them to less memory is not worth it.
FEW = 64
PLAIN = {str, int}  # keys of these equal themselves
States = dict[str, np.ndarray]


class Streams:
    """Streams by key: a state for each machine, customer or connection, one timestep after another, of many of them in one call.

    A key that is new begins a sequence. Where a key comes more than once in a call, its rows are its timesteps, in order.

    Threads take turns. Pickled or copied, Streams go on from the same states on their own; those of a path take the path along, those
    of a Model the Model.

    Parameters
    ----------
    model
        A path to a model or pipeline, which is loaded once a process; or a :class:`fastlstm.Model` or :class:`fastlstm.Pipeline`.
    limit
        The most keys at once. A call that would begin more is refused, and changes nothing.
    idle
        Seconds after which a key that has had no timestep is forgotten, in the next call: it begins anew if it comes again.
    max_steps
        As for :meth:`fastlstm.Model.stream`: how many timesteps a sequence has at most, where the model keeps all of them.
    clock
        Tells the time, in seconds, that ``idle`` goes by.
    **loading
        For :func:`fastlstm.load`, where ``model`` is a path: ``threads=2``.

    Raises
    ------
    InputError, UnsupportedError
        As for :meth:`fastlstm.Model.stream`, or if an argument is none of these.

    Examples
    --------
    >>> from fastlstm.batch import Streams
    >>> streams = Streams(fastlstm.demo.MODEL)
    >>> y = streams.step(["a", "b"], [[0.1], [0.5]])
    >>> y = streams.step(["b"], [[0.6]])
    >>> same = fastlstm.load(fastlstm.demo.MODEL).predict([[[0.5], [0.6]]])
    >>> np.allclose(y, same, atol=1e-6)
    True
    >>> other = Streams(fastlstm.demo.MODEL)  # perhaps in another process
    >>> other.load_state("b", streams.state("b"))
    >>> np.array_equal(other.step(["b"], [[0.7]]), streams.step(["b"], [[0.7]]))
    True
    >>> streams.forget(["a"])
    >>> list(streams)
    ['b']
    """

    def __init__(
        self, model: str | os.PathLike[str] | Model[Any] | Pipeline, *, limit: int | None = None, idle: float | None = None,
        max_steps: int | None = None, clock: Callable[[], float] = time.monotonic, **loading: Any,
    ):  # fmt: skip
        self._given, self._loading = model, loading
        self.model: Model[Any] | Pipeline = given_model(model, loading)
        self.limit = None if limit is None else positive(limit, "limit", most=MOST_ROWS)
        self.idle = None if idle is None else seconds(idle, "idle")
        self.clock, self._max_steps = clock, max_steps
        self._turn = runtime.Turns("this Streams")
        self._stream = self._of_rows(1)
        self._apart: Stream | None = None
        self._several = len(network(self.model).inputs) > 1
        self._rows: OrderedDict[Hashable, int] = OrderedDict()  # those that were used longest ago come first
        self._used: dict[Hashable, float] = {}
        self._free = [0]

    # -- advancing --------------------------------------------------------------------------------------------------------

    def step(self, keys: Iterable[Hashable], x: Any) -> Any:
        """Advance by a timestep for each row.

        Parameters
        ----------
        keys
            Of each row: a list, an array or a column. Rows of one key are timesteps of its sequence, the first one first.
        x
            (rows, features), or ids (rows,), as for :meth:`fastlstm.Stream.step`; several inputs: a list or a dict by name.

        Returns
        -------
        numpy.ndarray, list or dict
            The model's outputs after each of these timesteps, (rows, units) each; those of a pipeline as its ``predict`` returns them.

        Raises
        ------
        InputError
            If keys or data do not fit, or there is no room for more keys. All states are then as they were.
        """
        names = listed(keys)
        with self._turn:
            rows = self._known(names)
            if rows is None:
                return self._step_any(names, x)
            y = self._stepped(names, rows, x)
            self._note(names, self.clock())
            return y

    def _known(self, names: Sequence[Hashable]) -> list[int] | None:
        """The rows of keys; None if one of them is new, or comes twice."""
        if self.idle is not None:
            self._forget_idle(self.clock())
        rows = [self._rows.get(name, -1) for name in names]
        return rows if len(set(rows)) == len(rows) and -1 not in rows else None

    def _stepped(self, names: Sequence[Hashable], rows: list[int], x: Any) -> Any:
        try:
            return self._stream.step(x, rows=None if len(rows) == self._stream.batch_size and ascending(rows) else rows)
        except InputError:
            self._some(x, np.arange(0), len(names))  # says it in terms of keys, if it is the number of rows
            raise

    def _step_any(self, names: Sequence[Hashable], x: Any) -> Any:
        """:meth:`step` where keys are new, or come more than once."""
        with self._advancing(names) as rows:
            if len(set(names)) == len(names):
                return self._stepped(names, rows.tolist(), x)
            first, own = np.unique(rows, return_inverse=True)
            turns = turns_of(own)
            apart = self._copied(first)  # whole turns of it are cheaper, and where one fails, nothing has changed
            parts = []
            for turn in turns:
                some = self._some(x, turn, len(names))
                parts.append(apart.step(some, rows=None if len(turn) == len(first) else own[turn]))
            self._stream.load_state(apart.state, rows=first)
        return in_order(parts, np.concatenate(turns))

    def feed(self, keys: Iterable[Hashable], chunk: Any) -> Any:
        """Advance by several timesteps, as many for each key.

        Parameters
        ----------
        keys
            Of each row, each once.
        chunk
            (rows, timesteps, features), or ids (rows, timesteps), as for :meth:`fastlstm.Stream.feed`.

        Returns
        -------
        numpy.ndarray, list or dict
            As :meth:`fastlstm.Stream.feed`: of every timestep where the model has outputs for each, else of the last one.

        Raises
        ------
        InputError
            As for :meth:`step`.
        """
        names = listed(keys)
        if len(set(names)) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise InputError(f"keys: expected each key once, found {told(twice)} twice; step takes several rows of one key")
        with self._turn, self._advancing(names) as rows:
            return self._stream.feed(chunk, rows=rows)

    @contextmanager
    def _advancing(self, names: Sequence[Hashable]) -> Iterator[np.ndarray]:
        """The rows of those keys, which begin if they are new; where the call fails, all is as it was."""
        now = self.clock()
        self._forget_idle(now)
        new = [name for name in dict.fromkeys(names) if name not in self._rows]
        self._begin(new)
        try:
            rows = np.array([self._rows[name] for name in names], np.intp)
            yield rows
        except BaseException:
            self._let_go(new)
            raise
        self._note(names, now)

    def _note(self, names: Iterable[Hashable], now: float) -> None:
        """Note that keys have had a timestep."""
        for name in names:
            self._rows.move_to_end(name)
            self._used[name] = now

    def _copied(self, rows: np.ndarray) -> Stream:
        """A stream of the states of some rows alone."""
        if self._apart is None or self._apart.batch_size != len(rows):
            self._apart = self._of_rows(len(rows))
        self._apart.load_state(self._stream.state_of(rows))
        return self._apart

    def _some(self, x: Any, which: np.ndarray, rows: int) -> Any:
        """Some rows of what is given."""
        if isinstance(x, Mapping):
            return {name: some(value, which, rows) for name, value in x.items()}
        if self._several and isinstance(x, (list, tuple)):
            return [some(value, which, rows) for value in x]
        return some(x, which, rows)

    # -- keys -------------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self) -> Iterator[Hashable]:
        with self._turn:
            return iter(list(self._rows))

    def forget(self, keys: Iterable[Hashable]) -> None:
        """Drop the states of keys; those that are not known are passed over.

        Parameters
        ----------
        keys
            A list, an array or a column.
        """
        names = listed(keys)
        with self._turn:
            self._let_go([name for name in dict.fromkeys(names) if name in self._rows])
            self._shrink()

    def evict(self, idle: float | None = None) -> dict[Hashable, States]:
        """Forget the keys that have had no timestep for some time.

        Parameters
        ----------
        idle
            Seconds; None: those that the Streams were made with.

        Returns
        -------
        dict
            By key the state that each had reached, as :meth:`state` gives it, to be kept elsewhere.

        Raises
        ------
        InputError
            If neither this call nor the Streams say how long.
        """
        wanted = self.idle if idle is None else seconds(idle, "idle")
        if wanted is None:
            raise InputError("idle: expected a number of seconds, as Streams(idle=...) was not given, found None")
        with self._turn:
            names = self._idle(self.clock(), wanted)
            found = dict(zip(names, self._states(names), strict=True))
            self._let_go(names)
            self._shrink()
            return found

    # -- states -----------------------------------------------------------------------------------------------------------

    def state(self, key: Hashable) -> States:
        """The state of a key, as :attr:`fastlstm.Stream.state` of a stream of one row.

        Parameters
        ----------
        key
            One that is known.

        Raises
        ------
        InputError
            If it is not.
        """
        with self._turn:
            self._forget_idle(self.clock())
            if key not in self._rows:
                raise InputError(f"key: expected one that has had a timestep, found {told(key)}")
            return self._states([key])[0]

    def state_bytes(self, key: Hashable) -> bytes:
        """The same as bytes, for a database or the state of a streaming job: a safetensors file.

        Parameters
        ----------
        key
            One that is known.

        Raises
        ------
        InputError
            If it is not.
        """
        from safetensors.numpy import save

        return save(self.state(key))

    def load_state(self, key: Hashable, state: Mapping[str, Any] | bytes | bytearray | memoryview) -> None:
        """Go on with a key from a state, known or not.

        Parameters
        ----------
        key
            The state's.
        state
            What :meth:`state`, :meth:`state_bytes`, :meth:`evict` or :attr:`fastlstm.Stream.state` gave of the same model.

        Raises
        ------
        InputError
            If it does not fit, or there is no room for more keys; all states are then as they were.
        """
        given = unpacked(state) if isinstance(state, (bytes, bytearray, memoryview)) else state
        with self._turn, self._advancing(listed([key])) as rows:
            self._stream.load_state(given, rows=rows)

    def _states(self, names: Sequence[Hashable]) -> list[States]:
        """Of each of some keys, (1, ...) each."""
        together = self._stream.state_of([self._rows[name] for name in names])
        return [{path: array[n : n + 1].copy() for path, array in together.items()} for n in range(len(names))]

    def __getstate__(self) -> dict[str, Any]:
        with self._turn:
            now, names = self.clock(), list(self._rows)
            return {
                "model": self._given, "loading": self._loading, "limit": self.limit, "idle": self.idle, "max_steps": self._max_steps,
                "clock": self.clock, "keys": names, "ages": [now - self._used[name] for name in names],
                "states": self._stream.state_of([self._rows[name] for name in names]),
            }  # fmt: skip

    def __setstate__(self, given: Mapping[str, Any]) -> None:
        options = {name: given[name] for name in ("limit", "idle", "max_steps", "clock")}
        Streams.__init__(self, given["model"], **options, **given["loading"])
        self._begin(given["keys"])
        self._stream.load_state(given["states"], rows=list(self._rows.values()))
        now = self.clock()
        self._used = {name: now - age for name, age in zip(given["keys"], given["ages"], strict=True)}

    def __repr__(self) -> str:
        return f"<fastlstm.batch.Streams of {network(self.model).name!r}, {len(self)} keys>"

    # -- rows -------------------------------------------------------------------------------------------------------------

    def _of_rows(self, rows: int) -> Stream:
        return self.model.stream(rows, max_steps=self._max_steps)

    def _begin(self, names: Collection[Hashable]) -> None:
        """Give rows, in their first state, to keys that are new."""
        if not names:
            return
        count = len(self._rows) + len(names)
        if self.limit is not None and count > self.limit:
            advice = "forget some (Streams.forget, Streams.evict), or give a larger limit"
            raise InputError(f"keys: expected no more than limit={self.limit} at once, found {count}; {advice}")
        if len(names) > len(self._free):
            self._move(max(count, 2 * self._stream.batch_size))
        rows = [self._free.pop() for _ in names]
        self._stream.reset(rows=rows)
        now = self.clock()
        for name, row in zip(names, rows, strict=True):
            self._rows[name], self._used[name] = row, now

    def _let_go(self, names: Iterable[Hashable]) -> None:
        for name in names:
            self._free.append(self._rows.pop(name))
            del self._used[name]

    def _idle(self, now: float, idle: float) -> list[Hashable]:
        found = []
        for name in self._rows:
            if now - self._used[name] <= idle:
                break
            found.append(name)
        return found

    def _forget_idle(self, now: float) -> None:
        if self.idle is not None:
            self._let_go(self._idle(now, self.idle))

    def _shrink(self) -> None:
        """Give memory back once most of it is unused."""
        if self._stream.batch_size > FEW and 4 * len(self._rows) < self._stream.batch_size:
            self._move(max(2 * len(self._rows), 1))

    def _move(self, rows: int) -> None:
        """To a stream of so many rows."""
        stream = self._of_rows(rows)
        stream.load_state(self._stream.state_of(list(self._rows.values())), rows=range(len(self._rows)))
        self._stream = stream
        self._rows = OrderedDict((name, row) for row, name in enumerate(self._rows))
        self._free = list(range(rows - 1, len(self._rows) - 1, -1))


# -- arguments ---------------------------------------------------------------------------------------------------------------


def given_model(model: Any, loading: Mapping[str, Any]) -> Model[Any] | Pipeline:
    """What the caller gave, loaded if it is a path."""
    if isinstance(model, (str, os.PathLike)):
        return Predictor(model, **loading).model
    if not isinstance(model, (Model, Pipeline)):
        raise InputError(f"model: expected a path, a fastlstm.Model or a fastlstm.Pipeline, found {told(model)}")
    if loading:
        raise InputError(f"{next(iter(loading))}: expected no such argument, as the model is loaded already; give it to fastlstm.load")
    return model


def network(model: Model[Any] | Pipeline) -> Model[Any]:
    """The model alone."""
    return model.model if isinstance(model, Pipeline) else model


def seconds(value: Any, name: str) -> float:
    """A span of time."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)) or not value >= 0:
        raise InputError(f"{name}: expected a number of seconds, found {told(value)}")
    return float(value)


def listed(keys: Any) -> list[Hashable]:
    """Keys as Python's own objects, of which equal ones are one key."""
    if type(keys) is list and set(map(type, keys)) <= PLAIN:
        return keys
    if isinstance(keys, (str, bytes, Mapping)) or not isinstance(keys, Iterable):
        raise InputError(f"keys: expected a list of keys, found {told(keys)}")
    with reading("keys", "a list of keys"):
        for method in ("tolist", "to_pylist", "to_list"):  # of NumPy and pandas, of Arrow, of polars
            if hasattr(keys, method):
                found = getattr(keys, method)()
                break
        else:
            found = list(keys)
    if not isinstance(found, list):
        raise InputError(f"keys: expected a list of keys, found {told(keys)}")
    for n, name in enumerate(found):
        if not isinstance(name, (str, int)):  # all others are asked
            try:
                one = name is not None and name == name and hash(name) is not None
            except (TypeError, ValueError):  # lists, arrays, pandas.NA
                one = False
            if not one:
                raise InputError(f"keys[{n}]: expected what can be a key of a dict, and equals itself, found {told(name)}")
    return found


def ascending(rows: Sequence[int]) -> bool:
    """Are these the numbers 0, 1, 2, ...?"""
    return all(map(operator.eq, rows, itertools.count()))


def turns_of(own: np.ndarray) -> list[np.ndarray]:
    """Of the number that each place has: the first places of all numbers, their second places, ..., each by number."""
    by_number = np.argsort(own, kind="stable")
    counts = np.bincount(own)
    nth = np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)
    by_turn = np.argsort(nth, kind="stable")
    return np.split(by_number[by_turn], np.cumsum(np.bincount(nth))[:-1])


def some(value: Any, which: np.ndarray, rows: int) -> Any:
    """Some rows of an input."""
    with reading("x_t"):
        array = np.asarray(value)
    if array.ndim < 1 or len(array) != rows:
        raise InputError(f"x_t: expected {rows} rows, one for each of keys, found {len(array) if array.ndim else told(value)}")
    return array[which]


def in_order(parts: Sequence[Any], numbers: np.ndarray) -> Any:
    """Outputs of several calls as those of one, whose rows have those numbers."""
    first = parts[0]
    if isinstance(first, np.ndarray):
        joined = np.concatenate(parts)
        result = np.empty_like(joined)
        result[numbers] = joined
        return result
    if isinstance(first, Mapping):
        return {name: in_order([part[name] for part in parts], numbers) for name in first}
    columns = [in_order(column, numbers) for column in zip(*parts, strict=True)]
    return columns if isinstance(first, list) else type(first)(*columns)  # the labels of a pipeline


def unpacked(state: bytes | bytearray | memoryview) -> States:
    """What ``state_bytes`` packed."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(bytes(state))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"state: expected the bytes that Streams.state_bytes gave, found {len(state)} others: {error}") from error
