"""The commands that write files, each in a folder of its own: for the tests that nothing gets lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import writing_commands


@pytest.fixture(scope="session")
def written_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LSTM on (any, 3), Dense(2)."""
    return writing_commands.make_model(tmp_path_factory.mktemp("model"))


SLOW = "plot"  # imports matplotlib, and draws


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind == SLOW)) for kind in writing_commands.KINDS])
def work(request: pytest.FixtureRequest, tmp_path: Path, written_model: Path, monkeypatch: pytest.MonkeyPatch) -> writing_commands.Work:
    """Every way in which fastlstm writes a file."""
    return writing_commands.prepared(request.param, tmp_path, written_model, monkeypatch)
