"""Files of the corpus, read in a process of their own: the same model, the same errors."""

from __future__ import annotations

from pathlib import Path

import golden
import pytest
from isolated_reading import same_as_here
from sweeping import QUARTERS, quarter_of


@pytest.mark.parametrize("quarter", QUARTERS)
def test_same_corpus(quarter: int, golden_folders: tuple[Path, ...]) -> None:
    """All bad files in four parts, and one good one in a hundred: of each kind and generation some."""
    bad = next((one / "bad" for one in golden_folders if (one / "bad").is_dir()), None)
    for path in quarter_of(sorted(bad.iterdir()), quarter) if bad else ():
        if path.suffix in (".h5", ".keras"):
            same_as_here(path)
    for case in quarter_of(list(golden.cases(*golden_folders))[::100], quarter):
        same_as_here(case.path, architecture=case.architecture)
