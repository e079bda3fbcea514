"""Bodies: bounded while they are read and while they are unpacked, and what JSON has no words for."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
import services
from hypothesis import given
from hypothesis import strategies as st

from fastlstm.serving.protocols import bodies
from fastlstm.serving.refusals import RefusedError

MOST = 1 << 20
PREDICT = "/v1/models/half_plus_two:predict"
BODY = b'{"instances": [[1.0]]}'
#: What says nothing, and takes more than a few thousand bytes when it is packed.
BLANKS = np.random.default_rng(0).integers(9, 11, 90_000, np.uint8).tobytes()
#: One for each protocol.
PATHS = (PREDICT, "/v2/models/half_plus_two/infer", "/v2/repository/index")


def raw_deflate(body: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(body) + engine.flush()


def named(value: object) -> str:
    """What a parameter is called: packed bodies hold the time at which they were packed."""
    return value if isinstance(value, str) else "body"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, served_files: dict[str, Path]) -> Iterator[services.Running]:
    """A service that takes bodies of a megabyte."""
    models = {name: served_files[name] for name in ("half_plus_two", "wide")}
    with services.service(tmp_path_factory.mktemp("log"), models, max_body_bytes=MOST) as running:
        yield running


@pytest.fixture(scope="module")
def client(small: services.Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=small.url, timeout=60) as made:
        yield made


# -- too large ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_too_large_is_refused(client: httpx.Client, path: str, chunked: bool) -> None:
    body = b" " * (MOST + 1)
    answer = client.post(path, content=(body[at : at + 65536] for at in range(0, len(body), 65536)) if chunked else body)
    assert answer.status_code == 413
    assert f"body: expected at most {MOST} bytes, found " in answer.json()["error"]
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_of_just_that_size_is_taken(client: httpx.Client, chunked: bool) -> None:
    body = BODY.ljust(MOST)
    answer = client.post(PREDICT, content=(body[at : at + 65536] for at in range(0, len(body), 65536)) if chunked else body)
    assert answer.json() == {"predictions": [[2.5]]}


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)])
def test_a_bomb_is_refused_before_it_goes_off(small: services.Running, client: httpx.Client, encoding: str, pack: object) -> None:
    assert callable(pack)
    bomb = pack(b" " * (100 << 20))
    assert len(bomb) < MOST
    before = small.memory
    for path in PATHS:
        answer = client.post(path, content=bomb, headers={"Content-Encoding": encoding})
        assert answer.status_code == 413
        assert "more after decompression" in answer.json()["error"]
    assert small.memory - before < 30 << 20


@pytest.mark.slow
def test_many_that_unpack_to_much_at_once(served_files: dict[str, Path], tmp_path: Path) -> None:
    """Each is allowed, all at once are not: what they hold together is bounded too."""
    body = gzip.compress(b" " * (16 << 20))
    models, allowed = {"half_plus_two": served_files["half_plus_two"]}, 16 << 20
    with services.service(tmp_path, models, max_waiting_bytes=allowed) as running:
        before = running.memory

        def ask(_: int) -> int:
            return httpx.post(running.url + PREDICT, content=body, headers={"Content-Encoding": "gzip"}, timeout=60).status_code

        with ThreadPoolExecutor(12) as threads:
            found = set(threads.map(ask, range(12)))
        (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{running.process.pid}/status").read_text())
        assert int(peak) * 1024 - before < allowed + (80 << 20)
        assert found <= {400, 429}
        assert httpx.post(running.url + PREDICT, content=BODY).json() == {"predictions": [[2.5]]}


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)])
def test_no_more_is_unpacked_than_allowed(encoding: str, pack: object) -> None:
    assert callable(pack)
    bomb = pack(b"\0" * (64 << 20))
    form = bodies.GZIP if encoding == "gzip" else bodies.ZLIB if pack is zlib.compress else bodies.RAW
    tracemalloc.start()
    with pytest.raises(RefusedError) as caught:
        bodies.unpacked(bomb, form, MOST)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.status == 413
    assert peak < 4 * MOST


# -- packed ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY)), ("x-gzip", gzip.compress(BODY)), ("GZIP", gzip.compress(BODY)), ("identity", BODY),
        ("gzip", gzip.compress(BODY[:7]) + gzip.compress(BODY[7:])), ("deflate", zlib.compress(BODY)), ("deflate", raw_deflate(BODY)),
        ("gzip", gzip.compress(BODY.ljust(100_000))), ("gzip", gzip.compress(BODY + BLANKS)),
    ],
    ids=named,
)  # fmt: skip
def test_packed_bodies_are_taken(client: httpx.Client, encoding: str, body: bytes) -> None:
    answer = client.post(PREDICT, content=body, headers={"Content-Encoding": encoding})
    expected = {"predictions": [[2.5]]}
    assert answer.json() == expected, answer.text


@pytest.mark.parametrize(
    ("encoding", "body", "word"),
    [
        ("gzip", BODY, "cannot be decompressed"), ("deflate", BODY, "cannot be decompressed"), ("gzip", b"", "ends too early"),
        ("deflate", b"", "ends too early"), ("gzip", gzip.compress(BODY)[:-3], "ends too early"),
        ("deflate", zlib.compress(BODY)[:-2], "ends too early"),
        ("gzip", gzip.compress(BODY)[:-8] + bytes(8), "cannot be decompressed"), ("deflate", zlib.compress(BODY) + b"x", "1 bytes follow"),
        ("gzip", gzip.compress(BODY) + b"x", "ends too early"), ("gzip", gzip.compress(BODY) + b"another", "cannot be decompressed"),
        ("gzip", gzip.compress(b" ") * 20, "bytes follow"),
    ],
    ids=named,
)  # fmt: skip
def test_damaged_bodies_are_refused(client: httpx.Client, encoding: str, body: bytes, word: str) -> None:
    answer = client.post(PREDICT, content=body, headers={"Content-Encoding": encoding})
    assert answer.status_code == 400
    told = answer.json()["error"]
    assert told.startswith("body: damaged, ")
    assert word in told


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "deflate, gzip", "x" * 500, "gzip;q=1"])
def test_other_encodings_are_refused(client: httpx.Client, encoding: str) -> None:
    answer = client.post(PREDICT, content=BODY, headers={"Content-Encoding": encoding})
    assert answer.status_code == 415
    assert "expected gzip, deflate or identity" in answer.json()["error"]
    assert answer.headers["accept-encoding"] == "gzip, deflate"
    assert len(answer.text) < 300


def test_encodings_in_two_headers_are_one_list(client: httpx.Client) -> None:
    headers = [("Content-Encoding", "gzip"), ("Content-Encoding", "gzip")]
    assert client.post(PREDICT, content=gzip.compress(gzip.compress(BODY)), headers=headers).status_code == 415


@given(body=st.binary(max_size=2000), form=st.sampled_from([bodies.GZIP, bodies.ZLIB, bodies.RAW]))
def test_any_bytes_are_unpacked_or_refused(body: bytes, form: int) -> None:
    try:
        assert len(bodies.unpacked(body, form, 5000)) <= 5000
    except RefusedError as error:
        assert error.status in (400, 413)


@given(body=st.binary(max_size=3000), most=st.integers(0, 3000))
def test_what_is_packed_comes_out_or_is_too_large(body: bytes, most: int) -> None:
    if len(body) <= most:
        assert bodies.unpacked(gzip.compress(body), bodies.GZIP, most) == body
    else:
        with pytest.raises(RefusedError) as caught:
            bodies.unpacked(gzip.compress(body), bodies.GZIP, most)
        assert caught.value.status == 413


@pytest.mark.parametrize(
    ("accepts", "expected"),
    [
        ("gzip", "gzip"), ("deflate", "deflate"), ("gzip, deflate", "gzip"), ("gzip;q=0.2, deflate;q=0.8", "deflate"), ("*", "gzip"),
        ("gzip;q=0, *", "deflate"), ("br, GZIP", "gzip"), ("identity", None), ("gzip;q=0", None),
        ("gzip;q=0, deflate;q=0, *;q=1", None), ("", None),
        ("br", None), ("gzip;q=x", None), ("gzip; q = 0.5", "gzip"), ("*;q=0", None),
    ],
)  # fmt: skip
def test_large_answers_are_packed_where_the_client_takes_it(client: httpx.Client, accepts: str, expected: str | None) -> None:
    ask = {"instances": [[1.0]]}
    plain = client.post("/v1/models/wide:predict", json=ask, headers={"Accept-Encoding": "identity"})
    answer = client.post("/v1/models/wide:predict", json=ask, headers={"Accept-Encoding": accepts})
    assert answer.headers.get("content-encoding") == expected
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.json() == plain.json()
    assert "content-encoding" not in plain.headers
    if expected:
        assert int(answer.headers["content-length"]) < int(plain.headers["content-length"])


def test_small_answers_are_not_packed(client: httpx.Client) -> None:
    answer = client.post(PREDICT, content=BODY, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert "vary" not in answer.headers


def test_the_length_of_a_head_is_that_before_packing(client: httpx.Client) -> None:
    """As Triton has it."""
    ask = {
        "inputs": [{"name": "dense_1_input", "shape": [1, 1], "datatype": "FP32", "data": [1]}],
        "parameters": {"binary_data_output": True},
    }
    answer = client.post("/v2/models/wide/infer", json=ask, headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    size = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.content[:size])["outputs"][0]["parameters"] == {"binary_data_size": 80_000}
    assert len(answer.content) == size + 80_000


# -- JSON -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [b"", b" ", b"[", b"{]", b"\xff", b"\xef\xbb\xbf{}", b"nan", b"[1e999]", b'["\\ud800"]', b"[NaN", b"[Infinity,]",
     b"NaN" + b"[" * 100_000, b"\xffNaN", b"[NaN," + b"9" * 5000 + b"]"],
)  # fmt: skip
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        bodies.loads(text)
    assert caught.value.status == 400
    assert str(caught.value).startswith("JSON Parse error: ")
    assert len(str(caught.value)) < 300


def test_depth_is_bounded() -> None:
    for words in (b"", b"NaN,"):
        with pytest.raises(RefusedError, match="JSON Parse error"):
            bodies.loads(b"[" + words + b"[" * 200_000 + b"]" * 200_000 + b"]")


@given(st.lists(st.floats(width=32), max_size=50))
def test_float32_comes_back_to_the_bit(numbers: list[float]) -> None:
    array = np.array(numbers, np.float32)
    text = bodies.dumps({"a": array, "b": [array, "null"], "c": {"null": array.reshape(1, -1)}})
    found = json.loads(text)
    for back in (found["a"], found["b"][0], found["c"]["null"][0]):
        again = np.array(back, np.float32)
        assert np.array_equal(again, array, equal_nan=True)
        assert np.array_equal(np.signbit(again[~np.isnan(again)]), np.signbit(array[~np.isnan(array)]))
    assert np.array_equal(np.array(bodies.loads(text)["a"], np.float32), array, equal_nan=True)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_words_for_what_is_no_number(dtype: str) -> None:
    array = np.array([[np.nan, 1.5], [np.inf, -np.inf]], dtype)
    assert bodies.dumps({"a": array}) == b'{"a":[[NaN,1.5],[Infinity,-Infinity]]}'
    assert bodies.dumps([{"a": array[0, 0], "b": float("nan"), "c": None, "d": array[0, 1]}]) == b'[{"a":NaN,"b":NaN,"c":null,"d":1.5}]'
