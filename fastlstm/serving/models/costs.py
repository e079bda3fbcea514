"""How long a model takes: measured with every request, by the size of what is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

#: How much of an estimate a new measurement makes up.
WEIGHT = 0.2
#: A measurement counts as no more than so many times what was expected: a process that was interrupted says nothing of the model.
MOST = 8.0


class Costs:
    """Running means of how long requests take, in seconds, of one model; by size, in powers of two."""

    def __init__(self) -> None:
        self._means: dict[int, float] = {}

    def expected(self, arrays: Mapping[str, Any]) -> float | None:
        """How long these inputs will take; None: nothing is known yet."""
        return self.expected_at(place_of(arrays))

    def expected_at(self, place: int) -> float | None:
        """The same by :func:`place_of`."""
        means = self._means
        found = means.get(place)
        if found is not None or not means:
            return found
        near = min(means, key=lambda one: abs(one - place))
        return means[near] * 2.0 ** max(place - near, 0)  # fewer rows take no longer; how much less, is not known

    def is_short(self, place: int, seconds: float) -> bool:
        """Is it known to take less?"""
        expected = self._means.get(place)
        if expected is None:
            expected = self.expected_at(place)
        return expected is not None and expected < seconds

    def observe(self, arrays: Mapping[str, Any], seconds: float) -> None:
        """Take a measurement into account."""
        self.observe_at(place_of(arrays), seconds)

    def observe_at(self, place: int, seconds: float) -> None:
        """The same by :func:`place_of`."""
        known = self._means.get(place)
        if known is None:
            self._means[place] = seconds
        else:
            self._means[place] = known + WEIGHT * (min(seconds, MOST * known) - known)


def place_of(arrays: Mapping[str, Any]) -> int:
    """Which power of two inputs are as large as."""
    return size_of(arrays).bit_length()


def size_of(arrays: Mapping[str, Any]) -> int:
    """Numbers and texts in all inputs, a text as many as it has characters."""
    total = 0
    for value in arrays.values():
        if not isinstance(value, np.ndarray):
            total += sum(one.size if isinstance(one, np.ndarray) else 1 for one in value) if isinstance(value, (list, tuple)) else 1
        elif value.dtype.kind == "O":
            total += sum(len(one) if isinstance(one, (str, bytes)) else 1 for one in value.reshape(-1).tolist())
        else:
            total += value.size
    return total
