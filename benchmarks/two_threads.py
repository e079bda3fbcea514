"""What a second thread brings: each workload with ``threads=1`` and with ``threads=2``, side by side in one process.

    python -m benchmarks.two_threads [--workloads REGEX] [--threads 2] [--rounds 15] [--record]

Besides the workload's own numbers of rows those are measured with which a call takes about as long as sharing begins to pay. Each round
times calls one upon the other, and single calls after a rest, as a service meets them, when the other processor sleeps. A ratio is the
median over the rounds of one time by the other in the same round. Two models that load the same file with ``threads=1`` are compared as
well: so much do equal things differ on this machine at this time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .processes import RESULTS, prepare, script
from .report import machine, write
from .workload import Workload
from .workloads import WORKLOADS

#: Seconds that a model is timed for in a round, and that the machine rests before.
TURN, REST = 0.02, 0.01
#: So many calls at most of those that a round times.
CALLS = 200
#: Rounds before those that count: by then a model has tried how it is done sooner.
WARM_ROUNDS = 3
#: Seconds of one thread between which sharing begins to pay.
BETWEEN = (0.0005, 0.001, 0.0015, 0.0025, 0.004)
MOST_ROWS = 4096

#: Microseconds of calls that are summed up together.
CLASSES = (
    (0.0, 400.0, "below 0.4 ms"), (400.0, 1000.0, "0.4 to 1 ms"), (1000.0, 2000.0, "1 to 2 ms"), (2000.0, 4000.0, "2 to 4 ms"),
    (4000.0, float("inf"), "more"),
)  # fmt: skip

Call = Callable[[], Any]


def timed(call: Call, calls: int) -> float:
    """Seconds of a call: the mean of so many, one upon the other."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def compared(predictors: Sequence[Callable[[Any], Any]], inputs: Sequence[Any], rounds: int) -> dict[str, float]:
    """One thread, one thread again, several: microseconds of the first, and the ratios of the others to both."""

    def calling(predict: Callable[[Any], Any]) -> Call:
        following = itertools.cycle(inputs).__next__
        return lambda: predict(following())

    calls = [calling(predict) for predict in predictors]
    for call in calls:
        timed(call, 3)
    many = max(1, min(CALLS, int(TURN / timed(calls[0], 3))))
    busy, rested = [], []
    for number in range(rounds + WARM_ROUNDS):
        order = [(number + n) % 3 for n in range(3)]  # whoever comes first has no advantage
        for kept, count, rest in ((busy, many, 0.0), (rested, 1, REST)):
            times = {}
            for place in order:
                time.sleep(rest)
                times[place] = timed(calls[place], count)
            if number >= WARM_ROUNDS:
                kept.append(times)
    ratios = {
        name: statistics.median(2 * one[2] / (one[0] + one[1]) for one in kept) for name, kept in (("busy", busy), ("rested", rested))
    }
    return {
        "microseconds": 1e6 * statistics.median(one[0] for one in busy), **ratios,
        "noise": statistics.median(one[1] / one[0] for one in busy),
        "rested_noise": statistics.median(one[1] / one[0] for one in rested),
    }  # fmt: skip


def given(workload: Workload, batch: int) -> list[Any]:
    """Inputs as fastlstm takes them."""
    inputs = workload.inputs(batch)
    return [workload.ragged(x) for x in inputs] if workload.ragged else list(inputs)


def between(workload: Workload, predict: Callable[[Any], Any]) -> list[int]:
    """Numbers of rows that take about as long as begins to be worth sharing."""
    found, rows = [], 1
    for seconds in BETWEEN:
        while rows < MOST_ROWS:
            x = given(workload, rows)[0]
            taken = statistics.median(timed(lambda x=x: predict(x), 2) for _ in range(3))
            if taken >= seconds:
                found.append(rows)
                break
            rows = max(rows + 1, int(rows * min(2.0, seconds / taken)))
    return found


def measured(workload: Workload, batches: Sequence[int], arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures of a workload."""
    import fastlstm

    path = arguments.prepared / f"{workload.name}.h5"
    models = [fastlstm.load(path, threads=number) for number in (1, 1, arguments.threads)]
    predictors = [model.predict for model in models]
    for batch in sorted({*batches, *between(workload, predictors[0])}):
        yield {"workload": workload.name, "batch": batch, **compared(predictors, given(workload, batch), arguments.rounds)}


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """A row for each workload and number of rows."""
    titles = "one thread, µs", "several threads / one", "after a rest", "one thread / one", "after a rest"
    lines = [f"| workload | rows | {' | '.join(titles)} |", "|---|--:|--:|--:|--:|--:|--:|"]
    for one in results:
        ratios = " | ".join(f"{one[name]:.2f}" for name in ("busy", "rested", "noise", "rested_noise"))
        lines.append(f"| {one['workload']} | {one['batch']} | {one['microseconds']:,.1f} | {ratios} |")
    return "\n".join(lines)


def summary(results: Sequence[dict[str, Any]]) -> str:
    """A row for calls of about one length, with the least, the median and the most of their ratios."""
    lines = ["| one thread | calls | several threads / one | after a rest | one thread / one | after a rest |", "|---|--:|--:|--:|--:|--:|"]
    for least, most, told in CLASSES:
        some = [one for one in results if least <= one["microseconds"] < most]
        if some:
            sorted_ratios = (sorted(one[name] for one in some) for name in ("busy", "rested", "noise", "rested_noise"))
            told_ratios = " | ".join(f"{each[0]:.2f} {statistics.median(each):.2f} {each[-1]:.2f}" for each in sorted_ratios)
            lines.append(f"| {told} | {len(some)} | {told_ratios} |")
    return "\n".join(lines)


def here(arguments: argparse.Namespace) -> None:
    """Measure in this process, which has nothing else to do; a line of JSON for each figure."""
    for workload in WORKLOADS:
        batches = workload.chosen(arguments.workloads)
        for found in measured(workload, batches, arguments) if batches else ():
            print(json.dumps(found), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_threads", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", default="", metavar="REGEX", help="of name/rows")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--rounds", type=int, default=15, metavar="N")
    parser.add_argument("--prepared", type=Path, default=Path(__file__).parent / ".prepared", help="folder of the workloads' files")
    parser.add_argument("--record", action="store_true", help="keep the figures in benchmarks/results")
    parser.add_argument("--here", action="store_true", help="measure in this process: for this module itself")
    arguments = parser.parse_args()
    arguments.prepared = arguments.prepared.resolve()
    if arguments.here:
        here(arguments)
        return 0
    prepare(arguments.prepared, arguments.workloads)
    options = [f"--{name}={getattr(arguments, name)}" for name in ("workloads", "threads", "rounds", "prepared")]
    text = script("two_threads", *options, "--here", capture=True)
    if text is None:
        return 1
    results = [json.loads(line) for line in text.splitlines()]
    print(markdown(results), summary(results), sep="\n\n")
    if arguments.record:
        write(RESULTS / "two_threads.json", {"machine": machine(), "threads": arguments.threads}, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
