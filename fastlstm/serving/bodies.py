"""Bodies of requests and answers: read within bounds, decompressed and compressed."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from starlette.requests import Request
from starlette.responses import Response

from .options import Options
from .refusals import RefusedError


async def read(request: Request, options: Options) -> bytes:
    """The body of a request, decompressed.

    Raises
    ------
    RefusedError
        413, if it is too large.
    """
    body = await request.body()
    if len(body) > options.max_body_bytes:
        raise RefusedError(413, f"body: expected at most {options.max_body_bytes} bytes, found more")
    return body


def as_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON."""
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, headers, media_type="application/json")
