"""Small models, scalers and pipelines for tests of what stands around models."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5_files
import numpy as np

import fastlstm
from fastlstm.preprocessing import Tokenizer

RECORDED = Path(__file__).parents[1] / "corpus" / "recorded"
SCALERS: dict[str, Any] = json.loads((RECORDED / "scalers.json").read_text(encoding="utf-8"))
VERSIONS = sorted(set(SCALERS) - {"fitted", "other"})
OTHER = np.array(SCALERS["other"])
TEXTS = ["The film was great!", "the plot: not great, not at all", "", "unheard of"]


def as_object(case: dict[str, Any]) -> Any:
    """An object with the public attributes that a scaler of scikit-learn had."""
    held = {key: np.array(value) if isinstance(value, list) and key.endswith("_") else value for key, value in case["attributes"].items()}
    return SimpleNamespace(**held)


def fitted_tokenizer() -> Tokenizer:
    """A tokenizer that knows some words."""
    found = Tokenizer(num_words=9, oov_token="<OOV>")
    found.fit_on_texts(["the film was great", "the plot was not bad at all", "great plot"])
    return found


def of_texts(path: Path, outputs: int = 1, activation: str = "sigmoid", *, mask: bool = True, steps: int | None = None) -> fastlstm.Model:
    """A classifier of ids."""
    rng = np.random.default_rng(1)
    layers = [h5_files.embedding(20, 4, rng, mask), h5_files.recurrent("LSTM", 5, 4, rng), h5_files.dense(outputs, 5, rng, activation)]
    return fastlstm.load(h5_files.save(path / "texts.h5", layers, (steps,)))


def of_series(
    path: Path, features: int = 1, outputs: int = 1, steps: int | None = 7, activation: str = "linear", **options: Any
) -> fastlstm.Model:  # fmt: skip
    """A model of windows."""
    rng = np.random.default_rng(2)
    layers = [h5_files.recurrent("GRU", 5, features, rng, **options), h5_files.dense(outputs, 5, rng, activation)]
    return fastlstm.load(h5_files.save(path / "series.h5", layers, (steps, features)))
