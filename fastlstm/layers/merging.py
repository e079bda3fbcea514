"""Layers that make one tensor of several, and what becomes of their masks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from ..program import At, Builder, Value
from ..spec import LayerSpec, Shape
from .base import Context, Layer, States, Tensor, floating
from .lowering import OPS, merged, merged_masks


def aligned_shape(shape: Shape, rank: int) -> Shape:
    """A shape of lower rank, with axes of size 1 behind the batch: Keras's rule, not NumPy's."""
    return (shape[0], *((1,) * (rank - len(shape))), *shape[1:])


def aligned(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Arrays made of one rank by the same rule."""
    rank = max(array.ndim for array in arrays)
    return [array.reshape(array.shape[0], *((1,) * (rank - array.ndim)), *array.shape[1:]) for array in arrays]


class ElementWise(Layer):
    """What the element-wise merges share."""

    #: With how many inputs it is defined; None: any number from two.
    count: int | None = None
    #: The kernel "merge"'s number of the operation; None: it has none.
    op: int | None = None
    #: Whether masks, where they are united, change the values too.
    masks_count: bool = False

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Two operands of broadcastable shapes."""
        raise NotImplementedError

    def check_count(self, inputs: Sequence[Any]) -> None:
        if len(inputs) < 2 or (self.count is not None and len(inputs) != self.count):
            raise self.fault(f"expected {self.count or 'two or more'} inputs, found {len(inputs)}")

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        self.check_count(inputs)
        rank = max(len(shape) for shape in inputs)
        out: list[int | None] = []
        for sizes in zip(*(aligned_shape(shape, rank) for shape in inputs), strict=True):
            known = {size for size in sizes if size is not None and size != 1}
            if len(known) > 1:
                raise self.fault(f"inputs of shapes {', '.join(map(str, inputs))} do not go together")
            out.append(known.pop() if known else None if None in sizes else 1)
        return (tuple(out),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        value = reduce(self.combine, aligned([floating(tensor.value) for tensor in inputs]))
        return (Tensor(value, merged_mask(inputs, self.rules.merge_mask)),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        if self.op is None or len({value.shape for value in inputs}) > 1:
            return None
        masks = [value.mask for value in inputs if value.mask is not None]
        mask = None
        if masks and self.rules.merge_mask == "or":
            if self.masks_count or len(masks) < len(inputs) or len({mask.shape for mask in masks}) > 1:
                return None
            mask = merged_masks(b, 1, masks)
        elif masks and self.rules.merge_mask == "and":
            if len({mask.shape for mask in masks}) > 1:
                return None
            mask = merged_masks(b, 0, masks)
        return (merged(b, self.op, inputs, self.scale(len(inputs)))._replace(mask=mask),)

    def scale(self, count: int) -> float:
        """What the combination of so many inputs is multiplied by."""
        return 1.0


def merged_mask(inputs: Sequence[Tensor], rule: str) -> np.ndarray | None:
    """Mask of an element-wise merge."""
    masks = [tensor.mask for tensor in inputs if tensor.mask is not None]
    if rule == "none" or not masks:
        return None
    if rule == "or":
        return reduce(np.logical_or, masks) if len(masks) == len(inputs) else None
    return reduce(np.logical_and, masks)


class Add(ElementWise):
    CLASSES = ("Add",)
    op = OPS["add"]

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b


class Subtract(ElementWise):
    CLASSES = ("Subtract",)
    op = OPS["subtract"]
    count = 2

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a - b


class Extreme(ElementWise):
    """What the largest and the smallest of several inputs share."""

    masks_count = True

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        if self.rules.merge_mask != "or" or all(tensor.mask is None for tensor in inputs):
            return super().apply(inputs, keywords, states)
        # Where masks are united, an input does not count at its masked steps; the first one stands at steps that all inputs mask.
        (out, *values), (counted, *masks) = aligned([floating(t.value) for t in inputs]), aligned([expanded(t) for t in inputs])
        for value, mask in zip(values, masks, strict=True):
            value = np.where(mask, value, out)
            out, counted = self.combine(np.where(counted, out, value), value), counted | mask
        return (Tensor(out, merged_mask(inputs, self.rules.merge_mask)),)


class Maximum(Extreme):
    CLASSES = ("Maximum",)
    op = OPS["maximum"]

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.maximum(a, b)


class Minimum(Extreme):
    CLASSES = ("Minimum",)
    op = OPS["minimum"]

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.minimum(a, b)


class Average(Add):
    CLASSES = ("Average",)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        (total,) = super().apply(inputs, keywords, states)
        return (Tensor(total.value / len(inputs), total.mask),)

    def scale(self, count: int) -> float:
        return 1.0 / count


class Multiply(ElementWise):
    CLASSES = ("Multiply",)
    op = OPS["multiply"]
    masks_count = True

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * b

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        if self.rules.merge_mask != "or" or all(tensor.mask is None for tensor in inputs):
            return super().apply(inputs, keywords, states)
        # Where masks are united, a factor counts as 1 at its masked steps, and steps that all inputs mask give 0.
        factors = [
            tensor if tensor.mask is None else tensor._replace(value=np.where(expanded(tensor), floating(tensor.value), 1))
            for tensor in inputs
        ]
        ((value, mask),) = super().apply(factors, keywords, states)
        if mask is not None:
            value = np.where(expanded(Tensor(value, mask)), value, value.dtype.type(0))
        return (Tensor(value, mask),)


def expanded(tensor: Tensor) -> np.ndarray:
    """The mask of a tensor, all True if it has none, with as many axes as its value has."""
    if tensor.mask is None:
        return np.ones((1,) * tensor.value.ndim, bool)
    return tensor.mask.reshape(*tensor.mask.shape, *((1,) * (tensor.value.ndim - tensor.mask.ndim)))


class Concatenate(Layer):
    """Inputs one after the other along an axis."""

    CLASSES = ("Concatenate",)
    HONOURED = frozenset({"axis"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.axis = int(self.config.get("axis", -1))

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        rank = len(inputs[0])
        axis = self.axis % rank
        if any(len(shape) != rank for shape in inputs):
            raise self.fault(f"inputs of shapes {', '.join(map(str, inputs))} do not go together")
        out: list[int | None] = []
        for place, sizes in enumerate(zip(*inputs, strict=True)):
            known = [size for size in sizes if size is not None]
            if place == axis:
                out.append(sum(known) if len(known) == len(sizes) else None)
            elif len(set(known)) > 1:
                raise self.fault(f"inputs of shapes {', '.join(map(str, inputs))} do not go together along axis {self.axis}")
            else:
                out.append(known[0] if known else None)
        return (tuple(out),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        value = np.concatenate([floating(tensor.value) for tensor in inputs], axis=self.axis)
        return (Tensor(value, self._mask(inputs)),)

    def _mask(self, inputs: Sequence[Tensor]) -> np.ndarray | None:
        if self.rules.merge_mask == "none" or all(tensor.mask is None for tensor in inputs):
            return None
        full = [np.broadcast_to(expanded(tensor), tensor.value.shape) for tensor in inputs]
        joined = np.concatenate(full, axis=self.axis)
        united: np.ndarray = np.any(joined, axis=-1) if self.rules.merge_mask == "or" else np.all(joined, axis=-1)
        return united

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        ranks = {len(value.shape) for value in inputs}
        if len(ranks) > 1 or any(value.mask is not None for value in inputs):
            return None
        axis = self.axis % (ranks.pop() + 1) - 1
        outer = math.prod(inputs[0].shape[:axis])
        widths = [math.prod(value.shape[axis:]) for value in inputs]
        total, start = sum(widths), 0
        out = b.buffer(outer * total)
        for value, width in zip(inputs, widths, strict=True):
            b.emit(
                "place", steps=outer, width=width, x=b.read(value), x_row=outer * width, x_step=width,
                y=At(out, start), y_row=outer * total, y_step=total,
            )  # fmt: skip
            start += width
        joined = sum(value.shape[axis] for value in inputs)
        return (Value(out, (*inputs[0].shape[:axis], joined, *inputs[0].shape[axis + 1 :])),)


class Dot(Layer):
    """Sums of products along one axis of each of two inputs; with ``normalize`` cosines."""

    CLASSES = ("Dot",)
    HONOURED = frozenset({"axes", "normalize"})

    def _axes(self, ranks: Sequence[int]) -> tuple[int, int]:
        axes = self.config["axes"]
        pair = (axes, axes) if isinstance(axes, int) else tuple(axes)
        if len(ranks) != 2 or len(pair) != 2:
            raise self.fault(f"expected two inputs and two axes, found {len(ranks)} and axes {axes}")
        first, second = (axis + rank if axis < 0 else axis for axis, rank in zip(pair, ranks, strict=True))
        if not (0 < first < ranks[0] and 0 < second < ranks[1]):
            raise self.fault(f"axes {axes} do not fit inputs of {ranks[0]} and {ranks[1]} axes")
        return first, second

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        one, two = self._axes([len(shape) for shape in inputs])
        a, b = inputs
        if a[one] is not None and b[two] is not None and a[one] != b[two]:
            raise self.fault(f"inputs of shapes {a} and {b} do not go together along axes {one} and {two}")
        out = (*a[:one], *a[one + 1 :], *b[1:two], *b[two + 1 :])
        return (out if len(out) > 1 else (*out, 1),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        a, b = (floating(tensor.value) for tensor in inputs)
        one, two = self._axes([a.ndim, b.ndim])
        if self.config.get("normalize", False):
            a, b = unit_length(a, one), unit_length(b, two)
        return (Tensor(dot(a, b, one, two)),)


class Cosine(Dot):
    """What Merge(mode="cos") of Keras 1 computes: a b / sqrt((a a) (b b)), each product a Dot, and an axis more."""

    CLASSES = ("MergeCosine",)
    HONOURED = frozenset({"axes"})

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        ((batch, *others),) = super().shapes(inputs, keywords)
        return ((batch, 1, *others),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        a, b = (floating(tensor.value) for tensor in inputs)
        axes = self._axes([a.ndim, b.ndim])
        lengths = np.sqrt(dot(a, a, *axes) * dot(b, b, *axes))
        return (Tensor((dot(a, b, *axes) / np.maximum(lengths, a.dtype.type(1e-7)))[:, None]),)


def dot(a: np.ndarray, b: np.ndarray, one: int, two: int) -> np.ndarray:
    """Sums of products along axis ``one`` of a and ``two`` of b, row by row; (batch, 1) where no other axis is left."""
    left = list(range(a.ndim))
    right = [0, *range(a.ndim, a.ndim + b.ndim - 1)]
    right[two] = one
    out = [n for n in left if n != one] + [n for n in right[1:] if n != one]
    value: np.ndarray = np.einsum(a, left, b, right, out)
    return value if value.ndim > 1 else value[:, None]


def unit_length(x: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """x divided by its length along an axis, as TensorFlow's l2_normalize."""
    return x / np.sqrt(np.maximum(np.sum(x * x, axis=axis, keepdims=True), x.dtype.type(1e-12)))
