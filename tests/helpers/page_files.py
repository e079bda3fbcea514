"""The files that pages of the book load, where their readers have files of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5_files
import keras_configs
import numpy as np

EXAMPLES = Path(__file__).parents[1] / "corpus" / "examples"


def recurrent(path: Path, *before: h5_files.Layer, features: int = 3, batch: int | None = None, **options: object) -> None:
    """An LSTM and a Dense behind it."""
    rng = np.random.default_rng(0)
    layers = [*before, h5_files.recurrent("LSTM", 16, features, rng, **options), h5_files.dense(2, 16, rng)]
    h5_files.save(path, layers, (None, features), batch)


def bidirectional(path: Path) -> None:
    """An LSTM in both directions."""
    rng = np.random.default_rng(0)
    one, other = (h5_files.recurrent("LSTM", 4, 3, rng) for _ in range(2))
    h5_files.save(path, [h5_files.bidirectional(one, other.weights)], (None, 3))


def attention(path: Path) -> None:
    """An LSTM whose sequence attends to itself, causally."""
    lstm = h5_files.recurrent("LSTM", 4, 3, np.random.default_rng(0), return_sequences=True)
    layers = [
        keras_configs.entrance("x", None, 3),
        {**lstm.entry, "name": "lstm", "inbound_nodes": [[["x", 0, 0, {}]]]},
        keras_configs.layer("Attention", "attention", [[["lstm", 0, 0, {}]] * 2], causal=True, use_scale=False),
    ]
    config = keras_configs.functional(layers, [["x", 0, 0]], [["attention", 0, 0]])
    keras_configs.write_h5(path, config, {"lstm": lstm.weights}, "2.4.0")


def examples(folder: Path, *names: str) -> None:
    """Files of trained models; see tools/train_examples.py and the page on text classifiers."""
    for name in names:
        shutil.copy(EXAMPLES / name, folder)


def seq2seq(folder: Path) -> None:
    examples(folder, "numbers.keras")
    with np.load(EXAMPLES / "expected.npz") as arrays:
        np.save(folder / "words.npy", arrays["words"])


def streams(folder: Path) -> None:
    recurrent(folder / "model.h5")
    bidirectional(folder / "bidirectional.h5")
    attention(folder / "attention.h5")
    recurrent(folder / "stateful.h5", batch=1, stateful=True)


def large_data(folder: Path) -> None:
    recurrent(folder / "model.h5")
    np.save(folder / "data.npy", np.zeros((5, 20, 3), np.float32))


def uploads(folder: Path) -> None:
    for name in ("upload.h5", "large.h5"):
        recurrent(folder / name)


#: By the name of the page.
MAKE: dict[str, Callable[[Path], object]] = {
    "first-model": lambda folder: recurrent(folder / "model.h5"),
    "text-classifier": lambda folder: examples(folder, "reviews.keras", "words.json"),
    "text-and-categories": lambda folder: examples(folder, "sentences.keras"),
    "lengths-and-masks": lambda folder: recurrent(folder / "masked.h5", h5_files.masking(0.0), return_sequences=True),
    "streams": streams,
    "seq2seq": seq2seq,
    "service": lambda folder: (recurrent(folder / "model.h5"), recurrent(folder / "new.h5")),
    "large-data": large_data,
    "files-from-strangers": uploads,
}
