"""How a convolution divides up its work and its scratch.

The kernels compile the functions of plain integers here (``kernels/layout.py``), as those of ``layout.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import layout
from .layout import ADDRESS, ALIGNMENT, DOT_UNITS, FLOAT, after

#: Positions that a job computes, roughly: a panel of weights is read once for all of them, and what they give stays in the cache until it
#: is pooled.
POSITIONS = 96


class Jobs(NamedTuple):
    """The positions of an output, divided up. A line is what goes along the last axis; where they are pooled, those pooled together."""

    lines: int  # of a job
    chunk: int  # positions of each line in a job: all, or as many as whole pooling windows have
    chunks: int  # jobs for each line
    number: int  # all jobs


class Windows(NamedTuple):
    """Where things are in the scratch of a convolution: addresses."""

    table: int  # int64: the distances of a window's runs from its start, in bytes
    image: int  # a row of the batch with padding around it
    stripe: int  # what a job gives before it is pooled
    end: int  # after everything of this thread


# -- of plain integers: compiled into the kernels too (kernels/layout.py) -----------------------------------------------------------


def jobs_of(lines: int, length: int, pooled: int, pool: int) -> Jobs:
    """Divide up so many pooled lines of ``length`` positions. ``pooled`` lines make one, and of each so many positions one."""
    positions = pooled * length
    if positions <= 2 * POSITIONS:
        together = max(POSITIONS // positions, 1)
        return Jobs(together, length, 1, (lines + together - 1) // together)
    chunk = max(POSITIONS // pooled // pool, 1) * pool
    chunks = (length + chunk - 1) // chunk
    return Jobs(1, chunk, chunks, lines * chunks)


def lay_out_windows(start: int, member: int, runs: int, image: int, stripe: int) -> Windows:
    """Divide up the scratch of a convolution: every thread has its own. Sizes are of runs, and of floats."""
    table = after(start, 0)
    image_at = after(table, ADDRESS * runs)
    stripe_at = after(image_at, FLOAT * image)
    end = after(stripe_at, FLOAT * stripe)
    mine = member * (end - table)
    return Windows(table + mine, image_at + mine, stripe_at + mine, end + mine)


class Images(NamedTuple):
    """Where things are in the scratch of an LSTM of images: addresses."""

    # Shared by all threads of a call.
    h_even: int  # state before even steps, with zeros around it
    h_odd: int  # state before odd ones
    c: int
    # Each thread's own.
    table: int  # the distances of the runs of a window over the input
    state_table: int  # ... over the state
    image: int  # the input of a step with padding around it
    end: int


def lay_out_images(start: int, member: int, runs: int, state_runs: int, image: int, padded: int, state: int) -> Images:
    """Divide up the scratch of an LSTM of images. Sizes are of runs, and of floats: of the input, of a state with padding and without."""
    h_even = after(start, 0)
    h_odd = after(h_even, FLOAT * padded)
    c = after(h_odd, FLOAT * padded)
    table = after(c, FLOAT * state)
    state_table = after(table, ADDRESS * runs)
    image_at = after(state_table, ADDRESS * state_runs)
    end = after(image_at, FLOAT * image)
    mine = member * (end - table)
    return Images(h_even, h_odd, c, table + mine, state_table + mine, image_at + mine, end + mine)


def dots_windows(units: int, size: int, lanes: int) -> int:
    """Is each output of a convolution a dot product of its own: where a panel would be nearly empty, and runs fill vectors?"""
    return 1 if units <= DOT_UNITS and size >= lanes else 0


#: What kernels compile, each after those that it calls.
COMPILED = (jobs_of, lay_out_windows, lay_out_images, dots_windows)


# -- arrays -------------------------------------------------------------------------------------------------------------------


def windows_scratch(runs: int, image: int, stripe: int, members: int = 1) -> int:
    """Bytes of scratch that so many threads take, whatever address it begins at."""
    return ALIGNMENT + lay_out_windows(0, members - 1, runs, image, stripe).end


def conv_lstm_scratch(runs: int, state_runs: int, image: int, padded: int, state: int, members: int) -> int:
    """The same of an LSTM of images."""
    return ALIGNMENT + lay_out_images(0, members - 1, runs, state_runs, image, padded, state).end


def windows_size(runs: int, size: int, units: int, lanes: int) -> int:
    """Floats of one group's packed weights."""
    if dots_windows(units, size, lanes):
        return units * runs * layout.padded_units(size, lanes)
    return runs * size * layout.columns(units, 1, lanes)


def pack_windows(kernel: np.ndarray, lanes: int) -> np.ndarray:
    """Pack the kernel (groups, runs, size, units) of a convolution, group after group."""
    groups, runs, size, units = kernel.shape
    if not dots_windows(units, size, lanes):
        packed = [layout.pack_panels(one.reshape(runs * size, units), 1, lanes) for one in kernel]
        return layout.aligned(np.concatenate(packed) if packed else np.zeros(0, np.float32))
    by_unit = np.zeros((groups, units, runs, layout.padded_units(size, lanes)), np.float32)
    by_unit[..., :size] = kernel.transpose(0, 3, 1, 2)
    return layout.aligned(by_unit.reshape(-1))


def pack_windows_bias(bias: np.ndarray, lanes: int) -> np.ndarray:
    """Pack the bias (groups, units) of a convolution."""
    return layout.aligned(np.concatenate([layout.pack_bias(one, 1, len(one), lanes) for one in bias]))
