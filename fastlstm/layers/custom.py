"""Layers that fastlstm does not know: the caller's own functions, and the placeholder of those that nobody supplied."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import Problem, UnsupportedError
from ..spec import LayerSpec, Shape
from .base import Context, Layer, States, Tensor, floating


class Custom(Layer):
    """A layer that the caller supplied as a function of NumPy arrays.

    The function gets the input arrays, batch first, and returns an array or a tuple of arrays. If it has parameters named
    ``config`` or ``weights`` it gets the layer's config and arrays from the file too. Its outputs carry no mask.
    """

    def __init__(self, spec: LayerSpec, context: Context, function: Callable[..., Any]):
        super().__init__(replace(spec, config={}), context)
        self.spec, self.config = spec, spec.config
        parameters = inspect.signature(function).parameters
        extras = {"config": dict(spec.config), "weights": spec.weights}
        self._extras = {name: value for name, value in extras.items() if name in parameters}
        self._function = function

    def _call(self, arrays: Sequence[np.ndarray], dtype: Any) -> tuple[np.ndarray, ...]:
        found = self._function(*arrays, **self._extras)
        outputs = found if isinstance(found, (tuple, list)) else (found,)
        return tuple(np.asarray(array, dtype) for array in outputs)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        # Two trials that differ in every unknown size tell which sizes of the outputs are unknown.
        trials = [
            self._call([np.zeros([batch, *(steps if n is None else n for n in shape[1:])], np.float32) for shape in inputs], np.float32)
            for batch, steps in ((1, 3), (2, 5))
        ]
        return tuple(
            (None, *(n if n == other else None for n, other in zip(one.shape[1:], two.shape[1:], strict=True)))
            for one, two in zip(*trials, strict=True)
        )

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        dtype = floating(inputs[0].value).dtype if inputs else np.dtype(np.float32)
        return tuple(Tensor(array) for array in self._call([tensor.value for tensor in inputs], dtype))


class Unknown(Layer):
    """Stands in the graph for a layer that nobody supplied, so that the rest of the file can still be looked at."""

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(replace(spec, config={}), context)
        self.spec, self.config = spec, spec.config
        if spec.class_name == "Lambda":
            self.refuse(
                "its code is stored in the file and is never executed",
                f"supply it as a function of NumPy arrays: custom_layers={{{spec.name!r}: function}}",
            )
        else:
            self.refuse(
                f"layers of class {spec.class_name} are not known",
                f"supply it as a function of NumPy arrays: custom_layers={{{spec.name!r}: function}}",
            )

    def _problem(self) -> UnsupportedError:
        return UnsupportedError(self.source, (Problem(self.path, self.spec.class_name, "layers of this class are not known"),))

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        raise self._problem()

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        raise self._problem()
