"""The files that the recipes of docs/tutorials/engines.md read, and the recipes themselves."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import table_files
from layer_examples import tool

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "engines.md"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models and tables of all recipes."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("made")
    table_files.make(folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with these files in it."""
    for path in made.iterdir():
        os.link(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def recipe(folder: Path) -> Callable[[str], dict[str, Any]]:
    """Runs a recipe of the page, as it stands there."""

    def run(name: str) -> dict[str, Any]:
        (block,) = (block for block in tool("run_page").blocks(PAGE) if block.mark == f"engine: {name}")
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile("\n" * block.line + block.code, str(PAGE), "exec"), names)
        return names

    return run


@pytest.fixture
def equal(folder: Path) -> Callable[..., None]:
    """Compares what a recipe wrote with predict, to the bit."""

    def check(where: str = "scored", chosen: slice = slice(None)) -> None:
        found = table_files.scores(folder / where)
        expected = np.load("expected.npy")[chosen]
        assert np.array_equal(found["id"], np.arange(table_files.ROWS)[chosen])
        assert found["score"].dtype == np.float32
        assert found["score"].tobytes() == expected.tobytes()

    return check


@pytest.fixture
def victim(folder: Path) -> Callable[[], bool]:
    """Where a worker is to die: kills the process that asks first, and no other."""

    def die() -> bool:
        try:
            os.close(os.open(folder / "died", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        os.kill(os.getpid(), signal.SIGKILL)
        return True

    return die
