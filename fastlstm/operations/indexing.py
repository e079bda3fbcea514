"""Operations that pick numbers of a tensor: by slices, by their places, by data."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..program import copying
from ..program.ir import Value
from .meaning import Arguments, Meaning, Writing
from .operands import AcrossError, MisfitError, Operand, Unbatched, as_operand, axis_of, bounded, is_batched, number_of, whole
from .rows import row
from .shaping import one_tensor

#: An end of a slice that is not known before there are data.
OPEN: Any = object()


class Picked:
    """One axis of a tensor as a key of ``x[key]`` takes it: a part, one member, or a new axis."""

    def __init__(self, axis: int | None, part: Any):
        self.axis = axis  # of the input; None: a new one
        self.part = part  # a slice, a number (OPEN where it is not known yet), None

    @property
    def member(self) -> bool:
        """Does it take one member of the axis, which goes?"""
        return isinstance(self.part, int) or self.part is OPEN

    def size(self, size: int | None) -> int | None:
        """The size of the output's axis."""
        if not isinstance(self.part, slice):
            return 1
        if size is None or OPEN in (self.part.start, self.part.stop, self.part.step):
            return None
        return len(range(*self.part.indices(size)))


def end_of(value: Any, what: str) -> Any:
    """An end of a slice."""
    if value is None:
        return None
    if isinstance(value, Unbatched) and value.sizes == (None,):
        return OPEN
    return whole(value, f"{what} of a slice")


def picked(key: Any, rank: int) -> list[Picked]:
    """What a key picks, axis by axis."""
    parts = key if isinstance(key, list) else [key]
    marks = [part for part in parts if isinstance(part, dict) and "ellipsis" in part]
    taken = sum(not (isinstance(part, dict) and ("newaxis" in part or "ellipsis" in part)) for part in parts)
    if len(marks) > 1 or taken > rank:
        raise MisfitError(f"{len(parts)} indices do not fit a tensor of {rank} axes")
    found: list[Picked] = []
    axis = 0
    for part in parts if marks else [*parts, {"ellipsis": True}]:
        if isinstance(part, dict) and "ellipsis" in part:
            found += [Picked(axis + n, slice(None)) for n in range(rank - taken)]
            axis += rank - taken
        elif isinstance(part, dict) and "newaxis" in part:
            found.append(Picked(None, None))
        elif isinstance(part, dict) and isinstance(part.get("slice"), list) and len(part["slice"]) == 3:
            ends = [
                end_of(None if one == {"newaxis": True} else one, name)
                for one, name in zip(part["slice"], ("start", "stop", "step"), strict=True)
            ]
            if ends[2] == 0:
                raise MisfitError("a slice of step 0")
            found.append(Picked(axis, slice(*ends)))
            axis += 1
        elif isinstance(part, tuple) and is_batched(part):
            raise MisfitError("it is indexed by a tensor that depends on data")
        else:
            found.append(Picked(axis, OPEN if isinstance(part, Unbatched) and part.sizes == (None,) else whole(part, "index")))
            axis += 1
    return found


class GetItem(Meaning):
    """x[key]: numbers, slices, an ellipsis, new axes."""

    tensors = ("x",)

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = one_tensor(a)
        parts = picked(a["key"], len(x))
        for one in parts:
            if (
                isinstance(one.part, int)
                and one.axis is not None
                and x[one.axis] is not None
                and not -x[one.axis] <= one.part < x[one.axis]
            ):
                raise MisfitError(f"index {one.part} is outside an axis of size {x[one.axis]}")
        if not is_batched(x):
            return (self._unbatched(x, parts),)
        if not parts or parts[0].axis != 0 or not isinstance(parts[0].part, slice) or not takes_all(parts[0].part, x[0]):
            raise AcrossError("it takes rows of the batch apart")
        return ((x[0], *(self._size(x, one) for one in parts[1:] if not one.member)),)

    def _size(self, x: tuple[Any, ...], one: Picked) -> int | None:
        return 1 if one.axis is None else one.size(x[one.axis])

    def _unbatched(self, x: Unbatched, parts: list[Picked]) -> Unbatched:
        key: Any = tuple(one.part for one in parts)
        if x.value is not None:
            return Unbatched.of(x.value[key])
        if x.sizes is None or len(x) != 1 or len(parts) != 1:
            return Unbatched([self._size(x, one) for one in parts if not one.member])
        (part,) = key
        return (
            Unbatched.of_sizes((x.sizes[part],), ()) if isinstance(part, int) else Unbatched.of_sizes(x.sizes[part], (len(x.sizes[part]),))
        )

    def stepwise(self, a: Arguments) -> bool:
        parts = picked(a["key"], len(a["x"]))
        return len(parts) > 1 and len(a["x"]) > 2 and parts[1].axis == 1 and parts[1].part == slice(None)

    def last_step(self, a: Arguments) -> bool:
        """Does it take the last timestep alone, x[:, -1]?"""
        parts = picked(a["key"], len(a["x"]))
        return len(parts) > 1 and len(a["x"]) > 2 and parts[1].axis == 1 and parts[1].part == -1

    def compute(self, a: Arguments) -> Any:
        key: Any = tuple(one.part for one in picked(a["key"], a["x"].ndim))
        return np.ascontiguousarray(a["x"][key])

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        x = a["x"]
        taken: dict[int, tuple[int, int, int]] = {}
        for one in picked(a["key"], len(x.shape) + 1)[1:]:
            if one.axis is None:
                continue
            size = x.shape[one.axis - 1]
            if isinstance(one.part, int):
                taken[one.axis - 1] = (one.part % size, 1, 1)
            elif one.part is not None and one.part.indices(size) != (0, size, 1):
                places = range(*one.part.indices(size))
                if not len(places):
                    return None
                taken[one.axis - 1] = (places.start, len(places), places.step)
        parts = [taken.get(axis, (0, size, 1)) for axis, size in enumerate(x.shape)]
        value = copying.sliced(w.builder, x, parts) if taken else x
        return None if value is None else (Value(w.builder.read(value), w.shape()),)


def takes_all(part: slice, size: int | None) -> bool:
    """Does a slice take the whole of an axis?"""
    return part.start in (None, 0) and part.step in (None, 1) and (part.stop is None or (size is not None and part.stop >= size))


def two_operands(a: Arguments) -> tuple[Any, Any]:
    """The arguments x and indices, both tensors."""
    found = as_operand(a["x"]), as_operand(a["indices"])
    if not all(isinstance(one, tuple) for one in found):
        raise MisfitError(f"expected tensors, found x={a['x']!r:.40} and indices={a['indices']!r:.40}")
    return found


class Take(Meaning):
    """Members of an axis by their numbers, which may be data."""

    tensors = ("x", "indices")

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x, indices = two_operands(a)
        count = whole(a["batch_dims"], "batch_dims")
        if not is_batched(x) and not is_batched(indices):
            if x.value is None or indices.value is None:
                if x.sizes is None or indices.value is None or indices.value.ndim > 1:
                    raise MisfitError("it takes members of a tensor that is not known")
                return (Unbatched.of_sizes([x.sizes[int(n)] for n in indices.value.ravel()], indices.value.shape),)
            bounded((*x[1:], *indices, *x[:1]))
            return (Unbatched.of(np.take(x.value, indices.value.astype(np.int64), axis=a["axis"] or 0)),)
        if is_batched(x) and is_batched(indices):
            return (self._by_row(x, indices, count, a),)
        axis = self._axis(x, a)
        if is_batched(indices):
            if axis != 0:
                raise AcrossError("its indices give the batch another place")
            return ((*indices, *x[1:]),)
        return ((*x[:axis], *indices, *x[axis + 1 :]),)

    def shapes_across(self, a: Arguments) -> tuple[Operand, ...] | None:
        x, indices = map(tuple, two_operands(a))
        if a["axis"] is None or whole(a["batch_dims"], "batch_dims"):
            raise MisfitError("it takes members through the whole batch")
        axis = axis_of(a["axis"], len(x), batched=False)
        return ((*x[:axis], *indices, *x[axis + 1 :]),)

    def _axis(self, x: tuple[Any, ...], a: Arguments) -> int:
        if a["axis"] is None and is_batched(x):
            raise AcrossError("it goes through the whole batch")
        return axis_of(a["axis"] or 0, len(x), batched=is_batched(x))

    def _by_row(self, x: tuple[Any, ...], indices: tuple[Any, ...], count: int, a: Arguments) -> Operand:
        axis = axis_of(count if a["axis"] is None else a["axis"], len(x), batched=True)
        if count < 1:
            raise AcrossError("it takes members of one row for another")
        return (*x[:axis], *indices[count:], *x[axis + 1 :])

    def compute(self, a: Arguments) -> Any:
        x, indices, count = a["x"], np.asarray(a["indices"]).astype(np.int64), whole(a["batch_dims"], "batch_dims")
        if not count:
            axis = a["axis"] or 0
            size = x.shape[axis]
            return np.take(x, checked(indices, size), axis=axis)
        axis = count if a["axis"] is None else a["axis"] % x.ndim
        size = x.shape[axis]
        rows = [np.take(one, checked(places, size), axis=axis - 1) for one, places in zip(x, indices, strict=True)]
        if count > 1:
            raise MisfitError(f"batch_dims={count} is not computed")
        return np.stack(rows) if rows else np.zeros((0, *x.shape[1:axis], *indices.shape[1:], *x.shape[axis + 1 :]), x.dtype)


def checked(indices: np.ndarray, size: int) -> np.ndarray:
    """Indices of an axis, none of them outside: negative ones count from the end."""
    if indices.size and not (indices.min() >= -size and indices.max() < size):
        raise OutOfRangeError(f"expected indices below {size}, found {indices.min()} to {indices.max()}")
    return indices


class OutOfRangeError(ValueError):
    """Data that are used as indices, and are none."""


class TakeAlong(Meaning):
    """Members of an axis by numbers that every place has for itself."""

    tensors = ("x", "indices")

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x, indices = two_operands(a)
        if not is_batched(x) or not is_batched(indices) or len(x) != len(indices) or a["axis"] is None:
            raise AcrossError("it takes members of one row for another")
        axis = axis_of(a["axis"], len(x), batched=True)
        return (tuple(m if number in (0, axis) else n for number, (n, m) in enumerate(zip(x, indices, strict=True))),)

    def compute(self, a: Arguments) -> Any:
        axis = a["axis"]
        return np.take_along_axis(a["x"], checked(a["indices"].astype(np.int64), a["x"].shape[axis]), axis)


class OneHot(Meaning):
    """1 at the place that a number names, else 0; all 0 for numbers that name none."""

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x, count = one_tensor(a), whole(a["num_classes"], "num_classes")
        numbers = [a["on_value"], a["off_value"]]
        if count < 1 or not all(isinstance(number, (int, float)) for number in numbers):
            raise MisfitError(f"num_classes={count}, on_value and off_value {numbers!r:.80}")
        axis = axis_of(a["axis"], len(x) + 1, batched=is_batched(x))
        if not is_batched(x):
            bounded((*x, count))
            if x.value is None:
                raise MisfitError("it is made of a tensor that is not known")
            return (Unbatched.of(self.compute({**a, "x": x.value})),)
        return ((*x[:axis], count, *x[axis:]),)

    def shapes_across(self, a: Arguments) -> tuple[Operand, ...] | None:
        x = tuple(as_operand(a["x"]))
        axis = axis_of(a["axis"], len(x) + 1, batched=False)
        return ((*x[:axis], whole(a["num_classes"], "num_classes"), *x[axis:]),)

    def stepwise(self, a: Arguments) -> bool:
        return len(a["x"]) > 1 and axis_of(a["axis"], len(a["x"]) + 1, batched=True) > 1

    def compute(self, a: Arguments) -> Any:
        ids = np.trunc(a["x"])[..., np.newaxis]
        found = np.where(ids == np.arange(whole(a["num_classes"], "num_classes")), a["on_value"], a["off_value"])
        return np.moveaxis(np.asarray(found), -1, a["axis"])


class SequenceMask(Meaning):
    """Which steps come before a length."""

    tensors = ("x", "maxlen")

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x, most = as_operand(a["x"]), as_operand(a["maxlen"])
        if not isinstance(x, tuple) or not is_batched(x) or not isinstance(most, Unbatched) or most.sizes is None or len(most.sizes) != 1:
            raise MisfitError("expected lengths, and a number of steps that does not depend on them")
        return ((*x, number_of(most.sizes[0])),)

    def compute(self, a: Arguments) -> Any:
        return np.arange(whole(a["maxlen"], "maxlen")) < a["x"][..., np.newaxis]


def strided_slice(given: dict[str, Any]) -> dict[str, Any]:
    """The op StridedSlice: begin, end and strides of each axis, and masks, a bit for each, that say what they mean."""
    masks = {name: given.pop(name, 0) for name in ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")}
    begin, end, strides = (given.pop(name, None) for name in ("begin", "end", "strides"))
    strides = [1] * len(begin) if strides is None else strides
    if not isinstance(begin, list) or not isinstance(end, list) or not isinstance(strides, list):
        raise ValueError("a slice whose bounds are computed in the graph is not known")
    key: list[Any] = []
    for number in range(len(begin)):
        bit = 1 << number
        if masks["ellipsis_mask"] & bit:
            key.append({"class_name": "__ellipsis__"})
        elif masks["new_axis_mask"] & bit:
            key.append(None)
        elif masks["shrink_axis_mask"] & bit:
            key.append(begin[number])
        else:
            start, stop = (None if masks[name] & bit else ends[number] for name, ends in (("begin_mask", begin), ("end_mask", end)))
            key.append({"start": start, "stop": stop, "step": strides[number]})
    return {**given, "key": key}


def begin_and_size(given: dict[str, Any]) -> dict[str, Any]:
    """tf.slice: where each axis begins and how many it takes, -1 for all that are left."""
    begin, size = given.pop("begin"), given.pop("size")
    ends = [None if count == -1 else start + count for start, count in zip(begin, size, strict=True)]
    return {**given, "key": [{"start": start, "stop": stop, "step": None} for start, stop in zip(begin, ends, strict=True)]}


MASKS = "begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask"
TABLE = (
    row("sequence_mask(x, maxlen, dtype=None)", SequenceMask(), tf="sequence_mask(lengths:x, maxlen, dtype)"),
    row(
        "get_item(x, key)",
        GetItem(),
        keras3=("GetItem", "Slice(x, start_indices:begin, shape:size)"),
        tf=("__operators__.getitem(x, key)", "slice(input_:x, begin, size)", f"strided_slice(input_:x, begin, end, strides, {MASKS})"),
        op=(f"StridedSlice(x, begin, end, strides; {MASKS})", "Slice(x, begin, size)"),
        adapt={"StridedSlice": strided_slice, "strided_slice": strided_slice, "slice": begin_and_size, "Slice": begin_and_size},
    ),
    row(
        "take(x, indices, axis=None, batch_dims=0)",
        Take(),
        keras3="Take",
        tf=(
            "gather(params:x, indices, axis=None, batch_dims)",
            "keras.backend.gather(reference:x, indices)",
            "nn.embedding_lookup(params:x, ids:indices)",
        ),
        op=("GatherV2(x, indices, axis; batch_dims)", "ResourceGather(x, indices; batch_dims)"),
    ),
    row(
        "take_along_axis(x, indices, axis=None)",
        TakeAlong(),
        keras3="TakeAlongAxis",
        tf="experimental.numpy.take_along_axis(arr:x, indices, axis)",
    ),
    row(
        "one_hot(x, num_classes, axis=-1, on_value=1.0, off_value=0.0, dtype=None)",
        OneHot(),
        keras3="OneHot(x, num_classes, axis, dtype)",
        tf=("one_hot(indices:x, depth:num_classes, on_value, off_value, axis)", "keras.backend.one_hot(indices:x, num_classes)"),
        op="OneHot(x, num_classes, on_value, off_value; axis)",
    ),
)
