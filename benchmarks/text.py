"""TextVectorization beside Keras: the time of fastlstm as a part of Keras's, on one thread.

    python -m benchmarks.text

needs TensorFlow and Keras 3. Sentences have about 200 words each; both compute the same ids, which is checked first. Keras is timed in
the way that is fastest for it: ``predict_on_batch``, and the layer itself in a ``tf.function``. Times are medians.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")

import numpy as np

ROWS = (1, 32, 1000)
WORDS, VOCABULARY = 200, 20_000
SECONDS = 1.0


def sentences(count: int) -> list[str]:
    """Sentences of words that are more or less frequent, some of them unknown, with capitals and punctuation."""
    random = np.random.default_rng(count)
    words = [f"w{number}{'xyz'[number % 3] * (number % 7)}" for number in range(2 * VOCABULARY)]
    found = []
    for _ in range(count):
        chosen = [words[min(n, 2 * VOCABULARY - 1)] for n in random.zipf(1.2, random.integers(WORDS // 2, WORDS * 3 // 2))]
        found.append(" ".join(word.capitalize() + "." if n % 11 == 0 else word for n, word in enumerate(chosen)))
    return found


def medians(*calls: Callable[[], Any]) -> list[float]:
    """Seconds of each call, made in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    while sum(map(sum, times)) < len(calls) * SECONDS or len(times[0]) < 5:
        for call, own in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            own.append(time.perf_counter() - start)
    return [float(np.median(own)) for own in times]


def main() -> None:
    """Print a line for each number of rows."""
    import keras
    import tensorflow as tf

    import fastlstm

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    words = list(dict.fromkeys(" ".join(sentences(3000)).lower().replace(".", "").split()))[:VOCABULARY]
    text = keras.layers.TextVectorization(vocabulary=words, output_sequence_length=WORDS)
    theirs = keras.Sequential([keras.Input((1,), dtype="string"), text])
    graph = tf.function(text)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save(f"{folder}/text.keras")
        mine = fastlstm.load(f"{folder}/text.keras")
    print(
        f"TextVectorization, {len(words)} terms, about {WORDS} words a sentence; fastlstm {fastlstm.__version__}, Keras {keras.__version__}"
    )
    for rows in ROWS:
        some = sentences(rows)
        tensor = tf.constant([[one] for one in some])
        assert np.array_equal(mine.predict(some), theirs.predict_on_batch(tensor))
        ours, whole, alone = medians(
            partial(mine.predict, some), partial(theirs.predict_on_batch, tensor), partial(graph, tensor)
        )  # fmt: skip
        print(
            f"{rows:5} rows: fastlstm {ours * 1e6:9.0f} us; predict_on_batch takes {whole / ours:6.1f} times as long, "
            f"the layer in a tf.function {alone / ours:6.1f} times"
        )


if __name__ == "__main__":
    main()
