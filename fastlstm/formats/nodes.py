"""The uses of layers in a functional model's graph, as its config names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Tensor(NamedTuple):
    """A tensor as the config names it."""

    layer: str
    node: int
    output: int


@dataclass
class Node:
    """One use of a layer, its tensors still by name."""

    layer: int
    number: int
    inputs: list[Tensor] = field(default_factory=list)
    keywords: dict[str, Any] = field(default_factory=dict)
    constants: list[Any] = field(default_factory=list)  # positional arguments that are no tensors
    keys: list[str] = field(default_factory=list)  # names of the inputs, where they were passed as a dict

    def tensors(self) -> Iterator[Tensor]:
        """All tensors that it depends on."""
        yield from self.inputs
        yield from tensors_in(self.keywords)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors among call arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from tensors_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from tensors_in(inner)


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Call arguments with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(inner, change) for key, inner in value.items()}
    return [mapped(inner, change) for inner in value] if isinstance(value, list) else value
