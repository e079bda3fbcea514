"""The part of a ``.fastlstm`` file that says what stands before and after the network: plain data, taken at its word or not at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ..errors import InputError
from ..limits import Budget
from ..preprocessing.scaling import checked
from ..spec import MOST_ID, Example, PipelineSpec, Scaler, Step, Words
from .reading.values import short
from .strict import hints_of, object_of, typed

KEYS = frozenset(field.name for field in fields(PipelineSpec))
PLAIN = ("maxlen", "padding", "truncating", "window", "logits")
WORD_KEYS = frozenset(field.name for field in fields(Words))
SCALER_KEYS = frozenset(field.name for field in fields(Scaler))
STEP_KEYS = frozenset(field.name for field in fields(Step))
EXAMPLE_KEYS = frozenset(field.name for field in fields(Example))
#: Bytes of a number of raw input, and of one that the network gets.
NUMBER = 8
#: Values, or probabilities and the numbers of labels.
ANSWERS = (1, 2)


def encoded(spec: PipelineSpec, keep: Callable[[np.ndarray], str]) -> dict[str, Any]:
    """A pipeline as JSON; ``keep`` stores an array and returns its name."""
    words = None if spec.words is None else {field.name: getattr(spec.words, field.name) for field in fields(Words)}
    entry: dict[str, Any] = {name: getattr(spec, name) for name in PLAIN}
    return entry | {
        "words": words if words is None else {**words, "index": dict(spec.words.index)},  # type: ignore[union-attr]
        "scaler": encoded_scaler(spec.scaler), "inverse": encoded_scaler(spec.inverse), "labels": list(spec.labels),
        "example": encoded_example(spec.example, keep),
    }  # fmt: skip


def encoded_scaler(scaler: Scaler | None) -> dict[str, Any] | None:
    """A scaler as JSON."""
    if scaler is None:
        return None
    steps = [{"op": step.op, "values": list(step.values)} for step in scaler.steps]
    return {"steps": steps, "columns": scaler.columns, "names": list(scaler.names)}


def encoded_example(example: Example | None, keep: Callable[[np.ndarray], str]) -> dict[str, Any] | None:
    """A recorded example as JSON, its arrays by name."""
    if example is None:
        return None
    return {
        "texts": list(example.texts), "numbers": None if example.numbers is None else keep(example.numbers),
        "given": list(map(keep, example.given)), "output": keep(example.output), "answer": list(map(keep, example.answer)),
    }  # fmt: skip


def decoded(entry: Any, array: Callable[[Any], np.ndarray], budget: Budget) -> PipelineSpec:
    """A pipeline from JSON; ``array`` gives one of the file by its name.

    Raises
    ------
    ValueError
        If it is malformed; or TypeError, KeyError.
    FormatError
        If what it asks for takes more than loading may.
    """
    entry = object_of(entry, "pipeline", KEYS)
    hints = hints_of(PipelineSpec)
    plain: dict[str, Any] = {name: typed(entry[name], hints[name], f"pipeline: {name}") for name in PLAIN}
    for name in ("maxlen", "window"):
        if plain[name] is not None and plain[name] < 1:
            raise ValueError(f"pipeline: {name}: expected a number from 1 on, found {short(plain[name])}")
    labels = typed(entry["labels"], list[str | int | float | bool], "pipeline: labels")
    if len(set(labels)) < len(labels):
        raise ValueError("pipeline: labels: expected labels that differ")
    scaler, inverse = (decoded_scaler(entry[name], f"pipeline: {name}") for name in ("scaler", "inverse"))
    columns = 1 if scaler is None else max(scaler.columns, 1)
    for name, count in (("maxlen", plain["maxlen"] or 0), ("window", (plain["window"] or 0) * columns)):
        budget.lend(f"pipeline: a row of {name}", NUMBER * count)
    return PipelineSpec(
        **plain, words=decoded_words(entry["words"]), scaler=scaler, inverse=inverse, labels=tuple(labels),
        example=decoded_example(entry["example"], array),
    )  # fmt: skip


def decoded_words(entry: Any) -> Words | None:
    """The words of a tokenizer from JSON."""
    if entry is None:
        return None
    given = object_of(entry, "pipeline: words", WORD_KEYS)
    index: Mapping[str, Any] = typed(given["index"], dict, "pipeline: words: index")
    for number in index.values():
        if type(number) is not int or not 0 <= number <= MOST_ID:
            raise ValueError(f"pipeline: words: index: expected ids from 0 to {MOST_ID}, found {short(number)}")
    hints = hints_of(Words)
    plain: dict[str, Any] = {name: typed(given[name], hints[name], f"pipeline: words: {name}") for name in sorted(WORD_KEYS - {"index"})}
    if (plain["num_words"] or 0) < 0:
        raise ValueError(f"pipeline: words: num_words: expected a number from 0 on, found {short(plain['num_words'])}")
    if plain["split"] == "":
        raise ValueError("pipeline: words: split: expected a text that separates words, found an empty one")
    if plain["oov_token"] is not None and plain["oov_token"] not in index:
        raise ValueError(f"pipeline: words: oov_token: expected a word of the index, found {short(plain['oov_token'])}")
    return Words(index=index, **plain)


def decoded_scaler(entry: Any, place: str) -> Scaler | None:
    """A scaler from JSON."""
    if entry is None:
        return None
    entry = object_of(entry, place, SCALER_KEYS)
    steps = []
    for given in typed(entry["steps"], list, f"{place}: steps"):
        given = object_of(given, f"{place}: a step", STEP_KEYS)
        values = typed(given["values"], list[float], f"{place}: values")
        if not all(abs(value) < math.inf for value in map(float, values)):
            raise ValueError(f"{place}: values: expected finite numbers")
        steps.append(Step(typed(given["op"], str, f"{place}: op"), tuple(map(float, values))))
    columns, names = typed(entry["columns"], int, f"{place}: columns"), typed(entry["names"], list[str], f"{place}: names")
    if columns < 0 or len(names) not in (0, columns):
        raise ValueError(f"{place}: columns: expected a number, and a name for each, found {short(columns)} and {len(names)} names")
    try:
        return checked(Scaler(tuple(steps), columns, tuple(names)), place)
    except InputError as error:
        raise ValueError(str(error)) from error


def decoded_example(entry: Any, array: Callable[[Any], np.ndarray]) -> Example | None:
    """A recorded example from JSON."""
    if entry is None:
        return None
    place = "pipeline: example"
    entry = object_of(entry, place, EXAMPLE_KEYS)
    given, answer = (tuple(map(array, typed(entry[name], list[str], f"{place}: {name}"))) for name in ("given", "answer"))
    if len(answer) not in ANSWERS:
        raise ValueError(f"{place}: expected an answer of one or two arrays, found {len(answer)}")
    numbers = None if entry["numbers"] is None else array(entry["numbers"])
    return Example(tuple(typed(entry["texts"], list[str], f"{place}: texts")), numbers, given, array(entry["output"]), answer)
