"""The checksum of TensorFlow's files, CRC-32C, in NumPy: bytes are cut into rows, and all rows are summed up side by side.

The checksum is linear over bits: that of two pieces, one behind the other, is that of the first moved on by as many zero bytes as the
second has, with that of the second added (without carry). Moving on is a product with a matrix of bits, done by four tables of 256
entries, one for each byte. Equation and polynomial: RFC 3720, appendix B.4; Castagnoli, Braeuer and Herrmann (1993).

Long data are folded first, which costs three additions of each word: bytes are the coefficients of a polynomial, whose checksum is what
is left of it modulo another. That one divides x^5685 + x^1362 + x^426 + 1, if x stands for a word of eight bytes. So a word may be taken
away, and added (without carry) 5685 - 1362, 5685 - 426 and 5685 words further on. No two words of a block of 5685 - 1362 meet then, so that
NumPy adds whole blocks.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np

#: The polynomial, its bits reversed.
POLYNOMIAL = 0x82F63B78
ALL = 0xFFFFFFFF
#: TensorFlow turns and moves checksums that it stores beside what they cover.
TURN, DELTA = 15, 0xA282EAD8
#: Bytes of one step: as many tables.
STEP = 8
#: Fewer bytes are summed one by one.
FEW = 2048
#: Rows that are summed side by side.
ROWS = 4096
#: Bytes that are folded at once: so many stay in the cache.
PIECE = 1 << 19
#: The exponents of a polynomial that the checksum's divides, in words; the last is 0. Found by a search among all up to 6000.
EXPONENTS = (5685, 1362, 426, 0)
WORD = 8
#: Bytes from which on folding pays.
LONG = 1 << 17
#: Lengths whose tables are kept, of 4 KB each.
LENGTHS = 256
Tables = np.ndarray  # (tables, 256) uint32


def masked(checksum: int) -> int:
    """The form in which a checksum is stored."""
    return ((checksum >> TURN | checksum << (32 - TURN)) + DELTA) & ALL


def crc32c(data: bytes | memoryview, checksum: int = 0) -> int:
    """The checksum of bytes that follow those of ``checksum``."""
    state = checksum ^ ALL
    if len(data) > LONG:
        data, state = folded(data, state), 0
    return after(data, state) ^ ALL


def folded(data: bytes | memoryview, state: int) -> memoryview:
    """Fewer bytes, which lead from zero to the state to which these lead from ``state``."""
    most = EXPONENTS[0]
    block = most - EXPONENTS[1]
    whole = len(data) // WORD
    words = np.frombuffer(data, np.uint64, whole)
    left = words[:most].copy()
    left.view(np.uint8)[:4] ^= np.frombuffer(state.to_bytes(4, "little"), np.uint8)
    for first in range(most, whole, PIECE // WORD):
        left = np.concatenate((left, words[first : first + PIECE // WORD]))
        end = len(left) - most
        for start in range(0, end, block):
            taken = left[start : min(start + block, end)]
            for exponent in EXPONENTS[1:]:
                left[start + most - exponent :][: len(taken)] ^= taken
        left = left[end:]
    return memoryview(left.tobytes() + data[whole * WORD :])


def after(data: bytes | memoryview, state: int) -> int:
    """The state after some bytes."""
    if len(data) < FEW:
        return one_by_one(data, state)
    rows = min(ROWS, 1 << (len(data) // (4 * STEP)).bit_length() - 1)
    length = len(data) // rows // STEP * STEP
    whole = np.frombuffer(data, np.uint8, rows * length).reshape(rows, length)
    parts = side_by_side(whole)
    while len(parts) > 1:
        parts = apply(moving(length), parts[0::2]) ^ parts[1::2]
        length *= 2
    state = int(apply(moving(length), np.array([state], np.uint32))[0] ^ parts[0])
    return one_by_one(data[length:], state)


def one_by_one(data: bytes | memoryview, state: int) -> int:
    """The same without NumPy."""
    table = first_table()
    for byte in bytes(data):
        state = table[(state ^ byte) & 0xFF] ^ state >> 8
    return state


def side_by_side(whole: np.ndarray) -> np.ndarray:
    """The states after each row of bytes, from zero."""
    tables = steps()
    state = np.zeros(len(whole), np.uint32)
    words = np.ascontiguousarray(whole.reshape(len(whole), -1, STEP).transpose(1, 2, 0))
    for each in words:
        mixed = state.astype("<u4", copy=False).view(np.uint8).reshape(-1, 4).T
        moved = tables[7][mixed[0] ^ each[0]]
        for byte in range(1, STEP):
            moved ^= tables[7 - byte][mixed[byte] ^ each[byte] if byte < 4 else each[byte]]
        state = moved
    return state


@cache
def first_table() -> list[int]:
    """The state after each byte, from zero."""
    found = []
    for state in range(256):
        for _ in range(8):
            state = state >> 1 ^ (POLYNOMIAL if state & 1 else 0)
        found.append(state)
    return found


@cache
def steps() -> Tables:
    """Table n: the state after each byte and n zero bytes."""
    found = [np.array(first_table(), np.uint32)]
    for _ in range(STEP - 1):
        found.append(found[0][found[-1] & 0xFF] ^ found[-1] >> 8)
    return np.stack(found)


@lru_cache(LENGTHS)
def moving(length: int) -> Tables:
    """What makes of a state the state after so many zero bytes more, a table for each of its bytes."""
    if length == 1:
        states = np.arange(256, dtype=np.uint32)
        table = steps()[0]
        return np.stack([table, *(states << 8 * byte >> 8 for byte in range(1, 4))])
    half = moving(length // 2)
    twice = apply(half, half)
    return apply(moving(1), twice) if length % 2 else twice


def apply(tables: Tables, states: np.ndarray) -> np.ndarray:
    """States, moved on."""
    found = tables[0][states & 0xFF]
    for byte in range(1, 4):
        found = found ^ tables[byte][states >> 8 * byte & 0xFF]
    return found
