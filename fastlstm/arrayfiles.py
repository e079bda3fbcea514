"""The array files that the command line reads and writes: .npy, .npz and .csv.

A CSV line is one row of the batch: its values in the order of the timesteps, the features of a timestep side by side.
"""

from __future__ import annotations

import math
import sys
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from .errors import InputError
from .inputs import shape_text
from .model import TensorInfo

ENDINGS = (".npy", ".npz", ".csv")

Rows = np.ndarray | list[np.ndarray]  # one input: an array, or a list of sequences of different lengths


def read(path: Path, inputs: Sequence[TensorInfo], *, series: bool = False) -> list[Rows]:
    """What a file holds for each input of a model.

    Parameters
    ----------
    path
        A ``.npy`` file, a ``.npz`` file with an array for each input under its name (or saved in their order), or a
        ``.csv`` file.
    inputs
        The model's inputs.
    series
        CSV only: the whole file is one row of the batch, a line is a timestep.

    Returns
    -------
    list
        One array an input; for a CSV whose lines differ in length a list of arrays.

    Raises
    ------
    InputError
        If the file does not hold what the model takes.
    """
    ending = path.suffix.lower()
    if series and ending != ".csv":
        raise InputError(f"{path}: expected a .csv file with --series, found {path.suffix or 'no ending'}")
    if ending == ".npz":
        return _chosen(path, _load(path), inputs)
    if ending not in ENDINGS:
        raise InputError(f"{path}: expected a .npy, .npz or .csv file, found {path.suffix or 'no ending'}")
    if len(inputs) > 1:
        names = ", ".join(info.name for info in inputs)
        raise InputError(f"{path}: the model has {len(inputs)} inputs ({names}): expected a .npz file with an array for each")
    if ending == ".npy":
        array = _load(path)
        if isinstance(array, dict):
            raise InputError(f"{path}: expected one array, found several: name the file .npz")
        return [array]
    return [_read_csv(path, inputs[0], series)]


def _load(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    """The array of a .npy file, or those of a .npz file by name; the bytes tell which it is."""
    try:
        with path.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            return dict(found) if isinstance(found, np.lib.npyio.NpzFile) else found
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as {path.suffix}: {error}") from error


def _chosen(path: Path, found: np.ndarray | dict[str, np.ndarray], inputs: Sequence[TensorInfo]) -> list[Rows]:
    """The arrays of a .npz file that belong to the inputs."""
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a .npz archive, found a single array: name the file .npy")
    names = [info.name for info in inputs]
    positional = [f"arr_{number}" for number in range(len(inputs))]  # what numpy.savez(file, a, b) writes
    if not set(names) <= set(found):
        if set(found) == set(positional):
            names = positional
        elif len(names) == len(found) == 1:
            names = list(found)
        else:
            raise InputError(f"{path}: expected arrays named {', '.join(names)}, found {', '.join(found) or 'none'}")
    return [found[name] for name in names]


def _read_csv(path: Path, info: TensorInfo, series: bool) -> Rows:
    lines = _parse(path)
    sizes = info.shape[1:]
    lengths = {len(line) for line in lines}
    if series:
        if len(lengths) > 1:
            raise InputError(f"{path}: expected the same number of values in every line with --series, found {_span(lengths)}")
        table = np.array(lines, np.float64)
        return table.reshape(1, *table.shape) if len(sizes) > 1 else table.reshape(1, -1)
    row_size = math.prod(size for size in sizes if size is not None)
    for number, line in enumerate(lines, start=1):
        if len(line) % row_size if None in sizes else len(line) != row_size:
            expected = f"a multiple of {row_size}" if None in sizes else str(row_size)
            raise InputError(
                f"{path}: input {info.name!r} has shape {shape_text(info.shape)}: expected {expected} values in every line, "
                f"found {len(line)} in row {number} (--series if a line is a timestep)"
            )
    if len(lengths) == 1:
        return np.array(lines, np.float64).reshape(len(lines), *(-1 if size is None else size for size in sizes))
    return [np.array(line, np.float64).reshape([-1 if size is None else size for size in sizes]) for line in lines]


def _span(lengths: Iterable[int]) -> str:
    return f"{min(lengths)} to {max(lengths)}"


def _parse(path: Path) -> list[list[float]]:
    """Lines of numbers; a first line with a word in it is a heading, empty cells at the end of a line are none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text, found other bytes: {error.reason} at byte {error.start}") from error
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip(" \t,;") and line[0] != "#"]
    if not lines:
        raise InputError(f"{path}: expected lines of numbers, found none")
    separator = next((mark for mark in ",;\t" if mark in lines[0][1]), None)
    strip = " \t" if separator is None else " \t" + separator
    parsed = []
    for position, (number, line) in enumerate(lines):
        cells = line.rstrip(strip).split(separator)
        try:
            parsed.append([float(cell) for cell in cells])
        except ValueError:
            if position == 0 and len(lines) > 1:
                continue
            column, word = next((column, cell) for column, cell in enumerate(cells, start=1) if not _is_number(cell))
            raise InputError(f"{path}: line {number}, column {column}: expected a number, found {word.strip()!r}") from None
    return parsed


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def write(path: Path | None, outputs: Mapping[str, Rows]) -> None:
    """Write what a model gave.

    Parameters
    ----------
    path
        A ``.npy``, ``.npz`` or ``.csv`` file; None: standard output, as CSV.
    outputs
        By name of the output; a list where its rows differ in length.

    Raises
    ------
    InputError
        If that kind of file cannot hold them.
    """
    ending = ".csv" if path is None else path.suffix.lower()
    values = list(outputs.values())
    if ending == ".npz":
        arrays: dict[str, np.ndarray] = {}
        for name, value in outputs.items():
            arrays.update({f"{name}_{row}": y for row, y in enumerate(value)} if isinstance(value, list) else {name: value})
        np.savez(str(path), **arrays)  # type: ignore[arg-type]  # mypy takes the names for options
        return
    if len(values) > 1:
        place = f"{path}: a {ending} file" if path else "standard output"
        raise InputError(f"{place} holds one output, the model has {len(values)} ({', '.join(outputs)}): expected -o with a .npz file")
    if ending == ".npy":
        if isinstance(values[0], list):
            raise InputError(f"{path}: a .npy file holds one array, the rows differ in length: expected a .npz or .csv file")
        np.save(str(path), values[0], allow_pickle=False)
    elif path is None:
        _write_csv(sys.stdout, values[0])
    else:
        with path.open("w", encoding="utf-8") as file:
            _write_csv(file, values[0])


def _write_csv(file: TextIO, rows: Rows) -> None:
    digits = 17 if len(rows) and rows[0].dtype == np.float64 else 9  # enough to give back the very bits
    for row in rows:
        file.write(",".join(f"{value:.{digits}g}" for value in row.ravel().tolist()) + "\n")
