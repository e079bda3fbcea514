"""Arithmetic, comparisons and functions of numbers, place by place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import activations
from ..program import lowering
from ..program.ir import Value
from .meaning import Arguments, Meaning, Writing
from .operands import AcrossError, MisfitError, Operand, Rows, Unbatched, as_operand, broadcast_shape, computed, is_batched
from .rows import Operation, row


def operands_in(a: Arguments, names: tuple[str, ...]) -> list[Any]:
    """The tensors among the arguments, numbers as operands too."""
    found = [as_operand(a[name]) for name in names]
    for name, operand in zip(names, found, strict=True):
        if not isinstance(operand, tuple):
            raise MisfitError(f"{name}: expected a tensor or a number, found {operand!r:.60}")
    if any(map(is_batched, found)):
        for operand in found:
            if isinstance(operand, Unbatched) and operand.value is None and any(isinstance(size, Rows) for size in operand.sizes or ()):
                raise AcrossError("it computes with the number of rows of a batch")
    return found


def steps_align(operands: list[Any]) -> bool:
    """Do operands meet timestep by timestep: is each a sequence, or the same for all steps?"""
    rank = max(map(len, operands))
    along = [operand[1 - rank] for operand in operands if len(operand) >= rank - 1]
    return rank > 2 and len({size for size in along if size != 1}) == 1


class ElementWise(Meaning):
    """The base of what computes each place by itself."""

    def __init__(self, function: Callable[..., Any], *tensors: str, kernel: str = "", sizes: Callable[..., Any] | None = None):
        self.function = function
        self.tensors = tensors
        self.kernel = kernel
        self.sizes = sizes

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        operands = operands_in(a, self.tensors)
        return (computed(broadcast_shape(operands), operands, self.function, self.sizes),)

    def stepwise(self, a: Arguments) -> bool:
        return steps_align(operands_in(a, self.tensors))

    def compute(self, a: Arguments) -> Any:
        return self.function(*[a[name] for name in self.tensors])


class Binary(ElementWise):
    """A function of two operands."""

    def __init__(self, function: Callable[..., Any], kernel: str = "", sizes: Callable[..., Any] | None = None):
        super().__init__(function, "x1", "x2", kernel=kernel, sizes=sizes)

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        if not self.kernel:
            return None
        operands = [w.operand(name, a[name]) for name in self.tensors]
        return None if None in operands else (lowering.binary(w.builder, self.kernel, *operands),)


class Unary(ElementWise):
    """A function of one tensor."""

    def __init__(self, function: Callable[..., Any], kernel: str = "", sizes: Callable[..., Any] | None = None):
        super().__init__(function, "x", kernel=kernel, sizes=sizes)

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        value = lowering.unary(w.builder, self.kernel, a["x"]) if self.kernel else None
        return None if value is None else (value,)


class Activated(Unary):
    """An activation as a function, with its parameters."""

    def __init__(self, name: str, renamed: dict[str, str] | None = None):
        super().__init__(activations.function(name))
        self.name, self.renamed = name, renamed or {}

    def _canonical(self, a: Arguments) -> Any:
        given = {self.renamed.get(key, key): value for key, value in a.items() if key != "x" and value is not None}
        known = activations.DEFAULTS.get(self.name, {})
        return {"name": self.name, **known, **given} if given else self.name

    def compute(self, a: Arguments) -> Any:
        return activations.function(self._canonical(a))(a["x"])

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        activation = self._canonical(a)
        if activation != "linear" and lowering.activation_call(activation) is None:
            return None
        return (lowering.activated(w.builder, activation, a["x"])._replace(mask=None),)


class Gelu(Activated):
    """gelu, by erf or by its approximation."""

    def __init__(self) -> None:
        super().__init__("gelu")

    def _canonical(self, a: Arguments) -> Any:
        return "gelu_tanh" if a["approximate"] else "gelu"


class Where(ElementWise):
    """x1 where a condition holds, else x2."""

    def __init__(self) -> None:
        super().__init__(lambda condition, x1, x2: np.where(holds(condition), x1, x2), "condition", "x1", "x2")

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        operands = [w.operand(name, a[name]) for name in self.tensors]
        return None if None in operands else (lowering.select(w.builder, *operands),)


class Clip(ElementWise):
    """Between two limits, NaN as it is."""

    def __init__(self) -> None:
        super().__init__(lambda x, low, high: np.minimum(np.maximum(x, low), high), "x", "x_min", "x_max")

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        value = a["x"]
        for name, kernel in (("x_min", "maximum"), ("x_max", "minimum")):
            limit = w.operand(name, a[name])
            if limit is None:
                return None
            value = lowering.binary(w.builder, kernel, value, limit)
        return (value,)


class Cast(Unary):
    """Another dtype: whole numbers cut fractions off, booleans ask whether a number is other than 0."""

    FLOATS = ("float32", "float64", "float16", "bfloat16")

    def __init__(self) -> None:
        super().__init__(lambda x: x)

    def _kind(self, a: Arguments) -> str:
        dtype = a["dtype"]
        if not isinstance(dtype, str):
            raise MisfitError(f"dtype: expected a name, found {dtype!r:.60}")
        if dtype == "bool":
            return "bool"
        if dtype in self.FLOATS:
            return "float"
        if dtype.startswith(("int", "uint")):
            return "whole"
        raise MisfitError(f"dtype {dtype!r} is not computed")

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        self._kind(a)
        if isinstance(a["x"], Unbatched) and a["x"].sizes is not None:
            return (a["x"],)
        return super().shapes(a)

    def compute(self, a: Arguments) -> Any:
        kind = self._kind(a)
        return holds(a["x"]) if kind == "bool" else np.trunc(a["x"]) if kind == "whole" else a["x"]

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        kind = self._kind(a)
        if kind == "float" and not a["x"].integer:
            return (a["x"]._replace(mask=None),)
        return (lowering.binary(w.builder, "not_equal", a["x"], 0.0),) if kind == "bool" else None


def holds(x: Any) -> Any:
    """Whether numbers are other than 0."""
    return np.asarray(x) != 0


def erf(x: Any) -> Any:
    """The error function."""
    return activations.erf(np.asarray(x))


def rounded_quotient(x1: Any, x2: Any) -> Any:
    """x1 / x2, but 0 where x2 is 0."""
    zero = np.asarray(x2) == 0
    return np.where(zero, 0.0, np.asarray(x1) / np.where(zero, 1, x2)).astype(np.result_type(x1, x2))


BINARY = "(x1, x2)"
TF_BINARY = "(x:x1, y:x2)"


def arithmetic(
    name: str, function: Any, kernel: str, keras3: str, tf: tuple[str, ...], op: tuple[str, ...], sizes: Any = None
) -> Operation:
    """The row of a function of two operands, whose names have the same arguments everywhere."""
    return row(
        name + BINARY, Binary(function, kernel, sizes), keras3=keras3, tf=[one + TF_BINARY for one in tf], op=[one + BINARY for one in op]
    )


def unary(name: str, function: Any, keras3: str, tf: tuple[str, ...], op: tuple[str, ...], kernel: str | None = None) -> Operation:
    """The row of a function of one tensor."""
    meaning = Unary(function, name if kernel is None else kernel)
    return row(name + "(x)", meaning, keras3=keras3, tf=[one + "(x)" for one in tf], op=[one + "(x)" for one in op])


TABLE = (
    arithmetic("add", np.add, "add", "Add", ("math.add", "__operators__.add", "nn.bias_add"), ("Add", "AddV2", "BiasAdd"), int.__add__),
    arithmetic("subtract", np.subtract, "subtract", "Subtract", ("math.subtract", "__operators__.sub"), ("Sub",), int.__sub__),
    arithmetic("multiply", np.multiply, "multiply", "Multiply", ("math.multiply", "__operators__.mul"), ("Mul",), int.__mul__),
    arithmetic("true_divide", np.true_divide, "divide", "TrueDivide", ("math.truediv", "__operators__.truediv"), ("RealDiv", "TrueDiv")),
    arithmetic("divide", np.true_divide, "divide", "Divide", ("math.divide", "__operators__.div", "div"), ("Div",)),
    arithmetic("divide_no_nan", rounded_quotient, "", "DivideNoNan", ("math.divide_no_nan",), ("DivNoNan",)),
    arithmetic(
        "floor_divide",
        np.floor_divide,
        "floor_divide",
        "FloorDivide",
        ("math.floordiv", "__operators__.floordiv"),
        ("FloorDiv",),
        int.__floordiv__,
    ),
    arithmetic("mod", np.mod, "remainder", "Mod", ("math.floormod", "math.mod", "__operators__.mod"), ("FloorMod",)),
    arithmetic("power", np.power, "power", "Power", ("math.pow", "__operators__.pow"), ("Pow",)),
    arithmetic("maximum", np.maximum, "maximum", "Maximum", ("math.maximum",), ("Maximum",)),
    arithmetic("minimum", np.minimum, "minimum", "Minimum", ("math.minimum",), ("Minimum",)),
    arithmetic(
        "squared_difference",
        lambda x, y: (x - y) * (x - y),
        "squared_difference",
        "SquaredDifference",
        ("math.squared_difference",),
        ("SquaredDifference",),
    ),
    arithmetic("arctan2", np.arctan2, "", "Arctan2", ("math.atan2",), ("Atan2",)),
    arithmetic("equal", np.equal, "equal", "Equal", ("math.equal", "__operators__.eq"), ("Equal",)),
    arithmetic("not_equal", np.not_equal, "not_equal", "NotEqual", ("math.not_equal", "__operators__.ne"), ("NotEqual",)),
    arithmetic("less", np.less, "less", "Less", ("math.less", "__operators__.lt"), ("Less",)),
    arithmetic("less_equal", np.less_equal, "less_equal", "LessEqual", ("math.less_equal", "__operators__.le"), ("LessEqual",)),
    arithmetic("greater", np.greater, "greater", "Greater", ("math.greater", "__operators__.gt"), ("Greater",)),
    arithmetic(
        "greater_equal", np.greater_equal, "greater_equal", "GreaterEqual", ("math.greater_equal", "__operators__.ge"), ("GreaterEqual",)
    ),
    arithmetic(
        "logical_and",
        lambda x, y: holds(x) & holds(y),
        "logical_and",
        "LogicalAnd",
        ("math.logical_and", "__operators__.and"),
        ("LogicalAnd",),
    ),
    arithmetic(
        "logical_or", lambda x, y: holds(x) | holds(y), "logical_or", "LogicalOr", ("math.logical_or", "__operators__.or"), ("LogicalOr",)
    ),
    arithmetic("logical_xor", lambda x, y: holds(x) ^ holds(y), "logical_xor", "LogicalXor", ("math.logical_xor", "__operators__.xor"), ()),
    unary("logical_not", lambda x: ~holds(x), "LogicalNot", ("math.logical_not", "__operators__.invert"), ("LogicalNot",)),
    unary("negative", np.negative, "Negative", ("math.negative", "__operators__.neg"), ("Neg",)),
    unary("absolute", np.abs, "Absolute", ("math.abs", "__operators__.abs"), ("Abs", "ComplexAbs"), "abs"),
    unary("sign", np.sign, "Sign", ("math.sign",), ("Sign",)),
    unary("square", np.square, "Square", ("math.square",), ("Square",)),
    unary("sqrt", np.sqrt, "Sqrt", ("math.sqrt",), ("Sqrt",)),
    unary("rsqrt", lambda x: 1 / np.sqrt(x), "Rsqrt", ("math.rsqrt",), ("Rsqrt",)),
    unary("reciprocal", np.reciprocal, "Reciprocal", ("math.reciprocal",), ("Reciprocal", "Inv")),
    unary("exp", np.exp, "Exp", ("math.exp",), ("Exp",)),
    unary("exp2", np.exp2, "Exp2", (), ()),
    unary("expm1", np.expm1, "Expm1", ("math.expm1",), ("Expm1",)),
    unary("log", np.log, "Log", ("math.log",), ("Log",)),
    unary("log1p", np.log1p, "Log1p", ("math.log1p",), ("Log1p",)),
    unary("log2", np.log2, "Log2", (), ()),
    unary("log10", np.log10, "Log10", (), ()),
    unary("floor", np.floor, "Floor", ("math.floor",), ("Floor",)),
    unary("ceil", np.ceil, "Ceil", ("math.ceil",), ("Ceil",)),
    unary("trunc", np.trunc, "Trunc", (), ()),
    unary("erf", erf, "Erf", ("math.erf",), ("Erf",)),
    *(
        unary(ours, getattr(np, ours), keras3, (f"math.{theirs}",), (op,))
        for ours, keras3, theirs, op in (
            ("sin", "Sin", "sin", "Sin"),
            ("cos", "Cos", "cos", "Cos"),
            ("tan", "Tan", "tan", "Tan"),
            ("sinh", "Sinh", "sinh", "Sinh"),
            ("cosh", "Cosh", "cosh", "Cosh"),
            ("tanh", "Tanh", "tanh", "Tanh"),
            ("arcsin", "Arcsin", "asin", "Asin"),
            ("arccos", "Arccos", "acos", "Acos"),
            ("arctan", "Arctan", "atan", "Atan"),
            ("arcsinh", "Arcsinh", "asinh", "Asinh"),
            ("arccosh", "Arccosh", "acosh", "Acosh"),
            ("arctanh", "Arctanh", "atanh", "Atanh"),
        )
    ),
    unary("isnan", np.isnan, "Isnan", ("math.is_nan",), ("IsNan",)),
    unary("isinf", np.isinf, "Isinf", ("math.is_inf",), ("IsInf",)),
    unary("isfinite", np.isfinite, "Isfinite", ("math.is_finite",), ("IsFinite",)),
    row("round(x, decimals=0)", Unary(np.round, "round"), keras3="Round", tf="math.round(x)", op=("Round(x)", "Rint(x)")),
    row(
        "clip(x, x_min, x_max)",
        Clip(),
        keras3="Clip",
        tf="clip_by_value(t:x, clip_value_min:x_min, clip_value_max:x_max)",
        op="ClipByValue(x, x_min, x_max)",
    ),
    row(
        "where(condition, x1, x2)",
        Where(),
        keras3="Where",
        tf=("where(condition, x:x1, y:x2)", "where_v2(condition, x:x1, y:x2)"),
        op=("SelectV2(condition, x1, x2)", "Select(condition, x1, x2)"),
    ),
    row("cast(x, dtype)", Cast(), keras3="Cast", tf=("cast(x, dtype)", "keras.backend.cast(x, dtype)"), op="Cast(x; DstT:dtype)"),
    row(
        "identity(x)",
        Activated("linear"),
        keras3=("Identity", "Copy", "StopGradient"),
        tf=("identity(input:x)", "stop_gradient(input:x)", "debugging.check_numerics(tensor:x)"),
        op=("Identity(x)", "StopGradient(x)"),
    ),
    *(
        row(f"{name}(x)", Activated(meaning), keras3=keras3, tf=tf, op=op)
        for name, meaning, keras3, tf, op in (
            ("sigmoid", "sigmoid", ("Sigmoid",), ("math.sigmoid(x)", "nn.sigmoid(x)", "keras.activations.sigmoid(x)"), ("Sigmoid(x)",)),
            ("relu6", "relu6", ("Relu6",), ("nn.relu6(features:x)",), ("Relu6(x)",)),
            ("silu", "silu", ("Silu",), ("nn.silu(features:x)", "nn.swish(features:x)", "keras.activations.swish(x)"), ()),
            (
                "softplus",
                "softplus",
                ("Softplus",),
                ("math.softplus(features:x)", "nn.softplus(features:x)", "keras.activations.softplus(x)"),
                ("Softplus(x)",),
            ),
            ("softsign", "softsign", ("Softsign",), ("nn.softsign(features:x)", "keras.activations.softsign(x)"), ("Softsign(x)",)),
            ("selu", "selu", ("Selu",), ("nn.selu(features:x)", "keras.activations.selu(x)"), ("Selu(x)",)),
            ("hard_sigmoid", "hard_sigmoid_keras3", ("HardSigmoid",), (), ()),
            ("hard_sigmoid_fifth", "hard_sigmoid", (), ("keras.backend.hard_sigmoid(x)", "keras.activations.hard_sigmoid(x)"), ()),
            ("hard_silu", "hard_silu", ("HardSilu",), (), ()),
            ("hard_tanh", "hard_tanh", ("HardTanh",), (), ()),
            ("mish", "mish", ("Mish",), ("keras.activations.mish(x)",), ()),
            ("log_sigmoid", "log_sigmoid", ("LogSigmoid",), ("math.log_sigmoid(x)",), ()),
            ("tanh_shrink", "tanh_shrink", ("TanhShrink",), (), ()),
            ("squareplus", "squareplus", ("Squareplus",), (), ()),
            ("sparse_plus", "sparse_plus", ("SparsePlus",), (), ()),
            ("sparse_sigmoid", "sparse_sigmoid", ("SparseSigmoid",), (), ()),
        )
    ),
    row(
        "relu(x, negative_slope=0.0, max_value=None, threshold=0.0)",
        Activated("relu"),
        keras3="Relu(x)",
        tf=(
            "nn.relu(features:x)",
            "keras.backend.relu(x, alpha:negative_slope, max_value, threshold)",
            "keras.activations.relu(x, alpha:negative_slope, max_value, threshold)",
        ),
        op="Relu(x)",
    ),
    row(
        "leaky_relu(x, negative_slope=0.2)",
        Activated("leaky_relu"),
        keras3="LeakyRelu",
        tf="nn.leaky_relu(features:x, alpha:negative_slope)",
        op="LeakyRelu(x; alpha:negative_slope)",
    ),
    row(
        "elu(x, alpha=1.0)",
        Activated("elu"),
        keras3="Elu",
        tf=("nn.elu(features:x)", "keras.activations.elu(x, alpha)", "keras.backend.elu(x, alpha)"),
        op="Elu(x)",
    ),
    row("celu(x, alpha=1.0)", Activated("celu"), keras3="Celu"),
    row(
        "gelu(x, approximate=True)",
        Gelu(),
        keras3="Gelu",
        tf=("nn.gelu(features:x, approximate=False)", "keras.activations.gelu(x, approximate=False)"),
    ),
)
