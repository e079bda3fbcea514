"""What the tests of tables and jobs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import batch_files
import batch_models
import pytest

from fastlstm.batch.jobs import job


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small model on (5, 3)."""
    return batch_files.model_file(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a small model, by its name in batch_models."""
    folder = tmp_path_factory.mktemp("models")
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = getattr(batch_models, name)(folder / f"{name}{'.keras' if name in ('words', 'letters') else '.h5'}")
        return made[name]

    return get


@pytest.fixture
def each_batch_is_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine: in a long job a part has several."""
    monkeypatch.setattr(job, "PARTS", 1e9)
