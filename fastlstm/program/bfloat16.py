"""Weights as bfloat16: the upper 16 bits of a float32, with 8 bits of a number's digits (Kalamkar et al. 2019, "A Study of BFLOAT16").

Packed for register tiles, which widen them, or for the tiles of AMX (``layout.py``). As arrays they are their bits, uint16.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import layout
from .layout import AMX, AMX_COLUMNS, AMX_DEPTH, AMX_PAIR, FULL, HALVES, LARGEST_HALF, SPLIT

#: Larger ones of float32 would become infinite.
_ROUNDS_TO_INFINITY = np.float32(3.3961775e38)
#: So many weights come from memory at every step, of which half the bytes are read sooner.
LEAST_HALVES = 1 << 18


def rounded(array: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 of finite float32, of two the even one, as uint16; the largest for those beyond it."""
    bits = np.clip(np.asarray(array, np.float32), -LARGEST_HALF, LARGEST_HALF).view(np.uint32)
    return ((bits + ((bits >> 16) & 1) + 0x7FFF) >> 16).astype(np.uint16)


def widened(halves: np.ndarray) -> np.ndarray:
    """bfloat16, given as uint16, as float32."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def split(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Finite float32 in two parts, as uint16, whose sum has about 16 bits of their digits."""
    first = rounded(array)
    return first, rounded(np.asarray(array, np.float32) - widened(first))


def chosen(form: int, arrays: Sequence[np.ndarray]) -> int:
    """The form of a layer's weights, where one is asked for. Infinities, and what would become one, are left to float32."""
    numbers = sum(array.size for array in arrays)
    if numbers == 0 or (form == HALVES and numbers < LEAST_HALVES):
        return FULL
    return form if all(bool((np.abs(array) < _ROUNDS_TO_INFINITY).all()) for array in arrays) else FULL


def pack(matrix: np.ndarray, gates: int, lanes: int, form: int) -> np.ndarray:
    """Pack weights (K, gates * units) in panels, in a form; which is one that is :func:`chosen`.

    Returns
    -------
    numpy.ndarray
        float32 for FULL, else uint16: ``layout.weights_count`` numbers, 64-byte aligned.
    """
    panels = layout.pack_panels(matrix, gates, lanes)
    if form == FULL:
        return panels
    if form == HALVES:
        return layout.aligned(rounded(panels))
    size = len(matrix)
    parts: list[np.ndarray] = []
    first = 0
    for vectors in layout.panels_of(matrix.shape[1] // gates, gates, lanes):
        width = vectors * lanes
        parts += _tiles(panels[first : first + size * width].reshape(size, width), form)
        first += size * width
    return layout.aligned(np.concatenate([part.reshape(-1) for part in parts] or [np.zeros(0, np.uint16)]))


def _tiles(panel: np.ndarray, form: int) -> list[np.ndarray]:
    """A panel (K, columns) in tiles: pairs of columns, in each the tiles along k, in each the columns, in each the parts.

    A row of a tile holds two rows of k, those of a column side by side.
    """
    size, width = panel.shape
    steps, columns = layout.amx_steps(size), -(-width // AMX_COLUMNS)
    padded = np.zeros((steps * AMX_DEPTH, columns * AMX_COLUMNS), np.float32)
    padded[:size, :width] = panel
    parts = np.stack(split(padded) if form == SPLIT else (rounded(padded),))
    # (part, tile along k, row, even or odd k, tile of columns, column)
    by_tile = parts.reshape(len(parts), steps, AMX_DEPTH // 2, 2, columns, AMX_COLUMNS).transpose(4, 1, 0, 2, 5, 3)
    return [by_tile[first : first + AMX_PAIR].swapaxes(0, 1) for first in range(0, columns, AMX_PAIR)]


def pack_row(vector: np.ndarray | None, gates: int, units: int, lanes: int, form: int) -> np.ndarray:
    """Pack a bias (gates * units,) as the panel-ordered row, float32, that goes with weights of a form; zeros for None."""
    row = layout.pack_bias(vector, gates, units, lanes)
    if form < AMX:
        return row
    parts, first = [], 0
    for vectors in layout.panels_of(units, gates, lanes):
        part = np.zeros(layout.row_vectors(vectors, lanes, form) * lanes, np.float32)
        part[: vectors * lanes] = row[first : first + vectors * lanes]
        parts.append(part)
        first += vectors * lanes
    return layout.aligned(np.concatenate(parts))
