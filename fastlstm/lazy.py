"""Imports that wait until something in a module is asked for, so that a process loads no more than it uses.

There are two forms. The tests on floors and circles read both as the imports that they are:

- ``selftest = module("fastlstm.selftest")`` stands for a module. Type checkers read the plain import that stands above it, under
  ``TYPE_CHECKING``.
- ``__getattr__, __dir__ = names(__name__, {"api": ("convert", "describe")})`` gives a package names from its modules (PEP 562).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

#: The modules that something stands for.
STOOD_FOR: list[str] = []


class Module:
    """Stands for a module, which is imported once something in it is asked for."""

    def __init__(self, name: str):
        self.__name__ = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # copy and pickle ask for such names before there is a __name__
            raise AttributeError(f"{type(self).__name__} has no attribute {attribute!r}")
        return getattr(import_module(self.__name__), attribute)

    def __repr__(self) -> str:
        return f"<{self.__name__}, when it is needed>"


def module(name: str) -> Any:
    """A module by its full name."""
    STOOD_FOR.append(name)
    return Module(name)


def load_all() -> None:
    """Import all that waits: for a process that is about to lose the right to open files."""
    while STOOD_FOR:
        import_module(STOOD_FOR.pop())


def names(package: str, where: Mapping[str, tuple[str, ...]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package, by whose modules its names are defined; its modules can be asked for too.

    Parameters
    ----------
    package
        Its full name.
    where
        By module, the names that the package has from it.
    """
    found = {name: defining for defining, names in where.items() for name in names}

    def get(name: str) -> Any:
        if name.startswith("_") or not name.isidentifier():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if name in found:
            value = getattr(import_module(f"{package}.{found[name]}"), name)
            setattr(sys.modules[package], name, value)  # so that it is looked for once
            return value
        try:
            return import_module(f"{package}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{package}.{name}":
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None

    def listed() -> list[str]:
        return sorted(sys.modules[package].__all__)

    return get, listed
