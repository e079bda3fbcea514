"""Operations that put the numbers of a tensor in another order, or several tensors together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..program import copying
from ..program.ir import Value
from .meaning import Arguments, Meaning, Writing, only
from .operands import (
    AcrossError,
    MisfitError,
    NotComputedError,
    Operand,
    Rows,
    Size,
    Unbatched,
    as_operand,
    axes_of,
    axis_of,
    bounded,
    is_batched,
    joined_size,
    sizes_of,
    whole,
    without_rows,
)  # fmt: skip
from .rows import row


def one_tensor(a: Arguments) -> Any:
    """The argument x, which must be a tensor."""
    x = as_operand(a["x"])
    if isinstance(x, list) and any(isinstance(one, tuple) for one in x):
        raise NotComputedError("x: a list of tensors in place of one, which TensorFlow would stack, is not computed")
    if not isinstance(x, tuple):
        raise MisfitError(f"x: expected a tensor, found {x!r:.60}")
    return x


class Shaping(Meaning):
    """The base of what rearranges one tensor: the result by NumPy where it has no rows."""

    def shape(self, x: tuple[Any, ...], a: Arguments) -> Sequence[int | None]:
        """The shape of the output, batch first where ``x`` has one."""
        raise NotImplementedError

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = one_tensor(a)
        shape = tuple(self.shape(x, a))
        if is_batched(x):
            return (shape,)
        bounded(shape)
        if x.value is None:
            return (self.of_sizes(x, Unbatched(shape), a),)
        return (Unbatched.of(self.compute({**a, "x": x.value})),)

    def shapes_across(self, a: Arguments) -> tuple[Operand, ...] | None:
        return (tuple(self.shape(without_rows(one_tensor(a)), a)),)

    def of_sizes(self, x: Unbatched, shape: Unbatched, a: Arguments) -> Unbatched:
        """The result for a vector of sizes, of which some are not known."""
        return shape


def filled(shape: Sequence[Size], given: tuple[Any, ...]) -> tuple[int | None, ...]:
    """The shape that a tensor is given, its rows kept: the first size must be theirs, and one of the others may be -1.

    Raises
    ------
    AcrossError
        If rows would be split or joined.
    MisfitError
        If the sizes do not fit.
    """
    total = None if None in given[1:] else math.prod(given[1:])
    first, *rest = shape or (1,)
    if isinstance(first, int) and first not in (-1, given[0]):
        raise AcrossError(f"shape {tuple(shape)} has another number of rows than the batch")
    free = sum(size == -1 or size is None for size in rest) if not isinstance(first, int) or first != -1 or -1 in rest else 0
    if any(isinstance(size, Rows) for size in rest):
        raise AcrossError(f"shape {tuple(shape)} has the batch at another place")
    known = math.prod(size for size in rest if isinstance(size, int) and size != -1)
    if free > 1 or total is None:
        return (given[0], *(None if size == -1 else size for size in rest))  # type: ignore[misc]  # no Rows among them
    if free:
        if not known or total % known:
            raise AcrossError(f"shape {tuple(shape)} does not fit a row of a tensor of shape {tuple(given)}")
        return (given[0], *(total // known if size in (-1, None) else size for size in rest))  # type: ignore[misc]
    if known != total:
        raise AcrossError(f"shape {tuple(shape)} of a tensor of shape {tuple(given)} joins or splits rows")
    return (given[0], *rest)  # type: ignore[arg-type]


class Reshape(Shaping):
    """The same numbers in another shape."""

    def shape(self, x: tuple[Any, ...], a: Arguments) -> Sequence[int | None]:
        sizes = sizes_of(a["newshape"], "newshape")
        if is_batched(x):
            return filled(sizes, x)
        if any(not isinstance(size, int) for size in sizes) or None in x:
            raise MisfitError(f"newshape {sizes} of a tensor of shape {tuple(x)} is not known")
        return np.empty(x, bool).reshape([size for size in sizes if isinstance(size, int)]).shape

    def shapes_across(self, a: Arguments) -> tuple[Operand, ...] | None:
        return (tuple(size if isinstance(size, int) and size != -1 else None for size in sizes_of(a["newshape"], "newshape")),)

    def compute(self, a: Arguments) -> Any:
        x = a["x"]
        sizes: list[int] = []
        for size in sizes_of(a["newshape"], "newshape"):
            count = size.count if isinstance(size, Rows) else size
            sizes.append(-1 if count is None else count)
        if sizes.count(-1) > 1 and sizes[0] == -1:  # NumPy knows of one unknown size alone
            sizes[0] = len(x)
        try:
            return x.reshape(sizes)
        except ValueError as error:
            raise MisfitError(f"newshape {sizes} does not fit a tensor of shape {x.shape}") from error

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        return (Value(w.builder.read(a["x"]), w.shape()),)


class Ravel(Shaping):
    """All numbers in one row, which a batch cannot have."""

    def shape(self, x: tuple[Any, ...], a: Arguments) -> Sequence[int | None]:
        if is_batched(x):
            raise AcrossError("it makes one row of all")
        return (None if None in x else math.prod(x),)

    def compute(self, a: Arguments) -> Any:
        return a["x"].ravel()


class Transpose(Shaping):
    """Axes in another order, the batch in front."""

    def order(self, rank: int, a: Arguments, *, batched: bool) -> tuple[int, ...]:
        """The axes of the input in the order in which the output has them."""
        axes = a.get("axes")
        order = (
            tuple(reversed(range(rank)))
            if axes is None
            else tuple(int(size) % rank for size in sizes_of(axes, "axes") if isinstance(size, int))
        )
        if sorted(order) != list(range(rank)):
            raise MisfitError(f"axes {axes} are none of a tensor of {rank} axes")
        if batched and order[0] != 0:
            raise AcrossError(f"axes {axes} give the batch another place")
        return order

    def shape(self, x: tuple[Any, ...], a: Arguments) -> Sequence[int | None]:
        return tuple(x[axis] for axis in self.order(len(x), a, batched=is_batched(x)))

    def compute(self, a: Arguments) -> Any:
        return np.ascontiguousarray(np.transpose(a["x"], self.order(a["x"].ndim, a, batched=False)))

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        order = self.order(len(a["x"].shape) + 1, a, batched=True)
        return only(copying.transposed(w.builder, a["x"], tuple(axis - 1 for axis in order[1:])))


class SwapAxes(Transpose):
    """Two axes in each other's place."""

    def order(self, rank: int, a: Arguments, *, batched: bool) -> tuple[int, ...]:
        order = list(range(rank))
        one, two = (axis_of(a[name], rank, batched=batched) for name in ("axis1", "axis2"))
        order[one], order[two] = two, one
        return tuple(order)


class MoveAxis(Transpose):
    """Axes moved to other places."""

    def order(self, rank: int, a: Arguments, *, batched: bool) -> tuple[int, ...]:
        order = tuple(np.moveaxis(np.empty(range(1, rank + 1), bool), a["source"], a["destination"]).shape)
        if batched and order[0] != 1:
            raise AcrossError("it gives the batch another place")
        return tuple(size - 1 for size in order)


class ExpandDims(Shaping):
    """A new axis of size 1, or several."""

    def shape(self, x: tuple[Any, ...], a: Arguments) -> Sequence[int | None]:
        axes = a["axis"] if isinstance(a["axis"], list) else [a["axis"]]
        found = list(x)
        if len({whole(one, "axis") % (len(x) + len(axes)) for one in axes}) < len(axes):
            raise MisfitError(f"axis {a['axis']} names an axis twice")
        for axis in axes_of(axes, len(x) + len(axes), batched=is_batched(x)):
            found.insert(axis, 1)
        return found

    def compute(self, a: Arguments) -> Any:
        axis = a["axis"]
        return np.expand_dims(a["x"], tuple(whole(one, "axis") for one in (axis if isinstance(axis, list) else [axis])))

    def of_sizes(self, x: Unbatched, shape: Unbatched, a: Arguments) -> Unbatched:
        return Unbatched.of_sizes(x.sizes, (1,)) if x.sizes is not None and len(x.sizes) == 1 else shape

    def stepwise(self, a: Arguments) -> bool:
        x = one_tensor(a)
        axes = a["axis"] if isinstance(a["axis"], list) else [a["axis"]]
        return len(x) > 2 and min(axes_of(axes, len(x) + len(axes), batched=True), default=2) > 1

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        return (Value(w.builder.read(a["x"]), w.shape()),)


class Squeeze(Shaping):
    """Without axes of size 1."""

    def _axes(self, x: tuple[Any, ...], a: Arguments) -> tuple[int, ...]:
        axis = a["axis"]
        if axis in (None, []):
            axes = tuple(number for number, size in enumerate(x) if size == 1 and (number or not is_batched(x)))
            if None in x[1:]:
                raise MisfitError(f"which axes of a tensor of shape {tuple(x)} have the size 1 is not known")
            return axes
        return axes_of(axis, len(x), batched=is_batched(x))

    def shape(self, x: tuple[Any, ...], a: Arguments) -> Sequence[int | None]:
        axes = self._axes(x, a)
        if any(x[axis] not in (1, None) for axis in axes):
            raise MisfitError(f"axes {axes} of a tensor of shape {tuple(x)} are not all of size 1")
        return [size for axis, size in enumerate(x) if axis not in axes]

    def compute(self, a: Arguments) -> Any:
        x = a["x"]
        axes = a["axis"] if a["axis"] not in (None, []) else [axis for axis in range(1, x.ndim) if x.shape[axis] == 1]
        return np.squeeze(x, tuple(whole(axis, "axis") for axis in (axes if isinstance(axes, (list, tuple)) else [axes])))

    def stepwise(self, a: Arguments) -> bool:
        x = one_tensor(a)
        return a["axis"] not in (None, []) and len(x) > 3 and min(self._axes(x, a)) > 1

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        return (Value(w.builder.read(a["x"]), w.shape()),)


class Tile(Shaping):
    """Copies one after the other along each axis."""

    def _times(self, rank: int, a: Arguments, *, batched: bool) -> list[int]:
        times = [size if isinstance(size, int) else None for size in sizes_of(a["repeats"], "repeats")]
        if len(times) > rank and batched:
            raise AcrossError(f"repeats {a['repeats']} give the batch another place")
        times = [*[1] * (rank - len(times)), *times]
        if None in times[batched:] and not batched:
            raise MisfitError(f"repeats {times} are not known")
        if batched and times[0] != 1:
            raise AcrossError(f"repeats {a['repeats']} repeat rows")
        return times  # type: ignore[return-value]  # None where it is not known

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x, sizes = one_tensor(a), sizes_of(a["repeats"], "repeats")
        if is_batched(x) or not sizes or not isinstance(sizes[0], Rows) or len(sizes) != len(x):
            return super().shapes(a)
        if x[0] != 1 or any(isinstance(size, Rows) for size in sizes[1:]):
            raise AcrossError(f"repeats {sizes} give the batch another place")
        return ((None, *(None if n is None or size is None else n * size for n, size in zip(x[1:], sizes[1:], strict=True))),)  # type: ignore[operator]

    def shape(self, x: tuple[Any, ...], a: Arguments) -> Sequence[int | None]:
        times = self._times(len(x), a, batched=is_batched(x))
        return [None if size is None or n is None else size * n for size, n in zip(x, times, strict=True)]

    def compute(self, a: Arguments) -> Any:
        return np.tile(a["x"], self._times(a["x"].ndim, a, batched=False))

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        if not isinstance(a["x"], Value):
            return None
        return only(copying.tiled(w.builder, a["x"], self._times(len(a["x"].shape) + 1, a, batched=True)[1:]))


class Repeat(Shaping):
    """Each member of an axis so many times."""

    def shape(self, x: tuple[Any, ...], a: Arguments) -> Sequence[int | None]:
        if a["axis"] is None:
            raise AcrossError("it makes one row of all") if is_batched(x) else MisfitError("axis: expected a number")
        axis = axis_of(a["axis"], len(x), batched=is_batched(x))
        if isinstance(a["repeats"], list):
            times = [whole(one, "repeats") for one in a["repeats"]]
            if x[axis] is not None and len(times) != x[axis]:
                raise MisfitError(f"repeats: {len(times)} numbers for an axis of size {x[axis]}")
            return [n if number != axis else sum(times) for number, n in enumerate(x)]
        return self._evenly(x, axis, whole(a["repeats"], "repeats"))

    def _evenly(self, x: tuple[Any, ...], axis: int, times: int) -> Sequence[int | None]:
        return [size if number != axis or size is None else size * times for number, size in enumerate(x)]

    def compute(self, a: Arguments) -> Any:
        return np.repeat(a["x"], sizes_of(a["repeats"], "repeats"), axis=a["axis"])  # type: ignore[arg-type]  # shapes() has checked them


class Pad(Shaping):
    """Numbers around a tensor."""

    def _widths(self, rank: int, a: Arguments, *, batched: bool) -> list[tuple[int, int]]:
        given = a["pad_width"]
        if isinstance(given, Unbatched):
            given = [] if given.value is None else given.value.astype(int).tolist()
        if isinstance(given, int):
            given = [[given, given]]
        if given and not isinstance(given[0], list):
            given = [given]
        pairs = [(whole(one, "pad_width"), whole(two, "pad_width")) for one, two in given]
        pairs = pairs * rank if len(pairs) == 1 else pairs
        if len(pairs) != rank:
            raise MisfitError(f"pad_width {given} does not fit a tensor of {rank} axes")
        if batched and pairs[0] != (0, 0):
            raise AcrossError(f"pad_width {given} adds rows")
        return pairs

    def shape(self, x: tuple[Any, ...], a: Arguments) -> Sequence[int | None]:
        if str(a["mode"]).lower() not in ("constant", "reflect", "symmetric"):
            raise MisfitError(f"mode {a['mode']!r} is not computed")
        return [None if n is None else n + sum(pair) for n, pair in zip(x, self._widths(len(x), a, batched=is_batched(x)), strict=True)]

    def compute(self, a: Arguments) -> Any:
        mode, widths = str(a["mode"]).lower(), self._widths(a["x"].ndim, a, batched=False)
        if mode == "constant":
            return np.pad(a["x"], widths, constant_values=a["constant_values"] or 0)
        return np.pad(a["x"], widths, mode=mode)  # type: ignore[call-overload]


class Flip(Shaping):
    """Backwards along axes."""

    def _axes(self, rank: int, a: Arguments, *, batched: bool) -> tuple[int, ...]:
        return axes_of(a["axis"], rank, batched=batched)

    def shape(self, x: tuple[Any, ...], a: Arguments) -> Sequence[int | None]:
        self._axes(len(x), a, batched=is_batched(x))
        return x

    def compute(self, a: Arguments) -> Any:
        return np.flip(a["x"], self._axes(a["x"].ndim, a, batched=False))

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        x = a["x"]
        axes = self._axes(len(x.shape) + 1, a, batched=True)
        return only(copying.flipped(w.builder, x, [axis - 1 for axis in axes]))


class Roll(Shaping):
    """Shifted along axes, what goes out at one end coming in at the other."""

    def shape(self, x: tuple[Any, ...], a: Arguments) -> Sequence[int | None]:
        if a["axis"] is None and is_batched(x):
            raise AcrossError("it makes one row of all")
        axes_of(a["axis"], len(x), batched=is_batched(x))
        return x

    def compute(self, a: Arguments) -> Any:
        shift, axis = (tuple(value) if isinstance(value, list) else value for value in (a["shift"], a["axis"]))
        return np.roll(a["x"], shift, axis)


class BroadcastTo(Shaping):
    """Repeated along axes of size 1 until it has a shape."""

    def _sizes(self, x: tuple[Any, ...], a: Arguments) -> tuple[Size, ...]:
        sizes = sizes_of(a["shape"], "shape")
        if is_batched(x) and len(sizes) != len(x):
            raise AcrossError(f"shape {sizes} gives the batch another place")
        return sizes

    def shape(self, x: tuple[Any, ...], a: Arguments) -> Sequence[int | None]:
        sizes = self._sizes(x, a)
        if is_batched(x):
            if not (sizes[0] in (None, x[0]) or isinstance(sizes[0], Rows)):
                raise AcrossError(f"shape {sizes} has another number of rows than the batch")
            what = f"a tensor of shape {tuple(x)} is not broadcast to {sizes}"
            return [x[0], *(joined_size([n, None if isinstance(m, Rows) else m], what) for n, m in zip(x[1:], sizes[1:], strict=True))]
        return [None if isinstance(size, Rows) else size for size in sizes]

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = one_tensor(a)
        sizes = self._sizes(x, a)
        if not is_batched(x) and sizes and isinstance(sizes[0], Rows):
            return ((None, *(None if isinstance(size, Rows) else size for size in sizes[1:])),)
        return super().shapes(a)

    def compute(self, a: Arguments) -> Any:
        x = a["x"]
        sizes = [len(x) if size is None or isinstance(size, Rows) else size for size in sizes_of(a["shape"], "shape")]
        return np.ascontiguousarray(np.broadcast_to(x, sizes))


TABLE = (
    row(
        "reshape(x, newshape)",
        Reshape(),
        keras3="Reshape",
        tf=("reshape(tensor:x, shape:newshape)", "keras.backend.reshape(x, shape:newshape)"),
        op="Reshape(x, newshape)",
    ),
    row("ravel(x)", Ravel(), keras3="Ravel"),
    row("transpose(x, axes=None)", Transpose(), keras3="Transpose", tf="transpose(a:x, perm:axes)", op="Transpose(x, axes)"),
    row("matrix_transpose(x, axis1=-1, axis2=-2)", SwapAxes(), tf="linalg.matrix_transpose(a:x)"),
    row("flatten(x, newshape=[-1, -1])", Reshape(), tf="keras.backend.batch_flatten(x)"),
    row("swapaxes(x, axis1, axis2)", SwapAxes(), keras3="Swapaxes"),
    row("moveaxis(x, source, destination)", MoveAxis(), keras3="Moveaxis"),
    row(
        "expand_dims(x, axis)",
        ExpandDims(),
        keras3="ExpandDims",
        tf=("expand_dims(input:x, axis)", "keras.backend.expand_dims(x, axis=-1)"),
        op="ExpandDims(x, axis)",
    ),
    row(
        "squeeze(x, axis=None)",
        Squeeze(),
        keras3="Squeeze",
        tf=("squeeze(input:x, axis)", "keras.backend.squeeze(x, axis)"),
        op="Squeeze(x; squeeze_dims:axis)",
    ),
    row(
        "tile(x, repeats)",
        Tile(),
        keras3="Tile",
        tf=("tile(input:x, multiples:repeats)", "keras.backend.tile(x, n:repeats)"),
        op="Tile(x, repeats)",
    ),
    row(
        "repeat(x, repeats, axis=None)",
        Repeat(),
        keras3="Repeat",
        tf=("repeat(input:x, repeats, axis)", "keras.backend.repeat_elements(x, rep:repeats, axis)"),
    ),
    row(
        "pad(x, pad_width, mode='constant', constant_values=None)",
        Pad(),
        keras3="Pad",
        tf="pad(tensor:x, paddings:pad_width, mode, constant_values)",
        op=("Pad(x, pad_width)", "PadV2(x, pad_width, constant_values)", "MirrorPad(x, pad_width; mode)"),
    ),
    row(
        "flip(x, axis=None)",
        Flip(),
        keras3="Flip",
        tf=("reverse(tensor:x, axis)", "keras.backend.reverse(x, axes:axis)"),
        op="ReverseV2(x, axis)",
    ),
    row("roll(x, shift, axis=None)", Roll(), keras3="Roll", tf="roll(input:x, shift, axis)", op="Roll(x, shift, axis)"),
    row("broadcast_to(x, shape)", BroadcastTo(), keras3="BroadcastTo", tf="broadcast_to(input:x, shape)", op="BroadcastTo(x, shape)"),
)
