"""The Open Inference Protocol, version 2."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from . import bodies
from .service import Service


def routes(service: Service) -> Sequence[BaseRoute]:
    """The paths of this protocol."""

    async def live(_: Request) -> Response:
        return bodies.as_json({"live": True})

    async def ready(_: Request) -> Response:
        return bodies.as_json({"ready": service.repository.ready}, 200 if service.repository.ready else 503)

    return [Route("/v2/health/live", live), Route("/v2/health/ready", ready)]
