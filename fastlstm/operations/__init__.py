"""Operations of a graph, ``x[:, -1] + y``: one canonical set for what every generation writes, a row for each.

``formats`` reads files by the rows' names; the layer that stands for an operation (``layers/operations.py``) gives them their meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import names

if TYPE_CHECKING:
    from .rows import Operation, Signature
    from .table import FUNCTIONS, KERAS3, OPERATIONS, OPS, Names

__getattr__, __dir__ = names(__name__, {
    "table": ("FUNCTIONS", "KERAS3", "OPERATIONS", "OPS", "Names"), "rows": ("Operation", "Signature"),
})  # fmt: skip

__all__ = ["FUNCTIONS", "KERAS3", "OPERATIONS", "OPS", "Names", "Operation", "Signature"]
