"""TensorFlow's tutorial model, from raw sentences: a live Keras's numbers, from each container, in Python and at the command line."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import sentence_model

import fastlstm
from fastlstm.cli.main import main

TEXTS = sentence_model.sentences(200, 12)
UNSEEN = [*sentence_model.sentences(60, 30, seed=1), "", " ", "!!!", "\x00good\x00", "g\u0301ood GOOD g.o.o.d"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorial")


def files(keras: ModuleType, folder: Path) -> tuple[np.ndarray, list[Path]]:
    """What Keras makes of sentences, and the files that it saved: ``.keras``, and a SavedModel where it has them."""
    saved = [folder / f"{keras.__name__}.keras"]
    model = sentence_model.build(keras, TEXTS)
    model.save(saved[0])
    if keras.__name__ == "tf_keras":
        saved.append(folder / "saved_model")
        model.save(saved[1], save_format="tf", save_traces=False)  # functions that nobody reads here; tracing them takes a minute
    return model.predict(sentence_model.as_tensor(UNSEEN), verbose=0), saved


@pytest.mark.slow
@pytest.mark.keras
def test_raw_sentences(keras: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected, saved = files(keras, folder)
    text = folder / "unseen.txt"
    lines = [" ".join(sentence.split()) for sentence in UNSEEN[:60]]  # one a line; white space of any kind divides words alike
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for path in saved:
        model = fastlstm.load(path)
        np.testing.assert_allclose(model.predict(UNSEEN), expected, rtol=0, atol=2e-6)
        converted = folder / f"{path.name}.fastlstm"
        fastlstm.convert(path, converted)
        np.testing.assert_allclose(fastlstm.load(converted).predict(UNSEEN), expected, rtol=0, atol=2e-6)
        out = folder / f"{path.name}.npy"
        assert main(["predict", str(path), str(text), "-o", str(out)]) == 0, capsys.readouterr().err
        np.testing.assert_allclose(np.load(out), expected[:60], rtol=0, atol=2e-6)
