"""The operands of an operation: tensors that have a row for each row of the batch, and what has none.

A graph of operations computes with more than rows of data: with constants of the file, and with shapes, as in
``tf.reshape(x, (tf.shape(x)[0], -1))``. These have no rows: they are the same for the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..spec import Shape


class MisfitError(ValueError):
    """Operands that an operation cannot take."""


class NotComputedError(MisfitError):
    """Operands that Keras takes, and that are not computed here."""


class AcrossError(ValueError):
    """An operation that would go across the rows of a batch, where each row is computed by itself here."""


class Rows:
    """The number of rows of the batch, as a size.

    Attributes
    ----------
    count : int, optional
        How many there are; None before a block of rows is computed.
    """

    def __init__(self, count: int | None = None):
        self.count = count

    def __repr__(self) -> str:
        return "batch"


#: The rows of a batch that is not there yet.
ROWS = Rows()
#: Numbers that a tensor without rows may have.
MOST = 1 << 20
#: A size: a number, the batch's rows, or None where it is not known yet.
Size = int | Rows | None


class Unbatched(tuple[Any, ...]):
    """The shape of a tensor without rows, and its values as far as they are known.

    Attributes
    ----------
    value : numpy.ndarray, optional
        Its numbers.
    sizes : tuple, optional
        Of a vector of sizes, or of a single one (shape ()): each a ``Size``.
    of_rows : bool
        Does it depend on the number of rows of the batch, which is not known yet?
    """

    value: np.ndarray | None
    sizes: tuple[Size, ...] | None
    of_rows: bool

    def __new__(
        cls, shape: Iterable[int | None], value: np.ndarray | None = None, sizes: Sequence[Size] | None = None, of_rows: bool = False
    ) -> Unbatched:
        found = super().__new__(cls, shape)
        found.value = value
        found.sizes = None if sizes is None else tuple(sizes)
        found.of_rows = of_rows or any(isinstance(size, Rows) and size.count is None for size in found.sizes or ())
        return found

    @classmethod
    def of(cls, value: Any) -> Unbatched:
        """A constant."""
        array = np.asarray(value)
        sizes = None
        if array.ndim < 2 and np.isfinite(array).all() and (array == np.trunc(array)).all():
            sizes = [int(number) for number in array.ravel()]
        return cls(array.shape, array, sizes)

    @classmethod
    def of_sizes(cls, sizes: Sequence[Size], shape: tuple[int, ...], of_rows: bool = False) -> Unbatched:
        """A vector of sizes, or a single one."""
        known = [number for number in map(number_of, sizes) if number is not None]
        return cls(shape, np.array(known).reshape(shape) if len(known) == len(sizes) else None, sizes, of_rows)

    def __reduce__(self) -> Any:
        return Unbatched, (tuple(self), self.value, self.sizes, self.of_rows)


#: What a shape rule is given for a tensor, and gives.
Operand = Shape | Unbatched


def is_batched(operand: Any) -> bool:
    """Does an operand have a row for each row of the batch?"""
    return isinstance(operand, tuple) and not isinstance(operand, Unbatched)


def as_operand(value: Any) -> Any:
    """Numbers and arrays as operands; anything else as it is."""
    return Unbatched.of(value) if isinstance(value, (int, float, np.ndarray, np.number)) else value


def number_of(size: Size) -> int | None:
    """A size as a number: while a block of rows is computed, how many they are is one."""
    return size.count if isinstance(size, Rows) else size


def sizes_of(value: Any, what: str) -> tuple[Size, ...]:
    """The sizes in an argument: a number, a tensor of sizes, or a list of both."""
    if isinstance(value, np.ndarray):
        value = Unbatched.of(value)
    if isinstance(value, Unbatched):
        if value.sizes is None and not (value.value is not None and value.value.size == 0):
            raise NotComputedError(f"{what}: sizes that depend on data, as those of a tensor of shape {tuple(value)}, are not computed")
        return value.sizes or ()
    if value is None or isinstance(value, Rows):
        return (value,)
    if isinstance(value, bool) or not isinstance(value, (int, list, tuple, np.integer)):
        raise MisfitError(f"{what}: expected sizes, found {value!r:.60}")
    if isinstance(value, (int, np.integer)):
        return (int(value),)
    if is_batched(value) and value and isinstance(value, tuple):
        raise MisfitError(f"{what}: expected sizes, found a tensor that has rows")
    return tuple(size for one in value for size in sizes_of(one, what))


def whole(value: Any, what: str) -> int:
    """A whole number among the arguments."""
    sizes = sizes_of(value, what)
    if len(sizes) != 1 or not isinstance(sizes[0], int):
        raise MisfitError(f"{what}: expected a whole number, found {value!r:.60}")
    return sizes[0]


def axes_of(axis: Any, rank: int, *, batched: bool) -> tuple[int, ...]:
    """Axes from an argument, counted from the front, in order; all where it is None.

    Raises
    ------
    AcrossError
        If one is that of the batch.
    """
    found = range(rank) if axis is None else [whole(one, "axis") for one in (axis if isinstance(axis, (list, tuple)) else [axis])]
    if any(not -rank <= one < rank for one in found):
        raise MisfitError(f"axis {axis} is none of a tensor of {rank} axes")
    axes = tuple(sorted({one % rank for one in found}))
    if batched and 0 in axes:
        raise AcrossError(f"axis {axis} of a tensor of {rank} axes takes the batch's along")
    return axes


def axis_of(axis: Any, rank: int, *, batched: bool) -> int:
    """One axis; see :func:`axes_of`."""
    (found,) = axes_of([axis], rank, batched=batched)
    return found


def bounded(shape: Sequence[int | None]) -> None:
    """Refuse tensors without rows that are larger than any that a model needs, before they are made."""
    if math.prod(size or 0 for size in shape) > MOST:
        raise MisfitError(f"a tensor of shape {tuple(shape)} that does not depend on data has more than {MOST} numbers")


def without_rows(value: Any) -> Any:
    """Operands as if none had rows of its own: for what goes across the rows of a batch."""
    if isinstance(value, list):
        return [without_rows(one) for one in value]
    return Unbatched(value) if is_batched(value) else value


def joined_size(sizes: Sequence[int | None], what: str) -> int | None:
    """The size of an axis along which sizes are broadcast."""
    known = {size for size in sizes if size is not None and size != 1}
    if len(known) > 1:
        raise MisfitError(what)
    return known.pop() if known else None if None in sizes else 1


def broadcast_shape(operands: Sequence[Any]) -> Operand:
    """The shape of operands broadcast by NumPy's rule, as far as each row stays by itself."""
    batched = [operand for operand in operands if is_batched(operand)]
    found = f"operands of shapes {', '.join(map(str, map(tuple, operands)))}"
    rank = max(map(len, operands), default=0)
    if batched and any(len(operand) != len(batched[0]) for operand in batched):
        raise AcrossError(f"{found} are aligned at their last axes, a batch with another axis")
    if batched and rank > len(batched[0]):
        raise AcrossError(f"{found} give the batch another place")
    for operand in operands:
        if batched and not is_batched(operand) and len(operand) == rank and operand[0] != 1:
            raise AcrossError(f"{found}: one is for a batch of {operand[0]} rows")
    padded = [(1,) * (rank - len(operand)) + tuple(operand) for operand in operands]
    shape = [joined_size(sizes, f"{found} do not go together") for sizes in zip(*padded, strict=True)]
    if batched:
        return (batched[0][0], *shape[1:])
    return Unbatched(shape)


def computed(shape: Operand, operands: Sequence[Any], compute: Callable[..., Any], sizes: Callable[..., Any] | None = None) -> Operand:
    """The result of an operation by its shape: of operands without rows its values too, where theirs are known.

    ``sizes`` combines sizes one by one, where some are not known.
    """
    if is_batched(shape):
        return shape
    bounded(shape)
    given = [operand for operand in operands if isinstance(operand, Unbatched)]
    of_rows = any(operand.of_rows for operand in given)
    if len(given) == len(operands) and all(operand.value is not None for operand in given):
        return Unbatched.of(compute(*[operand.value for operand in given]))
    if sizes is not None and len(shape) < 2 and all(operand.sizes is not None for operand in given):
        count = max(len(operand.sizes or ()) for operand in given)
        vectors = [operand.sizes * count if len(operand.sizes or ()) == 1 else operand.sizes for operand in given if operand.sizes]
        numbers = [[number_of(one) for one in each] for each in zip(*vectors, strict=True)]
        combined = [None if None in each else sizes(*each) for each in numbers]
        return Unbatched.of_sizes(combined, tuple(n or 0 for n in shape), of_rows)
    return Unbatched(shape, of_rows=of_rows)
