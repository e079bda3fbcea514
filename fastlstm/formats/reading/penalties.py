"""Regularisation, as layers' configs have it: what Keras adds to a loss for large weights. ``predict`` does not depend on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...catalogue import Role
from .values import short

ENDING = "_regularizer"
#: What stands for a penalty of what a layer gives, not of its weights.
ACTIVITY = "activity"
#: The factors that Keras takes where only a name is given.
USUAL = {"l1": {"l1": 0.01}, "l2": {"l2": 0.01}, "l1_l2": {"l1": 0.01, "l2": 0.01}, "l1l2": {"l1": 0.01, "l2": 0.01}}
#: Classes whose factors are l1 and l2. The last is Keras 1's.
PLAIN = frozenset({"L1", "L2", "L1L2", "WeightRegularizer"})


def rule(value: Any) -> dict[str, Any]:
    """The factors of a regulariser; the name of one that has others."""
    if isinstance(value, str):
        return dict(USUAL.get(value.lower(), {"name": value}))
    if not isinstance(value, Mapping):
        return {"name": short(value)}
    kind, config = value.get("class_name", value.get("name")), value.get("config", value)
    factors = {key: config[key] for key in ("l1", "l2") if key in config} if isinstance(config, Mapping) else {}
    if kind not in PLAIN or not all(isinstance(one, (int, float)) and not isinstance(one, bool) and one == one for one in factors.values()):
        return {"name": short(kind)}
    return {key: float(one) for key, one in factors.items() if one}


def penalties(config: Mapping[str, Any], role: Role) -> dict[str, dict[str, Any]]:
    """By what it is a penalty of - "kernel", "bias", "activity" - the factors, of a layer's config as the file has it."""
    found = {key.removesuffix(ENDING): rule(value) for key, value in config.items() if key.endswith(ENDING) and value is not None}
    if role is Role.IDLE and {"l1", "l2"} <= set(config):  # a layer whose penalty is all that it does
        found[ACTIVITY] = rule({"class_name": "L1L2", "config": config})
    return {key: one for key, one in found.items() if one}
