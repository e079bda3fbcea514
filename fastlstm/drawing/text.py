"""Text that comes from files, on its way to a terminal or into a picture or page."""

from __future__ import annotations

import html
import unicodedata
from typing import Any

from ..listing import one_line

#: Widths of the letters of Helvetica and Arial in parts of the font's size, taken a little too wide.
NARROW, WIDE, CAPITAL, USUAL = 0.33, 0.92, 0.72, 0.6
NARROW_LETTERS = frozenset("ijlftrI.,:;|!'\"`()[]{}/\\- ")
WIDE_LETTERS = frozenset("mwMW@%…—")


def escaped(text: object) -> str:
    """A text for HTML or XML, between tags or as the value of an attribute."""
    return html.escape(one_line(str(text)))


def shape_text(shape: Any) -> str:
    """A shape, or several, for people: any size is "any"."""
    return "?" if shape is None else str(shape).replace("None", "any")


def width(text: str, size: float) -> float:
    """How wide a line of text is at most, in a sans-serif font of a size."""
    return size * sum(map(_letter, text))


def _letter(letter: str) -> float:
    if letter in NARROW_LETTERS:
        return NARROW
    if letter in WIDE_LETTERS:
        return WIDE
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.0
    return CAPITAL if letter.isupper() else USUAL


def cut(text: str, size: float, room: float) -> str:
    """A text that fits into a width: as it is, or with its middle left out, as names differ at their ends."""
    if width(text, size) <= room:
        return text
    half = int(room / (2 * USUAL * size))
    while half > 1 and width(f"{text[:half]}…{text[-half:]}", size) > room:
        half -= 1
    return f"{text[:half]}…{text[-half:]}"
