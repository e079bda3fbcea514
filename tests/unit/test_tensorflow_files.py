"""SavedModels and checkpoints written byte by byte: what is sound is read, what is not is refused, and none of it costs much."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import bundle_files
import numpy as np
import pytest
from bundle_files import Fixed, message

import fastlstm
from fastlstm.errors import FormatError, UnsupportedError
from fastlstm.formats.reading import tables, wire
from fastlstm.formats.reading.crc32c import ALL, EXPONENTS, FEW, LONG, PIECE, WORD, apply, crc32c, masked, moving, one_by_one
from fastlstm.formats.reading.objectgraph import graph as graph_of
from fastlstm.limits import Budget

KERNEL, BIAS = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0.5, -1], np.float32)
KERNEL_KEY, BIAS_KEY = (f"layer_with_weights-0/{name}/.ATTRIBUTES/VARIABLE_VALUE" for name in ("kernel", "bias"))
CONFIG = {
    "class_name": "Sequential",
    "config": {
        "name": "m",
        "layers": [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": {"class_name": "__tuple__", "items": [None, 3]}}},
            {"class_name": "Dense", "config": {"name": "dense", "units": 2, "activation": "linear"}},
        ],
    },
}
METADATA = {"class_name": "Sequential", "keras_version": "2.8.0", "backend": "tensorflow", "model_config": CONFIG}
X = np.ones((1, 3), np.float32)
Y = X @ KERNEL + BIAS


def tracked(children: Mapping[str, int], key: str = "") -> bytes:
    """A node of a checkpoint's graph."""
    edges = [(1, message((1, number), (2, name.encode()))) for name, number in children.items()]
    return message(*edges, *([(2, message((1, b"VARIABLE_VALUE"), (3, key.encode())))] if key else []))


def graph(*nodes: bytes) -> bytes:
    return message(*((1, node) for node in nodes))


NODES = (
    tracked({"layer-0": 1, "layer_with_weights-0": 1}),
    tracked({"kernel": 2, "bias": 3}),
    tracked({}, KERNEL_KEY),
    tracked({}, BIAS_KEY),
)
TENSORS: dict[str, Any] = {KERNEL_KEY: KERNEL, BIAS_KEY: BIAS, bundle_files.GRAPH: [graph(*NODES)]}


def saved_model(objects: bytes = graph(b"")) -> bytes:
    return message((1, 1), (2, message((1, message((5, b"2.8.0"))), (7, objects))))


def metadata(entry: Any = METADATA) -> bytes:
    return message((1, message((2, 0), (3, b"root"), (4, b"_tf_keras_sequential"), (5, json.dumps(entry).encode()))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "model"
    bundle_files.write_bundle(found / "variables" / "variables", TENSORS)
    (found / "saved_model.pb").write_bytes(saved_model())
    (found / "keras_metadata.pb").write_bytes(metadata())
    return found


def with_tensors(folder: Path, tensors: Mapping[str, Any], **options: Any) -> Path:
    bundle_files.write_bundle(folder / "variables" / "variables", {**TENSORS, **tensors}, **options)
    return folder


def refused(path: Path, says: str, **options: Any) -> None:
    begun = time.monotonic()
    with pytest.raises(FormatError, match=says) as caught:
        fastlstm.load(path, **options)
    assert time.monotonic() - begun < 5
    assert len(str(caught.value)) < 2000


# -- what is sound ----------------------------------------------------------------------------------------------------------


def test_a_folder_and_a_checkpoint(folder: Path) -> None:
    np.testing.assert_array_equal(fastlstm.load(folder).predict(X), Y)
    assert fastlstm.load(folder).generation.version == "2.8.0"
    np.testing.assert_array_equal(fastlstm.load(folder / "variables" / "variables", architecture=CONFIG).predict(X), Y)


def test_the_config_in_the_graph_of_objects(folder: Path) -> None:
    (folder / "keras_metadata.pb").unlink()
    user = message((1, b"_tf_keras_sequential"), (3, json.dumps(METADATA).encode()))
    (folder / "saved_model.pb").write_bytes(saved_model(graph(message((4, user)))))
    np.testing.assert_array_equal(fastlstm.load(folder).predict(X), Y)


@pytest.mark.parametrize(
    ("code", "raw"),
    [(19, KERNEL.astype("<f2").tobytes()), (2, KERNEL.astype("<f8").tobytes()), (9, KERNEL.astype("<i8").tobytes()),
     (14, (KERNEL.view("<u4") >> 16).astype("<u2").tobytes())],
)  # fmt: skip
def test_dtypes(folder: Path, code: int, raw: bytes) -> None:
    """Half, double, int64 and bfloat16; each of these numbers is exact in all of them."""
    index, data = bundle_files.bundled(TENSORS)
    entries = [(key, bytes(value)) for key, value in listed(index)]
    shape = message((2, message((1, 3))), (2, message((1, 2))))
    place = [key for key, _ in entries].index(KERNEL_KEY.encode())
    entries[place] = (entries[place][0], message((1, code), (2, shape), (4, len(data)), (5, len(raw)), (6, Fixed(masked(crc32c(raw))))))
    (folder / "variables" / "variables.index").write_bytes(bundle_files.table(entries))
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(data + raw)
    np.testing.assert_array_equal(fastlstm.load(folder).predict(X), Y)


def listed(index: bytes) -> list[tuple[bytes, memoryview]]:
    from fastlstm.formats.reading.bundle import table

    return list(table(memoryview(index), Budget.unlimited(), "index"))


def test_two_data_files(folder: Path) -> None:
    index, data = bundle_files.bundled(TENSORS)
    entries = [(key, bytes(value)) for key, value in listed(index)]
    entries[0] = (b"", message((1, 2), (3, message((1, 1)))))
    entries[1:] = [(key, value + message((3, 1))) for key, value in entries[1:]]
    variables = folder / "variables"
    (variables / "variables.data-00000-of-00001").unlink()
    (variables / "variables.index").write_bytes(bundle_files.table(entries))
    (variables / "variables.data-00000-of-00002").write_bytes(b"")
    (variables / "variables.data-00001-of-00002").write_bytes(data)
    np.testing.assert_array_equal(fastlstm.load(folder).predict(X), Y)


def test_the_checkpoint_that_is_named(folder: Path) -> None:
    for number in (1, 2):
        bundle_files.write_bundle(folder.parent / "runs" / f"c-{number}", {**TENSORS, BIAS_KEY: BIAS * number})
    (folder.parent / "runs" / "checkpoint").write_text('model_checkpoint_path: "/elsewhere/c-2"\nall_model_checkpoint_paths: "c-1"\n')
    np.testing.assert_array_equal(fastlstm.load(folder.parent / "runs", architecture=CONFIG).predict(X), Y + BIAS)
    np.testing.assert_array_equal(fastlstm.load(folder.parent / "runs" / "c-1", architecture=CONFIG).predict(X), Y)


def test_the_model_of_a_tracker(folder: Path) -> None:
    nodes = (tracked({"optimizer": 5, "net": 1}), tracked({"layer-0": 2}), tracked({"kernel": 3, "bias": 4}), tracked({}, KERNEL_KEY),
             tracked({}, BIAS_KEY), tracked({}))  # fmt: skip
    with_tensors(folder, {bundle_files.GRAPH: [graph(*nodes)]})
    np.testing.assert_array_equal(fastlstm.load(folder / "variables" / "variables", architecture=CONFIG).predict(X), Y)


def test_layers_that_no_checkpoint_has(folder: Path) -> None:
    """What add_loss() adds to a model stands in its config alone; a layer with arrays must be in both."""
    layers = [
        {"name": "x", "class_name": "InputLayer", "config": {"name": "x", "batch_input_shape": [None, 3]}, "inbound_nodes": []},
        {**CONFIG["config"]["layers"][1], "name": "dense", "inbound_nodes": [[["x", 0, 0, {}]]]},
        {"name": "l", "class_name": "AddLoss", "config": {"name": "l", "unconditional": False}, "inbound_nodes": [[["dense", 0, 0, {}]]]},
    ]  # fmt: skip
    ends = {"name": "m", "input_layers": [["x", 0, 0]], "output_layers": [["dense", 0, 0]]}
    nodes = (tracked({"layer-0": 4, "layer-1": 1}), *NODES[1:], tracked({}))
    with_tensors(folder, {bundle_files.GRAPH: [graph(*nodes)]})
    checkpoint = folder / "variables" / "variables"
    entry = {"class_name": "Functional", "config": {**ends, "layers": layers}, "keras_version": "2.8.0"}
    np.testing.assert_array_equal(fastlstm.load(checkpoint, architecture=entry).predict(X), Y)
    layers[2] = {**layers[1], "name": "more", "config": {**layers[1]["config"], "name": "more"}}
    refused(checkpoint, "2 layers in the checkpoint, 3 in its config", architecture=entry)


def test_a_layer_of_ones_own(folder: Path) -> None:
    """Which of its arrays are trainable, a checkpoint does not say: a warning tells the order in which they are given."""
    mine = {"class_name": "Mine", "config": {"name": "mine"}}
    entry = {"class_name": "Sequential", "config": {"name": "m", "layers": [CONFIG["config"]["layers"][0], mine]}}

    def function(x: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
        return x @ weights[0] + weights[1]

    with pytest.warns(UserWarning, match=r"its weights are given in the order in which the layer made them: kernel, bias\."):
        model = fastlstm.load(folder / "variables" / "variables", architecture=entry, custom_layers={"Mine": function})
    np.testing.assert_array_equal(model.predict(X), Y)


# -- what is not ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ((), "a graph without objects"),
        ((tracked({"layer-0": 7}),), "'layer-0' is object 7 of 1"),
        ((tracked({"layer-0": 0}),), r"expected 2 arrays \(kernel, bias\), found 0 in the checkpoint \(layer-0\)|no weights"),
        ((message(*[(1, message((1, 0), (2, b"a")))] * 2),), "two children 'a'"),
        ((tracked({"a": 0}),), "found 0 models among a"),
        ((*NODES[:2], tracked({}, "gone"), NODES[3]), "it has no array 'gone'"),
        ((*NODES[:2], tracked({}, BIAS_KEY), NODES[3]), "shape"),
        ((tracked({"layer-0": 1, "layer-1": 1, "layer-2": 1}), *NODES[1:]), "3 layers in the checkpoint, 2 in its config: x, dense"),
        ((NODES[0], tracked({"kernel": 2}), *NODES[2:]), r"expected 2 arrays \(kernel, bias\), found 1 in the checkpoint \(kernel\)"),
        ((message((1, 5)),), "damaged"),
        ((b"\xff" * 12,), "damaged"),
    ],
)  # fmt: skip
def test_graphs_of_objects(folder: Path, nodes: tuple[bytes, ...], says: str) -> None:
    with_tensors(folder, {bundle_files.GRAPH: [graph(*nodes)]})
    with pytest.raises((FormatError, UnsupportedError), match=says):
        fastlstm.load(folder)


def test_an_array_of_nobody(folder: Path) -> None:
    nodes = (NODES[0], tracked({"kernel": 2, "bias": 3, "spare": 4}), *NODES[2:], tracked({}, "spare"))
    with_tensors(folder, {bundle_files.GRAPH: [graph(*nodes)], "spare": BIAS})
    with pytest.raises(UnsupportedError, match=r"the array layer-0/spare in the checkpoint belongs to no layer"):
        fastlstm.load(folder)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (message((1, 1), (2, 1)), "big-endian"),
        (message((1, 0)), "declares 0 data files"),
        (message((1, 1 << 40)), "data files"),
        (message((1, 1), (3, message((1, 2), (2, 2)))), "a later TensorFlow"),
        (message((1, 2)), "variables.data-00000-of-00002 is not there"),
        (b"\xff", "damaged"),
    ],
)
def test_headers(folder: Path, header: bytes, says: str) -> None:
    refused(with_tensors(folder, {}, header=header), says)


def entry(*fields: tuple[int, int | bytes]) -> Callable[[bytes], bytes]:
    """An entry with other fields; of those that are there twice, the last one counts."""
    return lambda value: value + message(*fields)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (entry((7, message((1, b"")))), "an array in slices"),
        (entry((1, 21)), "expected numbers, found TensorFlow's dtype 21"),
        (entry((3, 1)), "in data file 1 of 1"),
        (entry((4, 1 << 40)), "lies at"),
        (entry((5, 1 << 40)), "holds 1099511627776 bytes"),
        (entry((4, 1)), "its checksum is another"),
        (entry((6, Fixed(1))), "its checksum is another"),
        (entry((2, message((2, message((1, 1 << 63)))))), "axes"),
        (entry((2, message((2, message((1, 1 << 40))))), (5, 1 << 42)), "(takes|lies)"),
        (entry((2, message(*[(2, message((1, 0)))] * 40))), "40 axes"),
    ],
)
def test_entries(folder: Path, change: Callable[[bytes], bytes], says: str) -> None:
    index, _ = bundle_files.bundled(TENSORS)
    entries = [(key, change(bytes(value)) if key == KERNEL_KEY.encode() else bytes(value)) for key, value in listed(index)]
    (folder / "variables" / "variables.index").write_bytes(bundle_files.table(entries))
    refused(folder, says)


def test_tables(folder: Path) -> None:
    index = folder / "variables" / "variables.index"
    sound = index.read_bytes()
    compressed = bytearray(sound)
    place = sound.index(b"VALUE")
    for data, says in (
        (sound[:-1], "no table"), (sound[:40], "no table"), (b"", "no table"),
        (sound[:place] + b"X" + sound[place + 1 :], "checksum of a block"),
        (bundle_files.table([(b"b", b""), (b"a", b"")]), "comes twice or out of order"),
        (bundle_files.table([(b"a", b""), (b"a", b"")]), "comes twice or out of order"),
    ):  # fmt: skip
        index.write_bytes(data)
        refused(folder, says)
    compressed[bundle_end(sound)] = 1
    index.write_bytes(bytes(compressed))
    refused(folder, "compressed")


def bundle_end(index: bytes) -> int:
    """Where the first block of a table ends."""
    footer = memoryview(index)[-48:]
    at = 0
    for _ in range(2):
        _, at = wire.varint(footer, at)
    offset, _ = wire.varint(footer, at)
    return offset - 2 * 5 - len(bundle_files.block([])) + 5


def test_a_table_that_lists_one_block_many_times(folder: Path) -> None:
    data = bundle_files.block([])
    handles = [(f"{number:06d}".encode(), wire_handle(0, len(data) - 5)) for number in range(20_000)]
    index = bundle_files.block(handles)
    places = b"\0\0" + wire_handle(len(data), len(index) - 5)
    footer = places.ljust(40, b"\0") + bundle_files.MAGIC.to_bytes(8, "little")
    (folder / "variables" / "variables.index").write_bytes(data + index + footer)
    refused(folder, "its blocks overlap")


def wire_handle(offset: int, size: int) -> bytes:
    return bundle_files.varint(offset) + bundle_files.varint(size)


def test_graphs_of_many_objects(folder: Path) -> None:
    """A layer each, all of which hold the same objects; and more objects than loading may take memory for."""
    entry = {"class_name": "Sequential", "config": {"name": "m", "layers": [
        CONFIG["config"]["layers"][0], *({"class_name": "Mine", "config": {"name": f"l{number}"}} for number in range(3000))
    ]}}  # fmt: skip
    nodes = [tracked({f"layer-{number}": 1 for number in range(3000)}), tracked({f"c{number}": 2 + number for number in range(3000)})]
    with_tensors(folder, {bundle_files.GRAPH: [graph(*nodes, *[b""] * 3000)]})
    refused(folder / "variables" / "variables", "the graph of objects", architecture=entry)
    with_tensors(folder, {bundle_files.GRAPH: [graph(*[b""] * 200_000)]})
    refused(folder, "max_bytes", max_bytes=1 << 24)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({**METADATA, "model_config": None}, "the model is of the class 'Sequential', whose graph is in Python code"),
        ({}, "without a Keras config"), ([], "expected an object"),
        ({"model_config": {"class_name": "Sequential"}}, "expected class_name and config"),
    ],
)  # fmt: skip
def test_configs(folder: Path, given: Any, says: str) -> None:
    (folder / "keras_metadata.pb").write_bytes(metadata(given))
    with pytest.raises((FormatError, UnsupportedError), match=says):
        fastlstm.load(folder)


def test_what_is_no_keras_model(folder: Path) -> None:
    (folder / "keras_metadata.pb").unlink()
    with pytest.raises(UnsupportedError, match=r"export\(\) of Keras 3 .* model\.save_weights\('weights\.h5'\)"):
        fastlstm.load(folder)
    (folder / "saved_model.pb").write_bytes(message((1, 1), (2, message((1, message((5, b"1.15.0")))))))
    with pytest.raises(UnsupportedError, match="of TensorFlow 1 or of an Estimator"):
        fastlstm.load(folder)
    keras3 = {**CONFIG, "keras_version": "3.5.0"}
    refused(folder / "variables" / "variables", "an architecture of Keras 3, which does not write such", architecture=keras3)
    bundle_files.write_bundle(folder / "old", {"dense/kernel": KERNEL})
    refused(folder / "old", "a checkpoint of TensorFlow 1", architecture=CONFIG)


def test_folders_of_checkpoints(folder: Path) -> None:
    refused(folder / "variables", r"the weights of a SavedModel; pass the folder above it")
    bundle_files.write_bundle(folder.parent / "runs" / "c-1", TENSORS)
    refused(folder.parent / "runs", r"pass the \.index of one of them")


# -- checksums and messages -------------------------------------------------------------------------------------------------


def test_tensors_of_tables() -> None:
    """The values of a constant; as many as its shape says, of few axes, whatever it holds."""

    def held(kind: int, sizes: tuple[int, ...], *values: tuple[int, int | bytes]) -> list[Any]:
        shape = message(*((2, message((1, size))) for size in sizes))
        return tables.values(memoryview(message((1, kind), (2, shape), *values)), Budget("x", 100))

    assert held(7, (3,), (8, b"a"), (8, b"b")) == [b"a", b"b", b"b"]
    assert held(9, (2,), (10, (1 << 64) - 5), (10, 7)) == [-5, 7]
    for sizes, values in (((1,), [(8, b"a")] * 3), ((1,) * 33, [(8, b"a")]), ((2,), [])):
        with pytest.raises(wire.DamagedError, match=r"a tensor of"):
            held(7, sizes, *values)
    with pytest.raises(wire.DamagedError, match="a tensor of 1 values that holds 2"):
        held(9, (1,), (10, bytes(1_000_000)))
    with pytest.raises(FormatError, match="loading may take"):
        held(7, (1 << 40,), (8, b"a"))


def test_what_a_function_is_bound_to() -> None:
    """Each object once: its bytes are read for each that there is, and a file can list one a million times."""
    function = message((1, b"f"), (2, message((2, bytes([1]) * 1_000_000))))
    objects = message((2, function))
    budget = Budget("x", 10_000)
    nodes = graph_of(memoryview(message((1, b""), (1, message((6, message((1, b"f"))))))), budget, "x", saved=True)
    saved = tables.Saved(memoryview(message((7, objects))), nodes, lambda name: memoryview(b"a"), budget)
    assert saved.bound(1) == [1]
    many = tables.Saved(memoryview(message((7, objects))), nodes[:1] + nodes[1:] * 30_000, lambda name: memoryview(b"a"), Budget("x", 1))
    many.functions["f"] = memoryview(message((2, b"".join(map(bundle_files.varint, range(30_000))))))
    with pytest.raises(FormatError, match="are followed"):
        many.bound(1)


@pytest.mark.parametrize("length", [LONG, LONG + 1, 200_003, PIECE + 8 * EXPONENTS[0], (1 << 20) + 7])
def test_checksums_of_what_is_folded(length: int) -> None:
    """Byte by byte is the truth; in parts, of views, and from any state."""
    data = np.random.default_rng(length).bytes(length)
    for before in (0, 0x12345678):
        assert crc32c(memoryview(data), before) == one_by_one(data, before ^ ALL) ^ ALL
    assert crc32c(data[70_001:], crc32c(data[:70_001])) == crc32c(data)
    for place in (0, length // 2, length - 1):  # each byte counts
        assert crc32c(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]) != crc32c(data)


def test_what_is_folded_by_is_divided() -> None:
    """The sum of the states that lead from one bit over so many words of zeros is 0."""
    states = [apply(moving(WORD * n), np.array([1], np.uint32)) for n in EXPONENTS if n]
    assert np.bitwise_xor.reduce([np.array([1], np.uint32), *states]) == 0


def test_checksums() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # of RFC 3720's generator
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    random = np.random.default_rng(0)
    for size in (0, 1, FEW - 1, FEW, FEW + 1, 32_768, 100_003, PIECE + 5):
        data = random.bytes(size)
        assert crc32c(data) == one_by_one(data, 0xFFFFFFFF) ^ 0xFFFFFFFF
        assert crc32c(data[size // 3 :], crc32c(data[: size // 3])) == crc32c(data)


def test_messages() -> None:
    data = memoryview(message((1, 300), (2, b"text"), (3, Fixed(7)), (1, 5)))
    assert [number for number, _ in wire.fields(data)] == [1, 2, 3, 1]
    assert (wire.number_of(data, 1), wire.text_of(data, 2), wire.number_of(data, 3), wire.number_of(data, 9, 4)) == (5, "text", 7, 4)
    assert list(wire.numbers(memoryview(message((2, b"\x01\x80\x01"), (2, 3))), 2)) == [1, 128, 3]
    for broken in (b"\x08", b"\x08" + b"\x80" * 11, b"\x12\x05ab", b"\x0b", b"\x0d\0\0", b"\x08" + b"\xff" * 9 + b"\x7f"):
        with pytest.raises(wire.DamagedError):
            list(wire.fields(memoryview(broken)))
