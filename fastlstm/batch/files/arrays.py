"""Arrays of NumPy: .npy mapped, the members of .npz read side by side, a batch at a time. Nothing here needs more than NumPy."""

from __future__ import annotations

import io
import math
import os
import shutil
import tempfile
import tokenize
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np

from ...errors import InputError
from .base import Batch, Reading, Sink, Source, bounded, understood
from .mapped import Mapped

#: Bytes of a header of .npy that is written: room for the number of rows, which is known at the end.
HEADER = 128
#: How NumPy stores arrays in a .npz file.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: Bytes that are copied at once.
CHUNK = 1 << 20
OBJECTS = "it holds Python objects; save numbers, or texts as numpy.array(texts, dtype=str)"


class Header(NamedTuple):
    """What a .npy file says of its array."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    @property
    def row(self) -> int:
        """Bytes of a row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def header(stream: IO[bytes], name: str) -> Header:
    """Read the header of an array."""
    try:
        version = np.lib.format.read_magic(stream)  # type: ignore[arg-type]
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        found = Header(*read(stream))  # type: ignore[arg-type]
    except (ValueError, EOFError, tokenize.TokenError) as error:
        raise InputError(f"{name}: cannot be read as .npy: {error}") from error
    if found.dtype.hasobject:
        raise InputError(f"{name}: cannot be read as .npy: {OBJECTS}")
    if min(found.shape, default=0) < 0 or not found.dtype.itemsize:
        raise InputError(f"{name}: cannot be read as .npy: it says that it holds {found.dtype} of shape {found.shape}")
    if not found.shape:
        raise InputError(f"{name}: expected an array with a row for each example, found a single {found.dtype}")
    return found


class NpySource(Source):
    """A .npy file, mapped: of the one input of a model.

    Parameters
    ----------
    path
        The file.
    reading
        The name of the input.

    Raises
    ------
    InputError
        If it is damaged, or the model has several inputs.
    """

    def __init__(self, path: str, reading: Reading):
        if len(reading.inputs) > 1:
            names = ", ".join(reading.inputs)
            raise InputError(f"{path}: the model has {len(reading.inputs)} inputs ({names}): expected a .npz file with an array for each")
        self.name, self.names = path, reading.inputs
        self._mapped = Mapped(path, ".npy")
        stream = io.BytesIO(self._mapped.memory[: 1 << 16])
        said = header(stream, path)
        offset, found, expected = stream.tell(), len(self._mapped.memory), math.prod(said.shape) * said.dtype.itemsize
        if found < offset + expected:
            raise InputError(
                f"{path}: expected {said.shape[0]} rows of {said.row} bytes, found only {max(0, found - offset):,} bytes: it was cut off"
            )
        flat = np.frombuffer(self._mapped.memory, said.dtype, math.prod(said.shape), offset) if expected else np.empty(0, said.dtype)
        self._array = flat.reshape(said.shape, order="F" if said.fortran else "C")
        self.rows = said.shape[0]

    def batches(self, columns: Sequence[str], rows: int, start: int = 0) -> Iterator[Batch]:
        """See Source."""
        for first in range(start, max(self.rows or 0, start + 1), rows):
            yield {self.names[0]: self._array[first : first + rows]}
            self._mapped.release()

    def close(self) -> None:
        """See Source."""
        del self._array


class NpzSource(Source):
    """A .npz file, whose arrays are read side by side: it takes the memory of a batch; an array that is stored column by column, its own.

    Parameters
    ----------
    path
        The file.
    reading
        The names of the inputs, under which the arrays stand, or else in whose order they were saved.

    Raises
    ------
    InputError
        If it is damaged, or holds other arrays.
    """

    def __init__(self, path: str, reading: Reading):
        self.name, self.names = path, reading.inputs
        with understood(path, ".npz"), zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if any(info.compress_type not in METHODS for info in members.values()):
                raise InputError(f"{path}: cannot be read as .npz: its arrays are not compressed as NumPy does")
            self._members = dict(zip(reading.inputs, self._chosen(members, reading.inputs), strict=True))
            counts = {name: self._header(archive, member).shape[0] for name, member in self._members.items()}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name!r} has {count}" for name, count in counts.items())
            raise InputError(f"{path}: expected the same number of rows in every input, found {found}")
        self.rows = next(iter(counts.values()))

    def _chosen(self, members: Mapping[str, zipfile.ZipInfo], names: Sequence[str]) -> list[str]:
        positional = [f"arr_{number}" for number in range(len(names))]  # what numpy.savez(file, a, b) writes
        if set(names) <= set(members):
            return [members[name].filename for name in names]
        if set(members) == set(positional):
            return [members[name].filename for name in positional]
        if len(names) == len(members) == 1:
            return [info.filename for info in members.values()]
        raise InputError(f"{self.name}: expected arrays named {', '.join(names)}, found {', '.join(members) or 'none'}")

    def _header(self, archive: zipfile.ZipFile, member: str) -> Header:
        with archive.open(member) as stream:
            return header(stream, f"{self.name}: array {member.removesuffix('.npy')!r}")

    def batches(self, columns: Sequence[str], rows: int, start: int = 0) -> Iterator[Batch]:
        """See Source."""
        return bounded(self._read(rows), rows, start)

    def _read(self, rows: int) -> Iterator[Batch]:
        with ExitStack() as stack:
            with understood(self.name, ".npz"):
                archive = stack.enter_context(zipfile.ZipFile(self.name))
                streams = {name: stack.enter_context(archive.open(member)) for name, member in self._members.items()}
                readers = {name: _rows_of(stream, f"{self.name}: array {name!r}") for name, stream in streams.items()}
                for one in readers.values():
                    next(one)  # up to where it is asked for rows
            for first in range(0, max(self.rows or 0, 1), rows):
                with understood(self.name, ".npz"):
                    batch = {name: one.send(min(rows, (self.rows or 0) - first)) for name, one in readers.items()}
                yield batch


def _rows_of(stream: IO[bytes], name: str) -> Any:
    """A generator that is sent how many rows are wanted, and gives them."""
    said = header(stream, name)
    wanted = yield
    if said.fortran:
        data = stream.read(said.row * said.shape[0])
        whole, first = np.frombuffer(data, said.dtype).reshape(said.shape, order="F"), 0
        while True:
            first, block = first + wanted, whole[first : first + wanted]
            wanted = yield block
    while True:
        data = stream.read(said.row * wanted)
        if len(data) < said.row * wanted:
            raise InputError(f"{name}: expected {wanted} more rows of {said.row} bytes, found {len(data)} bytes: it was cut off")
        wanted = yield np.frombuffer(data, said.dtype).reshape(wanted, *said.shape[1:])


class ArrayWriter:
    """Writes a .npy file whose number of rows is known at the end.

    Parameters
    ----------
    stream
        Where it goes: something that can be written at an earlier place again.
    name
        As messages call it.
    """

    def __init__(self, stream: IO[bytes], name: str):
        self._stream, self._name = stream, name
        self._shape: tuple[int, ...] | None = None
        self._dtype = np.dtype("f4")
        self._rows = 0
        self._texts: list[np.ndarray] = []

    def write(self, array: np.ndarray) -> None:
        """Add rows; those of text wait until all are there, as the longest says how many bytes each takes."""
        if array.dtype.kind in "US":
            self._texts.append(array)
        else:
            self._put(array)

    def _put(self, array: np.ndarray) -> None:
        if self._shape is None:
            self._shape, self._dtype = array.shape[1:], array.dtype
            self._stream.write(bytes(HEADER))
        if array.shape[1:] != self._shape or array.dtype.kind != self._dtype.kind:
            raise InputError(
                f"{self._name}: a .npy file holds rows of one shape, found {array.dtype} {array.shape[1:]} after "
                f"{self._dtype} {self._shape}: expected a .parquet, .jsonl or .arrow file"
            )
        self._stream.write(np.ascontiguousarray(array, self._dtype).view(np.uint8).data if array.size else b"")
        self._rows += len(array)

    def close(self) -> None:
        """Say how many rows there are."""
        if self._texts:
            self._put(np.concatenate(self._texts))
        if self._shape is None:
            self._put(np.empty((0, 1), np.float32))
        assert self._shape is not None
        self._stream.seek(0)
        self._stream.write(header_of((self._rows, *self._shape), self._dtype))
        self._stream.seek(0, os.SEEK_END)


def header_of(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The header of a .npy file, in ``HEADER`` bytes."""
    said = f"{{'descr': {np.lib.format.dtype_to_descr(dtype)!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode("latin-1")
    begin = np.lib.format.magic(1, 0)
    room = HEADER - len(begin) - 2
    return begin + room.to_bytes(2, "little") + said.ljust(room - 1) + b"\n"


class NpySink(Sink):
    """A .npy file of the one output."""

    def __init__(self, stream: BinaryIO, name: str, *, first: bool = True):
        super().__init__(stream, name, first=first)
        self._writer = ArrayWriter(stream, name)

    def write(self, batch: Batch) -> None:
        """See Sink."""
        arrays = as_arrays(batch)
        if len(arrays) != 1:
            names = ", ".join(arrays) or "none"
            raise InputError(f"{self.name}: a .npy file holds one array, there are {len(arrays)} ({names}): expected a .npz file")
        self._writer.write(next(iter(arrays.values())))

    def close(self) -> None:
        """See Sink."""
        self._writer.close()

    @staticmethod
    def merge(parts: Sequence[str], stream: BinaryIO, name: str) -> None:
        """One file of several.

        Parameters
        ----------
        parts
            Their paths, in order.
        stream
            Where the file goes.
        name
            As messages call it.
        """
        said = []
        for part in parts:
            with open(part, "rb") as file:
                said.append(header(file, part))
        stream.write(header_of((sum(one.shape[0] for one in said), *said[0].shape[1:]), said[0].dtype))
        for part in parts:
            with open(part, "rb") as file:
                file.seek(HEADER)
                shutil.copyfileobj(file, stream, CHUNK)


class NpzSink(Sink):
    """A .npz file: each output beside it until all are there, as an archive holds one array after another."""

    def __init__(self, stream: BinaryIO, name: str, *, first: bool = True):
        super().__init__(stream, name, first=first)
        self._folder = os.path.dirname(os.path.abspath(name))
        self._files: dict[str, tuple[IO[bytes], ArrayWriter]] = {}

    def write(self, batch: Batch) -> None:
        """See Sink."""
        for name, array in as_arrays(batch).items():
            if name not in self._files:
                file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - until all is written
                self._files[name] = file, ArrayWriter(file, self.name)
            self._files[name][1].write(array)

    def close(self) -> None:
        """See Sink."""
        with zipfile.ZipFile(self.stream, "w") as archive:
            for name, (file, writer) in self._files.items():
                writer.close()
                file.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    shutil.copyfileobj(file, member, CHUNK)
                file.close()


def as_arrays(batch: Batch) -> dict[str, np.ndarray]:
    """The columns of a batch as arrays."""
    if isinstance(batch, Mapping):
        return dict(batch)
    from .tables import arrays_of

    return arrays_of(batch)
