"""Operations of a graph: how each generation's nodes are read, what needs no rows, what goes across them, and junk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import entrance, functional, write_h5
from layer_specs import recurrent

import fastlstm
from fastlstm.errors import FastLSTMError, FormatError, InputError, UnsupportedError
from fastlstm.formats import own
from fastlstm.operations import OPERATIONS
from fastlstm.spec import Call, Generation, LayerSpec, ModelSpec, Ref

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)


def lambda_node(function: str, first: Any, kind: str = "TFOpLambda", name: str = "op", **words: Any) -> dict[str, Any]:
    """A function of TensorFlow as tf.keras 2.4 and later write it; ``first`` is [layer, node, output]."""
    return {"class_name": kind, "name": name, "config": {"name": name, "function": function}, "inbound_nodes": [[*first, words]]}


def keras3_layer(kind: str, name: str, given: str, **config: Any) -> dict[str, Any]:
    """A layer of a Keras 3 graph, called with the output of another."""
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 5, 4], "dtype": "float32", "keras_history": [given, 0, 0]}}
    node = {"args": [tensor], "kwargs": {}}
    return {"class_name": kind, "name": name, "config": {"name": name, "trainable": True, **config}, "inbound_nodes": [node]}


def result(tmp_path: Path, operation: dict[str, Any], version: str, outputs: Any = None) -> Any:
    """What a graph of one operation gives."""
    config = functional([entrance("x", 5, 4), operation], [["x", 0, 0]], outputs or [["op", 0, 0]])
    return fastlstm.load(write_h5(tmp_path / "m.h5", config, {}, version)).predict(X)


def model_of(
    operation: str, arguments: dict[str, Any], *weights: np.ndarray, inputs: int = 1, shape: tuple[Any, ...] = (None, 5, 4)
) -> ModelSpec:
    """A graph of one canonical operation, its inputs all the model's one."""
    spec = LayerSpec("Operation", "op", {"operation": operation, "arguments": arguments}, weights)
    door = LayerSpec("InputLayer", "x", {"shape": list(shape), "dtype": "float32"})
    calls = (Call(0), Call(1, (Ref(0),) * inputs))
    return ModelSpec("m", "Functional", (door, spec), calls, (Ref(0),), (Ref(1),), ("x",), ("op",), Generation("Keras", "3", "", "test"))


def test_slices_of_three_generations(tmp_path: Path) -> None:
    spec = [{"start": None, "stop": None, "step": None}, -1]
    of_lambda = lambda_node("__operators__.getitem", ["x", 0, 0], "SlicingOpLambda", slice_spec=spec)
    np.testing.assert_array_equal(result(tmp_path, of_lambda, "2.10.0"), X[:, -1])
    masks = {"begin_mask": 1, "end_mask": 1, "ellipsis_mask": 0, "new_axis_mask": 0, "shrink_axis_mask": 2}
    definition = {"op": "StridedSlice", "name": "op", "attr": {key: {"i": str(value)} for key, value in masks.items()}}
    config = {"name": "op", "node_def": definition, "constants": {"1": [0, -1], "2": [0, 0], "3": [1, 1]}}
    of_node_def = {"class_name": "TensorFlowOpLayer", "name": "op", "config": config, "inbound_nodes": [[["x", 0, 0, {}]]]}
    np.testing.assert_array_equal(result(tmp_path, of_node_def, "2.3.0-tf"), X[:, -1])
    whole = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 5, 4], "dtype": "float32", "keras_history": ["x", 0, 0]}}
    node = {"args": [tensor, [whole, -1]], "kwargs": {}}
    of_keras3 = {"class_name": "GetItem", "name": "op", "config": {"name": "op"}, "inbound_nodes": [node]}
    np.testing.assert_array_equal(result(tmp_path, of_keras3, "3.5.0", ["op", 0, 0]), X[:, -1])


def test_a_constant_comes_first(tmp_path: Path) -> None:
    """1 - x: tf.keras marks what is no tensor with node number -1."""
    node = {"class_name": "TFOpLambda", "name": "op", "config": {"name": "op", "function": "math.subtract"}}
    node["inbound_nodes"] = [["_CONSTANT_VALUE", -1, 1.0, {"y": ["x", 0, 0], "name": None}]]
    np.testing.assert_array_equal(result(tmp_path, node, "2.10.0"), 1 - X)


def test_one_layer_with_several_calls_has_arguments_of_each(tmp_path: Path) -> None:
    node = lambda_node("math.multiply", ["x", 0, 0], y=2.0)
    node["inbound_nodes"].append(["x", 0, 0, {"y": 3.0}])
    two, three = result(tmp_path, node, "2.10.0", [["op", 0, 0], ["op", 1, 0]])
    np.testing.assert_array_equal(two, 2 * X)
    np.testing.assert_array_equal(three, 3 * X)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_shapes_lead_to_shapes(precision: str, tmp_path: Path) -> None:
    """tf.reshape(x, (tf.shape(x)[0], -1)) and tf.zeros((tf.shape(x)[0], 2)), kernels and NumPy, and a part of it alone."""
    shape = lambda_node("compat.v1.shape", ["x", 0, 0], name="shape", out_type="int32")
    rows = lambda_node("__operators__.getitem", ["shape", 0, 0], "SlicingOpLambda", "rows", slice_spec=0)
    flat = lambda_node("reshape", ["x", 0, 0], name="flat", shape=[["rows", 0, 0], -1])
    zeros = {"class_name": "TFOpLambda", "name": "zeros", "config": {"name": "zeros", "function": "zeros"}}
    zeros["inbound_nodes"] = [[["rows", 0, 0, {}], ["_CONSTANT_VALUE", -1, 2, {}]]]
    config = functional([entrance("x", 5, 4), shape, rows, flat, zeros], [["x", 0, 0]], [["flat", 0, 0], ["zeros", 0, 0]])
    path = write_h5(tmp_path / "m.h5", config, {}, "2.10.0")
    model = fastlstm.load(path, precision=precision)
    for count in (1, 3):
        flattened, nothing = model.predict(X[:count])
        np.testing.assert_array_equal(flattened, X[:count].reshape(count, -1))
        np.testing.assert_array_equal(nothing, np.zeros((count, 2)))
    assert fastlstm.load(path, inputs=["zeros"], outputs=["zeros"]).inputs[0].shape == (None, 2)


def test_the_size_of_a_batch(tmp_path: Path) -> None:
    """x * tf.size(x): how many numbers a batch has is known when it comes."""
    size = lambda_node("size", ["x", 0, 0], name="size", out_type="int32")
    cast = lambda_node("cast", ["size", 0, 0], name="cast", dtype="float32")
    times = lambda_node("math.multiply", ["x", 0, 0], y=["cast", 0, 0])
    config = functional([entrance("x", 5, 4), size, cast, times], [["x", 0, 0]], [["op", 0, 0]])
    model = fastlstm.load(write_h5(tmp_path / "m.h5", config, {}, "2.10.0"))
    for count in (3, 1):
        np.testing.assert_array_equal(model.predict(X[:count]), X[:count] * np.float32(20 * count))


@pytest.mark.parametrize(("lower", "upper", "expected"), [(-1, 0, np.tril), (0, -1, np.triu), (-1, -1, np.array), (1, 0, None)])
def test_bands_of_matrices(lower: int, upper: int, expected: Any, tmp_path: Path) -> None:
    node = lambda_node("linalg.band_part", ["x", 0, 0], num_lower=lower, num_upper=upper)
    found = result(tmp_path, node, "2.10.0")
    np.testing.assert_array_equal(found, np.tril(X) - np.tril(X, -2) if expected is None else expected(X))


def test_a_new_axis_before_the_batch(tmp_path: Path) -> None:
    """x[None]."""
    node = lambda_node("__operators__.getitem", ["x", 0, 0], "SlicingOpLambda", slice_spec=None)
    np.testing.assert_array_equal(result(tmp_path, node, "2.10.0"), X[np.newaxis])


@pytest.mark.parametrize(
    ("operation", "arguments", "expected"),
    [
        ("sum", {"x": {"input": 0}, "axis": 0, "keepdims": True}, lambda x: x.sum(0, keepdims=True)),
        ("subtract", {"x1": {"input": 0}, "x2": {"input": 1}}, lambda x: x - x),
        ("transpose", {"x": {"input": 0}, "axes": [1, 0, 2]}, lambda x: x.transpose(1, 0, 2)),
        ("transpose", {"x": {"input": 0}}, lambda x: x.T),
        ("reshape", {"x": {"input": 0}, "newshape": [-1, 4]}, lambda x: x.reshape(-1, 4)),
        ("concatenate", {"xs": [{"input": 0}, {"input": 0}], "axis": 0}, lambda x: np.concatenate([x, x])),
        ("get_item", {"x": {"input": 0}, "key": [{"slice": [None, None, -1]}]}, lambda x: x[::-1]),
        ("expand_dims", {"x": {"input": 0}, "axis": 0}, lambda x: x[None]),
        ("softmax", {"x": {"input": 0}, "axis": 0}, lambda x: np.exp(x) / np.exp(x).sum(0)),
        ("einsum", {"subscripts": "btf,ctf->bc", "operands": [{"input": 0}, {"input": 0}]}, lambda x: np.einsum("btf,ctf->bc", x, x)),
        ("tile", {"x": {"input": 0}, "repeats": [2, 1, 1]}, lambda x: np.tile(x, (2, 1, 1))),
        ("flip", {"x": {"input": 0}, "axis": 0}, lambda x: x[::-1]),
    ],
)  # fmt: skip
def test_what_goes_across_rows_is_computed_batch_by_batch(operation: str, arguments: dict[str, Any], expected: Any) -> None:
    model = fastlstm.Model(model_of(operation, arguments, inputs=2), source="m")
    for rows in (3, 2):
        np.testing.assert_allclose(model.predict(X[:rows]), expected(X[:rows]), atol=1e-5)
    if operation != "subtract":
        with pytest.raises(UnsupportedError, match="stream"):
            model.stream(2)


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("tile", {"repeats": [10**8, 1, 1]}),
        ("repeat", {"repeats": 10**8, "axis": 0}),
        ("pad", {"pad_width": [[10**8, 0], [0, 0], [0, 0]]}),
        ("broadcast_to", {"shape": [10**8, 3, 5, 4]}),
        ("one_hot", {"num_classes": 10**9, "axis": 0}),
    ],
)  # fmt: skip
def test_rows_that_a_file_asks_for_are_bounded(operation: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    """Before anything is allocated: what follows the advice would take 8 GB and more."""
    row = OPERATIONS[operation]
    own.write(tmp_path / "m.fastlstm", model_of(operation, row.bound({"x": {"input": 0}, **arguments})))
    model = fastlstm.load(tmp_path / "m.fastlstm")
    with pytest.raises(InputError, match=rf"layer 'op' \({operation}\).*bytes.*max_bytes="):
        model.predict(X)


def test_rows_go_another_way_and_back() -> None:
    """Time first, rows first again; all steps of all rows as rows, and as steps again: no row depends on others after all."""
    door = LayerSpec("InputLayer", "x", {"shape": [None, 5, 4], "dtype": "float32"})
    operations = [
        ("transpose", {"x": {"input": 0}, "axes": [1, 0, 2]}), ("transpose", {"x": {"input": 0}, "axes": [1, 0, 2]}),
        ("reshape", {"x": {"input": 0}, "newshape": [-1, 4]}), ("matmul", {"x1": {"input": 0}, "x2": {"array": 0}}),
        ("reshape", {"x": {"input": 0}, "newshape": [-1, 5, 2]}),
    ]  # fmt: skip
    kernel = np.arange(8, dtype=np.float32).reshape(4, 2)
    layers = [
        LayerSpec("Operation", f"op{n}", {"operation": name, "arguments": words}, (kernel,)) for n, (name, words) in enumerate(operations)
    ]
    calls = (Call(0), *(Call(n + 1, (Ref(n),)) for n in range(5)))
    generation = Generation("Keras", "3", "", "test")
    model = fastlstm.Model(
        ModelSpec("m", "Functional", (door, *layers), calls, (Ref(0),), (Ref(5),), ("x",), ("op4",), generation), source="m"
    )
    np.testing.assert_allclose(model.predict(X), X @ kernel, atol=1e-5)


def test_shapes_that_would_mix_rows_are_refused_when_they_come() -> None:
    """The file leaves the timesteps open: with four of two features the rows stay, with three they would not."""
    model = fastlstm.Model(model_of("reshape", {"x": {"input": 0}, "newshape": [-1, 8]}, shape=(None, None, 2)), source="m")
    assert model.predict(X[:, :4, :2]).shape == (3, 8)
    with pytest.raises(InputError, match="the rows of a batch would be mixed"):
        model.predict(np.zeros((4, 2, 2)))


def test_an_operation_that_is_not_known_is_refused_by_its_name_and_can_be_supplied(tmp_path: Path) -> None:
    node = lambda_node("math.lgamma", ["x", 0, 0])
    config = functional([entrance("x", 5, 4), node], [["x", 0, 0]], [["op", 0, 0]])
    path = write_h5(tmp_path / "m.h5", config, {}, "2.10.0")
    with pytest.raises(UnsupportedError, match="the operation tf.math.lgamma is not known"):
        fastlstm.load(path)
    np.testing.assert_array_equal(fastlstm.load(path, custom_layers={"op": np.abs}).predict(X), np.abs(X))


def test_an_argument_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="its argument adjoint_a=True is not known"):
        result(tmp_path, lambda_node("linalg.matmul", ["x", 0, 0], b=["x", 0, 0], adjoint_a=True), "2.10.0")


def test_converted_and_verified(tmp_path: Path) -> None:
    """Constants and arguments come back from a .fastlstm file as they were."""
    node = lambda_node("__operators__.add", ["x", 0, 0], y=[1.0, 2.0, 3.0, 4.0])
    config = functional([entrance("x", 5, 4), node], [["x", 0, 0]], [["op", 0, 0]])
    fastlstm.convert(write_h5(tmp_path / "m.h5", config, {}, "2.10.0"), tmp_path / "m.fastlstm")
    model = fastlstm.load(tmp_path / "m.fastlstm", verify=True)
    np.testing.assert_array_equal(model.predict(X), X + np.float32([1, 2, 3, 4]))


@pytest.mark.parametrize(("dtype", "passes"), [("float32", True), ("float64", False)])
def test_masks_end_at_operations_that_make_a_tensor(dtype: str, passes: bool, tmp_path: Path) -> None:
    """Keras 3's cast gives back its very input, mask and all, if that has the dtype already; anything else drops the mask."""
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 5, 4], "dtype": "float32", "keras_history": ["masking", 0, 0]}}
    layers = [
        entrance("x", 5, 4), keras3_layer("Masking", "masking", "x", mask_value=0.0),
        {
            "class_name": "Cast", "name": "cast", "config": {"name": "cast", "dtype": dtype},
            "inbound_nodes": [{"args": [tensor], "kwargs": {}}],
        },
        keras3_layer("GlobalAveragePooling1D", "op", "cast"),
    ]  # fmt: skip
    model = fastlstm.load(write_h5(tmp_path / "m.h5", functional(layers, ["x", 0, 0], ["op", 0, 0]), {}, "3.15.0"))
    x = X.copy()
    x[:, 3:] = 0
    np.testing.assert_allclose(model.predict(x), x[:, :3].mean(axis=1) if passes else x.mean(axis=1), atol=1e-6)


def test_in_a_stream() -> None:
    """Arithmetic goes step by step, x[:, -1] is the step that came last, and what needs the future is refused."""

    def loaded(operation: str, arguments: dict[str, Any]) -> fastlstm.Model:
        return fastlstm.Model(model_of(operation, arguments, shape=(None, None, 4)), source="m")

    plus = loaded("add", {"x1": {"input": 0}, "x2": 1.0}).stream(3)
    last = loaded("get_item", {"x": {"input": 0}, "key": [{"slice": [None, None, None]}, -1]}).stream(3)
    for t in range(5):
        np.testing.assert_array_equal(plus.step(X[:, t]), X[:, t] + 1)
        np.testing.assert_array_equal(last.step(X[:, t]), X[:, t])
    with pytest.raises(UnsupportedError, match="timesteps that are still to come"):
        loaded("flip", {"x": {"input": 0}, "axis": 1}).stream(3)


@pytest.mark.parametrize(("operation", "arguments"), [("multiply", {"x1": {"input": 0}, "x2": 2.0}), ("sin", {"x": {"input": 0}})])
def test_lists_of_sequences_of_different_lengths(operation: str, arguments: dict[str, Any]) -> None:
    """The padding of a list is no mask of Keras's: it goes on where an operation, in a kernel or in NumPy, drops masks."""
    spec = model_of(operation, arguments, shape=(None, None, 4))
    lstm = recurrent("LSTM", units=3, features=4, name="lstm")
    spec = replace(spec, layers=(*spec.layers, lstm), calls=(*spec.calls, Call(2, (Ref(1),))), outputs=(Ref(2),))
    model = fastlstm.Model(spec, source="m")
    sequences = [np.random.default_rng(steps).normal(size=(steps, 4)).astype(np.float32) for steps in (9, 3, 5)]
    for row, alone in zip(model.predict(sequences), sequences, strict=True):
        np.testing.assert_allclose(row, model.predict(alone[None])[0], atol=1e-6)


def test_constants_with_timesteps_are_not_the_same_for_all() -> None:
    model = fastlstm.Model(model_of("add", {"x1": {"input": 0}, "x2": {"array": 0}}, np.ones((5, 4), np.float32)), source="m")
    with pytest.raises(UnsupportedError, match="timesteps"):
        model.stream(3)


def test_ids_that_operations_read_too_stay_ids() -> None:
    """Embedding(ids) where ids != 0: the input is one of ids, as recorded cases need it."""
    door = LayerSpec("InputLayer", "x", {"shape": [None, 5], "dtype": "int32"})
    vectors = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    table = LayerSpec("Embedding", "e", {"input_dim": 9, "output_dim": 4}, (vectors,))
    operations = [
        ("not_equal", {"x1": {"input": 0}, "x2": 0}), ("expand_dims", {"x": {"input": 0}, "axis": -1}),
        ("multiply", {"x1": {"input": 0}, "x2": {"input": 1}}),
    ]  # fmt: skip
    layers = [LayerSpec("Operation", f"op{n}", {"operation": name, "arguments": words}) for n, (name, words) in enumerate(operations)]
    calls = (Call(0), Call(1, (Ref(0),)), Call(2, (Ref(0),)), Call(3, (Ref(2),)), Call(4, (Ref(1), Ref(3))))
    spec = ModelSpec(
        "m", "Functional", (door, table, *layers), calls, (Ref(0),), (Ref(4),), ("x",), ("op2",), Generation("Keras", "3", "", "test")
    )  # fmt: skip
    model = fastlstm.Model(spec, source="m")
    assert model.inputs[0].vocabulary == 9
    ids = np.array([[1, 0, 8, 3, 0]], np.int32)
    np.testing.assert_array_equal(model.predict(ids), vectors[ids] * (ids != 0)[..., None])


def test_whole_numbers_that_float32_does_not_hold_are_refused() -> None:
    spec = model_of("mod", {"x1": {"input": 0}, "x2": 9}, shape=(None, 3))
    spec = replace(spec, layers=(replace(spec.layers[0], config={"shape": [None, 3], "dtype": "int32"}), spec.layers[1]))
    large = np.array([[16777217, 5, 9]])
    with pytest.raises(InputError, match="precision"):
        fastlstm.Model(spec, source="m").predict(large)
    np.testing.assert_array_equal(fastlstm.Model(spec, source="m", precision="float64").predict(large), large % 9)


def junk(random: np.random.Generator, depth: int = 0) -> Any:
    """A value that an argument may have in a file."""
    kinds: list[Any] = [
        None, True, False, 0, 1, -1, 2, 3, 7, -5, 1 << 40, 0.5, -2.5, float("nan"), float("inf"), "", "float32", "int32", "bool", "abc->c",
        "bt,tc", "btf,bsf->bts", {"input": 0}, {"input": 1}, {"input": 9}, {"array": 0}, {"array": 1}, {"array": 5}, {"slice": [0, 1]},
        {"slice": [0, {"input": 0}, 0]}, {"slice": 3}, {"ellipsis": True}, {"newaxis": True}, {"strange": [1]}, "CONSTANT", "reflect",
    ]  # fmt: skip
    if depth < 3 and random.random() < 0.35:
        return [junk(random, depth + 1) for _ in range(random.integers(0, 4))]
    return kinds[random.integers(len(kinds))]


@pytest.mark.parametrize("name", OPERATIONS)
def test_junk_among_arguments(name: str) -> None:
    """Whatever a file says, an operation computes or refuses; nothing raw comes out, and nothing takes all memory."""
    random = np.random.default_rng(len(name))
    row = OPERATIONS[name]
    arrays = np.arange(4, dtype=np.float32), np.ones((5, 4), np.float32)
    for number in range(40):
        arguments = {key: junk(random) for key in row.arguments if random.random() < 0.9}
        if number % 2 and row.meaning.tensors:  # else little gets far
            arguments[row.meaning.tensors[0]] = {"input": 0} if row.meaning.tensors[0] not in ("xs", "operands") else [{"input": 0}] * 2
        spec = model_of(name, arguments, *arrays, inputs=2)
        try:
            fastlstm.Model(spec, source="m", precision="float64").predict(X)
        except FastLSTMError:
            continue


def test_arguments_that_are_missing() -> None:
    with pytest.raises(FormatError, match="is not given axis"):
        fastlstm.Model(model_of("expand_dims", {"x": {"input": 0}}), source="m")
