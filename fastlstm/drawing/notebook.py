"""A model as notebooks show it: a table of HTML that takes its colours from what surrounds it, light or dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..inputs import TensorInfo
from ..listing import LayerInfo
from .picture import RUNS
from .text import escaped, shape_text

#: So many layers are listed.
MOST_ROWS = 500
#: Lines and faint text of half the strength of the text around.
LINE = "1px solid rgba(128,128,128,.35)"
TABLE = "border-collapse:collapse;color:inherit;font-size:inherit"
CELL = "padding:.25em .9em .25em 0;border:0;background:none"
HEADINGS = ("Layer", "Class", "Output shape", "Parameters", "Runs")


def page(name: str, generation: str, parameters: int, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo],
         layers: Sequence[LayerInfo], computes: str) -> str:  # fmt: skip
    """The table of a model.

    Parameters
    ----------
    name
        The model's.
    generation
        The Keras that saved it.
    parameters
        How many there are.
    inputs, outputs, layers
        As ``Model`` has them.
    computes
        What the model computes with: precision, threads, kernels.
    """
    facts = [("saved by", escaped(generation)), ("computes", escaped(computes)), ("parameters", f"{parameters:,}")]
    facts += [(title, _tensors(infos)) for title, infos in (("input", inputs), ("output", outputs))]
    lines = [
        '<div style="overflow-x:auto">',
        f"<p><strong>fastlstm.Model</strong> <code>{escaped(name)}</code></p>",
        f'<table style="{TABLE};margin:0 0 .8em">{"".join(_fact(*fact) for fact in facts)}</table>',
        f'<table style="{TABLE}">',
        f"<thead><tr>{''.join(_cell('th', title, right=title == 'Parameters') for title in HEADINGS)}</tr></thead>",
        "<tbody>",
        *(_row(layer) for layer in layers[:MOST_ROWS]),
        "</tbody></table>",
    ]
    if len(layers) > MOST_ROWS:
        lines.append(f"<p>and {len(layers) - MOST_ROWS:,} more layers: <code>model.summary()</code> lists all of them</p>")
    return "\n".join([*lines, "</div>"])


def around(before: Sequence[str], name: str, after: Sequence[str]) -> str:
    """A pipeline: what is done before a model of a name, and after it."""
    facts = [("before", escaped(line)) for line in before]
    facts += [("model", f"<code>{escaped(name)}</code>"), *(("after", escaped(line)) for line in after)]
    table = "".join(_fact(*fact) for fact in facts)
    return f'<div style="overflow-x:auto"><p><strong>fastlstm.Pipeline</strong></p><table style="{TABLE}">{table}</table></div>'


def _tensors(infos: Sequence[TensorInfo]) -> str:
    return "<br>".join(_tensor(info) for info in infos)


def _tensor(info: TensorInfo) -> str:
    ids = "" if info.vocabulary is None else f", ids below {info.vocabulary:,}"
    return f"<code>{escaped(info.name)}</code> {escaped(shape_text(info.shape))} {escaped(info.dtype)}{ids}"


def _fact(title: str, text: str) -> str:
    return f'<tr style="background:none"><td style="{CELL};opacity:.7;vertical-align:top;text-align:left">{title}</td>' + (
        f'<td style="{CELL};text-align:left">{text}</td></tr>'
    )


def _cell(tag: str, text: str, *, right: bool = False) -> str:
    return f'<{tag} style="{CELL};border-bottom:{LINE};text-align:{"right" if right else "left"}">{text}</{tag}>'


def _row(layer: LayerInfo) -> str:
    return f'<tr style="background:none">{"".join(_cells(layer))}</tr>'


def _cells(layer: LayerInfo) -> Iterator[str]:
    colour = RUNS.get(layer.runs, ("#7d8590", ""))[0]
    yield _cell("td", f"<code>{escaped(layer.name)}</code>")
    yield _cell("td", escaped(layer.class_name))
    yield _cell("td", escaped(shape_text(layer.output_shape)))
    yield _cell("td", f"{layer.parameters:,}", right=True)
    yield _cell("td", f'<span style="color:{colour}">&#9632;</span> {escaped(layer.runs)}')
