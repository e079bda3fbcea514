"""What a model was compiled with, read from files of every generation and kept in .fastlstm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import keras3_files
import numpy as np
import pytest
from keras_configs import chain, write_h5
from own_files import header_of, rewrite

import fastlstm
from fastlstm.errors import FormatError
from fastlstm.formats.reading.compiled import compiled

NOTHING: dict[str, Any] = {"loss": None, "metrics": None, "weighted_metrics": None, "loss_weights": None, "sample_weight_mode": None}
#: What Keras wrote, and the canonical form.
CONFIGS = {
    "Keras 2.2": (
        {"loss": "mse", "metrics": ["accuracy"], "sample_weight_mode": "temporal", "loss_weights": None, "optimizer_config": {}},
        {"loss": {"name": "mse"}, "metrics": [{"name": "accuracy"}], "sample_weight_mode": "temporal"},
    ),
    "by output": (
        {"loss": {"p": "mse", "q": None}, "metrics": {"p": ["mae", "mse"]}, "loss_weights": {"p": 1.0, "q": 0.5}},
        {
            "loss": {"outputs": {"p": {"name": "mse"}, "q": None}},
            "metrics": {"outputs": {"p": [{"name": "mae"}, {"name": "mse"}]}},
            "loss_weights": {"p": 1.0, "q": 0.5},
        },
    ),
    "tf.keras 2.15": (
        {
            "loss": {"class_name": "Huber", "config": {"reduction": "auto", "delta": 0.5, "fn": "huber"}, "shared_object_id": 3},
            "metrics": [[{"class_name": "MeanMetricWrapper", "config": {"name": "acc", "fn": "binary_accuracy"}, "shared_object_id": 9}]],
        },
        {
            "loss": {"name": "Huber", "config": {"reduction": "auto", "delta": 0.5, "fn": "huber"}},
            "metrics": [[{"name": "MeanMetricWrapper", "config": {"name": "acc", "fn": "binary_accuracy"}}]],
        },
    ),
    "Keras 3": (
        {
            "loss": {"module": "builtins", "class_name": "function", "config": "mean_squared_error", "registered_name": "function"},
            "metrics": [{"module": "keras.metrics", "class_name": "AUC", "config": {"num_thresholds": 20}, "registered_name": None}],
            "weighted_metrics": ["mae"],
            "run_eagerly": False,
        },
        {
            "loss": {"name": "mean_squared_error"},
            "metrics": [{"name": "AUC", "config": {"num_thresholds": 20}}],
            "weighted_metrics": [{"name": "mae"}],
        },
    ),
    "the user's own": (
        {
            "loss": {"module": None, "class_name": "Strange", "config": {}, "registered_name": "Strange"},
            "metrics": [
                {"module": "mine", "class_name": "Other", "config": {}, "registered_name": "mine>Other"},
                {"class_name": "__lambda__", "config": {"value": ["4wEAAA==", None, None]}},
                {"class_name": "Custom>Old", "config": {}},
                {"class_name": 7, "config": None},
                [True],
            ],
        },
        {
            "loss": {"custom": "Strange"},
            "metrics": [
                {"custom": "mine>Other"}, {"custom": "<lambda>"}, {"custom": "Custom>Old"}, {"custom": "<lambda>"}, [{"custom": "True"}],
            ],
        },
    ),
}  # fmt: skip


def dense(units: int = 1) -> dict[str, Any]:
    return chain(("Dense", {"name": "d", "units": units, "activation": "linear", "batch_input_shape": [None, 2]}))


def h5(path: Path, training: str | bytes) -> Path:
    write_h5(path, dense(), {"d": [np.ones((2, 1), np.float32), np.zeros(1, np.float32)]}, "2.2.4")
    with h5py.File(path, "a") as file:
        file.attrs["training_config"] = training
    return path


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_are_canonical(name: str) -> None:
    written, canonical = CONFIGS[name]
    assert compiled(written) == {**NOTHING, **canonical}


@pytest.mark.parametrize("name", CONFIGS)
def test_files_keep_what_a_model_was_compiled_with(name: str, tmp_path: Path) -> None:
    written, canonical = CONFIGS[name]
    expected = {**NOTHING, **canonical}
    source = h5(tmp_path / "m.h5", json.dumps(written).encode())
    assert fastlstm.load(source).spec.compiled == expected
    layer = keras3_files.layer("Dense", "d", units=1, activation="linear")
    config = {**keras3_files.chain([None, 2], layer), "compile_config": {"optimizer": "adam", **written}}
    keras = keras3_files.zipped(tmp_path / "m.keras", config, {"layers/dense/vars": [np.ones((2, 1)), np.zeros(1)]})
    assert fastlstm.load(keras).spec.compiled == expected
    for path in (source, keras):
        fastlstm.convert(path, tmp_path / "m.fastlstm")
        assert fastlstm.load(tmp_path / "m.fastlstm").spec.compiled == expected
        assert fastlstm.load(path, isolated=True).spec.compiled == expected


@pytest.mark.parametrize("training", ["", "{", "[1, 2]", "null", '{"optimizer": "sgd"}', '"text"', "[" * 5000])
def test_what_is_no_configuration_is_passed_over(training: str, tmp_path: Path) -> None:
    model = fastlstm.load(h5(tmp_path / "m.h5", training))
    assert model.spec.compiled is None and model.predict(np.ones((1, 2))) == 2
    fastlstm.convert(tmp_path / "m.h5", tmp_path / "m.fastlstm")
    assert fastlstm.load(tmp_path / "m.fastlstm").spec.compiled is None


def test_deep_ones_end(tmp_path: Path) -> None:
    deep = '{"loss": ' + "[" * 300 + "]" * 300 + ', "metrics": {"class_name": "A", "config": {"x": ' + "[" * 300 + "]" * 300 + "}}}"
    found = fastlstm.load(h5(tmp_path / "m.h5", deep)).spec.compiled
    fastlstm.convert(tmp_path / "m.h5", tmp_path / "m.fastlstm")
    assert found == fastlstm.load(tmp_path / "m.fastlstm").spec.compiled


def test_a_part_of_a_model_was_not_compiled(tmp_path: Path) -> None:
    source = h5(tmp_path / "m.h5", json.dumps({"loss": "mse"}))
    assert fastlstm.load(source).spec.compiled
    assert fastlstm.load(source, outputs=["d"]).spec.compiled is None


@pytest.mark.parametrize(
    "wrong",
    [
        {}, [], "mse", {**NOTHING, "more": 1}, {**NOTHING, "loss": "mse"}, {**NOTHING, "loss": {"name": 3}},
        {**NOTHING, "metrics": [{"custom": None}]}, {**NOTHING, "metrics": {"outputs": [1]}}, {**NOTHING, "loss": {"name": "a", "x": 1}},
        {**NOTHING, "loss": {"name": "Huber", "config": [1]}}, {**NOTHING, "loss": {"name": "Huber", "config": {"delta": float("inf")}}},
    ],
    ids=str,
)  # fmt: skip
def test_other_forms_are_refused(wrong: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.fastlstm"
    fastlstm.convert(h5(tmp_path / "m.h5", json.dumps({"loss": "mse"})), path)
    header = header_of(path)
    assert header["model"]["compiled"] == {**NOTHING, "loss": {"name": "mse"}}
    header["model"]["compiled"] = wrong
    rewrite(path, header)
    with pytest.raises(FormatError, match="header"):
        fastlstm.load(path)


def test_files_of_before_are_evaluated_by_their_generation(tmp_path: Path) -> None:
    """Those whose header has no rule about it yet."""
    path = tmp_path / "m.fastlstm"
    fastlstm.convert(h5(tmp_path / "m.h5", json.dumps({"loss": "mse"})), path)
    header = header_of(path)
    assert header["model"]["rules"].pop("evaluation") == "keras2"
    header["format_version"] = 3
    rewrite(path, header)
    assert fastlstm.load(path).spec.rules.evaluation == "keras2"
