"""From bytes to a :class:`fastlstm.spec.ModelSpec`: everything Keras ever saved, one file for each family of formats.

A format is a module with ``sniff(head, name) -> bool`` and ``read(path, *, architecture, by_name) -> ModelSpec``.
What a file is, its bytes say; its name is only used to explain.
"""

from __future__ import annotations

import os
from typing import Any

from ..errors import FormatError
from ..spec import ModelSpec
from . import native

HEAD = 4096


def read(path: str | os.PathLike[str], *, architecture: Any = None, by_name: bool = False) -> ModelSpec:
    """Read a model file of any known format.

    Parameters
    ----------
    path
        The file.
    architecture
        For files of weights alone: the model's JSON, a path to it, or a dict.
    by_name
        Pair layers and weights by name instead of order.

    Raises
    ------
    FormatError
        If the file is damaged, hostile or of no known format.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        what = "a SavedModel folder" if os.path.exists(os.path.join(name, "saved_model.pb")) else "a folder"
        raise FormatError(f"{name}: {what}, not a file; save the model as .h5 or .keras")
    try:
        with open(name, "rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        raise FormatError(f"{name}: cannot be opened ({error.strerror})") from error
    from . import keras_h5, keras_zip  # here, so that importing fastlstm does not import h5py

    for module in (native, keras_zip, keras_h5):
        if module.sniff(head, name):
            return module.read(name, architecture=architecture, by_name=by_name)
    raise FormatError(f"{name}: {explain(head)}")


def explain(head: bytes) -> str:
    """What a file of no known format is, and what would help."""
    if not head:
        return "the file is empty"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the model itself; fetch it with 'git lfs pull'"
    if head.startswith(b"\x80") and head[1:2] in b"\x02\x03\x04\x05":
        return "a pickle, which is never loaded; save the model with model.save('model.h5')"
    if b"\0" not in head:
        text = head.lstrip()
        if text.startswith((b"<!DOCTYPE", b"<html", b"<HTML")):
            return "a web page, not a model; the download went wrong"
        if text.startswith((b"{", b'"')):
            return "JSON, which has no weights; pass the file of weights as the model, and this as architecture="
        if b"class_name:" in head:
            return "YAML, which has no weights; save the model with model.save('model.h5')"
        return "a text file, not a model"
    if b"HDF\r\n" in head or head.startswith(b"\x89H"):
        return "a damaged or truncated HDF5 file"
    return "not a format that fastlstm reads (.h5 and .keras of Keras, .fastlstm)"
