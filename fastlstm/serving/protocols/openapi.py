"""What the service can be asked by HTTP, described by OpenAPI 3.1: one document, made once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ... import __version__
from . import bodies, tensors

Schema = Mapping[str, Any]

JSON, BINARY, TEXT, HTML = bodies.JSON, "application/octet-stream", "text/plain", "text/html"
OPENMETRICS = "application/openmetrics-text"
HEAD_LENGTH = "Inference-Header-Content-Length"

#: What each path has in it.
PARAMETERS: Mapping[str, Schema] = {
    "name": {"description": "The name of a model.", "schema": {"type": "string", "minLength": 1, "pattern": "^[^/:]+$"}},
    "version": {"description": "The number of a version.", "schema": {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}},
    "label": {"description": "The label of a version.", "schema": {"type": "string", "minLength": 1, "pattern": "^[^/:]+$"}},
    "region": {"description": "The name of a region of shared memory.", "schema": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}},
    "file": {"description": "The name of a file of the page.", "schema": {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}},
}


def ref(name: str) -> Schema:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def an_object(required: Sequence[str], **properties: Schema) -> Schema:
    """An object that may have other properties too."""
    return {"type": "object", "required": list(required), "properties": properties}


def a_list(items: Schema, **more: Any) -> Schema:
    """A list."""
    return {"type": "array", "items": items, **more}


STRING, BOOLEAN, COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
SIZES = a_list({"type": "integer", "minimum": -1})
LASTED = an_object(["count", "ns"], count=COUNT, ns=COUNT)
#: What tensors are made of.
VALUE: Schema = {"description": 'A number, truth value, text, or {"b64": ...}; or lists of them. NaN, Infinity and -Infinity are numbers.'}

SCHEMAS: Mapping[str, Schema] = {
    "Error": an_object(["error"], error=STRING),
    "PredictRequest": {
        "type": "object",
        "properties": {
            "signature_name": {"enum": ["serving_default", ""]},
            "instances": a_list(VALUE, minItems=1, description="By row: values, or objects of values by input name."),
            "inputs": {"description": "By column: the value of the only input, or an object of values by input name."},
        },
        "oneOf": [{"required": ["instances"]}, {"required": ["inputs"]}],
    },
    "PredictResponse": {
        "type": "object",
        "properties": {"predictions": a_list(VALUE, description="A value for each row, or an object of all outputs."), "outputs": VALUE},
        "oneOf": [{"required": ["predictions"]}, {"required": ["outputs"]}],
    },
    "ModelStatus": an_object(
        ["model_version_status"],
        model_version_status=a_list(an_object(
            ["version", "state", "status"], version=STRING, state={"enum": ["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]},
            status=an_object(["error_code", "error_message"], error_code=STRING, error_message=STRING),
        )),
    ),
    "SignatureMetadata": an_object(
        ["model_spec", "metadata"], model_spec=an_object(["name", "version"], name=STRING, signature_name=STRING, version=STRING),
        metadata=an_object(["signature_def"], signature_def={"type": "object"}),
    ),
    "Server": an_object(["name", "version", "extensions"], name=STRING, version=STRING, extensions=a_list(STRING)),
    "Live": an_object(["live"], live=BOOLEAN),
    "Ready": an_object(["ready"], ready=BOOLEAN, name=STRING),
    "TensorMetadata": an_object(["name", "datatype", "shape"], name=STRING, datatype=STRING, shape=SIZES),
    "Metadata": an_object(
        ["name", "platform", "inputs", "outputs"], name=STRING, versions=a_list(STRING), platform=STRING,
        inputs=a_list(ref("TensorMetadata")), outputs=a_list(ref("TensorMetadata")),
    ),
    "Config": an_object(
        ["name", "platform", "max_batch_size", "input", "output"], name=STRING, platform=STRING, backend=STRING, max_batch_size=COUNT,
        input=a_list(an_object(["name", "data_type", "dims"], name=STRING, data_type=STRING, dims=SIZES)),
        output=a_list(an_object(["name", "data_type", "dims"], name=STRING, data_type=STRING, dims=SIZES)),
    ),
    "Statistics": an_object(["model_stats"], model_stats=a_list(an_object(
        ["name", "version", "inference_count", "execution_count", "inference_stats"], name=STRING, version=STRING, last_inference=COUNT,
        inference_count=COUNT, execution_count=COUNT, inference_stats={"type": "object", "additionalProperties": LASTED},
    ))),
    "Index": a_list(an_object(
        ["name", "version", "state", "reason"], name=STRING, version=STRING, reason=STRING,
        state={"enum": ["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]},
    )),
    "IndexRequest": {"type": "object", "properties": {"ready": BOOLEAN}},
    "RequestInput": an_object(
        ["name", "shape", "datatype"], name=STRING, shape=a_list(COUNT, minItems=1, maxItems=tensors.MOST_AXES),
        datatype={"enum": [*tensors.DATATYPES, tensors.BYTES]}, data=a_list(VALUE),
        parameters={"type": "object", "properties": {"binary_data_size": COUNT}},
    ),
    "RequestOutput": an_object(["name"], name=STRING, parameters={"type": "object", "properties": {"binary_data": BOOLEAN}}),
    "InferRequest": an_object(
        ["inputs"], id=STRING, inputs=a_list(ref("RequestInput"), minItems=1), outputs=a_list(ref("RequestOutput")),
        parameters={"type": "object", "properties": {
            "binary_data_output": BOOLEAN, "sequence_id": {"type": ["integer", "string"], "minimum": 0, "maxLength": 128},
            "sequence_start": BOOLEAN, "sequence_end": BOOLEAN,
        }},
    ),
    "InferResponse": an_object(
        ["model_name", "model_version", "outputs"], model_name=STRING, model_version=STRING, id=STRING,
        outputs=a_list(an_object(["name", "shape", "datatype"], name=STRING, shape=a_list(COUNT), datatype=STRING)),
    ),
    "Regions": a_list({"type": "object"}),
    "Nothing": {"type": "object"},
    "Anything": {"type": ["object", "array"]},
}  # fmt: skip

#: A model of TensorFlow Serving's paths, and of the others: each way to name a version.
V1 = ("/v1/models/{name}", "/v1/models/{name}/versions/{version}", "/v1/models/{name}/labels/{label}")
V2 = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
REFUSED = "Refused"


def operation(tag: str, says: str, answer: Schema, body: Schema | None = None, **more: Any) -> dict[str, Any]:
    """What one method of a path does. Every error has the same form."""
    found = {
        "tags": [tag], "summary": says,
        "responses": {
            "200": {"description": "OK", "content": answer},
            **{status: {"description": "Refused", "content": content(ref("Error"))} for status in ("4XX", "5XX")},
        },
        **more,
    }  # fmt: skip
    if body is not None:
        found["requestBody"] = {"required": True, "content": body}
    return found


def content(schema: Schema, form: str = JSON, **more: Any) -> dict[str, Any]:
    """A body of one form."""
    return {form: {"schema": schema, **more}}


def tensorflow() -> dict[str, Any]:
    """TensorFlow Serving's paths."""
    tag, found = "TensorFlow Serving", {}
    ask = content(ref("PredictRequest"), example={"instances": [[[0.1], [0.2]]]})
    for path in V1:
        found[path] = {"get": operation(tag, "How the versions of a model stand", content(ref("ModelStatus")))}
        found[path + "/metadata"] = {"get": operation(tag, "What a model takes and gives", content(ref("SignatureMetadata")))}
        found[path + ":predict"] = {"post": operation(tag, "Compute", content(ref("PredictResponse")), ask)}
        for method in ("classify", "regress"):
            found[f"{path}:{method}"] = {"post": refused("A Keras model has no such signature")}
    return found


def refused(says: str) -> dict[str, Any]:
    """What other services of these protocols do, and this one does not."""
    found = operation(REFUSED, says, {}, content(ref("Anything")))
    found["requestBody"]["required"] = False
    del found["responses"]["200"]
    return found


def inference() -> dict[str, Any]:
    """The paths of the Open Inference Protocol."""
    tag = "Open Inference Protocol"

    def get(says: str, name: str) -> dict[str, Any]:
        return {"get": operation(tag, says, content(ref(name)))}

    found = {
        "/v2": get("What the service is", "Server"), "/v2/health/live": get("Does it run?", "Live"),
        "/v2/health/ready": get("Are all models loaded?", "Ready"), "/v2/models/stats": get("What has been computed", "Statistics"),
        "/v2/repository/index": {"post": operation(tag, "The models", content(ref("Index")), content(ref("IndexRequest")))},
    }  # fmt: skip
    found["/v2/repository/index"]["post"]["requestBody"]["required"] = False
    for path in V2:
        found[path] = get("What a model takes and gives", "Metadata")
        found[path + "/ready"] = get("Does the model answer?", "Ready")
        found[path + "/config"] = get("The model's configuration, as Triton has it", "Config")
        found[path + "/stats"] = get("What has been computed of the model", "Statistics")
        found[path + "/infer"] = {"post": infer(tag)}
    for kind in ("system", "cuda"):
        memory = f"/v2/{kind}sharedmemory"
        found[memory + "/status"] = get("Regions of shared memory: none", "Regions")
        found[memory + "/region/{region}/status"] = get("A region of shared memory: there is none", "Regions")
        for path in ("/unregister", "/region/{region}/unregister"):
            found[memory + path] = {"post": operation(tag, "Let go of shared memory: there is none", content(ref("Nothing")))}
        found[memory + "/region/{region}/register"] = {"post": refused("Shared memory is not taken")}
    for way in ("load", "unload"):
        found["/v2/repository/models/{name}/" + way] = {"post": refused("The service itself loads and unloads models")}
    for path, says in (("/v2/trace/setting", "No traces are kept"), ("/v2/models/{name}/trace/setting", "No traces are kept"),
                       ("/v2/logging", "The log is set up where the service is started")):  # fmt: skip
        found[path] = {"get": refused(says), "post": refused(says)}
        del found[path]["get"]["requestBody"]
    return found


def infer(tag: str) -> dict[str, Any]:
    """Computing, with tensors in JSON or as raw bytes."""
    header = {"description": "Bytes of JSON before the raw bytes.", "schema": COUNT}
    ask = {"inputs": [{"name": "x", "shape": [1, 2, 1], "datatype": "FP32", "data": [0.1, 0.2]}]}
    raw = {"schema": {"type": "string", "contentMediaType": BINARY}}
    found = operation(
        tag, "Compute; with sequence_id, a sequence goes on", {**content(ref("InferResponse")), BINARY: raw},
        {**content(ref("InferRequest"), example=ask), BINARY: raw},
        parameters=[{"name": HEAD_LENGTH, "in": "header", "required": False, **header}],
    )  # fmt: skip
    found["responses"]["200"]["headers"] = {HEAD_LENGTH: {"required": False, **header}}
    return found


def others() -> dict[str, Any]:
    """What belongs to no protocol."""
    text = {"type": "string"}
    model, version = content(ref("Nothing")), "/page/models/{name}/versions/{version}"
    files = {form: {"schema": text} for form in ("text/css", "text/javascript", HTML)}
    found = {
        "/": operation("Page", "The page", content(text, HTML)),
        "/page/static/{file}": operation("Page", "A file of the page", files),
        "/page/models": operation("Page", "The models that the page shows", content(ref("Anything"))),
        version: operation("Page", "A model as the page shows it", model),
        version + "/layers.svg": operation("Page", "Its layers, drawn", content(text, "image/svg+xml")),
        "/metrics": operation("Monitoring", "Metrics for Prometheus", {**content(text, TEXT), **content(text, OPENMETRICS)}),
        "/openapi.json": operation("Monitoring", "This description", model),
    }
    return {path: {"get": one} for path, one in found.items()}


def document(page: bool = True) -> dict[str, Any]:
    """The description; ``page``: is there a page?"""
    paths = {**tensorflow(), **inference(), **others()}
    for path, methods in paths.items():
        within = [{"name": name, "in": "path", "required": True, **told} for name, told in PARAMETERS.items() if f"{{{name}}}" in path]
        if within:
            methods["parameters"] = within
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fastlstm", "version": __version__,
            "description": "Keras's recurrent networks, by TensorFlow Serving's REST API and the Open Inference Protocol. Bodies may be "
            "packed with gzip or deflate. A WebSocket, /v1/models/{name}/stream, keeps a state for each connection.",
        },
        "servers": [{"url": "."}],
        "paths": {path: one for path, one in paths.items() if page or not (path == "/" or path.startswith("/page/"))},
        "components": {"schemas": SCHEMAS},
    }  # fmt: skip


def routes(page: bool = True) -> Sequence[BaseRoute]:
    """The path of the description."""
    text = bodies.dumps(document(page))

    async def show(_: Request) -> Response:
        return Response(text, media_type=JSON, headers={"Cache-Control": "no-cache"})

    return [Route("/openapi.json", show)]
