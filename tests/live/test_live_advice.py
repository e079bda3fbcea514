"""Advice that needs a live Keras is followed here, to the letter, and works."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from advice import Functions, follows, refused, supplied

import fastlstm

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)


@pytest.mark.keras
def test_supply_live_layers(keras: Any, tmp_path: Path) -> None:
    """A layer with arrays, a cell, and operations of a graph, as Keras itself saves them."""
    tf = pytest.importorskip("tensorflow")

    @keras.saving.register_keras_serializable(package="mine")
    class Scale(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.first = self.add_weight(name="first", shape=(shape[-1],), initializer="random_normal")
            self.second = self.add_weight(name="second", shape=(1,), initializer="random_normal", trainable=False)
            self.built = True

        def call(self, x: Any) -> Any:
            return x * self.first + self.second

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    @keras.saving.register_keras_serializable(package="mine")
    class Sum(keras.layers.Layer):
        state_size = output_size = 2

        def build(self, shape: Any) -> None:
            self.kernel = self.add_weight(name="kernel", shape=(shape[-1], 2), initializer="random_normal")
            self.built = True

        def call(self, x: Any, states: Any, training: bool = False) -> Any:
            h = states[0] + tf.matmul(x, self.kernel)
            return h, [h]

    x = keras.Input((5, 3))
    a = Scale(name="scale")(x)
    b = keras.layers.RNN(Sum(name="sum"), return_sequences=True, name="rnn")(a)
    model = keras.Model(x, keras.layers.LSTM(2)(b[:, 1:] * 2.0))
    expected = model.predict(X, verbose=0)

    def step(x: np.ndarray, states: list[np.ndarray], weights: tuple[np.ndarray, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
        h = states[0] + x @ weights[0]
        return h, [h]

    functions: Functions = {"scale": lambda x, weights: x * weights[0] + weights[1], "rnn/sum": step}
    operations = {"getitem": lambda x: x[:, 1:], "get_item": lambda x: x[:, 1:], "multiply": lambda x: 2 * x}
    for path in (tmp_path / "m.keras", tmp_path / "m.h5"):
        model.save(path)
        given = dict(functions)
        for info in fastlstm.describe(path).layers:
            ending = info.name.rstrip("_0123456789").rsplit(".", 1)[-1]
            if ending in operations:
                given[info.name] = operations[ending]
        y = supplied(path, given).predict(X)
        assert np.abs(y - expected).max() <= 2e-6 + 1e-5 * np.abs(expected).max()


@follows("save the layers after it as a model of their own, in Keras, and give predict the numbers that this layer makes of the text")
@pytest.mark.keras
def test_save_the_layers_behind_text(keras: Any, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    layers = keras.layers

    class Reads(layers.TextVectorization):
        """A class of the user's, whose code is not in the file."""

    text = Reads(output_sequence_length=5)
    text.adapt(tf.constant(["one two three", "two four"]))
    model = keras.Sequential([keras.Input((1,), dtype="string"), text, layers.Embedding(9, 3, mask_zero=True), layers.LSTM(2)])
    sentences = tf.constant([["one four"], ["two two three"]])
    model.save(tmp_path / "m.keras")
    (problem,) = refused(tmp_path / "m.keras")
    assert "not text" in problem.what

    rest = keras.Sequential([keras.Input((5,), dtype="int64"), *model.layers[1:]])
    rest.save(tmp_path / "rest.keras")
    y = fastlstm.load(tmp_path / "rest.keras").predict(np.asarray(text(sentences)))
    np.testing.assert_allclose(y, model(sentences), rtol=1e-5, atol=1e-6)


@follows(
    "load it in the program that made it, and save the Keras model itself: model.save('model.h5') or model.save('model.keras'); or "
    "model.save_weights('weights.h5') with architecture='model.json', which holds model.to_json()"
)
@pytest.mark.keras
def test_save_the_model_itself(tmp_path: Path) -> None:
    """Keras 3's export() is a graph of operations."""
    keras = pytest.importorskip("keras", minversion="3")
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(2)])
    expected = model.predict(X, verbose=0)
    model.export(tmp_path / "exported", verbose=False)
    with pytest.raises(fastlstm.UnsupportedError, match="and save the Keras model itself"):
        fastlstm.load(tmp_path / "exported")
    for name in ("model.h5", "model.keras"):
        model.save(tmp_path / name)
        np.testing.assert_allclose(fastlstm.load(tmp_path / name).predict(X), expected, atol=1e-6)
    model.save_weights(tmp_path / "my.weights.h5")
    (tmp_path / "model.json").write_text(model.to_json(), encoding="utf-8")
    y = fastlstm.load(tmp_path / "my.weights.h5", architecture=tmp_path / "model.json").predict(X)
    np.testing.assert_allclose(y, expected, atol=1e-6)


@follows("save it again as a plain Sequential or functional Model")
@pytest.mark.keras
def test_save_as_a_plain_model(keras: Any, tmp_path: Path) -> None:
    class Own(keras.Model):
        pass

    x = keras.Input((5, 3))
    own = Own(x, keras.layers.LSTM(2)(x))
    own.save(tmp_path / "m.h5")
    (problem,) = refused(tmp_path / "m.h5")
    assert "'Own'" in problem.what
    keras.Model(own.inputs, own.outputs).save(tmp_path / "plain.h5")
    y = fastlstm.load(tmp_path / "plain.h5").predict(X)
    np.testing.assert_allclose(y, own.predict(X, verbose=0), rtol=1e-5, atol=1e-6)


@follows("build the model before saving it")
@pytest.mark.keras
def test_build_before_saving(keras: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.layers.Activation("relu"), keras.layers.Activation("tanh")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the optimizer, and that it is not built
        model.save(tmp_path / "m.keras")
        problems = refused(tmp_path / "m.keras")
        assert "what shape its input has" in problems[0].what
        model.build((None, 3))
        model.save(tmp_path / "built.keras")
    y = fastlstm.load(tmp_path / "built.keras").predict(X[:, 0])
    np.testing.assert_allclose(y, model.predict(X[:, 0], verbose=0), rtol=1e-5, atol=1e-6)


@follows("float32, float64 or a mixed policy would do")
@pytest.mark.keras
def test_save_with_another_policy(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")

    def save(policy: str) -> Path:
        path = tmp_path / f"{policy}.keras"
        model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(2, dtype=policy)])
        model.save(path)
        return path

    (problem,) = refused(with_dtype(save("float32"), tmp_path / "odd.keras", "float8"))
    assert "float8" in problem.what
    for policy in ("float32", "float64", "mixed_float16", "mixed_bfloat16"):
        assert fastlstm.load(save(policy)).predict(X).shape == (4, 2)


def with_dtype(source: Path, target: Path, dtype: str) -> Path:
    """A .keras file with another dtype written into it, that a Keras to come may know."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"][1]["config"]["dtype"] = dtype
                data = json.dumps(config).encode()
            new.writestr(name, data)
    return target


@follows("save the model before quantize()")
@pytest.mark.keras
@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("mode", ["int4", "float8"])
def test_save_before_quantising(tmp_path: Path, ending: str, mode: str) -> None:
    keras = pytest.importorskip("keras", minversion="3.10")
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.GRU(4), keras.layers.Dense(2)])
    model.save(tmp_path / f"before{ending}")
    expected = model.predict(X, verbose=0)
    model.quantize(mode)
    model.save(tmp_path / f"after{ending}")
    (problem,) = refused(tmp_path / f"after{ending}")
    assert problem.what == f"it is quantised ({problem.what.split('(')[1].split(')')[0]}), which is not computed"
    assert mode in problem.what
    np.testing.assert_allclose(fastlstm.load(tmp_path / f"before{ending}").predict(X), expected, rtol=1e-5, atol=1e-6)


@follows("save the model as .keras")
@pytest.mark.keras
def test_low_rank_adapters_of_whole_numbers(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras", minversion="3.10")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.quantize("int8")
    model.layers[0].enable_lora(2)
    model.layers[0].lora_kernel_b.assign(np.ones((2, 2)))
    model.save(tmp_path / "m.h5")
    (problem,) = refused(tmp_path / "m.h5")
    assert "enable_lora adds to it" in problem.what
    model.save(tmp_path / "m.keras")
    expected = keras.models.load_model(tmp_path / "m.keras", compile=False).predict(X[:, 0], verbose=0)
    np.testing.assert_allclose(fastlstm.load(tmp_path / "m.keras").predict(X[:, 0]), expected, rtol=1e-5, atol=1e-6)
