"""Recurrent layers whose products are convolutions: images (or rows) along time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..spec import LayerSpec, Shape
from .base import Context, States
from .cell_base import Cell
from .cells import LSTMCell, lstm_states
from .convolution import convolve, output_length, per_axis
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

    def output_shape(self, x: np.ndarray) -> tuple[int, ...]:
        return (*(n or 0 for n in self.cell.lengths(x.shape[2:-1])), self.cell.filters)
