"""Attention: every step of a query weighs the steps of a value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import activations
from ..errors import InputError
from ..program.arithmetic import binary, floats, new, of_mask
from ..program.attending import Hidden, Matrices, Operands, Pairs, Sizes, Tanh, attended, kept_steps, passed, read_once
from ..program.copying import broadcast_steps, filled_up, joined, reshaped
from ..program.ir import Builder, Value
from ..spec import LayerSpec, Shape
from . import given_masks
from .base import Context, Course, Flow, Layer, States, Tensor, floating
from .core import known_features

#: Rows of a batch, as far as one can tell beforehand.
KERAS_ROWS = 32
#: Masked scores are lowered by this: more than any score's own size.
FAR = 1e9


def causal_mask(query_steps: int, value_steps: int) -> np.ndarray:
    """bool (query steps, value steps): no step sees a later one."""
    return np.tril(np.ones((query_steps, value_steps), bool))


def banded(query_steps: int, value_steps: int, band: int) -> np.ndarray:
    """bool (query steps, value steps): steps see those that are less than so many away."""
    return np.abs(np.arange(query_steps)[:, None] - np.arange(value_steps)) < band


#: Why some attention cannot run in a stream.
COUNTED_STEPS = "which timesteps it sees depends on the number of its own (causal, or an attention_mask), and a stream does not count them"


def attending(layer: Layer, given: Sequence[Flow], outputs: Sequence[Shape], unlike: str = "") -> Course:
    """What attention makes of a query that comes timestep by timestep: it can tell where value and key are held.

    Parameters
    ----------
    layer
        The layer.
    given
        Query, value, and key if there is one.
    outputs
        The shapes of its outputs.
    unlike
        Why its timesteps are not all treated alike.
    """
    query, *others = given
    if not any(flow.steps for flow in given):
        return Course(tuple(Flow(shape, False) for shape in outputs))
    obstacle = unlike if query.steps and all(flow.held is not None for flow in others) else layer.obstacle(given)
    return Course(tuple(Flow(shape, not obstacle) for shape in outputs), obstacle)


def remembered(
    states: States, path: str, key: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Add steps to those that a stream keeps.

    Returns
    -------
    tuple of numpy.ndarray
        Keys and values of all steps; which of them each of the new ones may see, bool (batch, new steps, all steps); and which there are,
        bool (batch, 1, all steps).
    """
    keys, values, steps = (array.copy() for array in states[path])
    room, count = keys.shape[1], key.shape[1]
    first = np.clip(np.nan_to_num(steps[:, 0]), 0, room - count).astype(np.intp)
    places = first[:, None] + np.arange(count)
    rows = np.arange(len(keys))[:, None]
    keys[rows, places], values[rows, places] = key, value
    states[path] = keys, values, steps + count
    numbers = np.arange(room)
    return keys, values, numbers <= places[..., None], numbers < first[:, None, None] + count


def check_steps(layer: Layer, query: np.ndarray, value: np.ndarray, key: np.ndarray) -> None:
    """Refuse a key whose steps are not the value's, or whose features are not the query's: the caller's choice where the file leaves it."""
    if key.shape[-2] != value.shape[-2]:
        found = f"{key.shape[-2]} and {value.shape[-2]}"
        raise InputError(f"x: expected as many steps of key and value for layer {layer.path!r} ({layer.spec.class_name}), found {found}")
    if isinstance(layer, DenseAttention) and query.shape[-1] != key.shape[-1]:
        found = f"{query.shape[-1]} and {key.shape[-1]}"
        raise InputError(f"x: expected as many features of query and key for layer {layer.path!r} ({layer.spec.class_name}), found {found}")


class DenseAttention(Layer):
    """The base of Attention and AdditiveAttention: inputs (query, value) or (query, value, key).

    Steps stand on the last axis but one. Of a value of two axes these are the rows of the batch, as Keras has it.
    Masked steps of the value weigh nothing, and masked steps of the query give zeros; the query's mask passes.
    """

    INERT = frozenset({"dropout", "seed"})

    def scores(self, query: np.ndarray, key: np.ndarray) -> np.ndarray:
        """(batch, ..., query steps, key steps)."""
        raise NotImplementedError

    def places_mask(self, given: Tensor) -> np.ndarray | None:
        """The mask of an input, which has all of its axes but the last; Keras cannot run the layer with another."""
        return given.mask if given.mask is not None and given.mask.ndim == given.value.ndim - 1 else self.step_mask(given)

    def check(self, query: Shape) -> None:
        """Check the weights against the shape of the query."""
        raise NotImplementedError

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        if len(inputs) not in (2, 3):
            raise self.error(f"reads query, value and perhaps key, found {len(inputs)} inputs")
        query, value, *keys = inputs
        if len(query) < 2 or any(not self._goes_with(query, shape) for shape in (value, *keys)) or len(inputs[-1]) != len(value):
            raise self.error(f"found query, value and key of shapes {', '.join(map(str, inputs))}, over which Keras cannot attend either")
        if len(query) == 2 and self._is_causal(keywords):
            raise self.unsupported("it is causal, and its query has no steps but the rows of the batch")
        self.check(query)
        out: Shape = (*query[:-1], value[-1])
        return (out, (*query[:-1], value[-2])) if keywords.get("return_attention_scores") else (out,)

    @staticmethod
    def _goes_with(query: Shape, value: Shape) -> bool:
        """Can a query attend over values (or keys) of a shape: one for each of its own axes before the steps, one for all, or rows?"""
        if len(value) == 2:
            return True
        pairs = zip(query[1:-2], value[1:-2], strict=False)
        return len(value) == len(query) and all(size in (1, wanted, None) or wanted is None for wanted, size in pairs)

    def _is_causal(self, keywords: Mapping[str, Any]) -> bool:
        return bool(self.config.get("causal", False) or keywords.get("use_causal_mask"))

    def crosses_rows(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> bool:
        return any(len(shape) == 2 for shape in inputs[1:])

    def memory(self, inputs: Sequence[Flow], keywords: Mapping[str, Any]) -> Mapping[str, int]:
        _, value, *keys = inputs
        key = keys[0] if keys else value
        along_time = all(flow.steps and len(flow.shape) == 3 for flow in inputs)
        if not along_time or not self._is_causal(keywords) or keywords.get("return_attention_scores"):
            return {}
        return {"keys": known_features(self, key.shape), "values": known_features(self, value.shape)}

    def course(self, inputs: Sequence[Flow], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> Course:
        if self.memory(inputs, keywords):
            return Course(tuple(Flow(shape, True) for shape in outputs))
        return attending(self, inputs, outputs, COUNTED_STEPS if self._is_causal(keywords) else "")

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        query, *_, key = inputs
        steps = KERAS_ROWS if len(key) == 2 else key[-2] or 1
        pairs = math.prod(size or 1 for size in query[1:-1]) * steps
        return super().row_numbers(inputs, keywords, outputs) + pairs * self.numbers_a_pair(query[-1] or 1)

    def numbers_a_pair(self, features: int) -> int:
        """How many numbers there are for each step of the query and each of the key: scores, masked and as weights."""
        return 3

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        query, value = (floating(tensor.value) for tensor in inputs[:2])
        key = floating(inputs[2].value) if len(inputs) > 2 else value
        check_steps(self, query, value, key)
        seen = there = None
        if states is not None and self.path in states:
            key, value, seen, there = remembered(states, self.path, key, value)
        scores = self.scores(query, key)
        query_mask, value_mask = map(self.places_mask, inputs[:2])
        hidden = np.zeros((1, 1), bool) if value_mask is None else ~value_mask[..., None, :]
        if self._is_causal(keywords):
            hidden = hidden | ~(causal_mask(query.shape[-2], key.shape[-2]) if seen is None else seen)
        # Keras subtracts, and in float32 nothing of the score remains.
        scores = np.where(hidden, scores.dtype.type(-FAR), scores)
        if there is not None:
            scores = np.where(there, scores, -np.inf)
        weights = activations.softmax(scores)
        out = weights @ value
        if query_mask is not None:
            numbers = given_masks.numbers(keywords)
            out = out * (query_mask if numbers is None or not self.rules.masks_weigh else numbers.astype(out.dtype))[..., None]
        result = Tensor(out, inputs[0].mask)
        return (result, Tensor(weights)) if keywords.get("return_attention_scores") else (result,)

    def scoring(self, b: Builder) -> tuple[float, Tanh | None]:
        """How kernels compute the scores: what multiplies them, and what there is in them besides products."""
        raise NotImplementedError

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        query, value, *keys = read_once(b, [floats(b, given) for given in inputs])
        key = keys[0] if keys else value
        numbers = given_masks.value_of_numbers(keywords) if query.mask is not None and self.rules.masks_weigh else None
        masks = [(given.mask, given.shape) for given in (query, value)] + [(numbers, query.shape)]
        if key.shape[-2] != value.shape[-2] or query.shape[-1] != key.shape[-1] or 0 in (*query.shape, *key.shape, *value.shape):
            return None  # for apply to refuse
        if any(mask is not None and mask.shape != shape[:-1] for mask, shape in masks):
            return None  # as well
        out = new(b, (*query.shape[:-1], value.shape[-1]))
        found = places(query, key, value, out)
        if found is None:
            return None
        outer, heads, operands, pairs = found
        hidden = Hidden(other_mask=None if pairs else value.mask, pairs=pairs, causal=self._is_causal(keywords))
        scale, tanh = self.scoring(b)
        steps, features = query.shape[-2:]
        sizes = Sizes(outer, heads, 1, steps, key.shape[-2], features, value.shape[-1])
        wanted = bool(keywords.get("return_attention_scores"))
        memory = kept_steps(b, self.path, operands[1], operands[2], sizes)
        if memory is not None:
            operands, past = (operands[0], *memory[:2], operands[3]), memory[2]
            sizes, hidden = sizes._replace(others=b.max_steps), replace(hidden, past=past)
        shown = attended(b, operands, sizes, hidden, scale, tanh=tanh, scores=wanted)
        if hidden.past is not None:
            passed(b, hidden.past, steps)
        masked: Value | None = out
        if query.mask is not None:
            by = of_mask(b, query.mask) if numbers is None else floats(b, numbers)
            masked = binary(b, "multiply", out, reshaped(b, by, (*query.shape[:-1], 1)))
        assert masked is not None  # a number for each step broadcasts
        masked = masked._replace(mask=inputs[0].mask)
        return (masked, Value(shown, (*query.shape[:-1], key.shape[-2]))) if shown is not None else (masked,)


def places(query: Value, key: Value, value: Value, out: Value) -> tuple[int, int, Operands, Pairs | None] | None:
    """Where the matrices of attention are, along two axes at most, and the mask of a value that has several in each row.

    None where they are along more axes.
    """
    ahead, apart = query.shape[:-2], []
    for given in (query, key, value, out):
        apart.append([step * math.prod(given.shape[-2:]) for step in broadcast_steps(given.shape[:-2], ahead)])
    steps = value.shape[-2]
    apart.append([step * steps for step in broadcast_steps(value.shape[:-2], ahead)])  # of the mask
    counts, found = joined(ahead, *apart)
    if len(counts) > 2:
        return None
    outer, heads = filled_up(counts, 2, 1)
    *arrays, (mask_outer, mask_head) = (filled_up(each, 2, 0) for each in found)

    def operand(number: int, given: Value) -> Matrices:
        return Matrices(given.buffer, math.prod(given.shape), arrays[number][0], arrays[number][1], given.shape[-1])

    operands = operand(0, query), operand(1, key), operand(2, value), operand(3, out)
    if value.mask is None or len(value.shape) == 2:
        return outer, heads, operands, None
    return outer, heads, operands, Pairs(value.mask.buffer, math.prod(value.mask.shape), mask_outer, mask_head, 0, 1)


class Attention(DenseAttention):
    """Luong et al. 2015: scores are products of query and key."""

    CLASSES = ("Attention",)
    HONOURED = frozenset({"use_scale", "score_mode", "causal"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.use_scale = bool(self.config.get("use_scale", False))
        self.only("score_mode", "dot", "concat")
        self.concat = self.config.get("score_mode", "dot") == "concat"

    def check(self, query: Shape) -> None:
        self.arrays(*[()] * len(self.kept))

    def numbers_a_pair(self, features: int) -> int:
        return 3 + 2 * features if self.concat else 3

    def scores(self, query: np.ndarray, key: np.ndarray) -> np.ndarray:
        weights = list(self.cast(query.dtype))
        scale = weights.pop(0) if self.use_scale else query.dtype.type(1)
        if self.concat:
            return weights[0] * np.sum(np.tanh(scale * (query[..., None, :] + key[..., None, :, :])), axis=-1)
        return query @ key.swapaxes(-1, -2) * scale

    def scoring(self, b: Builder) -> tuple[float, Tanh | None]:
        weights = [float(weight) for weight in self.cast(np.float32)]
        scale = weights.pop(0) if self.use_scale else 1.0
        return (weights[0], Tanh(scale, None)) if self.concat else (scale, None)


class AdditiveAttention(DenseAttention):
    """Bahdanau et al. 2014: scores are sums over tanh(query + key)."""

    CLASSES = ("AdditiveAttention",)
    HONOURED = frozenset({"use_scale", "causal"})

    def check(self, query: Shape) -> None:
        self.arrays(*([(known_features(self, query),)] if self.kept else []))

    def numbers_a_pair(self, features: int) -> int:
        return 3 + 2 * features

    def scores(self, query: np.ndarray, key: np.ndarray) -> np.ndarray:
        each = np.tanh(query[..., None, :] + key[..., None, :, :])
        for scale in self.cast(query.dtype):
            each = each * scale
        return np.sum(each, axis=-1)

    def scoring(self, b: Builder) -> tuple[float, Tanh | None]:
        factors = b.constant(self, "scale", lambda: self.cast(np.float32)[0]) if self.kept else None
        return 1.0, Tanh(1.0, factors)
