"""What a request is told that is not answered: a status and a message, whichever protocol says it."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import FastLSTMError, InputError, Problem, UnsupportedError
from ..layers.streaming import BOUND

#: When a client may ask again that was refused for lack of room, in seconds.
RETRY = {"Retry-After": "1"}


class RefusedError(FastLSTMError):
    """A request that is not answered.

    Attributes
    ----------
    status : int
        The status of HTTP.
    headers : dict
        Headers that go with it: ``Retry-After``.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None):
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})


def refused(error: BaseException) -> RefusedError:
    """What is said of an error: in full where the request is at fault, in a word where the service is."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, InputError):
        return RefusedError(400, str(error))
    if isinstance(error, MemoryError):
        return RefusedError(503, "not enough memory for this request now")
    return RefusedError(500, "internal error")


def problems(error: UnsupportedError) -> str:
    """What stands in the way, layer by layer: without the path of the file, and without advice for those who write Python."""
    lines = []
    for problem in error.problems:
        advice = "; start the service with --max-steps (max_steps=)" if problem.advice.startswith(BOUND) else ""
        lines.append(str(Problem(problem.layer, problem.class_name, problem.what)) + advice)
    return "\n".join(lines)
