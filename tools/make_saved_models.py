"""Make SavedModel folders and TensorFlow checkpoints with an installed tf.keras or tf_keras, and record what it predicts.

``python tools/make_saved_models.py FOLDER [--only REGEX]`` runs under every TensorFlow 2 (so it is written for Python 3.7 to 3.13). For
each case it writes ``FOLDER/CASE/`` with ``saved`` (the SavedModel), ``model.h5`` and ``model.json`` of the same model, ``checkpoint``
(``save_weights``), ``tracked`` (``tf.train.Checkpoint``) and ``arrays.npz``: inputs ``x0, ...`` and outputs ``y0, ...`` of ``predict``, or
``x0_call0, ...`` of a stateful model's calls. ``tests/helpers/saved_models.py`` checks them against fastlstm, and cuts them down to what
is kept in tests/corpus/recorded.
"""

import argparse
import json
import os
import re
import shutil
import sys
import time
import traceback
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


# -- seed models -----------------------------------------------------------------------------------------------------------


def trained(model, given, target, loss="mse"):
    model.compile("adam", loss)
    model.fit(given, target, epochs=1, batch_size=16, verbose=0)
    return model


@case(trained=True)
def seed_lstm50_relu_trained():
    given = (x(32, 10, 1) > 0).astype("float32")
    return trained(chain((10, 1), L.LSTM(50, activation="relu"), L.Dense(1)), given, given.sum(1)), [given[:6]]


@case(trained=True)
def seed_simplernn64_trained():
    given = (x(32, 50, 1) > 0).astype("float32")
    model = chain((50, 1), L.SimpleRNN(64), L.Dense(1, activation="sigmoid"))
    return trained(model, given, given.mean(1) > 0.5, "binary_crossentropy"), [given[:4]]


@case(trained=True)
def seed_masking_lstm128_trained():
    given = masked(16, 10, 1)
    return trained(chain((10, 1), L.Masking(0.0), L.LSTM(128), L.Dense(1)), given, given.sum(1)), [given]


@case()
def seed_lstm50_relu():
    return keras.Sequential([L.LSTM(50, activation="relu", input_shape=(10, 1)), L.Dense(1)]), [x(6, 10, 1) / 4]


@case()
def seed_simplernn64():
    return chain((50, 1), L.SimpleRNN(64), L.Dense(1, activation="sigmoid")), [x(4, 50, 1)]


@case()
def seed_emb_lstm64():
    return keras.Sequential([L.Embedding(1000, 32, input_length=200), L.LSTM(64), L.Dense(1, activation="sigmoid")]), [ids(1000, 4, 200)]


@case()
def seed_emb_gru64():
    return keras.Sequential([L.Embedding(1000, 32, input_length=200), L.GRU(64), L.Dense(1, activation="sigmoid")]), [ids(1000, 4, 200)]


@case()
def seed_stacked_lstm64_32():
    return chain((20, 1), L.LSTM(64, return_sequences=True), L.LSTM(32), L.Dense(1)), [x(4, 20, 1)]


@case()
def seed_bidir_lstm64():
    return keras.Sequential([L.Bidirectional(L.LSTM(64), input_shape=(20, 1)), L.Dense(1)]), [x(4, 20, 1)]


@case()
def seed_lstm64_dropout():
    return chain((20, 1), L.LSTM(64, dropout=0.3, recurrent_dropout=0.3), L.Dense(1)), [x(4, 20, 1)]


@case()
def seed_lstm128_dense():
    return chain((10, 1), L.LSTM(128), L.Dense(1)), [x(4, 10, 1)]


@case()
def seed_masking_lstm128():
    return chain((10, 1), L.Masking(0.0), L.LSTM(128), L.Dense(1)), [masked(5, 10, 1)]


@case()
def seed_emb3_mask_lstm128():
    inputs = [Input((12,), name=name) for name in ("a", "b", "c")]
    joined = L.concatenate([L.Embedding(50, 4, mask_zero=True)(one) for one in inputs])
    return Model(inputs, L.Dense(3, activation="softmax")(L.LSTM(128)(joined))), [
        ids(50, 4, 12) * (x(4, 12) > shift) for shift in (0, 1, -1)
    ]


@case()
def seed_rnn_lstmcell64():
    return chain((20, 1), L.RNN(L.LSTMCell(64)), L.Dense(1)), [x(4, 20, 1)]


# -- recurrent layers ------------------------------------------------------------------------------------------------------


def options_of(kind):
    layer = getattr(L, kind)

    def alone(**options):
        return lambda: (keras.Sequential([layer(4, input_shape=(6, 3), **options)]), [x(5, 6, 3)])

    def with_mask(**options):
        return lambda: (chain((6, 3), L.Masking(0.0), layer(4, **options)), [masked(5, 6, 3)])

    def states():
        given = Input((6, 3))
        return Model(given, layer(4, return_sequences=True, return_state=True)(given)), [x(5, 6, 3)]

    def initial():
        tensors = [Input((6, 3)), *(Input((4,)) for _ in range(2 if kind == "LSTM" else 1))]
        return Model(tensors, layer(4)(tensors[0], initial_state=tensors[1:])), [x(5, 6, 3), x(5, 4), x(5, 4) / 2][: len(tensors)]

    def stateful():
        return keras.Sequential([layer(4, stateful=True, return_sequences=True, batch_input_shape=(2, 3, 2)), layer(3, stateful=True)]), [
            x(2, 3, 2)
        ]

    def words():
        return chain((None,), L.Embedding(20, 5, mask_zero=True), layer(4), L.Dense(2)), [ids(20, 4, 7)]

    def both():
        return chain((6, 3), L.Bidirectional(layer(4, return_sequences=True)), L.Bidirectional(layer(3))), [x(5, 6, 3)]

    yield "last", alone(), {}
    yield "sequences", alone(return_sequences=True), {}
    yield "backwards", alone(return_sequences=True, go_backwards=True), {}
    yield "plain_bias", alone(use_bias=False, activation="relu", return_sequences=True), {}
    yield "implementation_1", alone(**({} if kind == "SimpleRNN" else {"implementation": 1})), {}
    yield "unrolled", alone(unroll=True), {}
    yield "mask", with_mask(), {}
    yield "mask_sequences", with_mask(return_sequences=True), {}
    yield "mask_backwards", with_mask(return_sequences=True, go_backwards=True), {}
    yield "states", states, {}
    yield "initial_state", initial, {}
    yield "stateful", stateful, {"calls": 3}
    yield "words", words, {}
    yield "both", both, {}


for KIND in KINDS:
    for NAME, FUNCTION, OPTIONS in options_of(KIND):
        case(name="%s_%s" % (KIND.lower(), NAME), **OPTIONS)(FUNCTION)


def merge_mode(mode):
    def function():
        given = Input((6, 3))
        found = L.Bidirectional(L.LSTM(4, return_sequences=True), merge_mode=mode)(L.Masking(0.0)(given))
        return Model(given, found), [masked(5, 6, 3)]

    return function


for MODE in ("concat", "sum", "mul", "ave", None):
    case(name="both_%s" % MODE)(merge_mode(MODE))


@case()
def both_backward_layer():
    return chain((6, 3), L.Bidirectional(L.LSTM(4), backward_layer=L.GRU(3, go_backwards=True))), [x(5, 6, 3)]


@case()
def both_states():
    given = Input((6, 3))
    return Model(given, L.Bidirectional(L.LSTM(4, return_state=True))(given)), [x(5, 6, 3)]


@case()
def gru_reset_before():
    return chain((6, 3), L.Masking(0.0), L.GRU(4, reset_after=False)), [masked(5, 6, 3)]


@case()
def gru_reset_after():
    return chain((6, 3), L.GRU(4, reset_after=True, recurrent_activation="hard_sigmoid")), [x(5, 6, 3)]


# -- cells -----------------------------------------------------------------------------------------------------------------


@case()
def cell_gru():
    return chain((6, 3), L.RNN(L.GRUCell(4), return_sequences=True)), [x(5, 6, 3)]


@case()
def cells_stacked():
    return chain((6, 3), L.RNN([L.LSTMCell(4), L.GRUCell(5), L.SimpleRNNCell(3)], return_sequences=True)), [x(5, 6, 3)]


@case()
def cells_stacked_mask():
    return chain((6, 3), L.Masking(0.0), L.RNN(L.StackedRNNCells([L.LSTMCell(4), L.LSTMCell(4)]))), [masked(5, 6, 3)]


@case()
def cells_both():
    return chain((6, 3), L.Bidirectional(L.RNN(L.GRUCell(4), return_sequences=True)), L.RNN(L.SimpleRNNCell(2))), [x(5, 6, 3)]


@case(calls=2)
def cells_stateful():
    return keras.Sequential([L.RNN(L.LSTMCell(4), stateful=True, batch_input_shape=(2, 3, 2)), L.Dense(1)]), [x(2, 3, 2)]


class DecayCell(L.Layer):
    """A cell of the user's own, with arrays that do not come by name: ``y = tanh(x K + decay * h R) * scale``."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = self.state_size = units

    def build(self, shape):
        self.scale = self.add_weight("scale", (self.units,), trainable=False, initializer="ones")
        self.zz = self.add_weight("zz", (shape[-1], self.units))
        self.aa = self.add_weight("aa", (self.units, self.units))
        self.built = True

    def call(self, inputs, states):
        found = tf.tanh(tf.matmul(inputs, self.zz) + 0.5 * tf.matmul(states[0], self.aa)) * self.scale
        return found, [found]

    def get_config(self):
        return dict(super().get_config(), units=self.units)


@case(custom="DecayCell")
def cell_custom():
    return chain((6, 3), L.RNN(DecayCell(4), return_sequences=True), L.Dense(2)), [x(5, 6, 3)]


class Gated(L.Layer):
    """A layer of the user's own with layers inside."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units
        self.offset = self.add_weight("offset", (units,), trainable=False)
        self.second, self.first = L.Dense(units), L.Dense(units, activation="sigmoid")

    def call(self, inputs):
        return self.first(inputs) * self.second(inputs) + self.offset

    def get_config(self):
        return dict(super().get_config(), units=self.units)


@case(custom="Gated")
def layer_custom():
    return chain((6, 3), L.LSTM(4, return_sequences=True), Gated(3), L.GRU(2)), [x(5, 6, 3)]


# -- graphs ----------------------------------------------------------------------------------------------------------------


@case()
def time_distributed_dense():
    return chain((6, 3), L.LSTM(4, return_sequences=True), L.TimeDistributed(L.Dense(2))), [x(5, 6, 3)]


@case()
def time_distributed_lstm():
    return chain((3, 5, 2), L.TimeDistributed(L.LSTM(4)), L.GRU(3)), [x(4, 3, 5, 2)]


@case()
def time_distributed_model():
    return chain((3, 5, 2), L.TimeDistributed(chain((5, 2), L.LSTM(4), L.Dense(3))), L.GRU(3)), [x(4, 3, 5, 2)]


@case()
def nested_sequential():
    return chain((6, 3), chain((6, 3), L.LSTM(4, return_sequences=True), L.Dense(3)), L.GRU(2)), [x(5, 6, 3)]


@case()
def nested_functional():
    inner = Input((6, 3))
    inside = Model(inner, [L.LSTM(4)(inner), L.Dense(2)(inner)], name="inside")
    given = Input((6, 3))
    last, every = inside(given)
    return Model(given, [L.Dense(2)(last), L.LSTM(2)(every)]), [x(5, 6, 3)]


@case()
def nested_deep():
    inside = chain((6, 3), chain((6, 3), chain((6, 3), L.Dense(3)), L.LSTM(3, return_sequences=True)), L.BatchNormalization())
    return chain((6, 3), inside, L.GRU(2)), [x(5, 6, 3)]


@case()
def shared_layer():
    a, b, layer = Input((6, 3)), Input((4, 3)), L.LSTM(4)
    return Model([a, b], L.Dense(2)(L.concatenate([layer(a), layer(b)]))), [x(5, 6, 3), x(5, 4, 3)]


@case()
def shared_model():
    a, b, twin = Input((6, 3)), Input((6, 3)), chain((6, 3), L.GRU(4), L.Dense(3))
    return Model([a, b], L.Subtract()([twin(a), twin(b)])), [x(5, 6, 3), x(5, 6, 3)[::-1]]


@case()
def encoder_decoder():
    source, target = Input((5, 2)), Input((4, 3))
    _, h, c = L.LSTM(6, return_state=True)(source)
    return Model([source, target], L.Dense(2)(L.LSTM(6, return_sequences=True)(target, initial_state=[h, c]))), [x(5, 5, 2), x(5, 4, 3)]


@case()
def repeated():
    return chain((5, 2), L.LSTM(6), L.RepeatVector(4), L.LSTM(5, return_sequences=True), L.TimeDistributed(L.Dense(2))), [x(4, 5, 2)]


@case()
def several_outputs():
    given = Input((6, 3))
    shared = L.LSTM(4, return_sequences=True)(given)
    return Model(given, [L.Dense(2, name="b")(L.GRU(3)(shared)), L.Dense(1, name="a")(shared), given]), [x(5, 6, 3)]


@case()
def residual():
    given = Input((6, 3))
    one = L.add([L.LSTM(3, return_sequences=True)(given), given])
    return Model(given, L.LSTM(2)(L.multiply([one, L.Dense(3, activation="sigmoid")(one)]))), [x(5, 6, 3)]


@case()
def twelve_layers():
    return chain((6, 3), *(L.GRU(3, return_sequences=True) for _ in range(12)), L.Dense(1)), [x(3, 6, 3)]


@case()
def operations():
    given = Input((6, 3))
    y = L.LSTM(4, return_sequences=True)(given)
    return Model(given, L.Dense(2)(tf.concat([y[:, -1] * 2.0 + 1.0, tf.reduce_mean(y, axis=1)], axis=-1))), [x(5, 6, 3)]


@case()
def attention():
    given = Input((6, 3))
    y = L.GRU(4, return_sequences=True)(L.Masking(0.0)(given))
    return Model(given, L.GlobalAveragePooling1D()(L.add([L.Attention(use_scale=True)([y, y]), L.AdditiveAttention()([y, y])]))), [
        masked(5, 6, 3)
    ]


@case(since=(2, 4))
def heads():
    given = Input((6, 4))
    y = L.GRU(4, return_sequences=True)(given)
    return Model(given, L.LayerNormalization()(y + L.MultiHeadAttention(2, 3)(y, y))), [x(4, 6, 4)]


@case()
def conv_lstm():
    return chain((4, 5, 5, 2), L.ConvLSTM2D(3, 2, padding="same", return_sequences=True), L.ConvLSTM2D(2, 2), L.Flatten(), L.Dense(2)), [
        x(2, 4, 5, 5, 2)
    ]


@case()
def conv_lstm_both():
    return chain((4, 5, 5, 2), L.Bidirectional(L.ConvLSTM2D(3, 2, return_sequences=True))), [x(2, 4, 5, 5, 2)]


# -- every other layer that has weights ------------------------------------------------------------------------------------


@case()
def convolutions_1d():
    return chain(
        (12, 4), L.Conv1D(5, 3), L.BatchNormalization(), L.PReLU(), L.SeparableConv1D(6, 2), L.LayerNormalization(),
        L.LocallyConnected1D(3, 2), L.LSTM(4),
    ), [x(3, 12, 4)]  # fmt: skip


@case()
def convolutions_2d():
    return chain(
        (9, 9, 2), L.Conv2D(3, 3), L.DepthwiseConv2D(2), L.SeparableConv2D(4, 2), L.Conv2DTranspose(2, 2),
        L.BatchNormalization(scale=False), L.LocallyConnected2D(2, 2), L.Flatten(), L.Dense(2),
    ), [x(2, 9, 9, 2)]  # fmt: skip


@case()
def convolutions_3d():
    return chain((5, 5, 5, 1), L.Conv3D(2, 2), L.Conv3DTranspose(1, 2), L.Flatten(), L.Dense(2)), [x(2, 5, 5, 5, 1)]


@case(since=(2, 8))
def newer_weights():
    given = Input((12, 4))
    y = L.DepthwiseConv1D(2)(L.Conv1DTranspose(4, 2)(given))
    y = L.EinsumDense("abc,cd->abd", output_shape=(None, 4), bias_axes="d")(y)
    return Model(given, L.ConvLSTM1D(4, 1)(L.Reshape((12, 2, 2))(y))), [x(2, 12, 4)]


@case(since=(2, 13))
def normalising():
    return chain((12, 4), L.Conv1D(4, 3), L.GroupNormalization(2), L.UnitNormalization(), L.LSTM(3)), [x(3, 12, 4)]


@case()
def frozen():
    model = chain(
        (6, 3), L.Dense(3), L.BatchNormalization(), chain((6, 3), L.LSTM(3, return_sequences=True), L.BatchNormalization()), L.GRU(2)
    )
    model.layers[0].trainable = model.layers[2].trainable = False
    return model, [x(5, 6, 3)]


@case()
def float64():
    return chain((6, 3), L.LSTM(4, dtype="float64"), L.Dense(2, dtype="float64"), dtype="float64"), [x(5, 6, 3)]


@case(since=(2, 4))
def mixed_float16():
    return chain((6, 3), L.LSTM(4, dtype="mixed_float16"), L.Dense(2, dtype="float32")), [x(5, 6, 3)]


@case(trained=True)
def compiled():
    model = chain((6, 3), L.LSTM(4), L.Dense(1, activation="sigmoid"))
    model.compile("rmsprop", "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(name="auc")])
    model.fit(x(16, 6, 3), x(16, 1) > 0, epochs=2, verbose=0)
    return model, [x(5, 6, 3)]


# -- preprocessing ---------------------------------------------------------------------------------------------------------


@case(since=(2, 3), trained=True)
def normalization():
    layer = P.Normalization()
    layer.adapt(x(50, 6, 3) * 3 + 1)
    return chain((6, 3), layer, L.LSTM(4)), [x(5, 6, 3)]


TEXTS = ["the cat sat on the mat", "A dog, a dog! Really?", "caf\u00e9 of the cat", "", "unknown words only"]


def recurrent_on(layer, given, dtype, terms, shape=(1,)):
    return chain(shape, layer, L.Embedding(terms, 5), L.LSTM(4), L.Dense(2), dtype=dtype), [given]


@case(since=(2, 3), trained=True, text=True)
def text_adapted():
    layer = (P if TF < (2, 6) else L).TextVectorization(max_tokens=12, output_sequence_length=6)
    layer.adapt(np.array(TEXTS[:4]))
    return recurrent_on(layer, np.array(TEXTS)[:, None], "string", 12)


@case(since=(2, 4), trained=True, text=True)
def text_given():
    layer = P.TextVectorization(output_sequence_length=6, vocabulary=["the", "cat", "dog", "caf\u00e9"])
    return recurrent_on(layer, np.array(TEXTS)[:, None], "string", 8)


@case(since=(2, 4), trained=True, text=True)
def text_file():
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), "terms.txt")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("the\ncat\ndog\ncaf\u00e9\n")
    return recurrent_on(P.TextVectorization(output_sequence_length=6, vocabulary=path), np.array(TEXTS)[:, None], "string", 8)


@case(since=(2, 6), trained=True, text=True)
def text_tf_idf():
    layer = P.TextVectorization(max_tokens=12, output_mode="tf_idf" if TF >= (2, 7) else "tf-idf")
    layer.adapt(np.array(TEXTS[:4]))
    return chain((1,), layer, L.Dense(3), dtype="string"), [np.array(TEXTS)[:, None]]


@case(since=(2, 4), trained=True, text=True)
def strings_looked_up():
    layer = P.StringLookup(vocabulary=["red", "green", "blue"])
    return recurrent_on(layer, np.array([["red", "blue", "?"], ["", "green", "red"]]), "string", 8, (3,))


@case(since=(2, 4), trained=True)
def integers_adapted():
    layer = P.IntegerLookup()
    layer.adapt(np.array([[5], [7], [7], [42]]))
    return recurrent_on(layer, np.array([[5, 7, 1], [42, 0, 7]], "int64"), "int64", 8, (3,))


@case(since=(2, 6), trained=True, text=True)
def strings_adapted_one_hot():
    layer = P.StringLookup(output_mode="multi_hot" if TF >= (2, 7) else "binary")
    layer.adapt(np.array([["red"], ["green"], ["red"]]))
    return chain((3,), layer, L.Dense(2), dtype="string"), [np.array([["red", "blue", "?"], ["", "green", "red"]])]


# -- writing ---------------------------------------------------------------------------------------------------------------


def shake(model, name):
    """Weights that tell one from another, biases and statistics too."""
    values = []
    for number, (variable, value) in enumerate(zip(model.weights, model.get_weights())):
        if getattr(value, "dtype", np.dtype(object)).kind != "f":
            values.append(value)
            continue
        fresh = normal("%s %d" % (name, number), *value.shape) * (1.2 / np.sqrt(max(value.shape[0], 1)) if value.ndim > 1 else 0.3)
        values.append(np.abs(fresh) + 0.5 if "variance" in variable.name else fresh)
    model.set_weights(values)


def flat(found):
    if isinstance(found, (list, tuple)):
        return [array for each in found for array in flat(each)]
    return [np.asarray(found)]


def predicted(model, given, calls):
    """Arrays by name, in the order in which they go in and come out."""
    if not calls:
        found = {"y%d" % number: y for number, y in enumerate(flat(model.predict(given if len(given) > 1 else given[0], verbose=0)))}
        return dict(found, **{"x%d" % number: one for number, one in enumerate(given)})
    found = {}
    for call in range(calls):
        turned = [np.roll(one, call, axis=1) for one in given]
        outputs = flat(model.predict(turned[0], batch_size=len(turned[0]), verbose=0))
        found.update({"x%d_call%d" % (number, call): one for number, one in enumerate(turned)})
        found.update({"y%d_call%d" % (number, call): one for number, one in enumerate(outputs)})
    return found


def reset(model):
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_states()


def write(name, folder):
    function, options = CASES[name]
    if not options["since"] <= TF <= options["until"]:
        return "skipped"
    keras.backend.clear_session()
    model, given = function()
    if not options.get("trained"):
        shake(model, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    arrays = predicted(model, given, options["calls"])
    if options["calls"]:
        reset(model)
    arrays = {
        key: value.astype("S") if value.dtype.kind == "U" and all(ord(c) < 128 for c in "".join(value.ravel())) else value
        for key, value in arrays.items()
    }
    np.savez_compressed(os.path.join(folder, "arrays.npz"), **arrays)
    model.save(os.path.join(folder, "saved"), save_format="tf")
    with open(os.path.join(folder, "model.json"), "w") as stream:
        stream.write(model.to_json())
    model.save_weights(os.path.join(folder, "checkpoint", "weights"), save_format="tf")
    tf.train.Checkpoint(model=model).save(os.path.join(folder, "tracked", "all"))
    about = {"tensorflow": tf.__version__, "keras": getattr(keras, "__version__", ""), "calls": options["calls"], "inputs": len(given)}
    about.update(custom=options.get("custom", ""), text=bool(options.get("text")))
    try:
        model.save(os.path.join(folder, "model.h5"))
    except Exception as error:  # noqa: BLE001  some layers cannot be saved so
        about["h5"] = "%s: %s" % (type(error).__name__, str(error)[:200])
        if os.path.exists(os.path.join(folder, "model.h5")):
            os.remove(os.path.join(folder, "model.h5"))
    with open(os.path.join(folder, "about.json"), "w") as stream:
        json.dump(about, stream)
    return "written"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--only", default="", help="regular expression for the names of cases")
    options = parser.parse_args()
    counts = {}
    for name in CASES:
        if not re.search(options.only, name) or os.path.exists(os.path.join(options.folder, name, "about.json")):
            continue
        begun = time.time()
        try:
            outcome = write(name, os.path.join(options.folder, name))
        except Exception as error:  # noqa: BLE001  this Keras lacks the layer, or cannot save it
            outcome = "failed"
            shutil.rmtree(os.path.join(options.folder, name), ignore_errors=True)
            print("".join(traceback.format_exception_only(type(error), error))[:300])
            if os.environ.get("TRACE"):
                traceback.print_exc()
        counts[outcome] = counts.get(outcome, 0) + 1
        print("%-9s %-32s %.1f s" % (outcome, name, time.time() - begun), flush=True)
    print(tf.__version__, counts)


if __name__ == "__main__":
    sys.exit(main())
