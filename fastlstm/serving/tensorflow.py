"""TensorFlow Serving's REST API."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from . import bodies
from .refusals import refused
from .service import Service


def routes(service: Service) -> Sequence[BaseRoute]:
    """The paths of this protocol."""

    async def predict(request: Request) -> Response:
        try:
            body = orjson.loads(await bodies.read(request, service.options))
            served = service.repository.get(request.path_params["name"])
            found = await service.runner.predict(served, {served.inputs[0].name: np.asarray(body["instances"], np.float32)})
            return bodies.as_json({"predictions": next(iter(found.values()))})
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            problem = refused(error)
            return bodies.as_json({"error": str(problem)}, problem.status)

    return [Route("/v1/models/{name}:predict", predict, methods=["POST"])]
