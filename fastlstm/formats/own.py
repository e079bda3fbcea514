"""fastlstm's own files: a safetensors file of the weights, the spec as JSON in its header, and recorded self-test cases.

It stores the spec, never the layout of a kernel. The header states the version of the format: older versions are always read,
newer ones are refused.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .. import lazy
from ..catalogue import Role, row_of
from ..errors import FormatError, InputError, Problem
from ..limits import Budget
from ..spec import (
    FLOAT32,
    REDUCED,
    Call,
    Case,
    Fixed,
    Functions,
    Generation,
    LayerSpec,
    ModelSpec,
    PipelineSpec,
    Ref,
    Rules,
    Words,
    found_in,
)
from .reading.jsontext import parse_json
from .reading.values import wrong_argument, wrong_shape
from .source import Source, source_of
from .strict import check_functions, check_names, check_references, hints_of, object_of, record, typed

if TYPE_CHECKING:
    import hashlib

    from .. import replacing
    from . import own_cases, own_pipeline
    from .reading import compiled_form, dialect
else:
    hashlib, replacing = lazy.module("hashlib"), lazy.module("fastlstm.replacing")
    own_cases, own_pipeline = map(lazy.module, ("fastlstm.formats.own_cases", "fastlstm.formats.own_pipeline"))
    compiled_form, dialect = map(lazy.module, ("fastlstm.formats.reading.compiled_form", "fastlstm.formats.reading.dialect"))

#: 2: tensors whose values stand in the file, among call arguments ({"$tensor": name}).
#: 3: layers of the class Operation, cells called as layers, training=True, masks and functions that calls are given.
#: 4: what a model was compiled with; layers that look terms up in a vocabulary or make categories; text among the arrays of cases;
#: pipelines; the precision to compute in.
VERSION = 4
KEY = "fastlstm"
HEADER_LIMIT = 100_000_000
#: Bytes of memory that reading takes for each byte of the header: safetensors parses it too.
HEADER_COST = 8
#: Bytes of the widest number.
LARGEST_NUMBER = 8
#: The keys of a header, and of the models, layers and calls in it.
HEADER_KEYS = frozenset({"format_version", "source_sha256", "model", "cases", "sha256"})
MODEL_KEYS = frozenset({
    "name", "class_name", "layers", "calls", "inputs", "outputs", "input_names", "output_names", "output_kind", "generation", "rules",
    "problems", "functions", "compiled", "pipeline", "precision", "added",
})  # fmt: skip
#: Those that a model may have or not; the first ones the whole model alone.
WHOLE_ALONE = frozenset({"functions", "compiled", "pipeline", "precision"})
OPTIONAL = WHOLE_ALONE | {"added"}
FUNCTION_KEYS = frozenset({"layers", "activations"})
LAYER_KEYS = frozenset({"class_name", "name", "config", "weights", "children", "model", "dtype", "penalties"})
CALL_KEYS = frozenset({"layer", "inputs", "keywords"})
#: The classes whose fields a header states.
KINDS = (ModelSpec, LayerSpec, Rules, Generation, PipelineSpec, Words)

T = TypeVar("T")


def sniff(head: bytes, name: str) -> bool:
    """Whether a file that begins so is a safetensors file."""
    return len(head) > 9 and head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= HEADER_LIMIT


def header_size(source: Source) -> int:
    """Bytes of the header that a file declares."""
    try:
        with source.open() as stream:
            return int.from_bytes(stream.read(8), "little")
    except OSError as error:
        raise FormatError(f"{source.name}: cannot be read ({error.strerror})") from error


def is_own(path: Any) -> bool:
    """Whether a file (see ``formats.read``) is in the own format, by its first bytes."""
    source = source_of(path)
    if source.handle is not None or source.files:
        return False
    try:
        with source.open() as stream:
            return sniff(stream.read(16), source.name)
    except (FormatError, OSError):
        return False


def write(path: str | os.PathLike[str], spec: ModelSpec, cases: Sequence[Case] = (), *, source_sha256: str = "") -> int:
    """Write a model; the file is replaced only once it is complete.

    Parameters
    ----------
    path
        The file to write.
    spec
        The model.
    cases
        Recorded self-tests.
    source_sha256
        Of the file that the model was read from.

    Returns
    -------
    int
        The bytes written.

    Raises
    ------
    InputError
        If the file cannot be written, with the cause.
    """
    from safetensors.numpy import save

    tensors: dict[str, np.ndarray] = {}
    recorded = [own_cases.encode_case(case, f"case/{number}", partial(put, tensors)) for number, case in enumerate(cases)]
    header = {
        "format_version": VERSION, "source_sha256": source_sha256, "model": encode_model(spec, "", tensors), "cases": recorded,
        "sha256": {name: checksum(array) for name, array in tensors.items()},
    }  # fmt: skip
    data = save(tensors, {KEY: json.dumps(header, separators=(",", ":"))})
    with replacing.writing(path) as stream:
        stream.write(data)
    return len(data)


def read(source: Source, budget: Budget, *, architecture: Any = None, by_name: bool = False) -> ModelSpec:
    """The model of a ``.fastlstm`` file."""
    if architecture is not None:
        raise InputError(f"architecture: {source.name} is a .fastlstm file, which holds its own")
    with Store(source, budget) as store:
        return store.decode(lambda header: decode_model(header["model"], store, 0))


def read_cases(path: Any, budget: Budget | None = None) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """Return the recorded self-tests, and the names of the arrays that differ from what was written."""
    source = replace(source_of(path), kept=None)  # what the file itself holds
    with Store(source, budget or Budget(source.name, source.size)) as store:
        cases = store.decode(lambda header: tuple(own_cases.decode_case(entry, store) for entry in header["cases"]))
        recorded = store.decode(lambda header: typed(header["sha256"], dict, "sha256"))
        altered = [name for name, value in recorded.items() if name not in store.names or checksum(store.array(name)) != value]
        return cases, tuple(altered)


class InMemory:
    """A safetensors file held in memory: as much of ``safe_open``'s interface as is needed here."""

    def __init__(self, data: bytes):
        from safetensors.numpy import load

        self.arrays = load(data)
        self.data = data

    def metadata(self) -> dict[str, str]:
        """The texts in its header."""
        header = json.loads(self.data[8 : 8 + int.from_bytes(self.data[:8], "little")])  # ``load`` has bounded its length and depth
        return header.get("__metadata__", {})

    def keys(self) -> list[str]:
        """Names of the arrays."""
        return list(self.arrays)

    def get_tensor(self, name: str) -> np.ndarray:
        """One array."""
        return self.arrays[name]


class Store:
    """An open file: its header and its arrays."""

    #: Fields of the Generation that describe this file, not the one that was converted, which the header describes.
    said_of_file: Mapping[str, str] = {"file_kind": ".fastlstm"}

    def __init__(self, source: Source, budget: Budget):
        from safetensors import SafetensorError, safe_open

        self.path = path = source.name
        self.damage = SafetensorError
        self.budget = budget
        self.kept = source.kept
        self.file: Any
        budget.hold("header", HEADER_COST * min(header_size(source), source.size))
        if source.data is not None:
            budget.hold("arrays", len(source.data))
        try:
            self.file = InMemory(source.data) if source.data is not None else safe_open(source.path, framework="np")
        except (SafetensorError, OSError, ValueError) as error:
            raise FormatError(f"{path}: damaged or truncated .fastlstm file ({error})") from error
        if self.kept is not None:
            self.kept.confirm()
        text = (self.file.metadata() or {}).get(KEY)
        if text is None:
            raise FormatError(f"{path}: a safetensors file, but not a model that fastlstm wrote")
        self.header = parse_json(text, budget, "header")
        self.names = frozenset(self.file.keys())
        version = self.header.get("format_version") if isinstance(self.header, Mapping) else None
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise FormatError(f"{path}: header: expected a format_version, found {version!r}")
        if version > VERSION:
            raise FormatError(f"{path}: written in the newer format version {version}; this fastlstm reads up to {VERSION}, upgrade it")
        self.decode(lambda header: object_of(header, "header", HEADER_KEYS))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        del self.file

    def array(self, name: Any) -> np.ndarray:
        """One array."""
        if not isinstance(name, str) or name not in self.names:
            raise FormatError(f"{self.path}: the array {name!r} is missing")
        try:
            if not isinstance(self.file, InMemory):  # it is read again each time that it is named
                self.budget.hold(f"the array {name!r}", LARGEST_NUMBER * math.prod(self.file.get_slice(name).get_shape()))
            if self.kept is not None:
                return self.kept.array(f"file/{name}", lambda: np.asarray(self.file.get_tensor(name)))
            return np.asarray(self.file.get_tensor(name))
        except (self.damage, OSError, ValueError, TypeError) as error:
            raise FormatError(f"{self.path}: the array {name!r} cannot be read ({error})") from error

    def decode(self, rule: Callable[[Any], T]) -> T:
        """Apply a rule to the header; anything malformed there is a FormatError."""
        try:
            return rule(self.header)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise FormatError(f"{self.path}: damaged header ({error if type(error) is ValueError else repr(error)})") from error


def checksum(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


# -- models ---------------------------------------------------------------------------------------------------------------


def put(tensors: dict[str, np.ndarray], name: str, array: np.ndarray) -> str:
    """Store an array under a free name that safetensors accepts; return the name."""
    name = name.encode("utf-8", "backslashreplace").decode("utf-8")  # JSON may hold half a character
    free, number = name, len(tensors)
    while free in tensors:
        free, number = f"{name}#{number}", number + 1
    # safetensors refuses what is not little-endian and contiguous
    tensors[free] = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)).reshape(array.shape)
    return free


def encode_model(spec: ModelSpec, path: str, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """A model as JSON, its arrays into ``tensors``."""

    def keep(array: np.ndarray) -> str:
        return put(tensors, f"{path}:tensor", array)

    entry = {
        "name": spec.name,
        "class_name": spec.class_name,
        "layers": [encode_layer(layer, path, tensors) for layer in spec.layers],
        "calls": [
            {
                "layer": call.layer,
                "inputs": [list(given) if isinstance(given, Ref) else encode_value(given, keep) for given in call.inputs],
                "keywords": encode_value(dict(call.keywords), keep),
            }
            for call in spec.calls
        ],
        "inputs": [list(ref) for ref in spec.inputs],
        "outputs": [list(ref) for ref in spec.outputs],
        "input_names": list(spec.input_names),
        "output_names": list(spec.output_names),
        "output_kind": spec.output_kind,
        "generation": {field.name: getattr(spec.generation, field.name) for field in fields(Generation)},
        "rules": {field.name: getattr(spec.rules, field.name) for field in fields(Rules)},
        "problems": [list(problem) for problem in spec.problems],
    }
    if spec.functions != Functions():
        entry["functions"] = {"layers": dict(spec.functions.layers), "activations": dict(spec.functions.activations)}
    if spec.compiled is not None:
        entry["compiled"] = spec.compiled
    if spec.pipeline is not None:
        entry["pipeline"] = own_pipeline.encoded(spec.pipeline, lambda array: put(tensors, "pipeline", array))
    if spec.precision != FLOAT32:
        entry["precision"] = spec.precision
    if spec.added:
        entry["added"] = list(spec.added)
    return entry


def decode_model(entry: Any, store: Store, depth: int) -> ModelSpec:
    """A model from JSON."""
    store.budget.deep("header", depth)
    keys = MODEL_KEYS if depth == 0 else MODEL_KEYS - WHOLE_ALONE
    entry = object_of(entry, "a model", keys, OPTIONAL)
    hints = hints_of(ModelSpec)
    plain: dict[str, Any] = {key: typed(entry[key], hints[key], key) for key in ("name", "class_name", "output_kind")}
    names: dict[str, Any] = {key: tuple(typed(entry[key], list[str], key)) for key in ("input_names", "output_names")}
    problems = [typed(problem, list[str], "problems") for problem in typed(entry["problems"], list, "problems")]
    spec = ModelSpec(
        **plain,
        **names,
        layers=tuple(decode_layer(layer, store, depth + 1) for layer in typed(entry["layers"], list, "layers")),
        calls=tuple(decode_call(call, store) for call in typed(entry["calls"], list, "calls")),
        inputs=tuple(map(decode_ref, typed(entry["inputs"], list, "inputs"))),
        outputs=tuple(map(decode_ref, typed(entry["outputs"], list, "outputs"))),
        generation=replace(record(Generation, entry["generation"], "generation"), **store.said_of_file),
        rules=record(Rules, entry["rules"], "rules"),
        problems=tuple(Problem(*problem) for problem in problems),
        functions=decode_functions(entry["functions"]) if "functions" in entry else Functions(),
        compiled=compiled_form.checked(entry["compiled"]) if "compiled" in entry else None,
        precision=decode_precision(entry.get("precision", FLOAT32)),
        added=tuple(typed(entry["added"], list[str], "added")) if "added" in entry else (),
        pipeline=own_pipeline.decoded(entry["pipeline"], store.array, store.budget) if "pipeline" in entry else None,
    )
    if "evaluation" not in entry["rules"]:
        spec = replace(spec, rules=replace(spec.rules, evaluation=dialect.evaluation_of(spec.generation)))
    check_references(spec, store.path)
    check_functions(spec, store.path)
    return spec


def decode_precision(entry: Any) -> str:
    """The name of a precision from JSON."""
    if entry != FLOAT32 and entry not in REDUCED:
        raise ValueError(f"precision: expected one of {', '.join((FLOAT32, *REDUCED))}, found {entry!r:.60}")
    return str(entry)


def decode_functions(entry: Any) -> Functions:
    """The names of functions from JSON."""
    entry = object_of(entry, "functions", FUNCTION_KEYS)
    found = {key: typed(entry[key], dict, f"functions: {key}") for key in sorted(FUNCTION_KEYS)}
    for key, names in found.items():
        for place, name in names.items():
            typed(name, str, f"functions: {key}: {place}")
    return Functions(**found)


def decode_call(entry: Any, store: Store) -> Call:
    """A use of a layer from JSON."""
    entry = object_of(entry, "a call", CALL_KEYS)
    given = tuple(decode_given(one, store) for one in typed(entry["inputs"], list, "inputs"))
    return Call(typed(entry["layer"], int, "layer"), given, decode_value(typed(entry["keywords"], dict, "keywords"), store))


def encode_layer(spec: LayerSpec, path: str, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """A layer as JSON, its arrays into ``tensors``."""
    own = f"{path}/{spec.name}" if path else spec.name
    return {
        "class_name": spec.class_name,
        "name": spec.name,
        "config": encode_value(dict(spec.config), no_tensor),
        "weights": [put(tensors, f"{own}:{number}", array) for number, array in enumerate(spec.weights)],
        "children": [encode_layer(child, own, tensors) for child in spec.children],
        "model": None if spec.model is None else encode_model(spec.model, own, tensors),
        "dtype": spec.dtype,
        **({"penalties": {key: dict(rule) for key, rule in spec.penalties.items()}} if spec.penalties else {}),
    }


def decode_layer(entry: Any, store: Store, depth: int) -> LayerSpec:
    """A layer from JSON."""
    store.budget.deep("header", depth)
    entry = object_of(entry, "a layer", LAYER_KEYS, frozenset({"penalties"}))
    class_name, name = (typed(entry[key], str, key) for key in ("class_name", "name"))
    place = f"layer {name!r} ({class_name})"
    weights = tuple(store.array(one) for one in typed(entry["weights"], list[str], place))
    config = decode_value(typed(entry["config"], dict, place), store)
    floats = weights[1:] if "quantization" in config and weights and weights[0].dtype == np.int8 else weights
    if row_of(class_name).role is not Role.LOOKUP and any(array.dtype not in (np.float32, np.float64) for array in floats):
        raise ValueError(f"{place}: weights of another dtype than float32 and float64")
    if [*found_in(config, Ref), *found_in(config, Fixed)]:
        raise ValueError(f"{place}: a tensor among its arguments")
    what = wrong_argument(config) or (wrong_shape(config["shape"]) if row_of(class_name).role is Role.INPUT else "")
    if what:
        raise ValueError(f"{place}: {what}")
    children = tuple(decode_layer(child, store, depth + 1) for child in typed(entry["children"], list, place))
    check_names(children, name, store.path)
    inner = None if entry["model"] is None else decode_model(entry["model"], store, depth)
    penalties = compiled_form.checked_penalties(entry["penalties"], place) if "penalties" in entry else {}
    dtype = typed(entry["dtype"], hints_of(LayerSpec)["dtype"], place)
    return LayerSpec(class_name, name, config, weights, children, inner, dtype, penalties)


def encode_value(value: Any, keep: Callable[[np.ndarray], str]) -> Any:
    """A config value or call argument as JSON, with marks for Refs and tuples; ``keep`` stores an array and returns its name."""
    if isinstance(value, Ref):
        return {"$ref": list(value)}
    if isinstance(value, Fixed):
        return {"$tensor": keep(value.array)}
    if isinstance(value, tuple):
        return {"$tuple": [encode_value(inner, keep) for inner in value]}
    if isinstance(value, list):
        return [encode_value(inner, keep) for inner in value]
    if isinstance(value, Mapping):
        entry = {str(key): encode_value(inner, keep) for key, inner in value.items()}
        return {"$dict": entry} if len(entry) == 1 and next(iter(entry)).startswith("$") else entry
    return value


def no_tensor(array: np.ndarray) -> str:
    """The ``keep`` of configs, which hold no arrays."""
    raise TypeError(f"a config holds an array of shape {array.shape}")


def decode_value(value: Any, store: Store) -> Any:
    """A config value or call argument from JSON."""
    if isinstance(value, list):
        return [decode_value(inner, store) for inner in value]
    if isinstance(value, Mapping):
        if set(value) == {"$ref"}:
            return decode_ref(value["$ref"])
        if set(value) == {"$tensor"}:
            return decode_fixed(value["$tensor"], store)
        if set(value) == {"$tuple"}:
            return tuple(decode_value(inner, store) for inner in value["$tuple"])
        if set(value) == {"$dict"}:  # an object of the config itself that looks like one of these
            return {key: decode_value(inner, store) for key, inner in value["$dict"].items()}
        return {key: decode_value(inner, store) for key, inner in value.items()}
    return value


def decode_given(value: Any, store: Store) -> Ref | Fixed:
    """A positional tensor of a call from JSON."""
    return decode_fixed(value["$tensor"], store) if isinstance(value, Mapping) else decode_ref(value)


def decode_fixed(name: Any, store: Store) -> Fixed:
    """A tensor that the file holds."""
    array = store.array(name)
    if array.dtype not in (np.bool_, np.float32, np.float64) or array.ndim == 0 or array.size == 0:
        raise FormatError(f"{store.path}: the tensor {name!r} has dtype {array.dtype} and shape {array.shape}")
    return Fixed(array)


def decode_ref(value: Any) -> Ref:
    """A Ref from JSON."""
    call, output = typed(value, list[int], "a tensor's place")
    return Ref(call, output)
