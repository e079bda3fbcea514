"""The meaning of layers that stand beside recurrent ones: merges, convolutions, pooling, normalisation, attention, and their masks."""

from __future__ import annotations

import equations
import numpy as np
import pytest
from layer_specs import MASK, applied, made, normal, recurrent, simple

from fastlstm.errors import FormatError
from fastlstm.layers import Tensor
from fastlstm.spec import Rules


def merge(class_name, *inputs, rules=None, **config):
    (found,) = applied(made(simple(class_name, config), rules), *inputs)
    return found


def test_merges():
    a, b, c = normal(2, 5, 3), normal(2, 5, 3, seed=1), normal(2, 5, 3, seed=2)
    for name, expected in {
        "Add": a + b + c,
        "Multiply": a * b * c,
        "Average": (a + b + c) / 3,
        "Maximum": np.maximum(np.maximum(a, b), c),
        "Minimum": np.minimum(np.minimum(a, b), c),
        "Concatenate": np.concatenate([a, b, c], -1),
    }.items():
        np.testing.assert_allclose(merge(name, a, b, c).value, expected, rtol=1e-14)
    np.testing.assert_array_equal(merge("Subtract", a, b).value, a - b)
    np.testing.assert_array_equal(merge("Concatenate", a, b[:, :2], axis=1).value, np.concatenate([a, b[:, :2]], 1))
    low = normal(2, 3)
    np.testing.assert_array_equal(merge("Multiply", a, low).value, a * low[:, None])
    with pytest.raises(FormatError, match="expected 2 inputs, found 3"):
        made(simple("Subtract")).shapes([(None, 3)] * 3, {})
    with pytest.raises(FormatError, match="do not go together"):
        made(simple("Add")).shapes([(None, 3), (None, 4)], {})
    assert made(simple("Add")).shapes([(None, 4), (None, None, 4)], {}) == ((None, None, 4),)


def test_merged_masks():
    a, b = normal(3, 5, 2), normal(3, 5, 2, seed=1)
    m, n = MASK[1:4], MASK[2:5]
    both = Tensor(a, m), Tensor(b, n)
    for rule, expected in (("and", m & n), ("or", m | n), ("none", None)):
        for name in ("Add", "Concatenate"):
            mask = merge(name, *both, rules=Rules(merge_mask=rule)).mask
            assert (mask is None) if expected is None else np.array_equal(mask, expected)
    assert np.array_equal(merge("Add", both[0], b).mask, m)
    assert merge("Add", both[0], b, rules=Rules(merge_mask="or")).mask is None
    assert np.array_equal(merge("Concatenate", both[0], b).mask, m)
    assert merge("Concatenate", both[0], b, rules=Rules(merge_mask="or")).mask.all()
    assert np.array_equal(merge("Concatenate", *both, axis=1).mask, np.concatenate([m, n], 1))
    product = merge("Multiply", *both, rules=Rules(merge_mask="or")).value
    expected = np.where(m[..., None], a, 1) * np.where(n[..., None], b, 1) * (m | n)[..., None]
    np.testing.assert_allclose(product, expected, rtol=1e-14)
    for name, combine in (("Maximum", np.maximum), ("Minimum", np.minimum)):
        expected = np.where((m & n)[..., None], combine(a, b), np.where((n & ~m)[..., None], b, a))
        np.testing.assert_array_equal(merge(name, *both, rules=Rules(merge_mask="or")).value, expected)
        np.testing.assert_array_equal(merge(name, *both).value, combine(a, b))
        last = merge(name, both[0], b, rules=Rules(merge_mask="or"))
        np.testing.assert_array_equal(last.value, np.where(m[..., None], combine(a, b), b))
        assert last.mask is None


def test_dot():
    a, b = normal(2, 5, 3), normal(2, 3, 4)
    np.testing.assert_allclose(merge("Dot", a, b, axes=[2, 1]).value, a @ b, rtol=1e-13)
    x, y = normal(2, 3), normal(2, 3, seed=1)
    np.testing.assert_allclose(merge("Dot", x, y, axes=-1).value, (x * y).sum(1, keepdims=True), rtol=1e-13)
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    np.testing.assert_allclose(merge("Dot", x, y, axes=1, normalize=True).value[:, 0], cosine, rtol=1e-12)
    old = merge("MergeCosine", x, y, axes=[1, 1])
    np.testing.assert_allclose(old.value, cosine[:, None, None], rtol=1e-12)
    assert made(simple("MergeCosine", {"axes": -1})).shapes([(None, 3), (None, 3)], {}) == ((None, 1, 1),)
    np.testing.assert_allclose(merge("Dot", a, x, axes=[2, 1]).value, np.einsum("btf,bf->bt", a, x), rtol=1e-13)
    with pytest.raises(FormatError, match="do not go together"):
        made(simple("Dot", {"axes": 1})).shapes([(None, 3), (None, 4)], {})


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_conv1d(padding, stride, dilation, size):
    x = normal(2, 7, 4)
    kernel, bias = normal(size, 2, 6).astype(np.float32), normal(6).astype(np.float32)
    config = {
        "filters": 6, "kernel_size": [size], "strides": [stride], "dilation_rate": [dilation], "padding": padding, "groups": 2,
        "activation": "linear",
    }  # fmt: skip
    layer = made(simple("Conv1D", config, (kernel, bias)))
    expected = equations.conv1d(x, kernel, bias, stride, dilation, padding, 2)
    (found,) = applied(layer, Tensor(x, np.ones((2, 7), bool)))
    np.testing.assert_allclose(found.value, expected, rtol=1e-12, atol=1e-13)
    assert found.mask is None
    assert layer.shapes([(None, 7, 4)], {}) == ((None, *expected.shape[1:]),)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_transposed_convolution_is_the_gradient_of_the_convolution(padding, stride, size):
    x = normal(1, 5, 2)
    kernel = normal(size, 3, 2).astype(np.float32)  # (size, filters, channels)
    config = {"filters": 3, "kernel_size": size, "strides": stride, "padding": padding, "use_bias": False}
    layer = made(simple("Conv1DTranspose", config, (kernel,)))
    (found,) = applied(layer, x)
    assert layer.shapes([(None, 5, 2)], {}) == ((None, *found.value.shape[1:]),)
    # <conv(u), x> = <u, transposed(x)> for every u
    u = normal(*found.value.shape, seed=3)
    forwards = equations.conv1d(u, kernel, None, stride, 1, padding)
    np.testing.assert_allclose((forwards[:, :5] * x[:, : forwards.shape[1]]).sum(), (u * found.value).sum(), rtol=1e-10)


def test_separable_and_depthwise():
    x = normal(2, 6, 3)
    depthwise, pointwise, bias = normal(3, 3, 2), normal(1, 6, 4), normal(4)
    full = np.zeros((3, 3, 6))
    for c in range(3):
        for m in range(2):
            full[:, c, c * 2 + m] = depthwise[:, c, m].astype(np.float32)
    each = equations.conv1d(x, full, None)
    (found,) = applied(made(simple("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 2, "use_bias": False}, (depthwise,))), x)
    np.testing.assert_allclose(found.value, each, rtol=1e-12)
    spec = simple("SeparableConv1D", {"filters": 4, "kernel_size": [3], "depth_multiplier": 2}, (depthwise, pointwise, bias))
    (found,) = applied(made(spec), x)
    np.testing.assert_allclose(found.value, each @ pointwise[0].astype(np.float32) + bias.astype(np.float32), rtol=1e-12)


def test_channels_first_is_channels_last_moved():
    x = normal(2, 5, 4, 3)
    kernel, bias = normal(2, 2, 3, 6), normal(6)
    config = {"filters": 6, "kernel_size": [2, 2], "strides": 2, "padding": "same"}
    (last,) = applied(made(simple("Conv2D", config, (kernel, bias))), x)
    first_layer = made(simple("Conv2D", {**config, "data_format": "channels_first"}, (kernel, bias)))
    (first,) = applied(first_layer, np.moveaxis(x, -1, 1))
    np.testing.assert_array_equal(np.moveaxis(first.value, 1, -1), last.value)
    assert first_layer.shapes([(None, 3, 5, 4)], {}) == ((None, 6, 3, 2),)
    (flat,) = applied(made(simple("Flatten", {"data_format": "channels_first"})), np.moveaxis(x, -1, 1))
    np.testing.assert_array_equal(flat.value, x.reshape(2, -1))


def test_pooling():
    x = normal(2, 7, 2)
    (valid,) = applied(made(simple("MaxPooling1D", {"pool_size": [3], "strides": [2]})), x)
    np.testing.assert_array_equal(valid.value, np.stack([x[:, i : i + 3].max(1) for i in (0, 2, 4)], 1))
    (same,) = applied(made(simple("AveragePooling1D", {"pool_size": 2, "padding": "same"})), x)
    np.testing.assert_allclose(same.value[:, -1], x[:, 6], rtol=1e-14)  # padding is not counted
    mask = np.array([[1, 1, 0, 1, 0, 0, 0], [0] * 7], bool)
    (mean,) = applied(made(simple("GlobalAveragePooling1D")), Tensor(x, mask))
    np.testing.assert_allclose(mean.value[0], x[0, [0, 1, 3]].mean(0), rtol=1e-14)
    assert np.isnan(mean.value[1]).all()
    (top,) = applied(made(simple("GlobalMaxPooling1D", {"keepdims": True})), Tensor(x, mask))
    np.testing.assert_array_equal(top.value, x.max(1, keepdims=True))


def test_normalisations():
    x = normal(3, 4, 6)
    gamma, beta, mean, variance = (np.abs(normal(6, seed=n)).astype(np.float32) + 0.1 for n in range(4))
    batch = simple("BatchNormalization", {"axis": [2], "epsilon": 0.01}, (gamma, beta, mean, variance))
    (found,) = applied(made(batch), Tensor(x, MASK[:3, :4]))
    np.testing.assert_allclose(found.value, gamma * (x - mean) / np.sqrt(variance + np.float64(0.01)) + beta, rtol=1e-6)
    assert found.mask is not None
    (found,) = applied(made(simple("LayerNormalization", {"epsilon": 0.01, "center": False}, (gamma,))), x)
    np.testing.assert_allclose(found.value, gamma * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.01), rtol=1e-12)
    (found,) = applied(made(simple("GroupNormalization", {"groups": 2}, (gamma, beta))), x)
    half = x[..., :3]
    expected = (half - half.mean((1, 2), keepdims=True)) / np.sqrt(half.var((1, 2), keepdims=True) + 0.001)
    np.testing.assert_allclose(found.value[..., :3], expected * gamma[:3] + beta[:3], rtol=1e-10)
    (found,) = applied(made(simple("UnitNormalization")), x)
    np.testing.assert_allclose(np.linalg.norm(found.value, axis=-1), 1, rtol=1e-12)
    (found,) = applied(made(simple("RMSNormalization", {"epsilon": 1e-6}, (gamma,))), x)
    np.testing.assert_allclose(found.value, x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * gamma, rtol=1e-12)


def test_reshaping_and_activation_layers():
    x = normal(2, 5, 3)
    for spec, expected in (
        (simple("ZeroPadding1D", {"padding": [1, 2]}), np.pad(x, [(0, 0), (1, 2), (0, 0)])),
        (simple("Cropping1D", {"cropping": [1, 2]}), x[:, 1:3]),
        (simple("UpSampling1D", {"size": 2}), np.repeat(x, 2, 1)),
        (simple("Permute", {"dims": [2, 1]}), x.swapaxes(1, 2)),
        (simple("Reshape", {"target_shape": [3, -1]}), x.reshape(2, 3, 5)),
        (simple("Flatten"), x.reshape(2, 15)),
        (simple("LeakyReLU", {"negative_slope": 0.1}), np.where(x > 0, x, x * 0.1)),
        (simple("ELU", {"alpha": 0.7}), np.where(x > 0, x, 0.7 * np.expm1(x))),
        (simple("ThresholdedReLU", {"theta": 0.5}), np.where(x > 0.5, x, 0)),
        (simple("PReLU", {"shared_axes": [1]}, (np.full((1, 3), 0.25),)), np.where(x > 0, x, x * 0.25)),
        (simple("Softmax", {"axis": 1}), np.exp(x) / np.exp(x).sum(1, keepdims=True)),
        (simple("Rescaling", {"scale": 0.5, "offset": 1.0}), x * 0.5 + 1),
        (simple("Normalization", {"axis": [-1]}, (np.ones(3), np.full(3, 4.0), np.array(7.0))), (x - 1) / 2),
        (simple("Activation", {"activation": "softsign"}), x / (1 + abs(x))),
    ):
        layer = made(spec)
        (found,) = applied(layer, x)
        np.testing.assert_allclose(found.value, expected, rtol=1e-12, atol=1e-15, err_msg=spec.class_name)
        assert layer.shapes([(None, 5, 3)], {}) == ((None, *expected.shape[1:]),), spec.class_name
    (repeated,) = applied(made(simple("RepeatVector", {"n": 3})), x[:, 0])
    np.testing.assert_array_equal(repeated.value, np.repeat(x[:, :1], 3, 1))
    with pytest.raises(FormatError, match="does not fit"):
        made(simple("Reshape", {"target_shape": [4, -1]})).shapes([(None, 5, 3)], {})


@pytest.mark.parametrize(
    ("class_name", "config", "weights", "passes"),
    [
        ("Dropout", {"rate": 0.5}, (), True),
        ("SpatialDropout1D", {"rate": 0.5}, (), True),
        ("GaussianNoise", {"stddev": 0.5}, (), True),
        ("ActivityRegularization", {"l1": 0.5}, (), True),
        ("Activation", {"activation": "tanh"}, (), True),
        ("LeakyReLU", {}, (), True),
        ("Softmax", {}, (), True),
        ("UnitNormalization", {}, (), True),
        ("Flatten", {}, (), False),
        ("Reshape", {"target_shape": [5, 3]}, (), False),
        ("Permute", {"dims": [1, 2]}, (), False),
        ("ZeroPadding1D", {"padding": 1}, (), False),
        ("UpSampling1D", {"size": 2}, (), False),
        ("MaxPooling1D", {"pool_size": 2}, (), False),
        ("Rescaling", {"scale": 2.0}, (), False),
    ],
)
def test_which_layers_pass_masks(class_name, config, weights, passes):
    x = normal(6, 5, 3)
    (found,) = applied(made(simple(class_name, config, weights)), Tensor(x, MASK))
    assert found.mask is (MASK if passes else None)
    if class_name == "Rescaling":
        assert applied(made(simple(class_name, config), Rules(preprocessing_masks=True)), Tensor(x, MASK))[0].mask is MASK


def attention_weights(scores, hidden):
    scores = np.where(hidden, -np.inf, scores)
    with np.errstate(invalid="ignore"):
        e = np.exp(scores - scores.max(-1, keepdims=True))
    return np.nan_to_num(e / e.sum(-1, keepdims=True))


def test_attention():
    q, v = normal(6, 5, 3), normal(6, 5, 3, seed=1)
    (found,) = applied(made(simple("Attention")), Tensor(q, MASK), Tensor(v, MASK))
    expected = attention_weights(q @ v.swapaxes(1, 2), ~MASK[:, None, :]) @ v * MASK[:, :, None]
    np.testing.assert_allclose(found.value, expected, rtol=1e-10, atol=1e-12)
    assert found.mask is MASK
    scale = normal(3).astype(np.float32)
    additive = made(simple("AdditiveAttention", {"use_scale": True}, (scale,)))
    out, scores = applied(additive, q, v, return_attention_scores=True, use_causal_mask=True)
    each = (np.tanh(q[:, :, None] + v[:, None]) * scale).sum(-1)
    expected = attention_weights(each, np.triu(np.ones((5, 5), bool), 1))
    np.testing.assert_allclose(scores.value, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(out.value, expected @ v, rtol=1e-10, atol=1e-12)


def multi_head(heads=2, key_dim=3, value_dim=4, features=5, **config):
    kernels = [(features, heads, key_dim), (features, heads, key_dim), (features, heads, value_dim), (heads, value_dim, features)]
    biases = [(heads, key_dim), (heads, key_dim), (heads, value_dim), (features,)]
    weights = [normal(*shape, seed=n) for n, pair in enumerate(zip(kernels, biases, strict=True)) for shape in pair]
    return simple("MultiHeadAttention", {"num_heads": heads, "key_dim": key_dim, "value_dim": value_dim, **config}, weights)


@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention(masked):
    x = normal(6, 5, 5)
    mask = MASK if masked else None
    spec = multi_head()
    (found,) = applied(made(spec), Tensor(x, mask), Tensor(x, mask))
    wq, bq, wk, bk, wv, bv, wo, bo = (w.astype(np.float64) for w in spec.weights)
    expected = np.broadcast_to(bo, x.shape).copy()
    for head in range(2):
        q, k, v = (x @ w[:, head] + b[head] for w, b in ((wq, bq), (wk, bk), (wv, bv)))
        hidden = np.zeros((6, 5, 5), bool) if mask is None else ~(mask[:, :, None] & mask[:, None, :])
        weights = attention_weights(q @ k.swapaxes(1, 2) / np.sqrt(3), hidden)
        weights[hidden.all(-1)] = 1 / 5
        expected += weights @ v @ wo[head]
    np.testing.assert_allclose(found.value, expected, rtol=1e-10, atol=1e-12)
    assert found.mask is mask
    if masked:
        (blind,) = applied(made(multi_head(dropout=0.1), Rules(blind_attention="zeros")), Tensor(x, mask), Tensor(x, mask))
        np.testing.assert_allclose(blind.value[~mask], np.broadcast_to(bo, blind.value[~mask].shape), rtol=1e-12)
        np.testing.assert_allclose(blind.value[mask], expected[mask], rtol=1e-10, atol=1e-12)
        (deaf,) = applied(made(spec, Rules(attention_masks=False)), Tensor(x, mask), Tensor(x, mask))
        np.testing.assert_array_equal(deaf.value, applied(made(spec), x, x)[0].value)
        assert deaf.mask is None
    assert made(spec).shapes([(None, 5, 5)] * 2, {}) == ((None, 5, 5),)
    assert made(spec).shapes([(None, 4, 5, 5)] * 2, {"return_attention_scores": True}) == ((None, 4, 5, 5), (None, 2, 4, 5, 4, 5))
    with pytest.raises(FormatError, match="over which Keras cannot attend either"):
        made(spec).shapes([(None, 5, 5, 5), (None, 5, 5)], {})


def test_convlstm_of_single_cells_is_lstm():
    """With images of one cell and kernels of size 1 the convolutions are products."""
    lstm = recurrent("LSTM", return_sequences=True, go_backwards=True)
    kernel, rec, bias = lstm.weights
    config = {"filters": 4, "kernel_size": [1, 1], "return_sequences": True, "go_backwards": True, "recurrent_activation": "sigmoid"}
    spec = simple("ConvLSTM2D", config, (kernel[None, None], rec[None, None], bias))
    x = normal(6, 5, 3)
    (expected,) = applied(made(lstm), Tensor(x, MASK))
    (found,) = applied(made(spec), Tensor(x[:, :, None, None], MASK))
    np.testing.assert_allclose(found.value[:, :, 0, 0], expected.value, rtol=1e-12, atol=1e-14)
    assert made(spec).shapes([(None, 5, 1, 1, 3)], {}) == ((None, 5, 1, 1, 4),)


def test_einsum_dense():
    x = normal(2, 5, 3)
    kernel, bias = normal(3, 4, 2).astype(np.float32), normal(4, 1).astype(np.float32)
    for equation in ("abc,cde->abde", "...c,cde->...de"):
        layer = made(simple("EinsumDense", {"equation": equation, "output_shape": [None, 4, 2], "bias_axes": "d"}, (kernel, bias)))
        (found,) = applied(layer, x)
        np.testing.assert_allclose(found.value, np.einsum("btf,fgh->btgh", x, kernel) + bias, rtol=1e-12)
        assert layer.shapes([(None, 5, 3)], {}) == ((None, 5, 4, 2),)
    layer = made(simple("EinsumDense", {"equation": "ab...,bc->ac...", "output_shape": [7]}, (normal(5, 7),)))
    assert layer.shapes([(None, 5, 3)], {}) == ((None, 7, 3),)
    np.testing.assert_allclose(applied(layer, x)[0].value, np.einsum("btf,tc->bcf", x, layer.spec.weights[0]), rtol=1e-12)
    with pytest.raises(FormatError, match="axis 'b' has size 5 in its kernel, 4 in its input"):
        layer.shapes([(None, 4, 3)], {})


def test_dropped_layers():
    x = normal(4, 3)
    w, wc, b, bc = (normal(3, 3), normal(3, 3, seed=1), normal(3), normal(3, seed=1))
    w, wc, b, bc = (array.astype(np.float32).astype(np.float64) for array in (w, wc, b, bc))
    t = 1 / (1 + np.exp(-(x @ wc + bc)))
    (found,) = applied(made(simple("Highway", {"activation": "tanh"}, (w, wc, b, bc))), x)
    np.testing.assert_allclose(found.value, t * np.tanh(x @ w + b) + (1 - t) * x, rtol=1e-12)
    pieces = normal(2, 3, 4).astype(np.float32)
    (found,) = applied(made(simple("MaxoutDense", {"units": 4, "nb_feature": 2, "use_bias": False}, (pieces,))), x)
    np.testing.assert_allclose(found.value, np.maximum(x @ pieces[0], x @ pieces[1]), rtol=1e-12)
    alpha, beta = np.full(3, 0.5), np.full(3, 2.0)
    (found,) = applied(made(simple("ParametricSoftplus", {}, (alpha, beta))), x)
    np.testing.assert_allclose(found.value, 0.5 * np.log1p(np.exp(2 * x)), rtol=1e-12)
    knees = (np.full(3, -0.5), np.full(3, -0.25), np.full(3, -1.0), np.full(3, 2.0))  # the middle piece ends at 0.5
    points = np.array([[-8.5, -2.5, -0.5], [0.0, 0.5, 1.5]])
    (found,) = applied(made(simple("SReLU", {}, knees)), points)
    np.testing.assert_allclose(found.value, [[1.5, 0.0, -0.5], [0.0, 0.5, 2.5]], rtol=1e-12)
    (found,) = applied(made(simple("SReLU", {"clip_left": True}, knees)), points)
    np.testing.assert_allclose(found.value, [[0.5, 0.0, -0.5], [0.0, 0.5, 2.5]], rtol=1e-12)
    steps = normal(2, 6, 3)
    kernel, bias = normal(2, 9, 4).astype(np.float32), normal(2, 4).astype(np.float32)
    layer = made(simple("LocallyConnected1D", {"filters": 4, "kernel_size": [3], "strides": [2]}, (kernel, bias)))
    (found,) = applied(layer, steps)
    expected = np.stack([steps[:, 2 * p : 2 * p + 3].reshape(2, -1) @ kernel[p] + bias[p] for p in range(2)], 1)
    np.testing.assert_allclose(found.value, expected, rtol=1e-12)
    assert layer.shapes([(None, 6, 3)], {}) == ((None, 2, 4),)
