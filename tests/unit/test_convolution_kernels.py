"""Convolutions and pooling in kernels, whatever their geometry: no NumPy in their Programs, and the numbers of ``apply`` in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_models import chain, simple
from layer_specs import normal
from level_runs import check

from fastlstm.spec import LayerSpec, ModelSpec

KINDS = ("Conv", "SeparableConv", "DepthwiseConv", "ConvTranspose")


def image(*shape: int) -> np.ndarray:
    return normal(*shape).astype(np.float32)


def layer(kind: str, size: tuple[int, ...], channels: int, filters: int, **config: Any) -> LayerSpec:
    """A convolution of a kind with as many axes as its window."""
    axes, multiplier = f"{len(size)}D", config.get("depth_multiplier", 1)
    given = {"kernel_size": list(size), **config}
    if kind == "Conv":
        shapes = [(*size, channels // config.get("groups", 1), filters)]
    elif kind == "SeparableConv":
        shapes = [(*size, channels, multiplier), (*(1,) * len(size), channels * multiplier, filters)]
    elif kind == "DepthwiseConv":
        shapes, filters = [(*size, channels, multiplier)], channels * multiplier
    else:
        shapes = [(*size, filters, channels)]
    if kind != "DepthwiseConv":
        given["filters"] = filters
    if config.get("use_bias", True):
        shapes.append((filters,))
    name = f"Conv{axes}Transpose" if kind == "ConvTranspose" else f"{kind}{axes}"
    return simple(name, "conv", *shapes, **given)


def model(one: LayerSpec, x: np.ndarray) -> ModelSpec:
    return chain(one, shape=(None, *x.shape[1:]))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[ModelSpec, np.ndarray]:
    """Any of them, with an image that it can see."""
    kind = draw(st.sampled_from(KINDS))
    axes = draw(st.integers(1, 3 if kind in ("Conv", "ConvTranspose") else 2))
    size = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    config: dict[str, Any] = {"padding": draw(st.sampled_from(["valid", "same", *(["causal"] if kind == "Conv" and axes == 1 else [])]))}
    channels, filters = draw(st.integers(1, 20)), draw(st.sampled_from([1, 2, 4, 5, 8, 16, 19, 33, 70]))
    if draw(st.booleans()):
        config["strides"] = [draw(st.integers(1, 3))] * axes
    elif draw(st.booleans()):
        config["dilation_rate"] = [draw(st.integers(1, 3)) for _ in range(axes)]
    if kind in ("SeparableConv", "DepthwiseConv"):
        config["depth_multiplier"] = draw(st.integers(1, 3))
    elif kind == "Conv" and draw(st.booleans()):
        groups = draw(st.integers(2, 3))
        channels, filters, config["groups"] = channels * groups, filters * groups, groups
    config["use_bias"] = draw(st.booleans())
    config["activation"] = draw(st.sampled_from(["linear", "relu", "tanh", "softmax", "elu"]))
    first = draw(st.booleans()) and kind != "ConvTranspose"
    config["data_format"] = "channels_first" if first else "channels_last"
    dilation = config.get("dilation_rate", [1] * axes)
    places = tuple((n - 1) * d + 1 + draw(st.integers(0, 6)) for n, d in zip(size, dilation, strict=True))
    x = image(draw(st.integers(1, 3)), *((channels, *places) if first else (*places, channels)))
    return model(layer(kind, size, channels, filters, **config), x), x


@given(convolutions())
def test_any_geometry(case: tuple[ModelSpec, np.ndarray]) -> None:
    check(*case)


@st.composite
def poolings(draw: st.DrawFn) -> tuple[ModelSpec, np.ndarray]:
    axes = draw(st.integers(1, 3))
    config: dict[str, Any] = {
        "pool_size": [draw(st.integers(1, 4)) for _ in range(axes)],
        "padding": draw(st.sampled_from(["valid", "same"])),
    }
    config["strides"] = draw(st.none() | st.lists(st.integers(1, 4), min_size=axes, max_size=axes))
    config["data_format"] = draw(st.sampled_from(["channels_first", "channels_last"]))
    places = [n + draw(st.integers(0, 6)) for n in config["pool_size"]]
    channels = draw(st.sampled_from([1, 3, 16, 37]))
    x = image(draw(st.integers(1, 3)), *([channels, *places] if config["data_format"] == "channels_first" else [*places, channels]))
    kind = draw(st.sampled_from(["Max", "Average"]))
    return model(simple(f"{kind}Pooling{axes}D", "pool", **config), x), x


@given(poolings())
def test_any_window_of_pooling(case: tuple[ModelSpec, np.ndarray]) -> None:
    check(*case)


@st.composite
def images_in_time(draw: st.DrawFn) -> tuple[ModelSpec, np.ndarray]:
    axes = draw(st.integers(1, 3))
    size = tuple(draw(st.integers(1, 3)) for _ in range(axes))
    filters, channels, steps = draw(st.sampled_from([1, 2, 5, 8, 16, 19, 33])), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    config: dict[str, Any] = {"filters": filters, "kernel_size": list(size), "padding": draw(st.sampled_from(["valid", "same"]))}
    config["strides"] = [draw(st.integers(1, 2))] * axes
    config["activation"] = draw(st.sampled_from(["tanh", "relu", "softsign"]))
    config["recurrent_activation"] = draw(st.sampled_from(["sigmoid", "hard_sigmoid"]))
    for name in ("return_sequences", "go_backwards", "use_bias", "zero_output_for_mask"):
        config[name] = draw(st.booleans())
    shapes = [(*size, channels, 4 * filters), (*size, filters, 4 * filters), (4 * filters,)]
    layers = [simple(f"ConvLSTM{axes}D", "conv", *shapes[: 3 if config["use_bias"] else 2], **config)]
    x = image(draw(st.integers(1, 3)), steps, *(n + draw(st.integers(0, 4)) for n in size), channels)
    return chain(*layers, shape=(None, *x.shape[1:])), x


@given(images_in_time())
def test_any_lstm_of_images(case: tuple[ModelSpec, np.ndarray]) -> None:
    check(*case, scale=1e-4)


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("backwards", [True, False])
def test_masked_steps_of_images(zeros: bool, sequences: bool, backwards: bool) -> None:
    config = {"filters": 5, "kernel_size": [3], "padding": "same", "return_sequences": sequences, "go_backwards": backwards}
    conv = simple("ConvLSTM1D", "conv", (3, 2, 20), (3, 5, 20), (20,), zero_output_for_mask=zeros, **config)
    places = LayerSpec("TimeDistributed", "t", {}, (), (simple("Reshape", "r", target_shape=[4, 2]),))
    x = image(3, 5, 8)
    x[0, [0, 3]] = x[1, [4]] = x[2] = 0
    check(chain(simple("Masking", "m", mask_value=0.0), places, conv, shape=(None, 5, 8)), x)
