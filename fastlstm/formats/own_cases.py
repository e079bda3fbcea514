"""The recorded cases of ``.fastlstm`` files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..errors import FormatError
from ..spec import Case
from .strict import object_of, typed

CASE_KEYS = frozenset({"name", "inputs", "outputs", "tolerance", "tolerances"})
#: What the name of an array of text is followed by, in the name of that which says where each text ends.
ENDS = "/ends"


class Arrays(Protocol):
    """The arrays of a file: see ``own.Store``."""

    path: str
    names: frozenset[str]

    def array(self, name: Any) -> np.ndarray: ...


def encode_case(case: Case, path: str, keep: Callable[[str, np.ndarray], str]) -> dict[str, Any]:
    """A case as JSON; ``keep`` stores an array under a name, or one much like it that is free, and returns that."""

    def stored(name: str, array: np.ndarray) -> str:
        if array.dtype != object:
            return keep(name, array)
        texts = array.reshape(-1).tolist()
        name = keep(name, np.frombuffer(b"".join(texts), np.uint8))
        keep(name + ENDS, np.cumsum([len(text) for text in texts], dtype=np.int64).reshape(array.shape))
        return name

    def names(calls: Sequence[Sequence[np.ndarray]], what: str) -> list[list[str]]:
        return [
            [stored(f"{path}/{what}/{call}/{number}", array) for number, array in enumerate(arrays)] for call, arrays in enumerate(calls)
        ]  # fmt: skip

    return {
        "name": case.name, "inputs": names(case.inputs, "in"), "outputs": names(case.outputs, "out"), "tolerance": float(case.tolerance),
        "tolerances": list(map(float, case.tolerances)),
    }  # fmt: skip


def decode_case(entry: Any, store: Arrays) -> Case:
    """A case from JSON."""

    def array(name: str) -> np.ndarray:
        return texts(store, name) if name + ENDS in store.names else store.array(name)

    def arrays(calls: Any) -> tuple[tuple[np.ndarray, ...], ...]:
        found = tuple(tuple(array(name) for name in names) for names in typed(calls, list[list[str]], "arrays of a case"))
        if not found or not all(call and all(array.ndim for array in call) for call in found):
            raise ValueError("a case without calls, or one without arrays that have rows")
        return found

    entry = object_of(entry, "a case", CASE_KEYS, frozenset({"tolerances"}))  # older files have one for all outputs
    tolerance, tolerances = typed(entry["tolerance"], float, "tolerance"), typed(entry.get("tolerances", []), list[float], "tolerances")
    return Case(typed(entry["name"], str, "name"), arrays(entry["inputs"]), arrays(entry["outputs"]), tolerance, tuple(tolerances))


def texts(store: Arrays, name: str) -> np.ndarray:
    """An array of text."""
    data, ends = store.array(name), store.array(name + ENDS)
    flat = ends.reshape(-1)
    if (
        data.dtype != np.uint8
        or data.ndim != 1
        or ends.dtype != np.int64
        or np.any(np.diff(flat, prepend=0) < 0)
        or flat[-1:].sum() != data.size
    ):
        raise FormatError(f"{store.path}: the text {name!r} is damaged: where it ends does not fit it")
    found, whole = np.empty(ends.size, object), data.tobytes()
    found[:] = [whole[begin:end] for begin, end in zip([0, *flat.tolist()], flat.tolist(), strict=False)]
    return found.reshape(ends.shape)
