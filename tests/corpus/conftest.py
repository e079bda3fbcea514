"""The golden corpus, unpacked once a session."""

from __future__ import annotations

from pathlib import Path

import golden
import pytest

UNPACKED = pytest.StashKey[Path]()


def corpus_folders(config: pytest.Config) -> tuple[Path, ...]:
    """Where models lie unpacked: the corpus's own folder, if there is one, and one of this session's, with the project's own too."""
    source = golden.corpus()
    if UNPACKED not in config.stash:
        folder = config._tmp_path_factory.mktemp("golden")  # type: ignore[attr-defined]  # needed before fixtures exist
        for archives in (golden.OWN, source):
            if archives is not None:
                golden.unpack(archives, folder)
        config.stash[UNPACKED] = folder
    return (source, config.stash[UNPACKED]) if source else (config.stash[UNPACKED],)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test with an argument ``golden_case`` each file of the corpus."""
    if "golden_case" in metafunc.fixturenames:
        metafunc.parametrize("golden_case", list(golden.cases(*corpus_folders(metafunc.config))), ids=str)


@pytest.fixture(scope="session")
def golden_folders(request: pytest.FixtureRequest) -> tuple[Path, ...]:
    """Folders below which the corpus lies unpacked, GEN/index.jsonl and bad/index.jsonl among it."""
    if golden.corpus() is None:
        pytest.skip("no golden corpus: shared/golden beside the repository, or FASTLSTM_GOLDEN")
    return corpus_folders(request.config)


@pytest.fixture(scope="session")
def recorded_folders(request: pytest.FixtureRequest) -> tuple[Path, ...]:
    """The same, or the project's own recordings alone."""
    return corpus_folders(request.config)
