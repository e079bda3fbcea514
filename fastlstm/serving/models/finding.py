"""Which models and versions there are on disk. Only paths that the service was told at its start are looked at."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from ...batch.loaded import stamp_of
from ...errors import FastLSTMError, InputError
from ...formats.several import files_of
from ...inputs import told
from ..refusals import RefusedError

#: What requests, logs and metrics can name a model.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
NAMES = "letters, digits and _.-, a letter or digit first, at most 128"
#: What files of models are called; of other files in a folder of models none is opened.
ENDINGS = (".h5", ".hdf5", ".keras", ".fastlstm")
#: A version: TensorFlow Serving's are 64 bits.
MOST_VERSION = 2**63 - 1
VERSION = re.compile(r"[0-9]{1,18}")

#: Where each version stands, by its number.
Versions = Mapping[int, str]


def checked_name(name: Any, what: str = "models") -> str:
    """A name that requests can have in their path."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"{what}: expected names of {NAMES}, found {told(name)}")
    return name


def name_of(path: str) -> str:
    """What a model is called unless somebody says otherwise: as its file, without its ending."""
    name = os.path.basename(os.path.abspath(path))
    stem, ending = os.path.splitext(name)
    return stem if ending.lower() in ENDINGS and stem else name


def number_of(text: str | None) -> int | None:
    """The number of a version that a request names; None: it names none.

    Raises
    ------
    RefusedError
        400, if it is no number, or more than 64 bits.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST_VERSION)) and int(text) <= MOST_VERSION):
        raise RefusedError(400, f"version: expected a whole number from 0 on, found {text[:40]!r}")
    return int(text)


def versions(path: str) -> Versions | None:
    """The versions of a model at a path: of a file, or of a folder that is a model itself, the only one, 1; None: nothing is there.

    Raises
    ------
    FastLSTMError
        If it is a folder, and what is in it is not known.
    """
    if not os.path.isdir(path):
        return {1: path} if os.path.lexists(path) else None
    if files_of(path):
        return {1: path}
    found: dict[int, str] = {}
    try:
        names = sorted(os.listdir(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    for name in names:
        stem, ending = os.path.splitext(name)
        if VERSION.fullmatch(stem) and (ending.lower() in ENDINGS or (not ending and os.path.isdir(os.path.join(path, name)))):
            found.setdefault(int(stem), os.path.join(path, name))
    return found


def model_in(path: str) -> str:
    """The model of a version: its folder, where that is a model, or the only file of a model in it.

    Raises
    ------
    FastLSTMError
        If there is none, or more than one.
    """
    if not os.path.isdir(path) or files_of(path):
        return path
    try:
        files = sorted(name for name in os.listdir(path) if os.path.splitext(name)[1].lower() in ENDINGS)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(files) != 1:
        raise InputError(f"{path}: expected a model, or a folder with one file {', '.join(ENDINGS)} in it, found {len(files)} of these")
    return os.path.join(path, files[0])


def stamp(path: str) -> Any:
    """What changes when a file, or one in a folder, is replaced or grows; None: it is not there, or just going."""
    try:
        return stamp_of(path)
    except OSError:
        return None


def models_in(folder: str, known: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The models of a folder, path by name, and what is said of others in it.

    Parameters
    ----------
    folder
        Whose files and folders are models.
    known
        Those that were found before: of two that have one name, the one that is served stays.

    Raises
    ------
    OSError
        If the folder cannot be read.
    """
    found: dict[str, str] = {}
    said = []
    for entry in sorted(os.listdir(folder)):
        path = os.path.join(folder, entry)
        if entry.startswith(".") or not (os.path.splitext(entry)[1].lower() in ENDINGS or is_model_folder(path)):
            continue
        name = name_of(path)
        if not NAME.fullmatch(name):
            said.append(f"{path}: is not served: expected a name of {NAMES}; rename it")
        elif name in found:
            kept = path if known.get(name) == path else found[name]
            other = found[name] if kept == path else path
            found[name] = kept
            said.append(f"{other}: is not served: {kept} is called {name!r} too; rename one of them")
        else:
            found[name] = path
    return found, said


def is_model_folder(path: str) -> bool:
    """Is it a folder that is a model, or one of versions?"""
    try:
        return os.path.isdir(path) and bool(versions(path))
    except FastLSTMError:  # a damaged one: that is said when it is loaded
        return True
