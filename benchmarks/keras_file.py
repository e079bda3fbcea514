"""The layers and weights of a workload's ``.h5``, read without any engine."""

from __future__ import annotations

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
    """The layers of a Sequential model, in order."""
    import h5py  # here, so that it does not count in the cold start of engines that do without

    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])
        if config["class_name"] != "Sequential":
            raise UnavailableError("it is written down here for a chain of layers alone")
        described = config["config"]["layers"]
        groups = file["model_weights"]
        return [
            SavedLayer(entry["class_name"], entry["config"], _weights(groups[entry["config"]["name"]]))
            for entry in described
            if entry["class_name"] != "InputLayer"
        ]


def _weights(group: Any) -> list[np.ndarray]:
    return [group[name][()] for name in group.attrs["weight_names"]]
