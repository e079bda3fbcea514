"""The ``.h5`` files of every Keras: whole models, and weights alone, whose architecture comes separately."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from ..catalogue import Role
from ..errors import FormatError, WeightsAloneError
from ..limits import Budget
from ..spec import ModelSpec
from .inferring.inventory import inventory, is_weights
from .inferring.listed import LISTED_OWN, Inventory
from .reading import hdf5
from .reading.architecture import Architecture, load_architecture
from .reading.compiled import compiled_text
from .reading.config import Reader
from .reading.dialect import Dialect, dialect
from .reading.draft import LayerDraft, ModelDraft
from .reading.jsontext import parse_json
from .reading.keras1 import modern
from .reading.tree import fill, is_tree
from .reading.weights import UNBUILT, deal, fill_cells, finish, has_weights
from .source import Source

LARGEST_COUNT = 100_000
#: The name that Keras 3 gives to one part of several.
PART = re.compile(r"([^/\\]+)_\d{5}\.weights\.h5$")


def sniff(head: bytes, name: str) -> bool:
    """Whether a file that begins so is one of these."""
    return hdf5.is_hdf5(head)


def read(source: Source, budget: Budget, *, architecture: Architecture | Source | None = None, by_name: bool = False) -> ModelSpec:
    """The model of an HDF5 file.

    Parameters
    ----------
    source
        The file.
    budget
        The limits on what reading it may cost.
    architecture
        For a file of weights alone: the model's JSON (``model.to_json()``), a path to it, or it parsed.
    by_name
        Pair layers with the file's groups by their names instead of their order.
    """
    path = source.name
    with hdf5.opened(source, budget) as root:
        text = root.text("model_config")
        if architecture is not None:
            entry = load_architecture(architecture, budget)
            weights = root.group("model_weights") if "model_weights" in root else root
            kind = "HDF5 weights + architecture"
        elif text is not None:
            entry = parse_json(text, budget, "model_config")
            weights, kind = root.group("model_weights") if "model_weights" in root else root, "HDF5 model"
        else:
            raise what_it_is(root, path)
        if not isinstance(entry, Mapping):
            raise FormatError(f"{path}: model config: expected an object with class_name and config, found {type(entry).__name__}")
        version = entry.get("keras_version") or root.text("keras_version") or weights.text("keras_version")
        backend = entry.get("backend") or root.text("backend") or weights.text("backend")
        training = as_text(root.text("training_config"))
        understood = dialect(as_text(version), as_text(backend), entry, kind, training)
        if understood.keras1:
            understood = dialect(as_text(version), as_text(backend) or told_backend(weights), entry, kind)
            entry = modern(entry, path)
        model = Reader(budget, understood).root(entry)
        if is_tree(weights):
            fill_tree(model, weights, path)
        elif weights.attribute("nb_layers") is not None or "graph" in weights:
            pair_numbered(path, model, weights, understood)
        else:
            pair(path, model, weights, understood, by_name)
        model.compiled = compiled_text(training, budget)
        return finish(model, understood, budget)


def fill_tree(model: ModelDraft, weights: hdf5.Group, path: str) -> None:
    """Deal the arrays of a tree; say so if it may be one part of several."""
    try:
        fill(model, path, weights)
    except FormatError as error:
        raise FormatError(f"{error}{part_advice(path)}") from error


def part_advice(path: str) -> str:
    """What to do if a file is one part of a model's weights, which only its name tells."""
    found = PART.search(path)
    if found is None:
        return ""
    return f"; its name is that of one part of weights that Keras 3 wrote in parts: pass their index, {found[1]}.weights.json, in its place"


def what_it_is(root: hdf5.Group, path: str) -> FormatError:
    """Say why an HDF5 file without a model's config cannot be read as it is."""
    if not is_weights(root):
        return root.error("it is an HDF5 file, but not of Keras: it has neither model_config nor layer_names")
    what = "it holds weights alone" + (" in the layout of .weights.h5" if is_tree(root) else ", no model")
    return WeightsAloneError(f"{path}: {root.place}: {what}; {advice(path)}{part_advice(path)}")


def advice(path: str) -> str:
    """What to do with a file of weights alone."""
    command = f"fastlstm inspect {'FILE' if path.startswith('<') else shlex.quote(path)} --draft model.json"
    return (
        f"pass architecture= (the JSON of model.to_json(), or a path to it); without one, '{command}' "
        "writes a draft of it from the names and shapes of the weights"
    )


def listed(source: Source, budget: Budget) -> Inventory:
    """The layers and arrays of a file of weights alone."""
    with hdf5.opened(source, budget) as root:
        if root.text("model_config") is not None:
            raise FormatError(f"{source.name}: {LISTED_OWN}")
        if not is_weights(root):
            raise what_it_is(root, source.name)
        return inventory([root], budget)


def as_text(value: Any) -> str | None:
    """A version or backend as the file has it; anything but text counts as not recorded."""
    return value if isinstance(value, str) else None


def names_in_file(layers: Sequence[LayerDraft], names: Sequence[str]) -> dict[str, str]:
    """By a layer's name in the config, the name of its group, by their order: a user's class without get_config has none in the config."""
    entering = {layer.name for layer in layers if layer.row.role is Role.INPUT}
    own, theirs = ([name for name in some if name not in entering] for some in ([layer.name for layer in layers], names))
    return dict(zip(own, theirs, strict=True)) if len(own) == len(theirs) and not set(theirs) <= set(own) else {}


def pair(path: str, model: ModelDraft, weights: hdf5.Group, understood: Dialect, by_name: bool) -> None:
    """Deal the file's groups to the model's layers: in order, as Keras does, or by name."""
    names = weights.names("layer_names")
    if names is None:
        raise weights.error("no layer_names: not a layout of weights that Keras writes" if len(weights.members()) else "no weights inside")
    groups: dict[str, list[str]] = {}
    for name in names:
        found = weights.group(name).names("weight_names") or []
        if found:
            if name in groups:
                raise weights.error(f"layer_names lists {name!r} twice")
            groups[name] = found
    listed = list(expanded(model.layers, frozenset(names))) if understood.keras1 else model.layers
    has = {layer.name: has_weights(layer, path) for layer in listed}
    saved = names_in_file(listed, names)
    layers = [layer for layer in listed if has[layer.name] or (has[layer.name] is None and saved.get(layer.name, layer.name) in groups)]
    if layers and not groups:
        model.problems.append(UNBUILT)
        return
    if by_name:
        matched = [(layer, layer.name) for layer in layers]
    else:
        matched = list(zip(layers, groups, strict=False))
        own, theirs = [layer.name for layer in layers], list(groups)
        if own != theirs and (sorted(own) == sorted(theirs) or len(own) != len(theirs)):
            raise weights.error(
                f"the layers with weights are {preview(theirs)} in the file, {preview(own)} in the model's config: "
                + ("another order; Keras pairs by order, by_name=True pairs by name" if len(own) == len(theirs) else "not as many")
            )
    for layer, name in matched:
        if name not in groups:
            raise weights.error(f"no weights for layer {layer.path!r} ({layer.class_name}); it has {preview(list(groups))}")
        group = weights.group(name)
        if len(set(groups[name])) < len(groups[name]):
            raise group.error(f"weight_names lists an array twice: {preview(groups[name])}")
        arrays = [group.array(weight) for weight in groups[name]]
        problem = fill_cells(layer, arrays, path)
        if problem is None:
            deal(layer, arrays, path, understood)
        else:
            model.problems.append(problem)


def told_backend(weights: hdf5.Group) -> str:
    """The backend of a Keras 1 file: TensorFlow appended ":0" to the names of its arrays, Theano nothing. Keras 0 ran on Theano."""
    for name in weights.names("layer_names") or []:
        for array in weights.group(name).names("weight_names") or []:
            return "tensorflow" if array.endswith(":0") else "theano"
    return "theano"


def expanded(layers: list[LayerDraft], names: Set[str]) -> Iterator[LayerDraft]:
    """Layers as Keras 1 lists them: the layers inside the branches of a Merge instead of the branches."""
    for layer in layers:
        if layer.model is not None and layer.name not in names:
            yield from expanded(layer.model.layers, names)
        else:
            yield layer


def pair_numbered(path: str, model: ModelDraft, weights: hdf5.Group, understood: Dialect) -> None:
    """Deal the arrays of the oldest layout: all those of a model, in order, in groups that have numbers alone."""
    if "graph" in weights:
        groups = [weights.group("graph")]
    else:
        groups = [weights.group(f"layer_{number}") for number in range(count(weights, "nb_layers"))]
    arrays = [group.array(f"param_{number}") for group in groups for number in range(count(group, "nb_params"))]
    whole = LayerDraft(model.class_name, model.name, {}, model.name, model=model)
    deal(whole, arrays, path, understood, in_order=True)


def count(group: hdf5.Group, name: str) -> int:
    """A number of groups or arrays that an attribute states."""
    value = group.attribute(name)
    if not isinstance(value, (int, np.integer)) or not 0 <= value < LARGEST_COUNT:
        raise group.error(f"attribute {name}: expected a number of members, found {value!r}")
    return int(value)


def preview(names: list[str]) -> str:
    """The first few names, for a message."""
    return "[" + ", ".join(names[:6]) + (f", ... {len(names)} in all]" if len(names) > 6 else "]")
