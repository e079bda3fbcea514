"""Requests for outputs in the Open Inference Protocol: read and proven, with tensors in JSON or as raw bytes; and their answers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from ...inputs import TensorInfo, shape_text
from ..models.served import Served
from ..refusals import RefusedError
from . import bodies, tensors

#: The header that tells where JSON ends and raw bytes begin.
HEADER = b"inference-header-content-length"
#: The longest id of a sequence, in characters.
MOST_ID = 128
#: Ids that are numbers have 64 bits.
MOST_NUMBER = 2**64
#: Numbers that a tensor could have, if the axes of size 0 had others: NumPy makes no array beyond 64 bits of bytes.
MOST_NUMBERS = 2**48
#: Parameters that belong to a tensor in shared memory.
SHARED = "shared_memory_region"


@dataclass
class Part:
    """Which sequence a request goes on with."""

    key: int | str
    start: bool
    end: bool


@dataclass
class Call:
    """What a request asks for."""

    arrays: dict[str, Any]
    rows: int
    name: str | None = None  # its id, which the answer repeats
    outputs: Mapping[str, bool] | None = None  # those that are wanted, and whether as raw bytes; None: all
    raw: bool = False  # are outputs raw bytes where nothing else is said?


def opened(request: Request, body: bytes) -> tuple[Mapping[str, Any] | None, memoryview]:
    """The head of a request, and the raw bytes behind it; None: it has no head.

    Raises
    ------
    RefusedError
        400, if it is no such thing.
    """
    cut = header_length(request, len(body))
    if cut == 0:
        return None, memoryview(body)
    head = bodies.loads(body if cut is None else body[:cut])
    if type(head) is not dict:
        raise RefusedError(400, 'expected an object with "inputs", found something else')
    return head, memoryview(body)[len(body) if cut is None else cut :]


def sequence_of(head: Mapping[str, Any]) -> Part | None:
    """The sequence that a request belongs to.

    Raises
    ------
    RefusedError
        400, if its parameters are none of a sequence's.
    """
    parameters = parameters_of(head, "the request")
    key, start, end = key_of(parameters), flag(parameters, "sequence_start"), flag(parameters, "sequence_end")
    if key is not None:
        return Part(key, start, end)
    if start or end:
        raise RefusedError(400, "parameters: expected a sequence_id beside sequence_start and sequence_end, found none")
    return None


def parsed(head: Mapping[str, Any], rest: memoryview, served: Served) -> Call:
    """A request, proven: every size fits what there is.

    Raises
    ------
    RefusedError
        400, if anything is not as the protocol or the model has it.
    """
    raw = flag(parameters_of(head, "the request"), "binary_data_output")
    arrays = arrays_of(head, rest, served)
    return Call(arrays, rows_of(arrays, served), id_of(head), outputs_of(head, raw, served), raw)


def header_length(request: Request, size: int) -> int | None:
    """Bytes of JSON at the beginning of a body; None: all of it."""
    for key, value in request.scope["headers"]:
        if key == HEADER:
            if not value.isdigit() or len(value) > 20 or int(value) > size:
                told = value[:40].decode("latin-1")
                raise RefusedError(
                    400, f"Inference-Header-Content-Length: expected a number up to {size}, the body's bytes, found {told!r}"
                )
            return int(value)
    return None


def alone(body: memoryview, served: Served) -> Call:
    """A request that is one row of the only input, as raw bytes and nothing else."""
    info = served.inputs[0]
    sizes = [size for size in info.shape[1:] if size is not None]
    if len(served.inputs) > 1 or len(info.shape) - 1 - len(sizes) > 1:
        raise RefusedError(400, f"model {served.name!r}: expected a head in JSON, as raw bytes alone do not tell the shapes of its inputs")
    if info.dtype == tensors.TEXT:
        found = np.array([bytes(body)], object).reshape((1,) * len(info.shape))
        return Call({info.name: found}, 1, raw=True)
    datatype = tensors.NAMES[info.dtype]
    row = math.prod(sizes) * np.dtype(info.dtype).itemsize
    steps = len(body) // row if row else 0
    if not steps or steps * row != len(body) or (steps > 1 and None not in info.shape[1:]):
        raise tensors.fault(served, info, f"one row of shape {shape_text(info.shape)} as {datatype}", f"{len(body)} bytes")
    shape = [1, *(steps if size is None else size for size in info.shape[1:])]
    return Call({info.name: tensors.binary(body, datatype, shape, served, info)}, 1, raw=True)


# -- parts of the head ----------------------------------------------------------------------------------------------------------


def parameters_of(part: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """The parameters of a request, input or output."""
    found = part.get("parameters")
    if found is None:
        return {}
    if type(found) is not dict:
        raise RefusedError(400, f"parameters of {what}: expected an object, found something else")
    return found


def flag(parameters: Mapping[str, Any], name: str, otherwise: bool = False) -> bool:
    """A parameter that is true or false."""
    found = parameters.get(name, otherwise)
    if type(found) is not bool:
        raise RefusedError(400, f"parameter {name!r}: expected true or false, found something else")
    return found


def id_of(head: Mapping[str, Any]) -> str | None:
    """The id of a request."""
    found = head.get("id")
    if found is not None and type(found) is not str:
        raise RefusedError(400, "id: expected a text, found something else")
    return found


def key_of(parameters: Mapping[str, Any]) -> int | str | None:
    """The id of a sequence; None: the request belongs to none, as Triton has it of 0 and of no text."""
    found = parameters.get("sequence_id")
    if found is None or (found in (0, "") and type(found) in (int, str)):
        return None
    if type(found) is int and 0 < found < MOST_NUMBER:
        return found
    if type(found) is str and len(found) <= MOST_ID:
        return found
    raise RefusedError(400, f"parameter 'sequence_id': expected a number of 64 bits, or up to {MOST_ID} characters, found something else")


def objects(head: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The inputs or outputs that a request lists, each once."""
    found = head.get(key, [])
    if type(found) is not list or any(type(one) is not dict for one in found):
        raise RefusedError(400, f"{key}: expected a list of objects, found something else")
    names = set()
    for one in found:
        name = one.get("name")
        if type(name) is not str:
            raise RefusedError(400, f'{key}: expected each to have a "name", found one without')
        if name in names:
            raise RefusedError(400, f"{key}: expected each once, found {name[:100]!r} twice")
        names.add(name)
    return found


def outputs_of(head: Mapping[str, Any], raw: bool, served: Served) -> Mapping[str, bool] | None:
    """The outputs that are wanted, and which of them as raw bytes."""
    listed = objects(head, "outputs")
    if not listed:
        return None
    known = {info.name for info in served.outputs}
    found = {}
    for one in listed:
        name = one["name"]
        if name not in known:
            told = ", ".join(map(repr, sorted(known)))
            raise RefusedError(400, f"unexpected inference output {name[:100]!r} for model {served.name!r}; its outputs are {told}")
        parameters = parameters_of(one, f"output {name!r}")
        if parameters.get("classification", 0) != 0:
            raise RefusedError(501, f"output {name!r}: the classification extension is not supported; take the largest of its values")
        refuse_shared(parameters, f"output {name!r}")
        found[name] = flag(parameters, "binary_data", raw)
    return found


def refuse_shared(parameters: Mapping[str, Any], what: str) -> None:
    """Refuse what lies in memory that another process has."""
    if SHARED in parameters:
        raise RefusedError(501, f"{what}: shared memory is not taken; send and ask for tensors as binary data in the body")


# -- tensors --------------------------------------------------------------------------------------------------------------------


def arrays_of(head: Mapping[str, Any], rest: memoryview, served: Served) -> dict[str, Any]:
    """The inputs of a request, by name. ``rest``: its raw bytes, which belong to one input after another."""
    infos = {info.name: info for info in served.inputs}
    listed = objects(head, "inputs")
    for one in listed:
        if one["name"] not in infos:
            told = ", ".join(map(repr, infos))
            raise RefusedError(400, f"unexpected inference input {one['name'][:100]!r} for model {served.name!r}; its inputs are {told}")
    if len(listed) < len(infos):
        missing = ", ".join(repr(name) for name in infos if name not in {one["name"] for one in listed})
        raise RefusedError(400, f"expected {len(infos)} inputs but got {len(listed)} inputs for model {served.name!r}; missing: {missing}")
    arrays, at = {}, 0
    for one in listed:
        info = infos[one["name"]]
        parameters = parameters_of(one, f"input {info.name!r}")
        refuse_shared(parameters, f"input {info.name!r}")
        datatype, shape = datatype_of(one, served, info), shape_of(one, served, info)
        size = parameters.get("binary_data_size")
        if size is None:
            arrays[info.name] = from_json(one, datatype, shape, served, info)
            continue
        if type(size) is not int or not 0 <= size <= len(rest) - at:
            raise tensors.fault(served, info, f"a binary_data_size from 0 to {len(rest) - at}, the bytes that there are", told_size(size))
        if "data" in one:
            raise tensors.fault(served, info, "either data or a binary_data_size", "both")
        arrays[info.name] = tensors.binary(rest[at : at + size], datatype, shape, served, info)
        at += size
    if at != len(rest):
        raise RefusedError(400, f"binary data: expected the {at} bytes that the inputs have by their binary_data_size, found {len(rest)}")
    return arrays


def told_size(size: Any) -> str:
    """A size that does not fit."""
    return str(size)[:40] if type(size) is int else "something else"


def datatype_of(one: Mapping[str, Any], served: Served, info: TensorInfo) -> str:
    """The datatype of an input: any of numbers, where the model reads numbers."""
    found = one.get("datatype")
    if found == tensors.BYTES and info.dtype == tensors.TEXT:
        return tensors.BYTES
    if type(found) is not str or found not in tensors.DATATYPES or info.dtype == tensors.TEXT:
        expected = tensors.NAMES.get(info.dtype, tensors.BYTES)
        more = "" if expected == tensors.BYTES else " or another datatype of numbers"
        raise tensors.fault(served, info, f"the datatype {expected}{more}", repr(found[:40]) if type(found) is str else "none")
    return found


def shape_of(one: Mapping[str, Any], served: Served, info: TensorInfo) -> list[int]:
    """The shape of an input: sizes that are none are refused, however many of them there are."""
    found = one.get("shape")
    if type(found) is not list or len(found) > tensors.MOST_AXES or not all(type(size) is int and size >= 0 for size in found):
        raise tensors.fault(served, info, f"a shape, a list of at most {tensors.MOST_AXES} sizes", "something else")
    if not found:
        raise tensors.fault(served, info, f"a shape like {shape_text(info.shape)}", "[]")
    if 0 in found and math.prod(size or 1 for size in found) > MOST_NUMBERS:  # no count of values would tell
        raise tensors.fault(served, info, f"a shape like {shape_text(info.shape)}", "one of more numbers than there is memory for")
    return found


def from_json(one: Mapping[str, Any], datatype: str, shape: list[int], served: Served, info: TensorInfo) -> np.ndarray:
    """An input in JSON: its values one after another, or in lists of lists."""
    if "data" not in one:
        raise tensors.fault(served, info, "data, or a binary_data_size in its parameters", "neither")
    if datatype == tensors.BYTES:
        found = tensors.nested(one["data"], served, info)
    else:
        found = tensors.nested(one["data"], served, info, tensors.DATATYPES[datatype][1])
    size = math.prod(shape)
    if type(found) is list or found.size != size:
        number = "rows of different lengths" if type(found) is list else f"{found.size}"
        raise tensors.fault(served, info, f"{size} values, as its shape {list(shape)} has", number)
    if datatype in ("BOOL", "FP16"):
        with np.errstate(over="ignore"):  # what is too large for 16 bits is infinite
            found = found.astype(tensors.DATATYPES[datatype][0])
    return found.reshape(shape)


def rows_of(arrays: Mapping[str, Any], served: Served) -> int:
    """How many rows a request has."""
    rows = len(next(iter(arrays.values())))
    if not rows:
        raise RefusedError(400, f"model {served.name!r}: expected at least one row, found none")
    return rows


# -- answers --------------------------------------------------------------------------------------------------------------------


def formed(outputs: Mapping[str, Any], call: Call, served: Served) -> Response:
    """The answer: JSON, and behind it what is raw bytes."""
    pieces: list[bytes] = []
    told = []
    for name, raw in (dict.fromkeys(outputs, call.raw) if call.outputs is None else call.outputs).items():
        found = outputs[name]
        if not isinstance(found, np.ndarray):
            raise RefusedError(
                400, f"model {served.name!r}: output {name!r}: rows of different lengths are no tensor; send them one by one"
            )
        one = {"name": name, "datatype": tensors.datatype_of(found), "shape": found.shape}
        if raw:
            pieces.append(tensors.as_bytes(found))
            one["parameters"] = {"binary_data_size": len(pieces[-1])}
        else:
            one["data"] = values(name, found, served)
        told.append(one)
    answer: dict[str, Any] = {"model_name": served.name, "model_version": str(served.version)}
    if call.name is not None:
        answer["id"] = call.name
    answer["outputs"] = told
    text = bodies.dumps(answer)
    if not pieces:
        return bodies.Answer(text)
    response = bodies.Answer(b"".join([text, *pieces]), b"application/octet-stream")
    response.raw_headers.append((HEADER, b"%d" % len(text)))
    return response


def values(name: str, found: np.ndarray, served: Served) -> Any:
    """The values of an output, one after another."""
    flat = found.reshape(-1)
    if tensors.datatype_of(found) != tensors.BYTES:
        return np.ascontiguousarray(flat)
    try:
        return [text.decode() if isinstance(text, bytes) else str(text) for text in flat.tolist()]
    except UnicodeDecodeError as error:
        told = f"model {served.name!r}: output {name!r}: holds bytes that are no UTF-8, which JSON cannot; ask for it as binary_data"
        raise RefusedError(400, told) from error
