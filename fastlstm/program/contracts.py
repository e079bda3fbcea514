"""The kernels' contracts: the fields that each is given, and what it touches at every address among them, as a function of the others.

The kernels are declared by these contracts (``kernels/registry.py``), and no Program runs that does not keep them (``verifier.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from . import layout
from .layout import FLOAT

#: Bytes of an id, and of an element of a mask.
ID, FLAG = 4, 1

#: The operations of the kernel ``merge``, by the numbers in its field ``op``.
MERGE_OPS = {"add": 0, "subtract": 1, "multiply": 2, "maximum": 3, "minimum": 4}
#: ... and those of the kernel ``mask_combine``.
MASK_OPS = {"and": 0, "or": 1}
#: ... and of ``binary``: the first four are the usual ones. Comparisons and what is logical give 0 or 1.
BINARY_OPS = {
    name: number
    for number, name in enumerate((
        "add", "subtract", "multiply", "divide", "floor_divide", "maximum", "minimum", "squared_difference",
        "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor",
    ))
}  # fmt: skip
#: ... and of ``unary``. ``clip`` and ``affine`` have two parameters.
UNARY_OPS = {
    name: number
    for number, name in enumerate((
        "negative", "absolute", "square", "sqrt", "rsqrt", "reciprocal", "exp", "log", "log1p", "expm1", "sign", "floor", "ceil", "round",
        "logical_not", "isnan", "isinf", "isfinite", "clip", "affine",
    ))
}  # fmt: skip
#: ... and of ``reduce``.
REDUCE_OPS = {name: number for number, name in enumerate(("sum", "mean", "sumsq", "prod", "max", "min", "any", "all"))}
#: Axes of the kernels ``rearrange`` and ``binary``, less the batch.
MOST_AXES = 5

#: Gates of each product that a cell computes at a step; ``gru_before`` computes two.
LSTM_GATES, GRU_GATES, GRU_BEFORE_GATES, SIMPLE_RNN_GATES = 4, 3, (2, 1), 1

#: Fields that say how many there are of something: at least one.
AXES = tuple(f"n{axis}" for axis in range(MOST_AXES))
COUNTS = frozenset(
    {"steps", "features", "units", "size", "times", "width", "window", "stride", "y_steps", "outer", "inner", "m", "k", "n", *AXES}
)
#: Fields that may be negative.
SIGNED = frozenset({"x_step", "y_step", *(f"{array}{axis}" for array in "xy" for axis in range(MOST_AXES))})
#: Of kernels that several threads compute together: this thread's number among how many (0 and 0: alone), and the address of the
#: function with which they wait for each other, with its argument.
TEAM = ("member", "members", "meet", "team")
#: Of kernels that may take long: the address of an int64 that is not 0 once the call is to be left (no address, 0: the call is
#: brief), and the address of a function to be called now and then with that one as its argument.
WATCH = ("watch", "look")


class Span(NamedTuple):
    """The part of an array that is touched in each row: elements from ``first`` on to before ``last``."""

    row: int  # elements from row to row; 0: all rows touch the same
    first: int
    last: int
    size: int = FLOAT  # bytes of an element


class Room(NamedTuple):
    """Scratch that a kernel divides up itself."""

    row_bytes: int
    fixed_bytes: int


@dataclass(frozen=True)
class Contract:
    """A kernel: ``void kernel(int64_t *fields)``, and what it may rely on.

    Attributes
    ----------
    fields
        In the order of the struct, 8 bytes each.
    floats
        Those that are a float32 in the low 4 bytes; all others are integers or addresses.
    reads, writes
        Those that are addresses.
    optional
        Those addresses that may be null.
    given
        Those that the runtime fills in.
    needs
        Pairs of addresses: without the second, the first must be null.
    extents
        (fields, lanes) -> what is touched at each address. Fields are attributes: numbers as they are, addresses as truth values; and
        ``members`` is how many threads compute it together.
    """

    name: str
    fields: tuple[str, ...]
    floats: frozenset[str]
    reads: frozenset[str]
    writes: frozenset[str]
    optional: frozenset[str]
    given: frozenset[str]
    needs: tuple[tuple[str, str], ...]
    extents: Callable[[Any, int], Mapping[str, Span | Room]]

    @property
    def described(self) -> list[str]:
        """The fields as the build writes them down."""
        return [f"{name}:float" if name in self.floats else name for name in self.fields]


Extents = Callable[[Any, int], Mapping[str, Span | Room]]
#: Every contract by the kernel's name.
CONTRACTS: dict[str, Contract] = {}


def declared(
    *fields: str,
    reads: tuple[str, ...],
    writes: tuple[str, ...],
    optional: tuple[str, ...] = (),
    floats: tuple[str, ...] = (),
    needs: tuple[tuple[str, str], ...] = (),
) -> Callable[[Extents], Extents]:
    """Declare the kernel of a function's name, whose extents the function tells."""

    def decorate(extents: Extents) -> Extents:
        given = frozenset(fields) & {"rows", *TEAM, *WATCH}
        CONTRACTS[extents.__name__] = Contract(
            name=extents.__name__,
            fields=fields,
            floats=frozenset(floats),
            reads=frozenset(reads),
            writes=frozenset(writes),
            optional=frozenset(optional),
            given=given,
            needs=needs,
            extents=extents,
        )
        return extents

    return decorate


def strided(row: int, steps: int, step: int, width: int) -> Span:
    """``steps`` pieces of ``width`` floats in each row, ``step`` floats from one to the next, forwards or backwards."""
    reach = (steps - 1) * step
    return Span(row, min(reach, 0), max(reach, 0) + width)


def steps_along(name: str) -> tuple[str, ...]:
    """The fields with the steps of an array along the axes."""
    return tuple(f"{name}{axis}" for axis in range(MOST_AXES))


def spread(f: Any, name: str, row: int) -> Span:
    """What is touched of an array by its steps along the axes, each forwards or backwards."""
    reaches = [(getattr(f, count) - 1) * getattr(f, step) for count, step in zip(AXES, steps_along(name), strict=True)]
    return Span(row, sum(min(reach, 0) for reach in reaches), sum(max(reach, 0) for reach in reaches) + 1)


def flat(size: int) -> Span:
    """All of rows of ``size`` floats that lie one after the other."""
    return Span(size, 0, size)


# -- lstm.py, gru.py, simple_rnn.py -----------------------------------------------------------------------------------------------

#: Fields that every recurrent kernel has. Strides are in elements.
RECURRENT = (
    "rows", "steps", "features", "units",
    "x", "x_row", "x_step",  # float32 (rows, steps, features)
    "ids", "ids_row",  # int32 (rows, steps), or 0: x has a step of features (of stride x_step) for each id
    "vocabulary",  # ids at or beyond count as the last one below; nobody gives any, unless they change after they were checked
    "table",  # instead of x: the pre-activations of each id, bias included
    "mask", "mask_row",  # uint8 (rows, steps), or 0: every step is valid
    "reverse",  # 1: from the last step to the first
    "kernel", "recurrent", "bias",  # packed
    "activation", "recurrent_activation",  # codes
    "h0", "h0_row",  # state to start from, or 0: zeros
    "y", "y_row", "y_step", "y_time_order",  # output of every step, or 0; 1: step t in place t even in reverse
    "last", "last_row",  # output of the step processed last, or 0
    "h_out", "out_row",  # final state, or 0; may be where h0 is
    "fill",  # output of masked steps: 0 the previous one, 1 zeros
    "head",  # with fill 0, before the first valid step: 0 zeros, 1 the initial state
    "scratch",
    *TEAM, *WATCH,
    # Of some cells only. All cells have one struct, so that what they share is compiled once.
    "c0", "c_out",  # lstm: rows as those of h0 and h_out
    "recurrent_bias",  # gru
    "kernel_h", "recurrent_h", "bias_h",  # gru_before: of the candidate; the others are of z and r
)  # fmt: skip


def recurrent(f: Any, lanes: int, *gates: int) -> dict[str, Span | Room]:
    """The extents that every recurrent kernel touches; ``gates`` of each of its products."""
    columns = sum(layout.columns(f.units, n, lanes) for n in gates)
    own = layout.columns(f.units, gates[0], lanes)
    features = 0 if f.table else f.features
    per_id = (f.vocabulary - 1) * f.x_step
    scratch = layout.recurrent_scratch(features, f.steps, f.units, columns, lanes, f.members)
    touched: dict[str, Span | Room] = {
        "ids": Span(f.ids_row, 0, f.steps, ID),
        "mask": Span(f.mask_row, 0, f.steps, FLAG),
        "kernel": Span(0, 0, features * own),
        "recurrent": Span(0, 0, f.units * own),
        "bias": Span(0, 0, own),
        "h0": Span(f.h0_row, 0, f.units),
        "y": strided(f.y_row, f.steps, f.y_step, f.units),
        "last": Span(f.last_row, 0, f.units),
        "h_out": Span(f.out_row, 0, f.units),
        "scratch": Room(*scratch),
    }
    if f.table:
        touched["table"] = Span(0, 0, f.vocabulary * columns)
    else:
        touched["x"] = Span(0, min(per_id, 0), max(per_id, 0) + features) if f.ids else strided(f.x_row, f.steps, f.x_step, features)
    return touched


def declared_recurrent(*more: str, state: tuple[str, ...] = ()) -> Callable[[Extents], Extents]:
    """Declare a recurrent kernel that reads ``more`` weights, and a second ``state``: where it starts from and where it goes."""
    return declared(
        *RECURRENT,
        reads=("x", "ids", "table", "mask", "kernel", "recurrent", "bias", "h0", *state[:1], *more),
        writes=("y", "last", "h_out", *state[1:], "scratch"),
        optional=("ids", "table", "mask", "h0", "y", "last", "h_out", *state),
        needs=(("table", "ids"),),
    )


@declared_recurrent(state=("c0", "c_out"))
def lstm(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """LSTM over a block of rows."""
    return {**recurrent(f, lanes, LSTM_GATES), "c0": Span(f.h0_row, 0, f.units), "c_out": Span(f.out_row, 0, f.units)}


@declared_recurrent("recurrent_bias")
def gru(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """GRU with ``reset_after=True``."""
    return {**recurrent(f, lanes, GRU_GATES), "recurrent_bias": Span(0, 0, layout.columns(f.units, GRU_GATES, lanes))}


@declared_recurrent("kernel_h", "recurrent_h", "bias_h")
def gru_before(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """GRU with ``reset_after=False``: a product for z and r, and one for the candidate."""
    columns = layout.columns(f.units, GRU_BEFORE_GATES[1], lanes)
    return {
        **recurrent(f, lanes, *GRU_BEFORE_GATES),
        "kernel_h": Span(0, 0, 0 if f.table else f.features * columns),
        "recurrent_h": Span(0, 0, f.units * columns),
        "bias_h": Span(0, 0, columns),
    }


@declared_recurrent()
def simple_rnn(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """SimpleRNN."""
    return recurrent(f, lanes, SIMPLE_RNN_GATES)


# -- dense.py ---------------------------------------------------------------------------------------------------------------------


@declared(
    "rows", "steps", "features", "units", "x", "x_row", "x_step", "kernel", "bias", "activation", "y", "y_row", "y_step", *WATCH,
    reads=("x", "kernel", "bias"), writes=("y",), optional=("bias",),
)  # fmt: skip
def dense(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """activation(x @ kernel + bias) for ``steps`` rows of each row."""
    return {
        "x": strided(f.x_row, f.steps, f.x_step, f.features),
        "kernel": Span(0, 0, layout.dense_size(f.features, f.units, lanes)),
        "bias": Span(0, 0, layout.columns(f.units, 1, lanes)),
        "y": strided(f.y_row, f.steps, f.y_step, f.units),
    }


# -- elementwise.py ---------------------------------------------------------------------------------------------------------------


@declared("rows", "steps", "features", "ids", "ids_row", "vocabulary", "table", "y", "y_row", reads=("ids", "table"), writes=("y",))
def embedding(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = table[ids]."""
    return {
        "ids": Span(f.ids_row, 0, f.steps, ID),
        "table": Span(0, 0, f.vocabulary * f.features),
        "y": Span(f.y_row, 0, f.steps * f.features),
    }


@declared("rows", "steps", "ids", "ids_row", "mask", reads=("ids",), writes=("mask",))
def mask_ids(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """mask = ids != 0."""
    return {"ids": Span(f.ids_row, 0, f.steps, ID), "mask": Span(f.steps, 0, f.steps, FLAG)}


@declared("rows", "steps", "features", "x", "y", "mask", "value", reads=("x",), writes=("y", "mask"), floats=("value",))
def masking(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """mask = any(x != value) of each step; y = x, with zeros at masked steps."""
    whole = flat(f.steps * f.features)
    return {"x": whole, "y": whole, "mask": Span(f.steps, 0, f.steps, FLAG)}


@declared("rows", "size", "a", "b", "y", "op", reads=("a", "b"), writes=("y",))
def mask_combine(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = a op b, of masks; op: one of ``MASK_OPS``."""
    return {name: Span(f.size, 0, f.size, FLAG) for name in ("a", "b", "y")}


@declared("rows", "size", "x", "y", "activation", "alpha", reads=("x",), writes=("y",), floats=("alpha",))
def activate(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = activation(x), element by element; ``alpha``: the slope of leaky_relu, the factor of elu."""
    return {"x": flat(f.size), "y": flat(f.size)}


@declared("rows", "steps", "features", "x", "mean", "factor", "offset", "y", reads=("x", "mean", "factor", "offset"), writes=("y",))
def normalise(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = (x - mean) * factor + offset, by feature."""
    whole, each = flat(f.steps * f.features), Span(0, 0, f.features)
    return {"x": whole, "mean": each, "factor": each, "offset": each, "y": whole}


@declared("rows", "size", "a", "b", "y", "op", "scale", reads=("a", "b"), writes=("y",), floats=("scale",))
def merge(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = (a op b) * scale, element by element; op: one of ``MERGE_OPS``."""
    return {name: flat(f.size) for name in ("a", "b", "y")}


@declared("rows", "steps", "features", "x", "y", reads=("x",), writes=("y",))
def softmax(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = exp(x - max) / sum, over the features of each step."""
    return {"x": flat(f.steps * f.features), "y": flat(f.steps * f.features)}


@declared("rows", "times", "size", "x", "y", reads=("x",), writes=("y",))
def repeat(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = x, ``times`` times in each row."""
    return {"x": flat(f.size), "y": flat(f.times * f.size)}


@declared("rows", "steps", "width", "x", "x_row", "x_step", "y", "y_row", "y_step", reads=("x",), writes=("y",))
def place(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = x: ``steps`` pieces of ``width`` floats in each row, each side with its own strides."""
    return {"x": strided(f.x_row, f.steps, f.x_step, f.width), "y": strided(f.y_row, f.steps, f.y_step, f.width)}


# -- pooling.py -------------------------------------------------------------------------------------------------------------------


@declared("rows", "steps", "features", "before", "after", "x", "y", reads=("x",), writes=("y",))
def pad(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = x with ``before`` and ``after`` steps of zeros around the steps of each row."""
    return {"x": flat(f.steps * f.features), "y": flat((f.before + f.steps + f.after) * f.features)}


@declared(
    "rows", "steps", "features", "x", "mask", "window", "stride", "before", "y", "y_steps", "mean", *WATCH,
    reads=("x", "mask"), writes=("y",), optional=("mask",),
)  # fmt: skip
def pool(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """The maximum (``mean`` 0) or mean of each window of steps, of which the first begins ``before`` steps early."""
    return {"x": flat(f.steps * f.features), "mask": Span(f.steps, 0, f.steps, FLAG), "y": flat(f.y_steps * f.features)}


# -- rearranging.py ---------------------------------------------------------------------------------------------------------------


@declared(
    "rows", *AXES, "x", "x_row", *steps_along("x"), "y", "y_row", *steps_along("y"), "value",
    reads=("x",), writes=("y",), optional=("x",), floats=("value",),
)  # fmt: skip
def rearrange(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = x, or a number where there is no x: each side with its own steps along the axes."""
    return {"x": spread(f, "x", f.x_row), "y": spread(f, "y", f.y_row)}


# -- arithmetic.py ----------------------------------------------------------------------------------------------------------------


@declared(
    "rows", *AXES, "a", "a_row", *steps_along("a"), "b", "b_row", *steps_along("b"), "y", "op", "value",
    reads=("a", "b"), writes=("y",), optional=("a", "b"), floats=("value",),
)  # fmt: skip
def binary(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = a op b; op: one of ``BINARY_OPS``. Where a or b is missing, it is the number. The steps along the last axis are 0 or 1."""
    return {"a": spread(f, "a", f.a_row), "b": spread(f, "b", f.b_row), "y": flat(math.prod(getattr(f, count) for count in AXES))}


@declared("rows", "size", "x", "y", "op", "alpha", "beta", reads=("x",), writes=("y",), floats=("alpha", "beta"))
def unary(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = op(x), element by element; op: one of ``UNARY_OPS``."""
    return {"x": flat(f.size), "y": flat(f.size)}


@declared(
    "rows", "size", "condition", "a", "b", "y", "a_value", "b_value",
    reads=("condition", "a", "b"), writes=("y",), optional=("a", "b"), floats=("a_value", "b_value"),
)  # fmt: skip
def choose(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = a where the condition is not 0, else b, element by element; a number where one is missing."""
    return {name: flat(f.size) for name in ("condition", "a", "b", "y")}


@declared("rows", "size", "x", "mask", reads=("x",), writes=("mask",))
def mask_numbers(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """mask = x != 0."""
    return {"x": flat(f.size), "mask": Span(f.size, 0, f.size, FLAG)}


@declared("rows", "size", "mask", "y", reads=("mask",), writes=("y",))
def unmask(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = 1 where the mask is set, else 0."""
    return {"mask": Span(f.size, 0, f.size, FLAG), "y": flat(f.size)}


@declared("rows", "size", "ids", "y", reads=("ids",), writes=("y",))
def float_ids(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = ids, as floats."""
    return {"ids": Span(f.size, 0, f.size, ID), "y": flat(f.size)}


# -- reductions.py ----------------------------------------------------------------------------------------------------------------


@declared("rows", "outer", "n", "inner", "x", "y", "op", reads=("x",), writes=("y",))
def reduce(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y (outer, inner) = x (outer, n, inner) reduced along n; op: one of ``REDUCE_OPS``."""
    return {"x": flat(f.outer * f.n * f.inner), "y": flat(f.outer * f.inner)}


@declared("rows", "outer", "n", "inner", "x", "y", reads=("x",), writes=("y",))
def cumulate(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = the sum of x (outer, n, inner) along n so far."""
    return {"x": flat(f.outer * f.n * f.inner), "y": flat(f.outer * f.n * f.inner)}


@declared("rows", "outer", "n", "inner", "x", "y", reads=("x",), writes=("y",))
def softmax_across(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = exp(x - max) / sum, along n of x (outer, n, inner)."""
    return {"x": flat(f.outer * f.n * f.inner), "y": flat(f.outer * f.n * f.inner)}


# -- product.py -------------------------------------------------------------------------------------------------------------------


@declared(
    "rows", "outer", "inner", "m", "k", "n", "a", "a_row", "a_outer", "a_inner", "b", "b_row", "b_outer", "b_inner", "turned", "y",
    "scratch", *WATCH, reads=("a", "b"), writes=("y", "scratch"),
)  # fmt: skip
def product(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """y = a @ b for outer x inner matrices of each row: a (m, k), b (k, n), or (n, k) where it is ``turned``."""
    touched: dict[str, Span | Room] = {
        "a": Span(f.a_row, 0, (f.outer - 1) * f.a_outer + (f.inner - 1) * f.a_inner + f.m * f.k),
        "b": Span(f.b_row, 0, (f.outer - 1) * f.b_outer + (f.inner - 1) * f.b_inner + f.k * f.n),
        "y": flat(f.outer * f.inner * f.m * f.n),
    }
    if layout.packs_product(f.m, f.n, f.turned, lanes):
        touched["scratch"] = Room(0, product_scratch(f.k, f.n, lanes))
    return touched


def product_scratch(k: int, n: int, lanes: int) -> int:
    """Bytes of scratch in which ``product`` packs b."""
    return layout.ALIGNMENT + FLOAT * k * layout.padded_units(n, lanes)
