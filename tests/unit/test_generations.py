"""Differences between Keras generations, from the file to the numbers; and the table that lists them all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5_files
import h5py
import numpy as np
import pytest
from keras_configs import chain, entrance, functional, write_h5

import fastlstm
from fastlstm.errors import UnsupportedError
from fastlstm.formats.reading import dialect

TESTS = Path(__file__).parents[1]


def test_every_row_of_the_table_names_a_test() -> None:
    written = "\n".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    rows = (dialect.__doc__ or "").splitlines()
    rulers = [number for number, row in enumerate(rows) if row.startswith("====")]
    columns = [match.start() for match in re.finditer("=+", rows[rulers[0]])]
    named = [row[columns[2] :].strip() for row in rows[rulers[1] + 1 : rulers[2]]]
    assert sum(map(bool, named)) > 15
    for name in filter(None, named):
        assert f"def test_{name}(" in written, f"no test_{name}"


def bidirectional(folder: Path, version: str, **options: Any) -> fastlstm.Model:
    rng = np.random.default_rng(0)
    forward = h5_files.recurrent("LSTM", 3, 2, rng, **{"return_sequences": True, **options})
    layer = h5_files.bidirectional(forward, h5_files.recurrent("LSTM", 3, 2, rng).weights)
    entries = [h5_files.masking(0.0).entry, layer.entry]
    entries[0] = {**entries[0], "config": {**entries[0]["config"], "batch_input_shape": [None, 4, 2]}}
    h5_files.save_h5(folder / "model.h5", entries, [[], layer.weights], keras_version=version)
    return fastlstm.load(folder / "model.h5")


@pytest.mark.parametrize(
    ("version", "repeats"),
    [("2.0.9", True), ("2.2.4", True), ("2.3.1", True), ("2.1.6-tf", True), ("2.4.0", False), ("2.15.0", False), ("3.0.5", False)],
)
def test_bidirectional_masked_steps_by_generation(tmp_path: Path, version: str, repeats: bool) -> None:
    x = np.random.default_rng(1).normal(size=(1, 4, 2)).astype(np.float32)
    x[0, 2] = 0
    y = bidirectional(tmp_path, version).predict(x)[0]
    np.testing.assert_array_equal(y[2, :3], y[1, :3] if repeats else 0)  # forwards, the step before
    np.testing.assert_array_equal(y[2, 3:], y[3, 3:] if repeats else 0)  # backwards, the step after
    assert np.all(y[[0, 1, 3]] != 0)


def with_optimizer(path: Path, rate: str) -> Path:
    """The file of a compiled model: an optimizer's rate goes by the name that it has in one TensorFlow and not in another."""
    with h5py.File(path, "r+") as file:
        file.attrs["training_config"] = json.dumps({"optimizer_config": {"class_name": "Adam", "config": {rate: 0.001}}})
    return path


@pytest.mark.parametrize(("version", "rate", "passed"), [
    ("2.0.6-tf", "", True), ("2.0.8-tf", "", False), ("2.1.6-tf", "", False), ("2.1.6", "", True),
    ("2.2.4-tf", "lr", False), ("2.2.4-tf", "learning_rate", True), ("2.2.4-tf", "", None), ("2.3.0-tf", "", True),
])  # fmt: skip
@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("kind", ["Activation", "ActivityRegularization"])
def test_masks_of_layers_that_change_nothing(
    tmp_path: Path, kind: str, sequential: bool, version: str, rate: str, passed: bool | None
) -> None:
    """Measured with TensorFlow 1.12 to 1.14: 1.13 drops them still. A Sequential model that does not tell may be of 1.15."""
    passed = True if passed is None and sequential else passed
    masking = {"class_name": "Masking", "config": {"name": "m", "mask_value": 0.0, "batch_input_shape": [None, 4, 2]}}
    nothing = {"class_name": kind, "config": {"name": "n", **({"activation": "linear"} if kind == "Activation" else {"l2": 0.1})}}
    lstm = h5_files.recurrent("LSTM", 3, 2, np.random.default_rng(0))
    entry = {**lstm.entry, "config": {**lstm.entry["config"], "name": "l"}}
    config: dict[str, Any] = {"class_name": "Sequential", "config": [masking, nothing, entry]}
    if not sequential:
        config = functional(
            [entrance("x", 4, 2)]
            + [{**one, "name": one["config"]["name"], "inbound_nodes": [[[before, 0, 0, {}]]]}
               for one, before in zip((masking, nothing, entry), "xmn")],
            [["x", 0, 0]], [["l", 0, 0]],
        )  # fmt: skip
    path = write_h5(tmp_path / "m.h5", config, {"m": [], "n": [], "l": lstm.weights}, version)
    if rate:
        with_optimizer(path, rate)
    x = np.random.default_rng(1).normal(size=(1, 4, 2)).astype(np.float32)
    x[0, 2] = 0
    same = fastlstm.load(h5_files.save(tmp_path / "l.h5", [lstm], (None, 2))).predict(np.delete(x, 2, axis=1) if passed else x)
    for precision in ("float32", "float64"):
        if passed is None:
            with pytest.raises(UnsupportedError, match=r"TensorFlow 1.13 drops and 1.14 hands on.*compile the model"):
                fastlstm.load(path, precision=precision).predict(x)
        else:
            np.testing.assert_allclose(fastlstm.load(path, precision=precision).predict(x), same, atol=1e-6)


@pytest.mark.parametrize(("version", "bare", "rate", "kept"), [
    ("2.1.6-tf", False, "lr", False), ("2.1.6-tf", True, "lr", True), ("2.2.4-tf", False, "lr", False),
    ("2.2.4-tf", False, "learning_rate", True), ("2.2.4-tf", False, "", None), ("2.15.0", False, "", True),
])  # fmt: skip
def test_masks_of_nested_models(tmp_path: Path, version: str, bare: bool, rate: str, kept: bool | None) -> None:
    """Of TensorFlow 1.13 and 1.14 the optimizer alone tells which of them saved a file; where it is missing, nobody can know."""
    masking = {"class_name": "Masking", "config": {"name": "m", "mask_value": 0.0, "batch_input_shape": [None, 4, 2]}}
    inner = {"class_name": "Sequential", "config": [masking] if bare else {"name": "s", "layers": [masking]}}
    lstm = h5_files.recurrent("LSTM", 3, 2, np.random.default_rng(0))
    config = functional(
        [entrance("x", 4, 2), {**inner, "name": "s", "inbound_nodes": [[["x", 0, 0, {}]]]},
         {**lstm.entry, "name": "l", "inbound_nodes": [[["s", 1, 0, {}]]]}],
        [["x", 0, 0]], [["l", 0, 0]],
    )  # fmt: skip
    path = write_h5(tmp_path / "m.h5", config, {"s": [], "l": lstm.weights}, version)
    if rate:
        with_optimizer(path, rate)
    x = np.random.default_rng(1).normal(size=(1, 4, 2)).astype(np.float32)
    x[0, 2] = 0
    shorter = h5_files.save(tmp_path / "l.h5", [lstm], (None, 2))
    same = fastlstm.load(shorter).predict(np.delete(x, 2, axis=1) if kept else x)
    for precision in ("float32", "float64"):
        if kept is None:
            with pytest.raises(UnsupportedError, match=r"TensorFlow 1.13 drops and 1.14 hands on.*compile the model"):
                fastlstm.load(path, precision=precision).predict(x)
        else:
            np.testing.assert_allclose(fastlstm.load(path, precision=precision).predict(x), same, atol=1e-6)


@pytest.mark.parametrize("recorded", [{}, {"zero_output_for_mask": True}])
def test_last_output_of_bidirectional_with_a_mask(tmp_path: Path, recorded: dict[str, Any]) -> None:
    x = np.random.default_rng(1).normal(size=(3, 4, 2)).astype(np.float32)
    x[1, 3] = x[2, 0] = 0  # the last step of one direction or the other
    model = bidirectional(tmp_path, "2.2.4-tf", return_sequences=False, **recorded)
    for y in (model.predict(x), fastlstm.load(tmp_path / "model.h5", precision="float64").predict(x)):
        forwards, backwards = y[:, :3], y[:, 3:]
        assert np.all(forwards[[0, 2]] != 0) and np.all(backwards[[0, 1]] != 0)
        assert np.all((forwards[1] == 0) == bool(recorded)) and np.all((backwards[2] == 0) == bool(recorded))


@pytest.mark.parametrize(("version", "backwards"), [("2.2.4", False), ("2.15.0", False), ("3.3.3", True)])
def test_backward_layer_by_generation(tmp_path: Path, version: str, backwards: bool) -> None:
    """Around a layer that goes backwards, the other direction goes forwards; but Keras 3's always goes backwards."""
    x = np.random.default_rng(1).normal(size=(1, 4, 2)).astype(np.float32)
    model = bidirectional(tmp_path, version, go_backwards=True)
    changed = x.copy()
    changed[0, 3] += 1  # forwards, the last step is seen last
    y, z = model.predict(x)[0, :, 3:], model.predict(changed)[0, :, 3:]
    # The outputs of the second direction are turned round in time whatever its own direction.
    assert np.array_equal(y[3], z[3]) is not backwards


@pytest.mark.parametrize(
    ("version", "valid"), [("2.2.4", [1, 1, 0, 0]), ("2.15.0", [1, 1, 0, 0]), ("3.0.5", [1, 1, 1, 1]), ("3.8.0", [1, 1, 1, 0])]
)
def test_merge_masks_by_generation(tmp_path: Path, version: str, valid: list[int]) -> None:
    """Add of one input without its step 2 and one without its step 3, both without step 3: which steps does an LSTM after it see?"""
    rng = np.random.default_rng(0)
    lstm = h5_files.recurrent("LSTM", 3, 2, rng)
    names = ("a", "b")

    def node(*froms: str) -> list[Any]:
        return [[[name, 0, 0, {}] for name in froms]]

    def entry(class_name: str, name: str, nodes: list[Any], **config: Any) -> dict[str, Any]:
        return {"class_name": class_name, "name": name, "config": {"trainable": True, **config, "name": name}, "inbound_nodes": nodes}

    layers = [entry("InputLayer", name, [], batch_input_shape=[None, 4, 2], dtype="float32") for name in names]
    layers += [entry("Masking", f"mask_{name}", node(name), mask_value=0.0) for name in names]
    layers.append(entry("Add", "add", node("mask_a", "mask_b")))
    layers.append(entry("LSTM", "lstm", node("add"), **lstm.entry["config"]))
    ends = {"input_layers": [[n, 0, 0] for n in names], "output_layers": [["lstm", 0, 0]]}
    config = {"class_name": "Model", "config": {"name": "model", "layers": layers, **ends}}
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs.update(keras_version=version, backend="tensorflow", model_config=json.dumps(config))
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = ["lstm"]
        group.create_group("lstm").attrs["weight_names"] = ["k", "r", "b"]
        for name, array in zip("krb", lstm.weights):
            group["lstm"][name] = array
    a, b = rng.normal(size=(2, 1, 4, 2)).astype(np.float32)
    a[0, 2:] = b[0, 3] = 0
    alone = fastlstm.load(h5_files.save(tmp_path / "alone.h5", [lstm], (None, 2)))
    steps = np.flatnonzero(valid)
    np.testing.assert_array_equal(fastlstm.load(tmp_path / "model.h5").predict([a, b]), alone.predict((a + b)[:, steps]))


MASKED = [[[0.2161132, -0.0711280], [0.1834928, -0.0581110]], [[0.0214373, 0.0517150], [0, 0]]]
UNMASKED = [[[0.2360690, -0.0374151], [0.1834928, -0.0581110]], [[0.2290659, -0.0273896], [0.2358278, -0.0376784]]]


def test_time_distributed_with_a_fixed_batch_size(tmp_path: Path) -> None:
    """Numbers of Keras 2.3.1, and which of masked and unmasked each generation gives: TensorFlow's were run too."""
    rng = np.random.RandomState(0)
    table, *lstm = [(rng.standard_normal(shape) * 0.7).astype(np.float32) for shape in ((9, 2), (2, 8), (2, 8), (8,))]
    ids = np.array([[[1, 2, 0, 0], [3, 1, 4, 2]], [[5, 0, 0, 0], [0, 0, 0, 0]]], np.int32)
    sigmoid = {"recurrent_activation": "sigmoid"}

    def predicted(version: str, batch: int | None, order: tuple[str, ...], **recorded: Any) -> np.ndarray:
        """Embedding within TimeDistributed or without, and an LSTM or a SimpleRNN within."""
        inner, kind = order
        initializer = {"class_name": "Zeros", "config": {"dtype": "float32"} if recorded.get("first") else {}}
        embedding = {"class_name": "Embedding", "config": {"name": "e", "input_dim": 9, "output_dim": 2, "mask_zero": True}}
        embedding["config"]["embeddings_initializer"] = initializer
        rnn = {"class_name": kind, "config": {"name": "r", "units": 2, **(sigmoid if kind == "LSTM" else {})}}
        x = {"name": "x", "batch_input_shape": [batch, 2, 4], "dtype": "int32"}
        first = td("a", embedding) if inner == "inside" else {**embedding, "name": "a", "config": {**embedding["config"], "name": "a"}}
        layers = [
            {"class_name": "InputLayer", "name": "x", "config": {**x, **recorded.get("input", {})}, "inbound_nodes": []},
            {**first, "inbound_nodes": [[["x", 0, 0, {}]]]},
            {**td("b", rnn), "inbound_nodes": [[["a", 0, 0, {}]]]},
        ]
        weights = lstm if kind == "LSTM" else [lstm[0][:, :2], lstm[1][:, :2], lstm[2][:2]]
        config = functional(layers, [["x", 0, 0]], [["b", 0, 0]])
        path = write_h5(tmp_path / "m.h5", config, {"a": [table], "b": weights}, version)
        found = fastlstm.load(path).predict(ids)
        np.testing.assert_allclose(fastlstm.load(path, precision="float64").predict(ids), found, atol=1e-6)
        return found

    def td(name: str, inner: dict[str, Any]) -> dict[str, Any]:
        # TensorFlow 1 records the dtype of the ids.
        return {"class_name": "TimeDistributed", "name": name, "config": {"name": name, "layer": inner, "dtype": "int32"}}

    masked, unmasked = (predicted("2.3.1", batch, ("inside", "LSTM")) for batch in (None, 2))
    np.testing.assert_allclose(masked, MASKED, atol=1e-6)
    np.testing.assert_allclose(unmasked, UNMASKED, atol=1e-6)
    other, none = (predicted("2.3.1", batch, ("outside", "SimpleRNN")) for batch in (None, 2))
    assert np.abs(other - none).max() > 0.1
    ragged = {"input": {"ragged": False}}
    first = {"first": True}
    for version, recorded, made, given, to_lstm in (
        ("2.1.5", {}, False, False, False),
        ("2.2.0", {}, False, False, False),
        ("2.2.4", {}, False, False, False),
        ("2.1.6-tf", {}, False, False, False),
        ("2.2.4-tf", first, False, False, False),  # TensorFlow 1.13
        ("2.2.4-tf", {**first, **ragged}, False, True, False),  # 1.15
        ("2.2.4-tf", {}, False, True, True),  # 2.0
        ("2.2.4-tf", ragged, False, True, True),  # 2.1
        ("2.3.0-tf", ragged, True, True, True),  # 2.2
        ("2.15.0", ragged, True, True, True),
    ):
        for kind, fixed, expected in (
            (("inside", "LSTM"), made, (unmasked, masked)),
            (("outside", "SimpleRNN"), given, (none, other)),
            (("outside", "LSTM"), to_lstm, (unmasked, masked)),
        ):
            found = predicted(version, 2, kind, **recorded)
            np.testing.assert_allclose(found, expected[fixed], atol=1e-6, err_msg=f"{version} {recorded} {kind}")
            found = predicted(version, None, kind, **recorded)
            np.testing.assert_allclose(found, expected[version != "2.1.5"], atol=1e-6, err_msg=f"{version} {recorded} {kind}")


@pytest.mark.parametrize(("version", "repeated"), [("2.2.4", False), ("2.2.4-tf", False), ("2.3.0-tf", True), ("2.15.0", True)])
@pytest.mark.parametrize("batch", [None, 2])
def test_time_distributed_around_a_layer_of_ones_own(tmp_path: Path, batch: int | None, version: str, repeated: bool) -> None:
    """Recorded: twice the input after Masking. With a fixed batch size TensorFlow from 2.1 on repeats the previous step."""
    x = np.arange(1, 13, dtype=np.float32).reshape(2, 3, 2)
    x[0, 1] = x[1, 0] = 0
    config = chain(
        ("Masking", {"name": "m", "mask_value": 0.0, "batch_input_shape": [batch, 3, 2]}),
        ("TimeDistributed", {"name": "t", "layer": {"class_name": "Twice", "config": {"name": "i"}}}),
    )
    config["config"] = {"name": "s", "layers": [{"class_name": "InputLayer", "config": entrance("x", 3, 2)["config"]}, *config["config"]]}
    config["config"]["layers"][0]["config"]["batch_input_shape"] = [batch, 3, 2]
    path = write_h5(tmp_path / "m.h5", config, {"m": [], "t": []}, version)
    expected = np.array([[2, 2 if repeated and batch else 0, 10], [0, 18, 22]])
    for precision in ("float32", "float64"):
        model = fastlstm.load(path, precision=precision, custom_layers={"Twice": lambda given: given * 2 + 0})
        np.testing.assert_array_equal(model.predict(x)[:, :, 0], expected)


FLOAT_IDS = np.array([[1.0, 0.4, 0.0, -0.4, 1e-50, 2.99999999, 0.99999999, 3.7, 1e-40]])
AS_GIVEN = [1.5, 2.0, 2.0, 2.5, 2.5, 6.0, 7.5, 11.0, 11.0]
CUT = [1.5, 1.5, 1.5, 1.5, 1.5, 5.0, 6.5, 10.0, 10.0]
FED_CUT = [1.5, 1.5, 1.5, 1.5, 1.5, 4.0, 4.0, 7.5, 7.5]


@pytest.mark.parametrize(
    ("version", "whole", "nested"),
    [("2.2.4", FED_CUT, AS_GIVEN), ("2.3.1", FED_CUT, AS_GIVEN), ("2.2.4-tf", FED_CUT, AS_GIVEN), ("2.3.0-tf", CUT, CUT),
     ("2.10.0", CUT, CUT), ("3.4.0", CUT, CUT)],
)  # fmt: skip
def test_float_ids_by_generation(tmp_path: Path, version: str, whole: list[float], nested: list[float]) -> None:
    """Recorded: the sums so far of id + 0.5 over the steps that are not masked, of ids given as float64."""
    weights = {"e": [np.arange(9.0)[:, None] + 0.5], "r": [np.ones((1, 1)), np.ones((1, 1)), np.zeros(1)]}

    def model(dtype: str, inner: str | None = None) -> Path:
        embedding = {"name": "e", "input_dim": 9, "output_dim": 1, "mask_zero": True, "trainable": True}
        sums = {"name": "r", "trainable": True, "units": 1, "activation": "linear", "return_sequences": True}
        inside = chain(("InputLayer", {"name": "j", "batch_input_shape": [None, 9], "dtype": inner}), ("Embedding", embedding))["config"]
        front = {"class_name": "Sequential", "config": {"name": "e", "layers": inside}} if inner else inside[1]
        door = entrance("x", 9)
        door["config"] |= {"dtype": dtype, "ragged": False}  # not of TensorFlow 1.13
        config = functional(
            [door, {**front, "name": "e", "inbound_nodes": [[["x", 0, 0, {}]]]},
             {"class_name": "SimpleRNN", "name": "r", "config": sums, "inbound_nodes": [[["e", 1 if inner else 0, 0, {}]]]}],
            [["x", 0, 0]], [["r", 0, 0]],
        )  # fmt: skip
        return write_h5(tmp_path / "m.h5", config, weights, version)

    for dtype, inner, expected in (
        ("float32", None, AS_GIVEN), ("int32", None, whole), ("int64", None, whole),
        ("float32", "int32", nested), ("int32", "float32", whole),
    ):  # fmt: skip
        path = model(dtype, inner)
        for precision in ("float32", "float64"):
            loaded = fastlstm.load(path, precision=precision)
            np.testing.assert_allclose(loaded.predict(FLOAT_IDS)[0, :, 0], expected, atol=1e-6, err_msg=f"{dtype} {inner} {precision}")
    loaded = fastlstm.load(model("float32"))
    for given in (FLOAT_IDS, FLOAT_IDS.tolist(), {"x": FLOAT_IDS}, [FLOAT_IDS]):
        np.testing.assert_allclose(loaded.predict(given)[0, :, 0], AS_GIVEN, atol=1e-6)
    stream = loaded.stream()
    np.testing.assert_allclose([float(stream.step(FLOAT_IDS[:, n])[0, 0]) for n in range(9)], AS_GIVEN, atol=1e-6)
    stream.reset()
    np.testing.assert_allclose(stream.feed(FLOAT_IDS)[0, :, 0], AS_GIVEN, atol=1e-6)


@pytest.mark.parametrize(("version", "zeros"), [("2.4.0", False), ("2.15.0", False), ("3.4.0", True)])
def test_convlstm_in_both_directions_with_a_mask(tmp_path: Path, version: str, zeros: bool) -> None:
    rng = np.random.default_rng(0)
    weights = [h5_files.random(rng, *shape) for shape in ((1, 2, 8), (1, 2, 8), (8,))]
    cell = {"name": "c", "trainable": True, "filters": 2, "kernel_size": [1], "padding": "same", "return_sequences": True}
    config = chain(
        ("Masking", {"name": "m", "mask_value": 0.0, "batch_input_shape": [None, 4, 3, 2], "trainable": True}),
        ("Bidirectional", {"name": "b", "layer": {"class_name": "ConvLSTM1D", "config": cell}, "trainable": True}),
    )
    path = write_h5(tmp_path / "m.h5", config, {"m": [], "b": [*weights, *weights]}, version)
    x = rng.normal(size=(2, 4, 3, 2)).astype(np.float32)
    x[0, 2, 1] = x[0, 1, 1] = 0
    y = fastlstm.load(path).predict(x)[0, :, 1]
    np.testing.assert_array_equal(y[1:3, :2], 0 if zeros else y[[0, 0], :2])
    np.testing.assert_array_equal(y[1:3, 2:], 0 if zeros else y[[3, 3], 2:])


@pytest.mark.parametrize(("version", "refused"), [("2.2.4", False), ("2.3.0-tf", False), ("2.10.0", True), ("3.15.0", True)])
def test_masked_softmax_by_generation(tmp_path: Path, version: str, refused: bool) -> None:
    """Newer ones add the mask (batch, time) to (batch, time, features): it goes together where these are of like sizes alone."""
    x = np.random.default_rng(1).normal(size=(1, 3, 3)).astype(np.float32)
    x[0, 1] = 0
    masking = ("Masking", {"name": "m", "mask_value": 0.0, "trainable": True, "batch_input_shape": [None, None, 3]})
    path = write_h5(tmp_path / "m.h5", chain(masking, ("Softmax", {"name": "s", "axis": -1, "trainable": True})), {}, version)
    for precision in ("float32", "float64"):
        if refused:
            with pytest.raises(UnsupportedError, match="has a mask of steps, which Keras takes for one of places"):
                fastlstm.load(path, precision=precision).predict(x)
        else:
            y = np.exp(x) / np.sum(np.exp(x), axis=-1, keepdims=True)
            np.testing.assert_allclose(fastlstm.load(path, precision=precision).predict(x), y, atol=1e-6)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("2.2.4-tf", [0.15588775, -0.46247968]), ("2.3.0-tf", [0.15588775, -0.46247968]), ("2.4.0", [0.15588775, -0.46247968]),
        ("2.10.0", [0.06508361, -0.29487354]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_mask_of_relu(tmp_path: Path, version: str, expected: list[float], precision: str) -> None:
    """Numbers of TensorFlow 2.1, 2.2, 2.3 and 2.10."""
    cell = {"name": "r", "units": 2, "trainable": True}
    config = chain(
        ("Masking", {"name": "m", "mask_value": 0.0, "trainable": True, "batch_input_shape": [None, 5, 3]}),
        ("ReLU", {"name": "a", "max_value": None, "negative_slope": 0.5, "threshold": 0.0, "trainable": True}), ("SimpleRNN", cell),
    )  # fmt: skip
    arrays = [np.linspace(-1, 1, 6).reshape(3, 2), np.linspace(-0.5, 0.7, 4).reshape(2, 2), np.array([0.3, -0.2])]
    x = np.linspace(-1, 1, 15).reshape(1, 5, 3).astype(np.float32)
    x[0, [1, 3, 4]] = 0
    path = write_h5(tmp_path / "m.h5", config, {"m": [], "a": [], "r": [array.astype(np.float32) for array in arrays]}, version)
    np.testing.assert_allclose(fastlstm.load(path, precision=precision).predict(x)[0], expected, atol=1e-6)
