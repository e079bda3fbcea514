"""Operations of graphs: each was recorded under some generation, and the page says under which."""

from __future__ import annotations

import re
from pathlib import Path

import golden
import pytest
from layer_examples import REPOSITORY, tool

from fastlstm.operations import OPERATIONS

PAGE = REPOSITORY / "docs" / "operations.md"
GENERATIONS = ["tf.keras-2.0", "tf.keras-2.3", "tf.keras-2.10", "tf.keras-2.15", "tf_keras-2.21", "keras-3.0", "keras-3.3", "keras-3.15"]


def test_the_page_lists_them() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert tool("operation_table").updated(text) == text, "run python tools/operation_table.py --write"


def test_each_was_recorded() -> None:
    """Each that a file can name: some stand for others' arguments alone."""
    found = tool("operation_table").recorded()
    named = {name for name, row in OPERATIONS.items() if row.keras3 or row.functions or row.ops}
    missing = sorted(name for name in named if not found[name])
    assert not missing, "write a form of them into tools/operation_forms.txt and run tools/golden_operations.py"


def test_each_generation_was_recorded() -> None:
    lines = dict(tool("operation_table").indices())
    assert list(lines) == GENERATIONS
    assert min(sum(len(line["forms"]) for line in found) for found in lines.values()) > 250


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> list[golden.Case]:
    """The recorded files of forms that may be outside the table."""
    folder = tmp_path_factory.mktemp("operations")
    golden.unpack(golden.OWN, folder)
    return [case for case in golden.cases(folder) if "-apart" in case.name]


def test_what_is_outside_is_refused_by_name(apart: list[golden.Case]) -> None:
    """The layer, and the operation as the file has it or why its arguments are not computed."""
    refused = 0
    for case in apart:
        result = golden.run(case)
        assert result.outcome in (golden.RIGHT, golden.REFUSED), (case, result.detail)
        if result.outcome == golden.REFUSED:
            refused += 1
            assert re.search(r"layer '[^']+'( \(Operation\))?: .{15}", result.detail), (case, result.detail)
    assert refused > 100


def test_the_forms_can_be_read() -> None:
    """Each line of the list of forms is NAME: FORM ; FORM, and each form Python."""
    text = Path(REPOSITORY / "tools" / "operation_forms.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and line[0] not in "#["]
    for line in lines:
        name, _, forms = line.partition(": ")
        assert re.fullmatch(r"[a-z0-9_]+", name), line
        for form in forms.split(" ; "):
            compile(form.removeprefix("! "), name, "eval")
    assert len(lines) > 250
