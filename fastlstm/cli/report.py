"""What ``fastlstm inspect --report`` tells of a file: all that an issue needs, and nothing that its owner may want to keep.

There are no weights, no paths and no code in it. Of configs it has numbers, flags and words of Keras; of lists of fractions, which may
be statistics of somebody's data, how long they are. ``--anonymous`` leaves out the names that its owner gave, too.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator, Mapping
from keyword import iskeyword
from typing import Any

from .. import __version__, activations, runtime
from ..api import Description
from ..catalogue import ROWS
from ..drawing.graph import kind_of, labels
from ..drawing.text import shape_text
from ..errors import FastLSTMError, FormatError, InputError
from ..layers import REGISTRY
from ..layers.base import INERT
from ..listing import one_line
from ..spec import LayerSpec, ModelSpec

Report = dict[str, Any]

PACKAGES = ("numpy", "h5py", "safetensors", "keras", "tf_keras", "tensorflow")
#: A word: what no path, text or code is.
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_>]{0,39}")
#: Words that arguments of Keras have, besides the names of activations.
WORDS = frozenset({
    "same", "valid", "causal", "channels_last", "channels_first", "sum", "mul", "ave", "concat", "float16", "bfloat16", "float32",
    "float64", "int8", "int32", "int64", "bool", "string", "mixed_float16", "mixed_bfloat16", "nearest", "bilinear", "bicubic", "lanczos3",
    "lanczos5", "area", "gaussian", "constant", "reflect", "symmetric", "linear", "tf", "th", "tensorflow", "theano", "jax", "torch",
    "dot", "scaled", "none", "auto", "input",
})  # fmt: skip
#: Lists up to so long are shown, and mappings up to so deep.
LONGEST, DEEPEST = 12, 4
#: What stands between quotation marks in a message; an apostrophe follows a letter.
QUOTED = re.compile(r"""(?<!\w)(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")""")
#: Lists and mappings of values, in a message about an argument.
VALUES = re.compile(r"=(?:\[[^\]]*\]|\{[^}]*\}|\([^)]*\))")
#: What a version or a backend may look like, to be shown.
VERSION = re.compile(r"[\w.+-]{0,40}")
#: Keys of objects in configs, whatever the class.
OBJECT_KEYS = frozenset({"class_name", "config", "registered_name", "module"})


def of(description: Description, arguments: argparse.Namespace) -> Report:
    """The report on a file that could be read."""
    model = description.outline
    names = _Names(model, arguments)
    generation = model.generation
    layers = {layer.name: layer for layer in description.layers}
    listed = []
    for path, layer, given in _every_layer(model):
        info = layers.get(path)
        listed.append({
            "layer": names.path(path),
            "class": names.kind(layer),
            "given": [names.given(source, path, label) for source, label in given],
            "output_shape": None if info is None else info.output_shape,
            "parameters": None if info is None else info.parameters,
            "runs": "" if info is None else info.runs,
            "config": names.config(layer),
        })  # fmt: skip
    return {
        **_circumstances(),
        "file": {"kind": generation.file_kind, "bytes": _size(arguments.file)},
        "generation": {"library": generation.library, "version": _plain(generation.version), "backend": _plain(generation.backend)},
        "model": {"class": model.class_name, "name": names.path(model.name) if not names.anonymous else "model"},
        "inputs": [{"name": names.path(name), "shape": shape} for name, shape in description.inputs],
        "outputs": [{"name": names.path(name), "shape": shape} for name, shape in description.outputs],
        "parameters": description.parameters,
        "layers": listed,
        "problems": [
            {"layer": names.path(one.layer), "class": names.plain_class(one.class_name), "what": names.text(one.what),
             "advice": names.text(one.advice)}
            for one in description.problems
        ],
    }  # fmt: skip


def of_failure(error: FastLSTMError, arguments: argparse.Namespace) -> Report:
    """The report on a file that could not be read at all."""
    if not isinstance(error, (FormatError, InputError)) or _size(arguments.file) is None:
        raise error
    message = _Names(None, arguments).text(str(error))
    if arguments.anonymous:  # what stands between the file and what is wrong with it are names
        message = re.sub(r"(?<=: ).*(?=: )", "...", message)
    return {**_circumstances(), "file": {"bytes": _size(arguments.file)}, "error": {"kind": type(error).__name__, "message": message}}


def _plain(text: str) -> str:
    """A word that the file says of itself."""
    return text if VERSION.fullmatch(text) else "?"


def _circumstances() -> Report:
    return {
        "fastlstm": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _version(name) for name in PACKAGES if _version(name)},
        "platform": platform.platform(),
        "cpu": {"name": _processor(), "kernels": runtime.level(), "available": list(runtime.available_levels())},
    }


def _version(package: str) -> str:
    """Asked without importing it, which TensorFlow would take seconds for."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    """The name of the CPU, where Linux tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            lines = (line.partition(":") for line in file)
            return next((one_line(value.strip()) for key, _, value in lines if key.strip() == "model name"), platform.machine())
    except OSError:
        return platform.processor() or platform.machine()


def _size(path: str) -> int | None:
    """Of a file, or of all in a folder."""
    try:
        if os.path.isdir(path):
            return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(path) for name in names)
        return os.path.getsize(path)
    except OSError:
        return None


def _every_layer(model: ModelSpec, prefix: str = "") -> Iterator[tuple[str, LayerSpec, list[tuple[str, str]]]]:
    """The path of each layer, it, and what its first use is given: names of layers, and what their outputs are to it."""
    first = {call.layer: call for call in reversed(model.calls)}
    for number, layer in enumerate(model.layers):
        given = labels(first[number]).items() if number in first else ()
        yield prefix + layer.name, layer, [(model.layers[model.calls[source].layer].name, label) for source, label in given]
        if layer.model is not None:
            yield from _every_layer(layer.model, f"{prefix}{layer.name}/")


class _Names:
    """What names and texts of a file become."""

    def __init__(self, model: ModelSpec | None, arguments: argparse.Namespace):
        self.anonymous = bool(arguments.anonymous)
        given = (("FILE", arguments.file), ("ARCHITECTURE", arguments.architecture), ("CUSTOM", arguments.custom))
        paths = [(word, path) for word, path in given if path]
        self._paths = {form: word for word, path in paths for form in (path, os.path.abspath(path), os.path.realpath(path))}
        self._names: dict[str, str] = {}
        self._classes: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._public: set[str] = set(OBJECT_KEYS)  # keys that layers of Keras have
        self._known: set[str] = set()  # paths of layers
        if model is not None:
            for path, layer, _ in _every_layer(model):
                self._learn(path, layer)
            for kind, names in (("input", model.input_names), ("output", model.output_names)):
                for number, name in enumerate(names, start=1):
                    self._names.setdefault(name, f"{kind}_{number}")
            self._names.setdefault(model.name, "model")
        given_names = {**self._keys, **self._classes, **self._names} if self.anonymous else {}
        # "x" and the like tell nothing, and "lambda" is a word of the advice.
        longest = sorted((name for name in given_names if len(name) > 2 and not iskeyword(name)), key=len, reverse=True)
        self._replaced = given_names
        self._pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)") if longest else None

    def _learn(self, path: str, layer: LayerSpec) -> None:
        """Note what a layer is called, and what is called by a name that Keras does not have."""
        self._known.add(path)
        own = REGISTRY.get(layer.class_name)
        if layer.class_name not in ROWS:
            self._classes.setdefault(layer.class_name, f"Class{len(self._classes) + 1}")
        kind = self._classes.get(layer.class_name, layer.class_name).lower()
        self._names.setdefault(layer.name, f"{kind}_{len(self._names) + 1}")
        public = INERT | (own.INERT | own.HONOURED if own is not None else frozenset())
        self._public |= public
        for key in layer.config:
            if key not in public:
                self._keys.setdefault(key, f"argument_{len(self._keys) + 1}")
        for child in layer.children:
            self._learn(f"{path}/{child.name}", child)

    def path(self, path: str) -> str:
        """A layer by its path."""
        if not self.anonymous:
            return one_line(path)
        return "/".join(self._names.get(part, "layer" if part else "") for part in path.split("/"))

    def given(self, source: str, path: str, label: str) -> str:
        """What a layer is given."""
        return self.path(source) + (f" as {label}" if label else "")

    def plain_class(self, name: str) -> str:
        """A class."""
        return one_line(self._classes.get(name, name) if self.anonymous else name)

    def kind(self, layer: LayerSpec) -> str:
        """A class with those that it wraps."""
        return re.sub(r"[^(), ]+", lambda found: self.plain_class(found[0]), kind_of(layer)) if self.anonymous else one_line(kind_of(layer))

    def config(self, layer: LayerSpec) -> dict[str, Any]:
        """The arguments that change what a layer computes, and of those that wrap others, theirs."""
        own = REGISTRY.get(layer.class_name)
        skipped = INERT | (own.INERT if own is not None else frozenset())
        found = {
            self._key(key): self._value(value) if own is not None else type(value).__name__
            for key, value in layer.config.items()
            if key not in skipped
        }
        for number, child in enumerate(layer.children):
            found[f"({number}) {self.plain_class(child.class_name)}"] = self.config(child)
        return found

    def _key(self, key: object) -> str:
        if self.anonymous and key not in self._public:
            return self._keys.get(str(key), "argument")
        return key if isinstance(key, str) and WORD.fullmatch(key) else "?"

    def _value(self, value: Any, depth: int = 0) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str):
            return value if self._is_word(value) else f"text of {len(value)} characters"
        if isinstance(value, Mapping) and depth < DEEPEST and len(value) <= 2 * LONGEST:
            return {self._key(key): self._value(inner, depth + 1) for key, inner in value.items()}
        if (
            isinstance(value, (list, tuple))
            and depth < DEEPEST
            and len(value) <= LONGEST
            and not any(isinstance(one, float) for one in value)
        ):
            return [self._value(inner, depth + 1) for inner in value]
        return f"{type(value).__name__} of {len(value)}" if hasattr(value, "__len__") else type(value).__name__

    def _is_word(self, text: str) -> bool:
        if not self.anonymous:
            return WORD.fullmatch(text) is not None
        return text in WORDS or text in activations.DEFAULTS or is_activation(text)

    def text(self, text: str) -> str:
        """A message, without paths and what else the file says and, if it is to be anonymous, without what somebody named."""
        for form in sorted(self._paths, key=len, reverse=True):
            text = text.replace(form, self._paths[form])
        text = VALUES.sub("=...", text)
        text = QUOTED.sub(lambda found: self._quoted(found[0][1:-1]), text)
        if self._pattern is not None:
            text = self._pattern.sub(lambda found: self._replaced[found[0]], text)
        return one_line(text.replace("\n", " "))

    def _quoted(self, text: str) -> str:
        if text in self._known or text in self._names:
            return f"'{self.path(text)}'"
        known = text in ROWS or text in self._classes or text in self._keys or self._is_word(text)
        return f"'{text}'" if known else "'...'"


def is_activation(name: str) -> bool:
    """Is this the name of an activation that Keras has?"""
    try:
        activations.function(name)
    except ValueError:
        return False
    return True


def markdown(report: Report) -> Iterator[str]:
    """A report for people: Markdown, as issues take it."""
    packages = ", ".join(f"{name} {version}" for name, version in report["packages"].items())
    cpu = report["cpu"]
    yield f"- fastlstm {report['fastlstm']}, {report['python']}, {packages}"
    yield f"- {report['platform']}; {cpu['name']}; kernels {cpu['kernels']} of {', '.join(cpu['available'])}"
    if "error" in report:
        yield f"- a file of {report['file']['bytes']:,} bytes, which cannot be read"
        yield from ("", "```", _fenced(f"{report['error']['kind']}: {report['error']['message']}"), "```")
        return
    made = " ".join(filter(None, report["generation"].values()))
    size = "" if report["file"]["bytes"] is None else f", {report['file']['bytes']:,} bytes"
    yield f"- {report['file']['kind']}{size}, saved by {made}; {report['model']['class']} of {report['parameters']:,} parameters"
    yield from ("", "```")
    for title in ("inputs", "outputs"):
        yield from (_fenced(f"{title[:-1]} {one['name']} {shape_text(one['shape'])}") for one in report[title])
    for layer in report["layers"]:
        config = _arguments(layer["config"])
        given = f" <- {', '.join(layer['given'])}" if layer["given"] else ""
        yield _fenced(
            f"{layer['layer']} {layer['class']} {shape_text(layer['output_shape'])} {layer['parameters']} {layer['runs']}".rstrip() + given
        )
        if config:
            yield _fenced(f"    {config}")
    yield "```"
    if report["problems"]:
        yield from ("", "problems:", "", "```")
        for one in report["problems"]:
            yield _fenced(f"{one['layer']} ({one['class']}): {one['what']}" + (f"; {one['advice']}" if one["advice"] else ""))
        yield "```"


def _arguments(config: Mapping[str, Any]) -> str:
    """A config in a line."""
    return " ".join(f"{key}=({_arguments(value)})" if isinstance(value, Mapping) else f"{key}={value}" for key, value in config.items())


def _fenced(line: str) -> str:
    """A line that does not end the fence around it."""
    return one_line(line).replace("`", "'")
