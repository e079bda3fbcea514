"""The page at ``/``: plain files, and what they need to know of the models beyond what the protocols tell."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .. import __version__
from ..drawing import svg
from .models.finding import number_of
from .models.served import Served, network_of
from .protocols import bodies
from .protocols.handling import answering
from .refusals import RefusedError
from .service import Service
from .shown import described

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
#: Scripts and styles are files of ours; pictures of layers come with a token, and so as blobs. No script makes elements of text.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
#: The picture of a model has one style, which is always the same.
STYLE_HASH = b64encode(hashlib.sha256(svg.STYLE.removeprefix("<style>").removesuffix("</style>").encode()).digest()).decode()
PICTURE_POLICY = f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; frame-ancestors 'none'"


class File(NamedTuple):
    """A file of the page, as it is sent."""

    content: bytes
    headers: Mapping[str, str]


def error_form(problem: RefusedError) -> object:
    """An error, as the page's own paths tell it."""
    return {"error": str(problem)}


def routes(service: Service) -> Sequence[BaseRoute]:
    """The page, its files, and what they ask."""
    static, shown = _files(), _Shown(service)
    answers = answering(service, "page", error_form)

    def plain(name: str, request: Request) -> Response:
        if name not in static:
            raise RefusedError(404, "the page has no such file")
        content, headers = static[name]
        known = request.headers.get("if-none-match") == headers["ETag"]
        return Response(b"" if known else content, 304 if known else 200, headers)

    async def index(request: Request) -> Response:
        return plain("index.html", request)

    async def file(request: Request) -> Response:
        return plain(request.path_params["file"], request)

    async def models(_: Request) -> Response:
        return bodies.as_json(shown.listed(), headers={"Cache-Control": "no-store"})

    async def model(request: Request) -> Response:
        return bodies.as_json(shown.described(_asked(service, request)), headers={"Cache-Control": "no-store"})

    async def layers(request: Request) -> Response:
        drawn = await shown.drawn(_asked(service, request))
        return Response(drawn, media_type=TYPES[".svg"], headers={"Content-Security-Policy": PICTURE_POLICY})

    one = "/page/models/{name}/versions/{version}"
    return [
        Route("/", answers(index), methods=["GET"]),
        Route("/page/static/{file}", answers(file), methods=["GET"]),
        Route("/page/models", answers(models), methods=["GET"]),
        Route(one, answers(model), methods=["GET"]),
        Route(one + "/layers.svg", answers(layers), methods=["GET"]),
    ]


def _asked(service: Service, request: Request) -> Served:
    return service.repository.get(request.path_params["name"], number_of(request.path_params["version"]))


def _files() -> dict[str, File]:
    """By name, all files of the page: read once, so that no path of a request is ever one of a file."""
    found = {}
    for path in files(__package__).joinpath("page").iterdir():
        kind = TYPES.get("." + path.name.rpartition(".")[2])
        if kind is not None:
            content = path.read_bytes()
            tag = hashlib.sha256(content).hexdigest()[:32]
            headers = {
                "Content-Type": f"{kind}; charset=utf-8",
                "Content-Security-Policy": POLICY,
                "ETag": f'"{tag}"',
                "Cache-Control": "no-cache",
            }
            found[path.name] = File(content, headers)
    return found


class _Shown:
    """What the page shows of models; what takes long to find out is kept as long as the model is served."""

    def __init__(self, service: Service):
        self.service = service
        self.pictures: WeakKeyDictionary[Served, str] = WeakKeyDictionary()

    def listed(self) -> dict[str, Any]:
        """All models and their versions, without what they hold."""
        repository = self.service.repository
        return {
            "service": f"fastlstm {__version__}",
            "ready": repository.ready,
            "models": [{"name": name, "versions": self._versions(name)} for name in repository.names()],
        }

    def _versions(self, name: str) -> list[dict[str, Any]]:
        try:
            found = self.service.repository.status(name)
        except RefusedError as error:
            return [{"version": None, "state": "END", "message": str(error)}]
        return [{"version": status.version, "state": status.state, "message": status.message} for status in found]

    async def drawn(self, served: Served) -> str:
        """Its layers as SVG."""
        found = self.pictures.get(served)
        if found is None:
            found = self.pictures[served] = await self.service.runner.call(network_of(served.model).plot, short=False)
        return found

    def described(self, served: Served) -> dict[str, Any]:
        """One version of a model."""
        why = self.service.sequences.of(served).refusal
        return {**described(served), "streams": not why, "why": why}
