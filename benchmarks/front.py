"""The chart of the front page: six models that people know, and how much longer the engines that people use take than fastlstm."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .files import write_bytes
from .report import OURS, Measurement


class Row(NamedTuple):
    """A model of the benchmarks, in words."""

    workload: str
    batch: int
    title: str


ROWS = (
    Row("imdb_lstm64", 1, "sentiment of one review, LSTM(64)"),
    Row("imdb_lstm64", 32, "sentiment of 32 reviews, LSTM(64)"),
    Row("big512x2_T100", 1, "two large layers, LSTM(512)"),
    Row("companion_activity", 1, "activity from sensors, Conv1D + LSTM"),
    Row("companion_attention", 1, "bidirectional LSTM + MultiHeadAttention"),
    Row("companion_crnn", 1, "text in an image, Conv2D + bidirectional LSTM"),
)
#: Engine, name in the chart, colour, shape: colours of one brightness that read on white and on black.
PEERS = (
    ("keras_on_batch", "Keras", "#d62728", "o"),
    ("onnxruntime", "ONNX Runtime", "#1f77b4", "s"),
    ("openvino", "OpenVINO", "#9467bd", "D"),
    ("litert", "LiteRT", "#e68a00", "^"),
    ("pytorch", "PyTorch", "#8c6d5a", "v"),
)
GREY, GREEN = "#808080", "#2ca02c"


#: By workload and number of rows: each engine's figure.
Measured = Mapping[tuple[str, int], Mapping[str, Measurement]]


def times(measured: Measured, row: Row, engine: str) -> float | None:
    """How many times as long as fastlstm an engine takes."""
    them = measured[row.workload, row.batch]
    return them[engine].median / them[OURS].median if engine in them else None


def draw(measured: Measured, out: Path) -> None:
    """Draw the chart as an SVG file: without a background, so that it goes with dark pages too."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "fastlstm"  # the same figures draw the same file
    import matplotlib.pyplot as plt

    rows = [row for row in ROWS if OURS in measured.get((row.workload, row.batch), {})]
    with mpl.rc_context({"text.color": GREY, "axes.labelcolor": GREY, "xtick.color": GREY, "ytick.color": GREY, "font.size": 10}):
        figure, axes = plt.subplots(figsize=(8.4, 1.3 + 0.36 * len(rows)), layout="constrained")
        slowest = scatter(axes, measured, rows)
        axes.axvline(1.0, color=GREEN, linewidth=3, label="fastlstm")
        axes.set_xscale("log")
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500) if tick <= slowest]
        axes.set_xticks(ticks, [f"{tick}×" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlim(0.85, 1.25 * slowest)
        axes.set_yticks(range(len(rows), 0, -1), [row.title for row in rows])
        axes.tick_params(axis="both", length=0)
        axes.set_ylim(0.4, len(rows) + 0.6)
        axes.set_xlabel("time for one call, fastlstm = 1×        slower →")
        axes.grid(axis="x", color=GREY, alpha=0.25)
        for spine in axes.spines.values():
            spine.set_visible(False)
        figure.legend(loc="outside upper center", ncols=len(PEERS) + 1, frameon=False, columnspacing=1.2, handletextpad=0.3)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None}, transparent=True)
        plt.close(figure)
    write_bytes(out, drawn.getvalue())


def scatter(axes: Any, measured: Measured, rows: Sequence[Row]) -> float:
    """A point for each engine on each row; how far the last one lies."""
    slowest = 1.0
    for engine, label, colour, shape in PEERS:
        found = [(times(measured, row, engine), height) for row, height in zip(rows, range(len(rows), 0, -1), strict=True)]
        points = [(ratio, height) for ratio, height in found if ratio is not None]
        if points:
            axes.scatter(*zip(*points, strict=True), label=label, s=46, color=colour, marker=shape, alpha=0.9, zorder=3)
            slowest = max(slowest, *(ratio for ratio, _ in points))
    return slowest
