"""Where the states of sequences are: rows of one Streams, or a Stream for each.

A Stream of its own takes a timestep in a tenth of the time that a row among others takes, and some 5 kB more than the row. Rows are for
models whose timesteps are better computed together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ...batch.streams import Streams, network, unpacked
from ...inputs import TensorInfo
from ...model import Model
from ...pipeline import Pipeline
from ...stream import Stream
from .states import State
from .timesteps import Form, zeros

#: Rows by which is measured what a row costs among others; how often it is, and for how long, as a busy machine makes most times too long.
TRIED, MOST_TRIES, MEASURED = 16, 50, 0.02
#: Streams that are kept for sequences to come: to make one takes as long as a hundred timesteps.
SPARE = 64
#: How layers run that do not fail halfway.
SURE = frozenset({"native", "folded", "no work"})


class Kept:
    """The states of sequences of one model. Its sequences say, of each state, that one thread at a time uses it.

    Parameters
    ----------
    model
        The model.
    max_steps
        As for :meth:`fastlstm.Model.stream`.
    """

    def __init__(self, model: Model[Any] | Pipeline, max_steps: int | None):
        self.model, self.max_steps = model, max_steps
        self.rows = Streams(model, max_steps=max_steps)
        self.apart = False  # does a state that begins get a Stream of its own?
        # Where a layer runs in Python, and may fail after others have advanced, a row is computed as a copy.
        self._may_be_apart = all(layer.runs in SURE for layer in network(model).layers)
        self._apart: dict[int, Stream] = {}
        self._spare: list[Stream] = []

    def __len__(self) -> int:
        return len(self.rows) + len(self._apart)

    def prefer(self, *, apart: bool) -> None:
        """Say what states that begin from now on get."""
        self.apart = apart and self._may_be_apart

    def advance(self, states: Sequence[State], x: Any, form: Form) -> Any:
        """What the model gives after a timestep, or several, of each state, a row of ``x`` each; where it fails, all are as they were.

        Several states have to be rows.
        """
        step = form[0] is None
        if len(states) > 1 or not self._is_apart(states[0]):
            return (self.rows.step if step else self.rows.feed)([state.number for state in states], x)
        stream = self._stream(states[0])
        try:
            return stream.step(x) if step else stream.feed(x)
        except BaseException:
            if not states[0].computed:
                self.forget(states)
            raise

    def together(self, states: Sequence[State]) -> bool:
        """Can these states advance in one call?"""
        return not any(map(self._is_apart, states))

    def _is_apart(self, state: State) -> bool:
        return state.stream is not None or (self.apart and not state.computed)

    def _stream(self, state: State) -> Stream:
        if state.stream is None:
            try:
                state.stream = self._spare.pop()
            except IndexError:
                state.stream = self.model.stream(1, max_steps=self.max_steps)
            self._apart[state.number] = state.stream
        return state.stream

    def forget(self, states: Sequence[State]) -> None:
        """Drop states, which begin anew if they are advanced again."""
        rows = [state.number for state in states if state.stream is None]
        if rows:
            self.rows.forget(rows)
        for state in states:
            stream, state.stream = state.stream, None
            if stream is not None:
                del self._apart[state.number]
                if len(self._spare) < SPARE and not state.lost:  # of one that is lost, a thread may still compute
                    stream.reset()
                    self._spare.append(stream)

    def state_bytes(self, state: State) -> bytes:
        """What a state has reached, as :meth:`fastlstm.batch.Streams.state_bytes`."""
        if state.stream is None:
            return self.rows.state_bytes(state.number)
        from safetensors.numpy import save

        return save(state.stream.state)

    def load_state(self, state: State, given: bytes) -> None:
        """Have a state be what :meth:`state_bytes` gave.

        Raises
        ------
        InputError
            If it does not fit. The state is as it was.
        """
        if not self._is_apart(state):
            self.rows.load_state(state.number, given)
            return
        found = unpacked(given)
        try:
            self._stream(state).load_state(found)
        except BaseException:
            if not state.computed:
                self.forget([state])
            raise

    def costs(self, infos: Sequence[TensorInfo]) -> tuple[float, float]:
        """Seconds of a timestep, measured: computed alone, and among others; of what fails, or has no room, that it takes forever."""
        streams, alone = Streams(self.model, max_steps=self.max_steps), self.model.stream(1, max_steps=self.max_steps)
        inputs, costs = {info.name: zeros(info) for info in infos}, [math.inf, math.inf]
        calls: list[Callable[[Any], Any]] = [alone.step, lambda x: streams.step(list(range(TRIED)), x)]
        if not self._may_be_apart:  # a key alone is one of others that have a state
            calls[0] = lambda x: streams.step([0], x)
        with suppress(Exception):  # whoever asks for a timestep is told of what is wrong with it
            streams.step(list(range(TRIED + 1)), several(inputs, TRIED + 1))
            for n, rows in enumerate((1, TRIED)):
                x, until = several(inputs, rows), time.perf_counter() + MEASURED
                for _ in range(MOST_TRIES):
                    begun = time.perf_counter()
                    calls[n](x)
                    costs[n] = min(costs[n], (time.perf_counter() - begun) / rows)
                    if begun > until:
                        break
        return costs[0], costs[1]


def several(inputs: Mapping[str, np.ndarray], rows: int) -> Any:
    """So many rows of one, as Streams take them."""
    given = {name: np.repeat(x, rows, axis=0) for name, x in inputs.items()}
    return next(iter(given.values())) if len(given) == 1 else given
