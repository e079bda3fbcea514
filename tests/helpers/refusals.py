"""Refusals of files: soon, and without much memory."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

import fastlstm
from fastlstm.errors import FormatError

#: A refusal takes less than this, whatever was asked for.
SECONDS, BYTES = 5.0, 100 << 20


def refusal(data: bytes, **options: Any) -> str:
    """The message with which a file is refused."""
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(FormatError) as caught:
            fastlstm.load(data, **options)
        assert time.process_time() - start < SECONDS
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()
    return str(caught.value)
