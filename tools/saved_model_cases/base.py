"""What cases of SavedModels share: the tf.keras that is there, the register of cases, their inputs."""

import os
import zlib

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import tensorflow as tf

TF = tuple(int(part) for part in tf.__version__.split(".")[:2])
if TF >= (2, 16):
    import tf_keras as keras
else:
    keras = tf.keras
L, Input, Model = keras.layers, keras.Input, keras.Model
P = L.experimental.preprocessing if hasattr(L, "experimental") and TF < (2, 6) else L
CASES = {}
KINDS = ("LSTM", "GRU", "SimpleRNN")


def case(since=(2, 0), calls=0, until=(9, 9), name="", **options):
    """Register a function that gives a model and its inputs."""

    def register(function):
        CASES[name or function.__name__] = (function, dict(options, since=since, until=until, calls=calls))
        return function

    return register


def normal(name, *shape):
    """Numbers that depend on the name alone, the same under every generation."""
    state = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    return state.normal(size=shape).astype("float32")


def x(*shape):
    return normal("x", *shape)


def ids(most, *shape):
    return np.random.RandomState(5).randint(0, most, size=shape).astype("int32")


def masked(*shape):
    """Rows that are full, padded in front, padded behind, with holes, and with nothing at all."""
    given = x(*shape)
    given[1, : shape[1] // 2] = 0
    given[2, shape[1] // 2 :] = 0
    given[3, 1::2] = 0
    given[4] = 0
    return given


def chain(shape, *layers, **options):
    return keras.Sequential([Input(shape, **options), *layers])
