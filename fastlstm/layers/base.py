"""What every layer is: a class that reads its config, says its shapes, means something in NumPy, and may become kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .. import activations
from ..catalogue import Weight, row_of
from ..errors import FormatError, InputError, Problem, UnsupportedError
from ..limits import Budget
from ..program.ir import Builder, Value
from ..spec import LayerSpec, Rules, Shape
from .supplied import Place, Supplied, agree, name_of

#: Config keys that change nothing at inference in any layer.
INERT = frozenset({
    "name", "trainable", "dtype", "batch_input_shape", "batch_shape", "input_dtype", "input_dim", "input_length", "input_shape",
    "activity_regularizer", "autocast", "registered_name",
})  # fmt: skip

#: Keras class name -> the class that gives it meaning. Filled as subclasses are defined.
REGISTRY: dict[str, type[Layer]] = {}

#: Of what layers may do along other axes than the first.
ACROSS = "goes across the rows of a batch, and here each row is computed by itself"

#: Advice about an activation that is not known.
SUPPLY_ACTIVATION = "supply it as a function of a NumPy array, in Python: fastlstm.load(..., custom_activations={{{!r}: function}})"

States = dict[str, tuple[np.ndarray, ...]]  # by layer path: what layers carry from call to call, batch first


class Streaming(States):
    """States of a stream: masked steps before the first valid one repeat the output that led to them."""


def inert(*names: str) -> frozenset[str]:
    """The config keys of how arrays of these names are made and trained."""
    return frozenset(f"{name}_{what}" for name in names for what in ("initializer", "regularizer", "constraint"))


def floating(array: np.ndarray) -> np.ndarray:
    """The array in the dtype that a layer computes in: its own, or float32 for integers."""
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def numbers_in(*shapes: Shape) -> int:
    """How many numbers a row has in tensors of some shapes, sizes that are not known taken as one."""
    return sum(math.prod(size or 1 for size in shape[1:]) for shape in shapes)


def nonzero(array: np.ndarray) -> np.ndarray:
    """Which numbers TensorFlow takes for others than 0: it counts those below the normal range of float32 and float64 as 0."""
    if array.dtype not in (np.float32, np.float64):
        return array != 0
    return np.abs(array) >= np.finfo(array.dtype).tiny


def flushed(array: np.ndarray) -> np.ndarray:
    """The numbers as TensorFlow's threads read them: those below the normal range as 0."""
    if array.dtype not in (np.float32, np.float64):
        return array
    return np.where(np.abs(array) < np.finfo(array.dtype).tiny, array.dtype.type(0), array)


class Tensor(NamedTuple):
    """A value and its mask while ``apply`` runs."""

    value: np.ndarray  # (batch, ...)
    mask: np.ndarray | None = None  # bool (batch, timesteps), True = valid


@dataclass
class Context:
    """What layers are built with; collects everything that stands in the way instead of stopping at the first."""

    source: str  # the file, for messages
    rules: Rules
    custom_layers: Mapping[str, Supplied] = field(default_factory=dict)  # by path
    custom_activations: Mapping[str, Supplied] = field(default_factory=dict)  # by place: "lstm:recurrent_activation"
    places: Mapping[str, Place] = field(default_factory=dict)  # by path: every layer of the model
    activation_names: Mapping[str, str] = field(default_factory=dict)  # by place: what custom_activations may call what stands there
    problems: list[Problem] = field(default_factory=list)
    path: str = ""  # of the enclosing model or wrapper, with a trailing "/" where not empty
    budget: Budget = field(default_factory=Budget.unlimited)  # what loading may cost


class Layer:
    """One layer of a loaded model.

    A subclass sets ``CLASSES`` and ``HONOURED``, and defines ``shapes`` and ``apply``; the facts of its classes stand in the catalogue.
    That already works. With ``lower`` it runs in kernels, without Python.
    """

    #: Names of the Keras classes that this one gives meaning to.
    CLASSES: ClassVar[tuple[str, ...]] = ()
    #: Config keys whose meaning it carries out.
    HONOURED: ClassVar[frozenset[str]] = frozenset()
    #: Config keys, besides the common ones, that change nothing at inference.
    INERT: ClassVar[frozenset[str]] = frozenset()
    #: Where it reads its input as integer ids: they must be below this.
    vocabulary: int | None = None
    #: Does it carry state from call to call (Keras's ``stateful=True``)?
    stateful: bool = False
    #: Does each timestep of the output depend on the same timestep of the input alone?
    per_step: bool = False
    #: Does its activation compute each place by itself, along all axes but the last? All of Keras's do.
    acts_apart: bool = True
    #: Does it compute what it wraps for each timestep by itself, from nothing?
    steps_apart: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in cls.CLASSES:
            REGISTRY[name] = cls

    def __init__(self, spec: LayerSpec, context: Context):
        self.spec = spec
        self.row = row_of(spec.class_name)
        self.config = spec.config
        self.rules = context.rules
        self.source = context.source
        self.path = context.path + spec.name
        self.context = context
        self._watched: set[str] = set()
        self._cast: dict[np.dtype[Any], tuple[np.ndarray, ...]] = {}
        for key in spec.config:
            if key not in self.HONOURED and key not in self.INERT and key not in INERT:
                self.refuse(f"argument {key}={spec.config[key]!r} is not known", "please report the file")

    @property
    def kept(self) -> tuple[Weight, ...]:
        """The arrays that Keras keeps for it, in file order."""
        return self.row.arrays(self.config) if self.row.arrays is not None else ()

    @property
    def makes_mask(self) -> bool:
        """Does it make a mask of what it reads?"""
        return self.row.makes_mask(self.config)

    @property
    def ragged(self) -> bool:
        """Is a row with masked steps behind its end computed as the same row without them?"""
        return self.per_step

    @property
    def children(self) -> tuple[Layer, ...]:
        """The layers that it wraps."""
        return ()

    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes, less the batch, of what it carries from step to step."""
        return ()

    def state_names(self) -> tuple[str, ...]:
        """Names of what it carries."""
        return ()

    def count_params(self) -> int:
        """Number of weights, those of the layers that it wraps too."""
        return sum(array.size for array in self.spec.weights) + sum(child.count_params() for child in self.children)

    def refuse(self, what: str, advice: str = "") -> None:
        """Note a problem of this layer; the model will be refused with all of them."""
        self.context.problems.append(Problem(self.path, self.spec.class_name, what, advice))

    def only(self, key: str, *allowed: Any) -> None:
        """Refuse the layer unless a config key, where present, has one of the values that are computed."""
        value = self.config.get(key, allowed[0])
        if value not in allowed:
            self.refuse(f"argument {key}={value!r} is not computed")

    def activation(self, key: str, default: str = "linear") -> tuple[Any, activations.Function]:
        """The canonical activation of a config key and its NumPy meaning.

        A function that the caller supplied goes before the one that Keras has by that name, as in Keras.
        """
        value = self.config.get(key, default)
        name, place = name_of(value), f"{self.path}:{key}"
        supplied = self.context.custom_activations.get(place)
        if supplied is not None:
            where = f"{self.source}: {key} of layer {self.path!r} ({self.spec.class_name})"
            return {"name": name, "custom": True}, partial(self._activated, supplied, where, value)
        if isinstance(value, Mapping) and value.get("axis") == 0:
            self.refuse(f"{key} {name!r} {ACROSS}")
        try:
            return value, activations.function(value)
        except (ValueError, KeyError, TypeError):
            known = self.context.activation_names.get(place, name)
            self.refuse(f"{key} {name!r} is not known", SUPPLY_ACTIVATION.format(known))
            return "linear", activations.linear

    def _activated(self, supplied: Supplied, where: str, value: Any, x: np.ndarray) -> np.ndarray:
        if not len(x):  # not every function can do without any
            return np.zeros((*x.shape[:-1], activations.output_features(value, x.shape[-1])), x.dtype)
        y = supplied.activation(where, value, x)
        if self.acts_apart and x.ndim > 2 and where not in self._watched and x.size and not np.all(x == x.flat[0]):
            self._watched.add(where)
            try:
                apart = supplied.activation(where, value, x.reshape(-1, x.shape[-1]))
            except InputError:
                apart = y[:0]
            if not agree(y.reshape(-1, y.shape[-1]), apart):
                self.acts_apart = self.per_step = False
        return y

    def cast(self, dtype: Any) -> tuple[np.ndarray, ...]:
        """The layer's weights in a dtype, converted once."""
        key = np.dtype(dtype)
        if key not in self._cast:
            self._cast[key] = tuple(array.astype(key, copy=False) for array in self.spec.weights)
        return self._cast[key]

    def row_axes(self, value: Any, rank: int) -> tuple[int, ...]:
        """Axes of a config, one or several, counted from the front, in order. That of the batch is none that a layer may go along."""
        axes = tuple(int(axis) for axis in ((value,) if isinstance(value, int) else value))
        if any(not -rank <= axis < rank for axis in axes):
            raise self.fault(f"axis {value} is none of an input of {rank} axes")
        if any(axis % rank == 0 for axis in axes):
            raise self.unsupported(f"argument axis={value} {ACROSS}")
        return tuple(sorted(axis % rank for axis in axes))

    def step_mask(self, given: Tensor) -> np.ndarray | None:
        """The mask (batch, time) of an input; Keras cannot run the layer with one of other axes."""
        if given.mask is not None and given.mask.ndim != 2:
            axes = f"{given.mask.ndim} axes" if given.mask.ndim > 1 else "1 axis"
            raise self.fault(f"its input has a mask of {axes}, expected (batch, timesteps): Keras cannot run it either")
        return given.mask

    def fault(self, what: str) -> FormatError:
        """An error that names the file and this layer."""
        return FormatError(f"{self.source}: layer {self.path!r} ({self.spec.class_name}): {what}")

    def unsupported(self, what: str, advice: str = "") -> UnsupportedError:
        """An error about a use of this layer that Keras computes and fastlstm does not."""
        return UnsupportedError(self.source, (Problem(self.path, self.spec.class_name, what, advice),))

    def arrays(self, *shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """The layer's weights, checked against the shapes that its config and input imply.

        Raises
        ------
        FormatError
            If their number or a shape differs.
        """
        names = [weight.name for weight in self.kept]
        if len(self.spec.weights) != len(names):
            raise self.fault(f"expected {len(names)} arrays ({', '.join(names)}), found {len(self.spec.weights)}")
        for name, expected, array in zip(names, shapes, self.spec.weights, strict=True):
            if array.shape != expected:
                raise self.fault(f"{name} has shape {array.shape}, expected {expected}")
        return self.spec.weights

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        """Output shapes for input shapes (batch first, None = not known yet); checks weights against them."""
        raise NotImplementedError

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        """How many numbers ``apply`` makes for a row, about: its outputs, and what leads to them."""
        return 2 * numbers_in(*outputs)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        """The layer's meaning, in the inputs' float dtype (float64: the truth that kernels are checked against).

        Parameters
        ----------
        inputs
            The positional tensors.
        keywords
            Call arguments; tensors among them as Tensor. ``mask`` is True where the first input's mask was given as an argument.
        states
            Where it has this layer's path, the layer starts from those arrays and leaves its final states there.
        """
        raise NotImplementedError

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        """Write the layer as kernel calls; None where only ``apply`` can do it."""
        return None
