"""Every model of the corpus with several inputs, stepped with each choice of the others held, gives what its Keras gave at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import golden
import numpy as np
import pytest
from sweeping import QUARTERS, quarter_of

import fastlstm
from fastlstm.errors import FastLSTMError, UnsupportedError


def recorded(case: golden.Case) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs, several and no calls in a row, and outputs; nothing of other cases."""
    recording = case.folder / f"{case.name}.npz"
    if not recording.exists():
        return [], []
    with np.load(recording) as arrays:
        found = [[arrays[f"{kind}{n}"] for n in range(9) if f"{kind}{n}" in arrays] for kind in "xy"]
    return (found[0], found[1]) if len(found[0]) > 1 else ([], [])


def stepped(stream: fastlstm.Stream, sequences: list[np.ndarray]) -> list[list[np.ndarray]]:
    """Outputs of every step."""
    steps = ([x[:, t] for x in sequences] for t in range(sequences[0].shape[1]))
    return [golden.flat(stream.step(given if len(given) > 1 else given[0])) for given in steps]


def outcomes(case: golden.Case) -> Iterator[tuple[str, str]]:
    """What came of each choice."""
    inputs, expected = recorded(case)
    if not inputs:
        return
    try:
        model = fastlstm.load(case.path, architecture=case.architecture)
    except FastLSTMError:
        return
    names = [info.name for info in model.inputs]
    for count in range(1, len(inputs)):
        for numbers in combinations(range(len(inputs)), count):
            held = {name: x for n, (name, x) in enumerate(zip(names, inputs, strict=True)) if n not in numbers}
            label = f"{case} {[names[n] for n in numbers]}"
            try:
                stream = model.stream(len(inputs[0]), initial=held)
            except UnsupportedError:
                yield "refused", label
                continue
            sequences = [inputs[n] for n in numbers]
            if any(x.ndim < 3 and model.inputs[n].vocabulary is None for n, x in zip(numbers, sequences, strict=True)):
                continue  # no sequence of timesteps
            found = stepped(stream, sequences)
            for number, y in enumerate(expected):
                last, ys = found[-1][number], [outputs[number] for outputs in found]
                y_found = last if last.shape == y.shape else np.stack(ys, axis=1)
                right = golden.difference(y_found, y) <= golden.bound(y, golden.in_half_precision(case))
                yield ("right" if right else "wrong"), f"{label} {number}"


@pytest.mark.parametrize("quarter", QUARTERS)
def test_held_inputs(quarter: int, golden_folders: tuple[Path, ...]) -> None:
    cases = [case for case in golden.cases(*golden_folders) if not re.search("stateful", case.name)]
    found = [outcome for case in quarter_of(cases, quarter) for outcome in outcomes(case)]
    counts = Counter(kind for kind, _ in found)
    assert not [label for kind, label in found if kind == "wrong"]
    assert counts["right"] > 20 and counts["refused"] > 5
