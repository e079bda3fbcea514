"""Code points of Unicode, and texts put together at random, beside the vectorizers of live Kerases: ids and vectors are the same.

FASTLSTM_EXAMPLES says how many random texts there are for each vectorizer; from 20000 on, no code point is left out.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm

pytestmark = pytest.mark.keras
EXAMPLES = int(os.environ.get("FASTLSTM_EXAMPLES", "300"))
#: Every so manieth code point, and every one below it.
STRIDE = max(1, 20_000 // EXAMPLES)
DENSE = 0x500 if STRIDE > 1 else 0
UNICODE, SURROGATES = 0x110000, range(0xD800, 0xE000)
#: Where a code point stands: alone, in a word, at its ends, between spaces, between letters that are lowered.
PLACES = ("{}", "a{}b cat{} {}cat a {} b A{}{}B C{} {}{} {}")
#: What random texts are made of.
PIECES = [
    *"abcXYZ",
    *" \t\n\r\x0b\x0c\x00\x1c\x1f\x7f\x80\x85\xa0.,!?'\"-_[](){}<>|\\/~`^$%&@#*+=:;", "\u0301", "\u200d", "\u200b", "\ufeff",
    "\ufffd", "\u2028", "\u3000", "\u0130", "\u0131", "\u00df", "\u01c5", "\u03a3", "\u4f60", "\U0001f468", "\U0001f3fd", "cat", "Dog",
    "the", "[UNK]",
]  # fmt: skip
WORDS = ["cat", "dog", "Dog", "the", "ab", "aB", "a b", "cat cat", "\ufffd", "a", "b", "c", "A", "\u4f60", "\u00df"]
LONE = [b"\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5\x80\x80\x80", b"\xfe", b"\xbf"]
MODES = ("int", "multi_hot", "count", "tf_idf")


def code_points() -> Iterator[str]:
    """Texts with code points in several places."""
    for code in itertools.chain(range(DENSE), range(DENSE, UNICODE, STRIDE)):
        if code not in SURROGATES:
            for place in PLACES:
                yield place.replace("{}", chr(code))


def mixtures(seed: int) -> list[bytes]:
    """Random texts, some of them no UTF-8."""
    random = np.random.default_rng(seed)
    texts = []
    for number in range(EXAMPLES):
        parts = [PIECES[n].encode() for n in random.integers(0, len(PIECES), random.integers(0, 30))]
        if number % 3 == 0 and parts:
            for _ in range(random.integers(1, 4)):
                parts.insert(random.integers(0, len(parts) + 1), LONE[random.integers(0, len(LONE))])
        texts.append(b"".join(parts))
    return texts


def vocabulary(texts: list[bytes], split: Any, ngrams: Any) -> list[str]:
    """Some terms: the pieces, and characters that texts have."""
    terms = dict.fromkeys(
        ["cat", "dog", "Dog", "the", "ab", "aB", "a b", "cat cat", "\ufffd", "a", "b", "c", "A", "\u4f60", "\u00df", *PIECES]
    )
    for text in texts[:: max(1, len(texts) // 2000)]:
        decoded = text.decode("utf-8", "ignore")
        terms.update(dict.fromkeys(decoded if split == "character" else decoded.split()))
        if ngrams:
            terms.update(dict.fromkeys(" ".join(pair) for pair in itertools.pairwise(decoded if split == "character" else decoded.split())))
    return [term for term in terms if term.rstrip("\0") == term and term]


def differing(library: str, folder: Path, texts: list[bytes], **arguments: Any) -> tuple[int, list[Any]]:
    """How many texts were compared, and those in which the vectorizers differ."""
    keras, tf = pytest.importorskip(library), pytest.importorskip("tensorflow")
    terms = vocabulary(texts, arguments.get("split", "whitespace"), arguments.get("ngrams"))
    if arguments.get("output_mode", "int") != "int":
        terms = terms[:200]
    if arguments.get("output_mode") == "tf_idf":
        arguments["idf_weights"] = list(np.linspace(0.1, 3, len(terms)))
    layer = keras.layers.TextVectorization(vocabulary=terms, **arguments)
    keras.Sequential([keras.Input((1,), dtype="string"), layer]).save(folder / "m.keras")
    model = fastlstm.load(folder / "m.keras", max_bytes=1 << 32)
    wrong: list[Any] = []
    for first in range(0, len(texts), 4096):
        some = texts[first : first + 4096]
        expected, y = np.asarray(layer(tf.constant([[text] for text in some]))), model.predict(some)
        if y.dtype != expected.dtype or y.shape != expected.shape:
            wrong.append((y.shape, expected.shape))
        elif not np.allclose(y, expected, rtol=1e-6, atol=0):
            wrong += [some[n] for n in np.flatnonzero((y != expected).reshape(len(y), -1).any(axis=1))]
    return len(texts), wrong


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_every_code_point(library: str, tmp_path: Path, record_property: Any) -> None:
    texts = [text.encode() for text in code_points()]
    compared = 0
    for arguments in (
        {},
        {"standardize": "lower"}, {"standardize": "strip_punctuation"}, {"standardize": None}, {"split": "character"},
        {"standardize": None, "split": "character"}, {"split": None, "standardize": None},
        {"ngrams": 2}, {"split": "character", "ngrams": 2},
    ):  # fmt: skip
        count, wrong = differing(library, tmp_path, texts, **arguments)
        assert not wrong, (arguments, len(wrong), wrong[:5])
        compared += count
    assert compared
    record_property("sentences", compared)


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_mixtures(library: str, tmp_path: Path, record_property: Any) -> None:
    compared = 0
    forms = itertools.product(
        (None, "lower", "strip_punctuation", "lower_and_strip_punctuation"), ("whitespace", "character", None), (None, 2, (1, 3)), MODES
    )  # fmt: skip
    chosen = list(forms)[:: 1 if EXAMPLES > 1000 else 7]
    for seed, (standardize, split, ngrams, mode) in enumerate(chosen):
        arguments = {"standardize": standardize, "split": split, "ngrams": ngrams, "output_mode": mode}
        if split is None and ngrams is not None:
            continue  # of one text there are no two that follow each other
        count, wrong = differing(library, tmp_path, mixtures(seed), **arguments)
        assert not wrong, (arguments, len(wrong), wrong[:5])
        compared += count
    assert compared
    record_property("sentences", compared)
