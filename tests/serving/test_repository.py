"""Models on disk: found, loaded, warmed, replaced and let go, while others answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shlex
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import batch_models
import numpy as np
import page_files
import pytest

import fastlstm
from fastlstm.serving import Options
from fastlstm.serving.models import finding
from fastlstm.serving.models.repository import Repository
from fastlstm.serving.models.served import Served
from fastlstm.serving.models.shelf import Status
from fastlstm.serving.refusals import RefusedError

QUIET = Options(poll_seconds=None)


class Seen:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def loaded(self, name: str, version: int) -> None:
        self.told.append(("loaded", name, version))

    def unloaded(self, name: str, version: int) -> None:
        self.told.append(("unloaded", name, version))

    def load_failed(self, name: str) -> None:
        self.told.append(("failed", name))


def made(models: Mapping[str, Any] | None = None, **given: Any) -> Repository:
    """A repository that is loaded, and looks only when it is told to."""
    options = given.pop("options", QUIET)
    found = Repository(models or {}, options, **given)
    found.load()
    return found


def states(repository: Repository, name: str = "m") -> dict[int, str]:
    return {status.version: status.state for status in repository.status(name)}


def put(source: Path, target: Path) -> None:
    """A whole file in place of another, as mv does it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target.with_name(".coming"))
    os.replace(target.with_name(".coming"), target)


def looks(repository: Repository, times: int = 2) -> None:
    for _ in range(times):
        repository.look()


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another model, whose numbers differ."""
    path = tmp_path / "others" / "other.h5"
    path.parent.mkdir()
    return batch_models.any_length(path)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "others" / "broken.h5"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"no more of it")
    return path


def computes_as(served: Served, path: Path) -> bool:
    x = np.ones((2, 5, 3), np.float32)
    (output,) = served.outputs
    return np.array_equal(served.predict({served.inputs[0].name: x})[output.name], fastlstm.load(path).predict(x))


# -- what is there -----------------------------------------------------------------------------------------------------------


def test_a_file(model: Path) -> None:
    found = made({"m": model})
    assert found.ready and found.names() == ["m"] and found.status("m") == [Status(1, "AVAILABLE")]
    assert found.get("m") is found.get("m", 1) and computes_as(found.get("m"), model)
    assert found.get("m").costs.expected({"x": np.zeros((1, 16, 3))}) is not None  # warmed


def test_models_in_memory(model: Path) -> None:
    loaded, seen = fastlstm.load(model), Seen()
    found = made({"m": loaded}, observer=seen)
    assert found.get("m").model is loaded and states(found) == {1: "AVAILABLE"} and seen.told == [("loaded", "m", 1)]
    assert found.get("m").costs.expected({"x": np.zeros((1, 16, 3))}) is not None
    looks(found)
    assert found.get("m").model is loaded


def test_a_pipeline_in_a_file(tmp_path: Path) -> None:
    import around_models

    fastlstm.Pipeline(around_models.of_texts(tmp_path), tokenizer=around_models.fitted_tokenizer(), labels=["a", "b"]).save(
        tmp_path / "p.fastlstm"
    )
    one = made({"p": tmp_path / "p.fastlstm"}).get("p")
    assert isinstance(one.model, fastlstm.Pipeline) and one.inputs[0].dtype == "string"


def test_the_newest_of_versions(model: Path, other: Path, tmp_path: Path) -> None:
    for version in (2, 10, 9):
        put(other if version == 10 else model, tmp_path / "m" / str(version) / "model.h5")
    (tmp_path / "m" / "notes").mkdir()
    found = made({"m": tmp_path / "m"})
    assert states(found) == {10: "AVAILABLE"} and computes_as(found.get("m"), other)
    assert states(made({"m": tmp_path / "m"}, options=Options(poll_seconds=None, versions=2))) == {10: "AVAILABLE", 9: "AVAILABLE"}
    every = made({"m": tmp_path / "m"}, options=Options(poll_seconds=None, versions=None))
    assert states(every) == {10: "AVAILABLE", 9: "AVAILABLE", 2: "AVAILABLE"}
    assert every.get("m").version == 10 and every.get("m", 2).version == 2


def test_versions_that_are_files_and_models_in_several_files(model: Path, tmp_path: Path) -> None:
    put(model, tmp_path / "m" / "1.h5")
    assert states(made({"m": tmp_path / "m"})) == {1: "AVAILABLE"}
    put(model, tmp_path / "twice" / "1" / "a.h5")
    put(model, tmp_path / "twice" / "1" / "b.h5")
    with pytest.raises(
        fastlstm.FormatError, match=r"model 'twice': cannot be served: version 1: .*expected a model, or a folder with one file"
    ):
        made({"twice": tmp_path / "twice"})


def test_labels_name_versions_which_stay(model: Path, tmp_path: Path) -> None:
    for version in (1, 2, 3):
        put(model, tmp_path / "m" / str(version) / "model.h5")
    found = made({"m": tmp_path / "m"}, labels={"m": {"stable": 1, "canary": 3}})
    assert states(found) == {3: "AVAILABLE", 1: "AVAILABLE"}
    assert found.get("m", label="stable").version == 1 and found.get("m", label="canary").version == 3
    with pytest.raises(RefusedError, match="Unrecognized servable version label: other"):
        found.get("m", label="other")
    with pytest.raises(fastlstm.InputError, match="label 'gone' of model 'm': expected one of the versions 3, found 7"):
        made({"m": tmp_path / "m"}, labels={"m": {"gone": 7}})


def test_what_is_not_served_is_told_as_tensorflow_serving_does(model: Path) -> None:
    found = made({"m": model})
    for arguments, text in [
        (("n",), "Servable not found for request: Latest(n)"),
        (("m", 2), "Servable not found for request: Specific(m, 2)"),
        (("../m", 1), "Servable not found for request: Specific(../m, 1)"),
    ]:
        with pytest.raises(RefusedError) as caught:
            found.get(*arguments)
        assert (caught.value.status, str(caught.value)) == (404, text)
    with pytest.raises(RefusedError, match="Could not find any versions of model n"):
        found.status("n")


def test_names_of_requests_reach_no_file(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = made({"m": model}, folder=model.parent)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a request looked at files")

    for module, name in ((os, "stat"), (os, "lstat"), (os, "listdir"), (os, "scandir"), (os, "open"), (os.path, "exists")):
        monkeypatch.setattr(module, name, refuse)
    for name in ("m", "/etc/passwd", "../../etc", "m/../..", "\0", "", str(model), "a" * 10_000):
        for ask in (found.get, found.status):
            try:
                ask(name)
            except RefusedError as error:
                assert name != "m", error
    monkeypatch.undo()


# -- at the start ------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_loaded_at_the_start_ends_it(model: Path, broken: Path, tmp_path: Path) -> None:
    with pytest.raises(fastlstm.FormatError, match="model 'b': cannot be served: version 1: "):
        made({"m": model, "b": broken})
    with pytest.raises(fastlstm.FormatError, match="model 'n': cannot be served: .*nothing is there"):
        made({"n": tmp_path / "nowhere"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(fastlstm.FormatError, match="model 'e': cannot be served: .*no version is in it"):
        made({"e": tmp_path / "empty"})


def test_a_folder_of_models_is_told_from_one_of_versions(model: Path, tmp_path: Path) -> None:
    put(model, tmp_path / "some models" / "prices.h5")
    with pytest.raises(fastlstm.FormatError) as caught:
        made({"models": tmp_path / "some models"})
    assert "no version is in it, but models: prices; to serve each of them: --models '" in str(caught.value)
    assert made(folder=shlex.split(str(caught.value))[-1]).names() == ["prices"]


def test_of_a_folder_of_models_the_others_are_served(model: Path, broken: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "models"
    put(model, folder / "good.h5")
    put(broken, folder / "bad.h5")
    put(model, folder / "versions" / "4" / "model.h5")
    put(model, folder / "two words.h5")
    put(model, folder / "good.hdf5")
    (folder / "README.md").write_text("no model")
    (folder / ".hidden.h5").write_bytes(b"")
    found = made(folder=folder)
    assert sorted(found.names()) == ["bad", "good", "versions"] and found.ready
    assert found.get("versions").version == 4 and computes_as(found.get("good"), model)
    (bad,) = found.status("bad")
    assert (bad.version, bad.state) == (1, "END") and "bad" in bad.message and str(tmp_path) not in bad.message
    assert list(found.failures()) == ["bad"]
    with pytest.raises(RefusedError, match=r"Latest\(bad\)"):
        found.get("bad")
    said = [record.getMessage() for record in caplog.records]
    assert any("two words.h5: is not served: expected a name of letters" in text for text in said)
    assert any("good.hdf5: is not served" in text and "good.h5 is called 'good' too" in text for text in said)
    count = len(said)
    looks(found, 3)
    assert [record.getMessage() for record in caplog.records[count:]] == []  # all this was said


def test_an_older_version_is_served_where_the_newest_is_broken(model: Path, broken: Path, tmp_path: Path) -> None:
    put(model, tmp_path / "m" / "1" / "model.h5")
    put(broken, tmp_path / "m" / "2" / "model.h5")
    found = made({"m": tmp_path / "m"})
    assert states(found) == {2: "END", 1: "AVAILABLE"}
    put(model, tmp_path / "m" / "2" / "model.h5")
    looks(found)
    assert states(found)[2] == "AVAILABLE" and found.get("m").version == 2


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    ({}, {}, "models: expected at least one model, or a folder of models, found none"),
    ({"a b": "m.h5"}, {}, "models: expected names of letters, digits and _.-, a letter or digit first, at most 128, found 'a b'"),
    ({"../m": "m.h5"}, {}, "found '../m'"),
    ({"m": 3}, {}, "models: expected for 'm' a path, a fastlstm.Model or a fastlstm.Pipeline, found 3"),
    ({"m": ""}, {}, "models: expected for 'm' a path"),
    ({"m": "m.h5"}, {"labels": {"n": {"a": 1}}}, "labels: expected names of models among 'm', found 'n'"),
    ({"m": "m.h5"}, {"labels": {"m": {"a": "1"}}}, "labels: expected versions by model and label, {'m': {'stable': 3}}, found for 'a' '1'"),
    ({"m": "m.h5"}, {"labels": {"m": 3}}, "labels: expected versions by model and label"),
    ({"m": "m.h5"}, {"folder": "nowhere"}, "folder: expected the path of a folder of models, found 'nowhere', which is none"),
]  # fmt: skip


@pytest.mark.parametrize(("models", "given", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_fit_is_refused(models: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(fastlstm.InputError) as caught:
        Repository(models, QUIET, **given)
    assert message in str(caught.value)


# -- what changes ------------------------------------------------------------------------------------------------------------


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
    assert not [thread for thread in threading.enumerate() if thread.name == "fastlstm-watch"]


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


# -- finding -----------------------------------------------------------------------------------------------------------------


def test_names() -> None:
    assert [finding.name_of(path) for path in ("a/model.h5", "b.KERAS", "saved/", "x.tar", ".h5")] == [
        "model",
        "b",
        "saved",
        "x.tar",
        ".h5",
    ]
    for name in ("m", "a-b_c.1", "9"):
        assert finding.checked_name(name) == name
    for name in ("", ".m", "a/b", "a:b", "ä", "a" * 129, None, "a\n"):
        with pytest.raises(fastlstm.InputError):
            finding.checked_name(name)


def test_versions_are_numbers_and_nothing_else(model: Path, tmp_path: Path) -> None:
    for name in ("1", "007", "-2", "3.5", "v4", "²", "9" * 19):
        put(model, tmp_path / "m" / name / "model.h5")
    put(model, tmp_path / "m" / "8.h5")
    put(model, tmp_path / "m" / "6.txt")
    found = finding.versions(str(tmp_path / "m"))
    assert found is not None and sorted(found) == [1, 7, 8]
    assert finding.versions(str(tmp_path / "nowhere")) is None
    page_files.recurrent(tmp_path / "one.h5")
    assert finding.versions(str(tmp_path / "one.h5")) == {1: str(tmp_path / "one.h5")}
