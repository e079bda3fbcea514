"""One LSTM in each precision that this machine has, beside float32, call by call in turn.

python -m benchmarks.precision          prints the table of docs/precision.md

A figure says how many times as fast as float32 a call is: the median of float32's times over the median of the other's. Of a stream it is
the call for one timestep.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

import fastlstm

from .report import machine

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
import h5_files

UNITS, ROWS = (128, 256, 512, 1024), (1, 4, 16, 64)
FEATURES, STEPS = 64, 20
#: Multiply-adds of all rounds of a figure, but no fewer rounds, and no more.
WORK, LEAST, MOST = 2e10, 15, 300


def main() -> None:
    """What the command line asks for."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = [line for units in UNITS for line in table_of(Path(folder) / f"{units}.h5", units)]
    print(f"One thread, {STEPS} timesteps of {FEATURES} features; {machine()['processor']}.\n")
    print("| | precision_used | stream | " + " | ".join(f"{rows} row{'s' if rows > 1 else ''}" for rows in ROWS) + " |")
    print("|---|---|--:|" + "--:|" * len(ROWS))
    print("\n".join(found))


def table_of(path: Path, units: int) -> list[str]:
    """The lines of an LSTM of so many units: one for each precision that is not float32 here."""
    rng = np.random.default_rng(units)
    h5_files.save(path, [h5_files.recurrent("LSTM", units, FEATURES, rng, return_sequences=True)], (None, FEATURES))
    plain = fastlstm.load(path)
    lines = []
    for precision in ("bfloat16", "bfloat16x3"):
        model = fastlstm.load(path, precision=precision)
        if model.precision_used == plain.precision_used:
            continue
        work = STEPS * 4 * units * (units + FEATURES)
        both = [one.stream() for one in (plain, model)]
        ratios = [ratio([one.step for one in both], rng.normal(size=(1, FEATURES)).astype(np.float32), work // STEPS)]
        for rows in ROWS:
            x = rng.normal(size=(rows, STEPS, FEATURES)).astype(np.float32)
            ratios.append(ratio([one.predict for one in (plain, model)], x, rows * work))
        lines.append(f"| LSTM({units}) | {model.precision_used} | " + " | ".join(f"{one:.2f}" for one in ratios) + " |")
    return lines


def ratio(calls: Sequence[Callable[[np.ndarray], object]], x: np.ndarray, work: int) -> float:
    """How many times as fast the second one is; of so many multiply-adds."""
    rounds = int(min(MOST, max(LEAST, WORK / work)))
    times: list[list[float]] = [[], []]
    for turn in range(rounds + 3):
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call(x)
            if turn >= 3:
                taken.append(time.perf_counter() - start)
    return statistics.median(times[0]) / statistics.median(times[1])


if __name__ == "__main__":
    main()
