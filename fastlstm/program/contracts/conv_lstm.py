"""Contracts of conv_lstm.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .. import layout, windows
from ..contract import FLAG, TEAM, WATCH, Room, Span, declared, strided
from .convolution import IMAGE, IMAGE_COUNTS, along, image_size, is_padded, seen, sizes
from .recurrent import LSTM_GATES


def state_places(f: Any) -> int:
    """Places of a state with the zeros around it that the window over it sees."""
    return math.prod(n + w - 1 for n, w in zip(sizes(f, "n"), sizes(f, "w"), strict=True))


@declared(
    *IMAGE,
    "steps", "x_time",  # images, and elements from one to the next
    "size",  # elements of a run
    "units",  # filters
    *along("w"),  # places that the window over the state sees along each axis
    "kernel", "recurrent", "bias", "activation", "recurrent_activation",
    "mask", "mask_row", "reverse",
    "h0", "h0_row", "c0",  # states to start from, or 0: zeros
    "y_step", "y_time_order",  # of y, which may be 0
    "last", "last_row", "h_out", "c_out", "out_row", "fill", "head",  # as of the recurrent kernels
    *TEAM, *WATCH,
    reads=("x", "kernel", "recurrent", "bias", "mask", "h0", "c0"), writes=("y", "last", "h_out", "c_out", "scratch"),
    optional=("mask", "h0", "c0", "y", "last", "h_out", "c_out"), counts=(*IMAGE_COUNTS, *along("w")),
)  # fmt: skip
def conv_lstm(f: Any, lanes: int) -> Mapping[str, Span | Room]:
    """LSTM of images, with convolutions in place of products."""
    runs, whole = math.prod(sizes(f, "k")), f.channels * math.prod(sizes(f, "a"))
    columns, state = layout.columns(f.units, LSTM_GATES, lanes), f.units * math.prod(sizes(f, "n"))
    image = whole if is_padded(f) else max(whole, seen(f, f.size))
    scratch = windows.conv_lstm_scratch(runs, f.w0 * f.w1, image_size(f, f.size), f.units * state_places(f), state, max(f.members, 1))
    return {
        "x": Span(f.x_row, 0, (f.steps - 1) * f.x_time + image),
        "kernel": Span(0, 0, runs * f.size * columns),
        "recurrent": Span(0, 0, f.w0 * f.w1 * f.w2 * f.units * columns),
        "bias": Span(0, 0, columns),
        "mask": Span(f.mask_row, 0, f.steps, FLAG),
        "h0": Span(f.h0_row, 0, state),
        "c0": Span(f.h0_row, 0, state),
        "y": strided(f.y_row, f.steps, f.y_step, state),
        "last": Span(f.last_row, 0, state),
        "h_out": Span(f.out_row, 0, state),
        "c_out": Span(f.out_row, 0, state),
        "scratch": Room(0, scratch),
    }
