"""What is said about columns that are refused, whichever kind of table they are in."""

from __future__ import annotations

from typing import Any

from ..errors import InputError

#: What to do about nulls.
SKIP = "nulls='skip' leaves such rows out"


def nulls_found(name: Any, row: int, count: int) -> InputError:
    """Nulls, about which nothing was said."""
    found = f"found {count}, the first in row {row}" if count > 1 else f"found one in row {row}"
    return InputError(f"column {name!r}: expected no nulls, {found}; {SKIP}, a number such as nulls=0 takes their place")


def null_text(name: Any, fill: float) -> InputError:
    """A number cannot stand for a text."""
    return InputError(f"column {name!r}: nulls={fill!r} stands for a number, found a null among texts; {SKIP}")


def null_list(name: Any, fill: float, row: int) -> InputError:
    """A number cannot stand for a list, whose length nothing tells."""
    return InputError(
        f"column {name!r}: nulls={fill!r} stands for a number, found a null in place of a list of any length in row {row}; {SKIP}"
    )


def no_numbers(name: Any, kind: str, *, dates: bool = False, struct: bool = False) -> InputError:
    """A type that no model reads."""
    advice = "; say what a model is to read of it, such as hours since a moment, as numbers" if dates else ""
    advice += "; make columns of its fields" if struct else ""
    return InputError(f"column {name!r}: expected numbers, text, or lists of these, found {kind}{advice}")


def text_for_numbers(name: Any, input_name: str) -> InputError:
    """Text where a model computes."""
    return InputError(f"column {name!r}: expected numbers, as input {input_name!r} takes, found text; choose other columns by inputs=")


def uneven(name: Any, kind: str) -> InputError:
    """Lists whose lengths differ inside a row."""
    return InputError(f"column {name!r}: expected lists that differ in length from row to row alone, found inner ones that do, in {kind}")


def null_key(name: Any, row: int) -> InputError:
    """A step of no sequence."""
    return InputError(f"key: expected a value in every row of column {name!r}, found a null in row {row}; leave such rows out first")


def null_order(name: Any, row: int) -> InputError:
    """A step without a place."""
    return InputError(f"order: expected a value in every row of column {name!r}, found a null in row {row}; leave such rows out first")


def no_order(name: Any, kind: str, *, text: bool) -> InputError:
    """Values by which steps are not sorted."""
    advice = "; make times of the texts first, such as by pandas.to_datetime or a cast" if text else ""
    return InputError(f"order: expected numbers, dates or times in column {name!r}, found {kind}{advice}")


def empty_list(name: Any, row: int) -> InputError:
    """A sequence of no steps."""
    return InputError(
        f"column {name!r}: expected at least one step in every row, found an empty list in row {row}; leave such rows out first"
    )
