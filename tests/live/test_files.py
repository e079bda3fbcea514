"""Files that only a live Keras writes: subclassed models, low-rank adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm.errors import UnsupportedError


@pytest.mark.keras
@pytest.mark.slow
def test_subclassed_models(keras: Any, tmp_path: Path) -> None:
    class Own(keras.Model):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.dense = keras.layers.Dense(2)

        def call(self, x: Any) -> Any:
            return self.dense(x)

        def get_config(self) -> dict[str, Any]:
            return {"name": self.name}

    own = Own(name="own")
    own.predict(np.zeros((1, 3)), verbose=0)
    own.save(tmp_path / "own.keras")
    with pytest.raises(UnsupportedError, match="class 'Own', whose graph is in Python code, not in the file; save it again as a plain"):
        fastlstm.load(tmp_path / "own.keras")


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("ending", [".keras", ".h5", ".weights.h5"])
def test_low_rank_adapters_are_merged(tmp_path: Path, ending: str) -> None:
    keras = pytest.importorskip("keras", minversion="3.3")
    ids = keras.Input((5,))
    y = keras.layers.Conv1D(3, 2)(keras.layers.Embedding(7, 4)(ids))
    y = keras.layers.EinsumDense("abc,cd->abd", (None, 3))(y)
    model = keras.Model(ids, keras.layers.Dense(2)(keras.layers.LSTM(3)(y)))
    for number in (1, 2, 3, 5):
        model.layers[number].enable_lora(2, **({"lora_alpha": 3} if number != 1 and keras.__version__ >= "3.10" else {}))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in model.get_weights()])
    x = rng.integers(0, 7, (3, 5))
    path = tmp_path / f"m{ending}"
    (model.save_weights if ending == ".weights.h5" else model.save)(path)
    architecture = {"architecture": model.to_json()} if ending == ".weights.h5" else {}
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(fastlstm.load(path, **architecture).predict(x), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.keras
@pytest.mark.slow
def test_models_in_several_files(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras", minversion="3.12")
    x = keras.Input((5, 3))
    y = keras.layers.LSTM(10)(x)
    for _ in range(4):
        y = keras.layers.Dense(30)(y)
    model = keras.Model(x, y)
    given = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    expected = model.predict(given, verbose=0)
    keras.saving.save_model(model, tmp_path / "folder", zipped=False)
    model.save_weights(tmp_path / "m.weights.json", max_shard_size=5e-6)
    assert len(list(tmp_path.glob("m_*.weights.h5"))) > 2
    for path, options in ((tmp_path / "folder", {}), (tmp_path / "m.weights.json", {"architecture": model.to_json()})):
        for isolated in (False, True):
            found = fastlstm.load(path, isolated=isolated, **options).predict(given)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)
    assert "Keras 3" in fastlstm.convert(tmp_path / "folder", tmp_path / "m.fastlstm", keras=True).checked_against
