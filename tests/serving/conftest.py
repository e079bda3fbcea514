"""These tests need what ``pip install 'fastlstm[service]'`` brings."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import batch_models
import page_files
import pytest
import served_models
import services

if TYPE_CHECKING:
    import httpx
    from starlette.testclient import TestClient

NEEDED = "needs what pip install 'fastlstm[service]' brings"
MISSING = [name for name in ("starlette", "uvicorn", "orjson", "prometheus_client", "httpx") if importlib.util.find_spec(name) is None]


class Without(pytest.Module):
    """A file of tests that is not imported."""

    def collect(self) -> None:  # type: ignore[override]
        pytest.skip(f"no {MISSING[0]}: {NEEDED}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return Without.from_parent(parent, path=module_path) if MISSING else None


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small LSTM of any number of timesteps with 3 features, which gives 2 numbers."""
    path = tmp_path_factory.mktemp("models") / "model.h5"
    page_files.recurrent(path)
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another model, whose numbers differ."""
    path = tmp_path / "others" / "other.h5"
    path.parent.mkdir()
    return batch_models.any_length(path)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    path = tmp_path / "others" / "broken.h5"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"no more of it")
    return path


@pytest.fixture(scope="session")
def served_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The models of ``served_models.py``."""
    return served_models.write(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory, served_files: dict[str, Path]) -> Iterator[services.Running]:
    """A service of these."""
    with services.service(tmp_path_factory.mktemp("log"), served_files, labels={"half_plus_two": {"stable": 1}}) as running:
        yield running


@pytest.fixture(scope="session")
def protocols(serving: services.Running) -> Iterator[httpx.Client]:
    """A client of this service."""
    import httpx

    with httpx.Client(base_url=serving.url, timeout=60) as client:
        yield client


@pytest.fixture
def ask(model: Path) -> Iterator[Callable[..., TestClient]]:
    """Makes clients of services with options."""
    import asgi
    from starlette.testclient import TestClient

    opened: list[TestClient] = []

    def client(**options: Any) -> TestClient:
        opened.append(TestClient(asgi.made(model, **options), raise_server_exceptions=False))
        opened[-1].__enter__()
        return opened[-1]

    yield client
    for each in opened:
        each.__exit__(None, None, None)
