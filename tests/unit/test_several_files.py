"""Models in several files: folders of Keras 3, weights in parts. What is damaged or hostile is refused, and nothing else is read."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import keras3_files
import numpy as np
import pytest
from isolated_reading import same_as_here

import fastlstm
from fastlstm.cli.main import main
from fastlstm.errors import FormatError, InputError
from fastlstm.formats import several
from fastlstm.spec import ModelSpec

pytestmark = pytest.mark.slow  # others look at each of these rooms in the quick run

RNG = np.random.default_rng(0)
CONFIG = keras3_files.chain((None, 5, 3), keras3_files.layer("LSTM", "lstm_4", units=4), keras3_files.layer("Dense", "out", units=2))
LSTM = [(RNG.normal(size=shape) * 0.5).astype(np.float32) for shape in ((3, 16), (4, 16), (16,))]
DENSE = [RNG.normal(size=shape).astype(np.float32) for shape in ((4, 2), (2,))]
ARRAYS = {"layers/lstm/cell/vars": LSTM, "layers/dense/vars": DENSE}
X = RNG.normal(size=(2, 5, 3)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return keras3_files.folder(tmp_path / "model", CONFIG, ARRAYS)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Three parts; the arrays of the LSTM are in two of them."""
    first = {"layers/lstm/cell/vars": {"0": LSTM[0], "1": LSTM[1]}}
    second = {"layers/lstm/cell/vars": {"2": LSTM[2]}}
    return keras3_files.in_parts(tmp_path / "m.weights.json", first, second, {"layers/dense/vars": dict(zip("01", DENSE))})


@pytest.fixture
def expected(tmp_path: Path) -> np.ndarray:
    return fastlstm.load(keras3_files.zipped(tmp_path / "whole.keras", CONFIG, ARRAYS)).predict(X)


def refused(path: Path, says: str, **options: Any) -> None:
    """Both ways of reading refuse a model with the same words."""
    for isolated in (False, True):
        with pytest.raises(FormatError, match=says):
            fastlstm.load(path, isolated=isolated, **options)


# -- folders ----------------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_as_the_file(folder: Path, expected: np.ndarray, tmp_path: Path, capsys: Any) -> None:
    for isolated in (False, True):
        for path in (folder, str(folder) + os.sep):
            np.testing.assert_array_equal(fastlstm.load(path, isolated=isolated).predict(X), expected)
    assert isinstance(same_as_here(folder), ModelSpec)
    assert fastlstm.describe(folder).layers[1].name == "lstm_4"
    assert fastlstm.verify(folder).passed
    report = fastlstm.convert(folder, tmp_path / "m.fastlstm")
    assert report.generation == "Keras 3.15.1, .keras"
    np.testing.assert_array_equal(fastlstm.load(tmp_path / "m.fastlstm", verify=True).predict(X), expected)
    assert main(["describe", str(folder)]) == 0
    assert "lstm_4" in capsys.readouterr().out


def test_a_folder_without_metadata(folder: Path, expected: np.ndarray) -> None:
    (folder / "metadata.json").unlink()
    np.testing.assert_array_equal(fastlstm.load(folder).predict(X), expected)


def test_the_same_folder_gives_the_same_file(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        fastlstm.convert(folder, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_file_of_a_folder_is_written_over(folder: Path) -> None:
    before = (folder / "config.json").read_bytes()
    with pytest.raises(InputError, match="it is the file that is read"):
        fastlstm.convert(folder, folder / "config.json")
    assert (folder / "config.json").read_bytes() == before


def test_a_folder_has_its_architecture(folder: Path) -> None:
    with pytest.raises(InputError, match=r"is a \.keras folder, which holds its own"):
        fastlstm.load(folder, architecture=CONFIG)


def test_folders_of_other_kinds(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"")
    refused(folder, "saved_model.pb: damaged")
    (folder / "saved_model.pb").unlink()
    (folder / "config.json").unlink()
    refused(folder, r"without the config.json .* pass the file .*model\.weights\.h5 with architecture=")
    fastlstm.load(folder / "model.weights.h5", architecture=CONFIG)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
@pytest.mark.parametrize("name", ["config.json", "metadata.json", "model.weights.h5"])
def test_links_in_a_folder_are_not_followed(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    for target in (tmp_path / "elsewhere", "../elsewhere", folder / "nowhere"):
        (folder / name).symlink_to(target)
        refused(folder, f"{name} is a link, which is never followed")
        (folder / name).unlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_pipes_in_a_folder_are_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    refused(folder, f"{name} is no regular file")
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, f"{name} is no regular file")


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_what_changes_while_it_is_read(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look at a file and its opening somebody may put another one in its place."""
    look = several.regular

    def swapped(path: str, source: str) -> os.stat_result:
        found = look(path, source)
        if path.endswith(name) and not os.path.exists(path + "2"):
            shutil.copy(path, path + "2")
            os.replace(path + "2", path)
        return found

    monkeypatch.setattr(several, "regular", swapped)
    with pytest.raises(FormatError, match=f"{name} changed while it was read"):
        fastlstm.load(folder)


def test_sizes_meet_the_budget(folder: Path) -> None:
    for name in ("config.json", "model.weights.h5"):
        before = (folder / name).read_bytes()
        with open(folder / name, "r+b") as file:
            file.truncate(1 << 31)  # takes no room on the disk
        refused(folder, "more than|where loading may take", max_bytes=1 << 28)
        (folder / name).write_bytes(before)
    fastlstm.load(folder)


def test_damaged_members(folder: Path) -> None:
    (folder / "model.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    refused(folder, "model.weights.h5: damaged or truncated HDF5")
    (folder / "config.json").write_bytes(b"\xff")
    refused(folder, "config.json is not UTF-8 text")


# -- parts ------------------------------------------------------------------------------------------------------------------


def test_parts_are_read_as_one(index: Path, expected: np.ndarray, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "model.json").write_text(json.dumps(CONFIG))
    for architecture in (CONFIG, tmp_path / "model.json"):
        for isolated in (False, True):
            model = fastlstm.load(index, architecture=architecture, isolated=isolated)
            np.testing.assert_array_equal(model.predict(X), expected)
    assert isinstance(same_as_here(index, architecture=CONFIG), ModelSpec)
    assert "weights in parts" in str(model.generation)
    fastlstm.convert(index, tmp_path / "m.fastlstm", architecture=CONFIG)
    np.testing.assert_array_equal(fastlstm.load(tmp_path / "m.fastlstm", verify=True).predict(X), expected)
    assert fastlstm.verify(index, architecture=CONFIG).passed
    assert main(["describe", str(index), "--architecture", str(tmp_path / "model.json")]) == 0
    assert "lstm_4" in capsys.readouterr().out


def test_parts_without_the_model(index: Path) -> None:
    refused(index, "weights in parts, without the model; pass architecture=")
    with pytest.raises(FormatError, match="pass its path, the parts beside it, and architecture="):
        fastlstm.load(index.read_bytes(), architecture=CONFIG)


def test_one_part_alone(index: Path) -> None:
    part = index.with_name("m_00001.weights.h5")
    refused(part, r"one part of weights .* pass their index, m\.weights\.json, in its place")
    refused(part, r"expected 3 arrays .* found 1; .* pass their index, m\.weights\.json, in its place", architecture=CONFIG)


def test_a_part_that_is_not_there(index: Path) -> None:
    index.with_name("m_00001.weights.h5").unlink()
    refused(index, "its file m_00001.weights.h5 cannot be read", architecture=CONFIG)


def test_no_part_is_written_over(index: Path) -> None:
    with pytest.raises(InputError, match="it is the file that is read"):
        fastlstm.convert(index, index.with_name("m_00002.weights.h5"), architecture=CONFIG)


@pytest.mark.parametrize(
    "name",
    ["../m_00000.weights.h5", "/etc/passwd", "sub/m.weights.h5", "..", "", "m.h5", "c:m.weights.h5", "a\\m.weights.h5", "a\0.weights.h5"],
)
def test_parts_elsewhere_are_not_read(index: Path, name: str) -> None:
    for files in (name, ["m_00000.weights.h5", name]):
        index.write_text(json.dumps({"weight_map": {"/layers/dense/vars": files}}))
        refused(index, "parts are files", architecture=CONFIG)


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
def test_links_among_parts_are_not_followed(index: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    part = index.with_name("m_00001.weights.h5").rename(tmp_path / "sub" / "part")
    index.with_name("m_00001.weights.h5").symlink_to(part)
    refused(index, "m_00001.weights.h5 is a link, which is never followed", architecture=CONFIG)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"weight_map": [', "not JSON"),
        ('{"weight_map": []}', "expected an object that says where"),
        ('{"weight_map": {}}', "names 0 parts"),
        ('{"a": "weight_map", "b": {"weight_map": {}}}', "expected an object that says where"),
        ('{"weight_map": {"/layers/dense/vars": 7}}', "expected names of parts"),
        ('{"weight_map": {"/layers/dense/vars": [["a.weights.h5"]]}}', "expected names of parts"),
        ('{"weight_map": {"a": ' + "[" * 1000 + "]" * 1000 + "}}", "nested"),
    ],
)
def test_indexes_without_sense(index: Path, content: str, says: str) -> None:
    index.write_text(content)
    refused(index, says, architecture=CONFIG)


def test_an_index_of_too_many_parts(index: Path) -> None:
    names = [f"m_{number:05}.weights.h5" for number in range(several.PARTS + 1)]
    index.write_text(json.dumps({"weight_map": {"/layers/dense/vars": names}}))
    refused(index, f"names {several.PARTS + 1} parts", architecture=CONFIG)


def test_an_array_in_two_parts(index: Path) -> None:
    shutil.copy(index.with_name("m_00000.weights.h5"), index.with_name("m_00001.weights.h5"))
    refused(index, "is in another part of the weights too", architecture=CONFIG)


def test_an_architecture_of_another_keras(index: Path) -> None:
    early = {"class_name": "Sequential", "keras_version": "1.2.2", "config": []}
    refused(index, "weights in parts, as Keras 3 writes them, and an architecture of Keras 1.2.2", architecture=early)
