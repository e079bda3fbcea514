"""Texts from files: a line a row of a .txt file, a column of a .csv file, an array of strings."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError

#: Standard input, a line a row.
STANDARD_INPUT = "-"
ENDINGS = (".txt", ".csv", ".npy", ".npz")
#: The heading of the column of texts, beside the input's own name.
HEADINGS = ("text", "texts")


def read(path: Path, name: str) -> list[str]:
    """The texts of a .txt or .csv file, or of standard input.

    Parameters
    ----------
    path
        The file; ``-`` is standard input.
    name
        The input's; of several columns of a .csv file, the one of this name is read, or the one that is called "text".

    Raises
    ------
    InputError
        If there are none, it is not UTF-8, or nothing tells which column to read.
    """
    text = decoded(path)
    if path.suffix.lower() == ".csv":
        return column(path, text, name)
    lines = text.split("\n")  # and no other character that Python takes for the end of a line
    if lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise InputError(f"{path}: expected a text a line, found an empty file")
    return [line.removesuffix("\r") for line in lines]


def decoded(path: Path) -> str:
    """All of a file."""
    if str(path) == STANDARD_INPUT and sys.stdin is None:
        raise InputError("standard input: closed, nothing can be read")
    data = sys.stdin.buffer.read() if str(path) == STANDARD_INPUT else path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: expected text in UTF-8, found other bytes in line {line}: {error.reason}") from error


def column(path: Path, text: str, name: str) -> list[str]:
    """The column of texts."""
    try:
        table = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as .csv: {error}") from error
    if not table:
        raise InputError(f"{path}: expected texts, found none")
    number = place(table[0], name)
    if number is None and max(map(len, table)) > 1:
        found = ", ".join(table[0])
        called = " or ".join(dict.fromkeys(map(repr, (name, *HEADINGS))))
        raise InputError(
            f"{path}: expected a column called {called}, or a single one, found the first line {found:.100}; --columns says which it is"
        )
    rows = table if number is None else table[1:]
    short = next((count for count, row in enumerate(rows, start=1) if len(row) <= (number or 0)), None)
    if short is not None or not rows:
        where = f"row {short} without" if rows else "no row with"
        raise InputError(f"{path}: expected a text in every row, found {where} one")
    return [row[number or 0] for row in rows]


def place(heading: Sequence[str], name: str) -> int | None:
    """The number of the column of texts, if the first line names it."""
    cells = [cell.strip().lower() for cell in heading]
    return next((cells.index(known) for known in (name.lower(), *HEADINGS) if known in cells), None)
