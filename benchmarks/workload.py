"""What a workload is: a model that Keras users have, and the inputs that it sees."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

VOCABULARY = 10000

#: What a model is given: an array, or one for each input by its name.
Rows = np.ndarray | dict[str, np.ndarray]


@dataclass(frozen=True)
class Workload:
    """A model, how many rows at a time it is asked, and what they look like."""

    name: str
    what: str
    batches: tuple[int, ...]
    build: Callable[[ModuleType], Any]  # Keras -> layers of a Sequential, or a model
    rows: Callable[[np.random.Generator, int], Rows]  # (generator, batch) -> x
    #: What fastlstm is given instead of the padded array, where it needs none.
    ragged: Callable[[np.ndarray], list[np.ndarray]] | None = None
    #: Is it a Sequential? The weights of other models are found by the names of their layers.
    chain: bool = True
    #: So many rows at a time where its memory is measured.
    memory: tuple[int, ...] = ()

    def model(self, keras: ModuleType) -> Any:
        """As a model of that Keras."""
        made = self.build(keras)
        return keras.Sequential(made) if isinstance(made, list) else made

    def chosen(self, pattern: str) -> list[int]:
        """Those of its numbers of rows whose name/batch the regular expression is found in."""
        return [batch for batch in self.batches if re.search(pattern, f"{self.name}/{batch}")]

    def endless(self, batch: int) -> Iterator[Rows]:
        """Inputs, always the same ones."""
        rng = np.random.default_rng([batch, *self.name.encode()])
        while True:
            yield self.rows(rng, batch)

    def inputs(self, batch: int) -> list[Rows]:
        """Different inputs to rotate through: as many ids as would not stay in cache by chance."""
        return list(itertools.islice(self.endless(batch), max(4, math.ceil(64 / batch))))

    def many(self, rows: int) -> np.ndarray:
        """So many rows, made one after the other, so that memory at its most holds them alone."""
        following = self.endless(1)
        first = next(following)
        if isinstance(first, dict):
            raise TypeError(f"{self.name}: expected a workload of one input, found {', '.join(first)}")
        x = np.empty((rows, *first.shape[1:]), first.dtype)
        for row, made in zip(x, itertools.chain([first], following), strict=False):
            row[:] = arrays(made)["x"][0]
        return x


def arrays(x: Rows) -> dict[str, np.ndarray]:
    """The inputs by name; that of a model with one is called x."""
    return x if isinstance(x, dict) else {"x": x}


def count(x: Rows) -> int:
    """How many rows there are."""
    return len(next(iter(arrays(x).values())))


def numbers(*shape: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Rows of that shape, normally distributed."""
    return lambda rng, batch: rng.normal(size=(batch, *shape)).astype(np.float32)


def ids(timesteps: int) -> Callable[[np.random.Generator, int], np.ndarray]:
    """Words of a text, none of them 0."""
    return lambda rng, batch: rng.integers(1, VOCABULARY, (batch, timesteps), dtype=np.int32)


def hard_sigmoid(keras: ModuleType) -> Any:
    """Keras 2's: clip(0.2 x + 0.5, 0, 1). What Keras 3 calls so is something else."""
    if hasattr(keras, "ops"):
        return lambda x: keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)
    return "hard_sigmoid"
