"""Train the small models of the examples in docs/tutorials/seq2seq.md with Keras 3, and write them to tests/corpus/examples.

python tools/train_examples.py

- ``numbers.keras``: an encoder and a decoder with attention that write numbers up to 999 in words, digits in, words out.
- ``rhyme.keras``: the next character of a rhyme.
- ``digits.keras``: a CRNN that reads strips of digits, trained with CTC; 0 is the blank.
- ``expected.npz``: of each, inputs and what Keras gives for them.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
from keras import layers

FOLDER = Path(__file__).parents[1] / "tests" / "corpus" / "examples"
ONES = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen",
    "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORDS = ["", "<start>", "<end>", *ONES, *TENS, "hundred"]
RHYME = (
    "mary had a little lamb, its fleece was white as snow,\nand everywhere that mary went the lamb was sure to go.\n"
    "it followed her to school one day, which was against the rule,\nit made the children laugh and play to see a lamb at school.\n"
)
CHARACTERS = sorted(set(RHYME))
#: What a digit looks like: columns of pixels. A strip has up to so many digits, and columns.
HEIGHT, WIDTH, MOST_DIGITS, COLUMNS = 8, 4, 5, 32


def in_words(number: int) -> list[int]:
    """The ids of the words of a number."""
    hundreds, rest = divmod(number, 100)
    words = [ONES[hundreds - 1], "hundred"] if hundreds else []
    if rest >= 20:
        words.append(TENS[rest // 10 - 2])
        rest %= 10
    words += [ONES[rest - 1]] if rest else []
    return [WORDS.index(word) for word in words]


def padded(rows: list[list[int]], length: int) -> np.ndarray:
    return np.array([row + [0] * (length - len(row)) for row in rows], np.int32)


def numbers() -> tuple[keras.Model, dict[str, np.ndarray]]:
    source, target = keras.Input((None,), dtype="int32", name="digits"), keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(11, 6, mask_zero=True)(source)
    sequence, *states = layers.Bidirectional(layers.LSTM(12, return_sequences=True, return_state=True), name="encoder")(x)
    first = [layers.Concatenate()([states[n], states[n + 2]]) for n in range(2)]
    y = layers.LSTM(24, return_sequences=True, name="decoder")(layers.Embedding(len(WORDS), 6)(target), initial_state=first)
    y = layers.Concatenate()([y, layers.Attention()([y, sequence])])
    model = keras.Model([source, target], layers.Dense(len(WORDS), activation="softmax")(y), name="numbers")
    every = range(1, 1000)
    digits = padded([[int(digit) + 1 for digit in str(number)] for number in every], 3)
    words = padded([[1, *in_words(number), 2] for number in every], 6)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", weighted_metrics=[])
    weights = (words[:, 1:] != 0).astype("float32")
    for rate, epochs in ((0.01, 60), (0.003, 30), (0.001, 20)):
        model.optimizer.learning_rate.assign(rate)
        model.fit([digits, words[:, :-1]], words[:, 1:], sample_weight=weights, batch_size=32, epochs=epochs, verbose=0)
    print("numbers: loss", model.evaluate([digits, words[:, :-1]], words[:, 1:], sample_weight=weights, verbose=0))
    some = np.array([6, 41, 100, 416, 998])
    return model, {"x0": digits[some], "x1": words[some, :-1], "y": model.predict([digits[some], words[some, :-1]], verbose=0)}


def rhyme() -> tuple[keras.Model, dict[str, np.ndarray]]:
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(len(CHARACTERS), 8),
            layers.GRU(40, return_sequences=True),
            layers.Dense(len(CHARACTERS), activation="softmax"),
        ],
        name="rhyme",
    )
    ids = np.array([CHARACTERS.index(character) for character in RHYME], np.int32)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(np.tile(ids[None, :-1], (8, 1)), np.tile(ids[None, 1:], (8, 1)), epochs=400, verbose=0)
    print("rhyme: loss", model.evaluate(ids[None, :-1], ids[None, 1:], verbose=0))
    return model, {"x0": ids[None, :40], "y": model.predict(ids[None, :40], verbose=0)}


def strips(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Strips of digits with gaps of any width, and noise; labels are digits plus one, 0 where there is none."""
    glyphs = np.random.default_rng(0).random((10, WIDTH, HEIGHT)) < 0.5
    x, labels = rng.normal(0, 0.2, (count, COLUMNS, HEIGHT)), np.zeros((count, MOST_DIGITS), np.int32)
    for strip, label in zip(x, labels, strict=True):
        at = 0
        for place, digit in enumerate(rng.integers(0, 10, rng.integers(1, MOST_DIGITS + 1))):
            at += int(rng.integers(1, 3))
            strip[at : at + WIDTH] += glyphs[digit]
            label[place] = digit + 1
            at += WIDTH
    return x.astype(np.float32), labels


def digits() -> tuple[keras.Model, dict[str, np.ndarray]]:
    start = keras.Input((None, HEIGHT), name="strip")
    x = layers.Conv1D(16, 3, padding="same", activation="relu")(start)
    logits = layers.Dense(11, name="logits")(layers.Bidirectional(layers.GRU(12, return_sequences=True))(x))
    model = keras.Model(start, layers.Softmax()(logits), name="digits")
    trained = keras.Model(start, logits)
    x, labels = strips(np.random.default_rng(1), 4000)
    trained.compile(keras.optimizers.Adam(0.01), keras.losses.CTC())
    trained.fit(x, labels, batch_size=64, epochs=15, verbose=0)
    print("digits: loss", trained.evaluate(x, labels, verbose=0))
    some, read = strips(np.random.default_rng(2), 4)
    return model, {"x0": some, "labels": read, "y": model.predict(some, verbose=0)}


def save(model: keras.Model, path: Path) -> None:
    """Save a model, what Keras stores in its archive compressed."""
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    expected = {"words": np.array(WORDS), "rhyme": np.array(RHYME)}
    for make in (numbers, rhyme, digits):
        keras.utils.set_random_seed(0)
        model, arrays = make()
        name = make.__name__
        save(keras.Model(model.inputs, model.outputs[0], name=name), FOLDER / f"{name}.keras")
        expected |= {f"{name}_{key}": array for key, array in arrays.items()}
    np.savez_compressed(FOLDER / "expected.npz", **expected)


if __name__ == "__main__":
    main()
