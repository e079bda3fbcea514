"""Streams of causal attention: they keep all timesteps so far, up to a number that the caller says."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kernel_models import dense, graph, simple
from layer_specs import normal, recurrent

import fastlstm
from fastlstm import InputError, Model, UnsupportedError
from fastlstm.spec import Call, LayerSpec, ModelSpec, Ref

STEPS, FEATURES, ROWS = 12, 3, 4


def heads(kind: str = "MultiHeadAttention", **config: Any) -> LayerSpec:
    sizes = {"num_heads": 4, "key_dim": 2, "value_dim": 5}
    if kind == "GroupQueryAttention":
        sizes = {"num_query_heads": 4, "num_key_value_heads": 2, "head_dim": 5}
    key, value, shared = (2, 5, 4) if kind == "MultiHeadAttention" else (5, 5, 2)
    parts = [(FEATURES, 4, key), (FEATURES, shared, key), *([(FEATURES, 4, value)] if config.get("use_gate") else [])]
    parts += [(FEATURES, shared, value), (4, value, FEATURES)]
    arrays = [shape for part in parts for shape in (part, part[1:] if part is not parts[-1] else part[2:])]
    return simple(kind, "attention", *arrays, **sizes, **config)


LAYERS: dict[str, LayerSpec] = {
    "heads": heads(),
    "heads in a band": heads(sliding_window=3),
    "gates": heads(use_gate=True),
    "shared keys": heads("GroupQueryAttention"),
    "shared keys, in a band, with gates": heads("GroupQueryAttention", use_gate=True, sliding_window=5),
    "dot": simple("Attention", "attention", use_scale=False),
    "concat": simple("Attention", "attention", (), score_mode="concat", use_scale=False),
    "sums": simple("AdditiveAttention", "attention", (FEATURES,)),
}


def attending(layer: LayerSpec, before: tuple[LayerSpec, ...] = (), **words: Any) -> ModelSpec:
    """What attends to itself, between a recurrent layer and a dense one."""
    lstm = recurrent("LSTM", FEATURES, FEATURES, "lstm", return_sequences=True)
    spec = graph([*before, lstm, layer, simple("Add", "add"), dense(2)], [], (None, None, FEATURES))
    n = len(before)
    own = {"use_causal_mask": True, **words}
    calls = [Call(0), *(Call(k + 1, (Ref(k),)) for k in range(n + 1)), Call(n + 2, (Ref(n + 1), Ref(n + 1)), own)]
    calls += [Call(n + 3, (Ref(n + 1), Ref(n + 2))), Call(n + 4, (Ref(n + 3),))]
    return replace(spec, calls=tuple(calls), outputs=(Ref(n + 4),))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_steps_and_chunks(name: str, precision: str) -> None:
    """The numbers of the whole sequence, whatever each row has had so far; in kernels where they are asked for."""
    model = Model(attending(LAYERS[name]), precision=precision)
    x = normal(ROWS, STEPS, FEATURES)
    whole = model.predict(x)
    tolerance = {"rtol": 2e-5, "atol": 2e-6} if precision == "float32" else {"rtol": 1e-10, "atol": 1e-12}
    stream = model.stream(ROWS, max_steps=STEPS)
    found = [stream.step(x[:, t]) for t in range(3)]
    ahead = stream.feed(x[[1, 2], 3:8], rows=[1, 2])
    np.testing.assert_allclose(np.stack(found, 1), whole[:, :3], **tolerance)
    np.testing.assert_allclose(ahead, whole[[1, 2], 3:8], **tolerance)
    np.testing.assert_allclose(stream.feed(x[[0, 3], 3:4], rows=[0, 3]), whole[[0, 3], 3:4], **tolerance)
    np.testing.assert_allclose(
        stream.step(np.stack([x[n, t] for n, t in enumerate((4, 8, 8, 4))])), whole[range(4), (4, 8, 8, 4)], **tolerance
    )
    assert stream.state["attention/steps"].tolist() == [[5], [9], [9], [5]]
    if precision == "float32":
        assert stream._fast_path is not None
        executor = model.executor
        _, program = executor.prepared_step(executor.streams({}, STEPS), {}, [(1, FEATURES)])
        assert not [i.layer for i in program.instructions if i.function is not None]


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", ["heads", "sums"])
def test_no_more_than_were_asked_for(name: str, precision: str) -> None:
    """One more is refused, and nothing is lost."""
    model = Model(attending(LAYERS[name]), precision=precision)
    x = normal(ROWS, STEPS, FEATURES)
    stream = model.stream(ROWS, max_steps=5)
    for t in range(5):
        stream.step(x[:, t])
    before = stream.state
    for refused in (lambda: stream.step(x[:, 5]), lambda: stream.feed(x), lambda: stream.feed(x[:1, :6], rows=[0])):
        with pytest.raises(InputError, match="expected no more than max_steps=5 timesteps of each row in all, found more: reset the rows"):
            refused()
        for key, array in stream.state.items():
            np.testing.assert_array_equal(array, before[key])
    stream.reset([1])
    np.testing.assert_allclose(stream.step(x[1:2, 0], rows=[1]), model.predict(x[1:2, :1])[:, 0], rtol=2e-5, atol=2e-6)
    with pytest.raises(InputError, match="max_steps=5"):
        stream.step(x[:, 5])
    stream.reset()
    np.testing.assert_allclose(stream.feed(x[:, :5]), model.predict(x[:, :5]), rtol=2e-5, atol=2e-6)


def test_states_go_on_elsewhere() -> None:
    model = Model(attending(LAYERS["heads"]))
    x = normal(ROWS, STEPS, FEATURES)
    stream = model.stream(ROWS, max_steps=STEPS)
    stream.feed(x[:, :6])
    other = model.stream(ROWS, max_steps=STEPS)
    other.load_state(stream.state)
    going = [other, stream.copy(), copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))]
    expected = model.predict(x)
    for each in [*going, stream]:
        np.testing.assert_allclose(each.feed(x[:, 6:]), expected[:, 6:], rtol=2e-5, atol=2e-6)
        with pytest.raises(InputError, match="max_steps=12"):
            each.step(x[:, 0])
    assert {key: array.shape[1:] for key, array in stream.state.items()} == {
        "lstm/h": (3,), "lstm/c": (3,), "attention/keys": (12, 8), "attention/values": (12, 20), "attention/steps": (1,),
    }  # fmt: skip
    with pytest.raises(InputError, match=r"state\['attention/keys'\]: expected numbers of shape \(4, 7, 8\)"):
        model.stream(ROWS, max_steps=7).load_state(stream.state)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("steps", [np.nan, np.inf, -3.0, 1e30, 11.5])
def test_states_that_make_no_sense(steps: float, precision: str) -> None:
    """They are refused, or taken as some number of steps; nothing outside of the arrays is touched."""
    model = Model(attending(LAYERS["heads"]), precision=precision)
    stream = model.stream(ROWS, max_steps=STEPS)
    stream.load_state({**stream.state, "attention/steps": np.full((ROWS, 1), steps)})
    try:
        assert np.isfinite(stream.feed(normal(ROWS, 3, FEATURES))).all()
    except InputError as error:
        assert "max_steps=12" in str(error)


def test_what_is_refused() -> None:
    model = Model(attending(LAYERS["heads"]))
    with pytest.raises(UnsupportedError, match=r"it sees all timesteps so far.*stream\(batch_size, max_steps=...\)"):
        model.stream()
    for bad in (0, -1, 1.5, "many", 1 << 60):
        with pytest.raises(InputError, match="max_steps"):
            model.stream(max_steps=bad)  # type: ignore[arg-type]
    masked = Model(attending(LAYERS["heads"], (simple("Masking", "masking", mask_value=0.0),)))
    with pytest.raises(UnsupportedError, match="some of which may be masked"):
        masked.stream(max_steps=5)
    scores = Model(attending(LAYERS["dot"], return_attention_scores=True))
    with pytest.raises(UnsupportedError, match="it needs timesteps that are still to come"):
        scores.stream(max_steps=5)
    plain = Model(attending(LAYERS["dot"], use_causal_mask=False))
    with pytest.raises(UnsupportedError, match="it needs timesteps that are still to come"):
        plain.stream(max_steps=5)


def decoder() -> ModelSpec:
    """A sequence that attends to itself, and then to another one."""
    entries = [LayerSpec("InputLayer", name, {"shape": [None, None, FEATURES], "dtype": "float32"}) for name in ("encoded", "x")]
    own, cross = heads(), replace(heads(), name="cross")
    calls = (Call(0), Call(1), Call(2, (Ref(1), Ref(1)), {"use_causal_mask": True}), Call(3, (Ref(2), Ref(0))))
    spec = graph([], [], (None, None, FEATURES))
    return replace(
        spec, layers=(*entries, own, cross), calls=calls, inputs=(Ref(0), Ref(1)), outputs=(Ref(3),), input_names=("encoded", "x")
    )


def test_a_decoder_attends_to_itself_and_to_what_is_held() -> None:
    model = Model(decoder())
    held, x = normal(ROWS, 7, FEATURES), normal(ROWS, STEPS, FEATURES)
    with pytest.raises(UnsupportedError, match=r"stream\(batch_size, initial=\{'encoded': ...\}, max_steps=...\)"):
        model.stream(ROWS)
    with pytest.raises(UnsupportedError, match=r"stream\(batch_size, max_steps=...\)"):
        model.stream(ROWS, initial={"encoded": held})
    with pytest.raises(UnsupportedError, match=r"stream\(batch_size, initial=\{'encoded': ...\}\)"):
        model.stream(ROWS, max_steps=STEPS)
    stream = model.stream(ROWS, initial={"encoded": held}, max_steps=STEPS)
    expected = model.predict({"encoded": held, "x": x})
    for t in range(STEPS):
        np.testing.assert_allclose(stream.step(x[:, t]), expected[:, t], rtol=2e-5, atol=2e-6)
    with pytest.raises(InputError, match="max_steps=12"):
        stream.step(x[:, 0])
    stream.reset()
    np.testing.assert_allclose(pickle.loads(pickle.dumps(stream)).feed(x), expected, rtol=2e-5, atol=2e-6)


def test_attention_along_other_axes_than_time() -> None:
    model = Model(graph([heads(attention_axes=[2])], [(0, 0)], (None, None, 4, FEATURES)))
    with pytest.raises(UnsupportedError, match="it needs timesteps"):
        model.stream(max_steps=5)
    spec = decoder()
    entries = [replace(entry, config={"shape": [None, None, 4, FEATURES], "dtype": "float32"}) for entry in spec.layers[:2]]
    cross = replace(spec.layers[3], config={**spec.layers[3].config, "attention_axes": [2]})
    spec = replace(spec, layers=(*entries, cross), calls=(Call(0), Call(1), Call(2, (Ref(1), Ref(0)))), outputs=(Ref(2),))
    with pytest.raises(UnsupportedError, match="it attends along other axes than that of the timesteps"):
        Model(spec).stream(initial={"encoded": normal(1, 5, 4, FEATURES)})


def test_models_that_keep_no_steps_take_any_number() -> None:
    model = Model(graph([recurrent("GRU", 4, FEATURES, "gru")], [(0,)], (None, None, FEATURES)))
    stream = model.stream(max_steps=2)
    x = normal(1, 7, FEATURES)
    np.testing.assert_allclose(stream.feed(x), model.predict(x), rtol=1e-5, atol=1e-6)
    assert isinstance(stream, fastlstm.Stream)
