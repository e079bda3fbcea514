"""What every handler of a service shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from .options import Options
from .repository import Repository
from .running import Runner
from .statistics import Statistics


class Metrics(Protocol):
    """What counts requests."""

    def observe(self, api: str, name: str, status: int, seconds: float, rows: int) -> None:
        """Count a request that has been answered; ``name`` is "" where it asked for no model that is served."""


@dataclass(frozen=True)
class Service:
    """What every handler of a service shares."""

    options: Options
    repository: Repository
    runner: Runner
    metrics: Metrics | None = None
    statistics: Statistics = field(default_factory=Statistics)
