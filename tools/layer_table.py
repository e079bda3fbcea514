"""The README's table of layers, made from the registry.

    python tools/layer_table.py            prints it
    python tools/layer_table.py --write    puts it into README.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from fastlstm.layers import REGISTRY

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- layers -->\n", "<!-- /layers -->"


def table() -> str:
    """One row a family: a file in ``layers/``."""
    families: dict[str, list[str]] = {}
    for name, layer in REGISTRY.items():
        families.setdefault(sys.modules[layer.__module__].__doc__ or "", []).append(name)
    rows = ["| family | Keras's layers |", "|---|---|"]
    rows += [f"| {re.split('[:.]', family)[0]} | {', '.join(sorted(names))} |" for family, names in sorted(families.items())]
    return "\n".join(rows) + "\n"


def updated(text: str) -> str:
    """The README with the table in its place."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table(), end="")
