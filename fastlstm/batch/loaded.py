"""Models by path, loaded once a process, whoever asks for them."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from .. import forking
from ..model import Model
from ..pipeline import Pipeline, load_either

#: Models that are kept; those that were asked for longest ago go first.
MOST_KEPT = 8


class Same:
    """A value that no dict takes as a key: the same is what is the very object."""

    def __init__(self, value: Any):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


class Entry:
    """A model, once it is loaded."""

    def __init__(self) -> None:
        self.turn = threading.RLock()
        self.model: Model[Any] | Pipeline | None = None


class Kept:
    """The models of a process. A file that was replaced is loaded anew; one that fails to load is tried again."""

    def __init__(self) -> None:
        self.entries: OrderedDict[Any, Entry] = OrderedDict()
        self.turn = threading.RLock()
        forking.in_child(self, Kept.put_right)

    def put_right(self) -> None:
        """In a forked process: locks that threads of the parent held are never released there."""
        self.turn = threading.RLock()
        for key, entry in list(self.entries.items()):
            if entry.model is None:
                del self.entries[key]
            else:
                entry.turn = threading.RLock()

    def model(self, path: str, stamp: Any, options: Mapping[str, Any]) -> Model[Any] | Pipeline:
        """The model of a file of a stamp, loaded with options; ``part``: the ``inputs`` and ``outputs`` that name a part of it."""
        key = (path, stamp, frozen(options))
        with self.turn:
            entry = self.entries.setdefault(key, Entry())
            self.entries.move_to_end(key)
            while len(self.entries) > MOST_KEPT:
                self.entries.popitem(last=False)
        with entry.turn:
            if entry.model is None:
                try:
                    loading = dict(options)
                    entry.model = load_either(path, **loading.pop("part", None) or {}, **loading)
                finally:
                    if entry.model is None:
                        with self.turn:
                            self.entries.pop(key, None)
            return entry.model


def stamp_of(path: str) -> Any:
    """What changes when a file, or one in a folder, is replaced.

    Raises
    ------
    OSError
        If it is not there.
    """
    status = os.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        return status.st_mtime_ns, status.st_size, status.st_ino
    found = []
    for folder, _, files in os.walk(path):
        for name in sorted(files):
            one = os.stat(os.path.join(folder, name))
            found.append((folder, name, one.st_mtime_ns, one.st_size, one.st_ino))
    return tuple(found)


def frozen(value: Any) -> Any:
    """An option as a part of a key."""
    if isinstance(value, Mapping):
        return tuple(sorted((str(name), frozen(one)) for name, one in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(map(frozen, value))
    try:
        hash(value)
    except TypeError:
        return Same(value)
    return value


KEPT = Kept()
