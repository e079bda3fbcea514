"""Standard output and standard error: which characters they take, and what happens when they fail."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from ..errors import InputError


def take_any_text() -> None:
    """Let characters that a terminal does not have be written as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def output() -> Iterator[TextIO]:
    """Standard output, whose failures are said to be its own.

    Raises
    ------
    InputError
        If it is closed or cannot be written.
    BrokenPipeError
        If its reader, ``head`` for example, had enough.
    """
    stream: TextIO | None = sys.stdout  # None where the process was started without
    if stream is None:
        raise InputError("standard output: closed, nothing can be printed")
    try:
        try:
            yield stream
        finally:
            stream.flush()
    except OSError as error:
        _discard(stream)
        if isinstance(error, BrokenPipeError):
            raise
        raise InputError(f"standard output: cannot be written ({error.strerror or error})") from error


def complain(text: str) -> None:
    """Print on standard error, if there is one."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def one_line(text: str) -> str:
    """A text without what would move the cursor of a terminal."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode("ascii") for mark in text)


def _discard(stream: TextIO) -> None:
    """Discard what a stream still holds, so that Python does not fail once more when it ends."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
