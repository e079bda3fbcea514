"""Opens what is written: a file of any kind, or standard output; and makes one file of parts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, BinaryIO

from ...errors import InputError
from . import kinds
from .base import Sink, need

#: Where the sink of each kind stands.
SINKS = {
    "parquet": ("parquet", "ParquetSink"), "arrow": ("arrow", "ArrowSink"), "feather": ("arrow", "FeatherSink"),
    "arrows": ("arrow", "StreamSink"), "csv": ("csvtables", "CsvSink"), "jsonl": ("jsonlines", "JsonLinesSink"),
    "npy": ("arrays", "NpySink"), "npz": ("arrays", "NpzSink"),
}  # fmt: skip


def opened(stream: BinaryIO, name: str, kind: str, *, first: bool = True) -> Sink:
    """What writes a kind of file.

    Parameters
    ----------
    stream
        Where the bytes go.
    name
        As messages call it.
    kind
        One of :data:`kinds.WRITTEN`.
    first
        Is it the first part of a file?

    Raises
    ------
    InputError
        If the kind is not written, or what writes it is not installed.
    """
    if kind not in SINKS:
        raise InputError(f"{name}: expected {', '.join(kinds.CALLED[one] for one in SINKS)}, found {kinds.CALLED[kind]}")
    if kind not in kinds.ARRAYS:
        need("pyarrow", f"{name}: writing {kinds.CALLED[kind]}")
    return _class(kind)(stream, name, first=first)


def _class(kind: str) -> Any:
    module, name = SINKS[kind]
    return getattr(import_module(f".{module}", __package__), name)


def joins(kind: str) -> bool:
    """Can files of a kind be made of parts?"""
    return hasattr(_class(kind), "merge")


def merge(parts: Sequence[str], stream: BinaryIO, name: str, kind: str) -> None:
    """Write one file of several that were written as its parts.

    Parameters
    ----------
    parts
        Their paths, in order.
    stream
        Where the bytes go.
    name
        As messages call it.
    kind
        Of all of them.
    """
    _class(kind).merge(parts, stream, name)
