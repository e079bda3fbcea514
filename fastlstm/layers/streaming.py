"""Data that stream in: whether a network can tell its outputs timestep by timestep, as its layers say, and how it is walked then.

Some inputs may be **held**: given when a stream begins, they stay as they are. What depends on held inputs alone is computed once, on
the walk of the :class:`Beginning`; all else with each timestep, on walks of :class:`Stepping`. What is which the :class:`Survey` finds
out, walking the same way with the shapes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np

from ..errors import Problem
from ..operations.operands import Unbatched
from ..program.ir import Value
from ..spec import Shape, found_in
from .base import CROSSES, Course, Flow, Held, Layer, Tensor, changed, every_layer
from .network import Network

T = TypeVar("T", Tensor, Value)
#: Computes one call of a layer: of what, and with what arguments.
Compute = Callable[[Layer, Sequence[T], Mapping[str, Any]], Sequence[T]]

#: Uses of layers that a stream, which keeps states by their names, cannot serve.
USED_TWICE = "it is used more than once, and a stream keeps one state for each layer"
SAME_NAME = "two layers go by this name, and a stream keeps states by name; give one of them another name in Keras"
NO_ROWS = "it computes with shapes, not with data, which is not done step by step here"
FUTURE_MASK = "it is given a mask for timesteps that are still to come"
UNBOUNDED = "it sees all timesteps so far, and a stream keeps what it needs of them: of so many as you say"
MASKED_PAST = "it sees all timesteps so far, some of which may be masked, which is not computed step by step here"
#: Advice where the number of timesteps is wanted.
BOUND = "say how many timesteps there are at most: stream(batch_size, max_steps=...)"
#: Advice where other inputs would be held.
HOLD = "what is the same for all timesteps is given when the stream begins: stream(batch_size, initial={{{}}}{})"


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
    carried : dict
        By path, the shapes (less the batch) of the states that are carried from step to step.
    names : dict
        By path, the names of these states.
    inputs : tuple of Flow
        What becomes of each input.
    calls : tuple of tuple of Flow
        The outputs of each call, in the order in which every walk comes to them.
    read : tuple of Held
        The held tensors that calls of each timestep read, or whose masks they do.
    begins : dict
        By path, the held tensors that are the first states of layers; else they are zeros.
    remembering : tuple of str
        The paths of layers whose states are of every timestep so far, the last one telling how many there are.
    max_steps : int, optional
        How many that may be.
    """

    problems: tuple[Problem, ...]
    outputs: tuple[bool, ...]
    merges: bool
    carried: Mapping[str, tuple[tuple[int, ...], ...]]
    names: Mapping[str, tuple[str, ...]]
    inputs: tuple[Flow, ...]
    calls: tuple[tuple[Flow, ...], ...]
    read: tuple[Held, ...]
    begins: Mapping[str, tuple[Held, ...]]
    remembering: tuple[str, ...]
    max_steps: int | None

    @property
    def held_inputs(self) -> tuple[bool, ...]:
        """Of each input: is it held?"""
        return tuple(flow.held is not None for flow in self.inputs)

    def entering(self, given: Sequence[Any], *, held: bool) -> list[Any]:
        """What goes into the network: these, for the inputs that are held, or for those that are not, and Flows for the others."""
        each = iter(given)
        return [next(each) if (flow.held is not None) is held else flow for flow in self.inputs]

    @property
    def wanted(self) -> tuple[Held, ...]:
        """All held tensors that are needed once the stream has begun."""
        return tuple(sorted({*self.read, *(one for first in self.begins.values() for one in first)}))


def is_sequence(shape: Shape, vocabulary: int | None) -> bool:
    """Does an input of a shape, of ids where there is a vocabulary, have a time axis?"""
    return len(shape) > 2 or (len(shape) == 2 and vocabulary is not None)


class Walk:
    """A walk through a network and the models inside it, which all walks make in one order: calls, and the doors of models among them."""

    def through(self, network: Network, given: Sequence[Any]) -> tuple[Any, ...]:
        """The outputs of a network for such inputs."""
        entered = network.entered(given, lambda door, x: self.visit(door, [x], {})[0])
        return self.leaving(network, network.walk(entered, self.visit, self.fixed))

    def leaving(self, network: Network, found: tuple[Any, ...]) -> tuple[Any, ...]:
        """The outputs of a network, with the masks that they keep."""
        keeps = network.keeps_masks([one for one in found if not isinstance(one, Flow)])
        return found if keeps else tuple(one._replace(mask=None) for one in found)

    def visit(self, layer: Layer, given: Sequence[Any], words: Mapping[str, Any]) -> Sequence[Any]:
        """What a layer makes of such inputs."""
        return self.through(layer, given) if isinstance(layer, Network) else self.call(layer, given, words)

    def call(self, layer: Layer, given: Sequence[Any], words: Mapping[str, Any]) -> Sequence[Any]:
        """The same of a layer that is no model."""
        raise NotImplementedError

    def fixed(self, array: np.ndarray) -> Any:
        """A tensor that stands in the file."""
        raise NotImplementedError


@dataclass
class Survey(Walk):
    """The walk that finds out what is held, and what stands in the way."""

    max_steps: int | None = None
    problems: list[Problem] = field(default_factory=list)
    remembering: list[str] = field(default_factory=list)
    merging: bool = False
    masked: bool = False  # may timesteps be, so far?
    carrying: dict[str, Layer] = field(default_factory=dict)
    carried: dict[str, tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]] = field(default_factory=dict)  # by path: shapes and names
    calls: list[tuple[Flow, ...]] = field(default_factory=list)
    read: set[Held] = field(default_factory=set)
    begins: dict[str, tuple[Held, ...]] = field(default_factory=dict)

    def call(self, layer: Layer, given: Sequence[Flow], words: Mapping[str, Any]) -> Sequence[Flow]:
        shapes = layer.shapes(
            [flow.shape for flow in given], {name: changed(v, Flow, lambda flow: flow.shape) for name, v in words.items()}
        )
        if any(isinstance(shape, Unbatched) for shape in shapes):
            self._refuse(layer, NO_ROWS)
            self.calls.append(tuple(Flow(shape, False) for shape in shapes))
            return self.calls[-1]
        if all(flow.held is not None for flow in found_in((given, words), Flow)):
            return self._hold(shapes)
        if layer.crosses_rows([flow.shape for flow in given], words):
            self._refuse(layer, CROSSES)
        self.masked |= any(one.makes_mask for one in (layer, *every_layer(layer)))
        course = self._course(layer, given, words, shapes)
        if course.obstacle:
            self._refuse(layer, course.obstacle)
        elif len(given) > 1 and all(flow.steps for flow in given):
            self.merging = True
        starts = {name: value for name, value in words.items() if is_start(layer, name)}
        if starts:
            self.begins[layer.path] = tuple(flow.held for flow in found_in(starts, Flow) if flow.held is not None)
        self.reading(found_in((given, {name: value for name, value in words.items() if name not in starts}), Flow))
        self.calls.append(course.outputs)
        return course.outputs

    def _course(self, layer: Layer, given: Sequence[Flow], words: Mapping[str, Any], shapes: Sequence[Shape]) -> Course:
        if "mask" in words:
            self._refuse(layer, FUTURE_MASK)
        memory = layer.memory(given, words)
        if layer.state_shapes() or memory:
            if layer.path in self.carrying:
                self._refuse(layer, USED_TWICE if self.carrying[layer.path] is layer else SAME_NAME)
            self.carrying[layer.path] = layer
            self.carried[layer.path] = self._remembered(layer, memory) if memory else layer.stream_states(words, self.masked)
            self.remembering += [layer.path] if memory else []
        return layer.course(given, words, shapes)

    def _remembered(self, layer: Layer, memory: Mapping[str, int]) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]:
        if self.masked:
            self._refuse(layer, MASKED_PAST)
        elif self.max_steps is None:
            self._refuse(layer, UNBOUNDED, BOUND)
        return (*((self.max_steps or 1, size) for size in memory.values()), (1,)), (*memory, "steps")

    def _refuse(self, layer: Layer, what: str, advice: str = "") -> None:
        self.problems.append(Problem(layer.path, layer.spec.class_name, what, advice))

    def _hold(self, shapes: Sequence[Shape]) -> Sequence[Flow]:
        number = len(self.calls)
        names = [Held(number, n) for n in range(len(shapes))]
        self.calls.append(tuple(Flow(shape, False, name, name) for shape, name in zip(shapes, names, strict=True)))
        return self.calls[-1]

    def reading(self, flows: Any) -> None:
        """Note the held tensors among those that something reads."""
        self.read.update(one for flow in flows for one in (flow.held, flow.mask) if one is not None)

    def fixed(self, array: np.ndarray) -> Flow:
        if len(array) > 1:
            what = f"it holds a tensor for {len(array)} rows, and the rows of a stream advance independently"
            self.problems.append(Problem("", "", what))
        return self._hold([array.shape])[0]


class Scripted(Walk):
    """A walk that knows from the survey which calls are held; held tensors that it need not compute are Flows on it."""

    def __init__(self, found: Streams):
        self._calls = iter(found.calls)

    def following(self) -> tuple[Flow, ...]:
        """What the survey found of the call that the walk comes to."""
        return next(self._calls)


class Beginning(Scripted, Generic[T]):
    """The walk when a stream begins: computes what is held, and leaves the rest.

    Attributes
    ----------
    made : dict
        The held tensors that are needed later.
    """

    def __init__(self, found: Streams, compute: Compute[T], fixed: Callable[[np.ndarray], T]):
        super().__init__(found)
        self._compute: Compute[T] = compute
        self._fixed: Callable[[np.ndarray], T] = fixed
        self._wanted = frozenset(found.wanted)
        self.made: dict[Held, T] = {}

    def call(self, layer: Layer, given: Sequence[Any], words: Mapping[str, Any]) -> Sequence[Any]:
        flows = self.following()
        return flows if flows[0].held is None else self._keep(flows, self._compute(layer, given, words))

    def fixed(self, array: np.ndarray) -> Any:
        return self._keep(self.following(), [self._fixed(array)])[0]

    def _keep(self, flows: Sequence[Flow], made: Sequence[T]) -> Sequence[T]:
        self.made |= {flow.held: one for flow, one in zip(flows, made, strict=True) if flow.held in self._wanted and flow.held is not None}
        return made


class Stepping(Scripted, Generic[T]):
    """The walk of each timestep: computes what is not held."""

    def __init__(self, found: Streams, compute: Compute[T], held: Callable[[Held, Held | None], T]):
        super().__init__(found)
        self._compute: Compute[T] = compute
        self._held: Callable[[Held, Held | None], T] = held

    def outputs(self, network: Network, given: Sequence[Any]) -> tuple[T, ...]:
        """The outputs of a whole network."""
        return tuple(map(self._real, self.through(network, given)))

    def call(self, layer: Layer, given: Sequence[Any], words: Mapping[str, Any]) -> Sequence[Any]:
        flows = self.following()
        if flows[0].held is not None:
            return flows
        words = {
            name: value if is_start(layer, name) else changed(value, (Flow, Tensor, Value), self._real) for name, value in words.items()
        }
        return self._compute(layer, list(map(self._real, given)), words)

    def fixed(self, array: np.ndarray) -> Any:
        return self.following()[0]

    def _real(self, given: Any) -> Any:
        """A tensor, with the arrays of one that is held, or whose mask is."""
        if isinstance(given, Flow):
            assert given.held is not None  # what is not held has been computed
            return self._held(given.held, given.mask)
        return given._replace(mask=self._held(given.mask, given.mask).mask) if isinstance(given.mask, Held) else given


def is_start(layer: Layer, name: str) -> bool:
    """Is a call argument what a layer's states, which a stream carries, begin with?"""
    return name == "initial_state" and bool(layer.state_shapes())


def streams(network: Network, held: Mapping[int, Shape] | None = None, max_steps: int | None = None) -> Streams:
    """Ask the layers what they make of data that stream in.

    Parameters
    ----------
    network
        The model.
    held
        By its number, the shape of each input that is held.
    max_steps
        How many timesteps there may be.
    """
    found = surveyed(network, held or {}, max_steps)
    return replace(found, problems=advised(network, found)) if found.problems else found


def surveyed(network: Network, held: Mapping[int, Shape], max_steps: int | None) -> Streams:
    """The same, without advice."""
    survey = Survey(max_steps)
    declared = zip(network.input_shapes(), network.vocabularies(), strict=True)
    inputs = tuple(
        Flow(held[n], False, Held(-1, n), Held(-1, n)) if n in held else Flow(shape, is_sequence(shape, vocabulary))
        for n, (shape, vocabulary) in enumerate(declared)
    )
    outputs = survey.through(network, inputs)
    survey.reading(outputs)
    return Streams(
        tuple(survey.problems), tuple(flow.steps for flow in outputs), survey.merging,
        {path: shapes for path, (shapes, _) in survey.carried.items()}, {path: names for path, (_, names) in survey.carried.items()},
        inputs, tuple(survey.calls), tuple(sorted(survey.read)), survey.begins, tuple(survey.remembering), max_steps,
    )  # fmt: skip


def advised(network: Network, found: Streams) -> tuple[Problem, ...]:
    """The problems, with the advice to hold more inputs where that helps: those that calls read beside their first."""
    origins = Origins(found)
    origins.through(network, [frozenset((n,)) for n in range(len(found.inputs))])
    held = {n: flow.shape for n, flow in enumerate(found.inputs) if flow.held is not None or n in origins.beside}
    if not origins.beside or len(held) == len(found.inputs) or surveyed(network, held, found.max_steps or 1).problems:
        return found.problems
    names = ", ".join(f"{network.model.input_names[n]!r}: ..." for n in sorted(held))
    more = ", max_steps=..." if found.remembering and found.max_steps is None else ""
    return tuple(problem._replace(advice=HOLD.format(names, more)) for problem in found.problems)


class Origins(Scripted):
    """The walk that tells which inputs a tensor depends on: each is the set of their numbers.

    Attributes
    ----------
    beside : set of int
        Inputs that layers with problems read, but not in the first tensor.
    """

    def __init__(self, found: Streams):
        super().__init__(found)
        self._paths = {problem.layer for problem in found.problems}
        self.beside: set[int] = set()

    def leaving(self, network: Network, found: tuple[Any, ...]) -> tuple[Any, ...]:
        return found

    def call(self, layer: Layer, given: Sequence[Any], words: Mapping[str, Any]) -> Sequence[Any]:
        read: frozenset[int] = frozenset().union(*found_in((given, words), frozenset))
        if layer.path in self._paths and given:
            self.beside |= read - given[0]
        return [read] * len(self.following())

    def fixed(self, array: np.ndarray) -> Any:
        self.following()
        return frozenset()
