"""Numbers from .csv files, as spreadsheets, pandas and NumPy write them. What is no number is refused with its place."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError

SEPARATORS = ",;\t"
#: What stands for a missing number; a line of these is not a heading.
MISSING = frozenset({"", "na", "n/a", "null", "none", "nil", "missing", "-", "--", "?", "."})
#: What a spreadsheet writes where it could not compute; a line that begins so is not a comment.
ERRORS = re.compile(r"#(N/A|[A-Z0/]+[!?])")
DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+")
LONGEST = 40  # of a cell in a message


class Line(NamedTuple):
    """One line of numbers."""

    number: int  # in the file, from 1
    values: list[float]
    empty: int  # cells after them that hold nothing


class _Cells(NamedTuple):
    number: int
    cells: list[str]  # up to the last that holds something
    empty: int


def read(path: Path) -> list[Line]:
    """The lines of a file that hold numbers: not the blank ones, comments (``#``), and a heading without any number.

    Raises
    ------
    InputError
        If there are none, or if something among them is no number; names line and column.
    """
    lines = [
        (number, line)
        for number, line in enumerate(_text(path).splitlines(), start=1)
        if line.strip(" \t,;") and (line[0] != "#" or ERRORS.match(line))
    ]
    if not lines:
        raise InputError(f"{path}: expected lines of numbers, found none")
    separator = _separator([line for _, line in lines])
    table = [_split(path, number, line, separator) for number, line in lines]
    heading = table.pop(0).cells if _is_heading(table[0].cells) else []
    if not table:
        raise InputError(f"{path}: expected lines of numbers, found none below the heading in line {lines[0][0]}")
    found = []
    for position, (number, cells, empty) in enumerate(table):
        values = _numbers(cells)
        if values is None:
            raise _refusal(path, heading, table, position)
        found.append(Line(number, values, empty))
    return found


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            found = "UTF-16"
        else:
            line = data.count(b"\n", 0, error.start) + 1
            found = f"other bytes: {error.reason} at byte {error.start}, in line {line}"
        raise InputError(f"{path}: expected text in UTF-8, found {found}; save it as 'CSV UTF-8'") from error


def _separator(lines: Sequence[str]) -> str | None:
    """The separator in the first line; a single number, or a name, there has none, and lines may differ in length. None: blanks."""
    if len(lines[0].split()) > 1:
        lines = lines[:1]
    return next((mark for line in lines for mark in SEPARATORS if mark in line), None)


def _split(path: Path, number: int, line: str, separator: str | None) -> _Cells:
    if separator is None:
        return _Cells(number, line.split(), 0)
    if '"' in line:
        try:
            (cells,) = csv.reader([line], delimiter=separator)
        except csv.Error as error:
            raise InputError(f"{path}: line {number}: expected numbers, found {_shown(line)} ({error})") from error
    else:
        cells = line.split(separator)
    filled = next((count for count in range(len(cells), 0, -1) if cells[count - 1].strip()), 0)
    return _Cells(number, cells[:filled], len(cells) - filled)


def _numbers(cells: Sequence[str]) -> list[float] | None:
    try:
        values = [float(cell) for cell in cells]
    except ValueError:
        return None
    return None if any("_" in cell for cell in cells) else values  # Python reads 1_000 as a number, nobody else does


def _is_heading(cells: Sequence[str]) -> bool:
    """Are these names? A line with a number among them may be one of data that has something wrong with it."""
    return all(_numbers([cell]) is None for cell in cells) and not all(cell.strip().lower() in MISSING for cell in cells)


def _refusal(path: Path, heading: Sequence[str], table: Sequence[_Cells], position: int) -> InputError:
    """Say what is wrong with a line, and what to do about it."""
    number, cells, _ = table[position]
    column, cell = next((column, cell.strip()) for column, cell in enumerate(cells) if _numbers([cell]) is None)
    never = [other for other in range(max(len(line.cells) for line in table)) if not _has_number(table, other)]
    if column in never and len(table) > 1:
        names = ", ".join(_column(heading, other) for other in never)
        advice = f"no line has a number in {names}: leave {'it' if len(never) == 1 else 'them'} out of the file"
    elif position == 0 and not heading and cell:
        advice = f"if line {number} is a heading, put a # before it"
    elif DECIMAL_COMMA.fullmatch(cell):
        advice = "write it with a decimal point"
    else:
        advice = "put a number there, or leave out the line or the column"
    found = _shown(cell) if cell else "an empty cell"
    return InputError(f"{path}: line {number}, {_column(heading, column)}: expected a number, found {found}; {advice}")


def _has_number(table: Sequence[_Cells], column: int) -> bool:
    return any(len(line.cells) > column and _numbers([line.cells[column]]) is not None for line in table)


def _column(heading: Sequence[str], column: int) -> str:
    name = heading[column].strip() if column < len(heading) else ""
    return f"column {column + 1}" + (f" ({_shown(name)})" if name else "")


def _shown(text: str) -> str:
    return repr(text if len(text) <= LONGEST else text[:LONGEST] + "...")
