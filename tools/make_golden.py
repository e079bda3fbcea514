# -*- coding: utf-8 -*-
"""Make the project's own golden set: small models saved by a Keras, with what that very Keras predicts for them.

Runs under every generation, so it is written for Python 2.7 to 3.13 and for whatever Keras is installed::

    GOLDEN_API=keras|tf.keras|tf_keras python tools/make_golden.py GENERATION

writes ``tests/corpus/recorded/GENERATION.tar.xz`` (``.tar.gz`` needs no lzma: Python 2.7 writes that, to be repacked by hand). The
layout is that of the large corpus: ``index.jsonl``, and for each case ``CASE.h5`` (and ``CASE.keras`` where the Keras writes
it) and ``CASE.npz`` with inputs ``x0, ...`` and outputs ``y0, ...``, or ``x0_call0, ...`` for stateful models.

Made so far with: Keras 1.2.2 on Theano 0.9 (Python 2.7), Keras 2.2.4 on TensorFlow 1.5 (3.6), tf.keras of TensorFlow 1.15
(3.7), tf_keras 2.21 and Keras 3.15 on TensorFlow 2.21 (3.11).
"""

from __future__ import print_function

import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import zlib

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

API = os.environ.get("GOLDEN_API", "keras")
if API == "keras":
    import keras
elif API == "tf_keras":
    import tf_keras as keras
else:
    import tensorflow

    keras = tensorflow.keras
VERSION = getattr(keras, "__version__", "") or tensorflow.__version__  # TensorFlow 2.15 does not say
MAJOR = int(VERSION.split(".")[0])
L = keras.layers
Sequential, Model = keras.models.Sequential, keras.models.Model
Input = L.Input
HERE = os.path.dirname(os.path.abspath(__file__))
KIND = "xz" if sys.version_info[0] > 2 else "gz"
CASES = {}


def case(function):
    """Register a function that returns a model, its inputs, and how many calls a stateful one gets (0: stateless)."""
    CASES[function.__name__] = function
    return function


def random(name, *shape):
    """Numbers that depend on the name alone, the same under every generation."""
    state = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    return state.normal(size=shape).astype("float32")


def masked(x):
    """Rows with no, leading, trailing, scattered and only masked steps."""
    x = x.copy()
    x[1, :3] = x[2, 3:] = x[3, 1::2] = x[4] = 0
    return x


def ids(name, vocabulary, rows, steps):
    return (np.abs(random(name, rows, steps) * 1000).astype("int32") % (vocabulary - 1)) + 1


def chain(*layers):
    model = Sequential()
    for layer in layers:
        model.add(layer)
    return model


def recurrent_activation(value):
    return {"inner_activation" if MAJOR < 2 else "recurrent_activation": value}


@case
def lstm_masked():
    model = chain(L.Masking(0.0, input_shape=(6, 3)), L.LSTM(4, return_sequences=True), L.LSTM(3), L.Dense(2))
    return model, [masked(random("x", 5, 6, 3))], 0


@case
def lstm_hard_relu():
    cell = L.LSTM(5, activation="relu", input_shape=(4, 2), **recurrent_activation("hard_sigmoid"))
    return chain(cell, L.Dense(1)), [random("x", 3, 4, 2)], 0


@case
def gru_embedding():
    model = chain(L.Embedding(11, 4, mask_zero=True, input_shape=(6,)), L.GRU(5), L.Dense(2, activation="softmax"))
    return model, [masked(ids("x", 11, 5, 6))], 0


@case
def simplernn_backwards():
    inner = L.SimpleRNN(4, go_backwards=True, return_sequences=True, input_shape=(5, 3))
    return chain(inner, L.TimeDistributed(L.Dense(2))), [random("x", 3, 5, 3)], 0


@case
def bidirectional_masked():
    both = L.Bidirectional(L.LSTM(3, return_sequences=True))
    return chain(L.Masking(0.0, input_shape=(6, 3)), both), [masked(random("x", 5, 6, 3))], 0


@case
def lstm_stateful():
    layer = L.LSTM(4, stateful=True, batch_input_shape=(3, 4, 2)) if MAJOR < 3 else L.LSTM(4, stateful=True)
    first = [] if MAJOR < 3 else [Input(batch_shape=(3, 4, 2))]
    return chain(*(first + [layer, L.Dense(2)])), [random("x", 3, 4, 2)], 3


@case
def convolution():
    kind = L.Conv1D if MAJOR > 1 else L.Convolution1D
    layer = kind(4, 3, activation="relu", input_shape=(8, 2))
    return chain(layer, L.MaxPooling1D(2), L.BatchNormalization(), L.LSTM(3)), [random("x", 3, 8, 2)], 0


@case
def two_inputs():
    if MAJOR < 2:
        return None
    a, b = Input((5, 2)), Input((3,))
    joined = L.concatenate([L.GRU(3)(a), L.Dense(4, activation="tanh")(b)])
    return Model([a, b], [L.Dense(2)(joined), joined]), [random("a", 4, 5, 2), random("b", 4, 3)], 0


@case
def encoder_decoder():
    if MAJOR < 2:
        return None
    a, b = Input((None, 3)), Input((None, 2))
    _, h, c = L.LSTM(4, return_state=True)(a)
    return Model([a, b], L.LSTM(4, return_sequences=True)(b, initial_state=[h, c])), [random("a", 3, 5, 3), random("b", 3, 4, 2)], 0


@case
def nested():
    if MAJOR < 2:
        return None
    inner = chain(L.LSTM(4, return_sequences=True, input_shape=(5, 2)), L.BatchNormalization(), L.Dense(3, activation="tanh"))
    a = Input((5, 2))
    return Model(a, L.Dense(2)(L.GRU(3)(inner(a)))), [random("x", 4, 5, 2)], 0


@case
def cells():
    if not hasattr(L, "RNN"):
        return None
    layer = L.RNN([L.LSTMCell(4), L.GRUCell(4)], return_sequences=True)
    return chain(L.Masking(0.0, input_shape=(6, 3)), layer), [masked(random("x", 5, 6, 3))], 0


def randomise(model, name):
    """Weights of a useful size, variances positive."""
    weights = []
    for number, array in enumerate(model.get_weights()):
        new = random("%s/%d" % (name, number), *array.shape) * (0.4 if array.ndim > 1 else 0.3)
        positive = array.ndim == 1 and array.size and np.all(array == 1)  # moving variances and scales start from ones
        weights.append(np.abs(new) + 0.5 if positive else new)
    model.set_weights([np.asarray(w, a.dtype) for w, a in zip(weights, model.get_weights())])


def predict(model, xs):
    y = model.predict(xs if len(xs) > 1 else xs[0], batch_size=len(xs[0]), verbose=0)
    return y if isinstance(y, (list, tuple)) else [y]


def make(name, folder):
    """Write one case; its line of the index, or None where this Keras cannot build it."""
    made = CASES[name]()
    if made is None:
        return None
    model, xs, calls = made
    randomise(model, name)
    data = {}
    for call in range(max(calls, 1)):
        suffix = "_call%d" % call if calls else ""
        for number, array in enumerate(xs):
            data["x%d%s" % (number, suffix)] = np.roll(array, call, axis=1)
        for number, array in enumerate(predict(model, [np.roll(x, call, axis=1) for x in xs])):
            data["y%d%s" % (number, suffix)] = array
    np.savez_compressed(os.path.join(folder, name + ".npz"), **data)
    files = [name + ".npz", name + ".h5"]
    model.save(os.path.join(folder, name + ".h5"))
    if MAJOR >= 3 or API == "tf_keras":
        model.save(os.path.join(folder, name + ".keras"))
        files.append(name + ".keras")
    return {"case": name, "files": sorted(files), "layers": [], "refuse": "", "stateful": bool(calls)}


def cases(folder):
    """A line of the index for each case that this Keras can build."""
    for name in sorted(CASES):
        record = make(name, folder)
        print("made" if record else "not in this Keras:", name)
        if record:
            yield record


def archive_path(generation):
    """Where the archive of a generation lies."""
    return os.path.join(HERE, "..", "tests", "corpus", "recorded", "%s.tar.%s" % (generation, KIND))


def write(generation, made):
    """The archive of a generation: ``made(folder)`` puts the files into a folder and gives the records of its index."""
    scratch = tempfile.mkdtemp()
    folder = os.path.join(scratch, generation)
    os.mkdir(folder)
    backend = keras.config.backend() if MAJOR >= 3 else keras.backend.backend()
    try:
        lines = [dict(record, gen=generation, keras=VERSION, backend=backend) for record in made(folder)]
        with io.open(os.path.join(folder, "index.jsonl"), "w", encoding="utf-8") as index:
            index.write("".join("%s\n" % json.dumps(line, sort_keys=True) for line in lines))
        target = archive_path(generation)
        if not os.path.isdir(os.path.dirname(target)):
            os.makedirs(os.path.dirname(target))
        with tarfile.open(target, "w:" + KIND) as archive:
            archive.add(folder, generation)
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    write(sys.argv[1], cases)
