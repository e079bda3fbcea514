"""The sequences of every model that is served, by version."""

from __future__ import annotations

import weakref
from collections import defaultdict
from collections.abc import Hashable, Mapping
from typing import Any

from ..models.running import Runner
from ..models.served import Served
from ..options import Options
from .sequences import Count, Sequences
from .timesteps import Outputs


class AllSequences:
    """The sequences of every model that is served: of its newest version, and of older ones that have sequences.

    Parameters
    ----------
    options, runner, count
        As for :class:`Sequences`.
    """

    def __init__(self, options: Options, runner: Runner, count: Count | None = None):
        self.options, self.runner, self.count = options, runner, count
        self._of: dict[str, weakref.WeakKeyDictionary[Served, Sequences]] = defaultdict(weakref.WeakKeyDictionary)

    def of(self, served: Served) -> Sequences:
        """Those of a version."""
        known = self._of[served.name]
        found = known.get(served)
        if found is None:
            found = known[served] = Sequences(served, self.options, self.runner, self.count)
        return found

    def holding(self, name: str, key: Hashable, version: int | None = None) -> Served | None:
        """The version that a sequence has begun with and goes on with, though there may be newer ones; None: it has no state."""
        for served, sequences in list(self._of.get(name, {}).items()):
            if key in sequences and version in (None, served.version):
                return served
        return None

    async def advance(
        self, served: Served, key: Hashable, arrays: Mapping[str, Any], *, start: bool = False, end: bool = False
    ) -> Outputs:  # fmt: skip
        """As :meth:`Sequences.advance`, for a version: what :meth:`holding` says, or of a sequence that starts the newest.

        Raises
        ------
        RefusedError
            413, if there are too many timesteps.
        """
        self.runner.bounded(served, arrays)
        if start:
            for other, sequences in list(self._of[served.name].items()):
                if other is not served:
                    sequences.drop(key)
        return await self.of(served).advance(key, arrays, start=start, end=end)
