"""Architectures as YAML: what every Keras wrote, and texts that ask for objects, or for more than there is memory."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import h5_files
import h5py
import numpy as np
import pytest
from isolated_reading import same_as_here

import fastlstm
from fastlstm.errors import FastLSTMError, FormatError, InputError
from fastlstm.formats.reading import yamltext
from fastlstm.formats.reading.architecture import load_architecture
from fastlstm.limits import Budget
from fastlstm.spec import ModelSpec

pytestmark = pytest.mark.slow  # others look at each of these rooms in the quick run

SECONDS = 20
X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
#: As Keras 2.2.4 and tf.keras 2.2 write it, each with what JSON has no words for.
SHORT = """backend: tensorflow
class_name: Sequential
config:
  build_input_shape: !!python/object/apply:tensorflow.python.framework.tensor_shape.TensorShape
  - - !!python/object/apply:tensorflow.python.framework.tensor_shape.Dimension
      - null
    - !!python/object/apply:tensorflow.python.framework.tensor_shape.Dimension
      - 5
  layers:
  - class_name: LSTM
    config: &id001
      activation: tanh
      batch_input_shape: !!python/tuple [null, 5, 3]
      recurrent_activation: sigmoid
      name: !!python/unicode 'lstm_1'
      units: !!python/long '4'
  - class_name: Dense
    config: {activation: linear, name: dense_1, units: 2}
keras_version: 2.2.4
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    source = h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 4, 3, rng), h5_files.dense(2, 4, rng)], (5, 3))
    with h5py.File(source) as whole, h5py.File(tmp_path / "w.h5", "w") as alone:
        for name, value in whole["model_weights"].attrs.items():
            alone.attrs[name] = value
        for name in whole["model_weights"]:
            whole["model_weights"].copy(name, alone)
    return tmp_path / "w.h5"


def read(text: str) -> Any:
    pytest.importorskip("yaml")
    return load_architecture(text, Budget("m.h5", len(text)))


def test_yaml_is_read_as_json(weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "m.yaml").write_text(SHORT)
    expected = fastlstm.load(tmp_path / "m.h5").predict(X)
    for architecture in (SHORT, tmp_path / "m.yaml", str(tmp_path / "m.yaml")):
        for isolated in (False, True):
            found = fastlstm.load(weights, architecture=architecture, isolated=isolated).predict(X)
            np.testing.assert_array_equal(found, expected)
    assert isinstance(same_as_here(weights, architecture=SHORT), ModelSpec)


def test_what_python_wrote() -> None:
    found = read(SHORT)
    assert found["config"]["build_input_shape"] == [None, 5]
    assert found["config"]["layers"][0]["config"]["batch_input_shape"] == [None, 5, 3]
    assert found["config"]["layers"][0]["config"]["units"] == 4
    assert found["keras_version"] == "2.2.4"


def test_aliases_stand_for_what_they_name() -> None:
    found = read("class_name: Model\na: &id001 [1, &id002 {b: 2}]\nc: [*id001, *id002, *id001]\nd: &id003 3\ne: *id003\n")
    assert found == {"class_name": "Model", "a": [1, {"b": 2}], "c": [[1, {"b": 2}], {"b": 2}, [1, {"b": 2}]], "d": 3, "e": 3}


def test_dates_are_names() -> None:
    assert read("class_name: 2017-01-01\nb: 2001-12-14t21:59:43.10-05:00\nc: =\n") == {
        "class_name": "2017-01-01", "b": "2001-12-14t21:59:43.10-05:00", "c": "=",
    }  # fmt: skip


BOMB = "class_name: &a [lol, lol]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefghijklmnopqrst", "bcdefghijklmnopqrstu")
)
MERGES = "class_name: &a {x: 1}\n" + "".join(
    f"{name}: &{name}\n  <<: [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefghijkl", "bcdefghijklm")
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "stands for more than"),
        (MERGES, "stands for more than"),
        ("class_name: &a\n- *a\n", "repeats what is not there, or itself"),
        ("class_name: *b\n", "repeats what is not there, or itself"),
        ("class_name: &a [1]\nb: &a [*a]\n", "repeats what is not there, or itself"),
        ("class_name: !!python/object/apply:os.system ['false']\n", "os.system asks for an object"),
        ("class_name: !!python/object/new:os.system ['false']\n", "asks for an object"),
        ("class_name: !!python/name:os.system\n", "asks for an object"),
        ("class_name: !!python/module:os\n", "asks for an object"),
        ("class_name: !mine {a: 1}\n", "!mine asks for an object"),
        ("class_name: !!binary aaaa\n", "asks for an object"),
        ("class_name: !!set {a, b}\n", "asks for an object"),
        ("class_name: " + "[" * 500 + "]" * 500 + "\n", "nested more than"),
        ("class_name:\n" + "".join(" " * depth + "a:\n" for depth in range(1, 500)), "nested more than"),
        ("class_name: " + "9" * 500 + "\n", "a number of 500 digits"),
        ("class_name: !!int '" + "9" * 500 + "'\n", "a number of 500 digits"),
        ("class_name: " + ":".join(["1"] * 500) + "\n", "digits"),
        ("class_name: a\n---\nclass_name: b\n", "expected one YAML document, found 2"),
        ("class_name: {[1, 2]: 3}\n", "not YAML that stands for JSON"),
        ("class_name: [1\n", "not YAML"),
        ("class_name: \x01\n", "not YAML"),
        ("class_name: \ud800\n", "not YAML"),
        ("class_name: !!int x\n", "not YAML"),
        ("class_name: !!float ''\n", "not YAML"),
        ("class_name: !!bool x\n", "not YAML"),
        ("class_name: !!seq {a: 1}\n", "not YAML"),
        ("class_name: !!python/tuple {a: 1}\n", "not YAML"),
        ("class_name: !!python/object/apply:tensorflow.python.framework.tensor_shape.Dimension [1, 2]\n", "a shape of 2 arguments"),
        ("class_name: !!python/object/apply:tensorflow.python.framework.tensor_shape.Dimension {a: 1}\n", "not YAML"),
        ("class_name: a\n" + "#" * yamltext.LARGEST, "characters of YAML, more than"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("in_c", [True, False])
def test_yaml_without_sense(text: str, says: str, in_c: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml")
    if not in_c:
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    begun = time.monotonic()
    with pytest.raises(FormatError, match=says):
        read(text)
    assert time.monotonic() - begun < SECONDS


def test_a_text_of_many_values_meets_the_budget() -> None:
    pytest.importorskip("yaml")
    text = "class_name: [" + "1, " * 100_000 + "1]\n"
    with pytest.raises(FormatError, match="where loading may take"):
        yamltext.parse_yaml(text, Budget("m.h5", 0, 10 << 20), "architecture")
    assert len(yamltext.parse_yaml(text, Budget("m.h5", 0), "architecture")["class_name"]) == 100_001


def test_hostile_yaml_in_a_process_of_its_own(weights: Path) -> None:
    pytest.importorskip("yaml")
    for text in (BOMB, "class_name: !!python/object/apply:os.system ['false']\n"):
        kind, message = same_as_here(weights, architecture=text)
        assert kind is FormatError
        assert str(weights) in message


@pytest.mark.parametrize("isolated", [False, True])
def test_without_the_library(weights: Path, isolated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InputError, match=r'pip install "fastlstm\[yaml\]"'):
        fastlstm.load(weights, architecture=SHORT, isolated=isolated)


def test_texts_that_are_neither(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\nworld\n")
    with pytest.raises(FormatError, match="expected JSON or YAML of a model, found 'hello"):
        fastlstm.load(weights, architecture=tmp_path / "notes.txt")
    with pytest.raises(FastLSTMError, match="neither JSON, YAML nor a file"):
        fastlstm.load(weights, architecture="hello\nworld\n")
