"""fastlstm.preprocessing: what every Keras that has the functions gives, as recorded; and arguments that do not fit."""

from __future__ import annotations

import doctest
import gzip
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import record_preprocessing as recording

import fastlstm
from fastlstm import InputError, preprocessing
from fastlstm.preprocessing import TimeseriesGenerator, Tokenizer, pad_sequences, sliding_windows, to_categorical, tokenizer_from_json

REPOSITORY = Path(__file__).parents[2]
with gzip.open(REPOSITORY / "tests" / "corpus" / "recorded" / "preprocessing.json.gz", "rt") as recorded:
    RECORDED: dict[str, Any] = json.load(recorded)
#: Logarithms, of which versions of NumPy round the last bit otherwise.
ROUNDED = re.compile("matrix tfidf|make_sampling_table")
#: What differs between generations, as docs/pipelines.md says: the cases in which it shows, and the generations.
DIFFERENCES = {
    "`to_categorical` gives float32": (r"to_categorical: (?!matrix$|none)|to_categorical: matrix", r"tf|Keras 2\.2"),
    "`to_categorical` flattens": (r"to_categorical: matrix", r"Keras (1|2\.0)"),
    "`timeseries_dataset_from_array` leaves out the last windows where `sampling_rate` is above 1": (
        r"timeseries_dataset_from_array: rate$", r"tf\.keras 2\.(3|10)",
    ),
    "`timeseries_dataset_from_array` takes no `batch_size=None`, and as many targets as windows": (
        r"timeseries_dataset_from_array: (one by one|targets)$", r"tf\.keras 2\.3",
    ),
    "`TimeseriesGenerator` gives float64, whatever the data": (
        r"TimeseriesGenerator: (?!too long)", r"preprocessing 1\.0\.5|Keras 2\.[12]\.",
    ),
    "`TimeseriesGenerator` does not refuse a window that is longer than the series": (r"TimeseriesGenerator: too long", r"Keras 2\.1"),
    "`char_level` does not make lower case": (r"Tokenizer: characters: ", r"Keras (1|2\.[0-2]\.)"),
    "lists of words are not made lower case, or not taken": (r"Tokenizer: .*: lists", r"Keras (1|2\.[0-2]\.)"),
    "the id of `oov_token` is the last": (r"Tokenizer: (num_words, )?oov: ", r"Keras 2\.[12]\."),
    "no `oov_token`": (r"Tokenizer: (num_words, )?oov: all", r"Keras (1|2\.0)"),
    "`split` is a single character": (r"Tokenizer: long split: all", r"Keras (1|2\.[01])"),
    "`pad_sequences` takes no strings": (r"pad_sequences: objects", r"Keras (1|2\.[0-2]\.)"),
    "`document_count` begins anew with each fit": (r"Tokenizer: .*: (document_count|matrix tfidf)", r"Keras (1|2\.0)"),
}  # fmt: skip


def ours() -> dict[str, Any]:
    """What fastlstm gives in all cases, as JSON has it."""
    found: dict[str, Any] = json.loads(json.dumps(recording.recorded(lambda name: getattr(preprocessing, name, None))))
    return found


OURS = ours()


def test_all_functions_are_recorded() -> None:
    assert set(RECORDED["newest"]) == set(OURS)
    assert {case.split(":")[0] for case in OURS} >= set(preprocessing.__all__) - {
        "one_hot", "sliding_windows", "text_to_word_sequence", "tokenizer_from_json",
    }  # fmt: skip


@pytest.mark.parametrize("case", sorted(OURS))
def test_the_newest_keras(case: str) -> None:
    """To the bit."""
    assert OURS[case] == RECORDED["newest"][case]


@pytest.mark.parametrize("version", sorted(RECORDED["others"]))
def test_other_generations(version: str) -> None:
    """The same, but for what the page says."""
    for case, value in RECORDED["others"][version]["differing"].items():
        known = [cases for cases, versions in DIFFERENCES.values() if re.search(versions, version) and re.match(cases, case)]
        if not known and ROUNDED.search(case):
            np.testing.assert_allclose(value["values"], OURS[case]["values"], rtol=4e-16)
            continue
        assert known, f"{case}: {value} there, {OURS.get(case)} here"


@pytest.mark.parametrize("what", DIFFERENCES)
def test_the_page_has_the_differences(what: str) -> None:
    """Each is one of some generation, and stands in the table."""
    cases, versions = DIFFERENCES[what]
    differing = [
        case
        for version, found in RECORDED["others"].items() if re.search(versions, version)
        for case in found["differing"] if re.match(cases, case)
    ]  # fmt: skip
    assert differing
    assert f"| {what} |" in (REPOSITORY / "docs" / "pipelines.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("version", [version for version in RECORDED["others"] if "json" in RECORDED["others"][version]])
def test_json_of_every_keras_is_read(version: str) -> None:
    text, sequences = RECORDED["others"][version]["json"]
    tokenizer = tokenizer_from_json(text)
    assert tokenizer.texts_to_sequences(recording.NEW) == sequences
    assert tokenizer.to_json() == text  # to the letter
    assert tokenizer_from_json(tokenizer.to_json(indent=1)).get_config() == tokenizer.get_config()


# -- what is no comparison ----------------------------------------------------------------------------------------------------


def test_windows_are_views() -> None:
    series = np.arange(24.0).reshape(12, 2)
    assert np.shares_memory(sliding_windows(series, 3, 2, 2), series)
    np.testing.assert_array_equal(sliding_windows(series, 3, 2, 2)[1], series[2:7:2])
    assert sliding_windows(series, 13).shape == (0, 13, 2)
    x, y = TimeseriesGenerator(series, series[:, 0], 4, sampling_rate=2, stride=2)[0]
    assert np.shares_memory(x, series)
    assert np.shares_memory(y, series)
    (batch,) = preprocessing.timeseries_dataset_from_array(series, None, 3)
    assert np.shares_memory(batch, series)


def test_batches_are_sequences() -> None:
    found = preprocessing.timeseries_dataset_from_array(np.arange(10), np.arange(8) * 10, 3, batch_size=3)
    assert len(found) == 3
    np.testing.assert_array_equal(found[-1][1], [60, 70])
    assert [len(y) for _, y in found] == [3, 3, 2]
    assert len(found[1:]) == 2
    with pytest.raises(IndexError):
        found[3]
    shuffled = preprocessing.timeseries_dataset_from_array(np.arange(10), np.arange(8) * 10, 3, shuffle=True, seed=1, batch_size=None)
    assert sorted(int(y) for _, y in shuffled) == [0, 10, 20, 30, 40, 50, 60, 70]
    assert all(10 * x[0] == y for x, y in shuffled)


def test_a_generator_draws_as_keras() -> None:
    np.random.seed(4)  # noqa: NPY002 - as Keras draws
    x, y = TimeseriesGenerator(np.arange(20), np.arange(20), 3, shuffle=True, batch_size=5)[0]
    np.random.seed(4)  # noqa: NPY002 - as Keras draws
    np.testing.assert_array_equal(y, np.random.randint(3, 20, size=5))  # noqa: NPY002
    np.testing.assert_array_equal(x[:, -1], y - 1)


def test_one_hot_is_python_s_hash() -> None:
    assert preprocessing.one_hot("The film", 50) == [hash(word) % 49 + 1 for word in ("the", "film")]


@pytest.mark.parametrize(
    "given",
    [
        lambda: preprocessing.text_to_word_sequence(3), lambda: preprocessing.text_to_word_sequence("a", split=""),
        lambda: preprocessing.text_to_word_sequence("a", filters=3), lambda: preprocessing.text_to_word_sequence("a", filters=["ab"]),
        lambda: pad_sequences([[1]], maxlen=-1), lambda: pad_sequences([["a"]]), lambda: pad_sequences([[1]], dtype="int33"),
        lambda: to_categorical("a"), lambda: to_categorical([0], -2), lambda: Tokenizer().texts_to_sequences([None]),
        lambda: Tokenizer().texts_to_matrix(["a"]), lambda: Tokenizer(num_words=3).texts_to_matrix(["a"], "tfidf"),
        lambda: Tokenizer().texts_to_sequences([[3]]), lambda: sliding_windows(3, 1), lambda: sliding_windows([1], 0),
        lambda: TimeseriesGenerator([1, 2], [1], 1), lambda: TimeseriesGenerator([1, 2], [1, 2], 1, end_index=2),
        lambda: preprocessing.hashing_trick("a b", 9, 3), lambda: preprocessing.make_sampling_table(0),
        lambda: Tokenizer().fit_on_texts(None), lambda: Tokenizer().texts_to_matrix(5), lambda: preprocessing.skipgrams(None, 4),
        lambda: preprocessing.skipgrams([1, 2], 1), lambda: preprocessing.skipgrams([1, 9], 10, sampling_table=[0.1, 0.2]),
        lambda: preprocessing.timeseries_dataset_from_array([1, 2], None, 1, shuffle=True, seed="a"),
    ],
)  # fmt: skip
def test_what_does_not_fit(given: Any) -> None:
    with pytest.raises(InputError, match=r"^\w+(: \w+)?: expected"):
        given()


def changed(**changes: Any) -> str:
    """The JSON of a tokenizer, altered."""
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(["a b"])
    config = {**tokenizer.get_config(), **changes}
    return json.dumps({"class_name": "Tokenizer", "config": {key: value for key, value in config.items() if value != "none"}})


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "3", "[]", "{}", '{"config": 3}', '{"config": {}}', "[" * 100_000, changed(word_index="none"), changed(word_index="{"),
        changed(word_index='{"a": "b"}'), changed(word_index='{"a": -1}'), changed(word_index="[]"), changed(index_word='{"x": "a"}'),
        changed(index_word='{"1": 1}'), changed(num_words="a"), changed(num_words=1.5), changed(filters=3), changed(split=3),
        changed(oov_token=3), changed(lower="yes"), changed(other=1), changed(document_count=-1), 3, None, b"\xff",
    ],
)  # fmt: skip
def test_json_that_is_no_tokenizer(text: Any) -> None:
    with pytest.raises(InputError):
        tokenizer_from_json(text)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    """The line in the message, run where the pickle was made, writes what is read."""
    tokenizer = Tokenizer()
    tokenizer.fit_on_texts(["a b a"])
    for protocol in (0, 2, 5):
        (tmp_path / "tokenizer.pickle").write_bytes(pickle.dumps(tokenizer, protocol))
        with pytest.raises(InputError, match="pickle") as caught:
            tokenizer_from_json(tmp_path / "tokenizer.pickle")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="pickle"):
        tokenizer_from_json(pickle.dumps(tokenizer))
    line = str(caught.value).split("made it: ")[1].replace("tokenizer.json", str(tmp_path / "tokenizer.json"))
    exec(line, {"tokenizer": tokenizer})
    assert tokenizer_from_json((tmp_path / "tokenizer.json").read_text()).word_index == {"a": 1, "b": 2}


@pytest.mark.parametrize("name", preprocessing.__all__)
def test_examples(name: str) -> None:
    """Of the docstrings; each is also on the page of all public names."""
    found = doctest.DocTestFinder().find(getattr(preprocessing, name), globs={"np": np, "fastlstm": fastlstm})
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in found:
        assert runner.run(test).failed == 0
    assert f":: fastlstm.preprocessing.{name}\n" in (REPOSITORY / "docs" / "reference.md").read_text(encoding="utf-8")


def test_targets_for_each_window() -> None:
    """From start_index on: Keras stops in the middle where there are too few."""
    with pytest.raises(InputError, match="targets: expected one for each window from start_index=1 on, 1 of them, found 0"):
        preprocessing.timeseries_dataset_from_array(np.arange(2), [0], 1, start_index=1)
    (x, y), *_ = preprocessing.timeseries_dataset_from_array(np.arange(5), [0, 10, 20, 30], 2, sequence_stride=2, start_index=1)
    assert (x.tolist(), y.tolist()) == ([[1, 2], [3, 4]], [10, 30])
