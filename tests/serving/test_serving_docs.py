"""docs/serving.md: what it shows works as it stands, and what it lists is what there is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5_files
import httpx
import keras_configs
import numpy as np
import page_models
import pytest
import services
from layer_examples import tool

import fastlstm
from fastlstm.serving import Options

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = list(tool("run_page").blocks(PAGE))
HERE = "127.0.0.1:8501"


def named(path: Path) -> None:
    """An LSTM whose input is x and whose output is y."""
    rng = np.random.default_rng(0)
    lstm, dense = h5_files.recurrent("LSTM", 8, 3, rng), h5_files.dense(2, 8, rng)
    layers = [
        keras_configs.entrance("x", None, 3),
        {**lstm.entry, "name": "lstm", "inbound_nodes": [[["x", 0, 0, {}]]]},
        {**dense.entry, "name": "y", "inbound_nodes": [[["lstm", 0, 0, {}]]]},
    ]
    config = keras_configs.functional(layers, [["x", 0, 0]], [["y", 0, 0]])
    for entry in layers:
        entry["config"] = {**entry["config"], "name": entry["name"]}
    keras_configs.write_h5(path, config, {"lstm": lstm.weights, "y": dense.weights})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("docs")


@pytest.fixture(scope="module")
def running(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Running]:
    named(folder / "model.h5")
    page_models.pair(folder / "two.h5", "x", "more")
    page_models.labelled(folder / "reviews.fastlstm", ["does not", "likes it"])
    page_models.sunspots(folder / "sunspots.fastlstm")
    models = {"m": folder / "model.h5", **{name: next(folder.glob(f"{name}.*")) for name in ("two", "reviews", "sunspots")}}
    with services.service(tmp_path_factory.mktemp("running"), models) as found:
        yield found


COMMANDS = [
    pytest.param(line, block, id=f"line {block.line + number}")
    for block in BLOCKS
    for number, line in enumerate(block.code.splitlines())
    if block.language == "sh" and line.startswith("curl")
]


def same(found: Any, expected: Any) -> None:
    """The same but for digits that are not shown."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, list) and expected and isinstance(expected[0], dict):
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, list):
        np.testing.assert_allclose(found, expected, atol=1e-3)
    else:
        assert found == expected


@pytest.mark.parametrize(("command", "block"), COMMANDS)
def test_commands_are_answered(running: services.Running, command: str, block: Any) -> None:
    found = subprocess.run(
        ["bash", "-c", command.replace(HERE, f"127.0.0.1:{running.port}").replace("curl ", "curl -sS -f ", 1)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    answer = json.loads(found.stdout)
    assert "error" not in answer
    following = BLOCKS[BLOCKS.index(block) + 1 :][:1]
    if following and following[0].language == "json":
        same(answer, json.loads(following[0].code))


def test_commands_are_there() -> None:
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("block", [pytest.param(one, id=f"line {one.line}") for one in BLOCKS if one.language == "python"])
def test_programs_run(running: services.Running, folder: Path, block: Any) -> None:
    if "tritonclient" in block.code:
        pytest.importorskip("tritonclient.http", reason="needs what pip install 'fastlstm[service]' brings")
    code = block.code.replace(HERE, f"127.0.0.1:{running.port}")
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(Path(fastlstm.__file__).parents[1]), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr


def test_sequences_compute_what_streams_do(running: services.Running, folder: Path) -> None:
    """The three requests, one after another: the last answer is that of the whole sequence."""
    last = None
    for command in (one.values[0] for one in COMMANDS):
        if "sequence_id" in command:
            (body,) = re.findall(r"-d '(.*?)'", command)
            last = httpx.post(f"{running.url}/v2/models/m/infer", content=body).json()
    whole = np.array([[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]]], np.float32)
    assert last is not None
    np.testing.assert_allclose(last["outputs"][0]["data"], fastlstm.load(folder / "model.h5").predict(whole)[0], atol=1e-5)


def test_options_are_those_of_the_command() -> None:
    shown = subprocess.run([sys.executable, "-m", "fastlstm", "serve", "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"--[a-z][a-z-]+", shown))
    named_here = set(re.findall(r"`?(--[a-z][a-z-]+)", TEXT))
    assert len(named_here) > 20
    assert named_here <= known
    command_line = (PAGE.parent / "command-line.md").read_text(encoding="utf-8")
    lines = [line.split("#")[0] for line in command_line.splitlines() if line.startswith("fastlstm serve")]
    assert len(lines) > 5
    assert {option for line in lines for option in re.findall(r"--[a-z][a-z-]+", line)} <= known


def test_limits_are_those_of_a_service() -> None:
    defaults, units = Options(), {" MB": 1 << 20, "": 1}
    table = re.findall(r"^\| `--([a-z-]+)` \| ([\d,]+)( MB)? \|", TEXT, re.MULTILINE)
    shown = subprocess.run([sys.executable, "-m", "fastlstm", "serve", "--help"], capture_output=True, text=True, check=True).stdout
    limits = set(re.findall(r"--((?:max|read|timeout|sequence-idle)-[a-z-]+)", shown)) - {"max-bytes", "max-steps"}  # no limits of requests
    assert {name for name, *_ in table} == limits
    for name, number, unit in table:
        assert getattr(defaults, name.replace("-", "_")) == float(number.replace(",", "")) * units[unit], name


def test_metrics_are_counted(running: services.Running) -> None:
    shown = httpx.get(running.url + "/metrics").text
    metrics = set(re.findall(r"`(fastlstm_\w+)`", TEXT))
    assert len(metrics) >= 7
    for name in metrics:
        assert re.search(rf"^# TYPE {name} ", shown, re.MULTILINE), name


def test_statuses_are_answered(running: services.Running) -> None:
    """Those that need no fault and no load."""
    client = httpx.Client(base_url=running.url)
    predict = "/v1/models/m:predict"
    found = {
        client.get("/v1/models/m").status_code,
        client.post(predict, content=b"{").status_code,
        client.get("/v1/models/none").status_code,
        client.post("/v1/models/m:classify", content=b'{"examples": []}').status_code,
        client.post(predict, content=b"{}", headers={"Content-Encoding": "br"}).status_code,
        client.delete("/v2/models/m").status_code,
        client.post(predict, content=json.dumps({"instances": [[[1, 2, 3]]] * 70_000})).status_code,
    }
    assert found == {200, 400, 404, 501, 415, 405, 413}
    listed = {
        int(status)
        for line in re.findall(r"^\| ([\d, ]+) \| ", TEXT, re.MULTILINE)
        for status in line.split(",")
        if len(status.strip()) == 3
    }
    assert found <= listed
