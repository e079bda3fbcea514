"""What each place of a resized axis is made of, as TensorFlow has it: every Keras resizes images by its functions.

An image's axes are resized one by one: each place of the new axis is a weighted sum of a few neighbours along the old one
(``program.resampling.Taps``). Weights are worked out in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ..program.resampling import Taps

#: Places whose weights are worked out at once, as that takes several times the memory of the weights.
PIECE = 1 << 16
#: Steps that TensorFlow's bicubic weights are tabulated in.
TABULATED = 1024


class Filter(NamedTuple):
    """A curve by which neighbours weigh, by their distance, up to a radius."""

    curve: Callable[[np.ndarray], np.ndarray]
    radius: float


def lanczos(radius: float) -> Filter:
    """sinc(x) sinc(x / radius)."""
    return Filter(lambda x: np.sinc(x) * np.sinc(x / radius), radius)


def mitchell(x: np.ndarray) -> np.ndarray:
    """Mitchell and Netravali 1988, with B = C = 1/3."""
    near = (7 * x**3 - 12 * x**2) / 6 + 16 / 18
    far = -7 / 18 * x**3 + 2 * x**2 - 10 / 3 * x + 16 / 9
    return np.where(x < 1, near, far)


def keys(x: np.ndarray) -> np.ndarray:
    """Keys 1981, with a = -1/2."""
    return np.where(x < 1, (1.5 * x - 2.5) * x**2 + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2)


FILTERS = {
    "lanczos3": lanczos(3), "lanczos5": lanczos(5), "gaussian": Filter(lambda x: np.exp(-2 * x * x), 1.5),
    "mitchellcubic": Filter(mitchell, 2),
}  # fmt: skip
#: The ways of resizing, by Keras's names; "corners" is how "bilinear" was before TensorFlow 2.
METHODS = ("nearest", "bilinear", "corners", "bicubic", "area", *FILTERS)


def taps(method: str, n: int, size: int) -> Taps:
    """What an axis of n steps becomes at ``size`` places by one of ``METHODS``."""
    centres = (np.arange(size) + 0.5) * (n / size) - 0.5  # of the new places, in steps of the old ones
    if method == "nearest":
        # In float32, which decides where a centre falls between two steps.
        nearest = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * (np.float32(n) / np.float32(size))
        return packed(np.minimum(nearest.astype(np.int64), n - 1), np.ones((size, 1)), n)
    if method == "bilinear":
        return between(centres, n)
    if method == "corners":
        return between(np.arange(size) * (n / size), n)
    if method == "area":
        return overlaps(n, size)
    pieces = [centres[start : start + PIECE] for start in range(0, max(size, 1), PIECE)]
    found = [bicubic(piece, n) if method == "bicubic" else filtered(FILTERS[method], piece, n) for piece in pieces]
    return Taps(np.concatenate([one.starts for one in found]), np.concatenate([one.weights for one in found]))


def packed(first: np.ndarray, weights: np.ndarray, n: int) -> Taps:
    """Taps of windows that may reach beyond the axis, where they weigh nothing: as few as hold all weights."""
    count = min(weights.shape[1], n)
    starts = np.clip(first, 0, n - count)
    out = np.zeros((len(first), count))
    for k in range(weights.shape[1]):
        place = first + k - starts
        there = np.flatnonzero((first + k >= 0) & (first + k < n))
        out[there, place[there]] = weights[there, k]
    return Taps(starts, out)


def between(places: np.ndarray, n: int) -> Taps:
    """Each place between its two neighbours, by how near they are; beyond the ends, the last one."""
    inside = np.clip(places, 0, n - 1)
    first = np.minimum(np.floor(inside).astype(np.int64), max(n - 2, 0))
    part = inside - first
    return packed(first, np.stack([1 - part, part], axis=1), n)


def normal(first: np.ndarray, weights: np.ndarray, n: int) -> Taps:
    """Taps of weights whose sums become 1, once those beyond the axis are left out."""
    steps = first[:, np.newaxis] + np.arange(weights.shape[1])
    weights = np.where((steps >= 0) & (steps < n), weights, 0)
    return packed(first, weights / weights.sum(axis=1, keepdims=True), n)


def bicubic(centres: np.ndarray, n: int) -> Taps:
    """By four neighbours."""
    before = np.floor(centres)
    part = np.rint((centres - before) * TABULATED) / TABULATED
    distances = np.stack([1 + part, part, 1 - part, 2 - part], axis=1)
    return normal(before.astype(np.int64) - 1, keys(distances), n)


def filtered(of: Filter, centres: np.ndarray, n: int) -> Taps:
    """By all neighbours within the radius of a filter."""
    first = np.ceil(centres - of.radius).astype(np.int64)
    steps = first[:, np.newaxis] + np.arange(int(2 * of.radius) + 1)
    distances = np.abs(steps - centres[:, np.newaxis])
    return normal(first, np.where(distances < of.radius, of.curve(distances), 0), n)


def overlaps(n: int, size: int) -> Taps:
    """By how much of each step lies in the place."""
    # In whole numbers: step k is from k * size on to (k + 1) * size, place i from i * n on to (i + 1) * n.
    first = np.arange(size) * n // size
    last = -(-(np.arange(size) + 1) * n // size)
    steps = first[:, np.newaxis] + np.arange(int((last - first).max()))
    begin, end = np.maximum(steps * size, np.arange(size)[:, np.newaxis] * n), np.arange(1, size + 1)[:, np.newaxis] * n
    shared = np.minimum((steps + 1) * size, end) - begin
    return packed(first, np.maximum(shared, 0) / n, n)


def resized(x: np.ndarray, axis: int, by: Taps) -> np.ndarray:
    """x with an axis resized. What weighs nothing is not there: infinity times 0 is NaN."""
    out: np.ndarray | None = None
    shape = [len(by.starts) if n == axis else 1 for n in range(x.ndim)]
    for k in range(by.weights.shape[1]):
        weights = by.weights[:, k].astype(x.dtype).reshape(shape)
        part = np.where(weights == 0, x.dtype.type(0), x.take(by.starts + k, axis) * weights)
        out = part if out is None else out + part
    assert out is not None  # there is one tap at least
    return out
