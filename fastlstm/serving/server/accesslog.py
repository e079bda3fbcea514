"""A line for each request, by Python's logging: on the logger ``fastlstm.access``, as text or as JSON."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Any

import orjson

LOGGER = logging.getLogger("fastlstm.access")
#: How much of a path is shown.
LONGEST = 200
#: Paths that only the page asks for, below the service's own: its files, and every few seconds what is served.
PAGE = "/page/"
TEXT = '%(client)s "%(method)s %(path)s" %(status)d %(bytes)d B %(milliseconds).3f ms %(request_id)s'
#: What ends a line, or has a terminal do something.
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
FORMS = ("none", "text", "json")


def wanted() -> bool:
    """Does anybody read lines?"""
    return LOGGER.isEnabledFor(logging.INFO)


def write(scope: Mapping[str, Any], request_id: str, status: int, size: int, seconds: float) -> None:
    """One line; at the level DEBUG where the page got what it asks for by itself.

    Parameters
    ----------
    scope
        Of ASGI.
    request_id
        The request's.
    status
        Of HTTP; 499 where the client was gone before its answer, 101 for a WebSocket that was accepted.
    size
        Bytes of the answer.
    seconds
        How long it took.
    """
    client = scope.get("client")
    # As it was sent: the decoded path may hold line feeds. Without the query, which may hold what is nobody's business.
    path = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0][:LONGEST]
    fields = {
        "client": client[0] if client else "",
        "method": scope.get("method", "WEBSOCKET"),
        "path": repr(path)[2:-1],
        "status": status,
        "bytes": size,
        "milliseconds": round(seconds * 1000, 3),
        "request_id": request_id,
    }
    quiet = status < 400 and scope["path"].removeprefix(scope.get("root_path", "")).startswith(PAGE)
    LOGGER.log(logging.DEBUG if quiet else logging.INFO, TEXT, fields)


class NoSockets(logging.Filter):
    """Leaves out what uvicorn says of each WebSocket, with its whole query: there is a line for it among those of requests."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Is it about something else?"""
        return '"WebSocket' not in str(record.msg) and record.msg not in ("connection open", "connection closed")


class TextLines(logging.Formatter):
    """Writes a record on a line of its own, whatever it tells of; the traceback of an exception follows."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """A message, whose control characters are shown as Python writes them."""
        return CONTROL.sub(lambda found: repr(found[0])[1:-1], super().formatMessage(record))


class JsonLines(logging.Formatter):
    """Makes an object of each record: of a request its fields, of others the message; with the traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line of JSON."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {"time": f"{moment}.{int(record.msecs):03d}Z", "level": record.levelname, "logger": record.name}
        if record.name == LOGGER.name and isinstance(record.args, Mapping):
            line.update(record.args)
        else:
            line["message"] = record.getMessage()
            if (request_id := getattr(record, "request_id", None)) is not None:
                line["request_id"] = request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def settings(form: str) -> dict[str, Any]:
    """What ``logging.config.dictConfig``, and so uvicorn's ``log_config``, takes: lines of requests to stdout, all others to stderr.

    Parameters
    ----------
    form
        Of the lines: "text"; "json", which others have then, too; or "none".
    """
    plain = {"class": f"{__name__}.{TextLines.__name__}", "format": "%(asctime)s %(levelname)s %(message)s"}
    formatter = {"()": f"{__name__}.{JsonLines.__name__}"} if form == "json" else plain
    others = {"handlers": ["others"], "level": "INFO", "propagate": False}
    level = "WARNING" if form == "none" else "INFO"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "filters": {"sockets": {"()": f"{__name__}.{NoSockets.__name__}"}},
        "handlers": {
            "requests": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stdout"},
            "others": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["sockets"], "stream": "ext://sys.stderr"},
        },
        "loggers": {
            LOGGER.name: {"handlers": ["requests"], "level": level, "propagate": False},
            "fastlstm": {**others, "level": "WARNING"},
            "fastlstm.serving": others,
            "uvicorn": others,
        },
    }
