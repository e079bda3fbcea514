"""Which columns become which input of a model, and how they are put together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import TensorInfo, shape_text, told
from ..spec import STRING
from .tables import Table
from .values import Values, united

#: By input, the columns that it is made of.
Bound = dict[str, list[str]]


def checked_inputs(inputs: Any) -> Any:
    """The argument ``inputs``, before the model is known."""
    if inputs is None or isinstance(inputs, str):
        return inputs
    if isinstance(inputs, Mapping):
        return {_name(one, "inputs"): _columns(columns) for one, columns in inputs.items()}
    return _columns(inputs)


def _columns(columns: Any) -> Any:
    if isinstance(columns, str):
        return columns
    if not isinstance(columns, (list, tuple)) or not columns:
        raise InputError(f"inputs: expected the name of a column, a list of such names, or a dict of these by input, found {told(columns)}")
    return [_name(one, "inputs") for one in columns]


def _name(value: Any, argument: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{argument}: expected names, found {told(value)}")
    return value


def bound(inputs: Any, infos: Sequence[TensorInfo], table: Table, apart: Sequence[str] = ()) -> Bound:
    """The columns of each input.

    Parameters
    ----------
    inputs
        As :func:`checked_inputs` gives it.
    infos
        The inputs of the model.
    table
        Where the columns are.
    apart
        Columns that are no inputs: keys.

    Raises
    ------
    InputError
        If a column is not there, or it does not go without saying which column an input is.
    """
    names = [info.name for info in infos]
    if isinstance(inputs, Mapping):
        if set(inputs) != set(names):
            raise InputError(f"inputs: expected columns for {', '.join(names)}, found them for {', '.join(inputs) or 'none'}")
        given = {name: inputs[name] for name in names}
    elif inputs is not None:
        if len(names) > 1:
            raise InputError(f"inputs: expected a dict, as the model has the inputs {', '.join(names)}, found {told(inputs)}")
        given = {names[0]: inputs}
    else:
        given = {info.name: _of_itself(info, len(infos) == 1, table, apart) for info in infos}
    found = {name: [columns] if isinstance(columns, str) else columns for name, columns in given.items()}
    for name, columns in found.items():
        for column in columns:
            if column not in table.names:
                raise InputError(f"input {name!r}: expected a column {column!r}, found the columns {listed(table.names)}")
    return found


def _of_itself(info: TensorInfo, only: bool, table: Table, apart: Sequence[str]) -> str:
    """The column of an input that nobody named."""
    if info.name in table.names and not table.alone:
        return info.name
    usable = [name for name in table.names if name not in apart and table.usable(name, info.dtype == STRING)]
    if only and len(usable) == 1:
        return usable[0]
    example = f"inputs={{{info.name!r}: {(usable or ['...'])[0]!r}}}"
    raise InputError(
        f"inputs: expected to be told which columns input {info.name!r} is, as none has its name, found the columns {listed(table.names)}; "
        f"such as {example}"
    )


def listed(names: Sequence[Any]) -> str:
    """Names in a message, the first of them."""
    shown = ", ".join(repr(name) for name in names[:20])
    return (shown or "none") + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def joined(columns: Sequence[tuple[str, Values]], info: TensorInfo) -> Values:
    """Columns as one input: (rows, *shape), or (steps, *shape[1:]) with offsets where rows are of different lengths.

    Raises
    ------
    InputError
        If they are not of its shape, and cannot be brought to it.
    """
    parts = [(name, values.even()) for name, values in columns]
    whole = side_by_side(parts, info) if len(parts) > 1 else parts[0][1]
    array, offsets, missing = whole
    wanted = info.shape[1:]
    if offsets is None:
        return Values(_shaped(array, wanted, parts, info), None, missing)
    inner = wanted[1:]
    if not wanted or wanted[0] is not None:
        lengths = np.unique(whole.lengths)
        raise InputError(
            f"{told_columns(parts, info)}: expected lists of one length, for shape {shape_text(info.shape)}, found lengths from "
            f"{lengths[0]} to {lengths[-1]}"
        )
    if array.shape[1:] == inner:
        return whole
    size = math.prod(one or 1 for one in inner)
    if array.ndim == 1 and None not in inner and not (whole.lengths % size).any():
        return Values(array.reshape(-1, *(one or 1 for one in inner)), offsets // size, missing)
    raise _unfit(("any", *array.shape[1:]), parts, info)


def _shaped(array: np.ndarray, wanted: Sequence[int | None], parts: Sequence[tuple[str, Values]], info: TensorInfo) -> np.ndarray:
    """Rows in the shape that an input has, where their numbers fit."""
    found = array.shape[1:]
    if len(found) == len(wanted) and all(size in (None, given) for size, given in zip(wanted, found, strict=True)):
        return array
    known, rows = math.prod(size or 1 for size in wanted), len(array)
    opened = list(wanted).count(None)
    count = math.prod(found)
    if len(found) <= 1 and opened <= 1 and (count == known if not opened else known and count % known == 0):
        return array.reshape(rows, *(count // known if size is None else size for size in wanted))
    raise _unfit(found, parts, info)


def _unfit(found: Sequence[Any], parts: Sequence[tuple[str, Values]], info: TensorInfo) -> InputError:
    shape = ", ".join(map(str, found)) + ("," if len(found) == 1 else "")
    what = f"rows of shape ({shape})" if found else "one number a row"
    return InputError(f"{told_columns(parts, info)}: expected what fits {shape_text(info.shape)}, found {what}")


def told_columns(parts: Sequence[tuple[str, Values]], info: TensorInfo) -> str:
    """An input and its columns, for messages."""
    word = "column" if len(parts) == 1 else "columns"
    return f"input {info.name!r} of {word} {listed([name for name, _ in parts])}"


def side_by_side(parts: Sequence[tuple[str, Values]], info: TensorInfo) -> Values:
    """Several columns as one: features of a timestep side by side; or step after step; or one list after another."""
    missing = united([values.missing for _, values in parts])
    first = parts[0][1]
    for name, values in parts[1:]:
        same = (values.offsets is None) == (first.offsets is None)
        if not same or (first.offsets is not None and not np.array_equal(values.lengths, first.lengths)):
            raise InputError(
                f"{told_columns(parts, info)}: expected lists as long as each other in every row, found others in {name!r} than in "
                f"{parts[0][0]!r}"
            )
    arrays, wanted = [values.array for _, values in parts], info.shape[1:]
    lead = 1 if first.offsets is None else 0
    shapes = [array.shape[1:] for array in arrays]
    steps = wanted[1 - lead : -1]  # the axes before features
    if len(wanted) > 1 and all(_fits(shape, steps) for shape in shapes) and wanted[-1] in (None, len(arrays)):
        return Values(np.stack(arrays, axis=-1), first.offsets, missing)
    wide = len(wanted) > 1 and all(shape and _fits(shape[:-1], steps) for shape in shapes)
    if wide and len({shape[:-1] for shape in shapes}) == 1 and wanted[-1] in (None, sum(shape[-1] for shape in shapes)):
        return Values(np.concatenate(arrays, axis=-1), first.offsets, missing)
    if first.offsets is not None:
        raise _unfit(("any", *shapes[0]), parts, info)
    if all(_fits(shape, wanted[1:]) for shape in shapes) and wanted[0] in (None, len(arrays)):
        return Values(np.stack(arrays, axis=1), None, missing)
    flat = [array.reshape(len(array), -1) for array in arrays]
    return Values(np.concatenate(flat, axis=1), None, missing)


def _fits(found: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(found) == len(wanted) and all(size in (None, given) for size, given in zip(wanted, found, strict=True))
