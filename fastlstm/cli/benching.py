"""The command ``bench``: a user's own model in fastlstm and beside other engines."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator
from typing import Any

from .. import replacing
from ..bench.comparison import ENGINES, Bench, Measurement, compare
from ..drawing import bars, saving
from ..drawing.bars import Bar
from ..listing import one_line
from . import options, outcome, progress, terminal

#: Characters that the longest bar of a terminal takes, at most.
WIDEST = 48
OURS = "fastlstm"


def run(arguments: argparse.Namespace) -> int:
    """The command."""
    target = None if arguments.plot is None else saving.checked_picture(arguments.plot, arguments.file, arguments.onnx, name="--plot")
    with options.told_as_options(), progress.shown(f"loading {one_line(arguments.file)}", outcome.bar_of(arguments)):
        bench = compare(
            arguments.file, vs=arguments.vs, rows=arguments.rows, timesteps=arguments.timesteps, threads=arguments.threads,
            onnx=arguments.onnx, precision=arguments.precision, reading=options.reading(arguments),
        )  # fmt: skip
    if target is not None:
        title = os.path.basename(arguments.file)
        groups = [(f"{rows} row{'s' if rows > 1 else ''}", group) for rows, group in _groups(bench)]
        saving.keep(bars.chart(f"{title}: time of a call", _caption(bench), groups), target)
        if replacing.is_standard_output(target):  # which is the picture then
            return 0
    outcome.give(arguments, _as_json(bench), _as_text(bench))
    return 0


def engines(text: str) -> tuple[str, ...]:
    """Names of engines, separated by commas."""
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in found:
        if name not in ENGINES:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(ENGINES)}, found {name!r}")
    return found


def _as_json(bench: Bench) -> dict[str, Any]:
    return {
        "file": bench.model,
        "generation": bench.generation,
        "threads": bench.threads,
        "inputs": bench.shapes,
        "results": [
            {"engine": one.engine, "rows": one.rows, "difference": one.difference, "seconds": one.timing.median,
             "lowest_seconds": one.timing.lowest, "highest_seconds": one.timing.highest, "calls": one.timing.calls}
            for one in bench.measurements
        ],
        "notes": bench.notes,
        "refused": [dataclasses.asdict(one) for one in bench.refusals],
    }  # fmt: skip


def _groups(bench: Bench) -> list[tuple[int, list[Bar]]]:
    found = []
    for rows, measured in bench.by_rows().items():
        ours = measured[0].timing.median
        found.append((rows, [_bar(one, ours) for one in sorted(measured, key=lambda one: one.timing.median)]))
    return found


def _bar(one: Measurement, ours: float) -> Bar:
    is_ours = one.engine.startswith(OURS)
    times = one.timing.median / ours
    ratio = "" if is_ours else f" ({times:,.0f}x)" if times >= 10 else f" ({times:.1f}x)"
    return Bar(one.engine, one.timing.median, f"{duration(one.timing.median)}{ratio}", is_ours)


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _caption(bench: Bench) -> str:
    """What was measured."""
    shapes = ", ".join(
        f"{name} ({', '.join('rows' if size is None else str(size) for size in shape)})" for name, shape in bench.shapes.items()
    )
    threads = f"{bench.threads} thread{'s' if bench.threads > 1 else ''}"
    scale = "; bars are logarithmic" if bars.is_logarithmic([group for _, group in _groups(bench)]) else ""
    return f"{shapes}; {threads}; median of a call{scale}"


def _as_text(bench: Bench) -> Iterator[str]:
    yield one_line(f"{bench.model}: {bench.generation}")
    yield one_line(_caption(bench))
    groups = _groups(bench)
    parts = bars.lengths([group for _, group in groups])
    names = max((len(bar.name) for _, group in groups for bar in group), default=0)
    room = max(8, min(WIDEST, shutil.get_terminal_size().columns - names - 24))
    for (rows, group), shares in zip(groups, parts, strict=True):
        yield ""
        yield terminal.coloured(f"{rows} row{'s' if rows > 1 else ''}", "bold")
        for bar, (name, drawn, text) in zip(group, bars.lines(group, shares, room, ascii_only=_is_ascii()), strict=True):
            yield f"  {name:<{names}}  {terminal.coloured(drawn, 'blue' if bar.ours else 'faint')} {text}"
    worst = max((one.difference for one in bench.measurements), default=0.0)
    if len({one.engine for one in bench.measurements}) > 1:
        yield from ("", f"largest difference of any engine's numbers from fastlstm's: {worst:.1e}")
    if bench.refusals or bench.notes:
        yield from ("", *bench.notes)
        yield from (one_line(f"{one.engine}: {one.reason}") for one in bench.refusals)


def _is_ascii() -> bool:
    """Can standard output show no blocks?"""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        (bars.FULL + bars.EIGHTHS).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return True
    return False
