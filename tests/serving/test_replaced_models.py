"""Models on disk that come, change and go while a service runs: they are replaced and let go while others answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shelves import QUIET, Seen, computes_as, looks, made, put, states

import fastlstm
from fastlstm.serving import Options
from fastlstm.serving.models.repository import Repository
from fastlstm.serving.models.served import Served
from fastlstm.serving.models.shelf import Status
from fastlstm.serving.refusals import RefusedError


def test_a_new_version_takes_over(model: Path, other: Path, tmp_path: Path) -> None:
    put(model, tmp_path / "m" / "1" / "model.h5")
    seen = Seen()
    found = made({"m": tmp_path / "m"}, observer=seen)
    put(other, tmp_path / "m" / "2" / "model.h5")
    found.look()
    assert states(found) == {1: "AVAILABLE", 2: "START"} and found.get("m").version == 1  # perhaps it still grows
    held = found.get("m")
    found.look()
    assert found.get("m").version == 2 and computes_as(found.get("m"), other)
    assert states(found) == {2: "AVAILABLE", 1: "UNLOADING"} and computes_as(held, model)  # a request has it still
    del held
    gc.collect()
    assert states(found) == {2: "AVAILABLE", 1: "END"}
    assert seen.told == [("loaded", "m", 1), ("loaded", "m", 2), ("unloaded", "m", 1)]


def test_a_file_that_is_replaced(model: Path, other: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    put(model, path)
    found = made({"m": path})
    before = found.get("m")
    put(other, path)
    looks(found)
    assert found.get("m") is not before and computes_as(found.get("m"), other) and computes_as(before, model)
    after = found.get("m")
    looks(found, 3)
    assert found.get("m") is after


def test_what_still_grows_is_waited_for(model: Path, other: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is copied slowly is never tried while it is incomplete, so nothing is said of it."""
    path, whole = tmp_path / "m.h5", other.read_bytes()
    put(model, path)
    found = made({"m": path})
    for end in range(0, len(whole), max(1, len(whole) // 7)):
        path.write_bytes(whole[:end])
        found.look()
        assert computes_as(found.get("m"), model)
    path.write_bytes(whole)
    looks(found)
    assert computes_as(found.get("m"), other) and not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_broken_one_leaves_what_is_served(
    model: Path, other: Path, broken: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, seen = tmp_path / "m.h5", Seen()
    put(model, path)
    found = made({"m": path}, observer=seen)
    before = found.get("m")
    put(broken, path)
    looks(found, 5)
    assert found.get("m") is before
    (status,) = found.status("m")
    assert status.state == "AVAILABLE" and status.message and str(tmp_path) not in status.message
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1 and "model 'm', version 1: cannot be loaded, version 1 is still served: " in errors[0]  # once, not at each look
    assert seen.told == [("loaded", "m", 1), ("failed", "m")]
    put(other, path)
    looks(found)
    assert found.status("m") == [Status(1, "AVAILABLE")] and computes_as(found.get("m"), other)


def test_a_broken_version_leaves_the_older_one(model: Path, broken: Path, tmp_path: Path) -> None:
    put(model, tmp_path / "m" / "1" / "model.h5")
    found = made({"m": tmp_path / "m"})
    put(broken, tmp_path / "m" / "2" / "model.h5")
    looks(found, 3)
    assert states(found) == {2: "END", 1: "AVAILABLE"} and found.get("m").version == 1
    shutil.rmtree(tmp_path / "m" / "2")
    looks(found)
    assert states(found) == {1: "AVAILABLE"}


def test_one_that_cannot_be_warmed_is_broken(model: Path, tmp_path: Path) -> None:
    def fussy(x: np.ndarray) -> np.ndarray:
        if len(x) > 4 and (tmp_path / "fussy").exists():
            raise ValueError("too many rows")
        return x

    path = tmp_path / "m.h5"
    put(model, path)
    found = made({"m": path}, options=Options(poll_seconds=None, loading={"custom_activations": {"linear": fussy}}))
    before = found.get("m")
    (tmp_path / "fussy").touch()
    put(model, path)
    looks(found)
    assert found.get("m") is before and "too many rows" in found.status("m")[0].message


def test_a_version_that_is_gone_goes(model: Path, tmp_path: Path) -> None:
    for version in (1, 2):
        put(model, tmp_path / "m" / str(version) / "model.h5")
    found = made({"m": tmp_path / "m"}, options=Options(poll_seconds=None, versions=None))
    shutil.rmtree(tmp_path / "m" / "2")
    found.look()
    assert found.get("m").version == 2  # perhaps it is just being replaced
    found.look()
    assert found.get("m").version == 1
    with pytest.raises(RefusedError, match=r"Specific\(m, 2\)"):
        found.get("m", 2)


def test_when_the_last_version_is_gone_none_is_served(model: Path, tmp_path: Path) -> None:
    put(model, tmp_path / "m" / "1" / "model.h5")
    found = made({"m": tmp_path / "m"})
    shutil.rmtree(tmp_path / "m" / "1")
    looks(found)
    gc.collect()
    assert states(found) == {1: "END"}
    with pytest.raises(RefusedError, match=r"Latest\(m\)"):
        found.get("m")
    put(model, tmp_path / "m" / "1" / "model.h5")
    looks(found)
    assert states(found) == {1: "AVAILABLE"}


class Others:
    """Stand for other workers, who agree or do not."""

    def __init__(self) -> None:
        self.agree, self.heard, self.left = True, list[tuple[Any, ...]](), list[Exception]()

    def reached(self, name: str, version: int, stamp: Any, fine: bool, ended: Any) -> bool:
        self.heard.append((name, version, fine))
        return fine and self.agree

    async def leave(self, error: Exception) -> None:
        self.left.append(error)
        raise SystemExit


def test_what_another_worker_cannot_load_is_shown_by_none(model: Path, other: Path, broken: Path, tmp_path: Path) -> None:
    path, others = tmp_path / "m.h5", Others()
    put(model, path)
    found = made({"m": path}, agreement=others)
    others.agree = False
    put(other, path)
    looks(found, 3)
    assert computes_as(found.get("m"), model)
    assert found.status("m") == [Status(1, "AVAILABLE", "is served by no worker, as another could not load it")]
    others.agree = True
    put(broken, path)
    looks(found)
    put(other, path)
    looks(found)
    assert computes_as(found.get("m"), other)
    assert others.heard == [("m", 1, True), ("m", 1, True), ("m", 1, False), ("m", 1, False), ("m", 1, True)]


def test_a_worker_that_cannot_begin_leaves(broken: Path) -> None:
    others = Others()
    found = Repository({"m": broken}, QUIET, agreement=others)
    with pytest.raises(SystemExit):
        asyncio.run(found.start())
    assert "model 'm': cannot be served" in str(others.left[0]) and not found.ready


def test_a_thread_looks_for_changes_until_the_end(model: Path, other: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    put(model, path)
    others = set(threading.enumerate())  # of services that other tests have not ended yet
    found = Repository({"m": path}, Options(poll_seconds=0.05))

    async def body() -> None:
        await found.start()
        before = found.get("m")
        put(other, path)
        while found.get("m") is before:
            await asyncio.sleep(0.01)
        await found.stop()

    asyncio.run(asyncio.wait_for(body(), 20))
    after = found.get("m")
    put(model, path)
    time.sleep(0.3)
    assert found.get("m") is after
    assert not [thread for thread in threading.enumerate() if thread.name == "fastlstm-watch" and thread not in others]


def test_what_vanishes_as_a_whole_stays(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that is not mounted any more, or a file between rm and cp."""
    put(model, tmp_path / "m.h5")
    put(model, tmp_path / "v" / "1" / "model.h5")
    found = made({"m": tmp_path / "m.h5", "v": tmp_path / "v"})
    (tmp_path / "m.h5").unlink()
    (tmp_path / "v").rename(tmp_path / "elsewhere")
    looks(found, 3)
    assert computes_as(found.get("m"), model) and computes_as(found.get("v"), model)
    assert len([record for record in caplog.records if "what is served stays" in record.getMessage()]) == 2


def test_models_come_to_a_folder_and_go(model: Path, other: Path, tmp_path: Path) -> None:
    folder, seen = tmp_path / "models", Seen()
    put(model, folder / "a.h5")
    found = made(folder=folder, observer=seen)
    put(other, folder / "b.h5")
    looks(found)
    assert sorted(found.names()) == ["a", "b"] and computes_as(found.get("b"), other)
    (folder / "a.h5").unlink()
    found.look()
    assert computes_as(found.get("a"), model)
    found.look()
    assert found.names() == ["b"] and seen.told == [("loaded", "a", 1), ("loaded", "b", 1), ("unloaded", "a", 1)]
    with pytest.raises(RefusedError):
        found.get("a")


def test_a_file_with_another_ending_takes_the_place(model: Path, other: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    put(model, folder / "a.h5")
    found = made(folder=folder)
    fastlstm.convert(other, folder / "a.fastlstm")
    (folder / "a.h5").unlink()
    for _ in range(3):
        found.look()
        found.get("a")  # is there all the time
    assert computes_as(found.get("a"), other)


def test_a_folder_that_cannot_be_read_leaves_what_is_served(model: Path, tmp_path: Path) -> None:
    put(model, tmp_path / "models" / "a.h5")
    found = made(folder=tmp_path / "models")
    (tmp_path / "models").rename(tmp_path / "gone")
    looks(found, 3)
    assert computes_as(found.get("a"), model)


def test_requests_go_on_while_versions_change(model: Path, other: Path, tmp_path: Path) -> None:
    """Whatever is asked for meanwhile, an answer is that of a whole version."""
    put(model, tmp_path / "m" / "1" / "model.h5")
    found = made({"m": tmp_path / "m"})
    x = np.ones((2, 5, 3), np.float32)
    expected = {version % 2: fastlstm.load(path).predict(x) for version, path in ((1, model), (2, other))}
    end, wrong, asked = threading.Event(), [], []

    def ask() -> None:
        while not end.is_set():
            served = found.get("m")
            answer = served.predict({served.inputs[0].name: x})
            asked.append(served.version)
            if not np.array_equal(next(iter(answer.values())), expected[served.version % 2]):
                wrong.append(served.version)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in range(2, 7):
        put(model if version % 2 else other, tmp_path / "m" / str(version) / "model.h5")
        looks(found)
        shutil.rmtree(tmp_path / "m" / str(version - 1))
    end.set()
    for thread in threads:
        thread.join()
    assert not wrong and len(set(asked)) > 1 and found.get("m").version == 6


def test_memory_is_given_back(model: Path, other: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    put(model, path)
    found = made({"m": path})
    for n in range(6):
        put(other if n % 2 else model, path)
        looks(found)
    gc.collect()
    assert len([one for one in gc.get_objects() if isinstance(one, Served) and one.name == "m" and one.model.source == str(path)]) == 1
