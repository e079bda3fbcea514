"""Which columns become which input of a model, and how they are put together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from ..inputs import TensorInfo, shape_text, told
from ..spec import STRING
from .table import Table
from .values import Values, beside, flat

#: By input, the columns that it is made of.
Bound = dict[str, list[Any]]


def checked_inputs(inputs: Any) -> Any:
    """The argument ``inputs``, before the model is known."""
    if inputs is None or is_name(inputs):
        return inputs
    if isinstance(inputs, Mapping):
        return {one: _columns(columns) for one, columns in inputs.items()}
    return _columns(inputs)


def _columns(columns: Any) -> Any:
    if is_name(columns):
        return columns
    if not isinstance(columns, (list, tuple)) or not columns or not all(map(is_name, columns)):
        raise InputError(f"inputs: expected the name of a column, a list of such names, or a dict of these by input, found {told(columns)}")
    return list(columns)


def is_name(value: Any) -> bool:
    """Could a column be called so? In pandas by a number too."""
    return isinstance(value, (str, int)) and not isinstance(value, bool)


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
            example = {name: inputs.get(name, name) for name in names}
            raise InputError(
                f"inputs: expected columns for {listed(names)}, found them for {listed(list(inputs))}; such as inputs={example}"
            )
        given = {name: inputs[name] for name in names}
    elif inputs is not None:
        if len(names) > 1:
            raise InputError(f"inputs: expected a dict, as the model has the inputs {listed(names)}, found {told(inputs)}")
        given = {names[0]: inputs}
    else:
        given = {info.name: _of_itself(info, len(infos) == 1, table, apart) for info in infos}
    found = {name: list(columns) if isinstance(columns, list) else [columns] for name, columns in given.items()}
    for name, columns in found.items():
        for column in columns:
            if column not in table.names:
                raise InputError(f"input {name!r}: expected a column {column!r}, found the columns {listed(table.names)}")
    return found


def _of_itself(info: TensorInfo, only: bool, table: Table, apart: Sequence[Any]) -> Any:
    """The column of an input that nobody named."""
    if info.name in table.names and not table.alone:
        return info.name
    usable = [name for name in table.names if name not in apart and table.usable(name, info.dtype == STRING)]
    if only and (len(usable) == 1 or table.alone):
        return (usable or table.names)[0]
    given = usable[0] if len(usable) == 1 else usable[:3] or "..."
    example = f"inputs={given!r}" if only else f"inputs={{{info.name!r}: {given!r}, ...}}"
    raise InputError(
        f"inputs: expected a column {info.name!r} for the input of this name, or to be told which it is, such as {example}; found the "
        f"columns {listed(table.names)}"
    )


def listed(names: Sequence[Any]) -> str:
    """Names in a message, the first of them."""
    shown = ", ".join(repr(name) for name in names[:20])
    return (shown or "none") + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def joined(columns: Sequence[tuple[Any, Values]], info: TensorInfo) -> Values:
    """Columns as one input: (rows, *shape), or (steps, *shape[1:]) with offsets where rows are of different lengths.

    Parameters
    ----------
    columns
        Names and rows, none of which is missing.
    info
        The input.

    Raises
    ------
    InputError
        If they are not of its shape, and cannot be brought to it.
    """
    parts = [(name, values.even()) for name, values in columns]
    array, offsets, _ = whole = parts[0][1] if len(parts) == 1 else side_by_side(parts, info)
    wanted = info.shape[1:]
    if offsets is None:
        return Values(_shaped(array, wanted, parts, info))
    if not wanted:
        raise _unfit(("any", *array.shape[1:]), parts, info)
    if wanted[0] is not None:
        lengths = whole.lengths
        row = int((lengths != lengths[0]).argmax())
        raise InputError(
            f"{columns_text(parts, info)}: expected lists of one length, as input {shape_text(info.shape)}, found {lengths[0]} in row 0 "
            f"and {lengths[row]} in row {row}"
        )
    if fits(array.shape[1:], wanted[1:]):
        return whole
    size = math.prod(one or 1 for one in wanted[1:])
    if array.ndim == 1 and None not in wanted[1:]:
        odd = whole.lengths % size
        if odd.any():
            row = int((odd != 0).argmax())
            raise InputError(
                f"{columns_text(parts, info)}: expected {size} numbers a timestep, as input {shape_text(info.shape)}, found "
                f"{whole.lengths[row]} in row {row}, which {size} does not divide"
            )
        return Values(array.reshape(-1, *wanted[1:]), offsets // size)
    raise _unfit(("any", *array.shape[1:]), parts, info)


def _shaped(array: np.ndarray, wanted: Sequence[int | None], parts: Sequence[tuple[Any, Values]], info: TensorInfo) -> np.ndarray:
    """Rows in the shape that an input has, where their numbers fit."""
    found = array.shape[1:]
    if fits(found, wanted):
        return array
    known, count, opened = math.prod(size or 1 for size in wanted), math.prod(found), list(wanted).count(None)
    if len(found) <= 1 and opened <= 1 and (count == known if not opened else count and not count % known):
        return array.reshape(len(array), *(count // known if size is None else size for size in wanted))
    raise _unfit(found, parts, info)


def _unfit(found: Sequence[Any], parts: Sequence[tuple[Any, Values]], info: TensorInfo) -> InputError:
    shape = ", ".join(map(str, found)) + ("," if len(found) == 1 else "")
    what = f"rows of shape ({shape})" if found else "one value a row"
    return InputError(f"{columns_text(parts, info)}: expected what fits {shape_text(info.shape)}, found {what}")


def columns_text(parts: Sequence[tuple[Any, Values]], info: TensorInfo) -> str:
    """An input and its columns, for messages."""
    word = "column" if len(parts) == 1 else "columns"
    return f"input {info.name!r} of {word} {listed([name for name, _ in parts])}"


def side_by_side(parts: Sequence[tuple[Any, Values]], info: TensorInfo) -> Values:
    """Several columns as one, in the first of these ways that fits the input's shape.

    - a feature each: (timesteps,) becomes (timesteps, columns)
    - some features each: (timesteps, some) becomes (timesteps, all)
    - a timestep each: (features,) becomes (columns, features)
    - numbers and lists one after another
    """
    first, wanted = parts[0][1], info.shape[1:]
    for name, values in parts[1:]:
        same = (values.offsets is None) == (first.offsets is None)
        if not same or (first.offsets is not None and not np.array_equal(values.lengths, first.lengths)):
            raise InputError(
                f"{columns_text(parts, info)}: expected lists as long as each other in every row, found others in {name!r} than in "
                f"{parts[0][0]!r}"
            )
    arrays = [values.array for _, values in parts]
    shapes = [array.shape[1:] for array in arrays]
    features = wanted[-1] if wanted else None
    before = wanted[:-1] if first.offsets is None else wanted[1:-1]  # the axes before features, of rows or of timesteps
    alike = len(set(shapes)) == 1
    if alike and len(wanted) > 1 and fits(shapes[0], before) and features in (None, len(arrays)):
        return Values(_along_features([array[..., np.newaxis] for array in arrays]), first.offsets)
    wide = len(wanted) > 1 and all(shape and fits(shape[:-1], before) for shape in shapes) and len({shape[:-1] for shape in shapes}) == 1
    if wide and features in (None, sum(shape[-1] for shape in shapes)):
        return Values(_along_features(arrays), first.offsets)
    if first.offsets is not None:
        shapes = [("any", *shape) for shape in shapes]
    elif alike and wanted and shapes[0] and fits(shapes[0], wanted[1:]) and wanted[0] in (None, len(arrays)):
        return Values(np.stack(arrays, axis=1))
    if first.offsets is not None or (any(shapes) and None in wanted):  # lists one after another have no lengths of their own
        found = " and ".join(dict.fromkeys("one value a row" if not shape else f"({', '.join(map(str, shape))})" for shape in shapes))
        raise InputError(f"{columns_text(parts, info)}: expected what fits {shape_text(info.shape)} side by side, found {found}")
    return Values(beside([flat(array) for array in arrays]))


def _along_features(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of the same axes but the last, along which they are put together."""
    lead = arrays[0].shape[:-1]
    made = beside([array.reshape(-1, array.shape[-1]) for array in arrays])
    return made.reshape(*lead, made.shape[1])


def fits(found: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Are these sizes those of a shape, without its rows?"""
    return len(found) == len(wanted) and all(size in (None, one) for size, one in zip(wanted, found, strict=True))
