"""What all sources and sinks share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar, Union

import numpy as np

from ... import lazy
from ...errors import FastLSTMError, InputError
from ...listing import one_line
from ...records import record

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazy.module("pyarrow")

#: A batch: columns of Arrow, or arrays by name.
Batch = Union["pa.RecordBatch", dict[str, np.ndarray]]
T = TypeVar("T")

INSTALL = "pip install 'fastlstm[batch]'"
#: Characters of a message of another library that are shown.
LONGEST = 300


@record(frozen=True)
class Reading:
    """How files are read.

    Attributes
    ----------
    inputs : tuple of str
        The names of arrays in files that hold nothing else: those of the model's inputs.
    verbatim : bool
        Are the other columns of CSV kept as they are written? Else their types are told by the first block.
    """

    inputs: tuple[str, ...] = ()
    verbatim: bool = False


class Source(ABC):
    """Rows that are read a batch at a time.

    Attributes
    ----------
    name : str
        As messages call it.
    names : tuple of str
        Its columns.
    rows : int or None
        How many there are; None where that is not known before all is read.
    restarts : bool
        Can it be read again, and from any row?
    schema : pyarrow.Schema or None
        The types, where they are known.
    """

    name: str
    names: tuple[str, ...] = ()
    rows: int | None = None
    restarts = True
    schema: pa.Schema | None = None

    def typed(self, numbers: Sequence[str], texts: Sequence[str]) -> None:
        """Say of files of text, which tell no types, what columns are.

        Parameters
        ----------
        numbers
            Those whose whole numbers may as well have fractions: what a model computes with.
        texts
            Those that are text, whatever it looks like.
        """
        return

    @abstractmethod
    def batches(self, columns: Sequence[str], rows: int, start: int = 0) -> Iterator[Batch]:
        """The rows, in their order; one batch of none where there are none.

        Parameters
        ----------
        columns
            Those that are needed.
        rows
            The most that a batch has.
        start
            The first row.

        Raises
        ------
        InputError
            If the file is damaged.
        """

    def ranges(self, start: int) -> Ranges | None:
        """What other processes may read by themselves; None where one does best to read all, and hand it to others.

        Parameters
        ----------
        start
            The first row.
        """
        return None

    def fraction(self) -> float | None:
        """How much of it is read, from 0 to 1, where ``rows`` is not known; None if that is not known either."""
        return None

    def close(self) -> None:
        """Give back what is open."""
        return

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Ranges(NamedTuple):
    """A source in parts, for processes that read by themselves.

    Attributes
    ----------
    opened : callable
        Opens the source; can be pickled.
    parts : list of tuple
        The first row and the number of rows of each, one after another.
    """

    opened: Callable[[], Source]
    parts: list[tuple[int, int]]

    def joined(self, rows: int) -> Ranges:
        """Neighbours together, as long as they have no more rows."""
        found: list[tuple[int, int]] = []
        for first, count in self.parts:
            if found and found[-1][1] + count <= rows:
                found[-1] = (found[-1][0], found[-1][1] + count)
            else:
                found.append((first, count))
        return self._replace(parts=found)


class Sink(ABC):
    """What takes batches, and makes one file of them.

    Parameters
    ----------
    stream
        Where its bytes go.
    name
        As messages call it.
    first
        Is it the first part of a file? Those after it have no heading, where a kind has one.
    """

    def __init__(self, stream: BinaryIO, name: str, *, first: bool = True):
        self.stream, self.name, self.first = stream, name, first

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Add rows."""

    def close(self) -> None:
        """Write what ends the file; not called where the work failed."""
        return

    def abandon(self) -> None:
        """Where the work failed: let go of the stream while it still can be written to, as some libraries do that when they are deleted."""
        return


def need(library: str, what: str) -> None:
    """Say what is missing, and how to get it.

    Raises
    ------
    InputError
        If the library is not installed.
    """
    if find_spec(library) is None:
        raise InputError(f"{what} needs {library}, which is not installed: {INSTALL}")


@contextmanager
def understood(name: str, kind: str) -> Iterator[None]:
    """Whatever a library raises over a file, as an error that names the file.

    Parameters
    ----------
    name
        The file.
    kind
        What it is read as.
    """
    try:
        yield
    except FastLSTMError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise InputError(f"{name}: cannot be read ({os.strerror(error.errno)})") from error
        raise InputError(f"{name}: cannot be read as {kind} ({said(error)})") from error
    except MemoryError:
        raise
    except Exception as error:
        raise InputError(f"{name}: cannot be read as {kind}: {said(error)}") from error


def said(error: Exception) -> str:
    """What another library says, in one line."""
    text = one_line(str(error).strip() or type(error).__name__)
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def guarded(items: Iterator[T], name: str, kind: str) -> Iterator[T]:
    """The same items; what fails on the way to the next is said of the file."""
    nothing = object()
    while True:
        with understood(name, kind):
            item: Any = next(items, nothing)
        if item is nothing:
            return
        yield item


def length(batch: Batch) -> int:
    """Rows of a batch."""
    if isinstance(batch, Mapping):
        return len(next(iter(batch.values()))) if batch else 0
    return batch.num_rows


def cut(batch: Batch, first: int, end: int | None = None) -> Batch:
    """Some rows of a batch, as views."""
    if isinstance(batch, Mapping):
        return {name: array[first:end] for name, array in batch.items()}
    return batch.slice(first, None if end is None else end - first)


def bounded(batches: Iterator[Batch], rows: int, start: int) -> Iterator[Batch]:
    """The rows after the first ``start``, in batches of at most ``rows``; at least one, of none."""
    given, last = False, None
    for batch in batches:
        last = batch
        count = length(batch)
        for first in range(min(start, count), count, rows):
            given = True
            yield cut(batch, first, min(first + rows, count))
        start = max(0, start - count)
    if not given and last is not None:
        yield cut(last, length(last), length(last))


def some(batches: Iterator[Batch], rows: int) -> Iterator[Batch]:
    """The first rows of batches."""
    for batch in batches:
        yield batch if length(batch) <= rows else cut(batch, 0, rows)
        rows -= length(batch)
        if rows <= 0:
            return


def stamp(path: str) -> tuple[int, ...]:
    """What tells whether a path leads to the same file with the same content as before."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def size_of(path: str) -> int:
    """Bytes of a file."""
    return os.stat(path).st_size
