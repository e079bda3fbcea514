"""Keras 0.x and 1.x: their configs in Keras 2's words, so that the same reader reads them, and their arrays in its layout.

Configs up to 0.3 have no ``class_name``: a layer is one flat object whose ``name`` is its class. Sequential models may begin with
a ``Merge`` of branches, each a model of its own, and ``Graph`` lists its nodes by name: both become functional models.
LSTM, GRU and ConvLSTM2D keep three arrays a gate (unless ``consume_less='gpu'``): see ``merged_gates``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...errors import FormatError
from .jsontext import expect

#: Keys that only a config of Keras 1 has.
TELLING = frozenset({"inner_activation", "inner_init", "consume_less", "nb_filter", "border_mode", "input_dtype", "custom_name",
                     "cache_enabled", "dropout_W", "W_regularizer", "pool_length", "filter_length"})  # fmt: skip
#: What the new config calls the mark of layers whose gates are kept apart.
SPLIT = "split_gates"
#: ... and the dropout of an Embedding, which Keras 0 scales by even at inference.
EMBEDDING_DROPOUT = "embedding_dropout"
GATED = frozenset({"LSTM", "GRU", "ConvLSTM2D"})
#: Order of the plain layout's gates in the one stored: LSTM i c f o, GRU z r h.
GATE_ORDER = {4: (0, 2, 1, 3), 3: (0, 1, 2)}

CLASSES = {
    "TimeDistributedDense": "Dense", "Convolution1D": "Conv1D", "AtrousConvolution1D": "Conv1D", "Convolution2D": "Conv2D",
    "AtrousConvolution2D": "Conv2D",
}  # fmt: skip
MERGES = {"sum": "Add", "mul": "Multiply", "concat": "Concatenate", "ave": "Average", "max": "Maximum", "dot": "Dot",
          "cos": "MergeCosine"}  # fmt: skip
#: New names of arguments, by class ("" for all).
RENAMED: dict[str, dict[str, str]] = {
    "": {"bias": "use_bias", "inner_activation": "recurrent_activation", "dropout_W": "dropout", "dropout_U": "recurrent_dropout",
         "p": "rate", "sigma": "stddev", "nb_filter": "filters", "filter_length": "kernel_size", "subsample_length": "strides",
         "subsample": "strides", "atrous_rate": "dilation_rate", "border_mode": "padding", "pool_length": "pool_size",
         "stride": "strides", "length": "size"},
    **{kind: {"output_dim": "units"} for kind in ("Dense", "MaxoutDense", "LSTM", "GRU", "SimpleRNN")},
    "Reshape": {"dims": "target_shape"},
}  # fmt: skip
#: Arguments without a meaning at inference, or told by the arrays.
DROPPED = frozenset({
    "init", "inner_init", "forget_bias_init", "W_regularizer", "U_regularizer", "b_regularizer", "gamma_regularizer", "beta_regularizer",
    "W_constraint", "U_constraint", "b_constraint", "activity_regularizer", "input_dim", "input_length", "consume_less",
    "truncate_gradient", "cache_enabled", "custom_name", "weights", "batch_input_shape", "input_shape", "input_dtype",
})  # fmt: skip


def is_keras1(config: Any) -> bool:
    """Whether a config speaks Keras 1's language."""
    if isinstance(config, Mapping):
        return not TELLING.isdisjoint(config) or any(is_keras1(value) for value in config.values())
    return isinstance(config, list) and any(is_keras1(value) for value in config)


class Modern:
    """Rewrites the config of one file."""

    def __init__(self, source: str):
        self.source = source
        self.used: dict[str, int] = {}

    def fail(self, what: str) -> FormatError:
        """An error about the config."""
        return FormatError(f"{self.source}: model config: {what}")

    def model(self, entry: Any) -> dict[str, Any]:
        """A model of Keras 0 or 1 in Keras 2's form."""
        entry = expect(self.source, "model config", entry, Mapping, "a model")
        if "class_name" not in entry:
            if entry.get("name") == "Graph":
                return self.graph(entry)
            return self.sequential("sequential", entry.get("layers"))
        kind, config = entry["class_name"], entry.get("config")
        if kind == "Sequential":
            layers = config.get("layers") if isinstance(config, Mapping) else config
            name = config.get("name") if isinstance(config, Mapping) else None
            return self.sequential(name if isinstance(name, str) else "sequential", layers)
        config = expect(self.source, "model config", config, Mapping, "the model's config")
        layers = [self.node(one) for one in expect(self.source, "model config: layers", config.get("layers"), list, "a list of layers")]
        return {"class_name": "Model", "config": {**config, "layers": layers}}

    def node(self, entry: Any) -> dict[str, Any]:
        """A layer of a functional model."""
        entry = expect(self.source, "model config: layers", entry, Mapping, "a layer")
        return {**self.layer(entry), "name": entry.get("name"), "inbound_nodes": entry.get("inbound_nodes", [])}

    def sequential(self, name: str, layers: Any) -> dict[str, Any]:
        """A chain; functional where it begins with a Merge of branches."""
        layers = expect(self.source, "model config: layers", layers, list, "a list of layers")
        first = self.flat(layers[0]) if layers else {}
        if first.get("class_name") == "Merge" and "layers" in first["config"]:
            return self.merged(name, first, layers[1:])
        return {"class_name": "Sequential", "config": {"name": name, "layers": [self.layer(one) for one in layers]}}

    def merged(self, name: str, merge: Mapping[str, Any], rest: list[Any]) -> dict[str, Any]:
        """A Sequential that begins with a Merge, as a functional model: its branches are nested models."""
        branches = expect(self.source, "model config: Merge", merge["config"]["layers"], list, "a list of branches")
        layers: list[dict[str, Any]] = []
        inputs, tensors = [], []
        for number, one in enumerate(branches):
            branch = self.model(one) if self.is_model(one) else self.sequential("branch", [one])
            if branch["class_name"] != "Sequential":
                raise self.fail("a Merge of branches that are themselves merged is not read")
            label = self.unique(f"{name}_branch_{number}")
            branch["config"]["name"] = label
            shape = branch["config"]["layers"][0]["config"].get("batch_input_shape")
            given = self.unique(f"{label}_input")
            layers.append(placed("InputLayer", given, {"batch_input_shape": shape}, []))
            layers.append({**branch, "name": label, "inbound_nodes": [[[given, 0, 0]]]})
            inputs.append([given, 0, 0])
            tensors.append([label, 0, 0])
        head = self.layer(merge)
        layers.append({**head, "name": head["config"]["name"], "inbound_nodes": [tensors]})
        for one in rest:
            layer = self.layer(one)
            before = layers[-1]["name"]
            layers.append({**layer, "name": layer["config"]["name"], "inbound_nodes": [[[before, 0, 0]]]})
        config = {"name": name, "layers": layers, "input_layers": inputs, "output_layers": [[layers[-1]["name"], 0, 0]]}
        return {"class_name": "Model", "config": config}

    def graph(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Keras 0's Graph as a functional model."""
        layers = [placed("InputLayer", str(one["name"]), {"batch_input_shape": batch_shape(one)}, []) for one in entry["input_config"]]
        for one in entry["node_config"]:
            name = str(one["name"])
            layer = self.layer(entry["nodes"][name])
            layers += self.joined(one, name)
            node = [[[self.source_of(one), 0, 0]]]
            layers.append({**layer, "name": name, "config": {**layer["config"], "name": name}, "inbound_nodes": node})
        outputs = []
        for one in entry["output_config"]:
            layers += self.joined(one, str(one["name"]))
            outputs.append([self.source_of(one), 0, 0])
        inputs = [[name, 0, 0] for name in entry["input_order"]]
        return {"class_name": "Model", "config": {"name": "graph", "layers": layers, "input_layers": inputs, "output_layers": outputs}}

    def joined(self, one: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        """The merge that a Graph's node makes of several inputs."""
        if not one.get("inputs"):
            return []
        axes = {key: one.get(key, -1) for key in ("concat_axis", "dot_axes")}
        head = self.merge({"name": f"{name}_merge", "mode": one.get("merge_mode", "concat"), **axes})
        return [{**head, "name": f"{name}_merge", "inbound_nodes": [[[given, 0, 0] for given in one["inputs"]]]}]

    def source_of(self, one: Mapping[str, Any]) -> str:
        """What a Graph's node reads."""
        return f"{one['name']}_merge" if one.get("inputs") else str(one["input"])

    def is_model(self, entry: Any) -> bool:
        """Whether an entry is a model rather than a layer."""
        entry = expect(self.source, "model config: Merge", entry, Mapping, "a branch")
        return entry.get("class_name", entry.get("name")) in ("Sequential", "Model", "Graph")

    def flat(self, entry: Any) -> dict[str, Any]:
        """A layer's class_name and config, of either form."""
        entry = expect(self.source, "model config: layers", entry, Mapping, "a layer")
        if "class_name" in entry:
            config = entry.get("config")
            if not isinstance(config, Mapping):
                config = {"layers": config} if isinstance(config, list) else {}
            return {"class_name": str(entry["class_name"]), "config": dict(config)}
        kind = str(entry.get("name", "?"))
        config = {key: value for key, value in entry.items() if key != "name"}
        return {"class_name": kind, "config": {**config, "name": self.unique(str(entry.get("custom_name", kind.lower())))}}

    def unique(self, name: str) -> str:
        """A name that no other layer has: Keras 0 names all layers of a class alike."""
        number = self.used.get(name, 0)
        self.used[name] = number + 1
        return f"{name}_{number}" if number else name

    def layer(self, entry: Any) -> dict[str, Any]:
        """A layer in Keras 2's words."""
        if isinstance(entry, Mapping) and self.is_model(entry):
            return self.model(entry)
        flat = self.flat(entry)
        kind, old = flat["class_name"], flat["config"]
        new = CLASSES.get(kind, kind)
        if kind == "Merge":
            return self.merge(old)
        names = {**RENAMED[""], **RENAMED.get(new, {})}
        config = {names.get(key, key): value for key, value in old.items() if key not in DROPPED}
        if shape := batch_shape(old):
            # Keras 0 noted an Embedding's vocabulary for its input shape.
            vocabulary = new == "Embedding" and "batch_input_shape" not in old
            config["batch_input_shape"] = [None, old.get("input_length")] if vocabulary else shape
        if kind == "InputLayer":
            config["dtype"] = old.get("input_dtype")
        elif new == "Embedding":
            config["input_dtype"] = old.get("input_dtype") or "int32"
        if "layer" in config:
            config["layer"] = self.layer(config["layer"])
        if "dim_ordering" in config:
            config["data_format"] = "channels_first" if config.pop("dim_ordering") == "th" else "channels_last"
        if "nb_row" in config:
            config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col", None)]
        if new == "Embedding":
            config.update(input_dim=old.get("input_dim"))
            config[EMBEDDING_DROPOUT] = config.pop("dropout", 0.0)
        if new == "BatchNormalization" and config.get("mode") == 0:
            del config["mode"]
        if new in GATED and old.get("consume_less") != "gpu":
            config[SPLIT] = True
        if new == "ConvLSTM2D":
            config.setdefault("strides", [1, 1])
        return {"class_name": new, "config": config}

    def merge(self, old: Mapping[str, Any]) -> dict[str, Any]:
        """The layer that a Merge became; other modes, and the cosine of Keras 0, stay a Merge, which is refused by name."""
        mode = old.get("mode") if old.get("mode_type", "raw") == "raw" else None
        config: dict[str, Any] = {"name": old.get("name")}
        if mode == "concat":
            config["axis"] = old.get("concat_axis", -1)
        if mode in ("dot", "cos"):
            axes = old.get("dot_axes", -1)
            config["axes"] = [axis[0] if isinstance(axis, list) else axis for axis in axes] if isinstance(axes, list) else axes
        if mode == "dot":
            config["normalize"] = False
        if not isinstance(mode, str) or mode not in MERGES or (mode == "cos" and "mode_type" not in old):
            return {"class_name": "Merge", "config": {**config, "mode": mode}}
        return {"class_name": MERGES[mode], "config": config}


def modern(entry: Any, source: str) -> Any:
    """The config of a model of Keras 0 or 1 in Keras 2's form."""
    try:
        return Modern(source).model(entry)
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise FormatError(f"{source}: model config: not one that Keras 1 wrote ({type(error).__name__}: {error})") from error


def placed(kind: str, name: str, config: Mapping[str, Any], nodes: list[Any]) -> dict[str, Any]:
    """An entry of a functional model."""
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def batch_shape(config: Mapping[str, Any]) -> list[Any] | None:
    """The input shape that a first layer states, with the batch dimension."""
    if isinstance(config.get("batch_input_shape"), list):
        return config["batch_input_shape"]
    return [None, *config["input_shape"]] if isinstance(config.get("input_shape"), list) else None


# -- arrays ---------------------------------------------------------------------------------------------------------------


def merged_gates(arrays: tuple[np.ndarray, ...], gates: int, prepare: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, ...]:
    """Kernel, recurrent kernel and bias of arrays that were kept a gate (kernel, recurrent kernel, bias) each."""
    order = GATE_ORDER[gates]
    parts = [[prepare(arrays[3 * gate + kind]) for gate in order] for kind in range(3)]
    if any(array.ndim == 0 or array.shape[:-1] != group[0].shape[:-1] for group in parts for array in group):
        return arrays
    return tuple(np.concatenate(group, axis=-1) for group in parts)


def modern_kernel(kind: str, kernel: np.ndarray, filters: Any, first: bool) -> np.ndarray:
    """A convolution kernel as (space..., channels, filters).

    Parameters
    ----------
    kind
        The layer's class.
    kernel
        The array in the file. Conv1D's has four axes: (length, 1, channels, filters), earlier (filters, channels, length, 1).
    filters
        Number of filters by the config.
    first
        Whether channels stand first (``dim_ordering='th'``).
    """
    if kernel.ndim != 4:
        return kernel
    if kind == "Conv1D":
        if kernel.shape[1] == 1 and kernel.shape[3] == filters:
            return kernel[:, 0]
        return kernel[:, :, :, 0].transpose(2, 1, 0)
    return kernel.transpose(2, 3, 1, 0) if first else kernel
