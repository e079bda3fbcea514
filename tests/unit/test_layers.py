"""The meaning of recurrent layers, wrappers and the layers of every model: the slow truth, masks and states by rule, refusals."""

from __future__ import annotations

import re
from dataclasses import replace

import equations
import numpy as np
import pytest
from layer_specs import MASK, applied, made, normal, recurrent, simple, truth

from fastlstm.errors import FormatError, InputError, UnsupportedError
from fastlstm.layers import REGISTRY, Context, Layer, Tensor, make_layer
from fastlstm.spec import LayerSpec, Rules

VARIANTS = [
    ("LSTM", {}),
    ("LSTM", {"activation": "relu", "recurrent_activation": "hard_sigmoid"}),
    ("LSTM", {"recurrent_activation": "hard_sigmoid_keras3", "use_bias": False}),
    ("GRU", {"reset_after": True}),
    ("GRU", {"reset_after": False}),
    ("GRU", {"reset_after": True, "use_bias": False, "activation": "relu"}),
    ("GRU", {"reset_after": False, "use_bias": False, "recurrent_activation": "hard_sigmoid"}),
    ("SimpleRNN", {}),
    ("SimpleRNN", {"use_bias": False, "activation": "relu"}),
]


@pytest.mark.parametrize(("kind", "config"), VARIANTS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_recurrent_is_the_slow_truth(kind, config, masked, backwards):
    x = normal(6, 5, 3, seed=5)
    mask = MASK if masked else None
    spec = recurrent(kind, **config, go_backwards=backwards, return_sequences=True, return_state=True)
    outputs, last, final = truth(spec, x, mask)
    found = applied(made(spec), Tensor(x, mask))
    np.testing.assert_allclose(found[0].value, outputs, rtol=1e-12, atol=1e-13)
    assert found[0].mask is mask
    for state, expected in zip(found[1:], final, strict=True):
        np.testing.assert_allclose(state.value, expected, rtol=1e-12, atol=1e-13)
        assert state.mask is None
    one = replace(spec, config={**spec.config, "return_sequences": False, "return_state": False})
    (found_last,) = applied(made(one), Tensor(x, mask))
    np.testing.assert_allclose(found_last.value, last, rtol=1e-12, atol=1e-13)
    assert found_last.mask is None
    single = applied(made(one), Tensor(x.astype(np.float32), mask))[0].value
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, last, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("fill", ["repeat", "zeros"])
@pytest.mark.parametrize("head", ["zeros", "state"])
def test_masked_outputs_with_a_state(kind, fill, head):
    x = normal(6, 5, 3, seed=5)
    start = [normal(6, 4, seed=7 + n) for n in range(2 if kind == "LSTM" else 1)]
    spec = recurrent(kind, return_sequences=True, zero_output_for_mask=fill == "zeros")
    layer = made(spec, Rules(head_output=head))
    outputs, _, _ = truth(spec, x, MASK, start, fill=fill, head=head)
    (found,) = applied(layer, Tensor(x, MASK), initial_state=tuple(Tensor(s) for s in start))
    np.testing.assert_allclose(found.value, outputs, rtol=1e-12, atol=1e-13)
    # The same from the caller's states, which it leaves where they end.
    states = {"layer": tuple(start)}
    stateful = replace(spec, config={**spec.config, "stateful": True})
    (carried,) = applied(made(stateful, Rules(head_output=head)), Tensor(x, MASK), states=states)
    np.testing.assert_array_equal(carried.value, found.value)
    _, _, final = truth(spec, x, MASK, start)
    for state, expected in zip(states["layer"], final, strict=True):
        np.testing.assert_allclose(state, expected, rtol=1e-12, atol=1e-13)


def test_an_unrolled_loop_repeats_outputs_and_not_states():
    x, start = normal(6, 5, 3), normal(6, 4)
    spec = recurrent("SimpleRNN", return_sequences=True, unroll=True)
    (found,) = applied(made(spec, Rules(head_output="state")), Tensor(x, MASK), initial_state=(Tensor(start),))
    np.testing.assert_allclose(found.value, truth(spec, x, MASK, [start])[0], rtol=1e-12, atol=1e-13)


def test_mask_beside_an_initial_state():
    x, start = normal(6, 5, 3), (Tensor(normal(6, 4)),)
    spec = recurrent("GRU", return_sequences=True)
    (ignored,) = applied(made(spec, Rules(mask_with_initial_state=False)), Tensor(x, MASK), initial_state=start)
    (plain,) = applied(made(spec), x, initial_state=start)
    np.testing.assert_array_equal(ignored.value, plain.value)
    assert ignored.mask is MASK  # handed on all the same


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([(None, 4)], "initial_state has 1 tensors, expected 2"),
        ([(None, 4)] * 3, "initial_state has 3 tensors, expected 2"),
        ([(None, 4), (None, 5)], r"initial_state has a tensor of shape (None, 5), expected (None, 4)"),
        ([(None, 4), (2, 1, 4)], r"initial_state has a tensor of shape (2, 1, 4), expected (None, 4)"),
    ],
)
def test_initial_states_that_do_not_fit(states, expected):
    single, both = made(recurrent("LSTM")), made(LayerSpec("Bidirectional", "both", {}, (), (recurrent("LSTM"), recurrent("LSTM"))))
    with pytest.raises(FormatError, match=re.escape(expected)):
        single.shapes([(None, 3, 3)], {"initial_state": tuple(states)})
    with pytest.raises(FormatError, match=re.escape(expected) if len(states) != 3 else "initial_state has 3 tensors"):
        both.shapes([(None, 3, 3)], {"initial_state": tuple(states if len(states) == 3 else states * 2)})
    single.shapes([(None, 3, 3)], {"initial_state": ((None, 4), (2, 4))})


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN"])
def test_rnn_of_a_cell_is_the_layer(kind):
    spec = recurrent(kind, return_sequences=True, return_state=True)
    cell = recurrent(kind, class_name=kind + "Cell", name="cell")
    rnn = LayerSpec("RNN", "rnn", {"return_sequences": True, "return_state": True}, children=(cell,))
    x = normal(6, 5, 3)
    for one, other in zip(applied(made(spec), Tensor(x, MASK)), applied(made(rnn), Tensor(x, MASK)), strict=True):
        np.testing.assert_array_equal(one.value, other.value)


def stacked(order=None, **config):
    cells = (
        recurrent("LSTM", 4, 3, "a", "LSTMCell"),
        recurrent("GRU", 4, 4, "b", "GRUCell"),
    )
    extra = {} if order is None else {"reverse_state_order": order}
    return LayerSpec("RNN", "rnn", config, children=(LayerSpec("StackedRNNCells", "cells", extra, children=cells),))


def test_stacked_cells_are_stacked_layers():
    x = normal(6, 5, 3)
    first = recurrent("LSTM", 4, 3, return_sequences=True, return_state=True)
    second = recurrent("GRU", 4, 4, return_sequences=True, return_state=True)
    a, h, c = applied(made(first), x)
    b, g = applied(made(second), a.value)
    found = applied(made(stacked(return_sequences=True, return_state=True)), x)
    for one, other in zip(found, (b, h, c, g), strict=True):
        np.testing.assert_allclose(one.value, other.value, rtol=1e-13)
    reversed_order = applied(made(stacked(return_sequences=True, return_state=True), Rules(stacked_state_order="reversed")), x)
    for one, other in zip(reversed_order, (b, g, h, c), strict=True):
        np.testing.assert_allclose(one.value, other.value, rtol=1e-13)
    by_argument = applied(made(stacked(True, return_state=True)), x)
    np.testing.assert_allclose(by_argument[1].value, g.value, rtol=1e-13)


@pytest.mark.parametrize("head", ["zeros", "state"])
@pytest.mark.parametrize("order", ["forward", "reversed"])
def test_masked_steps_of_stacked_cells(head, order):
    x = normal(6, 5, 3)
    starts = {"h": normal(6, 4), "c": normal(6, 4, seed=3), "g": normal(6, 4, seed=4)}
    names = "hcg" if order == "forward" else "ghc"
    given = tuple(Tensor(starts[name]) for name in names)
    rules = Rules(head_output=head, stacked_state_order=order)
    (last,) = applied(made(stacked(return_sequences=True), rules), Tensor(x, MASK), initial_state=given)
    fully_masked = last.value[4]
    np.testing.assert_array_equal(fully_masked, np.broadcast_to(starts["g"][4] if head == "state" else 0, (5, 4)))
    if order == "forward":
        rules = replace(rules, stacked_masked_output="first")
        (first,) = applied(made(stacked(return_sequences=True), rules), Tensor(x, MASK), initial_state=given)
        valid = MASK[:, :, None]
        np.testing.assert_array_equal(np.where(valid, first.value, 0), np.where(valid, last.value, 0))
        np.testing.assert_array_equal(first.value[4], np.broadcast_to(starts["h"][4], (5, 4)))


def bidirectional(kind="LSTM", merge_mode="concat", units=4, backward_goes_backwards=True, **config):
    forward = recurrent(kind, units, name="forward", **config)
    backward = recurrent(kind, units, name="backward", **config, go_backwards=backward_goes_backwards)
    backward = replace(backward, weights=tuple(w * np.float32(0.9) for w in backward.weights))
    return LayerSpec("Bidirectional", "both", {"merge_mode": merge_mode}, children=(forward, backward))


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("rule", ["zeros", "repeat"])
def test_bidirectional(merge_mode, sequences, rule):
    x = normal(6, 5, 3)
    spec = bidirectional("GRU", merge_mode, return_sequences=sequences, return_state=True)
    fill = "zeros" if rule == "zeros" and sequences else "repeat"
    forward, backward = (truth(child, x, MASK, fill=fill) for child in spec.children)
    a, b = (forward[0], backward[0][:, ::-1]) if sequences else (forward[1], backward[1])
    merged = {"concat": np.concatenate([a, b], -1), "sum": a + b, "mul": a * b, "ave": (a + b) / 2}
    expected = [a, b] if merge_mode is None else [merged[merge_mode]]
    found = applied(made(spec, Rules(bidirectional_masked_output=rule)), Tensor(x, MASK))
    for tensor, value in zip(found, [*expected, *forward[2], *backward[2]], strict=True):
        np.testing.assert_allclose(tensor.value, value, rtol=1e-12, atol=1e-13)
    for tensor in found[: len(expected)]:
        assert tensor.mask is (MASK if sequences else None)


def test_bidirectional_turns_the_backward_outputs_whatever_its_direction():
    x = normal(2, 5, 3)
    spec = bidirectional("SimpleRNN", None, backward_goes_backwards=False, return_sequences=True)
    _, second = applied(made(spec), x)
    np.testing.assert_allclose(second.value, truth(spec.children[1], x, None)[0][:, ::-1], rtol=1e-12)


def test_bidirectional_splits_initial_states():
    x, states = normal(2, 5, 3), tuple(Tensor(normal(2, 4, seed=n)) for n in range(4))
    spec = bidirectional("LSTM", None)
    one, two = applied(made(spec), x, initial_state=states)
    for found, child, given in ((one, spec.children[0], states[:2]), (two, spec.children[1], states[2:])):
        np.testing.assert_allclose(found.value, truth(child, x, None, [t.value for t in given])[1], rtol=1e-12)
    stateful = bidirectional("LSTM", stateful=True)
    assert [layer.stateful for layer in made(stateful).children] == [True, True]
    assert [layer.stateful for layer in made(stateful, Rules(bidirectional_carries_state=False)).children] == [False, False]
    assert not made(recurrent("LSTM", stateful=True), Rules(carries_state=False)).stateful


def test_time_distributed():
    inner = recurrent("LSTM", name="inner")
    spec = LayerSpec("TimeDistributed", "each", {}, children=(inner,))
    x = normal(2, 3, 5, 3)
    mask = np.random.default_rng(1).random((2, 3, 5)) < 0.6
    (found,) = applied(made(spec), Tensor(x, mask))
    for step in range(3):
        np.testing.assert_allclose(found.value[:, step], truth(inner, x[:, step], mask[:, step])[1], rtol=1e-12, atol=1e-14)
    assert found.mask is mask
    (merged,) = applied(made(spec, Rules(time_distributed_inner_mask=True)), Tensor(x, mask))
    np.testing.assert_array_equal(merged.mask, mask.any(axis=2))


def test_time_distributed_mask_from_inside():
    embedding = LayerSpec("Embedding", "e", {"input_dim": 5, "output_dim": 2, "mask_zero": True}, (normal(5, 2).astype(np.float32),))
    spec = LayerSpec("TimeDistributed", "each", {}, children=(embedding,))
    ids = np.array([[[1, 0, 3], [0, 0, 2]]])
    (found,) = applied(made(spec, Rules(time_distributed_inner_mask=True)), ids)
    np.testing.assert_array_equal(found.mask, ids != 0)
    assert applied(made(spec), ids)[0].mask is None
    assert made(spec).vocabulary == 5


def test_dense_of_any_rank():
    kernel, bias = normal(3, 4).astype(np.float32), normal(4).astype(np.float32)
    x = normal(2, 5, 3)
    mask = MASK[:2]
    spec = simple("Dense", {"units": 4, "activation": "tanh"}, (kernel, bias))
    (found,) = applied(made(spec), Tensor(x, mask))
    np.testing.assert_allclose(found.value, equations.dense(x, kernel, bias, equations.ACTIVATIONS["tanh"]), rtol=1e-13)
    assert found.mask is mask


def test_embedding():
    table = normal(6, 2).astype(np.float32)
    spec = simple("Embedding", {"input_dim": 6, "output_dim": 2, "mask_zero": True}, (table,))
    (found,) = applied(made(spec), np.array([[1, 0, 5]], np.int32))
    assert found.value.dtype == np.float32
    np.testing.assert_array_equal(found.value[0], table[[1, 0, 5]])
    np.testing.assert_array_equal(found.mask, [[True, False, True]])
    (floats,) = applied(made(spec), np.array([[1.9, 0.5, -0.5]]))
    assert floats.value.dtype == np.float64
    np.testing.assert_array_equal(floats.value[0], table[[1, 0, 0]])
    for bad in ([[6]], [[-1]], [[np.nan]]):
        with pytest.raises(InputError, match=r"expected ids from 0 to 5"):
            applied(made(spec), np.array(bad))


def test_masking():
    x = np.array([[[0.1, 0.1], [0.1, 0.2], [np.nan, 0.1], [0.1, 0.1]]], np.float32)
    spec = simple("Masking", {"mask_value": 0.1})
    for dtype in (np.float32, np.float64):
        (found,) = applied(made(spec), x.astype(dtype))
        np.testing.assert_array_equal(found.mask, [[False, True, True, False]])
        np.testing.assert_array_equal(found.value, np.where(found.mask[..., None], x.astype(dtype), 0))
    # Without steps too: inside TimeDistributed the rows are steps, and Multiply of Keras 3 looks at such masks.
    np.testing.assert_array_equal(applied(made(spec), x[:, 0])[0].mask, [False])
    wrapped = {"class_name": "__numpy__", "config": {"value": -1.0, "dtype": "float32"}}
    assert made(simple("Masking", {"mask_value": wrapped})).mask_value == -1


def test_arrays_are_checked():
    spec = recurrent("LSTM")
    with pytest.raises(FormatError, match=r"layer 'layer' \(LSTM\): kernel has shape \(3, 16\), expected \(7, 16\)"):
        made(spec).shapes([(None, None, 7)], {})
    with pytest.raises(FormatError, match=r"expected 3 arrays \(kernel, recurrent_kernel, bias\), found 2"):
        made(replace(spec, weights=spec.weights[:2])).shapes([(None, None, 3)], {})
    with pytest.raises(FormatError, match="features of its input is not known"):
        made(spec).shapes([(None, None, None)], {})
    with pytest.raises(FormatError, match=r"reads \(batch, timesteps, features\)"):
        made(spec).shapes([(None, 3)], {})


def problems(spec, **options):
    context = Context("model.h5", Rules(), **options)
    make_layer(spec, context)
    return [str(problem) for problem in context.problems]


def test_refusals():
    (text,) = problems(recurrent("LSTM", time_major=True, stateful=True))
    assert "it is stateful with time_major=True" in text
    convolutional = {"filters": 2, "kernel_size": 1, "activation": "tanh", "recurrent_activation": "sigmoid", "time_major": True}
    assert problems(simple("ConvLSTM1D", convolutional)) == ["layer 'layer' (ConvLSTM1D): argument time_major=True is not computed"]
    assert "argument shiny=1 is not known" in problems(recurrent("LSTM", shiny=1))[0]
    (text,) = problems(recurrent("LSTM", activation="wobble"))
    assert "activation 'wobble' is not known; supply it as a function of a NumPy array, in Python: fastlstm.load(" in text
    assert "never executed" in problems(simple("Lambda"))[0]
    assert "layers of class Mystery are not known" in problems(simple("Mystery"))[0]
    cell = LayerSpec("MyCell", "cell", {})
    (text,) = problems(LayerSpec("RNN", "rnn", {}, children=(cell,)))
    assert text.startswith("layer 'rnn/cell' (MyCell)")
    (text,) = problems(LayerSpec("RNN", "rnn", {}, children=(simple("Flatten"),)))
    assert "its cell is a Flatten" in text
    text = problems(LayerSpec("Bidirectional", "b", {}, children=(simple("Flatten"), simple("Flatten"))))[0]
    assert "it wraps a layer of class Flatten" in text
    stateful = recurrent("LSTM", stateful=True)
    assert "stateful" in problems(LayerSpec("TimeDistributed", "td", {}, children=(stateful,)))[0]
    with pytest.raises(UnsupportedError):
        make_layer(simple("Mystery"), Context("m", Rules())).shapes([(None, 3)], {})


def test_every_layer_names_its_family():
    """Each class or a base of it says what it is; the config keys of a layer are honoured or inert, never both."""
    for name, layer in REGISTRY.items():
        assert any(base.__doc__ for base in layer.__mro__ if base is not Layer and base is not object), name
        assert not layer.HONOURED & layer.INERT, name


@pytest.mark.parametrize("spec", [
    simple("LayerNormalization", {"axis": 0, "scale": False, "center": False}), simple("LayerNormalization", {"axis": [0, 2]}),
    simple("UnitNormalization", {"axis": -3}), simple("Softmax", {"axis": 0}), simple("BatchNormalization", {"axis": 0}),
    simple("RMSNormalization", {"axis": 0}), simple("Normalization", {"axis": 0}), simple("GroupNormalization", {"axis": 0, "groups": 1}),
    simple("Concatenate", {"axis": 0}), simple("Concatenate", {"axis": -3}),
    simple("EinsumDense", {"equation": "abc,cd->bad"}, [normal(3, 4)]),
], ids=lambda spec: f"{spec.class_name} {spec.config}")  # fmt: skip
def test_layers_that_go_across_the_rows_of_a_batch(spec):
    layer = made(spec)
    with pytest.raises(UnsupportedError, match="goes across the rows of a batch"):
        layer.shapes([(None, 5, 3)], {})
    if "axis" in spec.config:
        with pytest.raises(FormatError, match="axis 3 is none of an input of 3 axes"):
            made(simple(spec.class_name, {**spec.config, "axis": 3})).shapes([(None, 5, 3)], {})
