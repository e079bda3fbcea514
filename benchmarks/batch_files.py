"""``fastlstm predict`` over a Parquet file: time beside predict alone, peak memory, stopped in the middle and gone on with.

python -m benchmarks.batch_files --rows 1e6
python -m benchmarks.batch_files --rows 1e7 --folder /somewhere/with/room
python -m benchmarks.batch_files --keys 1e6        # a row per step: keys of 1 to 200 steps
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .processes import REPOSITORY, environment

STEPS, FEATURES, UNITS = 20, 8, 32
MOST_STEPS = 200
BLOCK = 50_000
#: Seconds between looks at the memory.
PAUSE = 0.05


class Ran(NamedTuple):
    """A command."""

    seconds: float
    cpu: float
    megabytes: float  # the most that its processes have had, shared pages counted once
    code: int


def model_file(folder: Path, steps: int | None, features: int) -> Path:
    """LSTM(32), Dense(1)."""
    sys.path.insert(0, str(REPOSITORY / "tests/helpers"))
    import h5_files

    rng = np.random.default_rng(0)
    layers = [h5_files.recurrent("LSTM", UNITS, features, rng), h5_files.dense(1, UNITS, rng)]
    return h5_files.save(folder / "model.h5", layers, (steps, features))


def rows_file(path: Path, rows: int, group: int) -> None:
    """``id`` and ``x``, lists of 160 floats, in row groups of so many rows."""
    import pyarrow as pa
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    schema = pa.schema([("id", pa.int64()), ("x", pa.list_(pa.float32(), STEPS * FEATURES))])
    with parquet.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for first in range(0, rows, group):
            count = min(group, rows - first)
            x = pa.array(rng.standard_normal(count * STEPS * FEATURES, dtype=np.float32))
            lists = pa.FixedSizeListArray.from_arrays(x, STEPS * FEATURES)
            writer.write_table(pa.table({"id": np.arange(first, first + count), "x": lists}, schema=schema), row_group_size=group)


def steps_file(path: Path, keys: int) -> int:
    """``key``, ``t`` and eight features a step; gives how many steps there are."""
    import pyarrow as pa
    from pyarrow import parquet

    rng, writer, total = np.random.default_rng(0), None, 0
    for first in range(0, keys, 10_000):
        lengths = rng.integers(1, MOST_STEPS + 1, min(10_000, keys - first))
        count = int(lengths.sum())
        columns = {
            "key": np.repeat(np.arange(first, first + len(lengths)), lengths),
            "t": np.concatenate([np.arange(one) for one in lengths]),
        }
        columns |= {f"a{n}": rng.standard_normal(count, dtype=np.float32) for n in range(FEATURES)}
        found = pa.table(columns)
        writer = writer or parquet.ParquetWriter(path, found.schema)
        writer.write_table(found)
        total += count
    assert writer is not None
    writer.close()
    return total


def tree(process: int) -> Iterator[int]:
    """A process and all that it has started."""
    yield process
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from tree(int(child))


def megabytes(process: int) -> float:
    """What a process and its children have of memory, proportionally where they share it."""
    total = 0
    for one in tree(process):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return total / 1024


def run(arguments: list[object], stop: Callable[[], bool] | None = None) -> Ran:
    """``fastlstm predict``; killed as soon as ``stop`` says so."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "fastlstm", "predict", *map(str, arguments)]
    env = {**environment(1), "PYTHONPATH": str(REPOSITORY)}
    going = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, start_new_session=True)
    most = 0.0
    while going.poll() is None:
        most = max(most, megabytes(going.pid))
        if stop is not None and stop():
            os.killpg(going.pid, signal.SIGKILL)
        time.sleep(PAUSE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(time.perf_counter() - start, cpu, most, going.returncode)


def alone(model: Path, path: Path) -> float:
    """Microseconds of CPU of a row of predict, given arrays."""
    import pyarrow.parquet as parquet

    import fastlstm

    batch = next(parquet.ParquetFile(path).iter_batches(BLOCK, columns=["x"]))
    x = batch["x"].flatten().to_numpy().reshape(-1, STEPS, FEATURES)
    loaded = fastlstm.load(model)
    loaded.predict(x)
    times = []
    for _ in range(5):
        start = time.process_time()
        loaded.predict(x)
        times.append(time.process_time() - start)
    return sorted(times)[2] / len(x) * 1e6


def line(what: str, ran: Ran, rows: int) -> None:
    """Of the table."""
    print(f"| {what} | {ran.seconds:.1f} | {ran.seconds / rows * 1e6:.2f} | {ran.cpu / rows * 1e6:.2f} | {ran.megabytes:.0f} |", flush=True)


def heading(what: str) -> None:
    """Of the table."""
    print(f"\n{what}\n\n| | seconds | µs a row | CPU µs a row | peak MB |\n|---|--:|--:|--:|--:|", flush=True)


def measure_rows(folder: Path, rows: int, group: int, processes: list[int]) -> None:
    """A sequence a row."""
    import pyarrow.parquet as parquet

    model, source, target = model_file(folder, STEPS, FEATURES), folder / "in.parquet", folder / "out.parquet"
    rows_file(source, rows, group)
    print(f"predict alone: {alone(model, source):.2f} CPU µs a row")
    heading(f"{rows:,} rows of {STEPS * FEATURES} floats, row groups of {group:,}, LSTM({UNITS})")
    arguments = [model, source, "-o", target, "--columns", "x"]
    for count in reversed(processes):
        ran = run([*arguments, *(["--processes", count] if count > 1 else [])])
        assert ran.code == 0
        line(f"{count} process{'es' * (count > 1)}", ran, rows)
    whole = parquet.read_table(target)
    target.unlink()
    notes = Path(f"{target}.parts/job.json")
    start = time.monotonic()
    killed = run(arguments, lambda: notes.exists() and time.monotonic() - start > ran.seconds / 2)
    if killed.code == 0:
        print("too few rows to be stopped in the middle: a job is kept in parts from ten seconds on")
        return
    line("killed", killed, rows)
    assert not target.exists()
    line("gone on with", run(arguments), rows)
    assert parquet.read_table(target).equals(whole)
    assert not notes.parent.exists()


def measure_keys(folder: Path, keys: int) -> None:
    """A row a step."""
    import pyarrow.parquet as parquet

    model, source, target = model_file(folder, None, FEATURES), folder / "in.parquet", folder / "out.parquet"
    steps = steps_file(source, keys)
    heading(f"{keys:,} keys of 1 to {MOST_STEPS} steps, {steps:,} rows of {FEATURES} columns, LSTM({UNITS})")
    columns = ",".join(f"a{n}" for n in range(FEATURES))
    ran = run([model, source, "-o", target, "--columns", columns, "--key", "key", "--order", "t"])
    assert ran.code == 0
    line("1 process", ran, steps)
    assert parquet.read_metadata(target).num_rows == keys


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--group", type=float, default=5e4, help="rows of a row group")
    parser.add_argument("--keys", type=float, help="a row per step, of so many keys")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--folder", type=Path, help="where the files go, which are deleted at the end (default: the system's)")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        if given.keys:
            measure_keys(folder, int(given.keys))
        else:
            measure_rows(folder, int(given.rows), int(given.group), given.processes)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
