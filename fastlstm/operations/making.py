"""Operations that make tensors: of a shape, of one number, of numbers in order."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..program import copying
from ..program.copying import Array
from ..program.ir import Value
from .meaning import Arguments, Meaning, Writing, only
from .operands import MOST, ROWS, AcrossError, MisfitError, Operand, Rows, Unbatched, as_operand, bounded, is_batched, sizes_of
from .rows import row
from .shaping import one_tensor


class ShapeOf(Meaning):
    """The sizes of a tensor."""

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = one_tensor(a)
        return (Unbatched.of_sizes([ROWS, *x[1:]] if is_batched(x) else list(x), (len(x),)),)


class SizeOf(Meaning):
    """How many numbers a tensor has, or how many axes."""

    def __init__(self, *, axes: bool):
        self.axes = axes

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = one_tensor(a)
        if self.axes:
            return (Unbatched.of(len(x)),)
        return (Unbatched.of_sizes([None if is_batched(x) or None in x else int(np.prod(x))], (), is_batched(x)),)

    def compute(self, a: Arguments) -> Any:
        return np.size(a["x"])  # of a batch


def of_dtype(value: Any, dtype: Any, what: str) -> float:
    """A number as a tensor of a dtype holds it."""
    if not isinstance(value, (int, float)):
        raise MisfitError(f"{what}: expected a number, found {value!r:.60}")
    if dtype is None or (isinstance(dtype, str) and "float" in dtype):
        return float(value)
    if dtype == "bool":
        return float(bool(value))
    if isinstance(dtype, str) and dtype.startswith(("int", "uint")):
        return float(int(value))
    raise MisfitError(f"dtype {dtype!r} is not computed")


class Alike(Meaning):
    """A tensor of one number, with the shape of another."""

    def __init__(self, number: float | None = None):
        self.number = number

    def _number(self, a: Arguments) -> float:
        value = self.number if self.number is not None else a["fill_value"]
        return of_dtype(value, a["dtype"], "fill_value")

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = one_tensor(a)
        self._number(a)
        if is_batched(x):
            return (x,)
        if None in x:
            return (Unbatched(x),)
        bounded(x)
        return (Unbatched.of(np.full(tuple(x), self._number(a), np.float32)),)

    def stepwise(self, a: Arguments) -> bool:
        return len(a["x"]) > 2

    def compute(self, a: Arguments) -> Any:
        return np.full_like(a["x"], self._number(a))

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        return only(filled(w, self._number(a)))


def filled(w: Writing, number: float) -> Value | None:
    """A tensor of one number."""
    one = Array(w.constant("number", lambda: np.full(1, number, np.float32)), (1,) * len(w.shape()))
    return copying.broadcast(w.builder, one, w.shape())


class Full(Meaning):
    """A tensor of one number, of a shape that may come from other tensors."""

    tensors = ("fill_value",)

    def __init__(self, number: float | None = None):
        self.number = number

    def _number(self, a: Arguments) -> float:
        value = a["fill_value"] if self.number is None else self.number
        if isinstance(value, Unbatched) and value.value is not None and value.value.size == 1:
            value = float(value.value.ravel()[0])
        return of_dtype(value, a["dtype"], "fill_value")

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        sizes = sizes_of(a["shape"], "shape")
        number = self._number(a)
        if any(isinstance(size, Rows) for size in sizes[1:]):
            raise AcrossError("it makes a tensor with the batch at another place")
        if sizes and isinstance(sizes[0], Rows):
            return ((None, *(size for size in sizes[1:] if not isinstance(size, Rows))),)
        known = [size for size in sizes if isinstance(size, int)]
        if any(size < 0 for size in known):
            raise MisfitError(f"shape {sizes}")
        bounded(known)
        if len(known) < len(sizes):
            return (Unbatched([None if isinstance(size, Rows) else size for size in sizes]),)
        return (Unbatched.of(np.full(known, number, np.float32)),)

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        return only(filled(w, self._number(a)))

    def made(self, rows: int, shape: tuple[Any, ...], a: Arguments, dtype: Any) -> np.ndarray:
        """The tensor, for so many rows."""
        return np.full((rows, *shape[1:]), self._number(a), dtype)


class Range(Meaning):
    """Numbers from a start to before a stop; the start alone is the stop."""

    tensors = ("start", "stop", "step")

    def _ends(self, a: Arguments) -> list[float | None]:
        start, stop = (0, a["start"]) if a["stop"] is None else (a["start"], a["stop"])
        found: list[float | None] = []
        for name, value in (("start", start), ("stop", stop), ("step", 1 if a["step"] is None else a["step"])):
            operand = as_operand(value)
            if not isinstance(operand, Unbatched):
                raise MisfitError(f"{name}: expected a number, found {value!r:.60}")
            if any(isinstance(size, Rows) for size in operand.sizes or ()):
                raise AcrossError("it counts the rows of a batch")
            if operand.value is not None and operand.value.size != 1:
                raise MisfitError(f"{name}: expected one number, found {tuple(operand)}")
            found.append(None if operand.value is None else float(operand.value.ravel()[0]))
        return found

    def shapes_across(self, a: Arguments) -> tuple[Operand, ...] | None:
        return ((None,),)

    def compute(self, a: Arguments) -> Any:
        start, stop, step = self._ends({name: value for name, value in a.items() if name != "dtype"})
        if start is None or stop is None or not step or not abs((stop - start) / step) < MOST:
            raise MisfitError(f"numbers from {start} to {stop} in steps of {step}")
        return np.arange(start, stop, step)

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        start, stop, step = self._ends(a)
        if start is None or stop is None or step is None:
            return (Unbatched((None,)),)
        if step == 0 or not abs((stop - start) / step) < MOST:
            raise MisfitError(f"numbers from {start} to {stop} in steps of {step}")
        return (Unbatched.of(np.arange(start, stop, step)),)


TABLE = (
    row("shape(x)", ShapeOf(), tf=("shape(input:x)", "shape_v2(input:x)"), op="Shape(x)"),
    row("size(x)", SizeOf(axes=False), keras3="Size", tf=("size(input:x)", "size_v2(input:x)"), op="Size(x)"),
    row("rank(x)", SizeOf(axes=True), tf="rank(input:x)", op="Rank(x)"),
    row("zeros_like(x, dtype=None)", Alike(0.0), keras3="ZerosLike(x, dtype)", tf="zeros_like(input:x, dtype)", op="ZerosLike(x)"),
    row("ones_like(x, dtype=None)", Alike(1.0), keras3="OnesLike(x, dtype)", tf="ones_like(input:x, dtype)", op="OnesLike(x)"),
    row("full_like(x, fill_value, dtype=None)", Alike(), keras3="FullLike(x, fill_value, dtype)"),
    row("zeros(shape, dtype=None)", Full(0.0), keras3="Zeros(shape, dtype)", tf="zeros(shape, dtype=None)"),
    row("ones(shape, dtype=None)", Full(1.0), keras3="Ones(shape, dtype)", tf="ones(shape, dtype=None)"),
    row(
        "full(shape, fill_value, dtype=None)",
        Full(),
        keras3="Full(shape, fill_value, dtype)",
        tf="fill(dims:shape, value:fill_value)",
        op="Fill(shape, fill_value)",
    ),
    row(
        "arange(start, stop=None, step=None, dtype=None)",
        Range(),
        keras3="Arange(start, stop, step, dtype)",
        tf="range(start, limit:stop, delta:step, dtype)",
        op="Range(start, stop, step)",
    ),
)
