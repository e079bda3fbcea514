"""Model.evaluate and the command: what is refused and how, ways of giving data, pictures. The numbers of Keras: tests/corpus."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5_files
import numpy as np
import pytest
from keras_configs import chain, write_h5

import fastlstm
from fastlstm.cli.main import main
from fastlstm.drawing import curves
from fastlstm.errors import InputError
from fastlstm.evaluation.functions import LOSSES

RNG = np.random.default_rng(1)
X, Y = RNG.random((10, 4, 3), np.float32), RNG.random((10, 2), np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """LSTM on (any, 3), Dense(2)."""
    layers = [h5_files.recurrent("LSTM", 4, 3, RNG, return_sequences=False), h5_files.dense(2, 4, RNG)]
    return h5_files.save(tmp_path / "m.h5", layers, (None, 3))


@pytest.fixture
def by_step(tmp_path: Path) -> fastlstm.Model:
    """LSTM on (any, 3) with an output for each timestep."""
    return fastlstm.load(h5_files.save(tmp_path / "s.h5", [h5_files.recurrent("LSTM", 2, 3, RNG, return_sequences=True)], (None, 3)))


def test_what_it_returns(path: Path) -> None:
    model = fastlstm.load(path)
    error = np.mean((model.predict(X) - Y) ** 2)
    assert np.isclose(model.evaluate(X, Y, loss="mse"), error)
    found = model.evaluate(X, Y, 3, 0, loss=lambda y, p: np.mean((y - p) ** 2, axis=-1), metrics=["mae", named])
    assert isinstance(found, list) and len(found) == 3 and np.isclose(found[0], error)
    by_name = model.evaluate(X, Y, loss={"class_name": "MeanSquaredError", "config": {}}, metrics=[named], return_dict=True)
    assert set(by_name) == {"loss", "named"} and np.isclose(by_name["named"], 7)
    assert np.isclose(model.evaluate([X], [Y], loss=["mse"]), error)


def named(y: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.full(len(y), 7.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, r"loss: .*m\.h5 does not say what the model was compiled with; pass it: evaluate\(x, y, loss='mse'"),
        ({"loss": "wrong"}, "loss: 'wrong' is none of Keras's that are known here; pass loss= with a function"),
        ({"loss": 3}, "loss: expected a name such as 'mse'"),
        ({"loss": {"class_name": "Huber", "config": {"width": 1}}}, "loss: Huber: expected arguments among delta, found width"),
        ({"loss": {"class_name": "Huber", "config": {"delta": "a"}}}, "loss: Huber: delta: expected a number, found a"),
        ({"loss": ["mse", "mse"]}, r"loss: expected one for each output \(dense_2\), found 2"),
        ({"loss": {"other": "mse"}}, r"loss: expected names of outputs \(dense_2\), found other"),
        ({"loss": "mse", "metrics": ["wrong"]}, "metrics: 'wrong' is none of Keras's"),
        ({"loss": "mse", "metrics": [{"class_name": "AUC", "config": {"num_thresholds": 10**12}}]}, "num_thresholds: expected up to"),
        (
            {"loss": "mse", "metrics": [{"class_name": "Precision", "config": {"thresholds": 7}}]},
            "thresholds: expected numbers from 0 to 1",
        ),
        ({"loss": "mse", "loss_weights": ["a"]}, "loss_weights: expected numbers, found a"),
        ({"loss": "mse", "sample_weight": np.ones(9)}, r"sample_weight: expected shape \(10,\), one for each row,"),
        ({"loss": "mse", "batch_size": 0}, "batch_size: expected a positive number or None, found 0"),
        ({"loss": "sparse_categorical_crossentropy"}, r"y: expected classes of shape \(10,\)"),
        ({"loss": "mean_square_error"}, "did you mean 'mean_squared_error'"),
        ({"loss": {}}, "does not say what the model was compiled with"),
        ({"loss": {"dense_2": None}}, "does not say what the model was compiled with"),
        ({"loss": lambda y, p: None}, "found TypeError: None, as it returns nothing"),
        ({"loss": "mse", "metrics": [lambda y, p: None]}, "found TypeError: None, as it returns nothing"),
    ],
    ids=lambda value: re.sub(r" at 0x\w+", "", str(value)),
)
def test_arguments_that_do_not_fit(given: dict[str, Any], said: str, path: Path) -> None:
    with pytest.raises(InputError, match=said):
        fastlstm.load(path).evaluate(X, Y, **given)


@pytest.mark.parametrize(
    ("y", "said"),
    [
        (Y[:9], "y: expected 10 rows, as many as x has, found 9"),
        (np.arange(10), r"that of the predictions, or numbers of classes of shape \(10,\), with a loss that takes them, found \(10,\)$"),
        (Y[:, :1], r"y: expected shape \(10, 2\), that of the predictions"),
        (None, "y: expected an array, as the output has a loss, found None"),
        ("text", "y: expected numbers, found str"),
        (3.0, "y: expected an array with a row for each prediction"),
        ({"other": Y}, "y: expected a dict with the keys dense_2, found other"),
        ([[1, 2], [3]], "y: "),
    ],
    ids=str,
)
def test_targets_that_do_not_fit(y: Any, said: str, path: Path) -> None:
    with pytest.raises(InputError, match=said):
        fastlstm.load(path).evaluate(X, y, loss="mse")


def test_sequences_of_different_lengths_count_as_masked(by_step: fastlstm.Model) -> None:
    x = [X[0, :4], X[1, :2], X[2, :3]]
    y = [RNG.random((len(row), 2)) for row in x]
    found = by_step.evaluate(x, y, loss="mse", metrics=["mae"])
    parts = [np.asarray(by_step.predict(row[np.newaxis]))[0] - target for row, target in zip(x, y, strict=True)]
    assert np.isclose(found[1], np.abs(np.concatenate(parts)).mean())
    with pytest.raises(InputError, match=r"y\[1\]: expected 2 timesteps, as many as x\[1\] has, found 4"):
        by_step.evaluate(x, [y[0], y[0], y[2]], loss="mse")


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        ("elements", (5 + 13 + 25) / 3),  # the rows of batches of two and one, by their rows
        ("keras3_activities", (5 + 13 + 25) / 3),
        ("keras3_masks", ((5 + 13) * 2 + 25) / 3),  # sums of batches
        ("keras3_batches", ((5 + 13) + 25) / 2),  # as much for each batch
    ],
)
def test_penalties_of_activities_are_counted(tmp_path: Path, counted: Any, expected: float) -> None:
    rule = {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 1.0}}
    config = {"name": "d", "units": 2, "activation": "linear", "batch_input_shape": [None, 2], "activity_regularizer": rule}
    arrays = [np.eye(2, dtype=np.float32), np.zeros(2, np.float32)]
    spec = fastlstm.load(write_h5(tmp_path / "m.h5", chain(("Dense", config)), {"d": arrays}, "2.2.4")).spec
    model = fastlstm.Model(replace(spec, rules=replace(spec.rules, evaluation=counted)))
    x = np.array([[1, 2], [2, 3], [3, 4]])
    assert model.evaluate(x, x, loss="mse", batch_size=2) == pytest.approx(expected)
    assert model.evaluate(x, x, loss="mse", batch_size=2, penalties=False) == 0


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "sparse_categorical_crossentropy", "kl_divergence"])
def test_classes_of_sequences_of_different_lengths(tmp_path: Path, loss: str) -> None:
    """The timesteps that a row has not are no probabilities of 0: a crossentropy of these is no number."""
    rng = np.random.default_rng(1)
    layers = [h5_files.recurrent("LSTM", 3, 2, rng, return_sequences=True), h5_files.dense(3, 3, rng, "softmax")]
    model = fastlstm.load(h5_files.save(tmp_path / "m.h5", layers, (None, 2)))
    x, numbers = [rng.normal(size=(n, 2)) for n in (3, 1, 4)], [rng.integers(0, 3, n) for n in (3, 1, 4)]
    y = numbers if loss.startswith("sparse") else [np.eye(3)[row] for row in numbers]
    p = np.concatenate([row[np.arange(len(row)), which] for row, which in zip(model.predict(x), numbers, strict=True)])
    found = model.evaluate(x, y, loss=loss, metrics=["accuracy"])
    assert found[0] == pytest.approx(-np.log(p).sum() / 12, rel=1e-4)  # this Keras counts what is padded
    assert np.isfinite(found).all()


def test_penalties_of_weights_are_added(tmp_path: Path) -> None:
    rule = {"class_name": "L1L2", "config": {"l1": 0.5, "l2": 0.25}}
    config = {"name": "d", "units": 1, "activation": "linear", "batch_input_shape": [None, 2], "kernel_regularizer": rule}
    kernel = np.array([[2.0], [-3.0]], np.float32)
    path = write_h5(tmp_path / "m.h5", chain(("Dense", config)), {"d": [kernel, np.zeros(1, np.float32)]}, "2.2.4")
    fastlstm.convert(path, tmp_path / "m.fastlstm")
    for source in (path, tmp_path / "m.fastlstm"):
        model = fastlstm.load(source)
        x, y = np.ones((3, 2)), -np.ones((3, 1))
        assert np.isclose(model.evaluate(x, y, loss="mse"), 0.5 * 5 + 0.25 * 13)
        assert np.isclose(model.evaluate(x, y, loss="mse", penalties=False), 0)
    config["activity_regularizer"] = config["kernel_regularizer"]  # which this Keras counts in a way that nobody has compared
    path = write_h5(tmp_path / "a.h5", chain(("Dense", config)), {"d": [kernel, np.zeros(1, np.float32)]}, "2.2.4")
    with pytest.raises(InputError, match=r"layer 'd' \(Dense\): activity: how the Keras .* is not known; pass penalties=False"):
        fastlstm.load(path).evaluate(x, y, loss="mse")
    assert np.isclose(fastlstm.load(path).evaluate(x, y, loss="mse", penalties=False), 0)


def test_stateful_models_carry_their_states(tmp_path: Path) -> None:
    layers = [h5_files.recurrent("LSTM", 2, 3, RNG, stateful=True, return_sequences=False)]
    model = fastlstm.load(h5_files.save(tmp_path / "m.h5", layers, (4, 3), batch=2))
    y = np.zeros((2, 2))
    first, second = (model.evaluate(X[:2], y, loss="mse") for _ in range(2))
    model.reset_states()
    outputs = [model.predict(X[:2]) for _ in range(2)]
    assert first != second and np.allclose([first, second], [np.mean(one**2) for one in outputs])


def test_losses_of_extreme_numbers_are_finite() -> None:
    """What Keras keeps away from logarithms of 0."""
    y, p = np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])
    for name in ("categorical_crossentropy", "kl_divergence", "poisson", "categorical_focal_crossentropy"):
        assert np.isfinite(LOSSES[name](y, p)).all(), name


def test_the_command(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    np.savetxt(tmp_path / "y.csv", Y, delimiter=",")
    np.save(tmp_path / "w.npy", np.ones(10))
    files = [str(path), str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    assert main(["evaluate", *files, "--loss", "mse", "--metrics", "mae"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{path}: 10 rows" and [line.split()[0] for line in lines[1:]] == ["loss", "mae"]
    options = ["--loss", "mse", "--sample-weight", str(tmp_path / "w.npy"), "--plot", str(tmp_path / "p.svg"), "--json"]
    assert main(["evaluate", *files[:2], str(tmp_path / "y.csv"), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 10 and np.isclose(found["results"]["loss"], float(lines[1].split()[1]), rtol=1e-4)
    assert "residuals" in (tmp_path / "p.svg").read_text(encoding="utf-8")
    assert main(["evaluate", *files]) == 1
    assert "--loss mse --metrics mae" in capsys.readouterr().err
    np.save(tmp_path / "y.npy", Y[:5])
    assert main(["evaluate", *files, "--loss", "mse"]) == 1
    assert f"{files[2]}: y: expected 10 rows" in capsys.readouterr().err


def test_pictures_hold_any_numbers() -> None:
    for values in (np.zeros(1), np.full(3, np.nan), np.array([1e30, -1e30, 0]), np.arange(5000.0), np.array([1e-30, 2e-30])):
        assert "</svg>" in curves.forecast("<title>", "told", values, values[::-1])
    counts = np.arange(9).reshape(3, 3)
    picture = curves.confusion("a & b", "told", counts)
    assert "a &amp; b" in picture and all(f">{count}</text>" in picture for count in range(1, 9))
