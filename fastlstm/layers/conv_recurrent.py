"""Recurrent layers whose products are convolutions: images (or rows) along time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..program import layout
from ..program.contracts.recurrent import LSTM_GATES
from ..program.convolving import Axis, Recurrence, convolved_in_time
from ..program.ir import Builder, Constant, Value
from ..program.lowering import default_code
from ..spec import LayerSpec, Shape, found_in
from .base import Context, States
from .cell_base import Cell
from .cells import LSTMCell, lstm_states
from .convolution import convolve, output_length, per_axis, window_axis
from .recurrent import LOOP_HONOURED, LOOP_INERT, Recurrent, states_given

CELL_KEYS = frozenset(
    {
        "filters",
        "kernel_size",
        "strides",
        "padding",
        "data_format",
        "dilation_rate",
        "activation",
        "recurrent_activation",
        "use_bias",
    }
)


class ConvLSTMCell(Cell):
    """Shi et al. 2015, without peepholes: LSTM with convolutions in place of products."""

    HONOURED = CELL_KEYS
    INERT = LSTMCell.INERT

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        config = self.config
        self.axes = self.row.axes
        self.filters = int(config["filters"])
        self.size = per_axis(config["kernel_size"], self.axes)
        self.strides = per_axis(config.get("strides", 1), self.axes)
        self.dilation = per_axis(config.get("dilation_rate", 1), self.axes)
        self.padding = str(config.get("padding", "valid"))
        self.use_bias = bool(config.get("use_bias", True))
        self.activation_name, self.act = self.activation("activation", "tanh")
        self.recurrent_activation_name, self.recurrent_act = self.activation("recurrent_activation", "sigmoid")
        self.only("data_format", "channels_last", None)
        if self.padding not in ("valid", "same"):
            self.refuse(f"argument padding={self.padding!r} is not known")

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.filters, self.filters)

    @property
    def output_size(self) -> int:
        return self.filters

    def state_names(self) -> tuple[str, ...]:
        return ("h", "c")

    def check(self, features: int) -> None:
        columns = self.row.gates * self.filters
        shapes = [(*self.size, features, columns), (*self.size, self.filters, columns)]
        self.arrays(*shapes, *([(columns,)] if self.use_bias else []))

    def lengths(self, spatial: Shape) -> Shape:
        """Sizes of the spatial axes of output and states."""
        geometry = zip(spatial, self.size, self.strides, self.dilation, strict=True)
        return tuple(output_length(n, k, s, d, self.padding) for n, k, s, d in geometry)

    @property
    def codes(self) -> tuple[int | None, int | None]:
        """The activations as the kernel takes them: of the cell, and of its gates."""
        return default_code(self.activation_name), default_code(self.recurrent_activation_name)

    def axes_of(self, places: Sequence[int]) -> list[Axis]:
        """How the window goes over the input."""
        geometry = zip(places, self.size, self.strides, self.dilation, strict=True)
        return [window_axis(*each, self.padding) for each in geometry]

    def packed(self, b: Builder) -> dict[str, Constant]:
        """The weights."""
        kernel, recurrent, *bias = self.cast(np.float32)
        offset = bias[0] if bias else np.zeros(kernel.shape[-1], np.float32)

        def constant(name: str, array: np.ndarray) -> Constant:
            matrix = array.reshape(-1, array.shape[-1])
            return b.constant(self, name, lambda: layout.pack_panels(matrix, LSTM_GATES, b.lanes))

        return {"kernel": constant("kernel", kernel), "recurrent": constant("recurrent", recurrent), "bias": constant("bias", offset)}

    def step(self, x: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        kernel, recurrent, *bias = self.cast(x.dtype)
        h, c = states
        ones = (1,) * self.axes
        z = convolve(x, kernel, self.strides, self.dilation, self.padding)
        if bias:
            z = z + bias[0]
        z = z + convolve(h, recurrent, ones, ones, "same")
        return lstm_states(z, c, self.act, self.recurrent_act)


class ConvLSTM(Recurrent):
    """ConvLSTM1D, ConvLSTM2D, ConvLSTM3D."""

    CLASSES = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
    HONOURED = LOOP_HONOURED | CELL_KEYS
    INERT = LOOP_INERT | LSTMCell.INERT
    cell: ConvLSTMCell

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        config = {key: value for key, value in spec.config.items() if key in CELL_KEYS}
        self.cell = ConvLSTMCell(replace(spec, config=config), context)
        self.only("time_major", False, None)
        if self.config.get("stateful") and self.rules.carries_state:
            self.refuse("argument stateful=True is not computed for convolutional recurrent layers")

    def zeroed_in_bidirectional(self) -> bool:
        return self.rules.convolutional_zeros

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        return False

    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        return ()  # it carries none from call to call

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        shape = inputs[0]
        if len(shape) != self.cell.axes + 3 or shape[-1] is None:
            raise self.error(f"reads (batch, timesteps, {self.cell.axes} spatial axes, channels), found shape {shape}")
        self.cell.check(shape[-1])
        state: Shape = (shape[0], *self.cell.lengths(shape[2:-1]), self.cell.filters)
        self.check_states(list(states_given(keywords)), [state[1:]] * len(self.state_sizes))
        out = (shape[0], shape[1], *state[1:]) if self.return_sequences else state
        return (out, state, state) if self.return_state else (out,)

    def start(self, x: np.ndarray, keywords: Mapping[str, Any], states: States | None) -> tuple[np.ndarray, ...]:
        if keywords.get("initial_state") is not None:
            return super().start(x, keywords, states)
        return tuple(np.zeros((len(x), *self.output_shape(x)), x.dtype) for _ in self.state_sizes)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x, mask, (code, gate_code) = inputs[0], inputs[0].mask, self.cell.codes
        given = list(found_in(keywords.get("initial_state"), Value))
        axes = self.cell.axes_of(x.shape[1:-1])
        if code is None or gate_code is None or 0 in x.shape or any(axis.positions < 1 for axis in axes):
            return None
        if (mask is not None and mask.shape != x.shape[:1]) or any(value.integer for value in (x, *given)):
            return None
        if given and not self._honours_mask(keywords):
            mask = None
        shape = (*(axis.positions for axis in axes), self.cell.filters)
        out = Value(b.buffer((x.shape[0] if self.return_sequences else 1) * math.prod(shape)), shape)
        finals = [Value(b.buffer(math.prod(shape)), shape) for _ in self.state_sizes] if self.return_state else []
        recurrence = Recurrence(
            self.cell.packed(b), self.cell.size, self.cell.filters, (code, gate_code), mask, self.go_backwards,
            [b.read(value) for value in given], [value.buffer for value in finals], int(self.zero_output), int(self.head_state),
        )  # fmt: skip
        convolved_in_time(b, x, axes, recurrence, out.buffer, self.return_sequences)
        result = out._replace(shape=(x.shape[0], *shape), mask=x.mask) if self.return_sequences else out
        return (result, *finals)

    def output_shape(self, x: np.ndarray) -> tuple[int, ...]:
        return (*(n or 0 for n in self.cell.lengths(x.shape[2:-1])), self.cell.filters)
