"""What every handler of a service shares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from .metrics import Metrics
from .options import Options
from .repository import Repository
from .running import Runner
from .sequences import AllSequences


@dataclass(frozen=True)
class Service:
    """What every handler of a service shares."""

    options: Options
    repository: Repository
    runner: Runner
    metrics: Metrics

    @cached_property
    def sequences(self) -> AllSequences:
        """What requests with a sequence's id, and connections, go on with."""
        return AllSequences(self.options, self.runner)
