"""What the tests share: the golden corpus, figures printed at the end of a run, and Keras where it is installed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import golden
import h5_files
import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

RESULTS = pytest.StashKey[list[golden.Result]]()
FIGURES = pytest.StashKey[list[tuple[str, str]]]()
UNPACKED = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS] = []
    config.stash[FIGURES] = []


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


@pytest.fixture
def golden_results(request: pytest.FixtureRequest) -> list[golden.Result]:
    """Results of this session; the table at its end is made of them."""
    return request.config.stash[RESULTS]


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Note a figure under a name, to be printed at the end of the run."""

    def note(name: str, value: str) -> None:
        request.config.stash[FIGURES].append((name, value))

    return note


@pytest.fixture(scope="session", params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> ModuleType:
    """Each Keras that is installed: Keras 3, and tf_keras (Keras 2)."""
    return pytest.importorskip(request.param, reason=f"{request.param} is not installed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    stash = terminalreporter.config.stash
    if stash[RESULTS]:
        terminalreporter.section("golden corpus")
        for kind in golden.KINDS:
            results = [result for result in stash[RESULTS] if result.kind == kind]
            if results:
                terminalreporter.line(f"CASE{kind}" + (" + CASE.json" if golden.KINDS[kind] else ""))
                for line in golden.table(results):
                    terminalreporter.line("  " + line)
    if stash[FIGURES]:
        terminalreporter.section("figures")
        for name, value in stash[FIGURES]:
            terminalreporter.line(f"{name}: {value}")


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    """A file of a small LSTM: steps of 3 features, 2 results."""
    rng = np.random.default_rng(0)
    return h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 4, 3, rng), h5_files.dense(2, 4, rng)], (5, 3))
