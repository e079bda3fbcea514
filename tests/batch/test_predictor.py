"""Predictor: batches of each kind of table, as ``predict`` computes them, to the bit."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fastlstm
from fastlstm.batch import Predictor
from fastlstm.demo import MODEL

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


def test_each_kind_of_table() -> None:
    x = np.random.default_rng(0).random((5, 24), np.float32)
    expected = fastlstm.load(MODEL).predict(x[..., np.newaxis])
    predictor = Predictor(MODEL)
    assert np.array_equal(predictor(x[..., np.newaxis]), expected)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 24)
    table = pa.table({"id": list("abcde"), "months": lists})
    for batch in (table, table.to_batches()[0]):
        found = predictor(batch)
        assert type(found) is type(batch)
        assert found.schema == predictor.schema(batch.schema)
        assert np.array_equal(np.array(found["dense"].to_pylist(), np.float32), expected)
    assert np.array_equal(predictor({"months": x})["dense"], expected)
    frame = predictor(pd.DataFrame({"months": list(x)}, index=range(5, 10)))
    assert list(frame.index) == list(range(5, 10))
    assert np.array_equal(np.stack(frame["dense"]), expected)
    assert np.array_equal(predictor(pl.DataFrame({"months": x}))["dense"].to_numpy(), expected)


def test_a_pickle_holds_the_path() -> None:
    predictor = Predictor(MODEL, inputs="x", nulls="skip")
    pickled = pickle.dumps(predictor)
    assert len(pickled) < len(predictor.path) + 150
    assert pickle.loads(pickled).model is predictor.model
