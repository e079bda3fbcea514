"""Drafts of files of weights alone at the command line, and of files of strangers."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import drafts
import h5py
import keras3_files
import numpy as np
import pytest
from weights_alone import dense, loop, small_model, tree, written

import fastlstm
from fastlstm.cli.main import main

# -- the command ------------------------------------------------------------------------------------------------------------------


def test_the_advice_for_a_file_without_its_model_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my weights.h5").write_bytes(written({"lstm": loop("lstm", 3, 4), "dense": dense("dense", 4, 2)}))
    for isolated in (False, True):
        with pytest.raises(fastlstm.FormatError, match="fastlstm inspect 'my weights.h5' --draft model.json"):
            fastlstm.load("my weights.h5", isolated=isolated)
    assert main(["describe", "my weights.h5"]) == 1  # as there is no model to describe
    assert "fastlstm inspect 'my weights.h5' --draft model.json" in capsys.readouterr().err
    assert main(["inspect", "my weights.h5", "--draft", "model.json"]) == 0
    out = capsys.readouterr().out
    assert "dense" in out
    assert "fastlstm describe 'my weights.h5' --architecture model.json" in out
    assert main(["describe", "my weights.h5", "--architecture", "model.json"]) == 1
    draft = Path("model.json").read_text()
    Path("model.json").write_text(drafts.confirmed(draft))
    assert main(["describe", "my weights.h5", "--architecture", "model.json"]) == 0
    capsys.readouterr()
    assert main(["inspect", "my weights.h5", "--draft", "model.json"]) == 1  # what was corrected stays
    assert "model.json is there already" in capsys.readouterr().err
    assert Path("model.json").read_text() == drafts.confirmed(draft)


def test_a_draft_on_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("w.h5").write_bytes(written({"dense": dense("dense", 4, 2)}))
    assert main(["inspect", "w.h5", "--draft", "-"]) == 0
    assert capsys.readouterr().out == fastlstm.draft_architecture("w.h5").to_json()
    assert [path.name for path in tmp_path.iterdir()] == ["w.h5"]


def test_the_table_and_its_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "w.h5").write_bytes(written({"lstm": loop("lstm", 3, 4), "dense": dense("dense", 4, 2)}))
    assert main(["inspect", str(tmp_path / "w.h5")]) == 0
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines() if line.startswith("lstm")] == [
        ["lstm", "LSTM", "3", "4", "128", "units=4,", "use_bias=True"],
    ]  # fmt: skip
    assert main(["inspect", str(tmp_path / "w.h5"), "--json", "--isolated"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["drafted"]
    assert found["layers"][1] == {
        "name": "dense", "class_name": "Dense", "reads": 4, "gives": 2, "parameters": 10, "told": {"units": 2, "use_bias": True},
        "assumed": {"activation": "linear"},
    }  # fmt: skip
    assert {"layer": "dense", "assumed": {"activation": "linear"}, "why": "Keras's default"} in found["assumed"]


def test_files_with_a_model_are_not_drafted(tmp_path: Path) -> None:
    path = small_model(tmp_path / "m.h5")
    fastlstm.convert(path, tmp_path / "m.fastlstm")
    zipped = keras3_files.zipped(tmp_path / "m.keras", keras3_files.chain((None, 3), keras3_files.layer("Dense", "dense", units=2)), {})
    for file in (path, tmp_path / "m.fastlstm", zipped):
        for isolated in (False, True):
            with pytest.raises(fastlstm.FormatError, match="it holds the model's architecture, so there is nothing to draft"):
                fastlstm.draft_architecture(file, isolated=isolated)
    assert main(["inspect", str(path), "--draft", str(tmp_path / "x.json"), "--architecture", "{}"]) == 1


# -- files of strangers -----------------------------------------------------------------------------------------------------------


HOSTILE: dict[str, dict[str, Any]] = {
    "a layer twice": {"layer_names": [b"lstm", b"lstm"]},
    "a layer that is not there": {"layer_names": [b"lstm", b"nobody"]},
    "numbers for names": {"layer_names": np.arange(3)},
    "no names": {"layer_names": [b""]},
    "too many": {"nb_layers": 10**9, "layer_names": None},
    "negative": {"nb_layers": -1, "layer_names": None},
    "a text": {"nb_layers": "many", "layer_names": None},
    "a name of another file": {"layer_names": [b"lstm/lstm"]},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_lists_of_layers(case: str) -> None:
    data = io.BytesIO(written({"lstm": loop("lstm", 3, 4), "dense": dense("dense", 4, 2)}))
    with h5py.File(data, "r+") as file:
        for key, value in HOSTILE[case].items():
            if key in file.attrs:
                del file.attrs[key]
            if value is not None:
                file.attrs[key] = value
    for isolated in (False, True):
        try:
            fastlstm.draft_architecture(data.getvalue(), isolated=isolated)
        except fastlstm.FastLSTMError as error:
            assert str(error)


def test_shapes_of_any_size_cost_nothing() -> None:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["layer_names"] = [b"lstm"]
        group = file.create_group("lstm")
        group.attrs["weight_names"] = [b"kernel:0", b"recurrent_kernel:0", b"bias:0"]
        for name, shape in zip(
            ("kernel:0", "recurrent_kernel:0", "bias:0"), ((1 << 30, 1 << 32), (1 << 30, 1 << 32), (1 << 32,)), strict=True
        ):
            group.create_dataset(name, shape, np.float32, chunks=tuple(min(size, 64) for size in shape))
    found = fastlstm.draft_architecture(out.getvalue())
    assert found.layers[0].told["units"] == 1 << 30
    with pytest.raises(fastlstm.FastLSTMError):
        fastlstm.load(out.getvalue(), architecture=drafts.confirmed(found.to_json()))


def test_damaged_files_are_refused() -> None:
    """Bytes changed here and there, in both layouts: an error of this library's, or an answer."""
    out = io.BytesIO()
    keras3_files.tree(out, tree())
    rng = np.random.default_rng(3)
    for good in (written({"lstm": loop("lstm", 3, 4), "d": {}, "dense": dense("dense", 4, 2)}), out.getvalue()):
        for _ in range(40):
            data = bytearray(good)
            for place in rng.integers(0, len(data), 8):
                data[place] = rng.integers(0, 256)
            try:
                fastlstm.draft_architecture(bytes(data))
            except fastlstm.FastLSTMError as error:
                assert str(error)
