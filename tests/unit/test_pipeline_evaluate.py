"""Pipeline.evaluate: loss and metrics of the answers to raw input, from labels or values in the user's units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5_files
import numpy as np
import pytest
from around_models import TEXTS, fitted_tokenizer, of_series, of_texts

import fastlstm
from fastlstm import InputError, Pipeline

RNG = np.random.default_rng(0)
NUMBERS = np.array([1, 0, 2, 1])
NAMES = ["bad", "good", "so so"]
SPARSE, DENSE = "sparse_categorical_crossentropy", "categorical_crossentropy"
TARGETS = {
    "list": [NAMES[n] for n in NUMBERS],
    "tuple": tuple(NAMES[n] for n in NUMBERS),
    "array": np.array(NAMES)[NUMBERS],
    "column": np.array(NAMES)[NUMBERS][:, np.newaxis],
    "bytes": np.array([NAMES[n].encode() for n in NUMBERS]),
    "objects": np.array(NAMES, object)[NUMBERS],
    "numbers": NUMBERS,
    "floats": NUMBERS.astype(np.float32),
    "texts of numbers": ["1", "0", "2", " 1"],
}


@pytest.mark.parametrize("loss", [SPARSE, DENSE])
@pytest.mark.parametrize("y", TARGETS.values(), ids=TARGETS)
def test_labels(tmp_path: Path, y: Any, loss: str) -> None:
    """Labels in any form are what their numbers are, whichever form the loss takes."""
    pipeline = Pipeline(of_texts(tmp_path, 3, "softmax"), tokenizer=fitted_tokenizer(), labels=NAMES)
    labels, probabilities = pipeline.predict(TEXTS)
    expected = -np.log(probabilities[np.arange(4), NUMBERS]).mean(), (labels == np.array(NAMES)[NUMBERS]).mean()
    found = pipeline.evaluate(TEXTS, y, loss=loss, metrics=["accuracy"])
    assert found == [pytest.approx(expected[0], rel=1e-5), expected[1]]
    assert pipeline.evaluate(TEXTS, y, loss=loss, metrics="accuracy", return_dict=True) == dict(
        zip(("loss", "accuracy"), found, strict=True)
    )


def test_targets_of_the_network(tmp_path: Path) -> None:
    """One-hot targets and soft ones are no labels, though all of their numbers may be."""
    model = of_texts(tmp_path, 2, "softmax")
    pipeline, soft = Pipeline(model, tokenizer=fitted_tokenizer(), labels=[0, 1]), np.array([[0.25, 0.75]] * 4)
    x, one_hot = pipeline.prepare(TEXTS), np.eye(2, dtype=int)[[1, 0, 0, 1]]
    for y in (one_hot, soft):
        assert pipeline.evaluate(TEXTS, y, loss=DENSE) == model.evaluate(x, y, loss=DENSE)
    assert pipeline.evaluate(TEXTS, [1, 0, 0, 1], loss=DENSE) == pipeline.evaluate(TEXTS, one_hot, loss=DENSE)
    weights = [1, 2, 3, 4]
    given = {"loss": DENSE, "sample_weight": weights, "batch_size": 3, "weighted_metrics": ["accuracy"]}
    assert pipeline.evaluate(TEXTS, [1, 0, 0, 1], **given) == model.evaluate(x, one_hot, **given)


def test_one_output_for_two_labels(tmp_path: Path) -> None:
    model = of_texts(tmp_path)
    for labels in (["no", "yes"], [False, True], [-1, 1]):
        pipeline = Pipeline(model, tokenizer=fitted_tokenizer(), labels=labels)
        found = pipeline.evaluate(TEXTS, [labels[n] for n in (1, 0, 0, 1)], loss="binary_crossentropy")
        assert found == model.evaluate(pipeline.prepare(TEXTS), np.array([1, 0, 0, 1]), loss="binary_crossentropy")
    soft = np.array([0.25, 0.5, 1, 0])
    assert pipeline.evaluate(TEXTS, soft, loss="mse") == model.evaluate(pipeline.prepare(TEXTS), soft, loss="mse")


def test_labels_that_are_numbers(tmp_path: Path) -> None:
    """Labels are meant where all of them are; else numbers of classes."""
    pipeline = Pipeline(of_texts(tmp_path, 3, "softmax"), tokenizer=fitted_tokenizer(), labels=[1, 3, 5])
    expected = pipeline.model.evaluate(pipeline.prepare(TEXTS), np.array([2, 0, 1, 1]), loss=SPARSE)
    for y in ([5, 1, 3, 3], [2, 0, 1, 1], ["5", "1", "3", "3"]):
        assert pipeline.evaluate(TEXTS, y, loss=SPARSE) == expected
    with pytest.raises(InputError, match=r"y: expected labels \(1, 3, 5\) or numbers of classes, 0 to 2, found 4"):
        pipeline.evaluate(TEXTS, [4, 1, 3, 3], loss=SPARSE)


def test_a_label_for_each_step(tmp_path: Path) -> None:
    """Of texts of different lengths too, of which each has as many labels as words."""
    inner = [h5_files.embedding(20, 4, RNG), h5_files.recurrent("LSTM", 3, 4, RNG, return_sequences=True)]
    model = fastlstm.load(h5_files.save(tmp_path / "m.h5", [*inner, h5_files.dense(3, 3, RNG, "softmax")], (None,)))
    pipeline = Pipeline(model, tokenizer={"a": 1, "b": 2}, labels=["X", "Y", "Z"])
    x, y, rows = ["a b a", "b"], [["Z", "X", "X"], ["Y"]], [[2, 0, 0], [1]]
    p = np.concatenate(pipeline.predict(x).probabilities)
    for loss in (SPARSE, DENSE):
        found = pipeline.evaluate(x, y, loss=loss)
        assert found == pytest.approx(-np.log(p[np.arange(4), np.concatenate(rows)]).sum() / 6, rel=1e-5)  # Keras 2.3 counts padding
        same = pipeline.evaluate(["a b", "b a"], [["Z", "X"], ["Y", "X"]], loss=loss)
        assert same == pipeline.evaluate(["a b", "b a"], np.array([[2, 0], [1, 0]]), loss=loss)
    one_hot = [np.eye(3)[[2, 0, 0]], np.eye(3)[[1]]]
    assert pipeline.evaluate(x, one_hot, loss=DENSE) == pipeline.evaluate(x, rows, loss=DENSE) == pipeline.evaluate(x, y, loss=DENSE)


@pytest.mark.parametrize(
    ("y", "what"),
    [
        (["good", "bad", "ugly", "bad"], r"y: expected labels \(bad, good, so so\), found 'ugly'"),
        (["good", "bad", None, "bad"], "found 'None'"),
        ([0, 1, 7, 1], r"y: expected labels \(bad, good, so so\) or numbers of classes, 0 to 2, found 7"),
        ([0, 1, -1, 1], "found -1"),
        (["good", "bad"], "y: expected 4 rows, as many as x has, found 2"),
        ("good", "y: expected an array"),
    ],
)
def test_what_is_no_label(tmp_path: Path, y: Any, what: str) -> None:
    pipeline = Pipeline(of_texts(tmp_path, 3, "softmax"), tokenizer=fitted_tokenizer(), labels=NAMES)
    with pytest.raises(InputError, match=what):
        pipeline.evaluate(TEXTS, y, loss=SPARSE)
    with pytest.raises(InputError, match="loss: .* does not say what the model was compiled with"):
        pipeline.evaluate(TEXTS, NUMBERS)


def test_units_of_the_data(tmp_path: Path) -> None:
    """Targets and numbers are in them, without penalties, unless these are asked for; the network's are where nothing is taken back."""
    model, series = of_series(tmp_path), RNG.normal(50, 20, 30)
    scaler = {"mean": 50, "scale": 20}
    pipeline, y = Pipeline(model, scaler=scaler, window=7, inverse=True), series[6:]
    error = pipeline.predict(series)[:, 0] - y
    found = pipeline.evaluate(series, y, loss="mse", metrics=["mae"])
    assert found == [pytest.approx(np.mean(error**2), rel=1e-5), pytest.approx(np.abs(error).mean(), rel=1e-5)]
    plain = Pipeline(model, scaler=scaler, window=7)
    assert plain.evaluate(series, y, loss="mse") == model.evaluate(plain.prepare(series), y, loss="mse")
    with pytest.raises(InputError, match="y: expected 24 rows"):
        pipeline.evaluate(series, series, loss="mse")


def test_penalties(tmp_path: Path) -> None:
    rule = {"class_name": "L1L2", "config": {"l1": 0.5, "l2": 0.0}}
    config = {"name": "d", "units": 1, "activation": "linear", "batch_input_shape": [None, 2], "kernel_regularizer": rule}
    layer = ({"class_name": "Dense", "config": config}, [np.ones((2, 1), np.float32), np.zeros(1, np.float32)])
    h5_files.save_h5(tmp_path / "m.h5", [layer[0]], [layer[1]])
    model = fastlstm.load(tmp_path / "m.h5")
    x, scaler = np.ones((3, 2)), {"mean": 1, "scale": 1}
    taken_back, plain = Pipeline(model, scaler=scaler, inverse=True), Pipeline(model, scaler=scaler)
    assert taken_back.evaluate(x, np.ones(3), loss="mse") == 0
    assert taken_back.evaluate(x, np.ones(3), loss="mse", penalties=True) == plain.evaluate(x, np.zeros(3), loss="mse") == 1
    assert plain.evaluate(x, np.zeros(3), loss="mse", penalties=False) == 0


def test_a_stateful_model_has_no_units(tmp_path: Path) -> None:
    layers = [h5_files.recurrent("LSTM", 2, 1, RNG, stateful=True), h5_files.dense(1, 2, RNG)]
    model = fastlstm.load(h5_files.save(tmp_path / "m.h5", layers, (7, 1), batch=2))
    with pytest.raises(InputError, match="a pipeline whose model is not stateful, or which has no inverse"):
        Pipeline(model, scaler="sqrt", inverse=True).evaluate(np.ones((2, 7, 1)), np.ones(2), loss="mse")
