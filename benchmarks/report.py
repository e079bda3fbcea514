"""Figures of all engines side by side: a table in Markdown, and a chart."""

from __future__ import annotations

import io
import json
import math
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .files import write_bytes, write_text

OURS = "fastlstm"
MANY_ROWS = 16


class Measurement(NamedTuple):
    """One engine on one workload."""

    workload: str
    batch: int
    engine: str
    label: str
    median: float  # seconds
    iqr: float  # seconds
    rounds: int
    threads: int
    versions: dict[str, str]
    float32: bool  # counts where the best peer is named


class Refusal(NamedTuple):
    """An engine that does not run a workload."""

    workload: str
    batch: int
    engine: str
    label: str
    reason: str


def measurements(found: dict[str, Any]) -> list[Measurement]:
    """A figure of pytest-benchmark, without what is of no interest here."""
    results = []
    for entry in found["benchmarks"]:
        info, stats = entry["extra_info"], entry["stats"]
        results.append(
            Measurement(
                workload=info["workload"],
                batch=info["batch"],
                engine=info["engine"],
                label=info["label"],
                median=stats["median"],
                iqr=stats["iqr"],
                rounds=stats["rounds"],
                threads=info["threads"],
                versions=info["versions"],
                float32=info["float32"],
            )
        )
    return results


def fastest_rounds(results: Iterable[Measurement]) -> list[Measurement]:
    """Of each engine and workload the round with the least median: in the others something else took part of the machine."""
    fastest: dict[tuple[str, int, str], Measurement] = {}
    for result in results:
        key = result.workload, result.batch, result.engine
        fastest[key] = min(fastest.get(key, result), result, key=lambda each: each.median)
    return list(fastest.values())


def machine() -> dict[str, str]:
    """The processor, and what ran on it."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return {"processor": model, "system": platform.system(), "python": platform.python_version()}


def by_workload(results: Iterable[Measurement]) -> dict[tuple[str, int], dict[str, Measurement]]:
    """(workload, batch) -> engine -> figure, in the order measured."""
    rows: dict[tuple[str, int], dict[str, Measurement]] = {}
    for result in results:
        rows.setdefault((result.workload, result.batch), {})[result.engine] = result
    return rows


def ratio(row: dict[str, Measurement]) -> float | None:
    """The best float32 peer's time over ours; None where either is missing."""
    peers = [result.median for engine, result in row.items() if engine != OURS and result.float32]
    return min(peers) / row[OURS].median if peers and OURS in row else None


def geometric_mean(values: list[float]) -> float:
    return math.exp(float(np.mean(np.log(values)))) if values else math.nan


def microseconds(seconds: float) -> str:
    value = seconds * 1e6
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def geometric_means(results: list[Measurement]) -> tuple[float, float]:
    """Of best peer / fastlstm, for one row and for many."""
    ratios = {key: times for key, row in by_workload(results).items() if (times := ratio(row)) is not None}
    single = [times for (_, batch), times in ratios.items() if batch == 1]
    many = [times for (_, batch), times in ratios.items() if batch >= MANY_ROWS]
    return geometric_mean(single), geometric_mean(many)


def write(path: Path, described: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Figures as JSON, a result a line."""
    head = json.dumps(described)[1:-1]
    write_text(path, "{" + head + ', "results": [\n' + ",\n".join(json.dumps(result) for result in results) + "\n]}\n")


def markdown(results: list[Measurement], on: dict[str, str], refused: Iterable[Refusal] = ()) -> str:
    """The table: medians in microseconds, and how many times as fast as the best peer fastlstm is."""
    rows = by_workload(results)
    labels = {result.engine: result.label for result in results}
    lines = [
        "| workload | batch | " + " | ".join(labels.values()) + " | best peer / fastlstm |",
        "|---|--:|" + "--:|" * (len(labels) + 1),
    ]
    for (workload, batch), row in rows.items():
        cells = [microseconds(row[engine].median) if engine in row else "" for engine in labels]
        times = ratio(row)
        lines.append(f"| {workload} | {batch} | " + " | ".join(cells) + f" | {'' if times is None else format(times, '.2f')} |")
    threads = results[0].threads
    versions = {name: number for result in results for name, number in result.versions.items()}
    lines += [
        "",
        f"Medians in microseconds, {threads} thread{'s' if threads > 1 else ''}, {on['processor']}; "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + ".",
    ]
    means = zip(geometric_means(results), ("one row", f"{MANY_ROWS} rows and more"), strict=True)
    said = ", ".join(f"{mean:.2f} for {rows}" for mean, rows in means if not math.isnan(mean))
    if said:
        lines.append(f"Geometric mean of best peer / fastlstm: {said}.")
    said_missing = missing(refused)
    if said_missing:
        lines += ["", "Blank are:", "", *said_missing]
    return "\n".join(lines)


def missing(refused: Iterable[Refusal]) -> list[str]:
    """Why cells of the table are blank: a line for each engine and reason."""
    names: dict[tuple[str, str], dict[str, None]] = {}
    for one in refused:
        names.setdefault((one.label, one.reason), {})[one.workload] = None
    return [f"- {label}, {', '.join(workloads)}: {reason}" for (label, reason), workloads in names.items()]


def chart(results: list[Measurement], out: Path) -> None:
    """Draw every engine's time as a multiple of fastlstm's."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "fastlstm"  # the same figures draw the same file
    import matplotlib.pyplot as plt

    rows = {key: row for key, row in by_workload(results).items() if OURS in row}
    labels = {result.engine: result.label for result in results if result.engine != OURS}
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.3 * len(rows)), layout="constrained")
    heights = range(len(rows), 0, -1)
    for number, (engine, label) in enumerate(labels.items()):
        there = [(row, height) for row, height in zip(rows.values(), heights, strict=True) if engine in row]
        points = [(row[engine].median / row[OURS].median, height) for row, height in there]
        if points:
            axes.scatter(*zip(*points, strict=True), label=label, s=36, color=f"C{number + 1}", zorder=3)
    axes.axvline(1.0, color="C0", linewidth=2, label="fastlstm")
    axes.set_xscale("log")
    axes.set_yticks(list(heights), [f"{workload}, batch {batch}" for workload, batch in rows])
    axes.set_ylim(0.3, len(rows) + 0.7)
    axes.set_xlabel(f"time, as a multiple of fastlstm's ({results[0].threads} thread{'s' if results[0].threads > 1 else ''}, logarithmic)")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=6, frameon=False, columnspacing=1.2)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=out.suffix.lstrip("."), dpi=150, metadata={"Date": None} if out.suffix == ".svg" else None)
    write_bytes(out, drawn.getvalue())
    plt.close(figure)
