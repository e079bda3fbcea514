"""``fastlstm inspect --report``: all that an issue needs, and nothing that somebody may want to keep."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import graph_files
import h5_files
import h5py
import numpy as np
import pytest
from keras_configs import layer

import fastlstm
from fastlstm.cli.main import main

SECRET = "hush-hush"
RNG = np.random.default_rng(0)
LSTM = {"units": 4, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}


@pytest.fixture
def secret_path(tmp_path: Path) -> Path:
    """A file that is full of what nobody else is to see."""
    rng = np.random.default_rng(0)
    odd = {
        "name": f"{SECRET}_layer", "trainable": True, "path": f"/home/{SECRET}/vocabulary.txt", "key": SECRET, "numbers": [1.25, 7.75],
        "code": f"def f(): return '{SECRET}'", "alphabet": [SECRET, "b"],
    }  # fmt: skip
    layers = [
        h5_files.recurrent("LSTM", 4, 3, rng, name=f"{SECRET}_lstm"), h5_files.Layer({"class_name": f"{SECRET}Layer", "config": odd}, []),
    ]  # fmt: skip
    return h5_files.save(tmp_path / f"{SECRET}.h5", layers, (5, 3))


def reported(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    main(["inspect", *map(str, arguments), "--report", "--json"])
    return json.loads(capsys.readouterr().out)


def test_what_an_issue_needs(h5: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = reported(capsys, h5)
    assert found["fastlstm"] == fastlstm.__version__
    assert platform.python_version() in found["python"]
    assert found["packages"]["numpy"] == np.__version__
    assert found["cpu"]["kernels"] in found["cpu"]["available"]
    assert found["file"] == {"kind": "HDF5 model", "bytes": h5.stat().st_size}
    assert found["generation"]["version"] == "2.3.1"
    lstm = next(one for one in found["layers"] if one["class"] == "LSTM")
    assert lstm["config"]["units"] == 4
    assert lstm["config"]["recurrent_activation"] == "sigmoid"
    assert "kernel_initializer" not in lstm["config"]
    assert lstm["output_shape"] == [None, 4]
    assert lstm["runs"] == "native"
    assert lstm["given"] == ["lstm_1_input"]
    assert found["problems"] == []
    assert main(["inspect", str(h5), "--report"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"- fastlstm {fastlstm.__version__}, CPython")
    assert "lstm_1 LSTM (any, 4) 128 native <- lstm_1_input" in text
    assert "units=4" in text
    assert text.count("```") == 2


@pytest.mark.parametrize("json_too", [[], ["--json"]], ids=["text", "json"])
def test_nothing_of_what_stands_in_a_file(secret_path: Path, capsys: pytest.CaptureFixture[str], json_too: list[str]) -> None:
    assert main(["inspect", str(secret_path), "--report", *json_too]) == 1
    out = capsys.readouterr().out
    for kept in ("/home", "vocabulary", "def f", "1.25", "7.75", str(secret_path.parent), secret_path.name):
        assert kept not in out
    assert f"{SECRET}_lstm" in out  # names help those who read it, unless
    assert main(["inspect", str(secret_path), "--report", "--anonymous", *json_too]) == 1
    out = capsys.readouterr().out
    assert SECRET not in out
    assert "Class1" in out
    assert "custom_layers" in out  # the advice is still there


def test_what_an_unreadable_file_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message about it names layers without quotation marks."""
    one = h5_files.recurrent("LSTM", 4, 3, RNG, name=f"{SECRET}_lstm")
    one.entry["config"]["units"] = "many"
    path = h5_files.save(tmp_path / "m.h5", [one], (5, 3))
    assert main(["inspect", str(path), "--report", "--anonymous"]) == 1
    out = capsys.readouterr().out
    assert SECRET not in out
    assert "expected a whole number" in out


def test_values_and_keys_of_objects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where a message repeats an argument, and where a text holds quotation marks."""
    odd = {"name": "odd", "trainable": True, "acme": [0.11, 0.22], "text": f"x'\"{SECRET} of somebody", "object": {f"{SECRET}_key": 1}}
    layers = [h5_files.Layer({"class_name": "LSTM", "config": {**LSTM, **odd}}, h5_files.recurrent("LSTM", 4, 3, RNG).weights)]
    path = h5_files.save(tmp_path / "m.h5", layers, (5, 3))
    main(["inspect", str(path), "--report", "--anonymous"])
    out = capsys.readouterr().out
    assert "is not known" in out
    for kept in (SECRET, "0.11", "somebody"):
        assert kept not in out


def test_versions_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They stand outside of what is fenced."""
    path = h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 4, 3, RNG)], (5, 3))
    with h5py.File(path, "r+") as file:
        file.attrs["backend"] = "back\nend <img src=x>"
    main(["inspect", str(path), "--report"])
    out = capsys.readouterr().out
    assert "saved by" in out
    assert "<img" not in out


def test_weights_are_not_in_it(h5: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(h5), "--report", "--json"]) == 0
    out = capsys.readouterr().out
    assert len(out) < 4000
    assert "." not in "".join(json.dumps(one["config"]) for one in json.loads(out)["layers"] if one["class"] == "Dense")


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"{SECRET}.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    assert main(["inspect", str(path), "--report"]) == 1
    out = capsys.readouterr().out
    assert "a file of 608 bytes, which cannot be read" in out
    assert "FormatError: FILE:" in out
    assert SECRET not in out
    assert str(tmp_path) not in out
    assert main(["inspect", str(tmp_path / "none.h5"), "--report"]) == 1
    captured = capsys.readouterr()
    assert not captured.out
    assert "cannot be opened" in captured.err


def test_names_end_no_fence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "```\n# heading"
    graph_files.save(tmp_path / "m.h5", graph_files.graph({"x": [], name: ["x"]}, [name]))
    assert main(["inspect", str(tmp_path / "m.h5"), "--report"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith(("```", "#"))] == ["```", "```"]


def test_nested_and_anonymous(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tower = graph_files.graph({"x": [], "inside": ["x"]}, ["inside"])
    config = graph_files.graph({"a": [], SECRET: ["a"], "sum": [SECRET, "a"]}, ["sum"], **{SECRET: tower})
    path = graph_files.save(tmp_path / "m.h5", config)
    found = reported(capsys, path, "--anonymous")
    names = [one["layer"] for one in found["layers"]]
    assert SECRET not in json.dumps(found)
    inside = next(one for one in found["layers"] if one["class"] == "Activation")
    assert inside["layer"].split("/")[0] in names
    assert inside["config"]["activation"] == "tanh"
    assert len(set(names)) == len(names)


def test_a_registered_activation_has_a_name_unless_anonymous(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = layer("Activation", "odd", activation="mine>wobble")
    path = graph_files.save(tmp_path / "m.h5", graph_files.graph({"x": [], "odd": ["x"]}, ["odd"], odd=odd))
    assert "mine>wobble" in json.dumps(reported(capsys, path))
    assert "wobble" not in json.dumps(reported(capsys, path, "--anonymous"))
