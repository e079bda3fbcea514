"""Every layer keeps its word on time: stepwise, causal, ignoring padding, as an example of each class computes."""

from __future__ import annotations

import numpy as np
import pytest
from layer_examples import layer_table

from fastlstm.errors import UnsupportedError
from fastlstm.layers import Layer, Network, Tensor, prepared, root
from fastlstm.model import Model
from fastlstm.spec import LayerSpec, ModelSpec, Shape

ROWS = 3
MODELS = ("Sequential", "Functional", "Model")
#: Arguments that change what layers do along time, beside the examples'.
MORE = {
    "LSTM": [{"return_sequences": True}, {"go_backwards": True}, {"return_sequences": True, "go_backwards": True}],
    "Conv1D": [{"padding": "causal"}, {"padding": "causal", "dilation_rate": 2}, {"kernel_size": 1}, {"kernel_size": 1, "strides": 2}],
    "DepthwiseConv1D": [{"padding": "causal"}], "SeparableConv1D": [{"padding": "causal"}],
    "LayerNormalization": [{"axis": 1}, {"axis": [1, 2]}], "BatchNormalization": [{"axis": 1}], "Softmax": [{"axis": 1}],
    "GroupNormalization": [{"groups": 1}, {"groups": 3, "axis": 1}], "Concatenate": [{"axis": 1}], "Masking": [{"mask_value": 0.5}],
    "PReLU": [{"shared_axes": [1]}], "SReLU": [{"shared_axes": [1]}],
    "RMSNormalization": [{"axis": [1, 2]}], "UnitNormalization": [{"axis": 1}],
    "Rescaling": [{"scale": [[0.5]] * 6}, {"scale": [0.5] * 4}],
    "Normalization": [{"axis": None, "mean": 0.5, "variance": 2.0}, {"axis": 1, "mean": [0.5] * 6, "variance": [2.0] * 6}],
}  # fmt: skip

TOOL = layer_table()
#: That every class has an example is a test of its own: see test_package.py.
PLAIN = sorted(kind for kind in TOOL.EXAMPLES if not kind.endswith(("Cell", "Cells")) and kind not in MODELS)
#: Those of which all inputs are sequences.
CASES = [
    (kind, config)
    for kind in PLAIN if all(len(shape) > 1 or TOOL.EXAMPLES[kind].ids for shape in TOOL.EXAMPLES[kind].inputs)
    for config in ({}, *MORE.get(kind, []))
]  # fmt: skip


def model_of(kind: str, config: dict[str, object]) -> ModelSpec:
    """A model of an example's layer."""
    example, layer = TOOL.EXAMPLES[kind], TOOL.layer_of(kind, "layer")
    layer = LayerSpec(kind, "layer", {**layer.config, **config}, children=layer.children)
    return TOOL.with_arrays(TOOL.chain(layer, example.inputs, example.ids), kind)


def made(model: ModelSpec) -> tuple[Layer, list[Shape]]:
    """The layer of an example, and the shapes of its inputs."""
    network = root(model, prepared(model, "example"))
    assert isinstance(network, Network)
    return network.layers[-1], list(network.input_shapes())


def drawn(layer: Layer, shapes: list[Shape], seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    sizes = [(ROWS, *(size or 1 for size in shape[1:])) for shape in shapes]
    if layer.vocabulary is not None:
        return [random.integers(0, layer.vocabulary, size).astype(np.int32) for size in sizes]
    return [random.normal(size=size) for size in sizes]


def outputs(layer: Layer, inputs: list[np.ndarray], mask: np.ndarray | None = None) -> np.ndarray:
    with np.errstate(all="ignore"):
        return layer.apply([Tensor(x, mask) for x in inputs], {}, None)[0].value


@pytest.mark.parametrize(("kind", "config"), CASES, ids=str)
def test_a_layer_keeps_its_word(kind: str, config: dict[str, object]) -> None:
    layer, shapes = made(model_of(kind, config))
    steps = shapes[0][1]
    assert steps is not None
    x, other = drawn(layer, shapes, 0), drawn(layer, shapes, 1)
    y = outputs(layer, x)
    in_time = y.ndim > 1 and y.shape[1] == steps
    for t in range(1, steps):
        later = [np.concatenate([a[:, :t], b[:, t:]], axis=1) for a, b in zip(x, other, strict=True)]
        earlier = [np.concatenate([b[:, :t], a[:, t:]], axis=1) for a, b in zip(x, other, strict=True)]
        if in_time and layer.causal(shapes):
            np.testing.assert_array_equal(outputs(layer, later)[:, :t], y[:, :t])
        if layer.stepwise(shapes):
            assert in_time
            np.testing.assert_allclose(outputs(layer, earlier)[:, t:], y[:, t:], rtol=1e-12)
        if layer.ignores_padding(shapes) and len(shapes) == 1:
            mask = np.broadcast_to(np.arange(steps) < t, (ROWS, steps))
            padded, alone = outputs(layer, later, mask), outputs(layer, [a[:, :t] for a in x])
            np.testing.assert_allclose(padded[:, :t] if in_time else padded, alone, rtol=1e-12)


@pytest.mark.parametrize(("kind", "config"), CASES, ids=str)
def test_streams_give_the_numbers_of_the_whole_sequence(kind: str, config: dict[str, object]) -> None:
    spec = model_of(kind, config)
    model, (layer, shapes) = Model(spec), made(spec)
    if not layer.causal(shapes) or (layer.recurrent and not layer.state_shapes()):
        with pytest.raises(UnsupportedError, match="'layer'"):
            model.stream(ROWS)
        return
    stream, inputs = model.stream(ROWS), drawn(layer, shapes, 2)
    whole = model.predict(inputs)
    found = [stream.step([x[:, t] for x in inputs]) for t in range(inputs[0].shape[1])]
    expected = np.moveaxis(whole, 1, 0) if whole.ndim == np.ndim(found) else whole
    np.testing.assert_allclose(found if whole.ndim == np.ndim(found) else found[-1], expected, rtol=1e-5, atol=1e-6)
