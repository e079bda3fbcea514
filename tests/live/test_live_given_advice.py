"""What ``predict`` advises about tensors of TensorFlow, followed to the letter."""

from __future__ import annotations

from pathlib import Path

import h5_files
import numpy as np
import pytest
from advice import follows

import fastlstm

pytestmark = [pytest.mark.slow, pytest.mark.keras]


@follows("pass tensorflow.sparse.to_dense(x)")
def test_sparse_tensors(tmp_path: Path) -> None:
    tensorflow = pytest.importorskip("tensorflow")
    model = fastlstm.load(h5_files.save(tmp_path / "m.h5", [h5_files.dense(2, 5, np.random.default_rng(0))], (5,)))
    x = tensorflow.sparse.from_dense(np.eye(5, dtype=np.float32))
    with pytest.raises(fastlstm.InputError) as caught:
        model.predict(x)
    scope = {"tensorflow": tensorflow, "x": x}
    exec(f"found = {str(caught.value).partition('; pass ')[2]}", scope)
    np.testing.assert_array_equal(model.predict(scope["found"]), model.predict(np.eye(5)))
