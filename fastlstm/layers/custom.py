"""Layers that fastlstm does not know: functions of the caller's, and a placeholder for layers that nobody supplied."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..catalogue import Role
from ..errors import InputError, Problem, UnsupportedError
from ..spec import LayerSpec, Shape, found_in
from ..support import shapes_of, takes
from .base import NEEDS_MORE, Context, Course, Flow, Layer, States, Tensor, changed, floating
from .placed import Placed
from .places import Place
from .supplied import Supplied

#: Advice about layers that are not known.
SUPPLY_LAYER = "supply it as a function of NumPy arrays, in Python: fastlstm.load(..., custom_layers={{{!r}: function}})"
SUPPLY_CELL = "supply it as a function of one timestep of NumPy arrays, in Python: fastlstm.load(..., custom_layers={{{!r}: function}})"
SUPPLY_CODE = "write what it computes with NumPy, in Python: fastlstm.load(..., custom_layers={{{!r}: lambda {}: ...}})"
SUPPLY_WHOLE = (
    "supply the layer around it, as a whole, as a function of NumPy arrays, in Python: fastlstm.load(..., custom_layers={{{!r}: function}})"
)
SAVE_THE_REST = "save the layers after it as a model of their own, in Keras, and give predict the numbers that this layer makes of the text"
BEGIN_BEHIND = "begin behind it, fastlstm.load(..., inputs=[{!r}]), and give predict what the function makes of the text"
#: A stream's refusal of a layer of the caller's.
SAY_STREAMING = (
    "its function does not say that each timestep of its output depends on that timestep alone (and on its states); "
    "if so, say it: @fastlstm.supports(streaming=True)"
)

NO_TENSOR = "is called without a tensor; expected at least one"

#: Trials have batches of these two sizes, and these timesteps where their number is open: larger ones for functions that need them.
ROWS = (1, 2)
STEPS = ((3, 5, 32, 48), (384, 512))
#: Numbers in a row of a trial, at most.
LARGEST_TRIAL = 1 << 24


class Batch(NamedTuple):
    """What a function is called with: a row of each for a row of the batch."""

    arrays: Sequence[np.ndarray]
    words: Mapping[str, Any] = {}  # call arguments by name
    masks: Sequence[np.ndarray | None] = ()  # one an array
    states: tuple[np.ndarray, ...] = ()

    def first(self) -> np.ndarray:
        """The first of its arrays."""
        return next(iter([*self.arrays, *found_in(self.words, np.ndarray)]))

    def rows(self) -> int:
        """How many there are."""
        return len(self.first())

    def part(self, steps: slice) -> Batch:
        """Some timesteps of it."""
        masks = [None if mask is None else mask[:, steps] for mask in self.masks]
        return self._replace(arrays=[array[:, steps] for array in self.arrays], masks=masks)

    def each(self, change: Any) -> Batch:
        """The same, each of its arrays changed."""
        words = {name: changed(value, np.ndarray, change) for name, value in self.words.items()}
        masks = [None if mask is None else change(mask) for mask in self.masks]
        return Batch([change(array) for array in self.arrays], words, masks, tuple(map(change, self.states)))


class Custom(Layer):
    """A layer that the caller supplied: ``f(*inputs, **tensors[, mask][, states][, config][, weights])``.

    The function gets the input arrays, batch first, and the call arguments that are tensors by name, and returns an array or a
    tuple of arrays, batch first. It computes each row by itself: it is called with any number of rows. If it has parameters
    of these names it gets more: ``config`` and ``weights``, the layer's config and arrays from the file; ``mask``, the mask of its
    input, bool (batch, timesteps) or None, or a list of those of several; and ``states``, a list of what it carries from timestep to
    timestep, (batch, units) each, and then it returns its outputs and its new states. See ``support.supports`` for what it may say of
    itself.
    """

    def __init__(self, spec: LayerSpec, context: Context, supplied: Supplied):
        super().__init__(replace(spec, config={}), context)
        self.spec, self.config = spec, spec.config
        self._supplied, self._support = supplied, supplied.support
        self._placed = Placed(spec, self.source, self.path, supplied)
        self._takes_mask = supplied.takes("mask")
        self._has_states = supplied.takes("states") and "states" not in supplied.tensors
        self.stateful = self._has_states and bool(self.config.get("stateful", False)) and self.rules.carries_state
        self._known: list[tuple[Sequence[Shape], tuple[Shape, ...]]] = []
        self._masked: dict[tuple[bool, ...], list[bool]] = {}

    def count_params(self) -> int:
        return sum(array.size for array in self._placed.weights)

    @property
    def makes_mask(self) -> bool:
        return callable(self._support.masks)

    # -- what it says of time ---------------------------------------------------------------------------------------------

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        return self._support.streaming and not self._has_states

    def causal(self, inputs: Sequence[Shape]) -> bool:
        return self._support.streaming

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        # The mask of the padding would not be there without it, and has to go on.
        return self.stepwise(inputs) and self._support.masks == "passes" and not self._takes_mask

    def course(self, inputs: Sequence[Flow], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> Course:
        steps = bool(inputs) and all(given.steps for given in inputs)
        if not any(given.steps for given in inputs) or (steps and self.causal([given.shape for given in inputs])):
            obstacle = "its states are kept along timesteps, and its input has none" if self._has_states and not steps else ""
            return Course(tuple(Flow(shape, steps and self._in_time(inputs[0].shape, shape)) for shape in outputs), obstacle)
        return Course(tuple(Flow(shape, False) for shape in outputs), SAY_STREAMING if steps else NEEDS_MORE)

    def _in_time(self, given: Shape, output: Shape) -> bool:
        """Has an output as many timesteps as the input? With states it may be one for the whole sequence."""
        if len(output) < 2 or output[1] != given[1]:
            return False
        return not self._has_states or given[1] is None or len(output) >= len(given)

    @property
    def recurrent(self) -> bool:
        return self._has_states

    def _sizes(self) -> tuple[int, ...]:
        """Units of each of its states."""

        return self._supplied.sizes(self.path, self._placed.sizes_without_trial) if self._has_states else ()

    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple((size,) for size in self._sizes())

    def state_names(self) -> tuple[str, ...]:
        return tuple(map(str, range(len(self._sizes()))))

    # -- calls ------------------------------------------------------------------------------------------------------------

    def _words(self, given: Batch) -> dict[str, Any]:
        """Those of what a batch holds that go by name."""
        words = {name: value for name, value in given.words.items() if name in self._supplied.tensors or self._supplied.takes(name)}
        if self._takes_mask:
            words["mask"] = self._mask_of(given)
        if self._has_states:
            words["states"] = list(given.states)
        return words

    def _mask_of(self, given: Batch) -> Any:
        return given.masks[0] if len(given.masks) == 1 else list(given.masks) or None

    def _call(self, given: Batch, dtype: Any) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """The function's outputs and new states, checked as far as one call can tell."""
        rows, found, states = given.rows(), self._placed.returned(given.arrays, self._words(given)), given.states
        if self._has_states:
            found, states = self._placed.pair(found, dtype, states)
        outputs = self._placed.arrays(found, dtype, rows, given.arrays)
        if len(outputs) < self._supplied.outputs:
            raise self._wrong(f"returned {len(outputs)} arrays; the model makes use of {self._supplied.outputs}")

        def alone(row: slice) -> Sequence[np.ndarray]:
            y, after = self._call(given.each(lambda array: array[row]), dtype)
            return (*y, *(after if self._has_states else ()))

        results = (*outputs, *(states if self._has_states else ()))
        self._supplied.check_rows(self._placed.place, given.arrays, results, alone)
        return outputs, states

    def _wrong(self, what: str) -> InputError:
        return self._placed.error(what)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        given = self._batch(inputs, keywords, states)
        rows, some = given.rows(), given if given.rows() else given.each(one_row)  # not every function can do without any
        outputs, after = self._call(some, floating(some.first()).dtype)
        self._check([array.shape for array in some.arrays], outputs)
        self._check_streaming(some, outputs)
        masks = self._masks(some, outputs)
        if states is not None and self.path in states:
            states[self.path] = tuple(state[:rows] for state in after)
        return tuple(Tensor(y[:rows], None if mask is None else mask[:rows]) for y, mask in zip(outputs, masks, strict=True))

    def _batch(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> Batch:
        if "mask" in keywords and not self._takes_mask:
            raise self._wrong("is given a mask, as the layer is in the file; expected a parameter named mask")
        if any(tensor.value.dtype == object for tensor in inputs):
            raise self._wrong(f"would be given text, and functions are given numbers alone: {BEGIN_BEHIND.format(self.path)}")
        words = {name: changed(value, Tensor, lambda tensor: tensor.value) for name, value in keywords.items() if name != "mask"}
        given = Batch([tensor.value for tensor in inputs], words, [tensor.mask for tensor in inputs])
        if not inputs and not any(True for _ in found_in(words, np.ndarray)):
            raise self._wrong(NO_TENSOR)
        if not self._has_states:
            return given
        x = floating(given.first())
        recorded = states[self.path] if states is not None and self.path in states else None
        start = recorded or tuple(np.zeros((len(x), size)) for size in self._sizes())
        return given._replace(states=tuple(state.astype(x.dtype, copy=False) for state in start))

    def _masks(self, given: Batch, outputs: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """The masks of its outputs, as it says."""
        none: list[np.ndarray | None] = [None] * len(outputs)
        if self._support.masks == "none":
            return none
        if callable(self._support.masks):
            return self._computed_masks(self._support.masks, given, outputs)
        return [*given.masks[: len(outputs)], *none[len(given.masks) :]]

    def _computed_masks(self, function: Any, given: Batch, outputs: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        words = {"mask": self._mask_of(given)} if takes(function, "mask") else {}
        found = self._placed.asked(function, given.arrays, words)
        masks = list(found) if isinstance(found, (list, tuple)) else [found]
        masks += [None] * (len(outputs) - len(masks))
        for mask, output in zip(masks, outputs, strict=False):
            if mask is not None and (np.shape(mask)[:1] != output.shape[:1] or np.asarray(mask).dtype != bool or np.ndim(mask) < 2):
                raise self._wrong(f"says by masks {type(mask).__name__} {np.shape(mask)}; expected None or bool (batch, timesteps)")
        there = [mask is not None for mask in masks[: len(outputs)]]
        if self._masked.setdefault(tuple(mask is not None for mask in given.masks), there) != there:
            raise self._wrong("gives a mask at some times and none at others, for the same masks of its inputs; expected one of both")
        return [None if mask is None else np.array(mask) for mask in masks[: len(outputs)]]

    def _check_streaming(self, given: Batch, outputs: Sequence[np.ndarray]) -> None:
        """Refuse a function that says streaming and gives other numbers timestep by timestep, as far as one call tells."""
        if not self._support.streaming or any(array.ndim < 2 or array.shape[1] < 2 for array in given.arrays):
            return
        dtype = floating(given.first()).dtype

        def apart() -> Sequence[np.ndarray]:
            first, states = self._call(given.part(slice(0, 1)), dtype)
            rest, _ = self._call(given.part(slice(1, None))._replace(states=states), dtype)
            return [
                np.concatenate(pair, axis=1) if self._in_time(given.arrays[0].shape, y.shape) else pair[1]
                for y, pair in zip(outputs, zip(first, rest, strict=True), strict=True)
            ]

        self._supplied.check_steps(self._placed.place, given.arrays, outputs, apart)

    # -- shapes -----------------------------------------------------------------------------------------------------------

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        tensors = {name: value for name, value in keywords.items() if name in self._supplied.tensors and name != "mask"}
        words = {name: value for name, value in keywords.items() if name != "mask"}
        given = (tuple(inputs), tensors)
        if not any(True for _ in shapes_in(given)):
            raise self._wrong(NO_TENSOR)
        said = self._support.output_shape
        outputs = self._said(said, inputs) if said is not None else self._agreed(inputs, self._trials(given, words))
        if said is not None and self._has_states:
            self._trial(given, words, ROWS[0], STEPS[0][0])  # which finds the sizes of its states
        if self._told(inputs) is None:
            self._known.append((tuple(inputs), outputs))
        return outputs

    def _said(self, said: Any, inputs: Sequence[Shape]) -> tuple[Shape, ...]:
        """The shapes of its outputs as it says them."""
        found = shapes_of(self._placed.asked(said, inputs) if callable(said) else said)
        if found is None or len(found) < self._supplied.outputs:
            wanted = f"that of each of {self._supplied.outputs} outputs" if self._supplied.outputs > 1 else "that of its output"
            raise self._wrong(f"says by output_shape {found or 'no shape'} for {', '.join(map(str, inputs))}; expected {wanted}")
        batch = inputs[0][0] if inputs else None
        return tuple((batch, *shape[1:]) for shape in found)

    def _trials(self, given: Any, keywords: Mapping[str, Any]) -> list[tuple[np.ndarray, ...]]:
        """What it makes of zeros. Trials that differ in every unknown size tell which sizes of the outputs are unknown."""
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
        return found

    def _trial(self, given: Any, keywords: Mapping[str, Any], rows: int, size: int) -> tuple[np.ndarray, ...]:
        """Its outputs for zeros, without masks; or with masks of all timesteps, if it does not do without."""
        self.context.budget.lend(f"layer {self.path!r}: a trial of {self._supplied.said}", rows * bytes_of(given, size))
        arrays, words = zeros(given, rows, size)
        batch = Batch(arrays, {**keywords, **words}, [None] * len(arrays))
        if not self._takes_mask:
            return self._tried(batch)
        try:
            return self._tried(batch)
        except InputError as error:
            masks = [np.ones(array.shape[:2], bool) if array.ndim > 1 else None for array in arrays]
            try:
                return self._tried(batch._replace(masks=masks))
            except InputError:
                raise error from None

    def _tried(self, given: Batch) -> tuple[np.ndarray, ...]:
        if not self._has_states:
            return self._call(given, np.float32)[0]
        rows, features = given.rows(), given.first().shape[-1]

        def attempt(sizes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
            return self._call(given._replace(states=tuple(np.zeros((rows, size), np.float32) for size in sizes)), np.float32)[0]

        seen = self._supplied.sizes(self.path, lambda: self._placed.tried_sizes(features, self.context.budget, attempt)[0])
        return attempt(seen)

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
        place, what = context.places.get(self.path), f"layers of class {spec.class_name} are not known"
        if context.lacks(self.path):
            return  # said of all functions at once
        if place is not None and place.text:
            self.refuse(f"{what}, and predict takes numbers, not text", SAVE_THE_REST)
        elif place is not None and place.whole != place.path:
            self.refuse(what, SUPPLY_WHOLE.format(place.whole))
        elif self.row.role is Role.CODE:
            self.refuse("its code is stored in the file and is never executed", SUPPLY_CODE.format(self.path, parameters_of(spec, place)))
        elif place is not None and place.cell:
            self.refuse(what, SUPPLY_CELL.format(self.path))
        else:
            self.refuse(what, SUPPLY_LAYER.format(self.path))

    def _problem(self) -> UnsupportedError:
        return UnsupportedError(self.source, (Problem(self.path, self.spec.class_name, "layers of this class are not known"),))

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        raise self._problem()

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        raise self._problem()


def parameters_of(spec: LayerSpec, place: Place | None) -> str:
    """The parameters of a function in place of code: one for each tensor, and the config where that holds arguments of the code."""
    inputs = 1 if place is None else max(place.inputs, 1)
    names = ["x"] if inputs == 1 else [f"x{number}" for number in range(1, inputs + 1)]
    return ", ".join([*names, *(["config"] if spec.config.get("arguments") else [])])
