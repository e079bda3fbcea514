"""How far long work has got, told to who started it; what is worked on need not know who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: Called with what is done, how much of it, and of how much.
Watcher = Callable[[str, int, int], None]

_watcher: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """While it lasts, :func:`tell` calls ``watcher``."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def tell(what: str, done: int, of: int) -> None:
    """Say how far some work has got."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(what, done, of)
