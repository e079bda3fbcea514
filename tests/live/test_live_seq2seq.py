"""Sequence to sequence against a live Keras: a trained model stepped token by token, and its decoder as Keras's own is stepped."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import golden
import numpy as np
import pytest
from sweeping import swept

import fastlstm

VOCABULARY, UNITS, SOURCE, TARGET, ROWS = 12, 8, 6, 7, 5
#: Layers of the encoder and the decoder: cell, depth, both directions, masked source, attention.
KINDS: dict[str, dict[str, Any]] = {
    "LSTM": {},
    "GRU, masked, attention": {"cell": "GRU", "masked": True, "attention": "Attention"},
    "SimpleRNN, additive attention": {"cell": "SimpleRNN", "attention": "AdditiveAttention"},
    "stack, both directions, masked, attention": {"depth": 2, "both": True, "masked": True, "attention": "Attention"},
    "LSTM, heads": {"masked": True, "attention": "MultiHeadAttention"},
    "LSTM, masked target": {"hidden": True},
    "GRU, products": {"cell": "GRU", "both": True, "attention": "Dot"},
}


#: Those that are looked at each time; the others by a sweep.
FEW = ("GRU, masked, attention", "stack, both directions, masked, attention", "LSTM, masked target")


class Trained(NamedTuple):
    """A trained model with the layers of its decoder."""

    model: Any
    decoder: Any  # Keras's: (token, what the encoder gives, states) -> (probabilities, states)
    encoder: Any
    source: np.ndarray
    target: np.ndarray


def states_of(keras: ModuleType, cell: str, both: bool, x: Any) -> tuple[Any, list[Any]]:
    """What an encoder makes of a sequence: a sequence, and states of UNITS each."""
    options = {"return_sequences": True, "return_state": True}
    layer = getattr(keras.layers, cell)
    if not both:
        sequence, *states = layer(UNITS, **options)(x)
        return sequence, states
    sequence, *states = keras.layers.Bidirectional(layer(UNITS // 2, **options))(x)
    half = len(states) // 2
    return sequence, [keras.layers.Concatenate()(list(pair)) for pair in zip(states[:half], states[half:], strict=True)]


def attended(keras: ModuleType, kind: str, layers: dict[str, Any], query: Any, value: Any) -> Any:
    """What a decoder makes of the encoder's sequence, with layers that are made once."""
    L = keras.layers
    if kind == "Dot":
        weights = layers.setdefault("softmax", L.Activation("softmax"))(layers.setdefault("scores", L.Dot(axes=[2, 2]))([query, value]))
        return layers.setdefault("mean", L.Dot(axes=[2, 1]))([weights, value])
    if kind == "MultiHeadAttention":
        return layers.setdefault(kind, L.MultiHeadAttention(2, 4))(query, value)
    return layers.setdefault(kind, getattr(L, kind)())([query, value])


def decoded(keras: ModuleType, layers: dict[str, Any], tokens: Any, sequence: Any, states: list[Any], options: dict[str, Any]) -> Any:
    """The decoder's layers, made once, on tokens; returns probabilities and final states."""
    L, cell, attention = keras.layers, options.get("cell", "LSTM"), options.get("attention")
    x, count, final = (
        layers.setdefault("words", L.Embedding(VOCABULARY, 5, mask_zero=options.get("hidden", False)))(tokens),
        2 if cell == "LSTM" else 1,
        [],
    )
    for number in range(options.get("depth", 1)):
        make = getattr(L, cell)
        layer = layers.setdefault(f"cell{number}", make(UNITS, return_sequences=True, return_state=True, name=f"decoder_{number}"))
        x, *after = layer(x, initial_state=states[number * count : (number + 1) * count])
        final += after
    if attention:
        both = [x, attended(keras, attention, layers, x, sequence)]
        x = layers.setdefault("joined", L.Concatenate())(both)
    return layers.setdefault("head", L.Dense(VOCABULARY, activation="softmax", name="head"))(x), final


def trained(keras: ModuleType, options: dict[str, Any]) -> Trained:
    keras.utils.set_random_seed(1)
    L, cell = keras.layers, options.get("cell", "LSTM")
    source, target = keras.Input((None,), name="source"), keras.Input((None,), name="target")
    x = L.Embedding(VOCABULARY, 5, mask_zero=options.get("masked", False))(source)
    sequence, states = states_of(keras, cell, options.get("both", False), x)
    layers: dict[str, Any] = {}
    first = states * options.get("depth", 1)
    output, _ = decoded(keras, layers, target, sequence, first, options)
    model = keras.Model([source, target], output)
    rng = np.random.default_rng(2)
    given = rng.integers(1, VOCABULARY, (64, SOURCE))
    given[::2, 4:] = 0
    wanted = rng.integers(1, VOCABULARY, (64, TARGET))
    if options.get("hidden"):
        wanted[::2, :2], wanted[1::4, 3:5] = 0, 0
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    model.fit([given, wanted], np.roll(wanted, -1, 1), epochs=4, verbose=0)
    encoder = keras.Model(source, [sequence, *first])
    token, held = keras.Input((None,), name="token"), keras.Input(tuple(sequence.shape[1:]), name="held")
    inputs = [keras.Input((UNITS,), name=f"state_{number}") for number in range(len(first))]
    output, after = decoded(keras, layers, token, held, inputs, options)
    read = [held] if options.get("attention") else []
    return Trained(model, keras.Model([token, *read, *inputs], [output, *after]), encoder, given[:ROWS], wanted[:ROWS])


def saved(keras: ModuleType, model: Any, path: Path) -> Path:
    path = path.with_suffix(".keras" if keras.__version__ > "3" else ".h5")
    model.save(path)
    return path


@pytest.fixture(scope="module", params=swept(KINDS, FEW.__contains__))
def kind(request: pytest.FixtureRequest) -> dict[str, Any]:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def example(keras: ModuleType, kind: dict[str, Any]) -> Trained:
    return trained(keras, kind)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_whole_model_is_stepped(keras: ModuleType, example: Trained, tmp_path: Path, precision: str) -> None:
    """The training graph, with what the encoder reads held: each token gives what Keras gives for the whole sequence."""
    expected = example.model.predict([example.source, example.target], verbose=0)
    model = fastlstm.load(saved(keras, example.model, tmp_path / "model"), precision=precision)
    stream = model.stream(ROWS, initial={"source": example.source})
    found = np.stack([stream.step(example.target[:, t]) for t in range(TARGET)], axis=1)
    golden.assert_equal(found, expected)
    stream.reset()
    golden.assert_equal(stream.feed(example.target), expected)
    stream.reset([1, 3])
    golden.assert_equal(stream.step(example.target[[1, 3], 0], rows=[1, 3]), expected[[1, 3], 0])
    advice = rf"stream\(batch_size, initial={{'{'source'}': \.\.\.}}\)"
    with pytest.raises(fastlstm.UnsupportedError, match=advice):
        model.stream()


def test_a_decoder_is_stepped_as_kerass_own(keras: ModuleType, kind: dict[str, Any], example: Trained, tmp_path: Path) -> None:
    """Greedy: each token is the best of those before; Keras's decoder is given its own states again and again."""
    sequence, *states = example.encoder.predict(example.source, verbose=0)
    held = {"held": sequence} if kind.get("attention") else {}
    model = fastlstm.load(saved(keras, example.decoder, tmp_path / "decoder"))
    stream = model.stream(ROWS, initial={**held, **{f"state_{n}": state for n, state in enumerate(states)}})
    token = mine = np.ones((ROWS, 1), np.int64)
    for _ in range(TARGET):
        expected, *states = example.decoder.predict([token, *held.values(), *states], verbose=0)
        found, *after = stream.step(mine[:, 0])
        golden.assert_equal(found, expected[:, 0])
        for state, wanted in zip(after, states, strict=True):
            golden.assert_equal(state, wanted)
        # Never 0: Keras masks it, and as each token is a sequence of its own there, what it emits then is not what came before.
        token, mine = expected[..., 1:].argmax(-1) + 1, found[:, 1:].argmax(-1)[:, np.newaxis] + 1
        np.testing.assert_array_equal(mine, token)
