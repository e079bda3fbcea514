"""What has been computed of each version of a model, as Triton's statistics tell it; of this worker alone."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass

from ..models.served import Served

#: Versions that are remembered: beyond, those that were used longest ago are dropped.
MOST_VERSIONS = 1000


@dataclass
class Counts:
    """Of one version: numbers of requests, rows, and seconds."""

    requests: int = 0
    rows: int = 0
    seconds: float = 0.0
    computing: float = 0.0  # of these: while the model computed, or the request waited for it
    failures: int = 0
    failing: float = 0.0
    last: int = 0  # milliseconds since 1970


class Statistics:
    """Counts by name and version."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, int], Counts] = OrderedDict()

    def of(self, served: Served) -> Counts:
        """Those of one version, which go on."""
        key = served.name, served.version
        found = self._counts.get(key)
        if found is None:
            found = self._counts[key] = Counts()
            if len(self._counts) > MOST_VERSIONS:
                self._counts.popitem(last=False)
        return found

    def succeeded(self, served: Served, rows: int, seconds: float, computing: float) -> None:
        """Count a request that has been answered with outputs."""
        counts = self.of(served)
        counts.requests += 1
        counts.rows += rows
        counts.seconds += seconds
        counts.computing += computing
        counts.last = time.time_ns() // 1_000_000

    def failed(self, served: Served, seconds: float) -> None:
        """Count a request that has been refused after its model was found."""
        counts = self.of(served)
        counts.failures += 1
        counts.failing += seconds
