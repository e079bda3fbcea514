"""The ``.h5`` files of Keras 2, tf.keras and Keras 3: whole models, and weights alone with their architecture beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FormatError
from ..spec import ModelSpec
from . import hdf5
from .config import Reader
from .draft import ModelDraft
from .generations import Dialect, dialect
from .jsontext import parse_json
from .tree import fill, is_tree
from .weights import deal, fill_cells, finish, has_weights

Architecture = str | os.PathLike[str] | Mapping[str, Any]


def sniff(head: bytes, name: str) -> bool:
    """Whether a file that begins so is one of these."""
    return hdf5.is_hdf5(head)


def read(path: str, *, architecture: Architecture | None = None, by_name: bool = False) -> ModelSpec:
    """The model of an HDF5 file.

    Parameters
    ----------
    path
        The file.
    architecture
        For a file of weights alone: the model's JSON (``model.to_json()``), a path to it, or it parsed.
    by_name
        Pair layers with the file's groups by their names instead of their order.
    """
    with hdf5.opened(path, path, hdf5.file_size(path)) as root:
        text = root.text("model_config")
        if architecture is not None:
            entry = load_architecture(architecture, path)
            weights = root.group("model_weights") if "model_weights" in root else root
            kind = "HDF5 weights + architecture"
        elif text is not None:
            entry = parse_json(text, path, "model_config")
            weights, kind = root.group("model_weights") if "model_weights" in root else root, "HDF5 model"
        else:
            raise root.fail(what_it_is(root))
        if not isinstance(entry, Mapping):
            raise FormatError(f"{path}: model config: expected an object with class_name and config, found {type(entry).__name__}")
        version = entry.get("keras_version") or root.text("keras_version") or weights.text("keras_version")
        backend = entry.get("backend") or root.text("backend") or weights.text("backend")
        understood = dialect(as_text(version), as_text(backend), entry, kind)
        model = Reader(path, understood).root(entry)
        if is_tree(weights):
            fill(model, weights, path)
        else:
            pair(path, model, weights, understood, by_name)
        return finish(model, understood)


def what_it_is(root: hdf5.Group) -> str:
    """Why an HDF5 file without a model's config cannot be read as it is."""
    if root.names("layer_names") is not None or root.attribute("nb_layers") is not None:
        return "it holds weights alone, no model; pass architecture= (the JSON of model.to_json(), or a path to it)"
    if is_tree(root):
        return "it holds weights alone in the layout of .weights.h5; pass architecture= (the JSON of model.to_json(), or a path to it)"
    return "it is an HDF5 file, but not of Keras: it has neither model_config nor layer_names"


def as_text(value: Any) -> str | None:
    """A version or backend as the file has it; anything but text counts as not recorded."""
    return value if isinstance(value, str) else None


def load_architecture(architecture: Architecture, source: str) -> Any:
    """The parsed JSON of ``architecture``: JSON text, a path to it, or a dict."""
    if isinstance(architecture, Mapping):
        return architecture
    text = os.fspath(architecture) if not isinstance(architecture, str) else architecture
    if text.lstrip()[:1] not in ("{", '"'):
        file = Path(text)
        try:
            with file.open("rb") as stream:
                data = stream.read((64 << 20) + 1)
            text = data.decode("utf-8-sig")
        except OSError as error:
            raise FormatError(f"architecture: {text!r} is neither JSON nor a file that can be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise FormatError(f"architecture: {file} is not a text file") from error
        if text.lstrip()[:1] not in ("{", '"'):
            yaml = "class_name:" in text[:10000]
            raise FormatError(
                f"architecture: {file}: expected JSON, found {'YAML; write model.to_json() instead' if yaml else repr(text[:30])}"
            )
    return parse_json(text, source, "architecture")


def pair(path: str, model: ModelDraft, weights: hdf5.Group, understood: Dialect, by_name: bool) -> None:
    """Deal the file's groups to the model's layers: in order, as Keras does, or by name."""
    names = weights.names("layer_names")
    if names is None:
        raise weights.fail("no layer_names: not a layout of weights that Keras writes" if len(weights.members()) else "no weights inside")
    groups: dict[str, list[str]] = {}
    for name in names:
        found = weights.group(name).names("weight_names") or []
        if found:
            if name in groups:
                raise weights.fail(f"layer_names lists {name!r} twice")
            groups[name] = found
    has = {layer.name: has_weights(layer, path) for layer in model.layers}
    layers = [layer for layer in model.layers if has[layer.name] or (has[layer.name] is None and layer.name in groups)]
    if by_name:
        matched = [(layer, layer.name) for layer in layers]
    else:
        matched = list(zip(layers, groups, strict=False))
        own, theirs = [layer.name for layer in layers], list(groups)
        if own != theirs and (sorted(own) == sorted(theirs) or len(own) != len(theirs)):
            raise weights.fail(
                f"the layers with weights are {preview(theirs)} in the file, {preview(own)} in the model's config: "
                + ("another order; Keras pairs by order, by_name=True pairs by name" if len(own) == len(theirs) else "not as many")
            )
    for layer, name in matched:
        if name not in groups:
            raise weights.fail(f"no weights for layer {layer.path!r} ({layer.class_name}); it has {preview(list(groups))}")
        group = weights.group(name)
        if len(set(groups[name])) < len(groups[name]):
            raise group.fail(f"weight_names lists an array twice: {preview(groups[name])}")
        arrays = [group.array(weight) for weight in groups[name]]
        problem = fill_cells(layer, arrays, path)
        if problem is None:
            deal(layer, arrays, path, understood)
        else:
            model.problems.append(problem)


def preview(names: list[str]) -> str:
    """Names for a message, the first few."""
    return "[" + ", ".join(names[:6]) + (f", ... {len(names)} in all]" if len(names) > 6 else "]")


