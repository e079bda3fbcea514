from typing import Any

import numpy as np

from .program.ir import Program

ENTRY_AXES: int

class Engine:
    level: str
    lanes: int
    fields: dict[str, tuple[str, ...]]

class Arenas:
    limit: int
    idle_bytes: int
    def __init__(self, limit: int = ...) -> None: ...

class Watch:
    def stop(self) -> None: ...

class Runner:
    program: Program
    engine: Engine
    arena_size: int
    def __init__(self, program: Program, level: str | None = None, arenas: Arenas | None = None) -> None: ...
    def run(
        self, inputs: list[np.ndarray[Any, Any]], outputs: list[np.ndarray[Any, Any]], states: list[np.ndarray[Any, Any]],
        first: int = 0, last: int = -1, watch: Watch | None = None,
    ) -> None: ...  # fmt: skip

class Crew(Watch):
    def __init__(
        self, runner: Runner, inputs: list[np.ndarray[Any, Any]], outputs: list[np.ndarray[Any, Any]],
        states: list[np.ndarray[Any, Any]], members: int,
    ) -> None: ...  # fmt: skip
    def work(self, member: int) -> None: ...

class Anew:
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...

class Guard:
    anew: Anew
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...

class Turns:
    def __init__(self, what: str) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...

def replace(arrays: list[np.ndarray[Any, Any]], values: list[Any], where: Any = ...) -> None: ...

class Entry:
    def __init__(
        self, runner: Runner, shape: tuple[int, ...], output_shape: tuple[int, ...], vocabulary: int = 0, rows: int = 0,
        most_rows: int = ..., states: list[np.ndarray[Any, Any]] | None = None, guard: Guard | None = None,
    ) -> None: ...  # fmt: skip
    def __call__(self, x: Any, out: Any = None) -> np.ndarray[Any, Any] | None: ...

class Stepper:
    _entry: Entry | None
    def step(self, x_t: Any, *, rows: Any = None, out: np.ndarray[Any, Any] | None = None) -> Any: ...

def available_levels() -> tuple[str, ...]: ...
def engine(level: str | None = None) -> Engine: ...
def level() -> str: ...
def lanes() -> int: ...
def kernel_fields() -> dict[str, tuple[str, ...]]: ...
