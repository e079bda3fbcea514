"""Explanations of files and folders that no reader takes, and of what would help."""

from __future__ import annotations

import os
import re

from . import several
from .source import Source

#: Folders that are models: a file that gives each away, what such a folder is, and what to do.
FOLDERS = (
    ("model.weights.h5", "a folder of weights without the config.json that Keras 3 writes beside them",
     "pass the file {0}/model.weights.h5 with architecture="),
    ("checkpoint", "a folder of TensorFlow checkpoints, in which the one that its file 'checkpoint' names is not",
     "pass the name of one that is there, its .index, with architecture="),
    ("variables.index", "the weights of a SavedModel", "pass the folder above it; or {0}/variables.index with architecture="),
)  # fmt: skip
CHECKPOINT = (
    "a part of a TensorFlow checkpoint; pass the path of its .index, the .data files beside it, and architecture= (the JSON of "
    "model.to_json(), or a path to it)"
)
#: The last bytes of the table that a checkpoint's .index is.
TABLE_END = bytes.fromhex("57fb808b247547db")
#: How other kinds of files begin: at which byte, with what, what they are, and what to do.
BEGINNINGS = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the model itself; fetch it with 'git lfs pull'"),
    (4, b"TFL3", "a TensorFlow Lite model, which holds no layers; save the Keras model itself as .h5 or .keras"),
    (0, b"\x93NUMPY", "a NumPy array, not a model"),
    (0, b"\x1f\x8b", "packed with gzip; unpack it first (gunzip)"),
    (0, b"BZh", "packed with bzip2; unpack it first (bunzip2)"),
    (0, b"\xfd7zXZ", "packed with xz; unpack it first (unxz)"),
    (0, b"PAR1", "a Parquet file, not a model"),
    (257, b"ustar", "a tar archive; unpack it first"),
)


def explain_folder(path: str) -> str:
    """Say what a folder is."""
    for name, what, advice in FOLDERS:
        if os.path.exists(os.path.join(path, name)):
            return f"{what}; {advice.format(path)}"
    if any(name.endswith(".index") for name in several.names_in(path)):
        return "a folder of TensorFlow checkpoints; pass the .index of one of them with architecture="
    return "a folder, not a file; pass the file in it (.h5, .keras or .fastlstm)"


def explain(source: Source, head: bytes) -> str:
    """Say what a file of no known format is."""
    if not head:
        return "the file is empty"
    for place, mark, what in BEGINNINGS:
        if head.startswith(mark, place):
            return what
    if head.startswith(b"\x80") and head[1:2] in b"\x02\x03\x04\x05":
        return "a pickle, which is never loaded; save the model with model.save('model.h5')"
    name = os.path.basename(source.name)
    if re.search(r"\.data-\d+-of-\d+$", name) or ends_with(source, TABLE_END):
        return CHECKPOINT
    if name == "saved_model.pb":
        return "part of a SavedModel folder; pass the path of the folder"
    if b"\0" not in head:
        return explain_text(head)
    if b"HDF\r\n" in head or head.startswith(b"\x89H"):
        return "a damaged or truncated HDF5 file"
    return "not a format that fastlstm reads (.h5, .keras and SavedModel folders of Keras, .fastlstm)"


def explain_text(head: bytes) -> str:
    """Say what a text file is."""
    text = head.lstrip()
    if text.startswith((b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML")):
        return "a web page, not a model; the download went wrong"
    if text.startswith(b"{") and b'"weight_map"' in head:
        return "the index of weights that Keras 3 wrote in parts; pass its path, the parts beside it, and architecture="
    if text.startswith((b"{", b'"')):
        return "JSON, which has no weights; pass the file of weights as the model, and this as architecture="
    if b"model_checkpoint_path" in head:
        return CHECKPOINT
    if b"class_name:" in head:
        return "YAML, which has no weights; pass the file of weights as the model, and this as architecture="
    return "a text file, not a model"


def ends_with(source: Source, mark: bytes) -> bool:
    """Whether a file ends with these bytes."""
    with source.open() as stream:
        if not stream.seekable():
            return False
        stream.seek(max(0, source.size - len(mark)))
        return stream.read(len(mark)) == mark  # and not one byte more: a device never ends
