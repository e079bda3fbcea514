"""The cost of loading a file: bytes, visits and depth are refused before they are spent, with advice that works."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import costly_files
import h5py
import keras_configs
import numpy as np
import pytest
from layer_specs import normal
from refusals import SECONDS, refusal

import fastlstm
from fastlstm import formats, limits
from fastlstm.cli.main import main
from fastlstm.errors import FormatError, InputError, UnsupportedError
from fastlstm.formats import own
from fastlstm.program import arena
from fastlstm.program.ir import Buffer, BufferInfo, Instruction


def zeros(shape: tuple[int, ...], dtype: Any = np.int8) -> dict[str, Any]:
    """An array that hardly takes a place in a file."""
    return {"data": np.zeros(shape, dtype), "chunks": True, "compression": "gzip"}


def with_arrays(config: Any, *arrays: dict[str, Any], version: str = "2.3.1") -> bytes:
    """A model whose first layer has these arrays."""
    stream = io.BytesIO(costly_files.h5(config, version=version))
    with h5py.File(stream, "r+") as file:
        group = file["model_weights"]
        del group.attrs["layer_names"]
        group.attrs["layer_names"] = [b"l0"]
        group.create_group("l0").attrs["weight_names"] = [f"w{number}".encode() for number in range(len(arrays))]
        for number, array in enumerate(arrays):
            group["l0"].create_dataset(f"w{number}", **array)
    return stream.getvalue()


LSTM = {"units": 1, "activation": "tanh", "recurrent_activation": "sigmoid"}
LSTM_ARRAYS = ({"data": normal(1, 4)}, {"data": normal(1, 4)}, {"data": normal(4)})
#: Layers without weights of which a row takes gigabytes, or loops for hours.
ROWS: dict[str, dict[str, Any]] = {
    "a large input": costly_files.sequential(("Permute", {"dims": [2, 1]}), shape=(30000, 30000)),
    "repeated steps": costly_files.sequential(("UpSampling1D", {"size": 1 << 26})),
    "padding": costly_files.sequential(("ZeroPadding1D", {"padding": 1 << 27})),
    "a repeated vector": costly_files.sequential(("RepeatVector", {"n": (1 << 28) - 1}), ("Flatten", {}), shape=(3,)),
    "a large window": costly_files.sequential(("MaxPooling2D", {"pool_size": [1 << 13] * 2}), shape=(1 << 13, 1 << 13, 1)),
    "a padded window": costly_files.sequential(
        ("AveragePooling2D", {"pool_size": [1 << 14] * 2, "strides": [1, 1], "padding": "same"}), shape=(8, 8, 1)
    ),
    "many axes": costly_files.sequential(("UpSampling3D", {"size": [1 << 20] * 3}), shape=(2, 2, 2, 1)),
    "steps of steps": costly_files.sequential(("TimeDistributed", {"layer": {"class_name": "RepeatVector", "config": {"n": 1 << 20}}}),
                                       shape=(1 << 10, 3)),
    "scores of all pairs": costly_files.functional(
        [costly_files.entrance("x", 1 << 17, 1), costly_files.layer("Attention", "a", [[costly_files.tensor("x")] * 2], use_scale=False)],
        [["x", 0, 0]], [["a", 0, 0]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ROWS)
def test_what_one_row_takes_is_known_beforehand(what: str) -> None:
    version = "2.4.0" if what == "scores of all pairs" else "2.3.1"
    data = costly_files.h5(ROWS[what], version=version)
    for options in ({}, {"precision": "float64"}):
        message = refusal(data, **options)
        assert "one row of input of shape" in message
        if "no computer has as much" not in message:
            fastlstm.load(data, **options, max_bytes=advised(message))


def advised(message: str) -> int:
    """The bytes that a refusal advises to allow."""
    found = re.search(r"load\(\.\.\., max_bytes=(\d+)\)", message)
    assert found is not None, message
    return int(found[1])


ARRAYS: dict[str, Callable[[], bytes]] = {
    "small integers": lambda: with_arrays(
        costly_files.sequential(("Dense", {"units": 20000, "activation": "linear", "use_bias": False}), shape=(20000,)),
        zeros((20000, 20000)),
    ),
    "one unit in a panel of many": lambda: with_arrays(
        costly_files.sequential(("SimpleRNN", {"units": 1, "activation": "tanh", "use_bias": False}), shape=(5, 20_000_000)),
        zeros((20_000_000, 1)), zeros((1, 1)),
    ),
    "a product of low rank": lambda: with_arrays(
        costly_files.sequential(("Dense", {"units": 1 << 13, "activation": "linear", "use_bias": False, "lora_rank": 1, "trainable": True}),
                         shape=(1 << 13,)),
        zeros((1 << 13, 1 << 13)), zeros((1 << 13, 1)), zeros((1, 1 << 13)), version="3.4.0",
    ),
    "states": lambda: with_arrays(
        costly_files.sequential(("LSTM", {**LSTM, "stateful": True}), shape=(5, 1), batch=(1 << 28) - 1), *LSTM_ARRAYS
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", ARRAYS)
def test_what_arrays_become_is_known_beforehand(what: str) -> None:
    assert advised(refusal(ARRAYS[what]())) > limits.FREE_BYTES


def test_layers_that_loop_are_not_run_to_learn_their_shapes() -> None:
    convolution = {"filters": 1, "kernel_size": [1500, 1500], "padding": "same", "activation": "linear", "use_bias": False}
    steps = {"filters": 1, "kernel_size": [1, 1], "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": False}
    for data in (
        with_arrays(costly_files.sequential(("Conv2D", convolution), shape=(8, 8, 1)), zeros((1500, 1500, 1, 1))),
        with_arrays(costly_files.sequential(("ConvLSTM2D", steps), shape=(1 << 22, 1, 1, 1)), zeros((1, 1, 1, 4)), zeros((1, 1, 1, 4))),
        with_arrays(costly_files.sequential(("LSTM", LSTM), shape=(1 << 24, 1)), *LSTM_ARRAYS),
    ):
        start = time.process_time()
        fastlstm.load(data)
        assert time.process_time() - start < SECONDS


def tables(count: int, vocabulary: int) -> bytes:
    """So many recurrent layers that read one Embedding, each by a table of its own."""
    names = [f"r{number}" for number in range(count)]
    layers = [costly_files.layer("LSTM", name, [[costly_files.tensor("e")]], **{**LSTM, "units": 64}) for name in names]
    embedding = costly_files.layer("Embedding", "e", [[costly_files.tensor("x")]], input_dim=vocabulary, output_dim=1)
    config = costly_files.functional([costly_files.entrance("x", 4), embedding, *layers], [["x", 0, 0]], [[name, 0, 0] for name in names])
    arrays = [np.zeros(shape, np.float32) for shape in ((1, 256), (64, 256), (256,))]
    return costly_files.h5(config, {"e": [np.zeros((vocabulary, 1), np.float32)], **dict.fromkeys(names, arrays)})


def test_tables_are_folded_while_there_is_room() -> None:
    """They are for speed alone: a file is not refused for them."""
    data = tables(20, 4096)  # of 4 MB each
    sizes = []
    for options in ({"max_bytes": 50 << 20}, {"max_bytes": 50 << 20, "fold_limit": 0}, {}):
        model = fastlstm.load(data, **options)
        x = np.array([[1, 2, 0, 4095]])
        expected = fastlstm.load(data, precision="float64").predict(x)
        np.testing.assert_allclose(np.asarray(model.predict(x)), np.asarray(expected), atol=1e-5)
        sizes.append(sum(array.nbytes for key, array in model.executor.constants.arrays.items() if key[1] == "table"))
    some, none, all_of_them = sizes
    assert none == 0
    assert 10 << 20 < some < 50 << 20
    assert all_of_them > 75 << 20


@pytest.mark.parametrize("most", [1, 1 << 12, 1 << 16, 1 << 20])
def test_advice_is_followed_to_the_end(most: int) -> None:
    data = costly_files.dense_chain(20)
    for _ in range(12):
        try:
            model = fastlstm.load(data, max_bytes=most)
        except FormatError as error:
            assert advised(str(error)) >= 2 * most
            most = advised(str(error))
        else:
            break
    assert model.predict(np.zeros((1, 3))).shape == (1, 3)
    assert most < 4 << 20


def test_what_a_loaded_model_takes_is_its_users_affair() -> None:
    data = costly_files.h5(costly_files.sequential(("UpSampling1D", {"size": 3}), shape=(None, 3)))
    model = fastlstm.load(data, max_bytes=1 << 17)
    assert model.predict(np.zeros((100, 500, 3))).shape == (100, 1500, 3)  # 1.8 MB
    assert model.predict(np.zeros((1, 1500, 3))).shape == (1, 4500, 3)


@pytest.mark.parametrize("max_bytes", [0, -1, 1.5, "1", True])
def test_arguments_that_are_no_limit(max_bytes: Any, tmp_path: Path) -> None:
    data = costly_files.dense_chain(1)
    for call in (fastlstm.load, fastlstm.describe, fastlstm.verify):
        with pytest.raises(InputError, match="max_bytes"):
            call(data, max_bytes=max_bytes)
    with pytest.raises(InputError, match="max_bytes"):
        fastlstm.convert(data, tmp_path / "m.fastlstm", max_bytes=max_bytes)


def test_every_reader_has_the_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = tmp_path / "m.h5", tmp_path / "m.fastlstm"
    path.write_bytes(costly_files.dense_chain(20))
    for call in (fastlstm.describe, fastlstm.verify, lambda path, max_bytes: fastlstm.convert(path, target, max_bytes=max_bytes)):
        with pytest.raises(FormatError, match="where loading may take 1000"):
            call(path, max_bytes=1000)
    assert not target.exists()
    np.save(tmp_path / "x.npy", np.zeros((1, 3), np.float32))
    for command in (["describe", path], ["predict", path, tmp_path / "x.npy"], ["convert", path, target], ["verify", path]):
        words = list(map(str, command))
        assert main([*words, "--max-bytes", "1000"]) == 1
        assert "--max-bytes" in capsys.readouterr().err
        assert main([*words, "--max-bytes", str(8 << 20)]) == 0


def test_recorded_cases_count(tmp_path: Path) -> None:
    target = tmp_path / "m.fastlstm"
    fastlstm.convert(costly_files.dense_chain(1), target)
    spec = formats.read(target)
    many = np.zeros((1 << 17, 3), np.float32)
    own.write(target, spec, (fastlstm.spec.Case("many", ((many,),), ((many,),), 1.0),))
    fastlstm.load(target, max_bytes=4 << 20)
    with pytest.raises(FormatError, match="max_bytes"):
        fastlstm.verify(target, max_bytes=4 << 20)
    assert fastlstm.verify(target).recorded[0].equal


LIMITED = """
import resource, sys, fastlstm
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
try:
    fastlstm.load(sys.argv[1], max_bytes=1 << 50)
except fastlstm.FormatError as error:
    print(error)
"""


@pytest.mark.slow
def test_less_memory_than_was_allowed(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    path.write_bytes(ARRAYS["small integers"]())
    done = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{path}: ")
    assert "memory" in done.stdout


# -- visits and depth -------------------------------------------------------------------------------------------------------


def as_native(data: bytes, folder: Path) -> bytes:
    """The same model as a ``.fastlstm`` file, whatever it would cost."""
    own.write(folder / "m.fastlstm", formats.read(data, budget=limits.Budget.unlimited()))
    return (folder / "m.fastlstm").read_bytes()


def test_models_that_are_called_twice_in_models_that_are(tmp_path: Path) -> None:
    data = costly_files.h5(costly_files.nested_twice(28))
    for same in (data, as_native(data, tmp_path)):
        assert "are used" in refusal(same)
    fine = costly_files.h5(costly_files.nested_twice(6))
    for same in (fine, as_native(fine, tmp_path)):
        assert fastlstm.load(same).predict(np.ones((1, 3))).tolist() == [[1.0, 1.0, 1.0]]


def test_an_encoder_that_is_called_often() -> None:
    assert fastlstm.load(costly_files.h5(costly_files.called(50, 100))).predict(np.ones((2, 3))).shape == (2, 3)


def test_visits_are_bounded_by_the_file_where_it_is_large() -> None:
    spec = formats.read(costly_files.h5(costly_files.called(50, 100)))
    budget = limits.Budget("file", 0)
    budget.survey(spec)
    assert budget.visits == 1 + 100 * (1 + 50 + 1)
    spec = formats.read(costly_files.h5(costly_files.called(300, 100)), budget=limits.Budget.unlimited())
    limits.Budget("file", 11_000 * limits.LEAST_ENTRY).survey(spec)
    with pytest.raises(FormatError, match="are used"):
        limits.Budget("file", 0).survey(spec)


def deep(levels: int) -> bytes:
    """Nested models."""
    config = costly_files.chain_of(1)
    for _ in range(levels):
        model = costly_files.inner("m", config, [costly_files.tensor("x")])
        config = costly_files.functional([costly_files.entrance("x", 3), model], [["x", 0, 0]], [["m", 1, 0]])
    return costly_files.h5(config)


def test_depth_is_the_same_in_every_format(tmp_path: Path) -> None:
    data = deep(limits.DEPTH - 1)
    for same in (data, as_native(data, tmp_path)):
        assert fastlstm.load(same).predict(np.ones((1, 3))).shape == (1, 3)
    assert f"nested more than {limits.DEPTH} deep" in refusal(deep(limits.DEPTH))


def test_names_that_no_layer_has(tmp_path: Path) -> None:
    """They are a part of the path of all that is inside."""
    for length, says in ((1 << 20, "a name of"), (limits.NAME, None)):
        model = costly_files.inner("n" * length, costly_files.chain_of(3), [costly_files.tensor("x")])
        config = costly_files.functional([costly_files.entrance("x", 3), model], [["x", 0, 0]], [["n" * length, 1, 0]])
        if says is None:
            fastlstm.load(costly_files.h5(config))
        else:
            assert says in refusal(costly_files.h5(config))
    data = costly_files.h5(costly_files.chain_of(3))
    long = as_native(data, tmp_path).replace(b'\\"name\\":\\"a0\\"', b'\\"name\\":\\"a0' + b"n" * 5000 + b'\\"')
    header = int.from_bytes(long[:8], "little") + 5000
    with pytest.raises(FormatError, match="a name of 5002"):
        fastlstm.load(header.to_bytes(8, "little") + long[8:])


def test_messages_of_many_problems_are_short() -> None:
    data = costly_files.h5(costly_files.sequential(*[("Own", {})] * 5000))
    with pytest.raises(UnsupportedError) as caught:
        fastlstm.load(data)
    assert len(caught.value.problems) == 5000
    assert str(caught.value).count("\n") < 300


# -- HDF5 and zip -----------------------------------------------------------------------------------------------------------


def linked(link: Callable[[h5py.File], None], config: Any = None) -> bytes:
    """A ``.keras`` file whose weights ``link`` ties together."""
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        link(file)
    door = {"class_name": "InputLayer", "module": "keras.layers", "config": {"name": "x", "batch_shape": [None, 3]}}
    dense = {"class_name": "Dense", "module": "keras.layers",
             "config": {"name": "d", "units": 3, "activation": "linear", "trainable": True, "use_bias": True}}  # fmt: skip
    config = config or {"class_name": "Sequential", "config": {"name": "s", "layers": [door, dense]}}
    return costly_files.zipped({"config.json": json.dumps(config), "model.weights.h5": weights.getvalue()})


def test_groups_that_are_reached_in_many_ways() -> None:
    def link(file: h5py.File) -> None:
        group = file.create_group("layers")
        for _ in range(18):
            inner = group.create_group("a")
            group["b"] = inner
            group = inner

    assert "linked twice" in refusal(linked(link))


def test_groups_that_hold_themselves() -> None:
    def link(file: h5py.File) -> None:
        file["layers/dense/again"] = file.create_group("layers/dense") and file["layers"]

    assert "linked twice" in refusal(linked(link))


def test_arrays_under_two_names() -> None:
    def link(file: h5py.File) -> None:
        file["layers/dense/vars/0"] = np.eye(3, dtype=np.float32)
        file["layers/dense/vars/1"] = file["layers/dense/vars/0"]

    assert "linked twice" in refusal(linked(link))


def test_arrays_in_more_pieces_than_the_file_can_have() -> None:
    config = costly_files.sequential(("Dense", {"units": 1, "activation": "linear", "use_bias": False}), shape=(1 << 20,))
    assert "chunks" in refusal(with_arrays(config, {"shape": (1 << 20, 1), "dtype": "i1", "chunks": (1, 1)}))


def test_names_in_more_attributes_than_keras_writes() -> None:
    stream = io.BytesIO(costly_files.dense_chain(1))
    with h5py.File(stream, "r+") as file:
        group = file["model_weights"]
        names = group.attrs["layer_names"]
        del group.attrs["layer_names"]
        for number in range(2000):
            group.attrs[f"layer_names{number}"] = names
    assert "parts" in refusal(stream.getvalue())


def test_members_packed_in_ways_of_their_own() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"")
    assert "packed in another way" in refusal(stream.getvalue())


# -- JSON -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"class_name": ' + "9" * 1_000_000 + "}", "digits"),
        ("[" + "[]," * 10_000_000 + "[]]", "takes"),
        ('["' + '\\"' * 2_000_000, "not JSON"),
        ("[" * 100_000, "nested more than"),
        (json.dumps(json.dumps(json.dumps(json.dumps("{}")))), "inside JSON"),
    ],
    ids=["digits", "lists", "quotes", "brackets", "strings"],
)
def test_texts_that_ask_for_much(text: str, says: str) -> None:
    with pytest.raises(FormatError, match=says):
        fastlstm.load(costly_files.h5(text))


def test_text_among_numbers() -> None:
    """NumPy would make all texts of a list as long as the longest of them."""
    constant = ["_CONSTANT_VALUE", -1, ["a"] * 2000 + ["b" * 500_000], {}]
    add = costly_files.layer("Add", "a", [[costly_files.tensor("x"), constant]])
    assert "found text" in refusal(
        costly_files.h5(costly_files.functional([costly_files.entrance("x", 3), add], [["x", 0, 0]], [["a", 0, 0]]), version="2.4.0")
    )


def test_call_arguments_of_many_levels() -> None:
    nested: Any = [0.0]
    for _ in range(50):
        nested = [nested]
    state = costly_files.layer("LSTM", "r", [[["x", 0, 0, {"initial_state": nested}]]], **LSTM)
    assert "arguments nested" in refusal(
        costly_files.h5(costly_files.functional([costly_files.entrance("x", 3, 1), state], [["x", 0, 0]], [["r", 0, 0]]))
    )


# -- placing buffers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [arena.MANY // 4, arena.MANY * 4])
def test_buffers_in_use_at_once_lie_apart(count: int) -> None:
    """Few, each compared with all others, and many, placed in turn."""
    random = np.random.default_rng(count)
    first = random.integers(0, 4 * count, count)
    last = first + random.integers(0, 50, count)
    uses: list[list[int]] = [[] for _ in range(4 * count + 50)]
    for number, ends in enumerate(zip(first, last, strict=True)):
        for place in ends:
            uses[place].append(number)
    steps = [Instruction("k", {f"f{n}": Buffer(number) for n, number in enumerate(numbers)}) for numbers in uses]
    buffers = [BufferInfo("scratch", int(size)) for size in random.integers(1, 1000, count)]
    offsets, total = arena.arrange(steps, buffers, 6)
    here = [(offset, offset + 6 * info.row_bytes) for offset, info in zip(offsets, buffers, strict=True)]
    for time_ in range(0, len(uses), 7):
        alive = sorted(here[n] for n in range(count) if first[n] <= time_ <= last[n])
        assert all(one[1] <= other[0] for one, other in zip(alive, alive[1:], strict=False))
    assert max(end for _, end in here) <= total
    assert total < 0.5 * sum(6 * info.row_bytes for info in buffers)


@pytest.mark.parametrize(
    ("size", "expected"), [([1 << 22, 1], "max_bytes"), ([0, 1], "whole numbers from 1"), ("x", "whole numbers from 1")]
)
def test_means_of_many_places(tmp_path: Path, size: Any, expected: str) -> None:
    """Few numbers come out, but along the first axis there are many; and sizes that are none."""
    layer = ("AdaptiveAveragePooling2D", {"output_size": size, "trainable": True})
    config = costly_files.sequential(layer, shape=(8, 1 << 12, 1))
    with pytest.raises(FormatError, match=expected):
        fastlstm.load(keras_configs.write_h5(tmp_path / "m.h5", config, {}, "3.15.1"))
