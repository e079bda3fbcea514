"""Activations: canonical forms, and NumPy meaning against formulas written a second time here."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastlstm import activations as A

X = np.concatenate([np.linspace(-9, 9, 401), [0.0, -0.0, 1e-6, -1e-6, 60.0, -60.0, 700.0, -700.0]])


def each(f):
    return np.array([f(float(v)) for v in X])


def softplus(v):
    return max(v, 0.0) + math.log1p(math.exp(-abs(v)))


def sigmoid(v):
    return 1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v))


TRUTH = {
    "linear": lambda v: v,
    "tanh": math.tanh,
    "sigmoid": sigmoid,
    "relu": lambda v: max(v, 0.0),
    "relu6": lambda v: min(max(v, 0.0), 6.0),
    "leaky_relu": lambda v: v if v > 0 else 0.2 * v,
    "hard_sigmoid": lambda v: min(max(0.2 * v + 0.5, 0.0), 1.0),
    "hard_sigmoid_keras3": lambda v: min(max(v + 3, 0.0), 6.0) / 6,
    "hard_silu": lambda v: v * min(max(v + 3, 0.0), 6.0) / 6,
    "hard_tanh": lambda v: min(max(v, -1.0), 1.0),
    "elu": lambda v: v if v > 0 else math.expm1(v),
    "celu": lambda v: v if v > 0 else math.expm1(v),
    "selu": lambda v: 1.0507009873554805 * (v if v > 0 else 1.6732632423543772 * math.expm1(v)),
    "softplus": softplus,
    "softsign": lambda v: v / (1 + abs(v)),
    "exponential": math.exp,
    "silu": lambda v: v * sigmoid(v),
    "gelu": lambda v: 0.5 * v * (1 + math.erf(v / math.sqrt(2))),
    "gelu_tanh": lambda v: 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
    "mish": lambda v: v * math.tanh(softplus(v)),
    "log_sigmoid": lambda v: -softplus(-v),
    "tanh_shrink": lambda v: v - math.tanh(v),
    "soft_shrink": lambda v: v - 0.5 if v > 0.5 else v + 0.5 if v < -0.5 else 0.0,
    "hard_shrink": lambda v: v if abs(v) > 0.5 else 0.0,
    "squareplus": lambda v: (v + math.sqrt(v * v + 4)) / 2,
    "sparse_plus": lambda v: 0.0 if v <= -1 else v if v >= 1 else 0.25 * (v + 1) ** 2,
    "sparse_sigmoid": lambda v: 0.0 if v <= -1 else 1.0 if v >= 1 else 0.5 * (v + 1),
    "thresholded_relu": lambda v: v if v > 1 else 0.0,
}


@pytest.mark.parametrize("name", sorted(TRUTH))
def test_elementwise(name):
    expected = each(TRUTH[name])
    np.testing.assert_allclose(A.function(name)(X), expected, rtol=1e-14, atol=1e-15)
    single = X[np.abs(X) < 80].astype(np.float32)
    found = A.function(name)(single)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[np.abs(X) < 80], rtol=2e-5, atol=2e-6)
    assert A.output_features(name, 8) == 8


def is_activation(name):
    try:
        A.function(name)
    except ValueError:
        return False
    return True


def test_every_function_is_tested():
    functions = {name for name in vars(A) if is_activation(name)}
    assert set(TRUTH) | {"softmax", "log_softmax", "sparsemax", "glu"} == functions
    assert set(A.NATIVE) <= functions


def test_along_features():
    x = np.random.default_rng(0).normal(size=(5, 4, 6))
    e = np.exp(x)
    soft = e / e.sum(-1, keepdims=True)
    np.testing.assert_allclose(A.function("softmax")(x), soft, rtol=1e-13)
    np.testing.assert_allclose(A.function({"name": "softmax", "axis": 1})(x), e / e.sum(1, keepdims=True), rtol=1e-13)
    np.testing.assert_allclose(A.function("log_softmax")(x), np.log(soft), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(A.function("glu")(x), x[..., :3] / (1 + np.exp(-x[..., 3:])), rtol=1e-13)
    assert A.output_features("glu", 6) == 3
    # support of (0.9, 0.6, 0.4): all three with cumulative sums 0.9, 1.5, 1.9, so Keras's threshold is (4.3 - 1) / 3
    three = A.function("sparsemax")(np.array([[0.4, 0.9, 0.6], [3.0, 0.0, 1.0]]))
    np.testing.assert_allclose(three, [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(TRUTH) - {"soft_shrink", "hard_shrink", "sparse_plus"}))
def test_nan_stays_nan(name):
    assert np.isnan(A.function(name)(np.array([np.nan, 1.0])))[0]


@pytest.mark.parametrize(
    ("value", "keras3", "expected"),
    [
        (None, False, "linear"),
        ("swish", False, "silu"),
        ("hard_swish", True, "hard_silu"),
        ("hard_sigmoid", False, "hard_sigmoid"),
        ("hard_sigmoid", True, "hard_sigmoid_keras3"),
        ("softmax_v2", False, "softmax"),
        ("log_softmax_v2", False, "log_softmax"),
        ("LeakyReLU", False, {"name": "leaky_relu", "negative_slope": 0.3}),
        ({"class_name": "function", "config": "relu"}, False, "relu"),
        ({"module": "builtins", "class_name": "function", "config": "swish", "registered_name": "function"}, True, "silu"),
        ({"class_name": "LeakyReLU", "config": {"name": "l", "alpha": 0.1}}, False, {"name": "leaky_relu", "negative_slope": 0.1}),
        ({"class_name": "LeakyReLU", "config": {"negative_slope": 0.2}}, True, "leaky_relu"),
        ({"class_name": "ReLU", "config": {"max_value": None, "negative_slope": 0.0, "threshold": 0.0}}, True, "relu"),
        (
            {"class_name": "ReLU", "config": {"max_value": 6.0}},
            True,
            {"name": "relu", "max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0},
        ),
        ({"class_name": "ELU", "config": {"alpha": 0.7}}, True, {"name": "elu", "alpha": 0.7}),
        ({"class_name": "Softmax", "config": {"axis": [1, 2]}}, True, {"name": "softmax", "axis": (1, 2)}),
        ({"name": "elu", "alpha": 0.7}, True, {"name": "elu", "alpha": 0.7}),
    ],
)
def test_canonical(value, keras3, expected):
    assert A.canonical(value, keras3) == expected


@pytest.mark.parametrize(
    "value", ["my_activation", {"class_name": "Custom", "config": {"a": 1}}, 3, {"class_name": "PReLU", "config": {"x": 1}}]
)
def test_unknown(value):
    with pytest.raises(ValueError, match="not known"):
        A.canonical(value, False)


def test_relu_of_all_parameters():
    x = np.linspace(-3, 3, 61)
    found = A.function({"name": "relu", "max_value": 0.8, "negative_slope": 0.1, "threshold": 0.2})(x)
    expected = [min(v, 0.8) if v > 0.2 else 0.1 * (v - 0.2) for v in x]
    np.testing.assert_allclose(found, expected, atol=1e-15)
