"""No reader drops what it does not understand: a key, an argument, a node or an array that nobody knows is a problem of the file."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5_files
import h5py
import numpy as np
import pytest
from altered_configs import UNKNOWN, changed, name_of, places, refused
from keras_configs import entrance, functional, layer, write_h5

import fastlstm
from fastlstm.errors import FormatError, UnsupportedError


def test_unknown_keys_in_native_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    source = h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 4, 3, rng), h5_files.dense(2, 4, rng)], (5, 3))
    fastlstm.convert(source, tmp_path / "m.fastlstm")
    data = (tmp_path / "m.fastlstm").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    config = json.loads(header["__metadata__"]["fastlstm"])

    def write(config: Any) -> Path:
        header["__metadata__"]["fastlstm"] = json.dumps(config)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (tmp_path / "n.fastlstm").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
        return tmp_path / "n.fastlstm"

    fastlstm.load(write(config), verify=True)
    everywhere = [place for place in places(config, dict) if place != ("sha256",)]
    silent = [
        name_of(place) for place in everywhere
        if not refused(write, changed(config, place, lambda found: found.update({UNKNOWN: 7})), verify=True)
    ]  # fmt: skip
    assert len(everywhere) > 10
    assert silent == []


@pytest.mark.parametrize("place", ["layers/mystery/vars/0", "layers/dense/mystery/vars/0", "layers/dense/vars/2"])
def test_arrays_that_belong_to_no_layer(tmp_path: Path, place: str) -> None:
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 3], "dtype": "float32"}},
        {"class_name": "Dense", "config": {"name": "d", "units": 1, "activation": "linear", "trainable": True}},
    ]}}  # fmt: skip
    for extra in (None, place):
        weights = io.BytesIO()
        with h5py.File(weights, "w") as file:
            file["layers/dense/vars/0"], file["layers/dense/vars/1"] = np.ones((3, 1), np.float32), np.ones(1, np.float32)
            for name in ("optimizer/vars/0", "layers/dense/seed_generator/vars/0", *([extra] if extra else [])):
                file[name] = np.ones(2, np.float32)
        with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
            archive.writestr("model.weights.h5", weights.getvalue())
        if extra is None:
            assert fastlstm.load(tmp_path / "m.keras").predict(np.ones((1, 3))).tolist() == [[4.0]]
        else:
            with pytest.raises((UnsupportedError, FormatError), match=r"belong to no layer|expected 2 arrays"):
                fastlstm.load(tmp_path / "m.keras")


def test_arguments_of_a_layer_that_has_no_others(tmp_path: Path) -> None:
    """A number among the tensors of a merge, in the words of Keras 2 and 3."""
    start = entrance("x", 3)
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 3], "dtype": "float32", "keras_history": ["x", 0, 0]}}
    for version, node in (
        ("2.10.0", [["x", 0, 0, {}], ["x", 0, 0, {}], ["_CONSTANT_VALUE", -1, 3.0, {}]]),
        ("3.15.0", {"args": [[tensor, tensor, 3.0]], "kwargs": {}}),
        ("3.15.0", {"args": [[tensor, tensor], {"class_name": "__slice__", "config": {}}], "kwargs": {}}),
    ):
        config = functional([start, layer("Add", "a", [node])], [["x", 0, 0]], [["a", 0, 0]], "Functional")
        with pytest.raises(UnsupportedError, match="among its tensors"):
            fastlstm.load(write_h5(tmp_path / "m.h5", config, {}, version))
