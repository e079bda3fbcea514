"""What every handler leaves to one place; and what its messages advise, followed."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

import fastlstm
from fastlstm.errors import InputError
from fastlstm.serving import app
from fastlstm.serving.models.repository import Repository
from fastlstm.serving.models.running import Runner
from fastlstm.serving.options import Options
from fastlstm.serving.protocols import bodies, handling, inference, inferring, tensors
from fastlstm.serving.refusals import RefusedError
from fastlstm.serving.service import Service

HEADER = "Inference-Header-Content-Length"


class Metrics:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def observe(self, api: str, name: str, status: int, seconds: float, rows: int) -> None:
        assert seconds >= 0
        self.told.append((api, name, status, rows))


def service_of(path: Path) -> Service:
    options = Options(poll_seconds=None)
    return Service(options, Repository({"m": path}, options), Runner(options), Metrics())  # type: ignore[arg-type]


def answered(service: Service, handler: Callable[[Request], Awaitable[Response]]) -> httpx.Response:
    """What a handler answers."""
    made = Starlette(
        routes=[Route("/", handling.answering(service, "api", lambda problem: {"said": str(problem)})(handler), methods=["POST"])]
    )
    return sent(made, "/", {})


def sent(made: Starlette, path: str, body: Any, **headers: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://127.0.0.1") as client:
            return await client.post(path, content=body if isinstance(body, bytes) else json.dumps(body), headers=headers)

    return asyncio.run(ask())


@pytest.fixture
def service(model: Path) -> Service:
    return service_of(model)


def told(service: Service) -> list[tuple[Any, ...]]:
    assert isinstance(service.metrics, Metrics)
    return service.metrics.told


ERRORS: list[tuple[Exception, int, str]] = [
    (RefusedError(429, "busy", {"Retry-After": "1"}), 429, "busy"),
    (InputError("x: expected y"), 400, "x: expected y"),
    (HTTPException(404, "nothing"), 404, "nothing"),
    (MemoryError(), 503, "not enough memory for this request now"),
    (ClientDisconnect(), 499, "the client has gone"),
]


@pytest.mark.parametrize(("error", "status", "words"), ERRORS, ids=lambda one: type(one).__name__)
def test_errors_take_the_protocols_form(service: Service, error: Exception, status: int, words: str) -> None:
    async def handler(_: Request) -> Response:
        raise error

    answer = answered(service, handler)
    assert (answer.status_code, answer.json()) == (status, {"said": words})
    assert told(service) == [("api", "", status, 0)]
    if status == 429:
        assert answer.headers["retry-after"] == "1"


def test_an_internal_error_is_logged_and_told_to_nobody(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    secret = "the/place/of/a/file"

    async def handler(request: Request) -> Response:
        request.scope.setdefault("state", {})["request_id"] = "a-request"
        raise ValueError(secret)

    with caplog.at_level(logging.ERROR, "fastlstm.serving"):
        answer = answered(service, handler)
    assert answer.status_code == 500
    assert answer.json() == {"said": "internal error; the service's log tells more of request a-request"}
    assert secret in caplog.text
    assert caplog.records[0].request_id == "a-request"  # type: ignore[attr-defined]
    assert told(service) == [("api", "", 500, 0)]


@pytest.mark.parametrize("kind", [RefusedError, InputError])
def test_no_error_stays_behind(service: Service, kind: type[Exception]) -> None:
    """With it would stay what its frames hold: the body of its request."""
    made = []

    async def refuse() -> None:
        error = kind(400, "no") if kind is RefusedError else kind("model 'm': no")
        made.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    async def handler(request: Request) -> Response:
        await handling.computed(request, None, 1, refuse())  # type: ignore[arg-type]
        return bodies.as_json({})

    gc.disable()
    try:
        assert answered(service, handler).status_code == 400
        assert [one() for one in made] == [None]
    finally:
        gc.enable()


def test_what_is_cancelled_goes_on_up(service: Service) -> None:
    async def handler(_: Request) -> Response:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        answered(service, handler)


def test_requests_are_counted_with_their_model_and_rows(service: Service) -> None:
    service.repository.load()
    served = service.repository.get("m")
    x = np.zeros((3, 4, 3), np.float32)

    async def handler(request: Request) -> Response:
        handling.asked(request, served)
        await handling.computed(request, served, 3, service.runner.predict(served, {served.inputs[0].name: x}))
        return bodies.as_json({})

    async def stopping(service: Service) -> None:
        await service.runner.start()

    asyncio.run(stopping(service))
    assert answered(service, handler).status_code == 200
    assert told(service) == [("api", "m", 200, 3)]
    counts = service.statistics.of(served)
    assert (counts.requests, counts.rows, counts.failures) == (1, 3, 0)
    assert 0 < counts.computing <= counts.seconds


def test_a_model_that_refuses_is_named(service: Service) -> None:
    service.repository.load()
    served = service.repository.get("m")

    async def refuse() -> None:
        raise InputError("input 'x': expected more")

    async def handler(request: Request) -> Response:
        handling.asked(request, served)
        await handling.computed(request, served, 2, refuse())
        return bodies.as_json({})

    answer = answered(service, handler)
    assert (answer.status_code, answer.json()) == (400, {"said": "model 'm': input 'x': expected more"})
    assert service.statistics.of(served).failures == 1


# -- what messages advise -------------------------------------------------------------------------------------------------


def test_ask_for_predict(protocols: httpx.Client) -> None:
    path = "/v1/models/half_plus_two:regress"
    assert protocols.post(path, json={"examples": [{"x": 1}]}).json()["error"].endswith("ask for :predict")
    answer = protocols.post(path.replace("regress", "predict"), json={"instances": [{"x": 1}]})
    assert answer.json() == {"predictions": [[2.5]]}


def test_a_row_is_a_list_of_one_row(protocols: httpx.Client) -> None:
    row = np.zeros((5, 3)).tolist()
    assert "a row alone stands in a list of one row" in protocols.post("/v1/models/fixed:predict", json={"instances": row}).json()["error"]
    assert protocols.post("/v1/models/fixed:predict", json={"instances": [row]}).status_code == 200


def test_the_largest_of_its_values(protocols: httpx.Client) -> None:
    ask = {"inputs": [{"name": "lstm_1_input", "shape": [2, 5, 3], "datatype": "FP32", "data": [*[0] * 15, *[1] * 15]}]}
    wanted = {"outputs": [{"name": "probabilities", "parameters": {"classification": 1}}]}
    refused = protocols.post("/v2/models/labelled/infer", json={**ask, **wanted}).json()["error"]
    assert refused.endswith("take the largest of its values")
    labels, probabilities = protocols.post("/v2/models/labelled/infer", json=ask).json()["outputs"]
    largest = np.argmax(np.reshape(probabilities["data"], probabilities["shape"]), -1)
    assert [("no", "yes")[one] for one in largest] == labels["data"]


def test_bytes_that_are_no_text_are_asked_for_as_binary_data(service: Service) -> None:
    service.repository.load()
    served = service.repository.get("m")
    outputs = {"y": np.array([b"\xff"], object)}
    call = inferring.Call({}, 1)
    with pytest.raises(RefusedError, match="output 'y': holds bytes that are no UTF-8, which JSON cannot; ask for it as binary_data"):
        inferring.formed(outputs, call, served)
    call.outputs = {"y": True}
    assert bytes(inferring.formed(outputs, call, served).body).endswith(tensors.LENGTH.pack(1) + b"\xff")


SEQUENCE = {
    "inputs": [{"name": "lstm_1_input", "shape": [1, 1, 3], "datatype": "FP32", "data": [0, 0, 0]}],
    "parameters": {"sequence_id": 7, "sequence_start": True},
}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sequence_ports": (8001, 8002), "own_port": 8001}, "send all of its requests to one of 8001, 8002"),
        ({}, "start the service with --sequence-ports"),
    ],
)
def test_a_sequence_goes_to_one_worker(model: Path, options: dict[str, Any], words: str) -> None:
    made = app({"open": fastlstm.load(model)}, workers=2, page=False, poll_seconds=None, **options)
    answer = sent(made, "/v2/models/open/infer", SEQUENCE)
    assert answer.status_code == 421
    assert words in answer.json()["error"]


def test_a_sequence_is_taken_at_the_port_of_one_worker() -> None:
    options = Options(workers=2, sequence_ports=(8001, 8002), own_port=8001)
    for port, taken in ((8001, True), (8000, False), (8002, False)):
        request = Request({"type": "http", "server": ("127.0.0.1", port), "headers": []})
        if taken:
            inference.refuse_elsewhere(options, request)
        else:
            with pytest.raises(RefusedError):
                inference.refuse_elsewhere(options, request)
    inference.refuse_elsewhere(Options(), Request({"type": "http", "server": None, "headers": []}))
