"""The words of many texts looked up together, without an object for each.

A word of up to 16 bytes is two words of 64 bits and a length. These give it a slot of a table, which holds the one term that is there;
what the slot cannot tell - longer words, and those of a slot that several terms share - is looked up one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

#: White space, by byte.
SPACE = np.zeros(256, bool)
SPACE[list(b" \t\n\v\f\r")] = True
#: Bytes of a half of a word, and of both.
HALF, WHOLE = 8, 16
#: The bits of so many bytes.
BITS = np.array([(1 << 8 * count) - 1 for count in range(HALF + 1)], np.uint64)
#: Odd numbers that mix bits.
FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
#: Slots for each term, about.
SLOTS = 4
#: In place of a length, in a slot without a term.
ABSENT = WHOLE + 1


class TokenTable:
    """The ids of terms, for words that white space splits.

    Parameters
    ----------
    ids
        Of each term.
    default
        Of words that are no terms.
    """

    def __init__(self, ids: Mapping[bytes, int], default: int):
        self.known, self.default = ids, default
        terms = [term for term in ids if len(term) <= WHOLE]
        self.shift = np.uint64(64 - max((SLOTS * len(terms)).bit_length(), 1))
        count = 1 << (64 - int(self.shift))
        lengths = np.fromiter(map(len, terms), np.int64, len(terms))
        buffer = np.frombuffer(b"".join(term.ljust(WHOLE, b"\0") for term in terms) + bytes(WHOLE), np.uint8)
        first, second = _halves(buffer, np.arange(len(terms)) * WHOLE, lengths)
        slots = self._slots(first, second, lengths)
        numbers = np.fromiter((ids[term] for term in terms), np.uint64, len(terms))
        # In a row: both halves of a term, its length and its id. Of several terms with one slot, the first stands there,
        # which is the most frequent one in vocabularies that Keras has made.
        self.rows = np.zeros((count, 4), np.uint64)
        self.rows[:, 2], self.rows[:, 3] = ABSENT, default
        self.rows[slots[::-1]] = np.stack([first, second, lengths.astype(np.uint64), numbers], axis=1)[::-1]
        self.shared = np.bincount(slots, minlength=count) > 1

    def _slots(self, first: np.ndarray, second: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        mixed = (first * FIRST ^ second * SECOND) + lengths.astype(np.uint64)
        return ((mixed * FIRST) >> self.shift).astype(np.intp)

    def look_up(self, texts: Sequence[bytes], most: int | None) -> tuple[np.ndarray, np.ndarray]:
        """The ids of the words of texts, one after the other, and how many each has: ``most`` at the most."""
        joined = b" ".join(texts) + b" " * (2 * WHOLE)
        buffer = np.frombuffer(joined, np.uint8)
        spaces = SPACE[buffer]
        edges = np.flatnonzero(spaces[1:] != spaces[:-1]) + 1
        if not spaces[0]:
            edges = np.concatenate(([0], edges))
        starts, lengths = edges[::2], edges[1::2] - edges[::2]
        rows = np.cumsum([0, *(len(text) + 1 for text in texts)])
        before = np.searchsorted(starts, rows)
        counts = np.diff(before)
        if most is not None and counts.max(initial=0) > most:
            kept = np.arange(len(starts)) - np.repeat(before[:-1], counts) < most
            starts, lengths, counts = starts[kept], lengths[kept], np.minimum(counts, most)
        return self._ids(joined, buffer, starts, lengths), counts

    def _ids(self, joined: bytes, buffer: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        first, second = _halves(buffer, starts, lengths)
        slots = self._slots(first, second, lengths)
        found = self.rows[slots]
        there = (found[:, 0] == first) & (found[:, 1] == second) & (found[:, 2] == lengths.astype(np.uint64))
        ids = np.where(there, found[:, 3].astype(np.int64), self.default)
        untold = np.flatnonzero((self.shared[slots] & ~there) | (lengths > WHOLE))
        words = zip(starts[untold].tolist(), (starts + lengths)[untold].tolist(), strict=True)
        ids[untold] = [self.known.get(joined[begin:end], self.default) for begin, end in words]
        return ids


def _halves(buffer: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first 8 bytes of words, and those that follow, as numbers."""
    words = np.ndarray((len(buffer) - HALF + 1,), "<u8", buffer.data, strides=(1,))
    return words[starts] & BITS[np.minimum(lengths, HALF)], words[starts + HALF] & BITS[np.clip(lengths - HALF, 0, HALF)]
