"""Bars beside each other, in a terminal and as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..listing import one_line
from .svg import document, element, label
from .text import cut, width

#: Where the longest bar is more times as long as the shortest than this, lengths are logarithmic.
MOST_LINEAR = 40.0
#: The eighths of a character.
EIGHTHS = " ▏▎▍▌▋▊▉"
FULL = "█"
OURS, THEIRS = "#2f81f7", "#b1bac4"
MARGIN, ROW, BAR, TEXT = 20.0, 26.0, 16.0, 12.0
LONGEST = 380.0


@dataclass(frozen=True)
class Bar:
    """One of them."""

    name: str
    value: float
    text: str  # what stands at its end
    ours: bool = False


def is_logarithmic(groups: Sequence[Sequence[Bar]]) -> bool:
    """Do the lengths of the bars of these groups stand for logarithms?"""
    values = [bar.value for group in groups for bar in group]
    return bool(values) and max(values) > MOST_LINEAR * min(values)


def lengths(groups: Sequence[Sequence[Bar]]) -> list[list[float]]:
    """Of each bar, in parts of the longest of all groups; the shortest of a logarithmic scale is a decade below the shortest bar."""
    values = [bar.value for group in groups for bar in group]
    if not values:
        return [[] for _ in groups]
    if not is_logarithmic(groups):
        return [[bar.value / max(values) for bar in group] for group in groups]
    low, high = math.log10(min(values)) - 0.5, math.log10(max(values))
    return [[(math.log10(bar.value) - low) / (high - low) for bar in group] for group in groups]


def lines(group: Sequence[Bar], parts: Sequence[float], room: int, *, ascii_only: bool = False) -> Iterator[tuple[str, str, str]]:
    """A group for a terminal: name, bar and text of each line, the names as wide as the widest.

    Parameters
    ----------
    group
        The bars.
    parts
        Their lengths, as :func:`lengths` gives them.
    room
        Characters that the longest bar takes.
    ascii_only
        Can the terminal show nothing else?
    """
    names = max((len(one_line(bar.name)) for bar in group), default=0)
    for bar, part in zip(group, parts, strict=True):
        eighths = max(1, round(part * room * 8))
        drawn = "#" * max(1, eighths // 8) if ascii_only else FULL * (eighths // 8) + EIGHTHS[eighths % 8].strip()
        yield f"{one_line(bar.name):<{names}}", drawn, one_line(bar.text)


def chart(title: str, subtitle: str, groups: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """All groups as SVG, each with its heading."""
    parts_of = lengths([group for _, group in groups])
    names = max((width(one_line(bar.name), TEXT) for _, group in groups for bar in group), default=0.0)
    texts = max((width(one_line(bar.text), TEXT) for _, group in groups for bar in group), default=0.0)
    left = MARGIN + min(names, 260.0) + 12
    wide = max(left + LONGEST + 10 + texts + MARGIN, 2 * MARGIN + width(one_line(subtitle), TEXT - 1))
    parts = [
        label(MARGIN, MARGIN + 12, cut(one_line(title), 15, wide - 2 * MARGIN), 15, font_weight="bold"),
        label(MARGIN, MARGIN + 31, one_line(subtitle), TEXT - 1, "fl-faint"),
    ]
    y = MARGIN + 52
    for (heading, group), shares in zip(groups, parts_of, strict=True):
        parts.append(label(MARGIN, y + 12, one_line(heading), TEXT, font_weight="bold"))
        y += ROW - 4
        for bar, share in zip(group, shares, strict=True):
            name = cut(one_line(bar.name), TEXT, 260.0)
            parts.append(
                label(left - 10, y + 12, name, TEXT, "fl-text", text_anchor="end", **({"font_weight": "bold"} if bar.ours else {}))
            )
            long = max(1.5, share * LONGEST)
            parts.append(element("rect", x=left, y=y, width=long, height=BAR, rx=2, fill=OURS if bar.ours else THEIRS))
            parts.append(label(left + long + 8, y + 12, one_line(bar.text), TEXT, "fl-faint"))
            y += ROW - 4
        y += 14
    return document(wide, y + MARGIN - 14, title, parts)
