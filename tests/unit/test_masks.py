"""Masks of other axes than (batch, time), and inputs that meet in one layer: right numbers, or an error that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5
from layer_specs import applied, made, normal, recurrent, simple

import fastlstm
from fastlstm.errors import FormatError, InputError
from fastlstm.layers import Tensor
from fastlstm.spec import LayerSpec, Rules

CELLS = np.random.default_rng(3).random((2, 4, 3)) < 0.6  # of a grid of width 3, along 4 steps


def graph(folder: Path, shapes: list[tuple[int | None, ...]], middle: list[dict[str, Any]], **arrays: list[np.ndarray]) -> Path:
    """A file of tf.keras 2.15: inputs x0, x1, ..., then layers; the last one's output is the model's."""
    doors = [entrance(f"x{number}", *shape) for number, shape in enumerate(shapes)]
    config = functional([*doors, *middle], [[door["name"], 0, 0] for door in doors], [[middle[-1]["name"], 0, 0]])
    weights = {entry["name"]: arrays.get(entry["name"], []) for entry in middle}
    return write_h5(folder / "model.h5", config, weights, "2.15.0")


def after(*names: str) -> list[Any]:
    return [[[name, 0, 0, {}] for name in names]]


def lstm(name: str = "lstm") -> tuple[dict[str, Any], list[np.ndarray]]:
    spec = recurrent("LSTM", units=2, features=2)
    return layer("LSTM", name, after("merged"), **spec.config), list(spec.weights)


# -- masks of places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [{"padding": "same"}, {"padding": "same", "return_sequences": True, "go_backwards": True}])
def test_convlstm_keeps_the_state_of_masked_cells(config: dict[str, Any]) -> None:
    """With windows of one cell each cell is an LSTM of its own."""
    x, f = normal(2, 4, 3, 2), 2
    weights = (normal(1, 2, 4 * f), normal(1, f, 4 * f), normal(4 * f))
    full = {"filters": f, "kernel_size": [1], "recurrent_activation": "sigmoid", **config}
    (found,) = applied(made(simple("ConvLSTM1D", full, weights)), Tensor(x, CELLS))
    ends = {key: value for key, value in config.items() if key != "padding"}
    one = made(LayerSpec("LSTM", "l", {"units": f, **ends}, tuple(np.float32(w[0] if w.ndim == 3 else w) for w in weights)))
    for place in range(3):
        (expected,) = applied(one, Tensor(x[:, :, place], CELLS[:, :, place]))
        np.testing.assert_allclose(found.value[..., place, :], expected.value, rtol=1e-6)
    assert found.mask is (CELLS if "return_sequences" in config else None)


@pytest.mark.parametrize(("padding", "strides"), [("valid", 1), ("same", 2)])
def test_mask_larger_than_the_grid_is_refused_at_load(tmp_path: Path, padding: str, strides: int) -> None:
    config = {"filters": 1, "kernel_size": [2], "padding": padding, "strides": [strides]}
    middle = [layer("Masking", "m", after("x0"), mask_value=0.0), layer("ConvLSTM1D", "c", after("m"), **config)]
    path = graph(tmp_path, [(4, 3, 2)], middle, c=[normal(2, 2, 4), normal(2, 1, 4), normal(4)])
    with pytest.raises(FormatError, match=r"'c' \(ConvLSTM1D\): its input has a mask of shape \(batch, 4, 3\)"):
        fastlstm.load(path)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_mask_of_each_unit(kind: str) -> None:
    """Keras broadcasts: a mask with as many places as units holds each unit by itself; with any other number it fails."""
    x = normal(2, 4, 2)
    layer = made(recurrent(kind, units=3, features=2, return_sequences=True))
    (found,) = applied(layer, Tensor(x, CELLS))
    still = ~CELLS[:, 1:]
    np.testing.assert_array_equal(found.value[:, 1:][still], found.value[:, :-1][still])
    assert np.all(found.value[:, 0][~CELLS[:, 0]] == 0)
    (one,) = applied(layer, Tensor(x, CELLS[:, :, :1]))
    np.testing.assert_array_equal(one.value, applied(layer, Tensor(x, CELLS[:, :, 0]))[0].value)
    for mask in (CELLS[:, :, :2], CELLS[:, :3, :1], CELLS[:, 0, 0], CELLS[..., None]):
        with pytest.raises(FormatError, match="which does not go with 4 steps"):
            applied(layer, Tensor(x, mask))


@pytest.mark.parametrize(
    ("kind", "config", "weights"),
    [("GlobalAveragePooling1D", {}, ()), ("Attention", {}, ()),
     ("MultiHeadAttention", {"num_heads": 1, "key_dim": 3, "use_bias": False}, (*[normal(3, 1, 3)] * 3, normal(1, 3, 3)))],
)  # fmt: skip
def test_masks_of_places_where_steps_are_wanted(kind: str, config: dict[str, Any], weights: tuple[np.ndarray, ...]) -> None:
    layer, x = made(simple(kind, config, weights)), Tensor(normal(2, 4, 3), CELLS)
    with pytest.raises(FormatError, match="has a mask of 3 axes"):
        applied(layer, *[x] * (1 if kind.startswith("Global") else 2))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("inside", [False, True])
def test_ragged_rows_of_a_grid(tmp_path: Path, precision: str, inside: bool) -> None:
    """Padding is none of the model's steps, whatever the mask says of its values."""
    masking = layer("Masking", "m", mask_value=-1.0)
    front = layer("TimeDistributed", "t", layer=masking) if inside else masking
    last = recurrent("LSTM", units=3, features=3)
    each = recurrent("LSTM", units=3, features=2)
    middle = [
        {**front, "inbound_nodes": after("x0")},
        layer("TimeDistributed", "each", after(front["name"]), layer=layer("LSTM", "inner", **each.config)),
        layer("LSTM", "last", after("each"), **last.config),
    ]
    path = graph(tmp_path, [(None, 3, 2)], middle, each=list(each.weights), last=list(last.weights))
    model = fastlstm.load(path, precision=precision)
    rows = [np.where(normal(n, 3, 1) < -0.3, -1, normal(n, 3, 2)) for n in (3, 5, 1, 5)]
    alone = np.concatenate([model.predict(row[np.newaxis]) for row in rows])
    np.testing.assert_allclose(model.predict(rows), alone, atol=1e-6)


# -- several inputs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"])
@pytest.mark.parametrize("masked", [False, True])
def test_lengths_that_do_not_go_together(tmp_path: Path, kind: str, masked: bool) -> None:
    ends = ["m0", "m1"] if masked else ["x0", "x1"]
    middle = [layer("Masking", f"m{n}", after(f"x{n}"), mask_value=0.0) for n in range(2)] if masked else []
    middle.append(layer(kind, "merged", after(*ends), **({"axis": -1} if kind == "Concatenate" else {})))
    five, three = normal(2, 5, 2), normal(2, 3, 2)
    for shape in ((None, 2), (5, 2)):  # the second loads although its other input must be as long
        for precision in ("float32", "float64"):
            model = fastlstm.load(graph(tmp_path, [shape, (None, 2)], middle), precision=precision)
            with pytest.raises(InputError, match=r"x: input of shape \(any, 5, 2\) and \(any, 3, 2\) does not fit: .*'merged' "):
                model.predict([five, three])
            assert model.predict([five, five]).shape[1] == 5
    with pytest.raises(FormatError, match="do not go together"):
        fastlstm.load(graph(tmp_path, [(5, 2), (3, 2)], middle))


def test_masks_of_unlike_lengths(tmp_path: Path) -> None:
    """Keras 2 joins masks and Keras 3 broadcasts them, as they do values."""
    long, short = Tensor(normal(2, 4, 2), CELLS[:, :, 0]), Tensor(normal(2, 1, 2), CELLS[:, :1, 0])
    (found,) = applied(made(simple("Add"), Rules(merge_mask="or")), long, short)
    np.testing.assert_array_equal(found.mask, long.mask | short.mask)
    (found,) = applied(made(simple("Maximum"), Rules(merge_mask="or")), long, short)
    np.testing.assert_array_equal(found.mask, long.mask | short.mask)
    with pytest.raises(FormatError, match=r"masks of shapes \(batch, 4\), \(batch, 1\)"):
        applied(made(simple("Add")), long, short)
    # One mask alone passes as it is: then a recurrent layer after it cannot be run, in kernels no more than in NumPy.
    entry, weights = lstm()
    middle = [layer("Masking", "m", after("x1"), mask_value=0.0), layer("Add", "merged", after("x0", "m")), entry]
    for precision in ("float32", "float64"):
        with pytest.raises(FormatError, match=r"'lstm' \(LSTM\): its input has a mask of shape \(batch, 1\)"):
            fastlstm.load(graph(tmp_path, [(4, 2), (1, 2)], middle, lstm=weights), precision=precision).predict([long.value, short.value])
    middle[-1] = layer("GlobalAveragePooling1D", "mean", after("merged"))
    given = [long.value, np.abs(short.value)]
    for precision in ("float32", "float64"):
        found = fastlstm.load(graph(tmp_path, [(4, 2), (1, 2)], middle), precision=precision).predict(given)
        np.testing.assert_allclose(found, np.sum(given[0] + given[1], axis=1), rtol=1e-5)  # as Keras: divided by the one step of the mask


@pytest.mark.parametrize("rule", ["and", "or"])
@pytest.mark.parametrize("kind", ["Add", "Multiply", "Maximum"])
def test_masks_of_unlike_axes(kind: str, rule: str) -> None:
    grid, steps = Tensor(normal(2, 4, 3, 2), CELLS), Tensor(normal(2, 3, 2), CELLS[:, 0])
    with pytest.raises(FormatError, match="masks of its inputs have unlike numbers of axes"):
        applied(made(simple(kind), Rules(merge_mask=rule)), grid, steps)
    if rule == "or" and kind != "Add":
        with pytest.raises(FormatError, match="an input of 4 axes has a mask of 2"):
            applied(made(simple(kind), Rules(merge_mask=rule)), grid, grid._replace(mask=CELLS[:, :, 0]))


def test_concatenate_masks_of_fewer_axes() -> None:
    """(batch, time) masks of (batch, time, width, channels): Keras 2 gives each one axis more, Keras 3 cannot run it."""
    x, mask = normal(2, 4, 3, 2), CELLS[:, :, 0]
    pair = (Tensor(x, mask), Tensor(x, ~mask))
    np.testing.assert_array_equal(applied(made(simple("Concatenate", {"axis": -1})), *pair)[0].mask, np.zeros((2, 4), bool))
    np.testing.assert_array_equal(applied(made(simple("Concatenate", {"axis": 1})), *pair)[0].mask, np.concatenate([mask, ~mask], 1))
    for rule, others in (("and", (Tensor(x, mask), Tensor(x))), ("or", pair)):
        with pytest.raises(FormatError):
            applied(made(simple("Concatenate", {"axis": -1}), Rules(merge_mask=rule)), *others)


@pytest.mark.parametrize("mode", ["sum", "ave", "mul"])
@pytest.mark.parametrize("units", [(1, 4), (4, 1)])
@pytest.mark.parametrize("sequences", [False, True])
def test_directions_that_broadcast(tmp_path: Path, mode: str, units: tuple[int, int], sequences: bool) -> None:
    rng = np.random.default_rng(0)
    one, other = (recurrent(kind, units=n, features=2, return_sequences=sequences) for kind, n in zip(("GRU", "LSTM"), units, strict=True))
    config = {
        "layer": {"class_name": "GRU", "config": {**one.config, "name": "one", "reset_after": False}}, "merge_mode": mode,
        "backward_layer": {"class_name": "LSTM", "config": {**other.config, "name": "other", "go_backwards": True}},
    }  # fmt: skip
    middle = [layer("Masking", "m", after("x0"), mask_value=0.0), layer("Bidirectional", "b", after("m"), **config)]
    path = graph(tmp_path, [(None, 2)], middle, b=[*one.weights, *other.weights])
    x = rng.normal(size=(7, 5, 2)).astype(np.float32)
    x[0, 2] = x[1, 3:] = 0
    native, truth = (fastlstm.load(path, precision=precision) for precision in ("float32", "float64"))
    y = truth.predict(x)
    assert y.shape == ((7, 5, 4) if sequences else (7, 4)) and native.layers[-1].runs == "native"
    np.testing.assert_allclose(native.predict(x), y, atol=1e-6)
    given = Tensor(np.float64(x), np.any(x != 0, axis=-1))
    sides = (("GRU", {**one.config, "reset_after": False}, one.weights), ("LSTM", {**other.config, "go_backwards": True}, other.weights))
    specs = [LayerSpec(kind, "l", {**config, "zero_output_for_mask": sequences}, weights) for kind, config, weights in sides]
    a, b = (applied(made(spec), given)[0].value for spec in specs)
    b = b[:, ::-1] if sequences else b
    np.testing.assert_allclose(y, {"sum": a + b, "ave": (a + b) / 2, "mul": a * b}[mode], atol=1e-12)
    wrong = {**config, "layer": {"class_name": "GRU", "config": {**config["layer"]["config"], "units": 3}}}
    three = recurrent("GRU", units=3, features=2)
    middle[-1] = layer("Bidirectional", "b", after("m"), **wrong)
    if 1 not in (3, units[1]):
        with pytest.raises(FormatError, match="outputs of shapes"):
            fastlstm.load(graph(tmp_path, [(None, 2)], middle, b=[*three.weights, *other.weights]))


# -- sizes that nobody needs --------------------------------------------------------------------------------------------------


def test_sizes_that_are_not_needed(tmp_path: Path) -> None:
    x = normal(2, 5, 3)
    norm = layer("LayerNormalization", "n", after("x0"), axis=[1, 2], epsilon=1e-3, center=False, scale=False)
    path = graph(tmp_path, [(None, 3)], [norm])
    expected = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-3)
    for precision in ("float32", "float64"):
        np.testing.assert_allclose(fastlstm.load(path, precision=precision).predict(x), expected, atol=1e-5)
    with pytest.raises(FormatError, match="size of axis"):
        fastlstm.load(graph(tmp_path, [(None, 3)], [layer("LayerNormalization", "n", after("x0"), axis=[1, 2])], n=[normal(5, 3)] * 2))
    unit = graph(tmp_path, [(None, 3)], [layer("UnitNormalization", "n", after("x0"), axis=[1, 2])])
    np.testing.assert_allclose(fastlstm.load(unit).predict(x), x / np.sqrt((x**2).sum((1, 2), keepdims=True)), atol=1e-6)
    heads = graph(tmp_path, [(None, None)], [layer("Attention", "a", after("x0", "x0"))])
    scores = np.exp(x @ x.swapaxes(1, 2))
    np.testing.assert_allclose(fastlstm.load(heads).predict(x), scores / scores.sum(-1, keepdims=True) @ x, atol=1e-5)
    other = graph(tmp_path, [(None, 3), (None, 3), (None, 3)], [layer("Attention", "a", after("x0", "x1", "x2"))])
    with pytest.raises(InputError, match="steps of key and value"):
        fastlstm.load(other).predict([x, x, x[:, :4]])


def test_ids_in_float64(tmp_path: Path) -> None:
    """The reference looks ids up in float64, however they are given."""
    spec, table = recurrent("LSTM", units=3, features=2), normal(9, 2).astype(np.float32)
    middle = [layer("Embedding", "e", after("x0"), input_dim=9, output_dim=2), layer("LSTM", "l", after("e"), **spec.config)]
    model = fastlstm.load(graph(tmp_path, [(None,)], middle, e=[table], l=list(spec.weights)), precision="float64")
    ids = np.array([[1, 8, 0, 3]])
    (expected,) = applied(made(spec), np.float64(table[ids]))
    for given in (ids, ids.astype(np.int32), ids.astype(np.float32)):
        found = model.predict(given)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected.value, rtol=1e-13)


def test_states_of_directions_that_numpy_computes(tmp_path: Path) -> None:
    """A function of the caller's has no kernel: the states of both directions are carried all the same."""
    one, other = (recurrent("SimpleRNN", units=3, features=2, activation="mine", stateful=True) for _ in range(2))
    config = {
        "layer": {"class_name": "SimpleRNN", "config": {**one.config, "name": "one"}}, "merge_mode": "concat",
        "backward_layer": {"class_name": "SimpleRNN", "config": {**other.config, "name": "other", "go_backwards": True}},
    }  # fmt: skip
    middle = [layer("Bidirectional", "b", after("x0"), **config)]
    middle[0]["inbound_nodes"] = after("x0")
    door = entrance("x0", 4, 2)
    door["config"]["batch_input_shape"] = [2, 4, 2]
    config = functional([door, *middle], [["x0", 0, 0]], [["b", 0, 0]])
    path = write_h5(tmp_path / "m.h5", config, {"b": [*one.weights, *other.weights]}, "2.15.0")
    x = normal(2, 4, 2).astype(np.float32)
    native, truth = (fastlstm.load(path, precision=p, custom_activations={"mine": np.tanh}) for p in ("float32", "float64"))
    first, second = native.predict(x), native.predict(x)
    assert np.abs(second - first).max() > 1e-3
    np.testing.assert_allclose([first, second], [truth.predict(x), truth.predict(x)], atol=1e-6)


def test_masks_of_a_merge_of_nothing(tmp_path: Path) -> None:
    """A graph of Keras 3 with masks in it, whose Add is called with no tensors: refused, as the file makes no sense."""

    def of(name: str) -> dict[str, Any]:
        return {"class_name": "__keras_tensor__", "config": {"shape": [None, 5, 3], "dtype": "float32", "keras_history": [name, 0, 0]}}

    def operation(kind: str, name: str, *arguments: Any, **words: Any) -> dict[str, Any]:
        return {"class_name": kind, "name": name, "config": {"name": name}, "inbound_nodes": [{"args": list(arguments), "kwargs": words}]}

    layers = [
        {"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_shape": [None, 5, 3]}, "inbound_nodes": []},
        operation("NotEqual", "differs", of("x"), 0.0),
        operation("Any", "any", of("differs"), axis=-1),
        layer("Add", "add", [{"args": [], "kwargs": {}}]),
        layer("LSTM", "lstm", [{"args": [of("add")], "kwargs": {"mask": of("any")}}], units=2),
    ]
    config = functional(layers, [["x", 0, 0]], [["lstm", 0, 0]], "Functional")
    arrays = [np.zeros(shape, np.float32) for shape in ((3, 8), (2, 8), (8,))]
    with pytest.raises(fastlstm.FastLSTMError, match="add"):
        fastlstm.load(write_h5(tmp_path / "m.h5", config, {"lstm": arrays}, "3.15.1"))
