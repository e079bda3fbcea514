"""Scalers: those of scikit-learn by their public attributes, and plain numbers. An object becomes plain data at once.

A scaler is a list of steps, which are done in the order in which scikit-learn does them, in float64: its results are those of
scikit-learn to the bit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..spec import Scaler, Step
from .arguments import SCALER_LINE, json_of, reading, refuse_word, told

#: An operation on numbers, and what takes it back.
ARITHMETIC: Mapping[str, tuple[np.ufunc, np.ufunc]] = {
    "add": (np.add, np.subtract), "subtract": (np.subtract, np.add), "multiply": (np.multiply, np.divide),
    "divide": (np.divide, np.multiply),
}  # fmt: skip


def square_of_positive(x: np.ndarray) -> np.ndarray:
    """The square, of what a square root can be: of a negative number, that of 0."""
    return np.square(np.maximum(x, 0.0))


#: Functions by name, and what takes each back.
FUNCTIONS: Mapping[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sqrt": (np.sqrt, square_of_positive), "log": (np.log, np.exp), "log1p": (np.log1p, np.expm1), "log2": (np.log2, np.exp2),
    "cbrt": (np.cbrt, lambda x: x**3), "arcsinh": (np.arcsinh, np.sinh),
}  # fmt: skip
CLIP = "clip"
#: How many values a clip has: the least and the largest.
ENDS = 2
#: Public attributes of scikit-learn's scalers.
PUBLIC = frozenset({
    "copy", "n_features_in_", "feature_names_in_", "n_samples_seen_", "data_range_", "data_min_", "data_max_", "var_", "unit_variance",
    "quantile_range", "with_mean", "with_std", "with_centering", "with_scaling", "feature_range", "clip", "min_", "scale_", "mean_",
    "center_", "max_abs_",
})  # fmt: skip
FORMS = (
    "a fitted MinMaxScaler, StandardScaler, RobustScaler or MaxAbsScaler; a dict of plain numbers: {'mean': ..., 'scale': ...}, "
    "{'min': ..., 'max': ...[, 'feature_range': (0, 1)]}, {'center': ..., 'scale': ...}, {'max_abs': ...}, or their attributes "
    "with scikit-learn's names; the name of a function (" + ", ".join(FUNCTIONS) + "); or a list of these, done in order"
)


def scaler_of(given: Any, name: str = "scaler") -> Scaler:
    """The steps of a scaler, however it is given.

    Raises
    ------
    InputError
        If it is none, or was not fitted.
    """
    if isinstance(given, Scaler):
        return given
    with reading(name, FORMS):
        return checked(joined([one_scaler(part, name) for part in parts_of(given, name)], name), name)


def parts_of(given: Any, name: str) -> Iterator[Any]:
    """The scalers of a list, or of scikit-learn's Pipeline, in order."""
    if isinstance(given, (str, os.PathLike)) and given not in FUNCTIONS:
        refuse_word(given, name, FORMS)
        given = json_of(given, name, SCALER_LINE)
    steps = getattr(given, "steps", None)
    if isinstance(steps, list) and steps and all(isinstance(step, tuple) for step in steps):
        given = [step[-1] for step in steps]
    if not isinstance(given, (list, tuple)):
        yield given
        return
    if not given:
        raise InputError(f"{name}: expected {FORMS}; found an empty list")
    for part in given:
        yield from parts_of(part, name)


def one_scaler(given: Any, name: str) -> Scaler:
    """A single scaler."""
    if isinstance(given, Scaler):
        return given
    if isinstance(given, str):
        return Scaler((Step(given),))
    if given is None:
        raise InputError(f"{name}: expected {FORMS}; found None")
    if isinstance(given, (bytes, bytearray)):
        return scaler_of(json_of(given, name, SCALER_LINE), name)
    fitted = given if isinstance(given, Mapping) else attributes(given, name)
    steps = steps_of(fitted, name)
    return Scaler(tuple(steps), max((len(step.values) for step in steps if step.op != CLIP), default=0), names_of(fitted))


def attributes(scaler: Any, name: str) -> Mapping[str, Any]:
    """The public attributes of an object of scikit-learn that tell what it does.

    Others that were fitted mean that it does something else: a PCA has a ``mean_`` too.
    """
    found = {key: getattr(scaler, key) for key in PUBLIC if getattr(scaler, key, None) is not None}
    fitted = [key for key in getattr(scaler, "__dict__", {}) if key.endswith("_") and not key.startswith("_")]
    if not fitted or not PUBLIC.issuperset(fitted):
        plain = not fitted and callable(getattr(scaler, "fit", None))
        what = f"{type(scaler).__name__}, which was not fitted: call its fit first" if plain else told(scaler)
        raise InputError(f"{name}: expected {FORMS}; found {what}")
    return found


def steps_of(fitted: Mapping[str, Any], name: str) -> list[Step]:
    """The steps that attributes of a scaler, or plain numbers, stand for."""
    keys = {str(key) for key in fitted}
    for known, rule in RULES:
        required = {key.rstrip("?") for key in known if not key.endswith("?")}
        if required <= keys <= {key.rstrip("?") for key in known} | PUBLIC:
            return rule(fitted, name)
    raise InputError(f"{name}: expected {FORMS}; found a dict with the keys {', '.join(sorted(keys)) or 'none'}")


def moved(fitted: Mapping[str, Any], name: str, by: str, over: str) -> list[Step]:
    """Subtract, then divide: whatever of both is there."""
    centred = fitted.get("with_mean", True) and fitted.get("with_centering", True) and fitted.get(by) is not None
    scaled = fitted.get("with_std", True) and fitted.get("with_scaling", True) and fitted.get(over) is not None
    steps = [numbers("subtract", fitted[by], f"{name}: {by}")] if centred else []
    return steps + ([numbers("divide", fitted[over], f"{name}: {over}")] if scaled else [])


def of_range(fitted: Mapping[str, Any], name: str) -> list[Step]:
    """MinMaxScaler as it is fitted: multiply, then add."""
    steps = [numbers("multiply", fitted["scale_"], f"{name}: scale_"), numbers("add", fitted["min_"], f"{name}: min_")]
    return steps + ([numbers(CLIP, fitted.get("feature_range", (0, 1)), f"{name}: feature_range")] if fitted.get("clip") else [])


def of_ends(fitted: Mapping[str, Any], name: str, least: str, most: str) -> list[Step]:
    """MinMaxScaler from the ends of the data, as it computes what it keeps."""
    low, high = (np.asarray(fitted[key], np.float64) for key in (least, most))
    first, last = fitted.get("feature_range", (0, 1))
    scale = (last - first) / unless_nothing(high - low)
    return of_range({**fitted, "scale_": scale, "min_": first - low * scale}, name)


def unless_nothing(spread: np.ndarray) -> np.ndarray:
    """A spread to divide by: 1 where there is none, as scikit-learn has it."""
    return np.where(np.abs(spread) < 10 * np.finfo(np.float64).eps, 1.0, spread)


def of_largest(fitted: Mapping[str, Any], name: str, key: str) -> list[Step]:
    """MaxAbsScaler."""
    over = fitted.get("scale_", fitted[key])
    steps = [numbers("divide", over if key.endswith("_") else unless_nothing(np.asarray(over, np.float64)), f"{name}: {key}")]
    return steps + ([Step(CLIP, (-1.0, 1.0))] if fitted.get("clip") else [])


Rule = Callable[[Mapping[str, Any], str], list[Step]]
#: What is known of a scaler, and its steps; the first that fits. A key with a question mark may be missing.
RULES: tuple[tuple[tuple[str, ...], Rule], ...] = (
    (("max_abs_",), lambda fitted, name: of_largest(fitted, name, "max_abs_")),
    (("scale_", "min_"), of_range),
    (("data_min_", "data_max_"), lambda fitted, name: of_ends(fitted, name, "data_min_", "data_max_")),
    (("center_",), lambda fitted, name: moved(fitted, name, "center_", "scale_")),
    (("mean_",), lambda fitted, name: moved(fitted, name, "mean_", "scale_")),
    (("scale_",), lambda fitted, name: moved(fitted, name, "mean_", "scale_")),
    (("with_mean",), lambda fitted, name: moved(fitted, name, "mean_", "scale_")),
    (("with_centering",), lambda fitted, name: moved(fitted, name, "center_", "scale_")),
    (("min", "max", "feature_range?", "clip?"), lambda fitted, name: of_ends(fitted, name, "min", "max")),
    (("mean", "scale?"), lambda fitted, name: moved(fitted, name, "mean", "scale")),
    (("mean", "std"), lambda fitted, name: moved(fitted, name, "mean", "std")),
    (("center", "scale?"), lambda fitted, name: moved(fitted, name, "center", "scale")),
    (("max_abs",), lambda fitted, name: of_largest(fitted, name, "max_abs")),
)


def numbers(op: str, values: Any, name: str) -> Step:
    """A step of numbers: of one for all columns, or one a column."""
    with reading(name, "numbers"):
        found = np.asarray(values, np.float64)
    if found.ndim > 1 or not found.size or not np.isfinite(found).all():
        raise InputError(f"{name}: expected a number, or a list of them, all finite, found {told(values)}")
    if op in ("multiply", "divide") and not found.all():
        raise InputError(f"{name}: expected numbers other than 0, found {told(values)}")
    return Step(op, tuple(found.ravel().tolist()))


def names_of(fitted: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the columns."""
    names = fitted.get("feature_names_in_")
    return () if names is None else tuple(map(str, names))


def joined(parts: Sequence[Scaler], name: str) -> Scaler:
    """One scaler of several, done in order."""
    sizes = {part.columns for part in parts if part.columns > 1}
    if len(sizes) > 1:
        raise InputError(f"{name}: expected scalers of the same number of columns, found {' and '.join(map(str, sorted(sizes)))}")
    names = next((part.names for part in parts if part.names), ())
    columns = max(part.columns for part in parts)
    return Scaler(tuple(step for part in parts for step in part.steps), columns, names if len(names) == columns else ())


def checked(scaler: Scaler, name: str) -> Scaler:
    """The scaler, if each of its steps is one that is known, and fits the others.

    Raises
    ------
    InputError
        If one is not.
    """
    for step in scaler.steps:
        arithmetic = step.op in ARITHMETIC and len(step.values) in (1, scaler.columns)
        if not (arithmetic or (step.op == CLIP and len(step.values) == ENDS) or (step.op in FUNCTIONS and not step.values)):
            raise InputError(f"{name}: expected steps of {scaler.columns} columns, found {told(step)}")
        if not all(map(math.isfinite, step.values)) or (step.op in ("multiply", "divide") and 0.0 in step.values):
            raise InputError(f"{name}: expected finite numbers, and none of 0 to scale by, found {told(step)}")
    return scaler


def chosen_columns(scaler: Scaler, columns: Any, name: str) -> Scaler:
    """The scaler of some columns alone, by number or name."""
    wanted = columns if isinstance(columns, (list, tuple)) else [columns]
    numbered = [number_of(scaler, column, name) for column in wanted]
    if not numbered:
        raise InputError(f"{name}: expected columns of the scaler, found none")
    steps = tuple(
        step if step.op not in ARITHMETIC or len(step.values) == 1 else Step(step.op, tuple(step.values[n] for n in numbered))
        for step in scaler.steps
    )
    named = tuple(scaler.names[n] for n in numbered) if scaler.names else ()
    return Scaler(steps, len(numbered) if scaler.columns else 0, named)


def number_of(scaler: Scaler, column: Any, name: str) -> int:
    """A column by its number."""
    if isinstance(column, str) and column in scaler.names:
        return scaler.names.index(column)
    whole = isinstance(column, (int, np.integer)) and not isinstance(column, bool)
    if not whole or not -max(scaler.columns, 1) <= column < max(scaler.columns, 1):
        known = f", or a name of {', '.join(scaler.names)}" if scaler.names else ""
        raise InputError(f"{name}: expected the number of a column from 0 to {max(scaler.columns, 1) - 1}{known}, found {told(column)}")
    return int(column) % max(scaler.columns, 1)


def scaled(scaler: Scaler, x: np.ndarray) -> np.ndarray:
    """What a scaler makes of an array, float64; columns lie along its last axis."""
    found = np.array(x, np.float64)
    for step in scaler.steps:
        if step.op in ARITHMETIC:
            ARITHMETIC[step.op][0](found, np.array(step.values), out=found)
        elif step.op == CLIP:
            np.clip(found, *step.values, out=found)
        else:
            with np.errstate(invalid="ignore", divide="ignore"):
                found = FUNCTIONS[step.op][0](found)
    return found


def unscaled(scaler: Scaler, y: np.ndarray) -> np.ndarray:
    """The numbers of which a scaler would make these, float64."""
    found = np.array(y, np.float64)
    for step in reversed(scaler.steps):
        if step.op in ARITHMETIC:
            ARITHMETIC[step.op][1](found, np.array(step.values), out=found)
        elif step.op in FUNCTIONS:
            with np.errstate(over="ignore"):
                found = FUNCTIONS[step.op][1](found)
    return found
