"""Merges of masked tensors, wrappers and stacked cells in kernels: no NumPy in their Programs, and the numbers of ``apply``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from kernel_models import VOCABULARY, dense, graph, simple
from layer_specs import model_of, normal, recurrent

from fastlstm import Model
from fastlstm.errors import InputError
from fastlstm.spec import Call, LayerSpec, ModelSpec, Ref, Rules

RULES = ("and", "or", "none")
FEATURES = 4


def native(spec: ModelSpec, *given: np.ndarray, numpy: Sequence[str] = (), **options: Any) -> list[np.ndarray]:
    """The outputs of a model in kernels, which are those of its layers' meaning; ``numpy``: the layers that NumPy computes."""
    model = Model(spec, **options)
    inputs = list(given) if len(given) > 1 else given[0]
    found = model.predict(inputs)
    _, program = model.executor.prepared(tuple(x.shape[1:] for x in given))
    assert {instruction.layer for instruction in program.instructions if instruction.function is not None} == set(numpy)
    exact = Model(spec, precision="float64", **options).predict(inputs)
    every = [found] if isinstance(found, np.ndarray) else list(found)
    for y, truth in zip(every, [exact] if isinstance(exact, np.ndarray) else exact, strict=True):
        np.testing.assert_allclose(y, truth, rtol=2e-5, atol=3e-6)
    return every


def masked(*shape: int) -> np.ndarray:
    """Numbers, of which whole steps are zeros."""
    x = normal(*shape).astype(np.float32)
    x[np.random.default_rng(sum(shape)).random(shape[:2]) < 0.4] = 0
    return x


def pair(kind: str, rule: Any, *, both: bool, **config: Any) -> ModelSpec:
    """Two views of one sequence, masked by other numbers, merged; then a layer that reads the mask."""
    mask = simple("Masking", "one", mask_value=0.0)
    other = simple("Masking", "two", mask_value=1.0) if both else simple("Dropout", "two", rate=0.1)
    merge = simple(kind, "merge", **config)
    features = 2 * FEATURES if kind == "Concatenate" and config["axis"] in (-1, 2) else FEATURES
    reader = recurrent("LSTM", 3, features, "reader", return_sequences=True)
    spec = graph([mask, other, merge, reader], [(0,), (0,), (1, 2), (3,)], (None, None, FEATURES))
    return replace(spec, rules=Rules(merge_mask=rule))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("kind", ["Add", "Multiply", "Maximum", "Minimum", "Average", "Subtract"])
def test_merges_of_masked_sequences(kind: str, rule: str, both: bool) -> None:
    x = masked(5, 6, FEATURES)
    x[::2, 3] = 1
    native(pair(kind, rule, both=both), x)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["Add", "Multiply", "Maximum", "Minimum"])
def test_masked_merges_that_broadcast(kind: str, rule: str) -> None:
    """Beside a weight for each step, which carries the mask too, and beside a vector, which has none."""
    layers = [simple("Masking", "m", mask_value=0.0), dense(1, FEATURES), simple(kind, "merge"), recurrent("GRU", 3, FEATURES, "reader")]
    spec = graph(layers, [(0,), (1,), (1, 2), (3,)], (None, None, FEATURES))
    native(replace(spec, rules=Rules(merge_mask=rule)), masked(5, 6, FEATURES))
    layers[1] = simple("GlobalMaxPooling1D", "p")
    spec = graph(layers, [(0,), (1,), (2, 1), (3,)], (None, None, FEATURES))
    native(replace(spec, rules=Rules(merge_mask=rule)), masked(5, 6, FEATURES))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("axis", [-1, 1])
def test_concatenated_masks(axis: int, rule: str) -> None:
    x = masked(5, 6, FEATURES)
    x[::2, 3] = 1
    native(pair("Concatenate", rule, both=True, axis=axis), x)
    if rule == "and" and axis == 1:  # as Keras has it, the mask of one feature does not fit beside the other
        with pytest.raises(InputError, match="can merge along axis 1"):
            Model(pair("Concatenate", rule, both=False, axis=axis)).predict(x)
    else:
        native(pair("Concatenate", rule, both=False, axis=axis), x)


@pytest.mark.parametrize("mode", ["concat", "sum", "ave", "mul", None])
@pytest.mark.parametrize("sequences", [True, False])
def test_directions_of_which_one_has_no_kernel(mode: str | None, sequences: bool) -> None:
    """A function of the caller's computes one cell's activation; all else is in kernels."""
    one = recurrent("LSTM", 3, FEATURES, "one", return_sequences=sequences)
    other = recurrent("GRU", 3, FEATURES, "other", return_sequences=sequences, go_backwards=True, activation="mine")
    both = LayerSpec("Bidirectional", "both", {"merge_mode": mode}, (), (one, other))
    spec = model_of(simple("Masking", "m", mask_value=0.0), both, shape=(None, None, FEATURES))
    if mode is None:
        spec = replace(spec, outputs=(Ref(2), Ref(2, 1)), output_names=("a", "b"), output_kind="list")
    native(spec, masked(5, 6, FEATURES), numpy=["both/other"], custom_activations={"mine": np.tanh})


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
def test_stacked_cells_that_emit_the_first_state(sequences: bool, backwards: bool, zeros: bool) -> None:
    kinds = ("LSTM", "SimpleRNN", "GRU")
    cells = tuple(recurrent(kind, 5, 5 if n else FEATURES, kind, kind + "Cell") for n, kind in enumerate(kinds))
    stack = LayerSpec("StackedRNNCells", "cells", {}, (), cells)
    config = {"return_sequences": sequences, "go_backwards": backwards, "return_state": True, "zero_output_for_mask": zeros}
    rnn = LayerSpec("RNN", "rnn", config, (), (stack,))
    spec = model_of(simple("Masking", "m", mask_value=0.0), rnn, shape=(None, None, FEATURES))
    outputs = tuple(Ref(2, n) for n in range(5))
    spec = replace(spec, outputs=outputs, output_names=tuple("abcde"), output_kind="list", rules=Rules(stacked_masked_output="first"))
    x = masked(7, 6, FEATURES)
    x[0] = 0
    native(spec, x)
    entries = [LayerSpec("InputLayer", f"s{n}", {"shape": [None, 5], "dtype": "float32"}) for n in range(4)]
    layers = (spec.layers[0], *entries, *spec.layers[1:])
    calls = (*map(Call, range(5)), Call(5, (Ref(0),)), Call(6, (Ref(5),), {"initial_state": tuple(map(Ref, range(1, 5)))}))
    given = replace(
        spec, layers=layers, calls=calls, inputs=tuple(map(Ref, range(5))), outputs=tuple(Ref(6, n) for n in range(5)),
        input_names=("x", "s0", "s1", "s2", "s3"),
    )  # fmt: skip
    native(given, x, *(normal(7, 5, seed=n).astype(np.float32) for n in range(4)))


IDS = (np.arange(5 * 3 * 4).reshape(5, 3, 4) ** 2 % VOCABULARY).astype(np.int32)
TABLE = simple("Embedding", "e", (VOCABULARY, FEATURES), input_dim=VOCABULARY, output_dim=FEATURES, mask_zero=True)


def within(*layers: LayerSpec, shape: tuple[int | None, ...]) -> LayerSpec:
    """A chain of layers for every timestep."""
    inner = LayerSpec("Functional", "inner", {}, model=model_of(*layers, shape=shape))
    return LayerSpec("TimeDistributed", "steps", {}, (), (inner,))


@pytest.mark.parametrize("hands_on", [False, True])
def test_a_masked_layer_for_every_timestep(hands_on: bool) -> None:
    """The words of sentences: their masks stay inside, or go on, where any word of a sentence counts for it."""
    rules = Rules(time_distributed_inner_mask=hands_on)
    words = within(TABLE, recurrent("GRU", 3, FEATURES, "words"), shape=(None, 4))
    ids = IDS.copy()
    ids[1, 1] = 0
    spec = replace(model_of(words, recurrent("LSTM", 3, 3, "sentences"), shape=(None, None, 4)), rules=rules)
    native(spec, ids)
    outer = LayerSpec("TimeDistributed", "steps", {}, (), (recurrent("GRU", 3, FEATURES, "words"),))
    spec = replace(model_of(TABLE, outer, recurrent("LSTM", 3, 3, "sentences"), shape=(None, None, 4)), rules=rules)
    if hands_on:
        native(spec, ids)
    for passes in (False, True):
        spec = replace(model_of(TABLE, outer, shape=(None, None, 4)), rules=replace(rules, time_distributed_passes_mask=passes))
        native(spec, ids)


@pytest.mark.parametrize("hands_on", [False, True])
def test_a_masking_layer_for_every_timestep(hands_on: bool) -> None:
    inner = recurrent("LSTM", 3, FEATURES, "l", return_sequences=True)
    steps = within(simple("Masking", "m", mask_value=0.0), inner, shape=(None, 5, FEATURES))
    x = normal(6, 4, 5, FEATURES).astype(np.float32)
    x[np.random.default_rng(0).random(x.shape[:3]) < 0.4] = 0
    spec = replace(model_of(steps, shape=(None, None, 5, FEATURES)), rules=Rules(time_distributed_inner_mask=hands_on))
    native(spec, x)


def test_loops_that_repeat_outputs_at_masked_timesteps() -> None:
    rules = Rules(time_distributed_loops="all", time_distributed_loop_repeats=True)
    steps = LayerSpec("TimeDistributed", "steps", {}, (), (dense(3, FEATURES),))
    spec = model_of(simple("Masking", "m", mask_value=0.0), steps, shape=(5, None, FEATURES))
    x = masked(5, 6, FEATURES)
    (y,) = native(replace(spec, rules=rules), x)
    there = np.any(x != 0, axis=2)
    for row, mask in zip(y, there, strict=True):
        for (before, now), valid in zip(pairwise(row), mask[1:], strict=True):
            assert valid or np.array_equal(before, now)


def test_sequences_of_their_own_lengths_of_masked_steps() -> None:
    """What of the padding is there does not say what is there inside a timestep."""
    steps = within(TABLE, recurrent("GRU", 3, FEATURES, "words"), shape=(None, 4))
    model = Model(model_of(steps, recurrent("LSTM", 3, 3, "sentences"), shape=(None, None, 4)))
    rows = [IDS[0], IDS[1, :1], IDS[2, :2]]
    for y, row in zip(model.predict(rows), rows, strict=True):
        np.testing.assert_allclose(y, model.predict(row[None])[0], atol=1e-6)


@pytest.mark.parametrize("declared", ["int32", "bool"])
def test_whole_numbers_at_the_door_of_a_nested_model(declared: str) -> None:
    inner = model_of(dense(3, FEATURES), shape=(None, None, FEATURES))
    door = replace(inner.layers[0], config={**inner.layers[0].config, "dtype": declared})
    nested = LayerSpec("Functional", "inner", {}, model=replace(inner, layers=(door, *inner.layers[1:])))
    x = (normal(5, 6, FEATURES) * 3).astype(np.float32)
    x[0, 0] = (0, -0.5, 2.999, -7)
    native(model_of(nested, shape=(None, None, FEATURES)), x)


def test_masks_and_axes_of_more_dimensions() -> None:
    x = normal(3, 4, 5, FEATURES).astype(np.float32)
    x[:, ::2, 1] = 0
    layers = simple("Masking", "m", mask_value=0.0), simple("Flatten", "f", data_format="channels_first"), dense(3, 4 * 5 * FEATURES)
    native(model_of(*layers, shape=(None, 4, 5, FEATURES)), x)
