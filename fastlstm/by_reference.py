"""Functions of the caller's on their way into a pickle, which holds no code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .errors import InputError

T = TypeVar("T")


class ByReference:
    """Functions of the caller's on their way into a pickle, which holds no code: it says where they are imported from."""

    def __init__(self, argument: str, functions: Mapping[str, Callable[..., Any]]):
        self.argument = argument
        self.functions = functions

    def __reduce__(self) -> Any:
        for name, function in self.functions.items():
            found = getattr(function, "__qualname__", "")
            if "<" in found:  # <lambda>, or in another function's <locals>
                wanted = "a function that a pickle can refer to, defined by def at the top of a module"
                raise InputError(f"{self.argument}[{name!r}]: expected {wanted}, found {found}")
        return type(self), (self.argument, dict(self.functions))

    def __deepcopy__(self, memo: dict[int, Any]) -> ByReference:
        return self


def of(argument: str, functions: Mapping[str, Callable[..., Any]] | None) -> ByReference | None:
    """An argument of functions as pickles have it."""
    return None if not functions else ByReference(argument, functions)


def rebuilt(base: type[T], kind: type[T], spec: Any, options: dict[str, Any], states: dict[str, Any]) -> T:
    """A new object of a class, for ``copy`` and ``pickle``, made as its base is: a subclass's ``__init__`` may ask for other arguments."""
    given = {name: one.functions if isinstance(one, ByReference) else one for name, one in options.items()}
    made = base.__new__(kind)
    base.__init__(made, spec, states=states, **given)  # type: ignore[call-arg, misc]
    return made
