"""The layer that stands for an operation of a graph, ``x[:, -1] + y``; what each means stands in ``fastlstm/operations``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..operations.indexing import GetItem, OutOfRangeError
from ..operations.making import Full
from ..operations.meaning import Writing
from ..operations.operands import AcrossError, MisfitError, NotComputedError, Operand, Rows, Unbatched, is_batched
from ..operations.table import OPERATIONS
from ..program.arithmetic import floats
from ..program.ir import Buffer, Builder, Mask, Value
from ..spec import LayerSpec, Shape
from .base import CROSSES, NEEDS_MORE, Context, Course, Flow, Layer, States, Tensor

#: Advice about operations that are not known.
SUPPLY = "supply it as a function of NumPy arrays, in Python: fastlstm.load(..., custom_layers={{{!r}: function}})"
#: Rows, and sizes of axes that are not known, of the trials of what goes across rows; and how many times its inputs it may take.
TRIALS = ((2, 3), (5, 7))
TRIED = 8
#: The dtypes that operations compute in.
FLOATS = (np.float32, np.float64, np.complex64, np.complex128)
#: Why some cannot run in a stream.
UNLIKE_STEPS = "it takes timesteps together with a tensor that has other ones, which is not computed step by step here"


class GraphOperation(Layer):
    """An operation with its arguments: numbers, tensors by their places, constants by theirs."""

    CLASSES = ("Operation",)
    HONOURED = frozenset({"operation", "arguments", "unread"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.name = str(self.config["operation"])
        row = OPERATIONS.get(self.name)
        self.arguments: Mapping[str, Any] = {}
        if "unread" in self.config or row is None:
            self.refuse(str(self.config.get("unread", f"the operation {self.name} is not known")), SUPPLY.format(self.path))
            self.meaning = None
            return
        self.meaning = row.meaning
        self.arguments = row.bound(dict(self.config["arguments"]))
        self.most_bytes = context.budget.limit  # as it is while a file is read: nothing bounds what a caller gives later

    def count_params(self) -> int:
        return 0

    # -- its arguments ----------------------------------------------------------------------------------------------------

    def _filled(self, given: Sequence[Any], constant: Callable[[int], Any]) -> dict[str, Any]:
        return {name: filled(value, given, constant) for name, value in self.arguments.items()}

    def _constant(self, number: int) -> Unbatched:
        return Unbatched.of(self.spec.weights[number])

    def _operands(self, inputs: Sequence[Any]) -> dict[str, Any]:
        return self._filled([shape if isinstance(shape, Unbatched) else tuple(shape) for shape in inputs], self._constant)

    # -- shapes -----------------------------------------------------------------------------------------------------------

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        return self._asked(lambda: self._by_row(inputs) or self._across_rows(inputs))

    def _by_row(self, inputs: Sequence[Shape]) -> tuple[Shape, ...] | None:
        """The output shapes where it computes each row by itself; None where it goes across those of a batch."""
        try:
            return tuple(self._meaning().shapes(self._operands(inputs)))
        except AcrossError:
            return None

    def crosses_rows(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> bool:
        return self._asked(lambda: self._by_row(inputs)) is None

    def _across_rows(self, inputs: Sequence[Shape]) -> tuple[Shape, ...]:
        """The output shapes of what goes across rows: trials of two sizes tell which axes are as long as they are whatever the batch."""
        operands = self._operands(inputs)
        told: tuple[Shape, ...] | None = self._meaning().shapes_across(operands)
        if told is not None:
            return told
        trials = []
        for rows, size in TRIALS:
            sizes = sum(math.prod(sized(one, rows, size)) for one in inputs if not isinstance(one, Unbatched))
            self.context.budget.lend(f"layer {self.path!r}: a trial", 4 * TRIED * sizes)
            given = [
                at_hand(one, rows, np.dtype(np.float32)) if isinstance(one, Unbatched) else np.zeros(sized(one, rows, size), np.float32)
                for one in inputs
            ]
            try:
                trials.append([array.shape for array in self._computed(self._filled(given, self._array), np.dtype(np.float32))])
            except (ValueError, TypeError, IndexError, NotImplementedError) as error:
                shapes = ", ".join(map(str, map(tuple, inputs)))
                raise NotComputedError(f"tensors of shapes {shapes} do not go together for a batch of {rows} rows ({error})") from error
        if len({(len(trial), *map(len, trial)) for trial in trials}) > 1:
            raise NotComputedError("how many tensors it gives depends on the number of rows of a batch")
        return tuple(tuple(n if n == m else None for n, m in zip(*pair, strict=True)) for pair in zip(*trials, strict=True))

    def _array(self, number: int) -> np.ndarray:
        return self.spec.weights[number]

    def _asked(self, ask: Callable[[], Any]) -> Any:
        try:
            with np.errstate(all="ignore"):  # NaN and infinities are data
                return ask()
        except NotComputedError as error:
            raise self.unsupported(f"{self.name}: {error}") from error
        except MisfitError as error:
            raise self.error(f"{self.name}: {error}") from error

    def _meaning(self) -> Any:
        if self.meaning is None:
            raise self.unsupported(f"the operation {self.name} is not known")
        return self.meaning

    # -- time -------------------------------------------------------------------------------------------------------------

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        if self.meaning is None or not all(map(is_batched, inputs)) or self.crosses_rows(inputs, {}):
            return False
        return bool(self.meaning.stepwise(self._operands(inputs)))

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        return self.stepwise(inputs) and len({shape[1] for shape in inputs}) == 1

    def course(self, inputs: Sequence[Flow], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> Course:
        steps, shapes = [given.steps for given in inputs], [given.shape for given in inputs]
        if any(steps) and self.crosses_rows(shapes, {}):
            return Course(tuple(Flow(shape, False) for shape in outputs), CROSSES)
        operands = self._operands(shapes)
        if not any(steps) or (isinstance(self.meaning, GetItem) and self.meaning.last_step(operands)):
            return Course(tuple(Flow(shape, False) for shape in outputs))
        if all(steps):
            obstacle = "" if self._meaning().stepwise(operands) else NEEDS_MORE
        else:
            beside = self._meaning().stepwise_beside(operands, self._filled(steps, lambda number: False))
            obstacle = "" if beside else UNLIKE_STEPS
        return Course(tuple(Flow(shape, not obstacle) for shape in outputs), obstacle)

    # -- numbers ----------------------------------------------------------------------------------------------------------

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        shapes = [x.value if isinstance(x.value, Unbatched) else shape_of(x.value) for x in inputs]
        batched = [computable(x.value) for x in inputs if not isinstance(x.value, Unbatched)]
        dtype = np.dtype(batched[0].real.dtype) if batched else np.dtype(np.float32)
        rows = next((len(array) for array in batched if array.ndim), None)
        rows = keywords.get("rows", told_rows(shapes)) if rows is None else rows
        declared = self.context.declared(self)
        told = self._asked(lambda: self._by_row(declared)) if declared else ()
        outputs: tuple[Operand, ...] = ((None,),) if told is None else self.shapes(shapes, {})
        # Once the number of rows is a number like another, what is made of it no longer looks like a batch.
        if not any(map(is_batched, (*outputs, *(told or ())))):
            without = [counted(shape, rows) for shape in outputs]
            if batched and any(one.of_rows and one.value is None for one in without):
                without = [Unbatched.of(self._meaning().compute(self._filled([x.value for x in inputs], self._array)))]
            return tuple(Tensor(one) for one in without)  # type: ignore[arg-type]  # a tensor without rows
        given = self._asked(
            lambda: [at_hand(x.value, rows, dtype) if isinstance(x.value, Unbatched) else computable(x.value) for x in inputs]
        )
        filled = self._filled(given, lambda number: self.cast(dtype)[number])
        if told is None and batched:
            self._check_growth(inputs, batched)
        if batched or not isinstance(self.meaning, Full):
            found = self._asked(lambda: self._computed(filled, dtype))
        else:
            known = outputs[0][0] if isinstance(outputs[0], Unbatched) else rows
            found = [self.meaning.made(known or 0, outputs[0], filled, dtype)]
        return tuple(Tensor(array, inputs[0].mask if self._meaning().passes_mask else None) for array in found)

    def _check_growth(self, inputs: Sequence[Tensor], batched: Sequence[np.ndarray]) -> None:
        """Refuse rows that the file asks for, as in ``tf.tile(x, (10**9, 1, 1))``, beyond what it may take: they stand in no row's size."""
        shapes = [x.value if isinstance(x.value, Unbatched) else x.value.shape for x in inputs]
        found = self._asked(lambda: self._meaning().shapes_across(self._operands(shapes))) or ()
        count, given = sum(math.prod(size or 1 for size in shape) for shape in found), sum(array.size for array in batched)
        needed = count * max(array.itemsize for array in batched)
        if needed > self.most_bytes and count > given:
            raise InputError(
                f"layer {self.path!r} ({self.name}): of a batch of shape {batched[0].shape} it would make {needed} bytes, where a model "
                f"may take {self.most_bytes}; give a smaller batch_size, or if you trust the file, load(..., max_bytes={needed})"
            )

    def _computed(self, filled: dict[str, Any], dtype: np.dtype[Any]) -> list[np.ndarray]:
        try:
            found = self._meaning().compute(filled)
        except OutOfRangeError as error:
            raise InputError(f"layer {self.path!r} ({self.name}): {error}") from error
        return [as_float(array, dtype) for array in (found if isinstance(found, tuple) else (found,))]

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        shapes = [(None, *value.shape) if value.known is None else value.known for value in inputs]
        outputs: tuple[Operand, ...] = self.shapes(shapes, {})
        if not any(map(is_batched, outputs)):
            return tuple(Value(Buffer(-1), (), known=shape) for shape in outputs)
        values: tuple[Value, ...] | None = None
        if not any(value.pairs for value in inputs):
            given = [floats(b, value) if value.known is None else value.known for value in inputs]
            values = self._asked(lambda: self._meaning().lower(Writing(b, self, outputs), self._filled(given, self._constant)))
        if values is None:
            values = b.call_numpy(Partly(self, tuple(inputs)), [value for value in inputs if value.known is None], {})
        mask = inputs[0].mask if self._meaning().passes_mask else self._padding(b, inputs, shapes)
        return tuple(value._replace(mask=mask) for value in values)

    def _padding(self, b: Builder, inputs: Sequence[Value], shapes: Sequence[Shape]) -> Mask | None:
        """The mask of its output where the caller gives sequences of different lengths: of their padding alone, which no Keras has."""
        padded = b.present is not None and any(value.mask is not None for value in inputs)
        return b.present if padded and self.stepwise(shapes) else None


class Partly(NamedTuple):
    """An operation with those of its inputs that have no rows: what is left of it to be called with data."""

    layer: GraphOperation
    inputs: tuple[Value, ...]

    @property
    def path(self) -> str:
        """The operation's."""
        return self.layer.path

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        """The operation's outputs."""
        waiting = iter(inputs)
        return self.layer.apply([next(waiting) if value.known is None else Tensor(value.known) for value in self.inputs], keywords, states)


def filled(value: Any, given: Sequence[Any], constant: Callable[[int], Any]) -> Any:
    """An argument with tensors and constants at their places."""
    if isinstance(value, Mapping):
        if set(value) == {"input"}:
            return given[value["input"]]
        if set(value) == {"array"}:
            return constant(value["array"])
        return {key: filled(inner, given, constant) for key, inner in value.items()}
    return [filled(inner, given, constant) for inner in value] if isinstance(value, (list, tuple)) else value


def shape_of(array: np.ndarray) -> Shape:
    """An array's shape as walks have it."""
    return (None, *array.shape[1:]) if array.ndim else ()


def sized(shape: Shape, rows: int, size: int) -> tuple[int, ...]:
    """A shape with its unknown sizes filled in."""
    return tuple((size if axis else rows) if n is None else n for axis, n in enumerate(shape))


def computable(array: np.ndarray) -> np.ndarray:
    """An array in a dtype that operations compute in."""
    return array if array.dtype in FLOATS else array.astype(np.float32)


def as_float(array: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """A result in the dtype that is computed in: whole numbers and truths too."""
    found = np.asarray(array)
    return found if found.dtype.kind == "c" else found.astype(dtype, copy=False)


def at_hand(operand: Unbatched, rows: int, dtype: np.dtype[Any]) -> Any:
    """A tensor without rows for a batch of so many: its numbers where they are known, else its sizes."""
    operand = counted(operand, rows)
    if operand.value is not None:
        return operand.value if operand.value.dtype.kind in "iu" and operand.value.ndim < 2 else operand.value.astype(dtype)
    raise MisfitError(f"a tensor of shape {tuple(operand)} is not known")


def counted(operand: Any, rows: int | None) -> Unbatched:
    """A tensor without rows, for a batch of so many."""
    if operand.sizes is None or rows is None:
        return operand  # type: ignore[no-any-return]
    sizes = [Rows(rows) if isinstance(size, Rows) and size.count is None else size for size in operand.sizes]
    return Unbatched.of_sizes(sizes, tuple(operand), operand.of_rows and None in sizes)


def told_rows(operands: Sequence[Any]) -> int | None:
    """The number of rows of the batch, where the sizes among some operands tell it."""
    sizes = [size for operand in operands if isinstance(operand, Unbatched) for size in operand.sizes or ()]
    return next((size.count for size in sizes if isinstance(size, Rows)), None)
