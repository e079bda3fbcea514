"""The Open Inference Protocol, as ``tritonclient.http`` speaks it: each public method passes, or is refused in clear words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import fastlstm

triton = pytest.importorskip("tritonclient.http", reason="needs tritonclient[http]")
utils = pytest.importorskip("tritonclient.utils")

Error = utils.InferenceServerException


@pytest.fixture(scope="module")
def client(protocols: httpx.Client) -> Iterator[Any]:
    with triton.InferenceServerClient(f"{protocols.base_url.host}:{protocols.base_url.port}", network_timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 5, 3), np.float32)


def place(client: Any) -> str:
    """Host and port of a client's service."""
    return f"{client._client_stub.host}:{client._client_stub.port}"


def given(name: str, value: np.ndarray, datatype: str | None = None, *, binary: bool = True) -> Any:
    """An input."""
    made = triton.InferInput(name, list(value.shape), datatype or utils.np_to_triton_dtype(value.dtype))
    return made.set_data_from_numpy(value, binary_data=binary)


def refused(call: Callable[[], Any], status: int, *words: str) -> None:
    """A call that is refused with that status, and in these words."""
    with pytest.raises(Error) as caught:
        call()
    assert caught.value.status() == str(status)
    for word in words:
        assert word in caught.value.message()


# -- every method ---------------------------------------------------------------------------------------------------------

SHARED, LOADED = "shared memory is not taken", "the service itself loads and unloads models"
TRACES, LOGS = "no traces are kept", "where the service is started"


def tensors(x: np.ndarray) -> list[Any]:
    return [given("lstm_1_input", x)]


def both_bodies(client: Any, x: np.ndarray) -> None:
    """What is sent and received by other means than the client's own."""
    body, size = client.generate_request_body(tensors(x))
    answer = httpx.post(
        f"http://{place(client)}/v2/models/fixed/infer",
        content=body, headers={"Inference-Header-Content-Length": str(size)},
    )  # fmt: skip
    found = client.parse_response_body(answer.content, header_length=int(answer.headers["Inference-Header-Content-Length"]))
    assert found.as_numpy("dense_2").shape == (3, 1)


class Plugin:
    """Adds a header that the service takes for its own."""

    def __call__(self, request: Any) -> None:
        request.headers["x-request-id"] = "from-a-plugin"


def plugged(client: Any, _: np.ndarray) -> None:
    plugin = Plugin()
    client.register_plugin(plugin)
    assert client.plugin() is plugin
    assert client.is_server_live()
    client.unregister_plugin()


def closed(client: Any, _: np.ndarray) -> None:
    with triton.InferenceServerClient(place(client)) as other:
        assert other.is_server_live()
    other.close()


def statistics(client: Any, x: np.ndarray) -> None:
    def counted() -> Mapping[str, Any]:
        (found,) = client.get_inference_statistics("fixed")["model_stats"]
        return dict(found)

    before = counted()
    client.infer("fixed", tensors(x))
    refused(lambda: client.infer("fixed", tensors(x[:, :4])), 400)
    after = counted()
    assert (after["name"], after["version"]) == ("fixed", "1")
    assert after["inference_count"] - before["inference_count"] == 3
    assert after["execution_count"] - before["execution_count"] == 1
    done, old = after["inference_stats"], before["inference_stats"]
    assert done["success"]["count"] - old["success"]["count"] == done["fail"]["count"] - old["fail"]["count"] == 1
    assert 0 < done["compute_infer"]["ns"] - old["compute_infer"]["ns"] < done["success"]["ns"] - old["success"]["ns"]
    assert after["last_inference"] > 1_700_000_000_000
    every = client.get_inference_statistics()["model_stats"]
    assert {one["name"] for one in every} >= {"fixed", "open", "labelled"}
    assert client.get_inference_statistics("fixed", "1")["model_stats"]
    refused(lambda: client.get_inference_statistics("fixed", "2"), 404)


def metadata(client: Any, _: np.ndarray) -> None:
    for version in ("", "1"):
        assert client.get_model_metadata("three", version) == {
            "name": "three", "versions": ["1"], "platform": "fastlstm",
            "inputs": [
                {"name": "tag", "datatype": "BYTES", "shape": [-1]}, {"name": "signal", "datatype": "FP32", "shape": [-1, 5]},
                {"name": "sensor", "datatype": "FP32", "shape": [-1, 2, 2]},
            ],
            "outputs": [
                {"name": "number", "datatype": "INT64", "shape": [-1]}, {"name": "total", "datatype": "FP32", "shape": [-1, 1]},
                {"name": "average", "datatype": "FP32", "shape": [-1, 1]},
            ],
        }  # fmt: skip
    refused(lambda: client.get_model_metadata("other"), 404, "Servable not found for request: Latest(other)")
    refused(lambda: client.get_model_metadata("three", "x"), 400, "version: expected a whole number")


def config(client: Any, _: np.ndarray) -> None:
    found = client.get_model_config("words")
    assert found["name"] == "words" and found["platform"] == found["backend"] == "fastlstm" and found["max_batch_size"] > 0
    assert found["input"] == [{"name": "input_layer", "data_type": "TYPE_STRING", "dims": [1]}]
    assert found["output"] == [{"name": "words", "data_type": "TYPE_INT64", "dims": [1]}]


def index(client: Any, _: np.ndarray) -> None:
    found = client.get_model_repository_index()
    assert {"name": "fixed", "version": "1", "state": "READY", "reason": ""} in found
    assert {one["name"] for one in found} >= {"half_plus_two", "three", "open", "steps", "ids", "several", "words", "letters", "labelled"}


def server(client: Any, _: np.ndarray) -> None:
    found = client.get_server_metadata()
    assert (found["name"], found["version"]) == ("fastlstm", fastlstm.__version__)
    assert set(found["extensions"]) >= {"binary_tensor_data", "sequence", "statistics", "model_configuration"}


def ready(client: Any, _: np.ndarray) -> None:
    assert client.is_model_ready("fixed") and client.is_model_ready("fixed", "1")
    assert not client.is_model_ready("other") and not client.is_model_ready("fixed", "2")


def answered(client: Any, x: np.ndarray) -> None:
    assert client.infer("fixed", tensors(x)).as_numpy("dense_2").shape == (3, 1)


def answered_later(client: Any, x: np.ndarray) -> None:
    with triton.InferenceServerClient(place(client), concurrency=3, network_timeout=60) as several:
        asked = [several.async_infer("fixed", tensors(x + number)) for number in range(3)]
        found = [one.get_result().as_numpy("dense_2") for one in asked]
    for number in range(3):
        assert np.array_equal(found[number], client.infer("fixed", tensors(x + number)).as_numpy("dense_2"))


def no_regions(kind: str) -> Callable[[Any, np.ndarray], None]:
    def check(client: Any, _: np.ndarray) -> None:
        status = getattr(client, f"get_{kind}_shared_memory_status")
        assert status() == []
        refused(lambda: status("mine"), 404, "Unable to find shared memory region: 'mine'", SHARED)

    return check


def no_registration(kind: str) -> Callable[[Any, np.ndarray], None]:
    def check(client: Any, _: np.ndarray) -> None:
        rest = ("mine", "/key", 64) if kind == "system" else ("mine", b"handle", 0, 64)
        refused(lambda: getattr(client, f"register_{kind}_shared_memory")(*rest), 501, SHARED)

    return check


def nothing_left(kind: str) -> Callable[[Any, np.ndarray], None]:
    """Clients let go of what there may be before they begin."""

    def check(client: Any, _: np.ndarray) -> None:
        getattr(client, f"unregister_{kind}_shared_memory")()
        getattr(client, f"unregister_{kind}_shared_memory")("mine")

    return check


def no_traces(client: Any, _: np.ndarray) -> None:
    refused(client.get_trace_settings, 501, TRACES)
    refused(lambda: client.get_trace_settings("fixed"), 501, TRACES)
    refused(lambda: client.update_trace_settings("fixed", {"trace_level": ["OFF"]}), 501, TRACES)


METHODS: dict[str, Callable[[Any, np.ndarray], None]] = {
    "async_infer": answered_later,
    "close": closed,
    "generate_request_body": both_bodies,
    "get_cuda_shared_memory_status": no_regions("cuda"),
    "get_inference_statistics": statistics,
    "get_log_settings": lambda client, _: refused(client.get_log_settings, 501, LOGS),
    "get_model_config": config,
    "get_model_metadata": metadata,
    "get_model_repository_index": index,
    "get_server_metadata": server,
    "get_system_shared_memory_status": no_regions("system"),
    "get_trace_settings": no_traces,
    "infer": answered,
    "is_model_ready": ready,
    "is_server_live": lambda client, _: refuse_falsehood(client.is_server_live()),
    "is_server_ready": lambda client, _: refuse_falsehood(client.is_server_ready()),
    "load_model": lambda client, _: refused(lambda: client.load_model("fixed"), 501, LOADED),
    "parse_response_body": both_bodies,
    "plugin": plugged,
    "register_cuda_shared_memory": no_registration("cuda"),
    "register_plugin": plugged,
    "register_system_shared_memory": no_registration("system"),
    "unload_model": lambda client, _: refused(lambda: client.unload_model("fixed"), 501, LOADED),
    "unregister_cuda_shared_memory": nothing_left("cuda"),
    "unregister_plugin": plugged,
    "unregister_system_shared_memory": nothing_left("system"),
    "update_log_settings": lambda client, _: refused(lambda: client.update_log_settings({"log_info": True}), 501, LOGS),
    "update_trace_settings": no_traces,
}  # fmt: skip


def refuse_falsehood(found: object) -> None:
    assert found is True


def test_every_method_has_a_row() -> None:
    assert {name for name in dir(triton.InferenceServerClient) if not name.startswith("_")} == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_method(client: Any, x: np.ndarray, name: str) -> None:
    METHODS[name](client, x)


# -- tensors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw_in", [True, False])
@pytest.mark.parametrize("raw_out", [True, False, None])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_numbers_are_those_of_predict(
    client: Any, x: np.ndarray, served_files: dict[str, Path], raw_in: bool, raw_out: bool | None, packed: str | None
) -> None:
    outputs = None if raw_out is None else [triton.InferRequestedOutput("dense_2", binary_data=raw_out)]
    found = client.infer(
        "fixed", [given("lstm_1_input", x, binary=raw_in)], outputs=outputs, request_id="7", model_version="1",
        request_compression_algorithm=packed, response_compression_algorithm=packed, priority=1, timeout=10**6, parameters={"my_own": "x"},
    )  # fmt: skip
    assert np.array_equal(found.as_numpy("dense_2"), fastlstm.load(served_files["fixed"]).predict(x))
    told = found.get_response()
    assert (told["id"], told["model_name"], told["model_version"]) == ("7", "fixed", "1")
    assert ("data" in told["outputs"][0]) == (raw_out is False)


@pytest.mark.parametrize("packed", ["gzip", "deflate"])
def test_large_answers_are_unpacked_by_the_client(client: Any, packed: str) -> None:
    ask = [given("dense_1_input", np.ones((1, 1), np.float32))]
    found = client.infer("wide", ask, outputs=[triton.InferRequestedOutput("dense_1")], response_compression_algorithm=packed)
    assert np.array_equal(found.as_numpy("dense_1"), client.infer("wide", ask).as_numpy("dense_1"))


#: Clients before release 26.06 take float32 in its place.
BFLOAT16 = utils.ml_dtypes.bfloat16 if hasattr(utils, "ml_dtypes") else np.float32
NUMBERS = {
    "BOOL": np.bool_, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64, "UINT8": np.uint8, "UINT16": np.uint16,
    "UINT32": np.uint32, "UINT64": np.uint64, "FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "BF16": BFLOAT16,
}  # fmt: skip


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("datatype", NUMBERS)
def test_every_datatype_of_numbers_is_taken(client: Any, datatype: str, raw: bool) -> None:
    value = np.array([[0], [1]]).astype(NUMBERS[datatype])
    if not raw and datatype in ("FP16", "BF16"):  # the client has no form for them
        body = {"inputs": [{"name": "x", "shape": [2, 1], "datatype": datatype, "data": [0, 1]}]}
        found = httpx.post(f"http://{place(client)}/v2/models/half_plus_two/infer", json=body).json()
        assert found["outputs"][0]["data"] == [2.0, 2.5]
        return
    found = client.infer("half_plus_two", [given("x", value, datatype, binary=raw)])
    assert found.as_numpy("y").tolist() == [[2.0], [2.5]]
    assert found.get_output("y")["datatype"] == "FP32"


@pytest.mark.parametrize("value", [-3.5, 65504.0, 1e-3])
@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_numbers_of_sixteen_bits(client: Any, datatype: str, value: float) -> None:
    found = client.infer("half_plus_two", [given("x", np.full((1, 1), value, NUMBERS[datatype]), datatype)]).as_numpy("y")
    assert found == pytest.approx(value / 2 + 2, rel=1e-2)


@pytest.mark.parametrize("raw", [True, False])
def test_texts_in(client: Any, raw: bool) -> None:
    value = np.array([["a"], ["b"], ["\N{GREEK SMALL LETTER ALPHA}"]], object)
    assert client.infer("words", [given("input_layer", value, "BYTES", binary=raw)]).as_numpy("words").tolist() == [[1], [2], [0]]


@pytest.mark.parametrize("raw", [True, False])
def test_texts_out(client: Any, raw: bool) -> None:
    ask = [given("input_layer", np.array([[1], [2]], np.int64))]
    found = client.infer("letters", ask, outputs=[triton.InferRequestedOutput("letters", binary_data=raw)]).as_numpy("letters")
    assert [text.decode() if isinstance(text, bytes) else text for text in found[:, 0]] == ["a", "b"]


@pytest.mark.parametrize("raw", [True, False])
def test_labels_of_a_pipeline(client: Any, x: np.ndarray, served_files: dict[str, Path], raw: bool) -> None:
    names = ("labels", "probabilities")
    found = client.infer(
        "labelled", [given("lstm_1_input", x)], outputs=[triton.InferRequestedOutput(name, binary_data=raw) for name in names]
    )
    expected = fastlstm.Pipeline.load(served_files["labelled"]).predict(x)
    assert [text.decode() if isinstance(text, bytes) else text for text in found.as_numpy("labels")] == list(expected.labels)
    assert np.array_equal(found.as_numpy("probabilities"), expected.probabilities)


def test_several_inputs_and_outputs(client: Any, served_files: dict[str, Path]) -> None:
    rng = np.random.default_rng(1)
    series, facts = rng.standard_normal((2, 6, 3), np.float32), rng.standard_normal((2, 2), np.float32)
    y, z = fastlstm.load(served_files["several"]).predict([series, facts])
    found = client.infer("several", [given("facts", facts), given("series", series, binary=False)])  # in any order, raw or not
    assert np.array_equal(found.as_numpy("y"), y)
    assert np.array_equal(found.as_numpy("z"), z)
    one = client.infer("several", [given("facts", facts), given("series", series)], outputs=[triton.InferRequestedOutput("z")])
    assert [output["name"] for output in one.get_response()["outputs"]] == ["z"]


# -- sequences ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [7, "a machine", 2**64 - 1])
def test_a_sequence_goes_on(client: Any, served_files: dict[str, Path], key: int | str) -> None:
    rows = np.random.default_rng(2).standard_normal((1, 6, 3), np.float32)
    stream = fastlstm.load(served_files["open"]).stream()
    for step in range(6):
        found = client.infer(
            "open", [given("lstm_1_input", rows[:, step : step + 1])], sequence_id=key, sequence_start=step == 0, sequence_end=step == 5
        )
        assert np.array_equal(found.as_numpy("dense_2"), stream.step(rows[:, step]))
    refused(lambda: client.infer("open", [given("lstm_1_input", rows[:, :1])], sequence_id=key), 400, "must specify the START flag")


def test_a_timestep_needs_no_axis(client: Any, served_files: dict[str, Path]) -> None:
    rows = np.random.default_rng(3).standard_normal((1, 3, 3), np.float32)
    stream = fastlstm.load(served_files["open"]).stream()
    first = client.infer("open", [given("lstm_1_input", rows[:, 0])], sequence_id=8, sequence_start=True).as_numpy("dense_2")
    assert np.array_equal(first, stream.step(rows[:, 0]))
    rest = client.infer("open", [given("lstm_1_input", rows[:, 1:])], sequence_id=8, sequence_end=True).as_numpy("dense_2")
    assert np.array_equal(rest, stream.feed(rows[:, 1:]))


# -- what is refused ------------------------------------------------------------------------------------------------------


def test_classification_is_refused(client: Any, x: np.ndarray) -> None:
    outputs = [triton.InferRequestedOutput("dense_2", class_count=1)]
    refused(
        lambda: client.infer("fixed", tensors(x), outputs=outputs), 501, "output 'dense_2'", "classification extension is not supported"
    )


def test_shared_memory_is_refused(client: Any, x: np.ndarray) -> None:
    shared = triton.InferInput("lstm_1_input", [3, 5, 3], "FP32")
    shared.set_shared_memory("region", x.nbytes)
    refused(lambda: client.infer("fixed", [shared]), 501, "input 'lstm_1_input'", SHARED)
    output = triton.InferRequestedOutput("dense_2")
    output.set_shared_memory("region", 12)
    refused(lambda: client.infer("fixed", tensors(x), outputs=[output]), 501, "output 'dense_2'", SHARED)


def test_other_names_are_refused(client: Any, x: np.ndarray) -> None:
    refused(lambda: client.infer("other", tensors(x)), 404, "Servable not found for request: Latest(other)")
    refused(
        lambda: client.infer("fixed", [given("other", x)]), 400, "unexpected inference input 'other' for model 'fixed'", "'lstm_1_input'"
    )
    outputs = [triton.InferRequestedOutput("other")]
    refused(
        lambda: client.infer("fixed", tensors(x), outputs=outputs),
        400,
        "unexpected inference output 'other' for model 'fixed'",
        "'dense_2'",
    )
    refused(lambda: client.infer("several", [given("facts", x[:, 0])]), 400, "expected 2 inputs but got 1", "missing: 'series'")


def test_other_shapes_and_datatypes_are_refused(client: Any, x: np.ndarray) -> None:
    refused(
        lambda: client.infer("fixed", tensors(x[:, :4])),
        400,
        "model 'fixed': input 'lstm_1_input': expected shape (any, 5, 3), found (3, 4, 3)",
    )
    texts = np.full((3, 5, 3), "a", object)
    refused(lambda: client.infer("fixed", [given("lstm_1_input", texts, "BYTES")]), 400, "expected the datatype FP32", "found 'BYTES'")
    refused(lambda: client.infer("words", [given("input_layer", x[:, 0, :1])]), 400, "expected the datatype BYTES", "found 'FP32'")
