"""Calls of a graph that say something of their layers: each is named for what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5

import fastlstm
from fastlstm import formats
from fastlstm.errors import FormatError, UnsupportedError


def call_of(folder: Path, kind: str, node: Any, version: str = "2.10.0", **config: Any) -> tuple[str, ...]:
    """The message about a call of one layer that keeps no arrays in the file."""
    config = functional([entrance("x", 4, 3), layer(kind, "l", [node], **config)], [["x", 0, 0]], [["l", 0, 0]], "Functional")
    return tuple(problem.what for problem in formats.read(write_h5(folder / "m.h5", config, {"l": []}, version)).problems)


def test_training_means_what_it_does_to_the_layer(tmp_path: Path) -> None:
    training = [["x", 0, 0, {"training": True}]]
    assert call_of(tmp_path, "Dropout", training, rate=0.5) == ("it is called with training=True, which makes it random",)
    assert call_of(tmp_path, "Dropout", training, rate=0.0) == ()
    assert call_of(tmp_path, "Activation", training, activation="tanh") == ()


def test_training_means_nothing_to_predict_of_keras_3(tmp_path: Path) -> None:
    """It hands training=False to every layer, whatever the graph says."""
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 4, 3], "dtype": "float32", "keras_history": ["x", 0, 0]}}
    node = {"args": [tensor], "kwargs": {"training": True}}
    assert call_of(tmp_path, "Dropout", node, "3.15.1", rate=0.5) == ()


def test_models_of_python_code_are_said_to_be(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", {"class_name": "Mine", "config": {"units": 3}}, {}, "2.10.0")
    with pytest.raises(UnsupportedError, match="class 'Mine', whose graph is in Python code, not in the file"):
        fastlstm.load(path)


def test_cells_are_given_as_many_states_as_they_have(tmp_path: Path) -> None:
    config = functional(
        [entrance("x", 3), entrance("h", 2), layer("LSTMCell", "c", [[["x", 0, 0, {"states": ["h", 0, 0]}]]], units=2)],
        [["x", 0, 0], ["h", 0, 0]], [["c", 0, 0]], "Functional",
    )  # fmt: skip
    path = write_h5(tmp_path / "m.h5", config, {"c": [np.ones((3, 8)), np.ones((2, 8)), np.ones(8)]}, "2.10.0")
    with pytest.raises(FormatError, match=r"it is given states of \[2\] units, expected \[2, 2\]"):
        fastlstm.load(path)


@pytest.mark.parametrize("kind", ["Attention", "AdditiveAttention"])
def test_attention_over_axes_that_do_not_go_together(tmp_path: Path, kind: str) -> None:
    node = [["x", 0, 0, {}], ["y", 0, 0, {}]]
    layers = [entrance("x", 3), entrance("y", 5, 3), layer(kind, "a", [node], use_scale=False)]
    config = functional(layers, [["x", 0, 0], ["y", 0, 0]], [["a", 0, 0]], "Functional")
    with pytest.raises(FormatError, match="over which Keras cannot attend either"):
        fastlstm.load(write_h5(tmp_path / "m.h5", config, {"a": []}, "2.10.0"))


def test_causal_attention_of_rows_is_unsupported(tmp_path: Path) -> None:
    node = [["x", 0, 0, {"use_causal_mask": True}], ["x", 0, 0, {}]]
    config = functional([entrance("x", 3), layer("Attention", "a", [node])], [["x", 0, 0]], [["a", 0, 0]], "Functional")
    with pytest.raises(UnsupportedError, match="its query has no steps but the rows of the batch"):
        fastlstm.load(write_h5(tmp_path / "m.h5", config, {"a": []}, "2.10.0"))
