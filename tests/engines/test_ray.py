"""The recipe for Ray Data, with two actors; one of them is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import table_files

from fastlstm.batch import Predictor

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=4, object_store_memory=300_000_000, include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


def fatal(mark: Path) -> type[Predictor]:
    """A Predictor that dies at its second batch, if nobody has died yet. Of no module, so that it is sent to workers as it is."""

    class Fatal(Predictor):
        calls = 0

        def __call__(self, batch: Any) -> Any:
            self.calls += 1
            if self.calls == 2:
                try:
                    os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(batch)

    return Fatal


def test_recipe(recipe: Callable[[str], dict[str, Any]], equal: Callable[..., None]) -> None:
    recipe("ray")
    equal()


def test_an_actor_that_dies(folder: Path, equal: Callable[..., None]) -> None:
    rows = ray.data.read_parquet(str(folder / "rows.parquet"), override_num_blocks=8)
    scored = rows.map_batches(
        fatal(folder / "died"), fn_constructor_args=[str(folder / "model.h5")], fn_constructor_kwargs={"inputs": "x", "outputs": "score"},
        batch_format="pyarrow", batch_size=table_files.ROW_GROUP // 2, compute=ray.data.ActorPoolStrategy(size=2),
    )  # fmt: skip
    scored.write_parquet(str(folder / "scored"))
    assert (folder / "died").exists()
    equal()


def test_tasks(folder: Path, equal: Callable[..., None]) -> None:
    """Without actors, on NumPy arrays: each process keeps the model from task to task."""
    predictor = Predictor("model.h5", inputs="x", outputs="score")
    rows = ray.data.read_parquet(str(folder / "rows.parquet"))
    rows.map_batches(predictor, batch_size=1000).write_parquet(str(folder / "scored"))
    equal()


def test_ids_of_different_lengths(folder: Path) -> None:
    predictor = Predictor("ids.h5", inputs="words", outputs="score")
    rows = ray.data.read_parquet(str(folder / "words.parquet")).map_batches(predictor, batch_format="pyarrow")
    rows.write_parquet(str(folder / "scored"))
    assert np.array_equal(table_files.scores(folder / "scored")["score"], np.load("of_words.npy"))
