"""Every recorded model, stripped of its config: what is drafted and set right where it is marked computes what Keras computed.

A lean choice of cases, unless FASTLSTM_DRAFTS is "all"; ``tests/helpers/drafts.py`` as a script prints the counts of all of them.
"""

from __future__ import annotations

import os
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import drafts
import golden
import numpy as np
import pytest
from test_real_models import folder

import fastlstm

#: The share of cases that is run, unless all are.
SHARE = 16


@pytest.fixture(scope="module")
def judged(recorded_folders: tuple[Path, ...]) -> dict[str, drafts.Judged]:
    """What has come of each case."""
    every = os.environ.get("FASTLSTM_DRAFTS") == "all"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cells that Keras 2.1 saved without their arguments
        return {
            str(case): drafts.judged(case)
            for case in drafts.every_case(*recorded_folders)
            if every or not case.generation.count("_") or zlib.crc32(str(case).encode()) % SHARE == 0
        }


def test_nothing_is_wrong_without_a_mark(judged: dict[str, drafts.Judged]) -> None:
    assert len(judged) > 50
    assert not {case: found.detail for case, found in judged.items() if found.outcome == drafts.WRONG}


@pytest.mark.skipif(golden.corpus() is None, reason="the shares are those of the whole corpus, shared/golden beside the repository")
def test_most_models_are_drafted(judged: dict[str, drafts.Judged]) -> None:
    counts = Counter(found.outcome for found in judged.values())
    assert counts[drafts.AT_ONCE] + counts[drafts.CONFIRMED] > 0.6 * len(judged)
    assert counts[drafts.AT_ONCE] > 0.1 * len(judged)


def published() -> Iterator[Path]:
    """Models that others trained."""
    yield from sorted(path for path in folder().glob("*") if path.suffix in (".h5", ".hdf5"))


ABSENT = pytest.param(None, id="absent", marks=pytest.mark.skip("no published models: shared/real_models beside the repository"))


@pytest.mark.parametrize("path", [*published()] or [ABSENT], ids=lambda path: path.stem if path else "absent")
def test_a_published_model_is_drafted(path: Path) -> None:
    """Its classes, units and features are told; set right where it is marked, it computes the same bits."""
    case = golden.Case("published", path.stem, path.suffix, path.parent, {"refuse": ""})
    data, truth = drafts.stripped(case)
    found = drafts.infer(data)
    assert found.draft is not None, found.chain.problems
    done, _ = drafts.confirm(found.draft, truth)
    whole, model = fastlstm.load(path), fastlstm.load(data, architecture=done)
    with np.load(path.with_name(path.name + ".npz")) as recorded:
        x = recorded["x0"]
    np.testing.assert_array_equal(model.predict(x), whole.predict(x))
