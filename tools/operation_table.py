"""The table of operations in docs/operations.md: under which generations each was recorded is read off the recorded archives.

python tools/operation_table.py            prints it
python tools/operation_table.py --write    puts it into docs/operations.md
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastlstm.operations import FUNCTIONS, KERAS3, OPERATIONS, OPS, Names
from fastlstm.replacing import writing

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "operations.md"
RECORDED = ROOT / "tests" / "corpus" / "recorded"
PREFIX = "operations-"
BEGIN, END = "<!-- operations -->\n", "<!-- /operations -->"


def indices() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each generation whose operations were recorded, with the lines of its index; the oldest first."""
    found = {}
    for path in RECORDED.glob(f"{PREFIX}*.tar.xz"):
        generation = path.name.removeprefix(PREFIX).removesuffix(".tar.xz")
        with tarfile.open(path) as archive:
            index = archive.extractfile(f"{PREFIX}{generation}/index.jsonl")
            assert index is not None, path
            found[generation] = [json.loads(line) for line in index.read().splitlines()]
    return iter(sorted(found.items(), key=lambda item: age(item[0])))


def age(generation: str) -> tuple[int, ...]:
    """The version in the name of a generation, to sort by."""
    return tuple(int(part) for part in generation.rpartition("-")[2].split("."))


def names_of(generation: str) -> Names:
    """The names that a generation writes for operations."""
    if generation.startswith("keras-"):
        return KERAS3
    return OPS if age(generation) < (2, 4) else FUNCTIONS


def recorded() -> dict[str, list[str]]:
    """For each operation the generations that recorded it."""
    found: dict[str, list[str]] = {name: [] for name in OPERATIONS}
    for generation, lines in indices():
        names = names_of(generation)
        written = {name.removeprefix("tf.").removeprefix("compat.v1.") for line in lines for name in line["operations"]}
        for name in sorted({row[0].name for row in map(names.find, written) if row}):
            found[name].append(generation)
    return found


def bare(names: tuple[str, ...]) -> str:
    """Names of functions without their arguments."""
    return ", ".join(dict.fromkeys(f"`{name.partition('(')[0]}`" for name in names))


def in_short(generations: list[str]) -> str:
    """Generations, those of one library behind its name: ``tf.keras 2.0, 2.3; keras 3.0``."""
    versions: dict[str, list[str]] = {}
    for library, _, version in (generation.rpartition("-") for generation in generations):
        versions.setdefault(library, []).append(version)
    return "; ".join(f"{library} {', '.join(found)}" for library, found in versions.items())


def table() -> str:
    """Each operation with its names and the generations that it was recorded under."""
    lines = ["| operation | Keras 3 | tf.keras 2.4 and later | tf.keras 2.0 to 2.3 | recorded under |", "|---|---|---|---|---|"]
    for name, generations in sorted(recorded().items()):
        row = OPERATIONS[name]
        columns = (f"`{row.canonical}`", bare(row.keras3), bare(row.functions), bare(row.ops), in_short(generations))
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join([*lines, "", ""])


def updated(text: str) -> str:
    """The page with the table in its place."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        with writing(PAGE) as stream:
            stream.write(updated(PAGE.read_text(encoding="utf-8")).encode())
    else:
        print(table(), end="")
