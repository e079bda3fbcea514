"""Repositories of models that look only when they are told to, the files in them, and what is seen of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm
from fastlstm.serving import Options
from fastlstm.serving.models.repository import Repository
from fastlstm.serving.models.served import Served

QUIET = Options(poll_seconds=None)


class Seen:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def loaded(self, name: str, version: int) -> None:
        self.told.append(("loaded", name, version))

    def unloaded(self, name: str, version: int) -> None:
        self.told.append(("unloaded", name, version))

    def load_failed(self, name: str) -> None:
        self.told.append(("failed", name))


def made(models: Mapping[str, Any] | None = None, **given: Any) -> Repository:
    """A repository that is loaded, and looks only when it is told to."""
    options = given.pop("options", QUIET)
    found = Repository(models or {}, options, **given)
    found.load()
    return found


def states(repository: Repository, name: str = "m") -> dict[int, str]:
    return {status.version: status.state for status in repository.status(name)}


def put(source: Path, target: Path) -> None:
    """A whole file in place of another, as mv does it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target.with_name(".coming"))
    os.replace(target.with_name(".coming"), target)


def looks(repository: Repository, times: int = 2) -> None:
    for _ in range(times):
        repository.look()


def computes_as(served: Served, path: Path) -> bool:
    x = np.ones((2, 5, 3), np.float32)
    (output,) = served.outputs
    return np.array_equal(served.predict({served.inputs[0].name: x})[output.name], fastlstm.load(path).predict(x))
