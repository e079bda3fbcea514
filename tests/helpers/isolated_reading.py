"""Reads a file in this process and in one of its own: what comes of it must be the same."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from fastlstm import formats
from fastlstm.errors import FastLSTMError
from fastlstm.isolation import parent
from fastlstm.isolation.parent import Isolation
from fastlstm.limits import Budget


def difference(a: Any, b: Any, place: str = "") -> str:
    """Where two specs, or what stands in them, differ: in types, keys and bits."""
    if type(a) is not type(b):
        return f"{place}: {a!r:.60} / {b!r:.60}"
    if isinstance(a, np.ndarray):
        return "" if (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()) else f"{place}: another array"
    if dataclasses.is_dataclass(a):
        a, b = ({field.name: getattr(each, field.name) for field in dataclasses.fields(each)} for each in (a, b))
    if isinstance(a, dict):
        if list(a) != list(b):
            return f"{place}: {list(a)} / {list(b)}"
        return next(filter(None, (difference(a[key], b[key], f"{place}.{key}") for key in a)), "")
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return f"{place}: {len(a)} / {len(b)}"
        return next(filter(None, (difference(*pair, f"{place}[{number}]") for number, pair in enumerate(zip(a, b)))), "")
    return "" if a == b or (a != a and b != b) else f"{place}: {a!r:.60} / {b!r:.60}"


def outcome(read: Callable[[], Any]) -> tuple[Any, list[str]]:
    """A spec, or the error in place of it, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = read()
        except FastLSTMError as error:
            found = (type(error), str(error))
    return found, [str(warning.message) for warning in caught]


def same_as_here(path: Any, **options: Any) -> Any:
    """Read a file both ways; they must agree in all."""
    here = outcome(lambda: formats.read(path, **options))
    source = formats.source_of(path)
    there = outcome(lambda: parent.read(source, Isolation(), Budget(source.name, source.size), **options))
    assert difference(here, there) == ""
    return here[0]
