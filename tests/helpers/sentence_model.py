"""The model of TensorFlow's tutorial on text classification with an RNN, small: raw sentences in, one number out."""

from __future__ import annotations

from typing import Any

import numpy as np

TEXT = (
    "the a this that film movie plot actor music scene ending it is was not never very really good great fine best worst bad dull awful "
    "loved hated enjoyed watched again twice minutes hours don't isn't I we they Ünïcödé naïve 東京 ½ 10/10 well-made <br /> e.g. U.S. ..."
)


def sentences(number: int, words: int, seed: int = 0) -> list[str]:
    """Sentences of one word up to twice as many as ``words``, with capitals, punctuation and white space of several kinds."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(number):
        chosen = rng.choice(TEXT.split(), rng.integers(1, 2 * words + 1))
        cased = [(str, str.upper, str.capitalize)[rng.integers(3)](word) for word in chosen]
        spaced = [word + (" ", "  ", ", ", "! ", "\t", "\n")[rng.integers(6)] for word in cased]
        made.append("".join(spaced).strip())
    return made


def build(keras: Any, texts: list[str], units: int = 8) -> Any:
    """The tutorial's layers, adapted to texts and trained on them for a step or two.

    Parameters
    ----------
    keras
        Keras 3 or tf.keras.
    texts
        What it learns from.
    units
        The features of the embedding and the units of the first LSTM; 64 in the tutorial.
    """
    encoder = keras.layers.TextVectorization(max_tokens=1000)
    encoder.adapt(np.array(texts, object)[:, None])
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((1,), dtype="string"),
            encoder,
            layers.Embedding(len(encoder.get_vocabulary()), units, mask_zero=True),
            layers.Bidirectional(layers.LSTM(units, return_sequences=True)),
            layers.Bidirectional(layers.LSTM(units // 2)),
            layers.Dense(units, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer="adam", loss="mse", jit_compile=False)  # XLA takes a minute for so small a model
    labels = np.array(["good" in text.lower() for text in texts], np.float32)
    model.fit(as_tensor(texts), labels, epochs=1, verbose=0)
    return model


def as_tensor(texts: list[str]) -> Any:
    """Texts as Keras takes them, one in a row."""
    import tensorflow as tf

    return tf.constant(texts)[:, None]
