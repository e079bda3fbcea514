"""Operations along axes: sums, extremes, running sums, softmax, norms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..program import arithmetic
from ..program.ir import Value
from .meaning import Arguments, Meaning, Writing, only
from .operands import AcrossError, MisfitError, Operand, Unbatched, axes_of, axis_of, is_batched, number_of, whole
from .rows import Operation, row
from .shaping import one_tensor


class Reduction(Meaning):
    """Numbers along axes made one: all axes where none is named."""

    def __init__(self, function: Callable[..., Any], kernel: str = ""):
        self.function = function
        self.kernel = kernel

    def axes(self, rank: int, a: Arguments, *, batched: bool) -> tuple[int, ...]:
        """The axes that go."""
        axis = a["axis"]
        if isinstance(axis, Unbatched):
            axis = list(axis.sizes or ())
        return axes_of(axis, rank, batched=batched)

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = one_tensor(a)
        if not is_batched(x):
            if x.value is None:
                return (self._of_sizes(x, a),)
            return (Unbatched.of(self.compute({**a, "x": x.value})),)
        axes = self.axes(len(x), a, batched=True)
        return (tuple(1 if n in axes else size for n, size in enumerate(x) if a["keepdims"] or n not in axes),)

    def _of_sizes(self, x: Unbatched, a: Arguments) -> Unbatched:
        if len(x) > 1 or x.sizes is None:
            raise MisfitError("it reduces a tensor that is not known")
        numbers = [number_of(size) for size in x.sizes]
        if None in numbers:
            return Unbatched.of_sizes((None,), (1,) if a["keepdims"] else (), x.of_rows)
        return Unbatched.of(self.compute({**a, "x": np.array(numbers)}))

    def stepwise(self, a: Arguments) -> bool:
        x = one_tensor(a)
        return len(x) > 2 and is_batched(x) and min(self.axes(len(x), a, batched=True), default=0) > 1

    def compute(self, a: Arguments) -> Any:
        x = a["x"]
        return self.function(x, axis=self.axes(x.ndim, a, batched=False), keepdims=bool(a["keepdims"]))

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        if not self.kernel:
            return None
        x = a["x"]
        axes = self.axes(len(x.shape) + 1, a, batched=True)
        return only(arithmetic.reduced(w.builder, self.kernel, x, tuple(axis - 1 for axis in axes), bool(a["keepdims"])))


class Norm(Reduction):
    """The length of vectors along axes; ``ord``: 2, 1 or inf."""

    def __init__(self) -> None:
        super().__init__(np.sum)

    def compute(self, a: Arguments) -> Any:
        x, order = a["x"], a["ord"]
        axes, keep = self.axes(x.ndim, a, batched=False), bool(a["keepdims"])
        if order in ("inf", math.inf):
            return np.max(np.abs(x), axis=axes, keepdims=keep)
        if order in (1, 1.0):
            return np.sum(np.abs(x), axis=axes, keepdims=keep)
        return np.sqrt(np.sum(x * x, axis=axes, keepdims=keep))

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        order, axis = a["ord"], a["axis"]
        if order not in (None, 2, 2.0, "euclidean", 1, 1.0, math.inf, "inf") and not (order == "fro" and isinstance(axis, list)):
            raise MisfitError(f"ord={order!r} is not computed")
        if isinstance(axis, list) and len(axis) > 1 and order not in (None, "euclidean", "fro"):
            raise MisfitError(f"ord={order!r} of matrices is not computed")
        return super().shapes(a)


def log_sum_exp(x: Any, axis: Any, keepdims: bool) -> Any:
    """log(sum(exp(x))), without overflow."""
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    found = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return found if keepdims else np.squeeze(found, axis=axis)


class Position(Reduction):
    """Where along one axis the largest or smallest number stands, the first of several."""

    def axes(self, rank: int, a: Arguments, *, batched: bool) -> tuple[int, ...]:
        if a["axis"] is None:
            raise AcrossError("it looks through the whole batch") if batched else MisfitError("axis: expected a number")
        return (axis_of(a["axis"], rank, batched=batched),)

    def compute(self, a: Arguments) -> Any:
        x = a["x"]
        ((axis,), keep) = self.axes(x.ndim, a, batched=False), bool(a["keepdims"])
        return np.expand_dims(self.function(x, axis=axis), axis) if keep else self.function(x, axis=axis)


class Along(Meaning):
    """The base of what keeps the shape and goes along one axis or several."""

    def __init__(self, function: Callable[..., Any], kernel: Callable[..., Value | None] | None = None):
        self.function = function
        self.kernel = kernel

    def axes(self, rank: int, a: Arguments, *, batched: bool) -> tuple[int, ...]:
        """The axes along which it goes."""
        axis = a["axis"]
        if axis is None:
            raise AcrossError("it goes through the whole batch") if batched else MisfitError("axis: expected a number")
        if isinstance(axis, Unbatched):
            axis = list(axis.sizes or ())
        return axes_of(axis, rank, batched=batched)

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = one_tensor(a)
        self.axes(len(x), a, batched=is_batched(x))
        if is_batched(x):
            return (x,)
        if x.value is None:
            raise MisfitError("it goes along a tensor that is not known")
        return (Unbatched.of(self.compute({**a, "x": x.value})),)

    def stepwise(self, a: Arguments) -> bool:
        x = one_tensor(a)
        return len(x) > 2 and is_batched(x) and min(self.axes(len(x), a, batched=True), default=0) > 1

    def compute(self, a: Arguments) -> Any:
        return self.function(a["x"], self.axes(a["x"].ndim, a, batched=False))

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        axes = self.axes(len(a["x"].shape) + 1, a, batched=True)
        if self.kernel is None or len(axes) > 1:
            return None
        return only(self.kernel(w.builder, a["x"], axes[0] - 1))


class Running(Along):
    """Running sums and products; TensorFlow can leave each number itself out, and begin at the end."""

    def compute(self, a: Arguments) -> Any:
        (axis,) = self.axes(a["x"].ndim, a, batched=False)
        x = np.moveaxis(a["x"], axis, 0)
        x = x[::-1] if a["reverse"] else x
        y = self.function(x, axis=0)
        if a["exclusive"]:
            start = np.full_like(y[:1], 0 if self.function is np.cumsum else 1)
            y = np.concatenate([start, y[:-1]])
        return np.moveaxis(y[::-1] if a["reverse"] else y, 0, axis)

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        return None if a["reverse"] or a["exclusive"] else super().lower(w, a)


def softmax(x: Any, axes: Sequence[int]) -> Any:
    """exp(x) / sum(exp(x))."""
    e = np.exp(x - np.max(x, axis=tuple(axes), keepdims=True))
    return e / np.sum(e, axis=tuple(axes), keepdims=True)


def log_softmax(x: Any, axes: Sequence[int]) -> Any:
    """The logarithm of softmax."""
    shifted = x - np.max(x, axis=tuple(axes), keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=tuple(axes), keepdims=True))


def of_length(given: dict[str, Any]) -> dict[str, Any]:
    """Keras 3's epsilon, which bounds a length, as one that bounds its square."""
    return {**given, "epsilon": given["epsilon"] * given["epsilon"]} if given["order"] == 2 else given


class UnitLength(Along):
    """x / max(its length, ...): TensorFlow bounds the sum of squares, Keras 3's normalize the length."""

    def __init__(self) -> None:
        super().__init__(np.sum)

    def compute(self, a: Arguments) -> Any:
        x, axes, least = a["x"], self.axes(a["x"].ndim, a, batched=False), a["epsilon"]
        if a["order"] in ("inf", math.inf):
            return x / np.maximum(np.max(np.abs(x), axis=axes, keepdims=True), x.dtype.type(least))
        if a["order"] == 1:
            return x / np.maximum(np.sum(np.abs(x), axis=axes, keepdims=True), x.dtype.type(least))
        return x / np.sqrt(np.maximum(np.sum(x * x, axis=axes, keepdims=True), x.dtype.type(least)))

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        if a["order"] not in (1, 2, "inf", math.inf):
            raise MisfitError(f"order={a['order']!r} is not computed")
        return super().shapes(a)


class Sorted(Along):
    """In order along an axis."""

    def compute(self, a: Arguments) -> Any:
        (axis,) = self.axes(a["x"].ndim, a, batched=False)
        found = np.sort(a["x"], axis=axis)
        return np.flip(found, axis) if str(a["direction"]).upper() == "DESCENDING" else found

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        return None


class Argsorted(Sorted):
    """Where the numbers stand that come one after the other in order; of equal ones the first first."""

    def compute(self, a: Arguments) -> Any:
        (axis,) = self.axes(a["x"].ndim, a, batched=False)
        x = -a["x"] if str(a["direction"]).upper() == "DESCENDING" else a["x"]
        return np.argsort(x, axis=axis, kind="stable")


class TopK(Meaning):
    """The largest numbers of the last axis, largest first, and where they stand."""

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x, k = one_tensor(a), whole(a["k"], "k")
        if not is_batched(x) or len(x) < 2:
            raise AcrossError("it looks for the largest numbers of a batch")
        if k < 1 or (x[-1] is not None and k > x[-1]):
            raise MisfitError(f"k={k} of {x[-1]} numbers")
        return ((*x[:-1], k),) * 2

    def stepwise(self, a: Arguments) -> bool:
        return len(one_tensor(a)) > 2

    def compute(self, a: Arguments) -> Any:
        order = np.argsort(-a["x"], axis=-1, kind="stable")[..., : whole(a["k"], "k")]
        return np.take_along_axis(a["x"], order, -1), order


def reduction(text: str, function: Callable[..., Any], kernel: str, keras3: str, tf: str, op: str = "") -> Operation:
    """The row of a reduction."""
    arguments = "(x, axis=None, keepdims=False)"
    theirs = [f"{name}(input_tensor:x, axis, keepdims)" for name in ([tf, tf.replace("math.", "")] if tf else [])]
    return row(
        text + arguments, Reduction(function, kernel), keras3=keras3 or (), tf=theirs, op=f"{op}(x, axis; keep_dims:keepdims)" if op else ()
    )


class Extreme(Reduction):
    """The largest or smallest number; not below, or above, an initial one."""

    def __init__(self, function: Callable[..., Any], either: Callable[..., Any], kernel: str):
        super().__init__(function, kernel)
        self.either = either

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        if a["initial"] is not None and (isinstance(a["initial"], bool) or not isinstance(a["initial"], (int, float))):
            raise MisfitError(f"initial: expected a number, found {a['initial']!r:.60}")
        return super().shapes(a)

    def compute(self, a: Arguments) -> Any:
        found = super().compute(a)
        return found if a["initial"] is None else self.either(found, found.dtype.type(a["initial"]))

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        return super().lower(w, a) if a["initial"] is None else None


def extreme(name: str, function: Callable[..., Any], either: Callable[..., Any]) -> Operation:
    """The row of an extreme."""
    big = name.capitalize()
    return row(
        f"{name}(x, axis=None, keepdims=False, initial=None)", Extreme(function, either, name), keras3=(big, f"A{name}"),
        tf=(f"math.reduce_{name}(input_tensor:x, axis, keepdims)", f"reduce_{name}(input_tensor:x, axis, keepdims)"),
        op=f"{big}(x, axis; keep_dims:keepdims)",
    )  # fmt: skip


class Moments(Reduction):
    """Mean and variance."""

    def __init__(self) -> None:
        super().__init__(np.mean)

    def axes(self, rank: int, a: Arguments, *, batched: bool) -> tuple[int, ...]:
        return axes_of(a["axes"], rank, batched=batched)

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = one_tensor(a)
        if not is_batched(x):
            raise MisfitError("it has no rows")
        return super().shapes(a) * 2

    def compute(self, a: Arguments) -> Any:
        axes, keep = self.axes(a["x"].ndim, a, batched=False), bool(a["keepdims"])
        return np.mean(a["x"], axis=axes, keepdims=keep), np.var(a["x"], axis=axes, keepdims=keep)


class Differences(Along):
    """Differences of neighbours along an axis, so many times over."""

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        (shape,) = super().shapes(a)
        if not is_batched(shape):
            return (shape,)
        (axis,), n = self.axes(len(shape), a, batched=True), whole(a["n"], "n")
        size = shape[axis]
        if n < 0 or (size is not None and n > size):
            raise MisfitError(f"n={n} of {size} numbers")
        return ((*shape[:axis], None if size is None else size - n, *shape[axis + 1 :]),)

    def compute(self, a: Arguments) -> Any:
        (axis,), n = self.axes(a["x"].ndim, a, batched=False), whole(a["n"], "n")
        if not 0 <= n <= a["x"].shape[axis]:
            raise MisfitError(f"n={n} of {a['x'].shape[axis]} numbers")
        return np.diff(a["x"], n=n, axis=axis)


class Band(Meaning):
    """The numbers of matrices on diagonals near the main one, zeros elsewhere."""

    def ends(self, a: Arguments) -> tuple[int | None, int | None]:
        """How many diagonals below the main one, and above it; None for all."""
        lower, upper = whole(a["num_lower"], "num_lower"), whole(a["num_upper"], "num_upper")
        return (None if lower < 0 else lower), (None if upper < 0 else upper)

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = one_tensor(a)
        self.ends(a)
        if is_batched(x):
            if len(x) < 3:
                raise AcrossError("it takes a batch for a matrix")
            return (x,)
        if len(x) < 2:
            raise MisfitError(f"a tensor of shape {tuple(x)} is no matrix")
        return (Unbatched(x) if x.value is None else Unbatched.of(self.compute({**a, "x": x.value})),)

    def compute(self, a: Arguments) -> Any:
        x, (lower, upper) = a["x"], self.ends(a)
        below = np.arange(x.shape[-2])[:, np.newaxis] - np.arange(x.shape[-1])
        near = (True if lower is None else below <= lower) & (True if upper is None else -below <= upper)
        return np.where(near, x, np.zeros((), x.dtype))


class Lower(Band):
    """The numbers up to the k-th diagonal."""

    def ends(self, a: Arguments) -> tuple[int | None, int | None]:
        return None, whole(a["k"], "k")


class Upper(Band):
    """The numbers from the k-th diagonal on."""

    def ends(self, a: Arguments) -> tuple[int | None, int | None]:
        return -whole(a["k"], "k"), None


TABLE = (
    row("moments(x, axes, keepdims=False)", Moments(), keras3="Moments", tf="nn.moments(x, axes, keepdims)"),
    row("diff(x, n=1, axis=-1)", Differences(np.diff), keras3="Diff"),
    row(
        "band_part(x, num_lower, num_upper)",
        Band(),
        tf="linalg.band_part(input:x, num_lower, num_upper)",
        op="MatrixBandPart(x, num_lower, num_upper)",
    ),
    row("tril(x, k=0)", Lower(), keras3="Tril"),
    row("triu(x, k=0)", Upper(), keras3="Triu"),
    reduction("sum", np.sum, "sum", "Sum", "math.reduce_sum", "Sum"),
    reduction("mean", np.mean, "mean", "Mean", "math.reduce_mean", "Mean"),
    extreme("max", np.max, np.maximum),
    extreme("min", np.min, np.minimum),
    reduction("prod", np.prod, "prod", "Prod", "math.reduce_prod", "Prod"),
    reduction("var", np.var, "", "Var", "math.reduce_variance"),
    reduction("std", np.std, "", "Std", "math.reduce_std"),
    reduction("any", lambda x, axis, keepdims: np.any(x != 0, axis=axis, keepdims=keepdims), "any", "Any", "math.reduce_any", "Any"),
    reduction("all", lambda x, axis, keepdims: np.all(x != 0, axis=axis, keepdims=keepdims), "all", "All", "math.reduce_all", "All"),
    reduction("logsumexp", log_sum_exp, "logsumexp", "Logsumexp", "math.reduce_logsumexp"),
    reduction(
        "count_nonzero", lambda x, axis, keepdims: np.sum(x != 0, axis=axis, keepdims=keepdims), "", "CountNonzero", "math.count_nonzero"
    ),
    row(
        "norm(x, ord=None, axis=None, keepdims=False)",
        Norm(),
        keras3="Norm",
        tf=("norm(tensor:x, ord='euclidean', axis, keepdims)", "linalg.norm(tensor:x, ord='euclidean', axis, keepdims)"),
        op="EuclideanNorm(x, axis; keep_dims:keepdims)",
    ),
    row(
        "argmax(x, axis=None, keepdims=False)",
        Position(np.argmax),
        keras3="Argmax",
        tf=("math.argmax(input:x, axis=0)", "argmax(input:x, axis=0)"),
        op="ArgMax(x, axis)",
    ),
    row(
        "argmin(x, axis=None, keepdims=False)",
        Position(np.argmin),
        keras3="Argmin",
        tf=("math.argmin(input:x, axis=0)", "argmin(input:x, axis=0)"),
        op="ArgMin(x, axis)",
    ),
    row(
        "cumsum(x, axis=None, exclusive=False, reverse=False)",
        Running(np.cumsum, arithmetic.cumulated),
        keras3="Cumsum(x, axis)",
        tf=("math.cumsum(x, axis=0, exclusive, reverse)", "cumsum(x, axis=0, exclusive, reverse)"),
        op="Cumsum(x, axis; exclusive, reverse)",
    ),
    row(
        "cumprod(x, axis=None, exclusive=False, reverse=False)",
        Running(np.cumprod),
        keras3="Cumprod(x, axis)",
        tf="math.cumprod(x, axis=0, exclusive, reverse)",
        op="Cumprod(x, axis; exclusive, reverse)",
    ),
    row(
        "softmax(x, axis=-1)",
        Along(softmax, arithmetic.softmax),
        keras3="Softmax",
        tf=(
            "nn.softmax(logits:x, axis)",
            "nn.softmax_v2(logits:x, axis)",
            "keras.activations.softmax(x, axis)",
            "keras.backend.softmax(x, axis)",
        ),
        op="Softmax(x)",
    ),
    row(
        "log_softmax(x, axis=-1)",
        Along(log_softmax, arithmetic.log_softmax),
        keras3="LogSoftmax",
        tf="nn.log_softmax(logits:x, axis)",
        op="LogSoftmax(x)",
    ),
    row(
        "normalize(x, axis=-1, order=2, epsilon=1e-12)",
        UnitLength(),
        keras3="Normalize(x, axis=-1, order=2, epsilon=1e-07)",
        adapt={"Normalize": of_length},
        tf=(
            "math.l2_normalize(x, axis=None, epsilon)",
            "nn.l2_normalize(x, axis=None, epsilon)",
            "keras.backend.l2_normalize(x, axis=None)",
        ),
    ),
    row("sort(x, axis=-1, direction='ASCENDING')", Sorted(np.sort), keras3="Sort", tf="sort(values:x, axis, direction)"),
    row("argsort(x, axis=-1, direction='ASCENDING')", Argsorted(np.argsort), keras3="Argsort", tf="argsort(values:x, axis, direction)"),
    row(
        "top_k(x, k, sorted=True)",
        TopK(),
        keras3="TopK",
        tf=("math.top_k(input:x, k=1, sorted)", "nn.top_k(input:x, k=1, sorted)"),
        op="TopKV2(x, k; sorted)",
    ),
)
