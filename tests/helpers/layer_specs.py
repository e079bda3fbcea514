"""Small layers, and how tests make and call them."""

from __future__ import annotations

import equations
import h5_files
import numpy as np

from fastlstm.layers import Context, Tensor, make_layer
from fastlstm.spec import Call, Generation, LayerSpec, ModelSpec, Ref, Rules

MASK = np.array([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 0]], bool)


def normal(*shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).normal(size=shape)


def recurrent_weights(kind, features, units, bias=True, reset_after=False):
    gates = h5_files.gate_count(kind) * units
    arrays = [normal(features, gates) * 0.5, normal(units, gates, seed=1) * 0.5]
    if bias:
        arrays.append(normal(2, gates, seed=2) * 0.3 if reset_after else normal(gates, seed=2) * 0.3)
    return tuple(array.astype(np.float32) for array in arrays)


def recurrent(kind, units=4, features=3, name="layer", class_name=None, **config):
    bias = config.get("use_bias", True)
    full = {"units": units, "activation": "tanh", **config}
    if kind != "SimpleRNN":
        full.setdefault("recurrent_activation", "sigmoid")
    return LayerSpec(class_name or kind, name, full, recurrent_weights(kind, features, units, bias, config.get("reset_after", False)))


def made(spec, rules=None, **options):
    context = Context("model.h5", rules or Rules(), **options)
    layer = make_layer(spec, context)
    assert context.problems == []
    return layer


def truth(spec, x, mask, states=None, **how):
    kind = spec.class_name.replace("Cell", "")
    config = spec.config
    act = equations.ACTIVATIONS[config["activation"]]
    weights = spec.weights
    if kind == "LSTM":
        rec = equations.ACTIVATIONS[config["recurrent_activation"]]
        step = lambda x_t, s: equations.lstm_step(x_t, s, weights, act, rec)  # noqa: E731
    elif kind == "GRU":
        rec = equations.ACTIVATIONS[config["recurrent_activation"]]
        step = lambda x_t, s: equations.gru_step(x_t, s, weights, act, rec, config.get("reset_after", False))  # noqa: E731
    else:
        step = lambda x_t, s: equations.simple_rnn_step(x_t, s, weights, act)  # noqa: E731
    count = 2 if kind == "LSTM" else 1
    states = [np.zeros((len(x), config["units"]))] * count if states is None else states
    return equations.run(step, x, mask, states, units=config["units"], backwards=config.get("go_backwards", False), **how)


def applied(layer, *inputs, states=None, **keywords):
    return layer.apply([t if isinstance(t, Tensor) else Tensor(t) for t in inputs], keywords, states)


def simple(class_name, config=None, weights=(), **kw):
    return LayerSpec(class_name, "layer", config or {}, tuple(np.asarray(w, np.float32) for w in weights), **kw)


def own(name, class_name="My", **config):
    return LayerSpec(class_name, name, config)


def activated(name, value):
    return LayerSpec("Activation", name, {"activation": value})


def model_of(*layers, shape=(None, 5, 3)):
    """A chain of layers."""
    entry = LayerSpec("InputLayer", "in", {"shape": list(shape), "dtype": "float32"})
    calls = (Call(0), *(Call(number, (Ref(number - 1),)) for number in range(1, len(layers) + 1)))
    return ModelSpec(
        "m", "Sequential", (entry, *layers), calls, (Ref(0),), (Ref(len(layers)),), ("in",), ("out",), Generation("Keras", "", "", "")
    )
