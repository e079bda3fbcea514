"""What every handler of a service shares."""

from __future__ import annotations

from dataclasses import dataclass, field

from .metrics import Metrics
from .options import Options
from .repository import Repository
from .running import Runner


@dataclass(frozen=True)
class Service:
    """What every handler of a service shares."""

    options: Options
    repository: Repository
    runner: Runner
    metrics: Metrics = field(default_factory=Metrics)
