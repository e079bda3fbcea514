"""The ASGI application: every protocol over the same models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette

from . import page
from .lifetime import Life
from .models.repository import Given, Labels, Repository
from .models.running import Runner
from .models.shelf import Agreeing
from .options import Options, options_of
from .protocols import inference, openapi, tensorflow
from .server import metrics as metering
from .server import middleware
from .server.metrics import Metrics
from .service import Service
from .state import sockets


def app(
    models: Mapping[str, Given] | None = None, *, folder: str | os.PathLike[str] | None = None,
    labels: Labels | None = None, **options: Any,
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
    return assembled(models or {}, options_of(options), folder=folder, labels=labels)


def assembled(
    models: Mapping[str, Given], chosen: Options, *, folder: str | os.PathLike[str] | None, labels: Labels | None,
    agreement: Agreeing | None = None,
) -> Starlette:  # fmt: skip
    """The application; ``agreement``: with other workers that serve the same."""
    metrics = Metrics()
    repository = Repository(models, chosen, folder=folder, labels=labels, observer=metrics, agreement=agreement)
    service = Service(chosen, repository, Runner(chosen), metrics)
    life = Life(service)
    routes = [
        *tensorflow.routes(service),
        *inference.routes(service),
        *sockets.routes(service),
        *metering.routes(metrics),
        *openapi.routes(chosen.page),
    ]
    if chosen.page:
        routes += page.routes(service)
    made = Starlette(
        routes=routes, middleware=middleware.stack(service, life), exception_handlers=middleware.handlers(), lifespan=life,
    )  # fmt: skip
    made.state.service, made.state.life = service, life
    return made
