"""Inputs that fuzzing found worth keeping, replayed: of every file a model, which runs, or a FastLSTMError."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "fuzz"
#: What fuzzing allows; each takes some milliseconds.
SECONDS = 10


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str) -> None:
    files = sorted((CORPUS / name).iterdir())
    assert files
    for path in files:
        start = time.monotonic()
        try:
            TARGETS[name](path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path}: {type(error).__name__}: {error}") from error
        assert time.monotonic() - start < SECONDS, path
