"""Guarded bundles of TensorFlow, the files of a checkpoint: ``NAME.index``, a sorted table, and ``NAME.data-00000-of-00001``, the arrays.

The table is that of LevelDB: blocks of entries whose keys share their beginnings, a block that lists the blocks, and a footer. Each entry
says of one array its dtype, its shape, in which of the data files it lies and where. Everything is held against its checksum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ...errors import FormatError
from ...limits import ADDRESSABLE, Budget
from . import wire
from .crc32c import crc32c, masked
from .wire import DamagedError, whole

FOOTER, MAGIC = 48, 0xDB4775248B80FB57
#: After each block: how it is packed, and its checksum.
TRAILER = 5
#: Bytes of a key: names of objects, one in another.
KEY = 1 << 16
#: What Python takes for an entry besides its bytes.
ENTRY = 400
#: Data files that a bundle may have.
SHARDS = 10_000
#: Axes of an array.
AXES = 32
#: Bytes that Python takes for a string besides its characters.
TEXT_OBJECT = 64
#: Numbers of TensorFlow for dtypes that hold numbers, little-endian.
DTYPES = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "|u1", 5: "<i2", 6: "|i1", 9: "<i8", 10: "|b1", 14: "<u2", 17: "<u2", 19: "<f2", 22: "<u4", 23: "<u8",
}  # fmt: skip
STRING, BOOL, BFLOAT16 = 7, 10, 14
LITTLE_ENDIAN = 0
#: Bytes of a number that a kernel reads.
NUMBER = 4


class Entry(NamedTuple):
    """What the table says of an array."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


class Bundle:
    """A checkpoint's arrays by their keys.

    Parameters
    ----------
    source
        The file that it belongs to, for messages.
    name
        The place of the bundle there: its files are ``name.index`` and those that the table counts.
    data
        Gives the bytes of a file by its name, or raises a FormatError.
    budget
        The limits on what reading it may cost.
    """

    def __init__(self, source: str, name: str, data: Callable[[str], memoryview], budget: Budget):
        self.source, self.name, self.budget = source, name, budget
        self._data = data
        self._shards: dict[int, memoryview] = {}
        self._read: dict[str, np.ndarray] = {}
        self.entries: dict[str, Entry] = {}
        self.count = 1
        index = f"{name}.index"
        with whole(source, index):
            for key, value in table(data(index), budget, index):
                if key:
                    self.entries[wire.text(memoryview(key))] = entry(value)
                else:
                    self.count = header(value, f"{source}: {index}")

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def array(self, key: str) -> np.ndarray:
        """An array of numbers; its bytes are checked once."""
        if key not in self._read:
            self._read[key] = self._numbers(key)
        return self._read[key]

    def _numbers(self, key: str) -> np.ndarray:
        found, place = self._found(key), f"{self.name}: {key}"
        if found.dtype not in DTYPES:
            raise FormatError(f"{self.source}: {place:.300}: expected numbers, found TensorFlow's dtype {found.dtype}")
        dtype = np.dtype(DTYPES[found.dtype])
        count = math.prod(found.shape)
        if found.size != count * dtype.itemsize:
            raise FormatError(f"{self.source}: {place:.300}: declares {found.shape} of {dtype.name}, but holds {found.size} bytes")
        self.budget.lend(place, found.size + 2 * NUMBER * count)  # converted and packed, it may be larger than in the file
        self.budget.hold(place, found.size)
        data = self._bytes(found, place)
        if masked(crc32c(data)) != found.checksum:
            raise FormatError(f"{self.source}: {place:.300}: damaged (its checksum is another)")
        if found.dtype == BOOL:
            return np.frombuffer(data, np.uint8).reshape(found.shape) != 0
        array = np.frombuffer(data, dtype).reshape(found.shape)
        if found.dtype == BFLOAT16:
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(dtype.newbyteorder("="))  # a copy: the file also holds what training alone needs

    def strings(self, key: str) -> list[bytes]:
        """An array of strings, flat."""
        found, place = self._found(key), f"{self.name}: {key}"
        if found.dtype != STRING:
            raise FormatError(f"{self.source}: {place:.300}: expected strings, found TensorFlow's dtype {found.dtype}")
        count = math.prod(found.shape)
        if count > found.size:
            raise FormatError(f"{self.source}: {place:.300}: declares {count} strings in {found.size} bytes")
        self.budget.hold(place, found.size + TEXT_OBJECT * count)
        with whole(self.source, place):
            return texts(self._bytes(found, place), count, found.checksum)

    def _found(self, key: str) -> Entry:
        found = self.entries.get(key)
        if found is None:
            raise FormatError(f"{self.source}: {self.name}: it has no array {key!r:.300}")
        if found.sliced:
            raise FormatError(
                f"{self.source}: {self.name}: {key:.300}: an array in slices, as partitioned variables are saved; load the model "
                "in TensorFlow without a partitioner and save it as .h5"
            )
        return found

    def _bytes(self, found: Entry, place: str) -> memoryview:
        if not 0 <= found.shard < self.count:
            raise FormatError(f"{self.source}: {place:.300}: in data file {found.shard} of {self.count}")
        if found.shard not in self._shards:
            self._shards[found.shard] = self._data(f"{self.name}.data-{found.shard:05d}-of-{self.count:05d}")
        data = self._shards[found.shard]
        if found.offset + found.size > len(data):
            raise FormatError(f"{self.source}: {place:.300}: lies at {found.offset} + {found.size}, and the data has {len(data)} bytes")
        return data[found.offset : found.offset + found.size]


# -- the table --------------------------------------------------------------------------------------------------------------


def table(data: memoryview, budget: Budget, place: str) -> Iterator[tuple[bytes, memoryview]]:
    """The keys and values of a table, in order."""
    if len(data) < FOOTER or wire.unsigned(data[-8:], "<Q") != MAGIC:
        raise DamagedError("no table, or not all of it")
    footer = data[-FOOTER:]
    at = 0
    for _ in range(2):
        _, at = wire.varint(footer, at)
    offset, at = wire.varint(footer, at)
    size, at = wire.varint(footer, at)
    end, last = 0, b""
    for _, handle in entries(block(data, offset, size), budget, place):
        first, at = wire.varint(handle, 0)
        size, at = wire.varint(handle, at)
        if first < end:
            raise DamagedError("its blocks overlap")
        end = first + size
        for key, value in entries(block(data, first, size), budget, place):
            if key <= last and last:
                raise DamagedError(f"the key {key[:80]!r} comes twice or out of order")
            last = key
            yield key, value


def block(data: memoryview, offset: int, size: int) -> memoryview:
    """The bytes of a block, held against its checksum."""
    end = offset + size
    if size < 4 or end + TRAILER > len(data):
        raise DamagedError(f"a block of {size} bytes at {offset} in {len(data)}")
    if data[end]:
        raise DamagedError(f"a block that is compressed ({data[end]}), which TensorFlow never writes")
    if masked(crc32c(data[offset : end + 1])) != wire.unsigned(data[end + 1 : end + TRAILER], "<I"):
        raise DamagedError("the checksum of a block is another")
    return data[offset:end]


def entries(data: memoryview, budget: Budget, place: str) -> Iterator[tuple[bytes, memoryview]]:
    """The keys and values of a block: of each key, how much it shares with the one before, and the rest."""
    restarts = wire.unsigned(data[-4:], "<I")
    end, at, key = len(data) - 4 - 4 * restarts, 0, b""
    if end < 0:
        raise DamagedError(f"a block with {restarts} restarts in {len(data)} bytes")
    data = data[:end]
    while at < end:
        shared, at = wire.varint(data, at)
        fresh, at = wire.varint(data, at)
        size, at = wire.varint(data, at)
        if shared > len(key) or fresh + size > end - at or shared + fresh > KEY:
            raise DamagedError(f"an entry of {shared} + {fresh} and {size} bytes, where {end - at} are left")
        budget.hold(place, ENTRY + shared + fresh)
        key = key[:shared] + bytes(data[at : at + fresh])
        at += fresh
        yield key, data[at : at + size]
        at += size


def header(data: memoryview, place: str) -> int:
    """How many data files there are, by the table's first entry."""
    count = wire.number_of(data, 1)
    if wire.number_of(data, 2) != LITTLE_ENDIAN:
        raise FormatError(f"{place}: written on a big-endian machine; load the model there and save it as .h5")
    if not 0 < count <= SHARDS:
        raise FormatError(f"{place}: declares {count} data files; expected 1 to {SHARDS}")
    version = wire.bytes_of(data, 3)
    if version is not None and wire.number_of(version, 2) > 1:
        raise FormatError(f"{place}: written by a later TensorFlow, in a form that is not known")
    return count


def entry(data: memoryview) -> Entry:
    """One array, as the table has it."""
    found: dict[int, Any] = {number: value for number, value in wire.fields(data) if isinstance(value, int)}
    shape = wire.bytes_of(data, 2)
    sizes = tuple(wire.number_of(size, 1) for size in wire.every(shape, 2)) if shape is not None else ()
    if len(sizes) > AXES or math.prod(max(size, 1) for size in sizes) > ADDRESSABLE:
        raise DamagedError(f"an array of {len(sizes)} axes, the longest of {max(sizes)}")
    sliced = any(number == 7 for number, _ in wire.fields(data))
    return Entry(found.get(1, 0), sizes, found.get(3, 0), found.get(4, 0), found.get(5, 0), found.get(6, 0), sliced)


# -- strings ----------------------------------------------------------------------------------------------------------------


def texts(data: memoryview, count: int, checksum: int) -> list[bytes]:
    """So many strings: their lengths, the checksum of those, and the bytes of all."""
    lengths, at = [], 0
    for _ in range(count):
        length, at = wire.varint(data, at)
        lengths.append(length)
    if sum(lengths) + at + 4 != len(data):
        raise DamagedError(f"{count} strings of {sum(lengths)} bytes in {len(data)}")
    fixed = b"".join(length.to_bytes(4 if length < 1 << 32 else 8, "little") for length in lengths)
    if masked(crc32c(fixed)) != wire.unsigned(data[at : at + 4], "<I"):
        raise DamagedError("the checksum of the lengths of its strings is another")
    if masked(crc32c(data[at:], crc32c(fixed))) != checksum:
        raise DamagedError("the checksum of its strings is another")
    found, at = [], at + 4
    for length in lengths:
        found.append(bytes(data[at : at + length]))
        at += length
    return found
