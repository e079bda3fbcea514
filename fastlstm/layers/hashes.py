"""The hashes by which TensorFlow puts strings into buckets, for many strings at once.

``strings`` are bytes. Strings of one length are hashed together, as rows of an array; all arithmetic is that of uint64, which wraps.

Sources: FarmHash's ``Fingerprint64`` (farmhashna, Geoff Pike), and SipHash-2-4 (Aumasson and Bernstein, "SipHash: a fast short-input PRF",
2012), as TensorFlow's ``to_hash_bucket_fast`` and ``to_hash_bucket_strong`` use them; ``FingerprintCat64`` is TensorFlow's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

#: What holds words of 64 bits: an array of uint64, one for each string.
Words = Any
U = np.uint64
K0, K1, K2 = U(0xC3A5C85C97CB3127), U(0xB492B66FBE98F273), U(0x9AE16A3B2F90404F)
K_CAT = U(0xC6A4A7935BD1E995)
#: The key of crossings, unless Keras could say otherwise.
CROSS_KEY = 0xDECAFCAFFE
#: Bytes that FarmHash mixes in one step, of strings that are longer.
BLOCK = 64


def farm(strings: Sequence[bytes]) -> Words:
    """FarmHash64 of each string."""
    return _by_length(strings, _farm)


def sip(strings: Sequence[bytes], key: Sequence[int]) -> Words:
    """SipHash64 of each string, with a key of two numbers."""
    k0, k1 = (U(int(part) & 0xFFFFFFFFFFFFFFFF) for part in key)
    return _by_length(strings, lambda rows: _sip(rows, k0, k1))


def crossed(columns: Sequence[Words]) -> Words:
    """One hash of several words: those of numbers themselves, or of strings."""
    result = np.full(np.shape(columns[0]), CROSS_KEY, U)
    for word in columns:
        result = result ^ K_CAT ^ (_shift_mix(word * K_CAT) * K_CAT)
        result = result * K_CAT
        result = _shift_mix(_shift_mix(result) * K_CAT)
    return result


def buckets(words: Words, count: int) -> np.ndarray:
    """The bucket, of so many, of each hash."""
    return (words % U(count)).astype(np.int64)


def _by_length(strings: Sequence[bytes], hashed: Callable[[np.ndarray], Words]) -> Words:
    """Hash the strings of each length together; a string that is there often, once."""
    places: dict[bytes, int] = {}
    numbers = np.fromiter((places.setdefault(string, len(places)) for string in strings), np.intp, len(strings))
    by_length: dict[int, list[bytes]] = {}
    for string in places:
        by_length.setdefault(len(string), []).append(string)
    found = np.empty(len(places), U)
    for length, alike in by_length.items():
        rows = np.frombuffer(b"".join(alike), np.uint8).reshape(len(alike), length)
        found[[places[string] for string in alike]] = hashed(rows)
    return found[numbers]


def _word(rows: np.ndarray, at: int, size: int = 8) -> Words:
    """The little-endian words at a place of each row."""
    return np.ascontiguousarray(rows[:, at : at + size]).view(f"<u{size}")[:, 0].astype(U)


def _rotated(x: Words, bits: int) -> Words:
    """Turned right."""
    return (x >> U(bits)) | (x << U(64 - bits)) if bits else x


def _shift_mix(x: Words) -> Words:
    return x ^ (x >> U(47))


def _mixed(u: Words, v: Words, multiplier: Words) -> Words:
    """Two words as one."""
    a = _shift_mix((u ^ v) * multiplier)
    return _shift_mix((v ^ a) * multiplier) * multiplier


def _farm(rows: np.ndarray) -> Words:
    length = rows.shape[1]
    if length <= 16:
        return _farm_to_16(rows, length)
    if length <= 32:
        return _farm_to_32(rows, length)
    if length <= BLOCK:
        return _farm_to_64(rows, length)
    return _farm_long(rows, length)


def _farm_to_16(rows: np.ndarray, length: int) -> Words:
    multiplier = K2 + U(2 * length)
    if length >= 8:
        a, b = _word(rows, 0) + K2, _word(rows, length - 8)
        return _mixed(_rotated(b, 37) * multiplier + a, (_rotated(a, 25) + b) * multiplier, multiplier)
    if length >= 4:
        return _mixed(U(length) + (_word(rows, 0, 4) << U(3)), _word(rows, length - 4, 4), multiplier)
    if length:
        a, b, c = (_word(rows, at, 1) for at in (0, length >> 1, length - 1))
        y, z = a + (b << U(8)), U(length) + (c << U(2))
        return _shift_mix(y * K2 ^ z * K0) * K2
    return np.full(len(rows), K2)


def _farm_to_32(rows: np.ndarray, length: int) -> Words:
    multiplier = K2 + U(2 * length)
    a, b = _word(rows, 0) * K1, _word(rows, 8)
    c, d = _word(rows, length - 8) * multiplier, _word(rows, length - 16) * K2
    return _mixed(_rotated(a + b, 43) + _rotated(c, 30) + d, a + _rotated(b + K2, 18) + c, multiplier)


def _farm_to_64(rows: np.ndarray, length: int) -> Words:
    multiplier = K2 + U(2 * length)
    a, b = _word(rows, 0) * K2, _word(rows, 8)
    c, d = _word(rows, length - 8) * multiplier, _word(rows, length - 16) * K2
    y = _rotated(a + b, 43) + _rotated(c, 30) + d
    z = _mixed(y, a + _rotated(b + K2, 18) + c, multiplier)
    e, f = _word(rows, 16) * multiplier, _word(rows, 24)
    g, h = (y + _word(rows, length - 32)) * multiplier, (z + _word(rows, length - 24)) * multiplier
    return _mixed(_rotated(e + f, 43) + _rotated(g, 30) + h, e + _rotated(f + a, 18) + g, multiplier)


def _farm_pair(rows: np.ndarray, at: int, a: Words, b: Words) -> tuple[Words, Words]:
    """32 bytes with two words, weakly."""
    w, x, y, z = (_word(rows, at + 8 * number) for number in range(4))
    a = a + w
    b = _rotated(b + a + z, 21)
    c = a
    a = a + x + y
    return a + z, b + _rotated(a, 44) + c


def _farm_long(rows: np.ndarray, length: int) -> Words:
    seed = U(81)
    x = np.full(len(rows), seed)
    y = x * K1 + U(113)
    z = _shift_mix(y * K2 + U(113)) * K2
    v = w = (np.zeros_like(x), np.zeros_like(x))
    x = x * K2 + _word(rows, 0)
    for at in range(0, (length - 1) // BLOCK * BLOCK, BLOCK):
        x, y, z, v, w = _farm_block(rows, at, (x, y, z), v, w, K1, U(1))
    multiplier = K1 + ((z & U(0xFF)) << U(1))
    w = (w[0] + U((length - 1) & (BLOCK - 1)), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x, y, z, v, w = _farm_block(rows, length - BLOCK, (x, y, z), v, w, multiplier, U(9))
    return _mixed(
        _mixed(v[0], w[0], multiplier) + _shift_mix(y) * K0 + z, _mixed(v[1], w[1], multiplier) + x, multiplier
    )  # fmt: skip


def _farm_block(
    rows: np.ndarray,
    at: int,
    xyz: tuple[Words, Words, Words],
    v: tuple[Words, Words],
    w: tuple[Words, Words],
    multiplier: Words,
    nine: Words,
) -> tuple[Words, Words, Words, tuple[Words, Words], tuple[Words, Words]]:
    """A step of 64 bytes; the last one weighs two of the words by ``nine``."""
    x, y, z = xyz
    x = _rotated(x + y + v[0] + _word(rows, at + 8), 37) * multiplier
    y = _rotated(y + v[1] + _word(rows, at + 48), 42) * multiplier
    x = x ^ (w[1] * nine)
    y = y + (v[0] * nine + _word(rows, at + 40))
    z = _rotated(z + w[0], 33) * multiplier
    v = _farm_pair(rows, at, v[1] * multiplier, x + w[0])
    w = _farm_pair(rows, at + 32, z + w[1], y + _word(rows, at + 16))
    return z, y, x, v, w


def _sip(rows: np.ndarray, k0: Words, k1: Words) -> Words:
    """SipHash with two rounds a word, and four at the end."""
    count, length = rows.shape
    padded = np.zeros((count, length // 8 * 8 + 8), np.uint8)
    padded[:, :length] = rows
    padded[:, -1] = length & 0xFF
    ones = np.ones(count, U)
    constants = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    v = [ones * (U(constant) ^ key) for constant, key in zip(constants, (k0, k1, k0, k1), strict=True)]
    for at in range(0, padded.shape[1], 8):
        word = _word(padded, at)
        v[3] = v[3] ^ word
        v = _sip_round(_sip_round(v))
        v[0] = v[0] ^ word
    v[2] = v[2] ^ U(0xFF)
    for _ in range(4):
        v = _sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def _sip_round(v: list[Words]) -> list[Words]:
    a, b, c, d = v
    a, c = a + b, c + d
    b, d = _rotated(b, 64 - 13) ^ a, _rotated(d, 64 - 16) ^ c
    a = _rotated(a, 32)
    c, a = c + b, a + d
    b, d = _rotated(b, 64 - 17) ^ c, _rotated(d, 64 - 21) ^ a
    return [a, b, _rotated(c, 32), d]
