"""Standard output and standard error: which characters they take, and what happens when they fail."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from ..errors import InputError
from ..listing import one_line

__all__ = ["COLOURS", "OutputError", "coloured", "complain", "one_line", "output", "take_any_text"]

#: The codes of ECMA-48.
COLOURS = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "faint": "2"}


class OutputError(InputError):
    """Standard output takes nothing any more."""


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
    OutputError
        If it is closed or cannot be written.
    BrokenPipeError
        If its reader, ``head`` for example, had enough.
    """
    stream: TextIO | None = sys.stdout  # None where the process was started without
    if stream is None:
        raise OutputError("standard output: closed, nothing can be printed")
    try:
        try:
            yield stream
        finally:
            stream.flush()
    except OSError as error:
        _discard(stream)
        if isinstance(error, BrokenPipeError):
            raise
        raise OutputError(f"standard output: cannot be written ({error.strerror or error})") from error


def complain(text: str) -> None:
    """Print on standard error, if there is one."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def coloured(text: str, colour: str, stream: TextIO | None = None) -> str:
    """A text in a colour, where that is shown and wanted.

    Parameters
    ----------
    text
        What is printed; as it is on what is no terminal, and where ``NO_COLOR`` is set (https://no-color.org).
    colour
        One of COLOURS.
    stream
        Where it is printed; None: standard output.
    """
    stream = stream or sys.stdout
    if stream is None or not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not _knows_colours():
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def _knows_colours() -> bool:
    """The old console of Windows shows codes as they are."""
    return sys.platform != "win32" or "WT_SESSION" in os.environ


def _discard(stream: TextIO) -> None:
    """Discard what a stream still holds, so that Python does not fail once more when it ends."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
