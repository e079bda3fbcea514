"""Preprocessing beside models, and pipelines, beside an installed Keras: the same arrays, and an error where Keras raises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm
from fastlstm import InputError, preprocessing

keras = pytest.importorskip("keras", minversion="3")
legacy = pytest.importorskip("keras.src.legacy.preprocessing.text")
sequences = pytest.importorskip("keras.src.legacy.preprocessing.sequence")

pytestmark = pytest.mark.keras

NUMBERS = st.integers(-5, 300) | st.floats(-1e3, 1e3)
ROWS = st.lists(st.lists(NUMBERS, max_size=7), max_size=6)
TEXTS = st.lists(st.text(max_size=30) | st.lists(st.text(max_size=5), max_size=6), max_size=6)
FILTERS = st.sampled_from(['!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', "", "ab", "\u0130 "])


def same(ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    """The same value, or an error of both."""
    try:
        expected = theirs()
    except Exception:  # noqa: BLE001 - whatever Keras raises
        with pytest.raises(InputError):
            ours()
        return
    found = ours()
    np.testing.assert_array_equal(found, expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype


@given(ROWS, st.none() | st.integers(0, 9), st.sampled_from(["int32", "float32", "int8", "bool"]), st.data())
@settings(deadline=None)
def test_pad_sequences(rows: Any, maxlen: int | None, dtype: str, data: st.DataObject) -> None:
    sides = st.sampled_from(["pre", "post", "pre", "post", "no"])
    options = {"padding": data.draw(sides), "truncating": data.draw(sides), "value": data.draw(st.sampled_from([0.0, -1, 2.5, "a"]))}
    same(
        lambda: preprocessing.pad_sequences(rows, maxlen, dtype, **options),
        lambda: keras.utils.pad_sequences(rows, maxlen, dtype, **options),
    )


@given(st.lists(st.integers(-3, 6) | st.floats(-2, 5), max_size=6), st.none() | st.integers(0, 8), st.booleans())
@settings(deadline=None)
def test_to_categorical(x: Any, classes: int | None, column: bool) -> None:
    given_x = np.array(x)[:, np.newaxis] if column else x
    same(lambda: preprocessing.to_categorical(given_x, classes), lambda: keras.utils.to_categorical(given_x, classes))


def everything(tokenizer: Any, seen: Any, new: Any, mode: str) -> Any:
    """What a tokenizer gives."""
    tokenizer.fit_on_texts(seen)
    found = tokenizer.texts_to_sequences(new)
    config = {key: value for key, value in tokenizer.get_config().items() if key not in ("word_docs", "index_docs")}  # ordered by hashes
    return (
        found,
        sorted(tokenizer.index_docs.items()),
        tokenizer.sequences_to_texts([[1, 5, 2], []]),
        config,
        tokenizer.texts_to_matrix(new, mode),
    )


@given(TEXTS, TEXTS, st.data())
@settings(deadline=None)
def test_tokenizers(seen: Any, new: Any, data: st.DataObject) -> None:
    options = {
        "num_words": data.draw(st.none() | st.integers(0, 9)), "filters": data.draw(FILTERS), "lower": data.draw(st.booleans()),
        "split": data.draw(st.sampled_from([" ", "a", "--"])), "char_level": data.draw(st.booleans()),
        "oov_token": data.draw(st.sampled_from([None, "<OOV>", "a"])),
    }  # fmt: skip
    mode = data.draw(st.sampled_from(["binary", "count", "freq", "tfidf"]))
    try:
        expected = everything(legacy.Tokenizer(**options), seen, new, mode)
    except Exception:  # noqa: BLE001
        with pytest.raises(InputError):
            everything(preprocessing.Tokenizer(**options), seen, new, mode)
        return
    found = everything(preprocessing.Tokenizer(**options), seen, new, mode)
    assert found[:4] == expected[:4]
    np.testing.assert_array_equal(found[4], expected[4])


@given(st.text(max_size=40), FILTERS, st.booleans(), st.sampled_from([" ", "", "a", "ab"]), st.integers(1, 30))
@settings(deadline=None)
def test_words_and_hashes(text: str, filters: str, lower: bool, split: str, n: int) -> None:
    options = {"filters": filters, "lower": lower, "split": split}
    same(lambda: preprocessing.text_to_word_sequence(text, **options), lambda: legacy.text_to_word_sequence(text, **options))
    for name in ("one_hot", "hashing_trick"):
        same(lambda: getattr(preprocessing, name)(text, n, **options), lambda: getattr(legacy, name)(text, n, **options))  # noqa: B023
    same(lambda: preprocessing.hashing_trick(text, n, "md5", **options), lambda: legacy.hashing_trick(text, n, "md5", **options))


@given(st.integers(1, 30), st.data())
@settings(deadline=None)
def test_generators(steps: int, data: st.DataObject) -> None:
    small = st.integers(1, 5)
    options = {
        "length": data.draw(st.integers(1, 8)), "sampling_rate": data.draw(small), "stride": data.draw(small),
        "start_index": data.draw(st.integers(0, 6)), "end_index": data.draw(st.none() | st.integers(0, steps - 1)),
        "shuffle": data.draw(st.booleans()), "reverse": data.draw(st.booleans()), "batch_size": data.draw(small),
    }  # fmt: skip
    series = np.arange(steps * 2).reshape(steps, 2)

    def batches(make: Any) -> Any:
        np.random.seed(3)  # noqa: NPY002 - as Keras draws
        generator = make(series, series[:, 0], **options)
        return [part.tolist() for number in range(len(generator)) for part in generator[number]]

    try:
        expected = batches(sequences.TimeseriesGenerator)
    except Exception:  # noqa: BLE001
        with pytest.raises(InputError):
            batches(preprocessing.TimeseriesGenerator)
        return
    assert batches(preprocessing.TimeseriesGenerator) == expected


@given(st.integers(1, 20), st.data())
@settings(deadline=None, max_examples=30)
def test_datasets(steps: int, data: st.DataObject) -> None:
    pytest.importorskip("tensorflow")
    small, series = st.integers(1, 4), np.arange(steps)
    targets = data.draw(st.none() | st.integers(1, steps).map(lambda count: np.arange(count) * 10))
    options = {
        "sequence_length": data.draw(small), "sequence_stride": data.draw(st.integers(0, 4)), "sampling_rate": data.draw(st.integers(0, 4)),
        "batch_size": data.draw(st.none() | small), "start_index": data.draw(st.none() | st.integers(0, steps)),
        "end_index": data.draw(st.none() | st.integers(0, steps)),
    }  # fmt: skip

    def batches(make: Any) -> Any:
        found = make(series, targets, **options)
        return [[np.asarray(part).tolist() for part in (batch if targets is not None else [batch])] for batch in found]

    try:
        expected = batches(keras.utils.timeseries_dataset_from_array)
    except Exception:  # noqa: BLE001
        with pytest.raises(InputError):
            batches(preprocessing.timeseries_dataset_from_array)
        return
    assert batches(preprocessing.timeseries_dataset_from_array) == expected


def test_a_pipeline_beside_keras(tmp_path: Path) -> None:
    """Keras's Tokenizer, its pad_sequences and its model; ours is the pipeline of them, from its file."""
    tokenizer = legacy.Tokenizer(num_words=12, oov_token="<OOV>")
    tokenizer.fit_on_texts(["the film was great", "the plot was not so great, it was bad", "a bad film"])
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Embedding(12, 4), keras.layers.LSTM(5), keras.layers.Dense(3, "softmax")]
    network = keras.Sequential([keras.Input((7,)), *layers])
    network.save(tmp_path / "m.keras")
    texts = ["The film was BAD!", "", "a plot of nothing else but the plot that was not known before"]
    padded = keras.utils.pad_sequences(tokenizer.texts_to_sequences(texts), 7, padding="post")
    expected = np.asarray(network.predict(padded, verbose=0))
    fastlstm.Pipeline(fastlstm.load(tmp_path / "m.keras"), tokenizer=tokenizer, padding="post", labels=["a", "b", "c"]).save(
        tmp_path / "p.fastlstm"
    )
    labels, probabilities = fastlstm.Pipeline.load(tmp_path / "p.fastlstm").predict(texts)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5, atol=1e-6)
    assert labels.tolist() == [["a", "b", "c"][row.argmax()] for row in expected]
