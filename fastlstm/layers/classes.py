"""The registry of layers' classes, which imports a family of them when one is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from ..catalogue import ROWS

if TYPE_CHECKING:
    from .base import Layer


class Registry(Mapping[str, "type[Layer]"]):
    """The classes that give meaning to Keras's, by Keras's names; a family is imported when one of its classes is first asked for."""

    def __init__(self) -> None:
        self._defined: dict[str, type[Layer]] = {}

    def enter(self, layer: type[Layer]) -> None:
        """Note a class, as it is defined."""
        for name in layer.CLASSES:
            self._defined[name] = layer

    def __getitem__(self, name: str) -> type[Layer]:
        module = ROWS[name].module
        if not module:
            raise KeyError(name)
        if name not in self._defined:
            import_module(f"{__package__}.{module}")
        return self._defined[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in ROWS and bool(ROWS[name].module)

    def __iter__(self) -> Iterator[str]:
        return (name for name, row in ROWS.items() if row.module)

    def __len__(self) -> int:
        return sum(1 for _ in self)


#: Every class.
REGISTRY = Registry()
