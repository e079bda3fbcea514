"""Public bug reports, rebuilt small: each is right, or refused for what it is; none is wrong, and nothing raw comes out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest

import fastlstm
from fastlstm.errors import FormatError, UnsupportedError


def folder() -> Path:
    """$FASTLSTM_REPORTS, or shared/reports beside the repository."""
    named = os.environ.get("FASTLSTM_REPORTS")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "reports"


CASES = sorted(path.parent for path in folder().glob("*/expected.npz"))
ABSENT = pytest.param(None, id="absent", marks=pytest.mark.skip("no reports: shared/reports beside the repository"))
#: What must be computed by now; the others may be refused.
COMPUTED = (
    "const_state",
    "const_mask",
    "const_merge",
    "float_ids",
    "td_emb_fixed",
    "td_hier_fixed",
    "two_activations",
    "convert_",
    "convlstm_mask",
    "bidirectional_backward_layer_broadcast",
    "layernorm_unknown",
    "lora",
    "dir_keras3",
    "sharded2",
    "yaml",
    "int8",
    "crnn_ctc",
    "vae_addloss",
    "addloss_cut",
    "multi_gpu",
    "bn_training",
    "cell_layer",
    "ragged_in",
    "spectral",
    "input_mask",
    "ops_graph",
    "slice_last",
    "op_strided_slice",
)
#: A published file of weights, whose model lies beside it where it was published.
ARGUMENTS = {"units": 25, "activation": "elu", "recurrent_activation": "elu"}
QUESTIONS = {
    "class_name": "Sequential",
    "config": [
        {"class_name": kind, "config": {"name": name, **config}}
        for kind, name, config in (
            ("Dropout", "dropout_1", {"rate": 0.2, "batch_input_shape": [None, 4, 25]}),
            ("LSTM", "lstm_1", {**ARGUMENTS, "return_sequences": True}),
            ("Dropout", "dropout_2", {"rate": 0.3}),
            ("LSTM", "lstm_2", {**ARGUMENTS, "return_sequences": True}),
            ("Dropout", "dropout_3", {"rate": 0.3}),
            ("LSTM", "lstm_3", {"units": 25}),
            ("Dense", "dense_1", {"units": 1, "activation": "sigmoid"}),
        )
    ],
}
#: How some are to be loaded, as their READMEs say.
OPTIONS: dict[str, dict[str, Any]] = {
    "crnn_ctc": {"outputs": ["softmax"]},
    "multi_gpu": {"outputs": ["single"]},
    "convert_overflow": {"architecture": QUESTIONS},
    "two_activations": {"custom_activations": {"mine>twice_tanh": lambda x: 2 * np.tanh(x), "plain_cube": lambda x: x**3}},
}


def options_of(case: Path) -> dict[str, Any]:
    found = next((options for name, options in OPTIONS.items() if case.name.startswith(name)), {})
    beside = [path for path in (case / "model.json", case / "model.yaml") if path.exists()]
    return {**found, "architecture": beside[0]} if beside else found


def file_of(case: Path) -> Path:
    for name in ("model.h5", "model.keras", "model.weights.h5", "model.dir", "model.weights.json", "model"):
        if (case / name).exists():
            return case / name
    raise FileNotFoundError(f"no model in {case}")


def given(recorded: dict[str, np.ndarray]) -> Any:
    arrays = [recorded[f"x{number}"] for number in range(sum(name[0] == "x" for name in recorded))]
    if "lengths" in recorded:
        return [row[:length] for row, length in zip(arrays[0], recorded["lengths"], strict=True)]
    return arrays[0] if len(arrays) == 1 else arrays


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES] or [ABSENT])
def test_report(case: Path, tmp_path: Path, figure: Any) -> None:
    if (case / "model.yaml").exists():
        pytest.importorskip("yaml")
    with np.load(case / "expected.npz") as file:
        recorded = dict(file)
    try:
        model = fastlstm.load(file_of(case), **options_of(case))
    except (UnsupportedError, FormatError) as error:
        figure(f"report {case.name}", f"refused: {type(error).__name__}")
        assert not case.name.startswith(COMPUTED)
        assert "please report the file" not in str(error)
        return
    calls = [recorded[name] for name in sorted(recorded) if name.startswith("call")]
    outputs = [recorded[f"y{number}"] for number in range(sum(name[0] == "y" for name in recorded))]
    expected = [[y] for y in calls] or [outputs]
    for each in expected:
        found = golden.flat(model.predict(given(recorded)))
        for y, y_keras in zip(found, each, strict=True):
            assert y.shape == y_keras.shape
            assert golden.difference(y, y_keras) <= golden.bound(y_keras)
    figure(f"report {case.name}", "right")
    if "custom_activations" not in options_of(case):
        fastlstm.convert(file_of(case), tmp_path / "m.fastlstm", **options_of(case))
        fastlstm.load(tmp_path / "m.fastlstm", verify=True)
