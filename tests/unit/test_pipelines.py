"""Pipelines: from raw input to the answer, and step by step."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5_files
import numpy as np
import pytest
from around_models import OTHER, SCALERS, TEXTS, VERSIONS, as_object, fitted_tokenizer, of_series, of_texts

import fastlstm
from fastlstm import InputError, Pipeline
from fastlstm import pipeline as pipelines
from fastlstm.preprocessing import Tokenizer, pad_sequences, scaling
from fastlstm.surroundings import Labelled

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return fitted_tokenizer()


# -- texts ------------------------------------------------------------------------------------------------------------------------


def test_texts_to_labels(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """As by hand; and as the rows one by one, where no length is given."""
    model = of_texts(tmp_path)
    pipeline = Pipeline(model, tokenizer=tokenizer, maxlen=8, labels=["bad", "good"])
    p = model.predict(pad_sequences(tokenizer.texts_to_sequences(TEXTS), 8))[:, 0]
    found, probabilities = pipeline.predict(TEXTS)
    np.testing.assert_array_equal(probabilities, np.stack([1 - p, p], 1))
    np.testing.assert_array_equal(found, np.where(p > 0.5, "good", "bad"))
    np.testing.assert_array_equal(pipeline.predict(TEXTS).confidence, np.maximum(p, 1 - p))
    free = Pipeline(model, tokenizer=tokenizer, labels=["bad", "good"])
    np.testing.assert_allclose(free(TEXTS).probabilities, probabilities, rtol=1e-6)  # Masked: length does not matter
    for text, row in zip(TEXTS, probabilities, strict=True):
        np.testing.assert_allclose(free.predict(text).probabilities[0], row, rtol=1e-6)
    assert free.predict([]).labels.shape == (0,)


@pytest.mark.parametrize("sides", [("pre", "post"), ("post", "pre"), ("post", "post")])
def test_sides(tmp_path: Path, tokenizer: Tokenizer, sides: tuple[str, str]) -> None:
    model = of_texts(tmp_path, mask=False, steps=4)
    padding, truncating = sides
    pipeline = Pipeline(model, tokenizer=tokenizer, padding=padding, truncating=truncating)  # as long as the model's input
    ids = pad_sequences(tokenizer.texts_to_sequences(TEXTS), 4, padding=padding, truncating=truncating)
    np.testing.assert_array_equal(pipeline.prepare(TEXTS), ids)
    np.testing.assert_array_equal(pipeline.predict(TEXTS), model.predict(ids))


def test_forms_of_tokenizers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json(indent=1))
    model = of_texts(tmp_path)
    attributes = ("word_index", "num_words", "filters", "lower", "split", "char_level", "oov_token", "texts_to_sequences")
    like = SimpleNamespace(**{name: getattr(tokenizer, name) for name in attributes})
    wanted = Pipeline(model, tokenizer=tokenizer).spec.words
    for given in (tokenizer.to_json(), tokenizer.to_json().encode(), str(tmp_path / "tokenizer.json"), tmp_path / "tokenizer.json", like):
        assert Pipeline(model, tokenizer=given).spec.words == wanted
    words = Pipeline(model, tokenizer={"film": 3, "plot": np.int64(4)})
    assert [row.tolist() for row in words.prepare(["A film; a PLOT", "a"])] == [[3, 4], [0]]
    assert words.prepare([["film", "plot"]])[0].tolist() == [3, 4]  # a list of words


@pytest.mark.parametrize("texts", ["a film", ("a film",), np.array(["a film"]), np.array([["a film"]]), np.array([b"a film"]), b"a film"])
def test_forms_of_texts(tmp_path: Path, tokenizer: Tokenizer, texts: Any) -> None:
    assert Pipeline(of_texts(tmp_path), tokenizer=tokenizer).prepare(texts)[0].tolist() == tokenizer.texts_to_sequences(["a film"])[0]


@pytest.mark.parametrize("texts", [3, None, [3], [None], [["a", 3]], {"a": 1}, np.zeros((2, 2)), np.zeros(3)])
def test_what_is_no_text(tmp_path: Path, tokenizer: Tokenizer, texts: Any) -> None:
    with pytest.raises(InputError, match="x: expected"):
        Pipeline(of_texts(tmp_path), tokenizer=tokenizer).predict(texts)


def test_logits_become_probabilities(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Of an output layer without an activation, unless one says otherwise."""
    for outputs in (1, 3):
        model = of_texts(tmp_path, outputs, "linear")
        names = ["a", "b", "c"][: max(outputs, 2)]
        y = model.predict(pad_sequences(tokenizer.texts_to_sequences(TEXTS), 5)).astype(np.float64)
        found = Pipeline(model, tokenizer=tokenizer, maxlen=5, labels=names).predict(TEXTS)
        p = np.exp(y) / (1 + np.exp(y)) if outputs == 1 else np.exp(y) / np.exp(y).sum(1, keepdims=True)
        np.testing.assert_allclose(found.probabilities, p if outputs > 1 else np.concatenate([1 - p, p], 1), rtol=1e-5)
        plain = Pipeline(model, tokenizer=tokenizer, maxlen=5, labels=names, logits=False).predict(TEXTS)
        np.testing.assert_array_equal(plain.probabilities[:, -1], y[:, -1].astype(np.float32))


def test_a_label_for_each_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    inner = [h5_files.embedding(20, 4, rng), h5_files.recurrent("LSTM", 3, 4, rng, return_sequences=True)]
    model = fastlstm.load(h5_files.save(tmp_path / "m.h5", [*inner, h5_files.dense(3, 3, rng, "softmax")], (None,)))
    found = Pipeline(model, tokenizer={"a": 1, "b": 2}, labels=["X", "Y", "Z"]).predict(["a b a", "b"])
    assert [part.shape for part in found.labels] == [(3,), (1,)]
    assert [part.shape for part in found.confidence] == [(3,), (1,)]
    assert Pipeline(model, tokenizer={"a": 1, "b": 2}, maxlen=4, labels=["X", "Y", "Z"]).predict(["a b"]).labels.shape == (1, 4)


def test_labels_of_numbers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    model = of_texts(tmp_path, 3, "softmax")
    assert Pipeline(model, tokenizer=tokenizer, labels=[10, 20, 30]).predict("film").labels.dtype.kind == "i"
    assert Pipeline(model, tokenizer=tokenizer, labels=[1, "two", 3.5]).predict("film").labels.dtype == object


# -- numbers ----------------------------------------------------------------------------------------------------------------------


def test_a_series_and_its_windows(tmp_path: Path) -> None:
    model = of_series(tmp_path)
    pipeline = Pipeline(model, scaler={"mean": 50, "scale": 20}, inverse=True)
    series = RNG.normal(50, 20, 30)
    windows = np.lib.stride_tricks.sliding_window_view(series, 7)
    expected = model.predict(((windows - 50) / 20)[..., np.newaxis]).astype(np.float64) * 20 + 50
    for given in (series, series[:, np.newaxis], windows, windows[..., np.newaxis], series.tolist()):
        found = pipeline.predict(given)
        np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float64
    assert np.shares_memory(pipeline.prepare(series)[0], pipeline.prepare(series)[1]) is False
    prepared = pipeline.prepare(series)
    assert np.shares_memory(prepared[0], prepared[1])  # views of the scaled series
    np.testing.assert_array_equal(pipeline.predict(series[-7:]), expected[-1:])
    for wrong in (series[:6], np.zeros((3, 8)), np.zeros((9, 2)), "text", [["a"]], None, 3, [series, series[:20]], np.zeros((2, 7, 1, 1))):
        with pytest.raises(InputError):
            pipeline.predict(wrong)


def test_windows_where_the_model_leaves_the_length_open(tmp_path: Path) -> None:
    model, series = of_series(tmp_path, steps=None), RNG.normal(size=20)
    assert Pipeline(model, window=5).predict(series).shape == (16, 1)
    whole = Pipeline(model, scaler={"mean": 1})
    np.testing.assert_array_equal(whole.predict(series), model.predict((series - 1).reshape(1, 20, 1)))
    np.testing.assert_allclose(whole.predict([series, series[:9]])[1], whole.predict(series[:9])[0], rtol=1e-5)
    with pytest.raises(InputError, match="windows of 5 timesteps"):
        Pipeline(model, window=5).predict(np.zeros((2, 6, 1)))


def test_many_windows_take_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are computed some at a time, and give the same."""
    model, series = of_series(tmp_path, outputs=2), RNG.normal(size=50)
    pipeline = Pipeline(model, scaler={"mean": 1}, inverse=True)
    expected, calls = pipeline.predict(series), []
    predict = model.predict
    monkeypatch.setattr(pipelines, "BLOCK", 7 * 8 * 10)
    monkeypatch.setattr(model, "predict", lambda x, batch_size: calls.append(len(x)) or predict(x, batch_size))
    np.testing.assert_array_equal(pipeline.predict(series), expected)
    assert calls == [10, 10, 10, 10, 4]


def test_columns(tmp_path: Path) -> None:
    """Of several features one is predicted, by number or by name; or each; or two of them."""
    case = SCALERS[VERSIONS[-1]]["scalers"][3]
    scaler = as_object(case)
    scaler.feature_names_in_ = np.array(["a", "b", "c", "d"], object)
    fitted = scaling.scaler_of(scaler)
    series = RNG.normal(size=(20, 4)) * [1, 12, 300, 1]
    for outputs, inverse, columns in ((1, 1, [1]), (1, "c", [2]), (1, -1, [3]), (4, True, [0, 1, 2, 3]), (2, [3, 0], [3, 0]),
                                      (2, ["a", "b"], [0, 1]), (3, 2, [2, 2, 2])):  # fmt: skip
        model = of_series(tmp_path, 4, outputs)
        pipeline = Pipeline(model, scaler=scaler, inverse=inverse)
        y = model.predict(np.lib.stride_tricks.sliding_window_view(scaling.scaled(fitted, series), 7, axis=0).transpose(0, 2, 1))
        values = np.zeros((len(y), 4))
        for n, column in enumerate(columns):
            values[:, column] = y[:, n]
            expected = scaling.unscaled(fitted, values)[:, column]
            np.testing.assert_array_equal(pipeline.predict(series)[:, n], expected)
    one = of_series(tmp_path, 4, 1)
    for wrong in (True, 4, "e", [0, 1], 1.5, [], "pickle.pkl"):
        with pytest.raises(InputError, match="inverse"):
            Pipeline(one, scaler=scaler, inverse=wrong)
    np.testing.assert_array_equal(
        Pipeline(one, scaler=scaler, inverse={"mean": 2, "scale": 3}).predict(series),
        one.predict(Pipeline(one, scaler=scaler).prepare(series)).astype(float) * 3 + 2,
    )


def test_scalers_of_whole_windows(tmp_path: Path) -> None:
    """Fitted on rows of windows, a column a timestep."""
    model = of_series(tmp_path, steps=4)
    case = SCALERS[VERSIONS[-1]]["scalers"][0]
    pipeline = Pipeline(model, scaler=as_object(case))
    np.testing.assert_array_equal(pipeline.prepare(OTHER)[..., 0], case["transformed"])
    series = RNG.normal(size=9)
    windows = np.lib.stride_tricks.sliding_window_view(series, 4)
    np.testing.assert_array_equal(pipeline.prepare(series), pipeline.prepare(windows))


def test_rows_without_timesteps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = fastlstm.load(h5_files.save(tmp_path / "m.h5", [h5_files.dense(3, 4, rng), h5_files.dense(1, 3, rng)], (4,)))
    case = SCALERS[VERSIONS[-1]]["scalers"][3]
    np.testing.assert_array_equal(Pipeline(model, scaler=as_object(case)).predict(OTHER), model.predict(np.array(case["transformed"])))
    assert Pipeline(model, window=4).predict(np.arange(9)).shape == (6, 1)


@pytest.mark.parametrize(
    ("texts", "options", "what"),
    [
        (True, {"tokenizer": 3}, "tokenizer"), (True, {"tokenizer": {}}, "tokenizer"), (True, {"tokenizer": {"a": -1}}, "tokenizer"),
        (True, {"tokenizer": Tokenizer()}, "tokenizer"), (True, {"tokenizer": {"a": "b"}}, "tokenizer"), (True, {"maxlen": 3}, "maxlen"),
        (True, {"tokenizer": {"a": 1}, "maxlen": 0}, "maxlen"), (True, {"tokenizer": {"a": 1}, "padding": "left"}, "padding"),
        (True, {"tokenizer": {"a": 1}, "scaler": "sqrt"}, "tokenizer"), (True, {"labels": ["a"]}, "labels"),
        (True, {"logits": 3}, "logits"),
        (True, {"labels": ["a", "b", "c"]}, "labels"), (True, {"labels": ["a", "b"], "inverse": "sqrt"}, "labels"),
        (True, {"inverse": True}, "inverse"), (False, {"tokenizer": {"a": 1}, "maxlen": 8}, "maxlen"), (False, {"window": 8}, "window"),
        (False, {"scaler": {"mean": [1, 2, 3]}}, "scaler"), (False, {"window": "a"}, "window"),
        (False, {"inverse": {"mean": [1, 2]}}, "inverse"),
        (True, {"tokenizer": "tokenizer.pickle"}, "pickle"), (True, {"tokenizer": b"\x80\x04"}, "pickle"),
        (True, {"tokenizer": "{}"}, "tokenizer"),
    ],
)  # fmt: skip
def test_what_does_not_fit(tmp_path: Path, texts: bool, options: dict[str, Any], what: str) -> None:
    with pytest.raises(InputError, match=what):
        Pipeline(of_texts(tmp_path) if texts else of_series(tmp_path), **options)


def test_an_analyzer_is_code(tmp_path: Path) -> None:
    found = Tokenizer(analyzer=str.split)
    found.fit_on_texts(["a b"])
    with pytest.raises(InputError, match="analyzer"):
        Pipeline(of_texts(tmp_path), tokenizer=found)
    with pytest.raises(InputError, match="model: expected"):
        Pipeline("model.h5")  # type: ignore[arg-type]


# -- streams ----------------------------------------------------------------------------------------------------------------------


def test_streams(tmp_path: Path) -> None:
    model = of_series(tmp_path, 2, 1, None)
    pipeline = Pipeline(model, scaler={"mean": [5, 50], "scale": [1, 10]}, inverse=1)
    series = RNG.normal([5, 50], [1, 10], (9, 2))
    stream = pipeline.stream()
    steps = [stream.step(x[np.newaxis]) for x in series]
    np.testing.assert_allclose(steps[-1], pipeline.predict(series), rtol=1e-6)
    assert steps[0].dtype == np.float64
    stream.reset()
    stream.feed(series[np.newaxis, :4])
    other, pickled = stream.copy(), pickle.loads(pickle.dumps(stream))
    for one in (stream, other, pickled):
        np.testing.assert_array_equal(one.step(series[4:5]), steps[4])
    np.testing.assert_allclose(other.feed(series[np.newaxis, 5:]), steps[-1], rtol=1e-6)
    with pytest.raises(InputError, match="out"):
        stream.step(series[:1], out=np.zeros((1, 1)))
    with pytest.raises(InputError, match="x_t"):
        stream.step("a")
    labelled = Pipeline(of_series(tmp_path, 2, 3, None, "softmax"), labels=["a", "b", "c"]).stream(2)
    assert isinstance(labelled.step(series[:2]), Labelled)


def test_no_streams_of_texts(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match="one of texts"):
        Pipeline(of_texts(tmp_path), tokenizer=tokenizer).stream()
    with pytest.raises(InputError, match="of 4"):
        Pipeline(of_series(tmp_path, steps=4), scaler={"mean": [1, 2, 3, 4]}).stream()


# -- copies and threads -----------------------------------------------------------------------------------------------------------


def test_copies_and_threads(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pipeline = Pipeline(of_texts(tmp_path), tokenizer=tokenizer, labels=["bad", "good"])
    expected = pipeline.predict(TEXTS).probabilities
    for other in (copy.copy(pipeline), copy.deepcopy(pipeline), pickle.loads(pickle.dumps(pipeline))):
        np.testing.assert_array_equal(other.predict(TEXTS).probabilities, expected)
        assert other.labels == ("bad", "good")
    found: list[Any] = []

    def compute() -> None:
        found.extend(pipeline.predict(TEXTS).probabilities for _ in range(20))

    threads = [threading.Thread(target=compute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert all(np.array_equal(one, expected) for one in found)


def test_objects_become_plain_data_at_once(tmp_path: Path, tokenizer: Tokenizer) -> None:
    mine = copy.deepcopy(tokenizer)
    pipeline = Pipeline(of_texts(tmp_path), tokenizer=mine)
    before = [row.tolist() for row in pipeline.prepare(TEXTS)]
    mine.word_index.clear()
    mine.num_words = 2
    assert [row.tolist() for row in pipeline.prepare(TEXTS)] == before


# -- what it says -----------------------------------------------------------------------------------------------------------------


def test_it_shows_itself(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pipeline = Pipeline(of_texts(tmp_path), tokenizer=tokenizer, maxlen=5, labels=["<b>", "good"])
    assert "'sequential_1'" in repr(pipeline)
    assert "&lt;b&gt;" in pipeline._repr_html_()
    assert "<b>" not in pipeline._repr_html_()
    lines: list[str] = []
    pipeline.summary(lines.append)
    assert lines[0] == "Before: words to ids: 8 known, '<OOV>' for unknown ones"
    assert lines[1] == "Before: ids to a length of 5: padding pre, truncating pre"
    assert lines[-1] == "After: probabilities to 2 labels: <b>, good"


def test_a_model_alone_is_as_light_as_before() -> None:
    """Neither loading a model nor computing with one imports what stands around models."""
    code = (
        "import sys, fastlstm, fastlstm.demo, numpy; fastlstm.load(fastlstm.demo.MODEL).predict(numpy.zeros((1, 9, 1)));"
        "around = 'fastlstm.pre', 'fastlstm.pipe', 'fastlstm.surroundings', 'fastlstm.formats.own_p';"
        "print(*(name for name in sys.modules if name.startswith(around)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()


def test_a_text_may_be_an_array_without_axes(tmp_path: Path) -> None:
    pipeline = Pipeline(of_texts(tmp_path), tokenizer=fitted_tokenizer(), labels=["bad", "good"])
    expected = pipeline.predict("great plot").probabilities
    for text in (np.array("great plot"), np.array(b"great plot"), np.array("great plot", object), np.str_("great plot")):
        np.testing.assert_array_equal(pipeline.predict(text).probabilities, expected)
    for given in ({"great plot"}, None, 3):
        with pytest.raises(InputError, match="x: expected a text, or a list or array of them, found"):
            pipeline.predict(given)


@pytest.mark.parametrize(("argument", "word"), [("scaler", "sqrtt"), ("inverse", "pryce"), ("labels", "good")])
def test_a_word_that_is_no_file(argument: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^{argument}: expected a .*; found '{word}', and there is no file of this name$"):
        Pipeline(of_series(tmp_path), **{argument: word})
