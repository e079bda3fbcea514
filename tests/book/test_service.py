"""The service of docs/tutorials/service.md: its application with FastAPI's client, its workers under gunicorn with a real one."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import page_files
import pytest
from layer_examples import tool

import fastlstm

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "tutorials" / "service.md"
NEEDED = "needs what pip install 'fastlstm[docs]' brings"
SEQUENCES = [[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]], [[1.0, 0.0, -1.0]]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the page's files lie beside a model."""
    monkeypatch.chdir(tmp_path)
    page_files.recurrent(tmp_path / "model.h5")
    for block in tool("run_page").blocks(PAGE):
        if block.mark.startswith("file: "):
            (tmp_path / block.mark.removeprefix("file: ")).write_text(block.code, encoding="utf-8")
    return tmp_path


def expected() -> np.ndarray:
    return fastlstm.load("model.h5").predict([np.array(sequence, np.float32) for sequence in SEQUENCES])


def test_the_application(folder: Path) -> None:
    testing = pytest.importorskip("fastapi.testclient", reason=NEEDED)
    names: dict[str, object] = {"__name__": "app"}
    exec(compile((folder / "app.py").read_text(encoding="utf-8"), "app.py", "exec", dont_inherit=True), names)
    client = testing.TestClient(names["app"])
    answer = client.post("/predict", json={"sequences": SEQUENCES})
    assert answer.status_code == 200
    np.testing.assert_allclose(answer.json()["predictions"], expected(), atol=1e-7)
    answer = client.post("/predict", json={"sequences": [[[0.1, 0.2]]]})
    assert answer.status_code == 422
    assert "expected" in answer.json()["detail"] and "(1, 2)" in answer.json()["detail"]


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    """The address of gunicorn, started by the page's command with the page's settings, but for the port and the number of workers."""
    for module in ("fastapi", "gunicorn", "uvicorn_worker"):
        pytest.importorskip(module, reason=NEEDED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = (folder / "gunicorn.conf.py").read_text(encoding="utf-8").replace(":8000", f":{port}").replace("workers = 4", "workers = 2")
    (folder / "gunicorn.conf.py").write_text(settings, encoding="utf-8")
    assert "gunicorn app:app" in PAGE.read_text(encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with (folder / "log").open("w") as log:
        running = subprocess.Popen([sys.executable, "-m", "gunicorn", "app:app"], env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(timeout=20)


@pytest.mark.slow
def test_its_workers(folder: Path, server: str) -> None:
    """Every request is answered rightly, by workers that were forked from the process which had loaded the model."""
    httpx = pytest.importorskip("httpx", reason=NEEDED)
    start = time.monotonic()
    while True:
        try:
            answers = [httpx.post(f"{server}/predict", json={"sequences": SEQUENCES}, timeout=10) for _ in range(20)]
            break
        except httpx.TransportError:
            assert time.monotonic() - start < 60, (folder / "log").read_text()
            time.sleep(0.1)
    for answer in answers:
        np.testing.assert_allclose(answer.json()["predictions"], expected(), atol=1e-7)
    assert len(re.findall("Booting worker", (folder / "log").read_text())) == 2
