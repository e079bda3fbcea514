"""Compiled execution of Programs: the names that other rooms use. In its modules, each of which may know those above it, stand

========= ========================================================================
arenas    scratch memory, shared by the calls of a Model
call      one running call: interruptions, tiny numbers, threads that meet
guards    which thread may use what a call changes
levels    the kernels of each CPU level, and the choice among them
encoding  a Program as the runner reads it
runner    a Program made ready: calls kernel after kernel, block by block; how long that takes, alone and shared
fast_path one array in, one array out, without Python in between
team      several threads that compute the kernels of one call together
threads   the threads that a Model keeps to share its calls with
========= ========================================================================
"""

from __future__ import annotations

try:
    from .arenas import IDLE_BYTES, Arenas
    from .call import Watch
    from .fast_path import FAST_PATH_AXES, FastPath, Stepper
    from .guards import Guard, Turns, replace
    from .levels import Engine, amx_refused, available_levels, engine, kernel_fields, lanes, level
    from .runner import Runner
    from .threads import Workers
except ModuleNotFoundError as error:
    if not (error.name or "").startswith(f"{__name__}."):
        raise
    raise ImportError(
        f"{error.name} is missing: {__file__} belongs to sources of fastlstm that are not built. Start Python in another folder, where it "
        "finds the fastlstm that is installed; or build these in place: pip install -e ."
    ) from error

__all__ = [
    "FAST_PATH_AXES",
    "IDLE_BYTES",
    "Arenas",
    "Engine",
    "FastPath",
    "Guard",
    "Runner",
    "Stepper",
    "Turns",
    "Watch",
    "Workers",
    "amx_refused",
    "available_levels",
    "engine",
    "kernel_fields",
    "lanes",
    "level",
    "replace",
]
