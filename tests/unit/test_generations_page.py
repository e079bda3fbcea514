"""docs/keras-generations.md: every rule has a table, and each table says of every version of Keras what the code says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from generations import Generation, Named, all_generations

from fastlstm.spec import Rules

PAGE = (Path(__file__).parents[2] / "docs" / "keras-generations.md").read_text(encoding="utf-8")
RULES = [field.name for field in fields(Rules)]


class Table(NamedTuple):
    """A table whose rows are generations: what is compared, and what each row says of it."""

    field: str
    rows: tuple[tuple[str, Any], ...]

    def said(self, generation: Generation) -> Any:
        """The value for a generation, by the row that names it; one that names its backend goes first."""
        found: list[tuple[bool, Any]] = []
        rest = []
        for names, value in self.rows:
            if names == "elsewhere":
                rest.append(value)
                continue
            held = [name for name in map(Named.read, names.split(", ")) if name.holds(generation)]
            found += [(name.backend is not None, value) for name in held]
        exact = [value for backend, value in found if backend] or [value for _, value in found] or rest
        assert len(exact) == 1, f"{self.field}: {len(exact)} rows name {generation}"
        return exact[0]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def tables() -> Iterator[Table]:
    """The tables with a rule in the heading of their last column, and those with a comment before them that has the values."""
    for mark, block in re.findall(r"(?:<!-- checked: (.*?) -->\n)?((?:^\|.*\n)+)", PAGE, re.MULTILINE):
        head, _, *rows = map(cells, block.splitlines())
        named = re.fullmatch(r"`(\w+)`", head[-1])
        if mark:
            field, *values = mark.split()
            read = {"true": True, "false": False}
            yield Table(field, tuple((row[0], read.get(value, value)) for row, value in zip(rows, values, strict=True)))
        elif named:
            yield Table(named[1], tuple((row[0], json.loads(row[-1].strip("`"))) for row in rows))


TABLES = list(tables())


def test_every_rule_has_its_table() -> None:
    found = [table.field for table in TABLES]
    assert sorted(set(found) & set(RULES)) == sorted(RULES)
    assert len(found) == len(set(found))


@pytest.mark.parametrize("table", [pytest.param(table, id=table.field) for table in TABLES])
def test_it_says_what_the_code_says(table: Table) -> None:
    for generation in all_generations():
        understood = generation.dialect()
        value = getattr(understood.rules if table.field in RULES else understood, table.field)
        if value != table.said(generation):
            pytest.fail(f"{generation}: the page says {table.said(generation)!r}, the code {value!r}")


def test_every_value_is_named() -> None:
    """What a rule may be, the page has a row for: no meaning is left out."""
    for table in TABLES:
        values = {getattr(one.dialect().rules, table.field) for one in all_generations()} if table.field in RULES else set()
        assert values <= {value for _, value in table.rows}, table.field


def test_a_wrong_table_would_be_noticed() -> None:
    right = next(table for table in TABLES if table.field == "merge_mask")
    wrong = right._replace(rows=tuple((names.replace("3.4", "3.5"), value) for names, value in right.rows))
    generation = next(one for one in all_generations() if one.numbers == (3, 4, 1))
    assert right.said(generation) == "or"
    with pytest.raises(AssertionError, match="0 rows name Keras 3.4.1"):
        wrong.said(generation)
