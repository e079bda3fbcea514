"""Layers that fastlstm does not know: functions of the caller's, and a placeholder for layers that nobody supplied."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..catalogue import Role, row_of
from ..errors import InputError, Problem, UnsupportedError
from ..spec import LayerSpec, Shape, found_in
from .base import Context, Layer, States, Tensor, changed, floating
from .places import plain
from .supplied import Supplied

#: Advice about layers that are not known.
SUPPLY_LAYER = "supply it as a function of NumPy arrays, in Python: fastlstm.load(..., custom_layers={{{!r}: function}})"
SUPPLY_WHOLE = (
    "supply the layer around it, as a whole, as a function of NumPy arrays, in Python: fastlstm.load(..., custom_layers={{{!r}: function}})"
)
SAVE_THE_REST = "save the layers after it as a model of their own, in Keras, and give predict the numbers that this layer makes of the text"

#: Trials have batches of these two sizes, and these timesteps where their number is open: larger ones for functions that need them.
ROWS = (1, 2)
STEPS = ((3, 5, 32, 48), (384, 512))
#: Numbers in a row of a trial, at most.
LARGEST_TRIAL = 1 << 24


class Custom(Layer):
    """A layer that the caller supplied as a function of NumPy arrays.

    The function gets the input arrays, batch first, and the call arguments that are tensors by name, and returns an array or a
    tuple of arrays, batch first. It computes each row by itself: it is called with any number of rows. If it has parameters
    named ``config`` or ``weights`` it gets the layer's config and arrays from the file too. Its outputs carry no mask.
    """

    def __init__(self, spec: LayerSpec, context: Context, supplied: Supplied):
        super().__init__(replace(spec, config={}), context)
        self.spec, self.config = spec, spec.config
        self._supplied = supplied
        self._place = f"{self.source}: layer {self.path!r} ({spec.class_name})"
        self._weights = tuple(map(read_only, arrays_in(spec)))
        extras = {"config": config_of(spec), "weights": self._weights}
        self._extras = {name: value for name, value in extras.items() if supplied.takes(name)}
        self._known: list[tuple[Sequence[Shape], tuple[Shape, ...]]] = []

    def count_params(self) -> int:
        return sum(array.size for array in self._weights)

    def _call(self, arrays: Sequence[np.ndarray], keywords: Mapping[str, Any], dtype: Any, rows: int) -> tuple[np.ndarray, ...]:
        """The function's outputs, checked as far as one call can tell."""
        words = {name: value for name, value in keywords.items() if name in self._supplied.tensors or self._supplied.takes(name)}
        outputs = self._supplied.call(self._place, arrays, {**self._extras, **words}, dtype)
        if len(outputs) < self._supplied.outputs:
            raise self._wrong(f"returned {len(outputs)} arrays; the model makes use of {self._supplied.outputs}")
        for output in outputs:
            if output.shape[:1] != (rows,):
                raise self._wrong(
                    f"was called with {rows} rows ({', '.join(str(array.shape) for array in arrays)}) and returned an array of shape "
                    f"{output.shape}; expected a row for each: ({rows}, ...)"
                )
        self._supplied.check_rows(self._place, arrays, outputs, lambda row: self._call(*some(row, arrays, keywords), dtype, 1))
        return outputs

    def _wrong(self, what: str) -> InputError:
        return self._supplied.error(self._place, what)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        # Trials that differ in every unknown size tell which sizes of the outputs are unknown.
        tensors = {name: value for name, value in keywords.items() if name in self._supplied.tensors}
        given = (tuple(inputs), tensors)
        known = all(n is not None for shape in shapes_in(given) for n in shape[1:])
        found: list[tuple[np.ndarray, ...]] = []
        errors: list[InputError] = []
        for sizes in STEPS[:1] if known else STEPS:
            for size in sizes[:1] if known else sizes:
                if found and largest(given, size) > LARGEST_TRIAL:
                    continue
                try:
                    found += [self._trial(given, keywords, rows, size) for rows in ROWS]
                except InputError as error:
                    errors.append(error)
            if len(found) > len(ROWS):
                break
        if len(found) <= (0 if known else len(ROWS)):
            raise errors[0]
        outputs = self._agreed(inputs, found)
        if self._told(inputs) is None:
            self._known.append((tuple(inputs), outputs))
        return outputs

    def _trial(self, given: Any, keywords: Mapping[str, Any], rows: int, size: int) -> tuple[np.ndarray, ...]:
        self.context.budget.lend(f"layer {self.path!r}: a trial of {self._supplied.said}", rows * bytes_of(given, size))
        arrays, words = zeros(given, rows, size)
        return self._call(arrays, {**keywords, **words}, np.float32, rows)

    def _agreed(self, inputs: Sequence[Shape], found: Sequence[tuple[np.ndarray, ...]]) -> tuple[Shape, ...]:
        ranks = {tuple(output.ndim for output in outputs) for outputs in found}
        if len(ranks) > 1:
            told = " or ".join(" and ".join(str(output.shape) for output in outputs) for outputs in found[:4])
            raise self._wrong(f"returned {told}; expected as many arrays of as many axes every time")
        batch = inputs[0][0] if inputs else None
        return tuple(
            (batch, *(sizes[0] if len(set(sizes)) == 1 else None for sizes in zip(*(array.shape[1:] for array in output), strict=True)))
            for output in zip(*found, strict=True)
        )

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        arrays = [tensor.value for tensor in inputs]
        words = {name: changed(value, Tensor, lambda tensor: tensor.value) for name, value in keywords.items()}
        tensors = [*inputs, *found_in(keywords, Tensor)]
        if not tensors:
            raise self._wrong("is called without a tensor; expected at least one")
        rows, dtype = len(tensors[0].value), floating(tensors[0].value).dtype
        if not rows:  # not every function can do without any
            arrays = [one_row(array) for array in arrays]
            words = {name: changed(value, np.ndarray, one_row) for name, value in words.items()}
        outputs = self._call(arrays, words, dtype, rows or 1)
        self._check([array.shape for array in arrays], outputs)
        return tuple(Tensor(array[:rows]) for array in outputs)

    def _check(self, given: Sequence[tuple[int, ...]], outputs: Sequence[np.ndarray]) -> None:
        """Refuse outputs of other shapes than the trials had for such inputs."""
        expected, found = self._told(given), [output.shape for output in outputs]
        if expected is not None and (len(found) != len(expected) or not all(map(fits, found, expected))):
            told, wanted = (" and ".join(map(str, shapes)) for shapes in (found, expected))
            raise self._wrong(f"returned {told} for {', '.join(map(str, given))}; expected {wanted}, as when the model was loaded")

    def _told(self, given: Sequence[Shape]) -> tuple[Shape, ...] | None:
        """The shapes that the trials had for such inputs."""
        for inputs, outputs in self._known:
            if len(inputs) == len(given) and all(map(fits, given, inputs)):
                return outputs
        return None


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to."""
    view = array.view()
    view.setflags(write=False)
    return view


def arrays_in(spec: LayerSpec) -> Iterator[np.ndarray]:
    """The arrays of a layer and of all that it wraps, in order."""
    yield from spec.weights
    for inner in [*spec.children, *(spec.model.layers if spec.model is not None else ())]:
        yield from arrays_in(inner)


def config_of(spec: LayerSpec) -> dict[str, Any]:
    """A layer's config with those of the layers that it wraps, under Keras's names."""

    def entry(inner: LayerSpec) -> dict[str, Any]:
        return {"class_name": inner.class_name, "config": config_of(inner)}

    config, row = dict(spec.config), row_of(spec.class_name)
    if spec.model is not None:
        config["layers"] = [entry(inner) for inner in spec.model.layers]
    elif row.role is Role.STACK:
        config["cells"] = [entry(inner) for inner in spec.children]
    else:
        names = row.wraps if len(row.wraps) == 1 else ("layer", "backward_layer")
        config |= {name: entry(inner) for name, inner in zip(names, spec.children, strict=False)}
    return config


# -- shapes, and what stands for them -----------------------------------------------------------------------------------------


def is_shape(value: Any) -> bool:
    """Whether this is one shape, not several."""
    return isinstance(value, tuple) and all(size is None or isinstance(size, int) for size in value)


def shapes_in(value: Any) -> Iterator[Shape]:
    """The shapes in the inputs and call arguments of a layer."""
    if is_shape(value) and value:
        yield value
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from shapes_in(inner)
    elif isinstance(value, Mapping):
        yield from shapes_in(tuple(value.values()))


def sized(shape: Shape, rows: int, size: int) -> tuple[int, ...]:
    """A shape with its batch and its unknown sizes filled in."""
    return (rows, *(size if n is None else n for n in shape[1:]))


def zeros(given: Any, rows: int, size: int) -> Any:
    """Arrays for the shapes in the inputs and call arguments of a layer."""
    if is_shape(given) and given:
        return np.zeros(sized(given, rows, size), np.float32)
    if isinstance(given, Mapping):
        return {name: zeros(value, rows, size) for name, value in given.items()}
    return tuple(zeros(inner, rows, size) for inner in given)


def bytes_of(given: Any, size: int) -> int:
    """Bytes of a row of the arrays of :func:`zeros`, and of the copies that a function gets and gives."""
    return 3 * 4 * sum(math.prod(sized(shape, 1, size)) for shape in shapes_in(given))


def largest(given: Any, size: int) -> int:
    """Numbers in a row of the largest array of :func:`zeros`."""
    return max((math.prod(sized(shape, 1, size)) for shape in shapes_in(given)), default=0)


def some(row: slice, arrays: Sequence[np.ndarray], keywords: Mapping[str, Any]) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Some rows of the inputs and call arguments of a layer."""
    words = {name: changed(value, np.ndarray, lambda array: array[row]) for name, value in keywords.items()}
    return [array[row] for array in arrays], words


def one_row(array: np.ndarray) -> np.ndarray:
    """A row of zeros like those of an array."""
    return np.zeros((1, *array.shape[1:]), array.dtype)


def fits(found: Shape, expected: Shape) -> bool:
    """Whether a shape is one of those that another, with unknown sizes, stands for, the batch aside."""
    return len(found) == len(expected) and all(m is None or n == m for n, m in zip(found[1:], expected[1:], strict=True))


class Unknown(Layer):
    """Stands in the graph for a layer that nobody supplied, so that the rest of the file can still be looked at."""

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(replace(spec, config={}), context)
        self.spec, self.config = spec, spec.config
        place = context.places.get(self.path)
        what = f"layers of class {spec.class_name} are not known"
        if row_of(plain(spec.class_name)).role is Role.TEXT or (place is not None and place.text):
            self.refuse(f"{what}, and predict takes numbers, not text", SAVE_THE_REST)
        elif place is not None and place.whole != place.path:
            self.refuse(what, SUPPLY_WHOLE.format(place.whole))
        elif self.row.role is Role.CODE:
            self.refuse("its code is stored in the file and is never executed", SUPPLY_LAYER.format(self.path))
        else:
            self.refuse(what, SUPPLY_LAYER.format(self.path))

    def _problem(self) -> UnsupportedError:
        return UnsupportedError(self.source, (Problem(self.path, self.spec.class_name, "layers of this class are not known"),))

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        raise self._problem()

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        raise self._problem()
