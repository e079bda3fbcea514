"""Differences between Keras generations, from the file to the numbers; and the table that lists them all."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import build
import h5py
import numpy as np
import pytest
from written import entrance, functional, write_h5

import fastlstm
from fastlstm.formats import generations

TESTS = Path(__file__).parent


def test_every_row_of_the_table_names_a_test() -> None:
    written = "\n".join(path.read_text() for path in TESTS.glob("test_*.py"))
    rows = (generations.__doc__ or "").splitlines()
    rulers = [number for number, row in enumerate(rows) if row.startswith("====")]
    columns = [match.start() for match in re.finditer("=+", rows[rulers[0]])]
    named = [row[columns[2] :].strip() for row in rows[rulers[1] + 1 : rulers[2]]]
    assert sum(map(bool, named)) > 15
    for name in filter(None, named):
        assert f"def test_{name}(" in written, f"no test_{name}"


def bidirectional(folder: Path, version: str, **options: Any) -> fastlstm.Model:
    rng = np.random.default_rng(0)
    forward = build.recurrent("LSTM", 3, 2, rng, **{"return_sequences": True, **options})
    layer = build.bidirectional(forward, build.recurrent("LSTM", 3, 2, rng).weights)
    entries = [build.masking(0.0).entry, layer.entry]
    entries[0] = {**entries[0], "config": {**entries[0]["config"], "batch_input_shape": [None, 4, 2]}}
    build.save_h5(folder / "model.h5", entries, [[], layer.weights], keras_version=version)
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
    np.testing.assert_array_equal(y[2, 3:], y[3, 3:] if repeats else 0)  # backwards, the step behind
    assert np.all(y[[0, 1, 3]] != 0)


@pytest.mark.parametrize(
    ("version", "passed"), [("2.0.6-tf", True), ("2.0.8-tf", False), ("2.1.6-tf", False), ("2.2.4-tf", True), ("2.1.6", True)]
)
@pytest.mark.parametrize("kind", ["Activation", "ActivityRegularization"])
def test_masks_of_layers_that_change_nothing(tmp_path: Path, kind: str, version: str, passed: bool) -> None:
    masking = {"class_name": "Masking", "config": {"name": "m", "mask_value": 0.0, "batch_input_shape": [None, 4, 2]}}
    nothing = {"class_name": kind, "config": {"name": "n", **({"activation": "linear"} if kind == "Activation" else {"l2": 0.1})}}
    lstm = build.recurrent("LSTM", 3, 2, np.random.default_rng(0))
    entry = {**lstm.entry, "config": {**lstm.entry["config"], "name": "l"}}
    config = {"class_name": "Sequential", "config": [masking, nothing, entry]}
    path = write_h5(tmp_path / "m.h5", config, {"m": [], "n": [], "l": lstm.weights}, version)
    x = np.random.default_rng(1).normal(size=(1, 4, 2)).astype(np.float32)
    x[0, 2] = 0
    same = fastlstm.load(build.save(tmp_path / "l.h5", [lstm], (None, 2))).predict(np.delete(x, 2, axis=1) if passed else x)
    for precision in ("float32", "float64"):
        np.testing.assert_allclose(fastlstm.load(path, precision=precision).predict(x), same, atol=1e-6)


@pytest.mark.parametrize(("version", "bare", "kept"), [("2.1.6-tf", False, False), ("2.1.6-tf", True, True), ("2.2.4-tf", False, True)])
def test_masks_of_nested_models(tmp_path: Path, version: str, bare: bool, kept: bool) -> None:
    masking = {"class_name": "Masking", "config": {"name": "m", "mask_value": 0.0, "batch_input_shape": [None, 4, 2]}}
    inner = {"class_name": "Sequential", "config": [masking] if bare else {"name": "s", "layers": [masking]}}
    lstm = build.recurrent("LSTM", 3, 2, np.random.default_rng(0))
    config = functional(
        [entrance("x", 4, 2), {**inner, "name": "s", "inbound_nodes": [[["x", 0, 0, {}]]]},
         {**lstm.entry, "name": "l", "inbound_nodes": [[["s", 1, 0, {}]]]}],
        [["x", 0, 0]], [["l", 0, 0]],
    )  # fmt: skip
    path = write_h5(tmp_path / "m.h5", config, {"s": [], "l": lstm.weights}, version)
    x = np.random.default_rng(1).normal(size=(1, 4, 2)).astype(np.float32)
    x[0, 2] = 0
    shorter = build.save(tmp_path / "l.h5", [lstm], (None, 2))
    same = fastlstm.load(shorter).predict(np.delete(x, 2, axis=1) if kept else x)
    for precision in ("float32", "float64"):
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
    """Add of one input without its step 2 and one without its step 3, both without step 3: which steps does an LSTM behind it see?"""
    rng = np.random.default_rng(0)
    lstm = build.recurrent("LSTM", 3, 2, rng)
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
    alone = fastlstm.load(build.save(tmp_path / "alone.h5", [lstm], (None, 2)))
    steps = np.flatnonzero(valid)
    np.testing.assert_array_equal(fastlstm.load(tmp_path / "model.h5").predict([a, b]), alone.predict((a + b)[:, steps]))
