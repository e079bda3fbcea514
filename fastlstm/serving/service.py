"""What every handler of a service shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from .models.repository import Repository
from .models.running import Runner
from .options import Options
from .protocols.statistics import Statistics
from .server.metrics import Metrics
from .state.sockets import Connections
from .state.versions import AllSequences


@dataclass(frozen=True)
class Service:
    """What every handler of a service shares."""

    options: Options
    repository: Repository
    runner: Runner
    metrics: Metrics
    statistics: Statistics = field(default_factory=Statistics)
    connections: Connections = field(default_factory=Connections)

    @cached_property
    def sequences(self) -> AllSequences:
        """What requests with a sequence's id, and connections, go on with."""
        return AllSequences(self.options, self.runner, self.metrics.streams)
