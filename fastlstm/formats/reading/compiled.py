"""What a model was compiled with: its loss, metrics and weights, in one form for every Keras. No number of ``predict`` depends on it.

A file may say something here that nobody understands, a function of its user's above all. That is no error while a file is read:
whoever wants the loss or metric is told then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...errors import FormatError
from ...limits import Budget
from .compiled_form import CHOICES, DEPTH, PLAIN
from .jsontext import parse_json
from .values import short
from .vocabulary import users_own

#: What Keras calls a function that it has serialised.
FUNCTION = "function"
LAMBDA = "<lambda>"


def compiled(config: Any) -> Mapping[str, Any] | None:
    """The canonical form of a training or compile configuration.

    Parameters
    ----------
    config
        What the file has, parsed: ``training_config`` of ``.h5`` files and SavedModels, ``compile_config`` of ``.keras`` files.

    Returns
    -------
    Mapping or None
        See ``compiled_form``. None where the file has nothing that could be one.
    """
    if not isinstance(config, Mapping) or not any(key in config for key in CHOICES):
        return None
    found: dict[str, Any] = {key: choice(config.get(key)) for key in CHOICES}
    return {**found, **{key: plain(config.get(key)) for key in PLAIN}}


def compiled_text(text: str | None, budget: Budget) -> Mapping[str, Any] | None:
    """The same of a JSON text, None where it is not there or is no JSON: ``predict`` needs none of it."""
    try:
        return None if text is None else compiled(parse_json(text, budget, "training_config"))
    except FormatError:
        return None


def choice(value: Any, depth: int = 0) -> Any:
    """A canonical choice of losses or metrics."""
    if value is None or depth > DEPTH:
        return None if value is None else {"custom": short(value)}
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, (list, tuple)):
        return [choice(one, depth + 1) for one in value]
    if not isinstance(value, Mapping):
        return {"custom": short(value)}
    if "class_name" not in value:
        return {"outputs": {str(name): choice(one, depth + 1) for name, one in value.items()}}
    return of_object(value)


def of_object(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A choice that Keras has serialised: a function, or an object of a class."""
    kind, config = entry["class_name"], entry.get("config")
    own = users_own(entry)
    if own is not None:
        return {"custom": own}
    if kind == FUNCTION and isinstance(config, str):
        return {"name": config}
    if not isinstance(kind, str) or kind in (FUNCTION, "__lambda__"):
        return {"custom": LAMBDA}  # Keras keeps the code of functions without a name, which nobody runs
    config = config if isinstance(config, Mapping) else {}
    return {"name": kind.rsplit(">", 1)[-1], "config": {str(key): plain(one) for key, one in config.items()}}


def plain(value: Any, depth: int = 0) -> Any:
    """A value of an argument: numbers, texts, lists and objects of them; a function in it by its name."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if depth > DEPTH:
        return short(value)
    if isinstance(value, (list, tuple)):
        return [plain(one, depth + 1) for one in value]
    if not isinstance(value, Mapping):
        return short(value)
    if value.get("class_name") == FUNCTION and isinstance(value.get("config"), str):
        return value["config"]
    return {str(key): plain(one, depth + 1) for key, one in value.items()}
