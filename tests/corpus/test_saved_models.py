"""SavedModel folders and checkpoints of TensorFlow 2.0 to 2.21: the numbers that Keras gave, and no way round what is checked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import mutated_folders
import numpy as np
import pytest
import recorded_saved_models
import saved_models
from isolated_reading import same_as_here

import fastlstm
from fastlstm import formats
from fastlstm.cli.main import main

#: Mutated folders in all; a long run takes 2,000 or more.
COUNT = int(os.environ.get("FASTLSTM_MUTATED_FOLDERS", "60"))
NAMES = sorted(
    f"{generation}/{case}"
    for generation in ("tf200", "tf23", "tf24", "tf28", "tf215", "tfk")
    for case in recorded_saved_models.CASES
    if (generation, case) not in recorded_saved_models.NOT_WRITTEN
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    found = recorded_saved_models.unpacked(folder)
    assert [path.relative_to(folder).as_posix() for path in found] == NAMES
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_numbers_of_keras(recorded: Path, name: str) -> None:
    case = recorded / name
    about = json.loads((case / "about.json").read_text())
    for way, path, options in saved_models.ways(case, about):
        if way != "saved" and about["text"] and (case / "saved" / "keras_metadata.pb").exists():
            continue  # a checkpoint has no vocabulary there: see below
        saved_models.compare(case, path, options, about["calls"])


def test_a_checkpoint_has_no_vocabulary(recorded: Path) -> None:
    case = recorded / "tf28" / "text_adapted"
    with pytest.raises(fastlstm.UnsupportedError, match="it has no vocabulary"):
        fastlstm.load(case / "checkpoint" / "weights", architecture=case / "model.json")


def test_the_generation_is_that_of_tensorflow(recorded: Path) -> None:
    rules = {name: formats.read(recorded / name / "lstm_both" / "saved").rules for name in ("tf200", "tf23", "tf215")}
    assert not rules["tf200"].recorded_state_wins  # an .h5 file does not tell 2.0 from 2.1
    assert rules["tf200"].bidirectional_masked_output == "repeat"
    assert rules["tf23"].bidirectional_masked_output == "zeros"
    assert str(fastlstm.load(recorded / "tfk" / "lstm_both" / "saved").generation) == "tf.keras 2.21.0 on tensorflow, SavedModel"


def test_what_it_was_compiled_with(recorded: Path) -> None:
    found = formats.read(recorded / "tf215" / "compiled" / "saved").compiled
    assert found is not None
    assert found["loss"]["name"] == "binary_crossentropy"


@pytest.mark.parametrize("name", ["tf200/nested_functional", "tf215/text_file", "tfk/operations"])
def test_isolated(recorded: Path, name: str) -> None:
    saved = recorded / name / "saved"
    ours, theirs = formats.read(saved), same_as_here(saved)
    assert saved_models.parts(ours) == saved_models.parts(theirs)


def test_every_path_to_it(recorded: Path, tmp_path: Path) -> None:
    case = recorded / "tf28" / "nested_functional"
    expected = saved_models.parts(formats.read(case / "saved"))
    for name in ("saved_model.pb", "keras_metadata.pb"):
        assert saved_models.parts(formats.read(case / "saved" / name)) == expected
    packed = tmp_path / "model.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((case / "saved").rglob("*")):
            if path.is_file():
                archive.writestr(zipfile.ZipInfo(f"a/b/{path.relative_to(case / 'saved').as_posix()}"), path.read_bytes())
    assert saved_models.parts(formats.read(packed)) == expected
    assert saved_models.parts(formats.read(packed.read_bytes())) == expected
    layers = expected[2]
    checkpoint = case / "checkpoint"
    for path in (checkpoint, checkpoint / "checkpoint", checkpoint / "weights", checkpoint / "weights.index",
                 checkpoint / "weights.data-00000-of-00001", case / "saved" / "variables" / "variables"):  # fmt: skip
        assert saved_models.parts(formats.read(path, architecture=case / "model.json"))[2] == layers
    entry = json.loads((case / "model.json").read_text())
    assert saved_models.parts(formats.read(case / "saved", architecture=entry))[2] == layers


def test_as_any_other_model(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = str(recorded / "tf23" / "nested_functional" / "saved")
    assert fastlstm.describe(saved).layers[1].class_name == "Functional"
    assert fastlstm.verify(saved).passed
    report = fastlstm.convert(saved, tmp_path / "m.fastlstm")
    assert report.generation == "tf.keras 2.4.0 on tensorflow, SavedModel"
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    for one, other in zip(fastlstm.load(saved).predict(x), fastlstm.load(tmp_path / "m.fastlstm", verify=True).predict(x)):
        np.testing.assert_array_equal(one, other)
    np.save(tmp_path / "x.npy", x)
    assert main(["describe", saved]) == 0
    assert main(["verify", saved]) == 0
    assert main(["inspect", saved, "--report"]) == 0
    assert main(["predict", saved, str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npz")]) == 0
    assert "SavedModel" in capsys.readouterr().out


def test_h5py_is_not_imported(recorded: Path) -> None:
    code = "import sys, fastlstm; fastlstm.load(sys.argv[1]); sys.exit('h5py' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(recorded / "tf215" / "lstm_both" / "saved")], check=True)


def test_states_that_were_saved(recorded: Path, tmp_path: Path) -> None:
    import bundle_files

    shutil.copytree(recorded / "tf215" / "lstm_stateful" / "saved", tmp_path / "saved")
    prefix = tmp_path / "saved" / "variables" / "variables"
    tensors = bundle_files.read_bundle(prefix)
    (key, *_) = (key for key in tensors if "/states/" in key)
    tensors[key] = np.ones_like(tensors[key])
    bundle_files.write_bundle(prefix, tensors)
    with pytest.warns(UserWarning, match=r"'lstm' \(LSTM\) was saved with states other than zero"):
        fastlstm.load(tmp_path / "saved")


def test_a_layer_of_ones_own(recorded: Path) -> None:
    """The checkpoint in a SavedModel tells the order of its arrays: those that are trainable come first."""
    case = recorded / "tf215" / "cell_custom"
    found = formats.read(case / "saved")
    layers = [{"class_name": layer.class_name, "config": {"name": layer.name, **layer.config}} for layer in found.layers]
    rnn = next(layer for layer in found.layers if layer.children)
    layers[found.layers.index(rnn)]["config"]["cell"] = {"class_name": "DecayCell", "config": {"name": "cell", "units": 4}}
    layers[0]["config"] = {"name": "x", "batch_input_shape": [None, 6, 3]}
    entry = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}, "keras_version": "2.15.0"}
    prefix = case / "saved" / "variables" / "variables"
    ordered = formats.read(prefix, architecture=entry).layers[1].children[0].weights
    assert [array.shape for array in ordered] == [(3, 4), (4, 4), (4,)]


def test_links_are_not_followed(recorded: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    shutil.copytree(recorded / "tf215" / "text_file" / "saved", saved)
    for name in ("assets/terms.txt", "variables/variables.index", "variables/variables.data-00000-of-00001", "keras_metadata.pb"):
        (saved / name).rename(tmp_path / "elsewhere")
        (saved / name).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(fastlstm.FormatError, match="is a link, which is never followed"):
            fastlstm.load(saved)
        (saved / name).unlink()
        (tmp_path / "elsewhere").rename(saved / name)
    fastlstm.load(saved)


def test_files_that_are_not_there(recorded: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    for name in ("assets/terms.txt", "variables/variables.index", "variables/variables.data-00000-of-00001"):
        shutil.rmtree(saved, ignore_errors=True)
        shutil.copytree(recorded / "tf215" / "text_file" / "saved", saved)
        (saved / name).unlink()
        with pytest.raises(fastlstm.FormatError, match=f"{name} is not there"):
            fastlstm.load(saved)


def test_a_checkpoint_of_another_model(recorded: Path) -> None:
    cases = recorded / "tf215"
    with pytest.raises(fastlstm.FormatError, match="2 layers in the checkpoint, 4 in its config|layers in the checkpoint"):
        fastlstm.load(cases / "text_adapted" / "checkpoint", architecture=cases / "nested_functional" / "model.json")
    with pytest.raises(fastlstm.FormatError, match="holds weights alone; pass architecture="):
        fastlstm.load(cases / "nested_functional" / "checkpoint")
    keras3 = {"class_name": "Sequential", "config": {"layers": []}, "keras_version": "3.5.0"}
    with pytest.raises(fastlstm.FormatError):
        fastlstm.load(cases / "nested_functional" / "checkpoint", architecture=keras3)


def test_mutated_folders() -> None:
    counts = mutated_folders.run(COUNT, 0)
    assert sum(counts.values()) == COUNT
    assert any("a model" in outcome for outcome in counts)
