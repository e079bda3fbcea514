"""The arrays of Keras 0.x and 1.x, brought to Keras 2's layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...catalogue import Role
from .dialect import Dialect
from .draft import LayerDraft
from .keras1 import EMBEDDING_DROPOUT

#: Order of the plain layout's gates in the one stored: LSTM i c f o, GRU z r h.
GATE_ORDER = {4: (0, 2, 1, 3), 3: (0, 1, 2)}


def from_keras1(layer: LayerDraft, dialect: Dialect) -> None:
    """Bring a layer's arrays from Keras 1's layout to Keras 2's."""
    row, first = layer.row, layer.config.get("data_format") == "channels_first"
    if layer.split_gates and len(layer.weights) == 3 * row.gates:
        layer.weights = merged_gates(layer.weights, row.gates, lambda array: modern_kernel(row.axes, array, None, first))
    elif row.kernels and layer.weights:
        kernel, *rest = layer.weights
        layer.weights = (modern_kernel(row.axes, kernel, layer.config.get("filters"), first), *rest)
    if layer.class_name in CHANGES:
        CHANGES[layer.class_name](layer, dialect)
    dropout = layer.config.pop(EMBEDDING_DROPOUT, None)
    if dialect.keras0:
        from_keras0(layer, dropout)


def biases_last(layer: LayerDraft, dialect: Dialect) -> None:
    """Highway's arrays, which stood in pairs of a kernel and its bias up to Keras 1.1."""
    if len(layer.weights) == 4 and layer.weights[1].ndim == 1:
        kernel, bias, carry_kernel, carry_bias = layer.weights
        layer.weights = (kernel, carry_kernel, bias, carry_bias)


def clipped_left(layer: LayerDraft, dialect: Dialect) -> None:
    """SReLU's left side, which Theano clips."""
    layer.config["clip_left"] = dialect.theano


#: Changes for what Keras 1 alone does differently, by class.
CHANGES: Mapping[str, Callable[[LayerDraft, Dialect], None]] = {"Highway": biases_last, "SReLU": clipped_left}


def from_keras0(layer: LayerDraft, dropout: Any) -> None:
    """Undo what Keras 0 did differently from Keras 1."""
    if layer.row.role is Role.NORMALIZATION and len(layer.weights) == 4:
        # It divides by (running_std + epsilon), where its successors divide by sqrt(variance + epsilon).
        *others, deviation = layer.weights
        layer.weights = (*others, np.square(deviation.astype(np.float64) + float(layer.config.get("epsilon", 1e-6))))
        layer.config["epsilon"] = 0.0
    if layer.row.role is Role.EMBEDDING and isinstance(dropout, (int, float)):
        layer.weights = tuple(array * np.float32(1.0 - dropout) for array in layer.weights)


def merged_gates(arrays: tuple[np.ndarray, ...], gates: int, prepare: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, ...]:
    """Kernel, recurrent kernel and bias of arrays that were kept a gate (kernel, recurrent kernel, bias) each."""
    order = GATE_ORDER[gates]
    parts = [[prepare(arrays[3 * gate + kind]) for gate in order] for kind in range(3)]
    if any(array.ndim == 0 or array.shape[:-1] != group[0].shape[:-1] for group in parts for array in group):
        return arrays
    return tuple(np.concatenate(group, axis=-1) for group in parts)


def modern_kernel(axes: int, kernel: np.ndarray, filters: Any, first: bool) -> np.ndarray:
    """A convolution kernel as (space..., channels, filters).

    Parameters
    ----------
    axes
        The layer's spatial axes.
    kernel
        The array in the file. One along time has four axes: (length, 1, channels, filters), earlier (filters, channels, length, 1).
    filters
        Number of filters by the config.
    first
        Whether channels stand first (``dim_ordering='th'``).
    """
    if kernel.ndim != 4:
        return kernel
    if axes == 1:
        if kernel.shape[1] == 1 and kernel.shape[3] == filters:
            return kernel[:, 0]
        return kernel[:, :, :, 0].transpose(2, 1, 0)
    return kernel.transpose(2, 3, 1, 0) if first else kernel
