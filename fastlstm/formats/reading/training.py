"""Calls with training=True: what they change in what a model gives at inference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ...catalogue import Role
from .dialect import Dialect
from .draft import LayerDraft


class Trained(NamedTuple):
    """What becomes of a layer that is called with training=True."""

    problem: str = ""  # why that is not computed
    by_batch: bool = False  # does it normalise by the mean and variance of each batch then?


def is_random(layer: LayerDraft) -> bool:
    """Whether a layer itself draws random numbers while training."""
    return any(layer.config.get(rate) for rate in ("rate", "stddev", "dropout", "recurrent_dropout"))


def inside(layer: LayerDraft) -> Iterator[LayerDraft]:
    """A layer and all that it holds."""
    yield layer
    for inner in [*layer.children, *(layer.model.layers if layer.model is not None else ())]:
        yield from inside(inner)


def in_training(layer: LayerDraft, dialect: Dialect) -> Trained:
    """What training=True makes of a layer, where ``predict`` computes it.

    ``predict`` of Keras 3 hands training=False to every layer, whatever the graph says, so there it makes nothing of any.
    """
    if dialect.keras3:
        return Trained()
    found = list(inside(layer))
    if any(map(is_random, found)):
        return Trained("it is called with training=True, which makes it random")
    learned = [inner for inner in found if inner.row.role is Role.NORMALIZATION]
    if learned and any(inner.told_inference for inner in found if inner is not layer):
        return Trained("it is called with training=True, and a layer inside it with training=False, which is not computed")
    if not dialect.frozen_by_batch:
        for inner in learned:
            if not inner.trainable:
                inner.config["trainable"] = False  # it goes by its moving statistics all the same
    return Trained(by_batch=any(inner.trainable or dialect.frozen_by_batch for inner in learned))
