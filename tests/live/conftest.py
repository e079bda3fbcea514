"""The Keras that tests compare with."""

from __future__ import annotations

from types import ModuleType

import pytest


@pytest.fixture(scope="session", params=["keras", "tf_keras"])
def keras(request: pytest.FixtureRequest) -> ModuleType:
    """Each Keras that is installed: Keras 3, and tf_keras (Keras 2)."""
    return pytest.importorskip(request.param, reason=f"{request.param} is not installed")
