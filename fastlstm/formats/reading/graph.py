"""The graph of a functional model: inbound nodes of three generations' forms become calls in topological order."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np

from ...catalogue import ATTENTION_MASKS, FUNCTIONAL, MASKED, OPERATION, Role
from ...errors import FormatError, Problem
from ...limits import ARGUMENT_DEPTH
from ...spec import Call, Fixed, Ref
from .dialect import Dialect
from .draft import LayerDraft, ModelDraft
from .jsontext import expect
from .masks import drop_own_masks
from .nodes import Node, Tensor, axes_of_lists, fixed, leaves_in, mapped, with_fixed
from .operations import canonical_operation
from .training import Trained, in_training
from .values import short

T = TypeVar("T")
#: The keys of a node, and of objects and tensors in it, in Keras 3.
NODE_KEYS = frozenset({"args", "kwargs"})
OBJECT_KEYS = frozenset({"class_name", "config", "module", "registered_name"})
TENSOR_KEYS = frozenset({"keras_history", "shape", "dtype"})
FIXED_KEYS = frozenset({"value", "dtype"})
#: Tensors whose values Keras 3 writes into the config.
FIXED_CLASSES = ("__tensor__", "__numpy__")
#: Names of the first argument, for layers called by keyword.
FIRST_ARGUMENT = ("inputs", "sequence", "sequences", "query", "x")
#: The axes of each state of a cell: batch and units.
CELL_AXES = 2


class Graph:
    """Reads the nodes of one functional model."""

    def __init__(self, source: str, dialect: Dialect, path: str, layers: list[LayerDraft], problems: list[Problem]):
        self.source = source
        self.dialect = dialect
        self.path = path
        self.layers = layers
        self.problems = problems
        self.trained: dict[int, Trained] = {}
        self.originals: dict[int, LayerDraft] = {}  # operations as the file has them
        self.more: list[LayerDraft] = []  # layers of operations' further calls
        self.index = {layer.name: number for number, layer in enumerate(layers)}
        if len(self.index) < len(layers):
            raise self.error(f"two layers of one name in {short(sorted(layer.name for layer in layers))}")

    def error(self, what: str) -> FormatError:
        """An error about this model."""
        return FormatError(f"{self.source}: model config: {self.path or 'the graph'}: {what}")

    def model(self, name: str, inbound: list[Any], input_layers: Any, output_layers: Any) -> ModelDraft:
        """The model whose layers have these inbound nodes."""
        nodes: list[Node] = []
        for number, entries in enumerate(inbound):
            nodes += self.nodes(number, entries)
        _, input_keys, inputs = self.endpoints(input_layers, "input_layers")
        kind, keys, outputs = self.endpoints(output_layers, "output_layers")
        outputs = self.renumber(nodes, outputs)
        if self.dialect.keras3:
            nodes = drop_own_masks(self.layers, nodes, inputs, outputs)
        order = self.sorted(nodes)
        place = {(node.layer, node.number): position for position, node in enumerate(order)}
        refs = [self.ref(tensor, place) for tensor in outputs]
        for tensor in inputs:
            if self.layers[self.index[tensor.layer]].row.role is not Role.INPUT:
                raise self.error(f"input_layers names {tensor.layer!r}, which is no InputLayer")
        names = keys if kind == "dict" else [tensor.layer for tensor in outputs]
        used = {node.layer for node in order}
        kept = [number for number in range(len(self.layers)) if number in used or not inbound[number]]
        new = {old: number for number, old in enumerate(kept)}
        calls = [self.call(node, place, new) for node in order]
        return ModelDraft(
            name,
            FUNCTIONAL,
            [*(self.layers[number] for number in kept), *self.more],
            calls,
            [self.ref(tensor, place) for tensor in inputs],
            refs,
            [tensor.layer for tensor in inputs],
            names,
            kind,
            self.problems,
            input_keys,
        )

    # -- reading ----------------------------------------------------------------------------------------------------------

    def nodes(self, layer: int, entries: Any) -> list[Node]:
        """The nodes of one layer."""
        name, row = self.layers[layer].name, self.layers[layer].row
        entries = expect(self.source, f"model config: {name}: inbound_nodes", entries, list, "a list of nodes")
        if not entries and (row.role is Role.INPUT or not row.computed):
            return [Node(layer, 0)]  # an operation without inputs, as TensorFlow's Const, is one call too
        found = []
        for number, entry in enumerate(entries):
            node = Node(layer, number)
            if isinstance(entry, Mapping) and ("args" in entry or "kwargs" in entry):
                self.read_args(node, entry)
            elif row.graph_node is not None:
                self.read_operation(node, expect(self.source, f"{self.place(node)}: arguments", entry, list, "a list"))
            elif isinstance(entry, Mapping):  # tf.keras: the layer is called with a dict
                self.read_lists(node, [entry[key] for key in sorted(entry)])
                node.keys = sorted(entry)
            else:
                self.read_lists(node, expect(self.source, f"model config: {name}: inbound_nodes", entry, list, "a node"))
            found.append(node)
        return found

    def read_args(self, node: Node, entry: Mapping[str, Any]) -> None:
        """A node of Keras 3: args and kwargs with serialised tensors."""
        self.only_known(node, entry, NODE_KEYS)
        for argument in expect(self.source, f"{self.place(node)}: args", entry.get("args") or [], list, "a list"):
            node.take(self.keras3_value(node, argument))
        kwargs = expect(self.source, f"{self.place(node)}: kwargs", entry.get("kwargs") or {}, Mapping, "an object")
        node.keywords = {key: self.keras3_value(node, value) for key, value in kwargs.items()}

    def keras3_value(self, node: Node, value: Any, depth: int = 0) -> Any:
        """A call argument of Keras 3."""
        self.not_deep(node, depth)
        if isinstance(value, Mapping):
            kind, config = value.get("class_name"), value.get("config")
            if kind in ("__keras_tensor__", *FIXED_CLASSES):
                self.only_known(node, value, OBJECT_KEYS)
                config = expect(self.source, f"{self.place(node)}: {kind}", config, Mapping, "an object")
                if kind in FIXED_CLASSES:
                    self.only_known(node, config, FIXED_KEYS)
                    dtype, values = config.get("dtype"), config.get("value")
                    if not isinstance(values, list):
                        return values  # a number, as if it had been written as one
                    return self.values(node, kind, lambda: fixed(values, dtype if isinstance(dtype, str) else None))
                self.only_known(node, config, TENSOR_KEYS)
                node.dtype = node.dtype or str(config.get("dtype"))
                return self.tensor(config.get("keras_history"))
            return {key: self.keras3_value(node, inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.keras3_value(node, inner, depth + 1) for inner in value]
        return value

    def not_deep(self, node: Node, depth: int) -> None:
        """Refuse call arguments nested deeper than any layer reads."""
        if depth > ARGUMENT_DEPTH:
            raise self.error(f"a call of layer {self.layers[node.layer].name!r}: arguments nested more than {ARGUMENT_DEPTH} deep")

    def values(self, node: Node, what: str, make: Callable[[], T]) -> T:
        """The tensors that ``make`` finds in a call argument; a FormatError if it finds none."""
        try:
            return make()
        except (ValueError, TypeError, OverflowError) as error:
            raise self.error(f"a call of layer {self.layers[node.layer].name!r}: {what}: {error}") from error

    def only_known(self, node: Node, entry: Mapping[str, Any], known: frozenset[str]) -> None:
        """Note the keys of a node that are not understood: leaving them out could change the numbers."""
        layer = self.layers[node.layer]
        for key in entry:
            if key not in known:
                self.problems.append(Problem(layer.path, layer.class_name, f"its call has {key}={short(entry[key])}, which is not known"))

    def place(self, node: Node) -> str:
        """A node, for messages."""
        return f"model config: {self.path or 'the graph'}: a call of layer {self.layers[node.layer].name!r}"

    def read_lists(self, node: Node, entry: list[Any]) -> None:
        """A node of Keras 1, 2 and tf.keras: lists of [layer, node, output] or [layer, node, output, kwargs]."""
        if is_tensor(entry):
            entry = [entry]
        for item in flat_tensors(entry):
            if not is_tensor(item):
                raise self.error(f"a node of {self.layers[node.layer].name!r}: expected [layer, node, output], found {item!r}")
            if item[1] == -1:  # tf.keras's ["_CONSTANT_VALUE", -1, value, kwargs]
                if isinstance(item[2], list):
                    node.inputs.append(self.values(node, "a constant", partial(fixed, item[2])))
                else:
                    node.others.append(item[2])
            else:
                node.inputs.append(self.tensor(item[:3]))
            if len(item) > 3:
                words = expect(self.source, f"{self.place(node)}: arguments", item[3], Mapping, "an object")
                node.keywords.update({key: self.list_value(node, value) for key, value in words.items()})

    def read_operation(self, node: Node, entry: list[Any], depth: int = 0) -> None:
        """A node of an operation of tf.keras: its first argument, nested as it was given, with the others as keywords."""
        self.read_lists(node, entry)
        node.args = [self.first_argument(node, entry)]

    def first_argument(self, node: Node, value: Any, depth: int = 0) -> Any:
        """The tensors of an operation's first argument, and the constants among them."""
        self.not_deep(node, depth)
        if is_tensor(value):
            constant = value[2]
            return self.list_value(node, constant) if value[1] == -1 else self.tensor(value[:3])
        return [self.first_argument(node, inner, depth + 1) for inner in value] if isinstance(value, list) else value

    def list_value(self, node: Node, value: Any, depth: int = 0) -> Any:
        """A call argument of Keras 2 and tf.keras: [layer, node, output] is a tensor."""
        self.not_deep(node, depth)
        if isinstance(value, Mapping):
            return {key: self.list_value(node, inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list):
            if len(value) == 3 and is_tensor(value) and value[0] in self.index:
                return self.tensor(value)
            return [self.list_value(node, inner, depth + 1) for inner in value]
        return value

    def tensor(self, value: Any) -> Tensor:
        """A tensor from [layer, node, output]."""
        if not isinstance(value, list) or len(value) != 3 or not is_tensor(value) or value[0] not in self.index:
            raise self.error(f"expected [layer, node, output] of a layer of the model, found {value!r}")
        return Tensor(value[0], value[1], value[2])

    def endpoints(self, value: Any, what: str) -> tuple[Literal["single", "list", "dict"], list[str], list[Tensor]]:
        """Inputs or outputs of the model: how they were given, their keys if as a dict, and the tensors."""
        if isinstance(value, Mapping):
            if not value and what == "output_layers":
                raise self.error(f"{what}: expected at least one tensor")
            return "dict", list(value), [self.tensor(tensor[:3] if isinstance(tensor, list) else tensor) for tensor in value.values()]
        value = expect(self.source, f"model config: {self.path or 'the graph'}: {what}", value, list, "a list of tensors")
        if is_tensor(value):
            return "single", [], [self.tensor(value[:3])]
        tensors = [self.tensor(item[:3] if isinstance(item, list) else item) for item in flat_tensors(value)]
        if not tensors:
            raise self.error(f"{what}: expected at least one tensor")
        return ("single" if len(tensors) == 1 else "list"), [], tensors

    # -- ordering ---------------------------------------------------------------------------------------------------------

    def renumber(self, nodes: list[Node], outputs: list[Tensor]) -> list[Tensor]:
        """Number calls in all tensors as the nodes stand in the file; returns the outputs so numbered.

        A nested model that was made from an Input has a node of its own, number 0, which its config leaves out: its calls are
        numbered from 1. Keras 3 does so in ``output_layers`` alone, and early Keras 3 counts calls outside the model too. But
        every call that a config keeps is used, so where numbers do not fit, their order tells.
        """
        counts = Counter(node.layer for node in nodes)
        models = {layer.name for layer in self.layers if self.dialect.keras3 and layer.saved_class == FUNCTIONAL}
        outputs = [t._replace(node=t.node - 1) if t.layer in models and t.node else t for t in outputs]
        used: dict[str, set[int]] = {}
        for tensor in [*outputs, *(tensor for node in nodes for tensor in node.tensors())]:
            used.setdefault(tensor.layer, set()).add(tensor.node)
        new: dict[Tensor, int] = {}
        for name, numbers in used.items():
            count, lowest = counts[self.index[name]], min(numbers)
            if max(numbers) < count:
                continue
            if max(numbers) - lowest < count and lowest == 1:
                new.update({Tensor(name, number, 0): number - 1 for number in numbers})
            elif self.dialect.keras3 and len(numbers) == count:
                new.update({Tensor(name, number, 0): place for place, number in enumerate(sorted(numbers))})

        def change(tensor: Tensor) -> Tensor:
            return tensor._replace(node=new.get(tensor._replace(output=0), tensor.node))

        for node in nodes:
            node.inputs = mapped(node.inputs, change)
            node.args = mapped(node.args, change)
            node.keywords = mapped(node.keywords, change)
        return [change(tensor) for tensor in outputs]

    def sorted(self, nodes: list[Node]) -> list[Node]:
        """The nodes in topological order, otherwise in the file's."""
        position = {(node.layer, node.number): place for place, node in enumerate(nodes)}
        waiting: list[int] = []
        followers: list[list[int]] = [[] for _ in nodes]
        for place, node in enumerate(nodes):
            needed = {self.position(tensor, position) for tensor in node.tensors()}
            waiting.append(len(needed))
            for other in needed:
                followers[other].append(place)
        ready = [place for place, count in enumerate(waiting) if not count]
        order = []
        while ready:
            place = heapq.heappop(ready)
            order.append(nodes[place])
            for follower in followers[place]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    heapq.heappush(ready, follower)
        if len(order) < len(nodes):
            stuck = sorted({self.layers[node.layer].name for place, node in enumerate(nodes) if waiting[place]})
            raise self.error(f"the graph has a cycle through {', '.join(stuck[:8])}")
        return order

    def position(self, tensor: Tensor, position: Mapping[tuple[int, int], int]) -> int:
        """Where the node that makes a tensor stands."""
        found = position.get((self.index[tensor.layer], tensor.node))
        if found is None:
            raise self.error(f"call {tensor.node} of layer {tensor.layer!r} is used, but the layer has no such call")
        return found

    def ref(self, tensor: Tensor, position: Mapping[tuple[int, int], int]) -> Ref:
        """A tensor by the position of its call."""
        return Ref(self.position(tensor, position), tensor.output)

    # -- writing ----------------------------------------------------------------------------------------------------------

    def call(self, node: Node, position: Mapping[tuple[int, int], int], new: Mapping[int, int]) -> Call:
        """A node as a Call, its arguments by their role."""
        layer, row = self.layers[node.layer], self.layers[node.layer].row
        if row.graph_node is not None or row.role is Role.OPERATION:
            return self.operation(node, position, new)
        keywords = {key: value for key, value in node.keywords.items() if not is_idle(key, value)}
        inputs = self.positional(node, layer, keywords)
        if row.takes_states:
            self.split_states(node, inputs, keywords)
        layer.told_inference |= node.keywords.get("training") is False
        if keywords.pop("training", None):
            trained = self.in_training(node.layer)
            if trained.problem:
                self.problems.append(Problem(layer.path, layer.class_name, trained.problem))
            elif trained.by_batch:
                keywords["training"] = True
        for key in MASKED | ATTENTION_MASKS | {"attention_mask"}:
            if key in keywords and key in row.call:
                keywords[key] = self.values(node, key, partial(as_masks, key, keywords[key], len(inputs)))
        self.note_unknown(node, layer, keywords)
        return Call(
            new[node.layer],
            tuple(self.resolve(tensor, position) for tensor in inputs),
            {key: self.resolve(value, position) for key, value in keywords.items()},
        )

    def operation(self, node: Node, position: Mapping[tuple[int, int], int], new: Mapping[int, int]) -> Call:
        """A node of an operation as a Call of a layer of its own, as what it is called with stands in that layer's config."""
        layer, place = self.layers[node.layer], new[node.layer]
        if layer.class_name == OPERATION:  # it has become that of another node
            layer = self.originals[node.layer]
        else:
            self.originals[node.layer] = replace(layer)
        config, tensors, arrays = canonical_operation(node, layer)
        if self.layers[node.layer].class_name == OPERATION:
            layer = self.copied(layer, node.number)
            place = len(new) + len(self.more) - 1
        layer.class_name, layer.config, layer.weights = OPERATION, config, tuple(arrays)
        return Call(place, tuple(self.ref(tensor, position) for tensor in tensors))

    def copied(self, layer: LayerDraft, number: int) -> LayerDraft:
        """One more layer like this, under a name of its own."""
        name = f"{layer.name}/call_{number}"
        while name in self.index:
            name += "_"
        self.index[name] = len(self.layers)
        self.more.append(replace(layer, name=name, path=layer.path.removesuffix(layer.name) + name))
        return self.more[-1]

    def positional(self, node: Node, layer: LayerDraft, keywords: dict[str, Any]) -> list[Tensor | Fixed]:
        """The tensors of a call in order; those passed by name are taken out of ``keywords``."""
        if not node.inputs and layer.row.role is not Role.INPUT:
            for key in FIRST_ARGUMENT:
                if key in keywords:
                    node.take(keywords.pop(key))
                    break
        inputs = self.by_key(layer, list(node.inputs), node.keys) if node.keys else list(node.inputs)
        if not inputs and layer.row.computed and layer.row.role is not Role.INPUT:
            raise self.error(f"layer {layer.name!r} is called without a tensor")
        if layer.row.inputs:
            for key in layer.row.inputs[1:]:
                given = keywords.pop(key, None)
                if layer.row.steps and given is not None:
                    given = self.values(node, key, partial(with_fixed, given, CELL_AXES))
                node.take(given)
            inputs = list(node.inputs)
        return inputs

    def note_unknown(self, node: Node, layer: LayerDraft, keywords: Mapping[str, Any]) -> None:
        """Note the parts of a call that are not computed."""
        unknown = [key for key in keywords if key not in layer.row.call]
        if layer.row.computed and unknown:
            what = f"it is called with the argument {', '.join(unknown)}, which is not computed"
            self.problems.append(Problem(layer.path, layer.class_name, what))
        others = [other for other in node.others if other is not None]
        if layer.row.computed and others:
            self.problems.append(Problem(layer.path, layer.class_name, f"it is called with {short(others)} among its tensors"))

    def in_training(self, layer: int) -> Trained:
        """What training=True makes of a layer; looked for once, however often the layer is called."""
        if layer not in self.trained:
            self.trained[layer] = in_training(self.layers[layer], self.dialect)
        return self.trained[layer]

    def by_key(self, layer: LayerDraft, inputs: list[Tensor | Fixed], keys: list[str]) -> list[Tensor | Fixed]:
        """The tensors of a dict in the order of the nested model's inputs; other layers take them as they come."""
        if layer.model is None or len(keys) != len(inputs):
            return inputs
        given = dict(zip(keys, inputs, strict=True))
        for names in (layer.model.input_keys, layer.model.input_names):
            if sorted(names) == sorted(given):
                return [given[name] for name in names]
        raise self.error(f"model {layer.name!r} is called with {sorted(given)}, its inputs are {sorted(layer.model.input_names)}")

    def split_states(self, node: Node, inputs: list[Tensor | Fixed], keywords: dict[str, Any]) -> None:
        """Move the tensors after the first to ``initial_state`` (and ``constants``)."""
        layer = self.layers[node.layer]
        extra = inputs[1:]
        del inputs[1:]
        count = layer.config.get("num_constants", layer.config.get("_num_constants"))
        if isinstance(count, int) and 0 < count <= len(extra):
            keywords["constants"] = extra[-count:]
            extra = extra[:-count]
        if extra and "initial_state" in keywords:
            raise self.error(f"layer {layer.name!r} is given its initial state twice")
        given = extra or keywords.pop("initial_state", None)
        if given is not None:
            given = self.values(node, "initial_state", partial(with_fixed, given, state_axes(layer)))
            keywords["initial_state"] = list(leaves_in(given))

    def resolve(self, value: Any, position: Mapping[tuple[int, int], int]) -> Any:
        """A call argument with its tensors by position."""
        if isinstance(value, Tensor):
            return self.ref(value, position)
        if isinstance(value, tuple) or (isinstance(value, list) and any(isinstance(leaf, (Tensor, Fixed)) for leaf in leaves_in(value))):
            return tuple(self.resolve(inner, position) for inner in value)
        return value


def is_tensor(value: Any) -> bool:
    """Whether a list may be [layer, node, output, ...]."""
    if not isinstance(value, list) or not 3 <= len(value) <= 4 or not isinstance(value[0], str):
        return False
    if value[1] == -1:
        return True
    return all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in value[1:3])


def flat_tensors(value: Any) -> Iterator[Any]:
    """The [layer, node, output] of nested lists and objects, in TensorFlow's order (keys sorted)."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            stack.extend(value[key] for key in sorted(value, reverse=True))
        elif isinstance(value, list) and not is_tensor(value) and (not value or isinstance(value[0], (list, Mapping))):
            stack.extend(reversed(value))
        else:
            yield value


def is_idle(key: str, value: Any) -> bool:
    """Whether a call argument says nothing."""
    if isinstance(value, (list, Mapping)):
        return all(is_idle(key, inner) for inner in (value.values() if isinstance(value, Mapping) else value))
    return value is None or (key == "training" and not value)


def state_axes(layer: LayerDraft) -> int:
    """How many axes each state of a recurrent layer has, its batch among them."""
    return 2 + (layer.children[0] if layer.row.role is Role.BIDIRECTIONAL else layer).row.axes


def as_masks(key: str, value: Any, inputs: int) -> Any:
    """A mask argument of a layer of so many inputs: a tensor; of ``mask`` for several inputs a tuple, None where one has none."""
    if key == "attention_mask":
        return as_scores_mask(value)
    if key != "mask" or not is_each(value, inputs):
        return as_mask(value)
    found = tuple(None if one is None else as_mask(one) for one in value[:inputs])
    return found if inputs > 1 else found[0]


def is_each(value: Any, inputs: int) -> bool:
    """Whether a mask argument is a list of masks, not the numbers of one."""
    listed = isinstance(value, list) and bool(value)
    return listed and (inputs > 1 or any(one is None or isinstance(one, (Tensor, Fixed)) for one in value))


def as_mask(value: Any) -> Tensor | Fixed:
    """A mask: another layer's output, or one whose values stand in the file."""
    if isinstance(value, Tensor):
        return value
    found = with_fixed(value, axes_of_lists(value))
    if not isinstance(found, Fixed):
        raise ValueError(f"expected one tensor, found {short(value)}")
    return Fixed(found.array.astype(bool))


def as_scores_mask(value: Any) -> Tensor | Fixed:
    """A mask of each pair of steps. Where its values stand in the file, its batch is first: Keras takes one of two axes for all rows."""
    found = as_mask(value)
    return Fixed(found.array[np.newaxis]) if isinstance(found, Fixed) and found.array.ndim == 2 else found
