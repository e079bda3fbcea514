"""The recipes for polars, on its streaming engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastlstm.batch import Predictor

pl = pytest.importorskip("polars")


@pytest.mark.parametrize("name", ["polars", "polars_frame"])
def test_recipe(name: str, recipe: Callable[[str], dict[str, Any]], equal: Callable[..., None]) -> None:
    recipe(name)
    equal("scored.parquet")


def test_scalars_in_columns(folder: Path) -> None:
    """All columns but the number, side by side."""
    frame = pl.scan_parquet("columns.parquet")
    schema = frame.collect_schema()
    predictor = Predictor("model.h5", inputs=[name for name in schema if name != "id"], outputs="score")
    found = frame.map_batches(predictor, schema={**schema, "score": pl.Float32}, streamable=True).collect(engine="streaming").sort("id")
    assert np.array_equal(found["score"].to_numpy(), np.load("expected.npy"))


def test_ids_of_different_lengths(folder: Path) -> None:
    score = pl.col("words").map_batches(Predictor("ids.h5"), return_dtype=pl.Float32, is_elementwise=True)
    found = pl.scan_parquet("words.parquet").select("id", score=score).collect(engine="streaming").sort("id")
    assert np.array_equal(found["score"].to_numpy(), np.load("of_words.npy"))
