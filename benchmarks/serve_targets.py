"""What benchmarks.serve_load asks: an empty handler of the same stack, and the model served by hand with ONNX Runtime."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

#: The environment names the model's file.
MODEL = "BENCHMARK_MODEL"
STEPS, FEATURES = 20, 8


def empty() -> Any:
    """Reads the body, and answers the same to all: what Starlette and uvicorn take."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    async def answer(request: Request) -> Response:
        await request.body()
        return Response(b"{}", media_type="application/json")

    return Starlette(routes=[Route("/empty", answer, methods=["POST"])])


def by_hand() -> Any:
    """As one writes it with FastAPI: pydantic checks lists in JSON; raw float32 is taken as it is."""
    from fastapi import FastAPI, Request, Response
    from pydantic import BaseModel

    from fastlstm.bench import onnx

    session = onnx.session(os.environ[MODEL], threads=1)
    name = session.get_inputs()[0].name
    app = FastAPI()

    class Asked(BaseModel):
        instances: list[list[list[float]]]

    class Answer(BaseModel):
        predictions: list[list[float]]

    def predict(asked: Asked) -> Answer:
        (y,) = session.run(None, {name: np.array(asked.instances, np.float32)})
        return Answer(predictions=y.tolist())

    async def binary(request: Request) -> Response:
        x = np.frombuffer(await request.body(), np.float32).reshape(-1, STEPS, FEATURES)
        (y,) = session.run(None, {name: x})
        return Response(y.tobytes(), media_type="application/octet-stream")

    # What is annotated here are local names, which FastAPI would look for in the module.
    predict.__annotations__ = {"asked": Asked, "return": Answer}
    binary.__annotations__ = {"request": Request, "return": Response}
    app.post("/predict")(predict)
    app.post("/binary")(binary)
    return app
