"""What refusals of layers of text and categories advise works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from advice import follows, refused
from keras_configs import write_h5

import fastlstm

TERMS = ["cat", "dog", "the"]


def model_of(path: Path, **arguments: Any) -> Path:
    """A file with a TextVectorization of some arguments, and one row of its ids as the output."""
    config = {"standardize": "lower", "split": "whitespace", "output_mode": "int", "output_sequence_length": 3, "vocabulary": TERMS}
    entry = {"batch_input_shape": [None, 1], "dtype": "string", "name": "x"}
    layers = [
        {"class_name": "InputLayer", "config": entry},
        {"class_name": "TextVectorization", "config": {"name": "text", "trainable": True, "dtype": "string", **config, **arguments}},
    ]
    return write_h5(path, {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}, {}, "2.15.0")


@follows("begin behind it, in Python: fastlstm.load(..., inputs=[{}]), and give predict what this layer makes")
def test_begin_behind_it(tmp_path: Path) -> None:
    path = model_of(tmp_path / "m.h5", standardize={"class_name": "function", "config": "mine"})
    (problem,) = refused(path)
    assert "inputs=['text']" in problem.advice


@follows("name a layer behind it in outputs=")
def test_name_a_layer_behind_it(tmp_path: Path) -> None:
    path = model_of(tmp_path / "m.h5")
    (problem,) = refused(path, outputs=["x"])
    assert problem.layer == "x"
    assert fastlstm.load(path, outputs=["text"]).predict(["The dog"]).tolist() == [[4, 3, 0]]


@follows("adapt it, or pass vocabulary=, and save the model as .keras")
@follows("pass Keras a list as vocabulary=, and save the model again")
@pytest.mark.parametrize("vocabulary", [None, "terms.txt"])
def test_vocabulary(tmp_path: Path, vocabulary: Any) -> None:
    (problem,) = refused(model_of(tmp_path / "m.h5", vocabulary=vocabulary))
    assert "vocabulary" in problem.advice
    model = fastlstm.load(model_of(tmp_path / "with.h5"))
    assert model.predict(["The dog", "bird cat"]).tolist() == [[4, 3, 0], [1, 2, 0]]
