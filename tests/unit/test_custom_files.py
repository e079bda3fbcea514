"""Converted files of models with functions of one's own: they name the functions, hold no code, and ask for them; the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import chain, write_h5
from layer_specs import activated, model_of, own, recurrent

import fastlstm
from fastlstm.cli.main import main
from fastlstm.errors import FormatError, InputError, UnsupportedError, VerificationError
from fastlstm.formats import own as own_files
from fastlstm.model import Model
from fastlstm.spec import Functions, LayerSpec, ModelSpec

pytestmark = pytest.mark.slow  # others look at each of these rooms in the quick run

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
START = {"batch_input_shape": [None, 5, 3]}


def turned(x: np.ndarray) -> np.ndarray:
    return -2 * x


def add(x: np.ndarray, states: list[np.ndarray], weights: tuple[np.ndarray, ...]) -> Any:
    h = states[0] + x @ weights[0]
    return h, [h]


LAYERS = {"Turn": turned, "rnn/cell": add}
ACTIVATIONS = {"wobble": np.tanh, "lstm:activation": np.arctan}
ASKED = "custom_layers={'Turn': function, 'rnn/cell': function}, custom_activations={'wobble': function, 'lstm:activation': function}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A layer, a cell and activations of the user's."""
    rng = np.random.default_rng(0)
    lstm = {"units": 2, "activation": "mine>odd", "recurrent_activation": "sigmoid", "return_sequences": True, "use_bias": False}
    config = chain(
        ("mine>Turn", {"name": "turn", **START}), ("Activation", {"name": "act", "activation": "mine>wobble"}),
        ("RNN", {"name": "rnn", "cell": {"class_name": "mine>Sum", "config": {"name": "cell", "units": 2}}, "return_sequences": True}),
        ("LSTM", {"name": "lstm", **lstm}),
    )  # fmt: skip
    weights = {"rnn": [rng.normal(size=(3, 2))], "lstm": [rng.normal(size=(2, 8)), rng.normal(size=(2, 8))]}
    arrays = {name: [array.astype(np.float32) for array in found] for name, found in weights.items()}
    return write_h5(tmp_path / "m.h5", config, arrays, "2.10.0")


@pytest.fixture
def given() -> dict[str, Any]:
    return {"custom_layers": LAYERS, "custom_activations": ACTIVATIONS}


@pytest.fixture
def converted(source: Path, given: dict[str, Any]) -> Path:
    target = source.with_suffix(".fastlstm")
    report = fastlstm.convert(source, target, **given)
    assert report.cases and report.parameters == 38
    return target


def test_a_converted_file_asks_for_its_functions(source: Path, converted: Path, given: dict[str, Any]) -> None:
    expected = fastlstm.load(source, **given).predict(X)
    for call in (fastlstm.load, fastlstm.verify):
        with pytest.raises(UnsupportedError) as caught:
            call(converted)
        (problem,) = caught.value.problems
        assert problem.advice == f"give them again, in Python: fastlstm.load(..., {ASKED})"
    assert fastlstm.describe(converted).problems == (problem,)
    assert fastlstm.describe(converted, **given).problems == ()
    for isolated in (False, True):
        np.testing.assert_array_equal(fastlstm.load(converted, verify=True, isolated=isolated, **given).predict(X), expected)
        assert fastlstm.verify(converted, isolated=isolated, **given).passed
        assert fastlstm.convert(source, source.with_name("again.fastlstm"), isolated=isolated, **given).cases
        assert source.with_name("again.fastlstm").read_bytes() == converted.read_bytes()
    with pytest.raises(UnsupportedError) as caught:
        fastlstm.load(converted, custom_layers={"Turn": turned}, custom_activations=ACTIVATIONS)
    assert caught.value.problems[0].advice.endswith("fastlstm.load(..., custom_layers={'rnn/cell': function})")
    by_other_names = {"turn": turned, "mine>Sum": add}
    y = fastlstm.load(converted, custom_layers=by_other_names, custom_activations={"mine>wobble": np.tanh, "odd": np.arctan}).predict(X)
    np.testing.assert_array_equal(y, expected)
    whole = {"turn": turned, "rnn": lambda x, weights: np.cumsum(x @ weights[0], 1)}
    np.testing.assert_allclose(
        fastlstm.load(converted, custom_layers=whole, custom_activations=ACTIVATIONS).predict(X), expected, rtol=1e-5
    )


def test_a_part_of_a_model_asks_for_the_functions_in_it(source: Path, converted: Path, given: dict[str, Any]) -> None:
    """The layer of the user's is in it, the cell and the activations behind it are not; and the other way round."""
    with pytest.raises(UnsupportedError, match=r"fastlstm.load\(..., custom_layers=\{'Turn': function\}\)"):
        fastlstm.load(converted, outputs=["turn"])
    y = fastlstm.load(converted, outputs=["turn"], custom_layers={"Turn": turned}).predict(X)
    np.testing.assert_array_equal(y, -2 * X)
    part = source.with_name("part.fastlstm")
    fastlstm.convert(source, part, inputs=["turn"], outputs=["rnn"], **given)
    assert header_of(part)["model"]["functions"] == {"layers": {"rnn/cell": "rnn/cell"}, "activations": {"act:activation": "wobble"}}
    functions = {"custom_layers": {"Sum": add}, "custom_activations": {"wobble": np.tanh}}
    whole = fastlstm.load(source, outputs=["rnn"], **given).predict(X)
    np.testing.assert_allclose(fastlstm.load(part, verify=True, **functions).predict(-2 * X), whole, rtol=1e-5, atol=1e-6)


def test_other_functions_do_not_verify(converted: Path, given: dict[str, Any]) -> None:
    other = {**given, "custom_layers": {**LAYERS, "Turn": np.abs}}
    assert not fastlstm.verify(converted, **other).passed
    with pytest.raises(VerificationError):
        fastlstm.load(converted, verify=True, **other)


def test_what_a_function_replaced_is_asked_for_too(tmp_path: Path) -> None:
    """A layer that fastlstm knows would compute something else than was converted."""
    spec = model_of(recurrent("LSTM", name="lstm"), activated("a", "tanh"))
    given = {"custom_layers": {"lstm": lambda x: x[:, 0]}, "custom_activations": {"tanh": np.arctan}}
    model = Model(spec, **given)
    functions = Functions({"lstm": "lstm"}, {"a:activation": "tanh"})
    own_files.write(tmp_path / "m.fastlstm", ModelSpec(**{**spec.__dict__, "functions": functions}))
    with pytest.raises(UnsupportedError, match=r"custom_layers=\{'lstm': function\}, custom_activations=\{'tanh': function\}"):
        fastlstm.load(tmp_path / "m.fastlstm")
    np.testing.assert_array_equal(fastlstm.load(tmp_path / "m.fastlstm", **given).predict(X), model.predict(X))


def test_classes_without_get_config(tmp_path: Path) -> None:
    """Keras saves them without their names; the names of the groups tell which arrays are theirs."""
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(3, 2)).astype(np.float32), rng.normal(size=2).astype(np.float32)
    dense = ("Dense", {"name": "dense", "units": 2, "activation": "linear"})
    config = chain(("mine>Idle", START), ("mine>Scale", {}), dense, ("mine>Rest", {}))
    factor = np.array([1, 2, 3], np.float32)
    groups = {"idle_7": [], "scale_1": [factor], "dense": [kernel, bias], "rest": []}
    path = write_h5(tmp_path / "m.h5", config, groups, "2.10.0")
    given = {"Idle": lambda x: x, "Scale": lambda x, weights: x * weights[0], "Rest": np.negative}
    np.testing.assert_allclose(fastlstm.load(path, custom_layers=given).predict(X), -(X * factor @ kernel + bias), rtol=1e-5, atol=1e-6)


def test_cells_of_one_class_share_their_arrays_evenly(tmp_path: Path) -> None:
    """An .h5 file lists the arrays of a stack one after the other."""
    cells = [{"class_name": "mine>Sum", "config": {"name": f"cell_{units}", "units": units}} for units in (2, 4)]
    rnn = {"name": "rnn", "cell": {"class_name": "StackedRNNCells", "config": {"name": "cells", "cells": cells}}, **START}
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 2), (2, 4))]
    path = write_h5(tmp_path / "m.h5", chain(("RNN", rnn)), {"rnn": arrays}, "2.10.0")
    expected = np.cumsum(np.cumsum(X @ arrays[0], 1) @ arrays[1], 1)[:, -1]
    np.testing.assert_allclose(fastlstm.load(path, custom_layers={"Sum": add}).predict(X), expected, rtol=1e-4, atol=1e-5)


def header_of(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["fastlstm"])


def rewritten(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The file with another header."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    container = json.loads(data[8 : 8 + size])
    header = json.loads(container["__metadata__"]["fastlstm"])
    change(header)
    container["__metadata__"]["fastlstm"] = json.dumps(header)
    text = json.dumps(container).encode()
    target = path.with_name("changed.fastlstm")
    target.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    return target


def test_the_header(converted: Path, source: Path) -> None:
    assert header_of(converted)["model"]["functions"] == {
        "layers": {"turn": "Turn", "rnn/cell": "rnn/cell"},
        "activations": {"act:activation": "wobble", "lstm:activation": "lstm:activation"},
    }  # fmt: skip
    assert b"turned" not in converted.read_bytes()
    plain = write_h5(source.with_name("plain.h5"), chain(("Activation", {"name": "act", "activation": "tanh", **START})), {}, "2.10.0")
    fastlstm.convert(plain, plain.with_suffix(".fastlstm"))
    assert "functions" not in header_of(plain.with_suffix(".fastlstm"))["model"]  # as before, for readers as they were before


@pytest.mark.parametrize(
    ("functions", "text"),
    [
        ({"layers": {}}, "functions: activations missing"), ({"layers": {}, "activations": {}, "code": {}}, "functions: code not known"),
        ({"layers": [], "activations": {}}, "functions: layers: expected dict"),
        ({"layers": {"turn": 3}, "activations": {}}, "functions: layers: turn: expected str"),
        ({"layers": {"gone": "Turn"}, "activations": {}}, "functions: the model has no layer 'gone'"),
        ({"layers": {"rnn/gone": "Turn"}, "activations": {}}, "functions: the model has no layer 'rnn/gone'"),
        ({"layers": {}, "activations": {"gone:activation": "x"}}, "functions: the model has no layer 'gone'"),
        ({"layers": {"turn": "Twist"}, "activations": {}}, "functions: 'Twist' is no name of layer 'turn'"),
        ({"layers": {}, "activations": {"act:activation": "wabble"}}, "functions: 'wabble' is no name of activation 'act:activation'"),
        (None, "functions: expected dict, found None"), ("x" * 10_000, "functions: expected dict"),
    ],
)  # fmt: skip
def test_headers_that_make_no_sense(functions: Any, text: str, converted: Path, given: dict[str, Any]) -> None:
    changed = rewritten(converted, lambda header: header["model"].update(functions=functions))
    for isolated in (False, True):
        with pytest.raises(FormatError, match=text):
            fastlstm.load(changed, isolated=isolated, **given)


def test_nested_models_name_no_functions(tmp_path: Path) -> None:
    inner = model_of(own("b"))
    own_files.write(tmp_path / "m.fastlstm", model_of(LayerSpec("Functional", "inner", {}, model=inner)))
    changed = rewritten(
        tmp_path / "m.fastlstm", lambda header: header["model"]["layers"][1]["model"].update(functions={"layers": {}, "activations": {}})
    )
    with pytest.raises(FormatError, match="a model: functions not known"):
        fastlstm.load(changed)


def test_nested_layers_of_ones_own(tmp_path: Path) -> None:
    spec = model_of(LayerSpec("Functional", "inner", {}, model=model_of(own("b"))), own("b"))
    model = Model(spec, custom_layers={"inner/b": turned, "b": np.abs})
    functions = Functions({"inner/b": "inner/b", "b": "b"}, {})
    own_files.write(tmp_path / "m.fastlstm", ModelSpec(**{**spec.__dict__, "functions": functions}))
    with pytest.raises(UnsupportedError, match=r"custom_layers=\{'inner/b': function, 'b': function\}"):
        fastlstm.load(tmp_path / "m.fastlstm")
    y = fastlstm.load(tmp_path / "m.fastlstm", custom_layers={"inner/b": turned, "b": np.abs}).predict(X)
    np.testing.assert_array_equal(y, model.predict(X))


# -- the command line -------------------------------------------------------------------------------------------------------------

FILE = """
import numpy as np
from beside import FACTOR


class Turn:
    def __call__(self, x):
        return FACTOR * x


def add(x, states, weights):
    h = states[0] + x @ weights[0]
    return h, [h]


custom_layers = {"Turn": Turn(), "rnn/cell": add}
custom_activations = {"wobble": np.tanh, "lstm:activation": np.arctan}
"""


@pytest.fixture
def functions(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "beside.py").write_text("FACTOR = -2\n", encoding="utf-8")
    (folder / "my_layers.py").write_text(FILE, encoding="utf-8")
    before = list(sys.path)
    yield folder / "my_layers.py"
    sys.path[:] = before
    for name in ("beside", "fastlstm_custom"):
        sys.modules.pop(name, None)


def test_commands_take_the_users_functions(
    source: Path, given: dict[str, Any], functions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", X)
    custom, target = ["--custom", str(functions)], tmp_path / "m.fastlstm"
    assert main(["describe", str(source), *custom]) == 0
    assert main(["convert", str(source), str(target), *custom]) == 0
    assert main(["verify", str(target), *custom, "--isolated"]) == 0
    for model in (source, target):
        assert main(["predict", str(model), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy"), *custom]) == 0
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), fastlstm.load(source, **given).predict(X))
    assert not (functions.parent / "__pycache__" / f"my_layers.{sys.implementation.cache_tag}.pyc").exists()
    capsys.readouterr()
    for command in (["predict", str(target), str(tmp_path / "x.npy")], ["verify", str(target)], ["convert", str(source), str(target)]):
        assert main(command) == 1
        told = capsys.readouterr().err
        assert "custom_layers={'" in told and told.endswith("that defines them, as custom_layers = {...}\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1", "defines neither custom_layers nor custom_activations; expected custom_layers = {...} or custom_activations = {...}"),
        ("custom_layers = [1]", "custom_layers is list; expected"), ("custom_layers = {'a': 3}", "custom_layers has 3 for 'a'; expected"),
        ("custom_activations = {3: abs}", "custom_activations has <built-in function abs> for 3"),
        ("\n\n1 / 0", "raised ZeroDivisionError: division by zero (line 3)"), ("x = (", "raised SyntaxError: '(' was never closed"),
        ("import no_such_module_here", "raised ModuleNotFoundError: No module named 'no_such_module_here' (line 1)"),
        ("raise SystemExit(0)", "raised SystemExit: 0 (line 1)"), (b"\xff\xfe", "raised"),
        (None, "cannot be read (No such file or directory)"),
        ("custom_layers = {'Nowhere': abs}", "custom_layers: the model has no 'Nowhere'"),
    ],
)  # fmt: skip
def test_files_of_functions_that_do_not_do(
    text: Any, told: str, source: Path, functions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = functions.with_name("other.txt")
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert main(["describe", str(source), "--custom", str(path)]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "Nowhere" in error or f"--custom: {path}" in error


def test_functions_given_as_no_functions(source: Path) -> None:
    for call in (fastlstm.convert, fastlstm.verify, fastlstm.describe):
        arguments = (source, source.with_suffix(".fastlstm")) if call is fastlstm.convert else (source,)
        with pytest.raises(InputError, match="custom_layers: expected a dict of functions by name, found list"):
            call(*arguments, custom_layers=[turned])
