"""How arguments are read, and what is said of those that do not fit. Pickles are never opened: the message says what to write instead."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FastLSTMError, InputError

#: How files of pickles are usually called.
PICKLES = frozenset({".pkl", ".pickle", ".joblib", ".pck"})
#: How pickles of protocol 2 and later begin, and the compressed ones of joblib and gzip.
BEGINNINGS = (b"\x80", b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda", b"BZh", b"\xfd7z")
#: Characters of the largest JSON that is read.
MOST = 1 << 28
#: What writes JSON, where the pickle was made.
TOKENIZER_LINE = 'open("tokenizer.json", "w").write(tokenizer.to_json())'
SCALER_LINE = 'json.dump({k: v.tolist() if hasattr(v, "tolist") else v for k, v in vars(scaler).items()}, open("scaler.json", "w"))'
LABELS_LINE = 'json.dump(encoder.classes_.tolist(), open("labels.json", "w"))'


def told(value: Any) -> str:
    """A value in a message."""
    try:
        return reprlib.repr(value)
    except Exception:  # noqa: BLE001 - the message is about another error
        return f"a {type(value).__name__} that cannot be printed"


@contextmanager
def reading(name: str, expected: str) -> Iterator[None]:
    """While an argument is read: whatever its own class or NumPy raises is an InputError that names it."""
    try:
        yield
    except FastLSTMError:
        raise
    except Exception as error:
        raise InputError(f"{name}: expected {expected}, found what does not fit: {type(error).__name__}: {str(error)[:300]}") from error


def whole(value: Any, name: str, least: int = 1) -> int:
    """A whole number from ``least`` on."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name}: expected a whole number from {least} on, found {told(value)}")
    return int(value)


def chosen(value: Any, name: str, known: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in known:
        raise InputError(f"{name}: expected {' or '.join(map(repr, known))}, found {told(value)}")
    return value


def refuse_pickle(data: bytes, name: str, where: str, line: str) -> None:
    """Raise an InputError if bytes, or a file of such a name, are a pickle.

    Parameters
    ----------
    data
        How it begins.
    name
        The argument.
    where
        The file, or what the caller passed.
    line
        What writes the same as JSON, where the pickle can be opened.
    """
    if data.startswith(BEGINNINGS) or (Path(where).suffix.lower() in PICKLES and data.lstrip()[:1] not in (b"{", b"[", b'"')):
        raise InputError(
            f"{name}: expected JSON, found a pickle, {where}: opening one runs code, so it is never read; "
            f"write JSON in the Python that made it: {line}"
        )


def refuse_word(given: Any, name: str, expected: str) -> None:
    """Raise an InputError if a text is a plain word, which is meant to be something else than a file, as there is none of this name."""
    if isinstance(given, str) and given.isidentifier() and not os.path.exists(given):
        raise InputError(f"{name}: expected {expected}; found {told(given)}, and there is no file of this name")


def json_of(given: Any, name: str, line: str) -> Any:
    """What a path, a JSON text or its bytes hold.

    Raises
    ------
    InputError
        If it is no JSON. Of a pickle, the error shows the line that writes JSON.
    """
    where = name
    if isinstance(given, os.PathLike) or (isinstance(given, str) and given.lstrip()[:1] not in ("{", "[", '"')):
        where = os.fsdecode(given)
        if not os.path.exists(where):
            refuse_pickle(b"", name, where, line)
        given = read(where, name)
    if isinstance(given, (bytes, bytearray, memoryview)):
        data = bytes(given)
        refuse_pickle(data[:16], name, where, line)
        with reading(name, "JSON in UTF-8"):
            given = data.decode("utf-8-sig")
    if len(given) > MOST:
        raise InputError(f"{name}: expected up to {MOST} characters of JSON, found {len(given)}")
    return parsed(given, name, where)


def parsed(text: str, name: str, where: str = "") -> Any:
    """A JSON text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        place = f" ({where})" if where and where != name else ""
        raise InputError(f"{name}{place}: expected JSON, found {told(text)}: {error}") from error


def read(path: str, name: str) -> bytes:
    """The bytes of a file."""
    try:
        with open(path, "rb") as file:
            return file.read(MOST + 1)
    except (OSError, ValueError) as error:  # ValueError: not a possible path
        raise InputError(f"{name}: {path:.300}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def mapping(value: Any, name: str) -> Mapping[Any, Any]:
    """A dict."""
    if not isinstance(value, Mapping):
        raise InputError(f"{name}: expected a dict, found {told(value)}")
    return value


def as_json(written: Any, **kwargs: Any) -> str:
    """An object as Keras's ``to_json`` writes it, by its ``get_config``; ``kwargs`` are those of ``json.dumps``."""
    return json.dumps({"class_name": type(written).__name__, "config": written.get_config()}, **kwargs)
