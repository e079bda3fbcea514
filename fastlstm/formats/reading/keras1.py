"""Configs of Keras 0.x and 1.x in Keras 2's words, so that one reader reads them all.

Configs up to 0.3 have no ``class_name``: a layer is one flat object whose ``name`` is its class. Sequential models may begin with
a ``Merge`` of branches, each a model of its own, and ``Graph`` lists its nodes by name: both become functional models.
LSTM, GRU and ConvLSTM2D keep three arrays a gate (unless ``consume_less='gpu'``): see ``keras1_arrays``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...catalogue import EARLY_NAMES, INPUT_LAYER, MERGES, MODEL, SEQUENTIAL, Role, canonical, row_of
from ...errors import FormatError
from .jsontext import expect

#: Keys that only a config of Keras 1 has.
TELLING = frozenset({"inner_activation", "inner_init", "consume_less", "nb_filter", "border_mode", "input_dtype", "custom_name",
                     "cache_enabled", "dropout_W", "W_regularizer", "pool_length", "filter_length"})  # fmt: skip
#: The new config's key for layers whose gates are kept apart.
SPLIT = "split_gates"
#: ... and the dropout of an Embedding, which Keras 0 scales by even at inference.
EMBEDDING_DROPOUT = "embedding_dropout"
#: The layer that merges branches, and the model of Keras 0 whose nodes have names.
MERGE, GRAPH = "Merge", "Graph"
#: New names of arguments of any class; the catalogue has those of one class alone.
RENAMED = {
    "bias": "use_bias", "inner_activation": "recurrent_activation", "dropout_W": "dropout", "dropout_U": "recurrent_dropout",
    "p": "rate", "sigma": "stddev", "nb_filter": "filters", "filter_length": "kernel_size", "subsample_length": "strides",
    "subsample": "strides", "atrous_rate": "dilation_rate", "border_mode": "padding", "pool_length": "pool_size", "stride": "strides",
    "length": "size", "W_regularizer": "kernel_regularizer", "U_regularizer": "recurrent_regularizer",
    "b_regularizer": "bias_regularizer",
}  # fmt: skip
#: Arguments that mean nothing at inference, or that the arrays tell.
DROPPED = frozenset({
    "init", "inner_init", "forget_bias_init", "W_constraint", "U_constraint", "b_constraint", "input_dim", "input_length", "consume_less",
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

    def error(self, what: str) -> FormatError:
        """An error about the config."""
        return FormatError(f"{self.source}: model config: {what}")

    def model(self, entry: Any) -> dict[str, Any]:
        """A model of Keras 0 or 1 in Keras 2's form."""
        entry = expect(self.source, "model config", entry, Mapping, "a model")
        if "class_name" not in entry:
            if entry.get("name") == GRAPH:
                return self.graph(entry)
            return self.sequential("sequential", entry.get("layers"))
        kind, config = entry["class_name"], entry.get("config")
        if kind == SEQUENTIAL:
            layers = config.get("layers") if isinstance(config, Mapping) else config
            name = config.get("name") if isinstance(config, Mapping) else None
            return self.sequential(name if isinstance(name, str) else "sequential", layers)
        config = expect(self.source, "model config", config, Mapping, "the model's config")
        layers = [self.node(one) for one in expect(self.source, "model config: layers", config.get("layers"), list, "a list of layers")]
        return {"class_name": MODEL, "config": {**config, "layers": layers}}

    def node(self, entry: Any) -> dict[str, Any]:
        """A layer of a functional model."""
        entry = expect(self.source, "model config: layers", entry, Mapping, "a layer")
        return {**self.layer(entry), "name": entry.get("name"), "inbound_nodes": entry.get("inbound_nodes", [])}

    def sequential(self, name: str, layers: Any) -> dict[str, Any]:
        """A chain; functional where it begins with a Merge of branches."""
        layers = expect(self.source, "model config: layers", layers, list, "a list of layers")
        first = self.flat(layers[0]) if layers else {}
        if first.get("class_name") == MERGE and "layers" in first["config"]:
            return self.merged(name, first, layers[1:])
        return {"class_name": SEQUENTIAL, "config": {"name": name, "layers": [self.layer(one) for one in layers]}}

    def merged(self, name: str, merge: Mapping[str, Any], rest: list[Any]) -> dict[str, Any]:
        """A Sequential that begins with a Merge, as a functional model: its branches are nested models."""
        branches = expect(self.source, "model config: Merge", merge["config"]["layers"], list, "a list of branches")
        layers: list[dict[str, Any]] = []
        inputs, tensors = [], []
        for number, one in enumerate(branches):
            branch = self.model(one) if self.is_model(one) else self.sequential("branch", [one])
            if branch["class_name"] != SEQUENTIAL:
                raise self.error("a Merge of branches that are themselves merged is not read")
            label = self.unique(f"{name}_branch_{number}")
            branch["config"]["name"] = label
            shape = branch["config"]["layers"][0]["config"].get("batch_input_shape")
            given = self.unique(f"{label}_input")
            layers.append(placed(INPUT_LAYER, given, {"batch_input_shape": shape}, []))
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
        return {"class_name": MODEL, "config": config}

    def graph(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Keras 0's Graph as a functional model."""
        layers = [placed(INPUT_LAYER, str(one["name"]), {"batch_input_shape": batch_shape(one)}, []) for one in entry["input_config"]]
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
        return {"class_name": MODEL, "config": {"name": "graph", "layers": layers, "input_layers": inputs, "output_layers": outputs}}

    def joined(self, one: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        """The merge that a Graph's node makes of several inputs."""
        if not one.get("inputs"):
            return []
        axes = {key: one.get(key, -1) for key in ("concat_axis", "dot_axes")}
        head = self.merge({"name": f"{name}_merge", "mode": one.get("merge_mode", "concat"), **axes})
        return [{**head, "name": f"{name}_merge", "inbound_nodes": [[[given, 0, 0] for given in one["inputs"]]]}]

    def source_of(self, one: Mapping[str, Any]) -> str:
        """The name of the layer that a Graph's node reads."""
        return f"{one['name']}_merge" if one.get("inputs") else str(one["input"])

    def is_model(self, entry: Any) -> bool:
        """Whether an entry is a model rather than a layer."""
        entry = expect(self.source, "model config: Merge", entry, Mapping, "a branch")
        return row_of(str(entry.get("class_name", entry.get("name")))).role is Role.MODEL

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
        if kind == MERGE:
            return self.merge(old)
        kind = EARLY_NAMES.get(kind) or canonical(kind)
        row = row_of(kind)
        names = {**RENAMED, **row.early_renamed}
        config = {names.get(key, key): value for key, value in old.items() if key not in DROPPED}
        if shape := batch_shape(old):
            # Keras 0 noted an Embedding's vocabulary for its input shape.
            vocabulary = row.role is Role.EMBEDDING and "batch_input_shape" not in old
            config["batch_input_shape"] = [None, old.get("input_length")] if vocabulary else shape
        if row.role is Role.INPUT:
            config["dtype"] = old.get("input_dtype")
        if "layer" in config:
            config["layer"] = self.layer(config["layer"])
        if "dim_ordering" in config:
            config["data_format"] = "channels_first" if config.pop("dim_ordering") == "th" else "channels_last"
        if "nb_row" in config:
            config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col", None)]
        if row.role is Role.EMBEDDING:
            config.update(input_dtype=old.get("input_dtype") or "int32", input_dim=old.get("input_dim"))
            config[EMBEDDING_DROPOUT] = config.pop("dropout", 0.0)
        if row.role is Role.NORMALIZATION and config.get("mode") == 0:
            del config["mode"]
        if row.role is Role.RECURRENT and row.gates and old.get("consume_less") != "gpu":
            config[SPLIT] = True
        if row.role is Role.RECURRENT and row.axes:
            config.setdefault("strides", [1] * row.axes)
        return {"class_name": kind, "config": config}

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
            return {"class_name": MERGE, "config": {**config, "mode": mode}}
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
