"""Models and files of rows for the tests of jobs: a table, in files of each kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5_files
import numpy as np

STEPS, FEATURES = 5, 3
SIZE = STEPS * FEATURES


def model_file(folder: Path, units: int = 2, **options: Any) -> Path:
    """LSTM on (5, 3), Dense; inputs "lstm_1_input", output "dense_2"."""
    rng = np.random.default_rng(0)
    layers = [h5_files.recurrent("LSTM", 4, FEATURES, rng, **options), h5_files.dense(units, 4, rng)]
    return h5_files.save(folder / "model.h5", layers, (STEPS, FEATURES))


def open_model_file(folder: Path) -> Path:
    """The same for any number of steps, with one output."""
    rng = np.random.default_rng(0)
    layers = [h5_files.recurrent("LSTM", 4, FEATURES, rng), h5_files.dense(1, 4, rng)]
    return h5_files.save(folder / "open.h5", layers, (None, FEATURES))


def rows(count: int, seed: int = 1) -> np.ndarray:
    """(count, 5, 3), float32."""
    return np.random.default_rng(seed).normal(size=(count, STEPS, FEATURES)).astype(np.float32)


def table(x: np.ndarray) -> Any:
    """``id``, ``name`` and ``x`` (lists of 15) of Arrow."""
    import pyarrow as pa

    lists = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), SIZE)
    return pa.table({"id": np.arange(len(x)), "name": [f"row, {n}" for n in range(len(x))], "x": lists})


def wide(x: np.ndarray) -> Any:
    """``id`` and a column for each number, ``a0`` to ``a14``."""
    import pyarrow as pa

    flat = x.reshape(len(x), SIZE)
    return pa.table({"id": np.arange(len(x)), **{f"a{n}": flat[:, n] for n in range(SIZE)}})


WIDE = ",".join(f"a{n}" for n in range(SIZE))


def write(path: Path, found: Any, groups: int | None = None) -> Path:
    """A table in a file, of the kind that its ending says; in row groups, record batches of so many rows."""
    import pyarrow as pa
    from pyarrow import csv, feather, parquet

    ending = path.suffix
    if ending == ".parquet":
        parquet.write_table(found, path, row_group_size=groups)
    elif ending == ".feather":
        feather.write_feather(found, path)
    elif ending in (".arrow", ".arrows"):
        make = pa.ipc.new_file if ending == ".arrow" else pa.ipc.new_stream
        with make(path, found.schema) as writer:
            writer.write_table(found, max_chunksize=groups)
    elif ending == ".csv":
        csv.write_csv(found, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in found.to_pylist()))
    return path


def read(path: Path) -> Any:
    """The table of a file."""
    import pyarrow as pa
    from pyarrow import csv, feather, parquet
    from pyarrow import json as arrow_json

    if path.suffix == ".parquet":
        return parquet.read_table(path)
    if path.suffix in (".feather", ".arrow"):
        return feather.read_table(path)
    if path.suffix == ".arrows":
        return pa.ipc.open_stream(path.read_bytes()).read_all()
    return csv.read_csv(path) if path.suffix == ".csv" else arrow_json.read_json(path)


def numbers(column: Any) -> np.ndarray:
    """A column of lists of one length as (rows, length), float32; of numbers as (rows,)."""
    import pyarrow as pa

    found = column.combine_chunks()
    if isinstance(found, pa.ChunkedArray):
        found = found.chunk(0)
    if not pa.types.is_nested(found.type):
        return found.to_numpy(zero_copy_only=False).astype(np.float32)
    return found.flatten().to_numpy().astype(np.float32).reshape(len(found), -1)


class Stopped(BaseException):
    """A job is stopped here, as by Ctrl-C."""


def stopping(after: int) -> Any:
    """What a job is watched by, and stopped after so many rows."""

    def watch(progress: Any) -> None:
        if progress.rows - progress.begun >= after:
            raise Stopped

    return watch
