"""The JSON of a model, of any generation: its layers, and the chain or graph that they form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import lazy
from ...catalogue import INPUT_LAYER, SEQUENTIAL, Role, row_of
from ...errors import FormatError, Problem, UnsupportedError
from ...limits import PATHS, Budget
from ...spec import Call, Ref
from .dialect import Dialect
from .draft import LayerDraft, ModelDraft
from .graph import Graph
from .jsontext import expect
from .keras1 import SPLIT
from .penalties import penalties
from .quantisation import QUANTISED, policy, settle_quantisation
from .values import short, wrong_argument, wrong_shape
from .vocabulary import class_name, compute_dtype, layer_config

if TYPE_CHECKING:
    from . import categories
else:
    categories = lazy.module("fastlstm.formats.reading.categories")

#: The keys of entries of models and layers. Any other key is a problem of the file, as it could change the numbers.
ENTRY_KEYS = frozenset({
    "class_name", "config", "name", "inbound_nodes", "module", "registered_name", "build_config", "compile_config", "shared_object_id",
})  # fmt: skip
ROOT_KEYS = ENTRY_KEYS | {"keras_version", "backend"}
#: ... and the configs of models, and of InputLayers.
MODEL_KEYS = frozenset({
    "name", "layers", "input_layers", "output_layers", "trainable", "dtype", "build_input_shape", "batch_input_shape",
})  # fmt: skip
INPUT_KEYS = frozenset({
    "name", "batch_input_shape", "batch_shape", "input_shape", "dtype", "input_dtype", "sparse", "ragged", "optional", "trainable",
    "type_spec",
})  # fmt: skip


@dataclass
class Reader:
    """Reads the layers of one file.

    Attributes
    ----------
    budget
        The limits on what reading the file may cost.
    dialect
        How to understand it.
    """

    budget: Budget
    dialect: Dialect

    @property
    def source(self) -> str:
        """The file, for messages."""
        return self.budget.source

    def error(self, place: str, what: str) -> FormatError:
        """An error about a place in the config."""
        return FormatError(f"{self.source}: model config: {place or 'the model'}: {what}")

    def root(self, entry: Any) -> ModelDraft:
        """The whole model."""
        entry = expect(self.source, "model config", entry, Mapping, "an object with class_name and config")
        kind = entry.get("class_name")
        config = entry.get("config")
        if not isinstance(kind, str) or not isinstance(config, (Mapping, list)):
            raise self.error("", f"expected class_name and config, found the keys {sorted(map(str, entry))[:8]}")
        own = not is_model(kind)
        if own and not (isinstance(config, Mapping) and "layers" in config):
            what = f"the model is of the class {kind!r}, whose graph is in Python code, not in the file"
            raise UnsupportedError(self.source, (Problem("", "", what, "save it again as a plain Sequential or functional Model"),))
        draft = self.model(entry, "", 0)
        self.only_known(entry, ROOT_KEYS, "", "", draft.problems)
        if own:
            draft.problems.append(
                Problem(
                    "",
                    "",
                    f"the model is of the class {kind!r}, whose code is not in the file",
                    "save it again as a plain Sequential or functional Model",
                )
            )
        return draft

    def model(self, entry: Mapping[str, Any], path: str, depth: int) -> ModelDraft:
        """A Sequential or functional model, at the root or nested."""
        self.budget.deep(f"model config: {path}", depth)
        config = entry["config"]
        if isinstance(config, list):  # Sequential up to Keras 2.2.2
            config = {"layers": config}
        config = expect(self.source, path or "model config", config, Mapping, "the model's config")
        entries = expect(self.source, f"{path or 'model config'}: layers", config.get("layers"), list, "a list of layers")
        name = config.get("name") if isinstance(config.get("name"), str) else entry.get("name")
        name = name if isinstance(name, str) else str(entry.get("class_name", "model")).lower()
        if not entries:
            raise self.error(path, "a model without layers")
        prefix = path + "/" if path else ""
        problems: list[Problem] = []
        if is_model(entry.get("class_name")):
            self.only_known(config, MODEL_KEYS, path, str(entry["class_name"]), problems)
        if "input_layers" in config:
            layers = [self.layer(one, prefix, problems, depth + 1) for one in entries]
            nodes = [one.get("inbound_nodes", []) for one in entries]
            graph = Graph(self.source, self.dialect, path, layers, problems)
            listed = [layer.name for layer in layers]
            draft = graph.model(name, nodes, config["input_layers"], config.get("output_layers"))
            draft.listed = listed
            return draft
        return self.sequential(name, entry, config, entries, prefix, problems, depth)

    def only_known(self, entry: Mapping[str, Any], known: frozenset[str], path: str, kind: str, problems: list[Problem]) -> None:
        """Note the keys of an entry that are not understood."""
        for key, value in entry.items():
            if key not in known:
                problems.append(Problem(path, kind, f"{key}={short(value)} in its entry is not known", "please report the file"))

    def sequential(
        self,
        name: str,
        entry: Mapping[str, Any],
        config: Mapping[str, Any],
        entries: list[Any],
        prefix: str,
        problems: list[Problem],
        depth: int,
    ) -> ModelDraft:
        """A chain of layers."""
        layers = [self.layer(one, prefix, problems, depth + 1) for one in entries]
        if layers[0].row.role is not Role.INPUT:
            layers.insert(0, self.implied_input(entry, config, entries[0], layers[0], prefix))
        names = [layer.name for layer in layers]
        if len(set(names)) < len(names):
            raise self.error(prefix, f"two layers of one name in {short(sorted(names))}")
        calls = [Call(0)] + [Call(number, (Ref(number - 1),)) for number in range(1, len(layers))]
        last = layers[-1]
        if last.model is not None and len(last.model.outputs) != 1:
            outputs = [Ref(len(calls) - 1, number) for number in range(len(last.model.outputs))]
        else:
            outputs = [Ref(len(calls) - 1)]
        return ModelDraft(
            name,
            SEQUENTIAL,
            layers,
            calls,
            [Ref(0)],
            outputs,
            [layers[0].name],
            [last.name] * len(outputs),
            "single" if len(outputs) == 1 else "list",
            problems,
            listed=names,
        )

    def implied_input(self, entry: Mapping[str, Any], config: Mapping[str, Any], first: Any, layer: LayerDraft, prefix: str) -> LayerDraft:
        """The InputLayer that a Sequential's config leaves out. Its shape may be None: then the weights must tell."""
        build = entry.get("build_config")
        shape = self.declared_shape(first, layer)
        if shape is None:
            shape = config.get("build_input_shape") or (build.get("input_shape") if isinstance(build, Mapping) else None)
        inner = first["config"] if isinstance(first["config"], Mapping) else {}
        dtype = inner.get("input_dtype", inner.get("dtype"))
        dtype = dtype if isinstance(dtype, str) else "float32"
        name = f"{layer.name}_input"
        settings = {"shape": None if shape is None else self.shape(shape, prefix + name), "dtype": dtype}
        return LayerDraft(INPUT_LAYER, name, settings, prefix + name, INPUT_LAYER)

    def declared_shape(self, entry: Any, layer: LayerDraft) -> Any:
        """The input shape that a layer's own config states."""
        if layer.model is not None:
            return layer.model.layers[layer.model.calls[layer.model.inputs[0].call].layer].config["shape"]
        config = entry["config"]
        for key in ("batch_input_shape", "batch_shape"):
            if config.get(key) is not None:
                return config[key]
        return None

    def layer(self, entry: Any, prefix: str, problems: list[Problem], depth: int, rename: str = "") -> LayerDraft:
        """One layer with all that it wraps."""
        entry = expect(self.source, f"model config: {prefix}", entry, Mapping, "a layer's class_name and config")
        if not isinstance(entry.get("class_name"), str):
            raise self.error(prefix, f"a layer without class_name, only {sorted(map(str, entry))[:8]}")
        self.budget.deep(f"model config: {prefix}", depth)
        self.budget.visit(f"model config: {prefix}")
        kind = class_name(entry, self.dialect)
        row, config = row_of(kind), entry.get("config")
        if isinstance(config, list) and row.role is Role.MODEL:
            config = {"layers": config}
        config = expect(self.source, f"model config: {prefix}{kind}", config, Mapping, "the layer's config")
        draft = self.draft(entry, config, kind, prefix, rename)
        self.only_known(entry, ENTRY_KEYS, draft.path, kind, problems)
        if row.role is Role.MODEL and isinstance(config.get("layers"), list):
            draft.model = self.model({**entry, "config": config}, draft.path, depth)
            draft.class_name = draft.model.class_name
        elif row.role is Role.INPUT:
            draft.config = self.input_config(config, draft.path, problems)
        elif row.graph_node is not None:
            draft.config = dict(config)
        else:
            self.arithmetic(draft, config, problems)
            config = {key: plain_number(value) for key, value in config.items()}
            self.check_values(config, draft.path)
            draft.config = layer_config(kind, config, self.dialect)
            if draft.trainable or not self.dialect.keras3:  # which counts those that are trained alone
                draft.penalties = penalties(config, row.role)
            if row.adapted:
                self.adapted(draft)
            if row.role in (Role.LOOKUP, Role.CATEGORIES):
                categories.settle_categories(draft, config, self.dialect, problems, self.source)
            self.wrapped(draft, problems, depth)
            self.padding(draft, problems)
            if row.becomes:
                draft.class_name = row.becomes
                draft.config.update(row.settings)
        return draft

    def draft(self, entry: Mapping[str, Any], config: Mapping[str, Any], kind: str, prefix: str, rename: str) -> LayerDraft:
        """A layer of which only its names are known yet."""
        name = entry.get("name") or config.get("name") or kind.lower()
        name = rename + expect(self.source, f"model config: {prefix}{kind}", name, str, "a layer's name")
        self.budget.name(f"model config: {prefix}{kind}", name)
        path = prefix + name
        self.budget.hold(f"model config: {path:.80}", PATHS * len(path))
        saved = entry["class_name"].rsplit(">", 1)[-1]
        return LayerDraft(kind, name, {}, path, saved, trainable=config.get("trainable") is not False)

    def arithmetic(self, draft: LayerDraft, config: Mapping[str, Any], problems: list[Problem]) -> None:
        """The dtype of a layer, and how its arrays are kept."""
        mode, source = policy(config.get("dtype"))
        dtype = compute_dtype(draft.class_name, {**config, "dtype": source}, self.dialect)
        draft.dtype = dtype or "float32"
        if mode:
            settle_quantisation(draft, mode, config, problems)
        elif dtype is None and draft.row.computed:
            what = f"its dtype is {config.get('dtype')!r}"
            problems.append(Problem(draft.path, draft.class_name, what, "float32, float64 or a mixed policy would do"))
        draft.split_gates = bool(config.get(SPLIT))

    def padding(self, draft: LayerDraft, problems: list[Problem]) -> None:
        """Theano's meaning of "same"."""
        if not (self.dialect.theano and pads_differently(draft.config)):
            return
        if draft.row.role is Role.CONVOLUTION:
            draft.config["padding"] = "half"
        else:
            what = "it was trained on Theano, whose padding 'same' is not that of other backends here"
            problems.append(Problem(draft.path, draft.class_name, what))

    def adapted(self, draft: LayerDraft) -> None:
        """Take what enable_lora and quantize have left in a config."""
        rank, alpha = draft.config.pop("lora_rank", None), draft.config.pop("lora_alpha", None)
        draft.config.pop("quantization_config", None)
        if draft.quantised in QUANTISED:
            draft.config["quantization"] = draft.quantised
        if rank is not None:
            if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, (int, float, type(None))):
                found = f"{short(rank)} with lora_alpha={short(alpha)}"
                raise self.error(draft.path, f"lora_rank: expected a positive whole number, found {found}")
            draft.lora = (rank if alpha is None else alpha) / rank

    def input_config(self, config: Mapping[str, Any], path: str, problems: list[Problem]) -> dict[str, Any]:
        """The canonical config of an InputLayer."""
        shape = config.get("batch_input_shape", config.get("batch_shape"))
        if shape is None:
            shape = config.get("input_shape")
            if isinstance(shape, (list, tuple)):
                shape = [None, *shape]
        if shape is None:
            raise self.error(path, "an InputLayer without a shape")
        self.only_known(config, INPUT_KEYS, path, INPUT_LAYER, problems)
        if config.get("sparse"):  # one that is ragged takes sequences of different lengths, which any input does here
            problems.append(Problem(path, INPUT_LAYER, "it takes sparse tensors"))
        dtype = config.get("dtype", config.get("input_dtype"))
        return {"shape": self.shape(shape, path), "dtype": dtype if isinstance(dtype, str) else "float32"}

    def shape(self, value: Any, path: str) -> list[int | None]:
        """A shape with its batch dimension."""
        if isinstance(value, Mapping):  # a serialised TensorShape or tuple
            value = value.get("items", value.get("config"))
        sizes = expect(self.source, f"model config: {path}: shape", value, (list, tuple), "a list of sizes")
        if what := wrong_shape(sizes):
            raise self.error(path, what)
        return list(sizes)

    def check_values(self, config: Mapping[str, Any], path: str) -> None:
        """Refuse sizes, flags and numbers that no layer can have."""
        if what := wrong_argument(config):
            raise self.error(path, what)

    def wrapped(self, draft: LayerDraft, problems: list[Problem], depth: int) -> None:
        """Read the layers that a layer wraps, out of its config into ``children``."""
        inside, row = draft.path + "/", draft.row
        if row.role is Role.BIDIRECTIONAL:
            self.directions(draft, problems, depth)
        elif row.role is Role.STACK:
            cells = expect(self.source, f"model config: {draft.path}: cells", draft.config.pop("cells", None), list, "a list of cells")
            draft.children = [self.layer(cell, inside, problems, depth + 1) for cell in cells]
            names = [cell.name for cell in draft.children]
            if len(set(names)) < len(names):
                for number, cell in enumerate(draft.children):
                    cell.name, cell.path = f"{cell.name}_{number}", f"{cell.path}_{number}"
        elif row.wraps:
            draft.children = [self.layer(self.child(draft, row.wraps[0]), inside, problems, depth + 1)]

    def directions(self, draft: LayerDraft, problems: list[Problem], depth: int) -> None:
        """Read the layers of a Bidirectional; where its config has no backward layer, that is the forward one turned round."""
        inside, entry = draft.path + "/", self.child(draft, "layer")
        backward = draft.config.pop("backward_layer", None)
        draft.children = [self.layer(entry, inside, problems, depth + 1, "forward_")]
        draft.children.append(self.layer(backward or entry, inside, problems, depth + 1, "backward_"))
        if backward is None:
            settings = draft.children[1].config
            settings["go_backwards"] = self.dialect.backward_always or not settings.get("go_backwards", False)
        if self.dialect.fused_repeats:
            for child in draft.children:
                if not fused(child) and child.config.get("return_sequences"):
                    child.config["zero_output_for_mask"] = True

    def child(self, draft: LayerDraft, key: str) -> Any:
        """The entry of a wrapped layer."""
        if key not in draft.config:
            raise self.error(draft.path, f"a {draft.class_name} without the argument {key}")
        return draft.config.pop(key)


def is_model(name: Any) -> bool:
    """Whether a class, as an entry names it, is one of graphs of layers."""
    return isinstance(name, str) and row_of(name).role is Role.MODEL


def plain_number(value: Any) -> Any:
    """A config's value; ``{"type": "ndarray", "value": ...}`` is how tf.keras up to 2.0 writes what it keeps as arrays, None as NaN."""
    if not isinstance(value, Mapping) or value.keys() != {"type", "value"}:
        return value
    number = value["value"]
    return None if number != number else number


def fused(layer: LayerDraft) -> bool:
    """Whether tf.keras 2 runs a layer through the fused implementation that it shares with cuDNN."""
    config = layer.config
    return (
        layer.row.fused
        and config.get("activation") == "tanh"
        and config.get("recurrent_activation") == "sigmoid"
        and not config.get("recurrent_dropout")
        and not config.get("unroll")
        and config.get("use_bias", True)
        and config.get("reset_after", True)
    )


def pads_differently(config: Mapping[str, Any]) -> bool:
    """Whether Theano pads a convolution or pooling differently: "same" with strides, with an even window, or for pooling."""
    if config.get("padding") != "same":
        return False

    def sizes(key: str) -> list[Any]:
        value = config.get(key, 1)
        return value if isinstance(value, list) else [value]

    even = any(isinstance(n, int) and n % 2 == 0 for n in sizes("kernel_size"))
    return "pool_size" in config or even or any(n != 1 for n in sizes("strides"))
