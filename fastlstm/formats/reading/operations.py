"""Operations of a graph as each generation writes them: Keras 3's nodes, tf.keras's lambdas of functions, and its layers of node_defs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...catalogue import OF_KERAS3, GraphNode
from ...operations.rows import NEUTRAL, UNSAID, Signature
from ...operations.rows import Operation as Row
from ...operations.table import FUNCTIONS, KERAS3, OPERATIONS, OPS, Names
from ...spec import Fixed
from .draft import LayerDraft
from .nodes import Node, Tensor, fixed, leaves_in
from .values import short

#: The numbers of node_defs' dtypes that stand in attributes.
DTYPES = {
    "DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_INT32": "int32", "DT_INT64": "int64", "DT_BOOL": "bool", "DT_HALF": "float16",
    "DT_BFLOAT16": "bfloat16", "DT_UINT8": "uint8", "DT_INT8": "int8", "DT_INT16": "int16", "DT_COMPLEX64": "complex64",
    "1": "float32", "2": "float64", "3": "int32", "9": "int64", "10": "bool",
}  # fmt: skip
#: The arguments of Keras 3's operations that say nothing of what they compute.
OF_NODES = frozenset({"name", "trainable"})


class UnreadError(ValueError):
    """An operation, or an argument of one, that is not known."""


def prefix(name: str) -> str:
    """A function of TensorFlow without the places where it stands too."""
    return name.removeprefix("tf.").removeprefix("compat.v1.")


def canonical_operation(node: Node, layer: LayerDraft) -> tuple[dict[str, Any], list[Tensor], list[np.ndarray]]:
    """An operation's node as the config of a canonical operation, with its tensors and its constants.

    Where it is not known, or holds what is not, the config says so: what cannot be computed may still be supplied, or not be needed.
    """
    try:
        row, given = READERS[layer.row.graph_node](node, layer)
        tensors: list[Tensor] = []
        arrays: list[np.ndarray] = []
        arguments = {name: template(value, tensors, arrays, name in row.meaning.tensors) for name, value in given.items()}
        row.bound(arguments)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        plain = {key: value for key, value in {**layer.config, **node.keywords}.items() if is_plain(value)}
        return {"operation": written_name(layer), "arguments": plain, "unread": str(error)}, list(node.tensors()), []
    return {"operation": row.name, "arguments": arguments}, tensors, arrays


def is_plain(value: Any) -> bool:
    """Is a value a number or a text, or made of them? A function of the caller's may need it."""
    return all(leaf is None or isinstance(leaf, (bool, int, float, str)) for leaf in leaves_in(value))


def written_name(layer: LayerDraft) -> str:
    """An operation as its file calls it."""
    config = layer.config
    definition = config.get("node_def")
    if isinstance(definition, Mapping):
        return f"tf.raw_ops.{definition.get('op')}"
    symbol = config.get("function", config.get("method_name", config.get("attr_name")))
    return layer.class_name.removeprefix(OF_KERAS3) if symbol is None else f"tf.{symbol}"


def found_row(names: Names, name: Any, what: str) -> tuple[Row, Signature]:
    """The row of a name, and its arguments there."""
    found = names.find(name) if isinstance(name, str) else None
    if found is None:
        raise UnreadError(f"the operation {what} is not known")
    return found


def of_keras3(node: Node, layer: LayerDraft) -> tuple[Row, dict[str, Any]]:
    """An operation of Keras 3: what its class was made with stands in the config, what it is called with in the node."""
    name = layer.class_name.removeprefix(OF_KERAS3)
    row, names = found_row(KERAS3, name, name)
    settings = {key: value for key, value in layer.config.items() if key not in OF_NODES}
    words = {**settings, **node.keywords}
    free = [theirs for theirs, _ in names.given if theirs not in words]
    given = canonical(row, names, {**words, **positional(free, node.args)})
    if row.gives_back is not None and row.gives_back(given, node.dtype):
        return OPERATIONS["same"], {"x": given.get("x")}
    return row, given


def of_function(node: Node, layer: LayerDraft) -> tuple[Row, dict[str, Any]]:
    """A function of TensorFlow, in tf.keras from 2.4 on."""
    name = layer.config.get("function")
    row, names = found_row(FUNCTIONS, prefix(str(name)), f"tf.{name}")
    words = {("key" if key == "slice_spec" else key): value for key, value in node.keywords.items()}
    if "key" in words and words["key"] is None:  # x[None]
        words["key"] = [None]
    free = [theirs for theirs, _ in names.given if theirs not in words]
    given = canonical(row, names, {**words, **positional(free, node.args)})
    if not any(True for _ in node.tensors()) and row.meaning.tensors:
        raise UnreadError("the file does not hold the tensors that it is called with: Keras lost them, and cannot load the file either")
    # The file does not say of what dtype the tensor is. What has a mask is the output of a layer, and so of floats.
    if row.gives_back is not None and row.gives_back(given, "float32"):
        return OPERATIONS["same"], {"x": given.get("x")}
    return row, given


def of_method(node: Node, layer: LayerDraft) -> tuple[Row, dict[str, Any]]:
    """A method or property of a tensor, in tf.keras from 2.4 on."""
    config = layer.config
    name = f"{config.get('cls_symbol', '')}.{config.get('method_name', config.get('attr_name', ''))}".removeprefix("tf.")
    row, names = found_row(FUNCTIONS, name, name)
    free = [theirs for theirs, _ in names.given if theirs not in node.keywords]
    return row, canonical(row, names, {**node.keywords, **positional(free, node.args)})


def of_node_def(node: Node, layer: LayerDraft) -> tuple[Row, dict[str, Any]]:
    """An op of TensorFlow by its node_def, in tf.keras 2.0 to 2.3: constants stand among the tensors by their places."""
    definition, constants = layer.config.get("node_def"), layer.config.get("constants") or {}
    if not isinstance(definition, Mapping) or not isinstance(constants, Mapping):
        raise UnreadError(f"expected a node_def and constants, found {short(definition)}")
    name, attributes = definition.get("op"), definition.get("attr") or {}
    row, names = found_row(OPS, name, f"tf.raw_ops.{name}")
    waiting = list(leaves_in(node.args))
    places = {int(key): value for key, value in constants.items() if str(key).isdecimal()}
    if len(places) != len(constants) or any(place >= len(places) + len(waiting) for place in places):
        raise UnreadError(f"expected constants by their places, found {short(sorted(map(str, constants)))}")
    values = [places[place] if place in places else waiting.pop(0) for place in range(len(places) + len(waiting))]
    words = {key: attribute(value) for key, value in attributes.items() if not UNSAID.match(key) or key in dict(names.given)}
    inputs = [theirs for theirs, _ in names.given[: names.inputs]]
    return row, canonical(row, names, {**words, **positional(inputs, values)})


def attribute(value: Any) -> Any:
    """An attribute of a node_def, as protobuf writes it as JSON."""
    if not isinstance(value, Mapping) or len(value) != 1:
        raise UnreadError(f"expected an attribute of one value, found {short(value)}")
    ((kind, content),) = value.items()
    if kind == "i":
        return int(content)
    if kind == "s":
        return base64.b64decode(content).decode("utf-8", "replace")
    if kind == "type":
        return DTYPES.get(str(content), str(content))
    if kind == "list":
        found = content if isinstance(content, Mapping) else {}
        return [attribute({one: item}) for one, items in found.items() for item in items]
    return content


def positional(names: list[str], values: list[Any]) -> dict[str, Any]:
    """Positional arguments by name; "rest" is the name of all that others leave, as a list."""
    if "rest" in names:
        first, others = names.index("rest"), len(names) - 1
        last = len(values) - others + first
        values = [*values[:first], values[first:last], *values[last:]]
    if len(values) > len(names):
        raise UnreadError(f"it is called with {len(values)} positional arguments, where {len(names)} are known")
    return dict(zip(names, values, strict=False))


def canonical(row: Row, names: Signature, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by canonical names; those that say nothing are left out."""
    ours = dict(names.given)
    found = dict(names.defaults)
    for key, value in given.items():
        if key in ours:
            if value is not None:
                found[ours[key]] = value
        elif key not in NEUTRAL or (NEUTRAL[key] and value not in NEUTRAL[key]):
            raise UnreadError(f"its argument {key}={short(value)} is not known")
    adapt = (row.adapt or {}).get(names.name)
    try:
        return {key: value for key, value in (adapt(found) if adapt else found).items() if value is not None}
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise UnreadError(f"its arguments make no sense ({type(error).__name__}: {error})") from error


def template(value: Any, tensors: list[Tensor], arrays: list[np.ndarray], may_be_tensor: bool) -> Any:
    """An argument with numbers for its tensors and constants, which are appended to ``tensors`` and ``arrays``."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return {"input": len(tensors) - 1}
    if isinstance(value, Fixed):
        arrays.append(value.array if value.array.dtype != bool else value.array.astype(np.float32))
        return {"array": len(arrays) - 1}
    if isinstance(value, Mapping):
        return marked(value, tensors, arrays)
    if isinstance(value, (list, tuple)):
        if (
            may_be_tensor
            and value
            and not any(isinstance(leaf, (Tensor, Fixed, str, Mapping)) or leaf is None for leaf in leaves_in(list(value)))
        ):
            return template(constant(value), tensors, arrays, False)
        if not value and may_be_tensor:
            arrays.append(np.zeros(0, np.float32))
            return {"array": len(arrays) - 1}
        return [{"newaxis": True} if one is None else template(one, tensors, arrays, may_be_tensor) for one in value]
    return value


def constant(value: Any) -> Fixed:
    """A list of numbers as an array."""
    try:
        return fixed(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise UnreadError(f"{short(value)} among its tensors: {error}") from error


def marked(value: Mapping[str, Any], tensors: list[Tensor], arrays: list[np.ndarray]) -> Any:
    """A slice, an ellipsis, or another object among the arguments."""
    kind = value.get("class_name")
    config = value.get("config") if kind is not None else value
    if kind == "__ellipsis__":
        return {"ellipsis": True}
    if kind in (None, "__slice__") and isinstance(config, Mapping) and {"start", "stop"} <= set(config):
        return {"slice": [template(config.get(end), tensors, arrays, False) for end in ("start", "stop", "step")]}
    if kind in ("DType", "TypeSpec") or "dtype" in value:
        return str(value.get("config", value.get("dtype")))
    raise UnreadError(f"{short(value)} among its arguments is not known")


READERS: Mapping[GraphNode | None, Callable[[Node, LayerDraft], tuple[Row, dict[str, Any]]]] = {
    GraphNode.KERAS3: of_keras3,
    GraphNode.FUNCTION: of_function,
    GraphNode.METHOD: of_method,
    GraphNode.NODE_DEF: of_node_def,
}
