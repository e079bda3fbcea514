"""Parts of models: what the outputs need, where a model begins and ends, and names that are wrong."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5

import fastlstm
from fastlstm import formats
from fastlstm.cli.main import main
from fastlstm.cutting import cut
from fastlstm.errors import FormatError, InputError, UnsupportedError
from fastlstm.model import Model
from fastlstm.pruning import pruned
from fastlstm.spec import Call, Generation, LayerSpec, ModelSpec, Ref, Rules

UNITS = 3
LSTM = {"units": UNITS, "activation": "tanh", "recurrent_activation": "sigmoid", "return_sequences": True}
GENERATION = Generation("Keras", "2.3.1", "tensorflow", "HDF5 model")


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X = random(2, 5, 3)


def dense(features: int, units: int, seed: int = 0) -> list[np.ndarray]:
    return [random(features, units, seed=seed), random(units, seed=seed + 1)]


def lstm(features: int) -> list[np.ndarray]:
    return [random(features, 4 * UNITS), random(UNITS, 4 * UNITS, seed=1), random(4 * UNITS, seed=2)]


def node(*names: Any) -> list[Any]:
    return [[[name, 0, 0, {}] if isinstance(name, str) else [*name, {}] for name in names]]


def recogniser(path: Path, **ctc: Any) -> Path:
    """As text recognisers are trained: its last layer is the loss, which asks for labels too."""
    layers = [
        entrance("image", 5, 3), entrance("labels", 2),
        layer("LSTM", "lstm", node("image"), **LSTM),
        layer("Dense", "softmax", node("lstm"), units=4, activation="softmax"),
        layer("Lambda", "ctc", node("labels", "softmax"), function=["4wEAAAAAAA==", None, None], **ctc),
    ]  # fmt: skip
    config = functional(layers, [["image", 0, 0], ["labels", 0, 0]], [["ctc", 0, 0]])
    return write_h5(path, config, {"lstm": lstm(3), "softmax": dense(3, 4)})


def autoencoder(path: Path, **unknown: Any) -> Path:
    """With a loss that no output needs."""
    layers = [
        entrance("x", 5, 3),
        layer("LSTM", "lstm", node("x"), **LSTM),
        layer("Square>Mine", "square", node("lstm"), **unknown),
        layer("Dense", "y", node("lstm"), units=2),
        layer("LSTM", "odd", node("square"), **LSTM, **unknown),
    ]
    return write_h5(path, functional(layers, [["x", 0, 0]], [["y", 0, 0]]), {"lstm": lstm(3), "y": dense(3, 2), "odd": lstm(3)})


def parallel(path: Path, **last: Any) -> Path:
    """As multi_gpu_model saves: a model nested twice, each time behind code."""
    inner = functional([entrance("inside", 5, 3), layer("LSTM", "lstm", node("inside"), **LSTM),
                        layer("Dense", "last", node("lstm"), units=2, **last)], [["inside", 0, 0]], [["last", 0, 0]])  # fmt: skip
    layers = [
        entrance("x", 5, 3),
        *(layer("Lambda", f"slice_{n}", node("x"), function=["4wEAAAAAAA==", None, None]) for n in (1, 2)),
        {"class_name": "Model", "name": "single", "config": inner["config"], "inbound_nodes": [*node("slice_1"), *node("slice_2")]},
        layer("Concatenate", "both", node(["single", 1, 0], ["single", 2, 0]), axis=0),
    ]
    return write_h5(path, functional(layers, [["x", 0, 0]], [["both", 0, 0]]), {"single": [*lstm(3), *dense(3, 2)]})


# -- what the outputs need --------------------------------------------------------------------------------------------------


def test_what_no_output_needs_is_neither_made_nor_refused(tmp_path: Path) -> None:
    path = autoencoder(tmp_path / "m.h5", what_is_this=1)
    assert any(problem for problem in formats.read(path).layers)
    model = fastlstm.load(path)
    assert [info.name for info in model.layers] == ["x", "lstm", "y"]
    assert model.count_params() == sum(array.size for array in [*lstm(3), *dense(3, 2)])
    report = fastlstm.describe(path)
    assert not report.problems
    assert [info.name for info in report.layers] == ["x", "lstm", "y"]
    fastlstm.convert(path, tmp_path / "m.fastlstm")
    np.testing.assert_array_equal(fastlstm.load(tmp_path / "m.fastlstm", verify=True).predict(X), model.predict(X))


def test_what_the_reader_noted_of_it_does_not_stand_in_the_way(tmp_path: Path) -> None:
    path = autoencoder(tmp_path / "m.h5", dtype="complex64")
    assert [problem.layer for problem in formats.read(path).problems] == ["odd"]
    fastlstm.load(path)
    with pytest.raises(UnsupportedError, match="'odd'"):
        fastlstm.load(path, outputs=["odd"])


def test_a_problem_of_a_layer_with_a_longer_name_stays(tmp_path: Path) -> None:
    """Layers may be named "a" and "a/b"."""
    layers = [
        entrance("x", 5, 3),
        layer("LSTM", "a", node("x"), **LSTM),
        layer("LSTM", "a/b", node("x"), **LSTM, dtype="complex64"),
    ]
    path = write_h5(tmp_path / "m.h5", functional(layers, [["x", 0, 0]], [["a/b", 0, 0]]), {"a": lstm(3), "a/b": lstm(3)})
    with pytest.raises(UnsupportedError, match="'a/b'"):
        fastlstm.load(path)


def test_whole_models_keep_their_inputs_and_parts_ask_for_what_they_need(tmp_path: Path) -> None:
    path = recogniser(tmp_path / "m.h5")
    whole = fastlstm.load(path, custom_layers={"ctc": lambda labels, y: labels})
    assert [info.name for info in whole.inputs] == ["image", "labels"]
    part = fastlstm.load(path, outputs=["softmax"])
    assert [info.name for info in part.inputs] == ["image"]
    assert part.predict(X).shape == (2, 5, 4)


def test_functions_for_what_is_left_out_do_no_harm(tmp_path: Path) -> None:
    path = recogniser(tmp_path / "m.h5")
    part = fastlstm.load(path, outputs=["softmax"], custom_layers={"ctc": lambda labels, y: labels})
    expected = fastlstm.load(path, outputs=["softmax"]).predict(X)
    for each in (part, copy.deepcopy(part)):
        np.testing.assert_array_equal(each.predict(X), expected)


def graph(layers: list[LayerSpec], calls: list[Call], outputs: list[Ref], **more: Any) -> ModelSpec:
    inputs = tuple(Ref(number) for number, call in enumerate(calls) if layers[call.layer].class_name == "InputLayer")
    names = tuple(layers[calls[ref.call].layer].name for ref in inputs)
    ends = tuple(layers[calls[ref.call].layer].name for ref in outputs)
    more.setdefault("output_kind", "single" if len(outputs) == 1 else "list")
    return ModelSpec("m", "Functional", tuple(layers), tuple(calls), inputs, tuple(outputs), names, ends, GENERATION, **more)


def door(name: str) -> LayerSpec:
    return LayerSpec("InputLayer", name, {"shape": [None, 3], "dtype": "float32"})


def two_ways(rules: Rules | None = None) -> ModelSpec:
    """Two inputs that go through a model side by side."""
    units = [LayerSpec("Dense", name, {"units": 3}, tuple(dense(3, 3))) for name in ("left", "right")]
    calls = [Call(0), Call(1), Call(2, (Ref(0),)), Call(3, (Ref(1),))]
    return graph([door("a"), door("b"), *units], calls, [Ref(2), Ref(3)], rules=rules or Rules())


def around(inner: ModelSpec, calls: Callable[[int], list[Call]], outputs: list[Ref]) -> ModelSpec:
    outer = [door("p"), door("q"), LayerSpec("Mystery", "mystery", {}), LayerSpec("Functional", "inner", {}, model=inner)]
    return graph(outer, [Call(0), Call(1), Call(2, (Ref(1),)), *calls(3)], outputs, rules=inner.rules)


def test_nested_models_lose_outputs_and_inputs_that_nothing_needs() -> None:
    model = Model(around(two_ways(), lambda n: [Call(n, (Ref(0), Ref(2)))], [Ref(3)]))
    assert [info.name for info in model.layers] == ["p", "q", "inner", "inner/a", "inner/left"]
    kernel, bias = dense(3, 3)
    given = X[:, 0]
    np.testing.assert_allclose(model.predict([given, given]), given @ kernel + bias, rtol=1e-5)


def test_of_a_nested_model_that_is_used_twice_all_that_any_use_needs_is_kept() -> None:
    spec = around(two_ways(), lambda n: [Call(n, (Ref(0), Ref(1))), Call(n, (Ref(3), Ref(0)))], [Ref(4, 1), Ref(3)])
    assert len(pruned(spec).layers[-1].model.inputs) == 2
    kernel, bias = dense(3, 3)
    given = X[:, 0]
    for y in Model(spec).predict([given, given]):
        np.testing.assert_allclose(y, given @ kernel + bias, rtol=1e-5)


def test_a_later_use_that_needs_more_reaches_the_earlier_ones() -> None:
    """Output 1 of the first use needs its second tensor; that is met only after the second use."""
    spec = around(two_ways(), lambda n: [Call(n, (Ref(0), Ref(1))), Call(n, (Ref(3), Ref(3, 1)))], [Ref(4), Ref(4, 1)])
    left = pruned(spec)
    assert [call.inputs for call in left.calls][-2:] == [(Ref(0), Ref(1)), (Ref(2), Ref(2, 1))]


def test_nested_models_keep_an_input() -> None:
    constant = graph([door("a"), LayerSpec("Mystery", "made", {})], [Call(0), Call(1)], [Ref(1)])
    left = pruned(around(constant, lambda n: [Call(n, (Ref(2),))], [Ref(3)]))
    assert [call.inputs for call in left.calls] == [(), (), (Ref(1),), (Ref(2),)]


@pytest.mark.parametrize(("inputs", "output"), [((Ref(0), Ref(1)), 7), ((Ref(0), Ref(1), Ref(0)), 0)])
def test_calls_that_do_not_fit_a_nested_model_are_refused(inputs: tuple[Ref, ...], output: int) -> None:
    with pytest.raises(FormatError, match="is used, but|called with"):
        Model(around(two_ways(), lambda n: [Call(n, inputs)], [Ref(3, output)]))


def test_models_in_which_masks_are_taken_are_kept_whole() -> None:
    """Keras runs all of a nested model: attention on a way that nobody uses takes masks off all the same."""
    spec = two_ways(Rules(attention_takes_masks=True))
    attention = LayerSpec("MultiHeadAttention", "aside", {"num_heads": 1, "key_dim": 2})
    taking = replace(spec, layers=(*spec.layers, attention), calls=(*spec.calls, Call(4, (Ref(1), Ref(1)))))
    taking = replace(taking, outputs=(Ref(2), Ref(4)))
    kept = pruned(around(taking, lambda n: [Call(n, (Ref(0), Ref(2)))], [Ref(3)])).layers[-1].model
    assert [layer.name for layer in kept.layers] == ["a", "b", "left", "aside"]
    dropped = pruned(around(replace(taking, rules=Rules()), lambda n: [Call(n, (Ref(0), Ref(2)))], [Ref(3)])).layers[-1].model
    assert [layer.name for layer in dropped.layers] == ["a", "left"]


def test_a_function_for_a_whole_nested_model_gets_all_that_it_holds() -> None:
    found = []

    def inner(a: np.ndarray, b: np.ndarray, weights: Any) -> tuple[np.ndarray, np.ndarray]:
        found.append(len(weights))
        return a, b

    spec = around(two_ways(), lambda n: [Call(n, (Ref(0), Ref(1)))], [Ref(3)])
    given = X[:, 0]
    np.testing.assert_array_equal(Model(spec, custom_layers={"inner": inner}).predict([given, given]), given)
    assert set(found) == {4}


def test_models_in_wrappers_are_pruned_too() -> None:
    spec = two_ways()
    one = graph(
        [door("a"), LayerSpec("Dense", "left", {"units": 3}, tuple(dense(3, 3))), LayerSpec("Mystery", "m", {})],
        [Call(0), Call(1, (Ref(0),)), Call(2, (Ref(1),))],
        [Ref(1)],
    )
    each = LayerSpec("TimeDistributed", "each", {}, children=(LayerSpec("Functional", "one", {}, model=one),))
    x = LayerSpec("InputLayer", "x", {"shape": [None, 5, 3], "dtype": "float32"})
    assert Model(graph([x, each], [Call(0), Call(1, (Ref(0),))], [Ref(1)])).predict(X).shape == (2, 5, 3)
    assert pruned(spec) is spec


# -- where it begins and ends -----------------------------------------------------------------------------------------------


def test_begin_and_end(tmp_path: Path) -> None:
    path = recogniser(tmp_path / "m.h5")
    hidden = fastlstm.load(path, outputs="lstm").predict(X)
    rest = fastlstm.load(path, inputs="lstm", outputs="softmax")
    assert [(info.name, info.shape) for info in rest.inputs] == [("lstm", (None, 5, 3))]
    np.testing.assert_allclose(rest.predict(hidden), fastlstm.load(path, outputs="softmax").predict(X), rtol=1e-6)
    np.testing.assert_allclose(rest.predict({"lstm": hidden}), rest.predict(hidden))


def test_a_tensor_may_be_input_and_output(tmp_path: Path) -> None:
    model = fastlstm.load(recogniser(tmp_path / "m.h5"), inputs=["lstm"], outputs=["lstm", "softmax"])
    np.testing.assert_array_equal(model.predict(X)[0], X)


@pytest.mark.parametrize("begin", ["lstm", "lstm:0", "lstm:1"])
def test_an_output_that_enters_where_its_layer_is_needed_too(tmp_path: Path, begin: str) -> None:
    layers = [
        entrance("x", 5, 3),
        layer("LSTM", "lstm", node("x"), **LSTM, return_state=True),
        layer("RepeatVector", "state", node(["lstm", 0, 1]), n=5),
        layer("Concatenate", "y", node("lstm", "state")),
    ]
    path = write_h5(tmp_path / "m.h5", functional(layers, [["x", 0, 0]], [["y", 0, 0]]), {"lstm": lstm(3)})
    whole, between = fastlstm.load(path).predict(X), fastlstm.load(path, outputs=begin).predict(X)
    fastlstm.convert(path, tmp_path / "part.fastlstm", inputs=[begin, "x"])
    part = fastlstm.load(tmp_path / "part.fastlstm", verify=True)
    assert [info.name for info in part.inputs] == [begin, "x"]
    assert [info.class_name for info in part.layers if info.name == "lstm"] == ["LSTM"]
    assert len({info.name for info in part.layers}) == len(part.layers)
    np.testing.assert_allclose(part.predict([between, X]), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "outputs", "named"),
    [(None, "single", "inside"), (None, ["single/last"], "inside"), ("single/inside", "single", "single/inside")],
)
def test_a_model_in_parallel_is_taken_out(tmp_path: Path, inputs: Any, outputs: Any, named: str) -> None:
    path = parallel(tmp_path / "m.h5")
    model = fastlstm.load(path, inputs=inputs, outputs=outputs)
    assert [info.name for info in model.inputs] == [named]
    hidden = fastlstm.load(path, outputs="single/lstm").predict(X)
    kernel, bias = dense(3, 2)
    np.testing.assert_allclose(model.predict(X), hidden @ kernel + bias, rtol=1e-4, atol=1e-6)


def test_problems_of_a_model_that_is_taken_out_go_by_its_own_names(tmp_path: Path) -> None:
    path = parallel(tmp_path / "m.h5", dtype="complex64")
    with pytest.raises(UnsupportedError) as caught:
        fastlstm.load(path, outputs="single/last")
    assert [problem.layer for problem in caught.value.problems] == ["last"]
    fastlstm.load(path, outputs="single/lstm")


def test_pieces_convert_verify_and_copy(tmp_path: Path) -> None:
    path, target = recogniser(tmp_path / "m.h5"), tmp_path / "part.fastlstm"
    report = fastlstm.convert(path, target, outputs=["softmax"], isolated=True)
    assert report.cases
    model = fastlstm.load(target, verify=True, isolated=True)
    assert fastlstm.verify(target).passed
    expected = fastlstm.load(path, outputs=["softmax"], isolated=True).predict(X)
    for each in (model, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(each.predict(X), expected)
    for words in ({"outputs": ["lstm"]}, {"inputs": ["lstm"]}):
        with pytest.raises(InputError, match="no recorded cases"):
            fastlstm.load(target, verify=True, **words)
    with pytest.raises(InputError, match="Keras computes the whole model"):
        fastlstm.convert(path, target, outputs=["softmax"], keras=True)


def test_describe_a_part(tmp_path: Path) -> None:
    path = recogniser(tmp_path / "m.h5")
    assert [problem.layer for problem in fastlstm.describe(path).problems] == ["ctc"]
    report = fastlstm.describe(path, inputs=["lstm"], outputs=["softmax"])
    assert not report.problems
    assert report.inputs == (("lstm", (None, 5, 3)),)
    assert report.outputs == (("softmax", (None, 5, 4)),)


def test_a_part_streams(tmp_path: Path) -> None:
    model = fastlstm.load(recogniser(tmp_path / "m.h5"), outputs="softmax")
    stream = model.stream(2)
    found = np.stack([stream.step(X[:, step]) for step in range(5)], 1)
    np.testing.assert_allclose(found, model.predict(X), rtol=1e-5, atol=1e-6)


# -- what cannot be cut -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (None, ["sofmax"], "^outputs: expected names of layers of .*found 'sofmax'; did you mean 'softmax'"),
        (["lstm_1"], ["softmax"], "^inputs: expected names of layers of .*did you mean 'lstm'"),
        (None, [], "^outputs: expected a name of a layer of"),
        (7, None, "^inputs: expected a name of a layer of"),
        (None, ["lstm", "lstm"], "^outputs: expected every name once, found 'lstm' twice"),
        (["lstm", "lstm:0"], ["softmax"], "^inputs: expected every tensor once"),
        (["labels"], ["softmax"], "^inputs: the outputs of .* depend on more than these inputs; name 'image' too"),
        (["image", "labels"], ["softmax"], "^inputs: no output depends on 'labels'"),
        (["softmax"], ["lstm"], "depend on more than these inputs; name 'image' too"),
        (None, ["softmax:1"], "^outputs: .*found 'softmax:1', which has 1 output"),
        (["lstm:4"], ["softmax"], "^inputs: .*found 'lstm:4', which has 1 output"),
        (["ctc"], ["ctc"], "(?s)^inputs: the shape of 'ctc' is not known, .*'ctc' .Lambda."),
    ],
)
def test_names_that_are_wrong(tmp_path: Path, inputs: Any, outputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fastlstm.load(recogniser(tmp_path / "m.h5"), inputs=inputs, outputs=outputs)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (["single/lstm"], ["both"], "^inputs: 'single/lstm' lies in the model 'single', and not all outputs do"),
        (["last"], ["single"], "did you mean 'single/last'"),
        (None, ["single:1"], "^outputs: .*'single:1', which has 1 output"),
        (["single:3"], ["both"], "^inputs: .*'single:3', which has 1 output"),
        (None, ["single/lstm:2"], "^outputs: .*'single/lstm:2', which has 1 output"),
    ],
)
def test_names_in_nested_models_that_are_wrong(tmp_path: Path, inputs: Any, outputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fastlstm.load(parallel(tmp_path / "m.h5"), inputs=inputs, outputs=outputs)


def test_an_output_that_depends_on_nothing() -> None:
    spec = graph([door("a"), LayerSpec("Mystery", "made", {})], [Call(0), Call(1)], [Ref(0)])
    with pytest.raises(InputError, match="^outputs: 'made' of m depends on no input of the model"):
        cut(spec, "m", None, ["made"])


def test_outputs_by_the_keys_of_a_dict() -> None:
    spec = replace(two_ways(), output_names=("first", "b"), output_kind="dict")
    assert cut(spec, "m", None, "first").outputs == (Ref(2),)
    assert cut(spec, "m", None, ["b"]).outputs == (Ref(1),)  # a layer goes before it
    with pytest.raises(InputError, match="^inputs: expected names of layers of m"):
        cut(spec, "m", ["first"], None)


def test_functions_of_the_callers_tell_the_shape_of_an_input(tmp_path: Path) -> None:
    path = parallel(tmp_path / "m.h5")
    functions = {"slice_1": lambda x: x[..., :2], "slice_2": lambda x: x[..., :2]}
    model = fastlstm.load(path, inputs="slice_2", outputs="slice_2", custom_layers=functions)
    assert model.input_shape == (None, 5, 2)
    np.testing.assert_array_equal(model.predict(X[..., :2]), X[..., :2])


def masked(path: Path, *last: Any) -> Path:
    layers = [
        entrance("x", 5, 3),
        layer("Masking", "masking", node("x"), mask_value=0.0),
        layer("Dropout", "begin", node("masking"), rate=0.5),
        layer("Dense", "dense", node("begin"), units=3),
        *last,
    ]
    end = last[-1]["name"] if last else "dense"
    groups = {"dense": dense(3, 3), **({"lstm": lstm(3)} if last else {})}
    return write_h5(path, functional(layers, [["x", 0, 0]], [[end, 0, 0]]), groups)


def test_a_mask_that_is_read_behind_the_cut(tmp_path: Path) -> None:
    path = masked(tmp_path / "m.h5", layer("LSTM", "lstm", node("dense"), **LSTM))
    for begin in ("masking", "begin", "dense"):
        with pytest.raises(InputError, match=f"^inputs: {begin!r} has a mask in the whole model of .* which 'lstm' reads"):
            fastlstm.load(path, inputs=begin)
    assert fastlstm.load(path, inputs="begin", outputs="dense").predict(X).shape == X.shape
    assert fastlstm.load(masked(tmp_path / "n.h5"), inputs="begin").predict(X).shape == X.shape
    assert fastlstm.load(path, inputs="lstm").predict(X).shape == X.shape  # nobody reads its mask


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recogniser(tmp_path / "m.h5")
    np.save(tmp_path / "x.npy", X)
    hidden, out, part = tmp_path / "h.npy", tmp_path / "y.npy", tmp_path / "part.fastlstm"
    assert main(["predict", str(path), str(tmp_path / "x.npy"), "-o", str(hidden), "--outputs", "lstm"]) == 0
    assert main(["predict", str(path), str(hidden), "-o", str(out), "--inputs", "lstm", "--outputs", "softmax"]) == 0
    np.testing.assert_allclose(np.load(out), fastlstm.load(path, outputs="softmax").predict(X), rtol=1e-6)
    assert main(["convert", str(path), str(part), "--outputs", "softmax"]) == 0
    assert main(["verify", str(part)]) == 0
    assert main(["describe", str(path), "--outputs", "softmax"]) == 0
    assert main(["describe", str(path)]) == 1
    capsys.readouterr()
    for command in (["predict", str(path), str(hidden)], ["convert", str(path), str(part)], ["describe", str(path)]):
        assert main([*command, "--inputs", "nobody"]) == 1
        assert "error: --inputs: expected names of layers of" in capsys.readouterr().err


def translator(path: Path) -> Path:
    layers = [
        entrance("source", 5, 3), entrance("target", 5, 3),
        layer("LSTM", "encoder", node("source"), **LSTM, return_state=True),
        layer("LSTM", "decoder", node("target", ["encoder", 0, 1], ["encoder", 0, 2]), **LSTM, return_state=True),
        layer("Dense", "next", node("decoder"), units=2),
    ]  # fmt: skip
    config = functional(layers, [["source", 0, 0], ["target", 0, 0]], [["next", 0, 0]])
    return write_h5(path, config, {"encoder": lstm(3), "decoder": lstm(3), "next": dense(3, 2)})


def test_the_examples_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "cut.md").read_text(encoding="utf-8")
    recogniser(tmp_path / "recogniser.h5"), translator(tmp_path / "translator.h5"), parallel(tmp_path / "parallel.h5")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], found)
    text = found["recogniser"].predict(X)
    np.testing.assert_allclose(found["classifier"].predict(found["features"].predict(X)), text, rtol=1e-6)
    np.testing.assert_array_equal(fastlstm.load("recogniser.fastlstm").predict(X), text)
    whole = fastlstm.load("translator.h5").predict([X, X[::-1]])
    states = found["encoder"].predict(X)
    np.testing.assert_allclose(found["decoder"].predict([X[::-1], *states])[0], whole, rtol=1e-5, atol=1e-6)
    assert found["single"].predict(X).shape == (2, 5, 2)
