"""The array files that the command line reads and writes: .npy, .npz and .csv.

A CSV line is one row of the batch: its values in the order of the timesteps, the features of a timestep side by side.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..batch.files import arrays
from ..errors import InputError
from ..inputs import TensorInfo, shape_text
from ..replacing import is_replaced, writing
from ..spec import STRING
from . import csvlines, terminal, textfiles

ENDINGS = (".npy", ".npz", ".csv")

#: What NumPy and zipfile raise about files that are not what their names say; TokenError comes of a header that is no Python.
DAMAGE = (ValueError, EOFError, KeyError, RuntimeError, MemoryError, tokenize.TokenError, zipfile.BadZipFile, zlib.error)
#: How files of NumPy begin: an array, or an archive of them.
BEGINNINGS = (b"\x93NUMPY", b"PK")
#: How NumPy stores arrays in a .npz file.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

Rows = np.ndarray | list[Any]  # one input: an array, or a list of sequences of different lengths, or of texts


def read(path: Path, inputs: Sequence[TensorInfo], *, series: bool = False) -> list[Rows]:
    """Read the arrays of a file, one for each input of a model.

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
        If the file cannot be read or does not hold what the model takes.
    """
    try:
        rows = _read(path, inputs, series)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len({len(values) for values in rows}) > 1:
        found = ", ".join(f"{info.name!r} has {len(values)}" for info, values in zip(inputs, rows, strict=True))
        raise InputError(f"{path}: expected the same number of rows in every input, found {found}")
    return rows


def _read(path: Path, inputs: Sequence[TensorInfo], series: bool) -> list[Rows]:
    ending = path.suffix.lower()
    texts = any(info.dtype == STRING for info in inputs)
    if texts and ending not in (".npy", ".npz") and not series:
        return [_read_texts(path, inputs)]
    if series and ending != ".csv":
        raise InputError(f"{path}: expected a .csv file with --series, found {path.suffix or 'no ending'}")
    if ending == ".npz":
        return _chosen(path, _load(path, texts), inputs)
    if ending not in ENDINGS:
        raise InputError(f"{path}: expected a .npy, .npz or .csv file, found {path.suffix or 'no ending'}")
    if len(inputs) > 1:
        names = ", ".join(info.name for info in inputs)
        raise InputError(f"{path}: the model has {len(inputs)} inputs ({names}): expected a .npz file with an array for each")
    if ending == ".npy":
        array = _load(path, texts)
        if isinstance(array, dict):
            raise InputError(f"{path}: expected one array, found several: name the file .npz")
        return [array]
    return [_read_csv(path, inputs[0], series)]


def _read_texts(path: Path, inputs: Sequence[TensorInfo]) -> list[str]:
    """The texts of a file that is no array's."""
    if path.suffix.lower() not in textfiles.ENDINGS and str(path) != textfiles.STANDARD_INPUT:
        raise InputError(f"{path}: expected a .txt, .csv, .npy or .npz file of texts, or - for standard input")
    if len(inputs) > 1:
        names = ", ".join(info.name for info in inputs)
        raise InputError(f"{path}: the model has {len(inputs)} inputs ({names}): expected a .npz file with an array for each")
    return textfiles.read(path, inputs[0].name)


def _load(path: Path, texts: bool = False) -> np.ndarray | dict[str, np.ndarray]:
    """The array of a .npy file, or those of a .npz file by name; the bytes tell which it is."""
    try:
        with path.open("rb") as file:
            if not file.read(6).startswith(BEGINNINGS):
                raise ValueError("NumPy did not write it")  # which np.load would take for a pickle
            file.seek(0)
            found = _mapped(path) if path.suffix.lower() == ".npy" else np.load(file, allow_pickle=False)
            if isinstance(found, np.lib.npyio.NpzFile):
                members = found.zip.infolist() if found.zip is not None else []
                if any(member.compress_type not in METHODS for member in members):
                    raise zipfile.BadZipFile("its arrays are not compressed as NumPy does")
                found = dict(found)
    except DAMAGE as error:
        wanted = "texts; save them as numpy.array(texts, dtype=str)" if texts else "numbers"
        why = f"it holds Python objects, not {wanted}" if "allow_pickle" in str(error) or "Python objects" in str(error) else error
        raise InputError(f"{path}: cannot be read as {path.suffix}: {why}") from error
    for name, array in found.items() if isinstance(found, dict) else [("", found)]:
        if not isinstance(array, np.ndarray) or not array.ndim:
            what = f"array {name!r}: " if name else ""
            raise InputError(f"{path}: {what}expected an array with a row for each example, found {_described(array)}")
    return found


def _mapped(path: Path) -> Any:
    """What a .npy file holds, mapped; an array without numbers cannot be, and NumPy tells by the bytes whether it is an archive."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "empty" not in str(error):
            raise
    return np.load(path, allow_pickle=False)


def _described(found: object) -> str:
    return f"a single {found.dtype}" if isinstance(found, np.ndarray) else "a file that is no array"


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
    lines = csvlines.read(path)
    sizes = info.shape[1:]
    if series:
        return _series(path, lines, len(sizes))
    if sizes.count(None) > 1:
        raise InputError(
            f"{path}: input {info.name!r} has shape {shape_text(info.shape)}: a .csv file leaves room for one open size; "
            "expected a .npy file"
        )
    row_size = math.prod(size for size in sizes if size is not None)
    for number, line in enumerate(lines, start=1):
        if len(line.values) % row_size if None in sizes else len(line.values) != row_size:
            expected = f"a multiple of {row_size}" if None in sizes else str(row_size)
            raise InputError(
                f"{path}: input {info.name!r} has shape {shape_text(info.shape)}: expected {expected} values in every line, "
                f"found {len(line.values)} in row {number}, which is {_line(line)} (--series if a line is a timestep, --columns if the "
                "model reads some of the columns)"
            )
    shape = [-1 if size is None else size for size in sizes]
    if len({len(line.values) for line in lines}) == 1:
        return np.array([line.values for line in lines], np.float64).reshape(len(lines), *shape)
    return [np.array(line.values, np.float64).reshape(shape) for line in lines]


def _series(path: Path, lines: Sequence[csvlines.Line], rank: int) -> np.ndarray:
    """One row of the batch, of a timestep a line."""
    first = lines[0]
    for line in lines:
        if len(line.values) != len(first.values):
            raise InputError(
                f"{path}: expected the same number of values in every line with --series, "
                f"found {len(first.values)} in {_line(first)} and {len(line.values)} in {_line(line)}"
            )
    table = np.array([line.values for line in lines], np.float64)
    return table.reshape(1, *table.shape) if rank > 1 else table.reshape(1, -1)


def _line(line: csvlines.Line) -> str:
    """A line by its number, with what may be the reason why it is short."""
    return f"line {line.number}" + (f", whose column {len(line.values) + 1} is empty" if line.empty else "")


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
        If that kind of file cannot hold them, or if it cannot be written; the file that was there stands then.
    """
    ending = _ending(path, outputs)
    values = list(outputs.values())
    if path is None:
        with terminal.output() as printed:
            printed.writelines(_csv_lines(values[0]))
        return
    with writing(path) as stream:
        if ending == ".npz":
            _write_npz(stream, path, outputs)
        elif ending == ".npy":
            np.save(stream, values[0], allow_pickle=False)
        else:
            stream.writelines(line.encode("ascii") for line in _csv_lines(values[0]))


def write_parts(path: Path | None, parts: Iterator[Mapping[str, Rows]]) -> dict[str, Rows]:
    """Write what a model gives some rows at a time, each time that it does.

    Parameters
    ----------
    path, parts
        As for :func:`write`; of each part.

    Returns
    -------
    dict
        An array of zeros in the shape of the whole, which takes no memory.

    Raises
    ------
    InputError
        As for :func:`write`.
    """
    first = next(parts)
    ending, ((name, values),) = _ending(path, first), first.items()
    rows = 0
    opened: Any = terminal.output() if path is None else writing(path)
    with opened as stream:
        array = arrays.ArrayWriter(stream, str(path)) if ending == ".npy" else None
        for part in chain([first], parts):
            found: Any = part[name]
            rows += len(found)
            if array is not None:
                array.write(found)
            elif path is None:
                stream.writelines(_csv_lines(found))
            else:
                stream.writelines(line.encode("ascii") for line in _csv_lines(found))
        if array is not None:
            array.close()
    assert isinstance(values, np.ndarray)
    return {name: np.broadcast_to(np.zeros((), values.dtype), (rows, *values.shape[1:]))}


def streams(path: Path | None, source: Path, outputs: int) -> bool:
    """Can a file be written while it is computed? Of an archive, and of rows of other lengths, all has to be there."""
    ending = ".csv" if path is None else path.suffix.lower()
    return source.suffix.lower() == ".npy" and outputs == 1 and (ending == ".csv" or (ending == ".npy" and is_replaced(str(path))))


def _ending(path: Path | None, outputs: Mapping[str, Rows]) -> str:
    """The kind of file, if it can hold the outputs."""
    ending = ".csv" if path is None else path.suffix.lower()
    values = list(outputs.values())
    if ending != ".npz" and len(values) > 1:
        place = f"{path}: a {ending} file" if path else "standard output"
        raise InputError(f"{place} holds one output, the model has {len(values)} ({', '.join(outputs)}): expected -o with a .npz file")
    if ending == ".npy" and isinstance(values[0], list):
        raise InputError(f"{path}: a .npy file holds one array, the rows differ in length: expected a .npz or .csv file")
    return ending


def _write_npz(stream: BinaryIO, path: Path, outputs: Mapping[str, Rows]) -> None:
    """As ``numpy.savez``, which takes no array of the name "file"."""
    written: set[str] = set()
    with zipfile.ZipFile(stream, "w") as archive:
        for output, value in outputs.items():
            named = {f"{output}_{row}": y for row, y in enumerate(value)} if isinstance(value, list) else {output: value}
            for name, array in named.items():
                member = terminal.one_line(name)
                if member in written:
                    raise InputError(f"{path}: two arrays would be called {name!r}: expected one output at a time, with --layer")
                written.add(member)
                with archive.open(f"{member}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def _csv_lines(rows: Rows) -> Iterator[str]:
    enough = digits(rows[0].dtype) if len(rows) else 0
    for row in rows:
        yield ",".join(f"{value:.{enough}g}" for value in row.ravel().tolist()) + "\n"


def digits(dtype: np.dtype) -> int:
    """Digits of a number that are enough to give back the very bits."""
    return 17 if dtype == np.float64 else 9
