"""Every advice that a refusal gives is followed here, to the letter, and works. One that nobody follows yet fails."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import build
import h5py
import numpy as np
import pytest
from making import model_of, recurrent
from written import chain, entrance, functional, layer, write_h5

import fastlstm
from fastlstm.cli.main import main
from fastlstm.errors import Problem, UnsupportedError
from fastlstm.spec import LayerSpec, ModelSpec

PACKAGE = Path(fastlstm.__file__).parent
X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
TESTS: dict[str, Callable[..., None]] = {}
Functions = dict[str, Callable[..., Any]]


# -- which there are --------------------------------------------------------------------------------------------------------------


def advising(trees: list[ast.Module]) -> dict[str, int]:
    """Functions of the package (methods: ".name") with an argument ``advice``, and its place among the others (Problem: its fields)."""
    found = {"Problem": Problem._fields.index("advice")}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                names = [argument.arg for argument in node.args.args]
                if "advice" in names:
                    method = names[0] == "self"
                    found["." * method + node.name] = names.index("advice") - method
    return found


def called(node: ast.Call) -> str:
    """The name of what is called, as :func:`advising` has it."""
    if isinstance(node.func, ast.Attribute):
        return f".{node.func.attr}"
    return node.func.id if isinstance(node.func, ast.Name) else ""


def text_of(expression: ast.expr, constants: dict[str, str]) -> str:
    """An advice as it stands in the code, {} for what is filled in."""
    if isinstance(expression, ast.Constant):
        return str(expression.value)
    if isinstance(expression, ast.Name) and expression.id in constants:
        return constants[expression.id]
    if isinstance(expression, ast.JoinedStr):
        return "".join("{}" if isinstance(part, ast.FormattedValue) else text_of(part, constants) for part in expression.values)
    if isinstance(expression, ast.Call) and isinstance(expression.func, ast.Attribute) and expression.func.attr == "format":
        return text_of(expression.func.value, constants).replace("{!r}", "{}").replace("{{", "{").replace("}}", "}")
    return ast.unparse(expression)


def advices() -> Iterator[str]:
    """Every advice in the package's code."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))]
    functions = advising(trees)
    for tree in trees:
        constants = {
            target.id: str(ast.literal_eval(node.value))
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = called(node)
                given = [word.value for word in node.keywords if word.arg == "advice"]
                if name in functions:
                    given += node.args[functions[name] : functions[name] + 1]
                yield from (text_of(value, constants) for value in given if not (isinstance(value, ast.Name) and value.id == "advice"))


def follows(advice: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Says that a test follows an advice."""

    def note(test: Callable[..., None]) -> Callable[..., None]:
        TESTS[advice] = test
        return test

    return note


def test_every_advice_is_followed() -> None:
    given = set(advices())
    assert not given - set(TESTS), "no test follows these"
    assert not set(TESTS) - given, "nobody gives these any more"


def test_new_advice_is_noticed() -> None:
    tree = ast.parse("A = 'constant {!r}'\ndef f(what, advice=''): ...\nf('x', f'do {y}')\nself.f('x', A.format(1))\nf('x', advice=g(y))")
    assert advising([tree])["f"] == 1
    assert advising([ast.parse("class C:\n def f(self, advice): ...")])[".f"] == 0
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    expressions = [word.value for call in calls for word in call.keywords] + [call.args[1] for call in calls if len(call.args) > 1]
    assert {text_of(expression, {"A": "constant {!r}"}) for expression in expressions} == {"do {}", "constant {}", "g(y)"}


# -- helpers ----------------------------------------------------------------------------------------------------------------------


def refused(path: Path, **options: Any) -> tuple[Problem, ...]:
    """The problems of a file: the same from load, describe and convert; the command line prints them."""
    with pytest.raises(UnsupportedError) as caught:
        fastlstm.load(path, **options)
    problems = caught.value.problems
    assert fastlstm.describe(path, **options).problems == problems
    with pytest.raises(UnsupportedError):
        fastlstm.convert(path, path.with_suffix(".fastlstm"), **options)
    for problem in problems:
        if "fastlstm.load" in problem.advice:  # what the command line has no option for
            assert "in Python: " in problem.advice
    return problems


def supplied(path: Path, functions: Functions, **options: Any) -> fastlstm.Model:
    """The model with functions supplied as its problems advise: what stands there as Python is taken as it is.

    ``functions``: for each name that an advice gives, what computes it.
    """
    given: dict[str, Functions] = {}
    for problem in refused(path, **options):
        found = re.search(r"fastlstm\.load\(\.\.\., (\w+)=(\{.*?: function\})\)", problem.advice)
        assert found is not None, problem
        (name,) = ast.literal_eval(found[2].replace(": function}", ": None}"))
        given.setdefault(found[1], {})[name] = functions[name]
    return fastlstm.load(path, **options, **given)


def start(shape: tuple[int | None, ...] = (5, 3)) -> dict[str, Any]:
    return {"batch_input_shape": [None, *shape]}


# -- what a file does not tell ----------------------------------------------------------------------------------------------------


@follows("compile the model in that TensorFlow and save it again, which tells")
def test_compile_a_model_of_tensorflow_1_13(tmp_path: Path) -> None:
    masking = {"class_name": "Masking", "config": {"name": "m", "mask_value": 0.0, **start()}}
    nested = {"class_name": "Sequential", "name": "s", "config": {"name": "s", "layers": [masking]}, "inbound_nodes": [[["x", 0, 0, {}]]]}
    config = functional([entrance("x", 5, 3), nested], [["x", 0, 0]], [["s", 1, 0]])
    path = write_h5(tmp_path / "m.h5", config, {}, "2.2.4-tf")
    assert [problem.layer for problem in refused(path)] == ["s"]
    with h5py.File(path, "r+") as file:  # as compiled
        file.attrs["training_config"] = json.dumps({"optimizer_config": {"class_name": "SGD", "config": {"lr": 0.01}}})
    np.testing.assert_array_equal(fastlstm.load(path).predict(X), X)


# -- functions of the caller's ----------------------------------------------------------------------------------------------------


@follows("supply it as a function of NumPy arrays, in Python: fastlstm.load(..., custom_layers={{}: function})")
@pytest.mark.parametrize(
    ("kind", "config", "version"),
    [
        ("Lambda", {"function": ["4wEAAA", None, None], "function_type": "lambda"}, "2.2.4"),
        ("Mystery", {}, "2.3.1"), ("mine>Mystery", {"size": 3}, "2.10.0"), ("LayerNormalization", {}, "2.2.4"),
        ("TFOpLambda", {"function": "math.negative"}, "2.10.0"), ("SlicingOpLambda", {"function": "__operators__.getitem"}, "2.10.0"),
        ("TensorFlowOpLayer", {"node_def": "Neg", "constants": {}}, "2.3.0-tf"), ("Negative", {}, "3.3.0"), ("GetItem", {}, "3.15.0"),
    ],
)  # fmt: skip
def test_supply_a_layer(kind: str, config: dict[str, Any], version: str, tmp_path: Path) -> None:
    strange = layer(kind, "strange", [[["x", 0, 0, {}]]], **config)
    if version.startswith("3"):  # operations of a graph record no more than a name
        strange["config"] = {"name": "strange"}
    path = write_h5(tmp_path / "m.h5", functional([entrance("x", 5, 3), strange], [["x", 0, 0]], [["strange", 0, 0]]), {}, version)
    np.testing.assert_array_equal(supplied(path, {"strange": np.negative}).predict(X), -X)


@pytest.mark.parametrize("wrapped", [False, True])
def test_supply_a_layer_inside(wrapped: bool, tmp_path: Path) -> None:
    strange = {"class_name": "Lambda", "config": {"name": "strange", "function": "x"}}
    if wrapped:
        path = write_h5(tmp_path / "m.h5", chain(("TimeDistributed", {"name": "td", "layer": strange, **start()})), {})
        name = "td/strange"
    else:
        inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": [
            {"class_name": "Activation", "config": {"name": "first", "activation": "linear", **start()}}, strange,
        ]}}  # fmt: skip
        path = write_h5(tmp_path / "m.h5", {"class_name": "Sequential", "config": {"name": "outer", "layers": [inner]}}, {})
        name = "inner/strange"
    np.testing.assert_array_equal(supplied(path, {name: np.negative}).predict(X), -X)


@follows(
    "supply the layer around it, as a whole, as a function of NumPy arrays, in Python: fastlstm.load(..., custom_layers={{}: function})"
)
@pytest.mark.parametrize("around", ["", "StackedRNNCells", "TimeDistributed", "Bidirectional"])
def test_supply_the_layer_around_a_cell(around: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """A cell of the user's that adds up x kernel, inside an RNN, a stack of cells, a wrapper."""
    cell = {"class_name": "MyCell", "config": {"name": "cell", "units": 2}}
    kernel = rng.normal(size=(3, 2)).astype(np.float32)
    if around == "StackedRNNCells":
        cell = {"class_name": "StackedRNNCells", "config": {"name": "cells", "cells": [cell]}}
    rnn = {"class_name": "RNN", "config": {"name": "rnn", "cell": cell, "return_sequences": True}}
    name, shape, groups, x = "rnn", (5, 3), {"rnn": [kernel]}, X
    if around in ("TimeDistributed", "Bidirectional"):
        rnn, name, groups = {"class_name": around, "config": {"name": "wrapper", "layer": rnn}}, "wrapper", {"wrapper": [kernel]}
    if around == "TimeDistributed":
        name, shape, x = "wrapper/rnn", (2, 5, 3), np.stack([X, -X], axis=1)
    if around == "Bidirectional":
        groups["wrapper"].append(-kernel)
    rnn["config"].update(start(shape))
    path = write_h5(tmp_path / "m.h5", chain((rnn["class_name"], rnn["config"])), groups)

    def compute(x: np.ndarray, weights: tuple[np.ndarray, ...]) -> np.ndarray:
        forward = np.cumsum(x @ weights[0], axis=1)
        return forward if len(weights) == 1 else np.concatenate([forward, np.cumsum((x @ weights[1])[:, ::-1], axis=1)[:, ::-1]], axis=-1)

    y = supplied(path, {name: compute}).predict(x)
    rows = x.reshape(-1, 5, 3)
    expected = compute(rows, tuple(groups[rnn["config"]["name"]])).reshape(*x.shape[:-1], -1)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_supply_the_wrapper_of_a_recurrent_layer_of_ones_own(tmp_path: Path) -> None:
    inner = {"class_name": "mine>MyLSTM", "config": {"name": "inner", "return_sequences": True}}
    path = write_h5(tmp_path / "m.h5", chain(("Bidirectional", {"name": "both", "layer": inner, **start()})), {}, "2.10.0")
    problems = refused(path)
    advised = {problem.advice for problem in problems if problem.advice}
    assert len(advised) == 1
    assert "custom_layers={'both': function}" in advised.pop()
    np.testing.assert_array_equal(fastlstm.load(path, custom_layers={"both": np.negative}).predict(X), -X)


@follows("supply it as a function of a NumPy array, in Python: fastlstm.load(..., custom_activations={{}: function})")
@pytest.mark.parametrize(
    ("forms", "functions"),
    [
        (("wobble", "wobble"), {"wobble": np.negative}),
        (("mine>f", "yours>f"), {"mine>f": np.negative, "yours>f": np.abs}),
        (("<lambda>", "<lambda>"), {"a:activation": np.negative, "b:activation": np.abs}),
        (({"class_name": "Times", "config": {"by": 2}}, {"class_name": "Times", "config": {"by": 3}}),
         {"Times": lambda x, config: config["by"] * x}),
    ],
)  # fmt: skip
def test_supply_an_activation(forms: tuple[Any, Any], functions: Functions, tmp_path: Path) -> None:
    one, other = forms
    config = chain(("Activation", {"name": "a", "activation": one, **start()}), ("Activation", {"name": "b", "activation": other}))
    y = supplied(write_h5(tmp_path / "m.h5", config, {}, "2.10.0"), functions).predict(X)
    first, last = (list(functions.values()) * 2)[:2]
    expected = 6 * X if len(functions) == 1 and "Times" in functions else last(first(X))
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_supply_an_activation_of_a_cell(tmp_path: Path, rng: np.random.Generator) -> None:
    rnn = build.recurrent("GRU", 2, 3, rng, activation="wobble", recurrent_activation="wabble")
    known = {**rnn.entry["config"], "activation": "tanh", "recurrent_activation": "softsign"}
    same = build.Layer({**rnn.entry, "config": known}, rnn.weights)
    functions = {"wobble": np.tanh, "wabble": lambda x: x / (1 + np.abs(x))}
    y = supplied(build.save(tmp_path / "m.h5", [rnn], (5, 3)), functions).predict(X)
    expected = fastlstm.load(build.save(tmp_path / "n.h5", [same], (5, 3))).predict(X)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.keras
def test_supply_live_layers(keras: Any, tmp_path: Path) -> None:
    """A layer with arrays, a cell, and operations of a graph, as Keras itself saves them."""
    tf = pytest.importorskip("tensorflow")

    @keras.saving.register_keras_serializable(package="mine")
    class Scale(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.first = self.add_weight(name="first", shape=(shape[-1],), initializer="random_normal")
            self.second = self.add_weight(name="second", shape=(1,), initializer="random_normal", trainable=False)
            self.built = True

        def call(self, x: Any) -> Any:
            return x * self.first + self.second

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    @keras.saving.register_keras_serializable(package="mine")
    class Sum(keras.layers.Layer):
        state_size = output_size = 2

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 2), initializer="random_normal")
            self.built = True

        def call(self, x: Any, states: Any, training: bool = False) -> Any:
            h = states[0] + tf.matmul(x, self.kernel)
            return h, [h]

    x = keras.Input((5, 3))
    a = Scale(name="scale")(x)
    b = keras.layers.RNN(Sum(name="sum"), return_sequences=True, name="rnn")(a)
    model = keras.Model(x, keras.layers.LSTM(2)(b[:, 1:] * 2.0))
    expected = model.predict(X, verbose=0)
    functions: Functions = {"scale": lambda x, weights: x * weights[0] + weights[1], "rnn": lambda x, weights: np.cumsum(x @ weights[0], 1)}
    operations = {"getitem": lambda x: x[:, 1:], "get_item": lambda x: x[:, 1:], "multiply": lambda x: 2 * x}
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        given = dict(functions)
        for info in fastlstm.describe(path).layers:
            ending = info.name.rstrip("_0123456789").rsplit(".", 1)[-1]
            if ending in operations:
                given[info.name] = operations[ending]
        y = supplied(path, given).predict(X)
        assert np.abs(y - expected).max() <= 2e-6 + 1e-5 * np.abs(expected).max()


# -- models saved again -----------------------------------------------------------------------------------------------------------


@follows("save the layers after it as a model of their own, in Keras, and give predict the numbers that this layer makes of the text")
@pytest.mark.keras
def test_save_the_layers_behind_text(keras: Any, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    layers = keras.layers
    text = layers.TextVectorization(output_sequence_length=5)
    text.adapt(tf.constant(["one two three", "two four"]))
    model = keras.Sequential([keras.Input((1,), dtype="string"), text, layers.Embedding(9, 3, mask_zero=True), layers.LSTM(2)])
    sentences = tf.constant([["one four"], ["two two three"]])
    model.save(tmp_path / "m.keras")
    (problem,) = refused(tmp_path / "m.keras")
    assert "not text" in problem.what

    rest = keras.Sequential([keras.Input((5,), dtype="int64"), *model.layers[1:]])
    rest.save(tmp_path / "rest.keras")
    y = fastlstm.load(tmp_path / "rest.keras").predict(np.asarray(text(sentences)))
    np.testing.assert_allclose(y, model(sentences), rtol=1e-5, atol=1e-6)


def test_text_that_another_layer_reads(tmp_path: Path) -> None:
    """Where a layer is given strings, a function of arrays would be given none either."""
    source = entrance("x", 1)
    source["config"]["dtype"] = "string"
    hashing = layer("Hashing", "hash", [[["x", 0, 0, {}]]], num_bins=3)
    path = write_h5(tmp_path / "m.h5", functional([source, hashing], [["x", 0, 0]], [["hash", 0, 0]]), {}, "2.10.0")
    (problem,) = refused(path)
    assert problem.advice.startswith("save the layers after it")


@follows("save it again as a plain Sequential or functional Model")
@pytest.mark.keras
def test_save_as_a_plain_model(keras: Any, tmp_path: Path) -> None:
    class Own(keras.Model):
        pass

    x = keras.Input((5, 3))
    own = Own(x, keras.layers.LSTM(2)(x))
    own.save(tmp_path / "m.h5")
    (problem,) = refused(tmp_path / "m.h5")
    assert "'Own'" in problem.what
    keras.Model(own.inputs, own.outputs).save(tmp_path / "plain.h5")
    y = fastlstm.load(tmp_path / "plain.h5").predict(X)
    np.testing.assert_allclose(y, own.predict(X, verbose=0), rtol=1e-5, atol=1e-6)


@follows("build the model before saving it")
@pytest.mark.keras
def test_build_before_saving(keras: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.layers.Activation("relu"), keras.layers.Activation("tanh")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the optimizer, and that it is not built
        model.save(tmp_path / "m.keras")
        problems = refused(tmp_path / "m.keras")
        assert "what shape its input has" in problems[0].what
        model.build((None, 3))
        model.save(tmp_path / "built.keras")
    y = fastlstm.load(tmp_path / "built.keras").predict(X[:, 0])
    np.testing.assert_allclose(y, model.predict(X[:, 0], verbose=0), rtol=1e-5, atol=1e-6)


@follows("float32, float64 or a mixed policy would do")
@pytest.mark.keras
def test_save_with_another_policy(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")

    def save(policy: str) -> Path:
        path = tmp_path / f"{policy}.keras"
        model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(2, dtype=policy)])
        model.save(path)
        return path

    (problem,) = refused(with_dtype(save("float32"), tmp_path / "odd.keras", "float8"))
    assert "float8" in problem.what
    for policy in ("float32", "float64", "mixed_float16", "mixed_bfloat16"):
        assert fastlstm.load(save(policy)).predict(X).shape == (4, 2)


def with_dtype(source: Path, target: Path, dtype: str) -> Path:
    """A .keras file with another dtype written into it, that a Keras to come may know."""
    import zipfile

    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"][1]["config"]["dtype"] = dtype
                data = json.dumps(config).encode()
            new.writestr(name, data)
    return target


@follows("pass architecture= with a JSON whose cells have them")
def test_architecture_of_cells(tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    def config(**arguments: Any) -> dict[str, Any]:
        cell = {"class_name": "LSTMCell", "config": {"name": "cell", "trainable": True, **arguments}}
        return chain(("RNN", {"name": "r", "cell": cell, **start()}))

    weights = [build.random(rng, 3, 8), build.random(rng, 2, 8)]
    path = write_h5(tmp_path / "m.h5", config(), {"r": weights}, "2.0.9")
    (problem,) = refused(path)
    assert "without their arguments" in problem.what
    whole = config(units=2, activation="tanh", recurrent_activation="hard_sigmoid", use_bias=False)
    y = fastlstm.load(path, architecture=json.dumps(whole)).predict(X)
    plain = chain(("LSTM", {**whole["config"][0]["config"]["cell"]["config"], **start()}))
    expected = fastlstm.load(write_h5(tmp_path / "n.h5", plain, {"cell": weights}, "2.0.9")).predict(X)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    (tmp_path / "whole.json").write_text(json.dumps(whole), encoding="utf-8")
    assert main(["inspect", str(path), "--architecture", str(tmp_path / "whole.json")]) == 0


@follows("rename one")
def test_rename_a_stateful_layer(tmp_path: Path) -> None:
    def model(name: str) -> ModelSpec:
        inner = model_of(recurrent("GRU", 2, 3, "b", stateful=True, return_sequences=True), shape=(2, None, 3))
        return model_of(
            recurrent("GRU", 3, 3, name, stateful=True, return_sequences=True), LayerSpec("Sequential", "a", {}, (), (), inner),
            shape=(2, None, 3),
        )  # fmt: skip

    with pytest.raises(UnsupportedError, match="layer 'a/b' .*another stateful layer has the same name; rename one"):
        fastlstm.Model(model("a/b"))
    assert fastlstm.Model(model("c")).predict(np.ones((2, 4, 3))).shape == (2, 4, 2)


@follows("save the model before quantize()")
@pytest.mark.keras
@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_save_before_quantising(tmp_path: Path, ending: str, mode: str) -> None:
    keras = pytest.importorskip("keras", minversion="3.10")
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.GRU(4), keras.layers.Dense(2)])
    model.save(tmp_path / f"before{ending}")
    expected = model.predict(X, verbose=0)
    model.quantize(mode)
    model.save(tmp_path / f"after{ending}")
    (problem,) = refused(tmp_path / f"after{ending}")
    assert problem.what == f"it is quantised ({problem.what.split('(')[1].split(')')[0]}), which is not computed"
    assert mode in problem.what
    np.testing.assert_allclose(fastlstm.load(tmp_path / f"before{ending}").predict(X), expected, rtol=1e-5, atol=1e-6)


@follows("please report the file")
def test_a_report_has_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is looked at as far as it can be: Keras's version, the layer, the argument and its value."""
    config = chain(("Activation", {"name": "a", "activation": "relu", "shiny": 7, **start()}))
    path = write_h5(tmp_path / "m.h5", config, {}, "2.10.0")
    (problem,) = refused(path)
    assert problem[:2] == ("a", "Activation")
    assert main(["inspect", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert "2.10.0" in told["generation"]
    assert "shiny=7" in told["problems"][0]["what"]
    assert told["layers"][-1]["output_shape"] == [None, 5, 3]
