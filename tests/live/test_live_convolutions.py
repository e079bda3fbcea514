"""Networks of convolutions, pooling and normalisation at random, as each installed Keras computes them; ``FASTLSTM_EXAMPLES`` of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm

EXAMPLES = int(os.environ.get("FASTLSTM_EXAMPLES", 12))
#: The most that an output may differ, as a share of the largest: many layers follow each other.
BOUND = 2e-5


class Network:
    """Draws layers that go with the shape that there is."""

    def __init__(self, keras: Any, seed: int):
        self.keras, self.rng = keras, np.random.default_rng(seed)

    def one_of(self, *values: Any) -> Any:
        return values[self.rng.integers(len(values))]

    def each(self, axes: int, most: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self.rng.integers(1, most + 1, axes))

    def convolution(self, axes: int) -> Any:
        layers = self.keras.layers
        kinds = ["Conv", "Transpose", *(["Separable", "Depthwise"] if axes < 3 and hasattr(layers, f"DepthwiseConv{axes}D") else [])]
        kind, size, filters = self.one_of(*kinds), self.each(axes, 3), self.one_of(1, 3, 6, 17, 34)
        given: dict[str, Any] = {"padding": self.one_of("valid", "same"), "use_bias": self.one_of(True, False)}
        given["activation"] = self.one_of(None, "relu", "tanh", "softmax", "elu")
        if self.one_of(True, False):
            given["strides"] = self.one_of(1, 2)
        elif kind == "Conv":
            given["dilation_rate"] = self.one_of(1, 2)
        if kind == "Conv":
            return getattr(layers, f"Conv{axes}D")(filters, size, **given)
        if kind == "Transpose":
            return getattr(layers, f"Conv{axes}DTranspose")(filters, size, **given)
        given["depth_multiplier"] = self.one_of(1, 2)
        if kind == "Separable":
            return getattr(layers, f"SeparableConv{axes}D")(filters, size if axes == 1 else size[:1] * 2, **given)
        return getattr(layers, f"DepthwiseConv{axes}D")(size[0], **given)

    def pooling(self, axes: int) -> Any:
        kind = self.one_of("MaxPooling", "AveragePooling")
        strides = self.one_of(None, self.each(axes, 2))
        return getattr(self.keras.layers, f"{kind}{axes}D")(self.each(axes, 3), strides=strides, padding=self.one_of("valid", "same"))

    def other(self) -> Any:
        layers = self.keras.layers
        return self.one_of(layers.BatchNormalization, layers.LayerNormalization, layers.ReLU, lambda: layers.Activation("tanh"))()

    def layers(self, axes: int) -> Iterator[Any]:
        for _ in range(self.rng.integers(1, 6)):
            yield self.one_of(self.convolution, self.convolution, self.pooling, lambda _: self.other())(axes)

    def model(self) -> tuple[Any, tuple[int, ...]]:
        """A network over images, sequences, volumes, or films of those, and the shape that it takes."""
        axes, film = int(self.rng.integers(1, 4)), self.one_of(None, None, "distributed", "recurrent")
        axes = min(axes, 2) if film else axes
        shape = (*(int(n) for n in self.rng.integers(6, 13, axes)), self.one_of(1, 2, 3, 8))
        whole = (3, *shape) if film else shape
        start = self.keras.Input(whole)
        y = start
        if film == "recurrent" and hasattr(self.keras.layers, f"ConvLSTM{axes}D"):
            given = {"padding": self.one_of("valid", "same"), "return_sequences": True, "go_backwards": self.one_of(True, False)}
            y = getattr(self.keras.layers, f"ConvLSTM{axes}D")(self.one_of(2, 5, 16), self.each(axes, 3), **given)(y)
        for layer in self.layers(axes):
            y = self.keras.layers.TimeDistributed(layer)(y) if film else layer(y)
        return self.keras.Model(start, y), whole


@pytest.mark.keras
def test_live_convolutions(keras: Any, tmp_path: Path) -> None:
    compared = 0
    for seed in range(EXAMPLES):
        network = Network(keras, seed)
        try:
            model, shape = network.model()
        except ValueError:  # nothing is left of an image
            continue
        model.set_weights([network.rng.uniform(-0.5, 0.5, array.shape) + (array.ndim == 1) for array in model.get_weights()])
        path = tmp_path / f"{seed}.h5"
        model.save(path)
        x = network.rng.normal(size=(3, *shape)).astype(np.float32)
        expected, loaded = model.predict(x, verbose=0), fastlstm.load(path)
        _, program = loaded.executor.prepared((shape,))
        assert not [one.layer for one in program.instructions if one.function is not None], seed
        size = max(1.0, float(np.max(np.abs(expected))))
        np.testing.assert_allclose(loaded.predict(x), expected, rtol=1e-5, atol=BOUND * size, err_msg=f"seed {seed}")
        compared += 1
    assert compared > EXAMPLES // 2
