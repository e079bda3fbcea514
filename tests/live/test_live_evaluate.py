"""``evaluate`` beside an installed Keras; ``tests/corpus/test_evaluations.py`` has the recordings of many more cases and generations."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import evaluation_cases
import numpy as np
import pytest

import fastlstm

pytestmark = [pytest.mark.slow, pytest.mark.keras]
#: Cases by what is particular about them; FASTLSTM_EXAMPLES=1000 takes all.
LEAN = [
    evaluation_cases.case("step_classes", "step_one_hot", "categorical_crossentropy", ["accuracy"], sample_weight="step_weights"),
    evaluation_cases.case("two", ["one_hot", "one"], ["categorical_crossentropy", "mse"], {"p": ["accuracy"], "q": ["mae"]}),
    evaluation_cases.case("positive", "labels", "binary_crossentropy", [evaluation_cases.measure("AUC", num_thresholds=20)]),
    evaluation_cases.case("frozen", "real", "mse", weighted_metrics=["mae"], sample_weight="weights"),
]


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_evaluate_is_as_the_installed_keras_has_it(library: str, tmp_path: Path) -> None:
    keras: Any = pytest.importorskip(library)
    importlib.import_module("tensorflow")
    arrays, made = evaluation_cases.data(), evaluation_cases.models(keras)
    cases = evaluation_cases.cases() if int(os.environ.get("FASTLSTM_EXAMPLES", "0")) >= 1000 else LEAN
    ending = ".keras" if library == "keras" else ".h5"
    for name in {case["model"] for case in cases}:
        made[name].save(str(tmp_path / f"{name}{ending}"))
    for case in cases:
        try:
            listed, _ = evaluation_cases.evaluated(keras, made[case["model"]], case, arrays)
        except Exception:
            if cases is LEAN:
                raise
            continue  # this Keras does not have it
        model = fastlstm.load(tmp_path / f"{case['model']}{ending}")

        def picked(name: Any) -> Any:
            return None if name is None else [arrays[one] for one in name] if isinstance(name, list) else arrays[name]

        options = {key: case.get(key) for key in ("loss", "metrics", "weighted_metrics", "loss_weights")}
        weights = picked(case.get("sample_weight"))
        ours = model.evaluate(arrays["x"], picked(case["y"]), batch_size=case.get("batch_size", 4), sample_weight=weights, **options)
        assert np.allclose(np.hstack(ours), np.hstack(listed), rtol=2e-5, atol=2e-6, equal_nan=True), (case, ours, listed)
