"""Options and inputs against a live Keras 3 and tf_keras: many layers as outputs of one model, so that Keras traces once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import golden
import numpy as np
import pytest

import fastlstm

pytestmark = [pytest.mark.keras, pytest.mark.slow]

FEATURES, TIMESTEPS = 3, 7
#: Masks do not meet these; tf_keras takes seconds to trace each.
WITHOUT_MASK = ("sixteen_units", "odd_units", "no_bias", "softmax")
CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "LSTM": ("LSTM", {}),
    "GRU": ("GRU", {"reset_after": True}),
    "GRU_before": ("GRU", {"reset_after": False}),
    "SimpleRNN": ("SimpleRNN", {}),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {"units": 5},
    "one_unit": {"units": 1, "return_sequences": True},
    "sixteen_units": {"units": 16},
    "odd_units": {"units": 33, "return_sequences": True},
    "no_bias": {"units": 4, "use_bias": False},
    "backwards": {"units": 4, "go_backwards": True},
    "backwards_sequences": {"units": 4, "go_backwards": True, "return_sequences": True},
    "relu": {"units": 4, "activation": "relu", "return_sequences": True},
    "hard_gates": {"units": 4, "recurrent_activation": "hard_sigmoid", "return_sequences": True},
    "softmax": {"units": 4, "activation": "softmax"},
    "unrolled": {"units": 4, "unroll": True, "return_sequences": True},
    "states": {"units": 6, "return_sequences": True, "return_state": True},
}


def layer(keras: ModuleType, cell: str, **options: Any) -> Any:
    class_name, own = CELLS[cell]
    if class_name == "SimpleRNN":
        options.pop("recurrent_activation", None)
    return getattr(keras.layers, class_name)(**own, **options)


def stir(model: Any, rng: np.random.Generator) -> None:
    """Random weights, biases too: an untrained model's zeros would hide mistakes."""
    model.set_weights([(rng.normal(size=w.shape) * (0.5 if w.ndim > 1 else 0.3)).astype(w.dtype) for w in model.get_weights()])


Predict = Callable[[Any], dict[str, np.ndarray]]


def named_outputs(model: Any, names: list[str], path: Path) -> tuple[Predict, Predict]:
    """Save the model and load it: (Keras's predict, fastlstm's predict), outputs by name."""
    model.save(path)
    loaded = fastlstm.load(path)

    def by_name(outputs: Any) -> dict[str, np.ndarray]:
        return dict(zip(names, golden.flat(outputs), strict=True))

    return lambda x: by_name(model.predict(x, verbose=0)), lambda x: by_name(loaded.predict(x))


def assert_equal(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    failures = []
    for name, y in expected.items():
        if actual[name].shape != y.shape:
            failures.append(f"{name}: shape {actual[name].shape}, Keras {y.shape}")
        elif not golden.difference(actual[name], y) <= golden.bound(y):
            failures.append(f"{name}: differs by {golden.difference(actual[name], y):.3g}, allowed {golden.bound(y):.3g}")
    assert not failures, "\n".join(failures)


def mask_patterns(x: np.ndarray, value: float = 0.0) -> np.ndarray:
    """Rows masked in every manner: not, at the head, at the tail, holes, first step, last step, all but one, entirely."""
    x = x.copy()
    x[1, :3] = value
    x[2, 4:] = value
    x[3, 1::2] = value
    x[4, 0] = value
    x[5, -1] = value
    x[6, :2] = x[6, 3:] = value
    x[7] = value
    return x


@pytest.fixture(scope="module", params=CELLS)
def cell(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def plain(keras: ModuleType, cell: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Every option of a cell on an input without mask, of any length."""
    start = keras.Input((None, FEATURES))
    outputs, names = [], []
    for name, options in OPTIONS.items():
        if options.get("unroll"):
            continue  # needs a fixed length
        made = as_list(layer(keras, cell, **options)(start))
        outputs += made
        names += [f"{name}/{number}" for number in range(len(made))]
    model = keras.Model(start, outputs)
    stir(model, np.random.default_rng(1))
    return named_outputs(model, names, tmp_path_factory.mktemp("plain") / "model.h5")


def as_list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


INPUTS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "usual": lambda rng: rng.normal(size=(5, TIMESTEPS, FEATURES)),
    "one step": lambda rng: rng.normal(size=(3, 1, FEATURES)),
    "one row": lambda rng: rng.normal(size=(1, TIMESTEPS, FEATURES)),
    "many rows": lambda rng: rng.normal(size=(29, TIMESTEPS, FEATURES)),
    "tiny": lambda rng: 1e-6 * rng.normal(size=(4, TIMESTEPS, FEATURES)),
    "zeros": lambda rng: np.zeros((2, TIMESTEPS, FEATURES)),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_options(plain: Any, kind: str) -> None:
    ask_keras, ask_fastlstm = plain
    x = INPUTS[kind](np.random.default_rng(2)).astype(np.float32)
    assert_equal(ask_fastlstm(x), ask_keras(x))


def test_large_inputs(plain: Any) -> None:
    """Gates saturate; relu cells grow."""
    ask_keras, ask_fastlstm = plain
    x = (30 * np.random.default_rng(3).normal(size=(6, TIMESTEPS, FEATURES))).astype(np.float32)
    assert_equal(ask_fastlstm(x), ask_keras(x))


def test_not_a_number(plain: Any) -> None:
    """NaN and infinities come out where Keras gives them, in their own rows only."""
    ask_keras, ask_fastlstm = plain
    x = np.random.default_rng(4).normal(size=(13, TIMESTEPS, FEATURES)).astype(np.float32)
    x[2, 3, 1] = np.nan
    x[4, 0] = np.inf
    x[5, -1, 0] = -np.inf
    x[9] = np.nan
    expected, actual = ask_keras(x), ask_fastlstm(x)
    sound = [row for row in range(len(x)) if row not in (2, 4, 5, 9)]
    assert_equal({name: y[sound] for name, y in actual.items()}, {name: y[sound] for name, y in expected.items()})
    assert_equal({name: y[[2, 9]] for name, y in actual.items()}, {name: y[[2, 9]] for name, y in expected.items()})
    # The softmax of an infinity is NaN; TensorFlow's kernel writes it into some of the units only.
    assert_equal(*({name: y for name, y in outputs.items() if "softmax" not in name} for outputs in (actual, expected)))


def test_masks(keras: ModuleType, cell: str, tmp_path: Path) -> None:
    start = keras.Input((TIMESTEPS, FEATURES))
    masked = keras.layers.Masking(0.0)(start)
    outputs, names = [], []
    for name, options in OPTIONS.items():
        if name in WITHOUT_MASK:
            continue
        made = as_list(layer(keras, cell, **options)(masked))
        outputs += made
        names += [f"{name}/{number}" for number in range(len(made))]
    for merge_mode, sequences in (("concat", False), ("concat", True), ("sum", True)):
        wrapper = keras.layers.Bidirectional(layer(keras, cell, units=4, return_sequences=sequences), merge_mode=merge_mode)
        outputs.append(wrapper(masked))
        names.append(f"bidirectional {merge_mode} {'sequences' if sequences else 'last'}")
    deep = layer(keras, cell, units=4, return_sequences=True)(masked)
    deep = keras.layers.TimeDistributed(keras.layers.Dense(3, activation="tanh"))(deep)
    outputs.append(layer(keras, cell, units=3, return_sequences=True, go_backwards=True)(deep))
    names.append("stacked")
    model = keras.Model(start, outputs)
    stir(model, np.random.default_rng(5))
    ask_keras, ask_fastlstm = named_outputs(model, names, tmp_path / "model.h5")
    x = mask_patterns(np.random.default_rng(6).normal(size=(8, TIMESTEPS, FEATURES)).astype(np.float32))
    assert_equal(ask_fastlstm(x), ask_keras(x))


def test_ids(keras: ModuleType, tmp_path: Path) -> None:
    """Embedding with and without mask before each cell, ids as integers and as floats."""
    start = keras.Input((None,))
    shared = keras.layers.Embedding(20, 6, mask_zero=True)(start)
    bare = keras.layers.Embedding(20, 6)(start)
    outputs = [layer(keras, cell, units=9)(ids) for cell in CELLS for ids in (shared, bare)]
    outputs.append(keras.layers.Dense(4, activation="softmax")(shared))
    model = keras.Model(start, outputs)
    stir(model, np.random.default_rng(7))
    ask_keras, ask_fastlstm = named_outputs(model, [f"output {number}" for number in range(len(outputs))], tmp_path / "model.h5")
    ids = np.random.default_rng(8).integers(1, 20, (8, TIMESTEPS))
    ids = mask_patterns(ids[..., None].astype(np.int32), 0)[..., 0]
    expected = ask_keras(ids)
    assert_equal(ask_fastlstm(ids), expected)
    assert_equal(ask_fastlstm(ids.astype(np.float32)), expected)


def test_two_directions_two_layers(keras: ModuleType, tmp_path: Path) -> None:
    """The usual deep chain: no mask, bidirectional twice, Dense on every step and at the end."""
    layers = [
        keras.Input((TIMESTEPS, FEATURES)),
        keras.layers.Bidirectional(keras.layers.LSTM(17, return_sequences=True)),
        keras.layers.TimeDistributed(keras.layers.Dense(10, activation="relu")),
        keras.layers.Bidirectional(keras.layers.GRU(9), merge_mode="ave"),
        keras.layers.Dense(3, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    stir(model, np.random.default_rng(9))
    ask_keras, ask_fastlstm = named_outputs(model, ["y"], tmp_path / "model.h5")
    x = np.random.default_rng(10).normal(size=(19, TIMESTEPS, FEATURES)).astype(np.float32)
    assert_equal(ask_fastlstm(x), ask_keras(x))


def test_stateful(keras: ModuleType, tmp_path: Path) -> None:
    """State is carried across calls and batches until it is reset."""
    layers = [
        keras.Input(batch_shape=(2, 4, FEATURES)),
        keras.layers.LSTM(5, stateful=True, return_sequences=True),
        keras.layers.GRU(4, stateful=True),
        keras.layers.Dense(2),
    ]
    model = keras.Sequential(layers)
    rng = np.random.default_rng(11)
    kept = [w.shape for w in model.get_weights()]
    stir(model, rng)
    assert [w.shape for w in model.get_weights()] == kept
    reset_keras(model)
    model.save(tmp_path / "model.h5")
    reset_keras(model)
    loaded = fastlstm.load(tmp_path / "model.h5")
    for call in range(5):
        if call == 3:
            reset_keras(model)
            loaded.reset_states()
        x = rng.normal(size=(2 if call < 4 else 6, 4, FEATURES)).astype(np.float32)
        expected = model.predict(x, batch_size=2, verbose=0)
        assert_equal({"y": loaded.predict(x, batch_size=2)}, {"y": expected})


def reset_keras(model: Any) -> None:
    for each in model.layers:
        for name in ("reset_states", "reset_state"):
            if getattr(each, "stateful", False) and hasattr(each, name):
                getattr(each, name)()
                break


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_adaptive_average_pooling(axes: int, data_format: str, tmp_path: Path) -> None:
    """Windows of one size and of two, one for each place, and more windows than places; Keras itself cannot compute a single window."""
    keras = pytest.importorskip("keras", minversion="3.15")
    spatial = (TIMESTEPS, 6, 5)[:axes]
    start = keras.Input((*spatial, FEATURES) if data_format == "channels_last" else (FEATURES, *spatial))
    sizes = [(size, 3, 2)[:axes] for size in (2, 3, TIMESTEPS, TIMESTEPS + 3)]
    kind = getattr(keras.layers, f"AdaptiveAveragePooling{axes}D")
    model = keras.Model(start, [kind(size, data_format=data_format)(start) for size in sizes])
    ask_keras, ask_fastlstm = named_outputs(model, list(map(str, sizes)), tmp_path / "model.keras")
    x = np.random.default_rng(12).normal(size=(4, *start.shape[1:])).astype(np.float32)
    assert_equal(ask_fastlstm(x), ask_keras(x))
