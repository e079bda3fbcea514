"""``fastlstm bench`` with live engines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.keras]
keras = pytest.importorskip("keras")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Embedding with a mask, Bidirectional LSTM, attention over its steps: two inputs, two outputs."""
    k = keras.layers
    words, numbers = keras.Input((None,), name="words"), keras.Input((4,), name="numbers")
    x = k.Bidirectional(k.LSTM(8, return_sequences=True))(k.Embedding(50, 6, mask_zero=True)(words))
    x = k.Concatenate()([k.GRU(5)(x), k.Dense(3)(numbers)])
    path = tmp_path_factory.mktemp("bench") / "model.keras"
    keras.Model([words, numbers], [k.Dense(2, name="a")(x), k.Dense(1, name="b")(x)]).save(path)
    return path


def bench(path: Path, *arguments: str) -> Any:
    """In a process of its own, in which nothing has set TensorFlow's threads."""
    command = [sys.executable, "-m", "fastlstm", "bench", str(path), "--json", "--rows", "3", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert not done.stderr  # whatever TensorFlow says
    return json.loads(done.stdout)


def test_keras(path: Path) -> None:
    found = bench(path, "--vs", "keras", "--timesteps", "12")
    assert [one["engine"].rsplit(" ", 1)[0] for one in found["results"]] == ["fastlstm", "Keras predict", "Keras predict_on_batch"]
    assert not found["refused"]
    assert found["inputs"] == {"words": [None, 12], "numbers": [None, 4]}
    assert all(one["difference"] < 1e-5 for one in found["results"])


def test_texts(tmp_path: Path) -> None:
    """Which Keras 3's predict takes as a tensor alone."""
    pytest.importorskip("tensorflow")
    x = keras.Input((1,), dtype="string")
    made = keras.layers.TextVectorization(vocabulary=["some", "text"], output_sequence_length=3)(x)
    keras.Model(x, keras.layers.LSTM(2)(keras.layers.Embedding(4, 3)(made))).save(tmp_path / "m.keras")
    found = bench(tmp_path / "m.keras", "--vs", "keras")
    assert [one["engine"].rsplit(" ", 1)[0] for one in found["results"]] == ["fastlstm", "Keras predict", "Keras predict_on_batch"]
    assert not found["refused"]
    assert all(one["difference"] < 1e-5 for one in found["results"])


def test_onnx_runtime(path: Path, tmp_path: Path) -> None:
    """Converted here, and from a file."""
    pytest.importorskip("onnxruntime", reason="of the extra test")
    pytest.importorskip("tf2onnx", reason="of the extra test")
    found = bench(path, "--vs", "onnxruntime")
    assert "made a loop of a recurrent layer" in found["notes"][0]  # of Keras 3's GRU
    assert [one["engine"].split()[0] for one in found["results"]] == ["fastlstm", "ONNX"], found["refused"]
    code = (
        "import sys, keras, numpy as np; from fastlstm.bench import onnx; model = keras.models.load_model(sys.argv[1]); "
        "shapes = [('words', (None, None), np.int32), ('numbers', (None, 4), np.float32)]; "
        "open(sys.argv[2], 'wb').write(onnx.from_keras(model, shapes))"
    )
    subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / "m.onnx")], check=True, capture_output=True, timeout=300)
    found = bench(path, "--vs", "onnxruntime", "--onnx", str(tmp_path / "m.onnx"))
    assert [one["engine"].split()[0] for one in found["results"]] == ["fastlstm", "ONNX"], found["refused"]
    refused = bench(path, "--vs", "onnxruntime", "--onnx", str(path))["refused"]
    assert "ONNX Runtime cannot load it" in refused[0]["reason"]
