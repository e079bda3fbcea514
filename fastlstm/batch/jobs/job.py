"""One file: read, computed and written a batch at a time; kept in parts where it takes long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from ... import lazy, replacing
from ...errors import FastLSTMError, InputError
from ...records import record
from ..files import kinds, sinks, sources
from ..files.base import Batch, Reading, Sink, Source, length, said, some
from ..predictor import Predictor, raw_inputs
from . import facts
from .parts import Parts
from .planning import Compute, Options, Plan, grouping, planned
from .processes import Here, Pool

if TYPE_CHECKING:
    from .. import sequences
else:
    sequences = lazy.module("fastlstm.batch.sequences")


#: A job that is stopped loses no more than this part of its time.
PARTS = 20


@record(frozen=True)
class Progress:
    """How far a job is.

    Attributes
    ----------
    name : str
        Of what is read.
    rows : int
        Rows of it that are done.
    begun : int
        How many of these an earlier job has done.
    fraction : float or None
        How much of it is done, from 0 to 1, where that is known.
    """

    name: str
    rows: int
    begun: int
    fraction: float | None


@record(frozen=True)
class Done:
    """What a job did.

    Attributes
    ----------
    rows : int
        That were read, also those of an earlier job that this one went on with.
    begun : int
        Those of them that the earlier job has done.
    written : int
        Rows that the output has.
    single_steps : bool
        See Plan.
    """

    rows: int
    begun: int
    written: int
    single_steps: bool = False


Watch = Callable[[Progress], None]


class Job:
    """Files through a model.

    Parameters
    ----------
    predictor
        What computes.
    options
        What else the caller chooses.
    watch
        Told how far it is, after each batch.
    prepare
        For several processes: called in each of them before the model is loaded.
    custom, part
        A file of the caller's functions, and what names a part of the model: what results depend on beside the predictor.
    """

    def __init__(
        self, predictor: Predictor, options: Options, *, watch: Watch | None = None, prepare: Callable[[], Any] | None = None,
        custom: str | None = None, part: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        self.predictor, self.options = predictor, options
        self._watch = watch or (lambda progress: None)
        compute = Compute(predictor)
        self._computing = Here(compute) if options.processes == 1 else Pool(compute, options.processes, prepare)
        self.facts = facts.of_job(predictor, options, custom, part)

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        self._computing.close()

    # -- one file -----------------------------------------------------------------------------------------------------------

    def run(self, path: str, target: str) -> Done:
        """Compute a file.

        Parameters
        ----------
        path
            What is read.
        target
            What is written: it stands there when it is whole.

        Raises
        ------
        InputError
            If something is wrong with either.
        """
        replacing.checked(target, path, self.predictor.path, name="-o")
        kind = kinds.of_path(target, self.options.output_kind, option="--output-format")
        with self.opened(path, kind) as source:
            plan = self.planned(source, kind)
            if not (source.restarts and sinks.joins(kind) and replacing.is_replaced(target)):
                with replacing.writing(target) as stream:
                    return self.pour(source, plan, stream, target, kind)
            return self._in_parts(source, plan, target, kind)

    def opened(self, path: str, output_kind: str) -> Source:
        """The source of a file."""
        kind = kinds.of_path(path, self.options.input_kind, option="--input-format")
        return sources.opened(path, kind, self.reading(output_kind))

    def reading(self, output_kind: str) -> Reading:
        """How files are read that become a kind of file."""
        names = tuple(info.name for info in raw_inputs(self.predictor.model))
        return Reading(names, verbatim=output_kind == "csv" and not grouping(self.predictor))

    def planned(self, source: Source, output_kind: str) -> Plan:
        """What is done with a source."""
        return planned(self.predictor, source, self.options, output_kind)

    def pour(self, source: Source, plan: Plan, stream: BinaryIO, name: str, kind: str) -> Done:
        """Compute a source into a stream, in one go.

        Parameters
        ----------
        source
            What is read.
        plan
            What is done with it.
        stream, name, kind
            Where the results go, how messages call that, and what they become.
        """
        rows = written = 0
        with _sink(stream, name, kind) as sink:
            for read, result in self._results(source, plan, 0):
                _put(sink, result)
                rows, written = rows + read, written + length(result)
                self._watch(Progress(source.name, rows, 0, _fraction(source, rows)))
        return Done(rows, 0, written, plan.single_steps)

    # -- in parts -----------------------------------------------------------------------------------------------------------

    def _in_parts(self, source: Source, plan: Plan, target: str, kind: str) -> Done:
        job = {**self.facts, **facts.of_input(source.name)}
        parts = Parts(target, kind, job, overwrite=self.options.overwrite)
        try:
            begun = parts.end
            with _kept_told(parts, source.name):
                whole = source.rows is not None and begun >= source.rows and parts.count > 0
                if not whole:
                    self._fill(source, plan, parts, kind)
                parts.finish()
            return Done(parts.end, begun, parts.written, plan.single_steps)
        finally:
            parts.close()

    def _fill(self, source: Source, plan: Plan, parts: Parts, kind: str) -> None:
        """Write parts until the source is at its end."""
        begun = rows = parts.end
        start = time.monotonic()
        results = self._results(source, plan, begun)
        more = True
        while more:
            now, written = time.monotonic(), 0
            deadline = now + max(self.options.part_seconds, (now - start) / PARTS)
            with parts.part() as (stream, name), _sink(stream, parts.target, kind, first=parts.count == 0) as sink:
                more = False
                for read, result in results:
                    _put(sink, result)
                    rows, written = rows + read, written + length(result)
                    self._watch(Progress(source.name, rows, begun, _fraction(source, rows)))
                    if time.monotonic() > deadline:
                        more = True
                        break
            if rows > parts.end or not parts.count:  # else the results came to their end with the part before
                parts.add(name, rows, written)

    def _results(self, source: Source, plan: Plan, start: int) -> Iterator[tuple[int, Batch]]:
        """Rows that a batch has of the source, and what was computed of it."""
        first = start
        for count, result in self._computed(source, plan, start):
            try:
                found = result()
            except InputError as error:
                where = f"batch that begins with row {first:,}: " if first else ""
                raise InputError(f"{source.name}: {where}{error}") from error
            first += count
            yield count, found

    def _computed(self, source: Source, plan: Plan, start: int) -> Iterator[tuple[int, Callable[[], Batch]]]:
        """Rows that a batch has of the source, and what gives its result."""
        if grouping(self.predictor):
            return self._computing.results(self._grouped(source, plan, start), plan)
        if isinstance(self._computing, Pool):
            ranges = self._computing.ranges(source, plan, start)
            if ranges is not None:
                return self._computing.of_ranges(ranges, plan)
        return self._computing.results(source.batches(plan.columns, plan.rows, start), plan)

    def _grouped(self, source: Source, plan: Plan, start: int) -> Iterator[Batch]:
        """Batches that hold all steps of each of their keys."""
        grouper, given, name = sequences.Grouper(self.predictor.key), False, source.name
        batch: Batch | None = None
        try:
            if start:  # a key that an earlier job has seen does not come back either
                for batch in some(source.batches(self.predictor.key, plan.rows), start):
                    grouper.passed(batch)
            for batch in source.batches(plan.columns, plan.rows, start):
                for found in grouper.add(batch):
                    given = True
                    yield found
            for found in grouper.end():
                given = True
                yield found
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith(name) else f"{name}: {text}") from error
        if not given and batch is not None:
            yield batch


@contextmanager
def _sink(stream: BinaryIO, name: str, kind: str, *, first: bool = True) -> Iterator[Sink]:
    """A sink, ended where the work is done."""
    sink = sinks.opened(stream, name, kind, first=first)
    try:
        yield sink
        sink.close()
    except BaseException:
        sink.abandon()
        raise


def _put(sink: Sink, result: Batch) -> None:
    """Write results; what a kind of file cannot hold is said of the file."""
    try:
        sink.write(result)
    except (OSError, FastLSTMError, MemoryError):
        raise
    except Exception as error:
        raise InputError(f"{sink.name}: cannot be written: {said(error)}") from error


@contextmanager
def _kept_told(parts: Parts, name: str) -> Iterator[None]:
    """Say in an error that something is kept."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(*([_kept(parts)] if parts.count else [])) from None
    except FastLSTMError as error:
        text = str(error)
        if parts.folder in text:  # what is being written is a part: the caller knows the target alone
            cause = error.__cause__
            text = f"{parts.target}: cannot be written ({getattr(cause, 'strerror', None) or cause})"
            if os.path.exists(parts.target):
                text += "; the earlier file is left as it was"
        if parts.count:
            text += f"\n{_kept(parts)}"
        raise type(error)(text) from error


def _kept(parts: Parts) -> str:
    return f"{parts.end:,} rows are done and kept in {parts.folder}: the same command goes on from there"


def _fraction(source: Source, rows: int) -> float | None:
    return source.fraction() if source.rows is None else min(1.0, rows / source.rows) if source.rows else 1.0
