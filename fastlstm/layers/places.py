"""The places of a model where a function of the caller's can stand: for a layer, or for an activation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..catalogue import INPUT_LAYER, Role, row_of
from ..spec import STRING, Fixed, LayerSpec, ModelSpec, Ref, found_in

#: Layers that step from timestep to timestep with the cells inside them.
STEPPING = frozenset({Role.RECURRENT, Role.STACK})
#: Config keys that hold activations.
ACTIVATION_KEYS = ("activation", "recurrent_activation")
#: The name that Python gives to every function without one.
LAMBDA = "<lambda>"


def name_of(activation: Any) -> str:
    """The name that a caller knows a canonical activation by."""
    name = str(activation.get("name") if isinstance(activation, Mapping) else activation)
    return "hard_sigmoid" if name == "hard_sigmoid_keras3" else name


def plain(name: str) -> str:
    """A registered name without its package: "MyLayer" of "my_package>MyLayer"."""
    return name.rsplit(">", 1)[-1]


class Place(NamedTuple):
    """A layer somewhere in a model."""

    path: str
    spec: LayerSpec
    whole: str  # the path that the caller can supply: its own, or that of the layer around it
    outputs: int = 1  # how many of its outputs are used
    tensors: frozenset[str] = frozenset()  # call arguments that are tensors
    text: bool = False  # whether it is given an input of strings
    cell: bool = False  # whether it is one step of a layer around it
    inputs: int = 1  # how many tensors it is called on


class Use(NamedTuple):
    """An activation somewhere in a model."""

    place: str  # "lstm:recurrent_activation"
    name: str  # "my_package>wobble"
    value: Any  # canonical


def places(model: ModelSpec, prefix: str = "", whole: str = "") -> Iterator[Place]:
    """The layers of a model and all inside them, each before what it wraps."""
    used, tensors, text, inputs = outputs_used(model), tensor_arguments(model), given_text(model), inputs_given(model)
    for number, spec in enumerate(model.layers):
        if spec.class_name != INPUT_LAYER:
            path = prefix + spec.name
            words = frozenset(tensors.get(number, ()))
            yield from _inside(Place(path, spec, whole or path, used.get(number, 1), words, number in text, inputs=inputs.get(number, 1)))


def outputs_used(model: ModelSpec) -> dict[int, int]:
    """By layer: how many of its outputs the model makes use of."""
    used: dict[int, int] = {}
    for ref in found_in((model.outputs, *((call.inputs, call.keywords) for call in model.calls)), Ref):
        layer = model.calls[ref.call].layer
        used[layer] = max(used.get(layer, 1), ref.output + 1)
    return used


def tensor_arguments(model: ModelSpec) -> dict[int, set[str]]:
    """By layer: the call arguments that are tensors."""
    tensors: dict[int, set[str]] = {}
    for call in model.calls:
        for name, value in call.keywords.items():
            if any(True for kind in (Ref, Fixed) for _ in found_in(value, kind)):
                tensors.setdefault(call.layer, set()).add(name)
    return tensors


def inputs_given(model: ModelSpec) -> dict[int, int]:
    """By layer: how many tensors it is called on, at the most."""
    found: dict[int, int] = {}
    for call in model.calls:
        found[call.layer] = max(found.get(call.layer, 0), len(call.inputs))
    return found


def given_text(model: ModelSpec) -> set[int]:
    """The layers that are given an input of strings."""

    def is_text(ref: Ref) -> bool:
        return model.layers[model.calls[ref.call].layer].config.get("dtype") == STRING

    return {call.layer for call in model.calls if any(map(is_text, found_in(call.inputs, Ref)))}


def _inside(place: Place) -> Iterator[Place]:
    """A layer and what it wraps. What stands in a Bidirectional, which asks more of it, is supplied with that; cells stand alone."""
    yield place
    spec, prefix, role = place.spec, place.path + "/", row_of(place.spec.class_name).role
    within = place.whole if place.whole != place.path or role is Role.BIDIRECTIONAL else ""
    if spec.model is not None:
        yield from places(spec.model, prefix, within)
    for child in spec.children:
        path, cell = prefix + child.name, role in STEPPING
        yield from _inside(Place(path, child, path if cell or not within else within, cell=cell))


def uses(found: Iterable[Place]) -> Iterator[Use]:
    """The activations of layers whose classes are known: others read their configs themselves."""
    for place in found:
        if row_of(place.spec.class_name).computed:
            for key in ACTIVATION_KEYS:
                if key in place.spec.config:
                    value = place.spec.config[key]
                    yield Use(f"{place.path}:{key}", name_of(value), value)


def keys(found: Sequence[Use]) -> dict[str, str]:
    """By place: what ``custom_activations`` would call the activation there, if it were to be supplied."""
    names = {use.name for use in found}
    lambdas = [use.place for use in found if use.name == LAMBDA]
    alike: dict[str, set[str]] = {}
    for name in names:
        alike.setdefault(plain(name), set()).add(name)

    def key(use: Use) -> str:
        if use.name == LAMBDA and len(lambdas) > 1:
            return use.place
        mine = plain(use.name)
        # "Custom" is no package that its author has chosen.
        short = use.name.startswith("Custom>") and alike[mine] == {use.name}
        return mine if short else use.name

    return {use.place: key(use) for use in found}
