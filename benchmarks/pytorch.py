"""PyTorch's fused recurrent layers, with the weights of the file copied into them, and functions for the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .engine import Engine, UnavailableError
from .keras_file import SavedLayer, layers
from .pytorch_layers import make

#: Keras's class -> PyTorch's, and the order of its gates.
CELLS = {"LSTM": ("LSTM", "ifco"), "GRU": ("GRU", "rzh"), "SimpleRNN": ("RNN", "h")}


class PyTorch(Engine):
    """Padded rows are packed (``pack_padded_sequence``), lists of sequences too, so that it computes no padding either."""

    label = "PyTorch"
    packages = ("torch",)
    takes_ragged = True

    def __init__(self, model: Path, batch: int, threads: int):
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.mask_value: float | None = None
        saved = [layer for layer in layers(model) if not self._is_mask(layer)]
        recurrent = ("Bidirectional", *CELLS)
        self.steps = [Recurrent(torch, layer) if layer.class_name in recurrent else make(torch, layer) for layer in saved]

    def _is_mask(self, layer: SavedLayer) -> bool:
        if layer.class_name == "Masking":
            self.mask_value = layer.config["mask_value"]
        return layer.class_name == "Masking"

    def predict(self, x: Any) -> np.ndarray:
        with self.torch.inference_mode():
            y = self._given(x)
            for step in self.steps:
                y = step(y)
            return y.numpy()

    def _given(self, x: Any) -> Any:
        torch = self.torch
        if isinstance(x, list):
            return torch.nn.utils.rnn.pack_sequence([torch.from_numpy(row) for row in x], enforce_sorted=False)
        given = torch.from_numpy(x)
        if self.mask_value is None:
            return given
        valid = (given != self.mask_value).any(-1)
        if not valid[:, 0].all():  # padded at the head: it packs only what is padded at the end
            index = torch.arange(given.shape[1]) + valid.int().argmax(1, keepdim=True)
            given = given.gather(1, index.clamp_(max=given.shape[1] - 1).unsqueeze(-1).expand_as(given))
        return torch.nn.utils.rnn.pack_padded_sequence(given, valid.sum(1), batch_first=True, enforce_sorted=False)


class Recurrent:
    """An LSTM, GRU or SimpleRNN, or Bidirectional of one: its sequence, or what comes out at the end."""

    def __init__(self, torch: Any, layer: SavedLayer):
        bidirectional = layer.class_name == "Bidirectional"
        inner = layer.config["layer"] if bidirectional else {"class_name": layer.class_name, "config": layer.config}
        config = inner["config"]
        expected = {"activation": "tanh", "recurrent_activation": "sigmoid", "reset_after": True, "go_backwards": False}
        for key, value in expected.items():
            if key in config and config[key] != value:
                raise UnavailableError(f"its {inner['class_name']} knows only {key}={value}, the model has {config[key]}")
        kind, gates = CELLS[inner["class_name"]]
        kernel = layer.weights[0]
        self.cell = getattr(torch.nn, kind)(kernel.shape[0], config["units"], batch_first=True, bidirectional=bidirectional)
        for direction, suffix in enumerate(("", "_reverse")[: 1 + bidirectional]):
            for name, value in direction_weights(layer.weights[3 * direction : 3 * direction + 3], gates).items():
                getattr(self.cell, name + suffix).data = torch.from_numpy(value)
        self.cell.eval()
        self.cat = torch.cat
        self.sequences = config["return_sequences"]

    def __call__(self, x: Any) -> Any:
        sequence, state = self.cell(x)
        if self.sequences:
            return sequence
        h = state[0] if isinstance(state, tuple) else state
        return h[0] if len(h) == 1 else self.cat((h[0], h[1]), 1)


def direction_weights(weights: list[np.ndarray], gates: str) -> dict[str, np.ndarray]:
    """Kernel, recurrent kernel and bias under PyTorch's names, gates in its order; GRU alone has them otherwise in Keras: z r h."""
    kernel, recurrent_kernel, bias = weights
    in_keras = "zrh" if gates == "rzh" else gates
    order = [in_keras.index(gate) for gate in gates]

    def arranged(array: np.ndarray) -> np.ndarray:
        parts = np.split(array, len(gates), axis=-1)
        return np.ascontiguousarray(np.concatenate([parts[n] for n in order], axis=-1).T)

    biases = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    return {
        "weight_ih_l0": arranged(kernel),
        "weight_hh_l0": arranged(recurrent_kernel),
        "bias_ih_l0": arranged(biases[0]),
        "bias_hh_l0": arranged(biases[1]),
    }
