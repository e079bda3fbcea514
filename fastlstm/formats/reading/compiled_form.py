"""The form in which a spec keeps what a model was compiled with: loss, metrics and weights, as plain JSON.

A **choice** is one of

- None: nothing;
- ``{"name": "mse"}``: a name that Keras resolves, as it was given to ``compile``;
- ``{"name": "Huber", "config": {"delta": 0.5}}``: an object of a class of Keras's;
- ``{"custom": "my_loss"}``: what only its user has;
- a list of choices;
- ``{"outputs": {"left": choice, ...}}``: choices by the names of outputs.

``{"loss": choice, "metrics": choice, "weighted_metrics": choice, "loss_weights": ..., "sample_weight_mode": ...}`` is the whole, whose
last two are numbers and texts as Keras has them: one, a list, or an object by the names of outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .values import short

#: The keys of the whole, those that hold choices first.
CHOICES = ("loss", "metrics", "weighted_metrics")
PLAIN = ("loss_weights", "sample_weight_mode")
#: Lists in lists, and objects in arguments: no Keras writes deeper ones.
DEPTH = 8


def checked(value: Any) -> Mapping[str, Any] | None:
    """Return the canonical form as a file of ours holds it, if it is one; else raise a ValueError."""
    if value is None:
        return None
    if not isinstance(value, dict) or set(value) != {*CHOICES, *PLAIN}:
        raise ValueError(f"compiled: expected the keys {', '.join((*CHOICES, *PLAIN))}, found {short(value)}")
    for key in CHOICES:
        if not is_choice(value[key]):
            raise ValueError(f"compiled: {key}: expected a loss, a metric, or several, found {short(value[key])}")
    for key in PLAIN:
        if not is_plain(value[key]):
            raise ValueError(f"compiled: {key}: expected numbers and texts, found {short(value[key])}")
    return value


def is_choice(value: Any, depth: int = 0) -> bool:
    """Whether a JSON value is a canonical choice."""
    if value is None or depth > DEPTH + 1:
        return value is None
    if isinstance(value, list):
        return all(is_choice(one, depth + 1) for one in value)
    if not isinstance(value, dict):
        return False
    if set(value) == {"outputs"}:
        return isinstance(value["outputs"], dict) and all(is_choice(one, depth + 1) for one in value["outputs"].values())
    if set(value) == {"custom"}:
        return isinstance(value["custom"], str)
    config = value.get("config", {})
    named = set(value) in ({"name"}, {"name", "config"}) and isinstance(value["name"], str)
    return named and isinstance(config, dict) and all(is_plain(one, 1) for one in config.values())


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a JSON value is one of an argument: finite, and not too deep."""
    if isinstance(value, float):
        return math.isfinite(value)
    if value is None or isinstance(value, (bool, int, str)):
        return True
    if depth > DEPTH + 1:
        return False
    inner = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else [object()]
    return all(is_plain(one, depth + 1) for one in inner)


def checked_penalties(value: Any, place: str) -> Mapping[str, Mapping[str, Any]]:
    """Return a layer's penalties as a file of ours holds them, if they are; else raise a ValueError."""
    kinds = {"l1": float, "l2": float, "array": int, "name": str}
    whole = isinstance(value, dict) and all(isinstance(rule, dict) and set(rule) <= set(kinds) for rule in value.values())
    if not whole or not all(type(one) is kinds[key] and one == one for rule in value.values() for key, one in rule.items()):
        raise ValueError(f"{place}: penalties: expected factors l1 and l2, and the number of an array, found {short(value)}")
    return value
