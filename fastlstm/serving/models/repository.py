"""The models that are served: by name, version and label; loaded, warmed and replaced while others answer."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import FastLSTMError, FormatError, InputError
from ...inputs import told
from ...model import Model
from ...pipeline import Pipeline
from ..options import Options
from ..refusals import RefusedError
from . import finding
from .served import Served
from .shelf import Agreeing, Around, Nobody, Observer, Shelf, Status
from .shelf import Given as GivenModel

__all__ = ["Given", "Repository", "Status"]

LOG = logging.getLogger("fastlstm.serving")

Given = str | os.PathLike[str] | Model[Any] | Pipeline
Labels = Mapping[str, Mapping[str, int]]


class Repository:
    """The models that are served.

    Requests read; a thread of its own looks for changes, loads and warms beside them. What a request names is looked up in tables
    and is never a part of a path.

    Parameters
    ----------
    models
        By name a path, to a model or to a folder of versions; or a model or pipeline.
    options
        Of the service.
    folder
        A folder of models, each by the name of its file or folder.
    labels
        By model, by label, a version.
    observer
        Who is told what is served: metrics.
    agreement
        With other workers that serve the same.
    """

    def __init__(
        self, models: Mapping[str, Given], options: Options, *, folder: str | os.PathLike[str] | None = None,
        labels: Labels | None = None, observer: Observer | None = None, agreement: Agreeing | None = None,
    ):  # fmt: skip
        self.options = options
        self._end = threading.Event()
        self._around = Around(observer or Nobody(), agreement, self._end.is_set)
        self._labels = checked_labels(labels, None if folder is not None else list(models))
        self._shelves: dict[str, Shelf | GivenModel] = {}
        self._folder = None if folder is None else folder_of(folder)
        self._found: dict[str, str] = {}  # in the folder, path by name
        self._gone: set[str] = set()  # from the folder, at the last look
        self._said: set[str] = set()
        for name, given in dict(models).items():
            self._shelves[finding.checked_name(name)] = self._shelf(name, given)
        self._own = tuple(self._shelves)
        if not self._shelves and self._folder is None:
            raise InputError("models: expected at least one model, or a folder of models, found none")
        self._loaded = False
        self._turn = threading.Lock()
        self._watcher: threading.Thread | None = None

    def _shelf(self, name: str, given: Given) -> Shelf | GivenModel:
        labels = self._labels.get(name, {})
        if isinstance(given, (Model, Pipeline)):
            return GivenModel(name, given, labels, self._around.observer)
        if isinstance(given, (str, os.PathLike)) and isinstance(os.fspath(given), str) and os.fspath(given):
            return Shelf(name, os.path.abspath(os.fspath(given)), self.options, labels, self._around)
        raise InputError(f"models: expected for {name!r} a path, a fastlstm.Model or a fastlstm.Pipeline, found {told(given)}")

    # -- looking ----------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Load and warm all that is there, once.

        Raises
        ------
        FastLSTMError
            If a model that was named cannot be loaded, or a label names a version that is not there. Of a folder of models the others
            are served, and the log says which are not.
        """
        with self._turn:
            if self._loaded:
                return
            self._look(first=True)
            for name in self._own:
                shelf = self._shelves[name]
                if shelf.failure:
                    raise FormatError(f"model {name!r}: cannot be served: {shelf.failure}")
                missing = [(label, version) for label, version in shelf.labels.items() if version not in shelf.shown.versions]
                if missing:
                    found = ", ".join(map(str, sorted(shelf.shown.versions)))
                    raise InputError(
                        f"label {missing[0][0]!r} of model {name!r}: expected one of the versions {found}, found {missing[0][1]}"
                    )
            self._loaded = True

    def look(self) -> None:
        """Look for changes, and load and warm what is new: blocks until that is done."""
        with self._turn:
            self._look(first=False)

    def _look(self, first: bool) -> None:
        if self._folder is not None:
            self._look_into(self._folder)
        for shelf in list(self._shelves.values()):
            shelf.look(first)

    def _look_into(self, folder: str) -> None:
        """Which models there are in the folder now: what is gone at two looks, one after another, is served no more."""
        try:
            found, said = finding.models_in(folder, self._found)
        except OSError as error:
            found, said = dict(self._found), [f"{folder}: cannot be read ({error.strerror}); what is served stays"]
        said += [f"{path}: is not served: another model has the name {name!r}" for name, path in found.items() if name in self._own]
        for text in said:
            if text not in self._said:
                LOG.warning(text)
        self._said = set(said)
        gone = {name for name in self._found if name not in found}
        shelves = {name: shelf for name, shelf in self._shelves.items() if name not in gone & self._gone}
        kept = {name: path for name, path in self._found.items() if name in gone - self._gone}
        self._gone = gone
        for name, path in found.items():
            if name in self._own:
                continue
            shelf = shelves.get(name)
            if isinstance(shelf, Shelf):
                shelf.path = path  # perhaps a file with another ending, whose model takes the place of the other's
            else:
                shelves[name] = self._shelf(name, path)
        for name, shelf in self._shelves.items():
            if shelves.get(name) is not shelf:
                shelf.leave()
        self._found = {**found, **kept}
        self._shelves = shelves

    def _watch(self, seconds: float) -> None:
        # All workers look at the same moments, so that what is gone is gone for all of them.
        while not self._end.wait(seconds - time.time() % seconds):
            try:
                self.look()
            except Exception:
                LOG.exception("looking for changes of models failed; what is served stays")

    async def start(self) -> None:
        """Load and warm all that is there; look for changes from then on."""
        try:
            await asyncio.get_running_loop().run_in_executor(None, self.load)
        except FastLSTMError as error:
            if self._around.agreement is None:
                raise
            await self._around.agreement.leave(error)
        if self._watcher is None and self.options.poll_seconds is not None:
            self._end.clear()
            self._watcher = threading.Thread(target=self._watch, args=(self.options.poll_seconds,), name="fastlstm-watch", daemon=True)
            self._watcher.start()

    async def stop(self) -> None:
        """No longer look for changes."""
        self._end.set()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            await asyncio.get_running_loop().run_in_executor(None, watcher.join)

    # -- asking -----------------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Is every model loaded that was there at the start?"""
        return self._loaded

    def names(self) -> Sequence[str]:
        """The models that requests may name, in order: also those of a folder that cannot be loaded."""
        return list(self._shelves)

    def failures(self) -> Mapping[str, str]:
        """By name of each model that is not served: why."""
        return {name: shelf.failure for name, shelf in list(self._shelves.items()) if shelf.failure}

    def get(self, name: str, version: int | None = None, label: str | None = None) -> Served:
        """A version of a model: that of a number or a label, or the newest.

        Raises
        ------
        RefusedError
            404, if there is none.
        """
        shelf = self._shelves.get(name)
        if shelf is not None:
            shown = shelf.shown
            if label is not None:
                version = shown.labels.get(label)
                if version is None:
                    raise RefusedError(404, f"Unrecognized servable version label: {label}")
            found = shown.newest if version is None else shown.versions.get(version)
            if found is not None:
                return found
        wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise RefusedError(404, f"Servable not found for request: {wanted}")

    def status(self, name: str) -> Sequence[Status]:
        """Of each version, newest first.

        Raises
        ------
        RefusedError
            404, if there is no such model.
        """
        shelf = self._shelves.get(name)
        if shelf is None:
            raise RefusedError(404, f"Could not find any versions of model {name}")
        return shelf.statuses()


def folder_of(folder: Any) -> str:
    """A folder of models."""
    if not isinstance(folder, (str, os.PathLike)) or not isinstance(os.fspath(folder), str):
        raise InputError(f"folder: expected the path of a folder of models, found {told(folder)}")
    path = os.path.abspath(os.fspath(folder))
    if not os.path.isdir(path):
        raise InputError(f"folder: expected the path of a folder of models, found {told(os.fspath(folder))}, which is none")
    return path


def checked_labels(labels: Any, names: Sequence[str] | None) -> dict[str, dict[str, int]]:
    """Labels of versions; ``names``: the models that there are, None: others may come."""
    if labels is None:
        return {}
    wanted = "labels: expected versions by model and label, {'m': {'stable': 3}}"
    if not isinstance(labels, Mapping) or not all(isinstance(one, Mapping) for one in labels.values()):
        raise InputError(f"{wanted}, found {told(labels)}")
    for name, by_label in labels.items():
        if names is not None and name not in names:
            raise InputError(f"labels: expected names of models among {', '.join(map(repr, names))}, found {told(name)}")
        for label, version in by_label.items():
            finding.checked_name(label, "labels")
            if isinstance(version, bool) or not isinstance(version, int) or version < 0:
                raise InputError(f"{wanted}, found for {label!r} {told(version)}")
    return {name: dict(one) for name, one in labels.items()}
