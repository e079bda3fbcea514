"""Files that ask for much in few bytes, of a size that the caller chooses: what Keras could write, more often than it would."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import h5py
import numpy as np
from keras_configs import entrance, functional, layer, write_groups

#: One use of a tensor in Keras 2's form.
Node = list[Any]


def tensor(name: str, node: int = 0, output: int = 0) -> Node:
    return [name, node, output, {}]


def h5(config: Any, groups: dict[str, list[np.ndarray]] | None = None, version: str = "2.3.1") -> bytes:
    """A Keras file of that config."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver="latest") as file:
        file.attrs["keras_version"], file.attrs["backend"] = version, "tensorflow"
        file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        write_groups(file.create_group("model_weights"), groups or {})
    return stream.getvalue()


def sequential(*layers: tuple[str, dict[str, Any]], shape: Sequence[int | None] = (5, 3), batch: int | None = None) -> dict[str, Any]:
    """A chain of (class, arguments)."""
    entries = [{"class_name": kind, "config": {"name": f"l{number}", **config}} for number, (kind, config) in enumerate(layers)]
    entries[0]["config"]["batch_input_shape"] = [batch, *shape]
    return {"class_name": "Sequential", "config": {"name": "s", "layers": entries}}


def relu(name: str, *nodes: list[Node]) -> dict[str, Any]:
    return layer("Activation", name, nodes, activation="relu")


def inner(name: str, config: dict[str, Any], *nodes: list[Node]) -> dict[str, Any]:
    """A model as a layer."""
    return {"class_name": "Model", "name": name, "config": {**config["config"], "name": name}, "inbound_nodes": list(nodes)}


def chain_of(count: int) -> dict[str, Any]:
    """A functional chain of layers."""
    layers = [relu(f"a{n}", [tensor(f"a{n - 1}" if n else "x")]) for n in range(count)]
    return functional([entrance("x", 3), *layers], [["x", 0, 0]], [[f"a{count - 1}", 0, 0]])


def nested_twice(levels: int) -> dict[str, Any]:
    """A model called twice in a model called twice in ...: twice as many uses with each level."""
    config = chain_of(1)
    for _ in range(levels):
        model = inner("m", config, [tensor("x")], [tensor("m", 1)])
        config = functional([entrance("x", 3), model], [["x", 0, 0]], [["m", 2, 0]])
    return config


def called(layers: int, times: int) -> dict[str, Any]:
    """A model of so many layers, called so often, one call after the other."""
    model = inner("m", chain_of(layers), *([tensor("m", n) if n else tensor("x")] for n in range(times)))
    return functional([entrance("x", 3), model], [["x", 0, 0]], [["m", times, 0]])


def shared(times: int) -> dict[str, Any]:
    """One layer, called so often."""
    nodes = ([tensor("a", n - 1) if n else tensor("x")] for n in range(times))
    return functional([entrance("x", 3), relu("a", *nodes)], [["x", 0, 0]], [["a", times - 1, 0]])


def wide(count: int) -> dict[str, Any]:
    """So many layers side by side, all of them needed at once."""
    names = [f"r{n}" for n in range(count)]
    layers = [relu(name, [tensor("x")]) for name in names]
    join = layer("Concatenate", "c", [list(map(tensor, names))], axis=-1)
    return functional([entrance("x", 3), *layers, join], [["x", 0, 0]], [["c", 0, 0]])


def inputs(count: int) -> dict[str, Any]:
    """So many inputs, added."""
    names = [f"x{n}" for n in range(count)]
    doors = [entrance(name, 3) for name in names]
    return functional([*doors, layer("Add", "s", [list(map(tensor, names))])], [[name, 0, 0] for name in names], [["s", 0, 0]])


def same_tensor_twice(levels: int) -> dict[str, Any]:
    """Nested models of two inputs that both get one tensor: twice as many ways to the innermost with each level."""
    pair = [["p", 0, 0], ["q", 0, 0]]
    doors = [entrance("p", 3), entrance("q", 3)]
    config = functional([*doors, layer("Add", "s", [[tensor("p"), tensor("q")]])], pair, [["s", 0, 0]])
    for _ in range(levels):
        model = inner("m", config, [tensor("p"), tensor("p")])
        config = functional([*doors, model, layer("Add", "t", [[tensor("m", 1), tensor("q")]])], pair, [["t", 0, 0]])
    return config


def dense_chain(count: int) -> bytes:
    """Layers with weights of their own."""
    kernel = [np.eye(3, dtype=np.float32), np.zeros(3, np.float32)]
    config = sequential(*[("Dense", {"units": 3, "activation": "relu", "use_bias": True})] * count, shape=(3,))
    return h5(config, {f"l{number}": kernel for number in range(count)})


def tree(count: int, fill: Callable[[h5py.Group, int], None]) -> bytes:
    """A ``.keras`` file of so many layers of a class that nobody knows, ``fill`` making the group of each."""
    entries = [{"class_name": "Own", "module": "mine", "registered_name": "mine>Own", "config": {"name": f"o{n}"}} for n in range(count)]
    door = {"class_name": "InputLayer", "module": "keras.layers", "config": {"name": "x", "batch_shape": [None, 3]}}
    weights = io.BytesIO()
    with h5py.File(weights, "w", libver="latest") as file:
        for number in range(count):
            fill(file.create_group(f"layers/own_{number}" if number else "layers/own"), number)
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [door, *entries]}}
    return zipped({"config.json": json.dumps(config), "model.weights.h5": weights.getvalue()})


def zipped(members: dict[str, str | bytes]) -> bytes:
    """A zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.3.3"}')
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()
