"""The results and the faults of the caller's functions, and the advice for models that lack them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import h5_files
import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5
from layer_specs import activated, model_of, own, recurrent, simple

import fastlstm
from fastlstm.errors import InputError, UnsupportedError
from fastlstm.model import Model
from fastlstm.spec import Call, LayerSpec, ModelSpec, Ref

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)


# -- shapes -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda x: x.mean(axis=1), (None, 3)),
        (lambda x: x[:, ::2], (None, None, 3)),
        (lambda x: x[:, -40:-30], (None, 10, 3)),  # of sequences that are long enough
        (lambda x: np.repeat(x[:, :1], 7, axis=1), (None, 7, 3)),
        (lambda x: (x[:, 299], x[:, 0])[0], (None, 3)),
        (lambda x: np.sum(x, axis=(1, 2))[:, None], (None, 1)),
        (lambda x: np.argmax(x, axis=-1), (None, None)),
    ],
)
def test_shapes_by_trial(function: Any, shape: tuple[int | None, ...]) -> None:
    model = Model(model_of(own("a"), shape=(None, None, 3)), custom_layers={"a": function})
    if shape != (None, 10, 3):
        assert model.output_shape == shape
    x = np.random.default_rng(1).normal(size=(2, 300, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), function(x), rtol=1e-5, atol=1e-6)


def test_the_batch_of_a_stateful_model_stays() -> None:
    spec = model_of(own("a"), recurrent("LSTM", stateful=True), shape=(4, 5, 3))
    model = Model(spec, custom_layers={"a": np.tanh})
    assert model.output_shape == (4, 4)
    first, second = model.predict(X), model.predict(X)
    assert np.abs(first - second).max() > 1e-3


def test_several_outputs() -> None:
    base = model_of(own("a"), LayerSpec("Add", "add", {}))
    spec = ModelSpec(**{**base.__dict__, "calls": (Call(0), Call(1, (Ref(0),)), Call(2, (Ref(1, 0), Ref(1, 1))))})
    np.testing.assert_allclose(Model(spec, custom_layers={"a": lambda x: (x, 2 * x)}).predict(X), 3 * X, rtol=1e-6)
    with pytest.raises(InputError, match=r"layer 'a' \(My\): .* returned 1 arrays; the model makes use of 2"):
        Model(spec, custom_layers={"a": lambda x: x})


# -- faults -------------------------------------------------------------------------------------------------------------------

FAULTS = [
    (lambda x: 1 / 0, r"was called with \(1, 5, 3\) and raised ZeroDivisionError: division by zero"),
    (lambda x: x @ x, r"raised ValueError: .*matmul"),
    (lambda x, y: x, r"raised TypeError: .*missing 1 required positional argument"),
    (lambda x: None, "returned None; expected arrays of real numbers"),
    (lambda x: "text", "returned str of dtype <U4; expected arrays of real numbers"),
    (lambda x: x + 1j, "returned ndarray of dtype complex64"),
    (lambda x: [[1.0], [1.0, 2.0]], "returned"),
    (lambda x: x.mean(), r"was called with 1 rows \(\(1, 5, 3\)\) and returned an array of shape \(\); expected a row for each: \(1, "),
    (lambda x: x.reshape(-1, 3), r"was called with 1 rows .* returned an array of shape \(5, 3\)"),
    (lambda x: x[:1], r"was called with 2 rows \(\(2, 5, 3\)\) and returned an array of shape \(1, 5, 3\)"),
    (np.squeeze, r"returned an array of shape \(5, 3\)|expected as many arrays"),
    (lambda x: list(x[:, None]), "expected as many arrays|returned"),
    (lambda x: (), "returned 0 arrays"),
]


@pytest.mark.parametrize(("function", "text"), FAULTS)
def test_faults_of_layers_at_load(function: Any, text: str) -> None:
    for shape in ((None, 5, 3), (None, None, 3)):
        with pytest.raises(InputError) as caught:
            Model(model_of(own("a"), shape=shape), source="m.h5", custom_layers={"My": function})
        assert str(caught.value).startswith(f"m.h5: layer 'a' (My): custom_layers['My'], the function {function.__qualname__}, ")
        if shape[1] == 5:
            assert caught.match(text)
        assert isinstance(caught.value.__cause__, Exception if "raised" in str(caught.value) else (type(None), ValueError))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_faults_of_layers_at_predict(precision: str) -> None:
    def moody(x: np.ndarray) -> Any:
        mood = x.flat[0]
        if mood == 1:
            raise RuntimeError("no more")
        return {2: x[:, :2], 3: (x, x), 4: None, 5: x[:, :, None]}.get(int(mood), x)

    model = Model(model_of(own("a")), precision=precision, custom_layers={"a": moody})
    for mood, text in (
        (1, "raised RuntimeError: no more"), (2, r"returned \(4, 2, 3\) for \(4, 5, 3\); expected \(None, 5, 3\)"),
        (3, r"returned \(4, 5, 3\) and \(4, 5, 3\) for"), (4, "returned None"), (5, r"returned \(4, 5, 1, 3\)"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"layer 'a' \(My\): custom_layers\['a'\], the function .*moody, .*" + text) as caught:
            model.predict(np.full((4, 5, 3), mood))
        assert isinstance(caught.value.__cause__, RuntimeError if mood == 1 else type(None))
    np.testing.assert_array_equal(model.predict(X), X)  # it goes on working


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["Activation", "LSTM", "Dense"])
def test_faults_of_activations(kind: str, precision: str) -> None:
    weights = (np.ones((3, 2), np.float32), np.zeros(2, np.float32))
    spec = model_of({
        "Activation": activated("a", "mine>f"), "LSTM": recurrent("LSTM", name="a", activation="mine>f"),
        "Dense": simple("Dense", {"units": 2, "activation": "mine>f"}, weights),
    }[kind])  # fmt: skip
    name = "layer" if kind == "Dense" else "a"
    for function, text in (
        (lambda x: 1 / 0, "raised ZeroDivisionError"), (lambda x: None, "returned None"), (lambda x: x[:0], r"expected one array of shape"),
        (lambda x: x[..., :1], r"and returned \(.*1\); expected one array of shape"), (lambda x: (x, x), "expected one array of shape"),
        (lambda x: x * 1j, "of dtype complex64|of dtype complex128"),
    ):  # fmt: skip
        place = rf"activation of layer '{name}' \({kind}\): custom_activations\['f'\], the function .*"
        with pytest.raises(InputError, match=place + text):
            Model(spec, precision=precision, custom_activations={"f": function})


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_rows_are_computed_by_themselves(precision: str) -> None:
    """Keras computes batches of 32, other programs others: what a row gets must not depend on which rows go with it."""
    text = "gives a row other numbers alone than among others"
    for function in (lambda x: x - x.mean(), lambda x: x[::-1], lambda x: x + np.arange(len(x)).reshape(-1, *(1,) * (x.ndim - 1))):
        with pytest.raises(InputError, match=r"layer 'a' \(My\): .*" + text):
            Model(model_of(own("a")), precision=precision, custom_layers={"a": function})
        for layers in ([activated("a", "mine>f")], [recurrent("LSTM", name="a", activation="mine>f")]):
            with pytest.raises(InputError, match=r"activation of layer 'a' \(\w+\): .*" + text):
                Model(model_of(*layers), precision=precision, custom_activations={"f": function})
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=text):
        Model(model_of(own("a")), precision=precision, custom_layers={"a": lambda x: x + rng.normal(size=x.shape)})
    with_context = model_of(own("a"), own("b"))
    calls = (Call(0), Call(1, (Ref(0),)), Call(2, (Ref(1),), {"context": (Ref(0), Ref(1))}))
    spec = ModelSpec(**{**with_context.__dict__, "calls": calls})
    given = {"a": np.negative, "b": lambda x, context: x * context[0] * context[1]}
    np.testing.assert_allclose(Model(spec, precision=precision, custom_layers=given).predict(X), X**3, rtol=1e-5)


def softmax_over_time(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_activations_that_look_along_time() -> None:
    """Attention by a softmax over axis 1, as many published models have it: right for whole sequences, and no stream."""
    kernel = (np.ones((1, 3, 3), np.float32), np.zeros(3, np.float32))
    dense = LayerSpec("Dense", "a", {"units": 3, "activation": "mine>f"}, (kernel[0][0], kernel[1]))
    conv = {"filters": 3, "kernel_size": 1, "activation": "mine>f"}
    cases = [
        (activated("a", "mine>f"), lambda x: x), (dense, lambda x: x @ kernel[0][0]),
        (LayerSpec("Conv1D", "a", {**conv, "padding": "causal"}, kernel), lambda x: x @ kernel[0][0]),
        (LayerSpec("Conv1D", "a", conv, kernel), lambda x: x @ kernel[0][0]),
    ]  # fmt: skip
    rows = [X[0, :2], X[1], X[2, :4]]
    for spec, before in cases:
        model = Model(model_of(spec, shape=(None, None, 3)), custom_activations={"f": softmax_over_time})
        np.testing.assert_allclose(model.predict(X), softmax_over_time(before(X)), rtol=1e-5)
        for y, row in zip(model.predict(rows), rows, strict=True):
            np.testing.assert_allclose(y, softmax_over_time(before(row[None]))[0], rtol=1e-5)
        with pytest.raises(UnsupportedError, match="it needs timesteps that are still to come, or all of them at once"):
            model.stream()
        apart = Model(model_of(spec, shape=(None, None, 3)), custom_activations={"f": np.tanh}).stream()
        steps = np.stack([apart.step(X[:1, t]) for t in range(5)], axis=1)
        np.testing.assert_allclose(steps, np.tanh(before(X[:1])), rtol=1e-5, atol=1e-6)
    model = Model(model_of(own("a"), shape=(None, None, 3)), custom_layers={"a": softmax_over_time})
    for y, row in zip(model.predict(rows), rows, strict=True):
        np.testing.assert_allclose(y, softmax_over_time(row[None])[0], rtol=1e-5)
    with pytest.raises(UnsupportedError):
        model.stream()


def test_a_model_with_functions_is_picklable() -> None:
    model = Model(model_of(own("a")), custom_layers={"a": np.negative})
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), -X)


# -- inspect --------------------------------------------------------------------------------------------------------------------


def test_describe_tells_what_is_known_beside_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from fastlstm.cli.main import main

    inner = functional(
        [entrance("i", 5, 4), layer("LSTM", "rnn", [[["i", 0, 0, {}]]], units=2, activation="tanh", recurrent_activation="sigmoid")],
        [["i", 0, 0]], [["rnn", 0, 0]],
    )  # fmt: skip
    nested = {**inner, "name": "inner", "config": {**inner["config"], "name": "inner"}, "inbound_nodes": [[["mystery", 0, 0, {}]]]}
    config = functional(
        [
            entrance("x", 5, 3), layer("Dense", "before", [[["x", 0, 0, {}]]], units=4, activation="wobble"),
            layer("Mystery", "mystery", [[["before", 0, 0, {}]]]), layer("Flatten", "flat", [[["mystery", 0, 0, {}]]]), nested,
            layer("Flatten", "flat2", [[["before", 0, 0, {}]]]),
        ],
        [["x", 0, 0]], [["flat", 0, 0], ["inner", 1, 0], ["flat2", 0, 0]],
    )  # fmt: skip
    rng = np.random.default_rng(0)
    groups = {"before": [h5_files.random(rng, 3, 4), h5_files.random(rng, 4)], "inner": h5_files.recurrent("LSTM", 2, 4, rng).weights}
    path = write_h5(tmp_path / "m.h5", config, groups)
    description = fastlstm.describe(path)
    shapes = {info.name: info.output_shape for info in description.layers}
    assert shapes == {
        "x": (None, 5, 3), "before": (None, 5, 4), "mystery": None, "flat": None, "flat2": (None, 20),
        "inner": (None, 2), "inner/i": (None, 5, 4), "inner/rnn": (None, 2),
    }  # fmt: skip
    assert description.outputs == (("flat", None), ("inner", (None, 2)), ("flat2", (None, 20)))
    assert {problem.layer for problem in description.problems} == {"before", "mystery"}
    assert main(["describe", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [output["shape"] for output in told["outputs"]] == [None, [None, 2], [None, 20]]
    assert main(["describe", str(path)]) == 1
    text = capsys.readouterr().out
    assert "layers of class Mystery are not known" in text
    assert "(any, 5, 4)" in text
