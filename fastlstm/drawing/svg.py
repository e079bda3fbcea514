"""What all pictures share: one palette for light and dark, and the elements of SVG as text."""

from __future__ import annotations

from collections.abc import Sequence

from .text import escaped

FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
#: By the class of an element: its attributes, and what becomes of them in the dark. Attributes, not rules, are what every viewer knows.
PALETTE: dict[str, tuple[dict[str, str], str]] = {
    "fl-paper": ({"fill": "#ffffff"}, "fill:#0d1117"),
    "fl-text": ({"fill": "#1f2328"}, "fill:#e6edf3"),
    "fl-faint": ({"fill": "#59636e"}, "fill:#9198a1"),
    # Upon lines.
    "fl-label": (
        {"fill": "#59636e", "stroke": "#ffffff", "stroke-width": "3", "paint-order": "stroke"}, "fill:#9198a1;stroke:#0d1117",
    ),
    "fl-box": ({"fill": "#f6f8fa", "stroke": "#c6ccd3"}, "fill:#151b23;stroke:#3d444d"),
    "fl-frame": ({"fill": "none", "stroke": "#848d97", "stroke-dasharray": "5 4"}, "stroke:#6e7681"),
    "fl-line": ({"fill": "none", "stroke": "#6e7781", "stroke-width": "1.2"}, "stroke:#8b949e"),
    "fl-head": ({"fill": "#6e7781"}, "fill:#8b949e"),
}  # fmt: skip
DARK = "".join(f".{name}{{{rules}}}" for name, (_, rules) in PALETTE.items() if rules)
STYLE = f"<style>@media (prefers-color-scheme:dark){{{DARK}}}</style>"


def number(value: float) -> str:
    """A coordinate, as short as it may be."""
    return f"{value:.1f}".removesuffix(".0")


def element(name: str, kind: str = "", content: str = "", **attributes: object) -> str:
    """An element of a class of the palette; underscores in names of attributes are hyphens. ``content`` is escaped already."""
    given: dict[str, object] = {"class": kind, **PALETTE[kind][0]} if kind else {}
    given.update({key.replace("_", "-"): value for key, value in attributes.items()})
    text = "".join(f' {key}="{number(value) if isinstance(value, float) else escaped(value)}"' for key, value in given.items())
    return f"<{name}{text}>{content}</{name}>" if content else f"<{name}{text}/>"


def label(x: float, y: float, text: str, size: float, kind: str = "fl-text", **attributes: object) -> str:
    """A line of text; any text."""
    return element("text", kind, escaped(text), x=x, y=y, font_size=size, **attributes)


def document(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A whole picture, on paper of its own: what surrounds it may be light or dark."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(width)}" height="{number(height)}" '
        f'viewBox="0 0 {number(width)} {number(height)}" font-family="{escaped(FONT)}" role="img" aria-label="{escaped(title)}">'
    )
    paper = element("rect", "fl-paper", width=width, height=height, rx=8)
    return "\n".join([head, STYLE, element("title", content=escaped(title)) if title else "", paper, *parts, "</svg>", ""])
