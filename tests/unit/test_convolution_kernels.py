"""Convolutions and pooling in kernels, whatever their geometry: no NumPy in their Programs, and the numbers of ``apply`` in float64."""

from __future__ import annotations

import threading
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_models import chain, graph, simple
from layer_specs import normal
from level_runs import check, planned

from fastlstm import Model, runtime
from fastlstm.program.fusing import settled
from fastlstm.runtime.team import Team
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
    least = [1 if kind == "ConvTranspose" else (n - 1) * d + 1 for n, d in zip(size, dilation, strict=True)]
    places = tuple(n + draw(st.integers(0, 6)) for n in least)
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


@pytest.mark.parametrize("kind", ["image", "pooled", "sequence", "film"])
def test_threads_compute_the_same_bits(kind: str) -> None:
    if kind == "film":
        config = {"filters": 20, "kernel_size": [3, 3], "padding": "same", "return_sequences": True}
        layers = [simple("ConvLSTM2D", "conv", (3, 3, 2, 80), (3, 3, 20, 80), (80,), **config)]
        x = image(2, 3, 9, 11, 2)
    elif kind == "sequence":
        layers, x = [layer("Conv", (5,), 16, 70, padding="same")], image(2, 400, 16)
    else:
        layers, x = [layer("Conv", (3, 3), 8, 70, padding="same", activation="tanh")], image(2, 31, 29, 8)
        layers += [simple("MaxPooling2D", "pool", pool_size=[2, 2])] if kind == "pooled" else []
    spec = chain(*layers, shape=(None, *x.shape[1:]))
    alone, program = Model(spec).predict(x[:1]), planned(spec, x, runtime.level(), threads=3)
    assert program.members == 3
    y = np.full((1, *program.output_shapes[0]), np.nan, np.float32)
    runner = runtime.Runner(program)
    team = Team(runner, [x[:1]], [y], [], 3)
    workers = [threading.Thread(target=team.work, args=(member,)) for member in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    np.testing.assert_array_equal(y, alone)
    with patch("fastlstm.runtime.threads.SHARED_NANOSECONDS", 0):
        np.testing.assert_array_equal(Model(spec, threads=2).predict(x), Model(spec).predict(x))


@pytest.mark.parametrize("order", ["activation first", "normalisation first"])
@pytest.mark.parametrize("pool", ["MaxPooling2D", "AveragePooling2D"])
@pytest.mark.parametrize("filters", [1, 3, 16, 37, 70])
def test_what_follows_is_done_at_once(monkeypatch: pytest.MonkeyPatch, order: str, pool: str, filters: int) -> None:
    """One kernel call, and the bits of four."""
    norm = simple("BatchNormalization", "norm", *[(filters,)] * 3, (filters,), axis=-1, epsilon=2.0)
    tanh, relu = simple("Activation", "tanh", activation="tanh"), simple("Activation", "relu", activation="relu")
    between = [tanh, norm, relu] if order == "activation first" else [norm, tanh]
    conv = layer("Conv", (3, 3), 17, filters, padding="same")
    x = image(2, 9, 11, 17)
    spec = chain(conv, *between, simple(pool, "pool", pool_size=[2, 3]), shape=(None, *x.shape[1:]))
    check(spec, x)
    assert [one.kernel for one in planned(spec, x, runtime.level()).instructions] == ["convolve"]
    together = Model(spec).predict(x)
    assert [one.runs for one in Model(spec).layers][-len(between) - 2 :] == ["native", *["folded"] * (len(between) + 1)]

    def apart(instructions: Any, buffers: Any, lanes: int) -> Any:
        return [settled(one, buffers, lanes) if one.kernel == "convolve" else one for one in instructions]

    monkeypatch.setattr("fastlstm.program.fusing.fused", apart)
    assert len(planned(spec, x, runtime.level()).instructions) == len(between) + 2
    np.testing.assert_array_equal(Model(spec).predict(x), together)


def test_what_others_read_stays() -> None:
    """An output that is read twice, or by nobody but the caller, is not done away with."""
    conv, relu = layer("Conv", (3,), 5, 7, padding="same"), simple("Activation", "relu", activation="relu")
    x = image(2, 9, 5)
    check(graph([conv, relu, simple("Add", "add")], [(0,), (1,), (1, 2)], (None, 9, 5)), x)
    check(graph([conv, relu, simple("Add", "add"), simple("MaxPooling1D", "p")], [(0,), (1,), (2, 1), (3,)], (None, 9, 5)), x)


def test_strides_of_any_length() -> None:
    """Each place within a stride would be a kernel call: a file must not ask for a million of them."""
    x = image(1, 3, 2)
    spec = model(layer("ConvTranspose", (3,), 2, 4, strides=[10**6]), x)
    found, exact = Model(spec), Model(spec, precision="float64")
    assert len(found.executor.prepared((x.shape[1:],))[1].instructions) < 5
    np.testing.assert_allclose(found.predict(x), exact.predict(x.astype(np.float64)), rtol=2e-5, atol=1e-6)
