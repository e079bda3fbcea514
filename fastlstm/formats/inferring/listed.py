"""What a file of weights alone lists, and the same as plain data for another process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...errors import FormatError
from ...limits import DEPTH

#: What is said of files that have an architecture, when a draft of it is asked for.
LISTED_OWN = "it holds the model's architecture, so there is nothing to draft; fastlstm describe shows it"


class Array(NamedTuple):
    """An array of a layer: its name below the layer's own, as ``forward_lstm/lstm_cell/kernel``, or in a tree ``cell/vars/0``."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


class Listed(NamedTuple):
    """A layer that a file lists."""

    name: str  # that of the layer; where the file has none, of its group
    arrays: tuple[Array, ...] = ()
    kind: str = ""  # in trees: its class, as attributes are spelled: "batch_normalization"
    layers: tuple[Listed, ...] = ()  # of a nested model in a tree


class Inventory(NamedTuple):
    """The layers of a file of weights."""

    layers: tuple[Listed, ...]
    layout: str  # "numbers", "names" or "tree"
    version: str = ""  # of Keras, where the file states it
    backend: str = ""
    root: str = ""  # the name of the model, where a tree states it
    dialect: str = ""  # of a tree: "tf.keras" or "Keras 3" where it gives itself away


def plain(found: Inventory) -> dict[str, Any]:
    """An inventory for JSON."""
    return {**found._asdict(), "layers": [plain_layer(layer) for layer in found.layers]}


def plain_layer(layer: Listed) -> dict[str, Any]:
    """One layer for JSON."""
    return {
        "name": layer.name, "kind": layer.kind, "layers": [plain_layer(inner) for inner in layer.layers],
        "arrays": [[array.name, list(array.shape), array.dtype] for array in layer.arrays],
    }  # fmt: skip


def from_plain(given: Any, source: str) -> Inventory:
    """The inventory that JSON states, as another process gave it.

    Raises
    ------
    FormatError
        If it is none.
    """
    try:
        told = [given[key] for key in ("layout", "version", "backend", "root", "dialect")]
        if not all(isinstance(value, str) for value in told):
            raise TypeError("expected texts")
        return Inventory(tuple(layer_of(layer, 0) for layer in given["layers"]), *told)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(f"{source}: no inventory of weights came from the process that read it ({error})") from error


def layer_of(given: Mapping[str, Any], depth: int) -> Listed:
    """One layer of it."""
    if depth > DEPTH:
        raise ValueError("nested too deep")
    arrays = tuple(Array(str(name), tuple(map(int, shape)), str(dtype)) for name, shape, dtype in given["arrays"])
    return Listed(str(given["name"]), arrays, str(given["kind"]), tuple(layer_of(inner, depth + 1) for inner in given["layers"]))
