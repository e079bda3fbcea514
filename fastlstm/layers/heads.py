"""Attention of several heads: query, key and value are projected, and each head weighs by its own part of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import activations
from ..catalogue import ATTENTION_INPUTS
from ..program.arithmetic import floats, new, weighted
from ..program.attending import Hidden, Matrices, Pairs, Sizes, attended, kept_steps, one_axis, passed, placed, read_once
from ..program.copying import broadcast_steps, joined, reshaped, transposed
from ..program.ir import Buffer, Builder, Mask, Value
from ..program.lowering import default_code, mask_of, merged, merged_masks
from ..spec import LayerSpec, Shape
from . import given_masks
from .attention import COUNTED_STEPS, FAR, attending, banded, causal_mask, check_steps, remembered
from .base import ACROSS, Context, Course, Flow, Layer, States, Tensor, floating, inert, numbers_in

#: Why some attention cannot run in a stream.
SCORES_OUT = "it returns its scores, along the third axis of which the timesteps stand"
OTHER_AXES = "it attends along other axes than that of the timesteps"
OVER_HEADS = "has heads attend to each other, which is not computed"
#: A band wider than any sequence.
WIDEST = 1 << 30


class Heads(Layer):
    """The base of layers with heads; inputs (query, value) or (query, value, key), each (batch, ..., features).

    Steps stand along one axis, or along several that are as one; for each place along the others there is attention of its own.
    Scores are (batch, those others, heads, steps of the query, steps of the value).
    """

    INERT = inert("kernel", "bias") | {"seed", "query_shape", "key_shape", "value_shape", "flash_attention", "softmax_robust_masking"}

    heads: int
    key_heads: int  # of key and value: each serves as many of the query's
    key_dim: int
    value_dim: int

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.use_bias = bool(self.config.get("use_bias", True))
        self.gated = bool(self.config.get("use_gate"))
        self.band = int(self.config.get("sliding_window") or 0)
        if self.band < 0:
            raise self.error(f"sliding_window is {self.band}, expected none below 1")

    def _check_sizes(self) -> None:
        sizes = {"heads": self.heads, "heads of key and value": self.key_heads, "size of a key": self.key_dim, "of a value": self.value_dim}
        for what, size in sizes.items():
            if size < 1:
                raise self.error(f"the number of {what} is {size}, expected 1 or more")
        if self.heads % self.key_heads:
            raise self.error(f"{self.key_heads} heads of key and value do not serve {self.heads} of the query alike")

    # -- shapes -----------------------------------------------------------------------------------------------------------

    def axes(self, rank: int) -> tuple[int, ...]:
        """The axes along which steps stand, for inputs of so many."""
        return (1,)

    def outputs(self, query: Shape) -> tuple[int, ...]:
        """The axes of the output in place of the query's features."""
        raise NotImplementedError

    def _rest(self, rank: int) -> tuple[int, ...]:
        return tuple(axis for axis in range(1, rank - 1) if axis not in self.axes(rank))

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
        self._check_shapes(query, value, key)
        mask = keywords.get("attention_mask")
        scores = self._scores(query, key)
        if mask is not None and not self._goes_with(tuple(mask), scores, len(query)):
            expected = ", ".join(str(size or "steps") for size in (*self._steps(query), *self._steps(key)))
            raise self.error(f"its attention_mask has the shape {tuple(mask)}, expected (batch, {expected})")
        for name, shape in zip(ATTENTION_INPUTS, (query, value, key), strict=True):
            given = self._given_mask(name, keywords)
            if given is not None and (len(given) != 2 or not self.takes_mask(given, shape)):
                raise self.error(f"its {name}_mask has the shape {given}, expected (batch, {shape[1] or 'steps'})")
        self._check_arrays(query, value, key)
        out: Shape = (*query[:-1], *self.outputs(query))
        return (out, scores) if keywords.get("return_attention_scores") else (out,)

    def _check_shapes(self, query: Shape, value: Shape, key: Shape) -> None:
        rank = len(query)
        if rank < 3 or {len(value), len(key)} != {rank}:
            raise self.error(f"found query, value and key of shapes {query}, {value} and {key}, over which Keras cannot attend either")
        if None in (query[-1], value[-1], key[-1]):
            raise self.error("the number of features of its inputs is not known")
        alike = [(query[axis], value[axis]) for axis in self._rest(rank)] + list(zip(value[1:-1], key[1:-1], strict=True))
        if any(None not in pair and pair[0] != pair[1] for pair in alike):
            raise self.error(f"found query, value and key of shapes {query}, {value} and {key}, which do not go together")

    def _check_arrays(self, query: Shape, value: Shape, key: Shape) -> None:
        heads = {"query": self.heads, "gate": self.heads, "key": self.key_heads, "value": self.key_heads}
        inputs = {"query": query, "gate": query, "key": key, "value": value}
        expected: dict[str, tuple[Any, ...]] = {}
        for name, shape in inputs.items():
            width = self.value_dim if name in ("value", "gate") else self.key_dim
            expected |= {f"{name}/kernel": (shape[-1], heads[name], width), f"{name}/bias": (heads[name], width)}
        out = self.outputs(query)
        expected |= {"attention_output/kernel": (self.heads, self.value_dim, *out), "attention_output/bias": out}
        self.arrays(*(expected[weight.name] for weight in self.kept))

    def _steps(self, shape: Shape) -> Shape:
        return tuple(shape[axis] for axis in self.axes(len(shape)))

    def _scores(self, query: Shape, key: Shape) -> Shape:
        """The shape of the scores."""
        rest = tuple(query[axis] for axis in self._rest(len(query)))
        return (query[0], *rest, self.heads, *self._steps(query), *self._steps(key))

    def _spread(self, rank: int) -> tuple[int, int]:
        """How many axes scores have, and where Keras adds those that a mask of them lacks."""
        steps = len(self.axes(rank))
        return rank + steps, -2 * steps - 1

    def _goes_with(self, mask: tuple[Any, ...], scores: Shape, rank: int) -> bool:
        """Does a mask of a shape say of each pair of steps whether one sees the other?"""
        axes, place = self._spread(rank)
        if not -place <= len(mask) + 1 <= axes + 1:
            return False
        pairs = list(zip(given_masks.filled(mask, axes, place), scores, strict=True))
        return all(None in pair or pair[0] in (1, pair[1]) for pair in pairs[1:])

    # -- time -------------------------------------------------------------------------------------------------------------

    def memory(self, inputs: Sequence[Flow], keywords: Mapping[str, Any]) -> Mapping[str, int]:
        along_time = all(flow.steps and len(flow.shape) == 3 for flow in self._given(inputs, keywords))
        more = {"return_attention_scores", "attention_mask", *(f"{name}_mask" for name in ATTENTION_INPUTS)}
        if not along_time or not keywords.get("use_causal_mask") or any(keywords.get(name) is not None for name in more):
            return {}
        return {"keys": self.key_heads * self.key_dim, "values": self.key_heads * self.value_dim}

    def course(self, inputs: Sequence[Flow], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> Course:
        if self.memory(inputs, keywords):
            return Course(tuple(Flow(shape, True) for shape in outputs))
        query, value, key = self._given(inputs, keywords)
        mask = keywords.get("attention_mask")
        counted = keywords.get("use_causal_mask") or self.band or (mask is not None and not self._is_alike(mask))
        unlike = COUNTED_STEPS if counted else SCORES_OUT if keywords.get("return_attention_scores") else ""
        return attending(self, (query, value, key), outputs, unlike if self.axes(len(query.shape)) == (1,) else OTHER_AXES)

    def _is_alike(self, mask: Flow) -> bool:
        """Has an attention_mask in a stream a row for each timestep as it comes, or one for all of them?"""
        return len(mask.shape) == 3 if mask.steps else mask.held is not None and mask.shape[-2] == 1

    # -- masks ------------------------------------------------------------------------------------------------------------

    def _mask(self, query: Tensor, value: Tensor, key: Tensor, keywords: Mapping[str, Any]) -> np.ndarray | None:
        """Which steps of the value each step of the query sees: bool, of the scores' shape or broadcast to it.

        Numbers of a mask that is given are left as they are where the layer weighs by them: where there is no other mask.
        """
        parts = []
        if self.rules.attention_masks:
            query_mask, value_mask, key_mask = self._masks(query, value, key, keywords)
            parts += [query_mask[..., None]] if query_mask is not None else []
            parts += [mask[..., None, :] for mask in (value_mask, key_mask) if mask is not None]
        steps, others = query.value.shape[1], value.value.shape[1]
        if keywords.get("use_causal_mask"):
            parts.append(causal_mask(steps, others)[None])
        if self.band:
            parts.append(banded(steps, others, self.band)[None])
        given = keywords.get("attention_mask")
        if given is not None:
            parts.append(self._given_pairs(given.value, query.value.ndim, keywords, alone=not parts))
        (axes, place), scores = self._spread(query.value.ndim), self._scores(query.value.shape, key.value.shape)
        mask: np.ndarray | None = None
        for part in parts:
            if not self._goes_with(part.shape, scores, query.value.ndim):
                raise self.error(f"it has a mask of shape {part.shape} for scores of shape {scores}: Keras cannot run it either")
            part = part.reshape(given_masks.filled(part.shape, axes, place))
            mask = part if mask is None else mask & part
        return mask

    def _given_pairs(self, mask: np.ndarray, rank: int, keywords: Mapping[str, Any], *, alone: bool) -> np.ndarray:
        """The mask of pairs that a call is given, for inputs of so many axes; alone, if there is no other."""
        return mask if self.rules.heads_mask_weighs and alone else given_masks.as_bool(mask)

    def _masks(self, query: Tensor, value: Tensor, key: Tensor, keywords: Mapping[str, Any]) -> list[np.ndarray | None]:
        """The masks of query, value and key: those that the call is given, else their own."""
        own = [query, value, key if key is not value else key._replace(mask=None)]
        for n, name in enumerate(ATTENTION_INPUTS):
            if (given := self._given_mask(name, keywords)) is not None:
                own[n] = own[n]._replace(mask=given_masks.as_bool(given.value))
        return [self.step_mask(tensor) if query.value.ndim == 3 else tensor.mask for tensor in own]

    def _given_mask(self, name: str, keywords: Mapping[str, Any]) -> Any:
        """The mask that a call is given for an input. A Keras that takes the query's own mask off reads that one in any case."""
        ignored = name == "query" and self.row.takes_masks and self.rules.attention_takes_masks
        return None if ignored else keywords.get(f"{name}_mask")

    def _weighs_nothing(self, rank: int, keywords: Mapping[str, Any]) -> bool:
        """Is what is hidden of no weight in any case, as in the longer one of Keras's two ways to attend?"""
        return self.rules.blind_attention == "zeros" and not self._short(rank, keywords)

    def _short(self, rank: int, keywords: Mapping[str, Any]) -> bool:
        return rank == 3 and not float(self.config.get("dropout") or 0) > 0 and not keywords.get("return_attention_scores")

    def _reads_numbers(self, rank: int, keywords: Mapping[str, Any]) -> bool:
        """Does it ask a mask of pairs, the only one, for more than which numbers are not 0?"""
        return self.rules.heads_mask_weighs

    # -- in NumPy ---------------------------------------------------------------------------------------------------------

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        query, value, key = self._given(inputs, keywords)
        steps, others = numbers_in(query[:-1]), numbers_in(value[:-1])
        projected = self.heads * (steps * (self.key_dim + 2 * self.value_dim) + others * (self.key_dim + self.value_dim))
        return 2 * numbers_in(*outputs) + projected + 3 * numbers_in(self._scores(query, key))

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        given = self._given(inputs, keywords)
        remembering = states is not None and self.path in states
        mask = None if remembering else self._mask(*given, keywords)
        query, value, key = (floating(tensor.value) for tensor in given)
        check_steps(self, query, value, key)
        arrays = dict(zip((weight.name for weight in self.kept), self.cast(query.dtype), strict=True))
        group = self.heads // self.key_heads
        q = self._apart(projected(query, arrays, "query"))
        both = [projected(key, arrays, "key"), projected(value, arrays, "value")]
        there: np.ndarray | None = None
        if remembering and states is not None:
            *both, mask, there = self._remembered(states, both[0], both[1])
        k, v = (np.repeat(self._apart(x), group, -3) for x in both)
        scores = (q * q.dtype.type(1 / math.sqrt(self.key_dim))) @ k.swapaxes(-1, -2)
        shape = (*scores.shape[:-2], *self._steps(query.shape), *self._steps(both[0].shape[:-1]))
        scores = scores if there is None else np.where(there, scores, -np.inf)
        weights = self._weights(scores, mask, shape, self._weighs_nothing(query.ndim, keywords))
        out = self._together(weights @ v, query.shape)
        if self.gated:
            out = out * activations.function("sigmoid")(projected(query, arrays, "gate"))
        out = np.tensordot(out, arrays["attention_output/kernel"], 2)
        if self.use_bias:
            out = out + arrays["attention_output/bias"]
        result = Tensor(out, given[0].mask if self.rules.attention_masks else None)
        return (result, Tensor(weights.reshape(shape))) if keywords.get("return_attention_scores") else (result,)

    def _remembered(self, states: States, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, ...]:
        """Keys and values of all steps so far; which of them the new ones see, and which there are, as (batch, heads, ...)."""
        *kept, seen, there = remembered(states, self.path, *(x.reshape(*x.shape[:2], -1) for x in (key, value)))
        if self.band:
            last = seen.sum(axis=-1, keepdims=True)
            seen = seen & (np.arange(seen.shape[-1]) > last - 1 - self.band)
        k, v = (x.reshape(*x.shape[:2], *given.shape[2:]) for x, given in zip(kept, (key, value), strict=True))
        return k, v, seen[:, None], there[:, None]

    def _weights(self, scores: np.ndarray, mask: np.ndarray | None, shape: Sequence[int], zeros: bool) -> np.ndarray:
        if mask is None:
            return activations.softmax(scores)
        mask = np.broadcast_to(mask, shape).reshape(scores.shape)
        if mask.dtype == bool:
            scores = np.where(mask, scores, scores.dtype.type(-FAR))
        else:
            scores = scores - scores.dtype.type(FAR) * (1 - mask.astype(scores.dtype))
        weights = activations.softmax(scores)
        return np.where(mask, weights, weights.dtype.type(0)) if zeros else weights

    def _order(self, rank: int) -> tuple[int, ...]:
        """The axes of what is projected, (batch, ..., heads, width), in the order of :meth:`_apart`."""
        return (0, *self._rest(rank), rank - 1, *self.axes(rank), rank)

    def _apart(self, x: np.ndarray) -> np.ndarray:
        """(batch, those along which there is no step, heads, steps, width) of what is projected."""
        x = x.transpose(self._order(x.ndim - 1))
        before = 2 + len(self._rest(x.ndim - 1))
        return x.reshape(*x.shape[:before], math.prod(x.shape[before:-1]), x.shape[-1])

    def _together(self, x: np.ndarray, query: Sequence[int]) -> np.ndarray:
        """(batch, ..., heads, width) again, with the axes of the query."""
        rank = len(query)
        whole = x.reshape(*x.shape[:-2], *(query[axis] for axis in self.axes(rank)), x.shape[-1])
        return whole.transpose(np.argsort(self._order(rank)))

    # -- in kernels -------------------------------------------------------------------------------------------------------

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        given = self._given(inputs, keywords)
        query, value, key = (one.shape for one in given)
        rest, axes = ([axis - 1 for axis in found] for found in (self._rest(1 + len(query)), self.axes(1 + len(query))))
        if key[:-1] != value[:-1] or any(query[axis] != key[axis] for axis in rest) or 0 in (*query, *key):
            return None  # for apply to refuse
        hidden = self._hidden(b, given, keywords)
        if hidden is None:
            return None
        sources, wanted = read_once(b, [floats(b, one) for one in given]), bool(keywords.get("return_attention_scores"))
        out: Value | None
        if all(one_axis(shape, along) for shape in (query, key) for along in (rest, axes)):
            out, shown = self._attended(b, sources, rest, axes, hidden, wanted)
        else:  # the numbers of steps are not a row of equal distances
            order = [*rest, *axes, len(query) - 1]
            moved = [transposed(b, one, order) for one in sources]
            if moved[0] is None or moved[1] is None or moved[2] is None:
                return None
            places = list(range(len(query) - 1))
            out, shown = self._attended(b, [one for one in moved if one], places[: len(rest)], places[len(rest) :], hidden, wanted)
            out = transposed(b, out, [*np.argsort(order[:-1]), *range(len(query) - 1, len(out.shape))])
        if out is None:
            return None
        out = out._replace(mask=given[0].mask if self.rules.attention_masks else None)
        return (out,) if shown is None else (out, Value(shown, known(self._scores((None, *query), (None, *key)))))

    def _attended(
        self, b: Builder, sources: Sequence[Value], rest: Sequence[int], axes: Sequence[int], hidden: Hidden, wanted: bool
    ) -> tuple[Value, Buffer | None]:
        query, _, key = (source.shape for source in sources)
        q, k, v = self._projected(b, sources, rest, axes)
        out = new(b, (*query[:-1], self.heads * self.value_dim))
        y = placed(out, 0, self.value_dim, rest, axes)
        steps, others = (math.prod(shape[axis] for axis in axes) for shape in (query, key))
        outer, group = math.prod(query[axis] for axis in rest), self.heads // self.key_heads
        sizes = Sizes(outer, self.key_heads, group, steps, others, self.key_dim, self.value_dim)
        memory = kept_steps(b, self.path, k, v, sizes)
        if memory is not None:
            k, v, past = memory
            sizes, hidden = sizes._replace(others=b.max_steps), replace(hidden, past=past)
        shown = attended(b, (q, k, v, y), sizes, hidden, 1 / math.sqrt(self.key_dim), scores=wanted)
        if hidden.past is not None:
            passed(b, hidden.past, steps)
        if self.gated:
            gate = self._weighted(b, sources[0], ["gate"], default_code("sigmoid") or 0)
            out = merged(b, "multiply", [out, gate])
        shape = (*query[:-1], *self.outputs((None, *query)))
        return reshaped(b, self._weighted(b, out, ["attention_output"]), shape), shown

    def _projected(self, b: Builder, sources: Sequence[Value], rest: Sequence[int], axes: Sequence[int]) -> list[Matrices]:
        """Where query, key and value are once they are projected: those of one source by one product."""
        query, value, key = sources
        found: dict[str, Matrices] = {}
        names = {
            "query": (query, self.key_dim, self.heads), "key": (key, self.key_dim, self.key_heads),
            "value": (value, self.value_dim, self.key_heads),
        }  # fmt: skip
        while len(found) < len(names):
            source = next(given for name, (given, _, _) in names.items() if name not in found)
            mine = [name for name, (given, _, _) in names.items() if given.buffer == source.buffer and given.shape == source.shape]
            together, first = self._weighted(b, source, mine), 0
            for name in mine:
                _, width, heads = names[name]
                found[name] = placed(together, first, width, rest, axes)
                first += width * heads
        return [found["query"], found["key"], found["value"]]

    def _weighted(self, b: Builder, x: Value, names: Sequence[str], activation: int = 0) -> Value:
        """The products of x and the kernels of some parts, side by side, with their biases."""
        arrays = dict(zip((weight.name for weight in self.kept), self.spec.weights, strict=True))
        kernels = [arrays[f"{name}/kernel"] for name in names]
        inner = x.shape[-1]

        def matrix() -> np.ndarray:
            return np.concatenate([kernel.reshape(inner, -1).astype(np.float32) for kernel in kernels], axis=1)

        def bias() -> np.ndarray:
            return np.concatenate([arrays[f"{name}/bias"].reshape(-1).astype(np.float32) for name in names])

        shape = inner, sum(kernel.size for kernel in kernels) // inner
        what = " and ".join(names)
        made = weighted(b, self, what, x, matrix, shape, bias=bias if self.use_bias else None, activation=activation)
        assert made is not None  # no axis is empty
        return made

    def _hidden(self, b: Builder, given: Sequence[Value], keywords: Mapping[str, Any]) -> Hidden | None:
        """What :meth:`_mask` hides, for kernels; None where they cannot."""
        query, value, key = (one.shape for one in given)
        axes = self.axes(1 + len(query))
        causal, pairs = bool(keywords.get("use_causal_mask")), keywords.get("attention_mask")
        masks = self._step_masks(b, given, keywords) if self.rules.attention_masks else [None, None, None]
        by_time = causal or self.band or any(mask is not None for mask in masks)
        if by_time and axes != (1,):
            return None
        if any(mask is not None and mask.shape != shape[:1] for mask, shape in zip(masks, (query, value, key), strict=True)):
            return None  # for apply to refuse
        if isinstance(pairs, Value) and not by_time and self._reads_numbers(1 + len(query), keywords):
            return None
        found = None
        if pairs is not None:
            found = self._pairs(pairs if isinstance(pairs, Mask) else mask_of(b, pairs), query, key)
            if found is None:
                return None
        others = [mask for mask in masks[1:] if mask is not None]
        return Hidden(
            masks[0], merged_masks(b, "and", others) if others else None, found, causal, min(self.band, WIDEST),
            (bool(by_time) or pairs is not None) and self._weighs_nothing(1 + len(query), keywords),
        )  # fmt: skip

    def _step_masks(self, b: Builder, given: Sequence[Value], keywords: Mapping[str, Any]) -> list[Mask | None]:
        """Those of query, value and key, as :meth:`_masks`."""
        query, value, key = given
        masks = [query.mask, value.mask, key.mask if key is not value else None]
        for n, name in enumerate(ATTENTION_INPUTS):
            own = self._given_mask(name, keywords)
            if own is not None:
                masks[n] = own if isinstance(own, Mask) else mask_of(b, own)
        return masks

    def _pairs(self, mask: Mask, query: Sequence[int], key: Sequence[int]) -> Pairs | None:
        """Where the bytes of a mask of pairs are; None where they are at no equal distances."""
        rank = 1 + len(query)
        scores = known(self._scores((None, *query), (None, *key)))
        steps = broadcast_steps(given_masks.filled((1, *mask.shape), *self._spread(rank))[1:], scores)
        found, first = [], 0
        for axes in (len(self._rest(rank)), 1, len(self.axes(rank)), len(self.axes(rank))):
            counts, (each,) = joined(scores[first : first + axes], steps[first : first + axes])
            if len(counts) > 1:
                return None
            found.append(each[0] if each else 0)
            first += axes
        return Pairs(mask.buffer, math.prod(mask.shape), *found)


def known(shape: Shape) -> tuple[int, ...]:
    """A shape less the batch, of which every size is known."""
    return tuple(size for size in shape[1:] if size is not None)


def projected(x: np.ndarray, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """(batch, ..., heads, width) of x (batch, ..., features), by the arrays of one part."""
    out = np.tensordot(x, arrays[f"{name}/kernel"], 1)
    return out + arrays[f"{name}/bias"] if f"{name}/bias" in arrays else out


class MultiHeadAttention(Heads):
    """Vaswani et al. 2017."""

    CLASSES = ("MultiHeadAttention",)
    HONOURED = frozenset({
        "num_heads", "key_dim", "value_dim", "use_bias", "output_shape", "attention_axes", "use_gate", "sliding_window", "dropout",
    })  # fmt: skip

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.heads = self.key_heads = int(self.config["num_heads"])
        self.key_dim = int(self.config["key_dim"])
        self.value_dim = int(self.config.get("value_dim") or self.key_dim)
        self._check_sizes()

    def axes(self, rank: int) -> tuple[int, ...]:
        given = self.config.get("attention_axes")
        if given is None:
            return tuple(range(1, rank - 1))
        # A Keras that leaves those below 0 as they are counts them among the axes of what is projected, of which there is one more.
        axes = tuple(int(axis) + (rank + 1 if int(axis) < 0 else 0) for axis in ((given,) if isinstance(given, int) else given))
        if 0 in axes or rank - 1 in axes:
            raise self.unsupported(f"argument attention_axes={given} {ACROSS if 0 in axes else OVER_HEADS}")
        if len(set(axes)) < len(axes) or not axes or any(not 0 < axis < rank - 1 for axis in axes):
            raise self.error(f"attention_axes={given} are no axes of steps of an input of {rank} axes")
        return axes

    def outputs(self, query: Shape) -> tuple[int, ...]:
        width = self.config.get("output_shape")
        return (query[-1] or 0,) if not width else (width,) if isinstance(width, int) else tuple(int(size) for size in width)


class GroupQueryAttention(Heads):
    """Ainslie et al. 2023: several heads of the query share one of key and value."""

    CLASSES = ("GroupQueryAttention",)
    HONOURED = frozenset({
        "head_dim", "num_query_heads", "num_key_value_heads", "use_bias", "use_gate", "sliding_window", "dropout",
    })  # fmt: skip

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.heads, self.key_heads = int(self.config["num_query_heads"]), int(self.config["num_key_value_heads"])
        self.key_dim = self.value_dim = int(self.config["head_dim"])
        self._check_sizes()

    def _check_shapes(self, query: Shape, value: Shape, key: Shape) -> None:
        super()._check_shapes(query, value, key)
        if len(query) != 3:
            raise self.error(f"reads inputs of 3 axes, found {query}")

    def outputs(self, query: Shape) -> tuple[int, ...]:
        return (query[-1] or 0,)

    def _given_pairs(self, mask: np.ndarray, rank: int, keywords: Mapping[str, Any], *, alone: bool) -> np.ndarray:
        # The Softmax of the longer way takes numbers up to a half as 0.
        return mask > 0.5 if alone and self._reads_numbers(rank, keywords) else given_masks.as_bool(mask)

    def _reads_numbers(self, rank: int, keywords: Mapping[str, Any]) -> bool:
        return not self._short(rank, keywords)
