"""Operations that make one tensor of several, or several of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..program import copying
from ..program.ir import Value
from .meaning import Arguments, Meaning, Writing, tensor_list
from .operands import AcrossError, MisfitError, Operand, Unbatched, axis_of, bounded, is_batched, whole
from .rows import row
from .shaping import one_tensor


class Joining(Meaning):
    """The base of what makes one tensor of several."""

    tensors: tuple[str, ...] = ("xs",)

    def given(self, a: Arguments) -> list[Any]:
        """The tensors."""
        return tensor_list(a["xs"], "xs")


class Concatenate(Joining):
    """Tensors one after the other along an axis."""

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        given = self.given(a)
        batched = [one for one in given if is_batched(one)]
        rank = len(given[0])
        if any(len(one) != rank for one in given):
            raise MisfitError(f"tensors of shapes {', '.join(map(str, map(tuple, given)))} do not go together")
        axis = axis_of(a["axis"], rank, batched=bool(batched))
        if batched and len(batched) < len(given) and any(one[0] != 1 for one in given if not is_batched(one)):
            raise AcrossError("it joins a batch with a tensor that has no rows")
        if not batched:
            return (self._unbatched(given, axis),)
        what = f"tensors of shapes {', '.join(map(str, map(tuple, given)))} do not go together along axis {axis}"
        sizes = list(zip(*given, strict=True))
        joined = None if None in sizes[axis] else sum(sizes[axis])
        rest = [joined if place == axis else equal_size(each, what) for place, each in enumerate(sizes) if place]
        return ((batched[0][0], *rest),)

    def _unbatched(self, given: list[Unbatched], axis: int) -> Unbatched:
        bounded([sum(math.prod(size or 0 for size in one) for one in given)])
        if all(one.value is not None for one in given):
            return Unbatched.of(np.concatenate([one.value for one in given if one.value is not None], axis))
        if any(one.sizes is None or len(one) != 1 for one in given):
            raise MisfitError("it joins tensors that are not known")
        sizes = [size for one in given for size in one.sizes or ()]
        return Unbatched.of_sizes(sizes, (len(sizes),))

    def stepwise(self, a: Arguments) -> bool:
        given = self.given(a)
        rank = len(given[0])
        return (
            rank > 2 and axis_of(a["axis"], rank, batched=True) > 1 and len({one[1] for one in given}) == 1 and all(map(is_batched, given))
        )

    def compute(self, a: Arguments) -> Any:
        xs = a["xs"]
        if a["axis"] % xs[0].ndim:  # a constant for a batch of one row is one for all rows
            rows = max(map(len, xs))
            xs = [np.broadcast_to(x, (rows, *x.shape[1:])) if len(x) == 1 else x for x in xs]
        return np.concatenate(xs, axis=a["axis"])

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        if any(not isinstance(one, Value) for one in a["xs"]):
            return None
        rank = len(a["xs"][0].shape) + 1
        return (copying.concatenated(w.builder, a["xs"], a["axis"] % rank - 1),)


def equal_size(sizes: Sequence[int | None], what: str) -> int | None:
    """The one size of several, as far as it is known."""
    known = {size for size in sizes if size is not None}
    if len(known) > 1:
        raise MisfitError(what)
    return known.pop() if known else None


class Stack(Joining):
    """Tensors side by side along a new axis."""

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        given = self.given(a)
        batched = any(map(is_batched, given))
        if not batched:
            return (self._unbatched(given, a),)
        if not all(map(is_batched, given)):
            raise AcrossError("it stacks a batch and a tensor that has no rows")
        axis = axis_of(a["axis"], len(given[0]) + 1, batched=True)
        what = f"tensors of shapes {', '.join(map(str, map(tuple, given)))} do not go together"
        if any(len(one) != len(given[0]) for one in given):
            raise MisfitError(what)
        shape = [equal_size(sizes, what) if place else sizes[0] for place, sizes in enumerate(zip(*given, strict=True))]
        shape.insert(axis, len(given))
        return (tuple(shape),)

    def _unbatched(self, given: list[Unbatched], a: Arguments) -> Unbatched:
        bounded([sum(math.prod(size or 0 for size in one) for one in given)])
        if all(one.value is not None for one in given):
            return Unbatched.of(np.stack([one.value for one in given if one.value is not None], axis=a["axis"]))
        if any(one.sizes is None or len(one) for one in given):
            raise MisfitError("it stacks tensors that are not known")
        return Unbatched.of_sizes([size for one in given for size in one.sizes or ()], (len(given),))

    def stepwise(self, a: Arguments) -> bool:
        given = self.given(a)
        return len(given[0]) > 2 and axis_of(a["axis"], len(given[0]) + 1, batched=True) > 1 and len({one[1] for one in given}) == 1

    def compute(self, a: Arguments) -> Any:
        return np.stack(a["xs"], axis=a["axis"])

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        axis = a["axis"] % (len(a["xs"][0].shape) + 2) - 1
        parts = [Value(w.builder.read(x), (*x.shape[:axis], 1, *x.shape[axis:])) for x in a["xs"]]
        return (copying.concatenated(w.builder, parts, axis),)


def parts_of(w: Writing, x: Value, axis: int, parts: Sequence[tuple[int, int]]) -> tuple[Value, ...] | None:
    """Parts of x along an axis: where each begins, and how many it has."""
    whole_axes = [(0, size, 1) for size in x.shape]
    found = [copying.sliced(w.builder, x, [*whole_axes[:axis], (*part, 1), *whole_axes[axis + 1 :]]) for part in parts]
    return tuple(part for part in found if part is not None) if None not in found else None


class Split(Meaning):
    """A tensor in several parts along an axis: as many equal ones, or of these sizes, or between these places."""

    def places(self, size: int | None, a: Arguments) -> list[int]:
        """Where parts end, the last one excepted."""
        parts = a["indices_or_sections"]
        if isinstance(parts, list):
            ends = [whole(one, "indices_or_sections") for one in parts]
            if size is None and any(end < 0 for end in ends):
                raise MisfitError("it splits an axis whose size is not known from its end")
            return [end + (size or 0) if end < 0 else end for end in ends]
        count = whole(parts, "indices_or_sections")
        if size is None or not 1 <= count <= size or size % count:
            raise MisfitError(f"an axis of size {size} is not split into {count} equal parts")
        return [size // count * number for number in range(1, count)]

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = one_tensor(a)
        axis = axis_of(a["axis"], len(x), batched=is_batched(x))
        if not is_batched(x):
            if x.value is None:
                raise MisfitError("it splits a tensor that is not known")
            return tuple(map(Unbatched.of, self.compute({**a, "x": x.value})))
        ends = [*self.places(x[axis], a), x[axis]]
        sizes = [None if end is None else end - start for start, end in zip([0, *ends], ends, strict=False)]
        if any(size is not None and size < 1 for size in sizes):
            raise MisfitError(f"an axis of size {x[axis]} has no parts that end at {ends}")
        return tuple((*x[:axis], size, *x[axis + 1 :]) for size in sizes)

    def stepwise(self, a: Arguments) -> bool:
        x = one_tensor(a)
        return len(x) > 2 and axis_of(a["axis"], len(x), batched=True) > 1

    def compute(self, a: Arguments) -> Any:
        return tuple(np.split(a["x"], self.places(a["x"].shape[a["axis"]], a), axis=a["axis"]))

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        x = a["x"]
        axis = a["axis"] % (len(x.shape) + 1) - 1
        ends = [*self.places(x.shape[axis], a), x.shape[axis]]
        return parts_of(w, x, axis, [(start, end - start) for start, end in zip([0, *ends], ends, strict=False)])


class Unstack(Meaning):
    """The members of a tensor along an axis, each without it."""

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = one_tensor(a)
        axis = axis_of(a["axis"], len(x), batched=is_batched(x))
        if not is_batched(x):
            sizes = x.sizes
            if len(x) != 1 or sizes is None:
                raise MisfitError("it takes a tensor apart that is not known")
            return tuple(Unbatched.of_sizes([size], ()) for size in sizes)
        if x[axis] is None:
            raise MisfitError(f"into how many parts a tensor of shape {tuple(x)} is taken is not known")
        return ((*x[:axis], *x[axis + 1 :]),) * x[axis]

    def compute(self, a: Arguments) -> Any:
        return tuple(np.moveaxis(a["x"], a["axis"], 0))

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        x = a["x"]
        axis = a["axis"] % (len(x.shape) + 1) - 1
        parts = parts_of(w, x, axis, [(number, 1) for number in range(x.shape[axis])])
        return parts and tuple(Value(part.buffer, (*x.shape[:axis], *x.shape[axis + 1 :])) for part in parts)


class Append(Concatenate):
    """Two tensors one after the other."""

    tensors = ("x1", "x2")

    def given(self, a: Arguments) -> list[Any]:
        return tensor_list([a["x1"], a["x2"]], "x1 and x2")

    def compute(self, a: Arguments) -> Any:
        return super().compute({**a, "xs": [a["x1"], a["x2"]]})

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        return super().lower(w, {**a, "xs": [a["x1"], a["x2"]]})


def sizes_as_places(given: dict[str, Any]) -> dict[str, Any]:
    """tf.split's sizes of parts as the places between them."""
    sizes = given.get("indices_or_sections")
    if isinstance(sizes, (list, tuple)):
        known = [int(size) for size in sizes]
        if -1 in known:  # those after it end so far before the end
            free = known.index(-1)
            ends = [sum(known[: number + 1]) if number < free else -sum(known[number + 1 :]) for number in range(len(known) - 1)]
            given["indices_or_sections"] = ends
        else:
            given["indices_or_sections"] = [sum(known[: number + 1]) for number in range(len(known) - 1)]
    return given


TABLE = (
    row("append(x1, x2, axis=None)", Append(), keras3="Append"),
    row("hstack(xs, axis=1)", Concatenate(), keras3="Hstack(xs)"),
    row(
        "concatenate(xs, axis=0)",
        Concatenate(),
        keras3="Concatenate",
        tf=("concat(values:xs, axis)", "keras.backend.concatenate(tensors:xs, axis=-1)"),
        op="ConcatV2(rest:xs, axis)",
    ),
    row(
        "stack(xs, axis=0)",
        Stack(),
        keras3="Stack",
        tf=("stack(values:xs, axis=0)", "keras.backend.stack(x:xs, axis=0)"),
        op="Pack(rest:xs; axis)",
    ),
    row(
        "split(x, indices_or_sections, axis=0)",
        Split(),
        keras3="Split",
        tf="split(value:x, num_or_size_splits:indices_or_sections, axis=0)",
        op=("Split(axis, x; num_split:indices_or_sections)", "SplitV(x, indices_or_sections, axis)"),
        adapt={"split": sizes_as_places, "SplitV": sizes_as_places},
    ),
    row("unstack(x, axis=0)", Unstack(), keras3="Unstack", tf="unstack(value:x, axis=0)", op="Unpack(x; axis)"),
)
