"""TensorFlow Serving's REST API."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from . import bodies
from .handling import answering, note
from .service import Service


def routes(service: Service) -> Sequence[BaseRoute]:
    """The paths of this protocol."""

    @answering(service, "tensorflow", lambda problem: {"error": str(problem)})
    async def predict(request: Request) -> Response:
        body = orjson.loads(await bodies.read(request, service.options))
        served = service.repository.get(request.path_params["name"])
        x = np.asarray(body["instances"], np.float32)
        note(request, served, len(x))
        found = await service.runner.predict(served, {served.inputs[0].name: x})
        return bodies.as_json({"predictions": next(iter(found.values()))})

    return [Route("/v1/models/{name}:predict", predict, methods=["POST"])]
