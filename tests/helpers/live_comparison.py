"""A file that Keras wrote: in kernels and in NumPy the same numbers and refusals, and those of Keras."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import golden
import numpy as np

import fastlstm
from fastlstm.errors import FastLSTMError


@dataclass
class Tried:
    counts: Counter[str] = field(default_factory=Counter)
    worst: float = 0.0
    native: int = 0  # layers that have not run in NumPy
    in_numpy: Counter[str] = field(default_factory=Counter)  # those that have, by class

    def __str__(self) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        others = ", ".join(f"{name} {count}" for name, count in sorted(self.in_numpy.items())) or "none"
        return f"{counts}; largest difference {self.worst:.2g} of what is allowed; {self.native} layers native, in NumPy: {others}"


def compare(path: Path, given_arrays: list[np.ndarray], theirs: list[np.ndarray] | None, tried: Tried, script: list[str]) -> None:
    found: dict[str, list[np.ndarray] | FastLSTMError] = {}
    for precision in ("float32", "float64"):
        try:
            model = fastlstm.load(path, precision=precision)
            found[precision] = golden.flat(model.predict(given_arrays))
            if precision == "float32":
                tried.native += sum(layer.runs != "NumPy" for layer in model.layers)
                tried.in_numpy.update(layer.class_name for layer in model.layers if layer.runs == "NumPy")
        except FastLSTMError as error:
            found[precision] = error
    native, truth = found["float32"], found["float64"]
    refused = [outcome for outcome in (native, truth) if isinstance(outcome, FastLSTMError)]
    if refused:
        assert len(refused) == 2, (script, refused)
        assert type(native) is type(truth), (script, refused)
        tried.counts["refused by both" if theirs is None else "refused here alone"] += 1
        # What Keras computes is computed, or said to be unsupported; lengths that do not go together are refused by both.
        assert theirs is None or isinstance(native, fastlstm.UnsupportedError), (script, native)
        return
    tried.counts["equal" if theirs is not None else "computed here alone"] += 1
    assert not isinstance(native, FastLSTMError) and not isinstance(truth, FastLSTMError)
    for number, (y, wide) in enumerate(zip(native, truth, strict=True)):
        assert wide.dtype == np.float64
        for other in (wide, theirs[number]) if theirs is not None else (wide,):
            assert y.shape == other.shape, (script, number)
            allowed = golden.bound(other)
            tried.worst = max(tried.worst, golden.difference(y, other) / allowed)
            assert golden.difference(y, other) <= allowed, (script, number)
