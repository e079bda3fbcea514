"""Tensors of requests and answers: from nested lists and bytes to arrays, and back. Nothing is allocated before its size is proven."""

from __future__ import annotations

import base64
import binascii
import math
import struct
import sys
from array import array
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from ...inputs import TensorInfo, shape_text
from ..models.served import Served
from ..refusals import RefusedError

#: Axes that a tensor of a request may have.
MOST_AXES = 16
#: Numbers that are passed as arguments.
FEW = 1 << 14
#: A matrix has two.
MATRIX = 2
#: How Python's arrays call the numbers of an input, in the order in which they are tried. They take numbers alone: no text, no null.
CODES = {"float32": "f", "float64": "d"}
WHOLE = "qd"
TEXT = "string"
#: The datatypes of the Open Inference Protocol: NumPy's names, and codes of Python's arrays.
DATATYPES = {
    "BOOL": ("?", "B"), "INT8": ("<i1", "b"), "INT16": ("<i2", "h"), "INT32": ("<i4", "i"), "INT64": ("<i8", "q"),
    "UINT8": ("<u1", "B"), "UINT16": ("<u2", "H"), "UINT32": ("<u4", "I"), "UINT64": ("<u8", "Q"),
    "FP16": ("<f2", "f"), "FP32": ("<f4", "f"), "FP64": ("<f8", "d"), "BF16": ("<u2", "f"),
}  # fmt: skip
BYTES, BF16 = "BYTES", "BF16"
#: By dtype, and by NumPy's name of it: what the protocol calls it.
BY_DTYPE = {np.dtype(name): datatype for datatype, (name, _) in DATATYPES.items() if datatype != BF16}
NAMES = {dtype.name: datatype for dtype, datatype in BY_DTYPE.items()}
#: Bytes before each text of a tensor of BYTES: its length.
LENGTH = struct.Struct("<I")
#: What messages call values of JSON that are no numbers.
KINDS = {dict: "an object", list: "a list", bool: "a truth value", type(None): "null"}

#: Does this machine order bytes as the protocol does?
LITTLE = sys.byteorder == "little"

flat = chain.from_iterable


def fault(served: Served, info: TensorInfo, expected: str, found: str) -> RefusedError:
    """What is said of an input that does not fit."""
    return RefusedError(400, f"model {served.name!r}: input {info.name!r}: expected {expected}, found {found}")


# -- from JSON ------------------------------------------------------------------------------------------------------------


def nested(values: Any, served: Served, info: TensorInfo, codes: str | None = None) -> Any:
    """An array of nested lists; of texts, an array of objects; where rows differ in length and the model takes that, a list of arrays.

    Parameters
    ----------
    values
        Lists of lists, as JSON has them.
    served, info
        Whose input they are.
    codes
        Which numbers they may be, as codes of Python's arrays; None: those of the input.

    Raises
    ------
    RefusedError
        If lists of one depth differ in length, or hold something else.
    """
    if type(values) is not list:
        raise fault(served, info, "a list", _told(values))
    if info.dtype == TEXT:
        return _texts(values, served, info)
    codes = codes or (WHOLE if info.exact else CODES.get(info.dtype, WHOLE))
    try:
        shape, leaves = _levels(values)
    except TypeError:
        raise _wrong(values, served, info) from None
    if leaves is None:
        return _ragged(values, served, info, codes)
    return _array(leaves, codes, served, info, values).reshape(shape)


def _levels(values: list[Any]) -> tuple[list[int], list[Any] | None]:
    """The lengths of lists of each depth, and what stands in the innermost; no leaves: lengths differ.

    Texts and objects pass for lists here. Their parts are no numbers, which is seen where numbers are read.
    """
    shape, level = [len(values)], values
    while level and type(level[0]) is list and len(shape) < MOST_AXES:
        sizes = set(map(len, level))
        if len(sizes) > 1:
            return shape, None
        shape += sizes
        level = list(flat(level))
    return shape, level


def _array(leaves: list[Any], codes: str, served: Served, info: TensorInfo, values: Any) -> np.ndarray:
    for code in codes:
        try:
            return np.frombuffer(packed(code, leaves), code) if leaves else np.empty(0, code)
        except (TypeError, OverflowError, struct.error):
            continue
    raise _wrong(values, served, info)


def packed(code: str, leaves: list[Any]) -> Any:
    """Numbers of JSON side by side, as C has them; those of a few in a third of the time that an array takes, which gives the same.

    Raises
    ------
    TypeError, OverflowError, struct.error
        If one is none, or this datatype does not hold it.
    """
    return struct.pack(f"{len(leaves)}{code}", *leaves) if len(leaves) <= FEW else array(code, leaves)


def _ragged(values: list[Any], served: Served, info: TensorInfo, codes: str) -> list[np.ndarray]:
    """Rows of different lengths, each an array: where the model leaves the number of timesteps open."""
    if len(info.shape) < MATRIX or info.shape[1] is not None or any(type(row) is not list for row in values):
        raise _wrong(values, served, info)
    rows = []
    for row in values:
        try:
            shape, leaves = _levels(row)
        except TypeError:
            raise _wrong(values, served, info) from None
        if leaves is None:
            raise _wrong(values, served, info)
        rows.append(_array(leaves, codes, served, info, values).reshape(shape))
    return rows


def _texts(values: list[Any], served: Served, info: TensorInfo) -> np.ndarray:
    """An array of texts, str or bytes."""
    shape, level = [len(values)], values
    while level and type(level[0]) is list and len(shape) < MOST_AXES:
        if set(map(type, level)) != {list} or len(sizes := set(map(len, level))) > 1:
            raise fault(served, info, f"texts of shape {shape_text(info.shape)}", "lists of different lengths or depths")
        shape += sizes
        level = list(flat(level))
    if set(map(type, level)) != {str}:
        level = [text if type(text) is str else _decoded(text, served, info) for text in level]
    found = np.empty(len(level), object)
    found[:] = level
    return found.reshape(shape)


def is_packed(value: Any) -> bool:
    """Is it a text as TensorFlow Serving writes bytes: ``{"b64": ...}``?"""
    return type(value) is dict and len(value) == 1 and type(value.get("b64")) is str


def _decoded(value: Any, served: Served, info: TensorInfo) -> bytes:
    if not is_packed(value):
        raise fault(served, info, 'texts, or {"b64": ...}', _told(value))
    try:
        return base64.b64decode(value["b64"].encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise fault(served, info, "base64 after b64", f"{_told(value['b64'])} ({error})") from error


def _wrong(values: Any, served: Served, info: TensorInfo) -> RefusedError:
    """What is said of lists that make no array of numbers: the first value that is none, or the first list of another length."""
    expected = f"numbers of shape {shape_text(info.shape)}"
    shape, level = [len(values)], values
    while level and type(level[0]) is list and len(shape) < MOST_AXES:
        for place, item in enumerate(level):
            if type(item) is not list:
                return fault(served, info, expected, f"{_told(item)} beside lists, {_place(place, shape)}")
            if len(item) != len(level[0]):
                found = f"lists of {len(level[0])} and {len(item)} values, {_place(place, shape)}"
                return fault(served, info, expected, found)
        shape.append(len(level[0]))
        level = list(flat(level))
    for place, item in enumerate(level):
        if type(item) not in (int, float, bool):
            return fault(served, info, expected, f"{_told(item)}, {_place(place, shape)}")
    return fault(served, info, expected, "a number that this datatype does not hold")


def _place(number: int, shape: Sequence[int]) -> str:
    """Where something stands, as one would index it."""
    places = []
    for size in reversed(shape):
        number, place = divmod(number, max(size, 1))
        places.append(f"[{place}]")
    return "at " + "".join(reversed(places))


def _told(value: Any) -> str:
    """A value in a few words."""
    if type(value) is str:
        return f"a text ({value[:40]!r})"
    return KINDS.get(type(value), "a number")


# -- from bytes -----------------------------------------------------------------------------------------------------------


def binary(piece: memoryview, datatype: str, shape: Sequence[int], served: Served, info: TensorInfo) -> np.ndarray:
    """A tensor of raw bytes. ``shape`` is proven: whole numbers that are not negative.

    Raises
    ------
    RefusedError
        If there are not as many bytes as its shape has.
    """
    if datatype == BYTES:
        return _lengths_and_texts(piece, math.prod(shape), served, info).reshape(shape)
    dtype = np.dtype(DATATYPES[datatype][0])
    size = math.prod(shape) * dtype.itemsize
    if size != piece.nbytes:
        raise fault(served, info, f"{size} bytes for {datatype} of shape {list(shape)}", f"a binary_data_size of {piece.nbytes}")
    found = np.frombuffer(piece, dtype).reshape(shape)
    if datatype == BF16:
        return (found.astype(np.uint32) << 16).view(np.float32)
    return found if found.flags.aligned else found.copy()


def _lengths_and_texts(piece: memoryview, count: int, served: Served, info: TensorInfo) -> np.ndarray:
    """Texts, each behind its length."""
    if count * LENGTH.size > piece.nbytes:
        raise fault(served, info, f"{count} texts, each behind the 4 bytes of its length", f"{piece.nbytes} bytes")
    found, at = np.empty(count, object), 0
    for number in range(count):
        end = at + LENGTH.size
        size = LENGTH.unpack_from(piece, at)[0] if end <= piece.nbytes else 0
        if end + size > piece.nbytes:
            raise fault(served, info, f"{count} texts, each behind its length", f"that text {number} goes on beyond the end")
        found[number], at = bytes(piece[end : end + size]), end + size
    if at != piece.nbytes:
        raise fault(served, info, f"{count} texts", f"{piece.nbytes - at} bytes more")
    return found


# -- answers --------------------------------------------------------------------------------------------------------------


def datatype_of(found: np.ndarray) -> str:
    """What the Open Inference Protocol calls the numbers or texts of an output."""
    return BY_DTYPE.get(found.dtype, BYTES)


def as_bytes(found: np.ndarray) -> bytes:
    """An output as raw bytes."""
    if found.dtype.kind in "OUST":
        texts = [_utf8(text) for text in found.reshape(-1).tolist()]
        return b"".join(flat((LENGTH.pack(len(text)), text) for text in texts))
    return found.tobytes() if LITTLE else found.astype(found.dtype.newbyteorder("<")).tobytes()


def _utf8(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode(errors="surrogatepass")


def writable(name: str, found: np.ndarray) -> Any:
    """An output as JSON takes it: an array of numbers, or lists of texts; bytes that are no text as ``{"b64": ...}``.

    So are all texts of an output whose name ends with ``_bytes``, as in TensorFlow Serving.
    """
    if found.dtype.kind not in "OUST":
        return np.ascontiguousarray(found)
    texts = np.empty(found.size, object)
    packed = name.endswith("_bytes")
    texts[:] = [_text(text, packed=packed) for text in found.reshape(-1).tolist()]
    return texts.reshape(found.shape).tolist()


def _text(value: Any, *, packed: bool) -> Any:
    if not packed and isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            packed = True
    return {"b64": base64.b64encode(_utf8(value)).decode()} if packed else str(value)
