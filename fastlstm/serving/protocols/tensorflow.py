"""TensorFlow Serving's REST API."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ...inputs import TensorInfo
from ..models.repository import Status
from ..models.served import Served
from ..refusals import RefusedError
from ..service import Service
from . import bodies, tensors
from .handling import answering, asked, computed

#: What may follow ``/v1/``. Words in capitals are as good, as there.
VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
COMPUTING = re.compile(rf"models/(?P<name>[^/:]+){VERSION}:(?P<method>classify|regress|predict)", re.IGNORECASE | re.ASCII)
TELLING = re.compile(rf"models(?:/(?P<name>[^/:]+))?{VERSION}(?P<metadata>/metadata)?", re.IGNORECASE | re.ASCII)
#: The only signature of a model, and what it may be called.
SIGNATURE = "serving_default"
#: Versions are whole numbers of 64 bits.
MOST_VERSION = 2**63 - 1
#: What TensorFlow calls dtypes.
DTYPES = {
    "float32": "DT_FLOAT", "float64": "DT_DOUBLE", "int8": "DT_INT8", "int16": "DT_INT16", "int32": "DT_INT32", "int64": "DT_INT64",
    "uint8": "DT_UINT8", "uint16": "DT_UINT16", "uint32": "DT_UINT32", "uint64": "DT_UINT64", "bool": "DT_BOOL", "string": "DT_STRING",
    "float16": "DT_HALF",
}  # fmt: skip


def routes(service: Service) -> Sequence[BaseRoute]:
    """The paths of this protocol."""

    @answering(service, "tensorflow", error_form)
    async def answer(request: Request) -> Response:
        path, method = request.path_params["path"], request.method
        found = (COMPUTING if method == "POST" else TELLING).fullmatch(path)
        if found is None:
            raise RefusedError(400, f"Malformed request: {method} /v1/{path}")
        if method == "POST":
            return await compute(service, request, found)
        return metadata(service, found) if found["metadata"] else status(service, found)

    return [Route("/v1/{path:path}", answer, methods=["GET", "POST"])]


def error_form(problem: RefusedError) -> Mapping[str, str]:
    """What this protocol says of an error."""
    return {"error": str(problem)}


# -- what is served ---------------------------------------------------------------------------------------------------------


def served_by(service: Service, found: re.Match[str]) -> Served:
    """The version that a path names."""
    name, label = found["name"], found["label"]
    try:
        return service.repository.get(name, version_of(found), label)
    except RefusedError as error:
        if label is None or error.status != 404 or name not in service.repository.names():
            raise
        raise RefusedError(400, str(error)) from error  # a label that there is none of is an argument that does not fit


def version_of(found: re.Match[str]) -> int | None:
    """The number of a version that a path names."""
    text = found["version"]
    if text is None:
        return None
    if len(text) > 19 or int(text) > MOST_VERSION:
        raise RefusedError(400, f"Failed to convert version: {text[:40]} to numeric.")
    return int(text)


def named(found: re.Match[str]) -> str:
    """The model that a path names."""
    if not found["name"]:
        raise RefusedError(400, "Missing model name in request.")
    return str(found["name"])


def status(service: Service, found: re.Match[str]) -> Response:
    """How the versions of a model stand."""
    name, version = named(found), version_of(found)
    if found["label"]:
        version = served_by(service, found).version
    shown = [one for one in service.repository.status(name) if version in (None, one.version)]
    if not shown:
        which = "any versions" if version is None else f"version {version}"
        raise RefusedError(404, f"Could not find {which} of model {name}")
    return bodies.as_json({"model_version_status": list(map(status_form, shown))})


def status_form(one: Status) -> Mapping[str, Any]:
    """How this protocol tells the state of a version."""
    told = {"error_code": "UNKNOWN" if one.message else "OK", "error_message": one.message}
    return {"version": str(one.version), "state": one.state, "status": told}


def metadata(service: Service, found: re.Match[str]) -> Response:
    """What a model takes and gives, as the signature of a SavedModel."""
    named(found)
    served = served_by(service, found)
    signature = {
        "inputs": {info.name: tensor_form(info, f"{SIGNATURE}_{info.name}:0") for info in served.inputs},
        "outputs": {info.name: tensor_form(info, f"StatefulPartitionedCall:{place}") for place, info in enumerate(served.outputs)},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
    spec = {"name": served.name, "signature_name": "", "version": str(served.version)}
    return bodies.as_json({"model_spec": spec, "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}}})


def tensor_form(info: TensorInfo, name: str) -> Mapping[str, Any]:
    """An input or output as a signature tells it. ``name``: what the graph of a SavedModel of Keras would call it."""
    sizes = [{"size": "-1" if size is None else str(size), "name": ""} for size in info.shape]
    shape = {"dim": sizes, "unknown_rank": False}
    return {"dtype": DTYPES.get(info.dtype, "DT_INVALID"), "tensor_shape": shape, "name": name}


# -- computing --------------------------------------------------------------------------------------------------------------


async def compute(service: Service, request: Request, found: re.Match[str]) -> Response:
    """Answer a request for predictions."""
    served = served_by(service, found)
    asked(request, served)
    if found["method"].lower() != "predict":
        method = found["method"].lower()
        raise RefusedError(501, f"model {served.name!r}: a Keras model has no signature for {method}; ask for :predict")
    body = bodies.loads(await bodies.read(request, service.options))
    arrays, by_row = inputs_of(body, served)
    del body  # its lists take many times the memory of the arrays
    rows = len(next(iter(arrays.values())))
    if not rows:
        raise RefusedError(400, f"model {served.name!r}: expected at least one row, found none")
    outputs = await computed(request, served, rows, service.runner.predict(served, arrays))
    return bodies.as_json({"predictions": as_rows(outputs)} if by_row else {"outputs": as_columns(outputs)})


def inputs_of(body: Any, served: Served) -> tuple[dict[str, Any], bool]:
    """The arrays of a request by input name, and whether they were given by row."""
    if type(body) is not dict:
        raise RefusedError(400, 'JSON Value: Is not object; expected {"instances": ...} or {"inputs": ...}')
    signature = body.get("signature_name", SIGNATURE)
    if signature != SIGNATURE and signature != "":
        if type(signature) is not str:
            raise RefusedError(400, "'signature_name' key must be a string value.")
        raise RefusedError(400, f'Serving signature name: "{signature[:100]}" not found in signature def; the only one is "{SIGNATURE}"')
    if "instances" in body:
        if "inputs" in body:
            raise RefusedError(400, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
        return from_rows(body["instances"], served), True
    if "inputs" in body:
        return from_columns(body["inputs"], served), False
    raise RefusedError(400, "Missing 'inputs' or 'instances' key")


def is_object(value: Any) -> bool:
    """Does it give values by name?"""
    return type(value) is dict and not tensors.is_packed(value)


def from_rows(rows: Any, served: Served) -> dict[str, Any]:
    """Arrays of "instances"."""
    if type(rows) is not list:
        raise RefusedError(400, "Expecting 'instances' to be an list/array")
    if not rows:
        raise RefusedError(400, "No values in 'instances' array")
    inputs = served.inputs
    if not is_object(rows[0]):
        if len(inputs) > 1:
            names = ", ".join(info.name for info in inputs)
            raise RefusedError(400, f"instances is a plain list, but expecting list of objects as the model has several inputs: {names}")
        return {inputs[0].name: tensors.nested(rows, served, inputs[0])}
    known = {info.name for info in inputs}
    for place, row in enumerate(rows):
        if not is_object(row):
            raise RefusedError(400, f"Expecting object but got value/list at item {place} of input list")
        if row.keys() != known:
            found = ", ".join(key[:40] for key in list(row)[:20])
            expected = ",".join(sorted(known))
            raise RefusedError(
                400, f"Failed to process element: {place} of 'instances' list: keys must be equal to: {expected}, found {found}"
            )
    return {info.name: tensors.nested([row[info.name] for row in rows], served, info) for info in inputs}


def from_columns(columns: Any, served: Served) -> dict[str, Any]:
    """Arrays of "inputs"."""
    inputs = served.inputs
    if not is_object(columns):
        if len(inputs) > 1:
            names = ", ".join(info.name for info in inputs)
            raise RefusedError(400, f"inputs is a plain value/list, but expecting an object as the model has several inputs: {names}")
        return {inputs[0].name: tensors.nested(columns, served, inputs[0])}
    for info in inputs:
        if info.name not in columns:
            raise RefusedError(400, f"Missing named input: {info.name} in 'inputs' object.")
    if len(columns) > len(inputs):
        known = {info.name for info in inputs}
        other = next(key for key in columns if key not in known)
        raise RefusedError(400, f"JSON object: does not have named input: {other[:100]}; the inputs are {', '.join(sorted(known))}")
    return {info.name: tensors.nested(columns[info.name], served, info) for info in inputs}


# -- answers ----------------------------------------------------------------------------------------------------------------


def as_columns(outputs: Mapping[str, Any]) -> Any:
    """What stands after "outputs": the only output, or all of them by name."""
    columns = {name: column(name, found) for name, found in outputs.items()}
    return columns if len(columns) > 1 else next(iter(columns.values()))


def as_rows(outputs: Mapping[str, Any]) -> Any:
    """What stands after "predictions": a value for each row, or an object of all outputs."""
    if len(outputs) == 1:
        return as_columns(outputs)
    columns = [(name, column(name, found)) for name, found in outputs.items()]
    return [{name: values[row] for name, values in columns} for row in range(len(columns[0][1]))]


def column(name: str, found: Any) -> Any:
    """An output as JSON takes it; a list of arrays where rows differ in length."""
    if isinstance(found, np.ndarray):
        return tensors.writable(name, found)
    return [tensors.writable(name, one) for one in found]
