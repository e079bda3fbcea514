"""Every engine on every workload: first it must give what Keras gives, then it is timed.

``python -m benchmarks`` runs it with each engine in a process of its own; as ``pytest benchmarks/suite.py`` all share one.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine import UnavailableError
from engines import ENGINES
from prepare import CHECKED
from pytest_benchmark.fixture import BenchmarkFixture
from workloads import Workload


def test_workload(
    workload: Workload, batch: int, engine: str, prepared: Path, pytestconfig: pytest.Config, benchmark: BenchmarkFixture
) -> None:
    threads = pytestconfig.getoption("--engine-threads")
    adapter = ENGINES[engine]
    try:
        loaded = adapter(prepared / f"{workload.name}.h5", batch, threads)
    except (UnavailableError, ImportError) as reason:
        pytest.skip(str(reason))
    inputs = workload.inputs(batch)
    given = [workload.ragged(x) for x in inputs] if workload.ragged and adapter.takes_ragged else inputs
    with np.load(prepared / f"{workload.name}.npz") as answers:
        for number, x in enumerate(given[:CHECKED]):
            expected = answers[f"batch{batch}_{number}"]
            np.testing.assert_allclose(loaded.predict(x), expected, rtol=adapter.tolerance, atol=adapter.tolerance / 10)
    following = itertools.cycle(given).__next__
    predict = loaded.predict
    benchmark.group = f"{workload.name} batch {batch}"
    benchmark.extra_info.update(
        workload=workload.name, batch=batch, engine=engine, label=adapter.label, float32=adapter.float32,
        threads=threads, versions=adapter.versions(),
    )  # fmt: skip
    warm_up(predict, following)
    benchmark(lambda: predict(following()))


def warm_up(predict: Callable[[Any], Any], following: Callable[[], Any], seconds: float = 0.1) -> None:
    """Some calls that nobody times: what an engine compiles or allocates at first is not what is asked here."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        predict(following())
