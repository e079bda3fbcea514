"""The scratch of calls: one pool for each Model, within a bound, whatever its Programs, threads and streams, and whatever fails."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from unittest.mock import patch

import h5_files
import numpy as np
import pytest
from sweeping import swept

import fastlstm
from fastlstm import runtime
from fastlstm.program.ir import Buffer, BufferInfo, Instruction, Program
from fastlstm.runtime.team import Team


def doubling(fixed_bytes: int, work: int = 1 << 40) -> Program:
    """Adds an input to itself, through scratch with so many bytes besides. Not briefly, unless it is little work."""
    buffers = (BufferInfo("input", 20), BufferInfo("scratch", 20, fixed_bytes), BufferInfo("output", 20))
    copied = {"steps": 1, "width": 5, "x": Buffer(0), "x_row": 5, "x_step": 0, "y": Buffer(1), "y_row": 5, "y_step": 0}
    added = {"size": 5, "a": Buffer(0), "b": Buffer(1), "y": Buffer(2), "op": 0, "scale": 1.0}
    return Program((Instruction("place", copied), Instruction("merge", added)), buffers, (), ((5,),), 6, work=work)


def run(runner: runtime.Runner) -> None:
    x = np.arange(50, dtype=np.float32).reshape(10, 5)
    y = np.zeros_like(x)
    runner.run([x], [y], [])
    np.testing.assert_array_equal(y, 2 * x)


def fast_path(runner: runtime.Runner) -> None:
    x = np.arange(50, dtype=np.float32).reshape(10, 5)
    np.testing.assert_array_equal(runtime.FastPath(runner, (5,), (5,))(x), 2 * x)


@pytest.mark.parametrize("work", [1, 1 << 40])
@pytest.mark.parametrize("call", [run, fast_path])
def test_programs_take_turns(work: int, call: object) -> None:
    """The largest arena serves all; a smaller one goes when a larger one is needed."""
    arenas = runtime.Arenas()
    small, large = (runtime.Runner(doubling(size, work), arenas=arenas) for size in (1000, 100_000))
    for runner, size in ((small, small.arena_size), (large, large.arena_size), (small, large.arena_size), (large, large.arena_size)):
        call(runner)
        assert arenas.idle_bytes == size


def test_the_bound_holds() -> None:
    """The arena used last is kept whatever its size."""
    seen: list[int] = []
    arenas = runtime.Arenas(1_000_000)
    runners = [runtime.Runner(doubling(size), arenas=arenas) for size in (300_000, 400_000, 600_000, 2_000_000)]
    look = Instruction("numpy", {"x": Buffer(0)}, lambda rows, arrays: nested())
    within = runtime.Runner(Program((look,), (BufferInfo("input", 20), BufferInfo("scratch", 20, 300_000)), (), (), 60), arenas=arenas)

    def nested() -> None:
        run(runners[len(seen)])
        seen.append(arenas.idle_bytes)
        if len(seen) < len(runners):
            within.run([np.zeros((1, 5), np.float32)], [], [])

    within.run([np.zeros((1, 5), np.float32)], [], [])
    assert len(seen) == 4
    assert seen[-1] == runners[-1].arena_size
    assert arenas.idle_bytes <= arenas.limit
    run(runners[-1])
    assert arenas.idle_bytes == runners[-1].arena_size > arenas.limit
    run(runners[0])
    assert arenas.idle_bytes == runners[-1].arena_size


@pytest.mark.parametrize("call", [run, fast_path])
def test_no_memory(call: object) -> None:
    arenas = runtime.Arenas()
    runner, huge = (runtime.Runner(doubling(size), arenas=arenas) for size in (1000, 1 << 50))
    for _ in range(100):
        call(runner)
        with pytest.raises(MemoryError, match=r"no memory for 1,125,899,906,8\d\d,\d\d\d bytes of scratch"):
            call(huge)
        assert arenas.idle_bytes == 0
    call(runner)
    assert arenas.idle_bytes == runner.arena_size


def test_no_memory_leaves_the_guard_free() -> None:
    guard = runtime.Guard()
    huge = runtime.FastPath(runtime.Runner(doubling(1 << 50)), (5,), (5,), rows=2, guard=guard)
    for _ in range(3):
        with pytest.raises(MemoryError):
            huge(np.zeros((2, 5), np.float32))
        with guard:
            pass


def test_errors_give_it_back() -> None:
    def fail(rows: int, arrays: dict[int, np.ndarray]) -> None:
        raise ZeroDivisionError

    arenas = runtime.Arenas()
    buffers = (BufferInfo("input", 20), BufferInfo("scratch", 20, 5000))
    program = Program((Instruction("numpy", {"a": Buffer(0), "b": Buffer(1)}, fail),), buffers, (), (), 6)
    runner = runtime.Runner(program, arenas=arenas)
    for _ in range(10):
        with pytest.raises(ZeroDivisionError):
            runner.run([np.zeros((2, 5), np.float32)], [], [])
        assert arenas.idle_bytes == runner.arena_size


def test_a_team_that_breaks_up_keeps_none(tmp_path: Path) -> None:
    """The memory that its members might still look at goes to nobody else, and is freed with them."""
    path = h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("LSTM", 40, 8, np.random.default_rng(0))], (None, 8))
    with patch("fastlstm.layers.cells.DIVIDED_WEIGHTS", 1):
        model = fastlstm.load(path, threads=2)
        runner, _ = model.executor.prepared(((6, 8),))
    x, y = np.ones((2, 6, 8), np.float32), np.empty((2, 40), np.float32)
    for _ in range(3):
        team = Team(runner, [x], [y], [], 2)
        team.stop()
        team.work(0), team.work(1)
        del team
        assert model.executor.arenas.idle_bytes == 0
    model.predict(x)
    assert model.executor.arenas.idle_bytes >= runner.arena_size


def test_streams_share(tmp_path: Path) -> None:
    """Thousands of them have the scratch of one, also where several threads step them in turn."""
    layers = [h5_files.recurrent("LSTM", 16, 3, np.random.default_rng(0))]
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", layers, (None, 3)))
    streams = [model.stream() for _ in range(2000)]
    x = np.random.default_rng(1).normal(size=(4, 1, 3)).astype(np.float32)
    alone = model.stream()
    expected = [alone.step(x_t) for x_t in x]
    wrong: list[int] = []

    def work(number: int) -> None:
        for x_t, y in zip(x, expected):
            wrong.extend(n for n in range(number, len(streams), 3) if streams[n].step(x_t).tobytes() != y.tobytes())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert (
        0 < model.executor.arenas.idle_bytes <= 3 * model.executor.prepared_step(model.executor.streams({}), {}, [(1, 3)]).runner.arena_size
    )


MANY = """
import sys, threading
import numpy as np, fastlstm

def resident():
    return int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0]) >> 10

model = fastlstm.load(sys.argv[1])
lengths, threads = int(sys.argv[2]), 8
x = np.random.default_rng(0).normal(size=(60, lengths, 2)).astype(np.float32)
model.predict(np.ascontiguousarray(x[:, :lengths]))
before, most = resident(), 0
barrier = threading.Barrier(threads)

def work(number):
    global most
    barrier.wait()
    for n in range(lengths):
        length = 1 + (n * 37 + number * 11) % lengths
        model.predict(np.ascontiguousarray(x[:, :length]))
        most = max(most, model.executor.arenas.idle_bytes)

started = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
for thread in started: thread.start()
for thread in started: thread.join()
print(before, resident(), most, model.executor.arenas.limit)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("lengths", swept([200, 1000], lambda lengths: lengths == 200))
def test_many_lengths_and_threads(tmp_path: Path, lengths: int) -> None:
    """Hundreds of lengths in eight threads: as much memory afterwards as with a few, but for the bound."""
    layers = [h5_files.recurrent("LSTM", 16, 2, np.random.default_rng(0), return_sequences=True)]
    path = h5_files.save(tmp_path / "model.h5", layers, (None, 2))
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(path), str(lengths)], capture_output=True, text=True, check=True, timeout=600,
    )  # fmt: skip
    before, after, most, limit = map(int, done.stdout.split())
    assert most <= limit
    assert after - before < 3 * (limit >> 20)
