"""The ASGI application: every protocol over the same models."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette

from . import inference, page, tensorflow
from .options import Options
from .repository import Given, Repository
from .running import Runner
from .service import Service


def app(
    models: Mapping[str, Given] | None = None, *, folder: str | os.PathLike[str] | None = None,
    labels: Mapping[str, Mapping[str, int]] | None = None, **options: Any,
) -> Starlette:  # fmt: skip
    """An ASGI application that serves models: for uvicorn and the like, or to be mounted in another application.

    Parameters
    ----------
    models
        By name a path (a model, a pipeline, or a folder of versions), a :class:`fastlstm.Model` or a :class:`fastlstm.Pipeline`.
    folder
        A folder of models, each by the name of its file or folder.
    labels
        By model, by label, a version: ``{"m": {"stable": 3}}``.
    **options
        Those of :class:`Options`.
    """
    chosen = Options(**options)
    service = Service(chosen, Repository(models or {}, chosen, folder=folder, labels=labels), Runner(chosen))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.runner.start()
        await service.repository.start()
        try:
            yield
        finally:
            await service.repository.stop()
            await service.runner.stop()

    return Starlette(
        routes=[*tensorflow.routes(service), *inference.routes(service), *(page.routes(service) if chosen.page else ())], lifespan=lifespan
    )
