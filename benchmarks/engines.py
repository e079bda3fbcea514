"""The engines: each loads a workload's file and predicts, on as many threads as it is told."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np


class UnavailableError(Exception):
    """An engine, or this workload in it, cannot be measured here; the message says why."""


class Engine:
    """What is timed. Made once for each workload; ``predict`` returns a NumPy array as a user would want it."""

    label: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    takes_ragged: ClassVar[bool] = False

    def __init__(self, model: Path, threads: int):
        """Load ``model`` (an ``.h5``; what was converted from it lies beside)."""

    def predict(self, x: Any) -> np.ndarray:
        raise NotImplementedError

    @classmethod
    def versions(cls) -> dict[str, str]:
        """What is installed of it."""
        return {package: version(package) for package in cls.packages}


class FastLSTM(Engine):
    label = "fastlstm"
    packages = ("fastlstm", "numpy")
    takes_ragged = True

    def __init__(self, model: Path, threads: int):
        import fastlstm

        self.predict = fastlstm.load(model, threads=threads).predict


class KerasPredict(Engine):
    label = "Keras predict"
    packages = ("keras", "tensorflow")

    def __init__(self, model: Path, threads: int):
        self.model = keras_model(model, threads)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict(x, batch_size=len(x), verbose=0)


class KerasPredictOnBatch(KerasPredict):
    label = "Keras predict_on_batch"

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict_on_batch(x)


class TensorFlowFunction(Engine):
    label = "tf.function"
    packages = ("keras", "tensorflow")
    compiled: ClassVar[bool] = False

    def __init__(self, model: Path, threads: int):
        import tensorflow as tf

        loaded = keras_model(model, threads)
        self.constant = tf.constant
        self.function = tf.function(lambda x: loaded(x, training=False), jit_compile=self.compiled)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.function(self.constant(x)).numpy()


class XLA(TensorFlowFunction):
    label = "XLA"
    compiled = True


class ONNXRuntime(Engine):
    label = "onnxruntime"
    packages = ("onnxruntime",)

    def __init__(self, model: Path, threads: int):
        import onnxruntime

        failed = model.with_suffix(".onnx.failed")
        if failed.exists():
            raise UnavailableError(failed.read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(model.with_suffix(".onnx")), options, providers=["CPUExecutionProvider"])

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(None, {"x": x})[0]


def keras_model(path: Path, threads: int) -> Any:
    """The workload's model in Keras 3, with the weights of the file, on so many threads."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    import tensorflow as tf
    from workloads import WORKLOADS

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    (workload,) = (workload for workload in WORKLOADS if workload.name == path.stem)
    model = keras.Sequential(workload.build(keras))
    model.load_weights(path)
    return model


ENGINES: dict[str, type[Engine]] = {
    "fastlstm": FastLSTM,
    "keras": KerasPredict,
    "keras_on_batch": KerasPredictOnBatch,
    "tf_function": TensorFlowFunction,
    "xla": XLA,
    "onnxruntime": ONNXRuntime,
}
