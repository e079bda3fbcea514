"""The base of every layer: a class that reads its config, says its shapes, means something in NumPy, and may become kernels.

The words by which a layer speaks of time:

stepwise
    Each timestep of its output depends on the same timestep of its input alone.
causal
    Each timestep of its output depends on that timestep and earlier ones alone. A stepwise layer is causal.
ignores padding
    A row with masked timesteps after its end comes out as the same row without them.
restarts
    It computes what it wraps for each timestep by itself, from nothing.
crosses rows
    A row of its output depends on other rows of the batch. A model with such a layer is computed batch by batch, as Keras does.

A layer is complete once it is constructed: no call changes what later calls do, but for a few caches that a test lists. It works
out what depends on the shapes of its input from the shapes that a call is given; it asks ``Context.declared`` for the shapes that the
file declares; and a wrapper says what it wants of a layer inside it by the ``Context`` that it makes it with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from .. import activations
from ..catalogue import row_of
from ..errors import FormatError, Problem, UnsupportedError
from ..kept_arrays import Weight
from ..limits import Budget
from ..program.ir import Builder, Value
from ..records import record
from ..spec import Functions, LayerSpec, Rules, Shape
from .classes import REGISTRY
from .places import ACTIVATION_KEYS, Place, name_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from .supplied import Supplied
    from .taken_masks import TakenMasks

T = TypeVar("T")

#: Config keys that change nothing at inference in any layer.
INERT = frozenset(
    {
        "name",
        "trainable",
        "dtype",
        "batch_input_shape",
        "batch_shape",
        "input_dtype",
        "input_dim",
        "input_length",
        "input_shape",
        "activity_regularizer",
        "autocast",
        "registered_name",
    }
)

#: Why a layer that crosses rows cannot run in a stream.
CROSSES = "what it makes of a row depends on the other rows of the batch, which in a stream advance independently"

#: About layers that would go along the first axis.
ACROSS = "goes across the rows of a batch, and here each row is computed by itself"

#: Advice about an activation that is not known.
SUPPLY_ACTIVATION = "supply it as a function of a NumPy array, in Python: fastlstm.load(..., custom_activations={{{!r}: function}})"

States = dict[str, tuple[np.ndarray, ...]]  # by layer path: what layers carry from call to call, batch first


#: Why a layer that is not causal cannot run in a stream.
NEEDS_MORE = "it needs timesteps that are still to come, or all of them at once"


class Streaming(States):
    """States of a stream: masked steps before the first valid one repeat the output that led to them."""


class Held(NamedTuple):
    """A tensor that is computed when a stream begins and stays as it is: output number ``output`` of a walk's call number ``call``."""

    call: int
    output: int = 0


class Flow(NamedTuple):
    """A tensor while data stream in."""

    shape: Shape
    steps: bool  # it comes one timestep after another; else there is one thing for each row
    held: Held | None = None  # it stays as it is from step to step, and is this one; None: it changes
    mask: Held | None = None  # if it stays: the tensor whose mask it has


class Course(NamedTuple):
    """The outputs of a layer while data stream in."""

    outputs: tuple[Flow, ...]
    obstacle: str = ""  # why it cannot tell what it makes of one timestep; empty: it can


def changed(value: Any, kind: type[T] | tuple[type[T], ...], change: Callable[[T], Any]) -> Any:
    """A call argument with what is of a kind in it changed, however nested."""
    if isinstance(value, kind):
        return change(value)
    return tuple(changed(inner, kind, change) for inner in value) if isinstance(value, (tuple, list)) else value


def inert(*names: str) -> frozenset[str]:
    """The config keys of how arrays of these names are made and trained."""
    return frozenset(f"{name}_{what}" for name in names for what in ("initializer", "regularizer", "constraint"))


def floating(array: np.ndarray) -> np.ndarray:
    """The array in the dtype that a layer computes in: its own, or float32 for integers."""
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def numbers_in(*shapes: Shape) -> int:
    """How many numbers a row has in tensors of some shapes, with sizes that are not known taken as one."""
    return sum(math.prod(size or 1 for size in shape[1:]) for shape in shapes)


def nonzero(array: np.ndarray) -> np.ndarray:
    """Which numbers TensorFlow takes as other than 0: it counts those below the normal range of float32 and float64 as 0."""
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


def undeclared(layer: Layer) -> Sequence[Shape]:
    """``Context.declared`` of layers that stand in no network."""
    return ()


@record()
class Context:
    """Everything that layers are made with. It collects all that stands in the way instead of stopping at the first problem."""

    source: str  # the file, for messages
    rules: Rules
    custom_layers: Mapping[str, Supplied] = field(default_factory=dict)  # by path
    custom_activations: Mapping[str, Supplied] = field(default_factory=dict)  # by place: "lstm:recurrent_activation"
    places: Mapping[str, Place] = field(default_factory=dict)  # by path: every layer of the model
    activation_names: Mapping[str, str] = field(default_factory=dict)  # by place: what custom_activations may call what stands there
    needed: Functions = field(default_factory=Functions)  # the caller's functions that the file was converted with
    lacking: dict[str, dict[str, str]] = field(default_factory=dict)  # those that were not given, by argument: names by place
    problems: list[Problem] = field(default_factory=list)
    path: str = ""  # of the enclosing model or wrapper, with a trailing "/" where not empty
    budget: Budget = field(default_factory=Budget.unlimited)  # what loading may cost
    # The shapes of a layer's inputs as the file declares them, at its first call; empty where it stands in no network. A layer may
    # ask once all layers are made.
    declared: Callable[[Layer], Sequence[Shape]] = undeclared
    numbers: Iterator[int] = field(default_factory=count)  # each layer takes the next one: its number in the model, whoever makes it
    in_bidirectional: bool = False  # is the layer one of the two that a Bidirectional wraps?

    def note(self, *problems: Problem) -> None:
        """Collect problems; the model will be refused with all of them."""
        self.problems.extend(problems)

    def lacks(self, place: str) -> bool:
        """Does the file need a function of the caller's at a place, and the caller has given none?"""
        return any(place in places for places in self.lacking.values())

    def lack(self, argument: str, place: str) -> None:
        """Note that nothing was given for a place, if the file needs a function there."""
        needed = self.needed.layers if argument == "custom_layers" else self.needed.activations
        if place in needed:
            self.lacking.setdefault(argument, {})[place] = needed[place]

    def inside(self, path: str, **changes: Any) -> Self:
        """The same for what stands inside the model or wrapper of a path."""
        return replace(self, path=path + "/" if path else "", **{"in_bidirectional": False, **changes})


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
    #: Is it stepwise, whatever its input? See :meth:`stepwise`.
    STEPWISE: ClassVar[bool] = False
    #: Which masks are gone inside it, where it is a graph of layers.
    taken: TakenMasks | None = None
    #: The value of its input that it takes as masked: all features of a step, or an id.
    masked_value: float | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        REGISTRY.enter(cls)

    def __init__(self, spec: LayerSpec, context: Context):
        self.spec = spec
        self.row = row_of(spec.class_name)
        self.config = spec.config
        self.rules = context.rules
        self.source = context.source
        self.path = context.path + spec.name
        self.context = context
        self.number = next(context.numbers)
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

    # -- what it says of time ---------------------------------------------------------------------------------------------

    @property
    def activations_stepwise(self) -> bool:
        """Do its activations compute each place by itself, along all axes but the last? All of Keras's do, a caller's may not."""
        supplied = ((key, self.context.custom_activations.get(f"{self.path}:{key}")) for key in ACTIVATION_KEYS)
        return all(function.is_stepwise(self._place_of(key)) for key, function in supplied if function is not None)

    def _place_of(self, key: str) -> str:
        """The activation of a config key, for errors about the caller's function that stands there."""
        return f"{self.source}: {key} of layer {self.path!r} ({self.spec.class_name})"

    def stepwise(self, inputs: Sequence[Shape]) -> bool:
        """Does each timestep of the output depend on the same timestep of the input alone, for inputs of these shapes?"""
        return self.STEPWISE and self.activations_stepwise

    def causal(self, inputs: Sequence[Shape]) -> bool:
        """Does each timestep of the output depend on that timestep of the inputs and earlier ones alone, for inputs of these shapes?"""
        return self.stepwise(inputs)

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        """Does a row with masked timesteps after its end come out as the same row without them, for inputs of these shapes?"""
        return self.stepwise(inputs)

    def crosses_rows(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> bool:
        """Does a row of the output depend on other rows of the batch, for inputs of these shapes?"""
        return False

    def pads_rows(self) -> bool:
        """Does it pad its rows to the longest of the batch?"""
        return False

    def course(self, inputs: Sequence[Flow], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> Course:
        """Tell which outputs come timestep by timestep while data stream in, or why it cannot tell them.

        Parameters
        ----------
        inputs, keywords
            As for ``shapes``, each tensor as a Flow.
        outputs
            The output shapes for the shapes of the inputs.
        """
        steps = any(given.steps for given in inputs)
        obstacle = self.obstacle(inputs) if steps and not self._follows(inputs) else ""
        return Course(tuple(Flow(shape, steps and not obstacle) for shape in outputs), obstacle)

    def _follows(self, inputs: Sequence[Flow]) -> bool:
        if all(given.steps for given in inputs):
            return self.causal([given.shape for given in inputs])
        return all(given.steps or given.held is not None for given in inputs) and self.causal_beside(inputs)

    def memory(self, inputs: Sequence[Flow], keywords: Mapping[str, Any]) -> Mapping[str, int]:
        """What it keeps of every timestep so far in a stream: how many numbers for each, by name. Empty: it has no such memory.

        It can tell its outputs then, whose arguments are as for :meth:`course`. ``apply`` finds these among its states, (batch, steps,
        numbers) each, and at last (batch, 1) how many steps there are.
        """
        return {}

    def causal_beside(self, inputs: Sequence[Flow]) -> bool:
        """Is it causal in the inputs that come timestep by timestep, where the others, one at least, are held?"""
        return False

    def obstacle(self, inputs: Sequence[Flow]) -> str:
        """Why it cannot tell what it makes of one timestep of such inputs, which it cannot."""
        return NEEDS_MORE

    @property
    def restarts(self) -> bool:
        """Does it compute what it wraps for each timestep by itself, from nothing?"""
        return False

    @property
    def recurrent(self) -> bool:
        """Does it, or what it wraps, carry a state along time?"""
        return any(child.recurrent for child in self.children)

    # -- what it holds ----------------------------------------------------------------------------------------------------

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

    def stream_states(self, keywords: Mapping[str, Any], masked: bool) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]:
        """Shapes and names of what it carries in a stream, called with such arguments, where its input may be masked or cannot be."""
        return self.state_shapes(), self.state_names()

    def count_params(self) -> int:
        """Number of weights, those of the layers that it wraps too."""
        return sum(array.size for array in self.spec.weights) + sum(child.count_params() for child in self.children)

    def refuse(self, what: str, advice: str = "") -> None:
        """Note a problem of this layer; the model will be refused with all of them."""
        self.context.note(Problem(self.path, self.spec.class_name, what, advice))

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
            return {"name": name, "custom": True}, partial(supplied.activation, self._place_of(key), value)
        self.context.lack("custom_activations", place)
        if isinstance(value, Mapping) and value.get("axis") == 0:
            self.refuse(f"{key} {name!r} {ACROSS}")
        try:
            return value, activations.function(value)
        except (ValueError, KeyError, TypeError):
            known = self.context.activation_names.get(place, name)
            if not self.context.lacks(place):  # which is said of all functions at once
                self.refuse(f"{key} {name!r} is not known", SUPPLY_ACTIVATION.format(known))
            return "linear", activations.linear

    def cast(self, dtype: Any) -> tuple[np.ndarray, ...]:
        """The layer's weights in a dtype, converted once."""
        key = np.dtype(dtype)
        if key not in self._cast:
            self._cast[key] = tuple(array.astype(key, copy=False) for array in self.spec.weights)
        return self._cast[key]

    def row_axes(self, value: Any, rank: int) -> tuple[int, ...]:
        """Axes of a config, one or several, counted from the front, in order. A layer may not go along that of the batch."""
        axes = tuple(int(axis) for axis in ((value,) if isinstance(value, int) else value))
        if any(not -rank <= axis < rank for axis in axes):
            raise self.error(f"axis {value} is none of an input of {rank} axes")
        if any(axis % rank == 0 for axis in axes):
            raise self.unsupported(f"argument axis={value} {ACROSS}")
        return tuple(sorted(axis % rank for axis in axes))

    def takes_mask(self, mask: Shape, x: Shape) -> bool:
        """May a call be given a mask of such a shape for an input of such a shape: of its steps, or of places in each?"""
        if not 2 <= len(mask) <= len(x):
            return False
        sizes = [(m, n, axis > 1) for axis, (m, n) in enumerate(zip(mask, x, strict=False)) if axis and m is not None and n is not None]
        return all(m == n or (wide and m == 1) for m, n, wide in sizes)

    def step_mask(self, given: Tensor) -> np.ndarray | None:
        """The mask (batch, time) of an input; Keras cannot run the layer with one of other axes."""
        if given.mask is not None and given.mask.ndim != 2:
            axes = f"{given.mask.ndim} axes" if given.mask.ndim > 1 else "1 axis"
            raise self.error(f"its input has a mask of {axes}, expected (batch, timesteps): Keras cannot run it either")
        return given.mask

    # -- errors -----------------------------------------------------------------------------------------------------------

    def error(self, what: str) -> FormatError:
        """An error that names the file and this layer."""
        return FormatError(f"{self.source}: layer {self.path!r} ({self.spec.class_name}): {what}")

    def unsupported(self, what: str, advice: str = "") -> UnsupportedError:
        """An error about a use of this layer that Keras computes and fastlstm does not."""
        return UnsupportedError(self.source, (Problem(self.path, self.spec.class_name, what, advice),))

    def untold_mask(self) -> UnsupportedError:
        """An error about a mask that two generations treat otherwise."""
        what = "its output has a mask, which TensorFlow 1.13 drops and 1.14 hands on, and the file does not tell which of them saved it"
        return self.unsupported(what, "compile the model in that TensorFlow and save it again, which tells")

    # -- what it computes -------------------------------------------------------------------------------------------------

    def arrays(self, *shapes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
        """The layer's weights, checked against the shapes that its config and input imply.

        Raises
        ------
        FormatError
            If their number or a shape differs.
        """
        names = [weight.name for weight in self.kept]
        if len(self.spec.weights) != len(names):
            raise self.error(f"expected {len(names)} arrays ({', '.join(names)}), found {len(self.spec.weights)}")
        for name, expected, array in zip(names, shapes, self.spec.weights, strict=True):
            if array.shape != expected:
                raise self.error(f"{name} has shape {array.shape}, expected {expected}")
        return self.spec.weights

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        """Output shapes for input shapes (batch first, None = not known yet); checks weights against them."""
        raise NotImplementedError

    def calls_inside(self, inputs: Sequence[Shape]) -> Iterator[tuple[Layer, Sequence[Shape]]]:
        """The layers right inside it, with the shapes of the inputs of each of their calls, as far as they ask for them."""
        return iter(())

    def sample(self, size: tuple[int, ...], random: np.random.Generator) -> np.ndarray | None:
        """An input of a size as suits it, where that is text or whole numbers; None: any numbers do."""
        return None

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        """Roughly how many numbers ``apply`` makes for a row: its outputs, and what leads to them."""
        return 2 * numbers_in(*outputs)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        """The layer's meaning, in the inputs' float dtype (float64: the truth that kernels are checked against).

        Parameters
        ----------
        inputs
            The positional tensors.
        keywords
            Call arguments; tensors among them as Tensor. ``mask`` is there where the inputs' masks were given as arguments: a
            tuple of them as they were given, None where one is not more than bools.
        states
            Where it has this layer's path, the layer starts from those arrays and leaves its final states there.
        """
        raise NotImplementedError

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        """Write the layer as kernel calls; None where only ``apply`` can do it."""
        return None


def carrying(layer: Layer) -> Iterator[Layer]:
    """All layers inside one that carry something from timestep to timestep."""
    for child in layer.children:
        if child.state_shapes():
            yield child
        if not child.restarts:
            yield from carrying(child)


def every_layer(layer: Layer) -> Iterator[Layer]:
    """All layers inside one, in order, each before what it wraps."""
    for child in layer.children:
        yield child
        yield from every_layer(child)
