"""A bar on standard error, for what lasts over a second: predictions part by part, and all other work that says how far it is."""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from .. import watching
from ..batch.files import mapped
from ..batches import KERAS_BATCH
from ..model import Model
from .arrayfiles import Rows
from .terminal import one_line

if TYPE_CHECKING:
    from ..batch.jobs import job as jobs

#: Predictions expected to take less than this show no bar.
LONG_SECONDS = 1.0
#: A part takes about this long: often enough for a bar that moves, seldom enough to cost nothing.
PART_SECONDS = 0.25
FIRST_PART = 64
WIDTH = 30
#: The bar of other work is drawn so often.
TICK_SECONDS = 0.2
#: Takes the cursor to the start of its line, and what stands there away.
ERASE = "\r\x1b[K"


class Bar:
    """How far work is, in a line of a terminal that is gone when the work is done.

    A thread draws it, as work that holds no counter takes long too: a file that is read, a library that is imported.
    """

    def __init__(self, what: str, stream: TextIO):
        self._what = what
        self._stream = stream
        self._done, self._of = 0, 0
        self._start = time.monotonic()
        self._ended = threading.Event()
        self._shown = False
        self._thread = threading.Thread(target=self._run, name="bar", daemon=True)

    def tell(self, what: str, done: int, of: int) -> None:
        """Say how far it is; see :func:`fastlstm.watching.tell`."""
        self._what, self._done, self._of = what, done, of

    def begin(self) -> None:
        """Start to draw, once it takes long."""
        self._thread.start()

    def end(self) -> None:
        """Take the bar away."""
        self._ended.set()
        self._thread.join()
        if self._shown:
            _draw_text(self._stream, ERASE)

    def _run(self) -> None:
        if self._ended.wait(LONG_SECONDS):
            return
        self._shown = True
        while True:
            line = self._line()[: shutil.get_terminal_size().columns - 1]
            _draw_text(self._stream, ERASE + line)
            if self._ended.wait(TICK_SECONDS):
                return

    def _line(self) -> str:
        seconds = f"{time.monotonic() - self._start:.0f} s"
        if not self._of:
            return f"{self._what}, {seconds}"
        filled = WIDTH * self._done // self._of
        return f"{100 * self._done // self._of:3d}% [{'#' * filled}{'.' * (WIDTH - filled)}] {self._what}, {seconds}"


class RowBar(Bar):
    """A bar of rows: how many are done, how fast, and how long it will take."""

    def __init__(self, what: str, stream: TextIO):
        super().__init__(what, stream)
        self._file = ""
        self._at: jobs.Progress | None = None
        self._since, self._earlier = self._start, 0  # of this file; rows of those before it

    def rows(self, progress: jobs.Progress) -> None:
        """Say how far a job is."""
        if self._at is not None and self._at.name != progress.name:
            self._since, self._earlier = time.monotonic(), self._earlier + self._at.rows - self._at.begun
        self._at = progress

    def files(self, done: int, of: int) -> None:
        """Say which file it is at."""
        self._file = f"file {done + 1} of {of}, "

    def _line(self) -> str:
        at = self._at
        if at is None:
            return super()._line()
        now = time.monotonic()
        here = at.rows - at.begun
        rate = (self._earlier + here) / max(now - self._start, 1e-9)
        text = f"{self._file}{one_line(at.name)}, {at.rows:,} rows, {rate:,.0f} a second"
        if at.fraction is None:
            return text
        filled = int(WIDTH * at.fraction)
        total = at.rows / at.fraction if at.fraction else 0  # what it is about to have
        left = (total - at.rows) * (now - self._since) / here if here else 0
        return f"{int(100 * at.fraction):3d}% [{'#' * filled}{'.' * (WIDTH - filled)}] {text}, {duration(left)} left"


def duration(seconds: float) -> str:
    """A time as people say it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


@contextmanager
def of_rows(what: str, stream: TextIO | None) -> Iterator[RowBar | None]:
    """While it lasts, a bar of rows, if the stream is a terminal; None: nowhere."""
    if stream is None or not stream.isatty():
        yield None
        return
    with _own(stream) as drawn:
        bar = RowBar(what, drawn)
        bar.begin()
        try:
            yield bar
        finally:
            bar.end()


@contextmanager
def shown(what: str, stream: TextIO | None) -> Iterator[None]:
    """While it lasts, show a bar of the work inside.

    Parameters
    ----------
    what
        What the work is, until it says so itself.
    stream
        Where the bar is drawn, if that is a terminal; None: nowhere.
    """
    if stream is None or not stream.isatty():
        yield
        return
    with _own(stream) as drawn:
        bar = Bar(what, drawn)
        bar.begin()
        try:
            with watching.watched(bar.tell):
                yield
        finally:
            bar.end()


@contextmanager
def _own(stream: TextIO) -> Iterator[TextIO]:
    """The same terminal, but that nobody silences it: see ``fastlstm.bench.engines.silent``."""
    try:
        descriptor = os.dup(stream.fileno())
    except OSError:  # no file, as in a notebook
        yield stream
        return
    with open(descriptor, "w", encoding=stream.encoding, errors="backslashreplace") as own:
        yield own


def predict(model: Model, inputs: Sequence[Rows], stream: TextIO | None = None) -> dict[str, Rows]:
    """``model.predict`` of all rows; where that takes long and ``stream`` is a terminal, with a bar there.

    Returns
    -------
    dict
        By output name: an array, or a list of arrays where the rows differ in length.
    """
    return joined(model, parts(model, inputs, stream))


def joined(model: Model, made: Iterator[dict[str, Rows]]) -> dict[str, Rows]:
    """What :func:`parts` gives, as :func:`predict` gives it."""
    found = list(made)
    return {info.name: _join([part[info.name] for part in found]) for info in model.outputs}


def parts(model: Model, inputs: Sequence[Rows], stream: TextIO | None = None) -> Iterator[dict[str, Rows]]:
    """The same, some rows at a time, in order; pages of a mapped file are given back."""
    stream = stream or sys.stderr or io.StringIO()  # a process can be started without standard error
    rows = len(inputs[0])
    # A stateful model takes whole batches; rows that depend on each other stay together.
    step = model.inputs[0].shape[0] or (KERAS_BATCH if model.executor.crosses_rows else 1)
    size = rows if model.executor.all_at_once else -(-FIRST_PART // step) * step
    start = time.perf_counter()
    done, begun, shown = 0, False, False
    try:
        while done < rows or not begun:
            begin, begun = time.perf_counter(), True
            part = [x[done : done + size] for x in inputs]
            made = _as_list(model, model.predict(part[0] if len(part) == 1 else part))
            for x in inputs:
                mapped.release(x)
            yield {info.name: made[number] for number, info in enumerate(model.outputs)}
            done = min(done + size, rows)
            now = time.perf_counter()
            size = min(4 * size, max(1, int(size * PART_SECONDS / max(now - begin, 1e-9))))
            size = -(-size // step) * step
            if stream.isatty() and done and (shown or (now - start) * rows / done > LONG_SECONDS):
                shown = True
                _draw(stream, done, rows, now - start)
    finally:  # what is said of a failure begins a line of its own
        if shown:
            _draw_text(stream, "\n")


def _as_list(model: Model, y: Any) -> list[Rows]:
    if model.spec.output_kind == "dict":
        return [y[info.name] for info in model.outputs]
    return list(y) if model.spec.output_kind == "list" else [y]


def _join(parts: Sequence[Rows]) -> Rows:
    if isinstance(parts[0], list):
        return [row for part in parts for row in part]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _draw(stream: TextIO, done: int, rows: int, seconds: float) -> None:
    filled = WIDTH * done // rows
    left = seconds * (rows - done) / done
    bar = f"[{'#' * filled}{'.' * (WIDTH - filled)}]"
    _draw_text(stream, f"\r{100 * done // rows:3d}% {bar} {done:,}/{rows:,} rows, {left:.0f} s left ")


def _draw_text(stream: TextIO, text: str) -> None:
    with suppress(OSError):  # a terminal that went away is no reason to lose what is computed
        stream.write(text)
        stream.flush()
