"""TextVectorization: sentences become ids of their words, or vectors of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from typing import Any, cast

import numpy as np

from ..spec import LayerSpec, Shape
from .base import Context, States, Tensor
from .categories import INT64
from .lookups import SAMPLED, Lookup, StringLookup
from .texts import CHARACTER, WHITESPACE, characters, drawn, ngrams, standardized, tokens
from .token_table import TokenTable

#: Texts that are looked up at once: so that what is made of them stays in the cache.
BLOCK, LARGE_BLOCK = 16, 32
#: So many texts are worth a table of their own.
MANY = 16
#: Words of an example, at the most.
WORDS = 12


class TextVectorization(StringLookup):
    """Standardizes text, splits it, joins ngrams, and looks them up; rows are padded with the id of what is masked."""

    CLASSES = ("TextVectorization",)
    HONOURED = Lookup.HONOURED | {"standardize", "split", "ngrams", "output_sequence_length", "lowest"}
    INERT = Lookup.INERT - {"lowest"}

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.standardize, self.split = self.config.get("standardize"), self.config.get("split")
        self.length: int | None = self.config.get("output_sequence_length")
        self.widths: Sequence[int] | None = self.config.get("ngrams")

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return False

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        return super().shapes([self._token_shape(inputs[0])], keywords)

    def _token_shape(self, shape: Shape) -> Shape:
        """The shape of the ids of tokens."""
        if self.split is None:
            if len(shape) < 2 and (self.widths is not None or self.length is not None):
                raise self.unsupported("without split, input of shape (batch,) is one sentence, whose words are the rows")
            if self.widths is not None:
                count = shape[-1]
                shape = (*shape[:-1], None if count is None else sum(max(count - width + 1, 0) for width in self.widths))
            return shape if self.length is None else (*shape[:-1], self.length)
        if len(shape) > 1 and shape[-1] != 1:
            raise self.error(f"expected input of shape (batch,) or with a last axis of 1, which is split, found {shape}")
        if self.mode == "one_hot":
            raise self.unsupported("output_mode='one_hot' of text that is split is not computed")
        return (*(shape[:-1] or shape), self.length)

    def pads_rows(self) -> bool:
        return self.split is not None and self.mode == "int" and self.length is None

    def sample(self, size: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
        return drawn([*self.terms()[:SAMPLED], b"Unknown,", b"and, more"], size, random, most=WORDS)

    @cached_property
    def letters(self) -> dict[str, int]:
        """The ids of those terms that are one character."""
        decoded = ((term.decode("utf-8", "replace"), term, number) for term, number in self.table.items())
        return {text: number for text, term, number in decoded if len(text) == 1 and text.encode() == term}

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        value = inputs[0].value
        texts = value.reshape(-1).tolist()
        if self.split is None:
            return (Tensor(self._whole(standardized(texts, self.standardize), value.shape)),)
        look_up, block = (self._looked_up, BLOCK) if len(texts) < MANY or not self._plain else (self._looked_up_at_once, LARGE_BLOCK)
        parts = [look_up(texts[first : first + block]) for first in range(0, len(texts), block)]
        ids = np.concatenate([part[0] for part in parts] or [np.empty(0, np.int64)])
        lengths = np.concatenate([part[1] for part in parts] or [np.empty(0, np.int64)])
        outer = value.shape[:-1] if value.ndim > 1 else value.shape
        found = self._arranged(ids, lengths)
        return (Tensor(found.reshape(*outer, found.shape[-1])),)

    @property
    def _plain(self) -> bool:
        """Are its tokens words, between white space?"""
        return self.split == WHITESPACE and self.widths is None

    @cached_property
    def words(self) -> TokenTable:
        """The ids of terms, for many words at once."""
        return TokenTable(self.table, self.masked_ids)

    def _looked_up_at_once(self, texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`_looked_up`, for many words."""
        return self.words.look_up(standardized(texts, self.standardize), self.length)

    def _looked_up(self, texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """The ids of the tokens of some texts, one after the other, and how many each has."""
        texts, table = standardized(texts, self.standardize), cast("Mapping[Any, int]", self.table)
        rows: Sequence[Sequence[Any]]
        if self.split == CHARACTER and self.widths is None:
            rows, table = characters(texts), self.letters
        else:
            rows = tokens(texts, cast(str, self.split))
            rows = rows if self.widths is None else ngrams(rows, self.widths)
        if self.length is not None:
            rows = [row[: self.length] for row in rows]
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return np.fromiter(map(table.get, chain.from_iterable(rows), repeat(self.masked_ids)), np.int64, int(lengths.sum())), lengths

    def _arranged(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Rows of ids padded to one length, or their vectors."""
        if self.mode != "int":
            vectors = self.weighed(self.counted(np.repeat(np.arange(len(lengths)), lengths), ids, len(lengths)))
            if self.config.get("lowest"):
                vectors[lengths == 0] = INT64.min
            return vectors
        longest = int(lengths.max(initial=0)) if self.length is None else self.length
        padded = np.zeros((len(lengths), longest), np.int64)
        padded[np.arange(longest) < lengths[:, np.newaxis]] = ids
        return padded

    def _whole(self, texts: Sequence[bytes], shape: Sequence[int]) -> np.ndarray:
        """Ids of texts that are tokens themselves."""
        if self.widths is not None:
            rows = ngrams([texts[n : n + shape[-1]] for n in range(0, len(texts), shape[-1])], self.widths)
            shape = (*shape[:-1], sum(max(shape[-1] - width + 1, 0) for width in self.widths))
            texts = list(chain.from_iterable(rows))
        ids: np.ndarray = self.found(texts, len(texts)).reshape(tuple(shape))
        if self.length is not None and self.mode == "int":
            trimmed = ids[..., : self.length]
            ids = np.zeros((*shape[:-1], self.length), np.int64)
            ids[..., : trimmed.shape[-1]] = trimmed
        return self.weighed(self.encoded(ids))
