"""docs/inputs.md runs from top to bottom, and prints what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from layer_examples import tool

pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("pandas", reason="pandas is not installed")
pytest.importorskip("polars", reason="polars is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "inputs.md"
pages = tool("run_page")


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pages.run(PAGE)


@pytest.mark.keras
@pytest.mark.slow
def test_it_runs_with_tensorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    monkeypatch.chdir(tmp_path)
    pages.run(PAGE, keras=True)
