"""What a service is told once: limits, batching, who may ask."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import positive, told

#: What a browser calls the origin of a page: scheme, host, port; ``*``: any.
ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#,]+", re.IGNORECASE)
#: The name of a machine.
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
#: What a header may hold without marks around it (RFC 6750).
TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
#: What ``loading`` may hold.
LOADING = ("architecture", "by_name", "precision", "custom_layers", "custom_activations", "fold_limit", "max_bytes", "isolated")
MOST_PORT = 65_535
#: Seconds, three years, that every clock can be told to wait.
MOST_SECONDS = 1e8
#: Options that are numbers from 1 on.
COUNTS = (
    "threads", "max_body_bytes", "max_rows", "max_timesteps", "max_answer_bytes", "max_concurrency", "max_sequences", "max_waiting_bytes",
    "max_message_bytes", "workers",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What a service is told once.

    Attributes
    ----------
    versions : int or None
        How many of the newest versions of a model in a folder of versions are served; None: all. Versions that have labels are served
        besides.
    poll_seconds : float or None
        How often files are looked at for changes; None: never.
    threads : int
        As for :func:`fastlstm.load`.
    loading : dict
        Other options of :func:`fastlstm.load`, for every model: ``{"custom_layers": {...}}``.
    compute_threads : int or None
        How many requests compute at the same time that take longer than about a millisecond; None: as many as there are cores.
    batch_rows : int or None
        Requests that wait at the same time are computed together, up to so many rows; None: each by itself.
    batch_wait_us : int
        Microseconds that a request waits for others.
    max_body_bytes : int
        The most bytes of a request's body, after decompression.
    max_rows : int
        The most rows of a request.
    max_timesteps : int
        The most timesteps of a row, and of any other axis whose size a model leaves open.
    max_answer_bytes : int
        The most bytes of all outputs of a request, as arrays; those that would be larger are not computed.
    max_concurrency : int
        Requests that are read, wait or compute at the same time; those beyond are refused with 429.
    timeout_seconds : float
        How long a request may take, from its last byte on, before it is answered with 504.
    max_sequences : int
        Sequences that have a state at the same time, of each model.
    sequence_idle_seconds : float
        After so long without a timestep, a sequence is forgotten.
    max_message_bytes : int
        The most bytes of a WebSocket's message.
    max_steps : int or None
        As for :meth:`fastlstm.Model.stream`.
    read_seconds : float
        How long a body may take to come; one that comes at 10,000 bytes a second or more has all the time that it needs.
    max_waiting_bytes : int
        The most bytes of bodies that all requests hold at the same time; those beyond are refused with 429.
    hosts : tuple of str
        Names that requests may call this service by, beside addresses and localhost; empty: any.
    token : str or None
        What ``Authorization: Bearer`` must hold; None: nobody is asked.
    cors_origins : tuple of str
        Origins of web pages that may ask.
    page : bool
        Is there a page at ``/``?
    own_port : int or None
        The port that this worker alone answers at, of several; None: there is none, or one worker.
    sequence_ports : tuple of int
        Those of all workers.
    workers : int
        Processes that answer at the same port.
    """

    versions: int | None = 1
    poll_seconds: float | None = 2.0
    threads: int = 1
    loading: Mapping[str, Any] = field(default_factory=dict)
    compute_threads: int | None = None
    batch_rows: int | None = None
    batch_wait_us: int = 0
    max_body_bytes: int = 64 << 20
    max_rows: int = 65_536
    max_timesteps: int = 65_536
    max_answer_bytes: int = 256 << 20
    max_concurrency: int = 256
    timeout_seconds: float = 60.0
    max_sequences: int = 10_000
    sequence_idle_seconds: float = 600.0
    max_message_bytes: int = 1 << 20
    max_steps: int | None = None
    read_seconds: float = 20.0
    max_waiting_bytes: int = 256 << 20
    hosts: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)
    cors_origins: tuple[str, ...] = ()
    page: bool = True
    own_port: int | None = None
    sequence_ports: tuple[int, ...] = ()
    workers: int = 1

    def __post_init__(self) -> None:
        for name in COUNTS:
            self._set(name, positive(getattr(self, name), name))
        for name in ("versions", "compute_threads", "batch_rows", "max_steps"):
            if getattr(self, name) is not None:
                self._set(name, positive(getattr(self, name), name, expected="a positive number or None"))
        for name in ("timeout_seconds", "sequence_idle_seconds", "read_seconds"):
            self._set(name, seconds(getattr(self, name), name))
        if self.poll_seconds is not None:
            self._set("poll_seconds", seconds(self.poll_seconds, "poll_seconds", "a number of seconds above zero, or None"))
        if isinstance(self.batch_wait_us, bool) or not isinstance(self.batch_wait_us, (int, np.integer)) or self.batch_wait_us < 0:
            raise InputError(f"batch_wait_us: expected a number of microseconds from 0 on, found {told(self.batch_wait_us)}")
        if self.batch_wait_us and self.batch_rows is None:
            raise InputError(f"batch_wait_us: expected batch_rows too, as requests wait for others, found {self.batch_wait_us} alone")
        self._set("batch_wait_us", int(self.batch_wait_us))
        if not isinstance(self.page, bool):
            raise InputError(f"page: expected True or False, found {told(self.page)}")
        self._set("token", checked_token(self.token))
        self._set("cors_origins", checked_origins(self.cors_origins))
        self._set("hosts", checked_hosts(self.hosts))
        self._set("loading", checked_loading(self.loading))
        self._set("sequence_ports", tuple(port(one, "sequence_ports") for one in listed(self.sequence_ports, "sequence_ports", "ports")))
        if self.own_port is not None:
            self._set("own_port", port(self.own_port, "own_port"))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def cores(self) -> int:
        """How many requests compute at the same time that take long."""
        if self.compute_threads is not None:
            return self.compute_threads
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def options_of(given: Mapping[str, Any]) -> Options:
    """The Options that a caller gives by name.

    Raises
    ------
    InputError
        If one is unknown or does not fit.
    """
    known = [one.name for one in fields(Options)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(f"{unknown[0]}: expected options among {', '.join(known)}, found another")
    return Options(**given)


def seconds(value: Any, name: str, expected: str = "a number of seconds above zero") -> float:
    """A span of time."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not 0 < value < math.inf:
        raise InputError(f"{name}: expected {expected}, found {told(value)}")
    if value > MOST_SECONDS:
        raise InputError(f"{name}: expected at most {MOST_SECONDS:.0f} seconds, found {told(value)}")
    return float(value)


def port(value: Any, name: str) -> int:
    """A port that can be named."""
    return positive(value, name, most=MOST_PORT, expected="a port from 1")


def checked_token(token: Any) -> str | None:
    """What a header can hold."""
    if token is None:
        return None
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        found = "an empty text" if token == "" else f"{type(token).__name__} with others"  # which is said to nobody
        raise InputError(f"token: expected letters, digits and -._~+/, with = at its end alone, or None, found {found}")
    return token


def checked_origins(origins: Any) -> tuple[str, ...]:
    """Origins as browsers name them: a path, or a slash at the end, would never be equal to one."""
    found = listed(origins, "cors_origins", "origins such as 'https://example.org'")
    for one in found:
        if not isinstance(one, str) or not ORIGIN.fullmatch(one):
            raise InputError(f"cors_origins: expected origins such as 'https://example.org', without a path, or '*', found {told(one)}")
    return tuple(found)


def checked_hosts(hosts: Any) -> tuple[str, ...]:
    """Names of hosts, without a port: what is compared with ``Host``."""
    found = listed(hosts, "hosts", "names such as 'models.example.org'")
    for one in found:
        if not isinstance(one, str) or not HOST.fullmatch(one):
            raise InputError(f"hosts: expected names such as 'models.example.org', without a port, found {told(one)}")
    return tuple(found)


def checked_loading(loading: Any) -> dict[str, Any]:
    """Options of loading."""
    if not isinstance(loading, Mapping):
        raise InputError(f"loading: expected a dict of options of fastlstm.load, found {told(loading)}")
    for name in loading:
        if name not in LOADING:
            raise InputError(f"loading: expected options among {', '.join(LOADING)}, found {told(name)}")
    return dict(loading)


def listed(value: Any, name: str, expected: str) -> list[Any]:
    """A list or tuple."""
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{name}: expected a list of {expected}, found {told(value)}")
    return list(value)
