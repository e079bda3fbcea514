"""The versions of one model: which are wanted, loaded, warmed, replaced and let go."""

from __future__ import annotations

import logging
import os
import shlex
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from ...errors import FastLSTMError, InputError
from ...model import Model
from ...pipeline import Pipeline, load_either
from ..options import Options
from . import finding
from .served import Served

LOG = logging.getLogger("fastlstm.serving")

#: How a version stands, as TensorFlow Serving calls it.
START, LOADING, AVAILABLE, UNLOADING, END = "START", "LOADING", "AVAILABLE", "UNLOADING", "END"
#: Versions that have ended are remembered up to so many.
ENDED = 16


@dataclass(frozen=True)
class Status:
    """How one version stands: ``state`` is START, LOADING, AVAILABLE, UNLOADING or END, as TensorFlow Serving calls them."""

    version: int
    state: str
    message: str = ""  # why it is not served


class Observer(Protocol):
    """Who is told what is served: metrics."""

    def loaded(self, name: str, version: int) -> None:
        """A version is served from now on."""

    def unloaded(self, name: str, version: int) -> None:
        """A version is no longer served."""

    def load_failed(self, name: str) -> None:
        """A version could not be loaded."""


class Nobody:
    """Is told nothing."""

    def loaded(self, name: str, version: int) -> None:
        """See Observer."""

    def unloaded(self, name: str, version: int) -> None:
        """See Observer."""

    def load_failed(self, name: str) -> None:
        """See Observer."""


class Agreeing(Protocol):
    """The other workers: see :class:`fastlstm.serving.server.workers.Agreement`."""

    def reached(self, name: str, version: int, stamp: Any, fine: bool, ended: Callable[[], bool]) -> bool:
        """Is a version to be shown that this worker could load, or could not?"""

    async def leave(self, error: Exception) -> None:
        """End this worker, which cannot begin."""


@dataclass(frozen=True)
class Around:
    """Who else has to do with what is served."""

    observer: Observer = field(default_factory=Nobody)
    agreement: Agreeing | None = None  # with other workers
    ended: Callable[[], bool] = bool  # is the service about to end?


@dataclass(frozen=True)
class Shown:
    """What requests see of a model: never changed, only replaced."""

    newest: Served | None = None
    versions: Mapping[int, Served] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)


class Shelf:
    """The versions of one model that stands on disk. Only one thread at a time looks; requests read ``shown``.

    Parameters
    ----------
    name
        What requests call it.
    path
        The model, or the folder of its versions.
    options
        Of the service.
    labels
        By label, a version.
    around
        Who else has to do with it.
    """

    def __init__(self, name: str, path: str, options: Options, labels: Mapping[str, int], around: Around):
        self.name, self.path, self.options, self.labels = name, path, options, labels
        self.observer, self.around = around.observer, around
        self.shown = Shown(labels=labels)
        self._stamps: dict[int, Any] = {}  # of what is served
        self._seen: dict[int, Any] = {}  # of what was there at the last look: what still changes is not loaded
        self._broken: dict[int, tuple[Any, str]] = {}  # with what is wrong; tried again once it has changed
        self._loading: int | None = None
        self._waiting: set[int] = set()
        self._leaving: dict[int, weakref.ref[Served]] = {}
        self._ended: list[int] = []
        self._missing: set[int] = set()
        self._said = ""

    # -- looking ----------------------------------------------------------------------------------------------------------

    def look(self, first: bool = False) -> None:
        """Bring what is served up to date with what is there; ``first``: what is there is complete."""
        found, said = self._found()
        if said and said != self._said and self.shown.versions:  # at the start it is the reason why there are none
            LOG.warning("model %r: %s", self.name, said)
        self._said = said
        if found is None or (not found and not self.shown.versions):
            return
        paths = dict(found)
        while self._next(paths, first):
            pass
        self._seen = {version: finding.stamp(path) for version, path in paths.items()}
        self._let_go(paths)

    def _found(self) -> tuple[finding.Versions | None, str]:
        """The versions that are there, and what is said if that is not as it should be; None: it cannot be told."""
        try:
            found = finding.versions(self.path)
        except FastLSTMError as error:
            return None, f"{error}{self._stays()}"
        if found is None:
            return None, f"{self.path}: nothing is there{self._stays()}"
        return found, "" if found else f"{self.path}: no version is in it{self._instead()}"

    def _stays(self) -> str:
        return "; what is served stays" if self.shown.versions else ""

    def _instead(self) -> str:
        """What else a folder without versions could be."""
        try:
            inside = finding.models_in(self.path, {})[0]
        except OSError:  # it went meanwhile
            inside = {}
        return f", but models: {', '.join(islice(inside, 3))}; to serve each of them: --models {shlex.quote(self.path)}" if inside else ""

    def _next(self, paths: Mapping[int, str], first: bool) -> bool:
        """Load one version that is wanted; False: there is none."""
        self._waiting = set()
        for version in self._wanted(paths):
            stamp = finding.stamp(paths[version])
            if stamp is None or self._stamps.get(version) == stamp or self._is_broken(version, paths[version]):
                continue
            if not first and self._seen.get(version) != stamp:
                self._waiting.add(version)
                continue
            if self._load(version, paths[version], stamp):
                return True
            self._waiting.add(version)
        return False

    def _wanted(self, paths: Mapping[int, str]) -> list[int]:
        """The newest versions that are not broken, or were not when they were loaded, and those with labels."""
        here = self.shown.versions
        usable = [version for version in sorted(paths, reverse=True) if version in here or not self._is_broken(version, paths[version])]
        labelled = [version for version in usable if version in self.labels.values()]
        return list(dict.fromkeys([*usable[: self.options.versions], *labelled]))

    def _is_broken(self, version: int, path: str) -> bool:
        known = self._broken.get(version)
        return known is not None and known[0] == finding.stamp(path)

    def _load(self, version: int, path: str, stamp: Any) -> bool:
        """Load and warm a version, and show it; False: it has changed meanwhile."""
        self._loading = version
        start = time.perf_counter()
        try:
            model = load_either(finding.model_in(path), threads=self.options.threads, **self.options.loading)
            served = Served(self.name, version, model)
            served.warm()
            if finding.stamp(path) == stamp and not self._agreed(version, stamp, fine=True):
                raise InputError("is served by no worker, as another could not load it")
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            if finding.stamp(path) != stamp or self.around.ended():
                return False
            self._agreed(version, stamp, fine=False)
            self._note_broken(version, path, stamp, error)
            return True
        finally:
            self._loading = None
        if finding.stamp(path) != stamp:
            return False
        self._broken.pop(version, None)
        self._stamps[version] = stamp
        self._show({**self.shown.versions, version: served})
        LOG.info("model %r, version %d: loaded from %s in %.2f s", self.name, version, path, time.perf_counter() - start)
        return True

    def _agreed(self, version: int, stamp: Any, fine: bool) -> bool:
        """Is it to be shown, as far as the other workers go?"""
        agreement = self.around.agreement
        return fine if agreement is None else agreement.reached(self.name, version, stamp, fine, self.around.ended)

    def _note_broken(self, version: int, path: str, stamp: Any, error: Exception) -> None:
        own = isinstance(error, (FastLSTMError, OSError, MemoryError))
        text = str(error) or type(error).__name__
        kept = self.shown.newest
        what = "no version is" if kept is None else f"version {kept.version} is still"
        LOG.error("model %r, version %d: cannot be loaded, %s served: %s", self.name, version, what, text, exc_info=None if own else error)
        self.observer.load_failed(self.name)
        self._broken[version] = stamp, text.replace(os.path.abspath(path), self.name).replace(path, self.name) if own else "internal error"

    def _let_go(self, paths: Mapping[int, str]) -> None:
        """Let go of versions that are gone, and of those that newer ones have taken the place of."""
        here = self.shown.versions
        gone = {version for version in here if version not in paths}
        wanted = self._wanted(paths)
        done = all(version in here for version in wanted)
        kept = {version: served for version, served in here.items() if version not in gone & self._missing}
        self._missing = gone
        if done:
            kept = {version: served for version, served in kept.items() if version in wanted or version in gone}
        if len(kept) < len(here):
            self._show(kept)
        for version in [version for version in self._broken if version not in paths]:
            del self._broken[version]

    def _show(self, versions: Mapping[int, Served]) -> None:
        """What requests see from now on."""
        for version, served in self.shown.versions.items():
            if versions.get(version) is not served:
                self._leaving[version] = weakref.ref(served)
                if version not in versions:
                    del self._stamps[version]
                    self.observer.unloaded(self.name, version)
                    LOG.info("model %r, version %d: is not served any more", self.name, version)
        for version in versions:
            if version not in self.shown.versions:
                self.observer.loaded(self.name, version)
        newest = versions[max(versions)] if versions else None
        self.shown = Shown(newest, dict(versions), self.labels)

    def leave(self) -> None:
        """Serve no version any more."""
        self._show({})

    # -- telling ----------------------------------------------------------------------------------------------------------

    @property
    def failure(self) -> str:
        """Why no version is served."""
        if self.shown.newest is not None:
            return ""
        broken = "; ".join(f"version {version}: {text}" for version, (_, text) in sorted(self._broken.items()))
        return broken or self._said or f"{self.path}: what is there cannot be read, such as a link to nothing, or still changes"

    def statuses(self) -> Sequence[Status]:
        """Of each version that is known, newest first."""
        found: dict[int, Status] = {}
        for version, reference in list(self._leaving.items()):
            if reference() is None:
                self._leaving.pop(version, None)
                self._ended = [*(one for one in self._ended if one != version), version][-ENDED:]
            else:
                found[version] = Status(version, UNLOADING)
        found = {**{version: Status(version, END) for version in self._ended}, **found}
        found.update({version: Status(version, START) for version in list(self._waiting)})
        found.update({version: Status(version, END, text) for version, (_, text) in list(self._broken.items())})
        if self._loading is not None:
            found[self._loading] = Status(self._loading, LOADING)
        for version in self.shown.versions:  # of one that is to be replaced by a broken one, what is wrong with that
            found[version] = Status(version, AVAILABLE, self._broken[version][1] if version in self._broken else "")
        return [found[version] for version in sorted(found, reverse=True)]


class Given:
    """A model that a caller has made, which stays as it is."""

    def __init__(self, name: str, model: Model[Any] | Pipeline, labels: Mapping[str, int], observer: Observer):
        self.name, self.labels, self.observer, self.failure = name, labels, observer, ""
        served = Served(name, 1, model)
        self.shown = Shown(served, {1: served}, labels)

    def look(self, first: bool = False) -> None:
        """Warm it, the first time."""
        if first and self.shown.newest is not None:
            self.shown.newest.warm()
            self.observer.loaded(self.name, 1)

    def leave(self) -> None:
        """It stays."""

    def statuses(self) -> Sequence[Status]:
        """Of its only version."""
        return [Status(1, AVAILABLE)]
