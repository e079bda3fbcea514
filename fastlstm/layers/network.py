"""Models as layers: the graph of a Sequential or Functional model, at the root or nested in another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ..errors import FastLSTMError, FormatError
from ..program import Builder, Value
from ..spec import LayerSpec, ModelSpec, Ref, Shape
from .base import REGISTRY, Context, Layer, States, Tensor

T = TypeVar("T")
#: What a layer's code raises where a config or a graph is not one that Keras writes.
MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError)


class Network(Layer):
    """A graph of layers, walked in topological order.

    Attributes
    ----------
    layers : list of Layer
        The layers in the file's order.
    model : ModelSpec
        The graph.
    """

    CLASSES = ("Sequential", "Functional", "Model")
    INERT = frozenset({
        "layers", "input_layers", "output_layers", "build_input_shape", "build_config", "compile_config", "sparse", "ragged",
    })  # fmt: skip

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        if spec.model is None:
            raise FormatError(f"{context.source}: layer {self.path!r} ({spec.class_name}): the nested model's graph is missing")
        from . import build  # the registry's door; it needs this module to be defined first

        self.model: ModelSpec = spec.model
        context.problems.extend(self.model.problems)
        inner = replace(context, rules=self.model.rules, path=self.path + "/" if self.path else "")
        self.layers = [sound(partial(build, layer, inner), layer, inner) for layer in self.model.layers]
        self._needed = self._reachable()

    def _reachable(self) -> list[int]:
        """The calls that the outputs depend on, in order."""
        wanted = {ref.call for ref in self.model.outputs}
        for number in range(len(self.model.calls) - 1, -1, -1):
            if number in wanted:
                call = self.model.calls[number]
                wanted.update(ref.call for ref in call.inputs)
                wanted.update(ref.call for ref in refs_in(call.keywords))
        wanted.update(ref.call for ref in self.model.inputs)
        return sorted(wanted)

    def walk(self, inputs: Sequence[T], visit: Callable[[Layer, Sequence[T], Mapping[str, Any]], Sequence[T]]) -> tuple[T, ...]:
        """Carry ``inputs`` through the graph, ``visit`` saying what each layer makes of its own."""
        if len(inputs) != len(self.model.inputs):
            raise FormatError(
                f"{self.source}: model {self.path or self.model.name!r} has {len(self.model.inputs)} inputs, called with {len(inputs)}"
            )
        known: dict[int, Sequence[T]] = {ref.call: (given,) for ref, given in zip(self.model.inputs, inputs, strict=True)}
        for number in self._needed:
            if number in known:
                continue
            call = self.model.calls[number]
            keywords = {name: resolve(value, known) for name, value in call.keywords.items()}
            known[number] = visit(self.layers[call.layer], [lookup(ref, known, self) for ref in call.inputs], keywords)
        return tuple(lookup(ref, known, self) for ref in self.model.outputs)

    @property
    def doors(self) -> list[Any]:
        """The model's InputLayers."""
        return [self.layers[self.model.calls[ref.call].layer] for ref in self.model.inputs]

    def input_shapes(self) -> tuple[Shape, ...]:
        """The shapes that the model's InputLayers declare."""
        return tuple(tuple(door.spec.config["shape"]) for door in self.doors)

    @property
    def children(self) -> tuple[Layer, ...]:
        return tuple(self.layers)

    @property
    def ragged(self) -> bool:
        return len(self.model.inputs) == 1 and all(layer.ragged for layer in self.layers)

    def listed(self) -> Iterator[Layer]:
        """The layers that a user knows by name: those of nested models too, but nothing inside wrappers."""
        for layer in self.layers:
            yield layer
            if isinstance(layer, Network):
                yield from layer.listed()

    def vocabularies(self) -> tuple[int | None, ...]:
        """For each input: the ids below which all its readers want it, or None where any reads it as numbers."""

        def lowest(ref: Ref) -> int | None:
            found = [layer.vocabulary for layer in self.consumers(ref)]
            return min((v for v in found if v is not None), default=None) if None not in found else None

        return tuple(lowest(ref) for ref in self.model.inputs)

    def layer_shapes(self) -> dict[str, Any]:
        """By path: the output shape of each layer's last call (a tuple of them where it has several outputs)."""
        found: dict[str, Any] = {}

        def enter(network: Network, given: Sequence[Shape]) -> tuple[Shape, ...]:
            for ref, shape in zip(network.model.inputs, given, strict=True):
                found[network.layers[network.model.calls[ref.call].layer].path] = shape
            return network.walk(given, visit)

        def visit(layer: Layer, given: Sequence[Shape], words: Mapping[str, Any]) -> tuple[Shape, ...]:
            shapes = enter(layer, given) if isinstance(layer, Network) else layer.shapes(given, words)
            found[layer.path] = shapes[0] if len(shapes) == 1 else shapes
            return shapes

        enter(self, self.input_shapes())
        return found

    def consumers(self, ref: Ref) -> Iterator[Layer]:
        """The layers that read a tensor, looked for through nested models."""
        for number in self._needed:
            call = self.model.calls[number]
            layer = self.layers[call.layer]
            for position, given in enumerate(call.inputs):
                if given == ref:
                    if isinstance(layer, Network):
                        yield from layer.consumers(layer.model.inputs[position])
                    else:
                        yield layer
            if any(given == ref for given in refs_in(call.keywords)):
                yield layer

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        return self.walk(inputs, lambda layer, given, words: sound(lambda: layer.shapes(given, words), layer.spec, layer.context))

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        entered = [door.apply([given], {}, None)[0] for door, given in zip(self.doors, inputs, strict=True)]
        found = self.walk(entered, lambda layer, given, words: layer.apply(given, words, states))
        return found if self._keeps_masks else tuple(tensor._replace(mask=None) for tensor in found)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...]:
        entered = [b.lower(door, [given], {})[0] for door, given in zip(self.doors, inputs, strict=True)]
        found = self.walk(entered, lambda layer, given, words: b.lower(layer, given, words))
        return found if self._keeps_masks else tuple(value._replace(mask=None) for value in found)

    @property
    def _keeps_masks(self) -> bool:
        return not self.path or self.rules.nested_masks


def sound(make: Callable[[], T], spec: LayerSpec, context: Context) -> T:
    """What ``make`` returns; a FormatError that names the layer where the file's values make no sense to a class of Keras."""
    try:
        return make()
    except FastLSTMError:
        raise
    except MALFORMED as error:
        if spec.class_name not in REGISTRY or spec.name in context.custom_layers:
            raise  # the user's own code
        what = f"its arguments or inputs make no sense ({type(error).__name__}: {error})"
        raise FormatError(f"{context.source}: layer {context.path + spec.name!r} ({spec.class_name}): {what}") from error


def root(model: ModelSpec, context: Context) -> Network:
    """The network of a whole model."""
    return Network(LayerSpec(class_name=model.class_name, name="", config={}, model=model), context)


def refs_in(value: Any) -> Iterator[Ref]:
    """The Refs among call arguments."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from refs_in(inner)
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from refs_in(inner)


def resolve(value: Any, known: Mapping[int, Sequence[T]]) -> Any:
    """A call argument with its Refs replaced by what they stand for."""
    if isinstance(value, Ref):
        return known[value.call][value.output]
    if isinstance(value, (tuple, list)):
        return tuple(resolve(inner, known) for inner in value)
    return value


def lookup(ref: Ref, known: Mapping[int, Sequence[T]], network: Network) -> T:
    """One output of a call."""
    outputs = known[ref.call]
    if ref.output >= len(outputs):
        name = network.model.layers[network.model.calls[ref.call].layer].name
        raise FormatError(f"{network.source}: output {ref.output} of layer {name!r} is used, but it has {len(outputs)}")
    return outputs[ref.output]


def carrying(layer: Layer) -> Iterator[Layer]:
    """All layers inside one that carry something from timestep to timestep."""
    for child in layer.children:
        if child.state_shapes():
            yield child
        if not child.steps_apart:
            yield from carrying(child)


def every_layer(layer: Layer) -> Iterator[Layer]:
    """All layers inside one, in order, each before what it wraps."""
    for child in layer.children:
        yield child
        yield from every_layer(child)
