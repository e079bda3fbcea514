"""``evaluate`` beside an installed Keras; ``tests/corpus/test_evaluations.py`` has the recordings of many more cases and generations."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import evaluation_cases
import numpy as np
import pytest

import fastlstm

pytestmark = [pytest.mark.slow, pytest.mark.keras]
#: Cases by what is particular about them; FASTLSTM_EXAMPLES=1000 takes all.
LEAN = [
    evaluation_cases.case("step_classes", "step_one_hot", "categorical_crossentropy", ["accuracy"], sample_weight="step_weights"),
    evaluation_cases.case("two", ["one_hot", "one"], ["categorical_crossentropy", "mse"], {"p": ["accuracy"], "q": ["mae"]}),
    evaluation_cases.case("positive", "labels", "binary_crossentropy", [evaluation_cases.measure("AUC", num_thresholds=20)]),
    evaluation_cases.case("frozen", "real", "mse", weighted_metrics=["mae"], sample_weight="weights"),
]


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_evaluate_is_as_the_installed_keras_has_it(library: str, tmp_path: Path) -> None:
    keras: Any = pytest.importorskip(library)
    importlib.import_module("tensorflow")
    arrays, made = evaluation_cases.data(), evaluation_cases.models(keras)
    cases = evaluation_cases.cases() if int(os.environ.get("FASTLSTM_EXAMPLES", "0")) >= 1000 else LEAN
    ending = ".keras" if library == "keras" else ".h5"
    for name in {case["model"] for case in cases}:
        made[name].save(str(tmp_path / f"{name}{ending}"))
    for case in cases:
        try:
            listed, _ = evaluation_cases.evaluated(keras, made[case["model"]], case, arrays)
        except Exception:
            if cases is LEAN:
                raise
            continue  # this Keras does not have it
        model = fastlstm.load(tmp_path / f"{case['model']}{ending}")

        def picked(name: Any) -> Any:
            return None if name is None else [arrays[one] for one in name] if isinstance(name, list) else arrays[name]

        options = {key: case.get(key) for key in ("loss", "metrics", "weighted_metrics", "loss_weights")}
        weights = picked(case.get("sample_weight"))
        ours = model.evaluate(arrays["x"], picked(case["y"]), batch_size=case.get("batch_size", 4), sample_weight=weights, **options)
        assert np.allclose(np.hstack(ours), np.hstack(listed), rtol=2e-5, atol=2e-6, equal_nan=True), (case, ours, listed)


def penalised(keras: Any) -> dict[str, Any]:
    """Models whose layers have penalties of what they give, by what is particular about them."""
    layers, rule = keras.layers, keras.regularizers.L1L2(l1=0.05, l2=0.1)

    def made(inner: Any) -> Any:
        x = keras.Input((6, 3))
        return keras.Model(x, inner(x))

    def twice(x: Any) -> Any:
        dense = layers.Dense(4, activity_regularizer=rule, activation="tanh", kernel_regularizer="l2")
        return layers.Dense(2)(dense(dense(layers.LSTM(4)(x))))

    def nested(x: Any) -> Any:
        inner = keras.Sequential([keras.Input((6, 3)), layers.GRU(3, return_sequences=True, activity_regularizer=rule)])
        return layers.Dense(2)(layers.LSTM(4)(layers.Add()([inner(x), inner(layers.Masking()(x))])))

    return {
        "twice": made(twice),
        "last": made(lambda x: layers.Dense(2, activation="softmax", activity_regularizer=rule)(layers.LSTM(4)(x))),
        "masked": made(
            lambda x: layers.Dense(2)(layers.LSTM(3)(layers.LSTM(4, return_sequences=True, activity_regularizer=rule)(layers.Masking()(x))))
        ),
        "nested": made(nested),
        "layer": made(lambda x: layers.Dense(2)(layers.ActivityRegularization(l1=0.1, l2=0.2)(layers.LSTM(4)(x)))),
        "both ways": made(lambda x: layers.Dense(2)(layers.Bidirectional(layers.LSTM(4, activity_regularizer=rule))(x))),
        "distributed": made(
            lambda x: layers.Dense(2)(layers.LSTM(3)(layers.TimeDistributed(layers.Dense(4, activity_regularizer="l2"))(x)))
        ),
    }


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_penalties_of_activities(library: str, tmp_path: Path) -> None:
    """With whole and broken batches, behind crossentropies too, in the file and converted."""
    keras: Any = pytest.importorskip(library)
    importlib.import_module("tensorflow")
    x = np.random.default_rng(0).normal(size=(10, 6, 3)).astype(np.float32)
    x[:4, 3:] = 0
    y = np.eye(2, dtype=np.float32)[[0, 1] * 5]
    for name, model in penalised(keras).items():
        loss = "categorical_crossentropy" if name == "last" else "mse"
        model.compile(loss=loss, metrics=["mae"])
        path = tmp_path / ("m.keras" if library == "keras" else "m.h5")
        model.save(str(path))
        fastlstm.convert(path, tmp_path / "m.fastlstm")
        for source in (path, tmp_path / "m.fastlstm"):
            ours = fastlstm.load(source)
            if name == "distributed" and library == "tf_keras":
                with pytest.raises(fastlstm.InputError, match="within 'time_distributed.*pass penalties=False"):
                    ours.evaluate(x, y)
                continue
            for batch in (4, 10):
                theirs = model.evaluate(x, y, batch_size=batch, verbose=0)
                assert np.allclose(ours.evaluate(x, y, batch_size=batch), theirs, rtol=2e-5, atol=2e-6), (name, batch)
            if name != "distributed":
                assert ours.evaluate(x, y)[0] > ours.evaluate(x, y, penalties=False)[0]


def test_what_add_loss_adds_is_refused(tmp_path: Path) -> None:
    """Of tf.keras, whose graphs have it as layers; without penalties what is left is that Keras's."""
    keras: Any = pytest.importorskip("tf_keras")
    tensorflow: Any = importlib.import_module("tensorflow")
    i = keras.Input((6, 3))
    h = keras.layers.LSTM(4)(i)
    plain, model = (keras.Model(i, keras.layers.Dense(2)(h)) for _ in range(2))
    plain.set_weights(model.get_weights())
    model.add_loss(tensorflow.reduce_mean(tensorflow.square(h)))
    model.add_metric(tensorflow.reduce_sum(h), name="summed", aggregation="mean")
    x, y = np.random.default_rng(0).normal(size=(10, 6, 3)).astype(np.float32), np.ones((10, 2), np.float32)
    for one in (plain, model):
        one.compile("adam", "mse")
    assert model.evaluate(x, y, verbose=0)[0] > plain.evaluate(x, y, verbose=0)
    model.save(str(tmp_path / "m.h5"))
    fastlstm.convert(tmp_path / "m.h5", tmp_path / "m.fastlstm")
    for name in ("m.h5", "m.fastlstm"):
        ours = fastlstm.load(tmp_path / name)
        with pytest.raises(fastlstm.InputError, match=r"m\..* has losses or metrics .* \(add_loss.*pass penalties=False"):
            ours.evaluate(x, y)
        assert np.isclose(ours.evaluate(x, y, penalties=False), plain.evaluate(x, y, verbose=0), rtol=2e-5)
