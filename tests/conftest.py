"""Shared by all tests: figures that are printed at the end of a run, and the file of a small model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import golden
import h5_files
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# TensorFlow reads these when it is first imported, here or in a process that a test starts.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# --hypothesis-profile=quick: for the quick run; emulated: for one under qemu, where everything takes ten times as long
IN_GENERAL = settings(deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("fastlstm", IN_GENERAL, max_examples=100)
settings.register_profile("quick", IN_GENERAL, max_examples=10)
settings.register_profile("emulated", IN_GENERAL, max_examples=3)
settings.load_profile("fastlstm")

#: The most processes that ``pytest -n auto`` begins.
MOST = 8

FIGURES = pytest.StashKey[list[tuple[str, str]]]()
RESULTS = pytest.StashKey[list[golden.Result]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []
    config.stash[RESULTS] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where several processes run the tests (pytest -n), each sends what is printed at the end to the one that prints."""
    sent = getattr(session.config, "workeroutput", None)
    if sent is not None:
        sent["figures"] = session.config.stash[FIGURES]
        sent["golden"] = [astuple(result) for result in session.config.stash[RESULTS]]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What ``-n auto`` means: a process for each core, and no more than MOST, as each may have a TensorFlow of its own in memory."""
    return min(MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    received = getattr(node, "workeroutput", {})  # a process that was killed has sent nothing
    node.config.stash[FIGURES] += received.get("figures", ())
    node.config.stash[RESULTS] += [golden.Result(*fields) for fields in received.get("golden", ())]


@pytest.fixture(scope="session")
def figure(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Note a figure under a name, to be printed at the end of the run."""

    def note(name: str, value: str) -> None:
        request.config.stash[FIGURES].append((name, value))

    return note


@pytest.fixture(scope="session")
def golden_results(request: pytest.FixtureRequest) -> list[golden.Result]:
    """What came of the golden corpus; a table of it is printed at the end of a run."""
    return request.config.stash[RESULTS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = terminalreporter.config.stash[FIGURES]
    if figures:
        terminalreporter.section("figures")
        for name, value in figures:
            terminalreporter.line(f"{name}: {value}")
    results = terminalreporter.config.stash[RESULTS]
    if results:
        terminalreporter.section("golden corpus")
        for line in golden.summary(results):
            terminalreporter.line(line)


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    """The file of a small LSTM: 5 timesteps of 3 features, 2 results."""
    rng = np.random.default_rng(0)
    return h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 4, 3, rng), h5_files.dense(2, 4, rng)], (5, 3))
