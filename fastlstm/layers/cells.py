"""Recurrent cells: one step of LSTM, GRU, SimpleRNN and of stacks of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..activations import ALONG_UNITS, Function
from ..program import layout
from ..program.contracts.recurrent import FIRST_ALONG, GRU_BEFORE_GATES
from ..program.ir import Buffer, Builder, Constant, Value
from ..program.lowering import activation_call, packed, packed_row
from ..spec import LayerSpec
from .base import Context, Layer, inert
from .cell_base import Cell
from .classes import REGISTRY
from .registry import make_layer

CELL_HONOURED = frozenset({"units", "activation", "use_bias"})
CELL_INERT = inert("kernel", "recurrent", "bias") | frozenset({"dropout", "recurrent_dropout", "implementation", "seed"})

#: From so many weights a step on, threads divide the units of a layer rather than the rows of a batch: more than a core's second
#: cache holds has to be read anew at every step, and waiting for each other costs little beside that.
DIVIDED_WEIGHTS = 1 << 18

#: Numbers of a folded Embedding computed at once, in float64: a core's second cache holds them until they are rounded.
TABLE_BLOCK = 1 << 16


def lstm_states(z: np.ndarray, c: np.ndarray, act: Function, recurrent_act: Function) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Output and new states of an LSTM, from the pre-activations of its gates (i, f, c, o along the last axis) and the old c."""
    zi, zf, zc, zo = np.split(z, 4, axis=-1)
    c = recurrent_act(zf) * c + recurrent_act(zi) * act(zc)
    h = recurrent_act(zo) * act(c)
    return h, (h, c)


class GatedCell(Cell):
    """The base of cells with one kernel for all their gates."""

    HONOURED = CELL_HONOURED
    INERT = CELL_INERT
    kernel_name = ""
    recurrent_activation_name: Any = "linear"

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.gates = self.row.gates or 1
        self.units = int(self.config["units"])
        self.use_bias = bool(self.config.get("use_bias", True))
        self.activation_name, self.act = self.activation("activation", "tanh")

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.units,)

    @property
    def output_size(self) -> int:
        return self.units

    def state_names(self) -> tuple[str, ...]:
        return ("h", "c")[: len(self.state_sizes)]

    def bias_shape(self) -> tuple[int, ...]:
        """Shape of the bias, where there is one."""
        return (self.gates * self.units,)

    def check(self, features: int) -> None:
        columns = self.gates * self.units
        shapes: list[tuple[int, ...]] = [(features, columns), (self.units, columns)]
        self.arrays(*shapes, *([self.bias_shape()] if self.use_bias else []))

    # -- as kernels: every gate's weights side by side in panels ----------------------------------------------------------

    def has_kernel(self) -> bool:
        return self._call(self.activation_name) is not None and self._call(self.recurrent_activation_name) is not None

    @staticmethod
    def _call(activation: Any) -> tuple[int, float] | None:
        """Code and parameter with which the kernels of cells compute an activation; None where only NumPy has it."""
        along = ALONG_UNITS.get(activation) if isinstance(activation, str) else None
        return activation_call(activation) if along is None else (along, 0.0)

    def parts(self) -> tuple[tuple[str, slice, int], ...]:
        """The GEMMs of a step: suffix of the kernel's fields, columns of the weights, number of gates."""
        return (("", slice(None), self.gates),)

    def packed(self, b: Builder) -> tuple[str, dict[str, Any]]:
        """The kernel's name and those of its fields that do not depend on the call."""
        kernel, recurrent, *rest = self.cast(np.float32)
        bias = rest[0] if rest else np.zeros(self.bias_shape(), np.float32)
        fields: dict[str, Any] = {}
        for name, activation in (("", self.activation_name), ("recurrent_", self.recurrent_activation_name)):
            call = self._call(activation)
            assert call is not None  # has_kernel said so
            fields |= {f"{name}activation": call[0], f"{name}alpha": call[1]}

        form = fields["form"] = self.form(b)

        def weights(name: str, array: np.ndarray, gates: int) -> Constant:
            return b.constant(self, name, lambda: packed(array, gates, b.lanes, form))

        def row(name: str, vector: np.ndarray, gates: int) -> Constant:
            return b.constant(self, name, lambda: packed_row(vector, gates, self.units, b.lanes, form))

        for suffix, columns, gates in self.parts():
            fields["kernel" + suffix] = weights("kernel" + suffix, kernel[:, columns], gates)
            fields["recurrent" + suffix] = weights("recurrent" + suffix, recurrent[:, columns], gates)
            fields["bias" + suffix] = row("bias" + suffix, np.atleast_2d(bias)[0, columns], gates)
            if bias.ndim == 2:
                fields["recurrent_bias"] = row("recurrent_bias", bias[1], gates)
        return self.kernel_name, fields

    def form(self, b: Builder) -> int:
        """The form of the weights. Where gates need all units of a row, they are kept as float32 has them."""
        if any(
            call is not None and call[0] >= FIRST_ALONG for call in map(self._call, (self.activation_name, self.recurrent_activation_name))
        ):
            return layout.FULL
        return b.form(self, "kernel", lambda: self.cast(np.float32)[:2])

    def columns(self, b: Builder) -> int:
        """Floats in a row of pre-activations as the kernels lay them out."""
        return sum(layout.columns_in(self.form(b), self.units, gates, b.lanes) for _, _, gates in self.parts())

    def members(self, b: Builder, features: int) -> int:
        """How many threads may divide the units; ``features`` is 0 where the input is a folded table."""
        return b.threads if (features + self.units) * self.gates * self.units >= DIVIDED_WEIGHTS else 1

    def scratch(self, b: Builder, steps: int, features: int) -> Buffer:
        """The kernel's scratch."""
        members = self.members(b, features)
        row_bytes, fixed_bytes = layout.recurrent_scratch(features, steps, self.units, self.columns(b), b.lanes, members, self.form(b))
        return b.buffer(row_bytes, itemsize=1, fixed_bytes=fixed_bytes)

    def emit(self, b: Builder, x: Value, before: Sequence[Buffer | None], after: Sequence[Buffer | None], how: Mapping[str, Any]) -> None:
        """Write the kernel's call for a sequence: its states, and in ``how`` its mask, direction and outputs."""
        kernel, fields = self.packed(b)
        for name, start, final in zip(("h", "c"), before, after, strict=False):
            fields |= {f"{name}0": start, f"{name}_out": final}
        if max(fields["activation"], fields["recurrent_activation"]) >= FIRST_ALONG:
            fields["kept"] = b.buffer(layout.kept_row(self.columns(b), self.units, b.lanes))
        fields |= {"steps": x.shape[0], "units": self.units, "h0_row": self.units, "out_row": self.units}
        b.emit(kernel, **fields, **self._input_fields(b, x), **how)

    def _input_fields(self, b: Builder, x: Value) -> dict[str, Any]:
        """Where the kernel reads its input, with the scratch that it then takes.

        The input is a folded Embedding's table of pre-activations, the rows of an Embedding, or x.
        """
        steps, features = x.shape
        fields: dict[str, Any] = {"x": None, "x_row": 0, "x_step": features, "ids": None, "ids_row": 0, "table": None, "features": features}
        if x.lookup is None:
            fields |= {"x": b.read(x), "x_row": steps * features}
        else:
            ids, embedding, rows = x.lookup
            fields |= {"ids": ids, "ids_row": steps, "vocabulary": len(rows)}
            if b.folds(self, embedding, len(rows) * self.columns(b) * 4):
                fields["table"] = b.constant(self, "table", lambda: self.table(rows, b.lanes, self.form(b)), of=embedding)
            else:
                fields["x"] = b.constant(embedding, "embeddings", lambda: rows)
        multiplied = features if fields["table"] is None else 0
        return {**fields, "scratch": self.scratch(b, steps, multiplied), "members": self.members(b, multiplied)}

    def table(self, embeddings: np.ndarray, lanes: int, form: int = layout.FULL) -> np.ndarray:
        """Pre-activations of every row of an Embedding, as the kernels lay them out.

        Summed in float64, so that a folded Embedding is never less accurate than one carried out.
        """
        kernel, _, *bias = self.cast(np.float64)
        # Bias below, and a column of zeros before.
        weights = np.zeros((len(kernel) + 1, kernel.shape[1] + 1))
        weights[:-1, 1:] = kernel
        if bias:
            weights[-1, 1:] = np.atleast_2d(bias[0])[0]
        # Which column goes where: numbers packed as a row of weights, from 1; 0 where nothing goes.
        numbers = np.arange(1, weights.shape[1], dtype=np.float32)
        rows_of = [packed_row(numbers[columns], gates, self.units, lanes, form) for _, columns, gates in self.parts()]
        packed = np.concatenate(rows_of)
        weights = weights[:, packed.astype(np.int64)]
        out = layout.empty((len(embeddings), len(packed)))
        rows = max(1, TABLE_BLOCK // len(packed))
        for first in range(0, len(out), rows):
            block = embeddings[first : first + rows].astype(np.float64) @ weights[:-1]
            out[first : first + rows] = np.add(block, weights[-1], out=block)
        return out


class SimpleRNNCell(GatedCell):
    """h' = activation(x W + b + h U)."""

    CLASSES = ("SimpleRNNCell",)
    kernel_name = "simple_rnn"

    def step(self, x: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        kernel, recurrent, *bias = self.cast(x.dtype)
        z = x @ kernel
        if bias:
            z = z + bias[0]
        h = self.act(z + states[0] @ recurrent)
        return h, (h,)


class LSTMCell(GatedCell):
    """Hochreiter and Schmidhuber 1997, with forget gate and without peepholes.

    i, f, o = recurrent_activation(x W + b + h U); c' = f c + i activation(x W_c + b_c + h U_c); h' = o activation(c').
    """

    CLASSES = ("LSTMCell",)
    kernel_name = "lstm"
    HONOURED = CELL_HONOURED | {"recurrent_activation"}
    INERT = CELL_INERT | {"unit_forget_bias"}

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.recurrent_activation_name, self.recurrent_act = self.activation("recurrent_activation", "sigmoid")

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.units, self.units)

    def step(self, x: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        kernel, recurrent, *bias = self.cast(x.dtype)
        h, c = states
        z = x @ kernel + h @ recurrent
        if bias:
            z = z + bias[0]
        return lstm_states(z, c, self.act, self.recurrent_act)


class GRUCell(GatedCell):
    """Cho et al. 2014; with ``reset_after`` the form that CuDNN computes.

    z, r = recurrent_activation(x W + h U + b); h' = z h + (1 - z) activation(x W_h + b_h + (r h) U_h),
    or, with reset_after, activation(x W_h + b_h + r (h U_h + recurrent_b_h)).
    """

    CLASSES = ("GRUCell",)
    HONOURED = CELL_HONOURED | {"recurrent_activation", "reset_after"}

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.recurrent_activation_name, self.recurrent_act = self.activation("recurrent_activation", "sigmoid")
        self.reset_after = bool(self.config.get("reset_after", False))
        self.kernel_name = "gru" if self.reset_after else "gru_before"

    def bias_shape(self) -> tuple[int, ...]:
        return (2, *super().bias_shape()) if self.reset_after else super().bias_shape()

    def parts(self) -> tuple[tuple[str, slice, int], ...]:
        if self.reset_after:
            return super().parts()
        of_gates, of_candidate = GRU_BEFORE_GATES
        first = of_gates * self.units
        return (("", slice(0, first), of_gates), ("_h", slice(first, None), of_candidate))

    def step(self, x: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        kernel, recurrent, *bias = self.cast(x.dtype)
        (h,) = states
        u = self.units
        zx = x @ kernel
        if self.reset_after:
            zh = h @ recurrent
            if bias:
                zx, zh = zx + bias[0][0], zh + bias[0][1]
            z = self.recurrent_act(zx[:, :u] + zh[:, :u])
            r = self.recurrent_act(zx[:, u : 2 * u] + zh[:, u : 2 * u])
            candidate = self.act(zx[:, 2 * u :] + r * zh[:, 2 * u :])
        else:
            if bias:
                zx = zx + bias[0]
            zh = h @ recurrent[:, : 2 * u]
            z = self.recurrent_act(zx[:, :u] + zh[:, :u])
            r = self.recurrent_act(zx[:, u : 2 * u] + zh[:, u:])
            candidate = self.act(zx[:, 2 * u :] + (r * h) @ recurrent[:, 2 * u :])
        h = z * h + (1 - z) * candidate
        return h, (h,)


class StackedRNNCells(Cell):
    """Cells each of which reads the output of the previous one, in every timestep.

    Attributes
    ----------
    reverse_state_order : bool
        Whether the states are listed from the last cell to the first.
    """

    CLASSES = ("StackedRNNCells",)
    HONOURED = frozenset({"cells", "reverse_state_order"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        if not spec.children:
            raise self.error("expected at least one cell, found none")
        inner = context.inside(self.path)
        self._cells = tuple(cell_of(child, inner, self) for child in spec.children)
        self.reverse_state_order = bool(self.config.get("reverse_state_order", self.rules.stacked_state_order == "reversed"))

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return tuple(size for cell in self._in_state_order() for size in cell.state_sizes)

    @property
    def output_size(self) -> int:
        return self.cells[-1].output_size

    @property
    def children(self) -> tuple[Layer, ...]:
        return self._cells

    @property
    def cells(self) -> Sequence[Cell]:
        return self._cells

    @property
    def output_state(self) -> int:
        return 0 if self.reverse_state_order else len(self.state_sizes) - len(self.cells[-1].state_sizes)

    def _in_state_order(self) -> Sequence[Cell]:
        return self.cells[::-1] if self.reverse_state_order else self.cells

    def state_numbers(self) -> list[range]:
        numbers, first = [], 0
        for cell in self._in_state_order():
            numbers.append(range(first, first + len(cell.state_sizes)))
            first += len(cell.state_sizes)
        return numbers[::-1] if self.reverse_state_order else numbers

    def check(self, features: int) -> None:
        for cell in self.cells:
            cell.check(features)
            features = cell.output_size

    def step(self, x: np.ndarray, states: tuple[np.ndarray, ...]) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        given: dict[int, tuple[np.ndarray, ...]] = {}
        for cell in self._in_state_order():
            given[id(cell)], states = states[: len(cell.state_sizes)], states[len(cell.state_sizes) :]
        new: dict[int, tuple[np.ndarray, ...]] = {}
        for cell in self.cells:
            x, new[id(cell)] = cell.step(x, given[id(cell)])
        return x, tuple(state for cell in self._in_state_order() for state in new[id(cell)])


def cell_of(spec: LayerSpec, context: Context, owner: Layer) -> Cell:
    """The cell of a spec; a class that is no cell, or is not known, becomes a problem of the context."""
    layer = make_layer(spec, context)
    if isinstance(layer, Cell):
        return layer
    if spec.class_name in REGISTRY:  # else that it is not known has been said
        owner.refuse(f"its cell is a {spec.class_name}, which fastlstm does not know as a recurrent cell")
    return Cell(replace(spec, config={}), context)
