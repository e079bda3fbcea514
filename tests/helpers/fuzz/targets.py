"""The targets of fuzzing: each takes bytes, and nothing but a FastLSTMError may come out of it.

Whatever loads is run too: a file that is read wrong shows when its kernels do.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError

import fastlstm
from fastlstm.errors import FastLSTMError
from fastlstm.formats import HEAD
from fastlstm.formats.reading.hdf5 import is_hdf5
from fastlstm.formats.reading.jsontext import parse_json
from fastlstm.formats.reading.yamltext import parse_yaml
from fastlstm.limits import Budget

from . import recipes
from .mutation import parsed

#: What recipes are made with may refuse them; that says nothing of fastlstm.
UNMADE = (
    recipes.Unmakeable,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    OSError,
    RuntimeError,
    IndexError,
    MemoryError,
    SafetensorError,
)
#: Elements of an input that a model is run on.
MOST_ELEMENTS = 1 << 16
STEPS = 3


def made(make: Callable[[Any], bytes], recipe: Any) -> bytes | None:
    """The file of a recipe, None where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return make(recipe)
        except UNMADE:
            return None


# -- running ------------------------------------------------------------------------------------------------------------------


def exercise(model: fastlstm.Model) -> None:
    """Run a model that was loaded: few rows and more, on the fast path too, and step by step."""
    for rows in (1, 7):
        x = arrays(model, rows)
        if x is None:
            return
        model.predict(x)
        model.predict(x)
    if len(x) == 1 and x[0].ndim > 1:
        with contextlib.suppress(FastLSTMError):
            model.predict([x[0][0], x[0][-1][:-1]])  # sequences of two lengths
    steps = [a[:, 0] if a.ndim > 2 or info.dtype == "int32" else a for a, info in zip(x, model.inputs)]
    if len(x) > 1:  # all but one held
        with contextlib.suppress(FastLSTMError):
            model.stream(len(x[0]), {info.name: a for a, info in zip(x[1:], model.inputs[1:])}).step(steps[0])
    stream = model.stream(len(x[0]))
    for _ in range(STEPS):
        stream.step(steps)


def arrays(model: fastlstm.Model, rows: int) -> list[np.ndarray] | None:
    """An input of so many rows (of its own number, where the model has one); None where it would be too large."""
    shapes = [tuple(size if size is not None else STEPS if place else rows for place, size in enumerate(i.shape)) for i in model.inputs]
    if any(np.prod(shape, dtype=float) > MOST_ELEMENTS for shape in shapes):
        return None
    whole = [info.dtype == "int32" for info in model.inputs]
    return [(np.arange(np.prod(shape)) % 3).reshape(shape).astype("i4" if ids else "f4") for shape, ids in zip(shapes, whole)]


def loaded(given: Any, **options: Any) -> None:
    """Load and run, in kernels and in float64."""
    for precision in ("float32", "float64"):
        with contextlib.suppress(FastLSTMError), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            exercise(fastlstm.load(given, precision=precision, **options))


# -- targets ------------------------------------------------------------------------------------------------------------------


def json(data: bytes) -> None:
    """JSON of strangers."""
    with contextlib.suppress(FastLSTMError):
        parse_json(data.decode("utf-8", "replace"), Budget("file", len(data)), "config")


def hdf5(data: bytes) -> None:
    """Whole models in HDF5, by recipe alone: HDF5's C library does not stand bytes that are altered at random."""
    file = made(recipes.hdf5, parsed(data))
    if file is not None:
        loaded(file)


def own(data: bytes) -> None:
    """``.fastlstm`` files, by recipe or byte for byte; their recorded cases are rerun."""
    file = data if parsed(data) is None else made(recipes.own, parsed(data))
    if file is not None and not is_hdf5(file[:HEAD]):
        loaded(file)
        with contextlib.suppress(FastLSTMError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fastlstm.verify(file)


def keras(data: bytes) -> None:
    """``.keras`` files, by recipe or byte for byte."""
    file = data if parsed(data) is None else made(recipes.keras, parsed(data))
    if file is not None and not is_hdf5(file[:HEAD]):
        loaded(file)


def architecture(data: bytes) -> None:
    """Weights alone, with a model's JSON: ``{"architecture": ..., "weights": HDF5 group, "by_name": ...}``, or the JSON's bytes."""
    recipe = parsed(data)
    if not isinstance(recipe, Mapping) or "weights" not in recipe:
        loaded(EMPTY, architecture=data.decode("latin-1"))
        return
    file = made(recipes.hdf5, recipe["weights"])
    if file is not None:
        loaded(file, architecture=recipe.get("architecture"), by_name=bool(recipe.get("by_name")))


def yaml(data: bytes) -> None:
    """YAML of strangers."""
    with contextlib.suppress(FastLSTMError):
        parse_yaml(data.decode("utf-8", "replace"), Budget("file", len(data)), "architecture")


def parts(data: bytes) -> None:
    """Weights in parts, gathered already: ``{"architecture": ..., "parts": {MEMBER: JSON or HDF5 group}}``."""
    recipe = parsed(data)
    if isinstance(recipe, Mapping):
        file = made(recipes.keras, recipe.get("parts"))
        if file is not None:
            loaded(file, architecture=recipe.get("architecture"))


EMPTY = recipes.hdf5({"attrs": {"layer_names": []}})
TARGETS: dict[str, Callable[[bytes], None]] = {target.__name__: target for target in (json, hdf5, own, keras, architecture, yaml, parts)}
#: How the recipes of a target become bytes that may be altered themselves.
BYTES: dict[str, Callable[[Any], bytes]] = {"own": recipes.own, "keras": recipes.keras}
