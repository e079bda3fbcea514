"""Layers that make of a row what depends on the other rows of its batch: models with one run batch by batch, as Keras does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5

import fastlstm
from fastlstm.cli import progress
from fastlstm.errors import InputError, UnsupportedError
from fastlstm.spec import Rules

RANDOM = np.random.default_rng(0)
GAMMA, BETA, MEAN, VARIANCE = (RANDOM.uniform(0.5, 1.5, 3).astype(np.float32) for _ in range(4))
LSTM_ARRAYS = [RANDOM.normal(size=shape).astype(np.float32) for shape in ((3, 16), (4, 16), (16,))]
#: Of the batches 0-31 and 32-39, as predict has them.
BATCHES = (slice(0, 32), slice(32, 40))


def normalising(folder: Path, *, version: str = "2.10.0", masked: bool = False, dense: bool = False, **config: Any) -> Path:
    """A BatchNormalization called with training=True."""
    before = [layer("Masking", "m", [[["x", 0, 0, {}]]], mask_value=0.0)] if masked else []
    node = [["m" if masked else "x", 0, 0, {"training": True}]]
    start = entrance("x", 3) if dense else entrance("x", 5, 3)
    layers = [start, *before, layer("BatchNormalization", "b", [node], **{"axis": -1, "epsilon": 0.01, **config})]
    groups: dict[str, list[np.ndarray]] = {"b": [GAMMA, BETA, MEAN, VARIANCE]}
    return write_h5(folder / "m.h5", functional(layers, [["x", 0, 0]], [["b", 0, 0]], "Functional"), groups, version)


def normalised(x: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """By the mean and variance of its own rows, of steps with such weights."""
    steps = x.reshape(-1, 3).astype(np.float64)
    counted = steps if weights is None else steps[weights.reshape(-1)]
    return GAMMA * (x - counted.mean(0)) / np.sqrt(counted.var(0) + 0.01) + BETA


def test_each_batch_is_normalised_by_its_own_rows(tmp_path: Path) -> None:
    model = fastlstm.load(normalising(tmp_path), threads=2)
    x = RANDOM.normal(2, 3, size=(40, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), np.concatenate([normalised(x[rows]) for rows in BATCHES]), atol=1e-5)
    sevens = np.concatenate([normalised(x[first : first + 7]) for first in range(0, 40, 7)])
    np.testing.assert_allclose(model.predict(x, batch_size=7), sevens, atol=1e-5)
    for whole in (model.predict_on_batch(x), model(x), model.predict(x, batch_size=100)):
        np.testing.assert_allclose(whole, normalised(x), atol=1e-5)
    assert model.predict(x[:0]).shape == (0, 5, 3)


def test_a_fixed_batch_size_is_the_batch(tmp_path: Path) -> None:
    start = entrance("x", 3)
    start["config"]["batch_input_shape"][0] = 4
    layers = [start, layer("BatchNormalization", "b", [[["x", 0, 0, {"training": True}]]], axis=-1, epsilon=0.01)]
    config = functional(layers, [["x", 0, 0]], [["b", 0, 0]], "Functional")
    model = fastlstm.load(write_h5(tmp_path / "m.h5", config, {"b": [GAMMA, BETA, MEAN, VARIANCE]}, "2.10.0"))
    x = RANDOM.normal(size=(8, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), np.concatenate([normalised(x[:4]), normalised(x[4:])]), atol=1e-5)


def test_a_row_alone_is_its_offset(tmp_path: Path) -> None:
    model = fastlstm.load(normalising(tmp_path, dense=True))
    np.testing.assert_allclose(model.predict(RANDOM.normal(size=(1, 3))), [BETA], atol=1e-6)


@pytest.mark.parametrize(("version", "heeds"), [("2.10.0", False), ("2.12.0", True)])
def test_masked_steps_count_by_generation(tmp_path: Path, version: str, heeds: bool) -> None:
    model = fastlstm.load(normalising(tmp_path, version=version, masked=True))
    x = RANDOM.normal(size=(4, 5, 3)).astype(np.float32)
    x[0, 2:] = x[3] = 0
    np.testing.assert_allclose(model.predict(x), normalised(x, np.any(x != 0, -1) if heeds else None), atol=1e-5)


@pytest.mark.parametrize(("version", "by_batch"), [("2.10.0", False), ("2.3.1", True)])
def test_what_is_frozen_goes_by_its_moving_statistics(tmp_path: Path, version: str, by_batch: bool) -> None:
    """In TensorFlow 2; in Keras 2 it is not told apart."""
    x = RANDOM.normal(size=(4, 5, 3)).astype(np.float32)
    path = normalising(tmp_path, version=version, trainable=False)
    expected = normalised(x) if by_batch else GAMMA * (x - MEAN) / np.sqrt(VARIANCE + 0.01) + BETA
    np.testing.assert_allclose(fastlstm.load(path).predict(x), expected, atol=1e-5)


def nested(folder: Path, inner_words: dict[str, Any], random: bool = False) -> Path:
    """A model called with training=True as a layer of another."""
    layers = [entrance("i", 3), layer("BatchNormalization", "b", [[["i", 0, 0, inner_words]]], axis=-1, epsilon=0.01)]
    if random:
        layers.append(layer("Dropout", "d", [[["b", 0, 0, {}]]], rate=0.5))
    last = "d" if random else "b"
    inner = {**functional(layers, [["i", 0, 0]], [[last, 0, 0]], "Functional"), "name": "inner"}
    inner["inbound_nodes"] = [[["x", 0, 0, {"training": True}]]]
    config = functional([entrance("x", 3), inner], [["x", 0, 0]], [["inner", 0, 0]], "Functional")
    return write_h5(folder / "m.h5", config, {"inner": [GAMMA, BETA, MEAN, VARIANCE]}, "2.10.0")


def test_training_reaches_the_layers_of_a_model(tmp_path: Path) -> None:
    x = RANDOM.normal(size=(40, 3)).astype(np.float32)
    model = fastlstm.load(nested(tmp_path, {}))
    np.testing.assert_allclose(model.predict(x), np.concatenate([normalised(x[rows]) for rows in BATCHES]), atol=1e-5)
    with pytest.raises(UnsupportedError, match="which makes it random"):
        fastlstm.load(nested(tmp_path, {}, random=True))
    with pytest.raises(UnsupportedError, match="a layer inside it with training=False"):
        fastlstm.load(nested(tmp_path, {"training": False}))


def test_streams_and_lists_are_refused(tmp_path: Path) -> None:
    model = fastlstm.load(normalising(tmp_path))
    with pytest.raises(UnsupportedError, match="depends on the other rows of the batch"):
        model.stream()
    with pytest.raises(InputError, match="rows of this model depend on each other"):
        model.predict([np.ones((5, 3), np.float32), np.ones((5, 3), np.float32)])


def test_converted_it_verifies(tmp_path: Path) -> None:
    report = fastlstm.convert(normalising(tmp_path), tmp_path / "m.fastlstm")
    assert [case.case for case in report.cases] == ["plain"]  # and not "one row", which would be of another batch
    model = fastlstm.load(tmp_path / "m.fastlstm", verify=True)
    x = RANDOM.normal(size=(40, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(model.predict(x), fastlstm.load(tmp_path / "m.h5").predict(x))


def test_the_command_keeps_batches_together(tmp_path: Path) -> None:
    model = fastlstm.load(normalising(tmp_path))
    x = RANDOM.normal(size=(333, 5, 3)).astype(np.float32)
    (found,) = progress.predict(model, [x]).values()
    np.testing.assert_array_equal(found, model.predict(x))


@pytest.mark.parametrize("version", ["2.10.0", "2.12.0"])
def test_statistics_along_other_axes(tmp_path: Path, version: str) -> None:
    layers = [entrance("x", 3, 2), layer("BatchNormalization", "b", [[["x", 0, 0, {"training": True}]]], axis=1, epsilon=0.01)]
    config = functional(layers, [["x", 0, 0]], [["b", 0, 0]], "Functional")
    model = fastlstm.load(write_h5(tmp_path / "m.h5", config, {"b": [GAMMA, BETA, MEAN, VARIANCE]}, version))
    x = RANDOM.normal(size=(6, 3, 2)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), normalised(x.swapaxes(1, 2)).swapaxes(1, 2), atol=1e-5)


# -- attention without steps ----------------------------------------------------------------------------------------------


def attending(folder: Path, *shapes: tuple[int, ...]) -> Path:
    names = [f"x{number}" for number in range(len(shapes))]
    node = [[name, 0, 0, {}] for name in names]
    layers = [*(entrance(name, *shape) for name, shape in zip(names, shapes, strict=True)), layer("Attention", "a", [node])]
    config = functional(layers, [[name, 0, 0] for name in names], [["a", 0, 0]], "Functional")
    return write_h5(folder / "m.h5", config, {"a": []}, "2.10.0")


def attended(query: np.ndarray, value: np.ndarray) -> np.ndarray:
    scores = np.exp(query.astype(np.float64) @ value.swapaxes(-1, -2))
    return scores / scores.sum(-1, keepdims=True) @ value


@pytest.mark.parametrize(
    ("query", "value", "crosses"),
    [((3,), (3,), True), ((4, 3), (3,), True), ((2, 4, 3), (2, 5, 3), False), ((2, 4, 3), (1, 5, 3), False)],
)
def test_attention_over_rows_and_over_more_axes(tmp_path: Path, query: tuple[int, ...], value: tuple[int, ...], crosses: bool) -> None:
    model = fastlstm.load(attending(tmp_path, query, value))
    x = [RANDOM.normal(size=(40, *shape)).astype(np.float32) for shape in (query, value)]
    assert model.executor.crosses_rows == crosses
    expected = np.concatenate([attended(*(array[rows] for array in x)) for rows in BATCHES])
    np.testing.assert_allclose(model.predict(x), expected, atol=1e-5)


# -- time before rows -----------------------------------------------------------------------------------------------------


def time_major(folder: Path, sequences: bool) -> Path:
    config = {"units": 4, "activation": "tanh", "recurrent_activation": "sigmoid", "time_major": True, "return_sequences": sequences}
    layers = [entrance("x", 2, 3), layer("LSTM", "l", [[["x", 0, 0, {}]]], **config)]
    return write_h5(folder / "m.h5", functional(layers, [["x", 0, 0]], [["l", 0, 0]], "Functional"), {"l": LSTM_ARRAYS}, "2.10.0")


def row_major(folder: Path, sequences: bool) -> fastlstm.Model:
    spec = fastlstm.load(time_major(folder, sequences)).spec
    start, lstm = spec.layers
    turned = replace(lstm, config={**lstm.config, "time_major": False})
    return fastlstm.Model(replace(spec, layers=(replace(start, config={**start.config, "shape": [None, None, 3]}), turned), rules=Rules()))


def test_time_before_rows(tmp_path: Path) -> None:
    x = RANDOM.normal(size=(6, 2, 3)).astype(np.float32)
    rows = np.ascontiguousarray(x.swapaxes(0, 1))
    model = fastlstm.load(time_major(tmp_path, True))
    assert model.outputs[0].shape == (None, 2, 4)
    np.testing.assert_allclose(model.predict(x), row_major(tmp_path, True).predict(rows).swapaxes(0, 1), atol=1e-6)
    last = fastlstm.load(time_major(tmp_path, False))
    assert last.outputs[0].shape == (2, 4)
    np.testing.assert_allclose(last.predict(x), row_major(tmp_path, False).predict(rows), atol=1e-6)
    longer = np.concatenate([x] * 7)  # 42 steps, which Keras takes as two batches
    assert last.predict(longer).shape == (4, 4)
    assert last.predict(longer, batch_size=42).shape == (2, 4)
