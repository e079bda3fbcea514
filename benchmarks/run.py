"""Runs the suite with every engine in a process of its own, in turn, and puts the figures side by side.

python -m benchmarks [--quick] [--engines fastlstm,onnxruntime] [--workloads REGEX] [--threads N] [--json OUT] [--chart OUT]
python -m benchmarks --streams       one timestep at a time: latency, and throughput by number of threads
python -m benchmarks --roofline      how near fastlstm comes to the peaks of a core (needs fastlstm[jit])
python -m benchmarks --readme        writes docs/benchmarks.md, README's sentence, the chart and RESULTS.md from what --record kept

With --record the figures are kept in benchmarks/results.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import readme, roofline, streams
from .engines import ENGINES
from .processes import REPOSITORY, RESULTS, environment, prepare, script
from .report import Measurement, Refusal, chart, fastest_rounds, machine, markdown, measurements, write
from .stream_engines import STREAM_ENGINES
from .stream_engines import is_prepared as streams_are_prepared
from .workloads import RECURRENT, WORKLOADS

HERE = Path(__file__).resolve().parent

#: Each engine goes through all workloads so many times, in turn with the others; of each workload its fastest round counts.
ROUNDS = 4

#: Seconds before each turn where engines have several threads: those of the one before may still be looking for work.
PAUSE = 0.1


def prepare_streams(folder: Path) -> None:
    """The same for the streams."""
    if not streams_are_prepared(folder):
        script("stream_engines", folder)


class Started(NamedTuple):
    """An engine's process, which waits for its turns."""

    engine: str
    process: subprocess.Popen[str]
    go: int  # a byte written there lets it measure one workload
    over: int  # and one comes from there when it has
    figures: Path
    refused: Path
    text: Path


def start(engine: str, arguments: argparse.Namespace, folder: Path) -> Started:
    """The suite for one engine."""
    turn, go = os.pipe()
    over, done = os.pipe()
    figures, refused, text = (folder / f"{engine}{suffix}" for suffix in (".json", ".refused", ".txt"))
    seconds = (0.1 if arguments.quick else 0.7) / ROUNDS
    command = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks/suite.py",
        "-p",
        "no:cacheprovider",
        "-q",
        "-rs",
        "--benchmark-columns=median,iqr,rounds",
        f"--engines={engine}",
        f"--workloads={arguments.workloads}",
        f"--engine-threads={arguments.threads}",
        f"--prepared={arguments.prepared}",
        f"--turns={turn},{done}",
        f"--rounds={ROUNDS}",
        f"--refused={refused}",
        f"--benchmark-json={figures}",
        "--benchmark-warmup=off",
        "--benchmark-disable-gc",
        f"--benchmark-max-time={seconds}",
        "--benchmark-min-rounds=2",
    ]
    with text.open("w") as out:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment(arguments.threads),
            text=True,
            stdout=out,
            stderr=subprocess.STDOUT,
            pass_fds=(turn, done),
        )
    os.close(turn)
    os.close(done)
    return Started(engine, process, go, over, figures, refused, text)


def take_turns(started: list[Started], pause: float) -> None:
    """Let each measure a workload after the other, and then the next one, until all have ended.

    So the engines meet the same machine: what else happens on it comes and goes in minutes.
    """
    waiting = list(started)
    while waiting:
        for one in list(waiting):
            time.sleep(pause)
            with contextlib.suppress(BrokenPipeError):  # it has ended
                os.write(one.go, b".")
            if not os.read(one.over, 1):
                waiting.remove(one)


def collect(one: Started) -> tuple[list[Measurement], list[Refusal]]:
    """The figures of one engine, and what it cannot run; prints a line on how it went."""
    one.process.wait()
    lines = one.text.read_text().strip().splitlines()
    notable = [line for line in lines if line.startswith(("SKIPPED", "FAILED", "ERROR", "E  "))]
    print("\n".join([f"{one.engine}: {lines[-1] if lines else 'nothing said'}", *notable]), file=sys.stderr, flush=True)
    some = one.figures.exists() and one.figures.stat().st_size
    found = fastest_rounds(measurements(json.loads(one.figures.read_text()))) if some else []
    refusals = one.refused.read_text().splitlines() if one.refused.exists() else []
    return found, list(dict.fromkeys(Refusal(**json.loads(line)) for line in refusals))


def run_suite(arguments: argparse.Namespace) -> int:
    prepare(arguments.prepared, arguments.workloads)
    with tempfile.TemporaryDirectory() as folder:
        started = [start(engine, arguments, Path(folder)) for engine in arguments.engines.split(",")]
        take_turns(started, PAUSE if arguments.threads > 1 else 0.0)
        found = [collect(one) for one in started]
    results, refused = ([each for both in found for each in both[part]] for part in (0, 1))
    if not results:
        print("nothing was measured", file=sys.stderr)
        return 1
    on, kept = machine(), f"{arguments.threads}_thread{'s' if arguments.threads > 1 else ''}"
    if arguments.json:
        write_suite(arguments.json, on, arguments.threads, results, refused)
    if arguments.record:
        recurrent = {workload.name for workload in RECURRENT}
        for name, of_them in ((kept, True), (f"companions_{kept}", False)):
            measured, without = ([each for each in part if (each.workload in recurrent) == of_them] for part in (results, refused))
            if measured:
                write_suite(RESULTS / f"{name}.json", on, arguments.threads, measured, without)
    print(markdown(results, on, refused))
    if arguments.chart:
        chart(results, arguments.chart)
    return 0


def write_suite(path: Path, on: dict[str, str], threads: int, results: list[Measurement], refused: list[Refusal]) -> None:
    """Figures of the suite, and what is missing among them."""
    described = {"machine": on, "threads": threads, "refused": [each._asdict() for each in refused]}
    write(path, described, [result._asdict() for result in results])


def run_streams(arguments: argparse.Namespace) -> int:
    prepare_streams(arguments.prepared)
    results = []
    for engine in STREAM_ENGINES:
        text = script("streams", engine, arguments.prepared, "--scale", 0.02 if arguments.quick else 1.0, capture=True)
        print(f"{engine}: {'measured' if text else 'failed'}", file=sys.stderr, flush=True)
        if text:
            results.append(json.loads(text))
    for path in outputs(arguments, "streams"):
        write(path, {"machine": machine()}, results)
    print(streams.markdown(results))
    return 0


def run_roofline(arguments: argparse.Namespace) -> int:
    prepare(arguments.prepared, arguments.workloads)
    seconds = 0.2 if arguments.quick else 2.0
    text = script("roofline", arguments.prepared, "--workloads", arguments.workloads, "--seconds", seconds, capture=True)
    if text is None:
        return 1
    found = json.loads(text)
    for path in outputs(arguments, "roofline"):
        write(path, {"machine": machine(), "peaks": found["peaks"], "activations": found["activations"]}, found["workloads"])
    print(roofline.markdown(found))
    return 0


def outputs(arguments: argparse.Namespace, name: str) -> Sequence[Path]:
    """Where the figures are written."""
    kept = [RESULTS / f"{name}.json"] if arguments.record else []
    return [*kept, *([arguments.json] if arguments.json else [])]


def parsed() -> argparse.Namespace:
    """The arguments, refused where they name nothing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--streams", action="store_true", help="measure streams")
    mode.add_argument("--roofline", action="store_true", help="compare fastlstm with the peaks of a core")
    mode.add_argument("--readme", action="store_true", help="write docs/benchmarks.md, README's sentence, chart.svg and RESULTS.md")
    parser.add_argument("--quick", action="store_true", help="a seventh of the time for each figure")
    parser.add_argument("--engines", default=",".join(ENGINES), help="comma separated, of " + ", ".join(ENGINES))
    parser.add_argument("--workloads", default="", metavar="REGEX", help="of " + ", ".join(workload.name for workload in WORKLOADS))
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of every engine (default 1)")
    parser.add_argument("--prepared", type=Path, default=HERE / ".prepared", help="folder for the engines' files")
    parser.add_argument("--record", action="store_true", help="keep the figures in benchmarks/results")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write all figures there")
    parser.add_argument("--chart", type=Path, metavar="OUT", help="draw the chart there (.png or .svg; needs matplotlib)")
    arguments = parser.parse_args()
    arguments.prepared = arguments.prepared.resolve()
    for engine in arguments.engines.split(","):
        if engine not in ENGINES:
            parser.error(f"--engines: expected some of {', '.join(ENGINES)}, found {engine!r}")
    try:
        chosen = re.compile(arguments.workloads)
    except re.error as error:
        parser.error(f"--workloads: expected a regular expression, found {arguments.workloads!r} ({error})")
    names = [f"{workload.name}/{batch}" for workload in WORKLOADS for batch in workload.batches]
    if not any(map(chosen.search, names)):
        parser.error(f"--workloads: expected something that is found in {', '.join(names)}; found {arguments.workloads!r}")
    return arguments


def main() -> int:
    arguments = parsed()
    if arguments.readme:
        return readme.update(RESULTS)
    return run_streams(arguments) if arguments.streams else run_roofline(arguments) if arguments.roofline else run_suite(arguments)


if __name__ == "__main__":
    sys.exit(main())
