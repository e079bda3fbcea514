"""The recipes for DuckDB, on two threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastlstm.batch import Predictor

duckdb = pytest.importorskip("duckdb")


def test_function(recipe: Callable[[str], dict[str, Any]], equal: Callable[..., None]) -> None:
    recipe("duckdb")["connection"].close()
    equal("scored.parquet")


def test_reader(recipe: Callable[[str], dict[str, Any]], equal: Callable[..., None]) -> None:
    recipe("duckdb_reader")
    equal("scored.parquet", slice(None, None, 2))


def test_ids_of_different_lengths(folder: Path) -> None:
    connection = duckdb.connect(config={"threads": 2})
    connection.create_function("score", Predictor("ids.h5"), ["BIGINT[]"], "FLOAT", type="arrow")
    found = connection.sql("SELECT score(words) AS score FROM 'words.parquet' ORDER BY id").fetchnumpy()
    assert np.array_equal(found["score"], np.load("of_words.npy"))


def test_a_refusal_reaches_the_query(folder: Path) -> None:
    """What is wrong with the data is said by the query's error."""
    connection = duckdb.connect()
    connection.create_function("score", Predictor("model.h5"), ["FLOAT[]"], "FLOAT", type="arrow")
    with pytest.raises(duckdb.Error, match="x"):
        connection.sql("SELECT score([1.0, NULL]::FLOAT[])").fetchall()
