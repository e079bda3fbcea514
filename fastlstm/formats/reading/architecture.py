"""The architecture for a file of weights alone: JSON or YAML text, a path to it, or the parsed JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ...errors import FormatError, InputError
from ...limits import TEXT, Budget
from ..source import Source
from .jsontext import parse_json
from .marks import settled
from .yamltext import is_yaml, parse_yaml

Architecture = str | os.PathLike[str] | Mapping[str, Any]
#: The first character of a model's JSON; any other text that is not YAML is a path.
MARKS = ("{", '"')


def fetched(architecture: Architecture | Source) -> Mapping[str, Any] | str | Source:
    """Return an architecture with the bytes of the file that it names, if any, so that nothing remains to be opened."""
    if isinstance(architecture, (Mapping, Source)):
        return architecture
    if not isinstance(architecture, (str, os.PathLike)):
        raise InputError(f"architecture: expected JSON or YAML text, a path to it, or a dict, found {type(architecture).__name__}")
    text = os.fspath(architecture)
    if is_json(text) or is_yaml(text):
        return text
    if os.path.exists(text) and not os.path.isfile(text):
        raise FormatError(f"architecture: {text!r} is a folder, a pipe or a device; expected a file of JSON or YAML")
    try:
        with open(text, "rb") as stream:
            return Source(text, data=stream.read(TEXT + 1))
    except (OSError, ValueError) as error:  # ValueError: no path can be so
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"architecture: {text!r} is neither JSON, YAML nor a file that can be read ({reason})") from error


def load_architecture(architecture: Architecture | Source, budget: Budget) -> Any:
    """The parsed JSON of an architecture.

    Raises
    ------
    FormatError
        If it cannot be read, or is a draft of which anything is still to be confirmed.
    """
    given = fetched(architecture)
    if isinstance(given, Mapping):
        return settled(given, budget.source)
    text = _text(given) if isinstance(given, Source) else given
    return settled((parse_json if is_json(text) else parse_yaml)(text, budget, "architecture"), budget.source)


def is_json(text: str) -> bool:
    """Whether a text is JSON, by its first character."""
    return text.lstrip()[:1] in MARKS


def _text(file: Source) -> str:
    try:
        text = (file.data or b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"architecture: {file.name} is not a text file") from error
    if not is_json(text) and not is_yaml(text):
        raise FormatError(f"architecture: {file.name}: expected JSON or YAML of a model, found {text[:30]!r}")
    return text
