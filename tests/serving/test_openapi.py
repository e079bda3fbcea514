"""The description of the service says what it answers, and what schemathesis makes of it brings nothing down.

``FASTLSTM_BAD_REQUESTS=10000 pytest tests/serving/test_openapi.py -m slow`` asks so many of each kind.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import served_models
import services
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from fastlstm.serving import app
from fastlstm.serving.protocols import openapi

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
conformance = pytest.importorskip("schemathesis.specs.openapi.checks")

#: Bad requests of each kind in the run by hand, and of each operation in the quick one.
BAD, FEW = int(os.environ.get("FASTLSTM_BAD_REQUESTS", "500")), 3
CASES = json.loads(Path(__file__).with_name("tensorflow_serving.json").read_text(encoding="utf-8"))


# -- what it says ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [True, False])
def test_every_path_is_described(served_files: dict[str, Path], page: bool) -> None:
    made = app({"m": served_files["fixed"]}, page=page)
    found = set()
    for route in made.routes:
        if isinstance(route, Route):  # WebSockets are none of OpenAPI's
            path = re.sub(r":\w+}", "}", route.path)
            found |= {(path, method.lower()) for method in route.methods or () if method != "HEAD"}
    assert {("/v1/{path}", "get"), ("/v1/{path}", "post")} <= found  # one route; what it takes stands in recorded cases
    found = {one for one in found if not one[0].startswith("/v1/")}
    told = {(path, method) for path, methods in openapi.document(page)["paths"].items() for method in methods if method != "parameters"}
    assert {one for one in told if not one[0].startswith("/v1/")} == found


def test_every_recorded_request_is_described() -> None:
    """Of those that are answered."""
    forms = {
        re.compile(re.sub(r"\\{\w+\\}", "[^/:]+", re.escape(path)), re.IGNORECASE): methods
        for path, methods in openapi.document()["paths"].items()
    }
    for case in CASES:
        if case["status"] == 200:
            assert any(form.fullmatch(case["path"]) and case["method"].lower() in methods for form, methods in forms.items()), case["path"]


def test_it_is_sound(protocols: httpx.Client) -> None:
    answer = protocols.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == json.loads(json.dumps(openapi.document()))
    assert answer.json()["openapi"].startswith("3.1.")
    DESCRIBED.validate()
    assert len(OPERATIONS) == sum(len(set(methods) - {"parameters"}) for methods in openapi.document()["paths"].values())


@pytest.mark.parametrize("path", ["/v1/models/half_plus_two:predict", "/v2/models/half_plus_two/infer"])
def test_examples_are_answered(protocols: httpx.Client, path: str) -> None:
    """In their form: the names and shapes are those of any model."""
    ask = openapi.document()["paths"][path.replace("half_plus_two", "{name}")]["post"]["requestBody"]["content"]["application/json"][
        "example"
    ]
    if "infer" in path:
        ask["inputs"][0]["shape"] = [2, 1]
    else:
        (ask["instances"],) = ask["instances"]
    assert protocols.post(path, json=ask).status_code == 200


# -- what is made of it ---------------------------------------------------------------------------------------------------


def aimed(case: Any) -> Any:
    """The case, most often at a model and a version that there are: else nearly all are told that there is none."""
    chance = random.Random(repr((case.body, case.headers, case.path_parameters)))
    for name, known in {"name": served_models.NAMES, "version": ("1",), "label": ("stable",)}.items():
        if isinstance(case.path_parameters, dict) and name in case.path_parameters and chance.random() < 0.8:
            case.path_parameters[name] = chance.choice(known)
    return case


def checked(case: Any, url: str) -> None:
    """Ask, and look at the answer: no internal error, and in all as described. What is refused as not done here is 501."""
    response = aimed(case).call(base_url=url, timeout=60)
    if response.status_code == 501:
        assert list(response.json()) == ["error"]
        assert case.operation.tags == [openapi.REFUSED] or "extension" in response.text or "shared memory" in response.text
    else:
        case.validate_response(response, checks=CHECKS)


WORDS = ("status_code", "content_type", "response_headers", "response_schema")
CHECKS = [schemathesis.checks.not_a_server_error, *(getattr(conformance, f"{word}_conformance") for word in WORDS)]
DESCRIBED = schemathesis.openapi.from_dict(openapi.document())
OPERATIONS = {one.ok().label: one.ok() for one in DESCRIBED.get_all_operations()}
MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
UNHURRIED = {"deadline": None, "phases": [Phase.explicit, Phase.generate], "suppress_health_check": list(HealthCheck), "database": None}


def fuzzed(operation: Any, url: str, number: int) -> None:
    """So many requests of an operation, half of them as described."""

    @settings(max_examples=number, **UNHURRIED)
    @given(st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in MODES)))
    def ask(case: Any) -> None:
        checked(case, url)

    ask()


@pytest.mark.parametrize("label", OPERATIONS)
def test_answers_are_as_described(label: str, serving: services.Running) -> None:
    fuzzed(OPERATIONS[label], serving.url, FEW)


@pytest.mark.slow
def test_many_bad_requests(serving: services.Running) -> None:
    """None is answered with an internal error, and all together take no memory."""
    each, taken = -(-BAD // len(OPERATIONS)), []
    for _ in range(2):
        for operation in OPERATIONS.values():
            fuzzed(operation, serving.url, max(each // 2, 1))
        taken.append(serving.memory)
    assert taken[1] - taken[0] < 16 << 20
    assert serving.process.poll() is None
    assert "Traceback" not in serving.lines


# -- requests with something wrong in them --------------------------------------------------------------------------------

FLOATS = np.zeros((1, 5, 3), np.float32)
HEAD = {"inputs": [{"name": "lstm_1_input", "shape": [1, 5, 3], "datatype": "FP32", "parameters": {"binary_data_size": 60}}]}
MORE: tuple[dict[str, Any], ...] = (
    {},
    {"id": "7", "outputs": [{"name": "dense_2", "parameters": {"binary_data": True}}]},
    {"parameters": {"sequence_id": 5, "sequence_start": True, "sequence_end": True}},
)
HEADS = [json.dumps({**HEAD, **more}).encode() for more in MORE]
TEXTS = {"inputs": [{"name": "input_layer", "shape": [1, 1], "datatype": "BYTES", "data": ["a"]}]}
SOUND: list[tuple[str, bytes, dict[str, str]]] = [
    *((case["path"], case["body"].encode(), {}) for case in CASES if case["method"] == "POST" and case["status"] == 200),
    *(("/v2/models/fixed/infer", head + FLOATS.tobytes(), {"length": str(len(head))}) for head in HEADS),
    ("/v2/models/words/infer", json.dumps(TEXTS).encode(), {}),
    ("/v1/models/half_plus_two:predict", gzip.compress(b'{"instances": [[1.0]]}'), {"Content-Encoding": "gzip"}),
    ("/v1/models/half_plus_two:predict", zlib.compress(b'{"instances": [[1.0]]}'), {"Content-Encoding": "deflate"}),
]
#: What damage puts in.
PIECES = (
    b"",
    b"0",
    b"-1",
    b"null",
    b"[",
    b"]",
    b"{}",
    b'"',
    b",",
    b"1e999",
    b"9" * 40,
    b"NaN",
    b"\xff",
    b"\0",
    b"[" * 2000,
    b"true",
    b"1.5",
    b'{"b64": 1}',
)


def damaged(chance: random.Random, body: bytes) -> bytes:
    """A body with a few things wrong in it."""
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(body) + 1)
        body = body[:at] + chance.choice(PIECES) + body[at + chance.choice((0, 1, 1, 5, 50, 1000)) :]
    return body


def asked(client: httpx.Client, chance: random.Random) -> httpx.Response:
    path, body, headers = chance.choice(SOUND)
    headers = dict(headers)
    if "length" in headers:
        size = int(headers.pop("length")) + chance.choice((0, 0, 0, 1, -1, 59))
        headers["Inference-Header-Content-Length"] = str(size)
    return client.post(path, content=damaged(chance, body), headers=headers)


def survived(serving: services.Running, client: httpx.Client, number: int) -> Counter[int]:
    """So many of them; how often each status came."""
    chance, found = random.Random(number), Counter[int]()
    for _ in range(number):
        answer = asked(client, chance)
        found[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert list(answer.json()) == ["error"]
    assert serving.process.poll() is None
    assert "Traceback" not in serving.lines
    return found


def test_damaged_requests(protocols: httpx.Client, serving: services.Running) -> None:
    found = survived(serving, protocols, 200)
    assert found[400] > 50
    assert found[200] > 0  # the damage is small


@pytest.mark.slow
def test_many_damaged_requests(protocols: httpx.Client, serving: services.Running) -> None:
    survived(serving, protocols, BAD // 2)
    before = serving.memory
    print(survived(serving, protocols, BAD // 2 + 1), f"memory: {before >> 20} MB, then {serving.memory >> 20} MB")
    assert serving.memory - before < 16 << 20
