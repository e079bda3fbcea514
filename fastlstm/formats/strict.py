"""Checks that values have exactly the types that a class declares: nothing is converted, and nothing is left out."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .reading.values import short

T = TypeVar("T")

#: The types of a class's fields.
hints_of: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


def fits(value: Any, hint: Any) -> bool:
    """Is a JSON value of a type: bool, int, float (finite), str, None, a Literal, a union, or a list of one type?"""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if kind in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if kind is list:
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value)
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is hint


def typed(value: T, hint: Any, place: str) -> T:
    """Return a value if it is of a type; else raise a ValueError that names its place."""
    if not fits(value, hint):
        raise ValueError(f"{place}: expected {told(hint)}, found {short(value)}")
    return value


def told(hint: Any) -> str:
    """A type in words."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Literal:
        return " or ".join(map(repr, inner))
    if kind in (Union, types.UnionType):
        return " or ".join(map(told, inner))
    if kind is list:
        return f"a list of {told(inner[0])}"
    return "None" if hint in (None, type(None)) else str(hint.__name__)


def record(kind: type[T], entry: Any, place: str) -> T:
    """A dataclass of plain fields from a JSON object: fields with a default may be missing; other keys are an error."""
    given = typed(entry, dict, place)
    hints = hints_of(kind)
    unknown = sorted(set(given) - set(hints))
    if unknown:
        raise ValueError(f"{place}: {', '.join(unknown)} not known")
    missing = [one.name for one in fields(kind) if one.name not in given and one.default is MISSING]  # type: ignore[arg-type]
    if missing:
        raise ValueError(f"{place}: {', '.join(missing)} missing")
    return kind(**{name: typed(value, hints[name], f"{place}: {name}") for name, value in given.items()})


def object_of(value: Any, place: str, known: frozenset[str], optional: frozenset[str] = frozenset()) -> Mapping[str, Any]:
    """Return a JSON object if it has all known keys, save the optional ones, and no others."""
    entry: dict[str, Any] = typed(value, dict, place)
    unknown, missing = sorted(set(entry) - known), sorted(known - optional - set(entry))
    if unknown or missing:
        raise ValueError(f"{place}: " + " and ".join([*(f"{key} not known" for key in unknown), *(f"{key} missing" for key in missing)]))
    return entry
