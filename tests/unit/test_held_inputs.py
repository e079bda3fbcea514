"""Streams with inputs that are held: what depends on them alone is computed once, and timesteps give what one call of predict gives."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden
import h5_files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras_configs import entrance, functional, layer, write_h5

import fastlstm
from fastlstm.errors import InputError, UnsupportedError

ROWS, STEPS, FEATURES, UNITS, SOURCE = 4, 6, 3, 5, 7
PAD = -1.0


class Graph:
    """A functional model, written call by call; layers have the weights of :mod:`h5_files`."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.layers: list[Any] = []
        self.weights: dict[str, list[np.ndarray]] = {}
        self.inputs: list[str] = []

    def input(self, name: str, *shape: int | None) -> str:
        self.layers.append(entrance(name, *shape))
        self.inputs.append(name)
        return name

    def call(self, made: h5_files.Layer | str, name: str, *given: Any, words: dict[str, Any] | None = None, **config: Any) -> str:
        """Append a layer, called once; inputs are names of layers or [name, 0, number of the output]."""
        made = h5_files.Layer({"class_name": made, "config": config}, []) if isinstance(made, str) else made
        tensors = [[one, 0, 0] if isinstance(one, str) else list(one) for one in given]
        tensors[0] = [*tensors[0], words or {}]
        self.layers.append(layer(made.entry["class_name"], name, [tensors], **made.entry["config"]))
        self.weights[name] = list(made.weights)
        return name

    def recurrent(self, kind: str, name: str, x: str, features: int, *states: Any, **options: Any) -> str:
        made = h5_files.recurrent(kind, UNITS, features, self.rng, **options)
        words = {"initial_state": [[one, 0, 0] if isinstance(one, str) else list(one) for one in states]} if states else {}
        return self.call(made, name, x, words=words)

    def load(self, folder: Path, *outputs: Any, version: str = "2.10.0", **options: Any) -> fastlstm.Model:
        ends = [[one, 0, 0] if isinstance(one, str) else list(one) for one in outputs]
        config = functional(self.layers, [[name, 0, 0] for name in self.inputs], ends, "Functional")
        return fastlstm.load(write_h5(folder / "m.h5", config, self.weights, version), **options)


def drawn(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(ROWS, *shape)).astype(np.float32)


def decoder(folder: Path, kind: str = "LSTM", **options: Any) -> fastlstm.Model:
    """A decoder whose states are inputs."""
    graph = Graph()
    graph.input("x", None, FEATURES)
    states = [graph.input(name, UNITS) for name in ("h", "c")[: 2 if kind == "LSTM" else 1]]
    sequence = graph.recurrent(kind, "cell", "x", FEATURES, *states, return_sequences=True)
    return graph.load(folder, graph.call(h5_files.dense(2, UNITS, graph.rng), "head", sequence), **options)


def attending(folder: Path, *, masked: bool = True, **options: Any) -> fastlstm.Model:
    """A whole encoder and decoder, the source perhaps masked, with attention and a nested head that reads a held row too."""
    graph = Graph()
    graph.input("source", None, FEATURES)
    graph.input("x", None, FEATURES)
    source = graph.call(h5_files.masking(PAD), "masking", "source") if masked else "source"
    inner = h5_files.recurrent("LSTM", UNITS, FEATURES, graph.rng, return_sequences=True, return_state=True)
    backward = h5_files.recurrent("LSTM", UNITS, FEATURES, graph.rng)
    both = graph.call(h5_files.bidirectional(inner, backward.weights, "sum"), "encoder", source)
    first = [graph.call("Add", f"first_{n}", [both, 0, n], [both, 0, n + 2]) for n in (1, 2)]
    sequence = graph.recurrent("LSTM", "cell", "x", FEATURES, *first, return_sequences=True)
    context = graph.call("Attention", "attention", sequence, both, use_scale=False)
    joined = graph.call("Concatenate", "joined", sequence, context, axis=-1)
    return graph.load(folder, graph.call(h5_files.dense(2, 2 * UNITS, graph.rng, "softmax"), "head", joined), **options)


def source() -> np.ndarray:
    x = drawn(SOURCE, FEATURES, seed=5)
    x[::2, 4:] = PAD
    return x


def stepped(stream: fastlstm.Stream, x: np.ndarray) -> np.ndarray:
    return np.stack([stream.step(x[:, t]) for t in range(x.shape[1])], axis=1)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_states_that_are_inputs(tmp_path: Path, kind: str, precision: str) -> None:
    model, x = decoder(tmp_path, kind, precision=precision), drawn(STEPS, FEATURES)
    states = {name: drawn(UNITS, seed=n) for n, name in enumerate(("h", "c")[: 2 if kind == "LSTM" else 1], 2)}
    whole = model.predict({"x": x, **states})
    stream = model.stream(ROWS, initial=states)
    golden.assert_equal(stepped(stream, x), whole)
    stream.reset()
    golden.assert_equal(stream.feed(x), whole)
    by_name = decoder(tmp_path, kind, precision=precision)
    again = by_name.stream(
        ROWS, initial={**{name: np.zeros((ROWS, UNITS)) for name in states}, **{f"cell/{n}": s for n, s in states.items()}}
    )
    golden.assert_equal(stepped(again, x), whole)


def test_a_decoder_takes_the_fast_path(tmp_path: Path) -> None:
    """Its steps are the kernel calls of the same layers without given states."""
    model = decoder(tmp_path)
    states = {name: drawn(UNITS) for name in ("h", "c")}
    found = model.executor.streams({1: (None, UNITS), 2: (None, UNITS)})
    program = model.executor.prepared_step(found, model.executor.begin(found, list(states.values()), ROWS).held, [(1, FEATURES)]).program
    rng = np.random.default_rng(0)
    plain = [h5_files.recurrent("LSTM", UNITS, FEATURES, rng, return_sequences=True), h5_files.dense(2, UNITS, rng)]
    other = fastlstm.load(h5_files.save(tmp_path / "plain.h5", plain, (None, FEATURES))).executor
    expected = other.prepared_step(other.streams({}), {}, [(1, FEATURES)]).program
    assert [(one.kernel, one.fields) for one in program.instructions] == [(one.kernel, one.fields) for one in expected.instructions]
    assert program.buffers == expected.buffers


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [{}, {"precision": "float64"}, {"threads": 2}])
def test_a_whole_encoder_and_decoder(tmp_path: Path, masked: bool, options: dict[str, Any]) -> None:
    model, x = attending(tmp_path, masked=masked, **options), drawn(STEPS, FEATURES)
    whole = model.predict([source(), x])
    stream = model.stream(ROWS, initial={"source": source()})
    assert set(stream.state) == {"cell/h", "cell/c"}
    golden.assert_equal(stepped(stream, x), whole)
    stream.reset([1, 2])
    golden.assert_equal(stream.feed(x[[2, 1]], rows=[2, 1]), whole[[2, 1]])
    golden.assert_equal(model.stream(1, initial={"source": source()[2:3]}).feed(x[2:3]), whole[2:3])


def test_the_callers_array_is_read_once(tmp_path: Path) -> None:
    """Whatever becomes of it later, and of a constant that a timestep reads as it was given."""
    graph = Graph()
    graph.input("x", None, FEATURES)
    graph.input("row", FEATURES)
    model = graph.load(tmp_path, graph.call("Add", "add", "x", "row"))
    for precision in ("float32", "float64"):
        model = graph.load(tmp_path, "add", precision=precision)
        row = drawn(FEATURES, seed=2).astype(precision)
        stream, x = model.stream(ROWS, initial={"row": row}), drawn(FEATURES)
        expected = x + row
        row[:] = np.nan
        golden.assert_equal(stream.step(x), expected)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda stream: stream.copy(), lambda stream: pickle.loads(pickle.dumps(stream))]
)
def test_copies_go_on_and_begin_anew(tmp_path: Path, copied: Callable[[fastlstm.Stream], fastlstm.Stream]) -> None:
    model, x = attending(tmp_path), drawn(STEPS, FEATURES)
    whole = model.predict([source(), x])
    stream = model.stream(ROWS, initial={"source": source(), "cell/h": drawn(UNITS, seed=3)})
    first = stream.feed(x)
    assert golden.difference(first, whole) > golden.bound(whole)  # the state was given, in place of the encoder's
    stream.reset()
    golden.assert_equal(stepped(stream, x[:, :2]), first[:, :2])
    other, state = copied(stream), stream.state
    golden.assert_equal(stepped(stream, x[:, 2:]), first[:, 2:])
    golden.assert_equal(stepped(other, x[:, 2:]), first[:, 2:])
    other.load_state(state)
    golden.assert_equal(stepped(other, x[:, 2:]), first[:, 2:])
    other.reset()
    golden.assert_equal(other.feed(x), first)


def test_layers_that_are_called_for_held_and_stepping_tensors(tmp_path: Path) -> None:
    """One embedding of both languages, one model of layers, one recurrent layer: the state is the stepping call's."""
    graph = Graph()
    graph.input("source", None, FEATURES)
    graph.input("x", None, FEATURES)
    shared = h5_files.recurrent("GRU", UNITS, FEATURES, graph.rng, return_sequences=True, return_state=True)
    inside = [entrance("i", None, FEATURES), layer("GRU", "gru", [[["i", 0, 0, {}]]], **{**shared.entry["config"], "name": "gru"})]
    nested = functional(inside, [["i", 0, 0]], [["gru", 0, 0], ["gru", 0, 1]], "Functional")
    nodes = [[["source", 0, 0, {}]], [["x", 0, 0, {}]]]
    graph.layers.append(
        {"class_name": "Functional", "name": "shared", "config": {**nested["config"], "name": "shared"}, "inbound_nodes": nodes}
    )
    graph.weights["shared"] = shared.weights
    sequence = graph.recurrent("SimpleRNN", "cell", ["shared", 1, 0], UNITS, ["shared", 0, 1], return_sequences=True)
    model = graph.load(tmp_path, graph.call("Attention", "attention", sequence, ["shared", 0, 0], use_scale=False), ["shared", 0, 1])
    x = drawn(STEPS, FEATURES)
    whole, last = model.predict([source(), x])
    stream = model.stream(ROWS, initial={"source": source()})
    assert set(stream.state) == {"shared/gru/h", "cell/h"}
    for t in range(STEPS):
        found, held = stream.step(x[:, t])
        golden.assert_equal(found, whole[:, t])
        golden.assert_equal(held, last)


@pytest.mark.parametrize("kind", ["Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"])
@pytest.mark.parametrize("shape", [(FEATURES,), (1, FEATURES), (1, 1)])
def test_merges_with_what_is_the_same_for_all_timesteps(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    graph = Graph()
    graph.input("x", None, FEATURES)
    graph.input("row", *shape)
    merged = graph.call(kind, "merge", "row", "x")
    model = graph.load(tmp_path, graph.recurrent("GRU", "gru", merged, FEATURES))
    x, row = drawn(STEPS, FEATURES), drawn(*shape, seed=2)
    golden.assert_equal(stepped(model.stream(ROWS, initial={"row": row}), x)[:, -1], model.predict([x, row]))


@pytest.mark.parametrize(
    ("axes", "order", "shape"),
    [([2, 2], "x held", (SOURCE, FEATURES)), ([2, 1], "x held", (FEATURES,)), ([1, 2], "held x", (FEATURES,))],
)
@pytest.mark.parametrize("normalize", [False, True])
def test_products_with_what_is_held(tmp_path: Path, axes: list[int], order: str, shape: tuple[int, ...], normalize: bool) -> None:
    graph = Graph()
    graph.input("x", None, FEATURES)
    graph.input("held", *shape)
    model = graph.load(tmp_path, graph.call("Dot", "dot", *order.split(), axes=axes, normalize=normalize))
    x, held = drawn(STEPS, FEATURES), drawn(*shape, seed=2)
    golden.assert_equal(model.stream(ROWS, initial={"held": held}).feed(x), model.predict([x, held]))


def test_a_state_that_stands_in_the_file(tmp_path: Path) -> None:
    graph = Graph()
    graph.input("x", None, FEATURES)
    lstm = h5_files.recurrent("LSTM", UNITS, FEATURES, graph.rng, return_sequences=True)
    states = [drawn(UNITS, seed=n)[:1].tolist() for n in (2, 3)]
    graph.call(lstm, "cell", "x", words={"initial_state": states})
    for options in ({}, {"precision": "float64"}):
        model, x = graph.load(tmp_path, "cell", **options), drawn(STEPS, FEATURES)
        stream = model.stream(ROWS)
        golden.assert_equal(stepped(stream, x), model.predict(x))
        stream.reset([0])
        golden.assert_equal(stream.step(x[:1, 0], rows=[0]), model.predict(x[:1, :1])[:, 0])


def test_ids_that_are_held(tmp_path: Path) -> None:
    graph = Graph()
    graph.input("source", None)
    graph.input("x", None)
    words = graph.call(h5_files.embedding(9, FEATURES, graph.rng, mask_zero=True), "words", "source")
    encoder = graph.recurrent("GRU", "encoder", words, FEATURES)
    tokens = graph.call(h5_files.embedding(11, FEATURES, graph.rng), "tokens", "x")
    model = graph.load(tmp_path, graph.recurrent("GRU", "cell", tokens, FEATURES, encoder, return_sequences=True))
    rng = np.random.default_rng(0)
    ids, x = rng.integers(0, 9, (ROWS, SOURCE)), rng.integers(0, 11, (ROWS, STEPS))
    golden.assert_equal(stepped(model.stream(ROWS, initial={"source": ids}), x), model.predict([ids, x]))
    with pytest.raises(InputError, match="input 'source': expected ids from 0 to 8"):
        model.stream(ROWS, initial={"source": ids + 9})


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize(("options", "version", "zeros"), [
    ({}, "2.10.0", True), ({"precision": "float64"}, "2.10.0", True), ({}, "2.2.4", False), ({}, "3.0.0", False),
])  # fmt: skip
def test_masked_steps_before_the_first_valid_one(
    tmp_path: Path, options: dict[str, Any], version: str, zeros: bool, sequences: bool
) -> None:
    """Beside a given state they emit zeros where their Keras has it so: that a row has begun is a state of its own."""
    graph = Graph()
    graph.input("x", None, FEATURES)
    graph.input("h", UNITS)
    masked = graph.call(h5_files.masking(PAD), "masking", "x")
    model = graph.load(
        tmp_path, graph.recurrent("GRU", "cell", masked, FEATURES, "h", return_sequences=sequences), version=version, **options
    )
    x, h = drawn(STEPS, FEATURES), drawn(UNITS, seed=2)
    x[0, :3], x[1, 2:4], x[2] = PAD, PAD, PAD
    stream = model.stream(ROWS, initial={"h": h})
    assert ("cell/begun" in stream.state) == zeros
    for chunks in ([1] * STEPS, [2, 1, 3]):
        stream.reset()
        at = 0
        for length in chunks:
            found = stream.step(x[:, at]) if length == 1 else stream.feed(x[:, at : at + length])
            at += length
            whole = model.predict([x[:, :at], h])
            golden.assert_equal(found, (whole[:, -1] if length == 1 else whole[:, at - length : at]) if sequences else whole)
            stream = stream.copy()
    again = model.stream(ROWS, initial={"h": np.zeros_like(h), **stream.state})
    golden.assert_equal(again.step(x[:, 0]), stream.step(x[:, 0]))


@given(st.data())
def test_random_paces(tmp_path: Path, data: st.DataObject) -> None:
    """Rows that advance and reset at times of their own are as so many streams of one row."""
    model, x = attending(tmp_path), drawn(STEPS, FEATURES, seed=data.draw(st.integers(0, 99)))
    together = model.stream(ROWS, initial={"source": source()})
    alone = [model.stream(1, initial={"source": source()[row : row + 1]}) for row in range(ROWS)]
    for t in range(STEPS):
        chosen = data.draw(st.lists(st.integers(0, ROWS - 1), unique=True))
        if data.draw(st.booleans()):
            together.reset(chosen)
            for row in chosen:
                alone[row].reset()
        y = together.step(x[chosen, t], rows=chosen)
        for number, row in enumerate(chosen):
            golden.assert_equal(y[number : number + 1], alone[row].step(x[row : row + 1, t]))


# -- refusals ----------------------------------------------------------------------------------------------------------------


def test_advice_that_works_when_followed(tmp_path: Path) -> None:
    for model, names in ((decoder(tmp_path), ["h", "c"]), (attending(tmp_path), ["source"])):
        advice = ", ".join(f"{name!r}: ..." for name in names)
        with pytest.raises(UnsupportedError) as caught:
            model.stream(ROWS)
        assert {problem.advice.partition("initial=")[2] for problem in caught.value.problems} == {f"{{{advice}}})"}
        sizes = {info.name: [size or STEPS for size in info.shape[1:]] for info in model.inputs}
        model.stream(ROWS, initial={name: np.zeros((ROWS, *sizes[name])) for name in names})


def test_a_state_that_the_sequence_itself_gives(tmp_path: Path) -> None:
    """There is nothing to hold, and so no advice to hold it."""
    graph = Graph()
    graph.input("x", None, FEATURES)
    first = graph.recurrent("GRU", "first", "x", FEATURES)
    with pytest.raises(UnsupportedError, match="'second'.*starts from a state that an input or another layer gives") as caught:
        graph.load(tmp_path, graph.recurrent("GRU", "second", "x", FEATURES, first)).stream()
    assert "initial=" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "config", "shape", "what"),
    [
        ("Attention", {"causal": True, "use_scale": False}, (SOURCE, FEATURES), "number of its own"),
        ("Concatenate", {"axis": -1}, (SOURCE, FEATURES), "merges a sequence of timesteps with a tensor that is none"),
        ("Add", {}, (SOURCE, FEATURES), "merges a sequence of timesteps with a tensor that is none"),
        ("Dot", {"axes": [1, 1]}, (SOURCE, FEATURES), "merges a sequence of timesteps with a tensor that is none"),
    ],
)
def test_what_is_not_computed_beside_what_is_held(tmp_path: Path, kind: str, config: dict[str, Any], shape: Any, what: str) -> None:
    graph = Graph()
    graph.input("x", SOURCE, FEATURES)
    graph.input("held", *shape)
    model = graph.load(tmp_path, graph.call(kind, "layer", "x", "held", **config))
    with pytest.raises(UnsupportedError, match=f"'layer'.*{what}"):
        model.stream(ROWS, initial={"held": drawn(*shape)})


def test_errors(tmp_path: Path) -> None:
    model = attending(tmp_path)
    good = source()
    for initial, message in (
        ([good], r"initial: expected a dict by names of inputs \(source, x\) or of states \(.*cell/h, cell/c\), found \["),
        ({"sauce": good}, r"initial: expected a dict by names of inputs \(source, x\) .*, found 'sauce'"),
        ({"source": good, 3: good}, "found 3"),
        ({"source": good[:2]}, r"initial\['source'\]: expected batch_size=4 rows, found 2"),
        ({"source": good[..., :2]}, r"input 'source': expected shape \(any, any, 3\), found \(4, 7, 2\)"),
        ({"source": "text"}, "input 'source': expected numbers"),
        ({"source": good, "x": good}, "expected an input at least to be left for step, found all that the model has: source, x"),
        ({"source": good, "cell/h": np.zeros((ROWS, UNITS + 1))}, r"initial\['cell/h'\]: expected numbers of shape \(4, 5\)"),
        ({"source": good, "encoder/forward_inner/h": np.zeros((ROWS, UNITS))}, r"initial: expected .*cell/h, cell/c"),
    ):
        with pytest.raises(InputError, match=message):
            model.stream(ROWS, initial=initial)
    stream = model.stream(ROWS, initial={"source": good})
    with pytest.raises(InputError, match="x_t: expected a dict with the keys x, found source, x"):
        stream.step({"source": good, "x": good[:, 0]})


def test_held_sequences_that_do_not_go_together(tmp_path: Path) -> None:
    graph = Graph()
    graph.input("x", None, FEATURES)
    for name in ("a", "b"):
        graph.input(name, None, FEATURES)
    both = graph.call("Add", "both", "a", "b")
    model = graph.load(tmp_path, graph.call("Attention", "attention", "x", both, use_scale=False))
    with pytest.raises(InputError, match="initial: 'a' of shape .* does not fit: .*'both'"):
        model.stream(ROWS, initial={"a": drawn(2, FEATURES), "b": drawn(3, FEATURES)})
