"""The Open Inference Protocol, version 2, with Triton's extensions: what is served. How requests are read stands in ``inferring.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ... import __version__
from ...inputs import TensorInfo
from ..models import finding
from ..models.repository import Status
from ..models.served import Served
from ..options import Options
from ..refusals import RefusedError
from ..service import Service
from . import bodies, tensors
from .handling import Handler, answering, asked, computed
from .inferring import Call, Part, alone, formed, opened, parsed, sequence_of
from .statistics import Counts

EXTENSIONS = ["binary_tensor_data", "model_configuration", "model_repository", "sequence", "statistics"]
#: What Triton calls the states of versions.
STATES = {"AVAILABLE": "READY", "START": "LOADING", "LOADING": "LOADING", "UNLOADING": "UNLOADING", "END": "UNAVAILABLE"}
#: Of a model, with or without a version.
MODEL, VERSION = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
NANOSECONDS = 1_000_000_000

#: What other services of this protocol do, and this one does not: paths, methods and why.
REFUSED = (
    (
        ("/v2/repository/models/{name}/load", "/v2/repository/models/{name}/unload"), ["POST"],
        "the service itself loads and unloads models: put the folder of a new version beside the others, or take one away",
    ),
    (
        ("/v2/systemsharedmemory/region/{region}/register", "/v2/cudasharedmemory/region/{region}/register"), ["POST"],
        "shared memory is not taken; send tensors as binary data in the body of the request",
    ),
    (("/v2/trace/setting", MODEL + "/trace/setting"), ["GET", "POST"], "no traces are kept; /metrics tells how long requests take"),
    (("/v2/logging",), ["GET", "POST"], "the log is set up where the service is started, not by requests"),
)  # fmt: skip


def routes(service: Service) -> Sequence[BaseRoute]:
    """The paths of this protocol."""
    decorate = answering(service, "inference", error_form)

    def route(path: str, handler: Handler, *methods: str) -> Route:
        return Route(path, decorate(handler), methods=methods or ["GET"])

    async def infer(request: Request) -> Response:
        return await inferred(service, request)

    return [
        route(MODEL + "/infer", infer, "POST"),
        route(VERSION + "/infer", infer, "POST"),
        *(Route(path, decorate(handler), methods=["GET"]) for path, handler in told(service)),
        *(route(path, refusing(text), *methods) for paths, methods, text in REFUSED for path in paths),
        *(route(f"/v2/{kind}sharedmemory{path}", no_regions, method) for kind in ("system", "cuda") for path, method in REGIONS),
        route("/v2/repository/index", index_of(service), "POST"),
    ]


def error_form(problem: RefusedError) -> Mapping[str, str]:
    """What this protocol says of an error."""
    return {"error": str(problem)}


def refusing(text: str) -> Handler:
    """A handler of what is not done here."""

    async def refuse(_: Request) -> Response:
        raise RefusedError(501, text)

    return refuse


#: Of shared memory, of which there is none: what may be asked, and how.
REGIONS = (("/status", "GET"), ("/region/{region}/status", "GET"), ("/unregister", "POST"), ("/region/{region}/unregister", "POST"))


async def no_regions(request: Request) -> Response:
    """How shared memory stands: there is none, and none is left after it is let go."""
    if "region" in request.path_params and request.method == "GET":
        raise RefusedError(404, f"Unable to find shared memory region: {request.path_params['region'][:100]!r}; shared memory is not taken")
    return bodies.as_json([] if request.method == "GET" else {})


# -- what is served -----------------------------------------------------------------------------------------------------------


def served_by(service: Service, request: Request) -> Served:
    """The version that a path names."""
    return service.repository.get(request.path_params["name"], version_of(request))


def version_of(request: Request) -> int | None:
    """The number of a version that a path names."""
    return finding.number_of(request.path_params.get("version"))


def told(service: Service) -> Sequence[tuple[str, Handler]]:
    """Paths that only tell something, and what answers them."""
    repository = service.repository

    async def live(_: Request) -> Response:
        return bodies.as_json({"live": True})

    async def ready(_: Request) -> Response:
        return bodies.as_json({"ready": repository.ready}, 200 if repository.ready else 503)

    async def server(_: Request) -> Response:
        return bodies.as_json({"name": "fastlstm", "version": __version__, "extensions": EXTENSIONS})

    async def model(request: Request) -> Response:
        served = served_by(service, request)
        states = [str(one.version) for one in reversed(repository.status(served.name)) if one.state == "AVAILABLE"]
        return bodies.as_json(metadata_form(served, states if "version" not in request.path_params else [str(served.version)]))

    async def model_ready(request: Request) -> Response:
        return bodies.as_json({"name": served_by(service, request).name, "ready": True})

    async def config(request: Request) -> Response:
        return bodies.as_json(config_form(served_by(service, request), service.options.max_rows))

    async def statistics(request: Request) -> Response:
        chosen = [served_by(service, request)] if "name" in request.path_params else all_served(service)
        return bodies.as_json({"model_stats": [statistics_form(served, service.statistics.of(served)) for served in chosen]})

    return [
        ("/v2", server), ("/v2/health/live", live), ("/v2/health/ready", ready), ("/v2/models/stats", statistics),
        *((path + end, handler) for path in (MODEL, VERSION) for end, handler in (
            ("", model), ("/ready", model_ready), ("/config", config), ("/stats", statistics))),
    ]  # fmt: skip


def all_served(service: Service) -> list[Served]:
    """Every version that answers now."""
    found = []
    for name in service.repository.names():
        for one in service.repository.status(name):
            if one.state == "AVAILABLE":
                try:
                    found.append(service.repository.get(name, one.version))
                except RefusedError:  # it went meanwhile
                    continue
    return found


def index_of(service: Service) -> Handler:
    """A handler that lists the models."""

    async def index(request: Request) -> Response:
        body = await bodies.read(request, service.options)
        asked_for = bodies.loads(body) if body.strip() else {}
        if type(asked_for) is not dict or type(asked_for.get("ready", False)) is not bool:
            raise RefusedError(400, 'repository index: expected nothing or {"ready": true}')
        found = [index_form(name, one) for name in service.repository.names() for one in service.repository.status(name)]
        return bodies.as_json([one for one in found if one["state"] == "READY" or not asked_for.get("ready", False)])

    return index


# -- forms --------------------------------------------------------------------------------------------------------------------


def index_form(name: str, one: Status) -> Mapping[str, str]:
    """A version in the list of models."""
    return {"name": name, "version": str(one.version), "state": STATES.get(one.state, "UNAVAILABLE"), "reason": one.message}


def metadata_form(served: Served, versions: Sequence[str]) -> Mapping[str, Any]:
    """What a model takes and gives."""
    inputs, outputs = (
        [{"name": info.name, "datatype": datatype(info), "shape": sizes(info)} for info in infos]
        for infos in (served.inputs, served.outputs)
    )
    return {"name": served.name, "versions": list(versions), "platform": "fastlstm", "inputs": inputs, "outputs": outputs}


def datatype(info: TensorInfo) -> str:
    """What this protocol calls the dtype of an input or output."""
    return tensors.NAMES.get(info.dtype, tensors.BYTES)


def sizes(info: TensorInfo) -> list[int]:
    """A shape, in which -1 is any size."""
    return [-1 if size is None else size for size in info.shape]


def config_form(served: Served, most: int) -> Mapping[str, Any]:
    """What Triton calls a model's configuration. Sizes are those of a row."""
    fixed = served.inputs[0].shape[0]

    def listed(infos: Sequence[TensorInfo]) -> list[Mapping[str, Any]]:
        names = ["TYPE_STRING" if datatype(info) == tensors.BYTES else f"TYPE_{datatype(info)}" for info in infos]
        return [{"name": info.name, "data_type": name, "dims": sizes(info)[1:]} for info, name in zip(infos, names, strict=True)]

    return {
        "name": served.name, "platform": "fastlstm", "backend": "fastlstm", "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": most if fixed is None else fixed, "input": listed(served.inputs), "output": listed(served.outputs),
    }  # fmt: skip


def statistics_form(served: Served, counts: Counts) -> Mapping[str, Any]:
    """What has been computed, as Triton tells it; waiting is a part of computing here."""

    def lasted(count: int, seconds: float) -> Mapping[str, int]:
        return {"count": count, "ns": int(seconds * NANOSECONDS)}

    around = max(counts.seconds - counts.computing, 0.0)
    return {
        "name": served.name, "version": str(served.version), "last_inference": counts.last,
        "inference_count": counts.rows, "execution_count": counts.requests,
        "inference_stats": {
            "success": lasted(counts.requests, counts.seconds), "fail": lasted(counts.failures, counts.failing), "queue": lasted(0, 0),
            "compute_input": lasted(counts.requests, around), "compute_infer": lasted(counts.requests, counts.computing),
            "compute_output": lasted(0, 0), "cache_hit": lasted(0, 0), "cache_miss": lasted(0, 0),
        },
        "batch_stats": [],
    }  # fmt: skip


# -- computing ----------------------------------------------------------------------------------------------------------------


async def inferred(service: Service, request: Request) -> Response:
    """Answer a request for outputs."""
    asked(request, served_by(service, request))
    served, call, sequence = understood(service, request, await bodies.read(request, service.options))
    if sequence is None:
        answer = service.runner.predict(served, call.arrays)
    else:
        asked(request, served)
        answer = service.sequences.advance(served, sequence.key, call.arrays, start=sequence.start, end=sequence.end)
    return formed(await computed(request, served, call.rows, answer), call, served)


def understood(service: Service, request: Request, body: bytes) -> tuple[Served, Call, Part | None]:
    """Which version is asked, and what: the lists of its JSON, which take many times the memory of the arrays, are gone after it."""
    served = served_by(service, request)
    head, rest = opened(request, body)
    if head is None:
        return served, alone(rest, served), None
    sequence = sequence_of(head)
    if sequence is not None:
        refuse_elsewhere(service.options, request)
        if not sequence.start:  # it goes on with the version that it has begun with
            served = service.sequences.holding(served.name, sequence.key, version_of(request)) or served
    return served, parsed(head, rest, served), sequence


def refuse_elsewhere(options: Options, request: Request) -> None:
    """Refuse a sequence at a port that several workers share: the state is one worker's, and any of them may get the next request.

    Raises
    ------
    RefusedError
        421, which says where to go.
    """
    port = (request.scope.get("server") or (None, None))[1]
    if options.workers == 1 or (options.own_port is not None and port == options.own_port):
        return
    if options.sequence_ports:
        ports = ", ".join(map(str, options.sequence_ports))
        raise RefusedError(
            421,
            f"sequence: expected at one worker's port, found at the one that all share; send all of its requests to one of {ports}",
        )
    raise RefusedError(421, "sequence: expected one worker, or ports of their own for several; start the service with --sequence-ports")
