"""Random graphs of operations and layers, built and saved by the Keras that is installed: its numbers, or a refusal by name.

The same few each time; ``FASTLSTM_EXAMPLES=2000 pytest tests/live/test_random_operations.py`` draws as many, from ``FASTLSTM_SEED`` on
(0). What was tried is printed at the end of the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import golden
import numpy as np
import pytest
import random_operations
from live_comparison import Tried, compare

pytestmark = [pytest.mark.keras, pytest.mark.slow, pytest.mark.filterwarnings("ignore:Layer:UserWarning")]  # masks that Keras drops

EXAMPLES = int(os.environ.get("FASTLSTM_EXAMPLES", "20"))
SEED = int(os.environ.get("FASTLSTM_SEED", "0"))
ROWS = 3


@pytest.fixture(scope="module")
def tried(keras: ModuleType, figure: Callable[[str, str], None]) -> Iterator[Tried]:
    """The outcomes of the examples; noted among the figures."""
    found = Tried()
    yield found
    figure(f"random operations, {keras.__name__} {keras.__version__}", str(found))


def given(name: str, length: int, random: np.random.Generator) -> np.ndarray:
    """An input's rows, some steps of them zeros."""
    if "int" in name:
        return random.integers(0, random_operations.VOCABULARY, (ROWS, length)).astype(np.int32)
    found = random.normal(size=(ROWS, length, random_operations.UNITS)).astype(np.float32)
    found[random.random(found.shape[:2]) < 0.3] = 0
    return found


@pytest.mark.parametrize("seed", range(SEED, SEED + EXAMPLES))
def test_random_operations(keras: ModuleType, tried: Tried, seed: int, tmp_path: Path) -> None:
    import tensorflow as tf

    keras.backend.clear_session()
    model, graph = random_operations.grown(seed, keras, tf)
    if model is None:
        tried.counts["nothing to compute"] += 1
        return
    random = np.random.default_rng(seed)
    model.set_weights([(random.normal(size=w.shape) * 0.4).astype(w.dtype) if w.ndim else w for w in model.get_weights()])
    arrays = [given(str(tensor.dtype), tensor.shape[1] or 6, random) for tensor in model.inputs]
    theirs: list[np.ndarray] | None
    try:
        theirs = [np.asarray(y) for y in golden.flat(model([tf.constant(array) for array in arrays], training=False))]
    except (ValueError, tf.errors.OpError):  # lengths that do not go together
        theirs = None
    path = tmp_path / ("m.keras" if keras.__version__ >= "3" else "m.h5")
    model.save(path)
    compare(path, arrays, theirs, tried, graph.script)
