"""Layers that make one tensor of several, and what becomes of their masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from ..errors import FastLSTMError, InputError
from ..program.arithmetic import binary, contracted, floats, reduced, selected, unary
from ..program.copying import reshaped
from ..program.ir import Builder, Value
from ..program.lowering import merged
from ..program.masks import column, united
from ..spec import Shape
from .base import Flow, Layer, States, Tensor, floating

#: Why merges of sequences with other tensors cannot run in a stream.
UNLIKE_FLOWS = "it merges a sequence of timesteps with a tensor that is none, which is not computed step by step here"


def aligned_shape(shape: Shape, rank: int) -> Shape:
    """A shape of lower rank, with axes of size 1 after the batch: Keras's rule, not NumPy's."""
    return (shape[0], *((1,) * (rank - len(shape))), *shape[1:])


def aligned(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Arrays made of one rank by the same rule."""
    rank = max(array.ndim for array in arrays)
    return [array.reshape(array.shape[0], *((1,) * (rank - array.ndim)), *array.shape[1:]) for array in arrays]


class Merging(Layer):
    """The base of layers of several inputs: they say that these do not go together."""

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        return self.merged_shapes(inputs)

    def obstacle(self, inputs: Sequence[Flow]) -> str:
        return super().obstacle(inputs) if all(given.steps for given in inputs) else UNLIKE_FLOWS

    def merged_shapes(self, inputs: Sequence[Shape]) -> tuple[Shape, ...]:
        """Output shapes for input shapes."""
        raise NotImplementedError

    def unlike(self, what: str, arrays: Sequence[np.ndarray], how: str = "") -> FastLSTMError:
        """The error for arrays that do not go together: the caller's where the file leaves sizes open, else the file's."""
        shapes = (f"(batch, {', '.join(map(str, array.shape[1:]))})" for array in arrays)
        found = f"{what} of shapes {', '.join(shapes)}"
        if any(None in shape[1:] for shape in self.context.declared(self)):
            return InputError(f"x: expected inputs that layer {self.path!r} ({self.spec.class_name}) can merge{how}, found {found}")
        return self.error(f"{found} do not go together{how}")


class ElementWise(Merging):
    """The base of merges place by place."""

    #: With how many inputs it is defined; None: any number from two.
    count: int | None = None
    #: The operation by which kernels compute it; see contracts.MERGE_OPS.
    op: str
    #: Whether masks, where they are united, change the values too.
    masks_count: bool = False

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Two operands of broadcastable shapes."""
        raise NotImplementedError

    def causal(self, inputs: Sequence[Shape]) -> bool:
        return len({len(shape) for shape in inputs}) == len({shape[1] for shape in inputs}) == 1

    def causal_beside(self, inputs: Sequence[Flow]) -> bool:
        """See base.Layer: what is held must be the same for all timesteps, one of which it is repeated for."""
        steps = [given.shape for given in inputs if given.steps]
        rank = max(len(given.shape) for given in inputs)
        held = [aligned_shape(given.shape, rank) for given in inputs if not given.steps]
        return {len(shape) for shape in steps} == {rank} and self.causal(steps) and all(shape[1] == 1 for shape in held)

    def check_count(self, inputs: Sequence[Any]) -> None:
        if len(inputs) < 2 or (self.count is not None and len(inputs) != self.count):
            raise self.error(f"expected {self.count or 'two or more'} inputs, found {len(inputs)}")

    def merged_shapes(self, inputs: Sequence[Shape]) -> tuple[Shape, ...]:
        self.check_count(inputs)
        rank = max(len(shape) for shape in inputs)
        out: list[int | None] = []
        for sizes in zip(*(aligned_shape(shape, rank) for shape in inputs), strict=True):
            known = {size for size in sizes if size is not None and size != 1}
            if len(known) > 1:
                raise self.error(f"inputs of shapes {', '.join(map(str, inputs))} do not go together")
            out.append(known.pop() if known else None if None in sizes else 1)
        return (tuple(out),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        self.check_sizes(inputs)
        value = reduce(self.combine, aligned([floating(tensor.value) for tensor in inputs]))
        return (Tensor(value, self.merged_mask(inputs)),)

    def check_sizes(self, inputs: Sequence[Tensor]) -> None:
        """Refuse arrays that do not broadcast."""
        values = [tensor.value for tensor in inputs]
        if not broadcast(array.shape for array in aligned(values)):
            raise self.unlike("arrays", values)

    def merged_mask(self, inputs: Sequence[Tensor]) -> np.ndarray | None:
        """Mask of the output."""
        masks = [tensor.mask for tensor in inputs if tensor.mask is not None]
        rule = self.rules.merge_mask
        if rule == "none" or not masks or (rule == "or" and len(masks) < len(inputs)):
            return None
        if len({mask.ndim for mask in masks}) > 1:
            counts = ", ".join(str(mask.ndim) for mask in masks)
            raise self.error(f"the masks of its inputs have unlike numbers of axes ({counts}): Keras cannot run it either")
        if not broadcast(mask.shape for mask in masks) or (rule == "and" and len({mask.shape for mask in masks}) > 1):
            raise self.unlike("masks", masks)
        return reduce(np.logical_or if rule == "or" else np.logical_and, masks)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        masks = [value.mask for value in inputs if value.mask is not None]
        rule, mask = self.rules.merge_mask, None
        if rule != "none" and masks and (rule == "and" or len(masks) == len(inputs)):
            mask = united(b, rule, masks)
            if mask is None or (rule == "and" and len({each.shape for each in masks}) > 1):
                return None  # for apply to refuse
        if masks and rule == "or" and self.masks_count:
            value = self.merged_where_there(b, inputs)
        elif len({value.shape for value in inputs}) > 1:
            value = self.spread(b, inputs)
        else:
            value = merged(b, self.op, inputs, self.scale(len(inputs)))
        return None if value is None else (value._replace(mask=mask),)

    def spread(self, b: Builder, inputs: Sequence[Value]) -> Value | None:
        """The merge of inputs that broadcast, without masks, as kernel calls; None where ``apply`` is to compute it, or to refuse it."""
        values = self.of_one_rank(b, inputs)
        if values is None:
            return None
        first, *others = values
        so_far: Value | None = first
        for other in others:
            so_far = so_far and binary(b, self.op, so_far, other)
        scale = self.scale(len(inputs))
        return so_far if scale == 1 else so_far and binary(b, "multiply", so_far, scale)

    def of_one_rank(self, b: Builder, inputs: Sequence[Value]) -> list[Value] | None:
        """The inputs with as many axes each; None where they do not broadcast."""
        rank = max(len(value.shape) for value in inputs)
        shapes = [(1,) * (rank - len(value.shape)) + value.shape for value in inputs]
        if not broadcast(shapes):
            return None
        return [reshaped(b, floats(b, value), shape) for value, shape in zip(inputs, shapes, strict=True)]

    def merged_where_there(self, b: Builder, inputs: Sequence[Value]) -> Value | None:
        """The merge where masks are united and count, as kernel calls; None as :meth:`spread`."""
        raise NotImplementedError

    def there(self, b: Builder, inputs: Sequence[Value]) -> list[Value | None] | None:
        """:meth:`counted` of each input, as numbers; None for one that counts everywhere. None where ``apply`` is to refuse them."""
        rank = max(len(value.shape) for value in inputs)
        whole = [value for value in inputs if len(value.shape) == rank]
        if any(value.mask is not None and len(value.mask.shape) != rank - 1 for value in whole):
            return None
        return [None if value.mask is None or len(value.shape) < rank else column(b, value.mask) for value in inputs]

    def counted(self, tensor: Tensor, inputs: Sequence[Tensor]) -> np.ndarray:
        """Where an input counts, with as many axes as the output. Keras forgets the mask of an input to which it adds axes."""
        rank = max(other.value.ndim for other in inputs)
        if tensor.mask is None or tensor.value.ndim < rank:
            return np.ones((1,) * rank, bool)
        if tensor.mask.ndim != rank - 1:
            raise self.error(f"an input of {rank} axes has a mask of {tensor.mask.ndim}: Keras cannot run it either")
        return np.broadcast_to(tensor.mask[..., None], tensor.value.shape)

    def scale(self, count: int) -> float:
        """The factor that the combination of so many inputs is multiplied by."""
        return 1.0


def broadcast(shapes: Iterable[Sequence[int]]) -> bool:
    """Do shapes of one rank go together, axes of size 1 being repeated?"""
    return all(len(set(sizes) - {1}) < 2 for sizes in zip(*shapes, strict=True))


class Add(ElementWise):
    CLASSES = ("Add",)
    op = "add"

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b


class Subtract(ElementWise):
    CLASSES = ("Subtract",)
    op = "subtract"
    count = 2

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a - b


class Extreme(ElementWise):
    """The base of the largest and the smallest of several inputs."""

    masks_count = True

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        if self.rules.merge_mask != "or" or all(tensor.mask is None for tensor in inputs):
            return super().apply(inputs, keywords, states)
        self.check_sizes(inputs)
        # Where masks are united, an input does not count at its masked steps; the first one stands at steps that all inputs mask.
        (out, *values), (counted, *masks) = aligned([floating(t.value) for t in inputs]), [self.counted(t, inputs) for t in inputs]
        for value, mask in zip(values, masks, strict=True):
            value = np.where(mask, value, out)
            out, counted = self.combine(np.where(counted, out, value), value), counted | mask
        return (Tensor(out, self.merged_mask(inputs)),)

    def merged_where_there(self, b: Builder, inputs: Sequence[Value]) -> Value | None:
        values, masks = self.of_one_rank(b, inputs), self.there(b, inputs)
        if values is None or masks is None:
            return None
        out: Value | None = values[0]
        counted = masks[0]
        for value, mask in zip(values[1:], masks[1:], strict=True):
            other = value if mask is None or out is None else selected(b, mask, value, out)
            if out is None or other is None:
                return None
            kept = out if counted is None else selected(b, counted, out, other)
            out = kept and binary(b, self.op, kept, other)
            counted = None if counted is None or mask is None else binary(b, "logical_or", counted, mask)
        return out


class Maximum(Extreme):
    CLASSES = ("Maximum",)
    op = "maximum"

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.maximum(a, b)


class Minimum(Extreme):
    CLASSES = ("Minimum",)
    op = "minimum"

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
    op = "multiply"
    masks_count = True

    def combine(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * b

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        if self.rules.merge_mask != "or" or all(tensor.mask is None for tensor in inputs):
            return super().apply(inputs, keywords, states)
        # Where masks are united, a factor counts as 1 at its masked steps, and steps that all inputs mask give 0.
        counted = [self.counted(tensor, inputs) for tensor in inputs]
        factors = [
            tensor._replace(value=np.where(mask.reshape(mask.shape[-tensor.value.ndim :]), floating(tensor.value), 1))
            for tensor, mask in zip(inputs, counted, strict=True)
        ]
        ((value, mask),) = super().apply(factors, keywords, states)
        if mask is not None:
            value = np.where(reduce(np.logical_or, counted), value, value.dtype.type(0))
        return (Tensor(value, mask),)

    def merged_where_there(self, b: Builder, inputs: Sequence[Value]) -> Value | None:
        values, masks = self.of_one_rank(b, inputs), self.there(b, inputs)
        if values is None or masks is None:
            return None

        def product(one: Value | None, other: Value | None) -> Value | None:
            return one and other and binary(b, self.op, one, other)

        def either(one: Value | None, other: Value | None) -> Value | None:
            return one and other and binary(b, "logical_or", one, other)

        out = reduce(product, (value if mask is None else selected(b, mask, value, 1.0) for value, mask in zip(values, masks, strict=True)))
        counted = reduce(either, masks)
        return out if out is None or counted is None else selected(b, counted, out, 0.0)


class Dot(Merging):
    """Sums of products along one axis of each of two inputs; with ``normalize`` cosines."""

    CLASSES = ("Dot",)
    HONOURED = frozenset({"axes", "normalize"})

    def _axes(self, ranks: Sequence[int]) -> tuple[int, int]:
        axes = self.config["axes"]
        pair = (axes, axes) if isinstance(axes, int) else tuple(axes)
        if len(ranks) != 2 or len(pair) != 2:
            raise self.error(f"expected two inputs and two axes, found {len(ranks)} and axes {axes}")
        first, second = (axis + rank if axis < 0 else axis for axis, rank in zip(pair, ranks, strict=True))
        if not (0 < first < ranks[0] and 0 < second < ranks[1]):
            raise self.error(f"axes {axes} do not fit inputs of {ranks[0]} and {ranks[1]} axes")
        return first, second

    def merged_shapes(self, inputs: Sequence[Shape]) -> tuple[Shape, ...]:
        one, two = self._axes([len(shape) for shape in inputs])
        a, b = inputs
        if a[one] is not None and b[two] is not None and a[one] != b[two]:
            raise self.error(f"inputs of shapes {a} and {b} do not go together along axes {one} and {two}")
        out = (*a[:one], *a[one + 1 :], *b[1:two], *b[two + 1 :])
        return (out if len(out) > 1 else (*out, 1),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        a, b = self._pair(inputs)
        one, two = self._axes([a.ndim, b.ndim])
        if self.config.get("normalize", False):
            a, b = unit_length(a, one), unit_length(b, two)
        return (Tensor(dot(a, b, one, two)),)

    def causal_beside(self, inputs: Sequence[Flow]) -> bool:
        """See base.Layer: time is an axis that remains, and the first of them."""
        axes = self._axes([len(given.shape) for given in inputs])
        (number,) = (n for n, given in enumerate(inputs) if given.steps)
        return axes[number] != 1 and (number == 0 or len(inputs[0].shape) == 2)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x, y = (floats(b, value) for value in inputs)
        one, two = (axis - 1 for axis in self._axes([len(x.shape) + 1, len(y.shape) + 1]))
        if x.shape[one] != y.shape[two]:
            return None  # apply says what is wrong
        if self.config.get("normalize", False):
            lengths = [of_unit_length(b, value, axis) for value, axis in ((x, one), (y, two))]
            if lengths[0] is None or lengths[1] is None:
                return None
            x, y = lengths[0], lengths[1]
        value = contracted(b, x, one, y, two)
        return None if value is None else (value,)

    def _pair(self, inputs: Sequence[Tensor]) -> tuple[np.ndarray, np.ndarray]:
        a, b = (floating(tensor.value) for tensor in inputs)
        one, two = self._axes([a.ndim, b.ndim])
        if a.shape[one] != b.shape[two]:
            raise self.unlike("arrays", (a, b), f" along axes {one} and {two}")
        return a, b


class Cosine(Dot):
    """Merge(mode="cos") of Keras 1: a b / sqrt((a a) (b b)), each product a Dot, and one more axis."""

    CLASSES = ("MergeCosine",)
    HONOURED = frozenset({"axes"})

    def causal_beside(self, inputs: Sequence[Flow]) -> bool:
        return False

    def merged_shapes(self, inputs: Sequence[Shape]) -> tuple[Shape, ...]:
        ((batch, *others),) = super().merged_shapes(inputs)
        return ((batch, 1, *others),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x, y = (floats(b, value) for value in inputs)
        one, two = (axis - 1 for axis in self._axes([len(x.shape) + 1, len(y.shape) + 1]))
        sizes = {each.shape[axis] for each in (x, y) for axis in (one, two) if axis < len(each.shape)}
        if len(x.shape) != len(y.shape) or len(sizes) > 1:
            return None
        pairs = ((x, y), (x, x), (y, y))
        shapes = [(*p.shape[:one], *p.shape[one + 1 :], *q.shape[:two], *q.shape[two + 1 :]) for p, q in pairs]
        if not broadcast(shapes):
            return None  # for apply to refuse
        dots = [contracted(b, p, one, q, two) for p, q in pairs]
        squares = dots[1] and dots[2] and binary(b, "multiply", dots[1], dots[2])
        length = squares and unary(b, "sqrt", squares)
        at_least = length and binary(b, "maximum", length, 1e-7)
        value = dots[0] and at_least and binary(b, "divide", dots[0], at_least)
        return value and (reshaped(b, value, (1, *value.shape)),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        a, b = self._pair(inputs)
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


#: What the square of a length is at the least, where numbers are divided by it.
LEAST_SQUARE = 1e-12


def unit_length(x: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """x divided by its length along an axis, as TensorFlow's l2_normalize."""
    return x / np.sqrt(np.maximum(np.sum(x * x, axis=axis, keepdims=True), x.dtype.type(LEAST_SQUARE)))


def of_unit_length(b: Builder, x: Value, axis: int) -> Value | None:
    """:func:`unit_length` as kernel calls; the axis is counted less the batch."""
    squares = reduced(b, "sumsq", x, [axis], keepdims=True)
    at_least = squares and binary(b, "maximum", squares, LEAST_SQUARE)
    length = at_least and unary(b, "sqrt", at_least)
    return length and binary(b, "divide", x, length)
