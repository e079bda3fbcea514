"""Cells called as layers, on an input and the states before it: one step, in kernels, as often as a graph asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5
from layer_specs import recurrent, recurrent_weights, truth

import fastlstm

RANDOM = np.random.default_rng(0)
TANH = {"activation": "tanh"}
GATED = {**TANH, "recurrent_activation": "sigmoid"}
CONFIGS: dict[str, dict[str, Any]] = {"SimpleRNN": TANH, "LSTM": GATED, "GRU": {**GATED, "reset_after": True}}


def states_of(kind: str) -> int:
    return 2 if kind == "LSTM" else 1


def unrolled(folder: Path, kind: str, steps: int, version: str = "2.10.0", **config: Any) -> Path:
    """A loop written out by hand: one cell called once a step, each time on the states that the call before gave."""
    states = [entrance(f"s{number}", 4) for number in range(states_of(kind))]
    nodes, before = [], [[state["name"], 0, 0] for state in states]
    for number in range(steps):
        nodes.append([[f"x{number}", 0, 0, {"states": before}]])
        before = [["cell", number, 1 + place] for place in range(states_of(kind))]
    layers = [*(entrance(f"x{number}", 3) for number in range(steps)), *states]
    layers.append(layer(f"{kind}Cell", "cell", nodes, units=4, **{**CONFIGS[kind], **config}))
    outputs = [*(["cell", number, 0] for number in range(steps)), *before]
    inputs = [[entry["name"], 0, 0] for entry in layers[:-1]]
    weights = recurrent_weights(kind, 3, 4, reset_after=kind == "GRU")
    return write_h5(folder / "m.h5", functional(layers, inputs, outputs, "Functional"), {"cell": list(weights)}, version)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_a_loop_written_out_by_hand(tmp_path: Path, kind: str, precision: str) -> None:
    model = fastlstm.load(unrolled(tmp_path, kind, 6), precision=precision)
    x = RANDOM.normal(size=(9, 6, 3)).astype(np.float32)
    states = [RANDOM.normal(size=(9, 4)).astype(np.float32) for _ in range(states_of(kind))]
    *outputs, last = model.predict([*x.swapaxes(0, 1), *states])
    if kind == "LSTM":
        outputs.pop()  # h, which is the last output too
    expected, _, final = truth(recurrent(kind, **CONFIGS[kind]), x.astype(np.float64), None, states)
    np.testing.assert_allclose(np.stack(outputs, 1), expected, atol=1e-6)
    assert len(model.layers) == 6 + len(states) + 1
    if precision == "float32":
        assert {info.runs for info in model.layers if info.name == "cell"} == {"native"}
    np.testing.assert_allclose(last, final[-1], atol=1e-6)


def test_an_activation_without_a_kernel_runs_in_numpy(tmp_path: Path) -> None:
    path = unrolled(tmp_path, "LSTM", 2, activation={"class_name": "function", "config": "mine", "registered_name": "mine"})
    model = fastlstm.load(path, custom_activations={"mine": np.tanh})
    given = [RANDOM.normal(size=(3, size)).astype(np.float32) for size in (3, 3, 4, 4)]
    plain = fastlstm.load(unrolled(tmp_path, "LSTM", 2))
    for mine, theirs in zip(model.predict(given), plain.predict(given), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_ids_go_through_an_embedding_to_a_cell(tmp_path: Path) -> None:
    table = RANDOM.normal(size=(7, 3)).astype(np.float32)
    layers = [
        entrance("i"), entrance("h", 4), layer("Embedding", "e", [[["i", 0, 0, {}]]], input_dim=7, output_dim=3),
        layer("GRUCell", "g", [[["e", 0, 0, {"states": [["h", 0, 0]]}]]], units=4, **CONFIGS["GRU"]),
    ]  # fmt: skip
    weights = recurrent_weights("GRU", 3, 4, reset_after=True)
    config = functional(layers, [["i", 0, 0], ["h", 0, 0]], [["g", 0, 0], ["g", 0, 1]], "Functional")
    model = fastlstm.load(write_h5(tmp_path / "e.h5", config, {"e": [table], "g": list(weights)}, "2.10.0"))
    plain = fastlstm.load(unrolled(tmp_path, "GRU", 1))
    ids, h = np.array([1, 0, 6]), RANDOM.normal(size=(3, 4)).astype(np.float32)
    for mine, theirs in zip(model.predict([ids, h]), plain.predict([table[ids], h]), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def stacked(folder: Path, **config: Any) -> Path:
    """An LSTM and a GRU one on top of the other; states as the stack lists them."""
    cells = [
        {"class_name": "LSTMCell", "config": {"name": "low", "units": 4, **GATED}},
        {"class_name": "GRUCell", "config": {"name": "high", "units": 5, **CONFIGS["GRU"]}},
    ]
    states = [[["h", 0, 0], ["c", 0, 0]], ["g", 0, 0]]
    names = ["x", "h", "c", "g"]
    if config.get("reverse_state_order"):
        states = states[::-1]
    layers = [entrance(name, size) for name, size in zip(names, (3, 4, 4, 5), strict=True)]
    layers.append(layer("StackedRNNCells", "s", [[["x", 0, 0, {"states": states}]]], cells=cells, **config))
    arrays = [*recurrent_weights("LSTM", 3, 4), *recurrent_weights("GRU", 4, 5, reset_after=True)]
    outputs = [["s", 0, number] for number in range(4)]
    return write_h5(folder / "s.h5", functional(layers, [[n, 0, 0] for n in names], outputs, "Functional"), {"s": arrays}, "2.10.0")


def test_stacks_of_cells(tmp_path: Path) -> None:
    given = [RANDOM.normal(size=(3, size)).astype(np.float32) for size in (3, 4, 4, 5)]
    y, h, c, g = fastlstm.load(stacked(tmp_path)).predict(given)
    low = truth(recurrent("LSTM", **GATED), given[0][:, None].astype(np.float64), None, given[1:3])[0][:, 0]
    np.testing.assert_allclose(h, low, atol=1e-6)
    np.testing.assert_array_equal(y, g)
    exact = fastlstm.load(stacked(tmp_path), precision="float64").predict(given)
    for mine, theirs in zip((y, h, c, g), exact, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    turned = fastlstm.load(stacked(tmp_path, reverse_state_order=True)).predict(given)
    for mine, theirs in zip(turned, (y, g, h, c), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("kind", CONFIGS)
def test_converted_it_verifies(tmp_path: Path, kind: str) -> None:
    fastlstm.convert(unrolled(tmp_path, kind, 3), tmp_path / "m.fastlstm")
    fastlstm.load(tmp_path / "m.fastlstm", verify=True)
