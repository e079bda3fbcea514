"""Models of every kind that the page of a service shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5_files
import keras_configs
import numpy as np
import page_files

import fastlstm
from fastlstm import demo
from fastlstm.preprocessing import Tokenizer

#: What does harm where a name is taken for markup.
HOSTILE = '"><img src=x onerror="window.harmed=1"><svg onload="window.harmed=1"><b>'


def make(folder: Path) -> dict[str, Path]:
    """By name, files that are made in a folder."""
    rng = np.random.default_rng(0)
    page_files.recurrent(folder / "values.h5")
    classes = [h5_files.recurrent("GRU", 8, 1, rng), h5_files.dense(4, 8, rng, "softmax")]
    h5_files.save(folder / "classes.h5", classes, (10, 1))
    pair(folder / "pair.h5", "x", "more")
    page_files.bidirectional(folder / "bidirectional.h5")
    page_files.examples(folder, "sentences.keras", "rhyme.keras")
    sunspots(folder / "sunspots.fastlstm")
    labelled(folder / "labelled.fastlstm", ["bad", "good"])
    pair(folder / "hostile.h5", HOSTILE, "harmless")
    labelled(folder / "hostile-labels.fastlstm", [HOSTILE, "good"])
    return {path.stem: path for path in sorted(folder.iterdir())}


def pair(path: Path, first: str, second: str) -> None:
    """A sequence and two numbers become two answers."""
    rng = np.random.default_rng(1)
    lstm, dense, other = h5_files.recurrent("LSTM", 4, 2, rng), h5_files.dense(1, 6, rng, "sigmoid"), h5_files.dense(3, 6, rng)
    layer = keras_configs.layer
    layers = [
        keras_configs.entrance(first, None, 2),
        keras_configs.entrance(second, 2),
        {**lstm.entry, "name": f"lstm {first}", "inbound_nodes": [[[first, 0, 0, {}]]]},
        layer("Concatenate", "both", [[[f"lstm {first}", 0, 0, {}], [second, 0, 0, {}]]], axis=-1),
        {**dense.entry, "name": "one", "inbound_nodes": [[["both", 0, 0, {}]]]},
        {**other.entry, "name": f"three {first}", "inbound_nodes": [[["both", 0, 0, {}]]]},
    ]
    config = keras_configs.functional(layers, [[first, 0, 0], [second, 0, 0]], [["one", 0, 0], [f"three {first}", 0, 0]])
    weights = {f"lstm {first}": lstm.weights, "one": dense.weights, f"three {first}": other.weights}
    for entry in layers:
        entry["config"] = {**entry["config"], "name": entry["name"]}
    keras_configs.write_h5(path, config, weights)


def sunspots(path: Path) -> None:
    """A series becomes its forecast."""
    fastlstm.Pipeline(fastlstm.load(demo.MODEL), scaler=["sqrt", {"max_abs": 10}], window=132, inverse=True).save(path)


def labelled(path: Path, labels: list[str]) -> None:
    """Texts become labels."""
    folder = path.parent / f"{path.stem}-parts"
    folder.mkdir()
    page_files.examples(folder, "reviews.keras", "words.json")
    tokenizer = Tokenizer(oov_token="<OOV>")
    words = json.loads((folder / "words.json").read_text(encoding="utf-8"))
    tokenizer.word_index = {"<OOV>": 1} | {word: number for number, word in enumerate(words, start=2)}
    fastlstm.Pipeline(fastlstm.load(folder / "reviews.keras"), tokenizer=tokenizer, labels=labels).save(path)
    shutil.rmtree(folder)
