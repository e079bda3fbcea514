"""Arithmetic, comparisons and functions of numbers, place by place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import activations
from ..program import arithmetic
from ..program.ir import Value
from .meaning import Arguments, Meaning, Writing, only, tensor_list
from .operands import (
    AcrossError,
    MisfitError,
    Operand,
    Unbatched,
    as_operand,
    broadcast_shape,
    computed,
    is_batched,
    whole,
    without_rows,
)
from .rows import Operation, row


def operands_in(a: Arguments, names: tuple[str, ...]) -> list[Any]:
    """The tensors among the arguments, numbers as operands too."""
    found = [as_operand(a[name]) for name in names]
    for name, operand in zip(names, found, strict=True):
        if not isinstance(operand, tuple):
            raise MisfitError(f"{name}: expected a tensor or a number, found {operand!r:.60}")
    if any(map(is_batched, found)):
        for operand in found:
            if isinstance(operand, Unbatched) and operand.of_rows:
                raise AcrossError("it computes with the number of rows of a batch")
    return found


def steps_align(operands: list[Any]) -> bool:
    """Do operands meet timestep by timestep: is each a sequence, or the same for all steps?"""
    rank = max(map(len, operands))
    along = [operand[1 - rank] for operand in operands if is_batched(operand)]
    fixed = [operand[1 - rank] for operand in operands if not is_batched(operand) and len(operand) >= rank - 1]
    return rank > 2 and len({size for size in along if size != 1}) == 1 and set(fixed) <= {1}


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

    def shapes_across(self, a: Arguments) -> tuple[Operand, ...] | None:
        return (tuple(broadcast_shape([without_rows(as_operand(a[name])) for name in self.tensors])),)

    def stepwise_beside(self, a: Arguments, steps: Arguments) -> bool:
        operands = operands_in(a, self.tensors)
        rank = max(map(len, operands))
        stay = [operand for name, operand in zip(self.tensors, operands, strict=True) if steps[name] is not True]
        return rank > 2 and all(len(operand) < rank - 1 or operand[1 - rank] == 1 for operand in stay)

    def compute(self, a: Arguments) -> Any:
        return self.function(*[a[name] for name in self.tensors])


class Binary(ElementWise):
    """A function of two operands."""

    def __init__(self, function: Callable[..., Any], kernel: str = "", sizes: Callable[..., Any] | None = None):
        super().__init__(function, "x1", "x2", kernel=kernel, sizes=sizes)

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        if not self.kernel:
            return None
        one, other = (w.operand(name, a[name]) for name in self.tensors)
        return None if one is None or other is None else only(arithmetic.binary(w.builder, self.kernel, one, other))


class Unary(ElementWise):
    """A function of one tensor."""

    def __init__(self, function: Callable[..., Any], kernel: str = "", sizes: Callable[..., Any] | None = None):
        super().__init__(function, "x", kernel=kernel, sizes=sizes)

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        return only(arithmetic.unary(w.builder, self.kernel, a["x"]) if self.kernel else None)


class Where(ElementWise):
    """x1 where a condition holds, else x2."""

    def __init__(self) -> None:
        super().__init__(lambda condition, x1, x2: np.where(holds(condition), x1, x2), "condition", "x1", "x2")

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        condition, one, other = (w.operand(name, a[name]) for name in self.tensors)
        if one is None or other is None or not isinstance(condition, Value):
            return None
        return only(arithmetic.selected(w.builder, condition, one, other))


class Clip(ElementWise):
    """Between two limits, NaN as it is."""

    def __init__(self) -> None:
        super().__init__(lambda x, low, high: np.minimum(np.maximum(x, low), high), "x", "x_min", "x_max")

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        low, high = (w.operand(name, a[name]) for name in ("x_min", "x_max"))
        if low is None or high is None or not isinstance(a["x"], Value):
            return None
        return only(arithmetic.clipped(w.builder, a["x"], low, high))


class Cast(Unary):
    """Another dtype: whole numbers cut fractions off, booleans ask whether a number is other than 0."""

    FLOATS = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128")

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
        if np.iscomplexobj(a["x"]) and not a["dtype"].startswith("complex"):
            return self.compute({**a, "x": a["x"].real})
        if a["dtype"] == "float16":
            return a["x"].astype(np.float16)
        return holds(a["x"]) if kind == "bool" else np.trunc(a["x"]) if kind == "whole" else a["x"]

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        kind = self._kind(a)
        if a["dtype"] == "float16":
            return None
        if kind == "float" and not a["x"].integer:
            return (a["x"]._replace(mask=None),)
        if kind == "whole":
            return None
        return only(arithmetic.binary(w.builder, "not_equal", a["x"], 0.0))


def holds(x: Any) -> Any:
    """Whether numbers are other than 0."""
    return np.asarray(x) != 0


def floored_quotient(x1: Any, x2: Any) -> Any:
    """floor(x1 / x2), as TensorFlow computes it at infinities too."""
    return np.floor(np.true_divide(x1, x2))


def erf(x: Any) -> Any:
    """The error function."""
    return activations.erf(np.asarray(x))


def rounded_quotient(x1: Any, x2: Any) -> Any:
    """x1 / x2, but 0 where x2 is 0."""
    zero = np.asarray(x2) == 0
    return np.where(zero, 0.0, np.asarray(x1) / np.where(zero, 1, x2)).astype(np.result_type(x1, x2))


def product_or_zero(x1: Any, x2: Any) -> Any:
    """x1 * x2, but 0 where x2 is 0, whatever x1 is."""
    return np.where(np.asarray(x2) == 0, 0.0, np.asarray(x1) * x2).astype(np.result_type(x1, x2))


def reciprocal_or_zero(x: Any) -> Any:
    """1 / x, but 0 where x is 0."""
    return rounded_quotient(np.ones_like(x), x)


class Rounded(Unary):
    """Rounded to so many decimals, halves to the even neighbour."""

    def __init__(self) -> None:
        super().__init__(np.round, "round")

    def compute(self, a: Arguments) -> Any:
        return np.round(a["x"], whole(a["decimals"], "decimals"))

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        return super().lower(w, a) if a["decimals"] == 0 else None


class Sum(Meaning):
    """The sum of several tensors."""

    tensors = ("xs",)

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        return (broadcast_shape(tensor_list(a["xs"], "xs")),)

    def stepwise(self, a: Arguments) -> bool:
        return steps_align(tensor_list(a["xs"], "xs"))

    def compute(self, a: Arguments) -> Any:
        return sum(a["xs"])


BINARY = "(x1, x2)"
TF_BINARY = "(x:x1, y:x2)"


def binary(name: str, function: Any, kernel: str, keras3: str, tf: tuple[str, ...], op: tuple[str, ...], sizes: Any = None) -> Operation:
    """The row of a function of two operands, whose names have the same arguments everywhere."""
    return row(
        name + BINARY, Binary(function, kernel, sizes), keras3=keras3, tf=[one + TF_BINARY for one in tf], op=[one + BINARY for one in op]
    )


def unary(name: str, function: Any, keras3: str, tf: tuple[str, ...], op: tuple[str, ...], kernel: str | None = None) -> Operation:
    """The row of a function of one tensor."""
    meaning = Unary(function, name if kernel is None else kernel)
    return row(name + "(x)", meaning, keras3=keras3, tf=[one + "(x)" for one in tf], op=[one + "(x)" for one in op])


TABLE = (
    binary("add", np.add, "add", "Add", ("math.add", "__operators__.add"), ("Add", "AddV2"), int.__add__),
    binary("subtract", np.subtract, "subtract", "Subtract", ("math.subtract", "__operators__.sub"), ("Sub",), int.__sub__),
    binary("multiply", np.multiply, "multiply", "Multiply", ("math.multiply", "__operators__.mul"), ("Mul",), int.__mul__),
    binary("true_divide", np.true_divide, "divide", "TrueDivide", ("math.truediv", "__operators__.truediv"), ("RealDiv", "TrueDiv")),
    binary("divide", np.true_divide, "divide", "Divide", ("math.divide", "__operators__.div", "div"), ("Div",)),
    binary("divide_no_nan", rounded_quotient, "", "DivideNoNan", ("math.divide_no_nan",), ("DivNoNan",)),
    binary(
        "floor_divide",
        floored_quotient,
        "floor_divide",
        "FloorDivide",
        ("math.floordiv", "__operators__.floordiv", "floor_div", "math.floor_div"),
        ("FloorDiv",),
        int.__floordiv__,
    ),
    binary("mod", np.mod, "remainder", "Mod", ("math.floormod", "math.mod", "__operators__.mod"), ("FloorMod",)),
    binary("power", np.power, "power", "Power", ("math.pow", "__operators__.pow"), ("Pow",)),
    binary("maximum", np.maximum, "maximum", "Maximum", ("math.maximum",), ("Maximum",)),
    binary("minimum", np.minimum, "minimum", "Minimum", ("math.minimum",), ("Minimum",)),
    binary(
        "squared_difference",
        lambda x, y: (x - y) * (x - y),
        "squared_difference",
        "SquaredDifference",
        ("math.squared_difference",),
        ("SquaredDifference",),
    ),
    row("arctan2(x1, x2)", Binary(np.arctan2), keras3="Arctan2", tf="math.atan2(y:x1, x:x2)", op="Atan2(x1, x2)"),
    binary("logaddexp", np.logaddexp, "", "Logaddexp", (), ()),
    row("bias_add(x1, x2)", Binary(np.add, "add"), tf="nn.bias_add(value:x1, bias:x2)", op="BiasAdd(x1, x2)"),
    row("scalar_mul(x1, x2)", Binary(np.multiply, "multiply"), tf="math.scalar_mul(scalar:x1, x:x2)"),
    row("multiply_no_nan(x1, x2)", Binary(product_or_zero), tf=("math.multiply_no_nan(x:x1, y:x2)",), op="MulNoNan(x1, x2)"),
    row("add_n(xs)", Sum(), tf=("math.add_n(inputs:xs)", "math.accumulate_n(inputs:xs)"), op="AddN(rest:xs)"),
    binary("equal", np.equal, "equal", "Equal", ("math.equal", "__operators__.eq"), ("Equal",)),
    binary("not_equal", np.not_equal, "not_equal", "NotEqual", ("math.not_equal", "__operators__.ne"), ("NotEqual",)),
    binary("less", np.less, "less", "Less", ("math.less", "__operators__.lt"), ("Less",)),
    binary("less_equal", np.less_equal, "less_equal", "LessEqual", ("math.less_equal", "__operators__.le"), ("LessEqual",)),
    binary("greater", np.greater, "greater", "Greater", ("math.greater", "__operators__.gt"), ("Greater",)),
    binary(
        "greater_equal", np.greater_equal, "greater_equal", "GreaterEqual", ("math.greater_equal", "__operators__.ge"), ("GreaterEqual",)
    ),
    binary(
        "logical_and",
        lambda x, y: holds(x) & holds(y),
        "logical_and",
        "LogicalAnd",
        ("math.logical_and", "__operators__.and"),
        ("LogicalAnd",),
    ),
    binary(
        "logical_or", lambda x, y: holds(x) | holds(y), "logical_or", "LogicalOr", ("math.logical_or", "__operators__.or"), ("LogicalOr",)
    ),
    binary("logical_xor", lambda x, y: holds(x) ^ holds(y), "logical_xor", "LogicalXor", ("math.logical_xor", "__operators__.xor"), ()),
    unary("logical_not", lambda x: ~holds(x), "LogicalNot", ("math.logical_not", "__operators__.invert"), ("LogicalNot",)),
    unary("negative", np.negative, "Negative", ("math.negative", "__operators__.neg"), ("Neg",)),
    unary("absolute", np.abs, "Absolute", ("math.abs", "__operators__.abs"), ("Abs", "ComplexAbs")),
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
    row("round(x, decimals=0)", Rounded(), keras3="Round", tf=("math.round(x)", "math.rint(x)"), op=("Round(x)", "Rint(x)")),
    unary("cbrt", np.cbrt, "Cbrt", (), (), ""),
    unary("erfc", lambda x: 1 - erf(x), "", ("math.erfc",), ("Erfc",), ""),
    row("reciprocal_no_nan(x)", Unary(reciprocal_or_zero), tf="math.reciprocal_no_nan(x)"),
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
    row(
        "cast(x, dtype)",
        Cast(),
        keras3="Cast",
        tf=("cast(x, dtype)", "keras.backend.cast(x, dtype)"),
        op="Cast(x; DstT:dtype)",
        gives_back=lambda a, dtype: a.get("dtype") == dtype,
    ),
    row(
        "convert_to_tensor(x, dtype='float32')",
        Cast(),
        keras3=("ConvertToTensor(x, dtype)", "Array(x, dtype)"),
        tf=("convert_to_tensor(value:x, dtype)", "keras.backend.cast_to_floatx(x)"),
        gives_back=lambda a, dtype: a.get("dtype") in (None, dtype),
    ),
)
