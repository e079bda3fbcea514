"""What the results of a job depend on: kept with them, so that those of another model or other options are never mixed in."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from ... import __version__
from ...errors import InputError
from ...replacing import writing
from ..predictor import Predictor
from .planning import Options, grouping

Facts = dict[str, Any]
#: What messages call some facts.
CALLED = {
    "bytes": "input (it has changed)", "changed": "input (it has changed)", "fastlstm": "version of fastlstm", "custom": "file of --custom",
    "loading": "part of the model", "key": "--key", "keep": "--keep", "nulls": "--nulls", "inputs": "--columns",
    "outputs": "--output-columns", "output_kind": "--output-format", "input_kind": "--input-format",
}  # fmt: skip
#: Bytes that are read of a model at once.
CHUNK = 1 << 20


def of_job(predictor: Predictor, options: Options, custom: str | None = None, part: Mapping[str, Any] | None = None) -> Facts:
    """What all results of a job depend on.

    Parameters
    ----------
    predictor
        What computes.
    options
        The caller's.
    custom
        A file of the caller's own functions.
    part
        What names a part of the model.
    """
    loading = {name: str(value) for name, value in {**(part or {}), "precision": predictor.precision}.items() if value}
    return {
        "fastlstm": __version__, "model": digest(predictor.path), "custom": None if custom is None else digest(custom),
        "loading": loading, "inputs": predictor.inputs, "outputs": predictor.outputs, "nulls": str(predictor.nulls),
        "key": list(grouping(predictor)), "keep": None if options.keep is None else list(options.keep),
        "output_kind": options.output_kind, "input_kind": options.input_kind,
    }  # fmt: skip


def of_input(path: str) -> Facts:
    """What tells whether a file that is read has changed."""
    found = os.stat(path)
    return {"input": os.path.abspath(path), "bytes": found.st_size, "changed": found.st_mtime_ns}


def digest(path: str) -> str:
    """Of the bytes of a file, or of all files of a folder, whatever their times."""
    state = hashlib.blake2b(digest_size=16)
    names = [path]
    if os.path.isdir(path):
        names = sorted(os.path.join(folder, name) for folder, _, files in os.walk(path) for name in files)
    elif not os.path.isfile(path):  # a checkpoint, by its name
        folder, stem = os.path.split(path)
        names = sorted(os.path.join(folder, name) for name in os.listdir(folder or ".") if name.startswith(stem + "."))
    for name in names:
        state.update(os.path.relpath(name, path).encode("utf-8", "surrogateescape"))
        with open(name, "rb") as file:
            while data := file.read(CHUNK):
                state.update(data)
    return state.hexdigest()


def mark(facts: Facts) -> str:
    """A short name of facts."""
    return hashlib.blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def differing(earlier: Facts, now: Facts) -> list[str]:
    """Which facts are others than they were, as messages call them."""
    plain = json.loads(json.dumps(now, default=str))
    names = [name for name in plain if earlier.get(name) != plain[name]]
    if "input" in names:  # another file has another size too
        names = [name for name in names if name not in ("bytes", "changed")]
    return list(dict.fromkeys(CALLED.get(name, name) for name in names))


def read(path: str) -> Facts | None:
    """Facts from a file; None where there is none.

    Raises
    ------
    InputError
        If it is damaged.
    """
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the notes of an earlier job cannot be read ({error}); --overwrite begins anew") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: the notes of an earlier job cannot be read (they are no object); --overwrite begins anew")
    return found


def write(path: str, facts: Facts) -> None:
    """Keep facts in a file."""
    with writing(path) as stream:
        stream.write(json.dumps(facts, indent=1, default=str).encode())
