"""Engines of the suite: each is a small adapter that loads a workload's file and predicts."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fastlstm.bench import onnx


class UnavailableError(Exception):
    """An engine, or this workload in it, cannot be measured here; the message says why."""


class Engine:
    """An engine that is timed. Made once for each workload and batch; ``predict`` returns a NumPy array as a user would want it."""

    label: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    #: Computes in float32 as we do; only those count where the best is named.
    float32: ClassVar[bool] = True
    #: Largest relative difference from Keras at which it is timed at all.
    tolerance: ClassVar[float] = 1e-4
    takes_ragged: ClassVar[bool] = False

    def __init__(self, model: Path, batch: int, threads: int):
        """Load ``model`` (an ``.h5``; what was converted from it lies beside) for so many rows at a time."""

    def predict(self, x: Any) -> np.ndarray:
        raise NotImplementedError

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Versions of those of its packages that are installed."""
        found = {}
        for package in cls.packages:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
        return found


def beside(model: Path, suffix: str) -> Path:
    """The file that was converted from ``model``; where that failed, its reason as an error."""
    failed = model.with_suffix(suffix + ".failed")
    if failed.exists():
        raise UnavailableError(failed.read_text())
    return model.with_suffix(suffix)


def onnx_session(model: Path, threads: int) -> Any:
    """ONNX Runtime's session of the file that was converted from ``model``, as ``fastlstm bench`` makes it."""
    return onnx.session(str(beside(model, ".onnx")), threads)
