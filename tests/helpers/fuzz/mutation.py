"""Alters JSON: the inputs of most targets are JSON, or recipes of files that are."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from fastlstm.layers import REGISTRY

CLASSES = sorted(REGISTRY)
#: JSON that has grown beyond so many values is left as it is.
MOST_PLACES = 10_000
ODD = (
    None, True, False, -1, 0, 1, 2, 3, 5, 17, 1 << 10, 1 << 16, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 62, 1 << 63, -(1 << 63), 1 << 70,
    0.0, -0.0, 0.5, 1e-300, 1e308, float("nan"), float("inf"), "", "\0", "ü", "/", ":", "..", "a/b", "linear", "softmax", [], {}, [[]],
    [None], [-1], [0], [1, 1], {"": None}, {"$ref": [0, 0]}, {"$tuple": []}, {"class_name": "LSTM", "config": {}},
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside JSON."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        here = waiting.pop()
        for key in here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ():
            found.append((here, key))
            waiting.append(here[key])
    return found


def replacement(key: Any, value: Any, others: list[tuple[Any, Any]], chance: random.Random) -> Any:
    """A value that may stand in place of another."""
    kind = chance.randrange(5)
    if key == "class_name" and kind < 4:
        return chance.choice(CLASSES)
    if kind < 2 and isinstance(value, (int, float)) and not isinstance(value, bool):
        return value + chance.choice((-2, -1, 1, 2, 0.5, value))
    if kind == 2:
        return [copy.deepcopy(value)] * chance.randrange(3)
    if kind == 3 or isinstance(value, (dict, list)):
        container, key = chance.choice(others)
        return copy.deepcopy(container[key])
    return chance.choice(ODD)


def alter(value: Any, chance: random.Random) -> None:
    """Alter one place of a JSON object or list, or a value wherever it stands."""
    found = places(value)
    if not 0 < len(found) < MOST_PLACES:
        return
    container, key = chance.choice(found)
    kind = chance.randrange(8)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, list):
        container.insert(key, copy.deepcopy(container[chance.randrange(len(container))]))
    elif kind == 1:
        container[chance.choice([name for _, name in found if isinstance(name, str)] + [""])] = container.pop(key)
    elif kind == 2:
        other, where = chance.choice(found)
        container[key], other[where] = copy.deepcopy(other[where]), copy.deepcopy(container[key])
    elif kind == 3:  # the same everywhere: sizes that belong together stay together
        old, new = container[key], replacement(key, container[key], found, chance)
        for other, where in found if not isinstance(new, (dict, list)) else ():
            if type(other[where]) is type(old) and other[where] == old:
                other[where] = new
    else:
        container[key] = replacement(key, container[key], found, chance)


def mutated(data: bytes, limit: int, chance: random.Random) -> bytes | None:
    """JSON with a few places altered; None where it is none."""
    value = parsed(data)
    if value is None:
        return None
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        alter(value, chance)
    return written(value, limit) or data


def crossed(data: bytes, other: bytes, limit: int, chance: random.Random) -> bytes | None:
    """JSON with a part of other JSON in it; None where either is none."""
    value, giver = parsed(data), parsed(other)
    taken, given = places(value), places(giver)
    if not taken or not given:
        return None
    container, key = chance.choice(taken)
    alike = [place for place in given if place[1] == key] or given
    source, name = chance.choice(alike)
    container[key] = copy.deepcopy(source[name])
    return written(value, limit) or data


def parsed(data: bytes) -> Any:
    """A JSON object or list, or None."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, (dict, list)) else None


def written(value: Any, limit: int) -> bytes:
    """JSON as bytes; none where they are too many, or too deep."""
    try:
        data = json.dumps(value, separators=(",", ":")).encode()
    except RecursionError:
        return b""
    return data if len(data) <= limit else b""
