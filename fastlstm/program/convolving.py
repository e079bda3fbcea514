"""Kernel calls of convolutions and of pooling with windows. Tensors have their channels last."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from . import windows
from .contract import Room
from .contracts import CONTRACTS
from .contracts.convolution import SPATIAL
from .contracts.recurrent import LSTM_GATES
from .copying import steps_of
from .ir import At, Buffer, Builder, Constant, Mask, Value


class Axis(NamedTuple):
    """A window along a spatial axis."""

    size: int  # places of the input
    before: int  # places of zeros that padding adds
    after: int
    window: int  # places that the window sees, ``dilation`` apart
    dilation: int
    stride: int  # from one position of the window to the next
    positions: int

    @property
    def padded(self) -> int:
        """Places with padding."""
        return self.before + self.size + self.after


#: Multiply-adds of about ten microseconds: so much of a row's work is worth dividing among threads, which wait for each other after it.
DIVIDED_WORK = 500_000

#: An axis of one place.
NONE = Axis(1, 0, 0, 1, 1, 1, 1)


class Follow(NamedTuple):
    """What a convolution does with its sums."""

    bias: Callable[[], np.ndarray] | None = None  # (filters,)
    code: int = 0  # of an activation
    alpha: float = 0.0


class Output(NamedTuple):
    """Where the positions of a convolution go: shape of the whole tensor, less the batch, first element and elements between positions."""

    value: Value
    first: int
    steps: Sequence[int]


def all_axes(axes: Sequence[Axis]) -> list[Axis]:
    """As many axes as the kernels have."""
    return [NONE] * (SPATIAL - len(axes)) + list(axes)


def fields(name: str, values: Sequence[int]) -> dict[str, int]:
    """The fields of all spatial axes."""
    return {f"{name}{axis}": int(value) for axis, value in enumerate(values)}


def image_fields(axes: Sequence[Axis], channels: int) -> dict[str, int]:
    """The fields with which a kernel finds its windows."""
    places = [axis.padded for axis in axes]
    steps = [channels * step for step in steps_of(places)]
    numbers = {
        "a": [axis.size for axis in axes],
        "before": [axis.before for axis in axes],
        "padded": places,
        "n": [axis.positions for axis in axes],
        "s": [axis.stride * step for axis, step in zip(axes, steps, strict=True)],
        "k": [axis.window for axis in axes],
        "d": [axis.dilation * step for axis, step in zip(axes, steps, strict=True)],
    }
    return {"channels": channels} | {key: value for name, each in numbers.items() for key, value in fields(name, each).items()}


def merged_runs(image: Mapping[str, int], axes: Sequence[Axis]) -> tuple[dict[str, int], int]:
    """The fields with runs as long as they can be, and how many numbers these have: neighbouring places of a window are one run."""
    found, size = dict(image), image["channels"]
    whole = size
    for number in reversed(range(SPATIAL)):
        count, apart, whole = found[f"k{number}"], found[f"d{number}"], whole * axes[number].padded
        if count == 0 or (count > 1 and apart != size):
            break
        size *= count
        found[f"k{number}"], found[f"d{number}"] = 1, 0
        if size != whole:
            break
    return found, size


def convolved(
    b: Builder, layer: Any, what: str, x: Value, axes: Sequence[Axis], kernel: Callable[[], np.ndarray], shape: tuple[int, ...],
    follow: Follow, to: Output | None = None,
) -> Value:  # fmt: skip
    """x (*places, channels) convolved, as (*positions, filters).

    Parameters
    ----------
    layer, what
        Whose constants, and by what name.
    kernel
        Called once, to pack it: float32 (*window, channels / groups, filters).
    shape
        Of the kernel.
    follow
        What comes after.
    to
        Where the output goes, if it is not a tensor of its own.
    """
    *_, inputs, filters = shape
    channels, wanted = x.shape[-1], all_axes(axes)
    groups = channels // inputs
    image = image_fields(wanted, channels)
    if groups == 1:
        image, size = merged_runs(image, wanted)
    else:
        size = inputs
    runs = math.prod(image[f"k{axis}"] for axis in range(SPATIAL))
    units = filters // groups

    def packed() -> np.ndarray:
        array = np.asarray(kernel(), np.float32).reshape(runs, size, groups, units)
        return windows.pack_windows(array.transpose(2, 0, 1, 3), b.lanes)

    def packed_bias() -> np.ndarray:
        assert follow.bias is not None
        return windows.pack_windows_bias(np.asarray(follow.bias(), np.float32).reshape(groups, units), b.lanes)

    positions = [axis.positions for axis in axes]
    out = to or Output(Value(b.buffer(math.prod(positions) * filters), (*positions, filters)), 0, [])
    steps = list(out.steps) or list(steps_of(out.value.shape)[:-1])
    emitted(b, "convolve", {
        "x": b.read(x), "x_row": math.prod(x.shape), **image, "size": size, "groups": groups, "x_group": inputs if groups > 1 else 0,
        "units": units, "y": At(out.value.buffer, out.first), "y_row": math.prod(out.value.shape),
        **fields("y", [0] * (SPATIAL - len(axes)) + steps),
        "kernel": b.constant(layer, f"{what} kernel", packed),
        "bias": b.constant(layer, f"{what} bias", packed_bias) if follow.bias else None,
        "activation": follow.code, "alpha": follow.alpha, **fields("pool", [1] * SPATIAL),
    })  # fmt: skip
    return out.value


def emitted(b: Builder, kernel: str, given: Mapping[str, Any]) -> None:
    """Write a kernel's call, with the scratch that its contract says it needs."""
    members = b.threads if kernel != "convolve_depthwise" and multiply_adds(given) >= DIVIDED_WORK else 1
    b.emit(kernel, members=members, **given, scratch=b.buffer(0, fixed_bytes=scratch_bytes(kernel, given, b.lanes, members)))


def multiply_adds(given: Mapping[str, Any]) -> int:
    """Of a convolution, for each row."""
    positions, runs = (math.prod(given[f"{name}{axis}"] for axis in range(SPATIAL)) for name in "nk")
    if "w0" in given:
        state = given["units"] * math.prod(given[f"w{axis}"] for axis in range(SPATIAL))
        return LSTM_GATES * given["units"] * given["steps"] * positions * (runs * given["size"] + state)
    if "size" in given:
        return positions * runs * given["size"] * given["groups"] * given["units"]
    return positions * runs * given["channels"]


def scratch_bytes(kernel: str, given: Mapping[str, Any], lanes: int, members: int = 1) -> int:
    """Bytes of scratch that a kernel with these fields takes."""
    room = CONTRACTS[kernel].extents(SimpleNamespace(**given, members=members), lanes)["scratch"]
    assert isinstance(room, Room)
    return room.fixed_bytes


class Recurrence(NamedTuple):
    """A recurrence over images."""

    weights: Mapping[str, Constant]  # packed: kernel, recurrent, bias
    window: Sequence[int]  # over the state
    filters: int
    codes: tuple[int, int]  # of the activation and that of the gates
    mask: Mask | None
    reverse: bool
    starts: Sequence[Buffer]  # h and c, or none
    finals: Sequence[Buffer]  # the same
    fill: int  # as of the recurrent kernels
    head: int


def convolved_in_time(b: Builder, x: Value, axes: Sequence[Axis], recurrence: Recurrence, out: Buffer, sequences: bool) -> None:
    """Write the LSTM of images x (timesteps, *places, channels): the outputs of all steps, or of the last one."""
    r, steps, every = recurrence, x.shape[0], all_axes(axes)
    image, size = merged_runs(image_fields(every, x.shape[-1]), every)
    state = r.filters * math.prod(axis.positions for axis in axes)
    nowhere: list[Buffer | None] = [None, None]
    (h0, c0), (h_out, c_out) = (list(buffers) or nowhere for buffers in (r.starts, r.finals))
    row = steps * state if sequences else state
    emitted(b, "conv_lstm", {
        "x": b.read(x), "x_row": math.prod(x.shape), "x_time": math.prod(x.shape[1:]), "steps": steps, **image, "size": size,
        "units": r.filters, **fields("w", [1] * (SPATIAL - len(axes)) + list(r.window)), **r.weights,
        "activation": r.codes[0], "recurrent_activation": r.codes[1],
        "mask": r.mask.buffer if r.mask else None, "mask_row": steps, "reverse": int(r.reverse),
        "h0": h0, "h0_row": state, "c0": c0, "h_out": h_out, "c_out": c_out, "out_row": state,
        "y": out if sequences else None, "y_row": row, "y_step": state, "y_time_order": 0,
        "last": None if sequences else out, "last_row": row, "fill": r.fill, "head": r.head,
    })  # fmt: skip


def convolved_depthwise(b: Builder, layer: Any, x: Value, axes: Sequence[Axis], kernel: Callable[[], np.ndarray], follow: Follow) -> Value:
    """Each channel of x (*places, channels) convolved by itself with a kernel (*window, channels)."""
    channels = x.shape[-1]
    positions = [axis.positions for axis in axes]
    out = Value(b.buffer(math.prod(positions) * channels), (*positions, channels))
    bias = follow.bias
    emitted(b, "convolve_depthwise", {
        "x": b.read(x), "x_row": math.prod(x.shape), **image_fields(all_axes(axes), channels),
        "y": out.buffer, "y_row": math.prod(out.shape),
        "kernel": b.constant(layer, "depthwise kernel", lambda: np.asarray(kernel(), np.float32).reshape(-1)),
        "bias": b.constant(layer, "depthwise bias", lambda: np.asarray(bias(), np.float32)) if bias else None,
        "activation": follow.code, "alpha": follow.alpha,
    })  # fmt: skip
    return out


def pooled_windows(b: Builder, x: Value, axes: Sequence[Axis], *, mean: bool) -> Value:
    """The maximum or mean of each window of x (*places, channels)."""
    channels, every = x.shape[-1], all_axes(axes)
    positions = [axis.positions for axis in axes]
    out = Value(b.buffer(math.prod(positions) * channels), (*positions, channels))
    numbers = {
        "a": [axis.size for axis in every],
        "before": [axis.before for axis in every],
        "n": [axis.positions for axis in every],
        "s": [axis.stride for axis in every],
        "k": [axis.window for axis in every],
    }
    each = {key: value for name, values in numbers.items() for key, value in fields(name, values).items()}
    b.emit("pool_windows", x=b.read(x), y=out.buffer, channels=channels, mean=int(mean), **each)
    return out
