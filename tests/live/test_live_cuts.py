"""Parts of models against the sub-models that a live Keras makes of the same tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm.errors import InputError

Names = list[str] | None


def saved(keras: ModuleType, model: Any, tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    model.set_weights([np.abs(rng.normal(size=weight.shape)) * 0.5 for weight in model.get_weights()])
    path = tmp_path / ("model.keras" if keras.__name__ == "keras" else "model.h5")
    model.save(path)
    return path


def compared(path: Path, tmp_path: Path, part: Any, inputs: Names, outputs: Names, *given: np.ndarray) -> fastlstm.Model:
    """The part that fastlstm makes, its conversion too, equal to the one that Keras has made."""
    expected = part.predict(list(given) if len(given) > 1 else given[0], verbose=0)
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    model = fastlstm.load(path, inputs=inputs, outputs=outputs)
    fastlstm.convert(path, tmp_path / "part.fastlstm", inputs=inputs, outputs=outputs)
    for each in (model, fastlstm.load(tmp_path / "part.fastlstm", verify=True)):
        found = each.predict(list(given) if len(given) > 1 else given[0])
        for y, y_keras in zip(found if isinstance(found, list) else [found], expected, strict=True):
            np.testing.assert_allclose(y, y_keras, rtol=1e-5, atol=2e-6)
    return model


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def chain(keras: ModuleType) -> Any:
    L = keras.layers
    x = keras.Input((None, 3), name="x")
    h = L.LSTM(4, return_sequences=True, name="first")(x)
    g, c = L.GRU(5, return_sequences=True, return_state=True, name="second")(h)
    y = L.Concatenate(name="joined")([g, h])
    return keras.Model(x, [L.Dense(2, name="y")(y), L.Dense(1, name="of_state")(c)])


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        (None, ["first"]),
        (None, ["second:1"]),
        (None, ["y", "second", "second:1"]),
        (["first"], ["y"]),
        (["first"], ["second:1", "joined"]),
        (["second", "first"], ["y"]),
        (["second", "second:1", "first"], None),
        (["x", "second"], ["y"]),
    ],
)
def test_cut_on_either_side(keras: ModuleType, tmp_path: Path, inputs: Names, outputs: Names) -> None:
    model = chain(keras)
    path = saved(keras, model, tmp_path)

    def tensor(name: str) -> Any:
        layer, _, number = name.partition(":")
        made = model.get_layer(layer).output
        return made[int(number or 0)] if isinstance(made, (list, tuple)) else made

    begin = [tensor(name) for name in inputs] if inputs else model.inputs
    part = keras.Model(begin, [tensor(name) for name in outputs] if outputs else model.outputs)
    sizes = {"x": (4, 6, 3), "first": (4, 6, 4), "second": (4, 6, 5), "second:1": (4, 5)}
    cut = compared(path, tmp_path, part, inputs, outputs, *(normal(*sizes[name]) for name in inputs or ["x"]))
    assert [info.name for info in cut.inputs] == (inputs or ["x"])
    assert [info.shape for info in cut.inputs] == [tuple(each.shape) for each in part.inputs]


@pytest.mark.keras
def test_encoder_and_decoder_of_a_sequence_to_sequence_model(keras: ModuleType, tmp_path: Path) -> None:
    L = keras.layers
    source, target = keras.Input((None,), name="source"), keras.Input((None,), name="target")
    _, h, c = L.LSTM(6, return_state=True, name="encoder")(L.Embedding(11, 4, mask_zero=True, name="words")(source))
    embedded = L.Embedding(9, 4, name="target_words")(target)
    decoder = L.LSTM(6, return_sequences=True, return_state=True, name="decoder")
    out, _, _ = decoder(embedded, initial_state=[h, c])
    model = keras.Model([source, target], L.Dense(9, activation="softmax", name="next")(out))
    path = saved(keras, model, tmp_path)
    ids = np.random.default_rng(2).integers(0, 9, (3, 5))
    compared(path, tmp_path, keras.Model(source, [h, c]), None, ["encoder:1", "encoder:2"], ids)

    held = [keras.Input((6,)), keras.Input((6,))]
    again, *after = decoder(embedded, initial_state=held)
    part = keras.Model([target, *held], [model.get_layer("next")(again), *after])
    names = ["target", "encoder:1", "encoder:2"]
    cut = compared(path, tmp_path, part, names, ["next", "decoder:1", "decoder:2"], ids, normal(3, 6), normal(3, 6))
    assert cut.inputs[0].vocabulary == 9


def nested(keras: ModuleType) -> Any:
    """A model with an output that is not used, applied twice."""
    L = keras.layers
    x = keras.Input((5, 3), name="inside")
    h = L.LSTM(4, return_sequences=True, name="lstm")(x)
    shared = keras.Model(x, [L.LSTM(2, name="last")(h), L.Dense(7, name="aside")(h)], name="shared")
    a, b = keras.Input((5, 3), name="a"), keras.Input((5, 3), name="b")
    return keras.Model([a, b], L.Dense(2, name="y")(L.Concatenate(name="both")([shared(a)[0], shared(b)[0]])))


@pytest.mark.keras
def test_nested_models(keras: ModuleType, tmp_path: Path) -> None:
    model = nested(keras)
    path, shared = saved(keras, model, tmp_path), model.get_layer("shared")
    a, b = normal(3, 5, 3), normal(3, 5, 3)[::-1]
    whole = compared(path, tmp_path, model, None, None, a, b)
    assert [layer.name for layer in whole.layers if layer.name.startswith("shared/")] == ["shared/inside", "shared/lstm", "shared/last"]
    compared(path, tmp_path, keras.Model(shared.inputs, shared.outputs[0]), None, ["shared"], a)
    compared(path, tmp_path, keras.Model(shared.inputs, shared.outputs), None, ["shared", "shared:1"], a)
    compared(path, tmp_path, keras.Model(shared.inputs, shared.get_layer("lstm").output), None, ["shared/lstm"], a)
    part = keras.Model(shared.get_layer("lstm").output, shared.get_layer("last").output)
    compared(path, tmp_path, part, ["shared/lstm"], ["shared/last"], normal(3, 5, 4))
    compared(path, tmp_path, part, ["shared/lstm"], ["shared"], normal(3, 5, 4))
    with_y = fastlstm.load(path, outputs=["y", "shared/lstm"])
    np.testing.assert_allclose(with_y.predict([a, b])[1], keras.Model(shared.inputs, shared.get_layer("lstm").output).predict(b, verbose=0),
                               rtol=1e-5, atol=2e-6)  # fmt: skip


def masked(keras: ModuleType, after: Callable[[Any], Any]) -> Any:
    ids = keras.Input((6,), name="ids")
    x = keras.layers.Embedding(10, 4, mask_zero=True, name="words")(ids)
    return keras.Model(ids, after(keras.layers.Dropout(0.5, name="cut")(x)))


@pytest.mark.keras
def test_a_mask_from_before_the_cut_is_never_lost_unsaid(keras: ModuleType, tmp_path: Path) -> None:
    """Keras 3 refuses the sub-model as well, Keras 2 computes it without the mask: other numbers than those of the whole."""
    path = saved(keras, masked(keras, keras.layers.LSTM(3, name="reader")), tmp_path)
    with pytest.raises(InputError, match="'cut' has a mask in the whole model .* which 'reader' reads"):
        fastlstm.load(path, inputs=["cut"])


@pytest.mark.keras
def test_a_mask_that_nobody_reads_does_not_matter(keras: ModuleType, tmp_path: Path) -> None:
    model = masked(keras, keras.layers.Conv1D(3, 2, name="y"))
    path = saved(keras, model, tmp_path)
    part = keras.Model(model.get_layer("cut").output, model.output)
    compared(path, tmp_path, part, ["cut"], None, normal(2, 6, 4))


@pytest.mark.keras
def test_ids_stay_ids(keras: ModuleType, tmp_path: Path) -> None:
    L = keras.layers
    ids = keras.Input((6,), name="ids", dtype="int32")
    halves = L.Reshape((2, 3), name="halves")(ids)
    model = keras.Model(ids, L.LSTM(3)(L.Reshape((2, 12))(L.Embedding(10, 4, name="words")(halves))))
    path = saved(keras, model, tmp_path)
    cut = compared(path, tmp_path, keras.Model(halves, model.output), ["halves"], None, np.random.default_rng(2).integers(0, 10, (3, 2, 3)))
    assert cut.inputs[0].vocabulary == 10


@pytest.mark.keras
def test_losses_and_metrics_of_a_graph(tmp_path: Path) -> None:
    """What add_loss and add_metric leave in a graph, and the layers that they make, between others."""
    keras = pytest.importorskip("tf_keras", reason="tf_keras is not installed")
    tensorflow = pytest.importorskip("tensorflow")
    from tf_keras.src.engine import base_layer

    x, labels = keras.Input((5, 3), name="x"), keras.Input((4,), name="labels")
    h = base_layer.AddLoss(unconditional=False, name="loss")(keras.layers.Masking(name="masking")(x))
    h = keras.layers.LSTM(4, name="lstm")(base_layer.AddMetric("mean", "size", name="metric")(h))
    model = keras.Model([x, labels], keras.layers.Dense(2, name="y")(h))
    model.add_loss(tensorflow.reduce_mean(tensorflow.square(h - labels)))
    model.add_metric(tensorflow.reduce_sum(h), name="sum", aggregation="mean")
    path = saved(keras, model, tmp_path)
    given = normal(3, 5, 3)
    given[:, 3:] = 0
    whole = compared(path, tmp_path, model, None, None, given, normal(3, 4))
    assert [info.name for info in whole.layers] == ["x", "masking", "loss", "metric", "lstm", "labels", "y"]
    cut = compared(path, tmp_path, keras.Model(x, model.output), None, ["y"], given)
    assert [info.name for info in cut.inputs] == ["x"]
