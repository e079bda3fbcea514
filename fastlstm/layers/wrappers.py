"""Layers around layers: both directions of time, and one layer for every step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..catalogue import Role
from ..program.arithmetic import mask_of, of_mask, reduced
from ..program.copying import concatenated, flipped
from ..program.ir import At, Buffer, Builder, Mask, Value
from ..program.lowering import dense, merged
from ..program.masks import carried
from ..spec import LayerSpec, Shape, found_in
from .base import Context, Flow, Layer, States, Tensor, every_layer
from .network import Network
from .recurrent import Recurrent, states_given
from .registry import make_layer

#: Advice about stateful layers in wrappers.
STATELESS = "make the layer stateless (stateful=False), where its state is not needed, and save the model again"
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

    def crosses_rows(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> bool:
        return any(layer.crosses_rows(inputs, keywords) for layer in self.children)

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
            time = 0 if getattr(self.forward, "time_major", False) else 1
            other = other._replace(value=np.flip(other.value, time))
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
            return self._apart(b, inputs, forwards, backwards)
        if not (one.has_kernel(inputs, forwards) and other.has_kernel(inputs, backwards)):
            return self._apart(b, inputs, forwards, backwards)
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
        final, more = b.at_once(
            lambda: one.write(b, x, forwards, first, row=steps * (row or widths[0]), step=row or widths[0]),
            lambda: other.write(b, x, backwards, turned, row=steps * step, step=-step),
        )
        mask = x.mask if sequence else None

        def value(buffer: Buffer, width: int) -> Value:
            return Value(buffer, (steps, width) if sequence else (width,), mask)

        if self.merge_mode == "concat":
            return (value(first, row), *final, *more)
        assert isinstance(second.target, Buffer)
        merged = self._merged(b, value(first, widths[0]), value(second.target, widths[1]))
        return None if merged is None else (*merged, *final, *more)

    def _apart(
        self, b: Builder, inputs: Sequence[Value], forwards: Mapping[str, Any], backwards: Mapping[str, Any]
    ) -> tuple[Value, ...] | None:
        """Each direction as the layer that it is, where they are not written together."""
        one, *final = b.lower(self.forward, inputs[:1], forwards)
        other, *more = b.lower(self.backward, inputs[:1], backwards)
        turned: Value | None = other
        if getattr(self.backward, "return_sequences", False):
            turned = flipped(b, other, [0])
        merged = turned and self._merged(b, one, turned._replace(mask=other.mask))
        return None if merged is None else (*merged, *final, *more)

    def _merged(self, b: Builder, one: Value, other: Value) -> tuple[Value, ...] | None:
        """The outputs of both directions, merged; None where ``apply`` is to refuse them."""
        if self.merge_mode is None:
            return (one, other)
        if one.shape[:-1] != other.shape[:-1]:
            return None
        if self.merge_mode == "concat":
            return (concatenated(b, [one, other], len(one.shape) - 1)._replace(mask=one.mask),)
        op, scale = {"sum": ("add", 1.0), "mul": ("multiply", 1.0), "ave": ("add", 0.5)}[self.merge_mode]
        sides = [self._widened(b, side, max(one.shape[-1], other.shape[-1])) for side in (one, other)]
        if sides[0].shape != sides[1].shape:
            return None
        return (merged(b, op, sides, scale)._replace(mask=one.mask),)

    def _widened(self, b: Builder, side: Value, width: int) -> Value:
        """The output of a direction of one unit, repeated: the product with a row of ones."""
        *outer, units = side.shape
        if units == width or units != 1:
            return side
        ones = np.ones((1, width), np.float32)
        out = dense(b, self, f"{width} ones", side.buffer, (math.prod(outer), 1, width), lambda: ones, exact=True)
        return Value(out, (*outer, width), side.mask)


class TimeDistributed(Layer):
    """One layer (or model) for every step of axis 1: the steps are rows of its batch."""

    CLASSES = ("TimeDistributed",)
    HONOURED = frozenset({"layer"})
    STEPWISE = True

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        if len(spec.children) != 1:
            raise self.error(f"expected one layer, found {len(spec.children)}")
        # It asks for the mask itself, also where a model called as a layer has none.
        carried = self.rules.time_distributed_states
        asked = replace(context.rules, nested_masks=True, carries_state=context.rules.carries_state and carried != "none")
        self.layer = make_layer(spec.children[0], context.inside(self.path, rules=asked))
        self.vocabulary = self.layer.vocabularies()[0] if isinstance(self.layer, Network) else self.layer.vocabulary
        row, loops = self.layer.row, self.rules.time_distributed_loops
        own = not row.computed and row.role is not Role.CODE  # a class of the user's
        self._carries = any(layer.stateful for layer in (self.layer, *every_layer(self.layer)))
        self._may_loop = loops == "all" or (loops == "lstm" and row.fused) or (loops != "none" and (own or self._carries))
        if self._carries and carried == "unknown":
            self.refuse("it wraps a stateful layer, of whose state the Keras that saved it makes what is not known", STATELESS)

    @property
    def children(self) -> tuple[Layer, ...]:
        return (self.layer,)

    @property
    def restarts(self) -> bool:
        return not self._carries

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return not self._carries and super().stepwise(inputs)

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        return not self._makes_mask and not self._carries

    def obstacle(self, inputs: Sequence[Flow]) -> str:
        return "the stateful layer inside carries its state from step to step" if self._carries else super().obstacle(inputs)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        if len(inputs[0]) < 2:
            raise self.error(f"reads (batch, timesteps, ...), found shape {inputs[0]}")
        batch, steps, *_ = inputs[0]
        ((_, given),) = self.calls_inside(inputs)
        found = self.layer.shapes(given, {})
        if not self._may_loop and not self.rules.time_distributed_fixed_inner_mask and steps is None:
            batch = None  # folded out of the rows of steps, the batch size is no longer known to the layers after it
        return tuple((batch, steps, *shape[1:]) for shape in found)

    def crosses_rows(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> bool:
        ((_, given),) = self.calls_inside(inputs)
        return self.layer.crosses_rows(given, keywords)

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
        words = {"training": True} if keywords.get("training") else {}
        given = mask if self.rules.time_distributed_passes_mask and not self._loops else None
        inner_mask = None if given is None or given.ndim < 3 else given.reshape(-1, *given.shape[2:])
        if self._carries and rows[0]:
            outputs = self._step_by_step(Tensor(x, None if inner_mask is None else given), words, states)
        else:
            outputs = list(self.layer.apply([Tensor(x.reshape(-1, *x.shape[2:]), inner_mask)], words, None))
        values = [out.value.reshape(*rows, *out.value.shape[1:]) for out in outputs]
        if self._repeats and mask is not None:
            values = [carried_over(value, mask) for value in values]
        return tuple(Tensor(value, self._mask(out.mask, mask, rows)) for value, out in zip(values, outputs, strict=True))

    def _step_by_step(self, sequence: Tensor, words: Mapping[str, Any], states: States | None) -> list[Tensor]:
        """The outputs of each step for the state that the steps before it left, as rows of one batch."""
        x, mask = sequence
        own = {path: held for path, held in (states or {}).items() if path.startswith(self.path + "/")}
        if states is None:
            carried = [layer for layer in (self.layer, *every_layer(self.layer)) if layer.stateful]
            own = {layer.path: tuple(np.zeros((len(x), *shape), x.dtype) for shape in layer.state_shapes()) for layer in carried}
        # The loop of TensorFlow 2 computes the first step once more before the others, to see what comes out.
        extra = [0] if self.rules.time_distributed_states == "first_twice" else []
        steps = [
            self.layer.apply([Tensor(x[:, t], None if mask is None else mask[:, t])], words, own) for t in (*extra, *range(x.shape[1]))
        ][len(extra) :]
        if states is not None:
            states.update(own)
        return [Tensor(as_rows([one.value for one in each]), rows_of_masks(each)) for each in zip(*steps, strict=True)]

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
        x, mask = inputs[0], inputs[0].mask
        repeats = self._repeats and mask is not None
        if self._carries or (repeats and mask is not None and len(mask.shape) > 1):
            return None
        steps, *rest = x.shape
        inner = mask if mask is not None and self.rules.time_distributed_passes_mask and not self._loops else None
        inner = Mask(inner.buffer, inner.shape[1:]) if inner is not None and len(inner.shape) > 1 else None
        step = Value(b.read(x), tuple(rest), inner, integer=x.integer)
        with b.repeated(steps):  # what follows has a row for each step
            outputs = b.lower(self.layer, [step], {})
        found = []
        for out in outputs:
            value = out._replace(shape=(steps, *out.shape), mask=self._mask_of(b, out.mask, mask, steps))
            found.append(carried(b, value, mask) if repeats and mask is not None else value)
        return tuple(found)

    def _mask_of(self, b: Builder, made: Mask | None, given: Mask | None, steps: int) -> Mask | None:
        """:meth:`_mask` as kernel calls."""
        if not self._hands_on:
            return given
        if made is not None:
            return Mask(made.buffer, (steps, *made.shape))
        if given is None or len(given.shape) == 1:
            return given
        some = reduced(b, "any", of_mask(b, given), range(1, len(given.shape)))
        return some and mask_of(b, some)


class SpectralNormalization(Layer):
    """Miyato et al. 2018: while it is trained, the kernel inside is divided by its largest singular value; what is stored is that."""

    CLASSES = ("SpectralNormalization",)
    HONOURED = frozenset({"layer"})
    INERT = frozenset({"power_iterations"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        if len(spec.children) != 1:
            raise self.error(f"expected one layer, found {len(spec.children)}")
        self.layer = make_layer(spec.children[0], context.inside(self.path))
        self.vocabulary, self.masked_value = self.layer.vocabulary, self.layer.masked_value

    @property
    def children(self) -> tuple[Layer, ...]:
        return (self.layer,)

    @property
    def makes_mask(self) -> bool:
        return self.layer.makes_mask

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return self.layer.stepwise(inputs)

    def causal(self, inputs: Sequence[Shape]) -> bool:
        return self.layer.causal(inputs)

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        return self.layer.ignores_padding(inputs)

    def crosses_rows(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> bool:
        return self.layer.crosses_rows(inputs, keywords)

    def calls_inside(self, inputs: Sequence[Shape]) -> Iterator[tuple[Layer, Sequence[Shape]]]:
        yield self.layer, inputs

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        found = self.layer.shapes(inputs, keywords)
        for kernel in self.layer.spec.weights[:1]:
            self.arrays((1, kernel.shape[-1]))
        return found

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        return self.layer.row_numbers(inputs, keywords, outputs)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        return self.layer.apply(inputs, keywords, states)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        return b.lower(self.layer, inputs, keywords)


def as_rows(steps: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of one step each as rows of one batch: all steps of the first row, then those of the next."""
    return np.stack(steps, 1).reshape(-1, *steps[0].shape[1:])


def rows_of_masks(steps: Sequence[Tensor]) -> np.ndarray | None:
    """The same of their masks; None where there are none."""
    masks = [one.mask for one in steps if one.mask is not None]
    return as_rows(masks) if len(masks) == len(steps) else None


def carried_over(value: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Outputs with the previous one in place of those of masked steps; zeros where there is none."""
    out = np.zeros_like(value)
    before = out[:, 0]
    for step in range(value.shape[1] if len(value) else 0):
        before = out[:, step] = np.where(mask[:, step].reshape(-1, *(1,) * (value.ndim - 2)), value[:, step], before)
    return out
