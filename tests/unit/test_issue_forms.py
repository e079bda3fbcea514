"""The forms for issues ask for what the command line prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fastlstm.cli.main import parser

FORMS = sorted((Path(__file__).parents[2] / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


@pytest.fixture(params=FORMS, ids=lambda path: path.stem)
def form(request: pytest.FixtureRequest) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="needs PyYAML, of the extra yaml")
    return yaml.safe_load(request.param.read_text(encoding="utf-8"))


def test_forms_are_whole(form: dict[str, Any]) -> None:
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field["id"] == "report" for field in fields)


def test_commands_of_forms_are_understood(form: dict[str, Any]) -> None:
    text = " ".join(str(field["attributes"].get("description", "")) for field in form["body"])
    commands = re.findall(r"`fastlstm ([^`]*)`", text)
    assert commands
    for command in commands:
        if command != "--version":
            parser().parse_args(command.split())
