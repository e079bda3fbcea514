"""Contracts of the recurrent kernels: lstm.py, gru.py, simple_rnn.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...activations import ALONG_UNITS
from .. import layout
from ..contract import FLAG, ID, TEAM, WATCH, Extents, Room, Span, declared, flat, strided, weights

#: Gates of each product that a cell computes at a step; ``gru_before`` computes two.
LSTM_GATES, GRU_GATES, GRU_BEFORE_GATES, SIMPLE_RNN_GATES = 4, 3, (2, 1), 1

#: The first code of an activation that needs all units of a row.
FIRST_ALONG = min(ALONG_UNITS.values())

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
    "form",  # of all weights: layout.FULL and so on
    "activation", "recurrent_activation",  # codes: of activations.NATIVE, or of ALONG_UNITS
    "alpha", "recurrent_alpha",  # the parameter of each
    "h0", "h0_row",  # state to start from, or 0: zeros
    "y", "y_row", "y_step", "y_time_order",  # output of every step, or 0; 1: step t in place t even in reverse
    "last", "last_row",  # output of the step processed last, or 0
    "h_out", "out_row",  # final state, or 0; may be where h0 is
    "fill",  # output of masked steps: 0 the previous one, 1 zeros
    "head",  # with fill 0, before the first valid step: 0 zeros, 1 the initial state
    "scratch",
    "kept",  # scratch besides, where an activation is one of ALONG_UNITS: (rows, layout.kept_row)
    *TEAM, *WATCH,
    # Of some cells only. All cells have one struct, so that what they share is compiled once.
    "c0", "c_out",  # lstm: rows as those of h0 and h_out
    "recurrent_bias",  # gru
    "kernel_h", "recurrent_h", "bias_h",  # gru_before: of the candidate; the others are of z and r
)  # fmt: skip


def recurrent(f: Any, lanes: int, *gates: int) -> dict[str, Span | Room]:
    """The extents that every recurrent kernel touches; ``gates`` of each of its products."""
    columns = sum(layout.columns_in(f.form, f.units, n, lanes) for n in gates)
    own = layout.columns_in(f.form, f.units, gates[0], lanes)
    features = 0 if f.table else f.features
    per_id = (f.vocabulary - 1) * f.x_step
    scratch = layout.recurrent_scratch(features, f.steps, f.units, columns, lanes, f.members, f.form)
    touched: dict[str, Span | Room] = {
        "ids": Span(f.ids_row, 0, f.steps, ID),
        "mask": Span(f.mask_row, 0, f.steps, FLAG),
        "kernel": weights(f.form, features, own),
        "recurrent": weights(f.form, f.units, own),
        "bias": Span(0, 0, own),
        "h0": Span(f.h0_row, 0, f.units),
        "y": strided(f.y_row, f.steps, f.y_step, f.units),
        "last": Span(f.last_row, 0, f.units),
        "h_out": Span(f.out_row, 0, f.units),
        "scratch": Room(*scratch),
    }
    if max(f.activation, f.recurrent_activation) >= FIRST_ALONG:
        touched["kept"] = flat(layout.kept_row(columns, f.units, lanes))
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
        writes=("y", "last", "h_out", *state[1:], "scratch", "kept"),
        optional=("ids", "table", "mask", "h0", "y", "last", "h_out", *state),
        floats=("alpha", "recurrent_alpha"),
        needs=(("table", "ids"),),
    )


@declared_recurrent(state=("c0", "c_out"))
def lstm(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """LSTM over a block of rows."""
    return {**recurrent(f, lanes, LSTM_GATES), "c0": Span(f.h0_row, 0, f.units), "c_out": Span(f.out_row, 0, f.units)}


@declared_recurrent("recurrent_bias")
def gru(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """GRU with ``reset_after=True``."""
    return {**recurrent(f, lanes, GRU_GATES), "recurrent_bias": Span(0, 0, layout.columns_in(f.form, f.units, GRU_GATES, lanes))}


@declared_recurrent("kernel_h", "recurrent_h", "bias_h")
def gru_before(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """GRU with ``reset_after=False``: a product for z and r, and one for the candidate."""
    columns = layout.columns_in(f.form, f.units, GRU_BEFORE_GATES[1], lanes)
    return {
        **recurrent(f, lanes, *GRU_BEFORE_GATES),
        "kernel_h": weights(f.form, 0 if f.table else f.features, columns),
        "recurrent_h": weights(f.form, f.units, columns),
        "bias_h": Span(0, 0, columns),
    }


@declared_recurrent()
def simple_rnn(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """SimpleRNN."""
    return recurrent(f, lanes, SIMPLE_RNN_GATES)
