"""The model of TensorFlow's tutorial on text classification, from raw sentences to answers: fastlstm beside Keras.

    python -m benchmarks.sentences [--record] [--rounds 30]

TextVectorization, Embedding, two Bidirectional LSTMs, two Dense layers. Everything runs in one process, on one thread, in turn; medians
count. Keras is asked in the ways that it has: ``predict``, ``predict_on_batch``, and a ``tf.function`` of the model.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .processes import REPOSITORY, RESULTS, environment
from .report import OURS, machine, microseconds, write

ROWS = (1, 32)
WORDS = 100
UNITS = 64
#: The largest difference from Keras's numbers that counts as the same answer.
CLOSE = 1e-5


def engines(folder: Path, texts: Sequence[str]) -> dict[str, Callable[[Sequence[str]], Any]]:
    """By label, what turns sentences into answers."""
    import keras
    import sentence_model
    import tensorflow as tf

    import fastlstm

    model = sentence_model.build(keras, texts, UNITS)
    path = folder / "sentences.keras"
    model.save(path)
    ours = fastlstm.load(path)
    compiled = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    return {
        OURS: ours.predict,
        "Keras predict": lambda given: model.predict(sentence_model.as_tensor(given), verbose=0),
        "Keras predict_on_batch": lambda given: model.predict_on_batch(sentence_model.as_tensor(given)),
        "tf.function": lambda given: compiled(sentence_model.as_tensor(given)).numpy(),
    }


def compare(rounds: int) -> list[dict[str, Any]]:
    """All engines in turn, on each number of rows."""
    import numpy as np
    import sentence_model

    found = []
    with tempfile.TemporaryDirectory() as folder:
        able = engines(Path(folder), sentence_model.sentences(500, WORDS))
        for rows in ROWS:
            given = sentence_model.sentences(rows, WORDS, seed=rows)
            answers = {label: np.asarray(run(given)) for label, run in able.items()}
            for label, answer in answers.items():
                difference = float(np.abs(answer - answers["Keras predict"]).max())
                if difference > CLOSE:
                    raise SystemExit(f"{label}: differs from Keras by {difference}")
            times: dict[str, list[float]] = {label: [] for label in able}
            for _ in range(rounds):
                for label, run in able.items():
                    before = time.perf_counter()
                    run(given)
                    times[label].append(time.perf_counter() - before)
            found += [{"rows": rows, "label": label, "seconds": statistics.median(took)} for label, took in times.items()]
    return found


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """A row for each number of sentences, a column for each engine."""
    labels = list(dict.fromkeys(one["label"] for one in results))
    lines = ["| sentences | " + " | ".join(f"{label} µs" for label in labels) + " | best of the others / fastlstm |"]
    lines.append("|" + "--:|" * (len(labels) + 2))
    for rows in dict.fromkeys(one["rows"] for one in results):
        took = {one["label"]: one["seconds"] for one in results if one["rows"] == rows}
        best = min(seconds for label, seconds in took.items() if label != OURS)
        lines.append(f"| {rows} | " + " | ".join(microseconds(took[label]) for label in labels) + f" | {best / took[OURS]:.1f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, metavar="N")
    parser.add_argument("--record", action="store_true", help="keep the figures in benchmarks/results")
    arguments = parser.parse_args()
    os.environ.update(environment(1))  # before TensorFlow is imported
    sys.path.insert(0, str(REPOSITORY / "tests" / "helpers"))
    results = compare(arguments.rounds)
    if arguments.record:
        write(RESULTS / "sentences.json", {"machine": machine(), "rounds": arguments.rounds, "words": WORDS}, results)
    print(json.dumps(machine()))
    print(markdown(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
