"""The recipes for Spark, on a local cluster of two executors; one of them is killed, and a streaming query is stopped and goes on."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
import table_files

import fastlstm
from fastlstm.batch import Predictor

pyspark = pytest.importorskip("pyspark")
if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
    pytest.skip("Spark needs Java 17 or later, which is not here", allow_module_level=True)

SENSORS, STEPS = 7, (4, 1, 6, 5)


@pytest.fixture(scope="module")
def home(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One folder for all: that in which Java is started is where it looks for files."""
    there = tmp_path_factory.mktemp("spark")
    for path in made.iterdir():
        os.link(path, there / path.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(there)
        yield there


@pytest.fixture
def folder(home: Path) -> Iterator[Path]:
    yield home
    shutil.rmtree("scored", ignore_errors=True)


@pytest.fixture(scope="module")
def spark(home: Path) -> Iterator[Any]:
    os.environ["PYSPARK_PYTHON"] = sys.executable
    settings = {
        "spark.ui.enabled": "false", "spark.executorEnv.PYTHONPATH": os.environ.get("PYTHONPATH", ""), "spark.sql.shuffle.partitions": 2,
        "spark.sql.execution.arrow.maxRecordsPerBatch": 300, "spark.sql.files.maxPartitionBytes": 400_000,
        "spark.ui.showConsoleProgress": "false",
    }  # fmt: skip
    builder = pyspark.sql.SparkSession.builder.master("local-cluster[2,1,1024]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    session.range(2).count()  # the executors are there
    yield session
    session.stop()


@pytest.mark.parametrize("name", ["spark", "spark_udf", "spark_batch_udf"])
def test_recipe(name: str, spark: Any, recipe: Callable[[str], dict[str, Any]], equal: Callable[..., None]) -> None:
    if name == "spark_udf" and not hasattr(pyspark.sql.functions, "arrow_udf"):
        pytest.skip("arrow_udf came with Spark 4.1")
    recipe(name)
    equal()


def test_an_executor_that_dies(spark: Any, folder: Path, equal: Callable[..., None]) -> None:
    """The process above the one that forks Python's workers."""
    predictor, mark, half = Predictor("model.h5", inputs="x", outputs="score"), str(folder / "died"), table_files.ROWS // 2

    def fatal(batches: Any) -> Any:
        for batch in batches:
            if batch["id"][0].as_py() > half:
                try:
                    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    with open(f"/proc/{os.getppid()}/stat") as stat:
                        os.kill(int(stat.read().rpartition(")")[2].split()[1]), signal.SIGKILL)
            yield predictor(batch)

    rows = spark.read.parquet(str(folder / "rows.parquet"))
    assert rows.rdd.getNumPartitions() > 2
    schema = pyspark.sql.types.StructType([*rows.schema, pyspark.sql.types.StructField("score", pyspark.sql.types.FloatType())])
    rows.mapInArrow(fatal, schema).write.parquet(str(folder / "scored"))
    assert (folder / "died").exists()
    equal()


def test_ids_of_different_lengths(spark: Any, folder: Path) -> None:
    predictor = Predictor("ids.h5", inputs="words", outputs="score")
    rows = spark.read.parquet(str(folder / "words.parquet"))
    found = rows.mapInArrow(lambda batches: map(predictor, batches), "id long, words array<long>, score float").toArrow().sort_by("id")
    assert np.array_equal(found["score"].to_numpy(), np.load("of_words.npy"))


def arrive(folder: Path, number: int, first: int, steps: int) -> None:
    """A file of timesteps of all sensors, not in order."""
    rng = np.random.default_rng(number)
    count = SENSORS * steps
    order = rng.permutation(count)
    sensors = np.array([f"s{n}" for n in range(SENSORS)])
    columns = {
        "sensor": np.tile(sensors, steps)[order], "time": np.repeat(np.arange(first, first + steps), SENSORS)[order],
        "x": table_files.lists(rng.normal(size=(count, table_files.FEATURES)).astype(np.float32)),
    }  # fmt: skip
    (folder / "incoming").mkdir(exist_ok=True)
    table_files.write(folder / "incoming" / f"{number}.parquet", columns)


def test_streaming(spark: Any, folder: Path, recipe: Callable[[str], dict[str, Any]]) -> None:
    """Several micro-batches, and the query begun anew from its checkpoint between them."""
    import pyarrow.dataset as ds

    table_files.steps(folder / "model.h5")
    spark.conf.set("spark.sql.files.maxPartitionBytes", 1 << 20)
    starts = np.cumsum([0, *STEPS])
    for number, steps in enumerate(STEPS):
        arrive(folder, number, int(starts[number]), steps)
        if number:  # the first time two files have come
            recipe("spark_streaming")
    found = ds.dataset(folder / "scored", format="parquet", exclude_invalid_files=True).to_table().to_pandas()
    given = ds.dataset(folder / "incoming", format="parquet").to_table().to_pandas()
    model = fastlstm.load(folder / "model.h5")
    assert len(found) == len(given) == SENSORS * sum(STEPS)
    for sensor, rows in given.groupby("sensor"):
        x = np.stack(rows.sort_values("time")["x"])
        scores = found[found["sensor"] == sensor].sort_values("time")
        assert list(scores["time"]) == list(range(sum(STEPS)))
        for length in range(1, len(x) + 1):
            expected = model.predict(x[np.newaxis, :length])[0, 0]
            assert golden.difference(np.float32(scores["score"].iloc[length - 1]), expected) <= golden.bound(expected)
