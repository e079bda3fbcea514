"""Masks that users pass beside inputs become the arrays that kernels read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import InputError
from .inputs import TensorInfo, as_array, by_name, rank, shape_text, told


def gather_masks(mask: Any, arrays: Sequence[np.ndarray], infos: Sequence[TensorInfo]) -> tuple[np.ndarray | None, ...]:
    """Check masks against a model's checked inputs.

    Parameters
    ----------
    mask
        What the caller passed: for one input an array, for several a list with one or None for each, or a dict by input name.
    arrays
        The inputs, as :func:`gather` gives them.
    infos
        The inputs that the model has.

    Returns
    -------
    tuple of numpy.ndarray or None
        C-contiguous arrays of bool, True = valid.

    Raises
    ------
    InputError
        If ``mask`` does not fit.
    """
    if isinstance(mask, Mapping):
        mask = by_name(mask, infos, "mask")
    elif len(infos) == 1 and not (isinstance(mask, (list, tuple)) and len(mask) == 1 and rank(mask[0], infos[0]) > 1):
        mask = [mask]
    if not isinstance(mask, (list, tuple)) or len(mask) != len(infos):
        names = ", ".join(info.name for info in infos)
        found = f"{len(mask)} of them" if isinstance(mask, (list, tuple)) else type(mask).__name__
        raise InputError(f"mask: expected a list of {len(infos)} masks ({names}), None where an input has none, found {found}")
    return tuple(None if one is None else _mask(one, x, info) for one, x, info in zip(mask, arrays, infos, strict=True))


def _mask(value: Any, x: np.ndarray, info: TensorInfo) -> np.ndarray:
    name = f"mask of input {info.name!r}"
    array = as_array(value, name, x.shape[:2])
    fits = 2 <= array.ndim <= x.ndim and array.shape[:2] == x.shape[:2]
    if not fits or any(found not in (1, size) for found, size in zip(array.shape[2:], x.shape[2:], strict=False)):
        raise InputError(
            f"{name}: expected shape {shape_text(x.shape[:2])}, True where a timestep is there, found {shape_text(array.shape)}"
        )
    if array.dtype.kind not in "biuf" or not np.all((array == 0) | (array == 1)):
        raise InputError(f"{name}: expected True and False, or 1 and 0, found {told(array)} of dtype {array.dtype}")
    return np.ascontiguousarray(array, dtype=bool)
