"""Recorded examples of what stands around a network: raw input and what the network gets of it, outputs and the answer to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .inputs import TensorInfo
from .preprocessing.scaling import unscaled
from .selftest import Comparison, difference
from .spec import STRING, Example, PipelineSpec
from .surroundings import Labelled, Surroundings, along_columns

#: Rows, and sizes that a model leaves open.
ROWS, OPEN = 3, 5
#: Words of the texts that are recorded; and that are taken from the tokenizer.
LENGTHS = (1, 4, 12, 40)
WORDS = 200
UNKNOWN = "Qwertyuiop-9!"
#: No larger example is recorded.
MOST = 1 << 20
#: What functions of NumPy may be off by elsewhere, beside the largest number.
RELATIVE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 2e-6}


def record(spec: PipelineSpec, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]) -> Example | None:
    """An example of a pipeline; None where it would be too large, or there is nothing to record."""
    surroundings, random = Surroundings(spec, inputs, outputs), np.random.default_rng(0)
    shapes = [tuple(OPEN if size is None else size for size in info.shape[1:]) for info in (inputs[0], outputs[0])]
    if any(math.prod(shape) * ROWS > MOST for shape in (*shapes, (spec.maxlen or spec.window or 1,))):
        return None
    texts: tuple[str, ...] = ()
    numbers = None
    if surroundings.texts:
        texts = tuple(texts_for(spec, random))
    else:
        numbers = numbers_for(spec, shapes[0], random)
    prepared = surroundings.prepare(list(texts) if surroundings.texts else numbers)
    given = () if inputs[0].dtype == STRING else tuple(map(np.array, prepared)) if isinstance(prepared, list) else (np.array(prepared),)
    output = random.random((ROWS, *shapes[1])).astype(outputs[0].dtype)
    return Example(texts, numbers, given, output, answered(surroundings, output))


def texts_for(spec: PipelineSpec, random: np.random.Generator) -> list[str]:
    """Texts of known and unknown words, in either case, with marks between them."""
    words = spec.words
    known = [UNKNOWN] if words is None else [*sorted(words.index, key=lambda word: words.index[word])[:WORDS], UNKNOWN]
    texts = []
    for length in LENGTHS:
        drawn = [known[number] for number in random.integers(len(known), size=length)]
        glue = "" if words is not None and words.char_level else (words.split or " ") if words is not None else " "
        texts.append(glue.join([drawn[0].upper(), *drawn[1:]]) + ".")
    return texts


def numbers_for(spec: PipelineSpec, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """Raw numbers of about the size that the scaler was fitted on."""
    rows = random.normal(0.5, 0.3, (ROWS, *shape))
    if spec.window is not None:
        rows = rows[:, :1].repeat(spec.window, axis=1) if rows.shape[1] != spec.window else rows
    return rows if spec.scaler is None else along_columns(unscaled, spec.scaler, rows, "x")


def answered(surroundings: Surroundings, output: np.ndarray) -> tuple[np.ndarray, ...]:
    """The answer to an output, as arrays."""
    answer = surroundings.finish(output)
    if isinstance(answer, Labelled):
        return answer.probabilities, answer.probabilities.argmax(axis=-1).astype(np.int32)
    return (np.asarray(answer),)


def check(surroundings: Surroundings) -> tuple[Comparison, ...]:
    """Do the surroundings of a pipeline give what was recorded?"""
    example = surroundings.spec.example
    if example is None:
        return ()
    prepared: Any = surroundings.prepare(list(example.texts) if surroundings.texts else example.numbers)
    given = [] if surroundings.input.dtype == STRING else prepared if isinstance(prepared, list) else [prepared]
    return (
        compared("raw input", given, example.given),
        compared("answer", answered(surroundings, example.output), example.answer),
    )


def compared(name: str, found: Sequence[np.ndarray], recorded: Sequence[np.ndarray]) -> Comparison:
    """The largest difference of some arrays from recorded ones."""
    size = max((float(np.abs(array).max(initial=0.0)) for array in recorded if array.dtype.kind == "f"), default=0.0)
    allowed = max((RELATIVE.get(array.dtype, 0.0) for array in recorded), default=0.0) * size
    if len(found) != len(recorded) or any(np.shape(a) != b.shape for a, b in zip(found, recorded, strict=False)):
        return Comparison(name, np.inf, allowed)
    return Comparison(name, max(map(difference, found, recorded), default=0.0), allowed)
