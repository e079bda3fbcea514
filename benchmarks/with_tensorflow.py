"""Keras itself, and TensorFlow's ways of running a Keras model with less around it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .engine import Engine
from .workload import Rows, count


class KerasPredict(Engine):
    label = "Keras predict"
    packages = ("keras", "tensorflow")

    def __init__(self, model: Path, batch: int, threads: int):
        self.model = keras_model(model, threads)

    def predict(self, x: Rows) -> np.ndarray:
        return self.model.predict(x, batch_size=count(x), verbose=0)


class KerasPredictOnBatch(KerasPredict):
    label = "Keras predict_on_batch"

    def predict(self, x: Rows) -> np.ndarray:
        return self.model.predict_on_batch(x)


class TensorFlowFunction(Engine):
    label = "tf.function"
    packages = ("keras", "tensorflow")
    compiled: ClassVar[bool] = False

    def __init__(self, model: Path, batch: int, threads: int):
        import tensorflow as tf

        loaded = keras_model(model, threads)
        self.constant = tf.constant
        self.function = tf.function(lambda x: loaded(x, training=False), jit_compile=self.compiled)

    def predict(self, x: Rows) -> np.ndarray:
        given = {name: self.constant(array) for name, array in x.items()} if isinstance(x, dict) else self.constant(x)
        return self.function(given).numpy()


class XLA(TensorFlowFunction):
    label = "XLA"
    compiled = True


def keras_model(path: Path, threads: int) -> Any:
    """The workload's model in Keras 3, with the weights of the file, on so many threads."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    import tensorflow as tf

    from .workloads import WORKLOADS

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    (workload,) = (workload for workload in WORKLOADS if workload.name == path.stem)
    model = workload.model(keras)
    model.load_weights(path, by_name=not workload.chain)  # graphs are in another order there
    return model
