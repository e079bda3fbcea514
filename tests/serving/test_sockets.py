"""A WebSocket for each stream: what each message is answered with, what is refused, and how connections end."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import batch_models
import numpy as np
import page_files
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import fastlstm
from fastlstm.serving import app

PATH = "/v1/models/m/stream"
X = np.random.default_rng(0).normal(size=(1, 6, 3)).astype(np.float32)


@contextlib.contextmanager
def client(model: Any, path: str = PATH, **options: Any) -> Iterator[Any]:
    """A connection to a service of one model."""
    with TestClient(app({"m": model}, page=False, **options)) as http, http.websocket_connect(path) as made:
        yield made


def ask(socket: Any, value: Any) -> Any:
    """The answer to a message."""
    if isinstance(value, bytes):
        socket.send_bytes(value)
        return socket.receive_bytes()
    socket.send_text(value if isinstance(value, str) else json.dumps(value))
    return json.loads(socket.receive_text())


def close(found: Any, wanted: np.ndarray) -> bool:
    return np.shape(found) == wanted.shape and np.allclose(found, wanted, rtol=1e-5, atol=2e-6)


def closed(socket: Any, code: int) -> str:
    """The reason of a close with that code."""
    with pytest.raises(WebSocketDisconnect) as caught:
        socket.receive_text()
    assert caught.value.code == code
    assert len(caught.value.reason.encode()) <= 123
    return str(caught.value.reason)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# -- what is answered --------------------------------------------------------------------------------------------------------


def test_each_message_is_answered_with_what_predict_gives_of_all_so_far(model: Path) -> None:
    wanted, name = fastlstm.load(model), fastlstm.load(model).inputs[0].name
    output = wanted.outputs[0].name
    with client(model) as socket:
        assert close(ask(socket, X[0, 0].tolist()), wanted.predict(X[:, :1])[0])
        assert close(ask(socket, X[0, 1:3].tolist()), wanted.predict(X[:, :3])[0])
        found = ask(socket, {"inputs": {name: X[0, 3].tolist()}})
        assert close(found["outputs"][output], wanted.predict(X[:, :4])[0])
        assert close(np.frombuffer(ask(socket, X[0, 4].tobytes()), "<f4"), wanted.predict(X[:, :5])[0])
        assert ask(socket, {"reset": True}) == {"reset": True}
        assert close(np.frombuffer(ask(socket, X[0, 2:4].tobytes()), "<f4"), wanted.predict(X[:, 2:4])[0])
        assert close(ask(socket, [[*X[0, 4, :2].tolist(), 1e39]]), wanted.predict(np.append(X[:, 2:4], [[[*X[0, 4, :2], np.inf]]], 1))[0])


def test_nan_is_null_and_binary_holds_it(model: Path) -> None:
    with client(model) as socket:
        assert ask(socket, [None, 1, 2.5]) == [None, None]
        assert np.isnan(np.frombuffer(ask(socket, X[0, 0].tobytes()), "<f4")).all()


def test_an_output_for_each_timestep(tmp_path: Path) -> None:
    wanted = fastlstm.load(batch_models.each_step(tmp_path / "m.h5")).predict(X)[0]
    with client(tmp_path / "m.h5") as socket:
        assert close(ask(socket, X[0, 0].tolist()), wanted[0])
        assert close(ask(socket, X[0, 1:3].tolist()), wanted[1:3])
        assert close(np.frombuffer(ask(socket, X[0, 3:].tobytes()), "<f4").reshape(3, 2), wanted[3:])


def test_ids_are_numbers(tmp_path: Path) -> None:
    wanted = fastlstm.load(batch_models.ids(tmp_path / "m.h5"))
    with client(tmp_path / "m.h5") as socket:
        assert close(ask(socket, 7), wanted.predict([[7]])[0])
        assert close(ask(socket, [3, 5]), wanted.predict([[7, 3, 5]])[0])
        assert close(np.frombuffer(ask(socket, np.array([4, 9], "<i4").tobytes()), "<f4"), wanted.predict([[7, 3, 5, 4, 9]])[0])
        assert "expected ids from 0 to 19, found 20" in ask(socket, 20)["error"]
        assert close(ask(socket, 1), wanted.predict([[7, 3, 5, 4, 9, 1]])[0])


def test_several_inputs_and_outputs_have_names(tmp_path: Path) -> None:
    """Of which one is no sequence: it is given with each timestep."""
    model = fastlstm.load(batch_models.several(tmp_path / "m.h5"))
    try:
        stream = model.stream()
    except fastlstm.UnsupportedError as error:
        with client(tmp_path / "m.h5") as socket:
            told = json.loads(socket.receive_text())
            assert told["status"] == 400 and str(error)[:60] in told["error"]
            assert "takes no sequences" in closed(socket, 1008)
        return
    facts = np.ones((1, 2), np.float32)
    with client(tmp_path / "m.h5") as socket:
        found = ask(socket, {"inputs": {"series": X[0, 0].tolist(), "facts": [1, 1]}})
        y, z = stream.step({"series": X[:, 0], "facts": facts})
        assert list(found["outputs"]) == ["y", "z"] and close(found["outputs"]["y"], y[0]) and close(found["outputs"]["z"], z[0])
        y, z = stream.step({"series": X[:, 1], "facts": facts})
        raw = np.frombuffer(ask(socket, X[0, 1].tobytes() + facts.tobytes()), "<f4")
        assert close(raw, np.concatenate([y[0], z[0]]))
        assert 'expected {"inputs": {...}} with series, facts' in ask(socket, [1, 2, 3])["error"]


def test_the_answers_of_a_pipeline(model: Path, tmp_path: Path) -> None:
    pipeline = fastlstm.Pipeline(fastlstm.load(model), labels=["down", "up"], scaler={"max_abs": 10})
    labels, probabilities = pipeline.predict(10 * X[:, :1])
    with client(pipeline) as socket:
        found = ask(socket, (10 * X[0, 0]).tolist())["outputs"]
        assert found["labels"] == labels[0] and close(found["probabilities"], probabilities[0])
        socket.send_bytes(X[0, 0].tobytes())
        assert "expected JSON, as output 'labels' is text" in json.loads(socket.receive_text())["error"]


# -- states ------------------------------------------------------------------------------------------------------------------


def test_a_state_is_taken_along(model: Path) -> None:
    wanted = fastlstm.load(model)
    with client(model) as socket:
        assert ask(socket, {"state": True}) == {"state": None}
        ask(socket, X[0, :3].tolist())
        state = ask(socket, {"state": True})
    with client(model) as other:
        assert ask(other, state) == {"loaded": True}
        assert close(ask(other, X[0, 3:].tolist()), wanted.predict(X)[0])


def test_a_state_that_is_none_changes_nothing(model: Path, tmp_path: Path) -> None:
    page_files.recurrent(tmp_path / "other.h5", features=5)
    with client(tmp_path / "other.h5") as socket:
        ask(socket, [1] * 5)
        same_shape = ask(socket, {"state": True})
    batch_models.each_step(tmp_path / "gru.h5")
    with client(tmp_path / "gru.h5") as socket:
        ask(socket, X[0, 0].tolist())
        other = ask(socket, {"state": True})
    with client(model) as socket:
        ask(socket, X[0, :2].tolist())
        for wrong, words in (
            (other, "expected the keys"),
            ({"state": "eHg="}, "found 2 others"),
            ({"state": "*"}, 'the text that {"state": true}'),
        ):
            assert words in ask(socket, wrong)["error"]
        assert close(ask(socket, X[0, 2:].tolist()), fastlstm.load(model).predict(X)[0])
        assert ask(socket, same_shape) == {"loaded": True}  # as of any stream: shapes are all that tells


# -- what is refused ---------------------------------------------------------------------------------------------------------

WRONG = {
    "{": "expected JSON",
    "": "expected JSON",
    "[" * 5000: "expected JSON",
    "{}": "expected a timestep",
    '{"reset": false}': "expected a timestep",
    '{"reset": true, "state": true}': "expected a timestep",
    '{"inputs": [1, 2, 3]}': "expected a timestep",
    '{"inputs": {"q": [1, 2, 3]}}': "found q",
    "[1, 2]": "expected shape (3,) of one timestep, or (any, 3) of several, found shape (2,)",
    "5": "found shape ()",
    "null": "expected shape",
    "[]": "found shape (0,)",
    "[[]]": "found shape (1, 0)",
    '["a", "b", "c"]': "expected numbers",
    '[1, 2, "3"]': "expected numbers",
    "[1, 2, {}]": "expected numbers",
    "[[1, 2, 3], [1, 2]]": "lists of one length",
    "[true, [1], 2]": "lists of one length",
    "[[[1, 2, 3]]]": "found shape (1, 1, 3)",
}


def test_what_is_no_message_is_told_so_and_changes_nothing(model: Path) -> None:
    with client(model) as socket:
        ask(socket, X[0, :2].tolist())
        for text, words in WRONG.items():
            found = ask(socket, text)
            assert words in found["error"] and found["status"] == 400 and "Traceback" not in found["error"], (text, found)
        for data in (b"", b"abc", bytes(13)):
            socket.send_bytes(data)
            told = json.loads(socket.receive_text())["error"]
            assert (
                f"expected the bytes of a timestep, 12 of 'lstm_1_input', or that many times the number of timesteps, found {len(data)}"
                in told
            )
        assert close(ask(socket, X[0, 2:].tolist()), fastlstm.load(model).predict(X)[0])


@pytest.mark.parametrize("message", ["x" * 2000, b"x" * 2000])
def test_a_message_that_is_too_big_closes(model: Path, message: str | bytes) -> None:
    with client(model, max_message_bytes=1000) as socket:
        if isinstance(message, bytes):
            socket.send_bytes(message)
        else:
            socket.send_text(message)
        told = json.loads(socket.receive_text())
        assert told == {"error": "message: expected at most 1000 bytes (max_message_bytes), found 2000", "status": 413}
        assert "max_message_bytes" in closed(socket, 1009)


@pytest.mark.parametrize("path", ["/v1/models/q/stream", "/v1/models/m/versions/7/stream", "/v1/models/m/labels/best/stream"])
def test_there_is_no_such_model(model: Path, path: str) -> None:
    with client(model, path) as socket:
        assert json.loads(socket.receive_text())["status"] == 404
        assert closed(socket, 1008)


def test_a_version_and_a_label_may_be_named(model: Path) -> None:
    with TestClient(app({"m": model}, labels={"m": {"best": 1}}, page=False)) as http:
        for path in ("/v1/models/m/versions/1/stream", "/v1/models/m/labels/best/stream"):
            with http.websocket_connect(path) as socket:
                assert close(ask(socket, X[0].tolist()), fastlstm.load(model).predict(X)[0])


def test_a_model_that_cannot_stream_says_why(tmp_path: Path) -> None:
    page_files.bidirectional(tmp_path / "b.h5")
    with client(tmp_path / "b.h5") as socket:
        told = json.loads(socket.receive_text())
        assert told["status"] == 400 and "Bidirectional" in told["error"]
        assert closed(socket, 1008)


def test_so_many_connections(model: Path) -> None:
    with TestClient(app({"m": model}, page=False, max_sequences=1)) as http:
        with http.websocket_connect(PATH) as first:
            ask(first, X[0, 0].tolist())
            with http.websocket_connect(PATH) as second:
                assert json.loads(second.receive_text())["status"] == 429
                assert "no more than 1 sequences at once" in closed(second, 1013)
            ask(first, X[0, 0].tolist())
        service = http.app.state.service
        until(lambda: len(service.connections) == 0)
        with http.websocket_connect(PATH) as third:
            ask(third, X[0, 0].tolist())


def test_a_connection_that_is_idle_is_told_and_closed(model: Path) -> None:
    with client(model, sequence_idle_seconds=0.1) as socket:
        ask(socket, X[0, 0].tolist())
        told = json.loads(socket.receive_text())
        assert told["status"] == 408 and "as it had no timestep for 0.1 s" in told["error"]
        assert "no timestep" in closed(socket, 1008)


def test_what_fails_inside_says_nothing_of_it(model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with client(model) as socket:
        ask(socket, X[0, 0].tolist())

        def fail(*_: Any) -> None:
            raise ZeroDivisionError("/secret/path")

        monkeypatch.setattr("fastlstm.Stream.step", fail)
        found = ask(socket, X[0, 1].tolist())
        assert found["status"] == 500 and "secret" not in found["error"] and "internal error" in found["error"]
        assert closed(socket, 1011)
    assert "ZeroDivisionError" in caplog.text and "/secret/path" in caplog.text


# -- ends --------------------------------------------------------------------------------------------------------------------


def test_a_client_that_leaves_leaves_nothing(model: Path) -> None:
    with TestClient(app({"m": model}, page=False)) as http:
        service = http.app.state.service
        for _ in range(30):
            with http.websocket_connect(PATH) as socket:
                ask(socket, X[0, 0].tolist())
        until(lambda: len(service.connections) == 0)
        sequences = service.sequences.of(service.repository.get("m"))
        assert len(sequences) == sequences.rows == 0


@pytest.mark.parametrize("takes", [True, False])
def test_the_end_of_a_service_hands_states_over(model: Path, takes: bool) -> None:
    with TestClient(app({"m": model}, page=False)) as http:
        service = http.app.state.service
        with http.websocket_connect(PATH + ("?state=true" if takes else "")) as socket:
            ask(socket, X[0, :4].tolist())
            http.portal.call(service.connections.end)
            state = json.loads(socket.receive_text()) if takes else None
            assert "connect again" in closed(socket, 1012)
        with http.websocket_connect(PATH) as late:
            assert "connect again" in closed(late, 1012)
    if takes:
        with client(model) as other:
            assert ask(other, state) == {"loaded": True}
            assert close(ask(other, X[0, 4:].tolist()), fastlstm.load(model).predict(X)[0])


def test_what_is_computed_when_the_service_ends_is_answered_first(model: Path) -> None:
    with TestClient(app({"m": model}, page=False)) as http:
        service = http.app.state.service
        with http.websocket_connect(PATH + "?state=true") as socket:
            ask(socket, X[0, 0].tolist())
            sequences = service.sequences.of(service.repository.get("m"))
            sequences.costs(10.0, 10.0)  # so that it takes a thread
            sequences.runner.call, call = slowly(sequences.runner.call), sequences.runner.call
            socket.send_text(json.dumps(X[0, 1].tolist()))
            until(lambda: any(state.waiting for state in sequences._states.values()))
            http.portal.call(service.connections.end)
            sequences.runner.call = call
            assert close(json.loads(socket.receive_text()), fastlstm.load(model).predict(X[:, :2])[0])
            assert json.loads(socket.receive_text())["state"]
            closed(socket, 1012)


def slowly(call: Any) -> Any:
    """A runner's ``call`` that takes its time."""
    import asyncio

    async def later(*arguments: Any, **more: Any) -> Any:
        await asyncio.sleep(0.3)
        return await call(*arguments, **more)

    return later


def test_streams_are_counted(model: Path) -> None:
    with TestClient(app({"m": model}, page=False)) as http:
        gauge = 'fastlstm_streams{kind="socket",model="m"}'
        with http.websocket_connect(PATH) as socket:
            ask(socket, X[0, 0].tolist())
            assert f"{gauge} 1.0" in http.get("/metrics").text
        until(lambda: f"{gauge} 0.0" in http.get("/metrics").text)
