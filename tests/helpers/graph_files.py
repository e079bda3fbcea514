"""Files of graphs without weights: what is drawn of a model does not depend on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_configs import entrance, functional, layer, write_h5

SHAPE = (6, 4)


def nodes(*sources: str) -> list[Any]:
    """One use of a layer, on the outputs of others."""
    return [[[name, 0, 0, {}] for name in sources]]


def graph(sources: Mapping[str, Sequence[str]], outputs: Sequence[str], **more: dict[str, Any]) -> dict[str, Any]:
    """A model of inputs (those without sources), activations and sums, by name; ``more`` are layers as they are written."""
    layers, inputs = [], []
    for name, given in sources.items():
        if name in more:
            layers.append({**more[name], "name": name, "inbound_nodes": nodes(*given)})
        elif not given:
            layers.append(entrance(name, *SHAPE))
            inputs.append([name, 0, 0])
        elif len(given) == 1:
            layers.append(layer("Activation", name, nodes(*given), activation="tanh"))
        else:
            layers.append(layer("Add", name, nodes(*given)))
    return functional(layers, inputs, [[name, 0, 0] for name in outputs], "Functional")


def save(path: Path, config: dict[str, Any]) -> Path:
    """Write it as a file of tf.keras."""
    return write_h5(path, config, {}, "2.15.0")
