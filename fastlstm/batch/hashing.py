"""Hashes of many texts at once, and a set of numbers that takes eight bytes each."""

from __future__ import annotations

import numpy as np

#: Bytes of a word.
WORD = 8
#: What the words of a text are mixed with: odd constants of SplitMix64 (Steele, Lea and Flood, 2014).
STEP, FIRST, SECOND = map(np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def mixed(words: np.ndarray) -> np.ndarray:
    """Each bit of 64 in all of them."""
    words = (words ^ (words >> np.uint64(30))) * FIRST
    words = (words ^ (words >> np.uint64(27))) * SECOND
    return words ^ (words >> np.uint64(31))


def hashed(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(rows,), int64: hashes of the bytes ``data[offsets[row] : offsets[row + 1]]`` of each row."""
    lengths = np.diff(offsets)
    found = mixed(lengths.astype(np.uint64) + STEP)
    if not len(lengths) or not lengths.max():
        return found.view(np.int64)
    some = np.concatenate([data[offsets[0] : offsets[-1]], np.zeros(WORD, np.uint8)])
    windows = np.lib.stride_tricks.sliding_window_view(some, WORD)
    rows, begins = np.arange(len(lengths)), offsets[:-1] - offsets[0]
    for at in range(0, int(lengths.max()), WORD):
        rows = rows[lengths[rows] > at]
        words = windows[begins[rows] + at].view("<u8")[:, 0]
        beyond = np.maximum(WORD - (lengths[rows] - at), 0).astype(np.uint64) * np.uint64(8)  # bits of the next row
        found[rows] = mixed((found[rows] ^ ((words << beyond) >> beyond)) * STEP + FIRST)
    return found.view(np.int64)


class Seen:
    """Numbers of 64 bits that have come."""

    def __init__(self) -> None:
        self._sorted: list[np.ndarray] = []  # each at least twice as long as the next

    def __len__(self) -> int:
        return sum(map(len, self._sorted))

    def among(self, numbers: np.ndarray) -> np.ndarray:
        """(numbers,), bool: which have come."""
        found = np.zeros(len(numbers), bool)
        for known in self._sorted:
            places = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
            found |= known[places] == numbers
        return found

    def add(self, numbers: np.ndarray) -> None:
        """Numbers that have not come yet."""
        if not len(numbers):
            return
        self._sorted.append(np.sort(numbers))
        while len(self._sorted) > 1 and len(self._sorted[-2]) < 2 * len(self._sorted[-1]):
            last = self._sorted.pop()
            self._sorted[-1] = np.sort(np.concatenate([self._sorted[-1], last]), kind="stable")  # which merges what is sorted
