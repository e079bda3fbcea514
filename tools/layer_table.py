"""The README's table of layers, made from the registry.

    python tools/layer_table.py            prints it
    python tools/layer_table.py --write    puts it into README.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from fastlstm.layers import REGISTRY, Layer
from fastlstm.layers.cells import Cell
from fastlstm.layers.core import Inert, InputLayer

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- layers -->\n", "<!-- /layers -->"


def runs(name: str, layer: type[Layer]) -> str:
    """Where a layer is computed, options that only NumPy has apart."""
    if layer is Inert or layer is InputLayer:
        return "no work"
    if issubclass(layer, Cell):
        return "with its RNN"
    along_time = getattr(layer, "AXES", {}).get(name, 1) == 1  # of convolutions and pooling, those along time
    return "kernels" if layer.lower is not Layer.lower and along_time else "NumPy"


def table() -> str:
    """The families (files in ``layers/``), and each layer with where it runs and the arguments that it honours."""
    families: dict[str, list[str]] = {}
    for name, layer in REGISTRY.items():
        families.setdefault(sys.modules[layer.__module__].__doc__ or "", []).append(name)
    rows = ["| family | Keras's layers |", "|---|---|"]
    rows += [f"| {re.split('[:.]', family)[0]} | {', '.join(sorted(names))} |" for family, names in sorted(families.items())]
    rows += ["", "<details><summary>Each layer: where it runs, and which arguments change what it computes</summary>", ""]
    rows += ["| layer | runs in | arguments honoured |", "|---|---|---|"]
    rows += [f"| {name} | {runs(name, layer)} | {', '.join(sorted(layer.HONOURED))} |" for name, layer in sorted(REGISTRY.items())]
    return "\n".join(rows) + "\n\n</details>\n"


def updated(text: str) -> str:
    """The README with the table in its place."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table(), end="")
