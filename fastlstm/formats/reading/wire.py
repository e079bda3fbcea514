"""Guarded protocol buffers: the fields of a message, from its bytes alone, each size checked against the bytes that there are.

A message is read one level at a time, when its fields are asked for: nothing recurses, and what nobody asks for is stepped over.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import FormatError

#: Bytes of the longest number, and its values.
LONGEST, NUMBERS = 10, 1 << 64
VARINT, EIGHT, SIZED, FOUR = 0, 1, 2, 5
#: What is given for each field: a number, or the bytes of text, of a message or of packed numbers.
Value = int | memoryview


class DamagedError(ValueError):
    """Bytes are not what they should be; :func:`whole` says where."""


@contextmanager
def whole(source: str, place: str) -> Iterator[None]:
    """Make a FormatError that names the place of whatever is found damaged inside."""
    try:
        yield
    except DamagedError as error:
        raise FormatError(f"{source}: {place}: damaged ({error})") from error


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where the next one begins."""
    number = 0
    for place in range(LONGEST):
        if at + place >= len(data):
            raise DamagedError("it ends inside a number")
        byte = data[at + place]
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            if number >= NUMBERS:
                break
            return number, at + place + 1
    raise DamagedError("a number of more than 64 bits")


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """The numbers and values of a message's fields, in its order."""
    at, end = 0, len(data)
    while at < end:
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        value: Value
        if kind == VARINT:
            value, at = varint(data, at)
        elif kind == SIZED:
            size, at = varint(data, at)
            if size > end - at:
                raise DamagedError(f"field {number} has {size} bytes where {end - at} are left")
            value, at = data[at : at + size], at + size
        elif kind in (FOUR, EIGHT):
            size = 4 if kind == FOUR else 8
            if size > end - at:
                raise DamagedError(f"it ends inside field {number}")
            value, at = int.from_bytes(data[at : at + size], "little"), at + size
        else:
            raise DamagedError(f"field {number} is of the kind {kind}")
        yield number, value


def number_of(data: memoryview, number: int, default: int = 0) -> int:
    """The value of a field that is a number: its last one, as in every reader of this encoding."""
    for found, value in fields(data):
        if found == number:
            if not isinstance(value, int):
                raise DamagedError(f"field {number} is no number")
            default = value
    return default


def bytes_of(data: memoryview, number: int) -> memoryview | None:
    """The bytes of a field, its last ones; None where there is none."""
    found = deque(every(data, number), maxlen=1)
    return found[0] if found else None


def every(data: memoryview, number: int) -> Iterator[memoryview]:
    """The bytes of each field of a number."""
    for found, value in fields(data):
        if found == number:
            if isinstance(value, int):
                raise DamagedError(f"field {number} is a number")
            yield value


def numbers(data: memoryview, number: int) -> Iterator[int]:
    """The values of a repeated field of numbers, packed or not."""
    for found, value in fields(data):
        if found == number and isinstance(value, int):
            yield value
        elif found == number and not isinstance(value, int):
            at = 0
            while at < len(value):
                each, at = varint(value, at)
                yield each


def text(data: memoryview | None) -> str:
    """Text, empty where there is none."""
    try:
        return "" if data is None else str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise DamagedError("text that is not UTF-8") from error


def text_of(data: memoryview, number: int) -> str:
    """The text of a field."""
    return text(bytes_of(data, number))


def unsigned(data: memoryview, kind: str) -> int:
    """One number of fixed size from the start of some bytes, which are long enough."""
    return int(struct.unpack_from(kind, data)[0])
