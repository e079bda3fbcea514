"""Has models compute: on the event loop where that takes microseconds, else on threads; so much at once, and no longer than allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from .options import Options
from .served import Served

T = TypeVar("T")


class Runner:
    """Has models compute."""

    def __init__(self, options: Options):
        self.options = options

    async def start(self) -> None:
        """Threads, timers."""

    async def stop(self) -> None:
        """When everything that was accepted is computed."""

    async def predict(self, served: Served, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The outputs of a model, by name; with those of other requests, where requests are batched.

        Raises
        ------
        InputError
            If ``arrays`` do not fit the model.
        RefusedError
            413 too many rows; 504 it takes too long.
        """
        return served.predict(arrays)

    async def call(self, function: Callable[..., T], *arguments: Any, short: bool) -> T:
        """Call what blocks: where it is not known to be short, on a thread.

        Raises
        ------
        RefusedError
            504, if it takes too long.
        """
        return function(*arguments)
