"""These tests need what ``pip install 'fastlstm[service]'`` brings."""

from __future__ import annotations

from pathlib import Path

import page_files
import pytest

NEEDED = "needs what pip install 'fastlstm[service]' brings"
for module in ("starlette", "uvicorn", "orjson", "prometheus_client", "httpx"):
    pytest.importorskip(module, reason=NEEDED)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small LSTM of any number of timesteps with 3 features, which gives 2 numbers."""
    path = tmp_path_factory.mktemp("models") / "model.h5"
    page_files.recurrent(path)
    return path
