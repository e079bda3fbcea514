"""The caller's own layers and activations: which function stands where, what it is given, and what becomes of its faults."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import chain, write_h5
from layer_specs import activated, model_of, own, recurrent

import fastlstm
from fastlstm.errors import InputError, UnsupportedError
from fastlstm.model import Model
from fastlstm.spec import Call, LayerSpec, ModelSpec, Ref

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)


# -- names --------------------------------------------------------------------------------------------------------------------


def serialized(tmp_path: Path, *activations: Any, version: str | None = None) -> Path:
    """A Sequential of Activation layers in a file of a generation."""
    if version is not None:
        first = {"batch_input_shape": [None, 5, 3]}
        entries = [("Activation", {"name": f"a{n}", "activation": value}) for n, value in enumerate(activations)]
        entries[0][1].update(first)
        return write_h5(tmp_path / "m.h5", chain(*entries), {}, version)
    entries3 = [{"module": "keras.layers", "class_name": "InputLayer", "config": {"name": "in", "batch_shape": [None, 5, 3]}}]
    entries3 += [
        {"module": "keras.layers", "class_name": "Activation", "config": {"name": f"a{n}", "trainable": True, "activation": value}}
        for n, value in enumerate(activations)
    ]
    weights = io.BytesIO()
    write_h5_empty(weights)
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"name": "m", "layers": entries3}}))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


def write_h5_empty(file: io.BytesIO) -> None:
    import h5py

    with h5py.File(file, "w") as root:
        root.create_group("layers")


#: How each generation writes a user's activations (recorded with the versions named): what it writes, the names that it goes by.
FORMS = [
    pytest.param("3", {"module": "builtins", "class_name": "function", "config": "mine>twice", "registered_name": "function"},
                 ("mine>twice", "twice"), id="Keras 3.15 and tf_keras 2.21, registered"),
    pytest.param("3", {"module": "builtins", "class_name": "function", "config": "plain", "registered_name": "function"},
                 ("plain",), id="Keras 3.15, a plain function"),
    pytest.param("3", {"module": "my.acts", "class_name": "function", "config": "relu", "registered_name": "relu"},
                 ("Custom>relu", "relu"), id="a function of a user's module that has a name of Keras's"),
    pytest.param("3", {"module": None, "class_name": "CallMe", "config": {"a": 2}, "registered_name": "CallMe"},
                 ("Custom>CallMe", "CallMe"), id="Keras 3.15, a callable object"),
    pytest.param("3", {"module": None, "class_name": "RegCall", "config": {"a": 2}, "registered_name": "mine>RegCall"},
                 ("mine>RegCall", "RegCall"), id="Keras 3.15, a registered callable object"),
    pytest.param("3", {"module": None, "class_name": "ReLU", "registered_name": "ReLU", "config": {
        "name": "act", "activity_regularizer": None, "trainable": True, "autocast": True}}, ("Custom>ReLU", "ReLU"),
                 id="Keras 3.15, a layer that has a name of Keras's"),
    pytest.param("3", {"value": ["4wEAAAAA", None, None]}, ("<lambda>", "a0:activation"), id="Keras 3.15, a lambda"),
    pytest.param("3", {"class_name": "__lambda__", "config": {"value": ["4wEAAAAA", None, None]}}, ("<lambda>",), id="a lambda, whole"),
    pytest.param("2.10.0", "mine>relu", ("mine>relu", "relu"), id="tf.keras 2.10, registered"),
    pytest.param("2.10.0", "my_keras>relu", ("my_keras>relu", "relu"), id="a package that only sounds like Keras"),
    pytest.param("2.10.0", "plain", ("plain",), id="tf.keras 2.10, a plain function"),
    pytest.param("2.10.0", {"class_name": "CallMe", "config": {"a": 2}}, ("CallMe",), id="tf.keras 2.10, a callable object"),
    pytest.param("2.10.0", {"class_name": "mine>ReLU", "config": {}}, ("mine>ReLU", "ReLU"), id="tf.keras 2.10, a registered object"),
    pytest.param("2.10.0", "<lambda>", ("<lambda>", "a0:activation"), id="tf.keras 2.10, a lambda"),
    pytest.param("2.2.4-tf", "twice", ("twice", "a0:activation"), id="tf.keras 1.13"),
    pytest.param("2.3.1", "gelu", ("Custom>gelu", "gelu"), id="Keras 2.3, a name that Keras has today"),
    pytest.param("1.2.2", "twice", ("Custom>twice", "twice"), id="Keras 1"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "form", "names"), FORMS)
def test_each_form_of_a_users_activation(version: str, form: Any, names: tuple[str, ...], tmp_path: Path) -> None:
    path = serialized(tmp_path, form, version=None if version == "3" else version)
    with pytest.raises(UnsupportedError) as refused:
        fastlstm.load(path)
    (problem,) = refused.value.problems
    assert any(f"custom_activations={{{name!r}: " in problem.advice for name in names)
    for name in names:
        given = {name: lambda x: 3 * np.abs(x)}
        np.testing.assert_array_equal(fastlstm.load(path, custom_activations=given).predict(X), 3 * np.abs(X))


def test_two_activations_of_one_file(tmp_path: Path) -> None:
    forms = [{"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"} for name in ("a>f", "cube")]
    path = serialized(tmp_path, *forms)
    functions = {"a>f": lambda x: x + 1, "cube": lambda x: x**3}
    for given in (functions, {"f": functions["a>f"], "cube": functions["cube"]}):
        np.testing.assert_allclose(fastlstm.load(path, custom_activations=given).predict(X), (X + 1) ** 3, rtol=1e-6)
    with pytest.raises(UnsupportedError) as refused:
        fastlstm.load(path, custom_activations={"f": np.tanh})
    assert [problem.layer for problem in refused.value.problems] == ["a1"]


def compute(spec: ModelSpec, **given: Any) -> np.ndarray:
    y: np.ndarray = Model(spec, source="m.h5", **given).predict(X)
    return y


def test_ambiguous_activations() -> None:
    spec = model_of(activated("p", "a>f"), activated("q", "b>f"))
    with pytest.raises(InputError, match="m.h5: custom_activations: 'f' may be any of the activations 'a>f', 'b>f'; give each its own"):
        compute(spec, custom_activations={"f": np.tanh})
    y = compute(spec, custom_activations={"a>f": np.abs, "f": np.negative})  # what is left for the plain name is one
    np.testing.assert_array_equal(y, -np.abs(X))
    mixed = model_of(activated("p", "a>f"), activated("q", "f"))
    np.testing.assert_array_equal(compute(mixed, custom_activations={"a>f": np.abs, "f": np.negative}), -np.abs(X))
    with pytest.raises(UnsupportedError, match="'a>f' is not known"):
        compute(mixed, custom_activations={"f": np.negative})


def test_lambdas_are_told_by_their_place() -> None:
    spec = model_of(activated("p", "<lambda>"), activated("q", "<lambda>"))
    with pytest.raises(InputError, match="'<lambda>' may be any of the activations 'p:activation', 'q:activation'"):
        compute(spec, custom_activations={"<lambda>": np.tanh})
    with pytest.raises(UnsupportedError, match=r"custom_activations=\{'p:activation': "):
        compute(spec)
    y = compute(spec, custom_activations={"p:activation": np.abs, "q:activation": np.negative})
    np.testing.assert_array_equal(y, -np.abs(X))


def test_objects_of_one_class_with_other_parameters() -> None:
    spec = model_of(*(activated(f"a{n}", {"name": "Times", "config": {"by": n}}) for n in (2, 3)))
    with pytest.raises(InputError, match="'Times' has different parameters at 'a2:activation', 'a3:activation'"):
        compute(spec, custom_activations={"Times": lambda x: 2 * x})
    np.testing.assert_allclose(compute(spec, custom_activations={"Times": lambda x, config: config["by"] * x}), 6 * X)


def test_keras_own_activations_can_be_replaced() -> None:
    spec = model_of(activated("a", "silu"))
    np.testing.assert_array_equal(compute(spec, custom_activations={"swish": np.negative}), -X)  # as the file may have called it
    np.testing.assert_array_equal(compute(spec, custom_activations={"silu": np.negative}), -X)
    third = model_of(activated("a", "hard_sigmoid_keras3"))
    np.testing.assert_array_equal(compute(third, custom_activations={"hard_sigmoid": np.negative}), -X)
    halves = model_of(activated("a", "glu"), shape=(None, 5, 4))
    y = Model(halves, custom_activations={"glu": lambda x: x[..., ::2]}).predict(np.ones((1, 5, 4)))
    assert y.shape == (1, 5, 2)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_activations_inside_cells_and_wrappers(kind: str) -> None:
    custom = {"activation": "mine>first"} | ({} if kind == "SimpleRNN" else {"recurrent_activation": "mine>second"})
    known = {"activation": "softsign"} | ({} if kind == "SimpleRNN" else {"recurrent_activation": "tanh"})
    functions = {"mine>first": lambda x: x / (1 + np.abs(x))} | ({} if kind == "SimpleRNN" else {"second": np.tanh})

    def models(options: dict[str, Any]) -> list[ModelSpec]:
        layer = recurrent(kind, return_sequences=True, **options)
        cell = recurrent(kind, class_name=f"{kind}Cell", name="cell", **options)
        again = recurrent(kind, features=4, class_name=f"{kind}Cell", name="again", **options)
        stack = LayerSpec("StackedRNNCells", "stack", {}, children=(cell, again))
        back = LayerSpec(kind, "back", {**layer.config, "go_backwards": True}, layer.weights)
        inner = model_of(layer)
        distributed = LayerSpec("TimeDistributed", "td", {}, children=(LayerSpec("Functional", "inner", {}, model=inner),))
        apart = LayerSpec("Reshape", "apart", {"target_shape": [1, 5, 3]})
        return [
            model_of(layer), *(model_of(LayerSpec("RNN", "rnn", {}, children=(inside,))) for inside in (cell, stack)),
            model_of(LayerSpec("Bidirectional", "both", {}, children=(layer, back))),
            model_of(LayerSpec("Functional", "nested", {}, model=inner)), model_of(apart, distributed),
        ]  # fmt: skip

    for spec, expected in zip(models(custom), models(known), strict=True):
        np.testing.assert_allclose(compute(spec, custom_activations=functions), compute(expected), rtol=1e-5, atol=1e-6)
        with pytest.raises(UnsupportedError):
            compute(spec)


def test_names_that_the_model_does_not_have() -> None:
    spec = model_of(activated("a", "mine>twice"), own("b", "mine>Attention2"))
    given = {"custom_activations": {"twice": np.tanh}, "custom_layers": {"Attention2": np.tanh}}
    compute(spec, **given)
    with pytest.raises(InputError, match="the model has no 'twise', its activations are: mine>twice; did you mean 'twice'?"):
        compute(spec, **{**given, "custom_activations": {"twice": np.tanh, "twise": np.tanh}})
    text = r"the model has no 'Atention2', its layers are: a \(Activation\), b \(mine>Attention2\); did you mean 'Attention2'?"
    with pytest.raises(InputError, match=text):
        compute(spec, **{**given, "custom_layers": {"Attention2": np.tanh, "Atention2": np.tanh}})
    with pytest.raises(InputError, match="custom_layers: expected a dict of functions by name, found list"):
        compute(spec, custom_layers=[np.tanh])
    with pytest.raises(InputError, match="custom_activations: expected functions by name, found 3 for 'twice'"):
        compute(spec, custom_activations={"twice": 3})
    assert issubclass(InputError, ValueError)


def test_names_of_layers() -> None:
    inner = LayerSpec("Functional", "inner", {}, model=model_of(own("b"), own("c", "pkg>My")))
    spec = model_of(own("a"), inner, own("c", "other>My"))
    steps = {"a": 1.0, "inner/b": 10.0, "inner/c": 100.0, "c": 1000.0}

    def plus(*names: str, **others: str) -> float:
        given = {name: lambda x, by=steps[name]: x + by for name in names}
        given |= {name: lambda x, by=steps[path]: x + by for name, path in others.items()}
        return float(np.round((compute(spec, custom_layers=given) - X).max()))

    assert plus("a", "inner/b", "inner/c", "c") == 1111
    assert plus("a", "c", b="inner/b", **{"pkg>My": "inner/c"}) == 1111  # by the name alone, by the registered class
    assert plus(**{"pkg>My": "inner/c", "other>My": "c", "My": "a"}) == 1102  # the plain class: both that are left
    with pytest.raises(UnsupportedError, match="c"):
        plus("a", "inner/b", "c")  # a path that is whole means no other layer of that name
    twice = model_of(inner, LayerSpec("Functional", "outer", {}, model=model_of(own("b"))))
    with pytest.raises(InputError, match="custom_layers: 'b' may be any of the layers 'inner/b', 'outer/b'"):
        compute(twice, custom_layers={"b": np.tanh})
    with pytest.raises(InputError, match="custom_layers: 'My' may be any of the classes 'other>My', 'pkg>My'"):
        compute(model_of(own("a", "pkg>My"), own("b", "other>My")), custom_layers={"My": np.tanh})


@pytest.mark.parametrize("kind", ["Lambda", "Operation"])
def test_one_function_does_not_serve_two_operations(kind: str) -> None:
    spec = model_of(own("a", kind, function="f", operation="one"), own("b", kind, function="g", operation="other"))
    with pytest.raises(InputError, match="may be any of the layers 'a', 'b'"):
        compute(spec, custom_layers={kind: np.tanh})
    np.testing.assert_array_equal(compute(spec, custom_layers={"a": np.negative, "b": np.abs}), np.abs(X))
    if kind != "Lambda":
        by_config = lambda x, config: x + 1 if config["function"] == "f" else 2 * x  # noqa: E731
        np.testing.assert_array_equal(compute(spec, custom_layers={kind: by_config}), 2 * (X + 1))


def test_a_users_class_that_has_a_name_of_kerass(tmp_path: Path) -> None:
    """Keras 3 writes no module for classes that it cannot import, and a registered name, which its own classes have not."""
    path = serialized(tmp_path, "linear")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["layers"][1] = {
        "module": None, "class_name": "UnitNormalization", "registered_name": "UnitNormalization",
        "config": {"name": "mine", "trainable": True},
    }  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**parts, "config.json": json.dumps(config).encode()}.items():
            archive.writestr(name, data)
    with pytest.raises(UnsupportedError, match="layers of class Custom>UnitNormalization are not known"):
        fastlstm.load(path)
    np.testing.assert_array_equal(fastlstm.load(path, custom_layers={"UnitNormalization": np.negative}).predict(X), -X)


def test_what_stands_inside_is_supplied_as_a_whole() -> None:
    both = LayerSpec("Bidirectional", "both", {}, children=(own("forward_l", "L"), own("backward_l", "L")))
    with pytest.raises(InputError, match=r"custom_layers=\{'both': function\}"):
        compute(model_of(both), custom_layers={"L": np.tanh})
    inside = LayerSpec("TimeDistributed", "td", {}, children=(own("inner"),))
    np.testing.assert_array_equal(compute(model_of(inside), custom_layers={"td/inner": np.negative}), -X)


# -- what a function is given -------------------------------------------------------------------------------------------------


def test_config_and_arrays_of_a_whole() -> None:
    cell = LayerSpec("MyCell", "cell", {"units": 2}, (np.ones((3, 2), np.float32),))
    spec = model_of(LayerSpec("RNN", "rnn", {"return_sequences": True}, children=(cell,)))

    def cumulate(x: np.ndarray, config: dict[str, Any], weights: tuple[np.ndarray, ...]) -> np.ndarray:
        assert config == {"return_sequences": True, "cell": {"class_name": "MyCell", "config": {"units": 2}}}
        return np.cumsum(x @ weights[0], axis=1)

    model = Model(spec, custom_layers={"rnn": cumulate})
    np.testing.assert_allclose(model.predict(X), np.cumsum(np.repeat(X.sum(-1, keepdims=True), 2, -1), 1), rtol=1e-5, atol=1e-6)
    assert model.count_params() == 6
    assert model.output_shape == (None, 5, 2)
    pair = LayerSpec("StackedRNNCells", "stack", {}, children=(cell, own("b", "Other")))
    both = [LayerSpec("RNN", name, {}, children=(pair,)) for name in ("f", "g")]
    found: list[Any] = []
    spec = model_of(LayerSpec("Bidirectional", "both", {}, children=tuple(both)))
    Model(spec, custom_layers={"both": lambda x, config, weights: found.append((config, len(weights))) or x})
    config, arrays = found[0]
    assert arrays == 2
    assert [config[key]["config"]["cell"]["config"]["cells"][1]["class_name"] for key in ("layer", "backward_layer")] == ["Other"] * 2


def test_functions_that_tell_nothing_of_themselves() -> None:
    for function in (np.tanh, abs, pickle.loads(pickle.dumps(np.negative))):
        np.testing.assert_array_equal(compute(model_of(own("a")), custom_layers={"a": function}), function(X))


def test_call_arguments_that_are_tensors() -> None:
    base = model_of(own("a"), own("b"), own("c"))
    calls = (*base.calls[:3], Call(3, (Ref(2),), {"context": (Ref(0), Ref(1)), "axis": 1}))
    spec = ModelSpec(**{**base.__dict__, "calls": calls})
    given = {"a": np.negative, "b": np.abs}
    y = compute(spec, custom_layers={**given, "c": lambda x, context: x + 2 * context[0] + 3 * context[1]})
    np.testing.assert_allclose(y, np.abs(X) - X, rtol=1e-6, atol=1e-7)
    y = compute(spec, custom_layers={**given, "c": lambda x, context, axis: np.flip(context[0], axis)})
    np.testing.assert_array_equal(y, X[:, ::-1])
    with pytest.raises(InputError, match=r"layer 'c' \(My\): .* raised TypeError: .*unexpected keyword argument 'context'"):
        compute(spec, custom_layers={**given, "c": lambda x: x})


def test_functions_that_change_what_they_are_given() -> None:
    """Also in float64, where nothing is copied between layers, and where the same array goes to several."""

    def spoil(x: np.ndarray, config: dict[str, Any]) -> np.ndarray:
        x *= config.pop("by")
        return x

    base = model_of(own("a", by=2.0), LayerSpec("Add", "add", {}))
    spec = ModelSpec(**{**base.__dict__, "calls": (Call(0), Call(1, (Ref(0),)), Call(2, (Ref(0), Ref(1))))})

    def spoil_activation(x: np.ndarray) -> np.ndarray:
        x[...] = np.tanh(x)
        return x

    lstm = recurrent("LSTM", activation="mine>tanh", recurrent_activation="sigmoid", return_sequences=True)
    expected = compute(model_of(recurrent("LSTM", return_sequences=True)))
    for precision in ("float32", "float64"):
        given = X.copy()
        model = Model(spec, precision=precision, custom_layers={"My": spoil})
        for _ in range(2):
            np.testing.assert_allclose(model.predict(given), 3 * X, rtol=1e-6)
        np.testing.assert_array_equal(given, X)
        model = Model(model_of(lstm), precision=precision, custom_activations={"tanh": spoil_activation})
        np.testing.assert_allclose(model.predict(X), expected, rtol=1e-5, atol=1e-6)
        model = Model(model_of(activated("a", "mine>tanh")), precision=precision, custom_activations={"tanh": spoil_activation})
        wide = X.astype(precision)
        np.testing.assert_allclose(model.predict(wide), np.tanh(X), rtol=1e-6)
        np.testing.assert_array_equal(wide, X)
    heavy = LayerSpec("My", "a", {}, (np.ones(3, np.float32),))

    def spoil_weights(x: np.ndarray, weights: tuple[np.ndarray, ...]) -> np.ndarray:
        weights[0][...] *= 2
        return x

    with pytest.raises(InputError, match="read-only"):
        Model(model_of(heavy), custom_layers={"a": spoil_weights})
    np.testing.assert_array_equal(heavy.weights[0], 1)


def test_functions_that_give_the_same_array_again() -> None:
    kept: dict[tuple[int, ...], np.ndarray] = {}

    def again(x: np.ndarray) -> np.ndarray:
        out = kept.setdefault(x.shape, np.empty_like(x))
        np.multiply(x, 2, out=out)
        return out

    base = model_of(own("a"), LayerSpec("Add", "add", {}))
    calls = (Call(0), Call(1, (Ref(0),)), Call(1, (Ref(1),)), Call(2, (Ref(1), Ref(2))))
    spec = ModelSpec(**{**base.__dict__, "calls": calls, "outputs": (Ref(3),)})
    for precision in ("float32", "float64"):
        np.testing.assert_allclose(compute(spec, precision=precision, custom_layers={"a": again}), 6 * X, rtol=1e-6)


def test_no_rows_at_all() -> None:
    for precision in ("float32", "float64"):
        model = Model(model_of(own("a")), precision=precision, custom_layers={"a": lambda x: np.stack([row - 1 for row in x])})
        assert model.predict(X[:0]).shape == (0, 5, 3)
