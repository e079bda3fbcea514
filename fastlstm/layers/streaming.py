"""Data that stream in: whether a network can tell its outputs timestep by timestep, as its layers say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..errors import Problem
from ..spec import Shape
from .base import CROSSES, Flow, Layer, changed
from .network import Network

#: Uses of layers that a stream, which keeps states by their names, cannot serve.
USED_TWICE = "it is used more than once, and a stream keeps one state for each layer"
SAME_NAME = "two layers go by this name, and a stream keeps states by name; give one of them another name in Keras"
FUTURE_MASK = "it is given a mask for timesteps that are still to come"


@dataclass(frozen=True)
class Streams:
    """A network's answer to data that stream in.

    Attributes
    ----------
    problems : tuple of Problem
        All that keeps it from running step by step.
    outputs : tuple of bool
        Of each output: whether it comes timestep by timestep.
    merges : bool
        Whether a layer merges several inputs timestep by timestep, which then must have as many.
    """

    problems: tuple[Problem, ...]
    outputs: tuple[bool, ...]
    merges: bool


def is_sequence(shape: Shape, vocabulary: int | None) -> bool:
    """Does an input of a shape, of ids where there is a vocabulary, have a time axis?"""
    return len(shape) > 2 or (len(shape) == 2 and vocabulary is not None)


def fixed(problems: list[Problem], array: np.ndarray) -> Flow:
    """A tensor that stands in the file."""
    if len(array) > 1:
        what = f"it holds a tensor for {len(array)} rows, and the rows of a stream advance independently"
        problems.append(Problem("", "", what))
    return Flow(array.shape, False)


def visit(
    problems: list[Problem], merging: list[Layer], carrying: dict[str, Layer],
    layer: Layer, given: Sequence[Flow], words: Mapping[str, Any],
) -> Sequence[Flow]:  # fmt: skip
    """What a layer makes of such inputs; noted are problems, and the layers that merge timesteps or (by path) have states."""

    def refuse(what: str) -> None:
        problems.append(Problem(layer.path, layer.spec.class_name, what))

    if "mask" in words:
        refuse(FUTURE_MASK)
    if isinstance(layer, Network):
        return layer.walk(given, partial(visit, problems, merging, carrying), partial(fixed, problems), words)
    if layer.state_shapes():
        if layer.path in carrying:
            refuse(USED_TWICE if carrying[layer.path] is layer else SAME_NAME)
        carrying[layer.path] = layer
    shapes = {name: changed(value, Flow, lambda flow: flow.shape) for name, value in words.items()}
    if layer.crosses_rows([flow.shape for flow in given], words):
        refuse(CROSSES)
    course = layer.course(given, words, layer.shapes([flow.shape for flow in given], shapes))
    if course.obstacle:
        refuse(course.obstacle)
    elif len(given) > 1 and all(flow.steps for flow in given):
        merging.append(layer)
    return course.outputs


def streams(network: Network) -> Streams:
    """Ask the layers what they make of data that stream in."""
    problems: list[Problem] = []
    merging: list[Layer] = []
    inputs = zip(network.input_shapes(), network.vocabularies(), strict=True)
    flows = [Flow(shape, is_sequence(shape, vocabulary)) for shape, vocabulary in inputs]
    outputs = network.walk(flows, partial(visit, problems, merging, {}), partial(fixed, problems))
    return Streams(tuple(problems), tuple(flow.steps for flow in outputs), bool(merging))
