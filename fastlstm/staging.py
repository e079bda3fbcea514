"""Models that read text, or whole numbers as they are, in three stages.

Kernels compute with float32 and with ids of 32 bits. So what makes ids and vectors of text and numbers is computed before them, the
**front**, and what makes text or ids of their results after them, the **back**: in NumPy, by ``apply`` of each layer. What is left is
the **core**, a model of its own like any other, whose inputs are what the front gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from .catalogue import INPUT_LAYER, Role, row_of
from .errors import Problem, UnsupportedError
from .layers.base import Layer, States, Tensor
from .layers.network import Network, applied, root, shapes_of
from .pruning import MAKING, makes_categories, pruned, with_refs
from .records import record
from .spec import STRING, WHOLE, Call, Fixed, LayerSpec, ModelSpec, Ref, Shape, found_in

#: The module of layers that scale numbers, often before they fall into bins.
SCALING = "preprocessing"
#: What a model's text must go through before anything else.
READERS = "its input is text, which TextVectorization, StringLookup, Hashing and HashedCrossing read, and layers that only reshape it"


def staged(network: Network) -> Stages | None:
    """The stages of a model; None where it has no layer that needs any.

    Raises
    ------
    UnsupportedError
        If a layer that does not read text is given some.
    """
    if not any(makes_categories(spec) for spec in network.model.layers):
        refuse_text(network.model, network.source, set(), set())
        refuse_text_alone(network.model, network.source)
        return None
    flat = pruned(flattened(network.model))
    context = replace(network.context, problems=[], path="", numbers=count(), lacking={})
    whole = root(flat, context)
    front, back = Partition(whole).stages()
    refuse_text(whole.model, network.source, front, back)
    return Stages(whole, front, back)


# -- nested models ----------------------------------------------------------------------------------------------------------


def flattened(model: ModelSpec) -> ModelSpec:
    """The model with the calls of those nested models in its own graph that have layers which make categories."""
    layers: list[LayerSpec] = []
    calls: list[Call] = []
    places: dict[int, int] = {}  # of the model's layers
    moved: dict[int, int] = {}  # of its calls
    known: dict[Ref, Ref] = {}  # what outputs of nested models have become

    def seen(ref: Ref) -> Ref:
        return known[ref] if ref in known else Ref(moved[ref.call], ref.output)

    asked = {call.layer for call in model.calls if call.keywords}  # these stay as they are in all their calls
    nested = {
        number: flattened(spec.model) for number, spec in enumerate(model.layers)
        if spec.model is not None and number not in asked and makes_categories(spec)
    }  # fmt: skip
    for number, call in enumerate(model.calls):
        spec, inner = model.layers[call.layer], nested.get(call.layer)
        if call.layer not in places:
            places[call.layer] = len(layers)
            layers += [spec] if inner is None else [replace(one, name=f"{spec.name}/{one.name}") for one in inner.layers]
        if inner is None:
            moved[number] = len(calls)
            calls.append(Call(places[call.layer], with_refs(call.inputs, seen), with_refs(dict(call.keywords), seen)))
        else:
            known.update(inlined(inner, places[call.layer], with_refs(call.inputs, seen), calls, number))
    inputs, outputs = tuple(map(seen, model.inputs)), tuple(map(seen, model.outputs))
    return replace(model, layers=tuple(layers), calls=tuple(calls), inputs=inputs, outputs=outputs)


def inlined(inner: ModelSpec, first: int, given: Sequence[Any], calls: list[Call], number: int) -> dict[Ref, Ref]:
    """Append one use of a nested model to the calls; return what its outputs, as call ``number`` has them, have become."""
    entrances = {ref.call: given[n] for n, ref in enumerate(inner.inputs)}
    moved: dict[int, int] = {}

    def seen(ref: Ref) -> Ref:
        return Ref(moved[ref.call], ref.output)

    for place, call in enumerate(inner.calls):
        inputs = (entrances[place],) if place in entrances else with_refs(call.inputs, seen)
        moved[place] = len(calls)
        calls.append(Call(first + call.layer, tuple(inputs), with_refs(dict(call.keywords), seen)))
    return {Ref(number, output): seen(ref) for output, ref in enumerate(inner.outputs)}


# -- what belongs where -----------------------------------------------------------------------------------------------------


class Partition:
    """Says which calls of a flat model are its front, and which its back."""

    def __init__(self, network: Network):
        self.model = network.model
        self.custom = network.context.custom_layers
        self.reads = [{ref.call for ref in found_in((call.inputs, call.keywords), Ref)} for call in self.model.calls]

    def role(self, number: int) -> Role:
        """The role of what a call calls."""
        return row_of(self.model.layers[self.model.calls[number].layer].class_name).role

    def light(self, number: int) -> bool:
        """May a call stand in a front or back: does its layer make categories, scale numbers, or only arrange what it is given?"""
        call = self.model.calls[number]
        spec = self.model.layers[call.layer]
        row = row_of(spec.class_name)
        plain = row.any_dtype and row.role in (Role.OTHER, Role.IDLE) and not call.keywords
        fixed = any(True for _ in found_in(call.inputs, Fixed))
        return spec.name not in self.custom and not fixed and (row.role in (*MAKING, Role.INPUT) or row.module == SCALING or plain)

    def stages(self) -> tuple[set[int], set[int]]:
        """The calls of the front and of the back."""
        front = self._front()
        return front, self._back(front)

    def _front(self) -> set[int]:
        able: set[int] = set()
        made: set[int] = set()
        for number, read in enumerate(self.reads):
            if self.light(number) and read <= able:
                able.add(number)
                if self.role(number) in MAKING or read & made:
                    made.add(number)
        wanted = set(made)
        for number in sorted(able, reverse=True):
            if number in wanted:
                wanted |= self.reads[number]
        return wanted

    def _back(self, front: set[int]) -> set[int]:
        readers_of: dict[int, set[int]] = {}
        for reader, read in enumerate(self.reads):
            for number in read:
                readers_of.setdefault(number, set()).add(reader)
        able: set[int] = set()
        for number in range(len(self.reads) - 1, -1, -1):
            readers = readers_of.get(number, set())
            if number not in front and self.role(number) is not Role.INPUT and self.light(number) and readers <= able:
                able.add(number)
        made: set[int] = set()
        for number in sorted(able):
            if self.role(number) in MAKING or self.reads[number] & made:
                made.add(number)
        return made


def refuse_text(model: ModelSpec, source: str, front: set[int], back: set[int]) -> None:
    """Refuse a model in which a layer is given text that it does not read."""
    text: set[int] = set()
    for number, call in enumerate(model.calls):
        spec = model.layers[call.layer]
        row = row_of(spec.class_name)
        read = text & {ref.call for ref in found_in((call.inputs, call.keywords), Ref)}
        if row.role is Role.INPUT and not call.inputs:
            if spec.config.get("dtype") == STRING:
                text.add(number)
        elif read and number not in front and number not in back:
            raise UnsupportedError(source, (Problem(spec.name, spec.class_name, READERS),))
        elif (row.terms == STRING and spec.config.get("invert")) or (read and row.role not in MAKING):
            text.add(number)


def refuse_text_alone(model: ModelSpec, source: str) -> None:
    """Refuse a model, a part of one, that gives back text as it is given it, and has no layer that reads any."""
    for ref in model.outputs:
        spec = model.layers[model.calls[ref.call].layer]
        if spec.class_name == INPUT_LAYER and spec.config.get("dtype") == STRING:
            what = "it is text that no layer reads on the way to the outputs"
            raise UnsupportedError(source, (Problem(spec.name, spec.class_name, what, "name a layer behind it in outputs="),))


# -- computing --------------------------------------------------------------------------------------------------------------


@record(frozen=True)
class Entrance:
    """A tensor that the front gives to the core."""

    ref: Ref
    number: int | None  # of the model's input that it is; None: the front makes it


class Stages:
    """A model in stages.

    Attributes
    ----------
    whole : Network
        All of its layers, in one graph.
    core : Network or None
        What is neither front nor back; None where there is nothing else.
    entering : list of Entrance
        The core's inputs.
    leaving : list of Ref
        The core's outputs.
    """

    def __init__(self, whole: Network, front: set[int], back: set[int]):
        self.whole, self.model = whole, whole.model
        self.front, self.back = sorted(front), sorted(back)
        own = {ref.call: number for number, ref in enumerate(self.model.inputs)}
        self.own = own
        inner = [n for n in range(len(self.model.calls)) if n not in front and n not in back and n not in own]
        reads = {ref for n in inner for ref in found_in((self.model.calls[n].inputs, self.model.calls[n].keywords), Ref)}
        entering = sorted(ref for ref in reads if ref.call in front or ref.call in own)
        self.entering = [Entrance(ref, own.get(ref.call)) for ref in entering]
        after = {ref for n in self.back for ref in found_in(self.model.calls[n].inputs, Ref)} | set(self.model.outputs)
        self.leaving = sorted(ref for ref in after if ref.call in inner)
        self.core = self._core(inner) if self.leaving else None

    @property
    def read_in_front(self) -> set[int]:
        """The numbers of the inputs that the front or the back reads, or that are outputs."""
        read = {ref.call for n in (*self.front, *self.back) for ref in found_in(self.model.calls[n].inputs, Ref)}
        return {number for call, number in self.own.items() if call in read | {ref.call for ref in self.model.outputs}}

    def _core(self, inner: Sequence[int]) -> Network:
        """The model between front and back."""
        shapes, dtypes = self._made_in_front()
        layers = list(self.model.layers)
        calls: list[Call] = []
        moved: dict[Ref, Ref] = {}
        names: list[str] = []
        taken = {layer.name for layer in layers}
        for ref, number in ((one.ref, one.number) for one in self.entering):
            spec = layers[self.model.calls[ref.call].layer]
            if number is None:
                name = next(name for name in candidates(spec.name) if name not in taken)
                taken.add(name)
                spec = LayerSpec(INPUT_LAYER, name, {"shape": list(shapes[ref]), "dtype": dtypes[ref]})
            names.append(spec.name)
            moved[ref] = Ref(len(calls))
            calls.append(Call(len(layers)))
            layers.append(spec)
        for number in inner:
            call = self.model.calls[number]

            def seen(ref: Ref) -> Ref:
                return moved.get(ref) or moved[Ref(ref.call)]._replace(output=ref.output)

            new = Call(call.layer, with_refs(call.inputs, seen), with_refs(dict(call.keywords), seen))
            moved[Ref(number)] = Ref(len(calls))
            calls.append(new)
        model = replace(
            self.model, layers=tuple(layers), calls=tuple(calls), inputs=tuple(Ref(n) for n in range(len(names))),
            outputs=tuple(moved[Ref(ref.call)]._replace(output=ref.output) for ref in self.leaving), input_names=tuple(names),
            output_names=tuple(f"{n}" for n in range(len(self.leaving))), output_kind="list", problems=(),
        )  # fmt: skip
        return root(model, replace(self.whole.context, problems=[], path="", numbers=count(), lacking={}))

    def _made_in_front(self) -> tuple[dict[Ref, Shape], dict[Ref, str]]:
        """The shapes, and dtypes, of what the front makes."""
        shapes: dict[Ref, Shape] = dict(zip(self.model.inputs, self.whole.input_shapes(), strict=True))
        for number in self.front:
            call = self.model.calls[number]
            if number not in self.own:
                found = shapes_of(self.layer(number), [shapes[ref] for ref in found_in(call.inputs, Ref)], {})
                shapes.update({Ref(number, output): shape for output, shape in enumerate(found)})
        made = self.computed(self.front, self.entered(self.examples(0)))
        return shapes, {ref: tensor.value.dtype.name for ref, tensor in made.items()}

    def layer(self, number: int) -> Layer:
        """The layer of a call."""
        return self.whole.layers[self.model.calls[number].layer]

    def examples(self, rows: int) -> list[np.ndarray]:
        """Inputs of so many rows, without anything in them."""
        doors = zip(self.whole.input_shapes(), self.whole.doors, strict=True)
        return [blank((rows, *(size or 1 for size in shape[1:])), door.declared) for shape, door in doors]

    def entered(self, arrays: Sequence[np.ndarray]) -> dict[Ref, Tensor]:
        """The model's inputs, as its InputLayers let them in."""
        doors = zip(self.model.inputs, self.whole.doors, arrays, strict=True)
        return {ref: door.apply([Tensor(array)], {}, None)[0] for ref, door, array in doors}

    def computed(self, numbers: Sequence[int], known: Mapping[Ref, Tensor]) -> dict[Ref, Tensor]:
        """Known tensors, and what calls of the front or the back make of them."""
        found = dict(known)
        with np.errstate(all="ignore"):  # NaN and infinities are data
            for number in numbers:
                if number not in self.own:
                    given = [found[ref] for ref in found_in(self.model.calls[number].inputs, Ref)]
                    made = applied(None, self.layer(number), given, {})
                    found.update({Ref(number, output): tensor for output, tensor in enumerate(made)})
        return found

    def run_with(
        self, arrays: Sequence[np.ndarray], core: Callable[[list[np.ndarray]], Sequence[np.ndarray]]
    ) -> tuple[np.ndarray, ...]:  # fmt: skip
        """The outputs for some inputs; ``core`` computes the core's."""
        return tuple(tensor.value for tensor in self.shown_with(arrays, lambda given: [Tensor(y) for y in core(given)]))

    def shown_with(self, arrays: Sequence[np.ndarray], core: Callable[[list[np.ndarray]], Sequence[Tensor]]) -> tuple[Tensor, ...]:
        """The same with the masks of the outputs, which ``core`` gives with its own."""
        known = self.computed(self.front, self.entered(arrays))
        if self.core is not None:
            given = [known[one.ref].value if one.number is None else arrays[one.number] for one in self.entering]
            known.update(zip(self.leaving, core(given), strict=True))
        known = self.computed(self.back, known)
        return tuple(known[ref] for ref in self.model.outputs)

    def run(
        self, arrays: Sequence[np.ndarray], dtype: Any, states: States | None = None, masks: Sequence[np.ndarray | None] = ()
    ) -> tuple[np.ndarray, ...]:
        """The outputs that ``apply`` of every layer gives, the core's in ``dtype``: see :meth:`Network.run`."""

        def core(given: list[np.ndarray]) -> Sequence[np.ndarray]:
            assert self.core is not None
            return self.core.run(given, dtype, states)

        return self.run_with(arrays, core)


def candidates(name: str) -> Iterator[str]:
    """Names for an input that stands for what a layer makes."""
    return (f"{name}{'_made' * number}" for number in count(1))


def blank(shape: tuple[int, ...], declared: str) -> np.ndarray:
    """An input with nothing in it: empty texts, or zeros."""
    return np.full(shape, b"", object) if declared == STRING else np.zeros(shape, declared if declared in WHOLE else np.float32)
