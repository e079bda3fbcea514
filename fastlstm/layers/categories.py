"""Layers that make categories of what they read: bins, hashes, and vectors of ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..kept_arrays import output_mode
from ..spec import LayerSpec, Shape
from . import hashes
from .base import Context, Layer, States, Tensor

#: Modes in which all ids of a sample make one vector.
SAMPLES = ("multi_hot", "count", "tf_idf")
INT64 = np.iinfo(np.int64)


class Categories(Layer):
    """What gives ids, or vectors of ids, in one of Keras's output modes."""

    HONOURED = frozenset({"output_mode", "output_dtype", "squeezes"})
    INERT = frozenset({"sparse", "pad_to_max_tokens", "lowest"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.mode = output_mode(self.config)
        self.output_dtype = np.dtype(self.config.get("output_dtype", "int64" if self.mode == "int" else "float32"))

    @property
    def depth(self) -> int:
        """The length of its vectors."""
        raise NotImplementedError

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return self.mode == "int" or (self.mode == "one_hot" and len(inputs[0]) > 2)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        return (self.encoded_shape(inputs[0]),)

    def encoded_shape(self, shape: Shape) -> Shape:
        """The output's shape, for ids of a shape."""
        if self.mode == "int":
            return shape
        if self.mode == "one_hot":
            return (*(shape[:-1] if self.squeezes(shape) else shape), self.depth)
        if len(shape) < 2:
            raise self.unsupported(f"with output_mode={self.mode!r}, input of shape {shape} makes one vector of the whole batch")
        if self.mode != "multi_hot" and len(shape) > 2:
            raise self.unsupported(f"with output_mode={self.mode!r}, input of shape {shape} is not computed")
        return (*shape[:-1], self.depth)

    def squeezes(self, shape: Sequence[int | None]) -> bool:
        """Does the vector of an id take the place of a last axis of one?"""
        return bool(self.config.get("squeezes", True)) and len(shape) > 1 and shape[-1] == 1

    def encoded(self, ids: np.ndarray) -> np.ndarray:
        """Ids (batch, ...) in the output mode; those beyond its vectors are left out, as in TensorFlow."""
        if self.mode == "int":
            return ids.astype(self.output_dtype, copy=False)
        if self.mode == "one_hot":
            ids = ids.reshape(ids.shape[:-1]) if self.squeezes(ids.shape) else ids
            places = np.arange(ids.size)
            return self.counted(places, ids.reshape(-1), ids.size, signed=True).reshape(*ids.shape, self.depth)
        samples = ids.reshape(-1, ids.shape[-1]) if ids.size else ids.reshape(int(np.prod(ids.shape[:-1])), ids.shape[-1])
        places = np.repeat(np.arange(len(samples)), samples.shape[-1])
        return self.counted(places, samples.reshape(-1), len(samples), signed=ids.ndim > 2).reshape(*ids.shape[:-1], self.depth)

    def counted(self, places: np.ndarray, ids: np.ndarray, count: int, *, signed: bool = False) -> np.ndarray:
        """How often each id is at each of so many places, (places, ids); or whether it is there."""
        if ids.size and ids.min() < 0 and not signed:
            raise InputError(f"layer {self.path!r} ({self.spec.class_name}): expected ids from 0, found {ids.min()}")
        known = (ids >= 0) & (ids < self.depth)
        found = np.bincount(places[known] * self.depth + ids[known], minlength=count * self.depth).reshape(count, self.depth)
        return (found if self.mode in ("count", "tf_idf") else np.minimum(found, 1)).astype(self.output_dtype)

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        return 2 * super().row_numbers(inputs, keywords, outputs)


def whole(array: np.ndarray) -> np.ndarray:
    """Numbers cut to whole ones, as TensorFlow casts to int64."""
    if array.dtype.kind in "iub":
        return array.astype(np.int64, copy=False)
    with np.errstate(invalid="ignore"):
        inside = (array >= float(INT64.min)) & (array < -float(INT64.min))
        return np.where(inside, array, 0).astype(np.int64) + np.where(inside, 0, INT64.min)


class CategoryEncoding(Categories):
    """Vectors of ids."""

    CLASSES = ("CategoryEncoding",)
    HONOURED = Categories.HONOURED | {"num_tokens", "checked"}

    @property
    def depth(self) -> int:
        return int(self.config["num_tokens"])

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        if len(inputs) > 1 or keywords:
            raise self.unsupported("count_weights is not computed")
        return super().shapes(inputs, keywords)

    def sample(self, size: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        return random.integers(0, self.depth, size)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        ids = whole(inputs[0].value)
        if self.config.get("checked") and ids.size and not 0 <= ids.min() <= ids.max() < self.depth:
            raise InputError(
                f"layer {self.path!r} ({self.spec.class_name}): expected ids from 0 to {self.depth - 1}, found {ids.min()} to {ids.max()}"
            )
        return (Tensor(self.encoded(ids)),)


class Discretization(Categories):
    """The bin that a number falls into: bins begin with their lower boundary."""

    CLASSES = ("Discretization",)
    HONOURED = Categories.HONOURED | {"bin_boundaries", "whole"}
    INERT = Categories.INERT | {"num_bins", "epsilon"}

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.boundaries = np.asarray(self.config.get("bin_boundaries") or (), np.float32).reshape(-1)
        if np.any(np.diff(self.boundaries) < 0) or np.isnan(self.boundaries).any():
            self.refuse("its bin_boundaries are not in order")

    @property
    def depth(self) -> int:
        return len(self.boundaries) + 1

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        # As TensorFlow's Bucketize: boundaries are float32, numbers keep their own dtype.
        value = whole(inputs[0].value) if self.config.get("whole") else inputs[0].value
        value = value if value.dtype == np.float64 else value.astype(np.float32)
        return (Tensor(self.encoded(np.searchsorted(self.boundaries, value, side="right"))),)


def as_strings(array: np.ndarray) -> list[bytes]:
    """Text as it is, numbers as TensorFlow writes them."""
    if array.dtype == object:
        return array.reshape(-1).tolist()
    return list(map(b"%d".__mod__, whole(array).reshape(-1).tolist()))


class Hashing(Categories):
    """The bucket of a hash; one is reserved for what is masked."""

    CLASSES = ("Hashing",)
    HONOURED = Categories.HONOURED | {"num_bins", "salt", "mask_value"}

    @property
    def depth(self) -> int:
        return int(self.config["num_bins"])

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        value, masked, salt = inputs[0].value, self.config.get("mask_value"), self.config.get("salt")
        strings = as_strings(value)
        reserved = masked is not None and self.depth > 1
        words = hashes.farm(strings) if salt is None else hashes.sip(strings, salt)
        ids = hashes.buckets(words, self.depth - reserved).reshape(value.shape)
        if reserved:
            if isinstance(masked, str):
                there = np.fromiter((string == masked.encode() for string in strings), bool, len(strings)).reshape(value.shape)
            else:
                there = value == masked
            ids = np.where(there, 0, ids + 1)
        return (Tensor(self.encoded(ids)),)


class HashedCrossing(Categories):
    """The bucket of a hash of several features together."""

    CLASSES = ("HashedCrossing",)
    HONOURED = Categories.HONOURED | {"num_bins"}

    @property
    def depth(self) -> int:
        return int(self.config["num_bins"])

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        if len(inputs) < 2 or len({len(shape) for shape in inputs}) > 1 or any(shape[1:] not in ((), (1,)) for shape in inputs):
            raise self.error(f"expected two or more inputs of shape (batch,) or (batch, 1), found {', '.join(map(str, inputs))}")
        return super().shapes(inputs, keywords)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        columns = [
            hashes.farm(as_strings(value)) if value.dtype == object else whole(value).reshape(-1).view(np.uint64) for value, _ in inputs
        ]
        ids = hashes.buckets(hashes.crossed(columns), self.depth).reshape(inputs[0].value.shape)
        return (Tensor(self.encoded(ids)),)
