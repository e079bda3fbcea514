"""What Keras adds to a loss for what layers give: the penalties of activities, ``activity_regularizer``.

Keras shows a regulariser each output of each call of its layer, masked timesteps and padding included, batch by batch. Keras 3 from 3.14
on and TensorFlow 2 divide by the rows of the batch; Keras 3 before that does not, so that the loss grows with ``batch_size``. Keras 3
forgets it where TimeDistributed is around the layer. Compared with Keras 3.13, 3.15 and tf_keras.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..catalogue import Role, row_of
from ..errors import InputError
from ..spec import Call, LayerSpec, ModelSpec, Ref
from . import logits
from .compiling import Wanted
from .counting import COUNTINGS, Counting
from .penalties import ACTIVITY, factors_of, place_of
from .predicting import Shown

ADVICE = "pass penalties=False to leave out all that layers add"


class Activity(NamedTuple):
    """An output of a model that has a penalty, and where that stands."""

    number: int
    factors: tuple[float, float]  # of magnitudes, of squares
    place: str


def exposed(spec: ModelSpec, chosen: Wanted, penalties: bool) -> tuple[ModelSpec, Callable[[Shown], Shown]]:
    """The model with all that evaluation asks of it behind its outputs, and what puts in order what it shows.

    Parameters
    ----------
    spec
        Of a file.
    chosen
        Losses and metrics, of which some go back to logits.
    penalties
        Are the penalties of activities wanted?

    Raises
    ------
    InputError
        If they are, and there is one that is not known here.
    """
    model, ordered = logits.exposed(spec, chosen)
    if not penalties:
        return model, ordered
    known = len(model.outputs)
    model, found = with_activities(model, "", COUNTINGS[spec.rules.evaluation])
    if not found:
        return model, ordered

    def told(shown: Shown) -> Shown:
        own, rows = slice(known), of_rows(shown, found)
        return ordered(Shown(shown.outputs[own], shown.masks[own], shown.lengths[own]))._replace(activities=rows)

    return replace(model, output_kind="list"), told


def of_rows(shown: Shown, found: list[Activity]) -> np.ndarray:
    """The sum of all penalties of activities, of each row, float64."""
    total = np.zeros(len(shown.outputs[0]))
    for one in found:
        if shown.lengths[one.number] is not None:
            raise InputError(
                f"x: expected an array, as Keras adds a penalty of padded timesteps too ({one.place}), found a list of sequences; {ADVICE}"
            )
        array = np.asarray(shown.outputs[one.number], np.float64)
        axes, (l1, l2) = tuple(range(1, array.ndim)), one.factors
        total += l1 * np.abs(array).sum(axes) + l2 * np.square(array).sum(axes)
    return total


def with_activities(model: ModelSpec, prefix: str, counting: Counting) -> tuple[ModelSpec, list[Activity]]:
    """A model whose last outputs are those that have penalties."""
    layers = list(model.layers)
    refs: list[Ref] = []
    found: list[Activity] = []

    def add(ref: Ref, factors: tuple[float, float], place: str) -> None:
        found.append(Activity(len(model.outputs) + len(refs), factors, place))
        refs.append(ref)

    for number, layer in enumerate(model.layers):
        path = prefix + layer.name
        calls = [place for place, call in enumerate(model.calls) if call.layer == number]
        if layer.model is not None:
            layers[number], inside = nested(layer, path, counting)
            for call in calls:
                for one in inside:
                    add(Ref(call, one.number), one.factors, one.place)
            continue
        for place, rule in penalised(layer, path, counting):
            for call in calls:
                check_outputs(layer, model.calls[call], place)
                add(Ref(call), factors_of(rule, place), place)
    names = (*model.output_names, *(f"activity {number}" for number in range(len(refs))))
    return replace(model, layers=tuple(layers), outputs=(*model.outputs, *refs), output_names=names), found


def nested(layer: LayerSpec, path: str, counting: Counting) -> tuple[LayerSpec, list[Activity]]:
    """The same of a model in a model."""
    assert layer.model is not None
    inner, found = with_activities(layer.model, path + "/", counting)
    return replace(layer, model=inner) if found else layer, found


def penalised(layer: LayerSpec, path: str, counting: Counting) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The penalties of what a layer gives, and their places, of layers that it wraps too."""
    if ACTIVITY in layer.penalties:
        yield told_of(layer, path, counting), layer.penalties[ACTIVITY]
    inside = [(f"{path}/{child.name}", child) for child in layer.children]
    rules = [child.penalties.get(ACTIVITY) for _, child in inside]
    if not any(holds(child) for _, child in inside):
        return
    place = told_of(inside[0][1], inside[0][0], counting)
    role = row_of(layer.class_name).role
    if role is Role.DISTRIBUTED and not counting.distributed_activities:
        return
    both = role is Role.BIDIRECTIONAL and all(rule == rules[0] for rule in rules) and layer.config.get("merge_mode") == "concat"
    if not both or any(child.children for _, child in inside):
        raise InputError(f"loss: {place}: within {path!r} ({layer.class_name}) it is not computed; {ADVICE}")
    yield place, rules[0] or {}


def holds(layer: LayerSpec) -> bool:
    """Has a layer, or one in it, a penalty of what it gives?"""
    return ACTIVITY in layer.penalties or any(map(holds, (*layer.children, *(layer.model.layers if layer.model is not None else ()))))


def told_of(layer: LayerSpec, path: str, counting: Counting) -> str:
    """Where a penalty stands, for messages; refused where nothing says how its Keras counts it."""
    place = place_of(layer, path, ACTIVITY)
    if counting.activities is None:
        raise InputError(f"loss: {place}: how the Keras that saved the file counts it is not known; {ADVICE}")
    return place


def check_outputs(layer: LayerSpec, call: Call, place: str) -> None:
    """Refuse layers that give more than one tensor, each of which Keras would count."""
    inner = layer.children[0].config if layer.children else {}
    if any(config.get("return_state") for config in (layer.config, inner)) or call.keywords.get("return_attention_scores"):
        raise InputError(f"loss: {place}: of a layer with several outputs it is not computed; {ADVICE}")
