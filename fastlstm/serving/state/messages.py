"""What the messages of a WebSocket hold, and their answers.

Text is JSON. ``[0.1, 0.2]`` is a timestep of a model of one input, and ``7`` one of ids; ``[[0.1, 0.2], [0.3, 0.4]]`` and ``[7, 8]`` are
several. ``{"inputs": {"name": ...}}`` names the inputs, as it has to where there are several. An answer has the form of what it answers:
the output without its batch axis; or, by name, ``{"outputs": {"name": ...}}``, as always of a model of several outputs. ``null`` stands for
NaN in what comes, and for whatever is no finite number in answers.

Binary messages are the numbers alone, little-endian, in the dtype of the input (float32; float64; int32 for ids): of a timestep, or of
several, one after another; where there are several inputs, of one timestep, input after input. So are answers: output after output, each in
its dtype.
"""

from __future__ import annotations

import base64
import binascii
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson

from ...errors import InputError
from ...inputs import TensorInfo, shape_text, told
from ...layers.streaming import is_sequence
from ...spec import STRING
from ..models.served import Served
from .timesteps import Form, Outputs, read

#: Do numbers lie in memory as binary messages have them?
LITTLE = sys.byteorder == "little"
#: What messages say of shapes has no batch axis.
NO_LEAD: tuple[int, ...] = ()
#: What an array of numbers is made of, in JSON.
NUMBERS = frozenset({list, int, float, bool, type(None)})
FORMS = 'a timestep ([0.1, 0.2]), several ([[...], ...]), {"inputs": {...}}, {"reset": true}, {"state": true} or {"state": "..."}'


@dataclass(frozen=True)
class Asked:
    """What a text asks for: "step" with values, "reset", "save", or "load" with a state."""

    what: str
    values: Mapping[str, np.ndarray] | None = None
    form: Form = (None, ())
    named: bool = False
    state: bytes = b""


class Part:
    """One input in binary messages: ``size`` bytes of a timestep of this shape."""

    def __init__(self, info: TensorInfo):
        self.name, self.sequence = info.name, is_sequence(info.shape, info.vocabulary)
        rest = info.shape[1 + self.sequence :]
        self.dtype = None if info.dtype == STRING or None in rest else np.dtype(info.dtype).newbyteorder("<")
        self.rest = tuple(size or 0 for size in rest)
        self.size = 0 if self.dtype is None else self.dtype.itemsize * math.prod(self.rest)


class Messages:
    """Reads the messages for a version of a model, and writes its answers."""

    def __init__(self, served: Served):
        self.inputs, self.outputs = served.inputs, served.outputs
        self.parts = [Part(info) for info in served.inputs]
        self.size = sum(part.size for part in self.parts)  # bytes of a timestep
        first = self.parts[0]
        self._single = len(self.parts) == 1 and self.size > 0
        self._form: Form = (None, tuple("" if part.dtype is None else part.dtype.str for part in self.parts))
        self._name, self._dtype, self._shape = first.name, first.dtype, (1, *first.rest)
        self._named = served.named
        self._plain = len(served.outputs) == 1
        #: Bytes of a message that :meth:`timestep` reads; -1: of none.
        self.quick = self.size if self._single and all(info.dtype != STRING for info in served.outputs) else -1

    # -- binary -----------------------------------------------------------------------------------------------------------

    def timestep(self, data: bytes) -> np.ndarray:
        """What a binary message of ``quick`` bytes holds."""
        return np.ndarray(self._shape, self._dtype, data)

    def binary(self, data: bytes) -> tuple[Mapping[str, np.ndarray], Form]:
        """What a binary message holds.

        Raises
        ------
        InputError
            If it has another size, or the model takes none.
        """
        if len(data) == self.quick:
            return {self._name: self.timestep(data)}, self._form
        for part, info in zip(self.parts, self.inputs, strict=True):
            if part.dtype is None:
                what = "texts" if info.dtype == STRING else f"shape {shape_text(info.shape)}"
                raise InputError(f"message: expected JSON, as input {part.name!r} has {what}, found {len(data)} bytes")
        if self._single and data and len(data) % self.size == 0 and self.parts[0].sequence:
            steps = len(data) // self.size
            x = np.frombuffer(data, self._dtype).reshape(1, steps, *self._shape[1:])
            return {self._name: x}, (steps, self._form[1])
        if len(data) != self.size:
            sizes = " and ".join(f"{part.size} of {part.name!r}" for part in self.parts)
            several = ", or that many times the number of timesteps" if self._single and self.parts[0].sequence else ""
            raise InputError(f"message: expected the bytes of a timestep, {sizes}{several}, found {len(data)}")
        values, at = {}, 0
        for part in self.parts:
            values[part.name] = np.frombuffer(data[at : at + part.size], part.dtype).reshape(1, *part.rest)
            at += part.size
        return values, self._form

    def as_bytes(self, found: Outputs) -> bytes:
        """The answer to a binary message."""
        parts = [(y if LITTLE else y.byteswap()).tobytes() for y in found.values()]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def as_bytes_of_one(self, y: Any) -> bytes:
        """The same for what a model gives: an array, if it has one output."""
        if type(y) is np.ndarray and LITTLE:
            return y.tobytes()
        return self.as_bytes(self._named(y))

    def check_binary(self) -> None:
        """Refuse binary messages before anything has advanced, where answers cannot be binary."""
        for info in self.outputs:
            if info.dtype == STRING:
                raise InputError(f"message: expected JSON, as output {info.name!r} is text, found a binary message")

    # -- text -------------------------------------------------------------------------------------------------------------

    def text(self, text: str) -> Asked:
        """What a text holds.

        Raises
        ------
        InputError
            If it is none of the forms, or does not fit the model.
        """
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise InputError(f"message: expected JSON, {FORMS}; found: {error}") from None
        if not isinstance(value, dict):
            if len(self.inputs) > 1:
                names = ", ".join(info.name for info in self.inputs)
                raise InputError(f'message: expected {{"inputs": {{...}}}} with {names}, as the model has several; found {told(value)}')
            return self._step({self._name: value}, named=False)
        if len(value) == 1:
            ((key, what),) = value.items()
            if key == "inputs" and isinstance(what, dict):
                return self._step(what, named=True)
            if what is True and key in ("reset", "state"):
                return Asked("save" if key == "state" else "reset")
            if key == "state" and isinstance(what, str):
                return Asked("load", state=decoded(what))
        raise InputError(f"message: expected {FORMS}; found {told(value)}")

    def _step(self, given: Mapping[str, Any], *, named: bool) -> Asked:
        by_name = {info.name: info for info in self.inputs}
        arrays = {name: array_of(value, name, by_name.get(name))[np.newaxis] for name, value in given.items()}
        values, form = read(arrays, self.inputs, NO_LEAD)
        return Asked("step", values, form, named)

    def as_text(self, found: Outputs, named: bool) -> str:
        """The answer to a text."""
        plain = {name: listed(y) for name, y in found.items()}
        value = next(iter(plain.values())) if self._plain and not named else {"outputs": plain}
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def array_of(value: Any, name: str, info: TensorInfo | None) -> np.ndarray:
    """An array of what JSON has for an input."""
    if info is not None and info.dtype == STRING:
        raise InputError(f"input {name!r}: expected a model of numbers, as texts have no timesteps, found one of texts")
    if not of_numbers(value):
        raise InputError(f"input {name!r}: expected numbers, found {told(value)}")
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O" and all(one is None or type(one) in (int, float) for one in array.flat):
            array = np.asarray(value, np.float64)  # null is NaN
    except (ValueError, OverflowError) as error:
        raise InputError(f"input {name!r}: expected numbers in lists of one length, found {told(value)}: {error}") from None
    if array.dtype.kind not in "biuf":
        raise InputError(f"input {name!r}: expected numbers, found {told(value)}")
    if array.dtype == np.float64 and info is not None and info.dtype == "float32":
        with np.errstate(over="ignore"):  # beyond float32 is inf
            array = array.astype(np.float32)
    return array


def of_numbers(value: Any) -> bool:
    """Is it a number, or lists that hold nothing else? NumPy would give every text as much memory as the longest of them needs."""
    level = [value]
    while level:
        if not NUMBERS.issuperset(map(type, level)):
            return False
        level = list(chain.from_iterable(one for one in level if type(one) is list))
    return True


def listed(y: Any) -> Any:
    """The one row of an output for JSON: orjson reads arrays of numbers itself."""
    if y.dtype.kind in "OUS":
        return decoded_texts(y.tolist()[0])
    return np.ascontiguousarray(y[0]) if y.ndim > 1 else y[0].item()


def decoded_texts(values: Any) -> Any:
    """Texts in lists."""
    if isinstance(values, list):
        return [decoded_texts(one) for one in values]
    return values.decode(errors="replace") if isinstance(values, bytes) else values


def encoded(state: bytes) -> str:
    """A state as text."""
    return base64.b64encode(state).decode()


def decoded(text: str) -> bytes:
    """A state that :func:`encoded` wrote."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError('state: expected the text that {"state": true} was answered with, found another') from None
