"""Concatenate: tensors one after another, and their masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..program.ir import At, Builder, Mask, Value
from ..program.masks import joined
from ..spec import LayerSpec, Shape
from .base import Context, States, Tensor, floating
from .merging import Merging


class Concatenate(Merging):
    """Inputs one after the other along an axis."""

    CLASSES = ("Concatenate",)
    HONOURED = frozenset({"axis"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.axis = int(self.config.get("axis", -1))

    def merged_shapes(self, inputs: Sequence[Shape]) -> tuple[Shape, ...]:
        rank = len(inputs[0])
        (axis,) = self.row_axes(self.axis, rank)
        if any(len(shape) != rank for shape in inputs):
            raise self.error(f"inputs of shapes {', '.join(map(str, inputs))} do not go together")
        out: list[int | None] = []
        for place, sizes in enumerate(zip(*inputs, strict=True)):
            known = [size for size in sizes if size is not None]
            if place == axis:
                out.append(sum(known) if len(known) == len(sizes) else None)
            elif len(set(known)) > 1:
                raise self.error(f"inputs of shapes {', '.join(map(str, inputs))} do not go together along axis {self.axis}")
            else:
                out.append(known[0] if known else None)
        return (tuple(out),)

    def causal(self, inputs: Sequence[Shape]) -> bool:
        rank = len(inputs[0])
        return rank > 2 and self.row_axes(self.axis, rank) == (rank - 1,) and len({shape[1] for shape in inputs}) == 1

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        values = [floating(tensor.value) for tensor in inputs]
        return (Tensor(self._joined("arrays", values), self._mask(inputs)),)

    def _joined(self, what: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
        try:
            return np.concatenate(arrays, axis=self.axis)
        except ValueError as error:
            raise self.unlike(what, arrays, f" along axis {self.axis}") from error

    def _mask(self, inputs: Sequence[Tensor]) -> np.ndarray | None:
        if self.rules.merge_mask == "none" or all(tensor.mask is None for tensor in inputs):
            return None
        joined = self._joined("masks", [self._full(tensor) for tensor in inputs])
        united: np.ndarray = np.any(joined, axis=-1) if self.rules.merge_mask == "or" else np.all(joined, axis=-1)
        return united

    def _full(self, tensor: Tensor) -> np.ndarray:
        """The mask of an input as Keras concatenates it."""
        value, mask = tensor
        if mask is None:
            return np.ones(value.shape, bool)
        if mask.ndim >= value.ndim:
            return mask
        mask = mask[..., None]
        if self.rules.merge_mask == "and":
            return mask
        if mask.ndim != value.ndim:
            raise self.error(f"an input of {value.ndim} axes has a mask of {mask.ndim - 1}: Keras cannot run it either")
        return np.broadcast_to(mask, value.shape)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        ranks = {len(value.shape) for value in inputs}
        if len(ranks) > 1:
            return None
        axis = self.axis % (ranks.pop() + 1) - 1
        if len({(*value.shape[:axis], *value.shape[axis + 1 :]) for value in inputs}) > 1:
            return None  # for apply to refuse
        masked = self.rules.merge_mask != "none" and any(value.mask is not None for value in inputs)
        mask = self._joined_mask(b, inputs) if masked else None
        if masked and mask is None:
            return None  # likewise
        outer = math.prod(inputs[0].shape[:axis])
        widths = [math.prod(value.shape[axis:]) for value in inputs]
        total, start = sum(widths), 0
        out = b.buffer(outer * total)
        for value, width in zip(inputs, widths, strict=True):
            b.emit(
                "place",
                steps=outer,
                width=width,
                x=b.read(value),
                x_row=outer * width,
                x_step=width,
                y=At(out, start),
                y_row=outer * total,
                y_step=total,
            )
            start += width
        size = sum(value.shape[axis] for value in inputs)
        return (Value(out, (*inputs[0].shape[:axis], size, *inputs[0].shape[axis + 1 :]), mask),)

    def _joined_mask(self, b: Builder, inputs: Sequence[Value]) -> Mask | None:
        """:meth:`_mask` as kernel calls; None where Keras cannot join the masks, or one has as many axes as its input."""
        given = [len(value.mask.shape) for value in inputs if value.mask is not None]
        axes, most = len(inputs[0].shape), max(given)
        alike = len(set(given)) == 1 and (most == axes - 1 or (self.rules.merge_mask == "and" and len(given) == len(inputs)))
        # Where the masks have fewer axes, the axis is counted among those.
        if most >= axes or not alike or not -most - 1 <= self.axis <= most + 1:
            return None
        return joined(b, self.rules.merge_mask, inputs, self.axis % (most + 2) - 1)
