"""JSON from files that nobody vouches for: of bounded size and depth."""

from __future__ import annotations

import json
import re
from typing import Any

from ..errors import FormatError
from ..limits import JSON_DEPTH, TEXT, Budget

#: A string that does not end is one to the end: it would be tried anew from each quote in it otherwise, for hours.
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
#: More digits than any number of a model has; reading them takes time that grows with their square.
DIGITS = 400
MOST_UNWRAPPED = 3


def parse_json(text: str, budget: Budget, place: str) -> Any:
    """JSON of bounded size and depth; JSON written as a JSON string is unwrapped.

    Raises
    ------
    FormatError
        If it is none, or too large or too deep.
    """
    source = budget.source
    for _ in range(MOST_UNWRAPPED):
        if len(text) > TEXT:
            raise FormatError(f"{source}: {place}: {len(text)} characters of JSON, more than {TEXT}")
        budget.text(place, text)
        depth = 0
        for match in _BRACKETS.finditer(text):
            mark = text[match.start()]
            depth += (mark in "[{") - (mark in "]}")
            if depth > JSON_DEPTH:
                raise FormatError(f"{source}: {place}: JSON nested more than {JSON_DEPTH} deep")
        try:
            value = json.loads(text, parse_int=whole)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{source}: {place}: not JSON ({error})") from error
        if not isinstance(value, str):
            return value
        text = value
    raise FormatError(f"{source}: {place}: JSON inside JSON inside JSON")


def whole(digits: str) -> int:
    """A whole number of JSON."""
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def expect(source: str, place: str, value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """``value`` if it is of a type, else a FormatError that says what was expected there."""
    if isinstance(value, kind):
        return value
    found = repr(value)
    raise FormatError(f"{source}: {place}: expected {what}, found {found if len(found) < 80 else found[:77] + '...'}")
