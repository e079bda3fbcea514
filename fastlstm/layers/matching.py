"""Which of the caller's functions stands where in a model, by the names that the caller gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .. import activations, lazy
from ..catalogue import Role, row_of
from ..errors import FormatError, InputError, Problem
from ..limits import Budget
from ..spec import Functions, ModelSpec
from .base import Context, Layer, every_layer
from .places import LAMBDA, Place, Use, keys, places, plain, uses

if TYPE_CHECKING:
    import difflib

    from .. import support
    from . import supplied
    from .supplied import Supplied
else:
    difflib, support, supplied = lazy.module("difflib"), lazy.module("fastlstm.support"), lazy.module("fastlstm.layers.supplied")

Target = TypeVar("Target")


def prepared(
    model: ModelSpec,
    source: str,
    custom_layers: Mapping[str, Callable[..., Any]] | None = None,
    custom_activations: Mapping[str, Callable[..., Any]] | None = None,
    budget: Budget | None = None,
) -> Context:
    """The context that the layers of a model are made with.

    Raises
    ------
    InputError
        If the caller's functions have names that the model does not have, or that may mean several things in it.
    """
    found = list(places(model))
    used = list(uses(found))
    try:
        layers, functions = layers_of(found, custom_layers), activations_of(used, custom_activations)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return Context(
        source,
        model.rules,
        layers,
        functions,
        {place.path: place for place in found},
        keys(used),
        budget=budget or Budget.unlimited(),
        needed=still_needed(model.functions, found, used, layers, source),
    )


def still_needed(
    functions: Functions, found: Sequence[Place], used: Sequence[Use], given: Mapping[str, Supplied], source: str
) -> Functions:  # fmt: skip
    """The functions that a file was converted with, but for those inside layers that the caller supplies.

    Raises
    ------
    FormatError
        If the file names a function as what stands there is not called: giving it by that name would not help.
    """
    known = {place.path: layer_names(place) for place in found}
    named = {use.place: {use.place, use.name, plain(use.name)} for use in used}
    for place, name in functions.layers.items():
        if name not in known.get(place, {name}):
            raise FormatError(f"{source}: header: functions: {name!r} is no name of layer {place!r}")
    for place, name in functions.activations.items():
        if not {name, today(name)} & named.get(place, {name}):
            raise FormatError(f"{source}: header: functions: {name!r} is no name of activation {place!r}")

    def left(places_of: Mapping[str, str]) -> dict[str, str]:
        return {place: name for place, name in places_of.items() if not any(place.startswith(path + "/") for path in given)}

    return Functions(left(functions.layers), left(functions.activations))


def layer_names(place: Place) -> set[str]:
    """The names that a layer goes by."""
    return {place.path, place.spec.name, place.spec.class_name, plain(place.spec.class_name)}


def functions_of(top: Layer) -> Functions:
    """The caller's functions that a model computes with, for its file."""
    context = top.context
    # An entrance may have the name of the layer whose output enters there.
    made = {layer.path for layer in every_layer(top) if layer.row.role is not Role.INPUT}
    return Functions(
        {path: supplied.name for path, supplied in context.custom_layers.items() if path in made},
        {place: supplied.name for place, supplied in context.custom_activations.items() if place.rpartition(":")[0] in made},
    )


def lacking(context: Context) -> tuple[Problem, ...]:
    """The problem of functions that the file needs and that the caller has not given, once its layers are made: all in one."""
    if not context.lacking:
        return ()
    given = ", ".join(
        f"{argument}={{{', '.join(f'{name!r}: function' for name in dict.fromkeys(places_of.values()))}}}"
        for argument, places_of in sorted(context.lacking.items(), reverse=True)
    )
    what = "it was converted with functions of one's own, which the file does not hold"
    return (Problem("", "", what, f"give them again, in Python: fastlstm.load(..., {given})"),)


def layers_of(found: Sequence[Place], given: Mapping[str, Callable[..., Any]] | None) -> dict[str, Supplied]:
    """By path: the caller's functions that stand for layers.

    A layer's own name goes before the name that its class is registered by ("my_package>MyLayer"), and that before the plain
    name of its class.

    Raises
    ------
    InputError
        If a name fits no layer, or several that are not the same.
    """
    return served("custom_layers", found, given, _layers_called, _alike, _as_layer)


def served(
    argument: str,
    found: Sequence[Target],
    given: Mapping[str, Callable[..., Any]] | None,
    called: Callable[[str, Sequence[Target], Mapping[str, Any]], tuple[int, list[Target]]],
    check: Callable[[str, Callable[..., Any], Sequence[Target]], None],
    supply: Callable[[str, Callable[..., Any], Target], tuple[str, Supplied]],
) -> dict[str, Supplied]:
    """By place: the caller's functions, the one whose name names the place most exactly.

    Parameters
    ----------
    argument
        The argument that they were given as, for errors.
    found
        The layers or activations of the model.
    given
        The caller's functions by name.
    called
        How exactly a name is meant (0: a place's own), and what it names.
    check
        Refuse one function for several things that it cannot serve alike.
    supply
        The place of one of them, and the function as it stands there.
    """
    functions = checked(argument, given)
    ordered: list[tuple[int, str, Supplied]] = []
    for name, function in functions.items():
        order, targets = called(name, found, functions)
        if order > 0:
            check(name, function, targets)
        for target in targets:
            place, supplied = supply(name, function, target)
            ordered.append((order, place, supplied))
    return {place: supplied for _, place, supplied in sorted(ordered, key=lambda one: -one[0])}


def _as_layer(name: str, function: Callable[..., Any], place: Place) -> tuple[str, Supplied]:
    """The path of a layer, and the function that stands for it."""
    if place.whole != place.path:
        raise InputError(
            f"custom_layers: {name!r} is {place.path!r} ({place.spec.class_name}), which is computed as a part of the layer around "
            f"it; supply that as a whole: custom_layers={{{place.whole!r}: function}}"
        )
    return place.path, supplied.Supplied(function, "custom_layers", name, place.outputs, place.tensors)


def _layers_called(name: str, found: Sequence[Place], functions: Mapping[str, Any]) -> tuple[int, list[Place]]:
    """How exactly a name is meant (0: a layer's own, 1: a registered class, 2: a plain class), and the layers that it names."""
    here = [place for place in found if place.path == name] or [place for place in found if place.spec.name == name]
    if here:
        if len({place.path for place in here}) > 1:
            raise ambiguous("custom_layers", name, "layers", [place.path for place in here])
        return 0, here
    exact = [place for place in found if place.spec.class_name == name]
    if exact:
        return 1, exact
    by_class = [place for place in found if plain(place.spec.class_name) == name and place.spec.class_name not in functions]
    classes = {place.spec.class_name for place in by_class}
    if len(classes) > 1:
        raise ambiguous("custom_layers", name, "classes", classes)
    if not by_class:
        raise missing(
            "custom_layers",
            name,
            "layers",
            [f"{place.path} ({place.spec.class_name})" for place in found],
            [known for place in found for known in layer_names(place)],
        )
    return 2, by_class


def _alike(name: str, function: Callable[..., Any], targets: Sequence[Place]) -> None:
    """Refuse one function for layers of a class that does not tell what they do."""
    if len(targets) < 2:
        return
    kind = targets[0].spec.class_name
    if row_of(kind).role is Role.CODE or (row_of(kind).role is Role.OPERATION and not support.takes(function, "config")):
        raise ambiguous("custom_layers", name, "layers", [place.path for place in targets])


def activations_of(found: Sequence[Use], given: Mapping[str, Callable[..., Any]] | None) -> dict[str, Supplied]:
    """By place ("lstm:recurrent_activation"): the caller's functions that stand for activations.

    A place goes before the name that a function is registered by ("my_package>wobble"), and that before its plain name.

    Raises
    ------
    InputError
        If a name fits no activation, or several that are not the same.
    """
    return served("custom_activations", found, given, _activations_called, _same, _as_activation)


def _as_activation(name: str, function: Callable[..., Any], use: Use) -> tuple[str, Supplied]:
    """The place of an activation, and the function that stands for it."""
    return use.place, supplied.Supplied(function, "custom_activations", name)


def _same(name: str, function: Callable[..., Any], targets: Sequence[Use]) -> None:
    """Refuse one function for activations that share their name alone."""
    where = [use.place for use in targets]
    if len(targets) > 1 and targets[0].name == LAMBDA:
        raise ambiguous("custom_activations", name, "activations", where)
    if len({repr(supplied.parameters(use.value)) for use in targets}) > 1 and not support.takes(function, "config"):
        listed = ", ".join(map(repr, where))
        raise InputError(
            f"custom_activations: {name!r} has different parameters at {listed}; give the function a parameter named config, "
            "which gets them, or each of these places a function of its own"
        )


def _activations_called(name: str, found: Sequence[Use], functions: Mapping[str, Any]) -> tuple[int, list[Use]]:
    """How exactly a name is meant (0: a place, 1: a registered name, 2: a plain one), and the activations that it names."""
    for order, targets in (
        (0, [use for use in found if use.place == name]),
        (1, [use for use in found if use.name == name]),
        (2, [use for use in found if plain(use.name) == name and use.name not in functions]),
        (2, [use for use in found if use.name == today(name)]),
    ):
        if targets:
            names = {use.name for use in targets}
            if len(names) > 1:
                raise ambiguous("custom_activations", name, "activations", names)
            return order, targets
    names = {use.name for use in found}
    raise missing("custom_activations", name, "activations", sorted(names), [*names, *map(plain, names), *(use.place for use in found)])


def today(name: str) -> str:
    """The name that Keras has for one of its activations today: "silu" for "swish"."""
    try:
        return activations.name_of(activations.canonical(name, False))
    except ValueError:
        return name


def checked(argument: str, given: Any) -> Mapping[str, Callable[..., Any]]:
    """The caller's functions by name."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(f"{argument}: expected a dict of functions by name, found {type(given).__name__}")
    for name, function in given.items():
        if not isinstance(name, str) or not callable(function):
            raise InputError(f"{argument}: expected functions by name, found {function!r:.60} for {name!r}")
    return given


def ambiguous(argument: str, name: str, what: str, several: Iterable[str]) -> InputError:
    """The error about a name that stands for several things."""
    listed = ", ".join(map(repr, sorted(several)))
    return InputError(f"{argument}: {name!r} may be any of the {what} {listed}; give each its own function under its own name")


def missing(argument: str, name: str, what: str, there: Sequence[str], names: Iterable[str]) -> InputError:
    """The error about a name that the model does not have."""
    near = difflib.get_close_matches(name, sorted(set(names)), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(there[:20]) + (f", ... ({len(there)} in all)" if len(there) > 20 else "")
    return InputError(f"{argument}: the model has no {name!r}, its {what} are: {listed or 'none'}{hint}")
