"""What Prometheus is told: requests, their time, rows, states and models; of one process, or of all workers together.

Where several processes serve the same port, each scrape reaches one of them. They then keep their numbers in files of a folder that the
environment names (``PROMETHEUS_MULTIPROC_DIR``, as prometheus_client has it), and whichever is asked adds them up.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import prometheus_client
from prometheus_client import multiprocess
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ... import __version__

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
#: Seconds: a request for a small model takes a few hundred microseconds.
BUCKETS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class Instruments:
    """Everything that is counted."""

    def __init__(self, registry: prometheus_client.CollectorRegistry):
        def make(kind: Any, name: str, says: str, *labels: str, **more: Any) -> Any:
            if kind is prometheus_client.Gauge:
                more["multiprocess_mode"] = "livesum"  # of the workers that live
            return kind(f"fastlstm_{name}", says, labels, registry=registry, **more)

        counter, gauge = prometheus_client.Counter, prometheus_client.Gauge
        self.requests = make(counter, "requests", "Requests that were answered", "model", "api", "status")
        self.seconds = make(
            prometheus_client.Histogram, "request_duration_seconds", "Time from the head of a request to its answer", "model", "api",
            buckets=BUCKETS,
        )  # fmt: skip
        self.rows = make(counter, "rows", "Rows that were predicted", "model", "api")
        self.in_flight = make(gauge, "requests_in_flight", "Requests that are read, wait or compute")
        self.streams = make(gauge, "streams", "Sequences and WebSockets that have a state", "model", "kind")
        self.loaded = make(gauge, "model_loaded", "Workers that serve this version", "model", "version")
        self.load_errors = make(counter, "model_load_errors", "Versions that could not be loaded", "model")
        # Info is not for several processes.
        make(gauge, "build_info", "Workers that run this release", "release").labels(__version__).set(1)


@lru_cache(maxsize=1)
def _of_this_process() -> Instruments:
    """Of several processes, each writes one file of each kind: two sets of instruments would overwrite each other there."""
    return Instruments(prometheus_client.CollectorRegistry(auto_describe=False))


@contextmanager
def multiprocess_folder() -> Iterator[str]:
    """A folder for the numbers of workers that are started meanwhile, which the environment then names."""
    with tempfile.TemporaryDirectory(prefix="fastlstm-metrics-") as folder:
        before = os.environ.get(FOLDER)
        os.environ[FOLDER] = folder
        try:
            yield folder
        finally:
            del os.environ[FOLDER]
            if before is not None:
                os.environ[FOLDER] = before


class Metrics:
    """Counts what a service does.

    Labels are bounded: ``model`` is empty but for names that were loaded, whatever a request asks for.
    """

    def __init__(self) -> None:
        self._folder = os.environ.get(FOLDER)
        self._registry = prometheus_client.CollectorRegistry()
        if self._folder:
            self._instruments = _of_this_process()
        else:
            self._instruments = Instruments(self._registry)
            for collector in (prometheus_client.ProcessCollector, prometheus_client.PlatformCollector):
                collector(registry=self._registry)
        self.in_flight = self._instruments.in_flight
        self._known: set[str] = set()
        #: To look up labels takes as long as to count.
        self._counted: dict[tuple[str, str, int], tuple[Any, Any, Any]] = {}

    def observe(self, api: str, name: str, status: int, seconds: float, rows: int) -> None:
        """Count an answer.

        Parameters
        ----------
        api
            The protocol.
        name
            What the request called the model.
        status
            Of HTTP.
        seconds
            How long it took.
        rows
            How many were predicted.
        """
        found = self._counted.get((api, name, status))
        if found is None:
            found = self._labelled(api, name, status)
        requests, duration, predicted = found
        requests.inc()
        duration.observe(seconds)
        if rows:
            predicted.inc(rows)

    def _labelled(self, api: str, name: str, status: int) -> tuple[Any, Any, Any]:
        known = name if name in self._known else ""
        key, made = (api, known, status), self._instruments
        if key not in self._counted:
            parts = made.requests.labels(known, api, status), made.seconds.labels(known, api), made.rows.labels(known, api)
            self._counted[key] = parts
        return self._counted[key]

    def refused(self, status: int) -> None:
        """Count a request that was refused before any protocol saw it."""
        self._instruments.requests.labels("", "", status).inc()

    def streams(self, name: str, kind: str, change: int) -> None:
        """Count states: ``kind`` is "sequence" or "socket", ``change`` how many began (or, if negative, ended)."""
        self._instruments.streams.labels(name if name in self._known else "", kind).inc(change)

    def loaded(self, name: str, version: int) -> None:
        """A version is served from now on."""
        self._known.add(name)
        self._instruments.loaded.labels(name, version).set(1)

    def unloaded(self, name: str, version: int) -> None:
        """A version is no longer served."""
        if self._folder:  # there, nothing can be removed
            self._instruments.loaded.labels(name, version).set(0)
        else:
            self._instruments.loaded.remove(name, version)

    def load_failed(self, name: str) -> None:
        """A version could not be loaded."""
        self._known.add(name)
        self._instruments.load_errors.labels(name).inc()

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """All of it, in the form that a scraper accepts, and that form's name."""
        registry = self._registry
        if self._folder:
            forget_the_dead(self._folder)
            registry = prometheus_client.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry, self._folder)
        encode, form = choose_encoder(accept)
        return encode(registry), form


def forget_the_dead(folder: str) -> None:
    """Drop the gauges of processes that are gone: whatever ended them, nobody need have seen it."""
    for name in os.listdir(folder):
        if name.startswith("gauge_live") and name.endswith(".db"):
            process = int(name.removesuffix(".db").rpartition("_")[2])
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                multiprocess.mark_process_dead(process, folder)
            except PermissionError:  # it lives, as another user's
                continue


def routes(metrics: Metrics) -> Sequence[BaseRoute]:
    """The path of the metrics."""

    def show(request: Request) -> Response:  # no coroutine: a thread adds up what may be many files
        body, form = metrics.text(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": form})

    return [Route("/metrics", show)]
