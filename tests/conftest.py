"""Shared by all tests: figures that are printed at the end of a run, and the file of a small model."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5_files
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# TensorFlow reads these when it is first imported, here or in a process that a test starts.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# --hypothesis-profile=quick: for the quick run
IN_GENERAL = settings(deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("fastlstm", IN_GENERAL, max_examples=100)
settings.register_profile("quick", IN_GENERAL, max_examples=10)
settings.load_profile("fastlstm")

FIGURES = pytest.StashKey[list[tuple[str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[FIGURES] = []


@pytest.fixture(scope="session")
def figure(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Note a figure under a name, to be printed at the end of the run."""

    def note(name: str, value: str) -> None:
        request.config.stash[FIGURES].append((name, value))

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = terminalreporter.config.stash[FIGURES]
    if figures:
        terminalreporter.section("figures")
        for name, value in figures:
            terminalreporter.line(f"{name}: {value}")


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    """The file of a small LSTM: 5 timesteps of 3 features, 2 results."""
    rng = np.random.default_rng(0)
    return h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 4, 3, rng), h5_files.dense(2, 4, rng)], (5, 3))
