"""A part of a model: from some of its tensors to others."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .assembly import make_network, of_example
from .catalogue import INPUT_LAYER, Role, row_of
from .errors import InputError, UnsupportedError
from .layers.base import Tensor
from .layers.matching import prepared
from .layers.network import Network
from .limits import Budget
from .lost_masks import readers
from .pruning import Needs, needs_of, with_refs
from .spec import STRING, WHOLE, Call, LayerSpec, ModelSpec, Ref

#: Names that an error lists.
MOST_NAMES = 20
NTH_OUTPUT = re.compile(r"(?P<name>.+):(?P<output>[0-9]{1,6})")

Functions = Mapping[str, Callable[..., Any]]


class Spot(NamedTuple):
    """A tensor as the caller names it: an output of a layer, or (without layers) one of the model's own."""

    name: str
    layers: tuple[int, ...]  # the layer by number, after the models around it
    output: int = 0
    argument: str = "outputs"  # that it was named in


def cut(
    spec: ModelSpec, source: str, inputs: str | Sequence[str] | None, outputs: str | Sequence[str] | None, *,
    custom_layers: Functions | None = None, custom_activations: Functions | None = None, budget: Budget | None = None,
) -> ModelSpec:  # fmt: skip
    """The part of a model that leads from the named tensors to others; see :func:`fastlstm.load`.

    The layers that it does not need still stand in the spec, so that functions of the caller's may be named after them.

    Raises
    ------
    InputError
        If a name is none that the model has, an output depends on an input that is not named, or no output depends on one that is.
    """
    if inputs is None and outputs is None:
        return spec
    entering = [found(spec, name, "inputs", source) for name in names_in(inputs, "inputs", source)]
    leaving = [found(spec, name, "outputs", source) for name in names_in(outputs, "outputs", source)]
    spec, entering, leaving = descended(spec, entering, leaving)

    def made(model: ModelSpec) -> Network:
        return make_network(model, source, custom_layers, custom_activations, budget)

    if leaving:
        check_outputs(spec, leaving, made)
        spec = ending_at(spec, leaving)
    if entering:
        spec = beginning_at(spec, source, entering, made)
    whole = prepared(spec, source, custom_layers).custom_layers if custom_layers else ()
    return connected(spec, source, needs_of(spec, whole), chosen=bool(entering))


# -- names ----------------------------------------------------------------------------------------------------------------


def names_in(given: Any, argument: str, source: str) -> list[str]:
    """The names that the caller gave, one or several."""
    if given is None:
        return []
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{argument}: expected a name of a layer of {source}, or a list of them, found {given!r:.60}")
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise InputError(f"{argument}: expected every name once, found {twice!r} twice")
    return list(names)


def found(model: ModelSpec, name: str, argument: str, source: str) -> Spot:
    """The tensor that a name is of: of a layer "dense", of one in a nested model "encoder/dense", its second output "lstm:1".

    Raises
    ------
    InputError
        If the model has no such layer.
    """
    layers, nth = path_of(model, name), NTH_OUTPUT.fullmatch(name)
    if layers is not None:
        return Spot(name, layers, 0, argument)
    if nth is not None and (layers := path_of(model, nth["name"])) is not None:
        return Spot(name, layers, int(nth["output"]), argument)
    if argument == "outputs" and name in model.output_names:  # where they are a dict, its keys
        return Spot(name, (), model.output_names.index(name), argument)
    paths = list(paths_in(model))
    near = [path for path in paths if path.endswith("/" + name)][:3] or difflib.get_close_matches(name, paths, 3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    listed = ", ".join(paths[:MOST_NAMES]) + (f", ... ({len(paths)} in all)" if len(paths) > MOST_NAMES else "")
    raise InputError(f"{argument}: expected names of layers of {source} ({listed}), found {name!r}{hint}")


def path_of(model: ModelSpec, name: str) -> tuple[int, ...] | None:
    """The layer that a name is of, after the models around it; None if there is none."""
    for number, layer in enumerate(model.layers):
        if layer.name == name:
            return (number,)
    for number, layer in enumerate(model.layers):
        if layer.model is not None and name.startswith(layer.name + "/"):
            inside = path_of(layer.model, name[len(layer.name) + 1 :])
            if inside is not None:
                return (number, *inside)
    return None


def paths_in(model: ModelSpec, prefix: str = "") -> Iterator[str]:
    """The names of all layers, those in nested models too."""
    for layer in model.layers:
        yield prefix + layer.name
        if layer.model is not None:
            yield from paths_in(layer.model, f"{prefix}{layer.name}/")


# -- which model is cut -----------------------------------------------------------------------------------------------------


def descended(model: ModelSpec, entering: list[Spot], leaving: list[Spot]) -> tuple[ModelSpec, list[Spot], list[Spot]]:
    """The model to cut: one nested in the file, taken out, where all that is named lies in it.

    Without named inputs, only a model that is used more than once is taken out: of its uses, none is the one that is meant.
    """
    while leaving and all(spot.layers for spot in leaving):
        first = {spot.layers[0] for spot in leaving}
        layer = min(first)
        if len(first) > 1 or model.layers[layer].model is None:
            break
        if not entering and sum(call.layer == layer for call in model.calls) < 2:
            break
        if not all(spot.layers[0] == layer and len(spot.layers) > 1 for spot in entering):
            break
        model = taken_out(model, model.layers[layer])
        entering, leaving = ([spot._replace(layers=spot.layers[1:]) for spot in spots] for spots in (entering, leaving))
    return model, entering, leaving


def taken_out(model: ModelSpec, layer: LayerSpec) -> ModelSpec:
    """A nested model by itself. Problems name its layers as it knows them."""
    inner = layer.model
    assert inner is not None  # the caller has looked
    problems = tuple(problem._replace(layer="") for problem in model.problems if problem.layer == layer.name)
    inner = relocated(inner, layer.name)
    return replace(inner, problems=(*problems, *inner.problems))


def relocated(model: ModelSpec, path: str) -> ModelSpec:
    """A model whose problems are told as those of layers inside it, not of layers around it by such a path."""
    problems = tuple(
        problem._replace(layer="" if problem.layer == path else problem.layer.removeprefix(path + "/")) for problem in model.problems
    )
    return replace(model, layers=tuple(layer_relocated(layer, path) for layer in model.layers), problems=problems)


def layer_relocated(layer: LayerSpec, path: str) -> LayerSpec:
    """The same of a layer, and of what stands in it."""
    inner = None if layer.model is None else relocated(layer.model, path)
    return replace(layer, model=inner, children=tuple(layer_relocated(child, path) for child in layer.children))


# -- where it ends ----------------------------------------------------------------------------------------------------------


def ending_at(model: ModelSpec, leaving: Sequence[Spot]) -> ModelSpec:
    """The model with other outputs."""
    refs = []
    for spot in leaving:
        model, ref = exposed(model, spot, spot.layers)
        refs.append(ref)
    names = tuple(spot.name for spot in leaving)
    return replace(
        model, outputs=tuple(refs), output_names=names, output_kind=("single" if len(refs) == 1 else "list"), compiled=None, added=()
    )


def exposed(model: ModelSpec, spot: Spot, layers: Sequence[int]) -> tuple[ModelSpec, Ref]:
    """The model in which a tensor of a nested model is an output of that, and the tensor as the model has it."""
    if not layers:
        check_output(spot, len(model.outputs))
        return model, model.outputs[spot.output]
    number = layers[0]
    call, inner = last_use(model, number, spot), model.layers[number].model
    if inner is None or len(layers) == 1:
        if inner is not None:
            check_output(spot, len(inner.outputs))
        return model, Ref(call, spot.output)
    inner, ref = exposed(inner, spot, layers[1:])
    if ref not in inner.outputs:
        inner = replace(inner, outputs=(*inner.outputs, ref), output_names=(*inner.output_names, spot.name))
    layer = replace(model.layers[number], model=inner)
    return replace(model, layers=(*model.layers[:number], layer, *model.layers[number + 1 :])), Ref(call, inner.outputs.index(ref))


def last_use(model: ModelSpec, layer: int, spot: Spot) -> int:
    """The last call of a layer."""
    calls = [number for number, call in enumerate(model.calls) if call.layer == layer]
    if not calls:
        raise InputError(f"{spot.argument}: {spot.name!r}: the layer {model.layers[layer].name!r} is not used in the model")
    return calls[-1]


def check_output(spot: Spot, count: int) -> None:
    """Refuse an output that a layer does not have."""
    if spot.output >= count:
        have = "1 output" if count == 1 else f"{count} outputs, counted from 0"
        raise InputError(f"{spot.argument}: expected an output that it has, found {spot.name!r}, which has {have}")


# -- where it begins --------------------------------------------------------------------------------------------------------


def entrance_ref(model: ModelSpec, spot: Spot) -> Ref:
    """The tensor that becomes an input; of one in a nested model, those who read it outside could not be told."""
    number = spot.layers[0]
    if len(spot.layers) > 1:
        outer = model.layers[number].name
        raise InputError(
            f"inputs: {spot.name!r} lies in the model {outer!r}, and not all outputs do: name outputs that lie in {outer!r} too "
            f"(outputs=[{outer!r}] is its own), or a tensor outside"
        )
    inner = model.layers[number].model
    if inner is not None:
        check_output(spot, len(inner.outputs))
    return Ref(last_use(model, number, spot), spot.output)


def beginning_at(model: ModelSpec, source: str, entering: Sequence[Spot], made: Callable[[ModelSpec], Network]) -> ModelSpec:
    """The model with some of its tensors as its inputs, in place of those that it has."""
    refs = [entrance_ref(model, spot) for spot in entering]
    if len(set(refs)) < len(refs):
        raise InputError(f"inputs: expected every tensor once, found {', '.join(spot.name for spot in entering)}")
    own = {ref.call for ref in model.inputs}
    new = [spot for spot, ref in zip(entering, refs, strict=True) if ref.call not in own]
    if not new:
        return replace(model, inputs=tuple(refs), input_names=tuple(spot.name for spot in entering))
    doors = doors_for(model, new, made)
    count = len(doors)
    replaced = {ref: Ref(number) for number, ref in enumerate(ref for ref in refs if ref.call not in own)}

    def moved(ref: Ref) -> Ref:
        return replaced.get(ref, Ref(ref.call + count, ref.output))

    calls = [Call(number) for number in range(count)]
    calls += [Call(count + call.layer, with_refs(call.inputs, moved), with_refs(call.keywords, moved)) for call in model.calls]
    left = replace(
        model,
        layers=(*(door.layer for door in doors), *model.layers),
        calls=tuple(calls),
        inputs=tuple(map(moved, refs)),
        input_names=tuple(spot.name for spot in entering),
        outputs=tuple(map(moved, model.outputs)),
    )
    check_masks(left, source, [left.inputs.index(Ref(number)) for number, door in enumerate(doors) if door.masked])
    return left


def check_masks(model: ModelSpec, source: str, masked: Sequence[int]) -> None:
    """Refuse inputs that have a mask in the whole model, where that would make a difference."""
    kept = needs_of(model).left(masked)
    for number in masked:
        name = model.input_names[number]
        found = readers(kept, [kept.input_names.index(name)])
        if found:
            raise InputError(
                f"inputs: {name!r} has a mask in the whole model of {source}, which {found[0]!r} reads, and an input has none, so that "
                "the numbers would be others; begin before the layer that makes the mask"
            )


class Door(NamedTuple):
    """An input in place of a tensor."""

    layer: LayerSpec
    masked: bool  # had the tensor a mask?


def doors_for(model: ModelSpec, entering: Sequence[Spot], made: Callable[[ModelSpec], Network]) -> list[Door]:
    """Inputs for some tensors, of the shapes and dtypes that the layers before them give these.

    Raises
    ------
    InputError
        If a layer before them is not computed.
    """
    try:
        check_outputs(model, entering, made)
        network = made(ending_at(model, entering))
    except UnsupportedError as error:
        names = " and ".join(repr(spot.name) for spot in entering)
        raise InputError(f"inputs: the shape of {names} is not known, as a layer that leads to it is not computed: {error}") from error
    shapes = network.shapes(network.input_shapes(), {})
    example = of_example(network, lambda sizes: example_of(network, sizes))
    doors = []
    for number, (spot, shape) in enumerate(zip(entering, shapes, strict=True)):
        tensor = None if example is None else example[number]
        dtype = "float64" if model.layers[spot.layers[0]].dtype == "float64" else "float32"
        if tensor is not None and tensor.value.dtype.kind in "iubO":
            dtype = {"O": STRING, "i": "int64" if tensor.value.dtype == np.int64 else "int32"}.get(tensor.value.dtype.kind, "int32")
        door = LayerSpec(INPUT_LAYER, spot.name, {"shape": list(shape), "dtype": dtype})
        doors.append(Door(door, tensor is None or tensor.mask is not None))
    return doors


def example_of(network: Network, sizes: tuple[tuple[int, ...], ...]) -> tuple[Tensor, ...]:
    """The outputs for a few rows of such sizes: which of them have a mask, and which are ids."""
    rows = network.rows_together()
    dtypes = [object if door.declared == STRING else np.int32 if door.declared in WHOLE else np.float32 for door in network.doors]
    with np.errstate(all="ignore"):
        return network.apply(
            [Tensor(np.full((rows, *size), b"" if dtype is object else 0, dtype)) for size, dtype in zip(sizes, dtypes, strict=True)],
            {},
            None,
        )


def check_outputs(model: ModelSpec, spots: Sequence[Spot], made: Callable[[ModelSpec], Network]) -> None:
    """Refuse outputs that layers do not have: only when they are made does it show how many they have."""
    later = [spot for spot in spots if spot.output and spot.layers]
    if not later:
        return
    shapes = made(ending_at(model, [spot._replace(output=0) for spot in later])).layer_shapes()
    for spot in later:
        path, layer = named_by(model, spot)
        shape = shapes.get(path)
        several = isinstance(shape, tuple) and all(isinstance(one, tuple) for one in shape)
        if layer.model is None:
            check_output(spot, len(shape) if isinstance(shape, tuple) and several else 1)


def named_by(model: ModelSpec, spot: Spot) -> tuple[str, LayerSpec]:
    """The path and the spec of the layer whose output a spot is."""
    layer = model.layers[spot.layers[0]]
    path = layer.name
    for number in spot.layers[1:]:
        assert layer.model is not None  # the name has led there
        layer = layer.model.layers[number]
        path += "/" + layer.name
    return path, layer


# -- what it then needs -----------------------------------------------------------------------------------------------------


def connected(model: ModelSpec, source: str, needs: Needs, *, chosen: bool) -> ModelSpec:
    """The model with the inputs that its outputs need; where the caller has chosen them, they must be just those."""
    entrances = {ref.call for ref in model.inputs}
    others = [number for number in sorted(needs.calls - entrances) if is_input(model, number)]
    if others:
        names = ", ".join(repr(model.layers[model.calls[number].layer].name) for number in others)
        raise InputError(f"inputs: the outputs of {source} depend on more than these inputs; name {names} too, or begin later")
    unused = [name for number, name in enumerate(model.input_names) if number not in needs.inputs]
    if unused and chosen:
        raise InputError(f"inputs: no output depends on {', '.join(map(repr, unused))}; leave it out, or name an output behind it")
    if not needs.inputs:
        raise InputError(f"outputs: {', '.join(map(repr, model.output_names))} of {source} depends on no input of the model")
    kept = sorted(needs.inputs)
    left = replace(model, inputs=tuple(model.inputs[n] for n in kept), input_names=tuple(model.input_names[n] for n in kept))
    return with_names_of_their_own(left, needs)


def is_input(model: ModelSpec, call: int) -> bool:
    """Is a call where data enter?"""
    return row_of(model.layers[model.calls[call].layer].class_name).role is Role.INPUT


def with_names_of_their_own(model: ModelSpec, needs: Needs) -> ModelSpec:
    """The model, its InputLayers renamed where another layer that it needs has their name: an LSTM of which one output enters alone."""
    used = {model.calls[number].layer for number in needs.calls}
    doors = sorted({model.calls[ref.call].layer for ref in model.inputs})
    taken = {model.layers[number].name for number in used.difference(doors)}
    layers = list(model.layers)
    for number in doors:
        name = layers[number].name
        while name in taken:
            name += "_input"
        taken.add(name)
        layers[number] = replace(layers[number], name=name)
    return replace(model, layers=tuple(layers))
