"""TensorFlow Serving's REST API: what its documentation and its own tests ask, word for word, and what else its clients rely on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import fastlstm

#: Requests and answers; ``says`` tells where they are from. The models are those of ``served_models.py``, nearest to the documented ones.
CASES = json.loads(Path(__file__).with_name("tensorflow_serving.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['says']}, {case['method']} {case['path']}")
def test_documented_request(protocols: httpx.Client, case: dict[str, Any]) -> None:
    headers = {"content-type": case["content_type"]} if "content_type" in case else {}
    answer = protocols.request(case["method"], case["path"], content=case["body"], headers=headers)
    assert answer.status_code == case["status"], answer.text
    assert answer.headers["content-type"] == "application/json"
    found = json.loads(answer.text)
    if "answer" in case:
        assert json.dumps(found) == json.dumps(case["answer"])  # as texts: NaN is not equal to itself
    else:
        assert list(found) == ["error"]
        assert case["error"] in found["error"]


@pytest.mark.parametrize("name", ["fixed", "open", "steps", "ids"])
@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_numbers_are_those_of_predict(protocols: httpx.Client, served_files: dict[str, Path], name: str, form: str) -> None:
    model = fastlstm.load(served_files[name])
    rng = np.random.default_rng(0)
    shape = [7, *(5 if size is None else size for size in model.inputs[0].shape[1:])]
    x = rng.integers(0, 20, shape) if name == "ids" else rng.standard_normal(shape, np.float32)
    found = protocols.post(f"/v1/models/{name}:predict", json={form: x.tolist()}).json()[
        {"instances": "predictions", "inputs": "outputs"}[form]
    ]
    assert np.array_equal(np.asarray(found, np.float32), model.predict(x))  # to the last bit: decimals are the shortest that tell float32


def test_decimals_are_short(protocols: httpx.Client) -> None:
    answer = protocols.post("/v1/models/half_plus_two:predict", json={"instances": [[0.2], [-1.8]]})
    assert answer.text == '{"predictions":[[2.1],[1.1]]}'


def test_rows_of_different_lengths(protocols: httpx.Client, served_files: dict[str, Path]) -> None:
    rng = np.random.default_rng(1)
    rows = [rng.standard_normal((steps, 3), np.float32) for steps in (4, 2, 9)]
    one, each = fastlstm.load(served_files["open"]), fastlstm.load(served_files["steps"])
    ask = {"instances": [row.tolist() for row in rows]}
    found = protocols.post("/v1/models/open:predict", json=ask).json()["predictions"]
    assert np.array_equal(np.array(found, np.float32), one.predict(rows))
    assert np.allclose(found[1], one.predict(rows[1][np.newaxis])[0], atol=1e-6)
    answer = protocols.post("/v1/models/steps:predict", json=ask)
    for row, expected in zip(answer.json()["predictions"], each.predict(rows), strict=True):
        assert np.array_equal(np.array(row, np.float32), expected[: len(row)])
    named = protocols.post("/v1/models/open:predict", json={"instances": [{one.inputs[0].name: row.tolist()} for row in rows]})
    assert named.json()["predictions"] == found


def test_rows_of_different_lengths_where_the_model_has_one(protocols: httpx.Client) -> None:
    answer = protocols.post("/v1/models/fixed:predict", json={"instances": [[[1, 2, 3]] * 5, [[1, 2, 3]] * 4]})
    assert answer.status_code == 400
    told = answer.json()["error"]
    assert told == "model 'fixed': input 'lstm_1_input': expected numbers of shape (any, 5, 3), found lists of 5 and 4 values, at [1]"


def test_several_inputs_and_outputs(protocols: httpx.Client, served_files: dict[str, Path]) -> None:
    rng = np.random.default_rng(2)
    given = {"series": rng.standard_normal((3, 6, 3), np.float32), "facts": rng.standard_normal((3, 2), np.float32)}
    y, z = fastlstm.load(served_files["several"]).predict(given)
    columns = protocols.post("/v1/models/several:predict", json={"inputs": {name: value.tolist() for name, value in given.items()}}).json()[
        "outputs"
    ]
    assert list(columns) == ["y", "z"]
    assert np.array_equal(np.array(columns["y"], np.float32), y)
    assert np.array_equal(np.array(columns["z"], np.float32), z)
    rows = [{name: value[row].tolist() for name, value in given.items()} for row in range(3)]
    found = protocols.post("/v1/models/several:predict", json={"instances": rows}).json()["predictions"]
    assert found == [{"y": columns["y"][row], "z": columns["z"][row]} for row in range(3)]


def test_a_pipeline_answers_with_labels(protocols: httpx.Client, served_files: dict[str, Path]) -> None:
    x = np.random.default_rng(3).standard_normal((4, 5, 3), np.float32)
    expected = fastlstm.Pipeline.load(served_files["labelled"]).predict(x)
    found = protocols.post("/v1/models/labelled:predict", json={"instances": x.tolist()}).json()["predictions"]
    assert [row["labels"] for row in found] == list(expected.labels)
    assert np.array_equal(np.array([row["probabilities"] for row in found], np.float32), expected.probabilities)


@pytest.mark.parametrize("shape", [(5, 3), (2, 5), (1, 2, 5, 3), (2, 4, 3), (2, 5, 0)])
def test_another_shape_names_model_input_expected_and_found(protocols: httpx.Client, shape: tuple[int, ...]) -> None:
    answer = protocols.post("/v1/models/fixed:predict", json={"instances": np.zeros(shape).tolist()})
    assert answer.status_code == 400
    told = answer.json()["error"]
    assert f"model 'fixed': input 'lstm_1_input': expected shape (any, 5, 3), found {shape}" in told
    assert "numpy" not in told


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods(protocols: httpx.Client, method: str) -> None:
    answer = protocols.request(method, "/v1/models/fixed")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) >= {"GET", "POST"}
    assert list(answer.json()) == ["error"]


def test_ids_out_of_range(protocols: httpx.Client) -> None:
    answer = protocols.post("/v1/models/ids:predict", json={"instances": [[1, 20]]})
    assert answer.status_code == 400
    assert "expected ids from 0 to 19, found 1 to 20" in answer.json()["error"]
