"""Layers around layers: both directions of time, and one layer for every step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..catalogue import Role
from ..program import layout
from ..program.ir import At, Buffer, Builder, Value
from ..program.lowering import merged
from ..spec import LayerSpec, Shape, found_in
from .base import Context, Layer, States, Tensor, every_layer
from .network import Network
from .recurrent import Recurrent, states_given
from .registry import make_layer

MERGE_MODES = ("concat", "sum", "mul", "ave", None)


class Bidirectional(Layer):
    """A recurrent layer forwards in time and another one backwards, their outputs merged.

    Attributes
    ----------
    forward, backward : Recurrent
        The two directions. The outputs of the second are turned round in time, whatever its own direction.
    merge_mode : {"concat", "sum", "mul", "ave", None}
        None gives both outputs.
    """

    CLASSES = ("Bidirectional",)
    HONOURED = frozenset({"layer", "backward_layer", "merge_mode", "num_constants"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        if len(spec.children) != 2:
            raise self.error(f"expected a forward and a backward layer, found {len(spec.children)} layers")
        inner = context.inside(self.path, in_bidirectional=True)
        self.forward, self.backward = (make_layer(child, inner) for child in spec.children)
        self.merge_mode: str | None = self.config.get("merge_mode", "concat")
        if self.merge_mode not in MERGE_MODES:
            self.refuse(f"argument merge_mode={self.merge_mode!r} is not known")
        self.only("num_constants", None, 0)
        for layer in (self.forward, self.backward):
            if not isinstance(layer, Recurrent):
                self.refuse(f"it wraps a layer of class {layer.spec.class_name}, which is not computed in both directions")

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        # The backward layer emits the steps after a row's end first; turned round, they are last again.
        backward = self.backward
        turned = isinstance(backward, Recurrent) and (backward.go_backwards or not backward.return_sequences)
        return turned and self.forward.ignores_padding(inputs)

    @property
    def children(self) -> tuple[Layer, ...]:
        return (self.forward, self.backward)

    def _merge_shapes(self, one: Shape, other: Shape) -> tuple[Shape, ...]:
        if self.merge_mode is None:
            return (one, other)
        if self.merge_mode == "concat":
            if one[-1] is None or other[-1] is None:
                raise self.error("the number of units of a direction is not known")
            return ((*one[:-1], one[-1] + other[-1]),)
        if one[:-1] != other[:-1] or (one[-1] != other[-1] and 1 not in (one[-1], other[-1])):
            raise self.error(f"merge_mode {self.merge_mode!r} of outputs of shapes {one} and {other}")
        return (other if one[-1] == 1 else one,)  # Keras repeats the output of a direction of one unit

    def _split(self, keywords: Mapping[str, Any], kind: type[Any] = Tensor) -> tuple[dict[str, Any], dict[str, Any]]:
        """Each direction's part of the call arguments: half of the initial states each."""
        given = list(found_in(keywords.get("initial_state"), kind))
        both = {"mask": keywords["mask"]} if "mask" in keywords else {}
        if not given:
            return both, dict(both)
        half = len(given) // 2
        return {**both, "initial_state": tuple(given[:half])}, {**both, "initial_state": tuple(given[half:])}

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        given = list(states_given(keywords))
        if len(given) % 2:
            raise self.error(f"initial_state has {len(given)} tensors, expected as many for both directions")
        forwards, backwards = ({"initial_state": tuple(part)} for part in (given[: len(given) // 2], given[len(given) // 2 :]))
        one, *states = self.forward.shapes(inputs[:1], forwards)
        other, *more = self.backward.shapes(inputs[:1], backwards)
        return (*self._merge_shapes(one, other), *states, *more)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        forwards, backwards = self._split(keywords)
        one, *final = self.forward.apply(inputs[:1], forwards, states)
        other, *more = self.backward.apply(inputs[:1], backwards, states)
        if getattr(self.backward, "return_sequences", False):
            other = other._replace(value=other.value[:, ::-1])
        return (*self._merge(one, other), *final, *more)

    def _merge(self, one: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        a, b = one.value, other.value
        if self.merge_mode is None:
            return (one, Tensor(np.ascontiguousarray(b), other.mask))
        if self.merge_mode == "concat":
            merged = np.concatenate([a, b], axis=-1)
        elif self.merge_mode == "sum":
            merged = a + b
        elif self.merge_mode == "mul":
            merged = a * b
        else:
            merged = (a + b) / 2
        return (Tensor(merged, one.mask),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        one, other = self.forward, self.backward
        forwards, backwards = self._split(keywords, Value)
        if not (isinstance(one, Recurrent) and isinstance(other, Recurrent) and one.return_sequences == other.return_sequences):
            return None
        if not (one.has_kernel(inputs, forwards) and other.has_kernel(inputs, backwards)):
            return None
        x, sequence = inputs[0], one.return_sequences
        steps = x.shape[0] if sequence else 1
        widths = (one.cell.output_size, other.cell.output_size)
        # Side by side in one buffer, or each in its own.
        row = sum(widths) if self.merge_mode == "concat" else 0
        first = b.buffer(steps * (row or widths[0]))
        second = At(first, widths[0]) if row else At(b.buffer(steps * widths[1]), 0)
        step = row or widths[1]
        # Turned round in time: the output of the step processed last goes first.
        turned = At(second.target, second.offset + (steps - 1) * step)
        final = one.write(b, x, forwards, first, row=steps * (row or widths[0]), step=row or widths[0])
        more = other.write(b, x, backwards, turned, row=steps * step, step=-step)
        mask = x.mask if sequence else None

        def value(buffer: Buffer, width: int) -> Value:
            return Value(buffer, (steps, width) if sequence else (width,), mask)

        if self.merge_mode == "concat":
            return (value(first, row), *final, *more)
        assert isinstance(second.target, Buffer)
        pair = (value(first, widths[0]), value(second.target, widths[1]))
        if self.merge_mode is None:
            return (*pair, *final, *more)
        sides = [self._widened(b, side, max(widths)) for side in pair]
        op, scale = {"sum": ("add", 1.0), "mul": ("multiply", 1.0), "ave": ("add", 0.5)}[self.merge_mode]
        return (merged(b, op, sides, scale)._replace(mask=mask), *final, *more)

    def _widened(self, b: Builder, side: Value, width: int) -> Value:
        """The output of a direction of one unit, repeated: the product with a row of ones."""
        *outer, units = side.shape
        if units == width:
            return side
        steps, out = math.prod(outer), b.buffer(math.prod(outer) * width)
        ones = b.constant(self, f"{width} ones", lambda: layout.pack_dense(np.ones((1, width), np.float32), b.lanes))
        b.emit(
            "dense",
            steps=steps,
            features=1,
            units=width,
            x=side.buffer,
            x_row=steps,
            x_step=1,
            kernel=ones,
            bias=None,
            y=out,
            y_row=steps * width,
            y_step=width,
            activation=0,
        )
        return Value(out, (*outer, width), side.mask)


class TimeDistributed(Layer):
    """One layer (or model) for every step of axis 1: the steps are rows of its batch."""

    CLASSES = ("TimeDistributed",)
    HONOURED = frozenset({"layer"})
    STEPWISE = True
    RESTARTS = True

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        if len(spec.children) != 1:
            raise self.error(f"expected one layer, found {len(spec.children)}")
        # It asks for the mask itself, also where a model called as a layer has none.
        asked = replace(context.rules, nested_masks=True)
        self.layer = make_layer(spec.children[0], context.inside(self.path, rules=asked))
        self.vocabulary = self.layer.vocabularies()[0] if isinstance(self.layer, Network) else self.layer.vocabulary
        row, loops = self.layer.row, self.rules.time_distributed_loops
        own = not row.computed and row.role is not Role.CODE  # a class of the user's
        self._may_loop = loops == "all" or (loops == "lstm" and row.fused) or (loops != "none" and own)
        if any(layer.stateful for layer in (self.layer, *every_layer(self.layer))):
            self.refuse("it wraps a stateful layer, whose state would go from step to step")

    @property
    def children(self) -> tuple[Layer, ...]:
        return (self.layer,)

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        return not self._makes_mask

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        if len(inputs[0]) < 2:
            raise self.error(f"reads (batch, timesteps, ...), found shape {inputs[0]}")
        batch, steps, *_ = inputs[0]
        ((_, given),) = self.calls_inside(inputs)
        found = self.layer.shapes(given, {})
        if not self._may_loop and not self.rules.time_distributed_fixed_inner_mask and steps is None:
            batch = None  # folded out of the rows of steps, the batch size is no longer known to the layers after it
        return tuple((batch, steps, *shape[1:]) for shape in found)

    def calls_inside(self, inputs: Sequence[Shape]) -> Iterator[tuple[Layer, Sequence[Shape]]]:
        batch, steps, *rest = inputs[0]
        yield self.layer, [(batch if self._may_loop or batch is None or steps is None else batch * steps, *rest)]

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        (_, steps, *rest), inner = inputs[0], [(None, *shape[2:]) for shape in outputs]
        return super().row_numbers(inputs, keywords, outputs) + (steps or 1) * self.layer.row_numbers([(None, *rest)], {}, inner)

    @property
    def _fixed(self) -> bool:
        """Does the file fix the batch size of its input?"""
        declared = self.context.declared(self)
        return bool(declared) and declared[0][0] is not None

    @property
    def _loops(self) -> bool:
        return self._may_loop and self._fixed

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x, mask = inputs[0]
        rows = x.shape[:2]
        given = mask if self.rules.time_distributed_passes_mask and not self._loops else None
        inner_mask = None if given is None or given.ndim < 3 else given.reshape(-1, *given.shape[2:])
        outputs = self.layer.apply([Tensor(x.reshape(-1, *x.shape[2:]), inner_mask)], {}, None)
        values = [out.value.reshape(*rows, *out.value.shape[1:]) for out in outputs]
        if self._repeats and mask is not None:
            values = [carried_over(value, mask) for value in values]
        return tuple(Tensor(value, self._mask(out.mask, mask, rows)) for value, out in zip(values, outputs, strict=True))

    @property
    def _repeats(self) -> bool:
        return self.rules.time_distributed_loop_repeats and self._loops

    def _mask(self, made: np.ndarray | None, given: np.ndarray | None, rows: tuple[int, ...]) -> np.ndarray | None:
        if not self._hands_on:
            return given
        if made is not None:
            return made.reshape(*rows, *made.shape[1:])
        if given is None or given.ndim == 2:
            return given
        some: np.ndarray = np.any(given, axis=tuple(range(2, given.ndim)))
        return some

    @property
    def _hands_on(self) -> bool:
        """Does the mask made inside go out?"""
        rules = self.rules
        return rules.time_distributed_inner_mask and not (self._fixed and (self._loops or not rules.time_distributed_fixed_inner_mask))

    @property
    def _makes_mask(self) -> bool:
        """May what goes out have a mask that was made inside?"""
        return self._hands_on and any(layer.makes_mask for layer in (self.layer, *every_layer(self.layer)))

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x = inputs[0]
        if x.mask is not None and len(x.mask.shape) > 1:
            return None
        if self._makes_mask:
            return None
        if self._repeats and x.mask is not None:
            return None
        steps, *rest = x.shape
        step = Value(b.read(x), tuple(rest), integer=x.integer)
        with b.repeated(steps):  # what follows has a row for each step
            outputs = b.lower(self.layer, [step], {})
        return tuple(value._replace(shape=(steps, *value.shape), mask=x.mask) for value in outputs)


def carried_over(value: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Outputs with the previous one in place of those of masked steps; zeros where there is none."""
    out = np.zeros_like(value)
    before = out[:, 0]
    for step in range(value.shape[1] if len(value) else 0):
        before = out[:, step] = np.where(mask[:, step].reshape(-1, *(1,) * (value.ndim - 2)), value[:, step], before)
    return out
