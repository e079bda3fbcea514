"""What was predicted beside what was to be: lines over time with what is left between them, or a matrix of classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..listing import one_line
from .svg import document, element, label, number
from .text import cut

ACTUAL, PREDICTED = "#8b949e", "#2f81f7"
MARGIN, LEFT, WIDE, HIGH, LOW, TEXT = 20.0, 64.0, 640.0, 220.0, 110.0, 11.0
#: More points than a line of this width can show.
MOST_POINTS = 1600
#: The largest matrix whose cells can be told apart.
MOST_CLASSES = 40
CELL, LARGEST_CELL = 26.0, 56.0


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers from low to high."""
    step = 10.0 ** math.floor(math.log10((high - low) / about))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= about + 1)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def bounds(values: np.ndarray) -> tuple[float, float]:
    """The least and the largest, a little apart."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    return low - room, high + room


class Panel:
    """A frame with a scale on its left, for lines over the same places."""

    def __init__(self, top: float, height: float, values: np.ndarray, points: int):
        self.top, self.height, self.points = top, height, points
        self.low, self.high = bounds(values)
        self.parts = [element("rect", "fl-box", x=LEFT, y=top, width=WIDE, height=height, rx=3)]
        for value in ticks(self.low, self.high):
            y = self.y(value)
            self.parts.append(element("line", "fl-line", x1=LEFT, x2=LEFT + WIDE, y1=y, y2=y, opacity=0.35))
            self.parts.append(label(LEFT - 8, y + 4, f"{value:.6g}", TEXT, "fl-faint", text_anchor="end"))

    def y(self, value: float) -> float:
        """Where a value stands."""
        return self.top + self.height * (self.high - value) / (self.high - self.low)

    def x(self, place: int) -> float:
        """Where a place stands."""
        return LEFT + WIDE * (place + 0.5) / self.points

    def line(self, values: np.ndarray, colour: str, width: float) -> None:
        """Draw one; it breaks where a value is none."""
        path, pen = [], "M"
        for place, value in enumerate(values.tolist()):
            if math.isfinite(value):
                path.append(f"{pen}{number(self.x(place))} {number(self.y(value))}")
                pen = "L"
            else:
                pen = "M"
        self.parts.append(element("path", d=" ".join(path), fill="none", stroke=colour, stroke_width=width, stroke_linejoin="round"))

    def stems(self, values: np.ndarray, colour: str) -> None:
        """Draw each value as a stroke from zero."""
        zero, wide = self.y(0.0), max(0.8, min(4.0, 0.5 * WIDE / self.points))
        for place, value in enumerate(values.tolist()):
            if math.isfinite(value):
                x = self.x(place)
                self.parts.append(element("line", x1=x, x2=x, y1=zero, y2=self.y(value), stroke=colour, stroke_width=wide))


def forecast(title: str, subtitle: str, actual: np.ndarray, predicted: np.ndarray) -> str:
    """Actual and predicted numbers over time, and the residuals below, as SVG.

    Parameters
    ----------
    title, subtitle
        What stands above.
    actual, predicted
        Numbers, (points,) each.
    """
    step = -(-len(actual) // MOST_POINTS)
    actual, predicted = np.asarray(actual, np.float64)[::step], np.asarray(predicted, np.float64)[::step]
    if step > 1:
        subtitle += f"; every {step}th point"
    top = MARGIN + 66
    upper = Panel(top, HIGH, np.concatenate([actual, predicted]), len(actual))
    upper.line(actual, ACTUAL, 1.6)
    upper.line(predicted, PREDICTED, 1.6)
    residuals = actual - predicted
    below = top + HIGH + 40
    lower = Panel(below, LOW, np.append(residuals, 0.0), len(actual))
    lower.stems(residuals, PREDICTED)
    key = MARGIN + 50
    parts = [
        *headings(title, subtitle),
        *legend(LEFT, key, [("actual", ACTUAL), ("predicted", PREDICTED)]),
        *upper.parts,
        label(LEFT, below - 10, "residuals (actual less predicted)", TEXT + 1, font_weight="bold"),
        *lower.parts,
    ]
    return document(LEFT + WIDE + MARGIN, below + LOW + MARGIN, title, parts)


def headings(title: str, subtitle: str, wide: float = LEFT + WIDE) -> list[str]:
    """The title and what it is about."""
    return [
        label(MARGIN, MARGIN + 12, cut(one_line(title), 15, wide - MARGIN), 15, font_weight="bold"),
        label(MARGIN, MARGIN + 31, cut(one_line(subtitle), TEXT, wide - MARGIN), TEXT, "fl-faint"),
    ]


def legend(x: float, y: float, names: Sequence[tuple[str, str]]) -> list[str]:
    """Lines and what they are."""
    parts = []
    for name, colour in names:
        parts += [
            element("line", x1=x, x2=x + 22, y1=y, y2=y, stroke=colour, stroke_width=2.5),
            label(x + 28, y + 4, name, TEXT + 1),
        ]
        x += 46 + 7 * len(name)
    return parts


def confusion(title: str, subtitle: str, counts: np.ndarray) -> str:
    """How often each class (a row) was taken for each class (a column), as SVG.

    Parameters
    ----------
    title, subtitle
        What stands above.
    counts
        (classes, classes), up to 40 of them.
    """
    classes = len(counts)
    cell = max(CELL, min(LARGEST_CELL, 340.0 / classes))
    left, top = LEFT + 8, MARGIN + 86
    sums = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    parts = []
    for row in range(classes):
        y = top + row * cell
        parts.append(label(left - 10, y + cell / 2 + 4, str(row), TEXT, "fl-faint", text_anchor="end"))
        parts.append(label(left + row * cell + cell / 2, top - 8, str(row), TEXT, "fl-faint", text_anchor="middle"))
        for column in range(classes):
            x, share = left + column * cell, float(counts[row, column] / sums[row, 0])
            parts.append(element("rect", "fl-box", x=x, y=y, width=cell - 2, height=cell - 2, rx=2))
            if share > 0:
                shade = 0.12 + 0.88 * share
                parts.append(element("rect", x=x, y=y, width=cell - 2, height=cell - 2, rx=2, fill=PREDICTED, fill_opacity=f"{shade:.2f}"))
                colour: dict[str, Any] = {"fill": "#ffffff"} if share > 0.45 else {}
                size = min(TEXT, 1.5 * cell / len(str(counts[row, column])))
                centre = (x + cell / 2 - 1, y + cell / 2 + 3)
                parts.append(label(*centre, str(counts[row, column]), size, "fl-text", text_anchor="middle", **colour))
    wide = max(left + classes * cell + MARGIN, 420.0)
    middle = top + classes * cell / 2
    words = [
        label(left, top - 26, "predicted", TEXT + 1, font_weight="bold"),
        label(MARGIN + 4, middle, "actual", TEXT + 1, font_weight="bold", transform=f"rotate(-90 {number(MARGIN + 4)} {number(middle)})"),
    ]
    return document(wide, top + classes * cell + MARGIN, title, [*headings(title, subtitle, wide), *words, *parts])
