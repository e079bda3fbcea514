"""What a command ends with: lines for people or, with --json, one JSON object on standard output, whatever happened."""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

import numpy as np

from .. import logs
from ..errors import UnsupportedError
from . import terminal


def give(arguments: argparse.Namespace, result: Mapping[str, Any], lines: Iterable[str], *, report: bool = False) -> None:
    """Print a result.

    Parameters
    ----------
    arguments
        Of the command.
    result
        It, for --json.
    lines
        It, for people, ready to be printed.
    report
        Does it only say that something was done? --quiet leaves that out.
    """
    if is_json(arguments):
        give_json(result)
    elif not (report and is_quiet(arguments)):
        with terminal.output() as stream:
            stream.writelines(f"{line}\n" for line in lines)


def give_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    with terminal.output() as stream:
        json.dump(plain(result), stream, indent=2, allow_nan=False)
        stream.write("\n")


def failure(kind: str, reason: str, error: BaseException | None = None) -> dict[str, Any]:
    """An error as a JSON object."""
    found: dict[str, Any] = {"kind": kind, "message": reason}
    if isinstance(error, UnsupportedError):
        found["problems"] = [problem._asdict() for problem in error.problems]
    return {"error": found}


def plain(value: Any) -> Any:
    """A value as JSON has it. NaN and infinities, which it lacks, become the strings "NaN", "Infinity" and "-Infinity"."""
    if isinstance(value, np.ndarray):
        return [plain(inner) for inner in value] if value.ndim else plain(value[()])
    if isinstance(value, np.float32):
        return plain(float(str(value)))  # the shortest that gives back the very bits
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(inner) for inner in value]
    return value


def is_json(arguments: argparse.Namespace) -> bool:
    """Was --json given?"""
    return bool(getattr(arguments, "json", False))


def is_quiet(arguments: argparse.Namespace) -> bool:
    """Was --quiet given?"""
    return bool(getattr(arguments, "quiet", False))


def is_verbose(arguments: argparse.Namespace) -> bool:
    """Was --verbose given?"""
    return bool(getattr(arguments, "verbose", 0))


class _Handler(logging.Handler):
    """Prints messages on standard error, each in one line, whatever names the file has."""

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        terminal.complain(f"{record.levelname.lower()}: {terminal.one_line(record.getMessage())}")


def listen(arguments: argparse.Namespace) -> None:
    """Print what is logged, as far as --verbose asks for it."""
    logger = logging.getLogger(logs.NAME)
    for handler in [handler for handler in logger.handlers if isinstance(handler, _Handler)]:
        logger.removeHandler(handler)  # of an earlier call in this process
    if is_verbose(arguments):
        logger.addHandler(_Handler())
    logger.setLevel(logging.DEBUG if getattr(arguments, "verbose", 0) > 1 else logging.INFO if is_verbose(arguments) else logging.NOTSET)


def bar_of(arguments: argparse.Namespace) -> TextIO | None:
    """Where a bar may be drawn: standard error, unless there is none, or --quiet or --verbose was given."""
    return None if is_quiet(arguments) or is_verbose(arguments) else sys.stderr
