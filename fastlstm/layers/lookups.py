"""Layers that look terms up in a vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np

from ..errors import InputError
from ..kept_arrays import reserved_ids
from ..spec import LayerSpec, Shape
from . import hashes
from .base import Context, States, Tensor
from .categories import INT64, Categories, as_strings, whole
from .texts import as_objects, drawn

#: In place of an id: the term is not in the vocabulary.
UNKNOWN = -1
#: Terms that examples are made of, at the most.
SAMPLED = 1000
#: Unknown terms that an error lists.
LISTED = 3


class Lookup(Categories):
    """A vocabulary, whose ids follow those of what is masked and of unknown terms."""

    HONOURED = Categories.HONOURED | {
        "mask_token", "oov_token", "num_oov_indices", "max_tokens", "pad_to_max_tokens", "invert", "salt", "oov_method",
    }  # fmt: skip
    INERT = frozenset({"sparse", "ragged", "encoding", "vocabulary_dtype", "lowest"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.masked_ids, self.unknown_ids = reserved_ids(self.config)
        self.first = self.masked_ids + self.unknown_ids
        self.inverts = bool(self.config.get("invert"))
        self.mask_token = self.config.get("mask_token")
        self.salt = self.config.get("salt")

    @property
    def count(self) -> int:
        """How many terms there are."""
        raise NotImplementedError

    @property
    def idf(self) -> np.ndarray:
        """The weights of ids, in ``output_mode="tf_idf"``."""
        return self.spec.weights[-1]

    @property
    def depth(self) -> int:
        depth = self.first + self.count
        return int(self.config["max_tokens"]) if self.config.get("pad_to_max_tokens") else depth

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        if self.mode == "tf_idf" and self.idf.shape != (self.depth,):
            raise self.error(f"idf_weights has shape {self.idf.shape}, expected {(self.depth,)}")
        return super().shapes(inputs, keywords)

    def count_params(self) -> int:
        return self.idf.size if self.mode == "tf_idf" else 0

    @property
    def masked_id(self) -> int:
        """The id of what is masked; one beyond all vectors where none is reserved for it."""
        return 0 if self.masked_ids else INT64.max

    def settled(self, ids: np.ndarray, given: np.ndarray) -> np.ndarray:
        """Ids with those of unknown terms filled in; ``given`` are the terms."""
        missing = ids == UNKNOWN
        if self.unknown_ids == 1 or not missing.any():
            return np.where(missing, self.masked_ids, ids) if self.unknown_ids == 1 else ids
        unknown = given[missing]
        if self.unknown_ids == 0:
            listed = ", ".join(map(repr, unknown[:LISTED].tolist()))
            raise InputError(
                f"layer {self.path!r} ({self.spec.class_name}): expected terms of its vocabulary alone (num_oov_indices=0), "
                f"found {listed}{' and others' if len(unknown) > LISTED else ''}"
            )
        ids = ids.copy()
        ids[missing] = self.masked_ids + self.buckets(unknown)
        return ids

    def buckets(self, unknown: np.ndarray) -> np.ndarray:
        """The place of unknown terms among the ids reserved for them."""
        strings = as_strings(unknown)
        return hashes.buckets(hashes.farm(strings) if self.salt is None else hashes.sip(strings, self.salt), self.unknown_ids)

    def weighed(self, encoded: np.ndarray) -> np.ndarray:
        """Vectors of counts, by the weights of ids."""
        return encoded * self.idf if self.mode == "tf_idf" else encoded


class StringLookup(Lookup):
    """Ids of texts, or (``invert``) texts of ids."""

    CLASSES = ("StringLookup",)

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        if (self.mode == "tf_idf" and len(spec.weights) != 3) or (self.mode != "tf_idf" and len(spec.weights) != 2):
            raise self.error(f"expected the arrays of a vocabulary of text, found {len(spec.weights)} arrays")
        data, ends = spec.weights[:2]
        known = data.dtype == np.uint8 and ends.dtype == np.int64 and data.ndim == ends.ndim == 1
        if not known or (len(ends) and (np.any(np.diff(ends, prepend=0) < 0) or ends[-1] != data.size)) or (data.size and not len(ends)):
            raise self.error("its vocabulary is damaged: where its terms end does not fit them")

    @property
    def count(self) -> int:
        return len(self.spec.weights[1])

    def terms(self) -> list[bytes]:
        """The terms in the order of their ids."""
        data, ends = self.spec.weights[0].tobytes(), self.spec.weights[1].tolist()
        return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    @cached_property
    def table(self) -> dict[bytes, int]:
        """The id of each term, and of what is masked."""
        table = {term: number for number, term in enumerate(self.terms(), start=self.first)}
        if self.mask_token is not None:
            table[self.mask_token.encode()] = self.masked_id
        return table

    @cached_property
    def inverse(self) -> np.ndarray:
        """The term of each id, and after them the one for unknown ids."""
        unknown = (self.config.get("oov_token") or "").encode()
        terms = [unknown] * self.first + self.terms() + [unknown]
        if self.mask_token is not None:
            terms[0] = self.mask_token.encode()
        return as_objects(terms, (len(terms),))

    def sample(self, size: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        if self.inverts:
            return random.integers(0, self.first + self.count, size)
        return drawn(self.terms()[:SAMPLED] + [b"unknown"] * bool(self.unknown_ids), size, random)

    def found(self, strings: Iterable[bytes], count: int) -> np.ndarray:
        """Ids of so many strings."""
        default = self.masked_ids if self.unknown_ids == 1 else UNKNOWN
        return np.fromiter(map(self.table.get, strings, repeat(default)), np.int64, count)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        value = inputs[0].value
        if self.inverts:
            ids = whole(value)
            known = (ids >= 0) & (ids < len(self.inverse) - 1)
            return (Tensor(self.inverse[np.where(known, ids, len(self.inverse) - 1)]),)
        flat = value.reshape(-1)
        ids = self.settled(self.found(flat.tolist(), flat.size), flat).reshape(value.shape)
        return (Tensor(self.weighed(self.encoded(ids))),)


class IntegerLookup(Lookup):
    """Ids of whole numbers, or (``invert``) the numbers of ids."""

    CLASSES = ("IntegerLookup",)

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        if len(spec.weights) != 1 + (self.mode == "tf_idf") or spec.weights[0].dtype != np.int64 or spec.weights[0].ndim != 1:
            raise self.error("expected the array of a vocabulary of whole numbers")
        self.order = np.argsort(spec.weights[0], kind="stable")
        self.sorted = spec.weights[0][self.order]

    @property
    def count(self) -> int:
        return len(self.spec.weights[0])

    def buckets(self, unknown: np.ndarray) -> np.ndarray:
        if self.config.get("oov_method", "floormod") == "floormod":
            return np.mod(unknown, self.unknown_ids)
        return super().buckets(unknown)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        given = whole(inputs[0].value)
        if self.inverts:
            return (Tensor(self._terms(given)),)
        place = np.searchsorted(self.sorted, given)
        inside = np.minimum(place, max(self.count - 1, 0))
        there = self.sorted[inside] == given if self.count else np.zeros(given.shape, bool)
        ids = np.where(there, self.order[inside] + self.first, UNKNOWN) if self.count else np.full(given.shape, UNKNOWN)
        if self.mask_token is not None:
            ids = np.where(given == self.mask_token, self.masked_id, ids)
        return (Tensor(self.weighed(self.encoded(self.settled(ids, given)))),)

    def sample(self, size: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        if self.inverts:
            return random.integers(0, self.first + self.count, size)
        terms = np.append(self.spec.weights[0][:SAMPLED], self.spec.weights[0].max(initial=0) // 2 + 1)
        return random.choice(terms[: len(terms) - (self.unknown_ids == 0)], size)

    def _terms(self, ids: np.ndarray) -> np.ndarray:
        known = (ids >= self.first) & (ids < self.first + self.count)
        terms = np.append(self.spec.weights[0], int(self.config.get("oov_token", -1)))
        found = terms[np.where(known, ids - self.first, self.count)]
        return found if self.mask_token is None else np.where(ids == 0, self.mask_token, found)
