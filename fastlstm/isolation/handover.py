"""The messages of a process that reads a file for another one: a model as safetensors, as in a ``.fastlstm`` file, or an error.

Both directions have one form: eight bytes, the length of the JSON that follows, as ``.fastlstm`` files begin; the JSON; and the
bytes whose number its "size" states. Whoever takes an answer believes nothing in it: the process that gave it had read a file that
nobody vouches for. Nothing in it is run, and the model goes through the reader of ``.fastlstm`` files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..errors import FastLSTMError, FormatError, InputError, Problem, UnsupportedError, WeightsAloneError
from ..formats import own
from ..formats.inferring.listed import Inventory, from_plain, plain
from ..formats.own_cases import encode_case
from ..formats.reading.jsontext import expect, parse_json
from ..formats.source import Source
from ..limits import TEXT, Budget
from ..spec import Case, ModelSpec

#: What the reading process says first: it has started; what happens from now on comes from the file.
READY = b"fastlstm reads\n"
#: Bytes of the number that a message begins with.
PREFIX = 8
#: The most that comes before an answer's arrays: what the reader says, and the header of the model (see ``parse_json``).
HEADS = 2 * PREFIX + TEXT + own.HEADER_LIMIT
#: Exit code of a reader that was about to open what it must not.
FORBIDDEN = 77
#: The errors of a file, by name: those alone are raised again as what they were.
ERRORS: dict[str, type[FastLSTMError]] = {kind.__name__: kind for kind in (WeightsAloneError, FormatError, InputError)}
UNSUPPORTED, MEMORY = UnsupportedError.__name__, MemoryError.__name__
ANSWER = "the answer of the process that read it"
#: What to do about files that no reader gets through.
ADVICE = "the file is damaged or hostile, get it again from where it was made"
#: Names in safetensors of the dtypes that arrays of specs and cases have.
DTYPES = {
    "bool": "BOOL", "int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32", "int64": "I64",
    "uint64": "U64", "float32": "F32", "float64": "F64",
}  # fmt: skip


def message(head: Mapping[str, Any]) -> bytes:
    """The beginning of a message."""
    text = json.dumps(head, separators=(",", ":")).encode("ascii")
    return len(text).to_bytes(PREFIX, "little") + text


# -- as the reader gives it -----------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """The result of reading a file."""

    spec: ModelSpec
    cases: tuple[Case, ...] = ()  # of a .fastlstm file, if asked for
    altered: tuple[str, ...] = ()  # its arrays that are not as they were written


def given_model(found: Found, warned: Sequence[str]) -> Iterator[Any]:
    """The message with a model, in parts: large arrays are not copied."""
    tensors: dict[str, np.ndarray] = {}
    model = own.encode_model(found.spec, "", tensors)
    cases = [encode_case(case, f"case/{number}", partial(own.put, tensors)) for number, case in enumerate(found.cases)]
    header = {"format_version": own.VERSION, "source_sha256": "", "model": model, "cases": cases, "sha256": {}}
    entries: dict[str, Any] = {"__metadata__": {own.KEY: json.dumps(header, separators=(",", ":"))}}
    ordered = sorted(tensors.items(), key=lambda item: -item[1].itemsize)  # so that each lies at a multiple of its itemsize
    end = 0
    for name, array in ordered:
        begin, end = end, end + array.nbytes
        entries[name] = {"dtype": DTYPES[array.dtype.name], "shape": array.shape, "data_offsets": (begin, end)}
    text = json.dumps(entries, separators=(",", ":")).encode("ascii")
    text = text.ljust(math.ceil(len(text) / PREFIX) * PREFIX)
    yield message({"warnings": warned, "altered": found.altered, "size": PREFIX + len(text) + end})
    yield len(text).to_bytes(PREFIX, "little") + text
    for _, array in ordered:
        yield array.reshape(-1).view(np.uint8).data


def given_inventory(found: Inventory, warned: Sequence[str]) -> Iterator[bytes]:
    """The message with what a file of weights alone lists."""
    text = json.dumps(plain(found)).encode("ascii")
    yield message({"warnings": warned, "altered": (), "size": len(text)})
    yield text


def given_error(error: BaseException, warned: Sequence[str]) -> bytes:
    """The message with an error."""
    kind = next((name for name, known in ERRORS.items() if isinstance(error, known)), type(error).__name__)
    head: dict[str, Any] = {"warnings": warned, "size": 0, "error": kind, "message": str(error)}
    if isinstance(error, UnsupportedError):
        head["message"], head["problems"] = error.source, error.problems
    elif from_memory(error):
        head["error"] = MEMORY
    return message(head)


def from_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it stands for, came from memory that ran out."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__
    return error is not None


# -- as it is taken -------------------------------------------------------------------------------------------------------


class Answer(NamedTuple):
    """Check the form of an answer; a model in it is still to be decoded."""

    warnings: tuple[str, ...]
    altered: tuple[str, ...]
    error: FastLSTMError | MemoryError | None
    model: bytes


def take(data: memoryview, budget: Budget) -> Answer:
    """The answer for the file of a budget.

    Raises
    ------
    FormatError
        If it is none.
    """
    name = budget.source
    length = int.from_bytes(data[:PREFIX], "little")
    start = PREFIX + length
    if not PREFIX < start <= min(len(data), PREFIX + TEXT):
        raise FormatError(f"{name}: the process that read it gave no answer that can be understood; {ADVICE}")
    head = expect(name, ANSWER, parse_json(str(data[PREFIX:start], "ascii", "replace"), budget, ANSWER), dict, "an object")
    size = expect(name, ANSWER, head.get("size"), int, "a size")
    if size != len(data) - start:
        raise FormatError(f"{name}: {ANSWER}: expected {size} bytes of a model, found {len(data) - start}")
    warned = texts(head.get("warnings"), name)
    if "error" in head:
        return Answer(warned, (), taken_error(head, name), b"")
    return Answer(warned, texts(head.get("altered"), name), None, bytes(data[start:]))


def taken_error(head: Mapping[str, Any], name: str) -> FastLSTMError | MemoryError:
    """The error that a reader met."""
    kind, text = (expect(name, ANSWER, head.get(key), str, "text") for key in ("error", "message"))
    if kind == UNSUPPORTED:
        problems = expect(name, ANSWER, head.get("problems"), list, "a list of problems")
        fields = [texts(problem, name) for problem in problems]
        if any(len(each) != len(Problem._fields) for each in fields):
            raise FormatError(f"{name}: {ANSWER}: expected problems of {len(Problem._fields)} texts")
        return UnsupportedError(text, tuple(Problem(*each) for each in fields))
    if kind == MEMORY:
        return MemoryError(text)
    if kind in ERRORS:
        return ERRORS[kind](text)
    return FormatError(f"{name}: cannot be read ({kind}: {text})")


def texts(value: Any, name: str) -> tuple[str, ...]:
    """A list of texts."""
    return tuple(expect(name, ANSWER, item, str, "text") for item in expect(name, ANSWER, value, list, "a list of texts"))


class Handed(own.Store):
    """A model that a reader handed over: it says itself what file it was read from."""

    said_of_file: Mapping[str, str] = {}


def taken_model(data: bytes, budget: Budget) -> ModelSpec:
    """The model in an answer."""
    with Handed(Source(budget.source, data=data), budget) as store:
        return store.decode(lambda header: own.decode_model(header["model"], store, 0))


def taken_inventory(data: bytes, budget: Budget) -> Inventory:
    """The inventory in an answer."""
    return from_plain(parse_json(str(data, "ascii", "replace"), budget, ANSWER), budget.source)


def taken_cases(data: bytes, budget: Budget) -> tuple[Case, ...]:
    """The cases in an answer."""
    return own.read_cases(Source(budget.source, data=data), budget)[0]
