"""Activations as functions, and functions that take numbers besides their tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import activations
from ..program import lowering
from ..program.ir import Value
from .elementwise import Unary, operands_in
from .meaning import Arguments, Meaning, Writing
from .operands import MisfitError, Operand, as_operand, axis_of, broadcast_shape, is_batched
from .rows import row


class Activated(Unary):
    """An activation as a function, with its parameters."""

    def __init__(self, name: str, renamed: dict[str, str] | None = None):
        super().__init__(activations.function(name))
        self.name, self.renamed = name, renamed or {}

    def _canonical(self, a: Arguments) -> Any:
        given = {self.renamed.get(key, key): value for key, value in a.items() if key != "x" and value is not None}
        known = activations.DEFAULTS.get(self.name, {})
        return {"name": self.name, **known, **given} if given else self.name

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        try:
            self.compute({**a, "x": np.zeros((1, 2), np.float32)})
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            given = {key: value for key, value in a.items() if key != "x"}
            raise MisfitError(f"arguments {given!r:.80} make no sense ({error})") from error
        return super().shapes(a)

    def compute(self, a: Arguments) -> Any:
        return activations.function(self._canonical(a))(a["x"])

    def lower(self, w: Writing, a: Arguments) -> tuple[Value, ...] | None:
        activation = self._canonical(a)
        if not lowering.has_kernel(activation):
            return None
        return (lowering.activated(w.builder, activation, a["x"])._replace(mask=None),)


class Same(Activated):
    """The very tensor, mask and all."""

    passes_mask = True

    def __init__(self) -> None:
        super().__init__("linear")

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = as_operand(a["x"])
        return (x,) if isinstance(x, tuple) else super().shapes(a)

    def compute(self, a: Arguments) -> Any:
        return a["x"].real  # where complex numbers were cast to real ones: the file does not say what they were


class Gelu(Activated):
    """gelu, by erf or by its approximation."""

    def __init__(self) -> None:
        super().__init__("gelu")

    def _canonical(self, a: Arguments) -> Any:
        return "gelu_tanh" if a["approximate"] else "gelu"


class WithNumbers(Unary):
    """A function of one tensor and of numbers."""

    def __init__(self, function: Callable[..., Any], *numbers: str):
        super().__init__(function)
        self.numbers = numbers

    def compute(self, a: Arguments) -> Any:
        for name in self.numbers:
            if a[name] is not None and (isinstance(a[name], bool) or not isinstance(a[name], (int, float))):
                raise MisfitError(f"{name}: expected a number, found {a[name]!r:.60}")
        return self.function(a["x"], *[a[name] for name in self.numbers])

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        self.compute({**a, "x": np.zeros(1, np.float32)})  # are they numbers?
        return (broadcast_shape(operands_in(a, self.tensors)),)


class Sparsemax(Activated):
    """sparsemax of the last axis, as Keras has it."""

    def __init__(self) -> None:
        super().__init__("sparsemax")

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        if a["axis"] not in (-1, len(a["x"]) - 1) or len(a["x"]) < 2:
            raise MisfitError(f"axis={a['axis']} is not computed, only the last one is")
        return super().shapes(a)

    def _canonical(self, a: Arguments) -> Any:
        return "sparsemax"


class Halves(Meaning):
    """glu: one half of an axis times the sigmoid of the other."""

    def shapes(self, a: Arguments) -> tuple[Operand, ...]:
        x = as_operand(a["x"])
        axis = axis_of(a["axis"], len(x), batched=is_batched(x))
        if not is_batched(x) or (x[axis] is not None and x[axis] % 2):
            raise MisfitError(f"axis {axis} of a tensor of shape {tuple(x)} has no halves")
        return (tuple(n if number != axis or n is None else n // 2 for number, n in enumerate(x)),)

    def compute(self, a: Arguments) -> Any:
        one, other = np.split(a["x"], 2, axis=a["axis"])
        return one * activations.sigmoid(other)


def nan_to_num(x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    """Numbers in place of NaN and infinities."""
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


TABLE = (
    row("same(x)", Same()),
    row("nan_to_num(x, nan=0.0, posinf=None, neginf=None)", WithNumbers(nan_to_num, "nan", "posinf", "neginf"), keras3="NanToNum"),
    row(
        "threshold(x, threshold=0.0, default_value=0.0)",
        WithNumbers(lambda x, threshold, value: np.where(x > threshold, x, x.dtype.type(value)), "threshold", "default_value"),
        keras3="Threshold",
    ),
    row(
        "hard_shrink(x, threshold=0.5)",
        WithNumbers(lambda x, threshold: np.where(np.abs(x) > threshold, x, x.dtype.type(0)), "threshold"),
        keras3="HardShrink",
    ),
    row(
        "soft_shrink(x, threshold=0.5)",
        WithNumbers(lambda x, threshold: np.sign(x) * np.maximum(np.abs(x) - x.dtype.type(threshold), 0), "threshold"),
        keras3="SoftShrink",
    ),
    row("squareplus(x, b=4)", WithNumbers(lambda x, b: (x + np.sqrt(x * x + b)) / 2, "b"), keras3="Squareplus"),
    row(
        "swish(x, beta=1.0)",
        WithNumbers(lambda x, beta: x * activations.sigmoid(x * x.dtype.type(beta)), "beta"),
        tf=("nn.silu(features:x, beta)", "nn.swish(features:x, beta)"),
    ),
    row("glu(x, axis=-1)", Halves(), keras3="Glu"),
    row("sparsemax(x, axis=-1)", Sparsemax(), keras3="Sparsemax"),
    row(
        "identity(x)",
        Activated("linear"),
        keras3=("Identity", "Copy", "StopGradient"),
        tf=(
            "identity(input:x)",
            "stop_gradient(input:x)",
            "debugging.check_numerics(tensor:x)",
            "ensure_shape(x)",
        ),
        op=("Identity(x)", "StopGradient(x)", "CheckNumerics(x)", "EnsureShape(x)"),
    ),
    *(
        row(f"{name}(x)", Activated(meaning), keras3=keras3, tf=tf, op=op)
        for name, meaning, keras3, tf, op in (
            ("sigmoid", "sigmoid", ("Sigmoid",), ("math.sigmoid(x)", "nn.sigmoid(x)", "keras.activations.sigmoid(x)"), ("Sigmoid(x)",)),
            ("relu6", "relu6", ("Relu6",), ("nn.relu6(features:x)",), ("Relu6(x)",)),
            ("silu", "silu", ("Silu",), ("keras.activations.swish(x)",), ()),
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
            ("hard_silu", "hard_silu", ("HardSilu",), (), ()),
            ("hard_tanh", "hard_tanh", ("HardTanh",), (), ()),
            ("log_sigmoid", "log_sigmoid", ("LogSigmoid",), ("math.log_sigmoid(x)",), ()),
            ("tanh_shrink", "tanh_shrink", ("TanhShrink",), (), ()),
            ("sparse_plus", "sparse_plus", ("SparsePlus",), (), ()),
            ("sparse_sigmoid", "sparse_sigmoid", ("SparseSigmoid",), (), ()),
        )
    ),
    row(
        "relu(x, negative_slope=0.0, max_value=None, threshold=0.0)",
        Activated("relu"),
        keras3=("Relu(x)", "ReLU"),
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
