"""What a request of a sequence holds: one row, of a timestep or of several.

Its **rank** says how much time it covers. An array of as many axes as the model's input, (1, timesteps, features) or ids (1, timesteps),
is fed timestep by timestep; one without the time axis, (1, features) or ids (1,), is one timestep.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ...errors import InputError
from ...inputs import TensorInfo, shape_text
from ...layers.streaming import is_sequence

Outputs = dict[str, Any]
#: How many timesteps (None: one, without a time axis), and the dtypes of the inputs.
Form = tuple[int | None, tuple[str, ...]]


def read(arrays: Mapping[str, Any], infos: Iterable[TensorInfo], lead: tuple[int, ...] = (1,)) -> tuple[dict[str, np.ndarray], Form]:
    """What a request of a sequence gives, by input name, and its form; ``lead``: what messages say that the shapes begin with.

    Raises
    ------
    InputError
        If these are other inputs, or have other shapes.
    """
    infos = tuple(infos)
    names = [info.name for info in infos]
    if set(arrays) != set(names):
        raise InputError(f"inputs: expected {', '.join(names)}, found {', '.join(map(str, arrays)) or 'none'}")
    values, lengths = {}, {}
    for info in infos:
        x = values[info.name] = np.asarray(arrays[info.name])
        if x.dtype.kind not in "biuf":
            raise InputError(f"input {info.name!r}: expected numbers, found {'text' if x.dtype.kind in 'OSU' else x.dtype}")
        sequence = is_sequence(info.shape, info.vocabulary)
        if sequence and x.ndim == len(info.shape):
            lengths[info.name], rest, wanted = x.shape[1], x.shape[2:], info.shape[2:]
        elif x.ndim == len(info.shape) - sequence:
            rest, wanted = x.shape[1:], info.shape[1 + sequence :]
            if sequence:
                lengths[info.name] = None
        else:
            rest, wanted = (-1,), ()
        if x.shape[:1] != (1,) or len(rest) != len(wanted) or any(b not in (None, a) for a, b in zip(rest, wanted, strict=True)):
            found = shape_text(x.shape[1 - len(lead) :])
            raise InputError(f"input {info.name!r}: expected {shapes_text(info, sequence, lead)}, found shape {found}")
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name!r} has {'one' if n is None else n}" for name, n in lengths.items())
        raise InputError(f"inputs: expected as many timesteps of each, found: {found}")
    length = next(iter(lengths.values()), None)
    if length == 0:
        raise InputError(f"inputs: expected at least one timestep, found none in {names[0]!r}")
    return values, (length, tuple(x.dtype.str for x in values.values()))


def shapes_text(info: TensorInfo, sequence: bool, lead: tuple[int, ...]) -> str:
    """The shapes that a request of a sequence may have."""
    if not sequence:
        return f"shape {shape_text((*lead, *info.shape[1:]))}"
    step, several = shape_text((*lead, *info.shape[2:])), shape_text((*lead, None, *info.shape[2:]))
    return f"shape {step} of one timestep, or {several} of several"


def zeros(info: TensorInfo) -> np.ndarray:
    """A timestep for a try."""
    sequence = is_sequence(info.shape, info.vocabulary)
    return np.zeros([1, *(size or 1 for size in info.shape[1 + sequence :])], np.int32 if info.vocabulary else np.float32)
