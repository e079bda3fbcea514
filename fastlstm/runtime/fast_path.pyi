from collections.abc import Callable
from typing import Any

import numpy as np

from .guards import Guard
from .runner import Runner

FAST_PATH_AXES: int

class FastPath:
    left: int
    def __init__(
        self,
        runner: Runner,
        shape: tuple[int, ...],
        output_shape: tuple[int, ...],
        vocabulary: int = 0,
        rows: int = 0,
        share: Callable[[Runner, list[np.ndarray[Any, Any]], list[np.ndarray[Any, Any]]], None] | None = None,
        shared: int = ...,
        states: list[np.ndarray[Any, Any]] | None = None,
        guard: Guard | None = None,
    ) -> None: ...
    def __call__(self, x: Any, out: Any = None) -> np.ndarray[Any, Any] | None: ...

class Stepper:
    _fast_path: FastPath | None
    def step(self, x_t: Any, *, rows: Any = None, out: np.ndarray[Any, Any] | None = None) -> Any: ...
