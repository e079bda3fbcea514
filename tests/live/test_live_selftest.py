"""``convert`` and ``verify`` with ``keras=True``: compared with a live Keras, and a wrong weight is noticed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

import fastlstm
from fastlstm import selftest
from fastlstm.program import layout


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("stateful", [False, True])
def test_against_live_keras(keras: ModuleType, tmp_path: Path, stateful: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, source = keras.layers, tmp_path / "model.h5"
    sizes = {"batch_shape" if keras.__name__ == "keras" else "batch_input_shape": (2 if stateful else None, 6, 20)}
    mask = layers.Masking(-1.0) if keras.__name__ == "keras" else layers.Masking(-1.0, **sizes)
    front = [layers.Input(**sizes)] if keras.__name__ == "keras" else []
    keras.Sequential([*front, mask, layers.LSTM(12, stateful=stateful), layers.Dense(3, activation="softmax")]).save(source)
    report = fastlstm.convert(source, tmp_path / "model.fastlstm", keras=True)
    assert "Keras" in report.checked_against and {"plain", "one-hot", *selftest.MASKED} <= {case.case for case in report.cases}
    assert fastlstm.verify(source, keras=True).passed
    right = layout.pack_panels
    monkeypatch.setattr(layout, "pack_panels", lambda matrix, gates, lanes: right(matrix * 1.1, gates, lanes))
    found = fastlstm.verify(source, keras=True)
    assert not any(case.equal for case in found.keras if case.case == "plain")
