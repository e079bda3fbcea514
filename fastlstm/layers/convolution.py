"""Convolutions along time and over images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .. import activations
from ..program.arithmetic import floats
from ..program.convolving import Axis, Follow, Output, convolved, convolved_depthwise
from ..program.copying import repeated, steps_of, transposed
from ..program.ir import At, Buffer, Builder, Value
from ..program.lowering import activated, activation_call, copied, has_kernel
from ..spec import LayerSpec, Shape
from .base import Context, Layer, States, Tensor, floating, inert, numbers_in

COMMON = frozenset({"kernel_size", "strides", "padding", "data_format", "dilation_rate", "activation", "use_bias"})


def per_axis(value: Any, axes: int) -> tuple[int, ...]:
    """An argument that is one number for all spatial axes, or one for each."""
    if isinstance(value, int):
        return (value,) * axes
    numbers = tuple(int(n) for n in value)
    return numbers * axes if len(numbers) == 1 else numbers


def window_reach(size: int, dilation: int) -> int:
    """How many steps a dilated window covers."""
    return (size - 1) * dilation + 1


def output_length(length: int | None, size: int, stride: int, dilation: int, padding: str) -> int | None:
    """Size of a spatial axis after a window has gone along it."""
    if length is None:
        return None
    if padding != "valid":
        return -(-length // stride)
    return max(-(-(length - window_reach(size, dilation) + 1) // stride), 0)


def padding_amounts(length: int, size: int, stride: int, dilation: int, padding: str) -> tuple[int, int]:
    """Steps that padding adds before and after: ``same`` as TensorFlow has it, ``half`` as Theano makes of it."""
    reach = window_reach(size, dilation)
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return reach - 1, 0
    total = max((-(-length // stride) - 1) * stride + reach - length, 0)
    before = reach // 2 if padding == "half" else total // 2
    return before, max(total - before, 0)


def offsets(x: np.ndarray, size: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The places of a window; one alone where x has no rows, as only shapes are asked for then."""
    return islice(product(*map(range, size)), None if len(x) else 1)


def padded_numbers(
    spatial: Shape, channels: int, size: Sequence[int], strides: Sequence[int], dilation: Sequence[int], padding: str
) -> int:
    """How many numbers a row has once it is padded."""
    axes = zip(spatial, size, strides, dilation, strict=True)
    return channels * math.prod(n + sum(padding_amounts(n, k, s, d, padding)) for n, k, s, d in axes if n is not None)


def windows(
    x: np.ndarray, size: Sequence[int], strides: Sequence[int], dilation: Sequence[int], padding: str, fill: float = 0.0
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """For each place of a window: its offset, and x as that place sees it while the window moves.

    x is (batch, *spatial, channels); what is given is (batch, *output spatial, channels).
    """
    geometry = list(zip(x.shape[1:-1], size, strides, dilation, strict=True))
    amounts = [padding_amounts(n, k, s, d, padding) for n, k, s, d in geometry]
    lengths = [output_length(n, k, s, d, padding) or 0 for n, k, s, d in geometry]
    padded = np.pad(x, [(0, 0), *amounts, (0, 0)], constant_values=fill)
    for offset in offsets(x, size):
        places = [
            slice(o * d, o * d + s * (n - 1) + 1 if n else o * d, s) for o, n, s, d in zip(offset, lengths, strides, dilation, strict=True)
        ]
        seen = (slice(None), *places, slice(None))
        yield offset, padded[seen]


def convolve(
    x: np.ndarray, kernel: np.ndarray, strides: Sequence[int], dilation: Sequence[int], padding: str, groups: int = 1
) -> np.ndarray:
    """Cross-correlation of x (batch, *spatial, channels) with kernel (*size, channels / groups, filters)."""
    spatial = len(strides)
    out: np.ndarray | None = None
    for offset, seen in windows(x, kernel.shape[:spatial], strides, dilation, padding):
        weights = kernel[offset]
        if groups == 1:
            part = seen @ weights
        else:
            inputs = np.split(seen, groups, axis=-1)
            part = np.concatenate([a @ w for a, w in zip(inputs, np.split(weights, groups, axis=-1), strict=True)], axis=-1)
        out = part if out is None else out + part
    assert out is not None  # kernels have at least one place: sizes are checked
    return out


def convolve_depthwise(x: np.ndarray, kernel: np.ndarray, strides: Sequence[int], dilation: Sequence[int], padding: str) -> np.ndarray:
    """Each channel by itself with kernel (*size, channels, multiplier); gives channels * multiplier channels."""
    spatial = len(strides)
    parts = (seen[..., None] * kernel[offset] for offset, seen in windows(x, kernel.shape[:spatial], strides, dilation, padding))
    out = sum(parts, np.zeros((), x.dtype))
    return out.reshape(*out.shape[:-2], math.prod(out.shape[-2:]))


def window_axis(length: int, size: int, stride: int, dilation: int, padding: str) -> Axis:
    """A window along an axis of so many places, as the kernels take it."""
    before, after = padding_amounts(length, size, stride, dilation, padding)
    return Axis(length, before, after, size, dilation, stride, output_length(length, size, stride, dilation, padding) or 0)


class Convolution(Layer):
    """The base of all convolutions: geometry, bias, activation, and channels in front (``data_format``)."""

    PADDINGS: ClassVar[tuple[str, ...]] = ("valid", "same")  # besides "causal" along time

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.axes = self.row.axes
        self.size = per_axis(self.config["kernel_size"], self.axes)
        self.strides = per_axis(self.config.get("strides", 1), self.axes)
        self.dilation = per_axis(self.config.get("dilation_rate", 1), self.axes)
        self.padding = str(self.config.get("padding", "valid"))
        self.channels_first = self.config.get("data_format") == "channels_first"
        self.use_bias = bool(self.config.get("use_bias", True))
        self.activation_name, self.act = self.activation("activation")
        if self.padding not in self.PADDINGS and (self.padding != "causal" or self.axes != 1):
            self.refuse(f"argument padding={self.padding!r} is not known")
        if any(len(sizes) != self.axes or min(sizes) < 1 for sizes in (self.size, self.strides, self.dilation)):
            raise self.error(f"kernel_size {self.size}, strides {self.strides} or dilation_rate {self.dilation} do not fit {self.axes}D")
        along_time = self.axes == 1 and self.strides == (1,) and not self.channels_first
        self._causal = along_time and self.padding == "causal"
        self._stepwise = along_time and self.size == (1,)

    @property
    def channels(self) -> int:
        """Channels of the input, by the shape of the kernel, which ``check`` holds to that of the input."""
        return self.spec.weights[0].shape[-2]

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return self._stepwise and self.activations_stepwise

    def causal(self, inputs: Sequence[Shape]) -> bool:
        return (self._causal or self._stepwise) and self.activations_stepwise

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        """See base.Layer. Its output has no mask, so that later layers could not tell the padding."""
        return False

    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """See base.Layer: the inputs that a causal window still sees."""
        reach = window_reach(self.size[0], self.dilation[0])
        return ((reach - 1, self.channels),) if self._causal and self.activations_stepwise and reach > 1 else ()

    def state_names(self) -> tuple[str, ...]:
        """See base.Layer."""
        return ("history",) if self.state_shapes() else ()

    def _channels_last(self, shape: Shape) -> Shape:
        if len(shape) != self.axes + 2:
            raise self.error(f"reads input of {self.axes + 2} axes, found shape {shape}")
        shape = (shape[0], *shape[2:], shape[1]) if self.channels_first else shape
        if shape[-1] is None:
            raise self.error("the number of channels of its input is not known")
        return shape

    def check(self, channels: int) -> int:
        """Check the weights; returns the number of filters."""
        raise NotImplementedError

    def lengths(self, spatial: Shape) -> Shape:
        """Sizes of the spatial axes of the output."""
        geometry = zip(spatial, self.size, self.strides, self.dilation, strict=True)
        return tuple(output_length(n, k, s, d, self.padding) for n, k, s, d in geometry)

    def compute(self, x: np.ndarray, weights: Sequence[np.ndarray], padding: str) -> np.ndarray:
        """The convolution itself, channels last."""
        raise NotImplementedError

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        batch, *spatial, channels = self._channels_last(inputs[0])
        assert channels is not None  # _channels_last
        filters = activations.output_features(self.activation_name, self.check(channels))
        lengths = self.lengths(tuple(spatial))
        return ((batch, filters, *lengths) if self.channels_first else (batch, *lengths, filters),)

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        _, *spatial, channels = self._channels_last(inputs[0])
        padded = padded_numbers(tuple(spatial), channels or 1, self.size, self.strides, self.dilation, self.padding)
        return 3 * numbers_in(*outputs) + padded

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        weights, padding = self.cast(x.dtype), self.padding
        if states is not None and self.path in states:
            x = np.concatenate([states[self.path][0].astype(x.dtype, copy=False), x], axis=1)
            states[self.path] = (x[:, inputs[0].value.shape[1] :],)
            padding = "valid"
        out = self.compute(np.moveaxis(x, 1, -1) if self.channels_first else x, weights, padding)
        if self.use_bias:
            out = out + weights[-1]
        # Keras's activations work on the last axis, whichever the channels' is.
        return (Tensor(self.act(np.moveaxis(out, -1, 1) if self.channels_first else out)),)

    def convolved(self, b: Builder, x: Value, axes: Sequence[Axis], follow: Follow) -> Value | None:
        """The convolution itself as kernel calls, with bias and a native activation; channels last."""
        raise NotImplementedError

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        if not has_kernel(self.activation_name):
            return None
        x: Value | None = floats(b, inputs[0])
        if x is not None and self.channels_first:
            x = transposed(b, x, [*range(1, self.axes + 1), 0])
        if x is None or 0 in x.shape:
            return None
        padding = self.padding
        history = b.state(self.path, 0, math.prod(self.state_shapes()[0])) if self.state_shapes() else None
        if history is not None:
            x, padding = self._with_history(b, x, history), "valid"
        call = activation_call(self.activation_name)
        follow = Follow((lambda: self.cast(np.float32)[-1]) if self.use_bias else None, *(call or ()))
        axes = self.axes_of(x.shape[:-1], padding)
        out = None if 0 in self.lengths(x.shape[:-1]) else self.convolved(b, x, axes, follow)
        if out is not None and self.channels_first:
            out = transposed(b, out, [self.axes, *range(self.axes)])
        if out is None:
            return None
        return (out if call else activated(b, self.activation_name, out),)

    def _with_history(self, b: Builder, x: Value, history: Buffer) -> Value:
        """The inputs of earlier calls in front, of which those that the next windows see are kept."""
        (before, channels), (steps, _) = self.state_shapes()[0], x.shape
        whole = (before + steps) * channels
        out = Value(b.buffer(whole), (before + steps, channels))
        copied(b, before * channels, history, before * channels, out.buffer, whole)
        copied(b, steps * channels, b.read(x), steps * channels, At(out.buffer, before * channels), whole)
        copied(b, before * channels, At(out.buffer, steps * channels), whole, history, before * channels)
        return out

    def axes_of(self, places: Sequence[int], padding: str) -> list[Axis]:
        """How the window goes along each axis of so many places."""
        return [window_axis(*each, padding) for each in zip(places, self.size, self.strides, self.dilation, strict=True)]


class Conv(Convolution):
    """Conv1D, Conv2D, Conv3D."""

    PADDINGS = ("valid", "same", "half")
    CLASSES = ("Conv1D", "Conv2D", "Conv3D")
    HONOURED = COMMON | {"filters", "groups"}
    INERT = inert("kernel", "bias")

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.filters = int(self.config["filters"])
        self.groups = int(self.config.get("groups", 1))

    @property
    def channels(self) -> int:
        return super().channels * self.groups

    def check(self, channels: int) -> int:
        if self.groups < 1 or channels % self.groups or self.filters % self.groups:
            raise self.error(f"groups={self.groups} divide neither {channels} channels nor {self.filters} filters")
        self.arrays((*self.size, channels // self.groups, self.filters), *([(self.filters,)] if self.use_bias else []))
        return self.filters

    def compute(self, x: np.ndarray, weights: Sequence[np.ndarray], padding: str) -> np.ndarray:
        return convolve(x, weights[0], self.strides, self.dilation, padding, self.groups)

    def convolved(self, b: Builder, x: Value, axes: Sequence[Axis], follow: Follow) -> Value | None:
        def kernel() -> np.ndarray:
            return self.cast(np.float32)[0]

        return convolved(b, self, "", x, axes, kernel, self.spec.weights[0].shape, follow)


class SeparableConv(Convolution):
    """SeparableConv1D, SeparableConv2D: each channel by itself, then all channels of each step."""

    CLASSES = ("SeparableConv1D", "SeparableConv2D")
    HONOURED = COMMON | {"filters", "depth_multiplier", "groups"}
    INERT = inert("kernel", "depthwise", "pointwise", "bias")

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.filters = int(self.config["filters"])
        self.multiplier = int(self.config.get("depth_multiplier", 1))
        self.only("groups", 1)

    def check(self, channels: int) -> int:
        pointwise = ((1,) * self.axes) + (channels * self.multiplier, self.filters)
        self.arrays((*self.size, channels, self.multiplier), pointwise, *([(self.filters,)] if self.use_bias else []))
        return self.filters

    def compute(self, x: np.ndarray, weights: Sequence[np.ndarray], padding: str) -> np.ndarray:
        return convolve_depthwise(x, weights[0], self.strides, self.dilation, padding) @ weights[1][(0,) * self.axes]

    def convolved(self, b: Builder, x: Value, axes: Sequence[Axis], follow: Follow) -> Value | None:
        each = by_channel(b, self, x, axes, Follow())
        if each is None:
            return None
        places = [Axis(n, 0, 0, 1, 1, 1, n) for n in each.shape[:-1]]
        return convolved(b, self, "pointwise", each, places, lambda: self.cast(np.float32)[1], self.spec.weights[1].shape, follow)


class DepthwiseConv(Convolution):
    """DepthwiseConv1D, DepthwiseConv2D: each channel by itself."""

    CLASSES = ("DepthwiseConv1D", "DepthwiseConv2D")
    HONOURED = COMMON | {"depth_multiplier", "groups"}
    INERT = inert("depthwise", "kernel", "bias") | {"filters"}

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.multiplier = int(self.config.get("depth_multiplier", 1))

    def check(self, channels: int) -> int:
        filters = channels * self.multiplier
        self.arrays((*self.size, channels, self.multiplier), *([(filters,)] if self.use_bias else []))
        return filters

    def compute(self, x: np.ndarray, weights: Sequence[np.ndarray], padding: str) -> np.ndarray:
        return convolve_depthwise(x, weights[0], self.strides, self.dilation, padding)

    def convolved(self, b: Builder, x: Value, axes: Sequence[Axis], follow: Follow) -> Value | None:
        return by_channel(b, self, x, axes, follow)


def by_channel(b: Builder, layer: Convolution, x: Value, axes: Sequence[Axis], follow: Follow) -> Value | None:
    """Each channel of x convolved by itself with the first weights of a layer, (*window, channels, multiplier)."""
    *window, channels, multiplier = layer.spec.weights[0].shape
    each = x if multiplier == 1 else repeated(b, x, multiplier, len(x.shape) - 1)

    def kernel() -> np.ndarray:
        return layer.cast(np.float32)[0].reshape(*window, channels * multiplier)

    return None if each is None else convolved_depthwise(b, layer, each, axes, kernel, follow)


class ConvTranspose(Convolution):
    """Conv1DTranspose, Conv2DTranspose, Conv3DTranspose: the gradient of a convolution with respect to its input."""

    CLASSES = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
    HONOURED = COMMON | {"filters", "groups", "output_padding"}
    INERT = inert("kernel", "bias")

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.filters = int(self.config["filters"])
        self.only("groups", 1)
        self.only("output_padding", None)
        if self.padding == "causal":
            self.refuse("argument padding='causal' is not known")

    def check(self, channels: int) -> int:
        self.arrays((*self.size, self.filters, channels), *([(self.filters,)] if self.use_bias else []))
        return self.filters

    def lengths(self, spatial: Shape) -> Shape:
        extra = (0 if self.padding == "same" else max(window_reach(k, d) - s, 0) for k, s, d in self._geometry())
        return tuple(None if n is None else n * s + more for n, s, more in zip(spatial, self.strides, extra, strict=True))

    def _geometry(self) -> list[tuple[int, int, int]]:
        return list(zip(self.size, self.strides, self.dilation, strict=True))

    def compute(self, x: np.ndarray, weights: Sequence[np.ndarray], padding: str) -> np.ndarray:
        kernel = weights[0]
        lengths = [n or 0 for n in self.lengths(x.shape[1:-1])]
        before = [padding_amounts(n, k, s, d, self.padding)[0] for n, (k, s, d) in zip(lengths, self._geometry(), strict=True)]
        full = [
            max((n - 1) * s + window_reach(k, d), length + left)
            for n, (k, s, d), length, left in zip(x.shape[1:-1], self._geometry(), lengths, before, strict=True)
        ]
        out = np.zeros((len(x), *full, self.filters), x.dtype)
        for offset in offsets(x, self.size):
            geometry = zip(offset, x.shape[1:-1], self.strides, self.dilation, strict=True)
            reached = (slice(None), *(slice(o * d, o * d + (n - 1) * s + 1, s) for o, n, s, d in geometry))
            out[reached] += x @ kernel[offset].T
        kept = (slice(None), *(slice(left, left + n) for left, n in zip(before, lengths, strict=True)))
        return out[kept]

    def convolved(self, b: Builder, x: Value, axes: Sequence[Axis], follow: Follow) -> Value | None:
        """As many convolutions as there are places within a stride: each reads the kernel's places that reach there."""
        places = x.shape[:-1]
        lengths = [n or 0 for n in self.lengths(places)]
        if 0 in lengths or math.prod(map(min, self.strides, lengths)) > MOST_PHASES:
            return None
        phases = [list(transposed_axes(*each, self.padding)) for each in zip(places, lengths, self._geometry(), strict=True)]
        # Strides and dilation together, which Keras refuses, may leave the first places of the input out.
        if any(phase.axis.before < 0 for each in phases for phase in each):
            return None
        out = Value(b.buffer(math.prod(lengths) * self.filters), (*lengths, self.filters))
        steps = steps_of(out.shape)
        for number, chosen in enumerate(product(*phases)):
            taps = [phase.taps for phase in chosen]
            shape = (*map(len, taps), x.shape[-1], self.filters)

            def kernel(taps: Sequence[Sequence[int]] = taps) -> np.ndarray:
                chosen = self.cast(np.float32)[0][np.ix_(*taps)]
                return np.ascontiguousarray(chosen.swapaxes(-1, -2))

            first = sum(phase.first * step for phase, step in zip(chosen, steps, strict=False))
            apart = [stride * step for stride, step in zip(self.strides, steps, strict=False)]
            to = Output(out, first, apart)
            convolved(b, self, str(number), x, [phase.axis for phase in chosen], kernel, shape, follow, to)
        return out


#: Places within a stride of a transposed convolution, each of which takes a kernel call; of more NumPy computes all at once.
MOST_PHASES = 256


class Phase(NamedTuple):
    """Every so many places of the output of a transposed convolution."""

    first: int  # place
    axis: Axis  # how they see the input
    taps: Sequence[int]  # the places of the kernel that reach them, in order of the input


def transposed_axes(places: int, length: int, geometry: tuple[int, int, int], padding: str) -> Iterator[Phase]:
    """How the places of the output along an axis see the input: those that are a stride apart see it alike."""
    size, stride, dilation = geometry
    left = padding_amounts(length, size, stride, dilation, padding)[0]
    for first in range(min(stride, length)):
        # The kernel's place k brings what is at (first + left - k * dilation) / stride.
        taps = [k for k in reversed(range(size)) if (first + left - k * dilation) % stride == 0]
        sees = [(first + left - k * dilation) // stride for k in taps] or [0]
        positions = -(-(length - first) // stride)
        apart = sees[1] - sees[0] if len(sees) > 1 else 1
        after = max(sees[-1] + positions - places, 0)
        yield Phase(first, Axis(places, -sees[0], after, len(taps), apart, 1, positions), taps)
