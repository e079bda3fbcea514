"""From a live Keras model to ONNX, and to a session of ONNX Runtime. The benchmarks of this project use it too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

OPSET = 18
#: What converters make of recurrent layers that they do not know by sight.
LOOPS = ("Loop", "Scan")
#: What ONNX Runtime calls the types of inputs.
DTYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int32)": np.int32, "tensor(int64)": np.int64,
}  # fmt: skip


def as_function(model: Any) -> Any:
    """A Keras model as a TensorFlow function of its inputs, one after the other."""
    import tensorflow as tf

    return tf.function(lambda *given: model.call(list(given) if len(given) > 1 else given[0]))


def from_keras(model: Any, inputs: Sequence[tuple[str, Sequence[int | None], Any]]) -> bytes:
    """A model as ONNX, by tf2onnx.

    Parameters
    ----------
    model
        Of Keras with TensorFlow, or of tf_keras.
    inputs
        Name, shape with the batch, and dtype of each.
    """
    import tensorflow as tf
    import tf2onnx

    signature = [tf.TensorSpec(shape, dtype, name=name) for name, shape, dtype in inputs]
    converted, _ = tf2onnx.convert.from_function(as_function(model), input_signature=signature, opset=OPSET)
    return converted.SerializeToString()


def has_loops(model: bytes) -> bool:
    """Is any recurrent layer a loop of small operators? ONNX Runtime runs those much slower than its LSTM and GRU."""
    from onnx import load_model_from_string

    return any(node.op_type in LOOPS for node in load_model_from_string(model).graph.node)


def session(model: str | bytes, threads: int) -> Any:
    """A session of ONNX Runtime on the CPU, on so many threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors, not warnings about the model
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
