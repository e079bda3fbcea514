"""Models of the golden corpus cut at every layer: what the two parts compute, one after the other, is what the whole does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from sweeping import QUARTERS, quarter_of

import fastlstm
from fastlstm.errors import FastLSTMError, InputError, UnsupportedError

#: Why a model may not end at a layer.
NEVER = {"has no row for each row of a batch": "has no rows", "is of complex numbers": "is complex"}
#: Why a model may not begin at a layer.
REASONS = {"has a mask in the whole model": "masks", "depend on more than these inputs": "other ways around"}


def wholes(folders: tuple[Path, ...], quarter: int) -> Iterator[tuple[golden.Case, fastlstm.Model, dict[str, np.ndarray]]]:
    """Stateless models of each construction, with recorded inputs by name."""
    recorded = [case for case in golden.cases(*folders) if (case.folder / f"{case.name}.npz").exists()]
    for case in quarter_of(golden.lean(recorded), quarter):
        try:
            model = fastlstm.load(case.path)
        except FastLSTMError:
            continue
        with np.load(case.folder / f"{case.name}.npz") as file:
            _, inputs, _ = next(golden.calls(dict(file)))
        if not model.executor.stateful and len(inputs) == len(model.inputs):
            yield case, model, dict(zip([info.name for info in model.inputs], inputs, strict=True))


def parts(case: golden.Case, name: str, given: dict[str, np.ndarray], counts: Counter[str]) -> Any:
    """What the model gives when it is computed up to a layer, and then from there; None where that does not go."""
    try:
        first = fastlstm.load(case.path, outputs=[name])
    except UnsupportedError as error:
        reason = next((text for text in NEVER if text in str(error)), None)
        assert reason is not None, f"{case}, {name}: {error}"
        counts[f"that would end where a tensor {NEVER[reason]}"] += 1
        return None
    if not {info.name for info in first.inputs} <= set(given):
        counts["taken out"] += 1  # a nested model that is used twice
        return None
    between = first.predict([given[info.name] for info in first.inputs])
    try:
        second = fastlstm.load(case.path, inputs=[name])
        return second.predict([between], batch_size=max(len(between), 1))  # an operation may have made rows of timesteps
    except InputError as error:
        reason = next((short for text, short in REASONS.items() if re.search(text, str(error))), None)
        assert reason is not None, f"{case}, {name}: {error}"
        counts[reason] += 1
        return None


@pytest.mark.slow
@pytest.mark.parametrize("quarter", QUARTERS)
def test_two_parts_make_the_whole(quarter: int, golden_folders: tuple[Path, ...], figure: Callable[[str, str], None]) -> None:
    counts: Counter[str] = Counter()
    for case, model, given in wholes(golden_folders, quarter):
        expected = golden.flat(model.predict(list(given.values())))
        for name in [layer.name for layer in model.layers if "/" not in layer.name]:
            found = parts(case, name, given, counts)
            if found is not None:
                counts["equal"] += 1
                for y, whole in zip(golden.flat(found), expected, strict=True):
                    assert golden.difference(y, whole) <= 10 * golden.bound(whole), f"{case}: cut at {name}"
    figure(f"golden models cut at each layer, quarter {quarter}", ", ".join(f"{count} {what}" for what, count in counts.most_common()))
    assert counts["equal"] > 25
