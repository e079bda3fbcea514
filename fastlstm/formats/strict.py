"""Checks that values have exactly the types that a class declares, and that a graph holds together: nothing is converted or left out."""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..catalogue import Role, row_of
from ..errors import FormatError
from ..spec import LayerSpec, ModelSpec, Ref, found_in
from .reading.values import short

T = TypeVar("T")

#: The types of a class's fields.
hints_of: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


def fits(value: Any, hint: Any) -> bool:
    """Is a JSON value of a type: bool, int, float (finite), str, None, a Literal, a union, or a list of one type?"""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if kind in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if kind is list:
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value)
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is hint


def typed(value: T, hint: Any, place: str) -> T:
    """Return a value if it is of a type; else raise a ValueError that names its place."""
    if not fits(value, hint):
        raise ValueError(f"{place}: expected {told(hint)}, found {short(value)}")
    return value


def told(hint: Any) -> str:
    """A type in words."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Literal:
        return " or ".join(map(repr, inner))
    if kind in (Union, types.UnionType):
        return " or ".join(map(told, inner))
    if kind is list:
        return f"a list of {told(inner[0])}"
    return "None" if hint in (None, type(None)) else str(hint.__name__)


def record(kind: type[T], entry: Any, place: str) -> T:
    """A dataclass of plain fields from a JSON object: fields with a default may be missing; other keys are an error."""
    given = typed(entry, dict, place)
    hints = hints_of(kind)
    unknown = sorted(set(given) - set(hints))
    if unknown:
        raise ValueError(f"{place}: {', '.join(unknown)} not known")
    missing = [one.name for one in fields(kind) if one.name not in given and one.default is MISSING]  # type: ignore[arg-type]
    if missing:
        raise ValueError(f"{place}: {', '.join(missing)} missing")
    return kind(**{name: typed(value, hints[name], f"{place}: {name}") for name, value in given.items()})


def object_of(value: Any, place: str, known: frozenset[str], optional: frozenset[str] = frozenset()) -> Mapping[str, Any]:
    """Return a JSON object if it has all known keys, save the optional ones, and no others."""
    entry: dict[str, Any] = typed(value, dict, place)
    unknown, missing = sorted(set(entry) - known), sorted(known - optional - set(entry))
    if unknown or missing:
        raise ValueError(f"{place}: " + " and ".join([*(f"{key} not known" for key in unknown), *(f"{key} missing" for key in missing)]))
    return entry


# -- graphs ---------------------------------------------------------------------------------------------------------------


def check_references(spec: ModelSpec, path: str) -> None:
    """Refuse graphs whose calls refer to calls that do not exist or come later."""
    for position, call in enumerate(spec.calls):
        before = list(found_in((call.inputs, call.keywords), Ref))
        if not 0 <= call.layer < len(spec.layers) or any(not 0 <= ref.call < position or ref.output < 0 for ref in before):
            raise FormatError(f"{path}: header: call {position} refers to what does not come before it")
        layer = spec.layers[call.layer]
        row = row_of(layer.class_name)
        if bool(call.inputs) == (row.role is Role.INPUT) and row.role is not Role.OPERATION:
            raise FormatError(f"{path}: header: call {position} of layer {layer.name!r} has {len(call.inputs)} inputs")
        unknown = [name for name in call.keywords if row.computed and name not in row.call]
        if unknown:
            raise FormatError(f"{path}: header: call {position} of layer {layer.name!r}: {', '.join(unknown)} not known")
    check_names(spec.layers, spec.name, path)
    for ref in (*spec.inputs, *spec.outputs):
        if not 0 <= ref.call < len(spec.calls) or ref.output < 0:
            raise FormatError(f"{path}: header: an input or output refers to call {ref.call} of {len(spec.calls)}")
    for ref in spec.inputs:
        if row_of(spec.layers[spec.calls[ref.call].layer].class_name).role is not Role.INPUT:
            raise FormatError(f"{path}: header: call {ref.call} is no input")
    if not spec.outputs:
        raise FormatError(f"{path}: header: the model {spec.name!r} has no outputs")
    if len(spec.inputs) != len(spec.input_names) or len(spec.outputs) != len(spec.output_names):
        raise FormatError(f"{path}: header: names and numbers of inputs or outputs differ")


def check_functions(spec: ModelSpec, path: str) -> None:
    """Refuse names of functions for layers that do not exist."""
    needed = {*spec.functions.layers, *(place.rpartition(":")[0] for place in spec.functions.activations)}
    missing = needed - set(paths_of(spec.layers, "")) if needed else ()
    if missing:
        raise FormatError(f"{path}: header: functions: the model has no layer {short(min(missing))}")


def paths_of(layers: Sequence[LayerSpec], prefix: str) -> Iterator[str]:
    """The paths of layers and of all in them."""
    for layer in layers:
        yield prefix + layer.name
        yield from paths_of((*layer.children, *(layer.model.layers if layer.model is not None else ())), f"{prefix}{layer.name}/")


def check_names(layers: Sequence[LayerSpec], owner: str, path: str) -> None:
    """Refuse two layers of the same name in one model."""
    names = [layer.name for layer in layers]
    if len(set(names)) < len(names):
        raise FormatError(f"{path}: header: two layers of one name in {short(owner)}: {short(sorted(names))}")
