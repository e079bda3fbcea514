"""Tests that look at something from every side look at it from a few each time, and from all when asked: ``pytest -m sweep``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
#: What marks a parameter that is left to a sweep.
SWEEP = (pytest.mark.slow, pytest.mark.sweep)


def swept(values: Iterable[Any], few: Callable[[Any], bool]) -> list[Any]:
    """Parameters of a test, each one value or a tuple of values; those that are not among the few are left to a sweep."""
    return [value if few(value) else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=SWEEP) for value in values]


#: For the parameter ``quarter`` of a test: the first each time, the others in a sweep.
QUARTERS = swept(range(4), lambda quarter: quarter == 0)


def quarter_of(values: Sequence[T], quarter: int) -> Sequence[T]:
    """Every fourth value; all four together are all."""
    return values[quarter::4]
