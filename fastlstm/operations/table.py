"""All rows of operations, and the rows by the names that each generation has for them."""

from __future__ import annotations

from collections.abc import Mapping

from . import elementwise, functions, indexing, joining, making, products, reductions, shaping, spectra
from .rows import Operation, Signature, signature

FAMILIES = (elementwise, functions, reductions, shaping, joining, indexing, products, making, spectra)
#: All rows by canonical name.
OPERATIONS: Mapping[str, Operation] = {row.name: row for family in FAMILIES for row in family.TABLE}


class Names:
    """The rows by the names that one way of writing has for them; the signatures are read once the first is asked for."""

    def __init__(self, kind: str):
        self.kind = kind
        self._found: dict[str, tuple[Operation, str]] = {}

    def find(self, name: str) -> tuple[Operation, Signature] | None:
        """The operation that a name is, with its arguments there."""
        if not self._found:
            for row in OPERATIONS.values():
                self._found |= {text.partition("(")[0]: (row, text) for text in getattr(row, self.kind)}
        found = self._found.get(name)
        if found is None:
            return None
        row, text = found
        return row, signature(text) if "(" in text else row.signature._replace(name=text)


KERAS3, FUNCTIONS, OPS = Names("keras3"), Names("functions"), Names("ops")
