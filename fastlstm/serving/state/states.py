"""A sequence, and a request of it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from ...stream import Stream
from ..models.served import Served
from .timesteps import Form

NUMBERS = itertools.count()


class State:
    """One sequence: a Stream, or a key of Streams. As long as there is one of a version, that version stays."""

    __slots__ = ("computed", "dropped", "key", "lost", "number", "served", "steps", "stream", "used", "waiting")

    def __init__(self, key: Hashable, served: Served, now: float, dropped: Callable[[str], None] | None = None):
        self.key, self.served, self.used, self.dropped = key, served, now, dropped
        self.number = next(NUMBERS)  # what Streams call it
        self.stream: Stream | None = None  # its own; None: it is a row of Streams, or nothing yet
        self.waiting = 0  # its steps that are not computed yet
        self.steps = 0  # timesteps since it began
        self.computed = False  # has it had a timestep?
        self.lost = ""  # why it cannot go on


class Step:
    """What one request asks for: a timestep or several, or something else of its state."""

    __slots__ = ("call", "end", "error", "form", "future", "length", "state", "values", "y")

    def __init__(self, state: State, values: Mapping[str, np.ndarray], form: Form, end: bool, call: Callable[[], Any] | None = None):
        self.state, self.values, self.form, self.end, self.call = state, values, form, end, call
        self.length = form[0] or 1
        self.future: asyncio.Future[Any] | None = None
        self.y: Any = None
        self.error: Exception | None = None


def must_start(key: Hashable, model: str, reason: str) -> str:
    """Triton's words for a sequence that has no state; and why it has none any more, where that is known."""
    said = f"inference request for sequence {key} to model '{model}' must specify the START flag on the first request of the sequence"
    return f"{said}; {reason}" if reason else said


def settle(step: Step, found: Any) -> None:
    """Tell whoever waits for a step."""
    if step.future is None or step.future.done():  # the client has gone
        return
    if isinstance(found, Exception):
        step.future.set_exception(found)
    else:
        step.future.set_result(found)
