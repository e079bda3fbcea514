"""JSON from untrusted files: of bounded size and depth."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ...errors import FormatError
from ...limits import JSON_DEPTH, TEXT, Budget

#: More digits than any number of a model has; reading them takes time that grows with their square.
DIGITS = 400
MOST_UNWRAPPED = 3


def parse_json(text: str, budget: Budget, place: str) -> Any:
    """JSON of bounded size and depth; JSON written as a JSON string is unwrapped.

    Raises
    ------
    FormatError
        If it is not JSON, or too large or too deep.
    """
    source = budget.source
    for _ in range(MOST_UNWRAPPED):
        if len(text) > TEXT:
            raise FormatError(f"{source}: {place}: {len(text)} characters of JSON, more than {TEXT}")
        budget.text(place, text)
        if deepest(text) > JSON_DEPTH:
            raise FormatError(f"{source}: {place}: JSON nested more than {JSON_DEPTH} deep")
        try:
            value = json.loads(text, parse_int=whole)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{source}: {place}: not JSON ({error})") from error
        if not isinstance(value, str):
            return value
        text = value
    raise FormatError(f"{source}: {place}: JSON inside JSON inside JSON")


def deepest(text: str) -> int:
    """The largest number of brackets, outside strings, that are open at once."""
    plain = text.replace("\\\\", "").replace('\\"', "")  # the quotes that are left begin and end strings
    marks = np.frombuffer(plain.encode("ascii", "replace"), np.uint8)
    outside = np.cumsum(marks == ord('"'), dtype=np.uint8) % 2 == 0
    steps = np.zeros(len(marks), np.int8)
    for bracket, step in zip(b"[{]}", (1, 1, -1, -1), strict=True):
        steps[(marks == bracket) & outside] = step
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))


def whole(digits: str) -> int:
    """A whole number of JSON."""
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def expect(source: str, place: str, value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """Return ``value`` if it is of a type; else raise a FormatError that says what was expected there."""
    if isinstance(value, kind):
        return value
    found = repr(value)
    raise FormatError(f"{source}: {place}: expected {what}, found {found if len(found) < 80 else found[:77] + '...'}")
