"""Every advice that a refusal gives is followed here, to the letter, and works. One that nobody follows yet fails."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5_files
import h5py
import numpy as np
import pytest
from advice import Functions, follows, refused, supplied
from keras_configs import chain, entrance, functional, layer, write_groups, write_h5
from layer_specs import model_of, recurrent

import fastlstm
from fastlstm.cli.main import main
from fastlstm.errors import Problem, UnsupportedError
from fastlstm.spec import LayerSpec, ModelSpec

PACKAGE = Path(fastlstm.__file__).parent
TESTS = Path(__file__).parents[1]
X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)


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


def followed() -> set[str]:
    """The advice that tests here and in tests/live follow, as they say."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in TESTS.rglob("test_*advice.py")]
    decorators = [each for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef) for each in node.decorator_list]
    calls = [each for each in decorators if isinstance(each, ast.Call) and called(each) == "follows"]
    return {ast.literal_eval(call.args[0]) for call in calls}


def test_every_advice_is_followed() -> None:
    given = set(advices())
    assert not given - followed(), "no test follows these"
    assert not followed() - given, "nobody gives these any more"


def test_new_advice_is_noticed() -> None:
    tree = ast.parse("A = 'constant {!r}'\ndef f(what, advice=''): ...\nf('x', f'do {y}')\nself.f('x', A.format(1))\nf('x', advice=g(y))")
    assert advising([tree])["f"] == 1
    assert advising([ast.parse("class C:\n def f(self, advice): ...")])[".f"] == 0
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    expressions = [word.value for call in calls for word in call.keywords] + [call.args[1] for call in calls if len(call.args) > 1]
    assert {text_of(expression, {"A": "constant {!r}"}) for expression in expressions} == {"do {}", "constant {}", "g(y)"}


# -- helpers ----------------------------------------------------------------------------------------------------------------------


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


def of_one_lstm(path: Path, version: str, *, inside: bool = False, **config: Any) -> Path:
    """A file of one LSTM, or of one inside TimeDistributed."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 8), (2, 8), (8,))]
    own = {
        "name": "l",
        "units": 2,
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "kernel_initializer": {"class_name": "Zeros", "config": {}},
        **config,
    }
    start = {"batch_input_shape": [4, 5, 3] if not inside else [4, 2, 5, 3]}
    wrapped = {"name": "l", "layer": {"class_name": "LSTM", "config": {**own, "name": "inner"}}, **start}
    layers = ("TimeDistributed", wrapped) if inside else ("LSTM", {**own, **start})
    return write_h5(path, chain(layers), {"l": weights}, version)


@follows("time_major=False would do, with the axes in order")
def test_time_in_front_of_rows(tmp_path: Path) -> None:
    refused(of_one_lstm(tmp_path / "m.h5", "2.4.0", stateful=True, time_major=True))
    model = fastlstm.load(of_one_lstm(tmp_path / "n.h5", "2.4.0", stateful=True, time_major=False))
    assert model.predict(X).shape == (4, 2)


@follows("make the layer stateless (stateful=False), where its state is not needed, and save the model again")
def test_a_stateful_layer_at_every_step(tmp_path: Path) -> None:
    refused(of_one_lstm(tmp_path / "m.h5", "2.2.4-tf", inside=True, stateful=True, time_major=False))
    model = fastlstm.load(of_one_lstm(tmp_path / "n.h5", "2.2.4-tf", inside=True, stateful=False, time_major=False))
    assert model.predict(np.stack([X, X], 1)).shape == (4, 2, 2)


@follows("what is the same for all timesteps is given when the stream begins: stream(batch_size, initial={{}}{})")
def test_a_stream_of_what_stays(tmp_path: Path) -> None:
    layers = [entrance("x", None, 3), entrance("g", 1, 3), layer("Multiply", "m", [[["x", 0, 0, {}], ["g", 0, 0, {}]]])]
    config = functional(layers, [["x", 0, 0], ["g", 0, 0]], [["m", 0, 0]])
    model = fastlstm.load(write_h5(tmp_path / "m.h5", config, {}, "2.10.0"))
    with pytest.raises(UnsupportedError) as caught:
        model.stream(4)
    assert any("initial={'g'" in problem.advice for problem in caught.value.problems)
    stream = model.stream(4, initial={"g": X[:, :1]})
    np.testing.assert_array_equal(stream.step(X[:, 1]), X[:, 1] * X[:, 0])


@follows("say how many timesteps there are at most: stream(batch_size, max_steps=...)")
def test_a_stream_that_remembers(tmp_path: Path) -> None:
    layers = [entrance("x", None, 3), layer("Attention", "a", [[["x", 0, 0, {}], ["x", 0, 0, {}]]], causal=True)]
    config = functional(layers, [["x", 0, 0]], [["a", 0, 0]])
    model = fastlstm.load(write_h5(tmp_path / "m.h5", config, {}, "2.6.0"))
    with pytest.raises(UnsupportedError) as caught:
        model.stream(4)
    assert [problem.advice for problem in caught.value.problems] == [
        "say how many timesteps there are at most: stream(batch_size, max_steps=...)"
    ]
    stream = model.stream(4, max_steps=2)
    np.testing.assert_allclose(np.stack([stream.step(X[:, 0]), stream.step(X[:, 1])], 1), model.predict(X[:, :2]), rtol=1e-6)


# -- functions of the caller's ----------------------------------------------------------------------------------------------------


@follows("supply it as a function of NumPy arrays, in Python: fastlstm.load(..., custom_layers={{}: function})")
@pytest.mark.parametrize(
    ("kind", "config", "version"),
    [
        ("Mystery", {}, "2.3.1"), ("mine>Mystery", {"size": 3}, "2.10.0"), ("LayerNormalization", {}, "2.2.4"),
        ("TFOpLambda", {"function": "math.lgamma"}, "2.10.0"), ("SlicingOpLambda", {"function": "__operators__.ragged_getitem"}, "2.10.0"),
        ("TensorFlowOpLayer", {"node_def": "Neg", "constants": {}}, "2.3.0-tf"), ("Erfinv", {}, "3.3.0"), ("Rot90", {}, "3.15.0"),
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


@follows("supply it as a function of one timestep of NumPy arrays, in Python: fastlstm.load(..., custom_layers={{}: function})")
@pytest.mark.parametrize("around", ["", "StackedRNNCells", "TimeDistributed", "Bidirectional"])
def test_supply_a_cell(around: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """A cell of the user's that adds up x kernel, inside an RNN, a stack of cells, a wrapper."""
    cell = {"class_name": "MyCell", "config": {"name": "cell", "units": 2}}
    kernel = rng.normal(size=(3, 2)).astype(np.float32)
    if around == "StackedRNNCells":
        cell = {"class_name": "StackedRNNCells", "config": {"name": "cells", "cells": [cell]}}
    rnn = {"class_name": "RNN", "config": {"name": "rnn", "cell": cell, "return_sequences": True}}
    names, shape, groups, x = ["rnn/cell"], (5, 3), {"rnn": [kernel]}, X
    if around == "StackedRNNCells":
        names = ["rnn/cells/cell"]
    if around in ("TimeDistributed", "Bidirectional"):
        rnn, groups = {"class_name": around, "config": {"name": "wrapper", "layer": rnn}}, {"wrapper": [kernel]}
        names = ["wrapper/rnn/cell"]
    if around == "TimeDistributed":
        shape, x = (2, 5, 3), np.stack([X, -X], axis=1)
    if around == "Bidirectional":
        groups["wrapper"].append(-kernel)
        names = ["wrapper/forward_rnn/cell", "wrapper/backward_rnn/cell"]
    rnn["config"].update(start(shape))
    path = write_h5(tmp_path / "m.h5", chain((rnn["class_name"], rnn["config"])), groups)

    def step(x: np.ndarray, states: list[np.ndarray], weights: tuple[np.ndarray, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
        h = states[0] + x @ weights[0]
        return h, [h]

    y = supplied(path, dict.fromkeys(names, step)).predict(x)
    rows = x.reshape(-1, 5, 3)
    expected = np.cumsum(rows @ kernel, axis=1)
    if around == "Bidirectional":
        expected = np.concatenate([expected, np.cumsum((rows @ -kernel)[:, ::-1], axis=1)[:, ::-1]], axis=-1)
    np.testing.assert_allclose(y, expected.reshape(*x.shape[:-1], -1), rtol=1e-5, atol=1e-6)


@follows("write what it computes with NumPy, in Python: fastlstm.load(..., custom_layers={{}: lambda {}: ...})")
def test_write_what_a_lambda_computes(tmp_path: Path) -> None:
    code = {"function": ["4wEAAA", None, None], "function_type": "lambda"}
    one = layer("Lambda", "one", [[["x", 0, 0, {}]]], arguments={"by": 2}, **code)
    two = layer("Lambda", "two", [[["x", 0, 0, {}], ["one", 0, 0, {}]]], **code)
    path = write_h5(tmp_path / "m.h5", functional([entrance("x", 5, 3), one, two], [["x", 0, 0]], [["two", 0, 0]]), {}, "2.2.4")
    first, second = (problem.advice for problem in refused(path))
    assert "custom_layers={'one': lambda x, config: ...}" in first
    assert "custom_layers={'two': lambda x1, x2: ...}" in second
    given = {"one": lambda x, config: config["arguments"]["by"] * x, "two": lambda x1, x2: x1 + x2}
    np.testing.assert_allclose(supplied(path, given).predict(X), 3 * X, rtol=1e-6)


@follows("give them again, in Python: fastlstm.load(..., {})")
def test_give_the_functions_again(tmp_path: Path) -> None:
    own = layer("mine>Own", "own", [[["x", 0, 0, {}]]])
    act = layer("Activation", "act", [[["own", 0, 0, {}]]], activation="mine>wobble")
    path = write_h5(tmp_path / "m.h5", functional([entrance("x", 5, 3), own, act], [["x", 0, 0]], [["act", 0, 0]]), {}, "2.10.0")
    fastlstm.convert(path, tmp_path / "m.fastlstm", custom_layers={"Own": np.negative}, custom_activations={"wobble": np.abs})
    with pytest.raises(UnsupportedError) as caught:
        fastlstm.load(tmp_path / "m.fastlstm")
    (problem,) = caught.value.problems
    assert fastlstm.describe(tmp_path / "m.fastlstm").problems == (problem,)
    line = problem.advice.partition("in Python: ")[2]
    assert line == "fastlstm.load(..., custom_layers={'Own': function}, custom_activations={'wobble': function})"
    model = fastlstm.load(tmp_path / "m.fastlstm", custom_layers={"Own": np.negative}, custom_activations={"wobble": np.abs})
    np.testing.assert_array_equal(model.predict(X), np.abs(X))


@follows(
    "supply the layer around it, as a whole, as a function of NumPy arrays, in Python: fastlstm.load(..., custom_layers={{}: function})"
)
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
    rnn = h5_files.recurrent("GRU", 2, 3, rng, activation="wobble", recurrent_activation="wabble")
    known = {**rnn.entry["config"], "activation": "tanh", "recurrent_activation": "softsign"}
    same = h5_files.Layer({**rnn.entry, "config": known}, rnn.weights)
    functions = {"wobble": np.tanh, "wabble": lambda x: x / (1 + np.abs(x))}
    y = supplied(h5_files.save(tmp_path / "m.h5", [rnn], (5, 3)), functions).predict(X)
    expected = fastlstm.load(h5_files.save(tmp_path / "n.h5", [same], (5, 3))).predict(X)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# -- models saved again -----------------------------------------------------------------------------------------------------------


def test_text_that_another_layer_reads(tmp_path: Path) -> None:
    """Where a layer is given strings, a function of arrays would be given none either."""
    source = entrance("x", 1)
    source["config"]["dtype"] = "string"
    own = {**layer("Custom>Reads", "own", [[["x", 0, 0, {}]]]), "class_name": "Custom>Reads"}
    path = write_h5(tmp_path / "m.h5", functional([source, own], [["x", 0, 0]], [["own", 0, 0]]), {}, "2.10.0")
    (problem,) = refused(path)
    assert problem.advice.startswith("save the layers after it")


@follows("pass architecture= with a JSON whose cells have them")
def test_architecture_of_cells(tmp_path: Path, rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    def config(**arguments: Any) -> dict[str, Any]:
        cell = {"class_name": "LSTMCell", "config": {"name": "cell", "trainable": True, **arguments}}
        return chain(("RNN", {"name": "r", "cell": cell, **start()}))

    weights = [h5_files.random(rng, 3, 8), h5_files.random(rng, 2, 8)]
    path = write_h5(tmp_path / "m.h5", config(), {"r": weights}, "2.0.9")
    (problem,) = refused(path)
    assert "without their arguments" in problem.what
    whole = config(units=2, activation="tanh", recurrent_activation="hard_sigmoid", use_bias=False)
    y = fastlstm.load(path, architecture=json.dumps(whole)).predict(X)
    plain = chain(("LSTM", {**whole["config"][0]["config"]["cell"]["config"], **start()}))
    expected = fastlstm.load(write_h5(tmp_path / "n.h5", plain, {"cell": weights}, "2.0.9")).predict(X)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    (tmp_path / "whole.json").write_text(json.dumps(whole), encoding="utf-8")
    assert main(["describe", str(path), "--architecture", str(tmp_path / "whole.json")]) == 0


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


@follows("please report the file")
def test_a_report_has_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is looked at as far as it can be: Keras's version, the layer, the argument and its value."""
    config = chain(("Activation", {"name": "a", "activation": "relu", "shiny": 7, **start()}))
    path = write_h5(tmp_path / "m.h5", config, {}, "2.10.0")
    (problem,) = refused(path)
    assert problem[:2] == ("a", "Activation")
    assert main(["describe", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert "2.10.0" in told["generation"]
    assert "shiny=7" in told["problems"][0]["what"]
    assert told["layers"][-1]["output_shape"] == [None, 5, 3]


@follows("write the architecture by hand or, where the model's code is at hand, save it in Keras with model.to_json()")
def test_an_architecture_written_by_hand(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        write_groups(file, {"a": [], "b": [], "concatenate": [], "dense": [np.ones((5, 2), np.float32), np.ones(2, np.float32)]})
    found = fastlstm.draft_architecture(tmp_path / "w.h5")
    with pytest.raises(UnsupportedError, match="a Concatenate reads several tensors|no layer in it"):
        found.to_json()
    layers = [
        entrance("a", 3), entrance("b", 2), layer("Concatenate", "concatenate", [[["a", 0, 0, {}], ["b", 0, 0, {}]]], axis=-1),
        layer("Dense", "dense", [[["concatenate", 0, 0, {}]]], units=2, activation="linear", use_bias=True),
    ]  # fmt: skip
    by_hand = functional(layers, [["a", 0, 0], ["b", 0, 0]], [["dense", 0, 0]])
    model = fastlstm.load(tmp_path / "w.h5", architecture=by_hand)
    assert model.predict([np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32)]).shape == (1, 2)
