"""One version of a model: what it says that it takes and gives, what it computes, and what it says of requests that do not fit."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import around_models
import batch_models
import numpy as np
import page_files
import pytest

import fastlstm
from fastlstm.serving.models.costs import Costs
from fastlstm.serving.models.served import ModelError, Served

RNG = np.random.default_rng(0)


def served(model: Any) -> Served:
    return Served("m", 1, model)


def described(infos: Any) -> list[tuple[Any, ...]]:
    return [(info.name, info.shape, info.dtype) for info in infos]


# -- models ------------------------------------------------------------------------------------------------------------------


def test_one_input_and_output(model: Path) -> None:
    loaded = fastlstm.load(model)
    one, x = served(loaded), RNG.normal(size=(4, 6, 3))
    (info,), (output,) = one.inputs, one.outputs
    assert (info.shape, info.dtype, output.shape) == ((None, None, 3), "float32", (None, 2))
    found = one.predict({info.name: x})
    assert list(found) == [output.name] and np.array_equal(found[output.name], loaded.predict(x))
    assert one.rowwise and one.rows({info.name: x}) == 4


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    loaded = fastlstm.load(batch_models.several(tmp_path / "m.h5"))
    one = served(loaded)
    given = {"facts": RNG.normal(size=(2, 2)), "series": RNG.normal(size=(2, 5, 3))}
    found, expected = one.predict(given), loaded.predict([given["series"], given["facts"]])
    assert list(found) == ["y", "z"]
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(found.values(), expected))
    with pytest.raises(fastlstm.InputError, match="model 'm': expected the inputs 'series', 'facts', found 'series'"):
        one.predict({"series": given["series"]})
    with pytest.raises(fastlstm.InputError, match="expected the inputs 'series', 'facts', found 'facts', 'series', 'more'"):
        one.predict({**given, "more": given["facts"]})
    with pytest.raises(fastlstm.InputError, match="expected the same number of rows in every input, found 'series' has 2, 'facts' has 1"):
        one.predict({**given, "facts": given["facts"][:1]})
    assert one.rows({**given, "facts": np.zeros((9, 2))}) == 9


def test_outputs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    one = served(fastlstm.load(batch_models.with_states(tmp_path / "m.h5")))
    assert [info.name for info in one.outputs] == ["lstm", "lstm_1", "lstm_2"]
    found = one.predict({"x": RNG.normal(size=(2, 5, 3))})
    assert np.array_equal(found["lstm"], found["lstm_1"]) and not np.array_equal(found["lstm"], found["lstm_2"])


def test_rows_of_different_lengths(tmp_path: Path) -> None:
    loaded = fastlstm.load(batch_models.each_step(tmp_path / "m.h5"))
    one = served(loaded)
    (info,), (output,) = one.inputs, one.outputs
    rows = [RNG.normal(size=(length, 3)).astype(np.float32) for length in (2, 7, 4)]
    found = one.predict({info.name: rows})[output.name]
    for row, mine in zip(rows, found):
        assert np.array_equal(mine, loaded.predict(row[np.newaxis])[0])
    alone = one.predict({info.name: rows[:1]})[output.name]
    assert np.array_equal(alone[0], found[0])
    assert one.rows({info.name: rows}) == 3


def test_ids(tmp_path: Path) -> None:
    one = served(fastlstm.load(batch_models.ids(tmp_path / "m.h5")))
    (info,) = one.inputs
    assert (info.dtype, info.vocabulary, info.shape) == ("int32", 20, (None, None))
    one.predict({info.name: np.array([[1, 2, 3]], np.int64)})
    with pytest.raises(fastlstm.InputError, match=f"model 'm': input '{info.name}': expected ids from 0 to 19, found 1 to 20"):
        one.predict({info.name: np.array([[1, 20]])})


def test_strings_in_and_out(tmp_path: Path) -> None:
    words = served(fastlstm.load(batch_models.words(tmp_path / "words.keras")))
    assert words.inputs[0].dtype == "string"
    assert words.predict({words.inputs[0].name: np.array([["b"], ["a"]])})[words.outputs[0].name].ravel().tolist() == [2, 1]
    letters = served(fastlstm.load(batch_models.letters(tmp_path / "letters.keras")))
    assert letters.outputs[0].dtype == "string"
    found = letters.predict({letters.inputs[0].name: np.array([[1], [2]])})[letters.outputs[0].name]
    assert found.dtype == object and found.ravel().tolist() == [b"a", b"b"]


def test_a_stateful_model_begins_anew_with_each_request(tmp_path: Path) -> None:
    path = batch_models.stateful(tmp_path / "m.h5")
    one, x = served(fastlstm.load(path)), RNG.normal(size=(2, 5, 3))
    (info,), (output,) = one.inputs, one.outputs
    expected = fastlstm.load(path).predict(x)
    assert not one.rowwise
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.append(one.predict({info.name: x})[output.name])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and all(np.array_equal(mine, expected) for mine in found)


def test_rows_of_a_stateful_model_do_not_go_on_from_each_other(tmp_path: Path) -> None:
    """Keras computes four rows of a model of two as two times two, of which the second goes on from the first."""
    path = batch_models.stateful(tmp_path / "m.h5")
    one, x = served(fastlstm.load(path)), RNG.normal(size=(4, 5, 3))
    with pytest.raises(fastlstm.InputError, match=r"model 'm': expected 2 rows in a request, as it is stateful .*, found 4; send so many"):
        one.predict({one.inputs[0].name: x})
    parts = [one.predict({one.inputs[0].name: part})[one.outputs[0].name] for part in (x[:2], x[2:])]
    assert np.array_equal(parts[1], fastlstm.load(path).predict(x[2:]))
    assert not np.array_equal(parts[1], fastlstm.load(path).predict(x)[2:])


# -- pipelines ---------------------------------------------------------------------------------------------------------------


def test_a_pipeline_of_texts_with_labels(tmp_path: Path) -> None:
    pipeline = fastlstm.Pipeline(around_models.of_texts(tmp_path), tokenizer=around_models.fitted_tokenizer(), labels=["bad", "good"])
    one = served(pipeline)
    assert described(one.inputs) == [("text", (None,), "string")]
    assert described(one.outputs) == [("labels", (None,), "string"), ("probabilities", (None, 2), "float32")]
    found, (labels, probabilities) = one.predict({"text": np.array(around_models.TEXTS)}), pipeline.predict(around_models.TEXTS)
    assert [text.decode() for text in found["labels"]] == labels.tolist()
    assert np.array_equal(found["probabilities"], probabilities)
    as_bytes = one.predict({"text": np.array([text.encode() for text in around_models.TEXTS], object)})
    assert as_bytes["labels"].tolist() == found["labels"].tolist()


def test_labels_that_are_numbers(tmp_path: Path) -> None:
    pipeline = fastlstm.Pipeline(around_models.of_series(tmp_path, outputs=3, activation="softmax"), labels=[10, 20, 30])
    one = served(pipeline)
    assert described(one.outputs) == [("labels", (None,), "int64"), ("probabilities", (None, 3), "float32")]
    found = one.predict({one.inputs[0].name: np.zeros((2, 7, 1))})
    assert found["labels"].dtype == np.int64 and found["labels"].shape == (2,)


def test_a_pipeline_of_windows_and_of_a_series(tmp_path: Path) -> None:
    model = around_models.of_series(tmp_path, features=2, steps=None)
    pipeline = fastlstm.Pipeline(model, scaler=["log1p"], window=4)
    one = served(pipeline)
    (info,) = one.inputs
    assert (info.shape, info.dtype) == ((None, 4, 2), "float64")
    windows, series = np.abs(RNG.normal(size=(3, 4, 2))), np.abs(RNG.normal(size=(9, 2)))
    (output,) = one.outputs
    assert np.array_equal(one.predict({info.name: windows})[output.name], pipeline.predict(windows))
    assert np.array_equal(one.predict({info.name: series})[output.name], pipeline.predict(series))  # 6 windows
    with pytest.raises(fastlstm.InputError, match=r"model 'm': input '.*': expected shape \(any, 4, 2\), found \(3, 5, 2\)"):
        one.predict({info.name: np.zeros((3, 5, 2))})


def test_units_of_the_data() -> None:
    from fastlstm import demo

    pipeline = fastlstm.Pipeline(fastlstm.load(demo.MODEL), scaler=["sqrt", {"max_abs": 10}], window=132, inverse=True)
    one, series = served(pipeline), demo.read_series().sunspots[-132:]
    assert described(one.outputs) == [(pipeline.model.outputs[0].name, (None, 12), "float64")]
    found = one.predict({one.inputs[0].name: series[np.newaxis, :, np.newaxis]})[one.outputs[0].name]
    assert found.dtype == np.float64 and np.array_equal(found, pipeline.predict(series))


# -- what is said ------------------------------------------------------------------------------------------------------------


def test_what_is_said_of_shapes(model: Path) -> None:
    one = served(fastlstm.load(model))
    (info,) = one.inputs
    said = {
        (5, 3): r"expected shape \(any, any, 3\), found \(5, 3\); a row alone stands in a list of one row",
        (2, 5, 4): r"expected shape \(any, any, 3\), found \(2, 5, 4\)$",
        (): r"expected shape \(any, any, 3\), found a single value",
        (2, 0, 3): "expected at least one timestep, found shape",
    }
    for shape, message in said.items():
        with pytest.raises(fastlstm.InputError, match=message) as caught:
            one.predict({info.name: np.zeros(shape)})
        assert str(caught.value).startswith(f"model 'm': input '{info.name}': ") and "numpy" not in str(caught.value)
    with pytest.raises(fastlstm.InputError, match="expected numbers, found text") as caught:
        one.predict({info.name: np.array([[["a", "b", "c"]]])})
    assert "numpy" not in str(caught.value) and "astype" not in str(caught.value)


def test_one_feature_a_timestep(tmp_path: Path) -> None:
    page_files.recurrent(tmp_path / "m.h5", features=1)
    one = served(fastlstm.load(tmp_path / "m.h5"))
    with pytest.raises(fastlstm.InputError, match="found \\(2, 9\\); where a timestep has one feature, each is a list of one number"):
        one.predict({one.inputs[0].name: np.zeros((2, 9))})


# -- warming -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ["fixed", "any_length", "each_step", "convolved", "ids", "several", "with_states", "stateful"])
def test_warming_tells_what_it_costs(make: str, tmp_path: Path) -> None:
    one = served(fastlstm.load(getattr(batch_models, make)(tmp_path / "m.h5")))
    assert one.costs.expected({}) is None
    one.warm()
    expected = one.costs.expected({info.name: np.zeros((2, *(size or 5 for size in info.shape[1:]))) for info in one.inputs})
    assert expected is not None and 0 < expected < 10


def test_warming_takes_longer_input_where_a_model_needs_it(tmp_path: Path) -> None:
    import h5_files

    layers = [h5_files.convolution(4, 100, 3, RNG), h5_files.recurrent("LSTM", 4, 4, RNG)]
    one = served(fastlstm.load(h5_files.save(tmp_path / "m.h5", layers, (None, 3))))
    one.warm()
    assert one.costs.expected({one.inputs[0].name: np.zeros((1, 256, 3))}) is not None


def test_warming_tells_what_cannot_be_computed(model: Path) -> None:
    def broken(x: np.ndarray) -> np.ndarray:
        if len(x) > 4:
            raise ValueError("too many rows")
        return x

    one = served(fastlstm.load(model, custom_activations={"linear": broken}))
    with pytest.raises(ModelError, match="model 'm', version 1: .*too many rows"):
        one.warm()
    one.predict({one.inputs[0].name: np.zeros((2, 5, 3))})


def test_no_message_says_where_the_file_is(tmp_path: Path) -> None:
    """Neither of what does not fit, nor of what the model cannot do."""
    one = served(fastlstm.load(batch_models.stateful(tmp_path / "m.h5")))
    for shape in ((3, 5, 3), (4, 5, 3), (2, 5, 4), (2, 0, 3), (0, 5, 3)):
        try:
            one.predict({one.inputs[0].name: np.zeros(shape)})
        except fastlstm.InputError as error:
            assert str(tmp_path) not in str(error)


def test_more_than_there_is_memory_for_is_no_fault_of_the_request(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = served(fastlstm.load(model))

    def exhausted(x: Any) -> Any:
        try:
            raise MemoryError("no more")
        except MemoryError as error:
            raise fastlstm.InputError("x: expected no more than fits in memory, found more") from error

    monkeypatch.setattr(one.model, "predict", exhausted)
    with pytest.raises(MemoryError):
        one.predict({one.inputs[0].name: np.zeros((1, 2, 3))})


def test_costs_are_by_size() -> None:
    costs, small, large = Costs(), {"x": np.zeros((1, 10))}, {"x": np.zeros((100, 10))}
    costs.observe(small, 1e-4)
    assert costs.expected(small) == 1e-4
    assert costs.expected(large) == pytest.approx(1e-4 * 2**6)
    assert costs.expected({"x": np.zeros((1, 1))}) == 1e-4  # fewer take no longer
    costs.observe(large, 2e-3)
    assert costs.expected(large) == 2e-3 and costs.expected(small) == 1e-4
    costs.observe(small, 100.0)  # the process slept: no more than a few times as much
    assert costs.expected(small) < 1e-3
    for _ in range(50):
        costs.observe(small, 1e-4)
    assert costs.expected(small) == pytest.approx(1e-4, rel=0.01)
    texts = {"x": np.array([b"abc", b"d" * 1000], object)}
    assert Costs().expected(texts) is None
