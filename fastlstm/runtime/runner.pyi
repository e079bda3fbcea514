from typing import Any

import numpy as np

from ..program.ir import Program
from .arenas import Arenas
from .call import Watch
from .levels import Engine

def ticks() -> int: ...

class Pace:
    def __init__(self, program: Program) -> None: ...
    def is_shared(self, rows: int, limit: int) -> bool: ...
    def took(self, rows: int, nanoseconds: int, shared: bool) -> None: ...

class Runner:
    program: Program
    engine: Engine
    pace: Pace
    arena_size: int
    def __init__(self, program: Program, level: str | None = None, arenas: Arenas | None = None) -> None: ...
    def run(
        self,
        inputs: list[np.ndarray[Any, Any]],
        outputs: list[np.ndarray[Any, Any]],
        states: list[np.ndarray[Any, Any]],
        first: int = 0,
        last: int = -1,
        watch: Watch | None = None,
    ) -> None: ...
