"""Models that others trained and published, against what a Keras of their generation computed for them."""

from __future__ import annotations

import os
from pathlib import Path

import golden
import numpy as np
import pytest

import fastlstm


def folder() -> Path:
    """$FASTLSTM_REAL_MODELS, or shared/real_models beside the repository."""
    named = os.environ.get("FASTLSTM_REAL_MODELS")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "real_models"


FILES = [path.with_suffix("") for path in sorted(folder().glob("*.npz"))]
ABSENT = pytest.param(None, marks=pytest.mark.skip("no published models: shared/real_models beside the repository"))


@pytest.mark.parametrize("path", FILES or [ABSENT], ids=lambda path: path.name)
def test_published_model(path: Path, figure) -> None:
    with np.load(path.with_name(path.name + ".npz")) as file:
        recorded = dict(file)
    model = fastlstm.load(path)
    for case in ("", "_b1"):
        y, y_keras, truth = model.predict(recorded[f"x0{case}"]), recorded[f"y0{case}"], recorded[f"y0{case}_f64"]
        assert y.shape == y_keras.shape
        assert golden.difference(y, y_keras) <= golden.bound(y_keras)
        # As near to float64 as Keras is, but for the last bits of either.
        slack = 2 * np.finfo(np.float32).eps * np.abs(truth).max()
        assert golden.difference(y, truth) <= 4 * golden.difference(y_keras, truth) + slack
        figure(
            f"{path.name.split('__')[0]}: {path.name.split('__')[-1]}, batch {len(y)}",
            f"|fastlstm - Keras| {golden.difference(y, y_keras):.2g}, "
            f"|fastlstm - float64| {golden.difference(y, truth):.2g}, |Keras - float64| {golden.difference(y_keras, truth):.2g}",
        )
