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
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "real_models"


FILES = [pytest.param(path.with_suffix(""), id=path.stem) for path in sorted(folder().glob("*.npz"))]
ABSENT = pytest.param(None, id="absent", marks=pytest.mark.skip("no published models: shared/real_models beside the repository"))


@pytest.mark.parametrize("path", FILES or [ABSENT])
def test_published_model(path: Path, figure) -> None:
    with np.load(path.with_name(path.name + ".npz")) as file:
        recorded = dict(file)
    model = fastlstm.load(path)
    label = f"{path.name.split('__')[0]}: {path.name.split('__')[-1]}"
    ours = keras_own = 0.0
    for case in ("", "_b1"):
        y, y_keras, truth = model.predict(recorded[f"x0{case}"]), recorded[f"y0{case}"], recorded[f"y0{case}_f64"]
        assert y.shape == y_keras.shape
        apart = golden.difference(y, y_keras)
        assert apart <= golden.bound(y_keras)
        ours, keras_own = max(ours, golden.difference(y, truth)), max(keras_own, golden.difference(y_keras, truth))
        figure(f"{label}, batch {len(y)}: max |fastlstm - Keras|", f"{apart:.2g} on outputs up to {np.abs(y_keras).max():.2g}")
    figure(f"{label}: max |fastlstm - float64|", f"{ours:.2g} (Keras {keras_own:.2g})")
    assert ours <= 4 * keras_own
