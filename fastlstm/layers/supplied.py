"""A function of the caller's: what it is asked, and what it is held to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .. import activations
from ..errors import InputError, SuppliedError
from ..support import Support, support_of, takes


@dataclass(frozen=True)
class Supplied:
    """A function of the caller's that stands for a layer or an activation.

    Attributes
    ----------
    function
        The function.
    argument, name
        The argument that it was given as, and the caller's name for it there: "custom_layers", "Attention2".
    outputs
        How many outputs the model makes use of.
    tensors
        Call arguments of the layer that are tensors: the function must take them.
    """

    function: Callable[..., Any]
    argument: str
    name: str
    outputs: int = 1
    tensors: frozenset[str] = frozenset()
    seen: set[str] = field(default_factory=set, compare=False)  # layers where it was seen to compute each row by itself
    # By layer: whether it was seen to compute each timestep by itself, as an activation.
    steps_seen: dict[str, bool] = field(default_factory=dict, compare=False)
    # By layer: the sizes of the states, and of the output, that it was seen to have as a cell.
    sizes_seen: dict[str, tuple[int, ...]] = field(default_factory=dict, compare=False)

    @property
    def said(self) -> str:
        """How the caller named it: ``custom_layers['Attention2']``."""
        return f"{self.argument}[{self.name!r}]"

    @cached_property
    def support(self) -> Support:
        """What it says of itself."""
        return support_of(self.function)

    def sizes(self, layer: str, find: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
        """What ``find`` found of its sizes, looked for once for each layer."""
        if layer not in self.sizes_seen:
            self.sizes_seen[layer] = find()
        return self.sizes_seen[layer]

    def takes(self, name: str) -> bool:
        """Whether the function has a parameter of this name."""
        return takes(self.function, name)

    def is_stepwise(self, layer: str) -> bool:
        """Does it, as an activation of a layer, compute each place by itself, along all axes but the last, as far as it was seen to?"""
        return self.steps_seen.get(layer, True)

    def error(self, layer: str, what: str) -> SuppliedError:
        """An error that names the layer and the function."""
        name = getattr(self.function, "__qualname__", None) or repr(self.function)
        return SuppliedError(f"{layer}: {self.said}, the function {name}, {what}")

    def call(self, layer: str, arrays: Sequence[np.ndarray], extras: Mapping[str, Any], dtype: Any) -> tuple[np.ndarray, ...]:
        """The function's outputs for some arrays, in a dtype."""
        return self.arrays(layer, self.returned(layer, arrays, extras), dtype)

    def returned(self, layer: str, given: Sequence[Any], extras: Mapping[str, Any], function: Callable[..., Any] | None = None) -> Any:
        """What the function returns, or another that belongs to it, for some arrays and lists of arrays.

        It gets copies, so that nothing that it changes in place touches other data.

        Raises
        ------
        InputError
            If it raises something.
        """
        try:
            with np.errstate(all="ignore"):  # NaN and infinities are data
                return (function or self.function)(*map(copied, given), **deepcopy_but(extras, "weights"))
        except Exception as error:
            shapes = ", ".join(map(told, given))
            raise self.error(layer, f"was called with {shapes} and raised {type(error).__name__}: {error}") from error

    def arrays(self, layer: str, found: Any, dtype: Any) -> tuple[np.ndarray, ...]:
        """What it returned, one array or several, in a dtype: copies, so that nothing that it keeps or gives again touches other data.

        Raises
        ------
        InputError
            If it is anything but arrays of numbers.
        """
        outputs = found if isinstance(found, (tuple, list)) else (found,)
        return tuple(self._array(layer, output, dtype) for output in outputs)

    def _array(self, layer: str, output: Any, dtype: Any) -> np.ndarray:
        try:
            array = np.asarray(output)
        except ValueError as error:
            raise self.error(layer, f"returned {type(output).__name__} that is no array ({error}); expected arrays") from error
        if array.dtype.kind not in "fiub":
            what = "None" if output is None else f"{type(output).__name__} of dtype {array.dtype}"
            raise self.error(layer, f"returned {what}; expected arrays of real numbers")
        with np.errstate(all="ignore"):
            return np.array(array, dtype)

    def activation(self, layer: str, value: Any, x: np.ndarray) -> np.ndarray:
        """The function's output as the activation of this canonical value; how it treats timesteps is noted."""
        if not len(x):  # not every function can do without any
            return np.zeros((*x.shape[:-1], activations.output_features(value, x.shape[-1])), x.dtype)
        y = self._activated(layer, value, x)
        if x.ndim > 2 and layer not in self.steps_seen and x.size and not np.all(x == x.flat[0]):
            try:
                apart = self._activated(layer, value, x.reshape(-1, x.shape[-1]))
            except InputError:
                apart = y[:0]
            self.steps_seen[layer] = agree(y.reshape(-1, y.shape[-1]), apart)
        return y

    def _activated(self, layer: str, value: Any, x: np.ndarray) -> np.ndarray:
        extras = {"config": parameters(value)} if self.takes("config") else {}
        outputs = self.call(layer, [x], extras, x.dtype)
        expected = (*x.shape[:-1], activations.output_features(value, x.shape[-1]))
        if len(outputs) != 1 or outputs[0].shape != expected:
            shapes = " and ".join(str(output.shape) for output in outputs) or "nothing"
            raise self.error(layer, f"was called with {x.shape} and returned {shapes}; expected one array of shape {expected}")
        self.check_rows(layer, [x], outputs, lambda row: self.call(layer, [x[row]], extras, x.dtype))
        return outputs[0]

    def check_rows(
        self, layer: str, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray], again: Callable[[slice], Sequence[np.ndarray]]
    ) -> None:
        """Refuse a function that computes a row from others, once for each layer: Keras's batches are not ours.

        ``again`` computes some of the rows.
        """
        if layer in self.seen or not arrays or len(arrays[0]) < 2 or all(np.array_equal(array[0], array[1]) for array in arrays):
            return
        for row in (slice(0, 1), slice(1, 2)):
            if not all(agree(output[row], alone) for output, alone in zip(outputs, again(row), strict=True)):
                raise self.error(layer, "gives a row other numbers alone than among others; expected every row to be computed by itself")
        self.seen.add(layer)

    def check_steps(
        self, layer: str, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray], apart: Callable[[], Sequence[np.ndarray]]
    ) -> None:
        """Refuse a function that says streaming and is not, once for each layer. ``apart`` computes the timesteps one after the other."""
        if layer in self.steps_seen or all(np.array_equal(array[:, 0], array[:, 1]) for array in arrays):
            return
        if not all(map(agree, outputs, apart())):
            raise self.error(layer, "says streaming, and gives other numbers timestep by timestep than for a whole sequence")
        self.steps_seen[layer] = True


def agree(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether arrays are the same but for rounding."""
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True)


def deepcopy_but(extras: Mapping[str, Any], kept: str) -> dict[str, Any]:
    """Call arguments copied, but the one that is read-only already."""
    return {name: value if name == kept else deepcopy(value) for name, value in extras.items()}


def copied(given: Any) -> Any:
    """A copy of an array, or of each in a list of them; a shape is given as it is."""
    return [np.array(one) for one in given] if isinstance(given, list) else np.array(given) if isinstance(given, np.ndarray) else given


def told(given: Any) -> str:
    """The shape of an array, or those of a list of them."""
    return str([one.shape for one in given] if isinstance(given, list) else given.shape if isinstance(given, np.ndarray) else given)


def parameters(activation: Any) -> dict[str, Any]:
    """The parameters of a canonical activation."""
    if not isinstance(activation, Mapping):
        return {}
    config = activation.get("config")  # of a user's own
    return dict(config) if isinstance(config, Mapping) else {key: value for key, value in activation.items() if key != "name"}
