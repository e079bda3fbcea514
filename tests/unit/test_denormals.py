"""Numbers below the normal range of float32: 0 to kernels, as to TensorFlow, which keeps dying states fast; nothing to anybody else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5_files
import numpy as np
import pytest

import fastlstm
from fastlstm import runtime
from fastlstm.program.ir import Buffer, BufferInfo, Instruction, Program

TINY = np.float32(1e-41)


def are_kept() -> bool:
    """Does this thread compute with such numbers?"""
    return bool((np.full(64, TINY) + TINY).any()) and bool((np.full(64, 1e-20, np.float32) * np.float32(1e-20)).any())


def linear(folder: Path, units: int = 64, **options: object) -> fastlstm.Model:
    """A SimpleRNN whose state is the sum of all that it was given, times 0.999 for every step."""
    layer = h5_files.recurrent("SimpleRNN", units, 4, np.random.default_rng(0), activation="linear", use_bias=False, **options)
    weights = [np.ones((4, units), np.float32), np.eye(units, dtype=np.float32) * np.float32(0.999)]
    return fastlstm.load(h5_files.save(folder / "model.h5", [layer._replace(weights=weights)], (None, 4)))


def fastest(work: Callable[[], object]) -> float:
    times = []
    for _ in range(7):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def test_they_cost_nothing(tmp_path: Path) -> None:
    """Where a CPU computes with them, they take 20 times as long."""
    model = linear(tmp_path)
    usual, tiny = (np.full((32, 300, 4), value, np.float32) for value in (1.0, TINY))
    assert not model.predict(tiny).any()
    assert fastest(lambda: model.predict(tiny)) < 4 * fastest(lambda: model.predict(usual))


@pytest.mark.parametrize("threads", [1, 3])
def test_whoever_calls_keeps_them(tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In brief calls and long ones, short ways and long ones, with workers, and where something fails."""
    monkeypatch.setattr("fastlstm.layers.cells.DIVIDED_WEIGHTS", 1)
    monkeypatch.setattr("fastlstm.runtime.threads.SHARED_NANOSECONDS", 0)
    linear(tmp_path)
    model = fastlstm.load(tmp_path / "model.h5", threads=threads)
    for rows, steps in ((1, 1), (1, 3000), (2, 9), (40, 50)):
        x = np.full((rows, steps, 4), TINY)
        stream = model.stream(rows)
        for work, given in ((model.predict, x), (model.predict, x), (stream.feed, x), (stream.step, x[:, 0])):
            assert not work(given).any()
            assert are_kept()
    with pytest.raises(fastlstm.InputError):
        model.predict(np.zeros((1, 2, 5)))
    assert are_kept()


@pytest.mark.parametrize("rows", [1, 4000])
def test_python_in_between_keeps_them(rows: int) -> None:
    """A layer in NumPy, and what it raises."""
    seen = []

    def look(rows: int, arrays: dict[int, np.ndarray]) -> None:
        seen.append(are_kept())
        if len(seen) % 2 == 0:
            raise ZeroDivisionError

    buffers = (BufferInfo("input", 20), BufferInfo("scratch", 20), BufferInfo("output", 20))
    added = {"size": 5, "a": Buffer(0), "b": Buffer(0), "y": Buffer(1), "op": 0, "scale": 1.0}
    again = {**added, "a": Buffer(1), "b": Buffer(1), "y": Buffer(2)}
    instructions = (Instruction("merge", added), Instruction("numpy", {"a": Buffer(1)}, look), Instruction("merge", again))
    runner = runtime.Runner(Program(instructions, buffers, (), ((5,),), 6000, work=100))
    x, y = np.full((rows, 5), TINY), np.ones((rows, 5), np.float32)
    runner.run([x], [y], [])
    assert not y.any()
    assert are_kept()
    with pytest.raises(ZeroDivisionError):
        runner.run([x], [y], [])
    assert seen == [True, True]
    assert are_kept()


MASKED = np.array([[0, 0], [1e-41, 0], [-1e-41, 1e-45], [1.1e-38, -1.1e-38], [1.2e-38, 0], [1, 1], [np.nan, 0]], np.float32)


@pytest.mark.parametrize("mask_value", [0.0, 1e-41, -1.1e-38, 1.0])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_masking(tmp_path: Path, mask_value: float, precision: str) -> None:
    """Steps of tiny numbers are masked as steps of zeros are: in kernels, and in what a layer means."""
    counting = h5_files.recurrent("SimpleRNN", 1, 2, np.random.default_rng(0), activation="linear", return_sequences=True)
    counting = counting._replace(weights=[np.zeros((2, 1), np.float32), np.ones((1, 1), np.float32), np.ones(1, np.float32)])
    path = h5_files.save(tmp_path / "model.h5", [h5_files.masking(mask_value), counting], (None, 2))
    there = [False] * 4 + [True] * 3 if mask_value < 0.5 else [True] * 5 + [False, True]
    x = np.where(np.isnan(MASKED), np.float32(2), MASKED)  # NaN would be in the state from there on
    y = fastlstm.load(path, precision=precision).predict(x[np.newaxis])
    np.testing.assert_array_equal(y[0, :, 0], np.cumsum(there))


SIGNALS = """
import json, signal, sys
import numpy as np, fastlstm
model = fastlstm.load(sys.argv[1])
seen, tiny = [], np.full(64, 1e-41, np.float32)
signal.signal(signal.SIGALRM, lambda *_: seen.append(bool((tiny + tiny).any())))
signal.setitimer(signal.ITIMER_REAL, 0.3, 0.1)
x = np.zeros((6, 20_000, 4), np.float32)
while len(seen) < 5:
    model.predict(x)
signal.setitimer(signal.ITIMER_REAL, 0)
json.dump(seen, sys.stdout)
"""


@pytest.mark.slow
def test_signal_handlers_keep_them(tmp_path: Path) -> None:
    linear(tmp_path, 200)
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS, str(tmp_path / "model.h5")], capture_output=True, text=True, check=True, timeout=300
    )
    seen = json.loads(done.stdout)
    assert len(seen) >= 5
    assert all(seen)
