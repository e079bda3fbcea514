"""docs/batch.md runs from top to bottom, and prints what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from layer_examples import tool

pytest.importorskip("pyarrow")
PAGE = Path(__file__).parents[2] / "docs" / "batch.md"


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tool("run_page").run(PAGE)
