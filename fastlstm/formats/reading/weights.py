"""Deals the flat lists of arrays that a file holds to the layers that they belong to."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import lazy
from ...catalogue import SEQUENTIAL, Role
from ...errors import FormatError, Problem
from ...kept_arrays import Weight
from ...limits import Budget
from ...logs import outside
from ...spec import ModelSpec
from .dialect import Dialect
from .draft import LayerDraft, ModelDraft
from .keras1_arrays import from_keras1
from .quantisation import PASSED_OVER, QUANTISED, UNSCALED, settle_arrays, untold

if TYPE_CHECKING:
    from . import vocabularies
else:
    vocabularies = lazy.module("fastlstm.formats.reading.vocabularies")


@dataclass
class Leaf:
    """A layer that keeps arrays itself, and which of them Keras lists among the trainable ones."""

    layer: LayerDraft
    weights: tuple[Weight, ...] | None  # None where the class is not known
    frozen: bool


#: Keras 1's letters of the gates, in the order in which it keeps them, by gate count.
GATE_LETTERS = {4: "icfo", 3: "zrh"}
#: Bytes of a number of float64.
WIDEST = 8
#: Layers that read (batch, timesteps, features), and whose first array has a row for each feature.
ALONG_TIME = frozenset({Role.RECURRENT, Role.BIDIRECTIONAL, Role.DISTRIBUTED})
#: The problem of a model without weights.
UNBUILT = Problem("", "", "it has no weights: the model was saved before it was built", "build the model before saving it")


def known_weights(layer: LayerDraft, source: str) -> tuple[Weight, ...] | None:
    """The arrays that a layer of a known class keeps."""
    tell = layer.row.arrays
    if tell is None or layer.quantised not in ("", *QUANTISED):
        return None
    if layer.split_gates:
        return tuple(Weight(f"{kind}_{gate}") for gate in GATE_LETTERS[layer.row.gates] for kind in "WUb")
    try:
        return tell(layer.config)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"an argument is missing or malformed ({type(error).__name__}: {error})"
        raise FormatError(f"{source}: layer {layer.path!r} ({layer.class_name}): {what}") from error


def leaves(layer: LayerDraft, source: str, keras3: bool, frozen: bool = False) -> Iterator[Leaf]:
    """The layers inside one that keep arrays themselves, in the order in which Keras lists them."""
    if layer.model is not None:
        # Up to Keras 2 a nested model's own flag does not reorder its layers' weights; theirs do.
        for inner in layer.model.layers:
            yield from leaves(inner, source, keras3, frozen or (keras3 and not layer.trainable))
    elif layer.children:
        for inner in layer.children:
            yield from leaves(inner, source, keras3, frozen or not layer.trainable)
        if own := known_weights(layer, source):
            yield Leaf(layer, own, True)
    else:
        weights = known_weights(layer, source)
        if weights and layer.lora is not None:
            weights = (weights[0]._replace(trainable=False), *weights[1:], Weight("lora_a"), Weight("lora_b"))
        if weights is None or weights:
            yield Leaf(layer, weights, frozen or not layer.trainable)


def has_weights(layer: LayerDraft, source: str) -> bool | None:
    """Whether a layer, or anything in it, keeps arrays; None where nobody knows: tf.keras keeps weights of ids so, Keras 3 does not."""
    found = list(leaves(layer, source, False))
    if any(leaf.weights and leaf.layer.row.role is not Role.LOOKUP for leaf in found):
        return True
    return None if found else False


def deal(layer: LayerDraft, arrays: Sequence[np.ndarray], source: str, dialect: Dialect, *, in_order: bool = False) -> None:
    """Give a layer's list of arrays, as a file holds it, to the layers inside it.

    Keras lists all trainable arrays first, then all others, both in the layers' order; or, ``in_order``, layer by layer.

    Raises
    ------
    FormatError
        If there are more or fewer than the layers keep.
    """
    found = list(leaves(layer, source, dialect.keras3))
    if sum(len(leaf.weights or ()) for leaf in found) > len(arrays):
        found = [leaf for leaf in found if leaf.layer.row.role is not Role.LOOKUP]
    unknown = [leaf for leaf in found if leaf.weights is None]
    expected = sum(len(leaf.weights) for leaf in found if leaf.weights is not None)
    if unknown and len(arrays) >= expected:
        # Custom layers take what the others leave: alike if they are alike, as the two of a Bidirectional are; else it cannot be told
        # which takes how much, so the first takes all.
        spare = len(arrays) - expected
        even = spare % len(unknown) == 0 and len({kind_of(leaf.layer) for leaf in unknown}) == 1
        for number, leaf in enumerate(unknown):
            count = spare // len(unknown) if even else 0 if number else spare
            leaf.weights = tuple(Weight(f"weight {place}") for place in range(count))
    if sum(len(leaf.weights or ()) for leaf in found) != len(arrays):
        names = ", ".join(f"{leaf.layer.name}/{weight.name}" for leaf in found for weight in leaf.weights or ())
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise FormatError(
            f"{source}: layer {layer.path!r} ({layer.class_name}): expected {expected} arrays ({names}), found {len(arrays)} ({shapes})"
            + untold(arrays)
        )
    slots = [
        (leaf, place, in_order or (weight.trainable and not leaf.frozen))
        for leaf in found
        for place, weight in enumerate(leaf.weights or ())
    ]
    slots = [slot for slot in slots if slot[2]] + [slot for slot in slots if not slot[2]]
    dealt: dict[int, dict[int, np.ndarray]] = {}
    for (leaf, place, _), array in zip(slots, arrays, strict=True):
        dealt.setdefault(id(leaf.layer), {})[place] = array
    for leaf in found:
        given = dealt.get(id(leaf.layer), {})
        leaf.layer.weights = tuple(given[place] for place in sorted(given))


def kind_of(layer: LayerDraft) -> str:
    """A layer's class and those arguments of it that may say how many arrays it keeps: neither its name nor how many units it has."""
    told = {key: value for key, value in layer.config.items() if key != "name" and (isinstance(value, bool) or not is_number(value))}
    return repr((layer.class_name, sorted(told.items(), key=lambda item: item[0])))


def is_number(value: Any) -> bool:
    """Whether an argument is a number."""
    return isinstance(value, (int, float))


def fill_cells(layer: LayerDraft, arrays: Sequence[np.ndarray], source: str) -> Problem | None:
    """Fill in the arguments of cells that were saved without them, as Keras did up to 2.1: units from the weights, else the defaults.

    Returns the problem if the weights show that some argument was not the default.
    """
    bare = [leaf.layer for leaf in leaves(layer, source, False) if leaf.layer.row.role is Role.CELL and "units" not in leaf.layer.config]
    if not bare:
        return None
    squares = [array.shape[0] for array in arrays if array.ndim == 2][1::2]
    full = len(squares) == len(bare) and len(arrays) == 3 * len(bare)
    for place, cell in enumerate(bare):
        cell.config["units"] = squares[place] if full else 1
        cell.config.setdefault("activation", "tanh")
    if not full:
        return Problem(
            layer.path,
            layer.class_name,
            "Keras saved its cells without their arguments, and not all were the defaults",
            "pass architecture= with a JSON whose cells have them",
        )
    warnings.warn(
        f"{source}: layer {layer.path!r}: this Keras saved cells without their arguments; the default activations are assumed. "
        "Pass architecture= with a JSON whose cells have them if they were others.",
        stacklevel=outside(),
    )
    return None


def merge_low_rank(layer: LayerDraft) -> None:
    """Add the product of the arrays of enable_lora to the kernel: .keras files hold it merged, .h5 files apart."""
    if layer.lora is not None and len(layer.weights) > 2 and layer.weights[-1].ndim == 2:
        kernel, *others, a, b = layer.weights
        if a.shape == (*kernel.shape[:-1], b.shape[0]) and b.shape[1] == kernel.shape[-1]:
            product = a.astype(np.float64) @ b.astype(np.float64)
            layer.weights = ((kernel + layer.lora * product).astype(kernel.dtype), *others)


def settle(layer: LayerDraft, dialect: Dialect, budget: Budget, problems: list[Problem]) -> None:
    """Bring a layer's dealt arrays, and those of the layers in it, to the plain layout and dtype; read from them what configs lack."""
    if layer.row.role is Role.LOOKUP:
        if not layer.has_vocabulary:
            vocabularies.complete(layer, dialect, budget.source, problems)
        budget.hold(f"the vocabulary of layer {layer.path!r}", sum(array.nbytes for array in layer.weights))
        return
    dtype = np.dtype(np.float64 if layer.dtype == "float64" else np.float32)
    account(layer, dtype, budget)
    stored = sum(array.size for array in layer.weights)
    problem = settle_arrays(layer, dtype, budget.source)
    if problem is not None:
        problems.append(problem)
    elif layer.quantised == UNSCALED:
        warnings.warn(f"layer {layer.path!r} ({layer.class_name}) {PASSED_OVER}", stacklevel=outside())
    for inner in [*layer.children, *(layer.model.layers if layer.model is not None else ())]:
        settle(inner, dialect, budget, problems)
    merge_low_rank(layer)
    if dialect.keras1:
        from_keras1(layer, dialect)
    if layer.row.gates:
        plain_gates(layer)
    if dialect.theano:
        layer.weights = tuple(flipped(array) if place < layer.row.kernels else array for place, array in enumerate(layer.weights))
    if dialect.beta_first and layer.row.role is Role.NORMALIZATION and len(layer.weights) == 4:
        beta, gamma, *moving = layer.weights
        layer.weights = (gamma, beta, *moving)
    layer.weights = tuple(
        np.asarray(array, np.int8 if layer.quantised and array.dtype == np.int8 else dtype, order="C") for array in layer.weights
    )
    if layer.penalties and not layer.quantised and stored == sum(array.size for array in layer.weights):
        number_penalties(layer, budget.source)


def number_penalties(layer: LayerDraft, source: str) -> None:
    """Say which of a layer's arrays each of its penalties is of."""
    known = [weight.name for weight in known_weights(layer, source) or ()]
    names = ["kernel", "recurrent_kernel", "bias"] if layer.split_gates else known
    for argument, rule in layer.penalties.items():
        places = [place for place, name in enumerate(names) if name in (argument, f"{argument}_kernel")]
        if not places and argument == "kernel" and layer.row.role is Role.EMBEDDING:  # Keras 1 has one word for all
            places = [0]
        if len(places) == 1 and places[0] < len(layer.weights):
            rule["array"] = places[0]


def account(layer: LayerDraft, dtype: np.dtype[Any], budget: Budget) -> None:
    """Account for the memory of a layer's arrays: small integers in a file become numbers of four or eight bytes."""
    place = f"layer {layer.path!r} ({layer.class_name})"
    numbers = sum(array.size for array in layer.weights)
    budget.hold(place, sum(array.size for array in layer.weights if array.dtype != dtype) * dtype.itemsize)
    # Gates are cut apart and joined again; the sum with a product of low rank is in float64.
    budget.lend(place, numbers * (3 * WIDEST if layer.lora is not None else 2 * dtype.itemsize))


def flipped(kernel: np.ndarray) -> np.ndarray:
    """A convolution kernel with its spatial axes reversed: Theano convolves where others correlate."""
    return kernel[tuple(slice(None, None, -1) for _ in range(kernel.ndim - 2))] if kernel.ndim > 2 else kernel


def plain_gates(layer: LayerDraft) -> None:
    """Undo the layout of the CuDNN layers, told by their bias, and fill in GRU's ``reset_after``."""
    gates, config = layer.row.gates, layer.config
    if len(layer.weights) == 3:
        kernel, recurrent_kernel, bias = layer.weights
        cudnn = bias.ndim == 1 and kernel.ndim == 2 and bias.size == 2 * kernel.shape[1] and kernel.shape[1] % gates == 0
        if cudnn:
            units = kernel.shape[1] // gates
            if recurrent_kernel.shape == (units, gates * units):
                kernels = [part.T.reshape(part.shape, order="F") for part in np.split(kernel, gates, axis=1)]
                recurrent = [part.T for part in np.split(recurrent_kernel, gates, axis=1)]
                halves = bias.reshape(2, -1)
                bias = halves[0] + halves[1] if gates == 4 else halves
                layer.weights = (np.concatenate(kernels, axis=1), np.concatenate(recurrent, axis=1), bias)
                if gates == 3:
                    config.setdefault("reset_after", True)
        elif gates == 3:
            config.setdefault("reset_after", bias.ndim == 2)
    if gates == 3:
        config.setdefault("reset_after", False)


def infer_input(model: ModelDraft) -> bool:
    """Find the input shape of a Sequential that was saved without one, from its first weights; return whether it is known."""
    given = model.layers[0].config
    if given.get("shape") is not None:
        return True
    for layer in model.layers[1:]:
        inner = layer.children[0] if layer.children else layer
        kernel = inner.weights[0].shape if inner.weights else ()
        role = layer.row.role
        if role is Role.EMBEDDING:
            given["shape"] = [None, None]
        elif role in ALONG_TIME and not layer.row.axes and len(kernel) == 2:
            given["shape"] = [None, None, kernel[0]]
        elif role is Role.CONVOLUTION and layer.row.axes == 1 and len(kernel) == 3 and layer.config.get("groups", 1) == 1:
            given["shape"] = [None, None, kernel[1]]
        elif role in (Role.MASKING, Role.IDLE):
            continue
        break
    return given.get("shape") is not None


def finish(model: ModelDraft, understood: Dialect, budget: Budget) -> ModelSpec:
    """Turn a model whose arrays are dealt into a spec."""
    for layer in model.layers:
        settle(layer, understood, budget, model.problems)
    if model.class_name == SEQUENTIAL and not infer_input(model):
        model.layers[0].config["shape"] = [None]
        model.problems.append(Problem("", "", "the file does not say what shape its input has", "build the model before saving it"))
    nested_inputs(model)
    return model.freeze(understood.generation, understood.rules)


def nested_inputs(model: ModelDraft) -> None:
    """Give nested Sequentials that were saved without an input shape one of unknown sizes: their input tells it."""
    for layer in model.layers:
        for inner in [layer, *layer.children]:
            if inner.model is not None:
                if inner.model.class_name == SEQUENTIAL and not infer_input(inner.model):
                    inner.model.layers[0].config["shape"] = [None]
                nested_inputs(inner.model)
