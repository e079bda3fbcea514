"""Writes docs/benchmarks.md's figures, README's sentence, the charts, and RESULTS.md with everything, from what ``results`` holds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from . import batch_engines, cold, front, roofline, sentences, serve_load, streams, two_threads
from .files import write_text
from .report import (
    MANY_ROWS,
    OURS,
    Measurement,
    Refusal,
    by_workload,
    chart,
    geometric_mean,
    geometric_means,
    markdown,
    microseconds,
    ratio,
)
from .workloads import COMPANIONS

HERE = Path(__file__).resolve().parent
#: Files of figures, in the order of RESULTS.md.
SUITES = {
    "1_thread": "One thread",
    "2_threads": "Two threads",
    "companions_1_thread": "Companions of recurrent layers, one thread",
    "companions_2_threads": "Companions of recurrent layers, two threads",
    "avx2_1_thread": "Without AVX-512, one thread",
    "avx2_2_threads": "Without AVX-512, two threads",
}
#: Files of figures of docs/benchmarks.md beside those: what stands above each table, and what makes it.
MORE: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("streams", "Streams, one step of some rows:", partial(streams.markdown, threads=False)),
    (
        "sentences",
        "From raw sentences to answers, the model of TensorFlow's tutorial; {words} words in the mean, medians of {rounds} rounds, one "
        "thread:",
        sentences.markdown,
    ),
    (
        "two_threads",
        "{threads} threads beside one, by how long a call takes on one: calls upon each other, and single ones after 10 ms of rest; of "
        "each ratio the least, the median and the most. Two models on one thread each show how far equal things differ in that run:",
        two_threads.summary,
    ),
    (
        "cold",
        "From the start of a process to its first prediction, and its memory then; medians of {rounds} rounds, in which all take turns:",
        cold.markdown,
    ),
)
README, PAGE = HERE.parent / "README.md", HERE.parent / "docs" / "benchmarks.md"
ENGINES_PAGE, SERVICE_PAGE = (HERE.parent / "docs" / "tutorials" / f"{name}.md" for name in ("engines", "service"))


def read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.exists() else None


def suite(found: dict[str, Any] | None) -> list[Measurement]:
    return [Measurement(**result) for result in found["results"]] if found else []


def best(row: dict[str, Measurement]) -> Measurement | None:
    """The fastest float32 peer."""
    peers = [result for engine, result in row.items() if engine != OURS and result.float32]
    return min(peers, key=lambda result: result.median) if peers else None


def compact(one: list[Measurement], two: list[Measurement]) -> str:
    """fastlstm and the best of the others, on one thread, and how the ratio is on two."""
    on_two = by_workload(two)
    lines = [
        "| workload | rows | fastlstm µs | best of the others µs | which | times as fast |" + (" on two threads |" if two else ""),
        "|---|--:|--:|--:|---|--:|" + ("--:|" if two else ""),
    ]
    for (workload, batch), row in by_workload(one).items():
        peer, times = best(row), ratio(row)
        if peer is None or times is None:
            continue
        line = f"| {workload} | {batch} | {microseconds(row[OURS].median)} | {microseconds(peer.median)} | {peer.label} | {times:.1f} |"
        if two:
            with_two = ratio(on_two.get((workload, batch), {}))
            line += f" {'' if with_two is None else format(with_two, '.1f')} |"
        lines.append(line)
    return "\n".join(lines)


def sentence(found: dict[str, Any]) -> str:
    """README's part."""
    rows = by_workload(suite(found))
    keras = geometric_mean([
        row["keras_on_batch"].median / row[OURS].median for (_, batch), row in rows.items() if batch == 1 and "keras_on_batch" in row
    ])  # fmt: skip
    single, many = geometric_means(suite(found))
    return (
        f"One thread of {found['machine']['processor']}; each point is the median of many calls. Over all benchmarks of recurrent "
        f"networks, fastlstm computes a single row {keras:.0f} times as fast as Keras's `predict_on_batch` and {single:.1f} times as fast "
        f"as the best of the other engines; {MANY_ROWS} rows and more, {many:.1f} times as fast as that one."
    )


def part(found: dict[str, Any], results: Path) -> str:
    """docs/benchmarks.md's part."""
    one, two = suite(found), suite(read(results / "2_threads.json"))
    single, many = geometric_means(one)
    labels = list(dict.fromkeys(result.label for result in one if result.engine != OURS))
    lines = [
        f"One thread, {found['machine']['processor']}, the median of the fastest of four rounds, in which the engines take turns; "
        "each is checked against Keras before it is timed. "
        f"The others are {', '.join(labels[:-1])} and {labels[-1]}; the best of those that compute in float32 stands beside fastlstm. "
        f"In the geometric mean fastlstm is {single:.1f} times as fast as that one for one row, {many:.1f} times for "
        f"{MANY_ROWS} rows and more.",
        "",
        "![Time of each engine as a multiple of fastlstm's](../benchmarks/chart.svg)",
        "",
        compact(one, two),
    ]
    lines += [*companions(results), *without_avx512(results)]
    for name, told, table in MORE:
        figures = read(results / f"{name}.json")
        if figures:
            lines += ["", told.format_map(figures), "", table(figures["results"])]
    lines += ["", "All figures: [benchmarks/RESULTS.md](../benchmarks/RESULTS.md)."]
    return "\n".join(lines)


def companions(results: Path) -> list[str]:
    """The part on what stands around recurrent layers: what the models are, and how fast."""
    one, two = (suite(read(results / f"companions_{threads}.json")) for threads in ("1_thread", "2_threads"))
    if not one:
        return []
    measured = {result.workload for result in one}
    what = [f"- {workload.name}: {workload.what}" for workload in COMPANIONS if workload.name in measured]
    return ["", "Convolutions, attention and normalisation around recurrent layers:", "", compact(one, two), "", *what]


def without_avx512(results: Path) -> list[str]:
    """The part on a machine whose vectors are half as wide: how all figures come out there."""
    found, two = read(results / "avx2_1_thread.json"), suite(read(results / "avx2_2_threads.json"))
    if not found:
        return []
    one = suite(found)
    single, many = geometric_means(one)
    means = f"{single:.1f} times as fast for one row, {many:.1f} times for {MANY_ROWS} rows and more"
    if two:
        single, many = geometric_means(two)
        means += f"; on two threads {single:.1f} and {many:.1f}"
    told = f"On {found['machine']['processor']}, with AVX2 and no AVX-512 (measured for a seventh of the time), in the geometric mean"
    return ["", f"{told} {means}:", "", compact(one, two)]


def everything(results: Path) -> str:
    """RESULTS.md."""
    lines = ["# Benchmark results", "", "Written by `python -m benchmarks --readme`."]
    for name, title in SUITES.items():
        found = read(results / f"{name}.json")
        if found:
            refused = [Refusal(**each) for each in found.get("refused", [])]
            lines += ["", f"## {title}", "", markdown(suite(found), found["machine"], refused)]
    found = read(results / "streams.json")
    if found:
        lines += ["", "## Streams", "", streams.markdown(found["results"])]
    found = read(results / "roofline.json")
    if found:
        lines += ["", "## Roofline", "", roofline.markdown({**found, "workloads": found["results"]})]
    found = read(results / "sentences.json")
    if found:
        lines += ["", "## Sentences", "", sentences.markdown(found["results"])]
    found = read(results / "two_threads.json")
    if found:
        lines += ["", "## Several threads beside one", "", two_threads.markdown(found["results"])]
    found = read(results / "cold.json")
    if found:
        lines += ["", "## Cold start", "", cold.markdown(found["results"])]
    for name, title in (("footprint", "Footprint"), ("memory", "Memory"), ("soak", "Soak")):
        path = results / f"{name}.md"
        if path.exists():
            lines += ["", f"## {title}", "", path.read_text().strip()]
    return "\n".join(lines) + "\n"


def between_markers(page: Path, marker: str, new: str) -> None:
    """Write what stands between the comments ``<!-- MARKER -->`` and ``<!-- /MARKER -->`` of a page."""
    text, start, end = page.read_text(encoding="utf-8"), f"<!-- {marker} -->", f"<!-- /{marker} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise SystemExit(f"{page}: expected the markers {start} and {end} once each")
    before, rest = text.split(start)
    write_text(page, f"{before}{start}\n{new}\n{end}{rest.split(end)[1]}")


def update(results: Path) -> int:
    """Write everything."""
    found = read(results / "1_thread.json")
    if found is None:
        print(f"{results}: lacks 1_thread.json, which python -m benchmarks --record makes", file=sys.stderr)
        return 1
    between_markers(PAGE, "benchmarks", part(found, results))
    between_markers(README, "speed", sentence(found))
    tables = read(results / "batch_engines.json")
    if tables:
        between_markers(ENGINES_PAGE, "engines", "\n" + batch_engines.markdown(tables) + "\n")
    load = read(results / "serve_load.json")
    if load:
        between_markers(SERVICE_PAGE, "load", "\n" + serve_load.markdown(load) + "\n")
    chart(suite(found), HERE / "chart.svg")
    front.draw(by_workload([*suite(found), *suite(read(results / "companions_1_thread.json"))]), HERE / "front.svg")
    write_text(HERE / "RESULTS.md", everything(results))
    return 0
