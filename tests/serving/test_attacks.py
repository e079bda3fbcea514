"""Requests that were made to harm: each takes what a wrong one takes, and is told what is wrong with it."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import os
import shutil
import tracemalloc
from pathlib import Path

import pytest
import services
from starlette.testclient import TestClient

from fastlstm.cli import serving
from fastlstm.cli.main import main
from fastlstm.errors import InputError
from fastlstm.inputs import TensorInfo
from fastlstm.serving import app
from fastlstm.serving.options import Options
from fastlstm.serving.protocols import bodies
from fastlstm.serving.refusals import RefusedError
from fastlstm.serving.server import accesslog
from fastlstm.serving.state import messages

MEGABYTE = 1 << 20


# -- JSON -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [rb'["\ud800", NaN]', rb'{"\uDFFF": NaN}', rb'[NaN, "\ud83d \ude00"]'])
def test_half_a_character_is_no_text(text: bytes) -> None:
    """Python's reader takes what no answer could repeat."""
    with pytest.raises(RefusedError, match="surrogate without its other half") as caught:
        bodies.loads(text)
    assert caught.value.status == 400


def test_characters_in_two_halves_and_what_only_looks_like_it_are_texts() -> None:
    assert bodies.loads(rb'["\ud83d\ude00", NaN]')[0] == "\U0001f600"
    assert bodies.loads(rb'["\\ud83d", NaN]')[0] == "\\ud83d"


def test_half_a_character_in_every_place_is_told(model: Path) -> None:
    with TestClient(app({"m": model}, page=False)) as client:
        for body in (
            '{"instances": [NaN], "signature_name": "\\ud800"}',
            '{"instances": [{"\\ud800": NaN}]}',
            '{"x": NaN, "inputs": {"\\ud800": 1}}',
        ):
            answer = client.post("/v1/models/m:predict", content=body)
            assert answer.status_code == 400 and "surrogate" in answer.json()["error"]
        answer = client.post("/v2/models/m/infer", content='{"id": "\\ud800", "x": NaN}')
        assert answer.status_code == 400


# -- shapes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [[1, 0, 2**62], [2**63, 0, 3], [0, 2**63, 2**63], [1, 0, 1, *[2**40] * 6], [2**62, 0, 3], [0, 2**64, 3]])
def test_axes_of_no_array_are_refused_though_there_are_no_numbers(shape: list[int], model: Path) -> None:
    with TestClient(app({"m": model}, page=False)) as client:
        name = client.get("/v2/models/m").json()["inputs"][0]["name"]
        for more in ({"data": []}, {"parameters": {"binary_data_size": 0}}):
            answer = client.post("/v2/models/m/infer", json={"inputs": [{"name": name, "datatype": "FP32", "shape": shape, **more}]})
            assert answer.status_code == 400, answer.text
            assert f"input {name!r}" in answer.json()["error"]


# -- messages of WebSockets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [["a" * 10_000, *["b"] * 10_000], [["a" * 10_000], *[["b"]] * 10_000], [1, ["a" * 10_000, *["b"] * 10_000]], [1, {"a": 1}]]
)
def test_texts_among_numbers_take_no_memory(value: object) -> None:
    """An array of texts has as much memory for each as the longest needs: 400 MB here."""
    info = TensorInfo("x", (None, None, 3), "float32")
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="input 'x': expected numbers, found"):
            messages.array_of(value, "x", info)
        assert tracemalloc.get_traced_memory()[1] < 4 * MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("digits", [19, 20, 5000])
def test_a_version_of_many_digits_is_told_so(digits: int, model: Path) -> None:
    path = f"/v1/models/m/versions/{'9' * digits}/stream"
    with TestClient(app({"m": model}, page=False)) as client, client.websocket_connect(path) as socket:
        found = json.loads(socket.receive_text())
        assert found["status"] == 400 and found["error"].startswith("version: expected a whole number from 0 on, found '999")


# -- heads ------------------------------------------------------------------------------------------------------------------


def refused(running: services.Running, first: bytes, more: bytes) -> bytes:
    """What is answered to a request that has no end, which cannot go on for long; ``more``: what is repeated."""
    block, sent = more * (MEGABYTE // len(more)), 0
    with running.connect() as connection:
        connection.sendall(first)
        try:
            while sent < 64 * MEGABYTE:
                connection.sendall(block)
                sent += len(block)
        except ConnectionError:
            pass
        assert sent < 32 * MEGABYTE
        try:
            return connection.recv(4096)
        except ConnectionError:  # what it has sent since then had it thrown away
            return b""


def test_heads_without_end_are_not_kept(model: Path, tmp_path: Path) -> None:
    """Nobody is asked for a token before that, and no bound of bodies holds for it."""
    chunked = b"POST /v1/models/m:predict HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n1\r\n[\r\n"
    with services.service(tmp_path, {"m": model}) as running:
        before = running.memory
        for first, more in [
            (b"GET /", b"a" * 1000), (b"GET / HTTP/1.1\r\n", b"x: " + b"a" * 1000 + b"\r\n"), (b"GET / HTTP/1.1\r\nx: ", b"a" * 1000),
            (chunked + b"0\r\n", b"x: " + b"a" * 1000 + b"\r\n"), (chunked + b"0\r\nx: ", b"a" * 1000), (chunked + b"1;", b"a" * 1000),
        ]:  # fmt: skip
            answer = refused(running, first, more)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 400 "), answer
        assert running.memory < before + 16 * MEGABYTE


def test_long_heads_and_pipelined_bodies_are_taken(model: Path, tmp_path: Path) -> None:
    body = json.dumps({"instances": [[[0.0, 0.1, 0.2]] * 5000]}).encode()
    request = b"POST /v1/models/m:predict HTTP/1.1\r\nhost: localhost\r\nx: %s\r\ncontent-length: %d\r\n\r\n" % (b"a" * 50_000, len(body))
    with services.service(tmp_path, {"m": model}) as running, running.connect() as connection:
        connection.sendall((request + body) * 3)
        found = b""
        while found.count(b"HTTP/1.1 200 OK") < 3:
            part = connection.recv(1 << 16)
            assert part, found
            found += part


# -- logs -------------------------------------------------------------------------------------------------------------------


def test_nothing_of_a_request_begins_a_line_of_the_log() -> None:
    record = logging.LogRecord("x", logging.ERROR, "", 0, "%s failed", ("/v1/a\n2026-01-01 INFO all is well\x1b[2J\u2028",), None)
    line = accesslog.TextLines("%(levelname)s %(message)s").format(record)
    assert line == r"ERROR /v1/a\n2026-01-01 INFO all is well\x1b[2J\u2028 failed"
    try:
        raise ValueError("what failed")
    except ValueError as error:
        record.exc_info = (ValueError, error, error.__traceback__)
    assert "\nTraceback (most recent call last):\n" in accesslog.TextLines("%(message)s").format(record)


def test_text_lines_are_those_of_a_service() -> None:
    formatter = accesslog.settings("text")["formatters"]["line"]
    made = logging.config.DictConfigurator({"version": 1}).configure_formatter(formatter)  # type: ignore[attr-defined]
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(made)
    handler.emit(logging.LogRecord("x", logging.INFO, "", 0, "a\nb", (), None))
    assert handler.stream.getvalue().endswith("INFO a\\nb\n")


# -- files ------------------------------------------------------------------------------------------------------------------


def test_what_is_no_file_keeps_no_other_model_from_being_served(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    """Links to nothing and to themselves, devices, pipes that nobody writes to, a folder with the ending of a file."""
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(model, folder / "good.h5")
    (folder / "gone.h5").symlink_to(tmp_path / "nowhere.h5")
    (folder / "loop.h5").symlink_to(folder / "loop.h5")
    (folder / "zero.h5").symlink_to("/dev/zero")
    (folder / "folder.h5").mkdir()
    os.mkfifo(folder / "pipe.h5")
    begun = []
    monkeypatch.setattr(serving, "configured", lambda *_: None)  # which sets up the logs of this process
    monkeypatch.setattr(serving, "alone", lambda config, shared: begun.append(config) or 0)
    assert main(["serve", "--models", str(folder), "--port", "0"]) == 0 and begun
    said = capsys.readouterr()
    assert said.out.startswith("good, version 1:")
    for name in ("gone", "loop", "zero", "folder", "pipe"):
        assert f"warning: model {name!r} is not served: " in said.err
    with TestClient(app(folder=folder, page=False)) as client:
        assert client.get("/v1/models/gone").json() == {"error": "Could not find any versions of model gone"}
        assert client.get("/v2/health/ready").status_code == 200


def test_a_link_to_nothing_that_was_named_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.h5").symlink_to(tmp_path / "nowhere.h5")
    assert main(["serve", f"m={tmp_path / 'm.h5'}", "--port", "0"]) == 1
    assert "model 'm': cannot be served: " in (said := capsys.readouterr().err) and "such as a link to nothing" in said


# -- what is told at the start ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["timeout_seconds", "read_seconds", "sequence_idle_seconds", "poll_seconds"])
def test_no_clock_waits_for_ever(name: str) -> None:
    """Locks and event loops cannot be told to wait so long; the service would not end."""
    with pytest.raises(InputError, match=rf"{name}: expected at most 100000000 seconds, found 1e\+300"):
        Options(**{name: 1e300})
    assert getattr(Options(**{name: 1e8}), name) == 1e8


def test_ports_of_sequences_beyond_the_last(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The system would take 65536 for 0, and choose any port."""
    assert main(["serve", f"m={model}", "--workers", "2", "--sequence-ports", "--port", "65534"]) == 1
    said = capsys.readouterr().err
    assert "--sequence-ports: expected a --port of at most 65533, as 2 workers have the ports after it, found 65534" in said
