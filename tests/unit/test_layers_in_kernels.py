"""Layers whose kernel calls are written as operations on tensors are: no NumPy in their Programs, and the numbers of ``apply``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from kernel_models import dense, graph, simple
from layer_specs import applied, made, normal, recurrent
from layer_specs import simple as specified
from tensor_calls import Calls

from fastlstm import Model, activations, runtime
from fastlstm.errors import FormatError, UnsupportedError
from fastlstm.layers import interpolation
from fastlstm.program import normalising
from fastlstm.program.normalising import Norm
from fastlstm.spec import LayerSpec, Rules

SHAPE = (None, 5, 3)


def check(layers: Sequence[LayerSpec], calls: Sequence[tuple[int, ...]], shape: tuple[int, ...] = SHAPE[1:]) -> None:
    """No call of NumPy, the numbers of ``apply`` in float64, and a row's bits whatever the others are."""
    spec = graph(layers, calls, (None, *shape))
    model, exact = Model(spec), Model(spec, precision="float64")
    _, program = model.executor.prepared((shape,))
    assert all(instruction.function is None for instruction in program.instructions)
    x = normal(4, *shape).astype(np.float32)
    found = model.predict(x)
    np.testing.assert_allclose(found, exact.predict(x), rtol=2e-5, atol=4e-6)
    x.reshape(4, -1)[:3, -1] = np.nan, np.inf, -np.inf
    odd = model.predict(x)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(odd, exact.predict(x), rtol=2e-5, atol=4e-6)
    np.testing.assert_array_equal(odd[3], found[3])
    np.testing.assert_array_equal(model.predict(x[3:]), odd[3:])


def check_one(kind: str, shape: tuple[int, ...], *weights: tuple[int, ...], **config: object) -> None:
    check([simple(kind, "layer", *weights, **config)], [(0,)], shape)


@pytest.mark.parametrize("axis", [1, 2, [-2]])
def test_softmax_of_any_axis(axis: object) -> None:
    check([simple("Softmax", "s", axis=axis)], [(0,)])


@pytest.mark.parametrize(("axes", "normalize"), [(1, False), (2, True), ([1, 1], True), ([2, 2], False)])
def test_dot(axes: object, normalize: bool) -> None:
    check([dense(3), simple("Dot", "dot", axes=axes, normalize=normalize)], [(0,), (0, 1)])


def test_dot_of_a_sequence_and_one_step() -> None:
    layers = [simple("GlobalMaxPooling1D", "p"), simple("Dot", "dot", axes=[2, 1]), simple("Dot", "back", axes=[1, 1])]
    check(layers, [(0,), (0, 1), (2, 0)])
    check([simple("GlobalMaxPooling1D", "p"), simple("Dot", "dot", axes=1)], [(0,), (1, 1)])


@pytest.mark.parametrize("kind", ["Add", "Multiply", "Maximum", "Minimum", "Average", "Subtract"])
def test_merges_that_broadcast(kind: str) -> None:
    """A weight for each step, and a vector beside a sequence: the axes that are missing come after the batch."""
    check([dense(1), simple(kind, "merge")], [(0,), (0, 1)])
    check([simple("GlobalMaxPooling1D", "p"), simple(kind, "merge")], [(0,), (1, 0)])


AXES = [(-1, (5, 7)), (1, (5, 7)), ([1, 2], (5, 7)), ([2, 3], (4, 5, 6)), ([1, 3], (4, 5, 6)), (2, (4, 5, 6)), (1, (33,)), (-1, (1, 3))]
BOTH = ("channels_last", "channels_first")
ALONG = {1: (9, 5), 2: (6, 7, 5), 3: (3, 4, 5, 6)}


@pytest.mark.parametrize(("axis", "shape"), AXES)
def test_normalisations(axis: int | list[int], shape: tuple[int, ...]) -> None:
    axes = [one % (len(shape) + 1) for one in (axis if isinstance(axis, list) else [axis])]
    each = tuple(shape[one - 1] for one in axes)
    check_one("LayerNormalization", shape, each, each, axis=axis)
    check_one("LayerNormalization", shape, each, axis=axis, center=False)
    check_one("LayerNormalization", shape, axis=axis, center=False, scale=False)
    check_one("UnitNormalization", shape, axis=axis)
    check_one("BatchNormalization", shape, *[each] * 4, axis=axis, epsilon=2.0)
    moments = {"mean": np.linspace(-1, 1, np.prod(each)).reshape(each).tolist(), "variance": np.full(each, 2.0).tolist()}
    check_one("Normalization", shape, axis=axis, **moments)
    check_one("Normalization", shape, axis=axis, invert=True, **moments)


@pytest.mark.parametrize(
    ("axis", "shape", "scale"),
    [
        (-1, (5, 7), (7,)), (1, (7,), (7,)), ([1, 2], (5, 7), (5, 7)), (1, (7, 7), (7,)), ([1, 3], (4, 4, 6), (4, 6)),
        ([1, 3], (1, 4, 6), (1, 6)), ([1, 2], (4, 5, 5), None),
    ],
)  # fmt: skip
def test_root_mean_square(axis: object, shape: tuple[int, ...], scale: tuple[int, ...] | None) -> None:
    """The scale goes along the last axes, whichever were normalised along; what does not fit there is refused, as by Keras."""
    if scale is not None:
        check_one("RMSNormalization", shape, scale, axis=axis)
        return
    with pytest.raises(FormatError, match=r"scale of shape \(4, 5\) does not fit the last axes"):
        check_one("RMSNormalization", shape, (4, 5), axis=axis)


def test_moments_that_are_numbers() -> None:
    for axis in (None, -1):
        check_one("Normalization", (5, 7), axis=axis, mean=0.3, variance=2.0)
    for scale, offset in ((0.5, 1.0), ([0.1] * 7, 0.0), (2.0, [[1.0]] * 5), ([[0.1] * 7] * 5, [0.3] * 7), ([[[0.3]] * 5], 1.0)):
        check_one("Rescaling", (5, 7), scale=scale, offset=offset)


def test_arguments_that_fit_no_input() -> None:
    for scale in ([1.0, 2.0], [[[[1.0]]]]):
        with pytest.raises(FormatError, match="does not broadcast to input of shape"):
            check_one("Rescaling", (5, 7), scale=scale)
    for groups in (0, -2, 3):
        with pytest.raises(FormatError, match="do not divide 8 channels"):
            check_one("GroupNormalization", (5, 8), (8,), (8,), groups=groups)


@pytest.mark.parametrize(
    ("shape", "axis", "groups"),
    [((6, 8), -1, 4), ((6, 8), -1, -1), ((6, 8), 1, 3), ((4, 5, 8), -1, 2), ((8, 4, 5), 1, 4), ((4, 8, 5), 2, 4), ((8,), -1, 2)],
)
def test_group_normalisation(shape: tuple[int, ...], axis: int, groups: int) -> None:
    channels = shape[axis - 1 if axis > 0 else axis]
    check_one("GroupNormalization", shape, (channels,), (channels,), axis=axis, groups=groups)


@pytest.mark.parametrize(
    ("shared", "shape"), [(None, (5, 7)), ([1], (5, 7)), ([2], (5, 7)), ([1, 2], (4, 5, 6)), ([1, 3], (4, 5, 6)), ([2, 3], (4, 5, 6))]
)  # fmt: skip
def test_learned_activations(shared: list[int] | None, shape: tuple[int, ...]) -> None:
    each = tuple(1 if axis in (shared or ()) else size for axis, size in enumerate(shape, 1))
    check_one("PReLU", shape, each, shared_axes=shared)
    check_one("ParametricSoftplus", shape, each, each, shared_axes=shared)
    for clip in (False, True):
        check_one("SReLU", shape, *[each] * 4, shared_axes=shared, clip_left=clip)


def test_one_slope_for_all() -> None:
    check_one("PReLU", (5, 7), (1, 1), shared_axes=[1, 2])


@pytest.mark.parametrize("axis", [[1, 2], [1, 3], [2, 3], [1, 2, 3], 2])
def test_softmax_of_several_axes(axis: object) -> None:
    check_one("Softmax", (4, 5, 6), axis=axis)


@pytest.mark.parametrize("activation", sorted(activations.DEFAULTS.keys() | {"log_softmax", "sparsemax", "glu", "squareplus", "hard_tanh"}))
def test_activations(activation: str) -> None:
    check_one("Activation", (5, 18), activation=activation)
    check_one("Dense", (5, 18), (18, 14), (14,), units=14, activation=activation)


@pytest.mark.parametrize("axes", ALONG)
@pytest.mark.parametrize("data_format", BOTH)
def test_windows_and_copies(axes: int, data_format: str) -> None:
    shape, given = ALONG[axes], {"data_format": data_format}
    for keepdims in (False, True):
        check_one(f"GlobalMaxPooling{axes}D", shape, keepdims=keepdims, **given)
        check_one(f"GlobalAveragePooling{axes}D", shape, keepdims=keepdims, **given)
    for size in (1, 2, 3, 4):
        check_one(f"AdaptiveAveragePooling{axes}D", shape, output_size=size, **given)
    check_one(f"Cropping{axes}D", shape, cropping=[[0, 1], [1, 1], [0, 2]][:axes] if axes > 1 else [1, 2], **given)
    check_one(f"ZeroPadding{axes}D", shape, padding=[[0, 1], [1, 1], [0, 2]][:axes] if axes > 1 else [1, 2], **given)
    check_one(f"UpSampling{axes}D", shape, size=[2, 3, 1][:axes], **given)
    check_one("Flatten", shape, **given)
    check_one("Permute", shape, dims=[*range(axes + 1, 0, -1)])


@pytest.mark.parametrize("data_format", BOTH)
@pytest.mark.parametrize("method", ["bilinear", "bicubic", "area", *interpolation.FILTERS])
def test_images_resized(data_format: str, method: str) -> None:
    for shape in ((6, 7, 5), (1, 2, 40)):
        check_one("UpSampling2D", shape, size=[2, 3], interpolation=method, data_format=data_format)


@pytest.mark.parametrize("method", ["bicubic", *interpolation.FILTERS])
def test_weights_in_pieces(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    whole = interpolation.taps(method, 7, 23)
    monkeypatch.setattr(interpolation, "PIECE", 5)
    for found, expected in zip(interpolation.taps(method, 7, 23), whole, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("data_format", BOTH)
def test_images_of_one_size(data_format: str) -> None:
    for method in ("nearest", "bilinear", "area", "lanczos5"):
        for height, width in ((3, 4), (9, 2)):
            check_one("Resizing", (6, 7, 5), height=height, width=width, interpolation=method, data_format=data_format)
    check_one("CenterCrop", (6, 7, 5), height=3, width=4, data_format=data_format)
    with pytest.raises(UnsupportedError, match="images of 6 x 7, which Keras would enlarge first"):
        check_one("CenterCrop", (6, 7, 5), height=3, width=8)


def test_bilinear_before_tensorflow_2() -> None:
    """Where the first corners of pixels meet: as Keras 2.2.4 and TensorFlow 1.14 gave it."""
    spec = specified("UpSampling2D", {"size": [2, 1], "interpolation": "bilinear"})
    x = np.array([1.0, 3.0, 9.0])[np.newaxis, :, np.newaxis, np.newaxis]
    (found,) = applied(made(spec, Rules(bilinear_places="corners")), x)
    np.testing.assert_array_equal(found.value.ravel(), [1, 2, 3, 6, 9, 9])
    (found,) = applied(made(spec), x)
    np.testing.assert_array_equal(found.value.ravel(), [1, 1.5, 2.5, 4.5, 7.5, 9])
    with pytest.raises(AssertionError):
        made(spec, Rules(bilinear_places="unknown"))


@pytest.mark.parametrize("data_format", BOTH)
def test_what_keras_has_dropped(data_format: str) -> None:
    check_one("Highway", (7,), (7, 7), (7, 7), (7,), (7,), activation="tanh")
    check_one("Highway", (5, 7), (7, 7), (7, 7), activation="relu", use_bias=False)
    check_one("MaxoutDense", (7,), (3, 7, 5), (3, 5), units=5, nb_feature=3)
    first = data_format == "channels_first"
    places, channels = (2, 9) if first else (4, 5)
    given = {"filters": 6, "data_format": data_format, "activation": "softmax"}
    check_one("LocallyConnected1D", (9, 5), (places, 3 * channels, 6), (places, 6), kernel_size=[3], strides=[2], **given)
    rows, columns, channels = (3, 3, 6) if first else (3, 5, 5)
    weights = (rows * columns, 6 * channels, 6), (rows, columns, 6)
    check_one("LocallyConnected2D", (6, 7, 5), *weights, kernel_size=[2, 3], strides=[2, 1], **given)


def test_places_of_a_locally_connected_layer() -> None:
    """Against sums written out."""
    x, kernel, bias = normal(2, 4, 5, 3), normal(6, 12, 2), normal(3, 2, 2)
    (found,) = applied(made(specified("LocallyConnected2D", {"filters": 2, "kernel_size": [2, 2], "strides": [1, 3]}, (kernel, bias))), x)
    for i in range(3):
        for j in range(2):
            window = x[:, i : i + 2, 3 * j : 3 * j + 2].reshape(2, 12)
            expected = window @ kernel[2 * i + j].astype(np.float32) + bias[i, j].astype(np.float32)
            np.testing.assert_allclose(found.value[:, i, j], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        simple("LayerNormalization", "n", (3,), (3,)), simple("RMSNormalization", "n", (3,)), simple("UnitNormalization", "n"),
        simple("PReLU", "n", (1, 3), shared_axes=[1]), simple("Rescaling", "n", scale=2.0, offset=1.0),
        simple("Normalization", "n", axis=-1, mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]), simple("ReLU", "n", max_value=0.5),
    ],
    ids=lambda layer: layer.class_name,
)  # fmt: skip
def test_steps_of_streams(layer: LayerSpec) -> None:
    spec = graph([layer, recurrent("GRU", 4, 3, "gru", return_sequences=True)], [(0,), (1,)], SHAPE)
    model = Model(spec)
    x = normal(4, 5, 3).astype(np.float32)
    stream = model.stream(4)
    np.testing.assert_allclose(np.stack([stream.step(x[:, t]) for t in range(5)], 1), model.predict(x), atol=1e-6)


def test_axes_that_no_keras_computes() -> None:
    """Nothing is written for them but what ``apply`` says."""
    calls = Calls(runtime.level(), [normal(2, 5, 3).astype(np.float32)])
    b, owner, (x,) = calls.builder, calls.owner, calls.values
    assert normalising.normalised(b, owner, x, [1, 1], Norm("variance", 0.1)) is None
    assert normalising.normalised(b, owner, x, [], Norm("variance", 0.1)) is None
    assert normalising.by_place(b, owner, x, [0, 0], (normalising.nothing,) * 3) is None
    assert normalising.curved(b, owner, x, [0, 0], "prelu", [normalising.nothing]) is None
    assert normalising.softmax_over(b, x, [1, 1]) is None
