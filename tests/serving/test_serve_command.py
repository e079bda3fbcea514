"""``fastlstm serve``: what it says, what it refuses, and how it ends."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import importlib.util
import json
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import services

import fastlstm
from fastlstm.cli.main import main
from fastlstm.cli.serving import CALLED, LIMITS
from fastlstm.serving import Options

#: A layer that takes its time: so long for each call.
SLOW = """
import time

def slow(x):
    time.sleep(0.4)
    return x

custom_activations = {"linear": slow}
"""
X = np.linspace(-1, 1, 2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)


@contextlib.contextmanager
def serving(tmp_path: Path, *arguments: Any, **environment: str) -> Iterator[services.Running]:
    """The command as it is installed, on a port that the system has chosen."""
    log = tmp_path / "serve.log"
    command = [sys.executable, "-u", "-m", "fastlstm", "serve", *map(str, arguments), "--port", "0"]
    with services.started(command, log, environment=environment) as process:
        services.wait(lambda: address(log), process, log)
        running = services.Running(int(address(log)[1]), process, log)
        services.wait(lambda: services.answers(running.url), process, log)
        yield running


def address(log: Path) -> Any:
    return re.search(r"https?://127\.0\.0\.1:(\d+)", log.read_text(encoding="utf-8"))


def asked(running: services.Running, x: np.ndarray = X, name: str = "m", client: httpx.Client | None = None) -> np.ndarray:
    answer = (client or httpx).post(f"{running.url}/v1/models/{name}:predict", json={"instances": x.tolist()}, timeout=60)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["predictions"], np.float32)


# -- what it says ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_minutes_of_a_newcomer(model: Path, tmp_path: Path) -> None:
    """The file's own name; the line that is printed can be pasted; Ctrl-C ends it well."""
    with serving(tmp_path, model) as running:
        services.wait(lambda: "to ask:" in running.lines)
        assert re.search(r"^model, version 1: \S+ \(any, any, 3\) float32 -> \S+ \(any, 2\) float32$", running.lines, re.MULTILINE)
        _, _, body, url = shlex.split(re.search(r"to ask: +(.*)", running.lines)[1])  # curl -d BODY URL
        answer = httpx.post(url, content=body)
        assert answer.status_code == 200
        expected = fastlstm.load(model).predict(json.loads(body)["instances"])
        assert np.allclose(answer.json()["predictions"], expected)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=20) == 0
    assert "Traceback" not in running.lines


@pytest.mark.slow
def test_the_demonstration_beside_others(model: Path, tmp_path: Path) -> None:
    from fastlstm import demo

    with serving(tmp_path, f"m={model}", "--demo", "--token-file", token(tmp_path), "--access-log", "none") as running:
        series = demo.read_series().sunspots[-132:]
        path = f"{running.url}/v1/models/sunspots:predict"
        body = {"instances": series[np.newaxis, :, np.newaxis].tolist()}
        assert httpx.post(path, json=body).status_code == 401
        found = httpx.post(path, json=body, headers={"Authorization": "Bearer secret"}).json()["predictions"]
        pipeline = fastlstm.Pipeline(fastlstm.load(demo.MODEL), scaler=["sqrt", {"max_abs": 10}], window=132, inverse=True)
        assert np.allclose(found, pipeline.predict(series))
        assert httpx.get(f"{running.url}/v2/health/live", headers={"Host": "evil.example.org"}).status_code == 421
    assert "POST" not in running.lines and "secret" not in running.lines


def token(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("secret\n")
    return tmp_path / "token"


@pytest.mark.slow
def test_https(model: Path, tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    log = tmp_path / "serve.log"
    command = [
        sys.executable,
        "-u",
        "-m",
        "fastlstm",
        "serve",
        f"m={model}",
        "--port",
        "0",
        "--ssl-certfile",
        certificate,
        "--ssl-keyfile",
        key,
    ]
    with services.started(list(map(str, command)), log) as process:
        services.wait(lambda: address(log), process, log)
        found = httpx.post(
            f"https://localhost:{address(log)[1]}/v1/models/m:predict",
            json={"instances": X.tolist()},
            verify=ssl.create_default_context(cafile=str(certificate)),
            timeout=30,
        )
        assert np.allclose(found.json()["predictions"], fastlstm.load(model).predict(X))


def certified(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    try:
        subprocess.run(
            [*command, "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.skip("needs openssl, to make a certificate")
    return certificate, key


# -- what it refuses ---------------------------------------------------------------------------------------------------------


REFUSED: list[tuple[list[str], str]] = [
    ([], "MODEL: expected a model to serve, NAME=PATH, --models FOLDER or --demo, found none of these"),
    (["nowhere.h5"], "nowhere.h5: nothing is there\n"),
    (["two words.h5"], "letter or digit first, at most 128, found 'two words'; give it one: NAME='two words.h5'"),
    (["a/m.h5", "b/m.h5"], "both 'm'; give one: NAME=PATH"),
    (["m="], "MODEL: expected NAME=PATH, found 'm=' without a path"),
    (["ä=m.h5"], "MODEL: expected names of letters"),
    (["--models", "nowhere"], "--models: expected the path of a folder of models, found 'nowhere', which is none"),
    (["m={model}", "--label", "n:stable=1"], "--label: expected names of models among 'm', found 'n'"),
    (["m={model}", "--label", "m:stable=4"], "label 'stable' of model 'm': expected one of the versions 1, found 4"),
    (["m={model}", "--batch-wait-us", "5"], "--batch-wait-us: expected --batch-rows too"),
    (["m={model}", "--cors-origin", "a.org"], "--cors-origin: expected origins such as 'https://example.org'"),
    (["m={model}", "--allowed-host", "a.org:80"], "--allowed-host: expected names such as"),
    (["m={model}", "--token-file", "nowhere"], "--token-file: nowhere cannot be read (No such file or directory)"),
    (["m={model}", "--ssl-keyfile", "{model}"], "--ssl-keyfile: expected --ssl-certfile too, found a key alone"),
    (["m={model}", "--ssl-certfile", "{model}"], "--ssl-certfile: expected a certificate and its key as PEM, found {model}: "),
    (["m={model}", "--ssl-certfile", "nowhere"], "--ssl-certfile: expected a certificate and its key as PEM, found nowhere: No such file"),
    (["m={model}", "--host", "192.0.2.1"], "--host: expected an address of this machine, found '192.0.2.1'"),
    (["m={model}", "--host", "no such host"], "--host: expected an address or name of this machine, found 'no such host'"),
    (["m={model}", "--custom", "nowhere.py"], "--custom: nowhere.py cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_fit_is_refused(
    arguments: list[str], message: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    given = [text.replace("{model}", str(model)) for text in arguments]
    assert main(["serve", *given, "--port", "0"]) == 1
    said = capsys.readouterr()
    assert message.replace("{model}", str(model)) in said.err and not said.out and "Traceback" not in said.err


@pytest.mark.parametrize("text", ["m:stable", "m=1", ":a=1", "m:a=x"])
def test_labels_that_are_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "m.h5", "--label", text])
    assert f"expected MODEL:LABEL=VERSION such as m:stable=3, found {text!r}" in capsys.readouterr().err


def test_a_port_that_is_taken(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", f"m={model}", "--port", str(port)]) == 1
    assert f"--port: {port} of 127.0.0.1 is taken; end what answers there, or choose another: --port {port + 1}" in capsys.readouterr().err


def test_an_extra_that_is_missing(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "uvicorn" else known(name, *more))
    assert main(["serve", f"m={model}"]) == 1
    assert "serve needs uvicorn: pip install 'fastlstm[serve]'" in capsys.readouterr().err


@pytest.mark.slow
def test_everyone_may_ask_only_with_a_warning(model: Path, tmp_path: Path) -> None:
    log = tmp_path / "serve.log"
    with services.started(
        [sys.executable, "-u", "-m", "fastlstm", "serve", f"m={model}", "--port", "0", "--host", "0.0.0.0"], log
    ) as process:
        services.wait(lambda: "to ask:" in log.read_text(encoding="utf-8"), process, log)
        said = log.read_text(encoding="utf-8")
        assert "warning: everyone who reaches 0.0.0.0 can ask: give a token (--token-file, or FASTLSTM_TOKEN)" in said
        assert re.search(r"http://localhost:\d+/v1", said)  # which can be asked for; 0.0.0.0 is no address
    with serving(tmp_path, f"m={model}", FASTLSTM_TOKEN="secret") as running:
        assert "warning" not in running.lines
        assert httpx.get(f"{running.url}/v1/models/m").status_code == 401


def test_every_option_of_a_service_is_one_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """With the same defaults, as its help says."""
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for name in sorted({one.name for one in dataclasses.fields(Options)} - OTHERWISE):
        option = CALLED.get(name, "--" + name.replace("_", "-"))
        assert f" {option} " in said, name
        default = getattr(Options(), name)
        if name in LIMITS:
            shown = re.search(rf"{option} [NS] [^()]*\(([^)]*)\)", said)
            assert shown is not None and shown[1] == (
                "none" if default is None else f"{default:g}" if isinstance(default, float) else str(default)
            )


#: Options that are told in another way: by the file of a token, by --no-page, by several options, or by none, as workers know them.
OTHERWISE = {"token", "page", "loading", "own_port"}


# -- how it ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_asked_before_the_end_is_answered(workers: int, model: Path, tmp_path: Path) -> None:
    """SIGTERM while requests compute, wait for a thread, and come: all that were sent before it are answered, and rightly."""
    (tmp_path / "slow.py").write_text(SLOW)
    expected, body = fastlstm.load(model).predict(X), json.dumps({"instances": X.tolist()})
    request = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    with serving(tmp_path, f"m={model}", "--workers", workers, "--custom", tmp_path / "slow.py", "--compute-threads", 2) as running:
        sent = []
        for n in range(16):  # eight times 0.4 s for one worker
            sent.append(running.connect())
            sent[-1].sendall(request.encode())
            time.sleep(0.05 * (n < 8))  # some compute, some wait, some have just been sent
        running.process.send_signal(signal.SIGTERM)
        for one in sent:
            with one, one.makefile("rb") as answer:
                assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
                found = json.loads(answer.read().partition(b"\r\n\r\n")[2])
                assert np.allclose(found["predictions"], expected)
        assert running.process.wait(timeout=30) == 0
        with pytest.raises(OSError, match="refused"):
            running.connect()
    assert "Traceback" not in running.lines


@pytest.mark.slow
def test_a_quick_stream_of_requests_to_the_end(model: Path, tmp_path: Path) -> None:
    """Requests one after another on connections that are kept: whatever is answered is right, and the end takes no time."""
    expected = fastlstm.load(model).predict(X)
    answers, refused = [0], [0]
    with serving(tmp_path, f"m={model}", "--access-log", "none") as running:
        end = threading.Event()

        def ask() -> None:
            with httpx.Client() as client:
                while not end.is_set():
                    try:
                        assert np.allclose(asked(running, client=client), expected)
                        answers[0] += 1
                    except httpx.TransportError:
                        assert ended.is_set()  # not before
                        refused[0] += 1
                        return

        ended = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            running_threads = [threads.submit(ask) for _ in range(4)]
            time.sleep(1)
            ended.set()
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(timeout=20) == 0
            end.set()
            for one in running_threads:
                one.result()
    assert answers[0] > 5
