"""Images resized by every interpolation, and layers around them, as each installed Keras computes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm

RNG = np.random.default_rng(0)
SIZES = ((2, 3), (3, 2), (5, 1))


def compared(keras: Any, path: Path, shape: tuple[int, ...], *layers: Any) -> None:
    """A model of those layers, in kernels and in NumPy, with the weights that come of training for a moment."""
    start = keras.Input(shape)
    y = start
    for layer in layers:
        y = layer(y)
    model = keras.Model(start, y)
    model.set_weights([RNG.uniform(0.2, 1.0, array.shape) for array in model.get_weights()])
    model.save(path)
    x = RNG.normal(size=(3, *shape)).astype(np.float32)
    expected = model.predict(x, verbose=0)
    loaded = fastlstm.load(path)
    _, program = loaded.executor.prepared((shape,))
    assert all(instruction.function is None for instruction in program.instructions)
    np.testing.assert_allclose(loaded.predict(x), expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(fastlstm.load(path, precision="float64").predict(x), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.keras
@pytest.mark.parametrize(
    "interpolation", ["nearest", "bilinear", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"]
)  # fmt: skip
def test_live_upsampling(keras: Any, tmp_path: Path, interpolation: str) -> None:
    for n, size in enumerate(SIZES):
        for shape in ((5, 4, 3), (1, 2, 1), (7, 9, 2)):
            layer = keras.layers.UpSampling2D(size, interpolation=interpolation)
            try:
                layer(np.zeros((1, *shape), np.float32))
            except ValueError:
                pytest.skip("this Keras has no such interpolation")
            compared(keras, tmp_path / f"{n}.h5", shape, layer)


@pytest.mark.keras
@pytest.mark.parametrize(
    "interpolation", ["nearest", "bilinear", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"]
)  # fmt: skip
def test_live_resizing(keras: Any, tmp_path: Path, interpolation: str) -> None:
    """Larger and smaller."""
    for n, (height, width) in enumerate(((9, 4), (3, 13), (20, 7), (6, 1))):
        try:
            layer = keras.layers.Resizing(height, width, interpolation=interpolation)
            layer(np.zeros((1, 14, 8, 2), np.float32))
        except (ValueError, NotImplementedError):
            pytest.skip("this Keras has no such interpolation")
        compared(keras, tmp_path / f"{n}.keras", (20, 8, 2), layer)
        compared(keras, tmp_path / f"{n}.keras", (7, 10, 2), keras.layers.Resizing(height, width, interpolation=interpolation))


@pytest.mark.keras
def test_live_center_crop(keras: Any, tmp_path: Path) -> None:
    for height, width in ((3, 4), (6, 5), (1, 2)):
        compared(keras, tmp_path / "c.keras", (6, 5, 3), keras.layers.CenterCrop(height, width))


def normalisations(layers: Any) -> Sequence[Any]:
    """Normalising layers that both generations have."""
    return (
        layers.LayerNormalization(), layers.LayerNormalization(axis=1), layers.LayerNormalization(axis=[1, 3]),
        layers.BatchNormalization(axis=1), layers.GroupNormalization(groups=2), layers.GroupNormalization(groups=-1),
        layers.GroupNormalization(groups=3, axis=1), layers.UnitNormalization(), layers.UnitNormalization(axis=2),
    )  # fmt: skip


@pytest.mark.keras
def test_live_normalisations(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    for layer in normalisations(layers):
        compared(keras, tmp_path / "n.h5", (6, 5, 4), layer)
    if hasattr(layers, "RMSNormalization"):
        compared(keras, tmp_path / "n.keras", (6, 5, 4), layers.RMSNormalization(), layers.RMSNormalization(axis=[2, 3]))
        # Along another axis than the last, Keras multiplies by the scale along the last all the same.
        compared(keras, tmp_path / "o.keras", (4, 5, 4), layers.RMSNormalization(axis=1))
    compared(keras, tmp_path / "p.h5", (6, 5, 4), layers.Rescaling(0.5, 0.1), layers.Rescaling([0.5, 1.0, 2.0, 3.0]))
    compared(keras, tmp_path / "q.h5", (6, 5, 4), layers.Normalization(axis=-1, mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 3.0, 4.0]))
    compared(keras, tmp_path / "r.h5", (6, 5, 4), layers.Normalization(axis=None, mean=0.3, variance=2.0, invert=True))


@pytest.mark.keras
def test_live_windows_and_copies(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    for chain in (
        (layers.ZeroPadding2D(((1, 2), (0, 1))), layers.Cropping2D(((2, 1), (1, 0))), layers.GlobalMaxPooling2D()),
        (layers.Permute((3, 1, 2)), layers.UpSampling2D((2, 3)), layers.GlobalAveragePooling2D(keepdims=True)),
        (layers.PReLU(shared_axes=[1, 2]), layers.PReLU(), layers.ReLU(0.8, 0.1, 0.2), layers.Softmax(axis=[1, 2])),
    ):
        compared(keras, tmp_path / "c.h5", (6, 5, 4), *chain)
    volume = (layers.UpSampling3D((2, 1, 3)), layers.ZeroPadding3D(1), layers.Cropping3D((1, 0, 1)), layers.GlobalAveragePooling3D())
    compared(keras, tmp_path / "v.h5", (3, 4, 5, 2), *volume)


@pytest.mark.keras
def test_live_locally_connected(keras: Any, tmp_path: Path) -> None:
    layers = keras.layers
    if not hasattr(layers, "LocallyConnected2D"):
        pytest.skip("Keras 3 has none")
    compared(keras, tmp_path / "l.h5", (6, 5, 4), layers.LocallyConnected2D(3, (2, 3), strides=(2, 1), activation="relu"))
    first = layers.LocallyConnected2D(3, (2, 3), data_format="channels_first")
    compared(keras, tmp_path / "f.h5", (6, 5, 4), layers.Permute((3, 1, 2)), first)
    compared(keras, tmp_path / "m.h5", (9, 4), layers.LocallyConnected1D(3, 2, strides=2, activation="tanh"))


@pytest.mark.keras
@pytest.mark.parametrize(
    "activation", ["celu", "glu", "hard_shrink", "hard_tanh", "hard_silu", "log_sigmoid", "log_softmax", "soft_shrink", "sparse_plus",
                   "sparse_sigmoid", "sparsemax", "squareplus", "tanh_shrink"],
)  # fmt: skip
def test_live_activations_of_rows(keras: Any, tmp_path: Path, activation: str) -> None:
    if not hasattr(keras.activations, activation):
        pytest.skip("this Keras has no such activation")
    compared(keras, tmp_path / "a.h5", (5, 6), keras.layers.Dense(8, activation=activation))
