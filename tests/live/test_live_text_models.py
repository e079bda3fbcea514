"""Whole models that read text and categories, beside the Kerases that are installed: vocabularies in every container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm.cli import progress

pytestmark = pytest.mark.keras
SENTENCES = ["the cat sat on the mat", "A dog, ran far away!", "", "dog dog unknown \u00c4rger", "the mat\x0bcat"]


def close(y: Any, expected: Any) -> None:
    """Are outputs alike: numbers closely, ids and text to the bit?"""
    for mine, theirs in zip(*(flat if isinstance(flat, list) else [flat] for flat in (y, expected)), strict=True):
        theirs = np.asarray(theirs)
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        if theirs.dtype.kind == "f":
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=2e-6)
        else:
            assert np.array_equal(mine, theirs)


def classifier(keras: Any, **arguments: Any) -> tuple[Any, Any]:
    """TensorFlow's tutorial of text classification, small; and its vectorizer."""
    layers = keras.layers
    text = layers.TextVectorization(max_tokens=50, **arguments)
    text.adapt(np.array([*SENTENCES, "sat sat sat on"]))
    return keras.Sequential([
        keras.Input((1,), dtype="string"), text, layers.Embedding(len(text.get_vocabulary()), 4, mask_zero=True),
        layers.Bidirectional(layers.LSTM(4, return_sequences=True)), layers.Bidirectional(layers.LSTM(3)), layers.Dense(1),
    ]), text  # fmt: skip


def test_adapted(keras: Any, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    model, text = classifier(keras)
    expected = model.predict(tf.constant([[one] for one in SENTENCES]), verbose=0)
    model.save(tmp_path / "m.keras")
    mine = fastlstm.load(tmp_path / "m.keras")
    assert mine.inputs[0].dtype == "string"
    for given in (SENTENCES, [[one] for one in SENTENCES], np.array(SENTENCES), np.array(SENTENCES, object)[:, None]):
        close(mine.predict(given), expected)
    close(fastlstm.load(tmp_path / "m.keras", isolated=True, threads=2).predict(SENTENCES), expected)
    close(mine.predict_on_batch(SENTENCES[:1]), model.predict_on_batch(tf.constant([[SENTENCES[0]]])))
    fastlstm.convert(tmp_path / "m.keras", tmp_path / "m.fastlstm", keras=True)
    close(fastlstm.load(tmp_path / "m.fastlstm", verify=True).predict(SENTENCES), expected)
    ids = fastlstm.load(tmp_path / "m.keras", outputs=[text.name])
    close(ids.predict(SENTENCES), text(tf.constant(SENTENCES)))


def test_folder_and_weights(keras: Any, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    if keras.__name__ != "keras":
        pytest.skip("Keras 3 writes folders")
    model, _ = classifier(keras, output_sequence_length=5)
    expected = model.predict(tf.constant([[one] for one in SENTENCES]), verbose=0)
    model.save(tmp_path / "folder", zipped=False)
    close(fastlstm.load(tmp_path / "folder").predict(SENTENCES), expected)
    model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(fastlstm.UnsupportedError, match="no vocabulary"):
        fastlstm.load(tmp_path / "m.weights.h5", architecture=model.to_json())


def test_terms_that_come_apart(keras: Any, tmp_path: Path) -> None:
    """Keras 3.14 on cannot load a vocabulary that holds marks which it takes for the ends of lines; what was saved is there."""
    tf = pytest.importorskip("tensorflow")
    text = keras.layers.TextVectorization()
    given = ["one\x1ctwo \x85 x\u2028", "two \x1d"]
    text.adapt(np.array(given))
    model = keras.Sequential([keras.Input((1,), dtype="string"), text])
    model.save(tmp_path / "m.keras")
    if keras.__name__ == "keras":
        with pytest.raises((ValueError, TypeError)):
            keras.models.load_model(tmp_path / "m.keras")
    close(fastlstm.load(tmp_path / "m.keras").predict(given), model.predict(tf.constant([[one] for one in given]), verbose=0))


def test_given_vocabularies_in_h5(keras: Any, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    layers = keras.layers
    i = keras.Input((1,), dtype="string")
    ids = layers.TextVectorization(vocabulary=["cat", "dog", "the"], output_sequence_length=4)(i)
    bags = layers.TextVectorization(vocabulary=["cat", "dog", "the"], output_mode="tf_idf", idf_weights=[0.5, 1.5, 0.25])(i)
    y = layers.LSTM(3)(layers.Embedding(5, 2)(ids))
    model = keras.Model(i, [y, layers.Dense(2)(bags), ids])
    expected = model.predict(tf.constant([[one] for one in SENTENCES]), verbose=0)
    model.save(tmp_path / "m.h5")
    close(fastlstm.load(tmp_path / "m.h5").predict(SENTENCES), expected)
    model.save_weights(tmp_path / "m.weights.h5")
    close(fastlstm.load(tmp_path / "m.weights.h5", architecture=model.to_json()).predict(SENTENCES), expected)


def test_nested(keras: Any, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    layers = keras.layers
    text = layers.TextVectorization(output_sequence_length=4)
    text.adapt(np.array(SENTENCES))
    vectorizer = keras.Sequential([keras.Input((1,), dtype="string"), text], name="vectorizer")
    i, j = keras.Input((1,), dtype="string"), keras.Input((1,), dtype="string")
    embed = layers.Embedding(30, 3, mask_zero=True)
    inner = keras.Sequential([keras.Input((4,), dtype="int64"), embed, layers.GRU(3)], name="inner")
    model = keras.Model([i, j], [layers.Add()([inner(vectorizer(i)), inner(vectorizer(j))]), vectorizer(j)])
    x = tf.constant([[one] for one in SENTENCES])
    expected = model.predict([x, x[::-1]], verbose=0)
    model.save(tmp_path / "m.keras")
    mine = fastlstm.load(tmp_path / "m.keras")
    close(mine.predict([SENTENCES, SENTENCES[::-1]]), expected)
    outer = keras.Sequential([keras.Input((1,), dtype="string"), keras.Sequential([keras.Input((1,), dtype="string"), vectorizer, inner])])
    outer.save(tmp_path / "outer.keras")
    close(fastlstm.load(tmp_path / "outer.keras").predict(SENTENCES), outer.predict(x, verbose=0))


def test_columns(keras: Any, tmp_path: Path) -> None:
    """Structured data: a column each of text, whole numbers beyond float32, and numbers; and an embedding of one of them."""
    tf = pytest.importorskip("tensorflow")
    layers = keras.layers
    word, number, real = keras.Input((1,), dtype="string"), keras.Input((1,), dtype="int64"), keras.Input((2,))
    lookup = layers.StringLookup(output_mode="one_hot")
    lookup.adapt(np.array([["cat"], ["dog"], ["cat"]]))
    ids = layers.IntegerLookup(num_oov_indices=2)
    ids.adapt(np.array([[1 << 53], [(1 << 53) + 1], [7], [7]]))
    scale = layers.Normalization()
    scale.adapt(np.array([[1.0, 2.0], [3.0, 5.0], [2.0, 2.5]], "float32"))
    scaled = scale(real)
    bins = layers.Discretization(bin_boundaries=[-1.0, 0.0, 1.0])(scaled)
    vectors = layers.Flatten()(layers.Embedding(5, 2)(ids(number)))
    many = layers.Flatten()(layers.Embedding(4, 2)(bins))
    hot = lookup(word)
    hot = keras.ops.cast(hot, "float32") if keras.__name__ == "keras" else hot
    y = layers.Dense(3)(layers.Concatenate()([hot, vectors, scaled, many]))
    model = keras.Model([word, number, real], [y, ids(number), bins])
    x = [
        np.array([["cat"], ["bird"], [""]], object),
        np.array([[(1 << 53) + 1], [5], [1 << 53]]),
        np.array([[1, 2], [9, 9], [-4, 2.5]], "float32"),
    ]
    expected = model.predict([tf.constant(x[0]), *x[1:]], verbose=0)
    model.save(tmp_path / "m.keras")
    mine = fastlstm.load(tmp_path / "m.keras")
    close(mine.predict(x), expected)
    fastlstm.convert(tmp_path / "m.keras", tmp_path / "m.fastlstm")
    close(fastlstm.load(tmp_path / "m.fastlstm", verify=True).predict(x), expected)


def test_answers_in_words(keras: Any, tmp_path: Path) -> None:
    """A class that a network has chosen, as a word."""
    if keras.__name__ != "keras":
        pytest.skip("operations of keras.ops")
    layers = keras.layers
    i = keras.Input((3, 2))
    y = layers.Dense(4)(layers.LSTM(3)(i))
    names = layers.StringLookup(vocabulary=["one", "two", "three"], invert=True, num_oov_indices=1)
    model = keras.Model(i, [y, names(keras.ops.argmax(y, axis=-1, keepdims=True))])
    x = np.random.default_rng(0).normal(size=(9, 3, 2)).astype("float32")
    model.save(tmp_path / "m.keras")
    mine = fastlstm.load(tmp_path / "m.keras")
    assert [info.dtype for info in mine.outputs] == ["float32", "string"]
    close(mine.predict(x), model.predict(x, verbose=0))
    fastlstm.convert(tmp_path / "m.keras", tmp_path / "m.fastlstm")
    close(fastlstm.load(tmp_path / "m.fastlstm", verify=True).predict(x), model.predict(x, verbose=0))


@pytest.mark.parametrize("steps", [False, True])
def test_evaluated(keras: Any, steps: bool, tmp_path: Path) -> None:
    """Loss and metrics of models that read text; the masks of their embeddings count."""
    tf = pytest.importorskip("tensorflow")
    layers = keras.layers
    text = layers.TextVectorization(max_tokens=50, output_sequence_length=6)
    text.adapt(np.array(SENTENCES))
    inside = [layers.Embedding(50, 4, mask_zero=True), layers.LSTM(4, return_sequences=steps), layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential([keras.Input((1,), dtype="string"), text, *inside])
    model.compile(loss="binary_crossentropy", metrics=["accuracy", "mae"])
    random = np.random.default_rng(0)
    y = random.integers(0, 2, (5, 6, 1) if steps else (5, 1)).astype(np.float32)
    weights = random.uniform(0, 1, (5, 6) if steps else (5,)).astype(np.float32)
    given = tf.constant([[one] for one in SENTENCES])
    model.evaluate(given, y, verbose=0)  # tf.keras writes the names of metrics that it has computed
    model.save(tmp_path / "m.keras")
    mine = fastlstm.load(tmp_path / "m.keras")
    for arguments in ({}, {"batch_size": 2}, {"sample_weight": weights}):
        expected = model.evaluate(given, y, verbose=0, **arguments)
        np.testing.assert_allclose(mine.evaluate(SENTENCES, y, **arguments), expected, rtol=2e-5)


def test_padding_that_is_seen(keras: Any, tmp_path: Path) -> None:
    """Without a mask a text is padded to the longest of its batch, of 32 as in Keras, and layers see that."""
    tf = pytest.importorskip("tensorflow")
    layers = keras.layers
    text = layers.TextVectorization(vocabulary=["cat", "sat", "on"], name="text")
    model = keras.Sequential([
        keras.Input((1,), dtype="string"), text, layers.Embedding(5, 4), layers.GRU(3, name="gru"), layers.Dense(1),
    ])  # fmt: skip
    model.save(tmp_path / "m.keras")
    mine = fastlstm.load(tmp_path / "m.keras")
    texts = ["cat sat on " * (number // 8 + 1) for number in range(40)]
    given = tf.constant([[one] for one in texts])
    for options in ({}, {"batch_size": 7}, {"batch_size": 40}):
        close(mine.predict(texts, **options), model.predict(given, verbose=0, **options))
    close(mine.predict_on_batch(texts), model.predict_on_batch(given))
    assert np.abs(mine.predict(texts) - mine.predict_on_batch(texts)).max() > 1e-3
    (from_terminal,) = progress.predict(mine, [np.array(texts)]).values()
    assert np.array_equal(from_terminal, mine.predict(texts))
    ids = fastlstm.load(tmp_path / "m.keras", outputs=["text"])
    close(progress.predict(ids, [np.array(texts)])["text"], text(given))
    assert mine.predict([]).shape == (0, 1)
    with pytest.raises(fastlstm.InputError, match="at least one row"):
        mine.evaluate([], np.zeros((0, 1)), loss="mse")
    with pytest.raises(tf.errors.InvalidArgumentError):
        model.predict(tf.constant([["!"]]), verbose=0)
    with pytest.raises(fastlstm.InputError, match=r"expected a word .* found none in 2: layer 'text' \(TextVectorization\)"):
        mine.predict(["", "!"])


def test_functions_behind_text(keras: Any, tmp_path: Path) -> None:
    """A layer of the caller's is tried with texts that have words; given text itself, it is refused with the way out."""
    layers = keras.layers
    keras.Sequential([
        keras.Input((1,), dtype="string"), layers.TextVectorization(vocabulary=["cat", "sat"], name="text"),
        layers.Embedding(4, 3), layers.GlobalMaxPooling1D(name="longest"), layers.Dense(1),
    ]).save(tmp_path / "m.keras")  # fmt: skip
    own = fastlstm.load(tmp_path / "m.keras", custom_layers={"longest": lambda x: x.max(axis=1)})
    close(own.predict(["cat", "sat cat"]), fastlstm.load(tmp_path / "m.keras").predict(["cat", "sat cat"]))
    with pytest.raises(fastlstm.InputError, match=r"'text'.*given text.*inputs=\['text'\]"):
        fastlstm.load(tmp_path / "m.keras", custom_layers={"text": lambda x: np.ones((len(x), 2))})
