"""Self-tests that convert records: sound models pass, whatever rounding does to them, and wrong kernels do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import h5_files
import keras_configs
import numpy as np
import pytest

import fastlstm
from fastlstm import selftest
from fastlstm.formats import own
from fastlstm.model import Model
from fastlstm.program import layout

CHARACTERS = 60


def recurrent(class_name: str, units: int, features: int, rng: np.random.Generator, *, gain: float, **options: object) -> h5_files.Layer:
    """A layer whose kernels are so many times as large as they should be."""
    layer = h5_files.recurrent(class_name, units, features, rng, **options)
    return layer._replace(weights=[layer.weights[0] * gain, layer.weights[1] * gain, *layer.weights[2:]])


def chaotic(rng: np.random.Generator) -> list[h5_files.Layer]:
    """A character model that carries each rounding error on, a hundred times as large at the end."""
    return [recurrent("GRU", 64, CHARACTERS, rng, gain=4.0), h5_files.dense(CHARACTERS, 64, rng, "softmax")]


def characters(rng: np.random.Generator) -> list[h5_files.Layer]:
    return [h5_files.recurrent("LSTM", 32, CHARACTERS, rng), h5_files.dense(CHARACTERS, 32, rng, "softmax")]


def overflowing(rng: np.random.Generator) -> list[h5_files.Layer]:
    """Gates without bounds, so that states grow like a tower of powers."""
    gates = {"activation": "elu", "recurrent_activation": "elu"}
    return [
        recurrent("LSTM", 25, 25, rng, gain=2.5, return_sequences=True, **gates),
        recurrent("LSTM", 25, 25, rng, gain=2.5, return_sequences=True, **gates),
        h5_files.recurrent("LSTM", 25, 25, rng), h5_files.dense(1, 25, rng, "sigmoid"),
    ]  # fmt: skip


def masked(rng: np.random.Generator) -> list[h5_files.Layer]:
    return [h5_files.masking(-1.0), h5_files.recurrent("LSTM", 20, 3, rng, return_sequences=True), h5_files.recurrent("GRU", 9, 20, rng)]


def words(rng: np.random.Generator) -> list[h5_files.Layer]:
    return [
        h5_files.embedding(50, 8, rng, mask_zero=True),
        h5_files.recurrent("GRU", 20, 8, rng, reset_after=True),
        h5_files.dense(3, 20, rng),
    ]


def both_ways(rng: np.random.Generator) -> list[h5_files.Layer]:
    inner = h5_files.recurrent("LSTM", 12, 5, rng, return_sequences=True)
    return [h5_files.bidirectional(inner, h5_files.recurrent("LSTM", 12, 5, rng).weights), h5_files.recurrent("GRU", 16, 24, rng)]


def stateful(rng: np.random.Generator) -> list[h5_files.Layer]:
    return [h5_files.recurrent("LSTM", 20, 4, rng, stateful=True), h5_files.dense(2, 20, rng, "softmax")]


def windowed(rng: np.random.Generator) -> list[h5_files.Layer]:
    return [h5_files.convolution(8, 3, 4, rng), h5_files.recurrent("LSTM", 20, 8, rng), h5_files.dense(1, 20, rng)]


#: Layers, input shape, batch.
MODELS: Mapping[str, tuple[Callable[[np.random.Generator], list[h5_files.Layer]], tuple[int | None, ...], int | None]] = {
    "chaotic": (chaotic, (40, CHARACTERS), None), "overflowing": (overflowing, (4, 25), None), "masked": (masked, (None, 3), None),
    "words": (words, (None,), None), "both_ways": (both_ways, (None, 5), None), "stateful": (stateful, (6, 4), 2),
    "windowed": (windowed, (30, 4), None), "characters": (characters, (20, CHARACTERS), None),
}  # fmt: skip


@pytest.fixture
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of one of MODELS."""
    layers, shape, batch = MODELS[request.param]
    return h5_files.save(tmp_path / "model.h5", layers(np.random.default_rng(0)), shape, batch)


every_model = pytest.mark.parametrize("path", MODELS, indirect=True)


@every_model
def test_sound_models_are_converted(path: Path) -> None:
    target = path.with_suffix(".fastlstm")
    report = fastlstm.convert(path, target)
    cases, altered = own.read_cases(target)
    assert not altered and [case.name for case in cases] == [case.case for case in report.cases]
    assert all(np.isfinite(y).all() for case in cases for call in case.outputs for y in call)
    assert all(case.tolerance <= 2e-3 * max(np.abs(y).max() for call in case.outputs for y in call) for case in cases)
    assert fastlstm.verify(target).passed
    fastlstm.load(target, verify=True)


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "recurrent_gain", "input_gain"), [("GRU", 5.0, 5.0), ("SimpleRNN", 2.5, 1.0), ("LSTM", 8.0, 3.0)])
def test_chaos_is_no_reason_to_refuse(tmp_path: Path, cell: str, recurrent_gain: float, input_gain: float) -> None:
    """Two of these twelve are off by four times as much as one run of NumPy is, by mere chance."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        layer = h5_files.recurrent(cell, 64, CHARACTERS, rng)
        kernel, recurrent_kernel, *bias = layer.weights
        layer = layer._replace(weights=[kernel * input_gain, recurrent_kernel * recurrent_gain, *bias])
        source = h5_files.save(tmp_path / "model.h5", [layer, h5_files.dense(CHARACTERS, 64, rng, "softmax")], (40, CHARACTERS))
        fastlstm.convert(source, tmp_path / "model.fastlstm")


def test_the_hard_ones_are_hard(tmp_path: Path) -> None:
    """Numbers of size 1 do put the one model into chaos, and the other beyond float32."""

    def both(name: str) -> tuple[np.ndarray, np.ndarray]:
        layers, shape, _ = MODELS[name]
        source = h5_files.save(tmp_path / f"{name}.h5", layers(np.random.default_rng(0)), shape)
        x = np.random.default_rng(0).normal(size=(500, *shape)).astype(np.float32)
        return fastlstm.load(source, precision="float64").predict(x), fastlstm.load(source).predict(x)

    wide, narrow = both("chaotic")
    assert np.abs(wide - narrow).max() > 4e-6 * np.abs(wide).max()
    wide, narrow = both("overflowing")
    assert np.isnan(narrow).any() and np.isfinite(wide).any()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("masked", {"plain", "one row", "one timestep", "long", *selftest.MASKED}),
        ("words", {"plain", "one row", "one timestep", "long", *selftest.MASKED}),
        ("characters", {"plain", "one row", "one-hot"}), ("stateful", {"plain", "chained calls"}),
    ],
    indirect=["path"],
)  # fmt: skip
def test_situations(path: Path, names: set[str]) -> None:
    cases = {case.name: case for case in selftest.record(fastlstm.load(path))}
    assert set(cases) == names
    if "one-hot" in names:
        x = cases["one-hot"].inputs[0][0]
        assert set(np.unique(x)) == {0.0, 1.0} and (x.sum(axis=-1) == 1).all()


@every_model
def test_same_cases_every_time(path: Path) -> None:
    first, second = (selftest.record(fastlstm.load(path)) for _ in range(2))
    for a, b in zip(first, second):
        assert (a.name, a.tolerances) == (b.name, b.tolerances)
        for one, other in zip((*a.inputs, *a.outputs), (*b.inputs, *b.outputs)):
            assert [x.tobytes() for x in one] == [x.tobytes() for x in other]


def swapped(matrix: np.ndarray, gates: int) -> np.ndarray:
    """The first two gates in each other's place; where there is one, its units in reverse."""
    if gates == 1:
        return matrix[:, ::-1]
    parts = np.split(matrix, gates, axis=1)
    return np.concatenate([parts[1], parts[0], *parts[2:]], axis=1)


def nudged(matrix: np.ndarray, gates: int) -> np.ndarray:
    """One weight off by a tenth of what weights are."""
    matrix = matrix.copy()
    matrix[-1, -1] += 0.1 * np.abs(matrix).mean()
    return matrix


def unread(matrix: np.ndarray, gates: int) -> np.ndarray:
    """The last row left out."""
    return np.concatenate([matrix[:-1], 0 * matrix[-1:]])


@every_model
@pytest.mark.parametrize("wrong", [swapped, nudged, unread])
def test_wrong_kernels_are_found(path: Path, wrong: Callable[..., np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    right = layout.pack_panels

    def panels(matrix: np.ndarray, gates: int, lanes: int) -> np.ndarray:
        return right(wrong(matrix, gates) if len(matrix) > 1 else matrix, gates, lanes)  # of one row: where each column goes

    monkeypatch.setattr(layout, "pack_panels", panels)
    with pytest.raises(fastlstm.VerificationError, match="not converted, .* differ"):
        fastlstm.convert(path, path.with_suffix(".fastlstm"))
    assert not path.with_suffix(".fastlstm").exists()


@every_model
def test_every_array_counts(path: Path) -> None:
    """A tenth more, or less, in any one array of a model does not pass."""
    model = fastlstm.load(path)
    cases = selftest.record(model)
    arrays = keras_configs.arrays(model.spec)
    for number in range(len(arrays)):
        factors = iter([1.1 if place == number else 1.0 for place in range(len(arrays))])
        wrong = selftest.reweighted(model.spec, lambda array, factors=factors: array * np.float32(next(factors)))
        assert not all(case.equal for case in selftest.check(Model(wrong), cases)), f"array {number}, {arrays[number].shape}"


@pytest.mark.parametrize("path", ["masked"], indirect=True)
def test_a_mask_not_honoured_is_found(path: Path) -> None:
    model = fastlstm.load(path)
    layers = tuple(
        replace(layer, config={**layer.config, "mask_value": 7.0} if layer.class_name == "Masking" else layer.config)
        for layer in model.spec.layers
    )
    results = selftest.check(Model(replace(model.spec, layers=layers)), selftest.record(model))
    assert {case.case for case in results if not case.equal} == set(selftest.MASKED)


def test_each_output_has_a_tolerance_of_its_own(tmp_path: Path) -> None:
    """A large output does not cover for a small one."""
    rng = np.random.default_rng(0)
    lstm, small, large = h5_files.recurrent("LSTM", 8, 3, rng), h5_files.dense(2, 8, rng), h5_files.dense(2, 8, rng)
    nodes = {"lstm": [[["x", 0, 0, {}]]], "head": [[["lstm", 0, 0, {}]]]}
    layers = [
        keras_configs.entrance("x", 5, 3), keras_configs.layer("LSTM", "lstm", nodes["lstm"], **lstm.entry["config"]),
        keras_configs.layer("Dense", "small", nodes["head"], **small.entry["config"]),
        keras_configs.layer("Dense", "large", nodes["head"], **large.entry["config"]),
    ]  # fmt: skip
    config = keras_configs.functional(layers, [["x", 0, 0]], [["small", 0, 0], ["large", 0, 0]])

    def model(factor: float) -> fastlstm.Model:
        weights = {"lstm": lstm.weights, "small": [array * factor for array in small.weights], "large": [a * 1e6 for a in large.weights]}
        return fastlstm.load(keras_configs.write_h5(tmp_path / "model.h5", config, weights))

    cases = selftest.record(model(1.0))
    assert all(case.equal for case in selftest.check(model(1.0), cases))
    assert not any(case.equal for case in selftest.check(model(1.001), cases))


@pytest.mark.parametrize("path", ["words"], indirect=True)
def test_files_with_one_tolerance_for_all(path: Path) -> None:
    """As files were written until each output had its own."""
    model = fastlstm.load(path)
    cases = [replace(case, tolerances=()) for case in selftest.record(model)]
    target = path.with_suffix(".fastlstm")
    own.write(target, model.spec, cases)
    target.write_bytes(target.read_bytes().replace(b',\\"tolerances\\":[]', b" " * len(b',\\"tolerances\\":[]')))
    assert b"tolerances" not in target.read_bytes()
    assert fastlstm.verify(target).passed
    own.write(target, model.spec, [replace(case, tolerance=0.0) for case in cases])
    assert not fastlstm.verify(target).passed


def test_overflow_at_any_scale_is_what_float32_gives(tmp_path: Path) -> None:
    """A model that is beyond float32 whatever goes in: recorded is what Keras would give."""
    rng = np.random.default_rng(0)
    dense = h5_files.dense(2, 6, rng)
    stack = [h5_files.recurrent("LSTM", 6, 3, rng), dense._replace(weights=[dense.weights[0] * 1e38, np.full(2, 3.3e38, np.float32)])]
    stack.append(h5_files.dense(1, 2, rng)._replace(weights=[np.full((2, 1), 1e3, np.float32), np.zeros(1, np.float32)]))
    source = h5_files.save(tmp_path / "model.h5", stack, (5, 3))
    fastlstm.convert(source, tmp_path / "model.fastlstm")
    cases, _ = own.read_cases(tmp_path / "model.fastlstm")
    assert all(np.isinf(case.outputs[0][0]).all() for case in cases)
