"""Files of strangers, read in a process of their own: the same model, the same errors."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import h5_files
import h5py
import numpy as np
import pytest
from isolated_reading import same_as_here
from keras_configs import chain, write_groups, write_h5

import fastlstm
from fastlstm import formats
from fastlstm.cli.main import main
from fastlstm.errors import FormatError, InputError, UnsupportedError
from fastlstm.formats import own
from fastlstm.isolation.parent import Isolation
from fastlstm.limits import Budget

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


# -- the same model -------------------------------------------------------------------------------------------------------


def test_same_model(h5: Path, tmp_path: Path) -> None:
    expected = fastlstm.load(h5)
    for given in (h5, str(h5), h5.read_bytes(), io.BytesIO(h5.read_bytes()), h5.open("rb")):
        model = fastlstm.load(given, isolated=True)
        np.testing.assert_array_equal(model.predict(X), expected.predict(X))
        assert model.generation == expected.generation
    assert same_as_here(h5).generation.file_kind == "HDF5 model"
    fastlstm.convert(h5, tmp_path / "m.fastlstm")
    assert same_as_here(tmp_path / "m.fastlstm").generation.file_kind == ".fastlstm"
    model = fastlstm.load(h5, isolated=True, outputs=["lstm_1"], precision="float64")
    np.testing.assert_array_equal(model.predict(X), fastlstm.load(h5, outputs=["lstm_1"], precision="float64").predict(X))


@pytest.mark.slow
def test_same_by_name_and_architecture(tmp_path: Path) -> None:
    names = ("a", "é")
    config = chain(*(("Dense", {"name": name, "units": 3, "batch_input_shape": [None, 3], "activation": "linear"}) for name in names))
    groups = {name: [np.eye(3) * number, np.zeros(3)] for number, name in enumerate(names, start=2)}
    same_as_here(write_h5(tmp_path / "m.h5", config, dict(reversed(groups.items()))), by_name=True)
    same_as_here(tmp_path / "m.h5")  # an error
    with h5py.File(tmp_path / "w.h5", "w") as file:
        write_groups(file, groups)
    text = json.dumps(config, ensure_ascii=False)
    contents = {"m.json": text.encode(), "bom.json": text.encode("utf-8-sig"), "bad": b"\xff\xfe", "yaml": b"class_name: a"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        same_as_here(tmp_path / "w.h5", architecture=tmp_path / name)
    for architecture in (config, text, json.dumps(text), {}, "{", str(tmp_path / "m.json"), str(tmp_path / "absent"), 5, "a\0b"):
        same_as_here(tmp_path / "w.h5", architecture=architecture)
        same_as_here(tmp_path / "m.h5", architecture=architecture)
    with pytest.raises(InputError, match="architecture: expected what JSON can hold"):
        fastlstm.load(tmp_path / "w.h5", architecture={"a": object()}, isolated=True)


@pytest.mark.slow
def test_same_names_of_any_letters(tmp_path: Path) -> None:
    """Half a character, which JSON may hold, in the name of a layer; a name of a file that is no text."""
    rng = np.random.default_rng(0)
    path = h5_files.save(tmp_path / os.fsdecode(b"m\xff\xc3.h5"), [h5_files.dense(2, 3, rng)], (3,))
    config = chain(("Dense", {"name": "a\ud800b\0", "units": 2, "activation": "linear", "batch_input_shape": [None, 3]}))
    same_as_here(path, architecture=json.dumps(config))
    fastlstm.convert(path, tmp_path / "m.fastlstm", architecture=config)
    assert fastlstm.load(tmp_path / "m.fastlstm", isolated=True, verify=True).layers[-1].name == "a\ud800b\0"
    path.write_bytes(b"text")
    same_as_here(path)


@pytest.mark.slow
def test_same_warnings_and_problems(tmp_path: Path, h5: Path) -> None:
    cell = {"class_name": "LSTMCell", "config": {"name": "lstm_cell_1", "trainable": True}}
    config = chain(("RNN", {"name": "r", "cell": cell, "batch_input_shape": [None, 4, 3]}))
    weights = [np.zeros(one, np.float32) for one in ((3, 8), (2, 8), (8,))]
    write_h5(tmp_path / "n.h5", config, {"r": weights[:2]}, "2.0.9")
    assert same_as_here(tmp_path / "n.h5").problems
    write_h5(tmp_path / "w.h5", config, {"r": weights}, "2.0.9")
    same_as_here(tmp_path / "w.h5")
    with pytest.warns(UserWarning, match="without their arguments") as caught:
        fastlstm.load(tmp_path / "w.h5", isolated=True)
    assert caught[0].filename == __file__
    write_h5(tmp_path / "o.h5", {"class_name": "Own", "config": {"name": "own"}}, {})
    assert same_as_here(tmp_path / "o.h5")[0] is UnsupportedError
    config = {"trainable": True, "a": {"$tuple": 1}, "b": [{"$ref": {"$x": 0}}], "c": {"$": 1}}  # what .fastlstm files write so is other
    odd = h5_files.Layer({"class_name": "Oddity", "config": config}, [np.ones((2, 2), np.int32)])
    same_as_here(h5_files.save(tmp_path / "odd.h5", [odd], (3,)))
    there = fastlstm.describe(tmp_path / "odd.h5", isolated=True)
    assert there == fastlstm.describe(tmp_path / "odd.h5")
    assert there.problems
    with pytest.raises(UnsupportedError) as error:
        fastlstm.load(tmp_path / "odd.h5", isolated=True)
    assert error.value.problems == there.problems


def test_same_functions_of_the_caller(tmp_path: Path) -> None:
    own = h5_files.Layer({"class_name": "Twice", "config": {"trainable": True, "by": 2}}, [np.full(3, 2.0, np.float32)])
    path = h5_files.save(tmp_path / "m.h5", [h5_files.dense(3, 3, np.random.default_rng(0)), own], (3,))
    functions = {"Twice": lambda x, config, weights: x * config["by"] * weights[0]}
    x = X[:, 0]
    expected = fastlstm.load(path, custom_layers=functions).predict(x)
    np.testing.assert_array_equal(fastlstm.load(path, custom_layers=functions, isolated=True).predict(x), expected)


@pytest.mark.parametrize("cut", [0, 4, 48, 100, 800, 2100, -200, -1])
def test_same_truncated(h5: Path, cut: int) -> None:
    h5.write_bytes(h5.read_bytes()[:cut])
    assert same_as_here(h5)[0] is FormatError


def test_large_files_pass_both_pipes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = h5_files.save(tmp_path / "m.h5", [h5_files.dense(1500, 2000, rng), h5_files.dense(2, 1500, rng)], (2000,))
    assert path.stat().st_size > 10 << 20
    same_as_here(path)
    same_as_here(path.read_bytes())


# -- what goes with it ----------------------------------------------------------------------------------------------------


def test_convert_does_not_look_into_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, h5: Path) -> None:
    fastlstm.convert(h5, tmp_path / "here.fastlstm")
    for module in (formats, formats.own):
        monkeypatch.setattr(module, "read", None)
    monkeypatch.setattr(h5py, "File", None)
    report = fastlstm.convert(h5, tmp_path / "there.fastlstm", isolated=True)
    assert report.generation == "Keras 2.3.1 on tensorflow, HDF5 model"
    assert (tmp_path / "there.fastlstm").read_bytes() == (tmp_path / "here.fastlstm").read_bytes()
    written = formats.source_of(tmp_path / "there.fastlstm")
    with own.Store(written, Budget(written.name, written.size)) as store:
        assert store.header["source_sha256"] == hashlib.sha256(h5.read_bytes()).hexdigest()


def test_verify(tmp_path: Path, h5: Path) -> None:
    target = tmp_path / "m.fastlstm"
    fastlstm.convert(h5, target)
    assert str(fastlstm.verify(target, isolated=True)) == str(fastlstm.verify(target))
    assert str(fastlstm.verify(h5, isolated=True)) == str(fastlstm.verify(h5))
    assert fastlstm.load(target, isolated=True, verify=True)
    data = bytearray(target.read_bytes())
    data[-1] ^= 64
    target.write_bytes(data)
    altered = fastlstm.verify(target, isolated=True)
    assert altered.altered
    assert altered == fastlstm.verify(target)


def test_verify_cases_of_ids(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = h5_files.save(tmp_path / "ids.h5", [h5_files.embedding(9, 4, rng), h5_files.recurrent("LSTM", 3, 4, rng)], (None,))
    fastlstm.convert(path, tmp_path / "ids.fastlstm", isolated=True)
    assert str(fastlstm.verify(tmp_path / "ids.fastlstm", isolated=True)) == str(fastlstm.verify(tmp_path / "ids.fastlstm"))


def test_what_does_not_go_together(tmp_path: Path, h5: Path) -> None:
    with h5py.File(h5) as file, pytest.raises(InputError, match="an h5py.File, which this process has open already; pass its path"):
        fastlstm.load(file, isolated=True)
    with pytest.raises(InputError, match="keras: Keras reads the file in this process"):
        fastlstm.verify(h5, keras=True, isolated=True)
    with pytest.raises(InputError, match="keras: Keras reads the file in this process"):
        fastlstm.convert(h5, tmp_path / "m.fastlstm", keras=True, isolated=True)
    assert not (tmp_path / "m.fastlstm").exists()


@pytest.mark.parametrize("isolated", [None, 1, "yes", Isolation, {}], ids=str)
def test_isolated_is_a_flag_or_limits(h5: Path, isolated: Any) -> None:
    for call in (fastlstm.load, fastlstm.describe, fastlstm.verify):
        with pytest.raises(InputError, match="isolated: expected True, False or a fastlstm.Isolation, found"):
            call(h5, isolated=isolated)


def test_folders_devices_and_absent_files(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", "/dev/zero", "/proc/self/mem", "a\0b", "x" * 5000):
        same_as_here(path)


def test_zip_names_of_any_code_page(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.jsoX", "{}")
    path.write_bytes(path.read_bytes().replace(b"config.jsoX", b"config.jso\xe9"))
    assert same_as_here(path)[0] is FormatError


def test_command_line(tmp_path: Path, h5: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", X)
    target = str(tmp_path / "m.fastlstm")
    for command in (["describe", str(h5)], ["verify", str(h5)], ["predict", str(h5), str(tmp_path / "x.npy")], ["convert", str(h5), target],
                    ["verify", target]):  # fmt: skip
        assert main(command) == 0
        expected = capsys.readouterr()
        assert main([*command, "--isolated"]) == 0
        assert capsys.readouterr() == expected
    assert main(["convert", str(h5), target, "--isolated", "--keras"]) == 1
    assert "leave one of them out" in capsys.readouterr().err
