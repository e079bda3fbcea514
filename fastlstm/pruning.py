"""What the outputs of a model need, and the model without the rest: losses, metrics, whatever else serves training alone.

What nothing needs is neither made nor checked: it cannot stand in the way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .catalogue import Role, row_of
from .errors import Problem
from .spec import Call, LayerSpec, ModelSpec, Ref, found_in

#: The roles of layers that make ids and categories.
MAKING = (Role.LOOKUP, Role.CATEGORIES)


def pruned(model: ModelSpec, whole: Collection[str] = (), path: str = "") -> ModelSpec:
    """The model with all its inputs, but without what none of its outputs needs; in models nested in it too.

    Parameters
    ----------
    model
        Any model.
    whole
        Paths of layers to leave as they are: those that a function of the caller's stands for.
    path
        The model's own in the file; "" for a whole file's.
    """
    needs = needs_of(model, whole, path)
    return needs.left(range(len(model.inputs)))


def needs_of(model: ModelSpec, whole: Collection[str] = (), path: str = "") -> Needs:
    """What all outputs of a model need."""
    needs = Needs(model, whole, path)
    needs.want(range(len(model.outputs)))
    return needs


class Needs:
    """What is needed of a graph while its outputs come to be wanted, one after the other: each part of it is met once.

    A nested model in which MultiHeadAttention may take masks off tensors is kept whole: Keras runs all of it, and it takes them
    whether or not its own output is used.

    Attributes
    ----------
    model : ModelSpec
        The graph.
    calls : set of int
        The calls that are needed.
    inputs, outputs : set of int
        The inputs that are needed and the outputs that are wanted, by number.
    """

    def __init__(self, model: ModelSpec, whole: Collection[str] = (), path: str = ""):
        self.model = model
        self._whole, self._prefix = whole, f"{path}/" if path else ""
        self.calls: set[int] = set()
        self.inputs: set[int] = set()
        self.outputs: set[int] = set()
        self._inside: dict[int, Needs] = {}  # by layer: nested models
        self._called: dict[int, list[Call]] = {}  # by layer: the calls of those that are needed
        self._met: set[Ref] = set()
        self._entrances: dict[int, list[int]] = {}
        for number, ref in enumerate(model.inputs):
            self._entrances.setdefault(ref.call, []).append(number)

    def want(self, outputs: Iterable[int]) -> list[int]:
        """Take note of outputs that are wanted, by number; return the inputs that are needed for them and were not before."""
        wanted = [number for number in outputs if number < len(self.model.outputs)]
        self.outputs.update(wanted)
        found: list[int] = []
        waiting = [self.model.outputs[number] for number in wanted]
        while waiting:
            ref = waiting.pop()
            if ref not in self._met:
                self._met.add(ref)
                found += [number for number in self._entrances.get(ref.call, ()) if number not in self.inputs]
                self.inputs.update(self._entrances.get(ref.call, ()))
                waiting += self._behind(ref)
        return found

    def _behind(self, ref: Ref) -> list[Ref]:
        """The tensors that one needs right away, and that were not needed before."""
        call, known = self.model.calls[ref.call], ref.call in self.calls
        self.calls.add(ref.call)
        inner = self._needs_inside(call.layer)
        if inner is None:
            return [] if known else list(found_in((call.inputs, call.keywords), Ref))
        called = self._called.setdefault(call.layer, [])
        grown = inner.want([ref.output])
        found = [each.inputs[number] for each in called for number in grown if number < len(each.inputs)]
        if not known:
            called.append(call)
            found += [given for number, given in enumerate(call.inputs) if inner.takes(number)]
            found += found_in(call.keywords, Ref)
        return [given for given in found if isinstance(given, Ref)]

    def _needs_inside(self, layer: int) -> Needs | None:
        """Of a layer that is a model."""
        spec = self.model.layers[layer]
        if spec.model is None:
            return None
        if layer not in self._inside:
            path = self._prefix + spec.name
            inner = self._inside[layer] = Needs(spec.model, self._whole, path)
            if path in self._whole or (spec.model.rules.attention_takes_masks and any(map(takes_masks, spec.model.layers))):
                inner.want(range(len(spec.model.outputs)))
                inner.inputs.update(range(len(spec.model.inputs)))
        return self._inside[layer]

    def takes(self, number: int) -> bool:
        """Is a tensor that the model is called with, by number, still asked for? It keeps an input in any case, and those too many."""
        return number in self.inputs or number >= len(self.model.inputs) or (not number and not self.inputs)

    # -- what is left ---------------------------------------------------------------------------------------------------------

    def left(self, inputs: Iterable[int] = ()) -> ModelSpec:
        """The model of what is needed, and of some inputs in any case."""
        model, given = self.model, set(inputs)
        entering = [number for number in range(len(model.inputs)) if number in given or self.takes(number)]
        leaving = sorted(self.outputs)
        calls = sorted(self.calls.union(model.inputs[number].call for number in entering))
        used = sorted({model.calls[number].layer for number in calls})
        layers = tuple(map(self._layer_left, used))
        whole = len(calls) == len(model.calls) and len(used) == len(model.layers) and len(leaving) == len(model.outputs)
        if whole and len(entering) == len(model.inputs) and all(a is b for a, b in zip(layers, model.layers, strict=True)):
            return model
        new = Renumbered(self, {old: number for number, old in enumerate(calls)}, {old: number for number, old in enumerate(used)})
        return replace(
            model,
            layers=layers,
            calls=tuple(new.call(model.calls[number]) for number in calls),
            inputs=tuple(new.ref(model.inputs[number]) for number in entering),
            outputs=tuple(new.ref(model.outputs[number]) for number in leaving),
            input_names=tuple(model.input_names[number] for number in entering),
            output_names=tuple(model.output_names[number] for number in leaving),
            problems=tuple(self._problems_left({model.layers[number].name for number in used})),
        )

    def _layer_left(self, number: int) -> LayerSpec:
        """A layer with what is needed of the models in it."""
        spec, inner = self.model.layers[number], self._inside.get(number)
        path = self._prefix + spec.name
        if path in self._whole:
            return spec
        left = None if inner is None else inner.left()
        return wrapping(spec if left is spec.model else replace(spec, model=left), self._whole, path)

    def _problems_left(self, kept: set[str]) -> Iterator[Problem]:
        """The problems that the reader noted, less those of layers that are left out."""
        names = {self._prefix + name for name in kept}
        gone = {self._prefix + layer.name for layer in self.model.layers} - names
        for problem in self.model.problems:
            around = list(places_around(problem.layer.split("/")))
            if gone.isdisjoint(around) or not names.isdisjoint(around):
                yield problem

    def inside(self, layer: int) -> Needs | None:
        """What is needed of a layer that is a model."""
        return self._inside.get(layer)


class Renumbered:
    """The calls and tensors of a graph by their numbers in what is left of it."""

    def __init__(self, needs: Needs, calls: Mapping[int, int], layers: Mapping[int, int]):
        self._needs, self._calls, self._layers = needs, calls, layers
        inside = {layer: needs.inside(layer) for layer in layers}
        self._outputs = {
            layer: {old: number for number, old in enumerate(sorted(inner.outputs))} for layer, inner in inside.items() if inner is not None
        }

    def call(self, call: Call) -> Call:
        """A call, less the tensors that a nested model no longer asks for."""
        inner = self._needs.inside(call.layer)
        given = [x for number, x in enumerate(call.inputs) if inner is None or inner.takes(number)]
        return Call(self._layers[call.layer], tuple(self._value(given)), self._value(dict(call.keywords)))

    def ref(self, ref: Ref) -> Ref:
        """A tensor."""
        outputs = self._outputs.get(self._needs.model.calls[ref.call].layer, {})
        return Ref(self._calls[ref.call], outputs.get(ref.output, ref.output))

    def _value(self, value: Any) -> Any:
        return with_refs(value, self.ref)


def with_refs(value: Any, change: Any) -> Any:
    """Call arguments with every Ref in them changed."""
    if isinstance(value, Ref):
        return change(value)
    if isinstance(value, (tuple, list)):
        return type(value)(with_refs(inner, change) for inner in value)
    if isinstance(value, Mapping):
        return {key: with_refs(inner, change) for key, inner in value.items()}
    return value


def wrapping(spec: LayerSpec, whole: Collection[str], path: str) -> LayerSpec:
    """A layer with what is needed of the models that it wraps."""

    def left(child: LayerSpec) -> LayerSpec:
        inside = f"{path}/{child.name}"
        model = None if child.model is None else pruned(child.model, whole, inside)
        return wrapping(child if model is child.model else replace(child, model=model), whole, inside)

    children = tuple(map(left, spec.children))
    return spec if all(a is b for a, b in zip(children, spec.children, strict=True)) else replace(spec, children=children)


def takes_masks(spec: LayerSpec) -> bool:
    """Does a layer, or one in it, take masks off the tensors that it reads?"""
    inside = (*spec.children, *(spec.model.layers if spec.model is not None else ()))
    return row_of(spec.class_name).takes_masks or any(map(takes_masks, inside))


def makes_categories(spec: LayerSpec) -> bool:
    """Does a layer, or one of a model in it, look terms up or make categories?"""
    inside = () if spec.model is None else spec.model.layers
    return row_of(spec.class_name).role in MAKING or any(map(makes_categories, inside))


def places_around(parts: Sequence[str]) -> Iterator[str]:
    """The path of a layer, and those of all around it: "a/b" and "a"."""
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])
