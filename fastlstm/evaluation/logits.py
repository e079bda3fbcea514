"""The logits of a model's outputs, from which TensorFlow computes crossentropies behind a softmax or sigmoid.

Keras on TensorFlow goes back from a tensor of probabilities to what the softmax or sigmoid was given, in one of two ways, by version. It
looks at the operation that made the tensor, and takes it if it is the one that the loss is for. Or the activation has kept its input on
the tensor, and every crossentropy takes that, whatever ``from_logits`` says and whichever activation it was: a binary crossentropy of a
softmax is then that of the sigmoid of its logits. Read in ``keras/backend.py``, ``_get_logits``, and compared with each version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from ..catalogue import SOFTMAX, Role, row_of
from ..spec import Call, LayerSpec, ModelSpec, Ref
from .compiling import Wanted
from .counting import COUNTINGS, Counting
from .naming import is_crossentropy
from .predicting import Logits, Shown

LINEAR, SIGMOID = "linear", "sigmoid"
#: The activations that are gone back from.
ACTIVATIONS = (SIGMOID, "softmax")
#: The roles of layers whose output is that of their activation.
ACTIVATED = (Role.OTHER, Role.CONVOLUTION)
#: Axes of a batch of vectors; up to TensorFlow 2.3 the softmax of more is made of several operations.
VECTORS = 2


class Place(NamedTuple):
    """Which output of a model has the logits of another, and of which activation; is that a layer of its own?"""

    number: int
    activation: str
    apart: bool


def exposed(spec: ModelSpec, chosen: Wanted) -> tuple[ModelSpec, Callable[[Shown], Shown]]:
    """The model with the logits of its outputs behind them, if anybody asks for them, and what puts in order what it shows."""
    counting = COUNTINGS[spec.rules.evaluation]
    if counting.logits == "never" or not any(map(asks, (chosen.loss, chosen.metrics, chosen.weighted_metrics))):
        return spec, as_it_is
    model = spec
    places: list[Place | None] = []
    for number in range(len(spec.outputs)):
        found = with_logits(model, spec.outputs[number], counting)
        if found is not None:
            model = found[0]
        places.append(None if found is None else found[1])
    if not any(places):
        return spec, as_it_is

    def ordered(shown: Shown) -> Shown:
        own = slice(len(places))
        logits = [None if place is None else told(shown.outputs[place.number], place, counting) for place in places]
        return Shown(shown.outputs[own], shown.masks[own], shown.lengths[own], logits)

    return replace(model, output_kind="list"), ordered


def as_it_is(shown: Shown) -> Shown:
    """What a model without logits shows."""
    return shown


def told(array: np.ndarray, place: Place, counting: Counting) -> Logits:
    """Logits, for the crossentropies that go back to them."""
    binary = place.activation == SIGMOID
    if counting.logits == "kept" and (counting.softmax_keeps or not place.apart):
        return Logits(array, array)
    if counting.logits == "made" and not binary and not place.apart and array.ndim > VECTORS:
        return Logits(None, None)
    return Logits(array if binary else None, None if binary else array)


def asks(choice: Any) -> bool:
    """Is there a crossentropy among choices?"""
    if isinstance(choice, Mapping) and set(choice) == {"outputs"}:
        return any(map(asks, choice["outputs"].values()))
    if isinstance(choice, Sequence) and not isinstance(choice, str):
        return any(map(asks, choice))
    return isinstance(choice, Mapping) and is_crossentropy(choice)


def with_logits(model: ModelSpec, ref: Ref, counting: Counting) -> tuple[ModelSpec, Place] | None:
    """The model with the logits of a tensor as one output more; None where nothing goes back from it."""
    call = model.calls[ref.call]
    layer = model.layers[call.layer]
    layers, calls = list(model.layers), list(model.calls)
    activation, apart = str(layer.config.get("activation")), False
    if layer.model is not None:
        inner = with_logits(layer.model, layer.model.outputs[ref.output], counting)
        if inner is None:
            return None
        layers[call.layer] = replace(layer, model=inner[0])
        made, activation, apart = Ref(ref.call, inner[1].number), inner[1].activation, inner[1].apart
    elif row_of(layer.class_name).role is Role.IDLE and counting.through_idle and isinstance(call.inputs[0], Ref):
        return with_logits(model, call.inputs[0], counting)
    elif layer.class_name == SOFTMAX and isinstance(call.inputs[0], Ref):
        made, activation, apart = call.inputs[0], ACTIVATIONS[1], True
    elif goes_back(layer):
        taken = {each.name for each in layers}
        name = next(name for n in count(1) if (name := f"{layer.name}{'_logits' * n}") not in taken)
        made = Ref(len(calls))
        calls.append(Call(len(layers), call.inputs, call.keywords))
        layers.append(replace(layer, name=name, config={**layer.config, "activation": LINEAR}, penalties={}))
    else:
        return None
    names = (*model.output_names, f"logits {len(model.outputs)}")
    found = replace(model, layers=tuple(layers), calls=tuple(calls), outputs=(*model.outputs, made), output_names=names)
    return found, Place(len(model.outputs), activation, apart)


def goes_back(layer: LayerSpec) -> bool:
    """Is what a layer returns what a sigmoid or softmax returns?"""
    return layer.config.get("activation") in ACTIVATIONS and not layer.children and row_of(layer.class_name).role in ACTIVATED
