"""The recipes for Dask, on a local cluster of two workers; one of them is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import table_files

from fastlstm.batch import Predictor

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("dask.distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 3}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as made,
    ):
        yield made


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    with distributed.Client(cluster) as made:
        yield made


@pytest.mark.parametrize("where", ["threads", "processes", "cluster"])
def test_frame(where: str, request: pytest.FixtureRequest, recipe: Callable[[str], dict[str, Any]], equal: Callable[..., None]) -> None:
    if where == "cluster":
        request.getfixturevalue("client")
        recipe("dask")
    else:
        with dask.config.set(scheduler=where, num_workers=2):
            recipe("dask")
    equal()


def test_array(client: Any, recipe: Callable[[str], dict[str, Any]], folder: Path) -> None:
    recipe("dask_array")
    import dask.array as da

    assert np.array_equal(da.from_npy_stack("scored").compute()[:, 0], np.load("expected.npy"))


def test_array_in_chunks(client: Any, folder: Path) -> None:
    """More than one of them, and each what its rows are."""
    import dask.array as da

    x = da.from_array(np.load("x.npy"), chunks=(600, 20, 8))
    y = x.map_blocks(Predictor("model.h5"), dtype=np.float32, drop_axis=[1, 2], new_axis=1, chunks=(x.chunks[0], (1,)))
    assert y.shape == (table_files.ROWS, 1)
    assert np.array_equal(y.compute()[:, 0], np.load("expected.npy"))


def test_a_worker_that_dies(client: Any, folder: Path, victim: Callable[[], bool], equal: Callable[..., None]) -> None:
    import dask.dataframe as dd

    predictor = Predictor("model.h5", inputs="x", outputs="score")

    def fatal(frame: Any) -> Any:
        if frame["id"].iloc[0] > table_files.ROWS // 2:
            victim()
        return predictor(frame)

    rows = dd.read_parquet("rows.parquet", split_row_groups=True)
    assert rows.npartitions == table_files.ROWS // table_files.ROW_GROUP
    rows.map_partitions(fatal, meta=predictor(rows.partitions[0].head(0)))[["id", "score"]].to_parquet("scored")
    assert (folder / "died").exists()
    equal()


def test_ids_of_different_lengths(client: Any, folder: Path) -> None:
    import dask.dataframe as dd

    predictor = Predictor("ids.h5", inputs="words", outputs="score")
    rows = dd.read_parquet("words.parquet", split_row_groups=True)
    found = rows.map_partitions(predictor, meta=predictor(rows.partitions[0].head(0))).compute().sort_values("id")
    assert np.array_equal(found["score"], np.load("of_words.npy"))
