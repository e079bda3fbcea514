"""Masks that calls in the graph are given as arguments: they take the place of those that the inputs carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..program.ir import Builder, Mask, Value
from ..program.lowering import mask_of
from ..spec import Shape
from .base import Layer, Tensor, nonzero

NEITHER = "it is given masks for some of its inputs, and others carry one of their own, which not every Keras keeps there"


def each(mask: Any) -> Sequence[Any]:
    """The masks of a call's inputs, in order, of its argument ``mask``: None for an input that is to have none."""
    several = type(mask) is tuple and any(isinstance(one, tuple) for one in mask)
    return mask if several else (mask,)


def check(layer: Layer, inputs: Sequence[Shape], words: Mapping[str, Any]) -> None:
    """Refuse masks whose shapes are not those of the inputs that they are given for."""
    if "mask" not in words:
        return
    masks = each(words["mask"])
    if len(masks) > len(inputs):
        raise layer.error(f"it is given {len(masks)} masks for {len(inputs)} inputs")
    for mask, shape in zip(masks, inputs, strict=False):
        if mask is not None and not layer.takes_mask(mask, shape):
            raise layer.error(f"it is given a mask of shape {mask} for input of shape {shape}")


def with_arrays(layer: Layer, inputs: Sequence[Tensor], words: Mapping[str, Any]) -> tuple[Sequence[Tensor], Mapping[str, Any]]:
    """Inputs with the masks that a call is given, and its arguments: ``mask`` among them is there for layers that read its numbers."""
    if "mask" not in words:
        return inputs, words
    found = list(inputs)
    for n, (given, mask) in enumerate(zip(inputs, each(words["mask"]), strict=False)):
        _check_kept(layer, given.mask, mask)
        found[n] = given._replace(mask=None if mask is None else as_bool(mask.value))
    return found, {**words, "mask": each(words["mask"])}


def with_buffers(
    b: Builder, layer: Layer, inputs: Sequence[Value], words: Mapping[str, Any]
) -> tuple[Sequence[Value], Mapping[str, Any]]:  # fmt: skip
    """The same while a Program is being written."""
    if "mask" not in words:
        return inputs, words
    found, masks = list(inputs), each(words["mask"])
    for n, (given, mask) in enumerate(zip(inputs, masks, strict=False)):
        _check_kept(layer, given.mask, mask)
        found[n] = given._replace(mask=mask_of(b, mask) if isinstance(mask, Value) else mask)
    return found, {**words, "mask": tuple(one if isinstance(one, Value) else None for one in masks)}


def _check_kept(layer: Layer, own: Any, mask: Any) -> None:
    if mask is None and own is not None and layer.taken is not None:
        raise layer.unsupported(f"{NEITHER}: give the model a mask for each of its inputs")


def numbers(words: Mapping[str, Any]) -> np.ndarray | None:
    """The mask that a call is given for its first input, where it is more than bools; for layers that weigh by it."""
    given = words["mask"][0] if words.get("mask") else None
    return given.value if isinstance(given, Tensor) and given.value.dtype != bool else None


def value_of_numbers(words: Mapping[str, Any]) -> Value | None:
    """The same while a Program is being written."""
    given = words["mask"][0] if words.get("mask") else None
    return given if isinstance(given, Value) else None


def fixed(b: Builder, array: np.ndarray) -> Any:
    """A tensor that stands in the file; one of bools is a Mask."""
    value = b.fixed(array)
    return Mask(value.buffer, value.shape) if array.dtype == bool else value


def as_bool(mask: np.ndarray) -> np.ndarray:
    """A mask as Keras casts it: what is other than 0 is there."""
    return mask if mask.dtype == bool else nonzero(mask)


def filled(shape: Sequence[Any], axes: int, place: int) -> tuple[Any, ...]:
    """The shape of a mask with as many axes as scores have: others of size 1 are put in at a place, counted from the end."""
    before = len(shape) + place + 1
    return (*shape[:before], *[1] * (axes - len(shape)), *shape[before:])
