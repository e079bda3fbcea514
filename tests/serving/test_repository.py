"""Models on disk, as a service finds, loads and warms them when it starts."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import page_files
import pytest
from shelves import QUIET, Seen, computes_as, looks, made, put, states

import fastlstm
from fastlstm.serving import Options
from fastlstm.serving.models import finding
from fastlstm.serving.models.repository import Repository
from fastlstm.serving.models.shelf import Status
from fastlstm.serving.refusals import RefusedError

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
