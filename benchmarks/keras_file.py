"""The layers and weights of a workload's ``.h5``, read without any engine."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .engine import UnavailableError


class SavedLayer(NamedTuple):
    """A layer as Keras 2 saved it."""

    class_name: str
    config: dict[str, Any]
    weights: list[np.ndarray]


def layers(path: Path) -> list[SavedLayer]:
    """The layers of a model, in order, each of which is called upon the one before it alone."""
    import h5py  # here, so that it does not count in the cold start of engines that do without

    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])
        described = config["config"]["layers"]
        if config["class_name"] != "Sequential" and not is_chain(described):
            raise UnavailableError("it is written down here for a chain of layers alone")
        groups = file["model_weights"]
        return [
            SavedLayer(entry["class_name"], entry["config"], _weights(groups[entry["config"]["name"]]))
            for entry in described
            if entry["class_name"] != "InputLayer"
        ]


def is_chain(described: list[dict[str, Any]]) -> bool:
    """Does each layer of a graph take what the one before it gives, once, and nothing else?"""
    return all(
        len(layer["inbound_nodes"]) == 1 and callers(layer["inbound_nodes"]) == {before["name"]}
        for before, layer in itertools.pairwise(described)
    )


def callers(node: Any) -> set[str]:
    """The layers whose outputs stand anywhere in a node: [name, 0, 0], as an argument or by a keyword."""
    if isinstance(node, dict):
        node = list(node.values())
    if not isinstance(node, list):
        return set()
    if [type(part) for part in node[:3]] == [str, int, int]:
        return {node[0], *callers(node[3:])}
    return set().union(*map(callers, node))


def _weights(group: Any) -> list[np.ndarray]:
    return [group[name][()] for name in group.attrs["weight_names"]]
