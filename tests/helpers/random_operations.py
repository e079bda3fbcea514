"""Random chains of operations and layers over two sequences and ids, written as people write them in Keras 3 or in tf.keras.

Numbers stay of a useful size, and what jumps (floor, comparisons, argmax) looks at tensors that no arithmetic has rounded yet: there
float32 and float64 see the same side of the jump.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

UNITS, VOCABULARY = 4, 6
#: Larger numbers than this are scaled down, so that nothing overflows.
LARGE = 20.0
#: As many numbers may a row of a tensor have.
NUMBERS = 4096
#: What a Keras raises for what it does not take.
REFUSALS = (ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError, IndexError, AssertionError)


class Tensor(NamedTuple):
    """A tensor of Keras with what is known of its numbers."""

    value: Any
    size: float  # none is larger, about
    exact: bool = False  # taken from an input without arithmetic

    @property
    def shape(self) -> tuple[int | None, ...]:
        return tuple(self.value.shape)

    @property
    def known(self) -> bool:
        """Are all axes but the batch's known?"""
        return None not in self.shape[1:]


def keras3_functions(ops: Any) -> dict[str, Callable[..., Any]]:
    """What is called otherwise in TensorFlow, by its name in keras.ops."""
    return {
        "l2_normalize": lambda x, axis: ops.normalize(x, axis=axis, epsilon=0.1),
        "matmul_transposed": lambda x, y: ops.matmul(x, ops.swapaxes(y, -1, -2)),
        "squared_difference": lambda x, y: ops.square(ops.subtract(x, y)),
    }


def tensorflow_functions(tf: Any) -> dict[str, Callable[..., Any]]:
    """TensorFlow's functions by their names in keras.ops, where they differ."""
    math, nn = tf.math, tf.nn
    reductions = {name: getattr(math, f"reduce_{name}") for name in ("sum", "mean", "max", "min", "prod", "std", "logsumexp")}
    return {
        **reductions,
        "absolute": tf.abs, "all": math.reduce_all, "any": math.reduce_any, "arctan": math.atan, "ceil": math.ceil,
        "clip": tf.clip_by_value, "concatenate": tf.concat, "erf": math.erf, "floor_divide": math.floordiv, "log1p": math.log1p,
        "log_sigmoid": math.log_sigmoid, "mod": math.floormod, "norm": tf.norm, "reciprocal": math.reciprocal, "rsqrt": math.rsqrt,
        "silu": nn.silu, "take": tf.gather,
        "flip": lambda x, axis: tf.reverse(x, [axis]),
        "l2_normalize": lambda x, axis: math.l2_normalize(x, axis=axis, epsilon=0.1),
        "matmul_transposed": lambda x, y: tf.matmul(x, y, transpose_b=True),
        "split": lambda x, parts, axis: tf.split(x, parts, axis=axis),
        "squared_difference": math.squared_difference,
        "swapaxes": lambda x, one, other: tf.transpose(x, swapped(len(x.shape), one, other)),
        "var": math.reduce_variance,
    }  # fmt: skip


def swapped(rank: int, one: int, other: int) -> list[int]:
    axes = list(range(rank))
    axes[one], axes[other] = axes[other], axes[one]
    return axes


class Functions:
    """Functions of operations by their names in keras.ops."""

    def __init__(self, keras: ModuleType, tf: ModuleType):
        self.home: Any = getattr(keras, "ops", tf)
        self.named = keras3_functions(self.home) if hasattr(keras, "ops") else tensorflow_functions(tf)
        self.places = (self.home,) if hasattr(keras, "ops") else (tf, tf.math, tf.nn)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in self.named:
            return self.named[name]
        return next(getattr(place, name) for place in self.places if hasattr(place, name))


@dataclass
class Graph:
    """A graph as it grows."""

    random: np.random.Generator
    keras: Any
    functions: Any
    tensors: list[Tensor] = field(default_factory=list)
    ids: list[Any] = field(default_factory=list)
    script: list[str] = field(default_factory=list)

    def choose(self, options: Sequence[Any]) -> Any:
        return options[int(self.random.integers(len(options)))]

    def pick(self, accepts: Callable[[Tensor], bool] = lambda tensor: True) -> Tensor:
        """A tensor that an operation accepts, later ones more often."""
        fitting = [tensor for tensor in self.tensors if accepts(tensor)]
        if not fitting:
            raise ValueError("no tensor that fits")
        return self.choose(fitting[-4:] if self.random.random() < 0.7 else fitting)

    def number(self) -> float:
        return float(np.float32(self.choose((0.5, -1.5, 2.0, 1.0, 0.3, 3, -2))))

    def constant(self, *shape: int) -> np.ndarray:
        return self.random.normal(size=shape).astype(np.float32)

    def axis(self, tensor: Tensor) -> int:
        """An axis other than the batch's, counted from either end."""
        axis = int(self.random.integers(1, len(tensor.shape)))
        return axis if self.random.random() < 0.5 else axis - len(tensor.shape)

    def add(self, what: str, value: Any, size: float, exact: bool = False) -> None:
        """Keep a new tensor, scaled down where its numbers may be large."""
        if len(value.shape) > 5 or np.prod([length or 1 for length in value.shape[1:]]) > NUMBERS:
            return
        self.script.append(f"{what} -> {tuple(value.shape)}")
        if size > LARGE:
            value, size, exact = value * (1.0 / size), 1.0, False
        self.tensors.append(Tensor(value, size, exact))


#: Name -> how large its numbers are for those of x. Continuous functions that take any number.
SMOOTH: dict[str, Callable[[float], float]] = {
    **dict.fromkeys(("tanh", "sigmoid", "sin", "cos", "softsign", "erf"), lambda size: 1.0),
    **dict.fromkeys(("relu", "elu", "silu", "leaky_relu", "gelu", "absolute", "negative", "log_sigmoid"), lambda size: size),
    **dict.fromkeys(("softplus", "selu"), lambda size: 2 * size + 1),
    "square": lambda size: size * size,
    "arctan": lambda size: 1.6,
}
#: Continuous where x is positive and not near 0.
OF_POSITIVE = ("sqrt", "rsqrt", "log", "log1p", "reciprocal")
JUMPING = ("floor", "ceil", "round", "sign")


def unary(graph: Graph) -> None:
    x = graph.pick()
    name = graph.choose((*SMOOTH, *OF_POSITIVE, "exp"))
    function = getattr(graph.functions, name)
    if name in SMOOTH:
        graph.add(name, function(x.value), SMOOTH[name](x.size))
    elif name == "exp":
        graph.add(name, function(graph.functions.tanh(x.value)), 3.0)
    else:
        graph.add(f"{name}(abs(x) + 0.5)", function(abs(x.value) + 0.5), x.size + 2)


def jumping(graph: Graph) -> None:
    x, name = graph.pick(lambda tensor: tensor.exact), graph.choose(JUMPING)
    graph.add(name, getattr(graph.functions, name)(x.value), x.size + 1)


def arithmetic(graph: Graph) -> None:
    """A sign between tensors that broadcast, or a tensor and numbers, in both orders."""
    x = graph.pick()
    other: Any
    kind = graph.choose(("tensor", "tensor", "number", "array", "row"))
    if kind == "number":
        other, size = graph.number(), 3.0
    elif kind == "array":
        other, size = graph.constant(*(x.shape[-1:] if x.shape[-1] and len(x.shape) > 1 else ())), 3.0
        other = float(other) if other.shape == () else other
    else:
        found = graph.pick(lambda tensor: fits(tensor.shape, x.shape) if kind == "tensor" else tensor.shape == x.shape)
        other, size = found.value, found.size
    sign = graph.choose(("+", "-", "*", "/", "maximum", "minimum", "squared_difference", "**"))
    left, right = (x.value, other) if kind == "array" or graph.random.random() < 0.5 else (other, x.value)
    large = x.size * size if sign == "*" else (x.size + size) ** 2 if sign == "squared_difference" else x.size + size + 2
    graph.add(f"{kind} {sign}", signed(graph, sign, left, right), large)


def fits(one: tuple[int | None, ...], other: tuple[int | None, ...]) -> bool:
    """Do two shapes broadcast, each row of the batch with its own?"""
    return len(one) == len(other) and all(a == b or 1 in (a, b) for a, b in zip(one, other, strict=True))


def signed(graph: Graph, sign: str, left: Any, right: Any) -> Any:
    """What stands at both sides of a sign, or in the brackets of a function."""
    positive = abs(right) + 0.5
    if sign == "**":
        return (abs(left) * 0.1 + 0.5) ** graph.choose((2, 0.5, -1.0, 3.0)) + right * 0
    found = {"+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right, "/": lambda: left / positive}
    return found[sign]() if sign in found else getattr(graph.functions, sign)(left, right)


def remainder(graph: Graph) -> None:
    x = graph.pick(lambda tensor: tensor.exact)
    value = graph.choose((0.7, -0.7, 2.0))
    name = graph.choose(("floor_divide", "mod"))
    found = x.value // value if name == "floor_divide" else x.value % value
    graph.add(f"{name} {value}", found, 2 * x.size + 2)


def comparison(graph: Graph) -> None:
    """A condition, counted or chosen by."""
    x = graph.pick(lambda tensor: tensor.exact)
    y = graph.pick(lambda tensor: tensor.shape == x.shape)
    name = graph.choose(("greater", "less_equal", "less", "greater_equal", "not_equal"))
    condition = getattr(graph.functions, name)(x.value, graph.choose((0.0, 0.5, -0.25)))
    if graph.random.random() < 0.3:
        condition = graph.functions.logical_not(condition)
    if graph.random.random() < 0.5:
        graph.add(f"where {name}", graph.functions.where(condition, y.value, graph.choose((x.value, 0.0))), x.size + y.size)
    elif graph.random.random() < 0.5 and len(x.shape) > 1:
        kind = graph.choose(("any", "all"))
        found = getattr(graph.functions, kind)(condition, axis=graph.axis(x), keepdims=bool(graph.random.integers(2)))
        graph.add(f"{kind} {name}", graph.functions.cast(found, "float32"), 1.0)
    else:
        graph.add(f"cast {name}", graph.functions.cast(condition, "float32"), 1.0)


def clip(graph: Graph) -> None:
    x = graph.pick()
    graph.add("clip", graph.functions.clip(x.value, -0.5, graph.choose((0.5, 1.0))), 1.0, x.exact)


def reduction(graph: Graph) -> None:
    x = graph.pick(lambda tensor: len(tensor.shape) > 1)
    name = graph.choose(("sum", "mean", "max", "min", "std", "var", "logsumexp", "norm", "prod"))
    axis: Any = graph.axis(x)
    if len(x.shape) > 2 and graph.random.random() < 0.2 and name != "norm":
        axis = list(range(1, len(x.shape)))
    length = float(np.prod([x.shape[one] or 6 for one in np.atleast_1d(axis)]))
    keep = {"keepdims": True} if graph.random.random() < 0.4 else {}
    value = graph.functions.tanh(x.value) if name == "prod" else x.value + 0.1 if name in ("std", "norm") else x.value
    sizes = {"sum": x.size * length, "norm": x.size * length, "var": x.size * x.size, "logsumexp": x.size + 3, "prod": 1.0}
    exact = x.exact and name in ("max", "min")
    graph.add(f"{name} axis={axis} {keep}", getattr(graph.functions, name)(value, axis=axis, **keep), sizes.get(name, x.size), exact)


def running(graph: Graph) -> None:
    x = graph.pick(lambda tensor: len(tensor.shape) > 1 and tensor.known)
    axis = graph.axis(x)
    graph.add(f"cumsum {axis}", graph.functions.cumsum(x.value, axis=axis), x.size * (x.shape[axis] or 1))


def normalised(graph: Graph) -> None:
    x = graph.pick(lambda tensor: len(tensor.shape) > 1)
    name = graph.choose(("softmax", "log_softmax", "l2_normalize"))
    axis = graph.axis(x)
    graph.add(f"{name} {axis}", getattr(graph.functions, name)(x.value, axis=axis), 2 * x.size + 3)


def index(graph: Graph) -> None:
    """x[:, ...]: numbers, slices, new axes, the ellipsis."""
    x = graph.pick(lambda tensor: len(tensor.shape) > 1)
    key: list[Any] = [slice(None)]
    left = list(x.shape[1:])
    if graph.random.random() < 0.2:
        key.append(Ellipsis)
        left = left[-1:]
    for length in left:
        kind = graph.choose(("all", "number", "slice", "backwards", "step", "new"))
        end = 1 if length is None else length
        if kind == "number":
            key.append(graph.choose((0, -1, int(graph.random.integers(end)))))
        elif kind == "slice":
            start = int(graph.random.integers(end))
            key.append(graph.choose((slice(start, None), slice(None, start + 1), slice(-1, None), slice(start, start + 1))))
        elif kind == "new":
            key.extend((None, slice(None)))
        else:
            key.append(slice(None, None, {"all": None, "backwards": -1, "step": 2}[kind]))
    graph.add(f"x[{key}]", x.value[tuple(key)], x.size, x.exact)


def reshaped(graph: Graph) -> None:
    x = graph.pick(lambda tensor: len(tensor.shape) > 1 and tensor.known)
    functions, lengths = graph.functions, [length or 1 for length in x.shape[1:]]
    rank = len(x.shape)
    total = int(np.prod(lengths))
    half = next((n for n in (2, 3, 5) if total % n == 0), 1)
    axis = graph.axis(x)
    ways: dict[str, Callable[[], Any]] = {
        "reshape": lambda: functions.reshape(x.value, graph.choose(((-1, total), (-1, half, total // half), [-1, total // half, half]))),
        "transpose": lambda: functions.transpose(x.value, [0, *(int(n) + 1 for n in graph.random.permutation(rank - 1))]),
        "expand_dims": lambda: functions.expand_dims(x.value, axis),
        "squeeze": lambda: functions.squeeze(functions.expand_dims(x.value, -1), -1),
        "tile": lambda: functions.tile(x.value, [1, *(int(n) for n in graph.random.integers(1, 3, rank - 1))]),
        "repeat": lambda: functions.repeat(x.value, 2, axis=axis),
        "flip": lambda: functions.flip(x.value, axis=axis),
        "roll": lambda: functions.roll(x.value, graph.choose((1, -2)), axis=axis),
        "pad": lambda: functions.pad(x.value, [[0, 0], *([int(graph.random.integers(3)), 1] for _ in lengths)]),
        "swapaxes": lambda: functions.swapaxes(x.value, -1, 1 if rank > 2 else -1),
    }
    name = graph.choose(tuple(ways))
    graph.add(name, ways[name](), x.size, x.exact)


def joined(graph: Graph) -> None:
    x = graph.pick(lambda tensor: len(tensor.shape) > 1)
    y = graph.pick(lambda tensor: tensor.shape == x.shape)
    name = graph.choose(("concatenate", "stack"))
    axis = graph.axis(x)
    parts = [x.value, y.value, x.value][: int(graph.random.integers(2, 4))]
    graph.add(f"{name} {axis}", getattr(graph.functions, name)(parts, axis=axis), max(x.size, y.size), x.exact and y.exact)


def parted(graph: Graph) -> None:
    """Several tensors of one."""
    x = graph.pick(lambda tensor: len(tensor.shape) > 1 and tensor.known)
    axis = graph.axis(x)
    length = x.shape[axis] or 1
    if graph.random.random() < 0.5:
        parts = next((n for n in (2, 3, 5) if length % n == 0), 1)
        found = graph.functions.split(x.value, parts, axis=axis)
    else:
        found = graph.functions.unstack(x.value, axis=axis)
    for part in list(found)[:2]:
        graph.add("a part", part, x.size, x.exact)


def product(graph: Graph) -> None:
    x = graph.pick(lambda tensor: len(tensor.shape) > 1 and bool(tensor.shape[-1]))
    width = x.shape[-1] or 1
    kind = graph.choose(("matmul", "constant", "tensordot", "scores", "einsum"))
    if kind == "constant":
        value, length, size = graph.functions.matmul(x.value, graph.constant(width, 3)), width, 3.0
    elif kind == "tensordot":
        value, length, size = graph.functions.tensordot(x.value, graph.constant(width, 3), 1), width, 3.0
    else:
        y = graph.pick(lambda tensor: len(tensor.shape) == 3 and tensor.shape[:1] + tensor.shape[2:] == (None, width))
        x = graph.pick(lambda tensor: len(tensor.shape) == 3 and tensor.shape[2] == width)
        if kind == "einsum":
            value = graph.functions.einsum("btf,bsf->bts", x.value, y.value)
        elif kind == "scores":
            value = graph.functions.matmul_transposed(x.value, y.value)
        else:
            value = graph.functions.matmul(x.value, graph.functions.swapaxes(y.value, 1, 2))
        length, size = width, y.size
    graph.add(kind, value, x.size * size * length)


def looked_up(graph: Graph) -> None:
    ids = graph.choose(graph.ids)
    functions = graph.functions
    kind = graph.choose(("one_hot", "cast", "equal", "take"))
    x = graph.pick(lambda tensor: len(tensor.shape) > 1 and (tensor.shape[1] or 0) > 1)
    if kind == "one_hot":
        graph.add(kind, functions.one_hot(ids, VOCABULARY), 1.0, True)
    elif kind == "cast":
        graph.add(kind, functions.cast(ids * 2 - 1, "float32"), 12.0, True)
    elif kind == "equal":
        graph.add(kind, functions.cast(functions.equal(ids, 2), "float32"), 1.0, True)
    else:
        graph.add(kind, functions.take(x.value, [1, 0], axis=1), x.size, x.exact)


def layer(graph: Graph) -> None:
    """A layer over a sequence."""
    layers = graph.keras.layers
    x = graph.pick(lambda tensor: len(tensor.shape) == 3 and bool(tensor.shape[2]) and tensor.shape[1] != 0)
    makers: dict[str, Callable[[], Any]] = {
        "Dense": lambda: layers.Dense(UNITS, activation=graph.choose(("tanh", "relu", None)))(x.value),
        "LSTM": lambda: layers.LSTM(UNITS, return_sequences=True)(x.value),
        "last LSTM": lambda: layers.LSTM(UNITS)(x.value),
        "GRU": lambda: layers.GRU(UNITS, return_sequences=True, go_backwards=graph.choose((True, False)))(x.value),
        "Bidirectional": lambda: layers.Bidirectional(layers.GRU(2, return_sequences=True))(x.value),
        "LayerNormalization": lambda: layers.LayerNormalization(epsilon=0.1)(x.value),
        "Conv1D": lambda: layers.Conv1D(UNITS, 2, padding="same")(x.value),
        "Attention": lambda: layers.Attention()([x.value, graph.pick(lambda tensor: tensor.shape == x.shape).value]),
        "Masking": lambda: layers.Masking(0.0)(x.value),
        "TimeDistributed": lambda: layers.TimeDistributed(layers.Dense(UNITS))(x.value),
        "Add": lambda: layers.Add()([x.value, graph.pick(lambda tensor: tensor.shape == x.shape).value]),
        "GlobalAveragePooling1D": lambda: layers.GlobalAveragePooling1D()(x.value),
    }
    name = graph.choose(tuple(makers))
    bounded = "LSTM" in name or name in ("GRU", "Bidirectional")
    graph.add(name, makers[name](), 1.0 if bounded else 4 * x.size, x.exact and name == "Masking")


GROWTH = (
    unary, unary, jumping, arithmetic, arithmetic, arithmetic, remainder, comparison, clip, reduction, reduction, running, normalised,
    index, index, reshaped, reshaped, joined, parted, product, product, looked_up, layer, layer, layer, layer,
)  # fmt: skip


def grown(seed: int, keras: ModuleType, tf: ModuleType) -> tuple[Any, Graph]:
    """A model over two sequences and ids, with the graph that it is made of; of what Keras does not take nothing stays."""
    random = np.random.default_rng(seed)
    graph = Graph(random, keras, Functions(keras, tf))
    length = graph.choose((5, 5, 5, None))
    inputs = [keras.Input((length, UNITS)), keras.Input((length, UNITS)), keras.Input((length,), dtype="int32")]
    graph.tensors += [Tensor(given, 3.0, exact=True) for given in inputs[:2]]
    graph.ids.append(inputs[2])
    graph.tensors.append(Tensor(keras.layers.Embedding(VOCABULARY, UNITS, mask_zero=graph.choose((True, False)))(inputs[2]), 2.0))
    if graph.random.random() < 0.3:
        graph.tensors.append(Tensor(keras.layers.Masking(0.0)(inputs[0]), 3.0, exact=True))
    started = len(graph.tensors)
    for _ in range(int(random.integers(3, 12))):
        try:
            graph.choose(GROWTH)(graph)
        except (*REFUSALS, tf.errors.OpError):
            continue
    made = [tensor.value for tensor in graph.tensors[started:]][-3:]
    return (needing(keras, inputs, made) if made else None), graph


def needing(keras: Any, inputs: list[Any], outputs: list[Any]) -> Any:
    """The model from those of the inputs that the outputs need."""
    for given in inputs:
        others = [one for one in inputs if one is not given]
        try:
            keras.Model(others, outputs)
        except ValueError:
            continue
        inputs = others
    return keras.Model(inputs, outputs)
