"""One timestep at a time: the models, and how each engine keeps the state from step to step."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .engine import Engine, UnavailableError, onnx_session
from .files import write_bytes
from .keras_file import layers
from .prepare import attempt, randomize
from .pytorch import direction_weights
from .pytorch_layers import dense

#: Steps that are compared with Keras before an engine is timed.
CHECKED = 20


@dataclass(frozen=True)
class StreamWorkload:
    """A recurrent layer, with a Dense(1) after it or without, fed with a step of some rows at a time."""

    name: str
    cell: str
    units: int
    dense: bool = False
    features: int = 1
    batches: tuple[int, ...] = (1, 16)

    def layers(self, keras: Any) -> list[Any]:
        recurrent = getattr(keras.layers, self.cell)(self.units)
        return [keras.Input((None, self.features)), recurrent, *([keras.layers.Dense(1)] if self.dense else [])]

    def inputs(self, batch: int, steps: int = 1024) -> np.ndarray:
        """(steps, batch, features): what comes in, one after the other."""
        rng = np.random.default_rng([batch, *self.name.encode()])
        return rng.normal(size=(steps, batch, self.features)).astype(np.float32)


STREAMS = (
    StreamWorkload("stream_lstm32_dense1", "LSTM", 32, dense=True),
    StreamWorkload("stream_lstm64", "LSTM", 64),
    StreamWorkload("stream_gru64", "GRU", 64),
    StreamWorkload("stream_lstm128", "LSTM", 128),
)


class StreamEngine(Engine):
    """Made once for each workload and batch. ``step`` takes (batch, features), keeps the state, and gives the output."""

    def step(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class FastLSTMStream(StreamEngine):
    label = "fastlstm"
    packages = ("fastlstm", "numpy")

    def __init__(self, model: Path, batch: int, threads: int):
        import fastlstm

        self.step = fastlstm.load(model).stream(batch).step


class FastLSTMStreamOut(StreamEngine):
    label = "fastlstm, out="
    packages = ("fastlstm", "numpy")

    def __init__(self, model: Path, batch: int, threads: int):
        import fastlstm

        loaded = fastlstm.load(model)
        self.stream = loaded.stream(batch)
        self.out = np.empty((batch, loaded.output_shape[-1]), np.float32)

    def step(self, x: np.ndarray) -> np.ndarray:
        return self.stream.step(x, out=self.out)


class ONNXRuntimeStream(StreamEngine):
    """The states are inputs and outputs. Of a cell, which it runs faster than its LSTM operator for one step."""

    label = "ONNX Runtime"
    packages = ("onnxruntime", "tf2onnx")

    def __init__(self, model: Path, batch: int, threads: int):
        self.session = onnx_session(model, threads)
        self.names = [given.name for given in self.session.get_inputs()]
        self.states = [np.zeros((batch, given.shape[1]), np.float32) for given in self.session.get_inputs()[1:]]

    def step(self, x: np.ndarray) -> np.ndarray:
        y, *self.states = self.session.run(None, dict(zip(self.names, (x, *self.states), strict=True)))
        return y


class PyTorchStream(StreamEngine):
    """LSTMCell or GRUCell."""

    label = "PyTorch cell"
    packages = ("torch",)

    def __init__(self, model: Path, batch: int, threads: int):
        import torch

        torch.set_num_threads(threads)
        recurrent, *rest = layers(model)
        cell, gates = {"LSTM": (torch.nn.LSTMCell, "ifco"), "GRU": (torch.nn.GRUCell, "rzh")}[recurrent.class_name]
        kernel, units = recurrent.weights[0], recurrent.config["units"]
        self.cell = cell(kernel.shape[0], units)
        for name, value in direction_weights(recurrent.weights, gates).items():
            getattr(self.cell, name.removesuffix("_l0")).data = torch.from_numpy(value)
        self.head = dense(torch, rest[0]) if rest else None
        zeros = torch.zeros((batch, units))
        self.state: Any = (zeros, zeros) if recurrent.class_name == "LSTM" else zeros
        self.from_numpy, self.inference_mode = torch.from_numpy, torch.inference_mode

    def step(self, x: np.ndarray) -> np.ndarray:
        with self.inference_mode():
            self.state = self.cell(self.from_numpy(x), self.state)
            y = self.state[0] if isinstance(self.state, tuple) else self.state
            return (self.head(y) if self.head else y).numpy()


STREAM_ENGINES: dict[str, type[StreamEngine]] = {
    "fastlstm": FastLSTMStream,
    "fastlstm_out": FastLSTMStreamOut,
    "onnxruntime": ONNXRuntimeStream,
    "pytorch": PyTorchStream,
}


def load(engine: str, workload: StreamWorkload, batch: int, folder: Path, threads: int = 1) -> StreamEngine:
    """An engine in its initial state, after another of its kind has given what Keras gives.

    Raises
    ------
    UnavailableError
        If it is not installed, or cannot run this.
    """
    path = folder / f"{workload.name}.h5"
    try:
        tried = STREAM_ENGINES[engine](path, batch, threads)
    except ImportError as error:
        raise UnavailableError(f"{error.name} is not installed") from error
    with np.load(path.with_suffix(".npz")) as answers:
        for x, expected in zip(workload.inputs(batch)[:CHECKED], answers[f"batch{batch}"], strict=True):
            np.testing.assert_allclose(tried.step(x), expected, rtol=1e-4, atol=1e-5)
    return STREAM_ENGINES[engine](path, batch, threads)


def is_prepared(folder: Path) -> bool:
    return all((folder / f"{workload.name}.npz").exists() for workload in STREAMS)


def prepare(workload: StreamWorkload, folder: Path) -> None:
    """Write the model, one step of it for ONNX Runtime, and what Keras gives after each of the first steps."""
    import tf_keras

    model = tf_keras.Sequential(workload.layers(tf_keras))
    randomize(model, workload.name)
    path = folder / f"{workload.name}.h5"
    model.save(path)
    attempt(one_step, model, path.with_suffix(".onnx"))
    expected = {}
    for batch in workload.batches:
        x = workload.inputs(batch)[:CHECKED].transpose(1, 0, 2)
        expected[f"batch{batch}"] = np.stack([model(x[:, : n + 1]).numpy() for n in range(CHECKED)])
    np.savez(path.with_suffix(".npz"), **expected)


def one_step(model: Any, path: Path) -> None:
    """x, states -> y, states."""
    import tensorflow as tf
    import tf2onnx

    recurrent, *rest = model.layers
    names = ("h", "c") if hasattr(recurrent.cell, "unit_forget_bias") else ("h",)
    states = [tf.TensorSpec((None, recurrent.units), tf.float32, name=name) for name in names]

    def step(x: Any, *states: Any) -> tuple[Any, ...]:
        y, following = recurrent.cell(x, list(states))
        for layer in rest:
            y = layer(y)
        return (y, *tf.nest.flatten(following))

    signature = [tf.TensorSpec((None, model.inputs[0].shape[-1]), tf.float32, name="x"), *states]
    converted, _ = tf2onnx.convert.from_function(tf.function(step, input_signature=signature), input_signature=signature, opset=18)
    write_bytes(path, converted.SerializeToString())


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the files of the stream workloads.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    folder.mkdir(parents=True, exist_ok=True)
    for workload in STREAMS:
        prepare(workload, folder)


if __name__ == "__main__":
    main()
