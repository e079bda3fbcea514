"""Operations that sum products: matmul, dot, tensordot, einsum."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..program import arithmetic, copying
from ..program.ir import Value
from .meaning import Arguments, Meaning, Writing, only, tensor_list
from .operands import AcrossError, MisfitError, Operand, Unbatched, as_operand, axis_of, bounded, is_batched, joined_size, whole
from .rows import row


def two_tensors(a: Arguments) -> tuple[Any, Any]:
    """The arguments x1 and x2, both tensors."""
    found = as_operand(a["x1"]), as_operand(a["x2"])
    if not all(isinstance(one, tuple) for one in found):
        raise MisfitError(f"expected two tensors, found {a['x1']!r:.40} and {a['x2']!r:.40}")
    return found


def values_of(*operands: Any) -> list[np.ndarray]:
    """The numbers of tensors that have no rows."""
    found = [operand.value for operand in operands]
    if any(value is None for value in found):
        raise MisfitError("it multiplies tensors that are not known")
    return found


class MatMul(Meaning):
    """Products of matrices, the last two axes of each tensor; axes before them are broadcast."""

    tensors = ("x1", "x2")

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x, y = two_tensors(a)
        if not is_batched(x) and not is_batched(y):
            bounded((*x[:-1], *y[:-2], *y[-1:]))
            return (Unbatched.of(self.compute({**a, **dict(zip(("x1", "x2"), values_of(x, y), strict=True))})),)
        if len(x) < 1 or len(y) < 1 or (len(y) == 1 and is_batched(y)) or (len(x) == 1 and is_batched(x)):
            raise AcrossError("it multiplies across the rows of a batch")
        left, right = self._matrix(x, a["transpose_a"]), self._matrix(y, a["transpose_b"], column=True)
        what = f"tensors of shapes {tuple(x)} and {tuple(y)} are not multiplied"
        if left[-1] is not None and right[-2] is not None and left[-1] != right[-2]:
            raise MisfitError(what)
        outer = self._outer(x, y, left, right, what)
        return ((*outer, *(() if len(x) == 1 else (left[-2],)), *(() if len(y) == 1 else (right[-1],))),)

    def _matrix(self, x: tuple[Any, ...], transposed: bool, *, column: bool = False) -> tuple[Any, ...]:
        if len(x) == 1:
            return (x[0], 1) if column else (1, x[0])
        return (*x[:-2], x[-1], x[-2]) if transposed else tuple(x)

    def _outer(self, x: Any, y: Any, left: tuple[Any, ...], right: tuple[Any, ...], what: str) -> tuple[Any, ...]:
        """The axes before the matrices. A batch of vectors is a matrix itself, which a constant alone may be multiplied by."""
        rank = max(len(left), len(right))
        if len(x) == 2 and is_batched(x):
            if is_batched(y) or len(y) > 2 or a_transposes(left, x):
                raise AcrossError("it multiplies across the rows of a batch")
            return ()
        if len(y) == 2 and is_batched(y):
            raise AcrossError("it multiplies across the rows of a batch")
        for one, matrix in ((x, left), (y, right)):
            if is_batched(one) and len(matrix) != rank:
                raise AcrossError("it multiplies the rows of one tensor by other axes of the other")
            if not is_batched(one) and len(matrix) == rank and rank > 2 and matrix[0] != 1:
                raise AcrossError(f"a tensor of shape {tuple(one)} is for a batch of {matrix[0]} rows")
        padded = [(1,) * (rank - len(matrix)) + matrix[:-2] for matrix in (left, right)]
        sizes = [joined_size(each, what) for each in zip(*padded, strict=True)]
        return ((x if is_batched(x) else y)[0], *sizes[1:])

    def shapes_across(self, a: Arguments) -> tuple[Operand, ...] | None:
        x, y = (tuple(one) for one in two_tensors(a))
        if not x or not y:
            raise MisfitError(f"tensors of shapes {x} and {y} are not multiplied")
        left, right = self._matrix(x, a["transpose_a"]), self._matrix(y, a["transpose_b"], column=True)
        what = f"tensors of shapes {x} and {y} are not multiplied"
        ahead = max(len(left), len(right)) - 2
        outer = [(1,) * (ahead + 2 - len(one)) + one[:-2] for one in (left, right)]
        sizes = [joined_size(each, what) for each in zip(*outer, strict=True)]
        return ((*sizes, *(() if len(x) == 1 else (left[-2],)), *(() if len(y) == 1 else (right[-1],))),)

    def stepwise(self, a: Arguments) -> bool:
        x, y = two_tensors(a)
        return len(x) > 2 and not is_batched(y) and len(y) < 3 and not (a["transpose_a"] and len(x) == 3)

    def stepwise_beside(self, a: Arguments, steps: Arguments) -> bool:
        """Scores of a query's steps, or what they weigh: matrices that stay are on the right."""
        x, _ = two_tensors(a)
        return steps["x1"] is True and steps["x2"] is not True and len(x) > 2 and not (a["transpose_a"] and len(x) == 3)

    def compute(self, a: Arguments) -> Any:
        x, y = a["x1"], a["x2"]
        x = np.swapaxes(x, -1, -2) if a["transpose_a"] and x.ndim > 1 else x
        y = np.swapaxes(y, -1, -2) if a["transpose_b"] and y.ndim > 1 else y
        return x @ y

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        x, y = a["x1"], a["x2"]
        if isinstance(x, Value) and isinstance(y, Unbatched) and len(y) == 2 and not a["transpose_a"] and y.value is not None:
            matrix = np.asarray(y.value.T if a["transpose_b"] else y.value, np.float32)
            return only(arithmetic.weighted(w.builder, w.layer, "x2", x, lambda: matrix, matrix.shape))
        if not isinstance(x, Value) or not isinstance(y, Value):
            return None
        if min(len(x.shape), len(y.shape)) < 2:
            return None
        return only(arithmetic.product(w.builder, x, y, bool(a["transpose_a"]), bool(a["transpose_b"])))


def a_transposes(matrix: tuple[Any, ...], x: tuple[Any, ...]) -> bool:
    """Was a batch of vectors transposed?"""
    return matrix != tuple(x)


class Dot(MatMul):
    """NumPy's dot: the last axis of one with the last but one of the other, whatever other axes there are."""

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x, y = two_tensors(a)
        if is_batched(y) or (is_batched(x) and (len(y) > 2 or len(x) < 2)):
            raise AcrossError("it multiplies each row by all others")
        return super().shapes(a)

    def shapes_across(self, a: Arguments) -> tuple[Operand, ...] | None:
        if len(two_tensors(a)[1]) > 2:
            raise MisfitError("it multiplies each row by all others of a tensor of more than two axes")
        return super().shapes_across(a)


class Contraction(Meaning):
    """The base of sums of products that einsum can say."""

    def said(self, a: Arguments, ranks: Sequence[int]) -> tuple[str, list[Any]]:
        """The subscripts for operands of such ranks, and the operands."""
        raise NotImplementedError

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        operands = self.operands(a)
        subscripts, inputs, output, sizes = self._sizes(a, operands)
        rows = {letters[0] for letters, operand in zip(inputs, operands, strict=True) if is_batched(operand)}
        if not rows:
            bounded([sizes[letter] for letter in output])
            return (Unbatched.of(np.einsum(subscripts, *values_of(*operands))),)
        self._check_rows(subscripts, rows, inputs, output, operands)
        return (tuple(sizes[letter] for letter in output),)

    def _sizes(self, a: Arguments, operands: Sequence[Any]) -> tuple[str, list[str], str, dict[str, int | None]]:
        """Subscripts, the letters of each operand and of the output, and the size that each letter stands for."""
        subscripts = self.said(a, [len(operand) for operand in operands])[0]
        inputs, output = parsed(subscripts, [len(operand) for operand in operands])
        sizes: dict[str, int | None] = {}
        for letters, operand in zip(inputs, operands, strict=True):
            for letter, size in zip(letters, operand, strict=True):
                known = sizes.get(letter)
                if known is not None and size is not None and known != size and 1 not in (known, size):
                    raise MisfitError(f"{subscripts}: tensors of shapes {', '.join(map(str, map(tuple, operands)))} do not go together")
                sizes[letter] = size if known in (None, 1) else known
        return subscripts, inputs, output, sizes

    def shapes_across(self, a: Arguments) -> tuple[Operand, ...] | None:
        _, _, output, sizes = self._sizes(a, self.operands(a))
        return (tuple(sizes[letter] for letter in output),)

    def _goes_by_steps(self, a: Arguments, steps: Sequence[Any]) -> bool:
        """Does the output have the timesteps (axis 1) of those tensors that have any, and are they in no other?"""
        _, inputs, output, _ = self._sizes(a, self.operands(a))
        times = {letters[1:2] for letters, one in zip(inputs, steps, strict=True) if one is True}
        stay = "".join(letters for letters, one in zip(inputs, steps, strict=True) if one is not True)
        return len(times) == 1 and "" not in times and output[1:2] in times and not times & set(stay)

    def stepwise(self, a: Arguments) -> bool:
        return self._goes_by_steps(a, [is_batched(one) for one in self.operands(a)])

    def stepwise_beside(self, a: Arguments, steps: Arguments) -> bool:
        return self._goes_by_steps(a, self.arrays(steps))

    def _check_rows(self, subscripts: str, rows: set[str], inputs: list[str], output: str, operands: Sequence[Any]) -> None:
        """Refuse sums across the rows of a batch."""
        for letters, operand in zip(inputs, operands, strict=True):
            if len(rows) > 1 or rows & set(letters[1:]) or (not is_batched(operand) and rows & set(letters)):
                raise AcrossError(f"{subscripts} multiplies across the rows of a batch")
        if output[:1] not in rows or rows & set(output[1:]):
            raise AcrossError(f"{subscripts} sums over the batch, or gives it another place")

    def operands(self, a: Arguments) -> list[Any]:
        """The tensors."""
        return list(two_tensors(a))

    def arrays(self, a: Arguments) -> list[np.ndarray]:
        """The tensors, as ``compute`` is given them."""
        return [a["x1"], a["x2"]]

    def compute(self, a: Arguments) -> Any:
        arrays = self.arrays(a)
        return np.einsum(self.said(a, [array.ndim for array in arrays])[0], *arrays, optimize=len(arrays) > 2)


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def parsed(subscripts: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each operand, and those of the output."""
    text = subscripts.replace(" ", "")
    if not re.fullmatch(r"[a-zA-Z.]+(,[a-zA-Z.]+)*(->[a-zA-Z.]*)?", text):
        raise MisfitError(f"subscripts {subscripts!r:.80}")
    left, arrow, output = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(ranks):
        raise MisfitError(f"subscripts {subscripts!r:.80} are for {len(inputs)} tensors, found {len(ranks)}")
    free = [letter for letter in LETTERS if letter not in text]
    most = max((rank - len(one.replace("...", "")) for one, rank in zip(inputs, ranks, strict=True) if "..." in one), default=0)
    if most < 0 or most > len(free):
        raise MisfitError(f"subscripts {subscripts!r:.80} do not fit")
    rest = "".join(free[:most])
    found = [
        one.replace("...", rest[most - rank + len(one.replace("...", "")) :] if "..." in one else "")
        for one, rank in zip(inputs, ranks, strict=True)
    ]
    if any("." in one or len(one) != rank or len(set(one)) < len(one) for one, rank in zip(found, ranks, strict=True)):
        raise MisfitError(f"subscripts {subscripts!r:.80} do not fit tensors of {' and '.join(map(str, ranks))} axes")
    if not arrow:
        joined = "".join(found)
        output = rest + "".join(sorted({letter for letter in joined if joined.count(letter) == 1 and letter not in rest}))
    output = output.replace("...", rest)
    if "." in output or set(output) - set("".join(found)) or len(set(output)) < len(output):
        raise MisfitError(f"subscripts {subscripts!r:.80} do not say where their output comes from")
    return found, output


class Einsum(Contraction):
    """Sums of products along the axes that letters name."""

    tensors = ("operands",)

    def said(self, a: Arguments, ranks: Sequence[int]) -> tuple[str, list[Any]]:
        inputs, output = parsed(str(a["subscripts"]), ranks)
        return f"{','.join(inputs)}->{output}", []

    def operands(self, a: Arguments) -> list[Any]:
        return tensor_list(a["operands"], "operands")

    def arrays(self, a: Arguments) -> list[np.ndarray]:
        return list(a["operands"])

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        given = a["operands"]
        if len(given) != 2 or not all(isinstance(one, Value) for one in given):
            return None
        inputs, output = parsed(str(a["subscripts"]), [len(one.shape) + 1 for one in given])
        value = contracted(w, given, [letters[1:] for letters in inputs], output[1:])
        return None if value is None else (value,)


def contracted(w: Writing, given: Sequence[Value], inputs: Sequence[str], output: str) -> Value | None:
    """Two tensors' products summed, by letters less the batch's, as one product of matrices; None where it is none."""
    x, y = inputs
    shared = [letter for letter in x if letter in y and letter in output]
    summed = [letter for letter in x if letter in y and letter not in output]
    mine, theirs = ([letter for letter in one if letter not in other] for one, other in ((x, y), (y, x)))
    if set(mine + theirs) - set(output):
        return None
    sizes = {letter: size for letters, one in zip(inputs, given, strict=True) for letter, size in zip(letters, one.shape, strict=True)}
    if any(
        sizes[letter] != size for letters, one in zip(inputs, given, strict=True) for letter, size in zip(letters, one.shape, strict=True)
    ):
        return None

    def matrix(value: Value, letters: str, *groups: Sequence[str]) -> Value | None:
        order = tuple(letters.index(letter) for group in groups for letter in group)
        moved = value if order == tuple(range(len(order))) else copying.transposed(w.builder, value, order)
        if moved is None:
            return None
        outer = [sizes[letter] for letter in shared]
        shape = (*outer, *(int(np.prod([sizes[letter] for letter in group])) for group in groups[1:]))
        return Value(w.builder.read(moved), shape)

    left, right = matrix(given[0], x, shared, mine, summed), matrix(given[1], y, shared, summed, theirs)
    value = arithmetic.product(w.builder, left, right) if left is not None and right is not None else None
    if value is None:
        return None
    letters = [*shared, *mine, *theirs]
    value = Value(value.buffer, tuple(sizes[letter] for letter in letters))
    order = tuple(letters.index(letter) for letter in output)
    return value if order == tuple(range(len(order))) else copying.transposed(w.builder, value, order)


class TensorDot(Contraction):
    """Sums along pairs of axes: the last of one with the first of the other, or as they are named."""

    tensors = ("x1", "x2")

    def said(self, a: Arguments, ranks: Sequence[int]) -> tuple[str, list[Any]]:
        axes, (one, two) = a["axes"], ranks
        if isinstance(axes, Unbatched):
            axes = axes.value.astype(int).tolist() if axes.value is not None else axes
        if isinstance(axes, list) and len(axes) == 2:
            pairs = [
                [axis_of(axis, rank, batched=False) for axis in (given if isinstance(given, list) else [given])]
                for given, rank in zip(axes, ranks, strict=True)
            ]
        else:
            count = whole(axes, "axes")
            if not 0 <= count <= min(ranks):
                raise MisfitError(f"axes={count} of tensors of {one} and {two} axes")
            pairs = [list(range(one - count, one)), list(range(count))]
        if len(pairs[0]) != len(pairs[1]) or one + two > len(LETTERS):
            raise MisfitError(f"axes={axes!r:.60} of tensors of {one} and {two} axes")
        x, y = list(LETTERS[:one]), list(LETTERS[one : one + two])
        for mine, other in zip(*pairs, strict=True):
            y[other] = x[mine]
        out = [letter for letter in x if letter not in y] + [letter for letter in y if letter not in x]
        return f"{''.join(x)},{''.join(y)}->{''.join(out)}", []


TABLE = (
    row(
        "matmul(x1, x2, transpose_a=False, transpose_b=False)",
        MatMul(),
        keras3="Matmul(x1, x2)",
        tf=("linalg.matmul(a:x1, b:x2, transpose_a, transpose_b)", "matmul(a:x1, b:x2, transpose_a, transpose_b)"),
        op=(
            "MatMul(x1, x2; transpose_a, transpose_b)",
            "BatchMatMulV2(x1, x2; adj_x:transpose_a, adj_y:transpose_b)",
            "BatchMatMul(x1, x2; adj_x:transpose_a, adj_y:transpose_b)",
        ),
    ),
    row("dot(x1, x2, transpose_a=False, transpose_b=False)", Dot(), keras3="Dot(x1, x2)", tf="keras.backend.dot(x:x1, y:x2)"),
    row(
        "tensordot(x1, x2, axes=2)",
        TensorDot(),
        keras3="Tensordot",
        tf=("tensordot(a:x1, b:x2, axes)", "linalg.tensordot(a:x1, b:x2, axes)"),
    ),
    row(
        "einsum(subscripts, operands)",
        Einsum(),
        keras3="Einsum(subscripts, rest:operands)",
        tf=("einsum(equation:subscripts, inputs:operands)", "linalg.einsum(equation:subscripts, inputs:operands)"),
        op="Einsum(rest:operands; equation:subscripts)",
    ),
)
