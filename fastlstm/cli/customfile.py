"""The file that ``--custom`` names: Python of the user's own, which is run because the user asks for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.abc import SourceLoader
from types import ModuleType
from typing import Any

from ..errors import InputError

#: What such a file may define: a dict of functions by name each.
ARGUMENTS = ("custom_layers", "custom_activations")
#: The name of the module that it becomes.
MODULE = "fastlstm_custom"
EXPECTED = f"expected {ARGUMENTS[0]} = {{...}} or {ARGUMENTS[1]} = {{...}}, functions by name as fastlstm.load takes them"


def functions(path: str | None) -> dict[str, Any]:
    """The arguments of ``fastlstm.load`` that a file defines; none if there is no file.

    Parameters
    ----------
    path
        The file. It may import modules that lie beside it.

    Raises
    ------
    InputError
        If it cannot be read, raises something, or defines nothing that is expected of it.
    """
    if path is None:
        return {}
    names = vars(executed(path))
    found = {name: names[name] for name in ARGUMENTS if name in names}
    if not found:
        raise InputError(f"--custom: {path} defines neither {' nor '.join(ARGUMENTS)}; {EXPECTED}")
    for name, given in found.items():
        if not isinstance(given, Mapping):
            raise InputError(f"--custom: {path}: {name} is {type(given).__name__}; {EXPECTED}")
        for key, function in given.items():
            if not isinstance(key, str) or not callable(function):
                raise InputError(f"--custom: {path}: {name} has {function!r:.60} for {key!r:.60}; {EXPECTED}")
    return found


def hinted(reason: str) -> str:
    """A refusal that asks for functions in Python, with how they are given here."""
    if not any(f"{name}={{" in reason for name in ARGUMENTS):
        return reason
    return f"{reason}\nOn the command line: --custom FILE.py, a file of Python that defines them, as custom_layers = {{...}}"


class Loader(SourceLoader):
    """Runs Python that was read, whatever the name of its file, and keeps no compiled copy of it anywhere."""

    def __init__(self, path: str, text: bytes):
        self.path = path
        self.text = text

    def get_filename(self, fullname: str) -> str:
        """See SourceLoader."""
        return self.path

    def get_data(self, path: str | bytes) -> bytes:
        """See SourceLoader."""
        return self.text


def executed(path: str) -> ModuleType:
    """The module of a file, run."""
    try:
        with open(path, "rb") as file:
            loader = Loader(path, file.read())
    except OSError as error:
        raise InputError(f"--custom: {path} cannot be read ({error.strerror})") from error
    module = ModuleType(MODULE)
    module.__file__ = path
    folder = os.path.dirname(os.path.abspath(path))
    if folder not in sys.path:
        sys.path.append(folder)
    sys.modules[MODULE] = module  # where classes and pickles look for it
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise InputError(f"--custom: {path} raised {type(error).__name__}: {error}{line_of(error, path)}") from error
    return module


def line_of(error: BaseException, path: str) -> str:
    """The line of a file in which an error came up, in words; nothing where the error says so itself."""
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f" (line {lines[-1]})" if lines else ""
