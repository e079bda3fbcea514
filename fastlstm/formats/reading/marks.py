"""The marks of a draft: what its writer has assumed, and nobody has confirmed yet.

``fastlstm inspect weights.h5 --draft model.json`` writes an architecture with a list under KEY: an object for each thing that it could
not know, and a text that says what to do. Whoever has compared an assumption with the model's code deletes its object. Before that the
draft is not loaded: a guess that is wrong would give wrong numbers without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import FormatError
from .values import short

KEY = "fastlstm_draft"
#: Marks that a message tells.
MOST = 20


def settled(entry: Any, source: str) -> Any:
    """An architecture without the marks of a draft.

    Raises
    ------
    FormatError
        If any is left.
    """
    if not isinstance(entry, Mapping) or KEY not in entry:
        return entry
    marks = entry[KEY]
    if not isinstance(marks, list):
        raise FormatError(f"{source}: architecture: {KEY}: expected the list of what the draft assumes, found {short(marks)}")
    left = [mark for mark in marks if not isinstance(mark, str)]
    if left:
        told = "".join(f"\n  - {text(mark)}" for mark in left[:MOST])
        more = f"\n  - {len(left) - MOST} more" if len(left) > MOST else ""
        count = "1 line of it is" if len(left) == 1 else f"{len(left)} lines of it are"
        raise FormatError(
            f"{source}: architecture: a draft; {count} still to be confirmed:{told}{more}\n"
            f"Compare each with the code that made the model. Correct the layer's config where it is another value, "
            f"delete the line under {KEY!r}, and load again"
        )
    return {key: value for key, value in entry.items() if key != KEY}


def text(mark: Any) -> str:
    """A mark in a line."""
    assumed = mark.get("assumed") if isinstance(mark, Mapping) else None
    if not isinstance(assumed, Mapping):
        return short(mark)
    values = ", ".join(f"{key:.60}={short(value)}" for key, value in list(assumed.items())[:MOST])
    return f"{short(mark.get('layer'))}: {values}"
