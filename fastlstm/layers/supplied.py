"""The caller's own functions: which layers and activations of a model each is for, and what they are asked and held to."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from .. import activations
from ..catalogue import row_of
from ..errors import InputError
from ..spec import Fixed, LayerSpec, ModelSpec, Ref, found_in

#: Wrappers that need to know what they wrap: the caller can supply them, but nothing inside them.
WHOLE = frozenset({"RNN", "StackedRNNCells", "Bidirectional"})
#: Config keys that hold activations.
ACTIVATION_KEYS = ("activation", "recurrent_activation")
#: What Python calls every function without a name.
LAMBDA = "<lambda>"
#: Classes of layers each of which does something else: their names say nothing, so one function cannot serve two of them by class.
OPERATIONS = ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "Operation>")


@dataclass(frozen=True)
class Supplied:
    """A function of the caller's that stands for a layer or an activation.

    Attributes
    ----------
    function
        The function.
    said
        How the caller named it: ``custom_layers['Attention2']``.
    outputs
        How many outputs the model makes use of.
    tensors
        Call arguments of the layer that are tensors: the function must take them.
    """

    function: Callable[..., Any]
    said: str
    outputs: int = 1
    tensors: frozenset[str] = frozenset()
    seen: set[str] = field(default_factory=set, compare=False)  # layers where it was seen to compute each row by itself
    # By layer: whether it was seen to compute each timestep by itself, as an activation.
    steps_seen: dict[str, bool] = field(default_factory=dict, compare=False)

    def takes(self, name: str) -> bool:
        """Whether the function has a parameter of this name."""
        return takes(self.function, name)

    def is_stepwise(self, layer: str) -> bool:
        """Does it, as an activation of a layer, compute each place by itself, along all axes but the last, as far as it was seen to?"""
        return self.steps_seen.get(layer, True)

    def error(self, layer: str, what: str) -> InputError:
        """An error that names the layer and the function."""
        name = getattr(self.function, "__qualname__", None) or repr(self.function)
        return InputError(f"{layer}: {self.said}, the function {name}, {what}")

    def call(self, layer: str, arrays: Sequence[np.ndarray], extras: Mapping[str, Any], dtype: Any) -> tuple[np.ndarray, ...]:
        """What the function makes of arrays, in a dtype.

        It gets copies and gives copies, so that nothing that it changes in place, keeps, or gives again later touches other data.

        Raises
        ------
        InputError
            If it raises something, or returns anything but arrays of numbers.
        """
        shapes = ", ".join(str(array.shape) for array in arrays)
        try:
            with np.errstate(all="ignore"):  # NaN and infinities are data
                found = self.function(*[np.array(array) for array in arrays], **deepcopy_but(extras, "weights"))
        except Exception as error:
            raise self.error(layer, f"was called with {shapes} and raised {type(error).__name__}: {error}") from error
        outputs = found if isinstance(found, (tuple, list)) else (found,)
        return tuple(self._array(layer, output, dtype) for output in outputs)

    def _array(self, layer: str, output: Any, dtype: Any) -> np.ndarray:
        try:
            array = np.asarray(output)
        except ValueError as error:
            raise self.error(layer, f"returned {type(output).__name__} that is no array ({error}); expected arrays") from error
        if array.dtype.kind not in "fiub":
            what = "None" if output is None else f"{type(output).__name__} of dtype {array.dtype}"
            raise self.error(layer, f"returned {what}; expected arrays of real numbers")
        with np.errstate(all="ignore"):
            return np.array(array, dtype)

    def activation(self, layer: str, value: Any, x: np.ndarray) -> np.ndarray:
        """What the function makes of an array as the activation of this canonical value; watched for how it treats timesteps."""
        if not len(x):  # not every function can do without any
            return np.zeros((*x.shape[:-1], activations.output_features(value, x.shape[-1])), x.dtype)
        y = self._activated(layer, value, x)
        if x.ndim > 2 and layer not in self.steps_seen and x.size and not np.all(x == x.flat[0]):
            try:
                apart = self._activated(layer, value, x.reshape(-1, x.shape[-1]))
            except InputError:
                apart = y[:0]
            self.steps_seen[layer] = agree(y.reshape(-1, y.shape[-1]), apart)
        return y

    def _activated(self, layer: str, value: Any, x: np.ndarray) -> np.ndarray:
        extras = {"config": parameters(value)} if self.takes("config") else {}
        outputs = self.call(layer, [x], extras, x.dtype)
        expected = (*x.shape[:-1], activations.output_features(value, x.shape[-1]))
        if len(outputs) != 1 or outputs[0].shape != expected:
            shapes = " and ".join(str(output.shape) for output in outputs) or "nothing"
            raise self.error(layer, f"was called with {x.shape} and returned {shapes}; expected one array of shape {expected}")
        self.check_rows(layer, [x], outputs, lambda row: self.call(layer, [x[row]], extras, x.dtype))
        return outputs[0]

    def check_rows(
        self, layer: str, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray], again: Callable[[slice], Sequence[np.ndarray]]
    ) -> None:
        """Refuse a function that computes a row from others, once for each layer: Keras's batches are not ours.

        ``again`` computes some of the rows.
        """
        if layer in self.seen or not arrays or len(arrays[0]) < 2 or all(np.array_equal(array[0], array[1]) for array in arrays):
            return
        for row in (slice(0, 1), slice(1, 2)):
            if not all(agree(output[row], alone) for output, alone in zip(outputs, again(row), strict=True)):
                raise self.error(layer, "gives a row other numbers alone than among others; expected every row to be computed by itself")
        self.seen.add(layer)


def agree(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether arrays are the same but for rounding."""
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True)


def deepcopy_but(extras: Mapping[str, Any], kept: str) -> dict[str, Any]:
    """Call arguments copied, but the one that is read-only already."""
    return {name: value if name == kept else deepcopy(value) for name, value in extras.items()}


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of this name."""
    try:
        found = inspect.signature(function).parameters.get(name)
    except (TypeError, ValueError):  # some of NumPy's own tell nothing of themselves
        return False
    return found is not None and found.kind in (found.POSITIONAL_OR_KEYWORD, found.KEYWORD_ONLY)


def parameters(activation: Any) -> dict[str, Any]:
    """The parameters of a canonical activation."""
    if not isinstance(activation, Mapping):
        return {}
    config = activation.get("config")  # of a user's own
    return dict(config) if isinstance(config, Mapping) else {key: value for key, value in activation.items() if key != "name"}


def name_of(activation: Any) -> str:
    """The name that a caller knows a canonical activation by."""
    name = str(activation.get("name") if isinstance(activation, Mapping) else activation)
    return "hard_sigmoid" if name == "hard_sigmoid_keras3" else name


def plain(name: str) -> str:
    """A registered name without its package: "MyLayer" of "my_package>MyLayer"."""
    return name.rsplit(">", 1)[-1]


# -- where a model can take functions ---------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A layer somewhere in a model."""

    path: str
    spec: LayerSpec
    whole: str  # the path that the caller can supply: its own, or that of the layer around it
    outputs: int  # how many of its outputs are used
    tensors: frozenset[str]  # call arguments that are tensors
    text: bool  # whether it is given an input of strings


class Use(NamedTuple):
    """An activation somewhere in a model."""

    place: str  # "lstm:recurrent_activation"
    name: str  # "my_package>wobble"
    value: Any  # canonical


def places(model: ModelSpec, prefix: str = "", whole: str = "") -> Iterator[Place]:
    """The layers of a model and all inside them, each before what it wraps."""
    used: dict[int, int] = {}
    tensors: dict[int, set[str]] = {}
    text: set[int] = set()
    for given in (model.outputs, *(call.inputs for call in model.calls)):
        for ref in found_in(given, Ref):
            layer = model.calls[ref.call].layer
            used[layer] = max(used.get(layer, 1), ref.output + 1)
    for call in model.calls:
        if any(model.layers[model.calls[ref.call].layer].config.get("dtype") == "string" for ref in found_in(call.inputs, Ref)):
            text.add(call.layer)
        for name, value in call.keywords.items():
            if any(True for _ in found_in(value, Fixed)):
                tensors.setdefault(call.layer, set()).add(name)
            for ref in found_in(value, Ref):
                tensors.setdefault(call.layer, set()).add(name)
                layer = model.calls[ref.call].layer
                used[layer] = max(used.get(layer, 1), ref.output + 1)
    for number, spec in enumerate(model.layers):
        if spec.class_name != "InputLayer":
            words = frozenset(tensors.get(number, ()))
            yield from _inside(Place(prefix + spec.name, spec, whole or prefix + spec.name, used.get(number, 1), words, number in text))


def _inside(place: Place) -> Iterator[Place]:
    yield place
    spec, prefix = place.spec, place.path + "/"
    whole = place.whole if place.whole != place.path or spec.class_name in WHOLE else ""
    if spec.model is not None:
        yield from places(spec.model, prefix, whole)
    for child in spec.children:
        yield from _inside(Place(prefix + child.name, child, whole or prefix + child.name, 1, frozenset(), False))


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


# -- which function goes where ----------------------------------------------------------------------------------------------


def layers(found: Sequence[Place], given: Mapping[str, Callable[..., Any]] | None) -> dict[str, Supplied]:
    """By path: the caller's functions that stand for layers.

    A layer's own name goes before the name that its class is registered by ("my_package>MyLayer"), and that before the plain
    name of its class.

    Raises
    ------
    InputError
        If a name fits no layer, or several that are not the same.
    """
    functions = checked("custom_layers", given)
    served: list[tuple[int, Place, Supplied]] = []
    for name, function in functions.items():
        order, targets = _layers_called(name, found, functions)
        if order > 0:
            _alike(name, function, targets)
        for place in targets:
            if place.whole != place.path:
                raise InputError(
                    f"custom_layers: {name!r} is {place.path!r} ({place.spec.class_name}), which is computed as a part of the layer around "
                    f"it; supply that as a whole: custom_layers={{{place.whole!r}: function}}"
                )
            served.append((order, place, Supplied(function, f"custom_layers[{name!r}]", place.outputs, place.tensors)))
    served.sort(key=lambda entry: -entry[0])  # the most exact names come last, and stay
    return {place.path: supplied for _, place, supplied in served}


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
        raise missing("custom_layers", name, "layers", [f"{place.path} ({place.spec.class_name})" for place in found], [
            known for place in found for known in (place.path, place.spec.name, place.spec.class_name, plain(place.spec.class_name))
        ])  # fmt: skip
    return 2, by_class


def _alike(name: str, function: Callable[..., Any], targets: Sequence[Place]) -> None:
    """Refuse one function for layers of a class that does not tell what they do."""
    if len(targets) < 2:
        return
    kind = targets[0].spec.class_name
    if kind == "Lambda" or (kind.startswith(OPERATIONS) and not takes(function, "config")):
        raise ambiguous("custom_layers", name, "layers", [place.path for place in targets])


def functions_of(found: Sequence[Use], given: Mapping[str, Callable[..., Any]] | None) -> dict[str, Supplied]:
    """By place ("lstm:recurrent_activation"): the caller's functions that stand for activations.

    A place goes before the name that a function is registered by ("my_package>wobble"), and that before its plain name.

    Raises
    ------
    InputError
        If a name fits no activation, or several that are not the same.
    """
    functions = checked("custom_activations", given)
    served: list[tuple[int, Use, Supplied]] = []
    for name, function in functions.items():
        order, targets = _activations_called(name, found, functions)
        if order > 0:
            _same(name, function, targets)
        served += [(order, use, Supplied(function, f"custom_activations[{name!r}]")) for use in targets]
    served.sort(key=lambda entry: -entry[0])  # the most exact names come last, and stay
    return {use.place: supplied for _, use, supplied in served}


def _same(name: str, function: Callable[..., Any], targets: Sequence[Use]) -> None:
    """Refuse one function for activations that share their name alone."""
    where = [use.place for use in targets]
    if len(targets) > 1 and targets[0].name == LAMBDA:
        raise ambiguous("custom_activations", name, "activations", where)
    if len({repr(parameters(use.value)) for use in targets}) > 1 and not takes(function, "config"):
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
    """What Keras calls one of its activations today: "silu" for "swish"."""
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
