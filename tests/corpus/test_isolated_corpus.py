"""Files of the corpus, read in a process of their own: the same model, the same errors."""

from __future__ import annotations

from pathlib import Path

import golden
from isolated_reading import same_as_here


def test_same_corpus(golden_folders: tuple[Path, ...]) -> None:
    """All bad files, and one good one in a hundred: of each kind and generation some."""
    bad = next((one / "bad" for one in golden_folders if (one / "bad").is_dir()), None)
    for path in sorted(bad.iterdir()) if bad else ():
        if path.suffix in (".h5", ".keras"):
            same_as_here(path)
    for case in list(golden.cases(*golden_folders))[::100]:
        same_as_here(case.path, architecture=case.architecture)
