"""What wrappers keep of the layer inside: spectral normalisation, states of stateful layers, and InputLayers that are ragged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5

import fastlstm
from fastlstm.errors import FormatError, InputError, UnsupportedError

RANDOM = np.random.default_rng(0)
KERNEL, BIAS, U = (RANDOM.normal(size=shape).astype(np.float32) for shape in ((4, 3), (3,), (1, 3)))
RNN = [RANDOM.normal(0, 0.5, size=shape).astype(np.float32) for shape in ((3, 3), (3, 3), (3,))]


def spectral(folder: Path, *arrays: np.ndarray) -> Path:
    inside = {"class_name": "Dense", "config": {"name": "d", "trainable": True, "units": 3, "activation": "linear"}}
    node = [["x", 0, 0, {}]]
    layers = [entrance("x", 4), layer("SpectralNormalization", "s", [node], layer=inside, power_iterations=1)]
    return write_h5(folder / "m.h5", functional(layers, [["x", 0, 0]], [["s", 0, 0]], "Functional"), {"s": list(arrays)}, "2.15.0")


def test_what_is_stored_is_normalised_already(tmp_path: Path) -> None:
    model = fastlstm.load(spectral(tmp_path, KERNEL, BIAS, U))
    x = RANDOM.normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), x @ KERNEL + BIAS, atol=1e-6)
    assert model.count_params() == KERNEL.size + BIAS.size + U.size
    with pytest.raises(FormatError, match=r"vector_u has shape \(1, 4\), expected \(1, 3\)"):
        fastlstm.load(spectral(tmp_path, KERNEL, BIAS, np.ones((1, 4), np.float32)))


def recurrence(x: np.ndarray, h: np.ndarray) -> np.ndarray:
    kernel, recurrent, bias = RNN
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ kernel + bias + h @ recurrent)
    return h


def steps_of(x: np.ndarray, h: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """The outputs of the layer inside for each step, and its state afterwards."""
    found = []
    if how == "first_twice":
        h = recurrence(x[:, 0], h)
    for step in range(x.shape[1]):
        h = recurrence(x[:, step], h if how != "none" else np.zeros_like(h))
        found.append(h)
    return np.stack(found, 1), h


def stateful(folder: Path, version: str, **settings: Any) -> Path:
    """TimeDistributed around a stateful layer."""
    inside = {"class_name": "SimpleRNN", "config": {"name": "r", "units": 3, "activation": "tanh", "stateful": True}}
    start = entrance("x", 4, 5, 3)
    start["config"]["batch_input_shape"][0] = 2
    # Initializers that do not record their dtype are those of TensorFlow 2.
    inside["config"]["kernel_initializer"] = {"class_name": "Zeros", "config": settings}
    layers = [start, layer("TimeDistributed", "t", [[["x", 0, 0, {}]]], layer=inside)]
    return write_h5(folder / "m.h5", functional(layers, [["x", 0, 0]], [["t", 0, 0]], "Model"), {"t": RNN}, version)


@pytest.mark.parametrize(
    ("version", "settings", "how"),
    [("2.3.1", {}, "none"), ("2.2.4-tf", {"dtype": "float32"}, "none"), ("2.4.0", {}, "first_twice"), ("2.15.0", {}, "first_twice")],
)
def test_states_in_time_distributed_by_generation(tmp_path: Path, version: str, settings: dict[str, Any], how: str) -> None:
    model = fastlstm.load(stateful(tmp_path, version, **settings))
    x = RANDOM.normal(size=(2, 4, 5, 3)).astype(np.float32)
    h = np.zeros((2, 3))
    for _ in range(2):
        expected, h = steps_of(x, h, how)
        np.testing.assert_allclose(model.predict(x), expected, atol=1e-6)
    model.reset_states()
    np.testing.assert_allclose(model.predict(x), steps_of(x, np.zeros((2, 3)), how)[0], atol=1e-6)
    fastlstm.convert(tmp_path / "m.h5", tmp_path / "m.fastlstm")
    fastlstm.load(tmp_path / "m.fastlstm", verify=True)
    if how != "none":
        with pytest.raises(UnsupportedError, match="carries its state from step to step"):
            model.stream(2)


def test_tensorflow_2_0_does_what_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="make the layer stateless"):
        fastlstm.load(stateful(tmp_path, "2.2.4-tf"))


def test_ragged_inputs_take_lists(tmp_path: Path) -> None:
    start = entrance("x", None, 3)
    start["config"]["ragged"] = True
    layers = [start, layer("SimpleRNN", "r", [[["x", 0, 0, {}]]], units=3, activation="tanh")]
    config = functional(layers, [["x", 0, 0]], [["r", 0, 0]], "Functional")
    model = fastlstm.load(write_h5(tmp_path / "m.h5", config, {"r": RNN}, "2.10.0"))
    rows = [RANDOM.normal(size=(length, 3)).astype(np.float32) for length in (5, 2, 3)]
    expected = np.concatenate([recurrence(row[np.newaxis], np.zeros((1, 3))) for row in rows])
    np.testing.assert_allclose(model.predict(rows), expected, atol=1e-6)
    whole = RANDOM.normal(size=(2, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(whole), recurrence(whole, np.zeros((2, 3))), atol=1e-6)


def test_several_inputs_of_which_some_are_lists(tmp_path: Path) -> None:
    """Rows whose sequences are as long in every input are computed together."""
    layers = [
        entrance("x", None, 3), entrance("i", None), entrance("y", 2),
        layer("SimpleRNN", "r", [[["x", 0, 0, {}]]], units=3, activation="tanh"),
        layer("Embedding", "e", [[["i", 0, 0, {}]]], input_dim=5, output_dim=3),
        layer("SimpleRNN", "q", [[["e", 0, 0, {}]]], units=3, activation="tanh", return_sequences=True),
        layer("Concatenate", "c", [[["r", 0, 0, {}], ["y", 0, 0, {}]]], axis=-1),
    ]  # fmt: skip
    table = RANDOM.normal(size=(5, 3)).astype(np.float32)
    config = functional(layers, [["x", 0, 0], ["i", 0, 0], ["y", 0, 0]], [["c", 0, 0], ["q", 0, 0]], "Functional")
    model = fastlstm.load(write_h5(tmp_path / "m.h5", config, {"r": RNN, "e": [table], "q": RNN, "c": []}, "2.10.0"))
    x = [RANDOM.normal(size=(length, 3)).astype(np.float32) for length in (5, 2, 5, 3)]
    ids = [[1, 2], [3, 0, 1], [4, 4], [2]]
    y = RANDOM.normal(size=(4, 2)).astype(np.float32)
    expected = [model.predict([one[np.newaxis], np.array([i]), y[[number]]]) for number, (one, i) in enumerate(zip(x, ids, strict=True))]
    for given in ([x, ids, y], {"x": x, "i": ids, "y": y}):
        joined, sequences = model.predict(given)
        np.testing.assert_allclose(joined, np.concatenate([one[0] for one in expected]), atol=1e-6)
        assert [len(sequence) for sequence in sequences] == [2, 3, 2, 1]
        for sequence, one in zip(sequences, expected, strict=True):
            np.testing.assert_allclose(sequence, one[1][0], atol=1e-6)
    with pytest.raises(InputError, match="the same number of rows in every input, found 'x' has 4, 'i' has 3"):
        model.predict([x, ids[:3], y])
    with pytest.raises(InputError, match="for sequence 1"):
        model.predict([[x[0], np.ones((2, 4))], ids[:2], y[:2]])
