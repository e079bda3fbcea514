"""Calls of a graph that say something of their layers: each is named for what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5

import fastlstm
from fastlstm import formats
from fastlstm.errors import UnsupportedError


def call_of(folder: Path, kind: str, node: Any, version: str = "2.10.0", **config: Any) -> tuple[str, ...]:
    """The message about a call of one layer that keeps no arrays in the file."""
    config = functional([entrance("x", 4, 3), layer(kind, "l", [node], **config)], [["x", 0, 0]], [["l", 0, 0]], "Functional")
    return tuple(problem.what for problem in formats.read(write_h5(folder / "m.h5", config, {"l": []}, version)).problems)


def test_training_means_what_it_does_to_the_layer(tmp_path: Path) -> None:
    training = [["x", 0, 0, {"training": True}]]
    assert call_of(tmp_path, "Dropout", training, rate=0.5) == ("it is called with training=True, which makes it random",)
    assert call_of(tmp_path, "Dropout", training, rate=0.0) == ()
    assert call_of(tmp_path, "Activation", training, activation="tanh") == ()
    config = functional([entrance("x", 3), layer("BatchNormalization", "b", [training])], [["x", 0, 0]], [["b", 0, 0]], "Functional")
    spec = formats.read(write_h5(tmp_path / "m.h5", config, {"b": [np.ones(3)] * 4}, "2.10.0"))
    assert "mean and variance of each batch" in spec.problems[0].what
    assert "random" not in spec.problems[0].what


def test_models_of_python_code_are_said_to_be(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "m.h5", {"class_name": "Mine", "config": {"units": 3}}, {}, "2.10.0")
    with pytest.raises(UnsupportedError, match="class 'Mine', whose graph is in Python code, not in the file"):
        fastlstm.load(path)


def test_cells_called_as_layers_are_said_to_be(tmp_path: Path) -> None:
    config = functional(
        [entrance("x", 3), entrance("h", 2), layer("GRUCell", "g", [[["x", 0, 0, {"states": ["h", 0, 0]}]]], units=2)],
        [["x", 0, 0], ["h", 0, 0]], [["g", 0, 0]], "Functional",
    )  # fmt: skip
    path = write_h5(tmp_path / "m.h5", config, {"g": [np.ones((3, 6)), np.ones((2, 6)), np.ones((2, 6))]}, "2.10.0")
    with pytest.raises(UnsupportedError, match="a cell that is called as a layer of its own"):
        fastlstm.load(path)


@pytest.mark.parametrize("kind", ["Attention", "AdditiveAttention"])
def test_attention_over_other_axes_is_unsupported(tmp_path: Path, kind: str) -> None:
    node = [["x", 0, 0, {}], ["x", 0, 0, {}]]
    config = functional([entrance("x", 3), layer(kind, "a", [node], use_scale=False)], [["x", 0, 0]], [["a", 0, 0]], "Functional")
    with pytest.raises(UnsupportedError, match="computed for query, value and key of 3 axes each"):
        fastlstm.load(write_h5(tmp_path / "m.h5", config, {"a": []}, "2.10.0"))
