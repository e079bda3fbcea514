"""The application as a whole: what it is made of, and bounds that every protocol keeps to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import fastlstm
import fastlstm.serving

BOUNDS = {"max_rows": 3, "max_timesteps": 6, "max_answer_bytes": 1000}


@pytest.fixture
def client(model: Path) -> Iterator[TestClient]:
    with TestClient(fastlstm.serving.app({"m": model}, poll_seconds=None, **BOUNDS)) as found:
        yield found


def inferred(client: TestClient, x: np.ndarray, **parameters: Any) -> Any:
    name = client.get("/v2/models/m").json()["inputs"][0]["name"]
    tensor = {"name": name, "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    return client.post("/v2/models/m/infer", content=json.dumps({"parameters": parameters, "inputs": [tensor]}))


def test_unknown_options_and_models(model: Path) -> None:
    with pytest.raises(fastlstm.InputError, match="max_row: expected options among versions, poll_seconds"):
        fastlstm.serving.app({"m": model}, max_row=3)
    with pytest.raises(fastlstm.InputError, match="models: expected at least one model, or a folder of models, found none"):
        fastlstm.serving.app()
    assert fastlstm.serving.app({"m": model}).state.service.options.max_rows == 65_536


def test_a_model_that_cannot_be_served_ends_the_start(tmp_path: Path) -> None:
    app = fastlstm.serving.app({"m": tmp_path / "no.h5"})
    with pytest.raises(fastlstm.FormatError, match="model 'm': cannot be served"), TestClient(app):
        pass


@pytest.mark.parametrize(("rows", "steps", "said"), [(4, 2, "expected at most 3 rows"), (1, 7, "expected at most 6 timesteps a row")])
def test_bounds_hold_for_every_protocol(client: TestClient, rows: int, steps: int, said: str) -> None:
    x = np.zeros((rows, steps, 3), np.float32)
    answers = [
        client.post("/v1/models/m:predict", json={"instances": x.tolist()}),
        client.post("/v1/models/m:predict", json={"inputs": x.tolist()}),
        inferred(client, x),
        *([inferred(client, x, sequence_id=7, sequence_start=True)] if rows == 1 else []),
    ]
    for answer in answers:
        assert answer.status_code == 413 and said in answer.json()["error"]
    assert inferred(client, x[:3, :6]).status_code == 200


def test_rows_of_different_lengths_are_bounded_too(client: TestClient) -> None:
    answer = client.post("/v1/models/m:predict", json={"instances": [[[0.0] * 3] * steps for steps in (2, 7)]})
    assert answer.status_code == 413 and "found 7" in answer.json()["error"]
