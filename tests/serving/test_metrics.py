"""What Prometheus is told: by one process, and by two workers of which one dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import services
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from fastlstm import serving
from fastlstm.serving.server import metrics
from fastlstm.serving.server.metrics import Metrics

X = {"instances": [[[0.0, 0.1, 0.2]], [[1.0, 1.1, 1.2]]]}


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All numbers, as Prometheus's own client reads them."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def number(text: str, name: str, **labels: str) -> float | None:
    return samples(text).get(("fastlstm_" + name, frozenset(labels.items())))


def told(counted: Metrics) -> str:
    return counted.text()[0].decode()


def test_answers() -> None:
    counted = Metrics()
    counted.loaded("m", 3)
    for seconds in (0.0002, 0.003, 100.0):
        counted.observe("tensorflow", "m", 200, seconds, 4)
    counted.observe("inference", "m", 400, 0.0001, 0)
    text = told(counted)
    assert number(text, "requests_total", model="m", api="tensorflow", status="200") == 3
    assert number(text, "requests_total", model="m", api="inference", status="400") == 1
    assert number(text, "rows_total", model="m", api="tensorflow") == 12
    for limit, count in (("0.0001", 0), ("0.00025", 1), ("0.005", 2), ("60.0", 2), ("+Inf", 3)):
        assert number(text, "request_duration_seconds_bucket", model="m", api="tensorflow", le=limit) == count
    assert number(text, "request_duration_seconds_sum", model="m", api="tensorflow") == pytest.approx(100.0032)
    assert (number(text, "model_loaded", model="m", version="3"), number(text, "build_info", release=serving_release())) == (1, 1)


def serving_release() -> str:
    import fastlstm

    return fastlstm.__version__


def test_names_that_requests_make_up_are_no_labels() -> None:
    counted = Metrics()
    counted.loaded("m", 1)
    for name in range(1000):
        counted.observe("tensorflow", f"made-up-{name}", 404, 0.001, 0)
        counted.streams(f"made-up-{name}", "sequence", 1)
    text = told(counted)
    assert "made-up" not in text
    assert number(text, "requests_total", model="", api="tensorflow", status="404") == 1000
    assert len(counted._counted) < 10  # what would grow without end


def test_a_model_that_is_loaded_later_gets_its_name() -> None:
    counted = Metrics()
    counted.observe("tensorflow", "m", 404, 0.001, 0)
    counted.loaded("m", 1)
    counted.observe("tensorflow", "m", 200, 0.001, 1)
    assert number(told(counted), "requests_total", model="m", api="tensorflow", status="200") == 1


def test_versions_come_and_go() -> None:
    counted = Metrics()
    counted.loaded("m", 1)
    counted.loaded("m", 2)
    counted.unloaded("m", 1)
    counted.load_failed("m")
    counted.load_failed("broken")
    text = told(counted)
    assert number(text, "model_loaded", model="m", version="1") is None
    assert number(text, "model_loaded", model="m", version="2") == 1
    assert number(text, "model_load_errors_total", model="broken") == 1


def test_states() -> None:
    counted = Metrics()
    counted.loaded("m", 1)
    for change in (1, 1, 1, -2):
        counted.streams("m", "socket", change)
    assert number(told(counted), "streams", model="m", kind="socket") == 1


@pytest.mark.parametrize(
    ("accept", "form"), [("", "text/plain"), ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text")]
)
def test_forms(model: Path, accept: str, form: str) -> None:
    with TestClient(serving.app({"m": model})) as client:
        client.post("/v1/models/m:predict", json=X)
        answer = client.get("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"].startswith(form)
    assert answer.text.endswith("# EOF\n") == ("openmetrics" in form)
    assert 'fastlstm_requests_total{api="tensorflow",model="m",status="200"} 1.0' in answer.text


def test_two_services_of_a_process_count_by_themselves(model: Path) -> None:
    with TestClient(serving.app({"m": model})) as one, TestClient(serving.app({"m": model})) as other:
        one.post("/v1/models/m:predict", json=X)
        assert number(one.get("/metrics").text, "rows_total", model="m", api="tensorflow") == 2
        assert number(other.get("/metrics").text, "rows_total", model="m", api="tensorflow") is None


def test_the_folder_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(metrics.FOLDER, "before")
    with metrics.multiprocess_folder() as folder:
        assert os.environ[metrics.FOLDER] == folder
        assert os.path.isdir(folder)
    assert os.environ[metrics.FOLDER] == "before"
    assert not os.path.exists(folder)


def test_the_dead_are_forgotten(tmp_path: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    kept = [f"gauge_livesum_{os.getpid()}.db", f"counter_{done.pid}.db", f"histogram_{done.pid}.db", "gauge_livesum_1.db"]
    for name in [*kept, f"gauge_livesum_{done.pid}.db"]:
        (tmp_path / name).touch()
    metrics.forget_the_dead(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


# Workers


@pytest.fixture
def workers(model: Path, tmp_path: Path) -> Iterator[services.Running]:
    """Two of them, as uvicorn starts them."""
    folder = tmp_path / "numbers"
    folder.mkdir()
    (tmp_path / "served.py").write_text(f"from fastlstm import serving\napp = serving.app({{'m': {str(model)!r}}})\n", encoding="utf-8")
    command = [sys.executable, "-m", "uvicorn", "served:app", "--workers", "2", "--port", "0", "--app-dir", str(tmp_path)]
    log = tmp_path / "log"
    with services.started(command, log, environment={metrics.FOLDER: str(folder)}) as process:
        services.wait(lambda: re.search(r"running on http://127\.0\.0\.1:(\d+)", log.read_text()), process, log)
        port = int(re.findall(r"running on http://127\.0\.0\.1:(\d+)", log.read_text())[0])
        running = services.Running(port, process, log)
        services.wait(lambda: len(re.findall("Application startup complete", running.lines)) == 2, process, log)
        yield running


@pytest.mark.slow
def test_workers(workers: services.Running, tmp_path: Path) -> None:
    """Whichever is asked tells of both; what a dead one has counted stays, what it held does not."""
    client = httpx.Client(base_url=workers.url, timeout=30, headers={"connection": "close"})  # so that workers take turns
    asked = 0

    def ask(times: int) -> None:
        nonlocal asked
        for _ in range(times):
            assert client.post("/v1/models/m:predict", json=X).status_code == 200
            asked += 1

    def shown() -> str:
        return client.get("/metrics").text

    def counted(text: str) -> tuple[float | None, ...]:
        return number(text, "requests_total", model="m", api="tensorflow", status="200"), number(
            text, "build_info", release=serving_release()
        )

    ask(40)
    assert {counted(shown()) for _ in range(20)} == {(40, 2)}
    assert number(shown(), "model_loaded", model="m", version="1") == 2
    processes = sorted({int(path.stem.rpartition("_")[2]) for path in (tmp_path / "numbers").glob("counter_*.db")})
    assert len(processes) == 2
    os.kill(processes[0], signal.SIGKILL)
    services.wait(lambda: workers.lines.count("Application startup complete") == 3, workers.process, workers.log)
    ask(10)
    assert {counted(shown()) for _ in range(20)} == {(50, 2)}
    assert number(shown(), "request_duration_seconds_count", model="m", api="tensorflow") == asked == 50
