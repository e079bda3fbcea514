"""A model's graph as boxes and the lines between them, free of weights: what pictures and reports are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..catalogue import INPUT_LAYER
from ..errors import InputError
from ..listing import LayerInfo
from ..spec import Call, LayerSpec, ModelSpec, Ref, found_in
from .text import shape_text

#: A picture of more boxes, or of more lines, helps nobody, and takes long to lay out.
MOST_BOXES, MOST_LINES = 2000, 8000
#: What stands for a box of a layer that is not listed: one whose function stands in place of a whole model.
NOTHING = LayerInfo("", "", None, 0, "")


@dataclass(frozen=True)
class Box:
    """One use of a layer."""

    path: str  # "encoder/lstm"
    name: str  # "lstm", its name among its siblings
    kind: str  # its class, and those that it wraps: "Bidirectional(LSTM)"
    shape: str  # of its output, for people
    parameters: int
    runs: str  # as LayerInfo has it; "input" where data enter
    use: int  # 1 for the first
    uses: int  # how many there are
    inner: Graph | None = None  # the graph of a nested model, at its first use


@dataclass(frozen=True)
class Line:
    """What one box gives another."""

    source: int
    target: int
    label: str = ""  # the call argument that it is, or which output; empty for a first output that is a plain input


@dataclass(frozen=True)
class Graph:
    """The boxes of a model in the order in which they are computed, and the lines between them."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    outputs: tuple[int, ...]  # the boxes that make the outputs

    def everything(self) -> Iterator[Box]:
        """The boxes, and those inside them."""
        for box in self.boxes:
            yield box
            if box.inner is not None:
                yield from box.inner.everything()


def graph_of(model: ModelSpec, layers: Sequence[LayerInfo]) -> Graph:
    """The graph of a model.

    Parameters
    ----------
    model
        The graph as the file has it, without what no output needs.
    layers
        What is known about its layers, nested ones too.

    Raises
    ------
    InputError
        If it has more layers or connections than can be shown.
    """
    return _Drawer({layer.name: layer for layer in layers}).graph(model, "")


class _Drawer:
    """Draws a model's graph and those nested in it; counts what it draws, as nested models may be used any number of times."""

    def __init__(self, layers: Mapping[str, LayerInfo]):
        self.layers = layers
        self.boxes = self.lines = 0

    def graph(self, model: ModelSpec, prefix: str) -> Graph:
        """The graph of a model whose layers' paths begin with ``prefix``."""
        uses = Counter(call.layer for call in model.calls)
        seen: Counter[int] = Counter()
        boxes, lines = [], []
        for number, call in enumerate(model.calls):
            seen[call.layer] += 1
            given = labels(call)
            self._count(len(given))
            boxes.append(self._box(model.layers[call.layer], prefix, seen[call.layer], uses[call.layer]))
            lines += [Line(source, number, label) for source, label in given.items()]
        return Graph(tuple(boxes), tuple(lines), tuple(dict.fromkeys(ref.call for ref in model.outputs)))

    def _count(self, lines: int) -> None:
        self.boxes, self.lines = self.boxes + 1, self.lines + lines
        if self.boxes > MOST_BOXES or self.lines > MOST_LINES:
            raise InputError(
                f"plot: expected a model of up to {MOST_BOXES:,} layers and {MOST_LINES:,} connections, found more; "
                "load a part of it, with inputs= and outputs="
            )

    def _box(self, layer: LayerSpec, prefix: str, use: int, uses: int) -> Box:
        path = prefix + layer.name
        info = self.layers.get(path, NOTHING)
        known = path in self.layers
        inner = self.graph(layer.model, f"{path}/") if layer.model is not None and use == 1 and self._is_open(layer, path) else None
        runs = "input" if layer.class_name == INPUT_LAYER else info.runs
        return Box(
            path, layer.name, kind_of(layer), shape_text(info.output_shape) if known else "", info.parameters, runs, use, uses, inner
        )

    def _is_open(self, layer: LayerSpec, path: str) -> bool:
        """Does what stands inside a model run by itself? Not where one function of the caller's stands for all of it."""
        assert layer.model is not None
        return any(f"{path}/{inner.name}" in self.layers for inner in layer.model.layers)


def kind_of(layer: LayerSpec) -> str:
    """A class with the classes that it wraps: "TimeDistributed(Dense)"."""
    inside = dict.fromkeys(kind_of(child) for child in layer.children)
    return f"{layer.class_name}({', '.join(inside)})" if inside else layer.class_name


def labels(call: Call) -> dict[int, str]:
    """By the calls whose outputs a call is given: what they are to it. Several from one call make one line."""
    found: dict[int, dict[str, None]] = {}
    for ref in found_in(call.inputs, Ref):
        found.setdefault(ref.call, {})[f"output {ref.output + 1}" if ref.output else ""] = None
    for word, value in call.keywords.items():
        for ref in found_in(value, Ref):
            found.setdefault(ref.call, {})[word.replace("_", " ")] = None
    return {source: ", ".join(filter(None, words)) for source, words in found.items()}
