"""Text as callers give it, in lists and arrays, becomes arrays of bytes objects: UTF-8, or whatever bytes they are."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import InputError
from .spec import Shape

#: Classes that hold one text.
ONE = (str, bytes)
#: Levels of lists that are looked into.
DEPTH = 16


def alone(value: Any, shape: Shape) -> Any:
    """The only input of a model: a list that holds nothing but an array of all its axes is Keras's way to give one."""
    if isinstance(value, (list, tuple)) and len(value) == 1 and isinstance(value[0], np.ndarray) and value[0].ndim == len(shape):
        return value[0]
    return value


def texts(value: Any, name: str, shape: Shape) -> np.ndarray:
    """An array of bytes objects.

    Parameters
    ----------
    value
        Text in lists, or in an array of str, bytes or objects.
    name
        What it is, for messages.
    shape
        What is expected, batch first.

    Raises
    ------
    InputError
        If it is no text, or holds half a character (a lone surrogate), which UTF-8 has no bytes for.
    """
    if isinstance(value, ONE):
        raise InputError(f"{name}: expected texts of shape {_told(shape)}, found a single one; pass a list: [text]")
    if isinstance(value, np.ndarray):
        array = value
    elif isinstance(value, (list, tuple)):
        array = _of_lists(value, name, shape)
    else:
        array = np.asarray(value)  # whatever gives NumPy an array: a pandas Series, a tensor
    if array.dtype.kind in "UST" and not array.ndim:
        raise InputError(f"{name}: expected texts of shape {_told(shape)}, found a single one; pass a list: [text]")
    if array.dtype.kind not in "OUST" or not array.ndim:
        found = f"numbers of dtype {array.dtype}" if array.dtype.kind in "biufc" else f"{type(value).__name__} of dtype {array.dtype}"
        raise InputError(f"{name}: expected texts of shape {_told(shape)}, found {found}")
    made = np.empty(array.size, object)
    made[:] = [_encoded(text, name) for text in array.reshape(-1).tolist()]
    return made.reshape(array.shape)


def _of_lists(value: Sequence[Any], name: str, shape: Shape) -> np.ndarray:
    """An array of the texts in lists of lists, each as long as its neighbours."""
    sizes: list[int] = []
    items = list(value)
    while True:
        sizes.append(len(items) // int(np.prod(sizes, dtype=np.int64)) if sizes and items else len(items))
        nested = [isinstance(item, (list, tuple)) for item in items]
        if not any(nested):
            break
        lengths = {len(item) if whole else -1 for item, whole in zip(items, nested, strict=True)}
        if len(lengths) > 1 or len(sizes) > DEPTH:
            raise InputError(f"{name}: expected texts of shape {_told(shape)}, found lists of different lengths or depths")
        items = [inner for item in items for inner in item]
        if not items:
            sizes.append(0)
            break
    array = np.empty(len(items), object)
    for number, item in enumerate(items):
        array[number] = item
    return array.reshape(sizes)


def _encoded(text: Any, name: str) -> bytes:
    if isinstance(text, bytes):
        return bytes(text)
    if not isinstance(text, str):
        raise InputError(f"{name}: expected text, str or bytes, found {reprlib.repr(text)} ({type(text).__name__})")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        what = f"half a character at place {error.start} of {reprlib.repr(text)}"
        raise InputError(f"{name}: expected text that UTF-8 can hold, found {what}") from error


def _told(shape: Shape) -> str:
    sizes = ["any" if size is None else str(size) for size in shape]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
