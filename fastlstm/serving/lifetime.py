"""When a service begins and ends: with the server; with the application that it is mounted in; or with its first request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from .service import Service


class Life:
    """Starts and stops what a service has, once, whoever asks for it.

    Attributes
    ----------
    started : bool
        Can it answer?
    """

    def __init__(self, service: Service):
        self.service, self.started = service, False
        self._starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start what is not started; those who ask meanwhile wait for the same."""
        if not self.started:
            await asyncio.shield(self.begin())  # the one that asked first may leave

    def begin(self) -> asyncio.Task[None]:
        """Start it without waiting."""
        if self._starting is None or self._starting.done():
            self._starting = asyncio.ensure_future(self._start())
        return self._starting

    async def _start(self) -> None:
        await self.service.runner.start()
        await self.service.repository.start()
        self.started = True

    async def stop(self) -> None:
        """Stop what is started."""
        if self.started:
            self.started = False
            await self.service.repository.stop()
            await self.service.runner.stop()

    @asynccontextmanager
    async def __call__(self, _: object) -> AsyncIterator[None]:
        """As ``lifespan=`` of Starlette and FastAPI."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()


def lifespan(models: Starlette) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """What the application that models are mounted in is given as ``lifespan=``: it has them ready before it takes requests.

    Starlette runs no lifespan of what is mounted. Without this, the models are loaded when the first request for one of them comes.

    Parameters
    ----------
    models
        Made by :func:`app`.

    Examples
    --------
    >>> models = fastlstm.serving.app({"name": "model.h5"})  # doctest: +SKIP
    >>> app = FastAPI(lifespan=fastlstm.serving.lifespan(models))  # doctest: +SKIP
    >>> app.mount("/models", models)  # doctest: +SKIP
    """
    life: Life = models.state.life
    return life
