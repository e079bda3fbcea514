"""Tests that look at something from every side look at it from a few each time, and from all when asked: ``pytest -m sweep``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

#: What marks a parameter that is left to a sweep.
SWEEP = (pytest.mark.slow, pytest.mark.sweep)


def swept(values: Iterable[Any], few: Callable[[Any], bool]) -> list[Any]:
    """Parameters of a test, each one value or a tuple of values; those that are not among the few are left to a sweep."""
    return [value if few(value) else pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=SWEEP) for value in values]
