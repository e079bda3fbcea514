"""Attention: every step of a query weighs the steps of a value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import activations
from ..catalogue import ATTENTION_INPUTS
from ..errors import InputError
from ..spec import LayerSpec, Shape
from . import given_masks
from .base import Context, Course, Flow, Layer, States, Tensor, floating, inert, numbers_in
from .core import known_features

#: Rows of a batch, as far as one can tell beforehand.
KERAS_ROWS = 32
#: Masked scores are lowered by this: more than any score's own size.
FAR = 1e9


def causal_mask(query_steps: int, value_steps: int) -> np.ndarray:
    """bool (query steps, value steps): no step sees a later one."""
    return np.tril(np.ones((query_steps, value_steps), bool))


#: Why some attention cannot run in a stream.
COUNTED_STEPS = "which timesteps it sees depends on the number of its own (causal, or an attention_mask), and a stream does not count them"
SCORES_OUT = "it returns its scores, along the third axis of which the timesteps stand"


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


def per_head(bias: np.ndarray) -> np.ndarray:
    """Bias (heads, features) for (batch, heads, steps, features); where there is none, the number 0 stays as it is."""
    return bias[:, None] if bias.ndim else bias


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

    def course(self, inputs: Sequence[Flow], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> Course:
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
        scores = self.scores(query, key)
        query_mask, value_mask = map(self.places_mask, inputs[:2])
        hidden = np.zeros((1, 1), bool) if value_mask is None else ~value_mask[..., None, :]
        if self._is_causal(keywords):
            hidden = hidden | ~causal_mask(query.shape[-2], key.shape[-2])
        # Keras subtracts, and in float32 nothing of the score remains.
        scores = np.where(hidden, scores.dtype.type(-FAR), scores)
        weights = activations.softmax(scores)
        out = weights @ value
        if query_mask is not None:
            numbers = given_masks.numbers(keywords)
            out = out * (query_mask if numbers is None or not self.rules.masks_weigh else numbers.astype(out.dtype))[..., None]
        result = Tensor(out, inputs[0].mask)
        return (result, Tensor(weights)) if keywords.get("return_attention_scores") else (result,)


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


class MultiHeadAttention(Layer):
    """Vaswani et al. 2017, of tensors (batch, steps, features); inputs (query, value) or (query, value, key)."""

    CLASSES = ("MultiHeadAttention",)
    HONOURED = frozenset(
        {
            "num_heads",
            "key_dim",
            "value_dim",
            "use_bias",
            "output_shape",
            "attention_axes",
            "use_gate",
            "sliding_window",
            "dropout",
        }
    )
    INERT = inert("kernel", "bias") | {"seed", "query_shape", "key_shape", "value_shape", "flash_attention", "softmax_robust_masking"}

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.heads = int(self.config["num_heads"])
        self.key_dim = int(self.config["key_dim"])
        self.value_dim = int(self.config.get("value_dim") or self.key_dim)
        self.use_bias = bool(self.config.get("use_bias", True))
        self.only("attention_axes", None, [1], (1,))
        self.only("use_gate", False, None)
        self.only("sliding_window", None)

    def _given(self, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        """Query, value and key, whichever were passed by position and which by name."""
        given = list(inputs)
        for name in ("value", "key")[len(given) - 1 :]:
            if keywords.get(name) is not None:
                given.append(keywords[name])
        if len(given) not in (2, 3):
            raise self.error(f"reads query, value and perhaps key, found {len(given)} inputs")
        return given[0], given[1], given[-1]

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        query, value, key = self._given(inputs, keywords)
        if any(len(shape) != 3 for shape in (query, value, key)):
            what = f"attention over inputs of shapes {query}, {value} and {key} is not computed, only over (batch, steps, features)"
            raise self.unsupported(what)
        if None in (query[-1], value[-1], key[-1]):
            raise self.error("the number of features of its inputs is not known")
        self._check_mask(keywords.get("attention_mask"), query[1], key[1])
        for name, shape in zip(ATTENTION_INPUTS, (query, value, key), strict=True):
            mask = self._given_mask(name, keywords)
            if mask is not None and (len(mask) != 2 or not self.takes_mask(mask, shape)):
                raise self.error(f"its {name}_mask has the shape {mask}, expected (batch, {shape[1] or 'steps'})")
        width = self.config.get("output_shape")
        features = query[-1] if width is None else width if isinstance(width, int) else int(width[0])
        heads, k, v = self.heads, self.key_dim, self.value_dim
        kernels = [(query[-1], heads, k), (key[-1], heads, k), (value[-1], heads, v), (heads, v, features)]
        biases = [(heads, k), (heads, k), (heads, v), (features,)]
        shapes = [shape for pair in zip(kernels, biases, strict=True) for shape in (pair if self.use_bias else pair[:1])]
        self.arrays(*shapes)
        out: Shape = (*query[:-1], features)
        return (out, (query[0], heads, query[1], key[1])) if keywords.get("return_attention_scores") else (out,)

    def course(self, inputs: Sequence[Flow], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> Course:
        mask = keywords.get("attention_mask")
        counted = keywords.get("use_causal_mask") or (mask is not None and not self._is_alike(mask))
        scores = SCORES_OUT if keywords.get("return_attention_scores") else ""
        return attending(self, self._given(inputs, keywords), outputs, COUNTED_STEPS if counted else scores)

    def _is_alike(self, mask: Flow) -> bool:
        """Has an attention_mask in a stream a row for each timestep as it comes, or one for all of them?"""
        return len(mask.shape) == 3 if mask.steps else mask.held is not None and mask.shape[-2] == 1

    def _check_mask(self, mask: Any, steps: int | None, others: int | None) -> None:
        """Refuse a mask that does not say of each pair of steps whether one sees the other."""
        if mask is None:
            return
        shape = tuple(mask)
        pairs = zip(shape[-2:], (steps, others), strict=True)
        if len(shape) not in (3, 4) or any(None not in (n, size) and n not in (1, size) for n, size in pairs):
            raise self.error(f"its attention_mask has the shape {shape}, expected (batch, {steps or 'steps'}, {others or 'steps'})")

    def _projections(self, dtype: Any) -> list[tuple[np.ndarray, np.ndarray]]:
        weights = list(self.cast(dtype))
        if not self.use_bias:
            return [(kernel, np.zeros((), dtype)) for kernel in weights]
        return list(zip(weights[::2], weights[1::2], strict=True))

    def _mask(self, query: Tensor, value: Tensor, key: Tensor, keywords: Mapping[str, Any]) -> np.ndarray | None:
        """Which steps of the value each step of the query sees, bool (batch, heads, query steps, value steps) or broadcast to it.

        Numbers of a mask that is given are left as they are where the layer weighs by them: where there is no other mask.
        """
        parts = []
        if self.rules.attention_masks:
            query_mask, value_mask, key_mask = self._masks(query, value, key, keywords)
            parts += [query_mask[:, :, None]] if query_mask is not None else []
            parts += [value_mask[:, None, :]] if value_mask is not None else []
            parts += [key_mask[:, None, :]] if key_mask is not None else []
        if keywords.get("use_causal_mask"):
            parts.append(causal_mask(query.value.shape[1], value.value.shape[1])[None])
        given = keywords.get("attention_mask")
        if given is not None:
            weighs = self.rules.heads_mask_weighs and not parts
            parts.append(given.value if weighs else given_masks.as_bool(given.value))
        mask: np.ndarray | None = None
        for part in parts:
            part = part[:, None] if part.ndim == 3 else part
            mask = part if mask is None else mask & part
        return mask

    def _masks(self, query: Tensor, value: Tensor, key: Tensor, keywords: Mapping[str, Any]) -> list[np.ndarray | None]:
        """The masks of query, value and key: those that the call is given, else their own."""
        own = [query, value, key if key is not value else key._replace(mask=None)]
        for n, name in enumerate(ATTENTION_INPUTS):
            if (given := self._given_mask(name, keywords)) is not None:
                own[n] = own[n]._replace(mask=given_masks.as_bool(given.value))
        return [self.step_mask(tensor) for tensor in own]

    def _given_mask(self, name: str, keywords: Mapping[str, Any]) -> Any:
        """The mask that a call is given for an input. A Keras that takes the query's own mask off reads that one in any case."""
        ignored = name == "query" and self.rules.attention_takes_masks
        return None if ignored else keywords.get(f"{name}_mask")

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        query, value, _ = self._given(inputs, keywords)
        steps, others = query[1] or 1, value[1] or 1
        projected = self.heads * (steps * self.key_dim + others * (self.key_dim + self.value_dim) + steps * self.value_dim)
        return 2 * numbers_in(*outputs) + projected + 3 * self.heads * steps * others

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        given = self._given(inputs, keywords)
        mask = self._mask(*given, keywords)
        query, value, key = (floating(tensor.value) for tensor in given)
        check_steps(self, query, value, key)
        (wq, bq), (wk, bk), (wv, bv), (wo, bo) = self._projections(query.dtype)
        q = np.einsum("btf,fhk->bhtk", query, wq) + per_head(bq)
        k = np.einsum("bsf,fhk->bhsk", key, wk) + per_head(bk)
        v = np.einsum("bsf,fhv->bhsv", value, wv) + per_head(bv)
        scores = (q * q.dtype.type(1 / math.sqrt(self.key_dim))) @ k.swapaxes(2, 3)
        if mask is not None and mask.dtype == bool:
            scores = np.where(mask, scores, scores.dtype.type(-FAR))
        elif mask is not None:
            scores = scores - scores.dtype.type(FAR) * (1 - mask.astype(scores.dtype))
        weights = activations.softmax(scores)
        explicit = float(self.config.get("dropout") or 0) > 0 or keywords.get("return_attention_scores")
        if mask is not None and explicit and self.rules.blind_attention == "zeros":
            weights = np.where(mask, weights, weights.dtype.type(0))
        out = np.einsum("bhtv,hvo->bto", weights @ v, wo) + bo
        result = Tensor(out, given[0].mask if self.rules.attention_masks else None)
        return (result, Tensor(weights)) if keywords.get("return_attention_scores") else (result,)
