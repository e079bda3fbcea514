"""What the caller's functions may ask for and say of themselves: masks, states, streams, shapes; and cells."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from layer_specs import model_of, own, recurrent

import fastlstm
from fastlstm.errors import FormatError, InputError, UnsupportedError
from fastlstm.limits import Budget
from fastlstm.model import Model
from fastlstm.spec import Call, LayerSpec, ModelSpec, Ref

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5, 3)).astype(np.float32)
#: Rows with masked timesteps at the end, at the start, none, and nothing else.
MASKED = X * np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]], np.float32)[..., None]
KERNEL = RNG.normal(size=(3, 2)).astype(np.float32)
RECURRENT = RNG.normal(size=(2, 2)).astype(np.float32)
MASKING = LayerSpec("Masking", "masking", {"mask_value": 0.0})


def weighed(name: str = "own", class_name: str = "My", **config: Any) -> LayerSpec:
    return LayerSpec(class_name, name, config, (KERNEL, RECURRENT))


def predicted(spec: ModelSpec, x: np.ndarray = MASKED, **given: Any) -> np.ndarray:
    y: np.ndarray = Model(spec, source="m.h5", **given).predict(x)
    wide = Model(spec, source="m.h5", precision="float64", **given).predict(x)
    np.testing.assert_allclose(y, wide, rtol=1e-4, atol=1e-5)
    return y


# -- masks ------------------------------------------------------------------------------------------------------------------------


def mean(x: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    there = np.ones(x.shape[:2], bool) if mask is None else mask
    return np.sum(x * there[..., None], 1) / np.maximum(there.sum(1), 1)[:, None]


def test_the_mask_of_the_input() -> None:
    expected = mean(MASKED, np.any(MASKED != 0, -1))
    np.testing.assert_allclose(predicted(model_of(MASKING, own("own")), custom_layers={"own": mean}), expected, rtol=1e-5, atol=1e-6)
    bare = predicted(model_of(own("own")), custom_layers={"own": mean})
    np.testing.assert_allclose(bare, MASKED.mean(1), rtol=1e-5, atol=1e-6)


def test_a_function_that_needs_a_mask() -> None:
    def needs(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return (x * mask[..., None]).sum(1)

    np.testing.assert_allclose(predicted(model_of(MASKING, own("own")), custom_layers={"own": needs}), MASKED.sum(1), rtol=1e-5)
    with pytest.raises(InputError, match=r"layer 'own' \(My\): .* raised TypeError: 'NoneType'"):
        predicted(model_of(own("own")), custom_layers={"own": needs})


def merge(first: LayerSpec, last: LayerSpec) -> ModelSpec:
    """The input, masked and as it is, goes into the last layer."""
    base = model_of(first, last)
    return ModelSpec(**{**base.__dict__, "calls": (Call(0), Call(1, (Ref(0),)), Call(2, (Ref(1), Ref(0))))})


def test_the_masks_of_several_inputs() -> None:
    seen: list[Any] = []

    def both(a: np.ndarray, b: np.ndarray, mask: list[np.ndarray | None]) -> np.ndarray:
        if mask[0] is not None:
            seen.append(mask)
        return a + b

    np.testing.assert_allclose(predicted(merge(MASKING, own("own")), custom_layers={"own": both}), 2 * MASKED)
    assert all(len(mask) == 2 and mask[1] is None and mask[0].dtype == bool for mask in seen)
    np.testing.assert_array_equal(seen[-1][0], np.any(MASKED != 0, -1)[-len(seen[-1][0]) :])


def sums(x: np.ndarray) -> np.ndarray:
    return x + 1.0


LAST = recurrent("LSTM", features=3)


def last(rows: list[np.ndarray]) -> np.ndarray:
    """What an LSTM makes of each row alone, less what is masked."""
    model = Model(model_of(LAST, shape=(None, None, 3)))
    return np.concatenate([model.predict(row[None]) for row in rows])


@pytest.mark.parametrize(("masks", "passes"), [("none", False), ("passes", True), (lambda x, mask: mask, True), (lambda x: None, False)])
def test_the_mask_of_the_output(masks: Any, passes: bool) -> None:
    """What follows sees it, or not: as it does after layers of Keras that pass masks on, or do not."""
    function = fastlstm.supports(masks=masks)(lambda x: sums(x))
    inert = LayerSpec("Dropout", "idle", {"rate": 0.5})
    y = predicted(model_of(MASKING, own("own"), LAST), custom_layers={"own": function})
    rows = [row + 1 for row in MASKED[:3]]
    np.testing.assert_allclose(y[:3], last([row[row[:, 0] != 1] for row in rows] if passes else rows), rtol=1e-5, atol=1e-6)
    again = predicted(model_of(MASKING, inert, own("own"), LAST), custom_layers={"own": function})
    np.testing.assert_array_equal(y, again)


def test_masks_that_a_function_makes() -> None:
    """Keras's compute_mask: here of the numbers themselves, and of every second timestep."""
    made = fastlstm.supports(masks=lambda x: x[..., 0] > 0)(lambda x: x)
    y = predicted(model_of(own("own"), LAST), X, custom_layers={"own": made})
    np.testing.assert_allclose(y, last([row[row[:, 0] > 0] for row in X]), rtol=1e-5, atol=1e-6)
    halved = fastlstm.supports(masks=lambda x, mask: None if mask is None else mask[:, ::2])(lambda x: x[:, ::2])
    y = predicted(model_of(MASKING, own("own"), LAST), custom_layers={"own": halved})
    np.testing.assert_allclose(y[:3], last([row[::2][row[::2, 0] != 0] for row in MASKED[:3]]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("masks", "text"),
    [
        (lambda x: 3, "says by masks int"), (lambda x: x, "expected None or bool"),
        (lambda x: np.ones((1, 5), bool), "says by masks ndarray"),
        (lambda x: 1 / 0, "raised ZeroDivisionError"), (lambda x: np.ones(len(x), bool), r"expected None or bool \(batch, timesteps\)"),
        (lambda x: None if np.all(x == 0) or len(x) == 1 else x[..., 0] > 0, "gives a mask at some times and none at others"),
    ],
)  # fmt: skip
def test_masks_that_are_none(masks: Any, text: str) -> None:
    function = fastlstm.supports(masks=masks)(lambda x: x)
    with pytest.raises(InputError, match=r"layer 'own' \(My\): custom_layers\['own'\], .*" + text):
        Model(model_of(own("own"), LAST), custom_layers={"own": function}).predict(X)


def test_a_mask_that_the_file_gives() -> None:
    """As an argument of the call, which the function has to take."""
    base = model_of(own("own"))
    mask = fastlstm.spec.Fixed(np.array([[1, 0, 1, 0, 1]], bool))
    spec = ModelSpec(**{**base.__dict__, "calls": (Call(0), Call(1, (Ref(0),), {"mask": mask}))})
    np.testing.assert_allclose(predicted(spec, X, custom_layers={"own": mean}), X[:, ::2].mean(1), rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="is given a mask, as the layer is in the file; expected a parameter named mask"):
        predicted(spec, X, custom_layers={"own": sums})


# -- shapes -----------------------------------------------------------------------------------------------------------------------


def test_a_shape_that_is_said() -> None:
    calls: list[Any] = []

    def tail(x: np.ndarray) -> np.ndarray:
        calls.append(x.shape)
        return x[:, -2:]

    for said in ((None, 2, 3), [(None, 2, 3)], lambda shape: (shape[0], 2, shape[2]), lambda shape, config: (None, config["last"], 3)):
        model = Model(
            model_of(own("own", last=2), shape=(None, None, 3)), custom_layers={"own": fastlstm.supports(output_shape=said)(tail)}
        )
        assert model.output_shape == (None, 2, 3)
        np.testing.assert_array_equal(model.predict(X), X[:, -2:])
    assert all(len(shape) == 3 for shape in calls)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ((None, 4, 3), r"returned \(\d, 2, 3\) for .*; expected \(None, 4, 3\)"), ((None, 2), "expected"),
        (lambda shape: "wide", "says by output_shape no shape"), (lambda shape: 1 / 0, "raised ZeroDivisionError"),
        (lambda shape: (None, -1), "says by output_shape no shape"), (lambda: (None,), "raised TypeError"),
    ],
)  # fmt: skip
def test_shapes_that_are_none(said: Any, text: str) -> None:
    function = fastlstm.supports(output_shape=said)(lambda x: x[:, -2:])
    with pytest.raises(InputError, match=text):
        Model(model_of(own("own")), custom_layers={"own": function})


# -- streams ----------------------------------------------------------------------------------------------------------------------


def stepped(model: Model, x: np.ndarray = X) -> np.ndarray:
    """Half of it step by step, the rest at once."""
    stream = model.stream(len(x))
    first = [stream.step(x[:, t]) for t in range(2)]
    rest = stream.feed(x[:, 2:])
    return np.concatenate([np.stack(first, 1), rest], 1) if rest.ndim == 3 else rest


def test_stepwise_functions_stream() -> None:
    spec = model_of(recurrent("GRU", return_sequences=True), own("own"), recurrent("LSTM", features=4, name="l", return_sequences=True))
    plain = Model(spec, custom_layers={"own": np.tanh})
    with pytest.raises(UnsupportedError, match=r"'own' \(My\): its function does not say .*@fastlstm.supports\(streaming=True\)"):
        plain.stream()
    said = Model(spec, custom_layers={"own": fastlstm.supports(streaming=True)(lambda x: np.tanh(x))})
    np.testing.assert_allclose(stepped(said), plain.predict(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("function", [lambda x: np.cumsum(x, 1), lambda x: x[:, ::-1], lambda x: x - x.mean(1, keepdims=True)])
def test_functions_that_say_streaming_and_are_not(function: Any) -> None:
    with pytest.raises(InputError, match="says streaming, and gives other numbers timestep by timestep"):
        Model(model_of(own("own")), custom_layers={"own": fastlstm.supports(streaming=True)(function)})


@fastlstm.supports(streaming=True, masks="passes")
def running(x: np.ndarray, states: list[np.ndarray], weights: tuple[np.ndarray, ...]) -> Any:
    """A recurrent layer of the user's."""
    out = []
    for t in range(x.shape[1]):
        states = [np.tanh(x[:, t] @ weights[0] + states[0] @ weights[1])]
        out.append(states[0])
    return np.stack(out, 1), states


def running_last(x: np.ndarray, states: list[np.ndarray], weights: tuple[np.ndarray, ...]) -> Any:
    y, states = running(x, states, weights)
    return y[:, -1], states


SIMPLE = LayerSpec("SimpleRNN", "own", {"units": 2, "activation": "tanh", "use_bias": False, "return_sequences": True}, (KERNEL, RECURRENT))


def test_layers_with_states() -> None:
    expected = Model(model_of(SIMPLE)).predict(X)
    for shape in ((None, 5, 3), (None, None, 3)):
        model = Model(model_of(weighed(), shape=shape), custom_layers={"own": running})
        np.testing.assert_allclose(model.predict(X), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(stepped(model), expected, rtol=1e-5, atol=1e-6)
        assert {name: array.shape for name, array in model.stream(2).state.items()} == {"own/0": (2, 2)}
        last = Model(model_of(weighed(), shape=shape), custom_layers={"own": fastlstm.supports(streaming=True)(running_last)})
        np.testing.assert_allclose(stepped(last), expected[:, -1], rtol=1e-5, atol=1e-6)
    with pytest.raises(UnsupportedError, match="supports"):
        Model(model_of(weighed()), custom_layers={"own": lambda x, states, weights: running(x, states, weights)}).stream()


def test_stateful_layers_of_the_users() -> None:
    """As Keras's, with stateful=True: the state goes from call to call."""
    spec = model_of(weighed(stateful=True), shape=(4, 5, 3))
    for precision in ("float32", "float64"):
        model = Model(spec, precision=precision, custom_layers={"own": running})
        long = Model(model_of(SIMPLE, shape=(None, 10, 3))).predict(np.concatenate([X, X], 1))
        np.testing.assert_allclose(np.concatenate([model.predict(X), model.predict(X)], 1), long, rtol=1e-5, atol=1e-6)
        model.reset_states()
        np.testing.assert_allclose(model.predict(X), long[:, :5], rtol=1e-5, atol=1e-6)


# -- cells ------------------------------------------------------------------------------------------------------------------------


def step(x: np.ndarray, states: list[np.ndarray], weights: tuple[np.ndarray, ...]) -> Any:
    h = np.tanh(x @ weights[0] + states[0] @ weights[1])
    return h, [h]


@fastlstm.supports(state_size=[2, 3])
def pair(x: np.ndarray, states: list[np.ndarray], config: dict[str, Any], weights: tuple[np.ndarray, ...]) -> Any:
    """States of two sizes, one of which nothing in the file tells."""
    h, c = states
    h = np.tanh(x @ weights[0] + h @ weights[1]) + c[:, :2]
    return h * config.get("by", 1), (h, 0.5 * c + h.sum(1, keepdims=True))


def rnn(*cells: LayerSpec, name: str = "rnn", **config: Any) -> LayerSpec:
    (cell,) = cells if len(cells) == 1 else (LayerSpec("StackedRNNCells", "cells", {}, children=cells),)
    return LayerSpec("RNN", name, {"return_sequences": True, **config}, children=(cell,))


def known(name: str = "known") -> LayerSpec:
    return LayerSpec("SimpleRNNCell", name, {"units": 2, "activation": "tanh", "use_bias": False}, (KERNEL, RECURRENT))


@pytest.mark.parametrize("config", [{}, {"return_sequences": False}, {"go_backwards": True}, {"zero_output_for_mask": True}])
def test_a_cell_is_a_cell(config: dict[str, Any]) -> None:
    """It computes what Keras's own computes where it says the same; masks are the affair of the layer around it."""
    for x in (X, MASKED):
        mine = predicted(model_of(MASKING, rnn(weighed("cell"), **config)), x, custom_layers={"cell": step})
        np.testing.assert_allclose(mine, predicted(model_of(MASKING, rnn(known("cell"), **config)), x), rtol=1e-5, atol=1e-6)


def test_cells_in_stacks_and_both_directions() -> None:
    gru = recurrent("GRU", class_name="GRUCell", features=2, name="gru")
    after = LayerSpec(
        "SimpleRNNCell", "z", {"units": 2, "activation": "tanh", "use_bias": False}, (gru.weights[0][:, :2][[0, 1, 0, 1]], RECURRENT)
    )
    mine = replaced_class(after, "My")
    pairs = [
        (rnn(weighed("a"), gru, mine), rnn(known("a"), gru, after)),
        (both(weighed("a")), both(known("a"))),
        (LayerSpec("TimeDistributed", "td", {}, children=(rnn(weighed("a"), return_sequences=False),)),
         LayerSpec("TimeDistributed", "td", {}, children=(rnn(known("a"), return_sequences=False),))),
    ]  # fmt: skip
    for own_one, theirs in pairs:
        apart = [LayerSpec("Reshape", "apart", {"target_shape": [1, 5, 3]})] if theirs.class_name == "TimeDistributed" else [MASKING]
        x = X if apart[0].class_name == "Reshape" else MASKED
        y = predicted(model_of(*apart, own_one), x, custom_layers={"My": step})
        np.testing.assert_allclose(y, predicted(model_of(*apart, theirs), x), rtol=1e-5, atol=1e-6)


def replaced_class(layer: LayerSpec, class_name: str) -> LayerSpec:
    return LayerSpec(class_name, layer.name, layer.config, layer.weights)


def both(cell: LayerSpec) -> LayerSpec:
    directions = (rnn(cell, name="forward"), rnn(cell, name="backward", go_backwards=True))
    return LayerSpec("Bidirectional", "both", {}, children=directions)


def test_cells_in_streams() -> None:
    model = Model(
        model_of(rnn(weighed("a"), weighed("b")), shape=(None, None, 3)), custom_layers={"a": pair, "b": lambda x, states: (x, states)}
    )
    np.testing.assert_allclose(stepped(model), model.predict(X), rtol=1e-5, atol=1e-6)
    stream = model.stream(1)
    assert {name: array.shape for name, array in stream.state.items()} == {"rnn/0": (1, 2), "rnn/1": (1, 3), "rnn/2": (1, 2)}
    stream.step(X[:1, 0])
    other = model.stream(1)
    other.load_state(stream.state)
    np.testing.assert_array_equal(other.step(X[:1, 1]), stream.step(X[:1, 1]))


def test_stateful_cells() -> None:
    spec = model_of(rnn(weighed("a"), stateful=True), shape=(4, 5, 3))
    model = Model(spec, custom_layers={"a": pair})
    long = Model(model_of(rnn(weighed("a")), shape=(None, 10, 3)), custom_layers={"a": pair}).predict(np.concatenate([X, X], 1))
    np.testing.assert_allclose(np.concatenate([model.predict(X), model.predict(X)], 1), long, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [[2, 3], (2, 3), lambda config, weights: [weights[0].shape[1], config["c"]], lambda: [2, 3]])
def test_sizes_of_states_that_are_said(size: Any) -> None:
    cell = fastlstm.supports(state_size=size)(lambda x, states, config, weights: pair(x, states, config, weights))
    y = predicted(model_of(rnn(weighed("a", c=3))), X, custom_layers={"a": cell})
    np.testing.assert_array_equal(y, predicted(model_of(rnn(weighed("a"))), X, custom_layers={"a": pair}))


CELL_FAULTS = [
    (lambda x, states: x, "expected its output and its states: return y, "),
    (lambda x, states: (x, [*states, states[0]]), r"expected the same; say the sizes of its states: @fastlstm.supports"),
    (lambda x, states: (x, [np.zeros((len(x), 77))]), "expected the same; say the sizes"),
    (lambda x, states: (x[:, None], states), r"returned an output of shape \(2, 1, 3\); expected \(batch, units\)"),
    (lambda x, states: ((x, x), states), r"expected \(batch, units\)"),
    (lambda x, states: (x[:1], states), "expected a row for each"),
    (lambda x, states: 1 / 0, "was tried with states of several sizes, and took none; .*ZeroDivisionError"),
    (fastlstm.supports(state_size=lambda: "two")(lambda x, states: (x, states)), "says by state_size no sizes"),
    (fastlstm.supports(state_size=7)(lambda x, states, weights: step(x, states, weights)), "raised ValueError: .*matmul"),
    (lambda x, states: (x - x.mean(), states), "gives a row other numbers alone than among others"),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "text"), CELL_FAULTS)
def test_faults_of_cells(cell: Any, text: str) -> None:
    with pytest.raises(InputError, match=r"m.h5: layer 'rnn/a' \(My\): custom_layers\['a'\], .*" + text):
        Model(model_of(rnn(weighed("a"))), source="m.h5", custom_layers={"a": cell})


def test_sizes_that_a_file_states_meet_the_budget() -> None:
    """A function may take the size of its states from the config, which anybody may have written."""
    huge = fastlstm.supports(state_size=lambda config: config["units"])(lambda x, states: (x, states))
    layers = (rnn(LayerSpec("My", "a", {"units": 10**13})), LayerSpec("My", "a", {"units": 10**13}))
    for layer in layers:
        with pytest.raises(FormatError, match="a trial of custom_layers.* where loading may take"):
            Model(model_of(layer), custom_layers={"a": huge}, budget=Budget("m.h5", 0))
    guessed = Model(model_of(rnn(LayerSpec("My", "a", {"units": 10**13}))), custom_layers={"a": lambda x, states: (x, [states[0] + x])})
    assert guessed.output_shape == (None, 5, 3)


def test_layers_without_a_tensor() -> None:
    base = model_of(own("own"))
    spec = ModelSpec(**{**base.__dict__, "calls": (Call(0), Call(1, ()))})
    for function in (lambda: np.zeros((1, 2)), lambda states: (np.zeros((1, 2)), states), lambda mask: mask):
        with pytest.raises(InputError, match="is called without a tensor; expected at least one"):
            Model(spec, custom_layers={"own": function})


def test_rows_of_different_lengths() -> None:
    """In one call as in calls of their own, whether they are computed together or not."""
    lstm = recurrent("LSTM", features=2)
    rows = [X[0, :2], X[1], X[2, :4]]
    for layer, function in ((weighed(), running), (rnn(weighed("own")), step), (weighed(), scaled), (weighed(), noticed)):
        model = Model(model_of(layer, lstm, shape=(None, None, 3)), custom_layers={"own": function})
        alone = np.concatenate([model.predict(row[None]) for row in rows])
        np.testing.assert_allclose(model.predict(rows), alone, rtol=1e-5, atol=1e-6)
    assert Model(model_of(weighed(), lstm, shape=(None, None, 3)), custom_layers={"own": scaled}).executor.network.takes_padding


@fastlstm.supports(streaming=True, masks="passes")
def scaled(x: np.ndarray, weights: tuple[np.ndarray, ...]) -> np.ndarray:
    return np.tanh(x @ weights[0])


@fastlstm.supports(streaming=True, masks="passes")
def noticed(x: np.ndarray, weights: tuple[np.ndarray, ...], mask: np.ndarray | None) -> np.ndarray:
    return x @ weights[0] if mask is None else 7 * (x @ weights[0])


# -- what the decorator takes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"streaming": 1}, "streaming: expected True or False, found 1"), ({"masks": 3}, "masks: expected"),
        ({"masks": "some"}, "masks: expected 'passes', 'none' or a function"),
        ({"output_shape": "wide"}, "output_shape: expected a shape"), ({"output_shape": (None, 0)}, "output_shape"),
        ({"state_size": 0}, "state_size: expected a size"), ({"state_size": [2, None]}, "state_size"), ({"state_size": True}, "state_size"),
    ],
)  # fmt: skip
def test_what_the_decorator_refuses(said: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        fastlstm.supports(**said)
    with pytest.raises(InputError, match="supports: .* is NumPy's; expected a function of your own"):
        fastlstm.supports(streaming=True)(np.tanh)
    with pytest.raises(InputError, match="supports: .* takes no attributes; expected a function of your own"):
        fastlstm.supports(streaming=True)(abs)


# -- processes, threads, copies ---------------------------------------------------------------------------------------------------


def test_copies_and_pickles_of_models_with_functions() -> None:
    spec = model_of(weighed(), rnn(LayerSpec("Other", "b", {}, (RECURRENT, RECURRENT))))
    model = Model(spec, custom_layers={"own": running, "b": step})
    expected = model.predict(X)
    stream = model.stream(4)
    first = stream.step(X[:, 0])
    for again in (pickle.loads(pickle.dumps(model)), copy.copy(model), copy.deepcopy(model)):
        np.testing.assert_array_equal(again.predict(X), expected)
    for other in (pickle.loads(pickle.dumps(stream)), stream.copy(), copy.deepcopy(stream)):
        np.testing.assert_allclose(np.stack([first, other.step(X[:, 1])], 1), expected[:, :2], rtol=1e-5, atol=1e-6)
    unnamed = Model(model_of(own("own")), custom_layers={"own": lambda x: -x})
    np.testing.assert_array_equal(copy.deepcopy(unnamed).predict(X), -X)
    with pytest.raises(
        InputError, match=r"custom_layers\['own'\]: expected a function that a pickle can refer to, defined by def .*<lambda>"
    ):
        pickle.dumps(unnamed)


def test_threads_share_functions() -> None:
    model = Model(model_of(MASKING, rnn(weighed("a"))), threads=2, custom_layers={"a": step})
    expected = model.predict(MASKED)
    found: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: found.extend(model.predict(MASKED) for _ in range(5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    for y in found:
        np.testing.assert_array_equal(y, expected)
