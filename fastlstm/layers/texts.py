"""What TensorFlow makes of texts, for a batch of them at once: bytes in, bytes out, as its ops see nothing but bytes.

Only ASCII letters are lowered, only ASCII punctuation is stripped, only ASCII white space splits. Characters are code points of UTF-8;
bytes that are none stand for U+FFFD, each run of them that a decoder would skip for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from string import ascii_lowercase, ascii_uppercase, punctuation

import numpy as np

#: ``bytes.translate`` to lower-case letters.
LOWERED = bytes.maketrans(ascii_uppercase.encode(), ascii_lowercase.encode())
#: ... for each value of ``standardize``: the table, and the bytes to delete.
STANDARDIZED: dict[str | None, tuple[bytes | None, bytes]] = {
    None: (None, b""),
    "lower": (LOWERED, b""),
    "strip_punctuation": (None, punctuation.encode()),
    "lower_and_strip_punctuation": (LOWERED, punctuation.encode()),
}
WHITESPACE, CHARACTER = "whitespace", "character"
#: What ``split`` may be.
SPLITS = (None, WHITESPACE, CHARACTER)


def standardized(rows: Sequence[bytes], how: str | None) -> Sequence[bytes]:
    """Texts with their letters lowered and punctuation stripped, as ``standardize`` says."""
    if how is None:
        return rows
    table, stripped = STANDARDIZED[how]
    return [row.translate(table, stripped) for row in rows]


def characters(rows: Iterable[bytes]) -> list[str]:
    """Texts of which each element is a character."""
    return [row.decode("utf-8", "replace") for row in rows]


def tokens(rows: Sequence[bytes], split: str) -> list[list[bytes]]:
    """The tokens of each text."""
    if split == WHITESPACE:
        return [row.split() for row in rows]
    return [list(map(str.encode, row)) for row in characters(rows)]


def ngrams(rows: Iterable[Sequence[bytes]], widths: Sequence[int]) -> list[list[bytes]]:
    """So many tokens that follow each other, joined by a space; those of each width after those of the one before."""
    return [list(chain.from_iterable(_joined(row, width) for width in widths)) for row in rows]


def _joined(row: Sequence[bytes], width: int) -> Iterable[bytes]:
    return row if width == 1 else map(b" ".join, zip(*(row[n:] for n in range(width)), strict=False))


def as_objects(rows: Sequence[bytes], shape: Sequence[int]) -> np.ndarray:
    """An array of bytes objects of a shape; NumPy's own arrays of bytes would lose zeros at their ends."""
    array = np.empty(len(rows), object)
    array[:] = rows
    return array.reshape(shape)


def drawn(words: Sequence[bytes], size: tuple[int, ...], random: np.random.Generator, most: int = 1) -> np.ndarray:
    """Texts of up to so many of some words."""
    count = int(np.prod(size))
    chosen = (random.integers(0, len(words), random.integers(1, most + 1)) for _ in range(count))
    return as_objects([b" ".join(words[number] for number in numbers) for numbers in chosen], size)
