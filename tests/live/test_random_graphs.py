"""Random graphs of layers, built and saved by the Keras that is installed: in kernels and in NumPy the same numbers and refusals.

The same few each time; ``FASTLSTM_EXAMPLES=2000 pytest tests/live/test_random_graphs.py`` draws as many new ones. What was tried is printed
at the end of the run.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import golden
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_comparison import Tried, compare

pytestmark = [pytest.mark.keras, pytest.mark.slow, pytest.mark.filterwarnings("ignore:Layer:UserWarning")]  # masks that Keras drops

EXAMPLES = int(os.environ.get("FASTLSTM_EXAMPLES", "20"))
ROWS, UNITS, VOCABULARY = 2, 4, 6
NAMES = ("lstm", "0", "a.b", "a-", "None", "true", "weights", "vars", "cell", "layers", "a" * 90)
FREE_NAMES = (*NAMES, "a b", "é", "層", "x:y", "'", "-")  # which Keras 3 takes too
ACTIVATIONS = ("tanh", "relu", "linear", "softsign", "elu", "softmax")


@dataclass
class Pool:
    """A graph as it grows: its tensors by what they are, and how each was made, so that a failing one can be read."""

    draw: Callable[[Any], Any]
    layers: Any
    tf: Any
    keras: Any
    steps: list[Any] = field(default_factory=list)  # (batch, timesteps, UNITS)
    rows: list[Any] = field(default_factory=list)  # (batch, UNITS)
    script: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def name(self, kind: str) -> dict[str, Any]:
        """An odd name, or none: Keras names the layer."""
        chosen = self.draw(st.sampled_from((None, None, *(FREE_NAMES if self.keras.__version__ >= "3" else NAMES))))
        if chosen is None or chosen in self.used:
            return {}
        self.used.add(chosen)
        return {"name": chosen}

    def pick(self, tensors: list[Any]) -> Any:
        return tensors[self.draw(st.integers(0, len(tensors) - 1))]

    def fixed(self, *shape: int) -> Any:
        seed = self.draw(st.integers(0, 99))
        return self.tf.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))

    def state(self) -> Any:
        """An initial state: of another layer, or values that stand in the file."""
        return self.fixed(ROWS, UNITS) if not self.rows or self.draw(st.booleans()) else self.pick(self.rows)

    def add(self, what: str, sequence: bool, make: Callable[[], Any]) -> None:
        self.script.append(what)
        (self.steps if sequence else self.rows).append(make())


def recurrent(pool: Pool) -> None:
    kind = pool.draw(st.sampled_from(("LSTM", "GRU", "SimpleRNN", "cell", "cells")))
    layers = pool.layers
    options: dict[str, Any] = {name: pool.draw(st.booleans()) for name in ("return_sequences", "go_backwards", "return_state")}
    activation = pool.draw(st.sampled_from(ACTIVATIONS))
    states = {"LSTM": 2, "cells": 3}.get(kind, 1)
    start, mode = pool.draw(st.booleans()), pool.draw(st.sampled_from(("one way", "one way", "concat", "sum", "mul", "ave")))
    if kind == "cells":
        layer = layers.RNN([layers.LSTMCell(UNITS), layers.GRUCell(UNITS, activation=activation)], **options, **pool.name(kind))
    elif kind == "cell":
        layer = layers.RNN(layers.SimpleRNNCell(UNITS, activation=activation), **options, **pool.name(kind))
    else:
        layer = getattr(layers, kind)(UNITS, activation=activation, **options, **pool.name(kind))
    x = pool.pick(pool.steps)
    if mode != "one way" and kind in ("LSTM", "GRU", "SimpleRNN"):
        options["return_state"] = False
        layer = layers.Bidirectional(
            getattr(layers, kind)(UNITS, activation=activation, return_sequences=options["return_sequences"]),
            merge_mode=mode,
            **pool.name(kind),
        )
        states *= 2
    given = [pool.state() for _ in range(states)] if start else None
    if kind == "cells" and given:
        given = [given[:2], given[2]]
    mixed = given is not None and len({hasattr(state, "numpy") for state in pool.tf.nest.flatten(given)}) > 1
    if mixed and pool.keras.__version__ < "3":  # Keras 2 takes states of one kind
        given = pool.tf.nest.map_structure(lambda state: pool.fixed(ROWS, UNITS), given)
    if given is not None and states == 1:
        given = given[0]
    words = {} if given is None else {"initial_state": given}
    pool.script.append(f"{kind} {mode} {options} {activation} start={start}")
    found = layer(x, **words)
    found = list(found) if isinstance(found, (list, tuple)) else [found]
    if mode == "concat" and kind in ("LSTM", "GRU", "SimpleRNN"):
        found[0] = layers.Dense(UNITS)(found[0])
    (pool.steps if options["return_sequences"] else pool.rows).append(found[0])
    pool.rows.extend(found[1:])


def merge(pool: Pool) -> None:
    kind = pool.draw(st.sampled_from(("Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract", "Concatenate")))
    sequence = pool.draw(st.booleans()) or not pool.rows
    tensors = pool.steps if sequence else pool.rows
    given = [pool.pick(tensors), pool.pick(tensors)]
    if kind == "Add" and not sequence and pool.draw(st.booleans()):
        given.append(pool.fixed(ROWS, UNITS))
    layer = getattr(pool.layers, kind)(**pool.name(kind))

    def make() -> Any:
        out = layer(given)
        return pool.layers.Dense(UNITS, **pool.name("Dense"))(out) if kind == "Concatenate" else out

    pool.add(f"{kind} of {len(given)}", sequence, make)


def along_time(pool: Pool) -> None:
    """Two sequences one after the other, where their lengths are known or not."""
    one, other = pool.pick(pool.steps), pool.pick(pool.steps)
    pool.add("Concatenate(axis=1)", True, lambda: pool.layers.Concatenate(axis=1, **pool.name("c"))([one, other]))


def one_to_one(pool: Pool) -> None:
    layers, name = pool.layers, pool.name
    kinds: dict[str, Callable[[], Any]] = {
        "Dense": lambda: layers.Dense(UNITS, activation=pool.draw(st.sampled_from(ACTIVATIONS)), **name("d")),
        "Activation": lambda: layers.Activation(pool.draw(st.sampled_from(ACTIVATIONS)), **name("a")),
        "Dropout": lambda: layers.Dropout(0.5, **name("o")),
        "LayerNormalization": lambda: layers.LayerNormalization(**name("n")),
        "BatchNormalization": lambda: layers.BatchNormalization(**name("b")),
        "Masking": lambda: layers.Masking(0.0, **name("m")),
        "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(UNITS), **name("t")),
        "TimeDistributed of a model": lambda: each_step(pool, name),
        "Bidirectional": lambda: layers.Bidirectional(
            layers.RNN([layers.LSTMCell(UNITS), layers.GRUCell(UNITS)], return_sequences=True), merge_mode="ave", **name("2")
        ),
        "Conv1D": lambda: layers.Conv1D(UNITS, 2, padding=pool.draw(st.sampled_from(("same", "causal"))), **name("v")),
        "UpSampling1D": lambda: layers.UpSampling1D(2, **name("u")),
        "MaxPooling1D": lambda: layers.MaxPooling1D(2, padding="same", **name("p")),
    }
    kind = pool.draw(st.sampled_from(tuple(kinds)))
    x = pool.pick(pool.steps)
    pool.add(kind, True, lambda: kinds[kind]()(x))


def each_step(pool: Pool, name: Callable[[str], dict[str, Any]]) -> Any:
    """A model of a short masked sequence for each timestep."""
    layers = pool.layers
    start = pool.keras.Input((UNITS,))
    columns = layers.Masking()(layers.Reshape((UNITS, 1))(layers.Activation("relu")(start)))
    sequence = layers.LSTM(UNITS, return_sequences=True)(columns)
    last = layers.GRU(UNITS)(layers.Concatenate()([sequence, layers.Maximum()([sequence, columns])]))
    return layers.TimeDistributed(pool.keras.Model(start, last), **name("s"))


def to_rows(pool: Pool) -> None:
    kind = pool.draw(st.sampled_from(("GlobalMaxPooling1D", "GlobalAveragePooling1D")))
    x = pool.pick(pool.steps)
    pool.add(kind, False, lambda: getattr(pool.layers, kind)(**pool.name("g"))(x))


def to_steps(pool: Pool) -> None:
    if pool.rows:
        times, x = pool.draw(st.integers(1, 5)), pool.pick(pool.rows)
        pool.add(f"RepeatVector({times})", True, lambda: pool.layers.RepeatVector(times, **pool.name("r"))(x))


def nested(pool: Pool) -> None:
    """A model in the model, called once or twice."""
    x = pool.pick(pool.steps)

    def make() -> Any:
        start = pool.keras.Input((None, UNITS))
        inner = pool.keras.Model(start, pool.layers.GRU(UNITS, return_sequences=True)(pool.layers.Masking()(start)), **pool.name("z"))
        out = inner(x)
        return inner(out) if pool.draw(st.booleans()) else out

    pool.add("nested", True, make)


def masked(pool: Pool) -> None:
    """A mask whose values stand in the file."""
    x = pool.pick(pool.steps)
    length = x.shape[1]
    if length is not None:
        values = pool.draw(st.lists(st.booleans(), min_size=ROWS * length, max_size=ROWS * length))
        mask = pool.tf.constant(np.array(values).reshape(ROWS, length))
        pool.add("LSTM(mask=...)", True, lambda: pool.layers.LSTM(UNITS, return_sequences=True, **pool.name("k"))(x, mask=mask))


GROWTH = (recurrent, recurrent, recurrent, merge, merge, one_to_one, one_to_one, to_rows, to_steps, nested, masked, along_time)


@pytest.fixture(scope="module")
def tried(keras: ModuleType, figure: Callable[[str, str], None]) -> Any:
    """The outcomes of the examples; noted among the figures."""
    found = Tried()
    yield found
    figure(f"random graphs, {keras.__name__} {keras.__version__}", str(found))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FASTLSTM_EXAMPLES" not in os.environ,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_random_graphs(keras: ModuleType, tried: Tried, data: st.DataObject) -> None:
    import tensorflow as tf

    lengths = data.draw(st.sampled_from(((5, 5), (5, 3), (None, None), (None, 5))))
    given_lengths = [length or data.draw(st.integers(1, 6)) for length in lengths]
    if data.draw(st.booleans()):
        given_lengths = [given_lengths[0] if length is None else length for length in lengths]
    layers = keras.layers
    x = keras.Input((lengths[0], UNITS), batch_size=ROWS)
    ids = keras.Input((lengths[1],), batch_size=ROWS, dtype="int32")
    pool = Pool(data.draw, layers, tf, keras)
    pool.steps += [x, layers.Embedding(VOCABULARY, UNITS, mask_zero=data.draw(st.booleans()))(ids)]
    if data.draw(st.booleans()):
        pool.steps[0] = layers.Masking()(x)
    with tempfile.TemporaryDirectory() as folder:
        try:
            for grow in data.draw(st.lists(st.sampled_from(GROWTH), min_size=1, max_size=6)):
                grow(pool)
            made = [*pool.steps[2:], *pool.rows]
            if not made:
                return
            model = keras.Model([x, ids], made[-3:])
            rng = np.random.default_rng(0)
            model.set_weights([(rng.normal(size=w.shape) * 0.4).astype(w.dtype) if w.ndim else w for w in model.get_weights()])
            path = Path(folder) / ("m.keras" if keras.__version__ >= "3" else "m.h5")
            model.save(path)
        except (ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError, tf.errors.OpError):
            tried.counts["not built by Keras"] += 1
            return
        given_x = rng.normal(size=(ROWS, given_lengths[0], UNITS)).astype(np.float32)
        given_x[rng.random(given_x.shape[:2]) < 0.3] = 0
        given_ids = rng.integers(0, VOCABULARY, (ROWS, given_lengths[1])).astype(np.int32)
        try:
            theirs = [np.asarray(y) for y in golden.flat(model([tf.constant(given_x), tf.constant(given_ids)], training=False))]
        except (ValueError, tf.errors.OpError):
            theirs = None
        compare(path, [given_x, given_ids], theirs, tried, pool.script)
