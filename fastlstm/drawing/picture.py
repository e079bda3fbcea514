"""The picture of a model: a box for each layer, coloured by what computes it, nested models in frames.

No library of the field fits: those that lay out layered graphs drive Graphviz's program, or come under the GPL (grandalf,
python-igraph). A model's graph has its order already, and no circles, so that three hundred lines do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..listing import LayerInfo, one_line
from ..spec import ModelSpec
from .columns import BEND, GUTTER, Columns, in_columns
from .graph import Box, Graph, graph_of
from .layered import Layout, Point, Size, lay_out
from .svg import document, element, label, number
from .text import cut, escaped, width

TITLE, NAME, SMALL = 15.0, 13.0, 11.0  # sizes of text
PADDING, STRIPE, MARGIN = 11.0, 5.0, 20.0
LEAST_WIDTH, MOST_WIDTH = 128.0, 300.0
LEAST_PICTURE = 280.0
TOP = MARGIN + 48  # of the graph, below its heading
HEADER = 40.0  # of a frame, above what stands in it
ARROW = 6.0
#: By what LayerInfo.runs says: a colour that shows on light and on dark, and words.
RUNS = {
    "input": ("#7d8590", "input"),
    "native": ("#2f81f7", "in kernels"),
    "NumPy": ("#d29922", "in NumPy"),
    "your function": ("#a371f7", "your function"),
    "folded": ("#3fb950", "folded into its reader"),
    "no work": ("#b1bac4", "nothing to compute"),
    "unsupported": ("#f85149", "not supported"),
}


def of_model(model: ModelSpec, layers: Sequence[LayerInfo], name: str) -> str:
    """A model as SVG.

    Parameters
    ----------
    model
        Its graph, without what no output needs.
    layers
        What is known of its layers.
    name
        Its heading.

    Raises
    ------
    InputError
        If it has more layers or connections than a picture can show.
    """
    return picture(graph_of(model, layers), name, str(model.generation))


def picture(graph: Graph, title: str, subtitle: str = "") -> str:
    """A model's graph as SVG."""
    drawing = drawn(graph, columns=True)
    title, subtitle = (cut(one_line(text), size, 600.0) for text, size in ((title, TITLE), (subtitle, SMALL)))
    wide = max(drawing.size.width, LEAST_PICTURE, width(title, TITLE), width(subtitle, SMALL))
    legend, rows = _legend(graph, wide)
    foot = TOP + drawing.size.height + 26
    parts = [
        label(MARGIN, MARGIN + 12, title, TITLE, font_weight="bold"),
        label(MARGIN, MARGIN + 30, subtitle, SMALL, "fl-faint"),
        _moved(MARGIN + (wide - drawing.size.width) / 2, TOP, drawing.parts),
        _moved(MARGIN, foot, legend),
    ]
    return document(wide + 2 * MARGIN, foot + 20 * rows + MARGIN - 10, title, parts)


@dataclass(frozen=True)
class Drawing:
    """A graph that is laid out, from its upper left corner on."""

    size: Size
    parts: tuple[str, ...]


def drawn(graph: Graph, *, columns: bool = False) -> Drawing:
    """Lay a graph out, first those nested in it. Only the outermost is set in columns."""
    inside = {number_of: drawn(box.inner) for number_of, box in enumerate(graph.boxes) if box.inner is not None}
    sizes = [_framed(box, inside[n].size) if n in inside else _size(box) for n, box in enumerate(graph.boxes)]
    layout = lay_out(sizes, [(line.source, line.target) for line in graph.lines])
    placed = in_columns(layout, sizes) if columns else None
    spots = _Spots(layout, sizes, placed)
    parts = [part for number_of, line in enumerate(graph.lines) for part in _line(spots, number_of, line.label)]
    for number_of, box in enumerate(graph.boxes):
        x, y = spots.corner(number_of)
        size = sizes[number_of]
        parts += _frame(box, x, y, size, inside[number_of]) if number_of in inside else _box(box, x, y, size, number_of in graph.outputs)
    return Drawing(layout.size if placed is None else placed.size, tuple(parts))


def _texts(box: Box) -> list[tuple[str, float, str]]:
    """The lines of a box: text, size, class."""
    again = f" (use {box.use} of {box.uses})" if box.uses > 1 else ""
    return [(one_line(box.name) + again, NAME, "fl-text"), (one_line(box.kind), SMALL, "fl-faint"), (box.shape, SMALL, "fl-faint")]


def _size(box: Box) -> Size:
    texts = [text for text in _texts(box) if text[0]]
    widest = max(width(text, size) for text, size, _ in texts)
    return Size(min(max(widest, LEAST_WIDTH), MOST_WIDTH) + 2 * PADDING + STRIPE, PADDING + 16.0 * len(texts) + 4)


def _framed(box: Box, inner: Size) -> Size:
    """The size of a nested model with its frame."""
    title = width(_frame_title(box), NAME)
    return Size(max(inner.width, min(title, MOST_WIDTH)) + 2 * MARGIN, inner.height + HEADER + MARGIN)


def _frame_title(box: Box) -> str:
    return f"{_texts(box)[0][0]}  ·  {one_line(box.kind)}  {box.shape}"


def _box(box: Box, x: float, y: float, size: Size, is_output: bool) -> Iterator[str]:
    colour = RUNS.get(box.runs, ("#7d8590", ""))[0]
    yield "<g>" + element("title", content=_tooltip(box))
    yield element("rect", "fl-box", x=x, y=y, width=size.width, height=size.height, rx=5, stroke_width=2.4 if is_output else 1.0)
    yield element("rect", x=x, y=y, width=STRIPE + 2, height=size.height, rx=2, fill=colour)
    room = size.width - 2 * PADDING - STRIPE + 1  # what rounding takes off
    for row, (text, font, kind) in enumerate(text for text in _texts(box) if text[0]):
        weight = {"font_weight": "bold"} if row == 0 else {}
        yield label(x + STRIPE + PADDING, y + PADDING + 9 + 16 * row, cut(text, font, room), font, kind, **weight)
    yield "</g>"


def _frame(box: Box, x: float, y: float, size: Size, inner: Drawing) -> Iterator[str]:
    yield element("rect", "fl-frame", x=x, y=y, width=size.width, height=size.height, rx=7)
    yield label(x + 12, y + 19, cut(_frame_title(box), NAME, size.width - 24), NAME, font_weight="bold")
    yield _moved(x + (size.width - inner.size.width) / 2, y + HEADER, inner.parts)


def _tooltip(box: Box) -> str:
    """What a pointer that rests on a box shows."""
    told = [box.path, box.kind, box.shape, f"{box.parameters:,} parameters", RUNS.get(box.runs, ("", ""))[1]]
    return escaped(", ".join(filter(None, told)))


class _Spots:
    """Where things are on the paper, columns considered."""

    def __init__(self, layout: Layout, sizes: Sequence[Size], columns: Columns | None):
        self.layout = layout
        self.sizes = sizes
        self.columns = columns
        leaving: dict[int, list[tuple[float, int]]] = {}
        entering: dict[int, list[tuple[float, int]]] = {}
        for number_of, route in enumerate(layout.routes):
            first = route.passing[0][0] if route.passing else layout.boxes[route.target][0]
            last = route.passing[-1][0] if route.passing else layout.boxes[route.source][0]
            leaving.setdefault(route.source, []).append((first, number_of))
            entering.setdefault(route.target, []).append((last, number_of))
        self._starts = self._ports(leaving)
        self._ends = self._ports(entering)

    def _ports(self, lines: Mapping[int, list[tuple[float, int]]]) -> dict[int, float]:
        """How far from the middle of its box each line meets it, in the order of where they come from."""
        found = {}
        for box, ends in lines.items():
            apart = min(16.0, (self.sizes[box].width - 24) / max(len(ends), 1))
            for place, (_, number_of) in enumerate(sorted(ends)):
                found[number_of] = (place - (len(ends) - 1) / 2) * apart
        return found

    def enters_left(self, number_of: int) -> bool:
        """Does a line end to the left of the middle of its box, others to the right of it?"""
        return self._ends[number_of] < 0

    def shift(self, rank: int) -> Point:
        """How far a layer is moved."""
        return (0.0, 0.0) if self.columns is None else self.columns.shifts[rank]

    def corner(self, box: int) -> Point:
        """The upper left corner of a box."""
        (x, y), (right, down) = self.layout.boxes[box], self.shift(self.layout.layers[box])
        return x - self.sizes[box].width / 2 + right, y + down

    def points(self, number_of: int) -> list[tuple[int, float, float, float]]:
        """The layer, x, top and bottom of all that a line meets on its way."""
        route = self.layout.routes[number_of]
        first, last = self.layout.layers[route.source], self.layout.layers[route.target]
        met = [(self.layout.boxes[route.source][0] + self._starts[number_of], *self._edges(route.source))]
        met += route.passing
        met.append((self.layout.boxes[route.target][0] + self._ends[number_of], *self._edges(route.target)))
        found = []
        for rank, (x, top, bottom) in zip(range(first, last + 1), met, strict=True):
            right, down = self.shift(rank)
            found.append((rank, x + right, top + down, bottom + down))
        return found

    def _edges(self, box: int) -> tuple[float, float]:
        top = self.layout.boxes[box][1]
        return top, top + self.sizes[box].height


def _line(spots: _Spots, number_of: int, text: str) -> Iterator[str]:
    """A line with its head and its label."""
    points = spots.points(number_of)
    path = [f"M{number(points[0][1])} {number(points[0][3])}"]
    for (rank, x, _, bottom), (below, to_x, top, to_bottom) in zip(points, points[1:], strict=False):
        last = below == points[-1][0]
        path += _bend(spots.columns, rank, below, bottom, to_x, top - (ARROW if last else 0), x)
        if not last:
            path.append(f"V{number(to_bottom)}")
    _, x, y, _ = points[-1]
    yield element("path", "fl-line", d="".join(path))
    yield element("path", "fl-head", d=f"M{number(x)} {number(y)}l-4 -{number(ARROW + 1)}h8z")
    if text:
        left = spots.enters_left(number_of)
        side = {"text_anchor": "end"} if left else {}
        yield label(x - 7 if left else x + 7, y - 5, cut(one_line(text), SMALL - 1, 110.0), SMALL - 1, "fl-label", **side)


def _bend(columns: Columns | None, rank: int, below: int, bottom: float, x: float, top: float, from_x: float) -> Iterator[str]:
    """From one layer to the next: a curve, or up again to the top of the next column."""
    if columns is not None and columns.columns[rank] != columns.columns[below]:
        column = columns.columns[rank]
        yield f"V{number(columns.bottoms[column] + BEND)}H{number(columns.rights[column] + GUTTER / 2)}V0H{number(x)}V{number(top)}"
    elif abs(from_x - x) < 0.5:
        yield f"V{number(top)}"
    else:
        half = (bottom + top) / 2
        yield f"V{number(bottom)}C{number(from_x)} {number(half)} {number(x)} {number(half)} {number(x)} {number(top)}"


def _moved(x: float, y: float, parts: Sequence[str]) -> str:
    return f'<g transform="translate({number(x)} {number(y)})">\n' + "\n".join(parts) + "\n</g>"


def _legend(graph: Graph, room: float) -> tuple[list[str], int]:
    """What the colours mean that are in the picture, in rows; and how many rows there are."""
    used = {box.runs for box in graph.everything()}
    parts, x, row = [], 0.0, 0
    for runs, (colour, words) in RUNS.items():
        if runs in used:
            wide = 16 + width(words, SMALL) + 14
            if x and x + wide > room:
                x, row = 0.0, row + 1
            parts.append(element("rect", x=x, y=20.0 * row, width=10, height=10, rx=2, fill=colour))
            parts.append(label(x + 16, 20.0 * row + 9, words, SMALL, "fl-faint"))
            x += wide
    return parts, row + 1
