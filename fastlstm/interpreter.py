"""Refuses, when it is imported, the Pythons that fastlstm would crash in: before anything else is loaded."""

from __future__ import annotations

import importlib
import sys

#: What tells a subinterpreter from the main one: in Python 3.13 and later, and before.
MODULES = ("_interpreters", "_xxsubinterpreters")


def is_subinterpreter() -> bool:
    """Is this any but the main interpreter of the process?"""
    for name in MODULES:
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        return bool(interpreters.get_current() != interpreters.get_main())
    return False


def has_gil() -> bool:
    """Does one thread at a time run Python code?"""
    return getattr(sys, "_is_gil_enabled", lambda: True)()


def check(subinterpreter: bool, gil: bool) -> None:
    """Say why an interpreter is not supported.

    Raises
    ------
    ImportError
        If it is a subinterpreter, or runs without its global lock.
    """
    if subinterpreter:
        raise ImportError(
            "fastlstm runs in the main interpreter of a process only: NumPy and its own runtime keep state for the whole process. "
            "Import it there, or use processes instead of subinterpreters (mod_wsgi: WSGIApplicationGroup %{GLOBAL})"
        )
    if not gil:
        raise ImportError(
            "fastlstm relies on Python's global interpreter lock, which this process runs without. Start Python with -X gil=1 or "
            "PYTHON_GIL=1 (kernels run side by side in many threads all the same), or use a build of Python that has the lock"
        )


check(is_subinterpreter(), has_gil())
