"""Graphs of layers, every other layer that has weights, preprocessing."""

import os

from .base import TF, Input, L, Model, P, case, chain, keras, masked, np, tf, x

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
