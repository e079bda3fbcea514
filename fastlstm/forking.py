"""Puts a forked process right: it has one of its parent's threads, and locks that the others held are never released there."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

# By id, as a user's subclass of what is registered may define equality, and no hash.
_registered: dict[int, tuple[weakref.ref[Any], Callable[[Any], None]]] = {}


def in_child(thing: Any, put_right: Callable[[Any], None]) -> None:
    """Have ``put_right(thing)`` called in every process that is forked from this one while ``thing`` is there."""
    key, forget = id(thing), _registered.pop

    def gone(_: weakref.ref[Any]) -> None:
        forget(key, None)

    _registered[key] = (weakref.ref(thing, gone), put_right)


def _put_right() -> None:
    for reference, put_right in list(_registered.values()):
        thing = reference()
        if thing is not None:
            put_right(thing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_put_right)
