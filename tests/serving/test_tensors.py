"""Tensors of requests: nothing is believed of a request, and nothing allocated, before it is proven."""

from __future__ import annotations

import json
import struct
import tracemalloc
from array import array
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import services
from hypothesis import example, given
from hypothesis import strategies as st

import fastlstm
from fastlstm.inputs import TensorInfo
from fastlstm.serving.models.served import Served
from fastlstm.serving.protocols import tensors
from fastlstm.serving.refusals import RefusedError

INFER, HEADER = "/v2/models/fixed/infer", "Inference-Header-Content-Length"
NAME, SHAPE = "lstm_1_input", [1, 5, 3]
DATA = [0.0] * 15


def ask(**changed: Any) -> dict[str, Any]:
    """A request, with something else in its only input; what is None is left out."""
    one = {"name": NAME, "shape": SHAPE, "datatype": "FP32", "data": DATA, **changed}
    return {"inputs": [{key: value for key, value in one.items() if value is not None}]}


def raw(size: Any, **changed: Any) -> dict[str, Any]:
    return ask(parameters={"binary_data_size": size}, data=None, **changed)


def test_the_request_that_is_changed_here_is_answered(protocols: httpx.Client) -> None:
    assert protocols.post(INFER, json=ask()).status_code == 200


# -- the Open Inference Protocol ------------------------------------------------------------------------------------------

HUGE = 2**62
BAD: list[tuple[str, Any, str]] = [
    ("no object", [1], 'expected an object with "inputs"'),
    ("no inputs", {}, "expected 1 inputs but got 0 inputs for model 'fixed'; missing: 'lstm_1_input'"),
    ("inputs that are no list", {"inputs": {}}, "inputs: expected a list of objects"),
    ("inputs that are no objects", {"inputs": [1]}, "inputs: expected a list of objects"),
    ("a name that is none", ask(name=1), 'expected each to have a "name"'),
    ("no name", ask(name=None), 'expected each to have a "name"'),
    ("another name", ask(name="x" * 10_000), "unexpected inference input 'xxx"),
    ("a name twice", {"inputs": ask()["inputs"] * 2}, "inputs: expected each once, found 'lstm_1_input' twice"),
    ("an output twice", {**ask(), "outputs": [{"name": "dense_2"}] * 2}, "outputs: expected each once, found 'dense_2' twice"),
    ("no shape", ask(shape=None), "expected a shape"),
    ("an empty shape", ask(shape=[]), "expected a shape like (any, 5, 3)"),
    ("a shape that is none", ask(shape="1,5,3"), "expected a shape"),
    ("a size that is negative", ask(shape=[-1, 5, 3]), "expected a shape"),
    ("sizes that are negative", ask(shape=[-1, -5, 3]), "expected a shape"),
    ("a size that is a fraction", ask(shape=[1.0, 5, 3]), "expected a shape"),
    ("a size that is true", ask(shape=[True, 5, 3]), "expected a shape"),
    ("a size that is a text", ask(shape=["1", 5, 3]), "expected a shape"),
    ("too many axes", ask(shape=[1] * 100_000), "expected a shape, a list of at most 16 sizes"),
    ("more rows than there are", ask(shape=[HUGE, 5, 3]), f"expected {HUGE * 15} values"),
    ("sizes whose product is none in 64 bits", ask(shape=[HUGE, HUGE, HUGE]), f"expected {HUGE**3} values"),
    ("sizes whose product wraps to the right one", ask(shape=[2**32, 2**32, 15]), f"expected {2**64 * 15} values"),
    ("no rows", ask(shape=[0, 5, 3], data=[]), "expected at least one row, found none"),
    ("no timesteps", ask(shape=[1, 0, 3], data=[]), "expected shape (any, 5, 3), found (1, 0, 3)"),
    ("a size beyond 64 bits", ask(shape=[10**30, 0, 0], data=[]), "input 'lstm_1_input'"),
    ("another shape", ask(shape=[5, 1, 3]), "model 'fixed': input 'lstm_1_input': expected shape (any, 5, 3), found (5, 1, 3)"),
    ("no datatype", ask(datatype=None), "expected the datatype FP32 or another datatype of numbers, found none"),
    ("a datatype that is none", ask(datatype="FP31"), "found 'FP31'"),
    ("a datatype of no text", ask(datatype=7), "expected the datatype"),
    ("texts", ask(datatype="BYTES", data=["a"] * 15), "found 'BYTES'"),
    ("no data", ask(data=None), "expected data, or a binary_data_size"),
    ("data that is none", ask(data=7), "expected a list, found a number"),
    ("too little data", ask(data=DATA[:14]), "expected 15 values, as its shape [1, 5, 3] has, found 14"),
    ("too much data", ask(data=[*DATA, 0.0]), "expected 15 values"),
    ("text among numbers", ask(data=[*DATA[:14], "1"]), "found a text ('1'), at [14]"),
    ("null among numbers", ask(data=[*DATA[:14], None]), "found null, at [14]"),
    ("an object among numbers", ask(data=[*DATA[:14], {}]), "found an object, at [14]"),
    ("rows that differ", ask(data=[[0.0] * 7, [0.0] * 8]), "lists of 7 and 8 values"),
    ("a fraction among whole numbers", ask(datatype="INT32", data=[*DATA[:14], 0.5]), "a number that this datatype does not hold"),
    ("a number that does not fit", ask(datatype="INT8", data=[*[0] * 14, 128]), "a number that this datatype does not hold"),
    ("a negative number without sign", ask(datatype="UINT64", data=[*[0] * 14, -1]), "a number that this datatype does not hold"),
    ("both data and raw bytes", ask(parameters={"binary_data_size": 0}), "expected either data or a binary_data_size, found both"),
    ("raw bytes that are not there", raw(60), "expected a binary_data_size from 0 to 0"),
    ("more raw bytes than anybody has", raw(HUGE), "expected a binary_data_size from 0 to 0"),
    ("a size that is negative", raw(-1), "expected a binary_data_size from 0"),
    ("a size that is a fraction", raw(0.5), "expected a binary_data_size from 0"),
    ("a size that is true", raw(True), "expected a binary_data_size from 0"),
    ("a size that is huge", raw(10**25), "expected a binary_data_size from 0"),
    ("too few raw bytes", raw(0), "expected 60 bytes for FP32 of shape [1, 5, 3], found a binary_data_size of 0"),
    ("no raw bytes for a huge shape", raw(0, shape=[HUGE, HUGE, HUGE]), "found a binary_data_size of 0"),
    ("parameters that are none", ask(parameters=[1]), "parameters of input 'lstm_1_input': expected an object"),
    ("parameters of the request that are none", {**ask(), "parameters": 1}, "parameters of the request: expected an object"),
    ("a flag that is none", {**ask(), "parameters": {"binary_data_output": 1}}, "parameter 'binary_data_output': expected true or false"),
    ("an id that is none", {**ask(), "id": 7}, "id: expected a text"),
    ("outputs that are none", {**ask(), "outputs": 7}, "outputs: expected a list of objects"),
    ("another output", {**ask(), "outputs": [{"name": "x" * 1000}]}, "unexpected inference output"),
    ("a flag of an output that is none", {**ask(), "outputs": [{"name": "dense_2", "parameters": {"binary_data": 1}}]}, "'binary_data'"),
    ("a sequence's flag that is none", {**ask(), "parameters": {"sequence_id": 1, "sequence_start": 1}}, "'sequence_start'"),
    ("a sequence's flag without its id", {**ask(), "parameters": {"sequence_start": True}}, "expected a sequence_id beside"),
    ("an id of no sequence", {**ask(), "parameters": {"sequence_id": -1}}, "parameter 'sequence_id': expected a number of 64 bits"),
    ("an id that is true", {**ask(), "parameters": {"sequence_id": True}}, "parameter 'sequence_id'"),
    ("an id that is a fraction", {**ask(), "parameters": {"sequence_id": 0.5}}, "parameter 'sequence_id'"),
    ("an id that is too long", {**ask(), "parameters": {"sequence_id": "x" * 129}}, "parameter 'sequence_id'"),
    ("an id that is too large", {**ask(), "parameters": {"sequence_id": 2**64}}, "parameter 'sequence_id'"),
]


@pytest.mark.parametrize(("body", "words"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_request_that_is_wrong_is_refused(protocols: httpx.Client, body: Any, words: str) -> None:
    answer = protocols.post(INFER, json=body)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]
    assert len(answer.text) < 600


@pytest.mark.parametrize("size", ["-1", "x", "1e1", "+1", "", "9" * 30, "1000000", "0x10", "\N{SUPERSCRIPT TWO}"])
def test_a_head_of_another_length_is_refused(protocols: httpx.Client, size: str) -> None:
    answer = protocols.post(INFER, json=ask(), headers={HEADER: size.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.status_code == 400
    assert "Inference-Header-Content-Length: expected a number up to " in answer.json()["error"]


def sent(client: httpx.Client, head: Any, rest: bytes, path: str = INFER) -> httpx.Response:
    text = json.dumps(head).encode()
    return client.post(path, content=text + rest, headers={HEADER: str(len(text))})


@pytest.mark.parametrize("rest", [59, 61, 0, 1000])
def test_raw_bytes_must_be_as_many_as_told(protocols: httpx.Client, rest: int) -> None:
    assert sent(protocols, raw(60), bytes(60)).status_code == 200
    answer = sent(protocols, raw(60), bytes(rest))
    assert answer.status_code == 400
    assert ("expected a binary_data_size from 0 to" if rest < 60 else "expected the 60 bytes that the inputs have") in answer.json()[
        "error"
    ]


@pytest.mark.parametrize(
    ("rest", "shape", "word"),
    [
        (b"", [1, 1], "expected 1 texts, each behind the 4 bytes of its length, found 0 bytes"),
        (b"", [HUGE, HUGE], f"expected {HUGE * HUGE} texts"),
        (struct.pack("<I", 2**32 - 1), [1, 1], "text 0 goes on beyond the end"),
        (struct.pack("<I", 1) + b"a" + b"b", [1, 1], "found 1 bytes more"),
        (struct.pack("<I", 1) + b"a" + b"bcd", [2, 1], "text 1 goes on beyond the end"),
    ],
)
def test_texts_must_be_as_long_as_told(protocols: httpx.Client, rest: bytes, shape: list[int], word: str) -> None:
    one = {"name": "input_layer", "shape": shape, "datatype": "BYTES", "parameters": {"binary_data_size": len(rest)}}
    answer = sent(protocols, {"inputs": [one]}, rest, "/v2/models/words/infer")
    assert answer.status_code == 400
    assert word in answer.json()["error"]


@given(st.lists(st.binary(max_size=20), max_size=10), st.binary(max_size=8), st.integers(0, 12))
def test_any_bytes_are_texts_or_refused(texts: list[bytes], more: bytes, count: int) -> None:
    piece = b"".join(tensors.LENGTH.pack(len(text)) + text for text in texts) + more
    try:
        found = tensors.binary(memoryview(piece), "BYTES", [count], SERVED, WORDS)
    except RefusedError as error:
        assert error.status == 400
        assert more or count != len(texts)
    else:
        assert b"".join(tensors.LENGTH.pack(len(text)) + text for text in found.tolist()) == piece


def test_raw_bytes_alone(protocols: httpx.Client, served_files: dict[str, Path]) -> None:
    """Triton's requests without a head: one row."""
    x = np.random.default_rng(0).standard_normal((1, 5, 3), np.float32)
    answer = protocols.post(INFER, content=x.tobytes(), headers={HEADER: "0"})
    size = int(answer.headers[HEADER])
    assert json.loads(answer.content[:size])["outputs"][0]["shape"] == [1, 1]
    assert answer.content[size:] == fastlstm.load(served_files["fixed"]).predict(x).tobytes()
    more = np.random.default_rng(1).standard_normal((1, 9, 3), np.float32)
    answer = protocols.post("/v2/models/open/infer", content=more.tobytes(), headers={HEADER: "0"})
    assert answer.content.endswith(fastlstm.load(served_files["open"]).predict(more).tobytes())
    assert protocols.post("/v2/models/words/infer", content=b"b", headers={HEADER: "0"}).content.endswith(b"}" + np.int64(2).tobytes())


@pytest.mark.parametrize(
    ("path", "size"), [(INFER, 59), (INFER, 0), (INFER, 120), ("/v2/models/open/infer", 13), ("/v2/models/several/infer", 60)]
)
def test_raw_bytes_alone_that_are_no_row(protocols: httpx.Client, path: str, size: int) -> None:
    answer = protocols.post(path, content=bytes(size), headers={HEADER: "0"})
    assert answer.status_code == 400
    assert path.split("/")[3] in answer.json()["error"]


def test_bad_requests_take_no_memory(protocols: httpx.Client, serving: services.Running) -> None:
    bodies = [json.dumps(body) for _, body, _ in BAD]
    for body in bodies:
        protocols.post(INFER, content=body)
    before = serving.memory
    for _ in range(5):
        for body in bodies:
            assert protocols.post(INFER, content=body).status_code == 400
    assert serving.memory - before < 8 << 20


# -- lists ----------------------------------------------------------------------------------------------------------------


class Model:
    """What a Served is asked for here."""

    name = "m"


SERVED: Served = Model()  # type: ignore[assignment]
FLOATS = TensorInfo("x", (None, None, 3), "float32")
WORDS = TensorInfo("w", (None,), "string")
IDS = TensorInfo("i", (None, None), "int32", 2**31 - 1)
DOUBLES = TensorInfo("d", (None, None), "float64")

numbers = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.booleans())
junk = st.recursive(
    st.one_of(numbers, st.none(), st.text(max_size=3)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=20,
)


@given(junk, st.sampled_from([FLOATS, WORDS, IDS, DOUBLES]))
@example([[1, 2], [3]], DOUBLES)
@example([["ab"], ["cd"]], FLOATS)
@example([{"a": 1}, {"b": 2}], FLOATS)
@example([[[]]], FLOATS)
@example([10**400], DOUBLES)
@example([{"b64": "\ud800"}], WORDS)
@example([{"b64": "YQ"}], WORDS)
def test_any_value_is_a_tensor_or_refused(value: Any, info: Any) -> None:
    try:
        found = tensors.nested(value, SERVED, info)
    except RefusedError as error:
        assert error.status == 400
        assert str(error).startswith(f"model 'm': input '{info.name}': expected ")
        return
    for one in found if isinstance(found, list) else [found]:
        assert isinstance(one, np.ndarray)
        assert one.dtype.kind == ("O" if info.dtype == "string" else one.dtype.kind)
        assert one.dtype.kind in "Ofil"
    assert len(found) == len(value)


@given(st.lists(st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=2, max_size=2), min_size=1, max_size=4))
def test_lists_become_what_numpy_makes_of_them(value: list[Any]) -> None:
    found = tensors.nested(value, SERVED, FLOATS)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.asarray(value, np.float32), equal_nan=True)


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=2), min_size=1, max_size=4))
def test_whole_numbers_stay_exact(value: list[Any]) -> None:
    found = tensors.nested(value, SERVED, IDS)
    assert found.dtype == np.int64
    assert found.tolist() == value


def test_a_long_text_among_numbers_takes_no_memory() -> None:
    """NumPy would make an array of texts, each as long as the longest: 400 GB here."""
    value = ["x" * 1_000_000, *[1.0] * 100_000]
    tracemalloc.start()
    with pytest.raises(RefusedError, match="found a text"):
        tensors.nested(value, SERVED, DOUBLES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_lists_that_are_deep_are_refused(protocols: httpx.Client) -> None:
    for depth in (17, 900, 100_000):
        body = '{"instances": ' + "[" * depth + "1" + "]" * depth + "}"
        answer = protocols.post("/v1/models/fixed:predict", content=body)
        assert answer.status_code == 400, depth
        assert len(answer.text) < 400


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [
        ("y", np.array([["a", "b"]]), [["a", "b"]]), ("y", np.array([b"a", "\N{BLACK STAR}".encode()], object), ["a", "\N{BLACK STAR}"]),
        ("y", np.array([b"a", b"\xff"], object), ["a", {"b64": "/w=="}]), ("y_bytes", np.array([b"a"], object), [{"b64": "YQ=="}]),
        ("y_bytes", np.array(["a"]), [{"b64": "YQ=="}]), ("y_bytes", np.array([1]), [1]),
    ],
)  # fmt: skip
def test_texts_of_answers(name: str, found: np.ndarray, expected: Any) -> None:
    written = tensors.writable(name, found)
    assert (written.tolist() if isinstance(written, np.ndarray) else written) == expected


#: What JSON has, at the edges of what datatypes hold.
LEAVES = st.one_of(
    st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=2), st.just([1]), st.just({}),
    st.sampled_from([-129, -128, 127, 128, 255, 256, 32767, 32768, 65536, 2**31, 2**32, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400]),
    st.sampled_from([1e39, -1e39, 3.4028235677973366e38, 1e-46, 0.1]),
)  # fmt: skip


def found_by(pack: Any, code: str, leaves: list[Any]) -> bytes | None:
    try:
        return bytes(pack(code, leaves))
    except (TypeError, OverflowError, struct.error):
        return None


@given(st.sampled_from("fdbBhHiIqQ"), st.lists(LEAVES, min_size=1, max_size=6))
@example("f", [1e39, -1e39, 10**30])
@example("q", [True, 2**63])
@example("b", [1.0])
def test_numbers_are_packed_as_arrays_have_them(code: str, leaves: list[Any]) -> None:
    assert found_by(tensors.packed, code, leaves) == found_by(array, code, leaves)


def test_many_numbers_are_packed_as_few() -> None:
    numbers = np.random.default_rng(0).normal(size=tensors.FEW + 1).tolist()
    assert bytes(tensors.packed("f", numbers)) == bytes(tensors.packed("f", numbers[:-1])) + struct.pack("f", numbers[-1])
