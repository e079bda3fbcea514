"""Streams: any way of feeding a sequence gives what one call of predict gives."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import golden
import h5_files
import keras_configs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm

MORE = settings(max_examples=2 * settings.default.max_examples)
PAD = -1.0


@st.composite
def causal_models(draw: st.DrawFn) -> dict:
    """The description of a small causal model."""
    return {
        "seed": draw(st.integers(0, 2**32 - 1)),
        "cells": draw(st.lists(st.sampled_from(["LSTM", "GRU", "SimpleRNN"]), min_size=1, max_size=3)),
        "units": draw(st.sampled_from([1, 3, 8, 17, 33])),
        "activation": draw(st.sampled_from(["tanh", "relu", "softsign", "softmax"])),
        "reset_after": draw(st.booleans()),
        "masked": draw(st.booleans()),
        "per_step": draw(st.booleans()),
        "distributed": draw(st.booleans()),
        "between": draw(st.sampled_from([None, "dense", "dropout"])),
        "window": draw(st.sampled_from([None, (1, 1), (2, 1), (4, 1), (3, 2)])),  # of a causal convolution in front: size, dilation
    }


def model_of(drawn: dict, folder: Path, **options: object) -> fastlstm.Model:
    rng = np.random.default_rng(drawn["seed"])
    layers, features = [h5_files.masking(PAD)] if drawn["masked"] else [], 3
    if drawn["window"] and not drawn["masked"]:
        size, dilation = drawn["window"]
        layers.append(h5_files.convolution(5, size, features, rng, dilation=dilation))
        features = 5
    for number, cell in enumerate(drawn["cells"]):
        last = number == len(drawn["cells"]) - 1
        extra = {"reset_after": drawn["reset_after"]} if cell == "GRU" else {}
        sequences = drawn["per_step"] or not last
        layers.append(
            h5_files.recurrent(cell, drawn["units"], features, rng, activation=drawn["activation"], return_sequences=sequences, **extra)
        )
        features = drawn["units"]
        if drawn["between"] == "dropout":
            layers.append(h5_files.dropout())
        elif drawn["between"] == "dense" and sequences:
            layers.append(h5_files.dense(4, features, rng, "tanh"))
            features = 4
    head = h5_files.dense(2, features, rng)
    layers.append(h5_files.time_distributed(head) if drawn["distributed"] and drawn["per_step"] else head)
    return fastlstm.load(h5_files.save(folder / "model.h5", layers, (None, 3)), **options)


def sequences(drawn: dict, rows: int, timesteps: int) -> np.ndarray:
    rng = np.random.default_rng(drawn["seed"] + 1)
    x = rng.normal(size=(rows, timesteps, 3)).astype(np.float32)
    if drawn["masked"]:
        x[rng.random((rows, timesteps)) < 0.3] = PAD
    return x


def agree(found: np.ndarray, expected: np.ndarray, native: bool) -> bool:
    """To the last bit where kernels serve both; in tolerance where NumPy does, whose sums depend on how much is summed at once."""
    if native:
        return found.tobytes() == expected.tobytes()
    return golden.difference(found, expected) <= golden.bound(expected)


@MORE
@given(causal_models(), st.integers(1, 9), st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_chunks(tmp_path: Path, drawn: dict, rows: int, chunks: list[int]) -> None:
    """Steps (0) and chunks of any length, one after another, equal one predict."""
    model = model_of(drawn, tmp_path)
    dilated = drawn["window"] == (3, 2) and not drawn["masked"]
    native = drawn["activation"] != "softmax" and not dilated
    timesteps = sum(length or 1 for length in chunks)
    x = sequences(drawn, rows, timesteps)
    whole = model.predict(x)
    stream, at = model.stream(rows), 0
    for length in chunks:
        if length == 0:
            y = stream.step(x[:, at])
            expected = whole[:, at] if drawn["per_step"] else model.predict(x[:, : at + 1])
        else:
            y = stream.feed(x[:, at : at + length])
            expected = whole[:, at : at + length] if drawn["per_step"] else model.predict(x[:, : at + length])
        at += length or 1
        assert agree(y, expected, native)
    if not drawn["per_step"]:
        assert agree(y, whole, native)


@MORE
@given(causal_models(), st.integers(2, 8), st.data())
def test_rows_live_their_own_lives(tmp_path: Path, drawn: dict, rows: int, data: st.DataObject) -> None:
    """Rows that advance, reset and are copied at different times are as so many streams of one row."""
    drawn = {**drawn, "activation": "tanh"}
    model = model_of(drawn, tmp_path)
    native = drawn["window"] != (3, 2) or drawn["masked"]
    together, alone = model.stream(rows), [model.stream() for _ in range(rows)]
    rng = np.random.default_rng(drawn["seed"] + 2)
    for _ in range(data.draw(st.integers(1, 6))):
        chosen = data.draw(st.lists(st.integers(0, rows - 1), unique=True))
        match data.draw(st.sampled_from(["step", "reset", "copy", "save"])):
            case "step":
                x = rng.normal(size=(len(chosen), 3)).astype(np.float32)
                y = together.step(x, rows=chosen)
                assert y.shape == (len(chosen), 2)
                for number, row in enumerate(chosen):
                    assert agree(alone[row].step(x[number : number + 1]), y[number : number + 1], native)
            case "reset":
                together.reset(chosen)
                for row in chosen:
                    alone[row].reset()
            case "copy":
                before, together = together, together.copy()
                before.step(np.ones((rows, 3)))
            case "save":
                state = together.state
                together = model.stream(rows)
                together.load_state({name: array.astype(np.float64) for name, array in state.items()})


def test_float64_and_numpy_layers_stream_too(tmp_path: Path) -> None:
    drawn = {
        "seed": 5, "cells": ["GRU", "LSTM"], "units": 5, "activation": "softmax", "reset_after": True, "masked": True,
        "per_step": True, "distributed": True, "between": "dense", "window": None,
    }  # fmt: skip
    model = model_of(drawn, tmp_path, precision="float64")
    x = sequences(drawn, 4, 7).astype(np.float64)
    stream = model.stream(4)
    found = np.stack([stream.step(x[:, t]) for t in range(7)], axis=1)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, model.predict(x), rtol=0, atol=1e-14)


def test_ids(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    layers = [h5_files.embedding(20, 4, rng, mask_zero=True), h5_files.recurrent("LSTM", 9, 4, rng), h5_files.dense(1, 9, rng)]
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", layers, (None,)))
    ids = rng.integers(0, 20, (3, 8))
    stream = model.stream(3)
    for t in range(8):
        y = stream.step(ids[:, t])
    assert y.tobytes() == model.predict(ids).tobytes()
    with pytest.raises(fastlstm.InputError, match="ids from 0 to 19, found .* to 20"):
        stream.step(np.array([1, 2, 20]))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(("size", "dilation"), [(3, 1), (3, 4)])
def test_history_of_causal_convolutions(tmp_path: Path, precision: str, size: int, dilation: int) -> None:
    """The timesteps that a causal window still sees are state: they can be saved, reset and taken up elsewhere."""
    rng = np.random.default_rng(0)
    layers = [h5_files.convolution(4, size, 3, rng, dilation=dilation), h5_files.convolution(6, 2, 4, rng), h5_files.dense(2, 6, rng)]
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", layers, (None, 3)), precision=precision)
    x = rng.normal(size=(2, 12, 3)).astype(precision)
    whole = model.predict(x)
    stream = model.stream(2)
    first = stream.feed(x[:, :5])
    state = stream.state
    assert {name: array.shape for name, array in state.items()} == {
        "conv1d_1/history": (2, (size - 1) * dilation, 3), "conv1d_2/history": (2, 1, 4),
    }  # fmt: skip
    later = model.stream(2)
    later.load_state(state)
    found = np.concatenate([first, *(later.step(x[:, t])[:, np.newaxis] for t in range(5, 12))], axis=1)
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-6)
    stream.reset([1])
    np.testing.assert_allclose(stream.feed(x[:, 5:])[1], model.predict(x[1:, 5:])[0], rtol=0, atol=1e-6)


def test_layers_within_a_timestep_start_from_nothing(tmp_path: Path) -> None:
    """A recurrent layer that TimeDistributed runs along another axis carries nothing from step to step."""
    rng = np.random.default_rng(0)
    inner = h5_files.recurrent("LSTM", 4, 3, rng)
    layers = [h5_files.time_distributed(inner), h5_files.recurrent("GRU", 5, 4, rng, return_sequences=True)]
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", layers, (None, 6, 3)))
    x = rng.normal(size=(2, 9, 6, 3)).astype(np.float32)
    whole, stream = model.predict(x), model.stream(2)
    assert list(stream.state) == ["gru_2/h"]
    found = [stream.feed(x[:, :4]), *(stream.step(x[:, t])[:, np.newaxis] for t in range(4, 9))]
    assert np.concatenate(found, axis=1).tobytes() == whole.tobytes()


def small(folder: Path, *layers: h5_files.Layer) -> fastlstm.Model:
    return fastlstm.load(h5_files.save(folder / "model.h5", layers, (6, 3)))


def test_refused_by_name(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lstm = h5_files.recurrent("LSTM", 4, 3, rng, return_sequences=True)
    both = h5_files.bidirectional(lstm, h5_files.recurrent("LSTM", 4, 3, rng).weights)
    backwards = h5_files.recurrent("GRU", 4, 3, rng, go_backwards=True)
    flatten = h5_files.Layer({"class_name": "Flatten", "config": {}}, [])
    pooling = h5_files.Layer({"class_name": "GlobalAveragePooling1D", "config": {}}, [])
    for layers, name in (
        ([both], "bidirectional_1"), ([backwards], "gru_1"), ([lstm, flatten], "flatten_2"), ([lstm, pooling], "globalaveragepooling1d_2"),
        ([h5_files.convolution(4, 2, 3, rng, "same")], "conv1d_1"), ([h5_files.convolution(4, 2, 3, rng, stride=2)], "conv1d_1"),
    ):  # fmt: skip
        with pytest.raises(fastlstm.UnsupportedError, match=name):
            small(tmp_path, *layers).stream()


def test_shared_layer_is_refused(tmp_path: Path) -> None:
    """Called twice, a layer would need two states."""
    rng = np.random.default_rng(0)
    lstm = h5_files.recurrent("LSTM", 4, 3, rng)
    both = [[[[name, 0, 0, {}]] for name in ("a", "b")], [[["lstm", 0, 0, {}], ["lstm", 1, 0, {}]]]]
    layers = [
        keras_configs.entrance("a", None, 3), keras_configs.entrance("b", None, 3),
        keras_configs.layer("LSTM", "lstm", both[0], **lstm.entry["config"]), keras_configs.layer("Add", "add", both[1]),
    ]  # fmt: skip
    config = keras_configs.functional(layers, [["a", 0, 0], ["b", 0, 0]], [["add", 0, 0]])
    model = fastlstm.load(keras_configs.write_h5(tmp_path / "model.h5", config, {"lstm": lstm.weights}))
    assert model.predict([np.zeros((1, 2, 3)), np.ones((1, 2, 3))]).shape == (1, 4)
    with pytest.raises(fastlstm.UnsupportedError, match="lstm.*more than once"):
        model.stream()


def two_ways(folder: Path, merge: tuple[str, dict], second: Callable[[np.random.Generator], h5_files.Layer]) -> fastlstm.Model:
    """A masked input, and what an LSTM makes of it, or of another input, merged for a GRU."""
    rng = np.random.default_rng(0)
    lstm, gru = h5_files.recurrent("LSTM", 3, 3, rng, return_sequences=True), second(rng)
    kind, arguments = merge
    layers = [
        keras_configs.entrance("x", None, 3), keras_configs.entrance("z", None, 3),
        keras_configs.layer("Masking", "masking", [[["x", 0, 0, {}]]], mask_value=PAD),
        keras_configs.layer("LSTM", "lstm", [[["z", 0, 0, {}]]], **lstm.entry["config"]),
        keras_configs.layer(kind, "merge", [[["masking", 0, 0, {}], ["lstm", 0, 0, {}]]], **arguments),
        keras_configs.layer(gru.entry["class_name"], "last", [[["merge", 0, 0, {}]]], **gru.entry["config"]),
    ]  # fmt: skip
    config = keras_configs.functional(layers, [["x", 0, 0], ["z", 0, 0]], [["last", 0, 0]])
    return fastlstm.load(keras_configs.write_h5(folder / "model.h5", config, {"lstm": lstm.weights, "last": gru.weights}))


@pytest.mark.parametrize("rule", ["or", "and", "none"])
@pytest.mark.parametrize("kind", ["Add", "Subtract", "Average", "Multiply", "Maximum", "Minimum", "Concatenate"])
@pytest.mark.parametrize("sequences", [False, True])
def test_merged_sequences(tmp_path: Path, kind: str, rule: str, sequences: bool) -> None:
    """Step by step, and what becomes of their masks too."""
    arguments = {"axis": -1} if kind == "Concatenate" else {}
    width = 6 if kind == "Concatenate" else 3
    model = two_ways(tmp_path, (kind, arguments), lambda rng: h5_files.recurrent("GRU", 4, width, rng, return_sequences=sequences))
    model = fastlstm.Model(replace(model.spec, rules=replace(model.spec.rules, merge_mask=rule)))
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=(2, 3, 9, 3)).astype(np.float32)
    x[rng.random((3, 9)) < 0.4] = PAD
    stream = model.stream(3)
    for t in range(6):
        y = stream.step([x[:, t], z[:, t]])
        expected = model.predict([x[:, : t + 1], z[:, : t + 1]])
        np.testing.assert_allclose(y, expected[:, -1] if sequences else expected, rtol=0, atol=1e-6)
    y = stream.feed([x[:, 6:], z[:, 6:]])
    np.testing.assert_allclose(y, model.predict([x, z])[:, 6:] if sequences else model.predict([x, z]), rtol=0, atol=1e-6)
    with pytest.raises(fastlstm.InputError, match="as many timesteps of each input, .* found 1 and 3"):
        stream.feed([x[:, :1], z[:, :3]])


def test_what_is_merged_for_each_row_takes_chunks_of_two_lengths(tmp_path: Path) -> None:
    """Two sequences that end in a row each before they meet need not go at one pace."""
    rng = np.random.default_rng(0)
    lstm, gru = h5_files.recurrent("LSTM", 4, 3, rng), h5_files.recurrent("GRU", 4, 3, rng)
    layers = [
        keras_configs.entrance("x", None, 3), keras_configs.entrance("z", None, 3),
        keras_configs.layer("LSTM", "lstm", [[["x", 0, 0, {}]]], **lstm.entry["config"]),
        keras_configs.layer("GRU", "gru", [[["z", 0, 0, {}]]], **gru.entry["config"]),
        keras_configs.layer("Add", "add", [[["lstm", 0, 0, {}], ["gru", 0, 0, {}]]]),
    ]  # fmt: skip
    config = keras_configs.functional(layers, [["x", 0, 0], ["z", 0, 0]], [["add", 0, 0]])
    model = fastlstm.load(keras_configs.write_h5(tmp_path / "model.h5", config, {"lstm": lstm.weights, "gru": gru.weights}))
    x, z = (rng.normal(size=(2, steps, 3)).astype(np.float32) for steps in (5, 9))
    stream = model.stream(2)
    stream.feed([x[:, :2], z[:, :8]])
    np.testing.assert_allclose(stream.feed([x[:, 2:], z[:, 8:]]), model.predict([x, z]), rtol=0, atol=1e-6)


def test_what_is_not_merged_step_by_step(tmp_path: Path) -> None:
    """Told truly: along time all timesteps are needed; with one tensor for all of them it is not computed."""
    for kind, arguments, other, why in (
        ("Concatenate", {"axis": 1}, (None, 3), "still to come, or all of them at once"),
        ("Dot", {"axes": 2}, (None, 3), "still to come, or all of them at once"),
        ("Add", {}, (1, 3), "still to come, or all of them at once"),  # repeated for all timesteps of the other
        ("Add", {}, (3,), "with a tensor that is none"),
    ):
        layers = [
            keras_configs.entrance("x", None, 3), keras_configs.entrance("y", *other),
            keras_configs.layer(kind, "merge", [[["x", 0, 0, {}], ["y", 0, 0, {}]]], **arguments),
        ]  # fmt: skip
        config = keras_configs.functional(layers, [["x", 0, 0], ["y", 0, 0]], [["merge", 0, 0]])
        model = fastlstm.load(keras_configs.write_h5(tmp_path / "model.h5", config, {}))
        with pytest.raises(fastlstm.UnsupportedError, match=f"merge.*{why}"):
            model.stream()


@pytest.mark.parametrize("stateful", [False, True])
def test_two_layers_of_one_path(tmp_path: Path, stateful: bool) -> None:
    """A layer "a/b" beside a layer "b" in a model "a": their states would have one name."""
    rng = np.random.default_rng(0)
    first, second = (h5_files.recurrent("LSTM", 3, 3, rng, return_sequences=True, stateful=stateful) for _ in range(2))
    inside = [
        keras_configs.entrance("i", None, 3),
        keras_configs.layer("LSTM", "b", [[["i", 0, 0, {}]]], **{**first.entry["config"], "name": "b"}),
    ]
    nested = keras_configs.functional(inside, [["i", 0, 0]], [["b", 0, 0]])
    layers = [
        keras_configs.entrance("x", None, 3),
        {"class_name": "Model", "name": "a", "config": {**nested["config"], "name": "a"}, "inbound_nodes": [[["x", 0, 0, {}]]]},
        keras_configs.layer("LSTM", "a/b", [[["a", 1, 0, {}]]], **{**second.entry["config"], "name": "a/b"}),
    ]  # fmt: skip
    config = keras_configs.functional(layers, [["x", 0, 0]], [["a/b", 0, 0]])
    path = keras_configs.write_h5(tmp_path / "model.h5", config, {"a": first.weights, "a/b": second.weights})
    if stateful:
        with pytest.raises(fastlstm.UnsupportedError, match="'a/b'.*another stateful layer has the same name"):
            fastlstm.load(path)
    else:
        with pytest.raises(fastlstm.UnsupportedError, match="'a/b'.*two layers go by this name"):
            fastlstm.load(path).stream()


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 17, 63, 64, 65, 80])
def test_a_few_rows_have_the_bits_that_they_have_among_others(rows: int, tmp_path: Path) -> None:
    """Whichever way their states take: by copies that are kept, by new ones, or in place."""
    rng = np.random.default_rng(rows)
    layers = [h5_files.recurrent("LSTM", 7, 3, rng, return_sequences=True), h5_files.recurrent("GRU", 5, 7, rng), h5_files.dense(2, 5, rng)]
    model = small(tmp_path, *layers)
    listed, counted, whole = (model.stream(90) for _ in range(3))
    for _ in range(3):
        x = rng.normal(size=(90, 3)).astype(np.float32)
        whole.step(x)
        listed.step(x)
        counted.step(x)
        chosen, more = rng.permutation(90)[:rows], rng.normal(size=(rows, 3)).astype(np.float32)
        out = np.empty((rows, 2), np.float32)
        assert listed.step(more, rows=chosen.tolist(), out=out) is out
        assert np.array_equal(out, counted.step(more, rows=chosen))
        for wrong in (more[:, :2], np.zeros((rows + 1, 3), np.float32), more.astype(str)):
            with pytest.raises(fastlstm.InputError):
                listed.step(wrong, rows=chosen.tolist())
        assert np.array_equal(listed.step(more.astype(np.float64), rows=chosen.tolist()), counted.step(more, rows=chosen))
        state, other, begun = listed.state, counted.state, whole.state
        assert all(np.array_equal(state[name], other[name]) for name in state)
        left = np.setdiff1d(np.arange(90), chosen)
        assert all(np.array_equal(state[name][left], begun[name][left]) for name in state)
        whole.load_state(state)
    copied = pickle.loads(pickle.dumps(listed))
    assert np.array_equal(copied.step(more, rows=chosen.tolist()), listed.step(more, rows=chosen.tolist()))


def test_errors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = small(tmp_path, h5_files.recurrent("LSTM", 4, 3, rng), h5_files.dense(2, 4, rng))
    stream = model.stream(2)
    before = stream.state
    for call, message in (
        (lambda: stream.step(np.zeros((2, 4))), r"expected shape \(any, 3\), found \(2, 4\)"),
        (lambda: stream.step(np.zeros((3, 3))), "expected 2 rows, found 3"),
        (lambda: stream.step(np.zeros((1, 3)), rows=[2]), "rows: expected numbers from 0 to 1, found 2 to 2"),
        (lambda: stream.step(np.zeros((2, 3)), rows=[0, 0]), "found one twice"),
        (lambda: stream.step(np.zeros((1, 3)), rows=[0.5]), "rows: expected a list of row numbers"),
        (lambda: stream.step(np.zeros((2, 3)), out=np.zeros((2, 2))), "out: expected a writeable array of shape"),
        (lambda: stream.feed(np.zeros((2, 3))), "expected shape"),
        (lambda: stream.feed(np.zeros((2, 0, 3))), "at least one timestep"),
        (lambda: stream.load_state({"lstm_1/h": np.zeros((2, 4))}), "expected the keys lstm_1/h, lstm_1/c"),
        (lambda: stream.load_state({**before, "lstm_1/c": np.zeros((2, 5))}), r"state\['lstm_1/c'\]"),
        (lambda: model.stream(0), "batch_size: expected a positive number, found 0"),
    ):
        with pytest.raises(fastlstm.InputError, match=message):
            call()
    for name, array in stream.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = small(tmp_path, h5_files.recurrent("LSTM", 4, 3, rng), h5_files.dense(2, 4, rng))
    x, out = rng.normal(size=(1, 3)).astype(np.float32), np.zeros((1, 2), np.float32)
    assert model.stream().step(x, out=out) is out
    np.testing.assert_array_equal(out, model.stream().step(x))
    np.testing.assert_array_equal(model.stream().step(x.astype(np.float64), out=out), out)


def test_second_thread_is_told(tmp_path: Path) -> None:
    """While one thread is inside a long feed, another gets an error, and the first one's result is not disturbed."""
    rng = np.random.default_rng(0)
    layers = [h5_files.recurrent("LSTM", 128, 3, rng, return_sequences=True), h5_files.recurrent("LSTM", 128, 128, rng)]
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", layers, (None, 3)))
    x = rng.normal(size=(1, 20000, 3)).astype(np.float32)
    expected = model.predict(x)
    stream, started, found = model.stream(), threading.Event(), []

    def feed() -> None:
        started.set()
        found.append(stream.feed(x))

    thread = threading.Thread(target=feed)
    thread.start()
    started.wait()
    refusals = 0
    while thread.is_alive():
        try:
            stream.state  # noqa: B018
        except fastlstm.InputError as error:
            assert "in use by another thread" in str(error)
            refusals += 1
    thread.join()
    assert refusals
    np.testing.assert_array_equal(found[0], expected)


def test_streams_of_one_model_side_by_side(tmp_path: Path, figure: Callable[[str, str], None]) -> None:
    rng = np.random.default_rng(0)
    model = fastlstm.load(
        h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("LSTM", 32, 3, rng), h5_files.dense(1, 32, rng)], (None, 3))
    )
    x = rng.normal(size=(8, 500, 1, 3)).astype(np.float32)
    expected = model.predict(x[:, :, 0])
    results: list[np.ndarray | None] = [None] * 8

    def run(number: int) -> None:
        stream = model.stream()
        for step in x[number]:
            results[number] = stream.step(step)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.concatenate(results), expected)
