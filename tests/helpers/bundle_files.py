"""Writes what TensorFlow writes: messages of protocol buffers, sorted tables, bundles, and copies of SavedModels without their graphs."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fastlstm.formats.reading import wire
from fastlstm.formats.reading.bundle import Bundle
from fastlstm.formats.reading.crc32c import crc32c, masked
from fastlstm.limits import Budget

MAGIC = 0xDB4775248B80FB57
DTYPES = {"<f4": 1, "<f8": 2, "<i4": 3, "|u1": 4, "<i8": 9, "|b1": 10, "<f2": 19}
STRING = 7
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
Fields = Iterable[tuple[int, "int | bytes | Fixed"]]


class Fixed(int):
    """A number of four bytes."""


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def message(*fields: tuple[int, int | bytes | Fixed]) -> bytes:
    """A message of these fields."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, Fixed):
            out += varint(number << 3 | 5) + struct.pack("<I", value & 0xFFFFFFFF)
        elif isinstance(value, int):
            out += varint(number << 3) + varint(value & (1 << 64) - 1)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + bytes(value)
    return bytes(out)


# -- tables and bundles -------------------------------------------------------------------------------------------------------


def block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A block with its trailer."""
    data = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    data += struct.pack("<II", 0, 1)
    return data + b"\0" + struct.pack("<I", masked(crc32c(data + b"\0")))


def table(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A table of one block."""
    data = block(list(entries))
    meta = block([])
    index = block([(b"\xff", varint(0) + varint(len(data) - 5))])
    places = varint(len(data)) + varint(len(meta) - 5) + varint(len(data) + len(meta)) + varint(len(index) - 5)
    return data + meta + index + places.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


def strings(values: Sequence[bytes]) -> tuple[bytes, int]:
    """The bytes of an array of strings, and their checksum as it is stored."""
    lengths = b"".join(struct.pack("<I", len(value)) for value in values)
    of_lengths = struct.pack("<I", masked(crc32c(lengths)))
    data = of_lengths + b"".join(values)
    return b"".join(varint(len(value)) for value in values) + data, masked(crc32c(data, crc32c(lengths)))


def bundled(tensors: Mapping[str, np.ndarray | Sequence[bytes]], header: bytes | None = None) -> tuple[bytes, bytes]:
    """The index and the data of a bundle."""
    entries, data = [(b"", message((1, 1), (3, message((1, 1)))) if header is None else header)], b""
    for key, value in sorted(tensors.items(), key=lambda item: item[0].encode("utf-8", "surrogateescape")):
        if isinstance(value, np.ndarray):
            raw, kind, sizes = value.tobytes(), DTYPES[value.dtype.str], value.shape
            checksum = masked(crc32c(raw))
        else:
            (raw, checksum), kind, sizes = strings(value), STRING, (len(value),)
        shape = message(*((2, message((1, size))) for size in sizes))
        parts: list[tuple[int, int | bytes]] = [(1, kind), (2, shape), (4, len(data)), (5, len(raw)), (6, Fixed(checksum))]
        entries.append((key.encode("utf-8", "surrogateescape"), message(*parts)))
        data += raw
    return table(entries), data


def write_bundle(prefix: Path, tensors: Mapping[str, np.ndarray | Sequence[bytes]], header: bytes | None = None) -> None:
    """A bundle of one data file."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    index, data = bundled(tensors, header)
    prefix.with_name(prefix.name + ".index").write_bytes(index)
    prefix.with_name(prefix.name + ".data-00000-of-00001").write_bytes(data)


def read_bundle(prefix: Path) -> dict[str, np.ndarray | list[bytes]]:
    """All that is in a bundle."""

    def data(name: str) -> memoryview:
        return memoryview(prefix.with_name(name).read_bytes())

    found = Bundle(str(prefix), prefix.name, data, Budget.unlimited())
    return {key: found.strings(key) if entry.dtype == STRING else found.array(key) for key, entry in found.entries.items()}


# -- SavedModels without what is never read -----------------------------------------------------------------------------------


def stripped(saved: bytes) -> bytes:
    """A ``saved_model.pb`` without graphs of operations but for constants, without signatures and functions' specs."""
    meta = wire.bytes_of(memoryview(saved), 2)
    assert meta is not None
    out: list[tuple[int, int | bytes]] = []
    objects = wire.bytes_of(meta, 7)
    wanted = set() if objects is None else {wire.text_of(each, 1) for node in wire.every(objects, 1) for each in wire.every(node, 9)}
    for number, value in wire.fields(meta):
        assert not isinstance(value, int)
        if number == 1:
            out.append((1, message(*((inner, as_given(each)) for inner, each in wire.fields(value) if inner != 2))))
        elif number == 2:
            nodes = [(1, bytes(node)) for node in wire.every(value, 1) if wire.text_of(node, 1) in wanted]
            out.append((2, message(*nodes)))
        elif number == 6:
            out.append((6, bytes(value)))
        elif number == 7:
            out.append((7, message(*(stripped_object(inner, each) for inner, each in wire.fields(value)))))
    return message((1, 1), (2, message(*out)))


def as_given(value: wire.Value) -> int | bytes:
    return value if isinstance(value, int) else bytes(value)


def stripped_object(number: int, value: wire.Value) -> tuple[int, bytes]:
    """A node, or a function, of the graph of objects."""
    assert not isinstance(value, int)
    if number == 2:
        function = wire.bytes_of(value, 2)
        bound = message(*((2, each) for each in wire.numbers(function, 2))) if function is not None else b""
        return 2, message((1, wire.text_of(value, 1).encode()), (2, bound))
    fields: list[tuple[int, int | bytes]] = []
    for inner, each in wire.fields(value):
        if inner == 6 and not isinstance(each, int):
            fields.append((6, message(*((1, bytes(name)) for name in wire.every(each, 1)))))
        else:
            fields.append((inner, as_given(each)))
    return number, message(*fields)
