"""Which kind of file something is: by its ending, by the name that the caller gives, or by its first bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ...errors import InputError

#: Standard input as a source, standard output as a target.
STANDARD = "-"
#: The kinds, by what their names end in.
ENDINGS: Mapping[str, str] = {
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "arrow", ".feather": "feather", ".ipc": "arrow", ".arrows": "arrows", ".csv": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".npy": "npy", ".npz": "npz", ".txt": "txt",
}  # fmt: skip
KINDS = tuple(dict.fromkeys(ENDINGS.values()))
#: What can be written.
WRITTEN = tuple(kind for kind in KINDS if kind != "txt")
#: What a pipe can give, and take: the others are read, or finished, at several places of the file.
PIPED_IN = ("arrows", "csv", "jsonl", "txt")
PIPED_OUT = ("arrows", "csv", "jsonl")
#: What holds nothing but arrays, and needs NumPy alone.
ARRAYS = ("npy", "npz")
#: As messages call them.
CALLED: Mapping[str, str] = {
    "parquet": "Parquet", "arrow": "an Arrow file", "feather": "Feather", "arrows": "an Arrow stream", "csv": "CSV",
    "jsonl": "JSON lines", "npy": ".npy", "npz": ".npz", "txt": "text",
}  # fmt: skip
#: How files begin.
MAGIC: Mapping[bytes, str] = {
    b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "arrows", b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"FEA1": "feather",
}  # fmt: skip


def of_path(path: str, given: str | None = None, *, option: str = "") -> str:
    """The kind of a file.

    Parameters
    ----------
    path
        Its path.
    given
        The kind that the caller says it is; None: by its ending.
    option
        What the caller says it by, for the message.

    Raises
    ------
    InputError
        If the ending is none that is known.
    """
    if given is not None:
        return given
    ending = os.path.splitext(path)[1].lower()
    if ending not in ENDINGS:
        said = f"; {option} says what it is" if option else ""
        raise InputError(f"{path}: expected a file ending in {', '.join(ENDINGS)}, found {ending or 'no ending'}{said}")
    return ENDINGS[ending]


def of_bytes(head: bytes, *, otherwise: str) -> str:
    """The kind of what begins with these bytes.

    Parameters
    ----------
    head
        The first bytes.
    otherwise
        The kind where they tell nothing.
    """
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    return "jsonl" if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else otherwise
