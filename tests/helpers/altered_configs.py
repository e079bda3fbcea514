"""Configs with something in them that nobody knows: where it may stand, and what is said of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fastlstm
from fastlstm.errors import FastLSTMError

UNKNOWN = "mystery"


Place = tuple[str | int, ...]


def places(value: Any, kind: type, at: Place = ()) -> Iterator[Place]:
    """Where the objects (or the lists) in a JSON value are."""
    if isinstance(value, kind):
        yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, kind, (*at, key))


def within(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


def name_of(place: Place) -> str:
    return "".join(f".{key}" for key in place)


def changed(config: Any, place: Place, change: Callable[[Any], Any]) -> Any:
    config = copy.deepcopy(config)
    change(within(config, place))
    return config


def refused(write: Callable[[Any], Path], config: Any, *, verify: bool = False) -> str:
    """The message with which a changed config is refused; empty if it loads as if nothing were wrong."""
    try:
        fastlstm.load(write(config), verify=verify)
    except FastLSTMError as error:
        return str(error)
    return ""
