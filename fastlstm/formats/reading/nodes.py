"""The uses of layers in a functional model's graph, as its config names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...spec import Fixed


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
    inputs: list[Tensor | Fixed] = field(default_factory=list)
    keywords: dict[str, Any] = field(default_factory=dict)
    others: list[Any] = field(default_factory=list)  # positional arguments that are not tensors: numbers, slices, ...
    keys: list[str] = field(default_factory=list)  # names of the inputs, where they were passed as a dict
    dtype: str = ""  # of the first tensor that it is called with, where the file tells
    args: list[Any] = field(default_factory=list)  # positional arguments as they are nested: operations tell them by their places

    def take(self, argument: Any) -> None:
        """Add a positional argument: tensors to the inputs, anything else to the others."""
        self.args.append(argument)
        if isinstance(argument, Mapping) and "class_name" not in argument:
            self.keys = list(argument)
        for leaf in leaves_in(argument):
            (self.inputs if isinstance(leaf, (Tensor, Fixed)) else self.others).append(leaf)

    def tensors(self) -> Iterator[Tensor]:
        """The outputs of other layers that it depends on."""
        yield from tensors_in(self.inputs)
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


def leaves_in(value: Any) -> Iterator[Any]:
    """The leaves of nested call arguments: tensors, numbers, texts, and objects that have a class. Any depth will do."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping) and "class_name" not in value:
            stack.extend(reversed(list(value.values())))
        elif isinstance(value, list):
            stack.extend(reversed(value))
        else:
            yield value


def fixed(values: Any, dtype: str | None = None) -> Fixed:
    """The tensor of nested lists of numbers. Keras 3 records its dtype; earlier only the values tell.

    Raises
    ------
    ValueError
        If they are not numbers, or of unequal lengths.
    """
    if any(isinstance(leaf, str) for leaf in leaves_in(values)):  # NumPy would pad all texts to the longest
        raise ValueError("expected numbers, found text")
    array = np.asarray(values)
    if not array.ndim or not array.size:
        raise ValueError(f"expected a tensor with a batch of values, found shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"expected numbers, found dtype {array.dtype}")
    if dtype == "bool" or array.dtype == bool:
        return Fixed(array.astype(bool))
    with np.errstate(over="ignore"):  # what float32 cannot hold stays float64
        narrow, wide = array.astype(np.float32), array.astype(np.float64)
    return Fixed(narrow if np.array_equal(narrow, wide, equal_nan=True) else wide)


def axes_of_lists(value: Any) -> int:
    """The depth of nested lists of numbers, judged by their first elements."""
    axes = 0
    while isinstance(value, list) and value:
        value, axes = value[0], axes + 1
    return axes


def with_fixed(value: Any, axes: int) -> Any:
    """A call argument in which lists of numbers, nested to this depth, have become tensors.

    Raises
    ------
    ValueError
        If it holds anything else that is not a tensor.
    """
    if isinstance(value, (Tensor, Fixed)):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError(f"expected a tensor, found {value!r:.60}")
    if any(isinstance(leaf, (Tensor, Fixed)) for leaf in leaves_in(value)) or axes_of_lists(value) > axes:
        return [with_fixed(inner, axes) for inner in value]
    if axes_of_lists(value) < axes:
        raise ValueError(f"expected numbers along {axes} axes, found {axes_of_lists(value)}")
    return fixed(value)
