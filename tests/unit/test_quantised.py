"""Layers that Keras 3's ``quantize("int8")`` made, against the arithmetic written out number by number; others are refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import keras3_files
import numpy as np
import pytest
from isolated_reading import same_as_here
from keras3_files import POLICY, chain, layer

import fastlstm
from fastlstm.errors import FormatError, UnsupportedError
from fastlstm.formats import own
from fastlstm.spec import ModelSpec

pytestmark = pytest.mark.slow  # others look at each of these rooms in the quick run

RNG = np.random.default_rng(0)
QUANTIZER = {"class_name": "AbsMaxQuantizer", "config": {"value_range": [-127, 127], "epsilon": 1e-07, "output_dtype": "int8"}}


def settings(quantizer: Any) -> dict[str, Any]:
    """A ``quantization_config``."""
    config = {"weight_quantizer": None, "activation_quantizer": quantizer}
    return {"module": "keras.quantizers", "class_name": "Int8QuantizationConfig", "config": config, "registered_name": None}


def whole(*shape: int) -> np.ndarray:
    return RNG.integers(-127, 128, shape).astype(np.int8)


def scale(*shape: int) -> np.ndarray:
    return RNG.uniform(50, 300, shape).astype(np.float32)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def rounded(row: np.ndarray) -> tuple[list[int], np.float32]:
    """A row as whole numbers, and what it was multiplied by: each step in float32, as Keras takes it."""
    factor = np.float32(127) / (np.float32(max(abs(x) for x in row)) + np.float32(1e-7))
    numbers = []
    for x in row:
        product = np.float32(x) * factor
        below = math.floor(product)
        rest = float(product) - below
        up = rest > 0.5 or (rest == 0.5 and below % 2 == 1)
        numbers.append(max(-127, min(127, below + up)))
    return numbers, factor


def dense(x: np.ndarray, kernel: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """x times a quantised kernel, row by row, in whole numbers of Python."""
    out = np.zeros((*x.shape[:-1], kernel.shape[1]), np.float32)
    for place in np.ndindex(x.shape[:-1]):
        numbers, factor = rounded(x[place])
        for unit in range(kernel.shape[1]):
            total = sum(number * int(weight) for number, weight in zip(numbers, kernel[:, unit]))
            out[(*place, unit)] = np.float32(total) / (scales[unit] * factor)
    return out


def model(tmp_path: Path, shape: tuple[int | None, ...], arrays: dict[str, list[np.ndarray]], *layers: Any, **options: Any) -> Path:
    return keras3_files.zipped(tmp_path / "m.keras", chain(shape, *layers, **options), arrays)


POLICIES = [POLICY, "int8_from_float32", {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "int8_from_float32"}}]


@pytest.mark.parametrize("policy", POLICIES, ids=["object", "name", "named object"])
@pytest.mark.parametrize("bias", [True, False])
def test_dense(tmp_path: Path, policy: Any, bias: bool) -> None:
    kernel, offset, scales, x = whole(6, 4), normal(4), scale(4), normal(5, 3, 6)
    x[0, 0] = 0
    x[1, 0] = [127, 0.5, 1.5, -0.5, -2.5, -127]
    arrays = [kernel, *([offset] if bias else []), scales]
    path = model(tmp_path, (None, 3, 6), {"layers/dense/vars": arrays}, layer("Dense", "d", units=4, use_bias=bias, dtype=policy))
    expected = dense(x, kernel, scales) + (offset if bias else 0)
    for isolated in (False, True):
        loaded = fastlstm.load(path, isolated=isolated)
        np.testing.assert_array_equal(loaded.predict(x), expected)
        assert loaded.layers[-1].runs == "native"
    assert isinstance(same_as_here(path), ModelSpec)
    fastlstm.convert(path, tmp_path / "m.fastlstm")
    for isolated in (False, True):
        np.testing.assert_array_equal(fastlstm.load(tmp_path / "m.fastlstm", verify=True, isolated=isolated).predict(x), expected)
    assert (
        own.read(fastlstm.formats.source_of(tmp_path / "m.fastlstm"), fastlstm.limits.Budget("", 10**6)).layers[1].weights[0].dtype
        == np.int8
    )


@pytest.mark.parametrize("features", [1023, 1024, 1025, 5000])
def test_sums_are_exact_however_long(tmp_path: Path, features: int) -> None:
    kernel, scales, x = whole(features, 3), scale(3), normal(2, features)
    kernel[:, 0] = 127
    x[0] = 1
    path = model(
        tmp_path, (None, features), {"layers/dense/vars": [kernel, scales]}, layer("Dense", "d", units=3, use_bias=False, dtype=POLICY)
    )
    loaded = fastlstm.load(path)
    np.testing.assert_array_equal(loaded.predict(x), dense(x, kernel, scales))
    assert loaded.layers[-1].runs == ("native" if features <= 1024 else "NumPy"), "float32 does not hold every longer sum"


def test_numbers_that_are_none(tmp_path: Path) -> None:
    path = model(
        tmp_path, (None, 3), {"layers/dense/vars": [whole(3, 2), scale(2)]}, layer("Dense", "d", units=2, use_bias=False, dtype=POLICY)
    )
    found = fastlstm.load(path).predict(np.array([[np.nan, 1, 2], [1, 2, 3], [np.inf, 1, 2], [1e-38, 0, 0]], np.float32))
    assert np.isnan(found).tolist() == [[True] * 2, [False] * 2, [True] * 2, [False] * 2]


def test_weights_alone(tmp_path: Path) -> None:
    kernel, scales, x = whole(6, 4), scale(4), normal(5, 6)
    entry = layer("Dense", "d", units=4, use_bias=False, dtype=POLICY, quantization_config=settings(None))
    path = model(tmp_path, (None, 6), {"layers/dense/vars": [kernel, scales]}, entry)
    np.testing.assert_allclose(fastlstm.load(path).predict(x), x @ kernel.astype(np.float32) / scales, rtol=1e-6, atol=1e-6)


def test_embedding_is_a_plain_table(tmp_path: Path) -> None:
    table, scales, ids = whole(7, 4), scale(7), RNG.integers(0, 7, (3, 5)).astype(np.int32)
    path = model(
        tmp_path, (None, 5), {"layers/embedding/vars": [table, scales]}, layer("Embedding", "e", input_dim=7, output_dim=4, dtype=POLICY),
        dtype="int32",
    )  # fmt: skip
    np.testing.assert_array_equal(fastlstm.load(path).predict(ids), (table.astype(np.float32) / scales[:, None])[ids])
    assert fastlstm.formats.read(path).layers[1].weights[0].dtype == np.float32


@pytest.mark.parametrize(
    ("equation", "shape", "kernel", "scales", "out"),
    [
        ("ab,bc->ac", (3,), (3, 5), (1, 5), [5]),
        ("abc,cd->abd", (4, 3), (3, 5), (1, 1, 5), [None, 5]),
        ("abc,cde->abde", (4, 3), (3, 2, 5), (1, 1, 2, 5), [None, 2, 5]),
        ("abcd,cde->abe", (4, 3, 2), (3, 2, 5), (1, 1, 5), [None, 5]),
        ("abc,cd->adb", (4, 3), (3, 5), (1, 5, 1), [5, 4]),
        ("...c,cd->...d", (4, 3), (3, 5), (1, 1, 5), [None, 5]),
    ],
)
def test_einsum(tmp_path: Path, equation: str, shape: Any, kernel: Any, scales: Any, out: Any) -> None:
    weights, factors, x = whole(*kernel), scale(*scales), normal(2, *shape)
    entry = layer("EinsumDense", "e", equation=equation, output_shape=out, bias_axes=None, dtype=POLICY)
    path = model(tmp_path, (None, *shape), {"layers/einsum_dense/vars": [weights, factors]}, entry)
    letters = equation.replace("...", "ab").replace("abab", "ab")
    given, inside, result = letters.replace("->", ",").split(",")
    summed = [letter for letter in given if letter not in result]
    spread = np.einsum(f"{given}->{''.join(letter for letter in given if letter not in summed)}{''.join(summed)}", x)
    numbers, multiplied = np.zeros_like(spread), np.zeros_like(spread)
    outer = spread.ndim - len(summed)
    for place in np.ndindex(spread.shape[:outer]):
        row, factor = rounded(spread[place].ravel())
        numbers[place], multiplied[place] = np.reshape(row, spread[place].shape), factor
    kept = "".join(letter for letter in given if letter not in summed)
    totals = np.einsum(f"{kept}{''.join(summed)},{inside}->{result}", numbers.astype(int), weights.astype(int))
    per_row = multiplied[(..., *[0] * len(summed))]
    factor = np.einsum(f"{kept},{result}->{result}", per_row, np.ones(totals.shape, np.float32))
    np.testing.assert_array_equal(fastlstm.load(path).predict(x), totals.astype(np.float32) / (factors * factor))
    fastlstm.convert(path, tmp_path / "m.fastlstm")
    fastlstm.load(tmp_path / "m.fastlstm", verify=True)


def test_in_time_distributed_keras_passes_over_the_scale(tmp_path: Path) -> None:
    kernel, offset, x = whole(6, 4), normal(4), normal(5, 3, 6)
    inner = layer("Dense", "d", units=4, dtype=POLICY)
    path = model(
        tmp_path,
        (None, 3, 6),
        {"layers/time_distributed/layer/vars": [kernel, offset, scale(4)]},
        layer("TimeDistributed", "t", layer=inner),
    )
    with pytest.warns(UserWarning, match="Keras does not scale its weights there"):
        found = fastlstm.load(path).predict(x)
    np.testing.assert_allclose(found, x @ kernel.astype(np.float32) + offset, rtol=1e-5, atol=1e-4)


def h5(path: Path, config: Any, **weights: np.ndarray) -> Path:
    """A ``.h5`` as Keras 3 writes it, with one layer ``d``."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"], file.attrs["keras_version"] = keras3_files.json.dumps(config), "3.15.1"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [b"d"]
        inner = group.create_group("d")
        inner.attrs["weight_names"] = [f"d/{name}".encode() for name in weights]
        for name, value in weights.items():
            inner[f"d/{name}"] = value
    return path


def test_h5_lists_what_is_trainable_first(tmp_path: Path) -> None:
    kernel, offset, scales, x = whole(6, 4), normal(4), scale(4), normal(5, 6)
    config = chain((None, 6), layer("Dense", "d", units=4, dtype=POLICY))
    path = h5(tmp_path / "m.h5", config, bias=offset, kernel=kernel, kernel_scale=scales)
    np.testing.assert_array_equal(fastlstm.load(path).predict(x), dense(x, kernel, scales) + offset)


def test_low_rank_beside_whole_numbers(tmp_path: Path) -> None:
    """In .keras they are merged; an .h5 has them apart, which is another sum."""
    entry = layer("Dense", "d", units=4, dtype=POLICY, lora_rank=2, lora_alpha=3)
    kernel, offset, scales, x = whole(6, 4), normal(4), scale(4), normal(5, 6)
    merged = model(tmp_path, (None, 6), {"layers/dense/vars": [kernel, offset, scales]}, entry)
    np.testing.assert_array_equal(fastlstm.load(merged).predict(x), dense(x, kernel, scales) + offset)
    apart = {"bias": offset, "lora_kernel_a": normal(6, 2), "lora_kernel_b": normal(2, 4), "kernel": kernel, "kernel_scale": scales}
    with pytest.raises(UnsupportedError, match=r"quantised \(int8\), and enable_lora adds to it; save the model as \.keras"):
        fastlstm.load(h5(tmp_path / "m.h5", chain((None, 6), entry), **apart))


# -- refused ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["int4/128", "int4", "float8", "gptq/4/128", "awq/4/128"])
def test_other_modes_by_name(tmp_path: Path, mode: str) -> None:
    for policy in (f"{mode}_from_float32", {"class_name": "QuantizedDTypePolicy", "config": {"mode": mode, "source_name": "float32"}}):
        path = model(tmp_path, (None, 6), {"layers/dense/vars": [whole(6, 2), scale(4)]}, layer("Dense", "d", units=4, dtype=policy))
        with pytest.raises(UnsupportedError, match=rf"quantised \({mode}\), which is not computed; save the model before quantize\(\)"):
            fastlstm.load(path)
        path.unlink()


@pytest.mark.parametrize(
    ("quantizer", "says"),
    [
        ({**QUANTIZER, "config": {**QUANTIZER["config"], "value_range": [-100, 100]}}, "a quantizer of its own"),
        ({**QUANTIZER, "config": {**QUANTIZER["config"], "epsilon": 0.1}}, "a quantizer of its own"),
        ({**QUANTIZER, "config": None}, "a quantizer of its own"),
        ({"class_name": "Mine", "config": {}}, "a quantizer of its own"),
        ("mine", "a quantizer of its own"),
    ],
)
def test_other_quantizers(tmp_path: Path, quantizer: Any, says: str) -> None:
    entry = layer("Dense", "d", units=4, dtype=POLICY, quantization_config=settings(quantizer))
    with pytest.raises(UnsupportedError, match=says):
        fastlstm.load(model(tmp_path, (None, 6), {"layers/dense/vars": [whole(6, 4), normal(4), scale(4)]}, entry))


def test_other_precisions_and_classes(tmp_path: Path) -> None:
    half = layer("Dense", "d", units=4, dtype="int8_from_mixed_bfloat16")
    with pytest.raises(UnsupportedError, match="computes in bfloat16, whose rounding decides the whole numbers"):
        fastlstm.load(model(tmp_path, (None, 6), {"layers/dense/vars": [whole(6, 4), normal(4), scale(4)]}, half))
    other = layer("LSTM", "l", units=4, dtype=POLICY)
    with pytest.raises(UnsupportedError, match=r"quantised \(int8\), which is not computed"):
        fastlstm.load(keras3_files.zipped(tmp_path / "o.keras", chain((None, 5, 3), other), {"layers/lstm/cell/vars": [whole(3, 16)]}))


def test_attention_does_not_say_that_it_was_quantised(tmp_path: Path) -> None:
    names = ("query", "key", "value", "output")
    arrays = {f"layers/multi_head_attention/{name}_dense/vars": [whole(8, 2, 4), normal(2, 4), scale(1, 1, 2, 4)] for name in names}
    entrance = {"batch_shape": [None, 4, 8], "dtype": "float32", "name": "i"}
    config = {"class_name": "Functional", "module": "keras", "config": {"name": "m", "trainable": True, "layers": [
        {"class_name": "InputLayer", "name": "i", "config": entrance, "inbound_nodes": []},
        {**layer("MultiHeadAttention", "a", num_heads=2, key_dim=4), "name": "a", "inbound_nodes": [{"args": [{
            "class_name": "__keras_tensor__", "config": {"shape": [None, 4, 8], "dtype": "float32", "keras_history": ["i", 0, 0]}}] * 2,
            "kwargs": {}}]},
    ], "input_layers": [["i", 0, 0]], "output_layers": [["a", 0, 0]]}}  # fmt: skip
    with pytest.raises(FormatError, match="it was quantised, which the file does not say of it"):
        fastlstm.load(keras3_files.zipped(tmp_path / "m.keras", config, arrays))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ([normal(6, 4), normal(4), scale(4)], "its kernel is of float32, expected int8"),
        ([whole(6, 4), normal(4)], "expected 3 arrays"),
        ([whole(6, 4), normal(4), scale(5)], "kernel_scale has shape"),
        ([whole(6, 4), normal(4), scale(1, 4)], "kernel_scale has shape"),
        ([whole(5, 4), normal(4), scale(4)], "kernel has shape"),
        ([whole(24), normal(4), scale(4)], "kernel has shape"),
    ],
)
def test_arrays_without_sense(tmp_path: Path, arrays: list[np.ndarray], says: str) -> None:
    with pytest.raises(FormatError, match=says):
        fastlstm.load(model(tmp_path, (None, 6), {"layers/dense/vars": arrays}, layer("Dense", "d", units=4, dtype=POLICY)))


@pytest.mark.parametrize("arrays", [[whole(7, 4), scale(4)], [whole(7), scale(7)], [whole(7, 4)], [whole(7, 4), scale(7), normal(2, 2)]])
def test_tables_without_sense(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    entry = layer("Embedding", "e", input_dim=7, output_dim=4, dtype=POLICY)
    with pytest.raises(FormatError, match="layer 'e'"):
        fastlstm.load(model(tmp_path, (None, 5), {"layers/embedding/vars": arrays}, entry, dtype="int32"))


@pytest.mark.filterwarnings("ignore:.*Keras does not scale its weights there")
def test_models_without_any_arrays(tmp_path: Path) -> None:
    table = layer("Embedding", "e", input_dim=7, output_dim=4, dtype=POLICY)
    inner = layer("TimeDistributed", "t", layer=layer("Dense", "d", units=4, dtype=POLICY))
    with pytest.raises(UnsupportedError, match=r"\(1 problem\):\n.*it has no weights"):
        fastlstm.load(model(tmp_path, (None, 5), {"layers": []}, table, inner, dtype="int32"))


@pytest.mark.parametrize("arrays", [[whole(3, 5), scale(5)], [whole(3, 5), scale(5, 1)], [normal(3, 5), scale(1, 5)], [whole(3, 5)]])
def test_einsums_without_sense(tmp_path: Path, arrays: list[np.ndarray]) -> None:
    entry = layer("EinsumDense", "e", equation="ab,bc->ac", output_shape=[5], bias_axes=None, dtype=POLICY)
    with pytest.raises(FormatError, match="layer 'e'"):
        fastlstm.load(model(tmp_path, (None, 3), {"layers/einsum_dense/vars": arrays}, entry))


def test_sums_that_keras_cannot_hold(tmp_path: Path) -> None:
    features = 1 << 17
    path = model(
        tmp_path, (None, features), {"layers/dense/vars": [np.ones((features, 1), np.int8), scale(1)]},
        layer("Dense", "d", units=1, use_bias=False, dtype=POLICY),
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="go beyond int32"):
        fastlstm.load(path)


def test_own_files_hold_int8_where_a_layer_is_quantised(tmp_path: Path) -> None:
    path = model(tmp_path, (None, 6), {"layers/dense/vars": [whole(6, 4), normal(4), scale(4)]}, layer("Dense", "d", units=4, dtype=POLICY))
    spec = fastlstm.formats.read(path)
    entrance, dense = spec.layers
    for altered, error, says in (
        ({"config": {**dense.config, "quantization": "int9"}}, UnsupportedError, "quantization='int9' is not computed"),
        (
            {"config": {key: value for key, value in dense.config.items() if key != "quantization"}},
            FormatError,
            "another dtype than float32",
        ),
        ({"weights": (*dense.weights[:2], dense.weights[2].astype(np.int8))}, FormatError, "another dtype than float32"),
        ({"weights": tuple(map(np.float32, dense.weights))}, FormatError, "its kernel is of float32, expected int8"),
    ):
        own.write(tmp_path / "m.fastlstm", replace(spec, layers=(entrance, replace(dense, **altered))))
        with pytest.raises(error, match=says):
            fastlstm.load(tmp_path / "m.fastlstm")
