from typing import Any

import numpy as np

from .program import Program

class Engine:
    level: str
    lanes: int
    fields: dict[str, tuple[str, ...]]

class Runner:
    program: Program
    engine: Engine
    arena_size: int
    def __init__(self, program: Program, level: str | None = None) -> None: ...
    def run(
        self, inputs: list[np.ndarray[Any, Any]], outputs: list[np.ndarray[Any, Any]], states: list[np.ndarray[Any, Any]],
        first: int = 0, last: int = -1,
    ) -> None: ...  # fmt: skip

def available_levels() -> tuple[str, ...]: ...
def engine(level: str | None = None) -> Engine: ...
def level() -> str: ...
def lanes() -> int: ...
def kernel_fields() -> dict[str, tuple[str, ...]]: ...
