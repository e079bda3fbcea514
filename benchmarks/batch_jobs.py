"""One job in each engine: Parquet in, a column more, its ``id`` and ``score`` out as Parquet. For benchmarks.batch_engines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BATCH = 16_384
SCORE = "score"


class Nothing:
    """A Predictor that computes nothing: its outputs are zeros. It takes what engines hand over."""

    def __init__(self, *path: str, **options: Any):
        pass

    def __call__(self, batch: Any) -> Any:
        zeros = np.zeros(len(batch), np.float32)
        library = type(batch).__module__.split(".")[0]
        if library == "pandas":
            import pandas as pd

            return pd.Series(zeros, index=batch.index) if batch.ndim == 1 else batch.assign(score=zeros)
        if library == "polars":
            import polars as pl

            return pl.Series(zeros) if batch.__class__.__name__ == "Series" else batch.with_columns(pl.Series(SCORE, zeros))
        import pyarrow as pa

        if not hasattr(batch, "schema"):
            return pa.chunked_array([zeros]) if hasattr(batch, "chunks") else pa.array(zeros)
        return batch.append_column(SCORE, pa.array(zeros))


class Made(NamedTuple):
    """What computes: a class, and what it is made with. Some engines make it in their workers."""

    kind: Callable[..., Any]
    path: str
    column: str  # the input

    def __call__(self) -> Any:
        return self.kind(self.path, inputs=self.column, outputs=SCORE)

    def alone(self) -> Any:
        """For one column."""
        return self.kind(self.path)


#: Reads ``source``, computes, writes ``target``.
Job = Callable[[Made, Path, Path], None]


@contextmanager
def arrow(workers: int) -> Iterator[Job]:
    """pyarrow alone: a loop over the file's batches."""
    import pyarrow.parquet as pq

    def job(made: Made, source: Path, target: Path) -> None:
        predictor, out = made(), None
        for batch in pq.ParquetFile(source).iter_batches(BATCH, use_threads=workers > 1):
            found = predictor(batch).select(["id", SCORE])
            out = out or pq.ParquetWriter(target, found.schema)
            out.write_batch(found)
        if out is not None:
            out.close()

    yield job


@contextmanager
def polars(workers: int) -> Iterator[Job]:
    """A column's function, on the streaming engine."""
    import polars as pl

    def job(made: Made, source: Path, target: Path) -> None:
        score = pl.col(made.column).map_batches(made.alone(), return_dtype=pl.Float32, is_elementwise=True)
        pl.scan_parquet(source).select("id", score=score).sink_parquet(target)

    yield job


@contextmanager
def duckdb(workers: int, types: Any) -> Iterator[Job]:
    """An Arrow function in SQL."""
    import duckdb

    with duckdb.connect(config={"threads": workers}) as connection:

        def job(made: Made, source: Path, target: Path) -> None:
            with suppress(duckdb.Error):
                connection.remove_function("score")
            connection.create_function("score", made.alone(), [types[made.column]], "FLOAT", type="arrow")
            connection.sql(f"COPY (SELECT id, score({made.column}) AS score FROM '{source}') TO '{target}' (FORMAT parquet)")

        yield job


@contextmanager
def dask(workers: int) -> Iterator[Job]:
    """Frames on a local cluster of processes."""
    import dask.dataframe as dd
    from dask.distributed import Client, LocalCluster

    def job(made: Made, source: Path, target: Path) -> None:
        predictor, rows = made(), dd.read_parquet(source, split_row_groups=True)
        rows.map_partitions(predictor, meta=predictor(rows.partitions[0].head(0)))[["id", SCORE]].to_parquet(target)

    with LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster, Client(cluster):
        yield job


@contextmanager
def ray(workers: int) -> Iterator[Job]:
    """Ray Data, with an actor for each core."""
    import ray

    def job(made: Made, source: Path, target: Path) -> None:
        rows = ray.data.read_parquet(str(source)).map_batches(
            made.kind, fn_constructor_args=[made.path], fn_constructor_kwargs={"inputs": made.column, "outputs": SCORE},
            batch_format="pyarrow", batch_size=BATCH, compute=ray.data.ActorPoolStrategy(size=workers),
        )  # fmt: skip
        rows.select_columns(["id", SCORE]).write_parquet(str(target))

    ray.init(num_cpus=workers + 2, object_store_memory=2_000_000_000, include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield job
    finally:
        ray.shutdown()


@contextmanager
def spark(workers: int) -> Iterator[Job]:
    """mapInArrow on threads of one Java, each with a Python of its own."""
    from pyspark.sql import SparkSession

    def score(made: Made, batches: Any) -> Any:
        predictor = made()
        for batch in batches:
            yield predictor(batch).select(["id", SCORE])

    def job(made: Made, source: Path, target: Path) -> None:
        rows = session.read.parquet(str(source))
        rows.mapInArrow(partial(score, made), "id long, score float").write.parquet(str(target))

    builder = SparkSession.builder.master(f"local[{workers}]").config("spark.ui.enabled", "false").config("spark.driver.memory", "2g")
    session = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", BATCH).getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    try:
        yield job
    finally:
        session.stop()


ENGINES: dict[str, tuple[str, Callable[..., Any]]] = {
    "arrow": ("pyarrow, a loop", arrow),
    "polars": ("polars, map_batches", polars),
    "duckdb": ("DuckDB, Arrow function", partial(duckdb, types={"x": "FLOAT[160]", "ids": "BIGINT[]"})),
    "dask": ("Dask, map_partitions", dask),
    "ray": ("Ray Data, actor pool", ray),
    "spark": ("Spark, mapInArrow", spark),
}
