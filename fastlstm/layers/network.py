"""Models as layers: the graph of a Sequential or Functional model, at the root or nested in another."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np

from ..catalogue import MASKED, Role
from ..errors import FastLSTMError, FormatError, InputError, UnsupportedError
from ..operations.operands import Unbatched
from ..program.ir import Builder, Value
from ..pruning import pruned
from ..spec import Call, Fixed, LayerSpec, ModelSpec, Ref, Shape, found_in
from . import given_masks, unbatched
from .base import Context, Layer, States, Tensor, every_layer, floating, numbers_in
from .registry import make_layer
from .taken_masks import TakenMasks, with_mask, without_mask
from .unbatched import without_rows

T = TypeVar("T")
#: The call arguments of a model that is called with none.
NOTHING: Mapping[str, Any] = {}
#: The errors of a layer's code where a config or a graph is not one that Keras writes.
MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError)


class Network(Layer):
    """A graph of layers, walked in topological order.

    Attributes
    ----------
    layers : list of Layer
        The layers in the file's order.
    model : ModelSpec
        The graph.
    """

    CLASSES = ("Sequential", "Functional", "Model")
    taken: TakenMasks
    INERT = frozenset(
        {
            "layers",
            "input_layers",
            "output_layers",
            "build_input_shape",
            "build_config",
            "compile_config",
            "sparse",
            "ragged",
        }
    )

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        if spec.model is None:
            raise FormatError(f"{context.source}: layer {self.path!r} ({spec.class_name}): the nested model's graph is missing")
        self.model: ModelSpec = spec.model
        context.note(*self.model.problems)
        inner = context.inside(self.path, rules=self.model.rules)
        if not self.path:
            inner = replace(inner, declared=declared_by(self))
        self.layers = [sound(partial(make_layer, layer, inner), layer, inner) for layer in self.model.layers]
        self._needed = self._reachable()
        self.taken = TakenMasks(self)

    def _reachable(self) -> list[int]:
        """The calls that the outputs depend on, in order."""
        wanted = {ref.call for ref in self.model.outputs}
        for number in range(len(self.model.calls) - 1, -1, -1):
            if number in wanted:
                wanted.update(ref.call for ref in refs_of(self.model.calls[number]))
        wanted.update(ref.call for ref in self.model.inputs)
        return sorted(wanted)

    def calls(self) -> tuple[int, ...]:
        """The numbers of the calls that are carried out, in order."""
        return tuple(self._needed)

    def walk(
        self, inputs: Sequence[T], visit: Callable[[Layer, Sequence[T], Mapping[str, Any]], Sequence[T]], fixed: Callable[[np.ndarray], T],
        called: Mapping[str, Any] = NOTHING,
    ) -> tuple[T, ...]:  # fmt: skip
        """Carry ``inputs`` through the graph: ``visit`` says what a layer makes of its own, ``fixed`` what a tensor of the file is.

        ``called`` are the call arguments of the model itself: training=True is one for the layers inside, too.
        """
        self._check_count(inputs)
        known: dict[int, Sequence[T]] = {ref.call: (given,) for ref, given in zip(self.model.inputs, inputs, strict=True)}
        for number in self._needed:
            if number in known:
                continue
            call = self.model.calls[number]

            def stands_for(given: Ref | Fixed) -> T:
                return fixed(floating(given.array)) if isinstance(given, Fixed) else lookup(given, known, self)

            def masks(given: Ref | Fixed) -> T:
                return fixed(given.array.astype(bool)) if isinstance(given, Fixed) else lookup(given, known, self)

            keywords = {name: resolve(value, masks if name == "mask" else stands_for) for name, value in call.keywords.items()}
            if called.get("training") and "training" in self.layers[call.layer].row.call:
                keywords["training"] = True
            inputs = [stands_for(given) for given in call.inputs]
            bare = () if "mask" in keywords else self.taken.bare.get(number, ())
            found = visit(self.layers[call.layer], [without_mask(x) if n in bare else x for n, x in enumerate(inputs)], keywords)
            known[number] = [with_mask(found[0], inputs[0]), *found[1:]] if 0 in bare else found
        return tuple(lookup(ref, known, self) for ref in self.model.outputs)

    def entered(self, inputs: Sequence[T], enter: Callable[[Layer, T], T]) -> list[T]:
        """The inputs as the model's InputLayers let them in."""
        self._check_count(inputs)
        return [enter(door, given) for door, given in zip(self.doors, inputs, strict=True)]

    def _check_count(self, inputs: Sequence[Any]) -> None:
        if len(inputs) != len(self.model.inputs):
            raise FormatError(
                f"{self.source}: model {self.path or self.model.name!r} has {len(self.model.inputs)} inputs, called with {len(inputs)}"
            )

    @property
    def doors(self) -> list[Any]:
        """The model's InputLayers."""
        return [self.layers[self.model.calls[ref.call].layer] for ref in self.model.inputs]

    def input_shapes(self) -> tuple[Shape, ...]:
        """The shapes that the model's InputLayers declare."""
        return tuple(tuple(door.spec.config["shape"]) for door in self.doors)

    @property
    def children(self) -> tuple[Layer, ...]:
        return tuple(self.layers)

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        if len(inputs) != 1 or any(MASKED & set(call.keywords) for call in self.model.calls):
            return False  # a mask that is given would have to be told of the padding too
        return all(layer.ignores_padding(given) for layer, given in self.calls_inside(inputs))

    @cached_property
    def takes_padding(self) -> bool:
        """Does the whole model ignore padding, for inputs of the shapes that it declares?"""
        return self.ignores_padding(self.input_shapes())

    def calls_inside(self, inputs: Sequence[Shape]) -> Iterator[tuple[Layer, Sequence[Shape]]]:
        found: list[tuple[Layer, Sequence[Shape]]] = []

        def visit(layer: Layer, given: Sequence[Shape], words: Mapping[str, Any]) -> Sequence[Shape]:
            found.append((layer, given))
            return shapes_of(layer, given, words)

        self.walk(inputs, visit, lambda array: array.shape)
        yield from found

    @cached_property
    def declared(self) -> Mapping[Layer, Sequence[Shape]]:
        """By layer, however deep inside: see Context.declared. Worked out only when a layer asks, as few do."""
        found: dict[Layer, Sequence[Shape]] = {}
        waiting: list[tuple[Layer, Sequence[Shape]]] = [(self, self.input_shapes())]
        while waiting:
            layer, inputs = waiting.pop()
            for inner, given in layer.calls_inside(inputs):
                if inner not in found:
                    found[inner] = given
                    waiting.append((inner, given))
        return found

    def listed(self) -> Iterator[Layer]:
        """The layers that a user knows by name: those of nested models too, but nothing inside wrappers."""
        for layer in self.layers:
            yield layer
            if isinstance(layer, Network):
                yield from layer.listed()

    def sized(self, size: int) -> tuple[Shape, ...]:
        """The shapes of its inputs, with sizes left open (other than the batch) set to one."""
        return tuple((shape[0], *(size if n is None else n for n in shape[1:])) for shape in self.input_shapes())

    def fitting_size(self, sizes: Sequence[int]) -> int | None:
        """The first of some sizes that its inputs may have where they are left open: windows, for example, need some timesteps."""
        for size in sizes:
            with suppress(FormatError, UnsupportedError):
                self.shapes(self.sized(size), {})
                if self.crosses_rows(self.sized(size), {}) == self.crosses_rows(self.input_shapes(), {}):
                    return size
        return None

    def rows_together(self) -> int:
        """The number of rows that must divide a batch: that of the tensors which the file holds, where it holds any.

        Raises
        ------
        FormatError
            If they are for batches that no rows fill alike; what all of them divide could be any number, however large.
        """
        models = [self.model, *(layer.model for layer in every_layer(self) if isinstance(layer, Network))]
        given = (call for model in models for call in model.calls)
        found = {1, *(len(tensor.array) for call in given for tensor in found_in((call.inputs, call.keywords), Fixed))}
        if any(max(found) % rows for rows in found):
            raise FormatError(f"{self.source}: it holds tensors for batches of {' and '.join(map(str, sorted(found - {1})))} rows")
        return max(found)

    def vocabularies(self) -> tuple[int | None, ...]:
        """For each input: the ids below which all its readers want it, or None where any reads it as numbers, or it is an output."""

        def lowest(readers: Sequence[Layer]) -> int | None:
            # An operation takes ids as the numbers that they are, beside a layer that looks them up.
            found = [layer.vocabulary for layer in readers if layer.row.role is not Role.OPERATION]
            return min((v for v in found if v is not None), default=None) if None not in found else None

        readers, outputs = self._followed()
        return tuple(None if number in outputs else lowest(layers) for number, layers in enumerate(readers))

    def crosses_rows(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> bool:
        found = False

        def visit(layer: Layer, given: Sequence[Shape], words: Mapping[str, Any]) -> Sequence[Shape]:
            nonlocal found
            found = found or (not without_rows(layer, given) and layer.crosses_rows(given, words))
            return shapes_of(layer, given, words)

        self.walk(inputs, visit, lambda array: array.shape, keywords)
        return found

    def layer_shapes(self) -> dict[str, Any]:
        """By path: the output shape of each layer's last call (a tuple of them where it has several outputs)."""
        return self._trace(shapes_of)[0]

    def known_shapes(self) -> tuple[dict[str, Any], tuple[Shape | None, ...]]:
        """As :meth:`layer_shapes`, and the outputs' shapes, of a model that cannot be computed: as far as they can be told (else None)."""

        def told(layer: Layer, given: Sequence[Shape | None], words: Mapping[str, Any]) -> Sequence[Shape | None]:
            known = [shape for shape in given if shape is not None]
            try:
                return shapes_of(layer, known, words) if len(known) == len(given) else Untold()
            except (FastLSTMError, NotImplementedError, *MALFORMED):
                return Untold()

        return self._trace(told)

    def _trace(self, tell: Callable[[Layer, Sequence[Any], Mapping[str, Any]], Sequence[Any]]) -> tuple[dict[str, Any], tuple[Any, ...]]:
        """By path, the output shapes that ``tell`` tells of each layer, and those of the outputs."""
        found: dict[str, Any] = {}
        return found, self.traced(found, tell, self.input_shapes())

    def traced(self, found: dict[str, Any], tell: Callable[..., Sequence[Any]], given: Sequence[Any]) -> tuple[Any, ...]:
        """The output shapes for inputs of these; ``found`` notes those of the layers inside."""
        # The shapes given to a nested model may not be known, but those that it declares are.
        declared = [None if shape == (None,) else shape for shape in self.input_shapes()]
        given = [one if shape is None else shape for shape, one in zip(given, declared, strict=True)]
        for ref, shape in zip(self.model.inputs, given, strict=True):
            if shape is not None:
                found[self.layers[self.model.calls[ref.call].layer].path] = shape
        return self.walk(given, partial(self._told, found, tell), lambda array: array.shape)

    def _told(
        self, found: dict[str, Any], tell: Callable[..., Sequence[Any]], layer: Layer, given: Sequence[Any], words: Mapping[str, Any]
    ) -> Sequence[Any]:
        shapes = layer.traced(found, tell, given) if isinstance(layer, Network) else tell(layer, given, words)
        if None not in shapes[:1]:
            found[layer.path] = shapes[0] if len(shapes) == 1 else shapes
        return shapes

    def readers(self) -> list[list[Layer]]:
        """For each input, the layers that read it, looked for through nested models, which may hand it on."""
        return self._followed()[0]

    def _followed(self) -> tuple[list[list[Layer]], set[int]]:
        """Each input's readers, and the inputs that are outputs too; in one walk, however many there are."""
        found: list[list[Layer]] = [[] for _ in self.model.inputs]
        entering: list[Ref | None] = [Ref(number) for number in range(len(found))]
        outputs = self.walk(entering, partial(follow, found), lambda array: None)
        return found, {ref.call for ref in outputs if ref is not None}

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        made = unbatched.Made(self.context.budget)

        def visit(layer: Layer, given: Sequence[Shape], words: Mapping[str, Any]) -> Sequence[Shape]:
            sound(lambda: given_masks.check(layer, given, words), layer.spec, layer.context)
            if without_rows(layer, given):
                return sound(lambda: unbatched.shapes(layer, given, words), layer.spec, layer.context)
            shapes = sound(lambda: layer.shapes(given, words), layer.spec, layer.context)
            made.account(layer, shapes)
            empty = [shape for shape in shapes if any(size is not None and size < 1 for size in shape)]
            if empty and layer.row.role is Role.OPERATION:
                raise layer.unsupported(f"its output would have the shape {empty[0]}, without any numbers, which is not computed")
            if empty:
                raise layer.error(f"its output would have the shape {empty[0]}, of input of shape {given[0] if given else None}")
            return shapes

        found = self.walk(inputs, visit, lambda array: array.shape)
        for ref, shape in zip(self.model.outputs, found, strict=True):
            if isinstance(shape, Unbatched) or not shape:
                raise self._making(ref).unsupported("its output, one of the model's, has no row for each row of a batch")
        return found

    def _making(self, ref: Ref) -> Layer:
        """The layer that makes a tensor."""
        return self.layers[self.model.calls[ref.call].layer]

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        total = numbers_in(*inputs)

        def visit(layer: Layer, given: Sequence[Shape], words: Mapping[str, Any]) -> Sequence[Shape]:
            nonlocal total
            found = shapes_of(layer, given, words)
            total += layer.row_numbers(given, words, found)
            return found

        self.walk(inputs, visit, lambda array: array.shape)
        return total

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        numeric = [given.value for given in inputs if given.value.dtype != object]
        rows, dtype = len(inputs[0].value) if inputs else 1, floating(numeric[0]).dtype if numeric else np.dtype(np.float32)
        entered = self.entered(inputs, lambda door, given: door.apply([given], {}, None)[0])
        found = self.walk(entered, partial(applied, states), lambda array: Tensor(repeated(array, rows, dtype)), keywords)
        return found if self.keeps_masks(found) else tuple(tensor._replace(mask=None) for tensor in found)

    def run(
        self, arrays: Sequence[np.ndarray], dtype: Any, states: States | None = None, masks: Sequence[np.ndarray | None] = ()
    ) -> tuple[np.ndarray, ...]:
        """The outputs that ``apply`` of every layer gives in ``dtype``, for inputs with masks; ``states`` holds those from afterwards."""
        return tuple(tensor.value for tensor in self.computed(arrays, dtype, states, masks))

    def computed(
        self, arrays: Sequence[np.ndarray], dtype: Any, states: States | None = None, masks: Sequence[np.ndarray | None] = ()
    ) -> tuple[Tensor, ...]:
        """The same with the masks of the outputs."""
        given = [tensor._replace(mask=mask) for tensor, mask in zip_longest(tensors(arrays, dtype), masks)]
        with np.errstate(all="ignore"):  # NaN and infinities are data
            found = self.apply(given, {}, states)
        self._check_real([np.iscomplexobj(tensor.value) for tensor in found])
        return tuple(found)

    def _check_real(self, pairs: Sequence[bool]) -> None:
        """Refuse outputs of complex numbers."""
        for ref, pair in zip(self.model.outputs, pairs, strict=True):
            if not self.path and pair:
                raise self._making(ref).unsupported("its output, one of the model's, is of complex numbers, which are not returned")

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...]:
        entered = self.entered(inputs, lambda door, given: b.lower(door, [given], {})[0])
        found = self.walk(entered, partial(lowered, b), partial(given_masks.fixed, b))
        self._check_real([value.pairs for value in found])
        return found if self.keeps_masks(found) else tuple(value._replace(mask=None) for value in found)

    def keeps_masks(self, found: Sequence[Tensor | Value]) -> bool:
        """Do these outputs keep their masks? UnsupportedError where one has a mask and the file does not tell."""
        if self.path and self.rules.nested_masks is None and any(one.mask is not None for one in found):
            raise self.untold_mask()
        return not self.path or bool(self.rules.nested_masks)


def tensors(arrays: Sequence[np.ndarray], dtype: Any) -> list[Tensor]:
    """A model's inputs, to be computed with in a dtype."""
    # Ids stay integers, but in float64: what an Embedding gives would be float32 otherwise, and float64 holds every id.
    exact = np.dtype(dtype) == np.float32
    return [Tensor(x if x.dtype == object or (exact and x.dtype.kind in "iu") else x.astype(dtype, copy=False)) for x in arrays]


def shapes_of(layer: Layer, given: Sequence[Any], words: Mapping[str, Any]) -> Sequence[Shape]:
    """The output shapes of a layer, whether or not its inputs have rows."""
    return unbatched.shapes(layer, given, words) if without_rows(layer, given) else layer.shapes(given, words)


def applied(states: States | None, layer: Layer, given: Sequence[Tensor], words: Mapping[str, Any]) -> Sequence[Tensor]:
    """One call of a layer in NumPy."""
    given, words = sound(lambda: given_masks.with_arrays(layer, given, words), layer.spec, layer.context)
    if without_rows(layer, [one.value for one in given]):
        return sound(lambda: unbatched.tensors(layer, given, words), layer.spec, layer.context)
    return sound(lambda: layer.apply(given, words, states), layer.spec, layer.context)


def lowered(b: Builder, layer: Layer, given: Sequence[Value], words: Mapping[str, Any]) -> Sequence[Value]:
    """One call of a layer as kernel calls."""
    given, words = sound(lambda: given_masks.with_buffers(b, layer, given, words), layer.spec, layer.context)
    if without_rows(layer, [one.known for one in given]):
        return sound(lambda: unbatched.values(layer, given, words), layer.spec, layer.context)
    return sound(lambda: b.lower(layer, given, words), layer.spec, layer.context)


def follow(found: list[list[Layer]], layer: Layer, given: Sequence[Ref | None], words: Mapping[str, Any]) -> Sequence[Ref | None]:
    """Note in ``found``, for each input of a network, the layers that read it. No closure: one that calls itself holds what it notes."""
    read = set(found_in(words, Ref))
    if not isinstance(layer, Network):
        read.update(ref for ref in given if ref is not None)
    for ref in read:
        found[ref.call].append(layer)
    return layer.walk(given, partial(follow, found), lambda array: None) if isinstance(layer, Network) else Untold()


class Untold(Sequence[Any]):
    """The output shapes of a layer of which nothing is known: any number of Nones."""

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, number: Any) -> Any:
        return [None] if isinstance(number, slice) else None


def sound(make: Callable[[], T], spec: LayerSpec, context: Context) -> T:
    """Return what ``make`` returns; raise a FormatError that names the layer where the file's values make no sense to a class of Keras."""
    try:
        return make()
    except FastLSTMError:
        raise
    except MALFORMED as error:
        what = f"its arguments or inputs make no sense ({type(error).__name__}: {error})"
        raise FormatError(f"{context.source}: layer {context.path + spec.name!r} ({spec.class_name}): {what}") from error


def declared_by(network: Network) -> Callable[[Layer], Sequence[Shape]]:
    """``Context.declared`` of the layers of a model. It refers to the model weakly, so that memory is free once nobody uses the model."""
    weak = weakref.ref(network)

    def declared(layer: Layer) -> Sequence[Shape]:
        alive = weak()
        return () if alive is None else alive.declared.get(layer, ())

    return declared


def root(model: ModelSpec, context: Context) -> Network:
    """The network of a whole model: of what its outputs need."""
    return Network(LayerSpec(class_name=model.class_name, name="", config={}, model=pruned(model, context.custom_layers)), context)


def repeated(array: np.ndarray, rows: int, dtype: Any) -> np.ndarray:
    """A tensor of the file, repeated until it has so many rows: Keras computes batches of as many rows as it has.

    Raises
    ------
    InputError
        If its rows do not divide them.
    """
    if len(array) == 0 or rows % len(array):
        raise InputError(
            f"x: expected a number of rows that {len(array)} divides, as the model holds a tensor of shape {array.shape}, found {rows}"
        )
    array = array if array.dtype == bool else array.astype(dtype, copy=False)
    return np.ascontiguousarray(np.broadcast_to(array, (rows // len(array), *array.shape))).reshape(rows, *array.shape[1:])


def refs_of(call: Call) -> Iterator[Ref]:
    """The tensors that a call depends on."""
    return found_in((call.inputs, call.keywords), Ref)


def resolve(value: Any, stands_for: Callable[[Ref | Fixed], T]) -> Any:
    """A call argument with its tensors replaced by what they stand for."""
    if isinstance(value, (Ref, Fixed)):
        return stands_for(value)
    if isinstance(value, (tuple, list)):
        return tuple(resolve(inner, stands_for) for inner in value)
    return value


def lookup(ref: Ref, known: Mapping[int, Sequence[T]], network: Network) -> T:
    """One output of a call."""
    outputs = known[ref.call]
    if ref.output >= len(outputs):
        name = network.model.layers[network.model.calls[ref.call].layer].name
        raise FormatError(f"{network.source}: output {ref.output} of layer {name!r} is used, but it has {len(outputs)}")
    return outputs[ref.output]
