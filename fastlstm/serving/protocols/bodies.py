"""Bodies of requests and answers: read within bounds, decompressed and compressed; JSON with the numbers that JSON has no words for."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Iterable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..options import Options
from ..refusals import RefusedError

#: Compressed bytes that are unpacked between other requests; more of them go to a thread. They are at most a thousand times as many after.
FEW_PACKED = 4096
#: ... one at a time: what they become is only then counted among the bytes that all requests hold.
UNPACKING = ThreadPoolExecutor(1, thread_name_prefix="fastlstm-unpack")
#: Parts that a gzip body may be put together of: each is work of its own, however short it is.
MOST_MEMBERS = 16
#: Bytes of an answer from which compression is worth it.
LARGE = 8192
#: Bytes of an answer from which it is compressed on a thread.
LONG = 1 << 18
#: How hard: the least, as numbers hardly shrink more.
LEVEL = 1
#: zlib's names of formats.
GZIP, ZLIB, RAW = 31, 15, -15
#: Half of a character outside of the first plane, as JSON writes it.
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
JSON = "application/json"


async def read(request: Request, options: Options) -> bytes:
    """The body of a request, decompressed.

    Raises
    ------
    RefusedError
        413, if it is too large; 415, if it is packed in a way that is not known; 400, if it is damaged.
    """
    most, encoding = options.max_body_bytes, b""
    for key, value in request.scope["headers"]:
        if key == b"content-length" and value.isdigit() and int(value[:20]) > most:
            raise _too_large(most, f"{int(value[:20])}")
        if key == b"content-encoding":
            encoding = value if not encoding else encoding + b", " + value
    message = await request.receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False) or message["type"] == "http.disconnect" or len(body) > most:
        body = await _received(request, message, most)
    if not encoding or encoding == b"identity":
        return body
    form = _format(encoding, body)
    if len(body) <= FEW_PACKED:
        found = unpacked(body, form, most)
    else:
        found = await asyncio.get_running_loop().run_in_executor(UNPACKING, unpacked, body, form, most)
    hold = request.scope.get("state", {}).get("hold")
    if hold is not None:  # all bodies together are bounded too
        hold(len(found))
    return found


async def _received(request: Request, message: MutableMapping[str, Any], most: int) -> bytes:
    """The bytes of a body that begins with a message; they are counted while they come."""
    receive = request.receive
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        parts, size = [body], len(body)
        while message.get("more_body", False) and size <= most:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        if size > most:
            raise _too_large(most, "more")
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    if len(body) > most:
        raise _too_large(most, f"{len(body)}")
    return body


def _too_large(most: int, found: str) -> RefusedError:
    # What is still to come is not read: the connection ends with the answer.
    return RefusedError(413, f"body: expected at most {most} bytes, found {found}; send it in several requests", {"Connection": "close"})


def _format(encoding: bytes, body: bytes) -> int:
    """What zlib calls an encoding of HTTP."""
    name = encoding.strip().lower()
    if name in (b"gzip", b"x-gzip"):
        return GZIP
    if name == b"deflate":  # the standard's is zlib's format; some clients send what is inside of it alone
        wrapped = len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
        return ZLIB if wrapped else RAW
    told = encoding[:80].decode("latin-1")
    raise RefusedError(415, f"Content-Encoding: expected gzip, deflate or identity, found {told!r}", {"Accept-Encoding": "gzip, deflate"})


def unpacked(body: bytes, form: int, most: int) -> bytes:
    """What is packed in a body: never more than ``most`` bytes of it exist.

    Raises
    ------
    RefusedError
        413, if it is more; 400, if it is damaged.
    """
    parts: list[bytes] = []
    size, members, rest = 0, 0, body
    while rest or not members:
        engine = zlib.decompressobj(form)
        try:
            parts.append(engine.decompress(rest, most - size + 1))
        except zlib.error as error:
            raise RefusedError(400, f"body: damaged, it cannot be decompressed ({error})") from error
        size += len(parts[-1])
        if size > most:
            raise _too_large(most, "more after decompression")
        if not engine.eof:
            raise RefusedError(400, "body: damaged, its compressed data ends too early")
        rest, members = engine.unused_data, members + 1
        if rest and (form != GZIP or members == MOST_MEMBERS):
            raise RefusedError(400, f"body: damaged, {len(rest)} bytes follow its compressed data")
    return parts[0] if members == 1 else b"".join(parts)


def loads(text: bytes) -> Any:
    """The value that a body tells in JSON; ``NaN`` and ``Infinity`` are numbers, as TensorFlow Serving and Triton have it.

    Raises
    ------
    RefusedError
        400, if it is none.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if not text or text.isspace():
            raise RefusedError(400, "JSON Parse error: The document is empty") from error
        if b"NaN" in text or b"Infinity" in text:
            return _with_words(text)
        raise RefusedError(400, f"JSON Parse error: {error}") from error


def _with_words(text: bytes) -> Any:
    """What only Python's own reader takes: slower, and as strict in what remains."""
    try:
        found = json.loads(text.decode())
        if SURROGATE.search(text):  # the first half without the second is no text, which no answer could repeat
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        told = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        if isinstance(error, UnicodeEncodeError):
            told = "a surrogate without its other half is no text"
        raise RefusedError(400, f"JSON Parse error: {told}") from error
    return found


def dumps(value: object) -> bytes:
    """JSON of a value that may hold arrays: float32 as the shortest decimals that tell it."""
    text = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    # Numbers that are none become null: what holds none of these needs no second look.
    return orjson.dumps(_spelled(value), option=orjson.OPT_SERIALIZE_NUMPY) if b"null" in text else text


def _spelled(value: Any) -> Any:
    """The same with the words for what is no number, as TensorFlow Serving writes them."""
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled(item) for item in value]
    if isinstance(value, (np.ndarray, np.floating)) and value.dtype.kind == "f" and not np.isfinite(value).all():
        return _words(np.asarray(value))
    return value if not isinstance(value, float) or np.isfinite(value) else _words(np.asarray(value))


def _words(array: np.ndarray) -> Any:
    items = np.empty(array.size, object)
    for place, number in enumerate(array.reshape(-1)):
        items[place] = number if np.isfinite(number) else orjson.Fragment(_word(number))
    return items.reshape(array.shape).tolist()


def _word(number: np.floating[Any]) -> bytes:
    if np.isnan(number):
        return b"NaN"
    return b"Infinity" if number > 0 else b"-Infinity"


class Answer(Response):  # type: ignore[misc]
    """A body of a known type, without what Starlette does for bodies and headers of other kinds."""

    def __init__(self, body: bytes, kind: bytes = JSON.encode(), status: int = 200):
        self.status_code, self.body, self.background = status, body, None
        self.raw_headers = [(b"content-length", b"%d" % len(body)), (b"content-type", kind)]


def as_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON."""
    return Response(dumps(value), status, headers, media_type=JSON) if headers else Answer(dumps(value), status=status)


async def packed(scope: MutableMapping[str, Any], response: Response) -> None:
    """Compress an answer, if it is large and its client takes that."""
    if len(response.body) < LARGE or "content-encoding" in response.headers:
        return
    response.headers.add_vary_header("Accept-Encoding")
    form = _accepted(value for key, value in scope["headers"] if key == b"accept-encoding")
    if not form:
        return
    body = bytes(response.body)
    response.body = _squeezed(body, form) if len(body) < LONG else await run_in_threadpool(_squeezed, body, form)
    response.headers["content-encoding"] = form
    response.headers["content-length"] = str(len(response.body))


def _squeezed(body: bytes, form: str) -> bytes:
    engine = zlib.compressobj(LEVEL, wbits=GZIP if form == "gzip" else ZLIB)
    return engine.compress(body) + engine.flush()


def _accepted(values: Iterable[bytes]) -> str:
    """The encoding that a client likes best of those that are known; "": none."""
    best = {"gzip": -1.0, "deflate": -1.0, "*": -1.0}
    for part in b",".join(values).decode("latin-1").lower().split(","):
        name, _, parameter = part.partition(";")
        if name.strip() in best:
            best[name.strip()] = _quality(parameter)
    chosen = max(("gzip", "deflate"), key=lambda name: best[name] if best[name] >= 0 else best["*"])
    return chosen if (best[chosen] if best[chosen] >= 0 else best["*"]) > 0 else ""


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0
