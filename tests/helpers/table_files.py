"""Models and tables for engines: rows of floats, of ids, of scalars in columns, of texts; and what predict makes of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5_files
import numpy as np

import fastlstm

ROWS, TIMESTEPS, FEATURES = 4_000, 20, 8
ROW_GROUP = 500
VOCABULARY = 50


def floats(path: Path, units: int = 32) -> Path:
    """LSTM and Dense, on 20 timesteps of 8 features."""
    rng = np.random.default_rng(0)
    return h5_files.save(path, [h5_files.recurrent("LSTM", units, FEATURES, rng), h5_files.dense(1, units, rng)], (TIMESTEPS, FEATURES))


def steps(path: Path) -> Path:
    """The same on any number of timesteps, in the place of a file that may have other names."""
    rng = np.random.default_rng(0)
    path.unlink(missing_ok=True)
    return h5_files.save(path, [h5_files.recurrent("LSTM", 32, FEATURES, rng), h5_files.dense(1, 32, rng)], (None, FEATURES))


def ids(path: Path, vocabulary: int = VOCABULARY, units: int = 32) -> Path:
    """Embedding, LSTM and Dense, on any number of ids."""
    rng = np.random.default_rng(1)
    layers = [h5_files.embedding(vocabulary, 16, rng), h5_files.recurrent("LSTM", units, 16, rng), h5_files.dense(1, units, rng)]
    return h5_files.save(path, layers, (None,))


def write(path: Path, columns: dict[str, Any], row_group: int = ROW_GROUP) -> None:
    """A Parquet file of those columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=row_group, compression="none", use_dictionary=False)


def lists(x: np.ndarray) -> Any:
    """(rows, ...) as a column of lists of one length."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x[0].size)


def ragged(rows: list[np.ndarray]) -> Any:
    """Rows of different lengths as a column of lists."""
    import pyarrow as pa

    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(rows)))


def make(folder: Path) -> None:
    """All files of the recipes, and of the tests beside them."""
    rng = np.random.default_rng(2)
    model = fastlstm.load(floats(folder / "model.h5"))
    x = rng.normal(size=(ROWS, TIMESTEPS, FEATURES)).astype(np.float32)
    np.save(folder / "x.npy", x)
    np.save(folder / "expected.npy", model.predict(x)[:, 0])
    number = np.arange(ROWS)
    columns = {f"c{n}": x.reshape(ROWS, -1)[:, n] for n in range(x[0].size)}
    write(folder / "rows.parquet", {"id": number, "x": lists(x)})
    write(folder / "columns.parquet", {"id": number, **columns})
    of_ids = fastlstm.load(ids(folder / "ids.h5"))
    words = [rng.integers(0, VOCABULARY, length) for length in rng.integers(1, 30, ROWS)]
    write(folder / "words.parquet", {"id": number, "words": ragged(words)})
    np.save(folder / "of_words.npy", of_ids.predict(words)[:, 0])


def scores(path: Path) -> dict[str, np.ndarray]:
    """The columns ``id`` and ``score`` of a Parquet file or of a folder of them, by id."""
    import pyarrow.dataset as ds

    table = ds.dataset(path, format="parquet", exclude_invalid_files=path.is_dir()).to_table(["id", "score"]).sort_by("id")
    return {name: table[name].to_numpy() for name in ("id", "score")}
