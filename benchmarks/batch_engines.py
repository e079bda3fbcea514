"""Engines for tables: what a row costs in each, beside predict alone, and beside an empty function that is handed the same batches.

    python -m benchmarks.batch_engines [--rows 1000000] [--cores 1 2] [--engines polars spark] [--record]

Two models: an LSTM(32) on 20 timesteps of 8 features, a list of 160 floats in each row; and Embedding and LSTM(32) on lists of 20 ids. Each
engine reads a Parquet file and writes id and score to another, in a process of its own that may use so many cores and no more. It has
been started and warmed up before the clock runs. Results are compared with predict's, to the bit.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .batch_jobs import BATCH, ENGINES, Made, Nothing
from .processes import REPOSITORY, RESULTS, environment
from .report import machine, write

MODELS = {"floats": "x", "ids": "ids"}
WARM = 5_000
ALONE = "predict alone"
VOCABULARY, ROW_GROUP = 10_000, 50_000
PACKAGES = {"arrow": "pyarrow", "polars": "polars", "duckdb": "duckdb", "dask": "dask", "ray": "ray", "spark": "pyspark"}


class Figure(NamedTuple):
    """One engine on one model; seconds of the whole job."""

    model: str
    engine: str
    label: str
    cores: int
    rows: int
    wall: float
    cpu: float
    empty_wall: float  # the same batches handed to an empty function
    empty_cpu: float
    equal: bool


# -- files ----------------------------------------------------------------------------------------------------------------


def prepare(folder: Path, rows: int) -> None:
    """Models, tables, and what is expected of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import table_files

    import fastlstm

    table_files.floats(folder / "floats.h5")
    table_files.ids(folder / "ids.h5", VOCABULARY)
    rng = np.random.default_rng(0)
    for name, column in MODELS.items():
        model, expected = fastlstm.load(folder / f"{name}.h5", threads=os.cpu_count() or 1), []
        with pq.ParquetWriter(folder / f"{name}.parquet", schema(name), compression="none", use_dictionary=False) as out:
            for start in range(0, rows, ROW_GROUP):
                count = min(ROW_GROUP, rows - start)
                floats = name == "floats"
                x = rng.standard_normal((count, 20, 8), np.float32) if floats else rng.integers(0, VOCABULARY, (count, 20))
                expected.append(model.predict(x)[:, 0])
                columns = {"id": pa.array(np.arange(start, start + count)), column: lists(x).cast(schema(name).field(column).type)}
                out.write_table(pa.table(columns, schema(name)), row_group_size=ROW_GROUP)
        np.save(folder / f"{name}.npy", np.concatenate(expected))
        few = pq.ParquetFile(folder / f"{name}.parquet").iter_batches(WARM)
        pq.write_table(pa.Table.from_batches([next(few)]), folder / f"{name}_few.parquet", compression="none")


def schema(name: str) -> Any:
    """Of a table: floats in lists of a fixed size, ids in lists that might be of any."""
    import pyarrow as pa

    kind = pa.list_(pa.float32(), 160) if name == "floats" else pa.list_(pa.int64())
    return pa.schema([("id", pa.int64()), (MODELS[name], kind)])


def lists(x: np.ndarray) -> Any:
    """(rows, ...) as a column."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x[0].size)


def right(target: Path, folder: Path, name: str) -> bool:
    """Are the scores in a file, or in a folder of files, predict's to the bit?"""
    import table_files

    found, expected = table_files.scores(target), np.load(folder / f"{name}.npy")
    return bool(np.array_equal(found["id"], np.arange(len(expected))) and found["score"].tobytes() == expected.tobytes())


# -- clocks ---------------------------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Of this process and all below it, those that are gone too."""
    import psutil

    total, this = 0.0, psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


class Clock:
    """How long something takes: ``with clock: ...``"""

    wall = cpu = 0.0

    def __enter__(self) -> Clock:
        self.cpu, self.wall = cpu_seconds(), time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall, self.cpu = time.perf_counter() - self.wall, cpu_seconds() - self.cpu


# -- one measurement, in a process of its own -------------------------------------------------------------------------------


def measure(engine: str, name: str, cores: int, folder: Path) -> Figure:
    """Run the job with an empty function, then with the model."""
    from fastlstm.batch import Predictor

    label, start = ENGINES[engine]
    column, source, few = MODELS[name], folder / f"{name}.parquet", folder / f"{name}_few.parquet"
    clocks, equal = {}, False
    with tempfile.TemporaryDirectory(dir=folder) as scratch, start(cores) as job:
        for number, kind in enumerate((Nothing, Predictor)):
            made, target = Made(kind, str(folder / f"{name}.h5"), column), Path(scratch) / f"{number}.parquet"
            job(made, few, Path(scratch) / f"few_{number}.parquet")
            with Clock() as clock:
                job(made, source, target)
            clocks[kind] = clock
            equal = right(target, folder, name)
        rows = len(np.load(folder / f"{name}.npy", mmap_mode="r"))
    empty, full = clocks[Nothing], clocks[Predictor]
    return Figure(name, engine, label, cores, rows, full.wall, full.cpu, empty.wall, empty.cpu, equal)


def alone(name: str, cores: int, folder: Path) -> Figure:
    """predict on an array in memory."""
    import pyarrow.parquet as pq

    import fastlstm
    from fastlstm.batch import Predictor

    model = fastlstm.load(folder / f"{name}.h5", threads=cores)
    column = pq.read_table(folder / f"{name}.parquet", columns=[MODELS[name]])[MODELS[name]].combine_chunks()
    shape = (20, 8) if name == "floats" else (20,)
    x = column.flatten().to_numpy().reshape(-1, *shape)
    model.predict(x[:WARM])
    with Clock() as clock:
        y = model.predict(x)
    expected = np.load(folder / f"{name}.npy")
    equal = y[:, 0].tobytes() == expected.tobytes() == Predictor(folder / f"{name}.h5")(column).to_numpy().tobytes()
    return Figure(name, "alone", ALONE, cores, len(x), clock.wall, clock.cpu, 0.0, 0.0, equal)


def one(arguments: argparse.Namespace) -> int:
    """What the process of one measurement does."""
    engine, name, cores, folder = arguments.one
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    found = alone(name, int(cores), Path(folder)) if engine == "alone" else measure(engine, name, int(cores), Path(folder))
    print("\n" + json.dumps(found._asdict()))
    return 0


# -- all of them ------------------------------------------------------------------------------------------------------------


def figures(rows: int, cores: Sequence[int], engines: Sequence[str], rounds: int) -> Iterator[Figure]:
    """All measurements, in turns; of each the round with the least wall clock."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, rows)
        for count in cores:
            for model in MODELS:
                for engine in ("alone", *engines):
                    found = [figure for _ in range(rounds) if (figure := run(engine, model, count, folder)) is not None]
                    if found:
                        yield min(found, key=lambda figure: figure.wall)


def run(engine: str, model: str, cores: int, folder: Path) -> Figure | None:
    """One measurement in a process of its own; None where it fails, and says why."""
    paths = [str(REPOSITORY), str(REPOSITORY / "tests" / "helpers"), os.environ.get("PYTHONPATH", "")]
    told = {
        **environment(1), "PYTHONPATH": os.pathsep.join(filter(None, paths)), "POLARS_MAX_THREADS": str(cores),
        "PYSPARK_PYTHON": sys.executable,
    }  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.batch_engines", "--one", engine, model, str(cores), str(folder)]
    ran = subprocess.run(command, cwd=REPOSITORY, env=told, text=True, capture_output=True, check=False)
    for left in folder.glob("tmp*"):
        shutil.rmtree(left)
    if ran.returncode:
        print(f"{engine}, {model}: failed\n{ran.stderr[-2000:]}", file=sys.stderr)
        return None
    figure = Figure(**json.loads(ran.stdout.strip().splitlines()[-1]))
    print(f"{engine:8}{model:8}{cores} {figure.wall:8.2f} s {figure.empty_wall:8.2f} s  equal {figure.equal}", file=sys.stderr)
    return figure


def versions(engines: Iterable[str]) -> dict[str, str]:
    return {PACKAGES[engine]: version(PACKAGES[engine]) for engine in engines}


def markdown(found: Mapping[str, Any]) -> str:
    """A table for each number of cores and model."""
    results = [Figure(**one) for one in found["results"]]
    named = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    lines = [
        "Microseconds a row of wall clock, and in brackets of CPU of all processes together; "
        f"{results[0].rows:,} rows, batches of up to {BATCH:,}, "
        f"{found['machine']['processor']}; {named}. Engines are started and warmed up before; reading, handing over and writing "
        "count, and what an engine begins for each job, such as Ray's actors. Runs that are subtracted differ by chance too: a part may "
        "come out below zero.",
    ]
    models = {"floats": "LSTM(32) on lists of 160 floats", "ids": "Embedding and LSTM(32) on lists of 20 ids"}
    for cores in dict.fromkeys(one.cores for one in results):
        for model, title in models.items():
            chosen = [one for one in results if one.cores == cores and one.model == model]
            if not chosen:
                continue
            lines += [
                "", f"{title}, {cores} core{'s' if cores > 1 else ''}:", "",
                "| | the model | an empty function | the model's part | equal to the bit |", "|---|--:|--:|--:|---|",
            ]  # fmt: skip
            lines += [line(one) for one in chosen]
    return "\n".join(lines)


def line(one: Figure) -> str:
    """A row of the table."""

    def told(wall: float, cpu: float) -> str:
        return f"{wall / one.rows * 1e6:.1f} ({cpu / one.rows * 1e6:.1f})"

    equal = "yes" if one.equal else "no"
    if one.engine == "alone":
        return f"| {one.label} | {told(one.wall, one.cpu)} | | {told(one.wall, one.cpu)} | {equal} |"
    part = told(one.wall - one.empty_wall, one.cpu - one.empty_cpu)
    return f"| {one.label} | {told(one.wall, one.cpu)} | {told(one.empty_wall, one.empty_cpu)} | {part} | {equal} |"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), help="those that are installed, unless named")
    parser.add_argument("--rounds", type=int, default=1, metavar="N", help="the fastest one counts")
    parser.add_argument("--record", action="store_true", help="keep the figures in benchmarks/results")
    parser.add_argument("--one", nargs=4, metavar=("ENGINE", "MODEL", "CORES", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY / "tests" / "helpers"))
    if arguments.one:
        return one(arguments)
    engines = arguments.engines or [name for name in ENGINES if importlib.util.find_spec(PACKAGES[name])]
    results = [figure._asdict() for figure in figures(arguments.rows, arguments.cores, engines, arguments.rounds)]
    found = {"machine": machine(), "versions": versions(engines), "results": results}
    if arguments.record:
        write(RESULTS / "batch_engines.json", {name: value for name, value in found.items() if name != "results"}, results)
    print(markdown(found))
    return 0 if all(one["equal"] for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
