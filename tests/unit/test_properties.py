"""Properties of every model and every input: hypothesis draws both."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import golden
import h5_files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlstm
from fastlstm.program import layout

CELLS = ("LSTM", "GRU", "SimpleRNN")
ACTIVATIONS = ("tanh", "sigmoid", "relu", "linear", "hard_sigmoid", "elu", "selu", "softplus", "softsign", "softmax")
PAD = -1.0
seeds = st.integers(0, 2**32 - 1)


@st.composite
def stacks(draw: st.DrawFn) -> dict:
    """The description of a small recurrent model; what it is built from, so that a failing one can be read."""
    return {
        "seed": draw(seeds),
        "features": draw(st.sampled_from([1, 2, 3, 8, 17])),
        "cells": draw(st.lists(st.sampled_from(CELLS), min_size=1, max_size=2)),
        "units": draw(st.sampled_from([1, 2, 3, 4, 5, 8, 16, 17, 31, 33, 50, 64])),
        "activation": draw(st.sampled_from(["tanh", "relu", "softsign"])),
        "recurrent_activation": draw(st.sampled_from(["sigmoid", "hard_sigmoid"])),
        "reset_after": draw(st.booleans()),
        "use_bias": draw(st.booleans()),
        "return_sequences": draw(st.booleans()),
        "go_backwards": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
    }


def layers(drawn: dict) -> list[h5_files.Layer]:
    """The recurrent layers of a drawn model, and a Dense after them."""
    rng = np.random.default_rng(drawn["seed"])
    made, features = [], drawn["features"]
    for number, cell in enumerate(drawn["cells"]):
        last = number == len(drawn["cells"]) - 1
        options = {"activation": drawn["activation"], "use_bias": drawn["use_bias"]}
        options["return_sequences"] = drawn["return_sequences"] or not last
        options["go_backwards"] = drawn["go_backwards"] and last
        if cell != "SimpleRNN":
            options["recurrent_activation"] = drawn["recurrent_activation"]
        if cell == "GRU":
            options["reset_after"] = drawn["reset_after"]
        layer = h5_files.recurrent(cell, drawn["units"], features, rng, **options)
        features = drawn["units"]
        if drawn["bidirectional"] and last:
            layer = h5_files.bidirectional(
                layer, h5_files.recurrent(cell, drawn["units"], layer.weights[0].shape[0], rng, **options).weights
            )
            features *= 2
        made.append(layer)
    head = h5_files.dense(3, features, rng)
    return [*made, h5_files.time_distributed(head) if drawn["return_sequences"] else head]


def model_of(drawn: dict, folder: Path, masked: bool = False, **options: object) -> fastlstm.Model:
    start = [h5_files.masking(PAD)] if masked else []
    return fastlstm.load(h5_files.save(folder / "model.h5", [*start, *layers(drawn)], (None, drawn["features"])), **options)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("both", [False, True])
def test_folding_and_threads_change_nothing(tmp_path: Path, cell: str, mask_zero: bool, both: bool) -> None:
    """An Embedding as a table of the next layer's kernel, or read where it lies; on one thread or on three."""
    rng = np.random.default_rng(3)
    options = {"return_sequences": True, **({"reset_after": True} if cell == "GRU" else {})}
    layer = h5_files.recurrent(cell, 20, 9, rng, **options)
    if both:
        layer = h5_files.bidirectional(layer, h5_files.recurrent(cell, 20, 9, rng, **options).weights)
    above = h5_files.recurrent("LSTM", 7, 40 if both else 20, rng)
    path = h5_files.save(
        tmp_path / "model.h5", [h5_files.embedding(50, 9, rng, mask_zero), layer, above, h5_files.dense(2, 7, rng)], (None,)
    )
    truth = fastlstm.load(path, precision="float64")
    table = 50 * layout.columns(20, h5_files.gate_count(cell), fastlstm.runtime.lanes()) * 4
    for rows, timesteps in ((1, 30), (3, 5), (40, 40)):
        ids = rng.integers(0, 50, (rows, timesteps)) * (rng.random((rows, timesteps)) < 0.7)
        expected = truth.predict(ids)
        for limit, runs in ((table, "folded"), (table - 1, "native"), (0, "native")):
            one, three = (fastlstm.load(path, fold_limit=limit, threads=threads) for threads in (1, 3))
            assert one.layers[1].runs == runs
            y = one.predict(ids)
            assert golden.difference(y, expected) <= golden.bound(expected)
            with patch("fastlstm.runtime.threads.SHARED_NANOSECONDS", 0):
                assert y.tobytes() == three.predict(ids).tobytes()
            assert (three.executor.workers.pool is not None) == (rows > 1)


def test_no_cells_upon_each_other(tmp_path: Path) -> None:
    path = h5_files.save(tmp_path / "model.h5", [h5_files.stacked([], [], 3, np.random.default_rng(0))], (None, 3))
    with pytest.raises(fastlstm.FastLSTMError, match="expected at least one cell, found none"):
        fastlstm.load(path)


@given(
    seeds, st.lists(st.tuples(st.sampled_from(CELLS), st.sampled_from([1, 5, 16, 33])), min_size=1, max_size=3), st.booleans(),
    st.booleans(), st.booleans(), st.integers(1, 8), st.integers(1, 9),
)  # fmt: skip
def test_cells_upon_each_other_run_in_kernels(
    tmp_path: Path, seed: int, cells: list[tuple[str, int]], sequences: bool, backwards: bool, masked: bool, rows: int, timesteps: int
) -> None:
    """RNN of several cells gives in kernels what its meaning in float64 says, step by step too."""
    rng = np.random.default_rng(seed)
    names, units = zip(*cells, strict=True)
    layer = h5_files.stacked(names, units, 3, rng, return_sequences=sequences, go_backwards=backwards)
    start = [h5_files.masking(PAD)] if masked else []
    path = h5_files.save(tmp_path / "model.h5", [*start, layer], (None, 3))
    model, truth = fastlstm.load(path), fastlstm.load(path, precision="float64")
    assert model.layers[-1].runs == "native"
    x = rng.normal(size=(rows, timesteps, 3)).astype(np.float32)
    if masked:
        x[rng.random((rows, timesteps)) < 0.4] = PAD
    y, expected = model.predict(x), truth.predict(x.astype(np.float64))
    assert golden.difference(y, expected) <= golden.bound(expected)
    if not backwards:
        stream = model.stream(rows)
        steps = [stream.step(x[:, t]) for t in range(timesteps)]
        assert steps[-1].tobytes() == np.ascontiguousarray(y[:, -1] if sequences else y).tobytes()


def batch(drawn: dict, rows: int, timesteps: int) -> np.ndarray:
    rng = np.random.default_rng(drawn["seed"] + 1)
    return rng.normal(size=(rows, timesteps, drawn["features"])).astype(np.float32)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


@given(stacks(), st.integers(1, 21), st.integers(1, 12))
def test_a_row_does_not_see_its_mates(tmp_path: Path, drawn: dict, rows: int, timesteps: int) -> None:
    model = model_of(drawn, tmp_path)
    x = batch(drawn, rows, timesteps)
    together = model.predict(x)
    for row in range(rows):
        assert same_bits(model.predict(x[row : row + 1])[0], together[row])


@given(stacks(), st.sampled_from(ACTIVATIONS), st.integers(1, 21), st.integers(1, 12), st.booleans())
def test_kernels_mean_what_numpy_means(tmp_path: Path, drawn: dict, activation: str, rows: int, timesteps: int, masked: bool) -> None:
    """The results of kernels in float32 are near the layers' own meaning in float64, masks of every kind included."""
    drawn = {**drawn, "activation": activation}
    x = batch(drawn, rows, timesteps)
    if masked:
        x[np.random.default_rng(drawn["seed"]).random((rows, timesteps)) < 0.4] = PAD
    y = model_of(drawn, tmp_path, masked=masked).predict(x)
    truth = model_of(drawn, tmp_path, masked=masked, precision="float64").predict(x.astype(np.float64))
    assert truth.dtype == np.float64
    assert golden.difference(y, truth) <= golden.bound(truth)


@given(stacks(), st.integers(2, 21), seeds)
def test_order_of_rows(tmp_path: Path, drawn: dict, rows: int, seed: int) -> None:
    model = model_of(drawn, tmp_path)
    x = batch(drawn, rows, 6)
    order = np.random.default_rng(seed).permutation(rows)
    assert same_bits(model.predict(x[order]), model.predict(x)[order])


@given(stacks(), st.integers(1, 40), st.integers(2, 4))
def test_threads(tmp_path: Path, drawn: dict, rows: int, threads: int) -> None:
    x = batch(drawn, rows, 5)
    shared = model_of(drawn, tmp_path, threads=threads)
    with patch("fastlstm.runtime.threads.SHARED_NANOSECONDS", 0):  # however little there is to do
        y = shared.predict(x)
    assert (shared.executor.workers.pool is not None) == (rows > 1)
    assert same_bits(y, model_of(drawn, tmp_path).predict(x))


def test_threads_take_part_where_there_is_work_for_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("LSTM", 64, 8, rng)], (None, 8))
    model = fastlstm.load(path, threads=2)
    model.predict(np.zeros((8, 5, 8)))
    assert model.executor.workers.pool is None
    for _ in range(4):  # the first ones are timed
        model.predict(np.zeros((64, 50, 8)))
    assert model.executor.workers.pool is not None


@given(stacks(), st.integers(1, 14), st.integers(1, 10), st.data())
def test_masked_steps_do_not_exist(tmp_path: Path, drawn: dict, rows: int, timesteps: int, data: st.DataObject) -> None:
    """The last output with any steps masked is that of the remaining steps alone."""
    drawn = {**drawn, "return_sequences": False}
    masked, plain = model_of(drawn, tmp_path, masked=True), model_of(drawn, tmp_path)
    x = batch(drawn, rows, timesteps)
    valid = np.array(data.draw(st.lists(st.lists(st.booleans(), min_size=timesteps, max_size=timesteps), min_size=rows, max_size=rows)))
    valid[:, data.draw(st.integers(0, timesteps - 1))] = True
    x[~valid] = PAD
    together = masked.predict(x)
    for row in range(rows):
        alone = plain.predict(x[row, valid[row]][np.newaxis])[0]
        assert same_bits(together[row], alone)
        assert same_bits(masked.predict(x[row : row + 1])[0], together[row])


@given(stacks(), st.integers(1, 9), st.integers(1, 8), st.integers(1, 5), st.booleans())
def test_padding_more(tmp_path: Path, drawn: dict, rows: int, timesteps: int, extra: int, in_front: bool) -> None:
    """More padding changes not a bit of the last output, before or after."""
    drawn = {**drawn, "return_sequences": False}
    model = model_of(drawn, tmp_path, masked=True)
    x = batch(drawn, rows, timesteps)
    padding = np.full((rows, extra, drawn["features"]), PAD, np.float32)
    assert same_bits(model.predict(np.concatenate([padding, x] if in_front else [x, padding], axis=1)), model.predict(x))


@given(stacks(), st.lists(st.integers(1, 9), min_size=1, max_size=15), st.booleans())
def test_ragged_is_each_alone(tmp_path: Path, drawn: dict, lengths: list[int], masked: bool) -> None:
    model = model_of(drawn, tmp_path, masked=masked)
    x = batch(drawn, len(lengths), max(lengths))
    if masked:
        x[:, 1::3] = PAD
    series = [row[:length] for row, length in zip(x, lengths)]
    together = model.predict(series)
    assert isinstance(together, list) == drawn["return_sequences"]
    for given_row, y in zip(series, together):
        assert same_bits(model.predict(given_row[np.newaxis])[0], np.asarray(y))


@given(st.sampled_from(CELLS), st.booleans(), st.lists(st.integers(1, 9), min_size=1, max_size=15), seeds)
def test_ragged_ids(tmp_path: Path, cell: str, mask_zero: bool, lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    stack = [h5_files.embedding(30, 4, rng, mask_zero), h5_files.recurrent(cell, 6, 4, rng), h5_files.dense(1, 6, rng)]
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", stack, (None,)))
    series = [rng.integers(0, 30, length) for length in lengths]
    together = model.predict(series)
    assert together.shape == (len(lengths), 1)
    for ids, y in zip(series, together):
        assert same_bits(model.predict(ids[np.newaxis])[0], y)


@given(stacks(), st.integers(1, 13))
def test_not_a_number_stays_in_its_row(tmp_path: Path, drawn: dict, rows: int) -> None:
    model = model_of(drawn, tmp_path)
    x = batch(drawn, rows, 5)
    clean = model.predict(x)
    broken = rows // 2
    x[broken, 2] = np.nan
    y = model.predict(x)
    mates = np.arange(rows) != broken
    assert same_bits(y[mates], clean[mates])
    assert np.isnan(y[broken]).any()


@given(stacks())
def test_input_is_left_alone_and_output_is_new(tmp_path: Path, drawn: dict) -> None:
    model = model_of(drawn, tmp_path, masked=True)
    x = batch(drawn, 4, 5)
    x[1, 2:] = PAD
    before = x.copy()
    first = model.predict(x)
    kept = first.copy()
    second = model.predict(-x)
    assert same_bits(x, before)
    assert same_bits(first, kept) and not np.shares_memory(first, second)


def through_pickle(model: fastlstm.Model) -> fastlstm.Model:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, through_pickle])
def test_copies_compute_the_same(tmp_path: Path, again: Callable[[fastlstm.Model], fastlstm.Model]) -> None:
    drawn = {
        "seed": 1, "features": 3, "cells": ["LSTM", "GRU"], "units": 17, "activation": "tanh", "recurrent_activation": "sigmoid",
        "reset_after": True, "use_bias": True, "return_sequences": True, "go_backwards": False, "bidirectional": True,
    }  # fmt: skip
    model = model_of(drawn, tmp_path)
    x = batch(drawn, 7, 6)
    assert same_bits(again(model).predict(x), model.predict(x))


def test_many_threads_share_one_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    stack = [h5_files.embedding(50, 8, rng, True), h5_files.recurrent("LSTM", 33, 8, rng), h5_files.dense(2, 33, rng)]
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", stack, (None,)))
    batches = [rng.integers(0, 50, (1 + number % 9, 5 + number % 7)) for number in range(40)]
    expected = [model.predict(ids) for ids in batches]
    failures: list[int] = []

    def work() -> None:
        for _ in range(20):
            for number, (ids, y) in enumerate(zip(batches, expected)):
                if not same_bits(model.predict(ids), y):
                    failures.append(number)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_variance_below_zero_is_not_a_number(tmp_path: Path) -> None:
    """As in Keras; and nothing is said of it: the file may be of a network that was never trained."""
    rng = np.random.default_rng(0)
    norm = h5_files.Layer({"class_name": "BatchNormalization", "config": {"name": "b", "axis": -1, "epsilon": 1e-3}},
                       [np.ones(3), np.zeros(3), np.zeros(3), np.array([1.0, -1.0, 2.0])])  # fmt: skip
    path = h5_files.save(tmp_path / "m.h5", [norm], (3,))
    x = rng.normal(size=(2, 3)).astype(np.float32)
    for precision in ("float32", "float64"):
        y = fastlstm.load(path, precision=precision).predict(x)
        assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, [0, 2]]).all()
