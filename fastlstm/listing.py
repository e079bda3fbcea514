"""The layers of a model as ``summary``, ``describe`` and the command line list them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .layers.base import Layer, every_layer
from .layers.network import Network
from .program.ir import Program
from .spec import LayerSpec, ModelSpec, Shape

#: How a layer runs for which the caller has given a function.
YOUR_FUNCTION = "your function"


@dataclass(frozen=True)
class LayerInfo:
    """One layer of a model."""

    name: str
    class_name: str
    output_shape: Shape | tuple[Shape, ...] | None  # None where it could not be found out
    parameters: int
    runs: str  # "native", "NumPy", "your function", "folded", "no work", "unsupported"; "" where that is not known


def layer_infos(network: Network, program: Program | None) -> tuple[LayerInfo, ...]:
    """The layers in the file's order; ``program`` tells how each runs, None that all of them run in NumPy."""
    kernels: dict[str, set[str]] = {}
    joined: set[str] = set()
    in_numpy: set[str] = set()
    for instruction in program.instructions if program else ():
        kernels.setdefault(instruction.layer, set()).add(instruction.kernel)
        joined.update(instruction.joined)
        if instruction.function is not None:
            in_numpy.add(instruction.layer)

    def runs(layer: Layer) -> str:
        paths = [one.path for one in (layer, *every_layer(layer))]
        if not isinstance(layer, Network) and not layer.context.custom_layers.keys().isdisjoint(paths):
            return YOUR_FUNCTION
        if program is None:
            return "NumPy"
        if not in_numpy.isdisjoint(paths):
            return "NumPy"
        inside = {kernel for path in paths for kernel in kernels.get(path, ())}
        if f"{layer.path}:embeddings" in program.names or inside - {"mask_ids"}:  # a next layer may read its rows where they lie
            return "native"
        return "folded" if layer.spec.weights or not joined.isdisjoint(paths) else "no work"

    shapes = network.layer_shapes()
    return tuple(
        LayerInfo(layer.path, layer.spec.class_name, shapes.get(layer.path), layer.count_params(), runs(layer))
        for layer in network.listed()
    )


def outline(model: ModelSpec) -> ModelSpec:
    """A model's graph without its weights."""
    return replace(model, layers=tuple(map(_outlined, model.layers)))


def _outlined(layer: LayerSpec) -> LayerSpec:
    inner = None if layer.model is None else outline(layer.model)
    return replace(layer, weights=(), children=tuple(map(_outlined, layer.children)), model=inner)


def one_line(text: str) -> str:
    """A text without what would move the cursor of a terminal, turn its direction, or be no character of XML."""
    return "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode("ascii") for mark in text)


def table(layers: Sequence[LayerInfo]) -> Iterator[str]:
    """The lines of Keras's summary, with a column that tells how each layer runs."""
    rows = [("Layer (type)", "Output Shape", "Param #", "Runs")]
    for layer in layers:
        shape = "?" if layer.output_shape is None else str(layer.output_shape)
        rows.append((one_line(f"{layer.name} ({layer.class_name})"), shape, f"{layer.parameters:,}", layer.runs))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for number, row in enumerate(rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if number == 0:
            yield "-" * (sum(widths) + 6)
