"""Seed models, recurrent layers, cells."""

from .base import KINDS, Input, L, Model, case, chain, ids, keras, masked, tf, x

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
