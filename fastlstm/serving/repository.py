"""The models that are served: by name, version and label; loaded, warmed and replaced while others answer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..model import Model
from ..pipeline import Pipeline, load_either
from .options import Options
from .refusals import RefusedError
from .served import Served

Given = str | os.PathLike[str] | Model[Any] | Pipeline


@dataclass(frozen=True)
class Status:
    """How one version stands: ``state`` is START, LOADING, AVAILABLE, UNLOADING or END, as TensorFlow Serving calls them."""

    version: int
    state: str
    message: str = ""  # why it is not served


class Repository:
    """The models that are served."""

    def __init__(
        self, models: Mapping[str, Given], options: Options, *, folder: str | os.PathLike[str] | None = None,
        labels: Mapping[str, Mapping[str, int]] | None = None,
    ):  # fmt: skip
        self.options = options
        self._given = dict(models)
        self._served: dict[str, Served] = {}

    async def start(self) -> None:
        """Load and warm all that is there; look for changes from then on."""
        for name, given in self._given.items():
            model = given if isinstance(given, (Model, Pipeline)) else load_either(given, threads=self.options.threads)
            self._served[name] = Served(name, 1, model)

    async def stop(self) -> None:
        """No longer look for changes."""

    @property
    def ready(self) -> bool:
        """Is every model loaded that was there at the start?"""
        return len(self._served) == len(self._given)

    def names(self) -> Sequence[str]:
        """The models that requests may name, in order."""
        return list(self._given)

    def get(self, name: str, version: int | None = None, label: str | None = None) -> Served:
        """A version of a model: that of a number or a label, or the newest.

        Raises
        ------
        RefusedError
            404, if there is none.
        """
        found = self._served.get(name)
        if found is None or version not in (None, found.version) or label is not None:
            raise RefusedError(404, f"no model {name!r}")
        return found

    def status(self, name: str) -> Sequence[Status]:
        """Of each version, newest first.

        Raises
        ------
        RefusedError
            404, if there is no such model.
        """
        return [Status(self.get(name).version, "AVAILABLE")]
